//! The plan's decisions about one PD, with the descriptors of this run: what its PD host is given.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};

use super::Launch;
use super::prepare::Resources;
use crate::pd::{Handoff, HostEnd, PeerMemory};
use crate::plan::{DescriptorKind, PdPlan};
use crate::sdf::PdIndex;
use crate::sys::abi;

/// The handoff of one PD. `status` is the end of the pipe made for this start.
pub(super) fn handoff(launch: &Launch, resources: &Resources, pd: &PdPlan, status: RawFd) -> Handoff {
    let mut pages_of: BTreeMap<PdIndex, Vec<u64>> = BTreeMap::new();
    for end in pd.ends.iter().filter(|end| end.peer != pd.index) {
        pages_of.entry(end.peer).or_insert_with(|| vec![0]).push(end.incoming.page);
    }
    for pages in pages_of.values_mut() {
        pages.sort_unstable();
    }
    let peer_slot = |peer: PdIndex| pages_of.keys().position(|other| *other == peer);
    let image = &launch.images[pd.index.0];
    let descriptor = |what: DescriptorKind| match what {
        DescriptorKind::Console => resources.consoles[pd.index.0].write.as_raw_fd(),
        DescriptorKind::Doorbell => resources.doorbells[pd.index.0].read.as_raw_fd(),
        DescriptorKind::PeerDoorbell(peer) => resources.doorbells[peer.0].write.as_raw_fd(),
    };
    Handoff {
        name: pd.name.clone(),
        maps: pd.maps.iter().filter_map(|map| Some((map.clone(), resources.region_fd(map)?))).collect(),
        guards: pd.guards.clone(),
        channel_memory: (resources.channels[pd.index.0].read_write.as_raw_fd(), pd.channel_pages),
        ends: pd
            .ends
            .iter()
            .map(|end| HostEnd {
                id: end.id,
                rights: end.rights.bits(),
                peer_priority: end.peer_priority,
                out: (end.out.page, end.out.offset),
                peer: peer_slot(end.peer),
                incoming: (end.incoming.page, end.incoming.offset),
                peer_doorbell: end.peer_doorbell_fd,
            })
            .collect(),
        peers: pages_of
            .iter()
            .map(|(peer, pages)| PeerMemory {
                fd: resources.channels[peer.0].read_only.as_raw_fd(),
                pages: pages.clone(),
            })
            .collect(),
        supervisor: resources.supervisors[pd.index.0].as_ref().map(|memory| memory.read_only.as_raw_fd()),
        children: pd.children.iter().map(|(id, _)| 1 << id).sum(),
        cspace: slots(pd),
        irqs: pd.irqs,
        ioports: pd.ioports,
        passive: passive(launch, pd),
        schedule: launch.schedule.number(),
        stack_size: pd.stack_size,
        heap_size: pd.heap_size,
        spin_cycles: pd.spin_cycles,
        wait: launch.wait.number(),
        cpus: launch.plan.cpus as u64,
        rest_cycles: launch.plan.rest_cycles,
        libmicrokit: resources.libmicrokit.as_raw_fd(),
        image: resources.images[pd.index.0].as_raw_fd(),
        image_name: image.name.clone(),
        image_plan: image.plan.clone(),
        descriptors: pd.descriptors.iter().map(|held| (descriptor(held.what), held.fd)).collect(),
        status,
        launcher: resources.launcher.as_raw_fd(),
        landlock_abi: launch.landlock_abi,
        without: launch.without,
        loading_filters: launch.filters.loading.clone(),
        final_filters: launch.filters.running.clone(),
    }
}

fn slots(pd: &PdPlan) -> [u64; 2] {
    let mut words = [0; 2];
    for cap in &pd.cspace {
        words[usize::from(cap.slot) / 64] |= 1 << (cap.slot % 64);
    }
    words
}

fn passive(launch: &Launch, pd: &PdPlan) -> u32 {
    let kind = match pd.passive {
        true if launch.plan.charges(pd.index) => abi::MK_PASSIVE_CHARGES,
        true => abi::MK_PASSIVE,
        false => 0,
    };
    kind as u32
}
