//! Typed rules to the kernel's filter programs.
//!
//! A program of seccompiler has one answer for all that matches, so a policy with several answers becomes several of them in one: one for each
//! error number, and behind them one that passes every call a rule names and treats the rest as `otherwise` says.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use serde::{Deserialize, Serialize};

use super::constants::constant;
use super::data::{Answer, Arg, Op, Operand, Otherwise, Policy, Rule, Width};
use super::syscalls::syscall_number;

const LOADING: &str = include_str!("../../policy/loading.json");
const RUNNING: &str = include_str!("../../policy/running.json");
const LAUNCHER: &str = include_str!("../../policy/launcher.json");

/// Why a policy cannot become a filter. All of them are faults of the policy files or of the caller's plan; none may
/// lead to a PD that runs with less.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is not a policy.
    #[error("policy {file}: {source}")]
    Form {
        /// Which of the policy files.
        file: String,
        /// What serde says, with line and column.
        source: serde_json::Error,
    },
    /// A filter without rules would forbid everything, or, misread, nothing.
    #[error("policy {filter}: it has no rules")]
    Empty {
        /// Name of the filter.
        filter: String,
    },
    /// Only x86-64 has a table of system calls.
    #[error("no policy for the architecture `{0}`: only x86_64 is supported")]
    Architecture(String),
    /// No such call in `policy/syscalls_x86_64.txt`.
    #[error("policy {filter}: there is no system call `{syscall}`")]
    Syscall {
        /// Name of the filter.
        filter: String,
        /// As the rule names it.
        syscall: String,
    },
    /// A word that is neither a constant nor a value of the plan.
    #[error("policy {filter}, {syscall}: `{word}` is neither a known constant nor a value of the plan")]
    Word {
        /// Name of the filter.
        filter: String,
        /// The rule's call.
        syscall: String,
        /// The word.
        word: String,
    },
    /// A rule that says something impossible.
    #[error("policy {filter}, {syscall}: {problem}")]
    Rule {
        /// Name of the filter.
        filter: String,
        /// The rule's call.
        syscall: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What seccompiler refuses.
    #[error("policy {filter}: {source}")]
    Compiler {
        /// Name of the filter.
        filter: String,
        /// The compiler's reason.
        source: seccompiler::BackendError,
    },
}

/// Numbers that only the plan knows, by the name that rules use for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanValues(BTreeMap<String, u64>);

impl PlanValues {
    /// No value at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the value that rules call `name`, a lower-case word.
    #[must_use]
    pub fn with(mut self, name: &str, value: u64) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }
}

/// One filter program, as seccomp(2) takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// For messages: `loading`, `running`, `launcher`.
    pub name: String,
    /// One `struct sock_filter` each, as it lies in memory on a little-endian machine: code in bits 0 to 15, jt in 16 to
    /// 23, jf in 24 to 31, k in 32 to 63. 1 to 4095 words.
    pub words: Vec<u64>,
}

/// Every filter program of a PD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// To be installed, in this order, before the image is loaded.
    pub loading: Vec<Program>,
    /// To be installed, in this order, before the first instruction of the image. Behind it nothing can be installed.
    pub running: Vec<Program>,
}

impl Filters {
    /// The filters of one PD from the policy files in this program. `arch` is named as in [`std::env::consts::ARCH`].
    ///
    /// # Errors
    /// Every [`PolicyError`]; there is no partial result.
    pub fn compile(arch: &str, values: &PlanValues) -> Result<Self, PolicyError> {
        Ok(Self {
            loading: vec![Policy::loading()?.compile(arch, values)?],
            running: vec![Policy::running()?.compile(arch, values)?],
        })
    }
}

impl Policy {
    /// The rules for the dynamic linker and the PD host: `policy/loading.json`.
    ///
    /// # Errors
    /// [`PolicyError::Form`]
    pub fn loading() -> Result<Self, PolicyError> {
        Self::parse("loading.json", LOADING)
    }

    /// The rules for the PD's own code: `policy/running.json`.
    ///
    /// # Errors
    /// [`PolicyError::Form`]
    pub fn running() -> Result<Self, PolicyError> {
        Self::parse("running.json", RUNNING)
    }

    /// The rules for the launcher itself: `policy/launcher.json`. They need two values of the plan: `starter`, the descriptor to the
    /// process that starts PDs again, and `starter_pid`.
    ///
    /// # Errors
    /// [`PolicyError::Form`]
    pub fn launcher() -> Result<Self, PolicyError> {
        Self::parse("launcher.json", LAUNCHER)
    }

    /// Reads the text of a policy file; `file` is for messages.
    ///
    /// # Errors
    /// [`PolicyError::Form`] with the place, also for a field that the form does not have.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        serde_json::from_str(text).map_err(|source| PolicyError::Form { file: file.to_owned(), source })
    }

    /// The program that enforces these rules.
    ///
    /// # Errors
    /// Every [`PolicyError`] but `Form`.
    pub fn compile(&self, arch: &str, values: &PlanValues) -> Result<Program, PolicyError> {
        if arch != "x86_64" {
            return Err(PolicyError::Architecture(arch.to_owned()));
        }
        if self.rules.is_empty() {
            return Err(PolicyError::Empty { filter: self.filter.clone() });
        }
        let mut passed = Chains::default();
        let mut answered: BTreeMap<u16, Chains> = BTreeMap::new();
        for rule in &self.rules {
            let (nr, conditions) = self.resolve(rule, values)?;
            passed.add(nr, conditions.clone());
            if let Answer::Errno(errno) = &rule.answer {
                let errno = self.errno(rule, errno, values)?;
                answered.entry(errno).or_default().add(nr, conditions);
            }
        }
        let otherwise = match self.otherwise {
            Otherwise::Trap => SeccompAction::Trap,
            Otherwise::KillProcess => SeccompAction::KillProcess,
        };
        let mut words = Vec::new();
        // Of two error numbers for the same call the higher one is the answer.
        for (errno, chains) in answered.into_iter().rev() {
            let answer = SeccompAction::Errno(u32::from(errno));
            words.extend(then(self.assemble(chains, SeccompAction::Allow, answer)?));
        }
        words.extend(self.assemble(passed, otherwise, SeccompAction::Allow)?);
        if words.len() >= LONGEST {
            let source = seccompiler::BackendError::FilterTooLarge(words.len());
            return Err(PolicyError::Compiler { filter: self.filter.clone(), source });
        }
        Ok(Program { name: self.filter.clone(), words })
    }

    /// A rule's number and conditions.
    fn resolve(&self, rule: &Rule, values: &PlanValues) -> Result<(i64, Vec<SeccompCondition>), PolicyError> {
        let unknown = || PolicyError::Syscall { filter: self.filter.clone(), syscall: rule.syscall.clone() };
        let nr = syscall_number(&rule.syscall).ok_or_else(unknown)?;
        let nr = i64::try_from(nr).map_err(|_| unknown())?;
        if rule.reason.trim().is_empty() {
            return Err(self.fault(rule, "it has no reason"));
        }
        let conditions: Result<_, _> =
            rule.args.iter().map(|arg| self.condition(rule, arg, values)).collect();
        Ok((nr, conditions?))
    }

    fn condition(
        &self,
        rule: &Rule,
        arg: &Arg,
        values: &PlanValues,
    ) -> Result<SeccompCondition, PolicyError> {
        let number = |operand: &Operand| {
            let number = self.number(rule, operand, values)?;
            // -1 as an int is 32 set bits in a register of which the kernel reads 32.
            let fits = number & !arg.width.mask() == 0 || number as i64 == i64::from(number as i32);
            if !fits {
                return Err(self.fault(rule, &format!("{operand} is wider than argument `{}`", arg.name)));
            }
            Ok(number & arg.width.mask())
        };
        let value = number(&arg.value)?;
        let (op, value) = match (arg.op, &arg.mask) {
            (Op::Eq, None) => (SeccompCmpOp::Eq, value),
            (Op::Subset, None) => (SeccompCmpOp::MaskedEq(!value & arg.width.mask()), 0),
            (Op::MaskedEq, Some(mask)) => {
                let mask = number(mask)?;
                if value & !mask != 0 {
                    let problem = format!("`{arg}` can never hold: the mask hides a bit of the value");
                    return Err(self.fault(rule, &problem));
                }
                (SeccompCmpOp::MaskedEq(mask), value)
            }
            (Op::MaskedEq, None) => return Err(self.fault(rule, "`masked_eq` needs a `mask`")),
            (Op::Eq | Op::Subset, Some(_)) => {
                return Err(self.fault(rule, "only `masked_eq` has a `mask`"));
            }
        };
        let width = match arg.width {
            Width::Bits32 => SeccompCmpArgLen::Dword,
            Width::Bits64 => SeccompCmpArgLen::Qword,
        };
        SeccompCondition::new(arg.index, width, op, value)
            .map_err(|source| PolicyError::Compiler { filter: self.filter.clone(), source })
    }

    fn number(&self, rule: &Rule, operand: &Operand, values: &PlanValues) -> Result<u64, PolicyError> {
        let words = match operand {
            Operand::Number(number) => return Ok(*number as u64),
            Operand::Words(words) => words,
        };
        if let Some(value) = values.0.get(words) {
            return Ok(*value);
        }
        words.split('|').try_fold(0, |bits, word| match constant(word) {
            Some(value) => Ok(bits | value as u64),
            None => Err(PolicyError::Word {
                filter: self.filter.clone(),
                syscall: rule.syscall.clone(),
                word: word.to_owned(),
            }),
        })
    }

    fn errno(&self, rule: &Rule, operand: &Operand, values: &PlanValues) -> Result<u16, PolicyError> {
        // MAX_ERRNO of the kernel: a filter that returns more gets 4095.
        match self.number(rule, operand, values)? {
            errno @ 0..=4095 => Ok(errno as u16),
            _ => Err(self.fault(rule, &format!("{operand} is not an error number (0 to 4095)"))),
        }
    }

    fn assemble(
        &self,
        chains: Chains,
        mismatch: SeccompAction,
        matched: SeccompAction,
    ) -> Result<Vec<u64>, PolicyError> {
        let fault = |source| PolicyError::Compiler { filter: self.filter.clone(), source };
        let mut rules = chains.into_rules().map_err(fault)?;
        let count = rules.len().isqrt().max(1);
        let mut parts = Vec::new();
        while let Some((first, _)) = rules.first_key_value() {
            let first = *first;
            let rest = rules.keys().nth(count).copied().map(|next| rules.split_off(&next));
            let part = std::mem::replace(&mut rules, rest.unwrap_or_default());
            let filter = SeccompFilter::new(part, mismatch.clone(), matched.clone(), TargetArch::x86_64);
            let part = filter.and_then(BpfProgram::try_from).map_err(fault)?;
            parts.push((first, part.iter().map(word).collect()));
        }
        joined(parts).ok_or_else(|| fault(seccompiler::BackendError::FilterTooLarge(LONGEST)))
    }

    fn fault(&self, rule: &Rule, problem: &str) -> PolicyError {
        PolicyError::Rule {
            filter: self.filter.clone(),
            syscall: rule.syscall.clone(),
            problem: problem.to_owned(),
        }
    }
}

/// A program must be shorter (BPF_MAXINSNS).
const LONGEST: usize = 4096;

const JUMP: u64 = 0x05;

/// A program that goes on behind its end where it would let a call pass. One program takes the kernel less time to install than several.
fn then(mut words: Vec<u64>) -> Vec<u64> {
    const RETURN_ALLOW: u64 = 0x06 | (libc::SECCOMP_RET_ALLOW as u64) << 32;
    let end = words.len();
    for (at, word) in words.iter_mut().enumerate().filter(|(_, word)| **word == RETURN_ALLOW) {
        *word = JUMP | ((end - at - 1) as u64) << 32;
    }
    words
}

fn word(step: &sock_filter) -> u64 {
    u64::from(step.code) | u64::from(step.jt) << 16 | u64::from(step.jf) << 24 | u64::from(step.k) << 32
}

/// One program of several that each know some numbers, from a first one on, in ascending order. seccompiler's compares a call's number with one
/// after the other, and for its bitmap of calls that are always allowed the kernel goes through a new program with every number there is
/// (seccomp_cache_prepare): most of the time that installing a filter takes. A part checks the architecture and loads the number itself.
fn joined(parts: Vec<(i64, Vec<u64>)>) -> Option<Vec<u64>> {
    const LOAD_NUMBER: u64 = 0x20;
    const AT_LEAST: u64 = 0x35;
    let mut tail = Vec::new();
    let mut choice = Vec::new();
    let mut starts = Vec::new();
    for (first, part) in parts {
        starts.push((u64::try_from(first).ok()?, tail.len()));
        tail.extend(part);
    }
    choice.push(LOAD_NUMBER);
    let (_, others) = starts.split_first()?;
    for (index, (first, start)) in others.iter().enumerate().rev() {
        // Behind this pair stand those of the parts before, then the parts.
        let distance = 2 * index + start;
        choice.extend([AT_LEAST | 1 << 24 | first << 32, JUMP | u64::try_from(distance).ok()? << 32]);
    }
    choice.extend(tail);
    Some(choice)
}

/// Alternatives by call; an empty list of conditions among them stands for "whatever the arguments".
#[derive(Default)]
struct Chains(BTreeMap<i64, Vec<Vec<SeccompCondition>>>);

impl Chains {
    fn add(&mut self, nr: i64, conditions: Vec<SeccompCondition>) {
        self.0.entry(nr).or_default().push(conditions);
    }

    /// seccompiler's form, in which an empty chain stands for "whatever the arguments" and a rule without conditions is
    /// an error.
    fn into_rules(self) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
        let chains = self.0.into_iter().map(|(nr, alternatives)| {
            if alternatives.iter().any(Vec::is_empty) {
                return Ok((nr, Vec::new()));
            }
            let rules: Result<_, _> = alternatives.into_iter().map(SeccompRule::new).collect();
            Ok((nr, rules?))
        });
        chains.collect()
    }
}
