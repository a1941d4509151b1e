//! Two locks, and the difference in words.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Channel, Hex, Lock, Mapping, Pd, Region};
use crate::report::lint::{Finding, in_order, kinds};
use crate::report::words::{bytes, list, quoted};
use crate::sdf::{Span, System};

/// Which way a right changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// There is more of it.
    Grew,
    /// There is less of it.
    Shrank,
    /// It is another one.
    Changed,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// More, less or other.
    pub direction: Direction,
    /// In words.
    pub message: String,
    /// What it is about in the system file.
    about: About,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Pd(String),
    Region(String),
    /// A PD's map of a region.
    Map(String, String),
    /// A PD's channel end.
    End(String, u8),
    Device,
}

/// Collects differences of one thing.
struct Changes {
    all: Vec<Change>,
}

impl Changes {
    fn add(&mut self, direction: Direction, about: About, message: String) {
        self.all.push(Change { direction, message, about });
    }

    /// More when `now` is greater.
    fn number<T: PartialOrd>(&mut self, was: T, now: T, about: About, message: String) {
        if now > was {
            self.add(Direction::Grew, about, message);
        } else if now < was {
            self.add(Direction::Shrank, about, message);
        }
    }

    fn other<T: PartialEq>(&mut self, was: &T, now: &T, about: About, message: String) {
        if was != now {
            self.add(Direction::Changed, about, message);
        }
    }
}

/// What changed from one to the other.
pub fn compare(was: &Lock, now: &Lock) -> Vec<Change> {
    let mut changes = Changes { all: Vec::new() };
    regions(&was.regions, &now.regions, &mut changes);
    let devices: BTreeSet<&String> = was.devices.keys().chain(now.devices.keys()).collect();
    for name in devices {
        let maps = |lock: &Lock| lock.devices.get(name).cloned().unwrap_or_default();
        let who = format!("device {}", quoted(name));
        mappings(&who, &|_| About::Device, &maps(was), &maps(now), &mut changes);
    }
    let pds: BTreeSet<&String> = was.pds.keys().chain(now.pds.keys()).collect();
    for name in pds {
        let about = || About::Pd(name.clone());
        match (was.pds.get(name), now.pds.get(name)) {
            (Some(was), Some(now)) => pd(name, was, now, &mut changes),
            (None, Some(now)) => {
                changes.add(Direction::Grew, about(), format!("PD {} is new", quoted(name)));
                rights(name, &Pd::default(), now, &mut changes);
            }
            (Some(_), None) => {
                let message = format!("PD {} is gone, with all its rights", quoted(name));
                changes.add(Direction::Shrank, about(), message);
            }
            (None, None) => {}
        }
    }
    changes.all
}

fn regions(was: &[Region], now: &[Region], changes: &mut Changes) {
    let before: BTreeMap<&str, &Region> = was.iter().map(|region| (region.name.as_str(), region)).collect();
    // A region that is new or gone shows in who maps it.
    for now in now {
        let Some(was) = before.get(now.name.as_str()) else { continue };
        let about = || About::Region(now.name.clone());
        let name = quoted(&now.name);
        let sizes = format!("region {name} has {}, not {}", bytes(now.size.0), bytes(was.size.0));
        changes.number(was.size, now.size, about(), sizes);
        let address = |address: Option<Hex>| {
            address.map_or("no phys_addr".into(), |at| format!("phys_addr {:#x}", at.0))
        };
        let message = format!("region {name} has {}, not {}", address(now.phys_addr), address(was.phys_addr));
        changes.other(&was.phys_addr, &now.phys_addr, about(), message);
        let file = |file: &Option<String>| file.as_ref().map_or("nothing".into(), |file| quoted(file));
        let message =
            format!("region {name} begins with {}, not with {}", file(&now.prefill), file(&was.prefill));
        changes.other(&was.prefill, &now.prefill, about(), message);
    }
}

fn pd(name: &str, was: &Pd, now: &Pd, changes: &mut Changes) {
    let about = || About::Pd(name.to_owned());
    let who = format!("PD {}", quoted(name));
    rights(name, was, now, changes);
    let (old, new) = (&was.scheduling, &now.scheduling);
    let message = format!("{who} has priority {}, not {}", new.priority, old.priority);
    changes.number(old.priority, new.priority, about(), message);
    let share = |budget: u64, of: u64| u128::from(budget) * u128::from(of);
    let (share_was, share_now) = (share(old.budget_us, new.period_us), share(new.budget_us, old.period_us));
    let time = format!(
        "{who} may run {} µs in {} µs, not {} µs in {} µs",
        new.budget_us, new.period_us, old.budget_us, old.period_us
    );
    if share_was == share_now {
        changes.other(&old.period_us, &new.period_us, about(), time);
    } else {
        changes.number(share_was, share_now, about(), time);
    }
    let cpu = |cpu: Option<u32>| cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    changes.other(
        &old.cpu,
        &new.cpu,
        about(),
        format!("{who} runs on {}, not on {}", cpu(new.cpu), cpu(old.cpu)),
    );
    let passive = if new.passive { "is passive now" } else { "is no longer passive: it runs by itself" };
    changes.number(!old.passive, !new.passive, about(), format!("{who} {passive}"));
    let domain = |domain: &Option<String>| domain.as_ref().map_or("no domain".into(), |name| quoted(name));
    let message = format!("{who} is in domain {}, not {}", domain(&new.domain), domain(&old.domain));
    changes.other(&old.domain, &new.domain, about(), message);
    let message =
        format!("{who} has a stack of {}, not {}", bytes(now.stack_size.0), bytes(was.stack_size.0));
    changes.number(was.stack_size, now.stack_size, about(), message);
    image(&who, was, now, about(), changes);
}

fn image(who: &str, was: &Pd, now: &Pd, about: About, changes: &mut Changes) {
    let (old, new) = (&was.image, &now.image);
    if old.path != new.path {
        let message = format!("{who} runs image {}, not {}", quoted(&new.path), quoted(&old.path));
        changes.add(Direction::Changed, about, message);
        return;
    }
    let message = match (&old.sha256, &new.sha256) {
        (None, _) => return,
        (Some(_), None) => {
            format!("image {} of {who} is not there to be compared", quoted(&new.path))
        }
        (Some(was), Some(now)) if was == now => return,
        (Some(was), Some(now)) => {
            let start = |hash: &str| hash.chars().take(12).collect::<String>();
            let (now, was) = (start(now), start(was));
            format!("image {} of {who} has other bytes: SHA-256 {now}…, not {was}…", quoted(&new.path))
        }
    };
    changes.add(Direction::Changed, about, message);
}

/// What a PD reaches, as opposed to how it runs.
fn rights(name: &str, was: &Pd, now: &Pd, changes: &mut Changes) {
    let about = || About::Pd(name.to_owned());
    let who = format!("PD {}", quoted(name));
    if was.parent != now.parent {
        let of = |parent: &str, now: &str| {
            format!("PD {} {now} handle faults of {who}, stop and restart it", quoted(parent))
        };
        if let Some(parent) = &now.parent {
            changes.add(Direction::Grew, about(), of(parent, "may now"));
        }
        if let Some(parent) = &was.parent {
            changes.add(Direction::Shrank, about(), of(parent, "may no longer"));
        }
    }
    if was.smc != now.smc {
        let may = if now.smc { "may now" } else { "may no longer" };
        let message = format!("{who} {may} make secure monitor calls");
        changes.number(was.smc, now.smc, about(), message);
    }
    let map = |region: &str| About::Map(name.to_owned(), region.to_owned());
    mappings(&who, &map, &was.regions, &now.regions, changes);
    mappings(&format!("the guest of {who}"), &map, &was.guest, &now.guest, changes);
    channels(name, &was.channels, &now.channels, changes);
    for (was, now, verb) in [
        (&was.interrupts, &now.interrupts, "receive"),
        (&was.ioports, &now.ioports, "use I/O ports"),
        (&was.capabilities, &now.capabilities, "control the"),
        (&was.system_calls, &now.system_calls, "make the system call"),
    ] {
        let (was, now): (BTreeSet<_>, BTreeSet<_>) = (was.iter().collect(), now.iter().collect());
        for right in now.difference(&was) {
            changes.add(Direction::Grew, about(), format!("{who} may now {verb} {}", quoted(right)));
        }
        for right in was.difference(&now) {
            changes.add(Direction::Shrank, about(), format!("{who} may no longer {verb} {}", quoted(right)));
        }
    }
}

/// `read and write`, for the letters of rights.
fn verbs(letters: &BTreeSet<char>) -> String {
    let verb = |letter: &char| match letter {
        'r' => "read",
        'w' => "write",
        _ => "execute",
    };
    // In the order r, w, x.
    list(&letters.iter().map(|letter| verb(letter).to_owned()).collect::<Vec<_>>())
}

fn mappings(
    who: &str,
    about: &dyn Fn(&str) -> About,
    was: &[Mapping],
    now: &[Mapping],
    changes: &mut Changes,
) {
    let regions: BTreeSet<&str> = was.iter().chain(now).map(|mapping| mapping.region.as_str()).collect();
    for region in regions {
        let own = |maps: &[Mapping]| -> Vec<Mapping> {
            maps.iter().filter(|mapping| mapping.region == region).cloned().collect()
        };
        let (was, now) = (own(was), own(now));
        let letters = |maps: &[Mapping]| -> BTreeSet<char> {
            maps.iter().flat_map(|mapping| mapping.perms.chars()).collect()
        };
        let (had, has) = (letters(&was), letters(&now));
        let gained: BTreeSet<char> = has.difference(&had).copied().collect();
        let lost: BTreeSet<char> = had.difference(&has).copied().collect();
        let name = quoted(region);
        if !gained.is_empty() {
            let before = if had.is_empty() { String::new() } else { format!(", not only {}", verbs(&had)) };
            let message = format!("{who} may now {} region {name}{before}", verbs(&gained));
            changes.add(Direction::Grew, about(region), message);
        }
        if !lost.is_empty() {
            let message = format!("{who} may no longer {} region {name}", verbs(&lost));
            changes.add(Direction::Shrank, about(region), message);
        }
        if gained.is_empty() && lost.is_empty() && was != now {
            let places = |maps: &[Mapping]| {
                let place = |mapping: &Mapping| format!("{:#x} as {}", mapping.vaddr.0, mapping.perms);
                list(&maps.iter().map(place).collect::<Vec<_>>())
            };
            let message = format!("{who} maps region {name} at {}, not at {}", places(&now), places(&was));
            changes.add(Direction::Changed, about(region), message);
        }
    }
}

fn channels(pd: &str, was: &[Channel], now: &[Channel], changes: &mut Changes) {
    let who = format!("PD {}", quoted(pd));
    type Has = fn(&Channel) -> bool;
    let silent: Has = |channel| !channel.notify && !channel.call;
    let verbs: [(&str, Has); 3] =
        [("notify", |channel| channel.notify), ("call", |channel| channel.call), ("be reached by", silent)];
    for (verb, has) in verbs {
        // Peer and ids of every channel with this right. An end that has none in only one of the two files is told of by
        // the rights that it has in the other.
        let own = |channels: &[Channel], others: &[Channel]| -> BTreeSet<(String, u8, u8)> {
            let told = |channel: &Channel| {
                let same = |other: &Channel| other.id == channel.id && other.peer == channel.peer;
                silent(channel) && others.iter().any(|other| same(other) && !silent(other))
            };
            let own = channels.iter().filter(|channel| has(channel) && !told(channel));
            own.map(|channel| (channel.peer.clone(), channel.id, channel.peer_id)).collect()
        };
        let (was, now) = (own(was, now), own(now, was));
        let mut lost: Vec<_> = was.difference(&now).collect();
        for (peer, id, peer_id) in now.difference(&was) {
            let about = About::End(pd.to_owned(), *id);
            let whom = quoted(peer);
            match lost.iter().position(|(other, ..)| other == peer) {
                Some(at) => {
                    let (_, old, old_peer) = lost.remove(at);
                    let message = format!(
                        "{who} may {verb} {whom} over channel {id} (there {peer_id}), not over {old} (there {old_peer})"
                    );
                    changes.add(Direction::Changed, about, message);
                }
                None => {
                    let message = format!("{who} may now {verb} {whom} over channel {id}");
                    changes.add(Direction::Grew, about, message);
                }
            }
        }
        for (peer, id, _) in lost {
            let message = format!("{who} may no longer {verb} {} over channel {id}", quoted(peer));
            changes.add(Direction::Shrank, About::End(pd.to_owned(), *id), message);
        }
    }
}

/// The differences as findings, each at its place in the system file.
pub fn findings(system: &System, changes: Vec<Change>) -> Vec<Finding> {
    let mut found: Vec<Finding> = changes
        .into_iter()
        .map(|change| {
            let lint = match change.direction {
                Direction::Grew => &kinds::PRIVILEGE_GREW,
                Direction::Shrank => &kinds::PRIVILEGE_SHRANK,
                Direction::Changed => &kinds::PRIVILEGE_CHANGED,
            };
            Finding::new(lint, &place(system, &change.about), change.message)
        })
        .collect();
    in_order(&mut found);
    found
}

/// What is gone from the file is placed at the PD that had it, or at the file's start.
fn place(system: &System, about: &About) -> Span {
    let pd = |name: &str| system.indexed_pds().find(|(_, pd)| pd.name == name);
    let pd_span = |name: &str| pd(name).map(|(_, pd)| pd.span.clone());
    let span = match about {
        About::Device => None,
        About::Pd(name) => pd_span(name),
        About::Region(name) => {
            system.regions.iter().find(|region| region.name == *name).map(|region| region.span.clone())
        }
        About::Map(name, region) => {
            let map = pd(name).and_then(|(_, pd)| {
                let guest = pd.virtual_machine.iter().flat_map(|machine| &machine.maps);
                pd.maps.iter().chain(guest).find(|map| system.region(map.region).name == *region)
            });
            map.map(|map| map.span.clone()).or_else(|| pd_span(name))
        }
        About::End(name, id) => {
            let owner = pd(name).map(|(index, _)| index);
            let ends = system.channels.iter().flat_map(|channel| &channel.ends);
            let mut own = ends.filter(|end| Some(end.pd) == owner && end.id == *id);
            own.next().map(|end| end.span.clone()).or_else(|| pd_span(name))
        }
    };
    span.unwrap_or(0..0)
}
