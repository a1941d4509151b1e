//! System calls, tried one by one: the PD stands behind the system call it said ready with. The launcher sets its registers to make that
//! instruction another call, lets it go, and sees from the kernel whether the call was denied. Nothing of the image runs.

#![forbid(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::Checks;
use crate::launch::RunningPd;
use crate::policy::{X32_BIT, syscall_name};
use crate::sys::trace::{self, Event, Registers};

/// Numbers tried: beyond the last of Linux 6.18 (469), and the same with the x32 bit.
const NUMBERS: u64 = 512;
/// Bytes of the `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The filter stopped it.
    Denied,
    /// It was made, and returned this.
    Returned(i64),
}

pub(super) fn check(pd: &RunningPd, checks: &mut Checks) -> io::Result<()> {
    let pid = pd.child.pid;
    let stand = trace::registers(pid)?;
    let mut wrong = Vec::new();
    for number in (0..NUMBERS).chain((0..NUMBERS).map(|number| number | X32_BIT)) {
        // Answered by the heap's filters, or allowed: these are tried below. The kernel exempts 335 and 336 from seccomp; they signal
        // the process when no probe is set, and are named in SECURITY.md.
        let tried_below = [libc::SYS_read, libc::SYS_write, libc::SYS_brk].contains(&(number as i64));
        if tried_below || matches!(number, 335 | 336) {
            continue;
        }
        if call(pid, &stand, number, [0; 6])? != Answer::Denied {
            wrong.push(name(number));
        }
    }
    checks.none("system-calls", "all denied but read, write and malloc's two", &wrong);

    let bad = u64::MAX;
    let answer = |number: i64, arguments| call(pid, &stand, number as u64, arguments);
    let ebadf = Answer::Returned(-(Errno::EBADF as i64));
    let read = answer(libc::SYS_read, [bad, 0, 0, 0, 0, 0])?;
    let write = answer(libc::SYS_write, [bad, 0, 0, 0, 0, 0])?;
    checks.equal("read-and-write", format!("{ebadf:?} {ebadf:?}"), format!("{read:?} {write:?}"));
    let brk = answer(libc::SYS_brk, [bad, 0, 0, 0, 0, 0])?;
    checks.equal("brk", format!("{:?}", Answer::Returned(0)), format!("{brk:?}"));
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let mmap = answer(libc::SYS_mmap, [0, 4096, rw, private, bad, 0])?;
    let nomem = Answer::Returned(-(Errno::ENOMEM as i64));
    checks.equal("mmap", format!("{nomem:?}"), format!("{mmap:?}"));
    let rwx = rw | libc::PROT_EXEC as u64;
    let mmap = answer(libc::SYS_mmap, [0, 4096, rwx, private, bad, 0])?;
    checks.equal("mmap-executable", format!("{:?}", Answer::Denied), format!("{mmap:?}"));
    // As it stood at the barrier.
    trace::set_registers(pid, stand)?;
    Ok(())
}

fn name(number: u64) -> String {
    match (number & X32_BIT, syscall_name(number & !X32_BIT)) {
        (0, Some(name)) => name.to_owned(),
        (0, None) => number.to_string(),
        (_, Some(name)) => format!("{name} (x32)"),
        (_, None) => format!("{number:#x}"),
    }
}

/// Makes one system call in the PD. An allowed one returns to the instruction behind, where an interrupt waits for it.
fn call(pid: Pid, stand: &Registers, number: u64, arguments: [u64; 6]) -> io::Result<Answer> {
    let mut registers = *stand;
    registers.rip -= SYSCALL_BYTES;
    registers.rax = number;
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
    trace::set_registers(pid, registers)?;
    trace::step(pid)?;
    loop {
        match trace::wait_for(pid)? {
            Some(Event::Signal(_, libc::SIGSYS)) => return Ok(Answer::Denied),
            Some(Event::Signal(_, libc::SIGTRAP)) => {
                let now = trace::registers(pid)?;
                // A denied call leaves the trap of its own step behind; it comes before the next instruction is made.
                if now.rip == stand.rip {
                    return Ok(Answer::Returned(now.rax as i64));
                }
                trace::step(pid)?;
            }
            Some(Event::Signal(..) | Event::Interrupted(_) | Event::GroupStopped(_)) => trace::step(pid)?,
            Some(Event::Exited(..) | Event::Killed(..)) | None => {
                return Err(io::Error::other(format!("system call {} ended the PD", name(number))));
            }
        }
    }
}
