//! The form of `policy/*.json`, as types. `policy/README.md` describes it for those who write rules.

#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use super::constants::constant;

/// One policy file: the rules of one filter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name of the filter: `loading`, `running`.
    pub filter: String,
    /// When it is in force and what for.
    pub purpose: String,
    /// What becomes of a call that no rule names.
    pub otherwise: Otherwise,
    /// At least one; [`crate::policy::Filters::compile`] refuses an empty list.
    pub rules: Vec<Rule>,
}

/// What becomes of a call that no rule names. There is deliberately no way to write "allow".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// The call is not made; the process stops with SIGSYS, which its tracer sees first.
    Trap,
    /// The process ends at once.
    KillProcess,
}

/// One rule: a call of this name that meets every condition gets the answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The kernel's name, as in `policy/syscalls_x86_64.txt`.
    pub syscall: String,
    /// What the call gets; allowed where the file says nothing.
    #[serde(default, rename = "action")]
    pub answer: Answer,
    /// Which code needs the call, and why.
    pub reason: String,
    /// Conditions that all have to hold; none: any arguments will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
}

/// What a call gets that meets a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The kernel makes the call.
    #[default]
    Allow,
    /// The kernel does not make the call and returns this error number; 0 makes the call return 0.
    Errno(Operand),
}

/// A condition on one argument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Arg {
    /// 0 to 5; checked when compiled.
    pub index: u8,
    /// The parameter's name in the manual page.
    pub name: String,
    /// How much of the register the kernel looks at.
    pub width: Width,
    /// How the argument is compared.
    pub op: Op,
    /// With `masked_eq`: the bits that count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Operand>,
    /// What it is compared with.
    pub value: Operand,
}

/// How much of an argument's register the kernel looks at. The rest is not compared, since a caller may leave anything
/// in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Width {
    /// An `int`: the low 32 bits.
    Bits32,
    /// A `long` or a pointer: all of it.
    Bits64,
}

impl Width {
    /// The bits that are compared.
    pub fn mask(self) -> u64 {
        match self {
            Self::Bits32 => u64::from(u32::MAX),
            Self::Bits64 => u64::MAX,
        }
    }
}

impl TryFrom<u8> for Width {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits {
            32 => Ok(Self::Bits32),
            64 => Ok(Self::Bits64),
            _ => Err(format!("width {bits}: an argument is 32 or 64 bits wide")),
        }
    }
}

impl From<Width> for u8 {
    fn from(width: Width) -> Self {
        match width {
            Width::Bits32 => 32,
            Width::Bits64 => 64,
        }
    }
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It is the value.
    Eq,
    /// Its bits under `mask` are the value.
    MaskedEq,
    /// It has no bit that the value has not.
    Subset,
}

/// A number, or words: the kernel's constants joined by `|` (`MAP_PRIVATE|MAP_FIXED`), or the name of a value that the
/// plan supplies (`doorbell`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Operand {
    /// As it is; a negative number means its two's complement.
    Number(i64),
    /// Looked up when compiled.
    Words(String),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl Arg {
    /// Whether a call with these arguments meets the condition; no for a value that only the plan knows.
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        let number = |operand: &Operand| match operand {
            Operand::Number(number) => Some(*number as u64),
            Operand::Words(words) => {
                words.split('|').try_fold(0, |bits, word| Some(bits | constant(word)? as u64))
            }
        };
        let mask = self.mask.as_ref().map_or(Some(u64::MAX), number);
        let (Some(value), Some(mask), Some(argument)) =
            (number(&self.value), mask, arguments.get(usize::from(self.index)))
        else {
            return false;
        };
        let (argument, value) = (argument & self.width.mask(), value & self.width.mask());
        match self.op {
            Op::Eq | Op::MaskedEq => argument & mask == value,
            Op::Subset => argument & !value == 0,
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.op, &self.mask) {
            (Op::Eq, _) | (Op::MaskedEq, None) => write!(f, "{} = {}", self.name, self.value),
            (Op::MaskedEq, Some(mask)) => write!(f, "{} & {mask} = {}", self.name, self.value),
            (Op::Subset, _) => write!(f, "{} within {}", self.name, self.value),
        }
    }
}

/// The call with its conditions, and the answer where it is not "allowed": `brk returns 0`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.syscall)?;
        let mut between = "(";
        for arg in &self.args {
            write!(f, "{between}{arg}")?;
            between = ", ";
        }
        if !self.args.is_empty() {
            f.write_str(")")?;
        }
        match &self.answer {
            Answer::Allow => Ok(()),
            Answer::Errno(Operand::Number(0)) => f.write_str(" returns 0"),
            Answer::Errno(errno) => write!(f, " fails with {errno}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, PlanValues, PolicyError, Program, SeccompData, evaluate};

    /// A policy of one rule.
    fn policy_of(rule: &str) -> Result<Program, PolicyError> {
        let text =
            format!(r#"{{"filter": "test", "purpose": "a test", "otherwise": "trap", "rules": [{rule}]}}"#);
        Policy::parse("test.json", &text)?.compile("x86_64", &PlanValues::new().with("doorbell", 3))
    }

    fn message(result: Result<Program, PolicyError>) -> String {
        result.expect_err("the policy is wrong").to_string()
    }

    #[test]
    fn a_value_of_the_plan_is_looked_up() {
        let rule = r#"{"syscall": "read", "reason": "r", "args":
            [{"index": 0, "name": "fd", "width": 32, "op": "eq", "value": "doorbell"}]}"#;
        let program = policy_of(rule).expect("doorbell is known");
        let answer = |fd| evaluate(&program, &SeccompData::new(0, [fd, 0, 0, 0, 0, 0]));
        assert_eq!(answer(3), Ok(Action::Allow));
        assert_eq!(answer(4), Ok(Action::Trap));
        let unknown = rule.replace("doorbell", "status_pipe");
        assert!(message(policy_of(&unknown)).contains("`status_pipe` is neither a known constant"));
    }

    #[test]
    fn a_wrong_policy_is_an_error_and_never_a_filter() {
        let arg = |arg: &str| {
            message(policy_of(&format!(r#"{{"syscall": "read", "reason": "r", "args": [{arg}]}}"#)))
        };
        assert_eq!(message(policy_of("")), "policy test: it has no rules");
        assert_eq!(
            message(policy_of(r#"{"syscall": "raed", "reason": "r"}"#)),
            "policy test: there is no system call `raed`"
        );
        assert!(message(policy_of(r#"{"syscall": "read"}"#)).contains("missing field `reason`"));
        assert!(message(policy_of(r#"{"syscall": "read", "reason": " "}"#)).contains("no reason"));
        assert!(
            message(policy_of(r#"{"syscall": "read", "reason": "r", "arg": []}"#))
                .contains("unknown field `arg`")
        );
        assert!(
            message(policy_of(r#"{"syscall": "read", "reason": "r", "action": "log"}"#))
                .contains("unknown variant `log`")
        );
        assert!(
            message(policy_of(r#"{"syscall": "brk", "reason": "r", "action": {"errno": 4096}}"#))
                .contains("not an error number")
        );
        for (given, said) in [
            (r#"{"index": 6, "name": "a", "width": 32, "op": "eq", "value": 0}"#, "argument"),
            (r#"{"index": 0, "name": "a", "width": 16, "op": "eq", "value": 0}"#, "width 16"),
            (r#"{"index": 0, "name": "a", "width": 32, "op": "ge", "value": 0}"#, "unknown variant"),
            (r#"{"index": 0, "name": "a", "width": 32, "op": "eq", "value": "PROT_REED"}"#, "PROT_REED"),
            (r#"{"index": 0, "name": "a", "width": 32, "op": "eq", "value": 4294967296}"#, "wider"),
            (r#"{"index": 0, "name": "a", "width": 32, "op": "masked_eq", "value": 1}"#, "needs a `mask`"),
            (
                r#"{"index": 0, "name": "a", "width": 32, "op": "eq", "mask": 1, "value": 1}"#,
                "only `masked_eq`",
            ),
            (
                r#"{"index": 0, "name": "a", "width": 32, "op": "masked_eq", "mask": 2, "value": 1}"#,
                "can never hold",
            ),
        ] {
            let said_really = arg(given);
            assert!(said_really.contains(said), "{given}: {said_really}");
        }
    }
}
