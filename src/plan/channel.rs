//! Channels: which page each end writes, where in the page, and which doorbell it rings.
//!
//! Every PD has one piece of channel memory: page 0 tells about the PD itself, page n carries what its n-th end says.
//! The PD maps all of it read-write; a peer maps page 0 and the pages of the channels it shares, read-only.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::FIRST_PEER_FD;
use crate::sdf::{PdIndex, System};
use crate::sys::abi;

/// Where an end's words stand in a PD's channel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PagePosition {
    /// Whose memory.
    pub pd: PdIndex,
    /// Page number, from 1.
    pub page: u64,
    /// Byte in the page: a multiple of `MK_OUT_ALIGN` below `MK_OUT_SPAN`.
    pub offset: u64,
}

/// What an end may do, and what its PD listens to on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// This end may notify the peer.
    pub may_notify: bool,
    /// This end may call the peer.
    pub may_call: bool,
    /// The peer may notify this end.
    pub hears: bool,
    /// The peer may call this end.
    pub serves: bool,
}

impl Rights {
    /// As `MK_MAY_NOTIFY | …` of libmicrokit/abi.h.
    pub fn bits(self) -> u32 {
        let bits = [
            (self.may_notify, abi::MK_MAY_NOTIFY),
            (self.may_call, abi::MK_MAY_CALL),
            (self.hears, abi::MK_HEARS),
            (self.serves, abi::MK_SERVES),
        ];
        bits.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit as u32).sum()
    }
}

/// One end of a channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndPlan {
    /// Channel id in this PD, 0 to 61.
    pub id: u8,
    /// The PD at the other end.
    pub peer: PdIndex,
    /// The channel id at the other end.
    pub peer_id: u8,
    /// Priority of the peer: the order in which callers are served.
    pub peer_priority: u8,
    /// What it may do.
    pub rights: Rights,
    /// What this end says: mapped read-write here.
    pub out: PagePosition,
    /// What the peer says: mapped read-only here.
    pub incoming: PagePosition,
    /// The write end of the peer's doorbell in this PD.
    pub peer_doorbell_fd: i32,
}

/// The channels of one PD.
pub(super) struct PdChannels {
    /// Ascending by id.
    pub ends: Vec<EndPlan>,
    /// Pages of its channel memory.
    pub pages: u64,
}

/// The channels of every PD, in the order of the system.
pub(super) fn plan(system: &System) -> Vec<PdChannels> {
    let mut ids: Vec<Vec<u8>> = vec![Vec::new(); system.pds.len()];
    let mut peers: Vec<Vec<PdIndex>> = vec![Vec::new(); system.pds.len()];
    for channel in &system.channels {
        let [a, b] = &channel.ends;
        for (end, other) in [(a, b), (b, a)] {
            ids[end.pd.0].push(end.id);
            peers[end.pd.0].push(other.pd);
        }
    }
    for list in &mut ids {
        list.sort();
    }
    for list in &mut peers {
        list.sort();
        list.dedup();
    }
    let mut pds: Vec<PdChannels> =
        ids.iter().map(|ids| PdChannels { ends: Vec::new(), pages: 1 + ids.len() as u64 }).collect();
    for channel in &system.channels {
        let [a, b] = &channel.ends;
        for (end, other) in [(a, b), (b, a)] {
            let peer_slot = position_in(&peers[end.pd.0], &other.pd);
            pds[end.pd.0].ends.push(EndPlan {
                id: end.id,
                peer: other.pd,
                peer_id: other.id,
                peer_priority: system.pd(other.pd).priority,
                rights: Rights {
                    may_notify: end.notify,
                    may_call: end.pp,
                    hears: other.notify,
                    serves: other.pp,
                },
                out: page_of(&ids, end.pd, end.id),
                incoming: page_of(&ids, other.pd, other.id),
                peer_doorbell_fd: FIRST_PEER_FD + peer_slot as i32,
            });
        }
    }
    for pd in &mut pds {
        pd.ends.sort_by_key(|end| end.id);
    }
    pds
}

/// The page of an end: pages follow the ids in ascending order. The offset steps one cache line from page to page, so
/// that a PD which looks at all its channels does not look 62 times into one set of its first-level cache.
fn page_of(ids: &[Vec<u8>], pd: PdIndex, id: u8) -> PagePosition {
    let slot = position_in(&ids[pd.0], &id) as u64;
    let places = abi::MK_OUT_SPAN / abi::MK_OUT_ALIGN;
    PagePosition { pd, page: 1 + slot, offset: (u64::from(id) % places) * abi::MK_OUT_ALIGN }
}

/// The place of an item that the list was built to contain.
fn position_in<T: PartialEq>(list: &[T], item: &T) -> usize {
    list.iter().position(|other| other == item).unwrap_or(0)
}
