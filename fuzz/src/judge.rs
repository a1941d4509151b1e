//! A second reading of the policy: what becomes of a call, straight from the rules and policy/README.md. It shares nothing with the
//! compiler but the form of the data: numbers of constants are written down here again, from the kernel's headers.

#![forbid(unsafe_code)]

use mk_sandbox::policy::{
    Action, Answer, Arg, Op, Operand, Otherwise, Policy, SeccompData, Width, syscall_name,
};

/// `AUDIT_ARCH_X86_64` (include/uapi/linux/audit.h): EM_X86_64, 64 bits, little-endian.
const THIS_ARCHITECTURE: u32 = 62 | 0x8000_0000 | 0x4000_0000;

/// What one policy file says to a call. `None`: the file says something that has no meaning, so there should be no filter of it.
pub fn judge(policy: &Policy, values: &[(&str, u64)], call: &SeccompData) -> Option<Action> {
    if call.arch != THIS_ARCHITECTURE {
        return Some(Action::KillProcess);
    }
    let name = syscall_name(u64::from(call.nr));
    let mut answer: Option<Action> = None;
    for rule in policy.rules.iter().filter(|rule| Some(rule.syscall.as_str()) == name) {
        let mut holds = true;
        for arg in &rule.args {
            holds &= meets(arg, values, call)?;
        }
        if holds {
            let this = match &rule.answer {
                Answer::Allow => Action::Allow,
                Answer::Errno(errno) => Action::Errno(u16::try_from(number(errno, values)?).ok()?),
            };
            // Of several alternatives the strictest answer counts, of several error numbers the highest: policy/README.md.
            answer = Some(match (answer, this) {
                (None | Some(Action::Allow), this) => this,
                (Some(Action::Errno(one)), Action::Errno(other)) => Action::Errno(one.max(other)),
                (Some(before), _) => before,
            });
        }
    }
    Some(answer.unwrap_or(match policy.otherwise {
        Otherwise::Trap => Action::Trap,
        Otherwise::KillProcess => Action::KillProcess,
    }))
}

/// What several filters in force together say: each is asked, and the strictest answer counts.
pub fn together(answers: impl IntoIterator<Item = Action>) -> Option<Action> {
    let strictness = |action: &Action| match action {
        Action::KillProcess => 0,
        Action::KillThread => 1,
        Action::Trap => 2,
        Action::Errno(_) => 3,
        Action::Allow => 4,
    };
    answers.into_iter().min_by_key(strictness)
}

fn meets(arg: &Arg, values: &[(&str, u64)], call: &SeccompData) -> Option<bool> {
    let register = *call.args.get(usize::from(arg.index))?;
    let seen = |number: u64| match arg.width {
        Width::Bits32 => number & 0xffff_ffff,
        Width::Bits64 => number,
    };
    let (is, wanted) = (seen(register), seen(number(&arg.value, values)?));
    Some(match arg.op {
        Op::Eq => is == wanted,
        Op::MaskedEq => is & seen(number(arg.mask.as_ref()?, values)?) == wanted,
        Op::Subset => is | wanted == wanted,
    })
}

/// A number, a value of the plan, or constants joined by `|`.
pub fn number(operand: &Operand, values: &[(&str, u64)]) -> Option<u64> {
    match operand {
        Operand::Number(number) => Some(*number as u64),
        Operand::Words(words) => match values.iter().find(|(name, _)| name == words) {
            Some((_, value)) => Some(*value),
            None => words.split('|').map(constant).try_fold(0, |all, one| Some(all | one?)),
        },
    }
}

/// From the kernel's headers for x86-64.
fn constant(word: &str) -> Option<u64> {
    Some(match word {
        "AT_EMPTY_PATH" => 0x1000,
        "CLOCK_MONOTONIC" | "EPERM" | "F_GETFD" => 1,
        "FIONREAD" => 0x541b,
        "F_DUPFD_CLOEXEC" => 1030,
        "PTRACE_CONT" => 7,
        "PTRACE_GETREGS" => 12,
        "PTRACE_SETREGS" => 13,
        "PTRACE_GETSIGINFO" => 0x4202,
        "PTRACE_INTERRUPT" => 0x4207,
        "PTRACE_LISTEN" => 0x4208,
        "PTRACE_PEEKSIGINFO" => 0x4209,
        "SIGKILL" => 9,
        "AT_FDCWD" => -100i64 as u64,
        "ENOMEM" => 12,
        "MAP_PRIVATE" => 0x02,
        "MAP_TYPE" => 0x0f,
        "MAP_FIXED" => 0x10,
        "MAP_ANONYMOUS" => 0x20,
        "MAP_DENYWRITE" => 0x0800,
        "O_CLOEXEC" => 0o2_000_000,
        "O_RDONLY" | "PROT_NONE" => 0,
        "PROT_READ" | "SECCOMP_SET_MODE_FILTER" => 1,
        "PROT_WRITE" => 2,
        "PROT_EXEC" => 4,
        _ => return None,
    })
}
