//! Namespaces, and children of clone3(2). What one does that becomes another program: [`super::bare`].

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::check;
use super::memory::Stack;

/// The namespaces of every PD: all there are (namespaces(7)). clone3 takes CLONE_NEWTIME too, whose bit means a signal to clone(2).
pub const NAMESPACES: u64 = (CLONE_NEWTIME
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Their bits and their names in /proc/PID/ns.
pub const NAMESPACE_KINDS: [(u64, &str); 8] = [
    (libc::CLONE_NEWUSER as u64, "user"),
    (libc::CLONE_NEWNS as u64, "mnt"),
    (libc::CLONE_NEWPID as u64, "pid"),
    (libc::CLONE_NEWNET as u64, "net"),
    (libc::CLONE_NEWIPC as u64, "ipc"),
    (libc::CLONE_NEWUTS as u64, "uts"),
    (libc::CLONE_NEWCGROUP as u64, "cgroup"),
    (CLONE_NEWTIME as u64, "time"),
];

/// What a PD's root is made in: all that is left where a test leaves the others out.
pub const NAMESPACES_OF_THE_ROOT: u64 = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;

/// include/uapi/linux/sched.h
pub(super) const CLONE_NEWTIME: libc::c_int = 0x80;

/// A new child: its pid in this namespace and a descriptor that stays tied to it.
#[derive(Debug)]
pub struct Child {
    /// Pid as the launcher sees it.
    pub pid: Pid,
    /// Becomes readable when it ends; [`Child::kill`] through it can never hit another process.
    pub pidfd: OwnedFd,
}

impl Child {
    /// SIGKILL. A child that is already gone is no error.
    pub fn kill(&self) {
        // SAFETY: pidfd_send_signal(2) takes a descriptor and a signal; no siginfo is passed.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }
}

/// A pidfd of a process that cannot be gone meanwhile: this one, or a child that has not been waited for.
pub fn pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open(2) takes numbers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns, with FD_CLOEXEC.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whose child it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// This process's.
    This,
    /// Its parent's: it becomes a sibling.
    Parents,
}

/// The arguments of clone3(2) for a child of `parent` on this stack; the caller says where its pidfd is to be stored.
pub(super) fn arguments(flags: u64, parent: Parent, stack: &Stack) -> libc::clone_args {
    // SAFETY: clone_args is plain data, for which zero means "not used" (linux/sched.h).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    (args.stack, args.stack_size) = (stack.bottom(), stack.size());
    match parent {
        Parent::This => args.exit_signal = libc::SIGCHLD as u64,
        // The signal is that of this process's own end.
        Parent::Parents => args.flags |= libc::CLONE_PARENT as u64,
    }
    args
}

impl Child {
    /// # Safety
    /// clone3(2) has just returned the one and stored the other.
    pub(super) unsafe fn new(pid: libc::c_long, pidfd: RawFd) -> Self {
        // SAFETY: on success CLONE_PIDFD has stored a fresh descriptor that nobody else owns.
        Self { pid: Pid::from_raw(pid as i32), pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }
    }
}
