//! Signals: what the launcher hears, and what a PD starts with (signal(7), signalfd(2)). Neither depends on what whoever started
//! the launcher has it ignore or block.

use std::os::unix::process::CommandExt;
use std::process::Command;

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
