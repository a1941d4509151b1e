//! The memory a PD shares: its regions where the system file says, its channels where the kernel likes.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::sys::mman::ProtFlags;

use super::handoff::Handoff;
use super::step::{Failure, Step};
use crate::sdf::Perms;
use crate::sys::abi;
use crate::sys::memory::{PAGE, guard_at, map_shared, map_shared_at};

/// The channel ends with their addresses, and the PD's own status page.
pub(super) struct Channels {
    pub status: u64,
    pub ends: Vec<abi::End>,
    /// 0 without children.
    pub supervisor: u64,
}

pub(super) fn channels(handoff: &Handoff) -> Result<Channels, Errno> {
    let page = |number: u64| number * PAGE as u64;
    let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let (own_fd, pages) = handoff.channel_memory;
    let own = map_shared(page(pages), read_write, own_fd, 0)?;
    // Per peer, the address of each of its mapped pages, in the order of `pages`.
    let mut peers: Vec<Vec<u64>> = Vec::with_capacity(handoff.peers.len());
    for peer in &handoff.peers {
        let map = |number: &u64| map_shared(PAGE as u64, ProtFlags::PROT_READ, peer.fd, page(*number));
        peers.push(peer.pages.iter().map(map).collect::<Result<_, _>>()?);
    }
    let mapped = |peer: Option<usize>, number: u64| match peer {
        None => Ok(own + page(number)),
        Some(index) => {
            let slot = handoff.peers[index].pages.iter().position(|page| *page == number);
            slot.map(|slot| peers[index][slot]).ok_or(Errno::EFAULT)
        }
    };
    let ends = handoff
        .ends
        .iter()
        .map(|end| {
            Ok(abi::End {
                out: own + page(end.out.0) + end.out.1,
                incoming: mapped(end.peer, end.incoming.0)? + end.incoming.1,
                peer_status: mapped(end.peer, 0)?,
                peer_doorbell: end.peer_doorbell,
                rights: end.rights,
                id: end.id.into(),
                peer_priority: end.peer_priority.into(),
            })
        })
        .collect::<Result<_, Errno>>()?;
    let supervisor = match handoff.supervisor {
        None => 0,
        Some(fd) => map_shared(PAGE as u64, ProtFlags::PROT_READ, fd, 0)?,
    };
    Ok(Channels { status: own, ends, supervisor })
}

pub(super) fn regions(handoff: &Handoff) -> Result<(), Failure> {
    for (map, fd) in &handoff.maps {
        map_shared_at(map.vaddr, map.size, rights(map.perms), *fd, 0).map_err(|errno| Failure {
            detail: format!("region `{}` at {:#x}..{:#x}: {}", map.name, map.vaddr, map.end(), why(errno)),
            address: Some(map.vaddr),
            ..Failure::new(Step::Regions, errno)
        })?;
    }
    for guard in &handoff.guards {
        guard_at(guard.vaddr, guard.size).map_err(|errno| Failure {
            detail: format!("guard page at {:#x}: {}", guard.vaddr, why(errno)),
            address: Some(guard.vaddr),
            ..Failure::new(Step::Regions, errno)
        })?;
    }
    Ok(())
}

fn why(errno: Errno) -> &'static str {
    match errno {
        Errno::EEXIST => {
            "the address is taken; programs and libraries lie there on Linux: choose a lower one"
        }
        Errno::EPERM => "the address is below vm.mmap_min_addr: choose a higher one",
        Errno::ENOMEM => "beyond user memory, or more than this host can map",
        _ => "the kernel refuses the mapping",
    }
}

fn rights(perms: Perms) -> ProtFlags {
    [
        (perms.read, ProtFlags::PROT_READ),
        (perms.write, ProtFlags::PROT_WRITE),
        (perms.execute, ProtFlags::PROT_EXEC),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .map(|(_, flag)| flag)
    .collect()
}
