//! Tracing a PD (ptrace(2)): how its faults are heard, and how it is stopped, resumed and ended with the launcher.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::procfs;

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

/// Becomes the tracer of a child that starts others: whatever it clones is traced from its first instruction, with the same options.
/// The child stops at each clone.
pub fn seize_with_children(pid: Pid) -> Result<(), Errno> {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_EXITKILL | ptrace::Options::PTRACE_O_TRACECLONE)
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

/// Lets a stopped process make one instruction; it then stops with SIGTRAP, or for what the instruction caused.
pub fn step(pid: Pid) -> Result<(), Errno> {
    ptrace::step(pid, None)
}

/// Asks a running process to stop; the stop is an [`Event::Stopped`], unless it stops for a signal first.
pub fn interrupt(pid: Pid) -> Result<(), Errno> {
    ptrace::interrupt(pid)
}

/// Sets the registers of a stopped process. An interrupted system call is not made again.
pub fn set_registers(pid: Pid, mut registers: Registers) -> Result<(), Errno> {
    // orig_rax below 0: the kernel takes the stop for one outside of a system call (arch/x86/kernel/signal.c).
    registers.orig_rax = u64::MAX;
    make_acceptable(&mut registers);
    ptrace::setregs(pid, registers)
}

/// A process can give itself thread pointers and null selectors that the kernel shows to a tracer and then refuses to take back
/// (arch/x86/kernel/ptrace.c). They are of no use to it, so they become 0: what it has done to itself must not fail its tracer.
fn make_acceptable(registers: &mut Registers) {
    /// TASK_SIZE_MAX with four-level paging.
    const END: u64 = 0x7fff_ffff_f000;
    const USER_RING: u64 = 3;
    for base in [&mut registers.fs_base, &mut registers.gs_base] {
        if *base >= END {
            *base = 0;
        }
    }
    for selector in [&mut registers.ds, &mut registers.es, &mut registers.fs, &mut registers.gs] {
        if *selector & USER_RING != USER_RING {
            *selector = 0;
        }
    }
}

/// Registers that are all 0.
pub fn no_registers() -> Registers {
    // SAFETY: plain numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Registers of a stopped process.
pub fn registers(pid: Pid) -> Result<Registers, Errno> {
    ptrace::getregs(pid)
}

/// Signals for what a process does itself.
pub const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// True when a stopped process has done something that it has not yet stopped for: an interrupt comes before the signal. It will stop for it
/// before its next instruction, with the registers it has then.
pub fn has_fault_to_come(pid: Pid) -> bool {
    /// More than a PD, which can send no signals, has waiting unless somebody outside floods it.
    const MOST: usize = 32;
    let arguments = libc::ptrace_peeksiginfo_args { off: 0, flags: 0, nr: MOST as i32 };
    // SAFETY: siginfo_t is plain data, for which zero is a value.
    let mut waiting: [libc::siginfo_t; MOST] = unsafe { std::mem::zeroed() };
    // SAFETY: PTRACE_PEEKSIGINFO reads the arguments and stores at most `nr` elements.
    let found = super::check(unsafe {
        libc::ptrace(libc::PTRACE_PEEKSIGINFO, pid.as_raw(), &raw const arguments, waiting.as_mut_ptr())
    });
    let count = found.map_or(0, |count| count as usize).min(MOST);
    waiting[..count].iter().any(|info| FAULTS.contains(&info.si_signo) && info.si_code > 0)
}

/// What a process stopped for.
pub fn signal_info(pid: Pid) -> Result<SignalInfo, Errno> {
    let info = ptrace::getsiginfo(pid)?;
    // SAFETY: for these signals the union holds an address first (sigaction(2)); the kernel filled it in.
    let address = if FAULTS.contains(&info.si_signo) { unsafe { info.si_addr() as u64 } } else { 0 };
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
    /// Stopped by PTRACE_INTERRUPT.
    Interrupted(Pid),
    /// Stopped with its thread group, as by SIGSTOP from outside.
    GroupStopped(Pid),
    /// Ended by itself with this status.
    Exited(Pid, i32),
    /// Ended by this signal.
    Killed(Pid, i32),
}

impl Event {
    /// Of which process.
    pub fn pid(self) -> Pid {
        match self {
            Self::Signal(pid, _)
            | Self::Interrupted(pid)
            | Self::GroupStopped(pid)
            | Self::Exited(pid, _)
            | Self::Killed(pid, _) => pid,
        }
    }
}

/// The next event of any child, if there is one.
pub fn next_event() -> Result<Option<Event>, Errno> {
    wait(-1, libc::WNOHANG)
}

/// The next event of this child, if there is one.
pub fn next_event_of(pid: Pid) -> Result<Option<Event>, Errno> {
    wait(pid.as_raw(), libc::WNOHANG)
}

/// Waits for the next event of this child. `None`: there is no such child.
pub fn wait_for(pid: Pid) -> Result<Option<Event>, Errno> {
    wait(pid.as_raw(), 0)
}

fn wait(whom: libc::pid_t, flags: libc::c_int) -> Result<Option<Event>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid(2) stores one int. The raw call, since nix has no name for some signals.
        let result = super::check(unsafe { libc::waitpid(whom, &raw mut status, flags | libc::__WALL) } as _);
        let pid = match result {
            Ok(0) | Err(Errno::ECHILD) => return Ok(None),
            Ok(pid) => Pid::from_raw(pid as i32),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        };
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            procfs::forget(pid);
        }
        return Ok(Some(if libc::WIFEXITED(status) {
            Event::Exited(pid, libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Event::Killed(pid, libc::WTERMSIG(status))
        } else if libc::WIFSTOPPED(status) {
            // ptrace(2): PTRACE_EVENT_* stands above the signal.
            match status >> 16 {
                0 => Event::Signal(pid, libc::WSTOPSIG(status)),
                _ if libc::WSTOPSIG(status) == libc::SIGTRAP => Event::Interrupted(pid),
                _ => Event::GroupStopped(pid),
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
            Ok(_) if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    procfs::forget(pid);
}

/// The signal's name, or its number.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
