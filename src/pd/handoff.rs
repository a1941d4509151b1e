//! What the launcher hands to the PD host: the plan's decisions about one PD with the descriptors it takes to carry them out.
//! It travels as JSON in a sealed memfd between two runs of the same binary.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::step::{Failure, StepTimes};
use crate::plan::{GuardPlan, ImagePlan, MapPlan};
use crate::policy::Program;

/// Everything the PD host needs; it asks for nothing else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handoff {
    /// The PD's name.
    pub name: String,
    /// Regions, with the descriptor to map each from: read-only unless the PD may write.
    pub maps: Vec<(MapPlan, RawFd)>,
    /// Inaccessible pages.
    pub guards: Vec<GuardPlan>,
    /// Its own channel memory, read-write, and its number of pages.
    pub channel_memory: (RawFd, u64),
    /// Peers' channel memory, read-only.
    pub peers: Vec<PeerMemory>,
    /// Channel ends, ascending by id.
    pub ends: Vec<HostEnd>,
    /// The page the launcher tells it about its children in, read-only.
    pub supervisor: Option<RawFd>,
    /// Bit N: child id N.
    pub children: u64,
    /// Bit N of word N / 64: user capability slot N.
    pub cspace: [u64; 2],
    /// Bit N: irq id N.
    pub irqs: u64,
    /// Bit N: ioport id N.
    pub ioports: u64,
    /// 0 or `MK_PASSIVE…`
    pub passive: u32,
    /// `MK_SCHEDULE_…`
    pub schedule: u32,
    /// Bytes.
    pub stack_size: u64,
    /// Bytes.
    pub heap_size: u64,
    /// Longest spin, in cycles.
    pub spin_cycles: u64,
    /// `MK_WAIT_AUTO` and so on.
    pub wait: u32,
    /// CPUs that the system may run on.
    pub cpus: u64,
    /// Shortest time between two probes, in cycles.
    pub rest_cycles: u64,
    /// libmicrokit.so, sealed.
    pub libmicrokit: RawFd,
    /// The image, sealed.
    pub image: RawFd,
    /// Name of the image's file in the PD's root.
    pub image_name: String,
    /// Where things lie in the image.
    pub image_plan: ImagePlan,
    /// (here, number in the PD) of every descriptor it keeps.
    pub descriptors: Vec<(RawFd, RawFd)>,
    /// Where to report; closed before the image runs.
    pub status: RawFd,
    /// A pidfd of the launcher's.
    pub launcher: RawFd,
    /// Landlock ABI of this host.
    pub landlock_abi: i32,
    /// Parts this host lacks and the user agreed to do without.
    pub without: Without,
    /// Filters for loading the image, installed in this order.
    pub loading_filters: Vec<Program>,
    /// Installed in this order; the last one denies everything but what a PD does.
    pub final_filters: Vec<Program>,
}

impl Handoff {
    /// Every descriptor number in it, each once: what must stay open across exec.
    pub fn descriptors_needed(&self) -> Vec<RawFd> {
        let single = [self.channel_memory.0, self.libmicrokit, self.image, self.status, self.launcher];
        let mut all: Vec<RawFd> = single.into();
        all.extend(self.maps.iter().map(|(_, fd)| *fd));
        all.extend(self.peers.iter().map(|peer| peer.fd));
        all.extend(self.supervisor);
        all.extend(self.descriptors.iter().map(|(here, _)| *here));
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Protections left out by a lower tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Without {
    /// mseal (Linux 6.10).
    pub mseal: bool,
    /// Memory-deny-write-execute (Linux 6.3).
    pub mdwe: bool,
}

/// A peer's channel memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerMemory {
    /// A read-only description of it.
    pub fd: RawFd,
    /// Pages to map: 0 and those of the shared channels, ascending.
    pub pages: Vec<u64>,
}

/// A channel end, by where its words are.
#[derive(Debug, Serialize, Deserialize)]
pub struct HostEnd {
    /// Channel id.
    pub id: u8,
    /// `MK_MAY_NOTIFY | …`
    pub rights: u32,
    /// 0 to 254.
    pub peer_priority: u8,
    /// Page and byte in the PD's own channel memory.
    pub out: (u64, u64),
    /// Whose channel memory the peer's words are in: an index of `peers`, or `None` for the PD's own.
    pub peer: Option<usize>,
    /// Page and byte there.
    pub incoming: (u64, u64),
    /// The peer's doorbell, by its number in the PD.
    pub peer_doorbell: RawFd,
}

/// What the host reports before the image runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// A step failed; the process ends.
    Failed(Failure),
    /// All steps but the last filter are done; when they began.
    Layout(Layout, Box<StepTimes>),
}

/// Where things lie in the PD, for reading its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Added to the image's own addresses.
    pub image_base: u64,
    /// First byte of the stack; the guard is below.
    pub stack: u64,
    /// libmicrokit's mk_restart.
    pub restart: u64,
    /// The handoff page, its argument.
    pub handoff: u64,
}

/// Bytes of the longest report: a pipe takes up to PIPE_BUF (4096) at once.
pub const REPORT_MAX: usize = 4096;
