//! What a picture connects: blocks (a PD with all below it, or a region) and nets (a channel, or a region with its users).

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::{ordered, short};
use crate::report::words::bytes;
use crate::sdf::{PdIndex, RegionIndex, System};

/// Boxes and what joins them.
#[derive(Debug)]
pub(super) struct Diagram {
    pub blocks: Vec<Block>,
    pub nets: Vec<Net>,
}

/// What is placed as one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A PD without a parent, with its children inside.
    Tree(PdIndex),
    /// A memory region.
    Region(RegionIndex),
}

/// What one set of connected wires stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A channel over which one end calls; the first pin is the caller's.
    Call,
    /// Any other channel.
    Notification,
    /// A channel without a right at either end.
    Nothing,
    /// A region and those who map it.
    Region,
}

/// Wires that are connected.
#[derive(Debug)]
pub(super) struct Net {
    pub kind: Kind,
    pub pins: Vec<Pin>,
    /// For the tooltip.
    pub words: String,
}

/// Where a net meets a block.
#[derive(Debug)]
pub(super) struct Pin {
    pub block: usize,
    /// The PD inside the block; `None` at a region.
    pub pd: Option<PdIndex>,
    /// Channel id or rights.
    pub label: String,
    /// What arrives here.
    pub head: Head,
}

/// The end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing arrives.
    Plain,
    /// Notifications do.
    Notified,
    /// Calls do.
    Called,
}

impl Diagram {
    pub(super) fn of(system: &System) -> Self {
        let roots = system.indexed_pds().filter(|(_, pd)| pd.parent.is_none());
        let mut blocks: Vec<Block> = roots.map(|(index, _)| Block::Tree(index)).collect();
        let place: BTreeMap<PdIndex, usize> = blocks
            .iter()
            .enumerate()
            .filter_map(|(at, block)| match block {
                Block::Tree(root) => Some((*root, at)),
                Block::Region(_) => None,
            })
            .collect();
        let block_of = |pd: PdIndex| place.get(&root(system, pd)).copied().unwrap_or(0);
        let mut nets = channel_nets(system, &block_of);
        let mut users = users(system);
        for (index, region) in system.regions.iter().enumerate() {
            let at = blocks.len();
            blocks.push(Block::Region(RegionIndex(index)));
            let mut pins = vec![Pin { block: at, pd: None, label: String::new(), head: Head::Plain }];
            for (pd, label) in users.remove(&RegionIndex(index)).unwrap_or_default() {
                pins.push(Pin { block: block_of(pd), pd: Some(pd), label, head: Head::Plain });
            }
            if pins.len() > 1 {
                let words = format!("region {}, {}", short(&region.name), bytes(region.size));
                nets.push(Net { kind: Kind::Region, pins, words });
            }
        }
        Self { blocks, nets }
    }
}

fn channel_nets(system: &System, block_of: &dyn Fn(PdIndex) -> usize) -> Vec<Net> {
    let net = |channel| {
        let [one, other] = ordered(channel);
        let pin = |end: &crate::sdf::End, peer: &crate::sdf::End| Pin {
            block: block_of(end.pd),
            pd: Some(end.pd),
            label: end.id.to_string(),
            head: match (peer.pp, peer.notify) {
                (true, _) => Head::Called,
                (false, true) => Head::Notified,
                (false, false) => Head::Plain,
            },
        };
        let kind = match (one.pp, one.notify || other.notify) {
            (true, _) => Kind::Call,
            (false, true) => Kind::Notification,
            (false, false) => Kind::Nothing,
        };
        let side = |end: &crate::sdf::End| format!("{} {}", short(&system.pd(end.pd).name), end.id);
        Net {
            kind,
            pins: vec![pin(one, other), pin(other, one)],
            words: format!("channel {} – {}", side(one), side(other)),
        }
    };
    system.channels.iter().map(net).collect()
}

/// The PD without a parent that a PD stands in.
fn root(system: &System, mut pd: PdIndex) -> PdIndex {
    while let Some((parent, _)) = system.pd(pd).parent {
        pd = parent;
    }
    pd
}

/// Who maps each region and how; a PD that maps it more than once comes once, with all the rights.
pub(super) fn users(system: &System) -> BTreeMap<RegionIndex, Vec<(PdIndex, String)>> {
    let mut rights: BTreeMap<(RegionIndex, PdIndex), BTreeSet<char>> = BTreeMap::new();
    for (index, pd) in system.indexed_pds() {
        let guest = pd.virtual_machine.iter().flat_map(|machine| &machine.maps);
        for map in pd.maps.iter().chain(guest) {
            // In the alphabet r comes before w before x, as rights are written.
            rights.entry((map.region, index)).or_default().extend(map.perms.to_string().chars());
        }
    }
    let mut users: BTreeMap<RegionIndex, Vec<(PdIndex, String)>> = BTreeMap::new();
    for ((region, pd), letters) in rights {
        users.entry(region).or_default().push((pd, letters.into_iter().collect()));
    }
    users
}
