//! Signals: what the launcher hears, and what a PD starts with (signal(7), signalfd(2)). Neither depends on what whoever started
//! the launcher has it ignore or block.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::check;

/// From here on SIGCHLD and those of `requests` that are not ignored are read from the descriptor: no handler runs, nothing is missed.
///
/// An ignored request stays ignored, as nohup(1) wants it. An ignored SIGCHLD would mean that no stop of a child is ever told
/// (ptrace(2)), so it is not left like that.
pub fn take(requests: &[Signal]) -> Result<SignalFd, Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this process.
    unsafe { sigaction(Signal::SIGCHLD, &default)? };
    let mut set = SigSet::from(Signal::SIGCHLD);
    for signal in requests {
        if !is_ignored(*signal)? {
            set.add(*signal);
        }
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// The command starts with no signal blocked, whatever this process holds back for itself.
pub fn unblock_in(command: &mut Command) {
    let unblock = || Ok(SigSet::empty().thread_set_mask()?);
    // SAFETY: between fork and exec this makes one system call and touches no memory of other threads.
    unsafe { command.pre_exec(unblock) };
}

fn is_ignored(signal: Signal) -> Result<bool, Errno> {
    // SAFETY: sigaction is plain data; with no new action the call only stores the present one.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal as i32, std::ptr::null(), &raw mut present).into())?;
        Ok(present.sa_sigaction == libc::SIG_IGN)
    }
}

/// How [`tell_denied_call`] names a call.
static CALL_NAME: OnceLock<fn(u64) -> Option<&'static str>> = OnceLock::new();

/// From here on a system call that a filter traps is told on standard error and ends this process with `status`.
pub fn end_at_denied_call(status: i32, name: fn(u64) -> Option<&'static str>) -> Result<(), Errno> {
    // Asked once now, so that whatever it makes at its first use is made.
    name(0);
    let _ = CALL_NAME.set(name);
    DENIED_STATUS.store(status, Ordering::Relaxed);
    let action =
        SigAction::new(SigHandler::SigAction(tell_denied_call), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handler makes two system calls and touches nothing that anybody else does.
    unsafe { sigaction(Signal::SIGSYS, &action) }.map(drop)
}

static DENIED_STATUS: AtomicI32 = AtomicI32::new(1);

extern "C" fn tell_denied_call(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t of 128 bytes; for a SIGSYS of seccomp, the number stands behind the head and an address.
    let number = unsafe { info.cast::<i32>().add(6).read() };
    let name = u64::try_from(number).ok().and_then(|number| CALL_NAME.get().and_then(|name| name(number)));
    let mut digits = [0u8; 10];
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    while at > 0 && (rest > 0 || at == digits.len()) {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = b"mk-sandbox: the launcher's own filter denies it the system call ";
    for part in [start, &digits[at..], b" ", name.unwrap_or("").as_bytes(), b"; the system ends\n"] {
        // SAFETY: write(2) of a buffer that lives here.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    super::exit_now(DENIED_STATUS.load(Ordering::Relaxed));
}

/// Default action for every signal and none blocked: what the Rust runtime installed and the launcher's parent handed down is for the
/// host, not for the PD.
pub fn reset() -> Result<(), Errno> {
    /// `_NSIG` (asm/signal.h): real-time signals included, also those that the C library keeps for itself and lets nobody set.
    const LAST: libc::c_int = 64;
    /// The kernel's `struct sigaction`: handler, flags, restorer, mask. All zero is SIG_DFL.
    const DEFAULT: [u64; 4] = [0; 4];
    let mask = 0u64;
    let none = std::ptr::null_mut::<u64>();
    for signal in (1..=LAST).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        // SAFETY: the kernel reads four words; the default action runs no code of this process.
        check(unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, size_of::<u64>())
        })?;
    }
    // SAFETY: the kernel reads one word.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, none, size_of::<u64>())
    })
    .map(drop)
}
