//! Whether any PD can still run, as the kernel tells it.
//!
//! Only PDs wake PDs. A PD sleeps in `read` on its doorbell, or in `write` to its console while that is full. When every PD is seen asleep,
//! all doorbells are seen empty and no console is seen full after that, and then every PD is seen asleep again without having run in between, there
//! was a moment at which all slept with nothing pending; nothing can happen after it.

#![forbid(unsafe_code)]

use std::io;

use nix::unistd::Pid;

use crate::plan::DOORBELL_FD;
use crate::sys::procfs::{Asleep, Sleeper};
use crate::sys::trace;

/// Looks at one PD.
#[derive(Debug)]
pub struct Watch(Sleeper);

impl Watch {
    /// For a PD that has become ready.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Sleeper::open(pid).map(Self)
    }

    fn asleep(&self) -> Option<Asleep> {
        self.0.look()
    }
}

/// True when none of the watched PDs can run again. `nothing_pending` looks at every doorbell and console.
pub fn nothing_can_run(watches: &[&Watch], mut nothing_pending: impl FnMut() -> bool) -> bool {
    let look = || -> Option<Vec<Asleep>> { watches.iter().map(|watch| watch.asleep()).collect() };
    let Some(before) = look() else { return false };
    nothing_pending() && look().is_some_and(|after| after == before)
}

/// True when a stopped PD slept in `read` on its doorbell when the stop came: the kernel is to make that call again
/// (ERESTARTSYS, include/linux/errno.h).
pub fn was_asleep(pid: Pid) -> bool {
    const ERESTARTSYS: i64 = 512;
    trace::registers(pid).is_ok_and(|registers| {
        registers.orig_rax == libc::SYS_read as u64
            && registers.rax as i64 == -ERESTARTSYS
            && registers.rdi == DOORBELL_FD as u64
    })
}
