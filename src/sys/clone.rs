//! clone3(2) into new namespaces, and the few system calls a child makes before it becomes another program.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::check;

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

/// Starts a child in new `namespaces` that waits for the parent's word and then becomes the program of `plan`. When that
/// fails it writes why to the plan's status descriptor ([`decode_failure`]) and ends with status 127.
pub fn clone_and_exec(namespaces: u64, parent: Parent, plan: &ExecPlan) -> Result<Child, Errno> {
    // Nothing may be allocated in the child: it is a copy of a process that may have had other threads (signal-safety(7)).
    let argv: Vec<*const libc::c_char> =
        plan.arguments.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the child makes only system calls until it ends or execs.
    let child = unsafe { clone3(namespaces, parent)? };
    child.map_or_else(|| plan.become_program(&argv), Ok)
}

/// Whose child it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// This process's.
    This,
    /// Its parent's: it becomes a sibling.
    Parents,
}

/// `None` in the child.
///
/// # Safety
/// The child is a copy of this thread alone: it must not wait for what other threads hold.
unsafe fn clone3(namespaces: u64, parent: Parent) -> Result<Option<Child>, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data, for which zero means "not used" (linux/sched.h).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    match parent {
        Parent::This => args.exit_signal = libc::SIGCHLD as u64,
        // The signal is that of this process's own end.
        Parent::Parents => args.flags |= libc::CLONE_PARENT as u64,
    }
    // SAFETY: without CLONE_VM the child has its own copy of this stack, so both sides return here as from fork(2).
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: on success CLONE_PIDFD has stored a fresh descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid: Pid::from_raw(pid as i32), pidfd }))
}

/// A copy of this process that does one thing and ends. This process must have no other thread.
pub fn copy(run: impl FnOnce() -> i32) -> Result<Child, Errno> {
    // SAFETY: nothing is held by other threads, since there are none.
    match unsafe { clone3(0, Parent::This)? } {
        Some(child) => Ok(child),
        None => super::exit_now(run()),
    }
}

/// What a child does between clone and exec, prepared before so that nothing is allocated in it.
#[derive(Debug)]
pub struct ExecPlan<'a> {
    /// The program, by descriptor.
    pub program: BorrowedFd<'a>,
    /// Argument strings; the environment is empty.
    pub arguments: &'a [&'a CStr],
    /// One byte here says go; end of file says that the parent is gone.
    pub go: BorrowedFd<'a>,
    /// The parent's end of `go`, closed first in the child: as long as it is open here there is no end of file.
    pub not_mine: BorrowedFd<'a>,
    /// Become user and group 0 of the new user namespace and drop supplementary groups: only when the parent mapped
    /// another host uid than its own.
    pub become_mapped: bool,
    /// Descriptors that stay open in the program.
    pub keep: &'a [RawFd],
    /// Where a failure is written.
    pub status: BorrowedFd<'a>,
    /// Fails the change of identity before it is tried.
    pub before_identity: Option<Errno>,
    /// Fails the exec before it is tried.
    pub before_exec: Option<Errno>,
}

/// Which part of [`ExecPlan`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStep {
    /// The parent ended first.
    Go,
    /// setgroups, setresgid, setresuid.
    Identity,
    /// fcntl or execveat.
    Exec,
}

/// First byte of a child's failure: never the first of a JSON text.
const FAILURE_MARK: u8 = 0xff;

fn encode_failure(step: ExecStep, errno: Errno) -> [u8; 6] {
    let [a, b, c, d] = (errno as i32).to_le_bytes();
    [FAILURE_MARK, step as u8, a, b, c, d]
}

/// Reads what a child wrote when it could not become the program.
pub fn decode_failure(bytes: &[u8]) -> Option<(ExecStep, Errno)> {
    let [FAILURE_MARK, step, errno @ ..] = bytes else { return None };
    let step = match step {
        0 => ExecStep::Go,
        1 => ExecStep::Identity,
        2 => ExecStep::Exec,
        _ => return None,
    };
    Some((step, Errno::from_raw(i32::from_le_bytes(errno.try_into().ok()?))))
}

impl ExecPlan<'_> {
    fn become_program(&self, argv: &[*const libc::c_char]) -> ! {
        let Err((step, errno)) = self.run(argv);
        let bytes = encode_failure(step, errno);
        // SAFETY: the buffer is valid for its length; _exit(2) runs none of the parent's exit handlers.
        unsafe {
            libc::write(self.status.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
            libc::_exit(127)
        }
    }

    /// Waits for the parent's word and becomes the program. Returns only on failure. Makes only system calls.
    fn run(&self, argv: &[*const libc::c_char]) -> Result<Infallible, (ExecStep, Errno)> {
        // SAFETY: PR_SET_PDEATHSIG takes a number (prctl(2)); the closed descriptor is the parent's alone from here on.
        unsafe {
            libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            libc::syscall(libc::SYS_close, self.not_mine.as_raw_fd());
        }
        let mut byte = 0u8;
        loop {
            // SAFETY: one byte is read into a local.
            match check(unsafe { libc::read(self.go.as_raw_fd(), (&raw mut byte).cast(), 1) } as _) {
                Ok(1) => break,
                Ok(_) => return Err((ExecStep::Go, Errno::EPIPE)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err((ExecStep::Go, errno)),
            }
        }
        if let Some(errno) = self.before_identity {
            return Err((ExecStep::Identity, errno));
        }
        if self.become_mapped {
            let identity = |result| check(result).map(drop).map_err(|errno| (ExecStep::Identity, errno));
            // SAFETY: plain system calls without pointers; not the libc wrappers, which would signal other threads.
            unsafe {
                identity(libc::syscall(libc::SYS_setgroups, 0, 0))?;
                identity(libc::syscall(libc::SYS_setresgid, 0, 0, 0))?;
                identity(libc::syscall(libc::SYS_setresuid, 0, 0, 0))?;
                // The change of uid has reset it.
                libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            }
        }
        if let Some(errno) = self.before_exec {
            return Err((ExecStep::Exec, errno));
        }
        for fd in self.keep {
            // SAFETY: F_SETFD takes a number; a bad descriptor is an error, not undefined.
            check(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } as _)
                .map_err(|errno| (ExecStep::Exec, errno))?;
        }
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: argv and environment are null-terminated arrays of C strings that outlive the call.
        let failed = check(unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        });
        Err((ExecStep::Exec, failed.err().unwrap_or(Errno::EINVAL)))
    }
}
