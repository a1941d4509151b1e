//! Every rule of the policy is needed and none is too wide: each mutation of `policy/*.json` is noticed by what it does. Either the
//! kernel, asked under the mutated filters, lets a call pass that nobody may make; or a system that works does not work any more. Where
//! only another C library than this host's would need what is gone, the calls that one makes are tried.
//!
//! This program is launcher and PD host of the systems it starts.

#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod judge;
mod mutants;
mod numbers;
mod system;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mk_sandbox::policy::{PlanValues, Policy, Program};

use mutants::Mutant;

fn main() -> ExitCode {
    mk_sandbox::pd::entry::<system::FailsAt>();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, filters] = &arguments[..]
        && first == system::LAUNCHER
    {
        return system::launcher(filters);
    }
    // cargo's own options say nothing to this program.
    let wanted = arguments.iter().find(|word| !word.starts_with('-'));
    let judge = judge::Judge::new();
    let healthy = system::Stage::new();
    let policies = [Policy::loading(), Policy::running()].map(|policy| policy.expect("it parses"));
    for policy in &policies {
        let said = bounds::breach(&judge, &policy.filter, &compiled(policy));
        assert_eq!(said, None, "{}: the policy as it is", policy.filter);
        assert_eq!(bounds::refuses_another_c_library(&judge, &policy.filter, &compiled(policy)), None);
    }
    assert_eq!(healthy.complaint("as it is", &policies), None, "the policy as it is");

    let mut mutants: Vec<Mutant> = policies.iter().flat_map(mutants::of).collect();
    mutants.retain(|mutant| wanted.is_none_or(|wanted| mutant.to_string().contains(wanted)));
    let (next, noticed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let how = how_it_is_noticed(mutant, &policies, &judge, &healthy);
                    noticed.lock().unwrap().push((mutant, how));
                }
            });
        }
    });
    report(&noticed.into_inner().unwrap())
}

/// By whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Notice {
    /// The kernel lets something pass.
    Breach(String),
    /// Systems fail.
    Failure(String),
    /// Another C library than this one could not load an image.
    Elsewhere(String),
}

fn how_it_is_noticed(
    mutant: &Mutant,
    policies: &[Policy; 2],
    judge: &judge::Judge,
    healthy: &system::Stage,
) -> Option<Notice> {
    let Ok(program) = mutant.policy.compile("x86_64", &PlanValues::new()) else {
        return Some(Notice::Failure("it is no policy".into()));
    };
    let programs = [program];
    if let Some(breach) = bounds::breach(judge, &mutant.policy.filter, &programs) {
        return Some(Notice::Breach(breach));
    }
    let mutated = policies.clone().map(|policy| match policy.filter == mutant.policy.filter {
        true => mutant.policy.clone(),
        false => policy,
    });
    if let Some(failure) = healthy.complaint(&mutant.to_string(), &mutated) {
        return Some(Notice::Failure(failure));
    }
    bounds::refuses_another_c_library(judge, &mutant.policy.filter, &programs).map(Notice::Elsewhere)
}

fn compiled(policy: &Policy) -> Vec<Program> {
    vec![policy.compile("x86_64", &PlanValues::new()).expect("it compiles")]
}

fn report(noticed: &[(&Mutant, Option<Notice>)]) -> ExitCode {
    let (mut breaches, mut failures, mut elsewhere, mut unnoticed) = (0, 0, Vec::new(), Vec::new());
    for (mutant, how) in noticed {
        match how {
            Some(Notice::Breach(_)) => breaches += 1,
            Some(Notice::Failure(_)) => failures += 1,
            Some(Notice::Elsewhere(what)) => elsewhere.push(format!("{mutant}: {what}")),
            None => unnoticed.push(mutant.to_string()),
        }
        if std::env::var_os("MK_MUTANTS").is_some() {
            println!("{mutant}: {how:?}");
        }
    }
    elsewhere.sort();
    unnoticed.sort();
    for line in elsewhere {
        println!("noticed by another C library alone: {line}");
    }
    for line in &unnoticed {
        println!("NOT NOTICED: {line}");
    }
    println!(
        "{} mutants of the policy: {breaches} let a call pass, {failures} make a system fail, {} not noticed",
        noticed.len(),
        unnoticed.len()
    );
    println!("{} passed, {} failed", noticed.len() - unnoticed.len(), unnoticed.len());
    // No mutant at all would be a success that shows nothing.
    ExitCode::from(u8::from(!unnoticed.is_empty() || noticed.is_empty()))
}
