//! `SYSTEM.lock`: every right of every PD, one a line, in an order that does not depend on the system file's. It is written to be
//! reviewed and compared; `compare.rs` says in words what grew and what shrank.

#![forbid(unsafe_code)]

mod compare;

pub use compare::{Change, Direction, compare, findings};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::show::interrupt;
use crate::sdf::cspace::Object;
use crate::sdf::{Map, ProtectionDomain, System};

/// The form of the file.
const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By name.
    regions: Vec<Region>,
    /// Devices that reach memory by themselves, by name.
    devices: BTreeMap<String, Vec<Mapping>>,
    pds: BTreeMap<String, Pd>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Region {
    name: String,
    size: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phys_addr: Option<Hex>,
    /// As the file names it, without the directory it was found in, which differs from machine to machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefill: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Pd {
    parent: Option<String>,
    image: Image,
    scheduling: Scheduling,
    stack_size: Hex,
    smc: bool,
    /// By region, then by address.
    regions: Vec<Mapping>,
    /// By id.
    channels: Vec<Channel>,
    interrupts: Vec<String>,
    ioports: Vec<String>,
    capabilities: Vec<String>,
    /// What a guest in this PD reaches.
    guest: Vec<Mapping>,
    system_calls: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Image {
    path: String,
    /// `null`: not compared.
    sha256: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Scheduling {
    priority: u8,
    budget_us: u64,
    period_us: u64,
    cpu: Option<u32>,
    passive: bool,
    domain: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    region: String,
    vaddr: Hex,
    perms: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    id: u8,
    peer: String,
    peer_id: u8,
    notify: bool,
    call: bool,
}

/// An address or a size, written as the system file writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(u64);

impl From<Hex> for String {
    fn from(Hex(number): Hex) -> Self {
        format!("{number:#x}")
    }
}

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("0x");
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| format!("`{text}` is no number like 0x1000"))
    }
}

impl Lock {
    /// The rights that the system file gives. `hashes` has an entry for each PD; `system_calls` are those of every PD.
    pub fn of(system: &System, hashes: &[Option<String>], system_calls: &[String]) -> Self {
        let mut regions: Vec<Region> = system
            .regions
            .iter()
            .map(|region| Region {
                name: region.name.clone(),
                size: Hex(region.size),
                phys_addr: region.phys_addr.map(Hex),
                prefill: region.prefill.as_ref().map(|(path, _)| {
                    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
                }),
            })
            .collect();
        regions.sort_by(|one, other| one.name.cmp(&other.name));
        let devices = system
            .io_address_spaces
            .iter()
            .map(|space| (space.name.clone(), mappings(system, &space.maps)))
            .collect();
        let none = std::iter::repeat(&None);
        let pds = system
            .pds
            .iter()
            .zip(hashes.iter().chain(none))
            .map(|(pd, hash)| (pd.name.clone(), Pd::of(system, pd, hash.clone(), system_calls)))
            .collect();
        Self { version: VERSION, regions, devices, pds }
    }

    /// How many lines of rights there are.
    pub fn rights(&self) -> usize {
        let of_pd = |pd: &Pd| {
            let lists = [pd.interrupts.len(), pd.ioports.len(), pd.capabilities.len(), pd.system_calls.len()];
            pd.regions.len() + pd.guest.len() + pd.channels.len() + lists.iter().sum::<usize>()
        };
        self.pds.values().map(of_pd).sum::<usize>() + self.devices.values().map(Vec::len).sum::<usize>()
    }

    /// The file's text: JSON with one right a line.
    ///
    /// # Errors
    /// None that these types can have.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        write(&serde_json::to_value(self)?, 0, &mut text);
        Ok(text + "\n")
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is not such a file, or of another version; in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(format!("its version is {other}, this program knows {VERSION}")),
        }
    }
}

impl Pd {
    fn of(system: &System, pd: &ProtectionDomain, sha256: Option<String>, system_calls: &[String]) -> Self {
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let mut channels: Vec<Channel> = system
            .channels
            .iter()
            .flat_map(|channel| {
                let [one, other] = &channel.ends;
                [(one, other), (other, one)]
            })
            .filter(|(own, _)| std::ptr::eq(system.pd(own.pd), pd))
            .map(|(own, peer)| Channel {
                id: own.id,
                peer: system.pd(peer.pd).name.clone(),
                peer_id: peer.id,
                notify: own.notify,
                call: own.pp,
            })
            .collect();
        channels.sort();
        let object = |object| match object {
            Object::Tcb => "thread",
            Object::SchedContext => "scheduling context",
            Object::VSpace => "address space",
        };
        let guest = pd.virtual_machine.as_ref().map(|machine| mappings(system, &machine.maps));
        Self {
            parent: pd.parent.map(|(parent, _)| system.pd(parent).name.clone()),
            image: Image { path: pd.image.path.to_string_lossy().into_owned(), sha256 },
            scheduling: Scheduling {
                priority: pd.priority,
                budget_us: pd.budget_us,
                period_us: pd.period_us,
                cpu: pd.cpu,
                passive: pd.passive,
                domain: pd
                    .domain
                    .zip(system.domains.as_ref())
                    .map(|(domain, domains)| domains.domains[domain.0].name.clone()),
            },
            stack_size: Hex(pd.stack_size),
            smc: pd.smc,
            regions: mappings(system, &pd.maps),
            channels,
            interrupts: sorted(pd.irqs.iter().map(|irq| interrupt(irq.source)).collect()),
            ioports: sorted(
                pd.ioports.iter().map(|port| format!("{:#06x}, {} ports", port.addr, port.size)).collect(),
            ),
            capabilities: sorted(
                pd.cspace
                    .iter()
                    .map(|cap| format!("{} of {}", object(cap.object), system.pd(cap.pd).name))
                    .collect(),
            ),
            guest: guest.unwrap_or_default(),
            system_calls: sorted(system_calls.to_vec()),
        }
    }
}

fn mappings(system: &System, maps: &[Map]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = maps
        .iter()
        .map(|map| Mapping {
            region: system.region(map.region).name.clone(),
            vaddr: Hex(map.vaddr),
            perms: map.perms.to_string(),
        })
        .collect();
    mappings.sort();
    mappings
}

/// Objects over several lines, except those in a list, which have a line each.
fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth + 1);
    let close = "  ".repeat(depth);
    match value {
        Value::Object(object)
            if !object.is_empty() && (depth < 2 || object.values().any(Value::is_array)) =>
        {
            text.push('{');
            for (at, (key, value)) in object.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                *text += &format!("{comma}\n{indent}{}: ", Value::from(key.as_str()));
                write(value, depth + 1, text);
            }
            *text += &format!("\n{close}}}");
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('[');
            for (at, item) in list.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                *text += &format!("{comma}\n{indent}{item}");
            }
            *text += &format!("\n{close}]");
        }
        other => *text += &other.to_string(),
    }
}
