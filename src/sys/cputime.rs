//! CPU time of a process by the kernel's account (clock_getcpuclockid(3)).

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// User and system time it has used so far.
pub fn microseconds(pid: Pid) -> Result<u64, Errno> {
    let time = clock_gettime(clock_getcpuclockid(pid)?)?;
    Ok(time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000)
}
