//! Tracing a PD (ptrace(2)): how its faults are heard, and how it is stopped, resumed and ended with the launcher.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use libc::user_regs_struct as Registers;

/// Why a traced process stopped for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// The signal.
    pub signal: i32,
    /// `si_code`: above 0 when the kernel sent it for something the process did.
    pub code: i32,
    /// `si_addr`: the address touched; for SIGSYS, the instruction behind the system call.
    pub address: u64,
    /// `si_syscall` and `si_arch`, for SIGSYS.
    pub syscall: Option<(i32, u32)>,
}

/// Becomes the tracer of a child; the kernel kills it when the tracer ends (PTRACE_O_EXITKILL).
pub fn seize(pid: Pid) -> Result<(), Errno> {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_EXITKILL)
}

/// Lets a stopped process go on, as if the signal it stopped for had not been sent.
pub fn resume(pid: Pid) -> Result<(), Errno> {
    ptrace::cont(pid, None)
}

/// Lets the SIGSTOP take effect that a process has stopped before; [`Event::Stopped`] follows.
pub fn pass_stop(pid: Pid) -> Result<(), Errno> {
    ptrace::cont(pid, Signal::SIGSTOP)
}

/// Leaves a group-stopped process stopped.
pub fn listen(pid: Pid) -> Result<(), Errno> {
    // SAFETY: PTRACE_LISTEN uses neither pointer.
    super::check(unsafe { libc::ptrace(libc::PTRACE_LISTEN, pid.as_raw(), 0, 0) }).map(drop)
}

/// Registers of a stopped process.
pub fn registers(pid: Pid) -> Result<Registers, Errno> {
    ptrace::getregs(pid)
}

/// What a process stopped for.
pub fn signal_info(pid: Pid) -> Result<SignalInfo, Errno> {
    let info = ptrace::getsiginfo(pid)?;
    let fault = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];
    // SAFETY: for these signals the union holds an address first (sigaction(2)); the kernel filled it in.
    let address = if fault.contains(&info.si_signo) { unsafe { info.si_addr() as u64 } } else { 0 };
    let syscall = (info.si_signo == libc::SIGSYS && info.si_code > 0).then(|| {
        /// The head of siginfo_t, then `_sigsys` (include/uapi/asm-generic/siginfo.h, 64-bit).
        #[repr(C)]
        struct SigSys {
            head: [i32; 4],
            call_address: u64,
            syscall: i32,
            arch: u32,
        }
        // SAFETY: siginfo_t has 128 bytes, and for a SIGSYS of seccomp it is laid out like this.
        let sys = unsafe { &*(&raw const info).cast::<SigSys>() };
        (sys.syscall, sys.arch)
    });
    Ok(SignalInfo { signal: info.si_signo, code: info.si_code, address, syscall })
}

/// What waitpid says of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Stopped before a signal reached it.
    Signal(Pid, i32),
    /// Stopped with its thread group, by a stop signal that was passed on to it.
    Stopped(Pid),
    /// A SIGCONT has ended that; it waits to be resumed.
    Continued(Pid),
    /// Ended by itself with this status.
    Exited(Pid, i32),
    /// Ended by this signal.
    Killed(Pid, i32),
}

impl Event {
    /// Whose.
    pub fn pid(self) -> Pid {
        let (Self::Signal(pid, _)
        | Self::Stopped(pid)
        | Self::Continued(pid)
        | Self::Exited(pid, _)
        | Self::Killed(pid, _)) = self;
        pid
    }
}

/// The next event of any child, if there is one.
pub fn next_event() -> Result<Option<Event>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid(2) stores one int. The raw call, since nix has no name for some signals.
        let pid =
            match super::check(
                unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } as _
            ) {
                Ok(0) | Err(Errno::ECHILD) => return Ok(None),
                Ok(pid) => Pid::from_raw(pid as i32),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
        return Ok(Some(if libc::WIFEXITED(status) {
            Event::Exited(pid, libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Event::Killed(pid, libc::WTERMSIG(status))
        } else if libc::WIFSTOPPED(status) {
            // ptrace(2): PTRACE_EVENT_* stands above the signal; PTRACE_EVENT_STOP comes with the stop signal, or with SIGTRAP
            // where nothing stops the process any more.
            match (status >> 16, libc::WSTOPSIG(status)) {
                (0, signal) => Event::Signal(pid, signal),
                (_, libc::SIGTRAP) => Event::Continued(pid),
                _ => Event::Stopped(pid),
            }
        } else {
            continue;
        }));
    }
}

/// Waits until a killed child is gone. A traced one may report stops before its end.
pub fn reap(pid: Pid) {
    let mut status = 0;
    loop {
        // SAFETY: waitpid(2) stores one int.
        match super::check(unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::__WALL) } as _) {
            Ok(_) if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// The signal's name, or its number.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
