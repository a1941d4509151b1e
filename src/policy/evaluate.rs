//! What the kernel would say to a call, computed by running the filter programs here: classic BPF over
//! `struct seccomp_data`, only the instructions that filters are compiled to. Anything else is an error, as is a jump or a
//! load out of bounds, so that a test cannot pass on a program that the kernel would read differently.

#![forbid(unsafe_code)]

use super::compile::Program;

/// `AUDIT_ARCH_X86_64` of linux/audit.h: what the kernel puts into [`SeccompData::arch`] for a 64-bit (or x32) call.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// One system call as a filter sees it: `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompData {
    /// The number, x32 bit included.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the way the call was made.
    pub arch: u32,
    /// Address behind the call.
    pub instruction_pointer: u64,
    /// The six argument registers.
    pub args: [u64; 6],
}

impl SeccompData {
    /// A call made the 64-bit way, from address 0.
    pub fn new(nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch: AUDIT_ARCH_X86_64, instruction_pointer: 0, args }
    }

    /// The 32-bit word at `offset`; little endian.
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64, high: bool| (if high { value >> 32 } else { value }) as u32;
        let high = offset % 8 == 4;
        match offset {
            0 => Some(self.nr),
            4 => Some(self.arch),
            8 | 12 => Some(half(self.instruction_pointer, high)),
            16..64 if offset.is_multiple_of(4) => {
                let index = usize::try_from((offset - 16) / 8).ok()?;
                Some(half(*self.args.get(index)?, high))
            }
            _ => None,
        }
    }
}

/// What the kernel does with the call, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Ends the process.
    KillProcess,
    /// Ends the thread.
    KillThread,
    /// SIGSYS; the call is not made.
    Trap,
    /// The call is not made and returns this error number.
    Errno(u16),
    /// The call is made.
    Allow,
}

/// The program is none that the kernel would take, or uses what filters here never use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a filter program, at instruction {0}")]
pub struct BadProgram(pub usize);

const LD_W_ABS: u16 = 0x20;
const AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGT_K: u16 = 0x25;
const JMP_JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

/// Runs one program on one call.
///
/// # Errors
/// [`BadProgram`] with the index of the first instruction that makes no sense.
pub fn evaluate(program: &Program, data: &SeccompData) -> Result<Action, BadProgram> {
    let mut accumulator = 0u32;
    let mut at = 0usize;
    // Jumps only go forward, so this ends.
    while let Some(&word) = program.words.get(at) {
        let (code, jt, jf) = (word as u16, (word >> 16) as u8, (word >> 24) as u8);
        let k = (word >> 32) as u32;
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        let skip = match code {
            LD_W_ABS => {
                accumulator = data.word(k).ok_or(BadProgram(at))?;
                0
            }
            AND_K => {
                accumulator &= k;
                0
            }
            JMP_JA => usize::try_from(k).map_err(|_| BadProgram(at))?,
            JMP_JEQ_K => branch(accumulator == k),
            JMP_JGT_K => branch(accumulator > k),
            JMP_JGE_K => branch(accumulator >= k),
            RET_K => return action(k).ok_or(BadProgram(at)),
            _ => return Err(BadProgram(at)),
        };
        at = at.saturating_add(1).saturating_add(skip);
    }
    Err(BadProgram(at))
}

impl Action {
    /// The kind of answer alone: the kernel does not compare error numbers (`ACTION_ONLY` of kernel/seccomp.c).
    fn strictness(self) -> u8 {
        match self {
            Self::KillProcess => 0,
            Self::KillThread => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
            Self::Allow => 4,
        }
    }
}

/// What the kernel does when all these programs are installed in this order: the strictest answer, and of two error numbers that
/// of the program installed last.
///
/// # Errors
/// [`BadProgram`] of the first bad one; an empty list is one, since it is no filter.
pub fn evaluate_all<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
    data: &SeccompData,
) -> Result<Action, BadProgram> {
    let mut strictest = None;
    for program in programs {
        let action = evaluate(program, data)?;
        let holds = |so_far: &Action| so_far.strictness() < action.strictness();
        strictest = Some(strictest.filter(holds).unwrap_or(action));
    }
    strictest.ok_or(BadProgram(0))
}

/// `SECCOMP_RET_*`
fn action(ret: u32) -> Option<Action> {
    match ret & 0xffff_0000 {
        0x8000_0000 => Some(Action::KillProcess),
        0x0000_0000 => Some(Action::KillThread),
        0x0003_0000 => Some(Action::Trap),
        0x0005_0000 => Some(Action::Errno(ret as u16)),
        0x7fff_0000 => Some(Action::Allow),
        _ => None,
    }
}
