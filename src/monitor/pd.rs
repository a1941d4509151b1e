//! One PD as the monitor sees it: its process, and what keeps it from running.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::console::Console;
use super::fault::Fault;
use super::idle;
use crate::launch::RunningPd;
use crate::sdf::PdIndex;
use crate::sys::trace::Registers;

/// What the kernel last said of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Runs, or sleeps in a system call.
    Running,
    /// Stopped under the tracer's hand: its registers can be read and set.
    Stopped,
    /// Has ended.
    Gone,
}

/// Reasons not to run. It runs when none holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    /// A fault waits for its parent's answer, or for ever.
    pub fault: bool,
    /// Its parent, or whoever holds a capability to its thread, has stopped it.
    pub suspended: bool,
    /// It is in a launcher call that has not been answered.
    pub asking: bool,
    /// Its registers are being looked at.
    pub inspected: bool,
    /// Its budget of this period is spent.
    pub budget: bool,
    /// Its domain is not the current one.
    pub domain: bool,
    /// Another PD has its virtual CPU.
    pub cpu: bool,
}

impl Holds {
    /// Nothing holds.
    pub fn none(self) -> bool {
        self == Self::default()
    }

    /// Held by something that only another PD can end.
    pub fn lasting(self) -> bool {
        self.fault || self.suspended
    }
}

/// A fault that has not been answered.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub fault: Fault,
    /// At the time of the fault; `None` when the process is gone.
    pub registers: Option<Registers>,
    /// When, in time stamp counter cycles.
    pub since: u64,
    /// Its parent has been given the message.
    pub taken: bool,
    /// The user has been told, since nobody is left to handle it.
    pub told: bool,
}

impl Pending {
    /// Neither the parent nor the user knows of it yet.
    pub fn is_untold(&self) -> bool {
        !self.taken && !self.told
    }
}

/// One PD.
#[derive(Debug)]
pub(super) struct Watched {
    pub pd: RunningPd,
    pub console: Console,
    pub watch: Option<idle::Watch>,
    pub process: Process,
    pub holds: Holds,
    pub pending: Option<Pending>,
    /// Children whose faults wait to be taken, in the order they will be.
    pub inbox: VecDeque<PdIndex>,
    /// Count of faults ever raised for this parent: what its supervisor page says.
    pub raised: u64,
    /// CPU time, in microseconds, when it was last asked for.
    pub consumed_us: u64,
    /// Starts again that `--on-fault restart` has made.
    pub restarts: u32,
}

impl Watched {
    pub fn new(pd: RunningPd, console: Console) -> Self {
        Self {
            pd,
            console,
            watch: None,
            process: Process::Stopped,
            holds: Holds::default(),
            pending: None,
            inbox: VecDeque::new(),
            raised: 0,
            consumed_us: 0,
            restarts: 0,
        }
    }

    /// May run, as far as the monitor goes.
    pub fn should_run(&self) -> bool {
        self.process != Process::Gone && self.holds.none()
    }
}
