//! What is remembered of a run for its report: the first faults of each PD, how many there were, and how each PD ended.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::pd::Process;
use super::{Monitor, Policy};
use crate::sdf::PdIndex;
use crate::sys::cputime;
use crate::sys::trace::Registers;

/// Faults of one PD that are kept: a PD can fault without end, and a parent may let it go on each time.
const KEPT: u64 = 16;

/// Who heard of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its parent.
    Parent,
    /// Its parent would have, but did not take it until the end.
    Untaken,
    /// Nobody but the user; this is what became of the PD.
    User(Policy),
}

/// A fault of the run.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What it was.
    pub fault: Fault,
    /// All general registers, standing on the instruction that faulted; `None` when the process was gone.
    pub registers: Option<Registers>,
    /// Since the barrier was opened.
    pub at: Duration,
    /// Who was told.
    pub heard: Heard,
}

/// How a PD was at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It ran, or waited for what it could be woken by.
    Alive,
    /// A fault that nobody answered has stopped it.
    Faulted,
    /// Its parent, or a holder of its capability, has stopped it.
    Suspended,
    /// It was about to be started again.
    Restarting,
    /// Its process has ended.
    Gone,
}

/// One PD at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdEnd {
    /// How it was.
    pub state: State,
    /// Faults it had, handled ones included.
    pub faults: u64,
    /// Fresh processes it was given after the first.
    pub fresh_starts: u64,
    /// CPU time of its last process; `None` when that was gone.
    pub cpu_us: Option<u64>,
}

/// The run so far.
#[derive(Debug)]
pub(super) struct Record {
    opened: Instant,
    pub faults: Vec<Recorded>,
    /// Per PD, how many faults and fresh starts.
    counts: Vec<(u64, u64)>,
}

impl Record {
    /// Of a run that begins now.
    pub fn new(pds: usize) -> Self {
        Self { opened: Instant::now(), faults: Vec::new(), counts: vec![(0, 0); pds] }
    }

    /// Since the barrier was opened.
    pub fn elapsed(&self) -> Duration {
        self.opened.elapsed()
    }

    pub fn fault(&mut self, fault: &Fault, registers: Option<Registers>, heard: Heard) {
        let Some((faults, _)) = self.counts.get_mut(fault.pd.0) else { return };
        *faults += 1;
        if *faults <= KEPT {
            let at = self.opened.elapsed();
            self.faults.push(Recorded { fault: fault.clone(), registers, at, heard });
        }
    }

    pub fn fresh_start(&mut self, pd: PdIndex) {
        if let Some((_, starts)) = self.counts.get_mut(pd.0) {
            *starts += 1;
        }
    }

    /// The last fault of a PD was not taken by its parent.
    pub fn untaken(&mut self, pd: PdIndex) {
        if self.counts.get(pd.0).is_some_and(|(faults, _)| *faults <= KEPT)
            && let Some(last) = self.faults.iter_mut().rev().find(|recorded| recorded.fault.pd == pd)
        {
            last.heard = Heard::Untaken;
        }
    }
}

impl Monitor<'_> {
    /// How every PD is, before the processes are ended.
    pub(super) fn ends(&self) -> Vec<PdEnd> {
        let end = |index: PdIndex| {
            let pd = &self.pds[index.0];
            let state = match pd.process {
                _ if self.restarts.iter().any(|(_, restarting)| *restarting == index) => State::Restarting,
                Process::Gone => State::Gone,
                _ if pd.holds.fault => State::Faulted,
                _ if pd.holds.suspended => State::Suspended,
                _ => State::Alive,
            };
            let (faults, fresh_starts) = self.record.counts.get(index.0).copied().unwrap_or_default();
            let has_process = pd.process != Process::Gone;
            let cpu_us = has_process.then(|| cputime::microseconds(pd.pd.child.pid).ok()).flatten();
            PdEnd { state, faults, fresh_starts, cpu_us }
        };
        self.indices().map(end).collect()
    }
}
