//! Where and how a process is scheduled by Linux, set from outside (sched_setaffinity(2), setpriority(2), sched_setscheduler(2)).

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::check;

/// Pins it to one CPU. EINVAL: this process may not use that CPU.
pub fn pin(pid: Pid, cpu: u32) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(cpu as usize)?;
    sched_setaffinity(pid, &set)
}

/// Moves a new child that is queued where this process runs to another CPU, if there is one that both may use; a process is moved at once, and may
/// use all of them again when this returns. An error: it may not.
pub fn put_elsewhere(child: Pid) -> Result<(), Errno> {
    let (Ok(all), Ok(here)) = (sched_getaffinity(Pid::from_raw(0)), sched_getcpu()) else { return Ok(()) };
    let mut others = all;
    let none = CpuSet::new();
    if others.unset(here).is_err() || others == none || sched_setaffinity(child, &others).is_err() {
        return Ok(());
    }
    sched_setaffinity(child, &all)
}

/// On how many CPUs' worth of time this process may run: by its affinity and by cgroup quotas, which takes files to read, so it is asked once.
pub fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// This thread's nice value, -20 to 19.
pub fn own_nice() -> i32 {
    // SAFETY: getpriority(2) takes numbers. The system call, unlike the C function, returns 20 less the nice value: 1 to 40.
    20 - unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) } as i32
}

/// Sets its nice value, -20 to 19. Below 0 needs privilege.
pub fn set_nice(pid: Pid, nice: i32) -> Result<(), Errno> {
    // SAFETY: setpriority(2) takes numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, pid.as_raw() as libc::id_t, nice) } as _).map(drop)
}

/// SCHED_FIFO at this priority, 1 to 99. EPERM: the host does not allow it.
pub fn set_realtime(pid: Pid, priority: i32) -> Result<(), Errno> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads one sched_param.
    check(unsafe { libc::sched_setscheduler(pid.as_raw(), libc::SCHED_FIFO, &raw const parameter) } as _)
        .map(drop)
}
