//! What is told of a run: faults as they happen, calls that cannot return, and the exit code that follows.

#![forbid(unsafe_code)]

pub mod formats;
pub mod graph;
pub mod lint;
pub mod lock;
pub mod outcome;
pub mod rights;
pub mod show;
pub mod words;

mod timings;

pub use timings::Timings;

use crate::exit::Exit;
use crate::monitor::{Ended, Fault, Outcome, Policy, Waiting};
use crate::plan::Plan;
use crate::sdf::PdIndex;

/// A fault in words, with what becomes of the PD.
pub fn fault(plan: &Plan, fault: &Fault, policy: Policy) -> String {
    let left = match (policy, plan.pd(fault.pd).parent) {
        (Policy::Restart, _) => "it is started again",
        (Policy::Stop, _) => "the system ends",
        (Policy::Continue, Some(_)) => "its parent has not taken it, and nobody handles it",
        (Policy::Continue, None) if fault.is_end() => "nobody handles it: it is gone, the others go on",
        (Policy::Continue, None) => "nobody handles it: it stays stopped, the others go on",
    };
    format!("fault: PD `{}`: {fault}\n  {left}", plan.pd(fault.pd).name)
}

/// Calls that can never return, in words: each as a chain, up to the PD that does not answer.
pub fn waiting(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let name = |pd: PdIndex| &plan.pd(pd).name;
    let next = |pd: PdIndex| outcome.waiting.iter().find(|waiting| waiting.caller == pd);
    let chain = |first: &Waiting| {
        let mut text = format!(
            "PD `{}` waits in a call on channel {} for `{}`",
            name(first.caller),
            first.id,
            name(first.callee)
        );
        let mut last = first.callee;
        let mut seen = vec![first.caller];
        while let Some(waiting) = next(last) {
            text += &format!(", which waits for `{}`", name(waiting.callee));
            if seen.contains(&waiting.callee) {
                return text;
            }
            seen.push(last);
            last = waiting.callee;
        }
        let why = match outcome.faults.iter().rev().find(|fault| fault.pd == last) {
            Some(fault) if fault.is_end() => "which is gone",
            Some(_) => "which is stopped by a fault",
            None => "which does not answer",
        };
        format!("{text}, {why}")
    };
    outcome.waiting.iter().map(chain).collect()
}

/// The exit code of a run.
pub fn exit(outcome: &Outcome) -> Exit {
    match outcome.ended {
        Ended::Limit => Exit::TimeLimit,
        _ if !outcome.faults.is_empty() || !outcome.waiting.is_empty() => Exit::Findings,
        Ended::Asked | Ended::Idle | Ended::Fault => Exit::Success,
    }
}
