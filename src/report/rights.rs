//! What a PD may reach, by name: for `policy`, which runs nothing, and for the report of a run.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::words::bytes;
use crate::plan::{self, DescriptorKind, EndPlan, PdPlan, Plan};
use crate::sys::clone;

/// What one PD may reach, by name; the field names are those of the JSON output.
#[derive(Debug, Serialize)]
pub struct Pd {
    /// Its name.
    pub name: String,
    /// As the file writes it.
    pub image: String,
    /// 0 to 254.
    pub priority: u8,
    /// Pinned to it.
    pub cpu: Option<u32>,
    /// Bytes.
    pub stack_size: u64,
    /// Bytes.
    pub heap_size: u64,
    /// Ascending by address.
    pub regions: Vec<Region>,
    /// Ascending by id.
    pub channels: Vec<Channel>,
    /// Its own first.
    pub channel_memory: Vec<ChannelMemory>,
    /// All that are open.
    pub descriptors: Vec<Descriptor>,
}

/// A memory region in it.
#[derive(Debug, Serialize)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// First byte.
    pub vaddr: u64,
    /// Bytes.
    pub size: u64,
    /// Of `rwx`.
    pub perms: String,
}

/// A channel, from its end.
#[derive(Debug, Serialize)]
pub struct Channel {
    /// Here.
    pub id: u8,
    /// The other PD.
    pub peer: String,
    /// There.
    pub peer_id: u8,
    /// It notifies.
    pub may_notify: bool,
    /// It calls.
    pub may_call: bool,
    /// It is notified.
    pub may_be_notified: bool,
    /// It is called.
    pub may_be_called: bool,
}

/// Pages of channel memory that it maps.
#[derive(Debug, Serialize)]
pub struct ChannelMemory {
    /// Whose.
    pub pd: String,
    /// Of `rw`.
    pub perms: &'static str,
    /// Page numbers.
    pub pages: Vec<u64>,
}

/// A descriptor that it holds.
#[derive(Debug, Serialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// What it is.
    pub what: String,
    /// Of `rw`.
    pub perms: &'static str,
}

/// Those that every PD is started in.
pub fn namespaces() -> Vec<&'static str> {
    let kinds = clone::NAMESPACE_KINDS.into_iter().filter(|(bit, _)| clone::NAMESPACES & bit != 0);
    kinds.map(|(_, name)| name).collect()
}

impl Pd {
    /// From the plan.
    pub fn of(plan: &Plan, pd: &PdPlan) -> Self {
        let name = |index| plan.pd(index).name.clone();
        let region = |map: &plan::MapPlan| Region {
            name: map.name.clone(),
            vaddr: map.vaddr,
            size: map.size,
            perms: map.perms.to_string(),
        };
        let channel = |end: &EndPlan| Channel {
            id: end.id,
            peer: name(end.peer),
            peer_id: end.peer_id,
            may_notify: end.rights.may_notify,
            may_call: end.rights.may_call,
            may_be_notified: end.rights.hears,
            may_be_called: end.rights.serves,
        };
        let descriptor = |descriptor: &plan::Descriptor| {
            let (what, perms) = match descriptor.what {
                DescriptorKind::Console => ("console".to_owned(), "w"),
                DescriptorKind::Doorbell => ("doorbell".to_owned(), "r"),
                DescriptorKind::PeerDoorbell(peer) => (format!("doorbell of {}", name(peer)), "w"),
            };
            Descriptor { fd: descriptor.fd, what, perms }
        };
        Self {
            name: pd.name.clone(),
            image: pd.image.display().to_string(),
            priority: pd.priority,
            cpu: pd.cpu,
            stack_size: pd.stack_size,
            heap_size: pd.heap_size,
            regions: pd.maps.iter().map(region).collect(),
            channels: pd.ends.iter().map(channel).collect(),
            channel_memory: channel_memory(plan, pd),
            descriptors: pd.descriptors.iter().map(descriptor).collect(),
        }
    }
}

/// A PD's own pages, then those of each peer, in the order of its ends.
fn channel_memory(plan: &Plan, pd: &PdPlan) -> Vec<ChannelMemory> {
    let own = ChannelMemory { pd: pd.name.clone(), perms: "rw", pages: (0..pd.channel_pages).collect() };
    let mut all = vec![own];
    for end in pd.ends.iter().filter(|end| end.peer != pd.index) {
        let peer = &plan.pd(end.peer).name;
        let place = match all.iter().position(|memory| memory.pd == *peer) {
            Some(place) => place,
            None => {
                // Page 0 says whether the peer sleeps.
                all.push(ChannelMemory { pd: peer.clone(), perms: "r", pages: vec![0] });
                all.len() - 1
            }
        };
        all[place].pages.push(end.incoming.page);
    }
    for memory in &mut all {
        memory.pages.sort_unstable();
        memory.pages.dedup();
    }
    all
}

impl std::fmt::Display for Pd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PD `{}`: {}, priority {}", self.name, self.image, self.priority)?;
        if let Some(cpu) = self.cpu {
            write!(f, ", CPU {cpu}")?;
        }
        writeln!(f, "\n  stack {}, heap {}", bytes(self.stack_size), bytes(self.heap_size))?;
        writeln!(f, "  memory regions{}", none_if(self.regions.is_empty()))?;
        for region in &self.regions {
            writeln!(
                f,
                "    {:#014x}..{:#014x}  {:<3}  {} ({})",
                region.vaddr,
                region.vaddr + region.size,
                region.perms,
                region.name,
                bytes(region.size)
            )?;
        }
        writeln!(f, "  channels{}", none_if(self.channels.is_empty()))?;
        for channel in &self.channels {
            let rights = [
                (channel.may_notify, "notifies it"),
                (channel.may_call, "calls it"),
                (channel.may_be_notified, "is notified"),
                (channel.may_be_called, "is called"),
            ];
            let rights: Vec<&str> =
                rights.into_iter().filter(|(on, _)| *on).map(|(_, right)| right).collect();
            let rights = if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") };
            writeln!(
                f,
                "    {:>2}  with `{}` (there {}): {rights}",
                channel.id, channel.peer, channel.peer_id
            )?;
        }
        writeln!(f, "  channel memory")?;
        for memory in &self.channel_memory {
            let pages: Vec<String> = memory.pages.iter().map(u64::to_string).collect();
            let whose = if memory.pd == self.name { "its own".into() } else { format!("of `{}`", memory.pd) };
            writeln!(f, "    {:<3}  {whose}: page {}", memory.perms, pages.join(", "))?;
        }
        writeln!(f, "  descriptors")?;
        for descriptor in &self.descriptors {
            writeln!(f, "    {:>2}  {:<3}  {}", descriptor.fd, descriptor.perms, descriptor.what)?;
        }
        Ok(())
    }
}

fn none_if(empty: bool) -> &'static str {
    if empty { ": none" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_of_a_pd_has_a_name() {
        let named = clone::NAMESPACE_KINDS.iter().fold(0, |bits, (bit, _)| bits | bit);
        assert_eq!(clone::NAMESPACES & !named, 0);
    }
}
