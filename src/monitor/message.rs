//! Faults as seL4 tells them: a label and message registers, and the registers a reply sets (seL4's x86-64 fault messages).

#![forbid(unsafe_code)]

use super::fault::{Access, Fault, Kind};
use crate::sys::trace::Registers;

/// A fault message on its way to a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// seL4_Fault_tag_t
    pub label: u64,
    /// Message registers.
    pub words: Vec<u64>,
}

/// seL4's fault labels.
mod label {
    pub const NULL_FAULT: u64 = 0;
    pub const UNKNOWN_SYSCALL: u64 = 2;
    pub const USER_EXCEPTION: u64 = 3;
    pub const DEBUG_EXCEPTION: u64 = 4;
    pub const VM_FAULT: u64 = 6;
}

/// Puts a PD that is stopped behind a system call back onto the instruction, which is what a fault message, a reply and seL4's
/// register invocations speak of.
pub fn step_back(registers: &mut Registers) {
    /// Bytes of the x86-64 `syscall` instruction.
    const SYSCALL_BYTES: u64 = 2;
    registers.rip = registers.rip.wrapping_sub(SYSCALL_BYTES);
}

/// The message of a fault with the registers at the time, on the instruction that faulted.
pub fn of_fault(fault: &Fault, registers: &Registers) -> Message {
    let r = registers;
    let (label, words) = match &fault.kind {
        Kind::Memory { address, access, present } => {
            // The page-fault error code of the Intel manual (vol. 3, 4.7): present, write, user, instruction fetch.
            let fetch = *access == Access::Execute;
            let code = u64::from(*present)
                | u64::from(*access == Access::Write) << 1
                | 1 << 2
                | u64::from(fetch) << 4;
            (label::VM_FAULT, vec![r.rip, *address, u64::from(fetch), code])
        }
        Kind::Syscall { number, .. } => {
            let general = [
                r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
                r.r14, r.r15,
            ];
            let rest = [r.rip, r.rsp, r.eflags, *number as u64];
            (label::UNKNOWN_SYSCALL, [&general[..], &rest].concat())
        }
        Kind::Exception { vector, .. } => {
            (label::USER_EXCEPTION, vec![r.rip, r.rsp, r.eflags, u64::from(*vector), 0])
        }
        // Reason: a software break request (seL4_BreakpointType).
        Kind::Breakpoint => (label::DEBUG_EXCEPTION, vec![r.rip, 3, 0, 0]),
        Kind::Ended { .. } => return of_end(),
    };
    Message { label, words }
}

/// A process that was ended from outside has no registers and no reply to wait for, only a restart helps. seL4 has no such fault; a
/// null one is what its kernel calls nothing.
pub fn of_end() -> Message {
    Message { label: label::NULL_FAULT, words: Vec::new() }
}

/// What a parent's reply makes of the stopped child's registers: as they are, or for user exceptions and unknown system calls with label
/// 0, as the reply says, as far as it is long.
pub fn apply_reply(fault: &Fault, registers: &mut Registers, label: u64, words: &[u64]) {
    let r = registers;
    match &fault.kind {
        Kind::Syscall { .. } if label == 0 => {
            let targets = [
                &mut r.rax, &mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rbp,
                &mut r.r8, &mut r.r9, &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14, &mut r.r15,
                &mut r.rip, &mut r.rsp,
            ];
            targets.into_iter().zip(words).for_each(|(target, word)| *target = *word);
            set_flags(r, words.get(17));
        }
        Kind::Exception { .. } if label == 0 => {
            let targets = [&mut r.rip, &mut r.rsp];
            targets.into_iter().zip(words).for_each(|(target, word)| *target = *word);
            set_flags(r, words.get(2));
        }
        _ => {}
    }
}

/// Only the status flags and the direction flag: the others are the kernel's.
pub fn set_flags(registers: &mut Registers, flags: Option<&u64>) {
    /// CF, PF, AF, ZF, SF, DF, OF.
    const STATUS: u64 = 0xcd5;
    if let Some(flags) = flags {
        registers.eflags = registers.eflags & !STATUS | flags & STATUS;
    }
}

/// seL4_UserContext on x86-64, in its order.
pub fn to_context(r: &Registers) -> [u64; 20] {
    [
        r.rip, r.rsp, r.eflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11,
        r.r12, r.r13, r.r14, r.r15, r.fs_base, r.gs_base,
    ]
}

/// Sets the first words of a seL4_UserContext. The thread pointers stay: the C library's data hangs on them.
pub fn set_context(r: &mut Registers, words: &[u64]) {
    let targets = [&mut r.rip, &mut r.rsp];
    targets.into_iter().zip(words).for_each(|(target, word)| *target = *word);
    set_flags(r, words.get(2));
    let general = [
        &mut r.rax, &mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rbp, &mut r.r8,
        &mut r.r9, &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14, &mut r.r15,
    ];
    general.into_iter().zip(words.iter().skip(3)).for_each(|(target, word)| *target = *word);
}
