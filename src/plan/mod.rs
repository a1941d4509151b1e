//! The plan: everything the system file grants, worked out to the last page and descriptor before anything is created.
//! Pure data, so two plans compare and one prints as the policy.

#![forbid(unsafe_code)]

mod channel;
mod image;
mod memory;

pub use channel::{EndPlan, PagePosition, Rights};
pub use image::{ImagePlan, Write, bind_image};
pub use memory::{GuardPlan, MapPlan, PAGE, RegionPlan, USER_TOP};

use std::path::PathBuf;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Severity};
use crate::sdf::{PdIndex, ProtectionDomain, System};

/// What the command line says about every PD.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of malloc's heap in each PD, set aside before the PD is sealed.
    pub heap_size: u64,
    /// CPUs this process may run on: with one, waiting PDs never spin.
    pub cpus: usize,
    /// A PD may write and execute the same region.
    pub allow_wx: bool,
}

/// Bytes of a PD's heap unless `--heap-size` says otherwise.
pub const DEFAULT_HEAP_SIZE: u64 = 1 << 20;

/// A system, ready to be launched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Memory regions that some PD maps, in the order of the file.
    pub regions: Vec<RegionPlan>,
    /// PDs in the order of the system.
    pub pds: Vec<PdPlan>,
    /// Which domain runs when, in a system with domains.
    pub domains: Option<DomainSchedule>,
    /// CPUs that the PDs may run on.
    pub cpus: usize,
    /// Shortest time between two spins by which a PD finds out whether spinning pays, in time stamp counter cycles.
    pub rest_cycles: u64,
}

/// The domain schedule: from the file's `start_index` to the next end marker, again and again. At least one entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainSchedule {
    /// In the order they run.
    pub entries: Vec<DomainEntry>,
}

/// One domain's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DomainEntry {
    /// Index of the domain, as in [`PdPlan::domain`].
    pub domain: usize,
    /// How long.
    pub microseconds: u64,
}

/// What one PD is given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PdPlan {
    /// Its place in the system.
    pub index: PdIndex,
    /// Its name.
    pub name: String,
    /// 0 to 254.
    pub priority: u8,
    /// As the file writes it.
    pub image: PathBuf,
    /// Bytes of its stack, between two guard pages.
    pub stack_size: u64,
    /// Bytes that malloc can hand out.
    pub heap_size: u64,
    /// CPU it is pinned to.
    pub cpu: Option<u32>,
    /// Regions, ascending by address.
    pub maps: Vec<MapPlan>,
    /// Inaccessible pages around them.
    pub guards: Vec<GuardPlan>,
    /// Pages of its channel memory: its status page and one page an end.
    pub channel_pages: u64,
    /// Channel ends, ascending by id.
    pub ends: Vec<EndPlan>,
    /// Its parent, and its child id there: who hears of its faults.
    pub parent: Option<(PdIndex, u8)>,
    /// Child ids with the PDs, ascending: it may stop, resume and restart them, and handles their faults.
    pub children: Vec<(u8, PdIndex)>,
    /// User capability slots, ascending.
    pub cspace: Vec<CapPlan>,
    /// Bit N: irq id N. Inert: no host source is bound to it.
    pub irqs: u64,
    /// Bit N: ioport id N. Inert as well.
    pub ioports: u64,
    /// Runs only on its callers' time.
    pub passive: bool,
    /// Its nice value under Linux's schedule: 0 for the highest priority of the system, up to 19 for those far below.
    pub nice: i32,
    /// Its domain, in a system with domains.
    pub domain: Option<usize>,
    /// Microseconds of a CPU in every period.
    pub budget_us: u64,
    /// Microseconds.
    pub period_us: u64,
    /// Descriptors it holds while it runs, ascending; no others are open.
    pub descriptors: Vec<Descriptor>,
    /// Longest spin before it sleeps, in time stamp counter cycles.
    pub spin_cycles: u64,
}

/// A capability to another PD, in a user slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CapPlan {
    /// 1 to 127.
    pub slot: u8,
    /// To what of it.
    pub object: CapObject,
    /// Whose.
    pub pd: PdIndex,
}

/// What a capability is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapObject {
    /// Its thread: suspend, resume, registers.
    Tcb,
    /// Its scheduling context: the time it has run.
    SchedContext,
    /// Its address space: nothing can be done with it here.
    VSpace,
}

/// A descriptor a PD holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Descriptor {
    /// Its number in the PD.
    pub fd: i32,
    /// What it is.
    pub what: DescriptorKind,
}

/// What a descriptor of a PD is. All are ends of pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorKind {
    /// Write end of its console.
    Console,
    /// Read end of its own doorbell.
    Doorbell,
    /// Write end of a peer's doorbell.
    PeerDoorbell(PdIndex),
}

/// Standard output and standard error of a PD are its console; 0 stays closed.
pub const CONSOLE_FDS: [i32; 2] = [1, 2];
/// The PD's own doorbell.
pub const DOORBELL_FD: i32 = 3;
/// Peers' doorbells follow from here, ascending by PD.
const FIRST_PEER_FD: i32 = 4;

/// About 100 µs at 2.5 GHz, twice what waking a sleeping PD on another CPU costs: with less, two PDs that both sleep never find out that
/// spinning would pay.
const SPIN_CYCLES: u64 = 250_000;
/// One in so many: the part of the host's time that all PDs' spins in vain may take together.
const SPINS_IN_VAIN: u64 = 20;

impl Plan {
    /// Works the system out. Errors are about things that are valid in a system file but cannot be run here.
    pub fn of(system: &System, options: &Options) -> Result<Self, Vec<Diagnostic>> {
        let mut errors: Vec<Diagnostic> = system
            .unsupported
            .iter()
            .map(|unsupported| Diagnostic {
                severity: Severity::Error,
                span: unsupported.span.clone(),
                message: format!("{} cannot be run on Linux by this version", unsupported.what),
                help: Some("`mk-sandbox check` accepts it; remove it to run the system".into()),
            })
            .collect();
        if !options.allow_wx {
            errors.extend(memory::errors(system));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let channels = channel::plan(system);
        let rest_cycles = SPIN_CYCLES * SPINS_IN_VAIN * system.pds.len() as u64 / options.cpus.max(1) as u64;
        let pds = system
            .indexed_pds()
            .zip(channels)
            .map(|((index, pd), channels)| {
                let maps = memory::maps(system, pd);
                PdPlan {
                    index,
                    name: pd.name.clone(),
                    priority: pd.priority,
                    image: pd.image.path.clone(),
                    stack_size: pd.stack_size,
                    heap_size: options.heap_size,
                    cpu: pd.cpu,
                    guards: memory::guards(&maps),
                    maps,
                    channel_pages: channels.pages,
                    descriptors: descriptors(&channels.ends),
                    ends: channels.ends,
                    parent: pd.parent,
                    children: children(system, index),
                    cspace: pd.cspace.iter().map(cap).collect(),
                    irqs: pd.irqs.iter().map(|irq| 1 << irq.id).sum(),
                    ioports: pd.ioports.iter().map(|ioport| 1 << ioport.id).sum(),
                    passive: pd.passive,
                    nice: nice(system, pd.priority),
                    domain: pd.domain.map(|domain| domain.0),
                    budget_us: pd.budget_us,
                    period_us: pd.period_us,
                    spin_cycles: if may_overlap(system, pd, options.cpus) { SPIN_CYCLES } else { 0 },
                }
            })
            .collect();
        Ok(Self {
            regions: memory::regions(system),
            pds,
            domains: domains(system),
            cpus: options.cpus,
            rest_cycles,
        })
    }

    /// True when the launcher may be asked for something by this PD.
    pub fn may_ask(&self, index: PdIndex) -> bool {
        let pd = self.pd(index);
        !pd.children.is_empty() || !pd.cspace.is_empty()
    }

    /// True for a passive PD that runs on time which somebody counts, because it is limited or can be asked for: it has to say whose it is.
    pub fn charges(&self, index: PdIndex) -> bool {
        let pd = self.pd(index);
        let is_counted = |caller: PdIndex| {
            let caller = self.pd(caller);
            let is_of_caller =
                |cap: &CapPlan| cap.object == CapObject::SchedContext && cap.pd == caller.index;
            caller.budget_us < caller.period_us
                || self.pds.iter().flat_map(|pd| &pd.cspace).any(is_of_caller)
                // Callers have strictly lower priorities, so this ends.
                || self.charges(caller.index)
        };
        pd.passive && pd.ends.iter().any(|end| end.rights.serves && is_counted(end.peer))
    }

    /// The PD with this index.
    pub fn pd(&self, index: PdIndex) -> &PdPlan {
        &self.pds[index.0]
    }
}

fn children(system: &System, parent: PdIndex) -> Vec<(u8, PdIndex)> {
    let mut list: Vec<(u8, PdIndex)> = system
        .indexed_pds()
        .filter_map(|(index, pd)| pd.parent.filter(|(of, _)| *of == parent).map(|(_, id)| (id, index)))
        .collect();
    list.sort();
    list
}

/// Priorities 0 to 254 spread over nice 19 to 0, counted from the highest there is: anybody may be nice, nobody may be less.
pub fn nice(system: &System, priority: u8) -> i32 {
    let highest = system.pds.iter().map(|pd| pd.priority).max().unwrap_or(priority);
    i32::from(highest - priority) * 19 / 254
}

impl PdPlan {
    /// Priority 0 to 254 as one of SCHED_FIFO's 1 to 99.
    pub fn realtime_priority(&self) -> i32 {
        1 + i32::from(self.priority) * 98 / 254
    }
}

/// Microseconds of a kernel tick (seL4's CONFIG_TIMER_TICK_MS, 2 by default).
const TICK_US: u64 = 2000;

fn domains(system: &System) -> Option<DomainSchedule> {
    use crate::sdf::domains::{Duration, ScheduleEntry};
    let domains = system.domains.as_ref()?;
    let entries: Vec<DomainEntry> = domains
        .schedule
        .iter()
        .skip(domains.start_index)
        .map_while(|entry| match entry {
            ScheduleEntry::Run(domain, Duration::Microseconds(microseconds)) => {
                Some(DomainEntry { domain: domain.0, microseconds: *microseconds })
            }
            ScheduleEntry::Run(domain, Duration::Ticks(ticks)) => {
                Some(DomainEntry { domain: domain.0, microseconds: ticks.saturating_mul(TICK_US) })
            }
            ScheduleEntry::End => None,
        })
        .collect();
    (!entries.is_empty()).then_some(DomainSchedule { entries })
}

fn cap(cap: &crate::sdf::cspace::CapSlot) -> CapPlan {
    use crate::sdf::cspace::Object;
    let object = match cap.object {
        Object::Tcb => CapObject::Tcb,
        Object::SchedContext => CapObject::SchedContext,
        Object::VSpace => CapObject::VSpace,
    };
    CapPlan { slot: cap.slot, object, pd: cap.pd }
}

/// Whether a PD can run at the same time as one it waits for: not on one CPU, whether the host has no other or the file pins all of
/// them there.
fn may_overlap(system: &System, pd: &ProtectionDomain, cpus: usize) -> bool {
    let elsewhere = |other: &ProtectionDomain| pd.cpu.is_none() || other.cpu != pd.cpu;
    cpus > 1 && system.pds.iter().any(elsewhere)
}

/// The doorbell of every peer that some end leads to stands at the descriptor its ends name.
fn descriptors(ends: &[EndPlan]) -> Vec<Descriptor> {
    let mut list: Vec<Descriptor> =
        CONSOLE_FDS.map(|fd| Descriptor { fd, what: DescriptorKind::Console }).into();
    list.push(Descriptor { fd: DOORBELL_FD, what: DescriptorKind::Doorbell });
    let mut peers: Vec<(i32, PdIndex)> = ends.iter().map(|end| (end.peer_doorbell_fd, end.peer)).collect();
    peers.sort();
    peers.dedup();
    list.extend(
        peers.into_iter().map(|(fd, peer)| Descriptor { fd, what: DescriptorKind::PeerDoorbell(peer) }),
    );
    list
}
