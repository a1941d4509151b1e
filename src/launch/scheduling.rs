//! A PD's place among Linux's processes: the CPU the file names, and its priority as far as Linux has one.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::plan::PdPlan;
use crate::sys::scheduling;

/// Pins the PD where the file says so, and sets its priority: SCHED_FIFO when asked for and allowed, else nice. True: realtime was
/// asked for and the host refused.
pub(super) fn apply(pid: Pid, pd: &PdPlan, realtime: bool) -> Result<bool, Errno> {
    if let Some(cpu) = pd.cpu {
        scheduling::pin(pid, cpu)?;
    }
    if realtime {
        match scheduling::set_realtime(pid, pd.realtime_priority()) {
            Ok(()) => return Ok(false),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    scheduling::set_nice(pid, nice(pd.nice))?;
    Ok(realtime)
}

/// Counted from the launcher's own, which is as far up as everybody may go: a launcher that was started with nice(1) stays as nice.
pub(super) fn nice(wanted: i32) -> i32 {
    // What starts PDs again is a copy of this process that may not ask.
    static OWN: OnceLock<i32> = OnceLock::new();
    (OWN.get_or_init(scheduling::own_nice).max(&0) + wanted).min(19)
}
