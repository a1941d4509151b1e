//! Every small change of a policy.

#![forbid(unsafe_code)]

use std::fmt;

use mk_sandbox::policy::{Answer, Arg, Op, Operand, Otherwise, Policy, Rule, Width, syscall_name};

use crate::numbers::value;

/// A policy that is not the one of its file.
pub struct Mutant {
    /// The policy.
    pub policy: Policy,
    what: String,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy.filter, self.what)
    }
}

/// All mutants of a policy.
pub fn of(policy: &Policy) -> Vec<Mutant> {
    let mut all = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Policy)| {
        let mut policy = policy.clone();
        change(&mut policy);
        all.push(Mutant { policy, what });
    };
    add("what no rule names ends the process".into(), &|policy| policy.otherwise = Otherwise::KillProcess);
    for name in (0..512).filter_map(syscall_name) {
        // A call that has an answer whatever its arguments keeps that.
        let is_free = policy.rules.iter().any(|rule| rule.syscall == name && rule.args.is_empty());
        // uretprobe and uprobe: no filter sees them.
        if !is_free && !["uretprobe", "uprobe"].contains(&name) {
            add(format!("{name} added"), &|policy| policy.rules.push(free(name)));
        }
    }
    for (at, rule) in policy.rules.iter().enumerate() {
        add(format!("`{rule}` removed"), &|policy| drop(policy.rules.remove(at)));
        for answer in other_answers(&rule.answer) {
            add(format!("`{rule}` answered with {answer:?}"), &|policy| {
                policy.rules[at].answer = answer.clone();
            });
        }
        for (index, arg) in rule.args.iter().enumerate() {
            add(format!("`{rule}` without `{arg}`"), &|policy| drop(policy.rules[at].args.remove(index)));
            for (how, changed) in changes(arg) {
                add(format!("`{rule}`, `{arg}`: {how}"), &|policy| {
                    policy.rules[at].args[index] = changed.clone();
                });
            }
        }
    }
    all
}

fn free(syscall: &str) -> Rule {
    Rule { syscall: syscall.to_owned(), answer: Answer::Allow, reason: "A mutant.".into(), args: Vec::new() }
}

/// Of a call that is answered and not made. One that is allowed can only be removed.
fn other_answers(answer: &Answer) -> Vec<Answer> {
    let errno = |number: u64| Answer::Errno(Operand::Number(number as i64));
    match answer {
        Answer::Allow => Vec::new(),
        Answer::Errno(old) => match value(old) {
            0 => vec![Answer::Allow, errno(1)],
            old => vec![Answer::Allow, errno(old - 1), errno(old + 1)],
        },
    }
}

/// One condition changed. Left out are changes that say the same in other words: of the value 0, `eq` and `subset` do, and of a mask in the
/// lower half, both widths, of all bits, the mask.
fn changes(arg: &Arg) -> Vec<(String, Arg)> {
    let mut all = Vec::new();
    let mut add = |how: &str, change: &dyn Fn(&mut Arg)| {
        let mut changed = arg.clone();
        change(&mut changed);
        all.push((how.to_owned(), changed));
    };
    let old = value(&arg.value);
    let set = |number: u64| move |arg: &mut Arg| arg.value = Operand::Number(number as i64);
    add("value + 1", &set(old.wrapping_add(1)));
    add("value - 1", &set(old.wrapping_sub(1)));
    add("the argument behind", &|arg| arg.index = (arg.index + 1) % 6);
    add("the argument before", &|arg| arg.index = (arg.index + 5) % 6);
    let mask = arg.mask.as_ref().map_or(u64::MAX, value);
    match arg.width {
        _ if mask <= u64::from(u32::MAX) => {}
        Width::Bits32 => add("64 bits", &|arg| arg.width = Width::Bits64),
        Width::Bits64 => add("32 bits", &|arg| arg.width = Width::Bits32),
    }
    let bits = match arg.width {
        Width::Bits32 => 32,
        Width::Bits64 => 64,
    };
    match arg.op {
        Op::Eq => {
            // The lowest bit alone, and all that are set.
            add("only its lowest bit", &|arg| {
                (arg.op, arg.mask) = (Op::MaskedEq, Some(Operand::Number(1)));
                arg.value = Operand::Number((old & 1) as i64);
            });
            if old != 0 {
                add("subset", &|arg| arg.op = Op::Subset);
                let all = if bits == 64 { u64::MAX } else { u64::from(u32::MAX) };
                if old & all != all {
                    add("masked with itself", &|arg| {
                        (arg.op, arg.mask) = (Op::MaskedEq, Some(arg.value.clone()));
                    });
                }
            }
        }
        Op::MaskedEq => {
            add("eq", &|arg| (arg.op, arg.mask) = (Op::Eq, None));
            add("subset", &|arg| (arg.op, arg.mask) = (Op::Subset, None));
            for bit in (0..bits).filter(|bit| mask >> bit & 1 == 1 && old >> bit & 1 == 0) {
                add(&format!("mask without bit {bit}"), &|arg| {
                    arg.mask = Some(Operand::Number((mask & !(1 << bit)) as i64));
                });
            }
        }
        Op::Subset => {
            add("eq", &|arg| arg.op = Op::Eq);
            add("masked with itself", &|arg| {
                (arg.op, arg.mask) = (Op::MaskedEq, Some(arg.value.clone()));
            });
            for bit in 0..bits {
                let how = if old >> bit & 1 == 1 { "without" } else { "and" };
                add(&format!("{how} bit {bit}"), &set(old ^ (1 << bit)));
            }
        }
    }
    all
}
