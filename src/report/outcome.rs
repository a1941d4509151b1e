//! `run --report`: the whole outcome as one JSON value. docs/report.schema.json describes it; what is there keeps its meaning, and
//! what is new comes with a new member.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rights::{self, namespaces};
use super::words::hex;
use super::{Timings, waiting};
use crate::exit::Exit;
use crate::launch::{Launch, Schedule, Wait};
use crate::monitor::{self, Ended, Heard, Kind, Policy, Recorded, State};
use crate::plan::{CapObject, PdPlan, Plan};
use crate::policy::{self, Answer};
use crate::sys::trace::{Registers, signal_name};

/// The version of the form. It becomes another one only if a member loses its meaning.
const FORM: u32 = 1;

/// What the command line asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The system file as it was named.
    pub system: String,
    /// `full` or `compat`.
    pub tier: String,
    /// `linux` or `microkit`.
    pub schedule: &'static str,
    /// `auto`, `spin` or `sleep`.
    pub wait: &'static str,
    /// `continue`, `stop` or `restart`.
    pub on_fault: &'static str,
    /// SCHED_FIFO where the host allows it.
    pub realtime: bool,
    /// End when nobody can run.
    pub until_idle: bool,
    /// The time limit.
    pub timeout_s: Option<f64>,
}

/// The words of `--schedule`.
pub fn schedule(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Linux => "linux",
        Schedule::Microkit => "microkit",
    }
}

/// The words of `--wait`.
pub fn wait(wait: Wait) -> &'static str {
    match wait {
        Wait::Auto => "auto",
        Wait::Spin => "spin",
        Wait::Sleep => "sleep",
    }
}

/// The words of `--on-fault`.
pub fn on_fault(policy: Policy) -> &'static str {
    match policy {
        Policy::Continue => "continue",
        Policy::Stop => "stop",
        Policy::Restart => "restart",
    }
}

/// How far a run got.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// There is no plan: the file, an image or the host was refused.
    Refused,
    /// There is a plan, and not every PD could be started, or watching failed.
    Planned(&'a Launch, &'a Timings),
    /// It ran to its end.
    Ran(&'a Launch, &'a Timings, &'a monitor::Outcome),
}

#[derive(Serialize)]
struct Report<'a> {
    form: u32,
    mk_sandbox: &'static str,
    asked: &'a Asked,
    host: &'a Host,
    started: bool,
    ended: Option<&'static str>,
    exit: ExitWords,
    errors: &'a [String],
    counts: Counts,
    pds: Vec<Pd>,
    faults: Vec<Fault>,
    waiting: Vec<Waiting>,
    timings: Option<Times>,
}

/// Where it runs.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    kernel: String,
    architecture: &'static str,
}

impl Host {
    /// This host.
    pub fn here() -> Self {
        let name = nix::sys::utsname::uname();
        Self {
            kernel: name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
            architecture: std::env::consts::ARCH,
        }
    }
}

#[derive(Serialize)]
struct ExitWords {
    code: u8,
    why: &'static str,
}

#[derive(Default, Serialize)]
struct Counts {
    pds: usize,
    faults: u64,
    unhandled_faults: usize,
    fresh_starts: u64,
    unanswered_calls: usize,
}

#[derive(Serialize)]
struct Pd {
    #[serde(flatten)]
    rights: rights::Pd,
    image_sha256: String,
    parent: Option<String>,
    children: Vec<String>,
    capabilities: Vec<Capability>,
    passive: bool,
    budget_us: u64,
    period_us: u64,
    system_calls: SystemCalls,
    layers: Layers,
    end: Option<End>,
}

#[derive(Serialize)]
struct Capability {
    slot: u8,
    object: CapObject,
    pd: String,
}

#[derive(Clone, Serialize)]
struct SystemCalls {
    made: Vec<String>,
    answered: Vec<String>,
    otherwise: &'static str,
}

#[derive(Serialize)]
struct Layers {
    namespaces: Vec<&'static str>,
    empty_root: bool,
    capabilities: u32,
    no_new_privs: bool,
    seccomp_filters: usize,
    landlock_abi: i32,
    mdwe: bool,
    mseal: bool,
}

#[derive(Serialize)]
struct End {
    state: &'static str,
    faults: u64,
    fresh_starts: u64,
    cpu_us: Option<u64>,
}

#[derive(Serialize)]
struct Fault {
    pd: String,
    at_ms: f64,
    kind: &'static str,
    heard_by: &'static str,
    then: &'static str,
    text: String,
    reason: String,
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_call: Option<SystemCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    registers: Option<BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
struct Memory {
    address: String,
    access: &'static str,
}

#[derive(Serialize)]
struct SystemCall {
    number: i64,
    name: Option<&'static str>,
    arguments: [String; 6],
    shown: String,
    rule: String,
    instead: Option<&'static str>,
}

#[derive(Serialize)]
struct Waiting {
    caller: String,
    channel: u8,
    callee: String,
    text: String,
}

#[derive(Serialize)]
struct Times {
    phases: Vec<Phase>,
    ran_ms: Option<f64>,
}

#[derive(Serialize)]
struct Phase {
    what: &'static str,
    ms: f64,
}

/// The report of a run that ends with this exit code. `errors` is what was said on standard error.
///
/// # Errors
/// None that these types can have.
pub fn write(
    asked: &Asked,
    host: &Host,
    stage: Stage<'_>,
    exit: Exit,
    errors: &[String],
) -> Result<String, serde_json::Error> {
    let (launch, timings, outcome) = match stage {
        Stage::Refused => (None, None, None),
        Stage::Planned(launch, timings) => (Some(launch), Some(timings), None),
        Stage::Ran(launch, timings, outcome) => (Some(launch), Some(timings), Some(outcome)),
    };
    let pds: Vec<Pd> = launch.map(|launch| pds(launch, outcome)).unwrap_or_default();
    let faults = match (launch, outcome) {
        (Some(launch), Some(outcome)) => {
            outcome.recorded.iter().map(|recorded| fault(&launch.plan, recorded)).collect()
        }
        _ => Vec::new(),
    };
    let waiting: Vec<Waiting> = match (launch, outcome) {
        (Some(launch), Some(outcome)) => chains(&launch.plan, outcome),
        _ => Vec::new(),
    };
    let ends = outcome.map(|outcome| outcome.pds.as_slice()).unwrap_or_default();
    let report = Report {
        form: FORM,
        mk_sandbox: env!("CARGO_PKG_VERSION"),
        asked,
        host,
        started: outcome.is_some(),
        ended: outcome.map(|outcome| ended(outcome.ended)),
        exit: ExitWords { code: exit as u8, why: why(exit, outcome) },
        errors,
        counts: Counts {
            pds: pds.len(),
            faults: ends.iter().map(|end| end.faults).sum(),
            unhandled_faults: outcome.map_or(0, |outcome| outcome.faults.len()),
            fresh_starts: ends.iter().map(|end| end.fresh_starts).sum(),
            unanswered_calls: waiting.len(),
        },
        pds,
        faults,
        waiting,
        timings: timings.map(|timings| Times {
            phases: timings.phases().into_iter().map(|(what, ms)| Phase { what, ms: rounded(ms) }).collect(),
            ran_ms: outcome.map(|outcome| rounded(outcome.ran.as_secs_f64() * 1e3)),
        }),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// To a microsecond.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn ended(ended: Ended) -> &'static str {
    match ended {
        Ended::Asked => "asked",
        Ended::Idle => "idle",
        Ended::Limit => "limit",
        Ended::Fault => "fault",
    }
}

fn why(exit: Exit, outcome: Option<&monitor::Outcome>) -> &'static str {
    match (exit, outcome) {
        (Exit::Success, None) => "it was asked to end before every PD had started",
        (Exit::Success, Some(outcome)) => match outcome.ended {
            Ended::Idle => "no PD could run again",
            _ => "it was asked to end, by a signal or because nobody reads standard output",
        },
        (Exit::Findings, Some(outcome)) if outcome.faults.is_empty() => "a call can never return",
        (Exit::Findings, _) => "a PD faulted and nobody handled it",
        (Exit::Usage, _) => "the command line is wrong",
        (Exit::Invalid, _) => "the system file or an image is invalid",
        (Exit::Host, _) => "this host cannot enforce the sandbox",
        (Exit::Internal, _) => "a failure of mk-sandbox or of the system under it",
        (Exit::TimeLimit, _) => "the time limit was reached",
    }
}

fn pds(launch: &Launch, outcome: Option<&monitor::Outcome>) -> Vec<Pd> {
    let plan = &launch.plan;
    let calls = system_calls();
    let pd = |pd: &PdPlan| {
        let name = |index| plan.pd(index).name.clone();
        let end = outcome.and_then(|outcome| outcome.pds.get(pd.index.0));
        let bytes = launch.images[pd.index.0].image.bytes();
        let capability =
            |cap: &crate::plan::CapPlan| Capability { slot: cap.slot, object: cap.object, pd: name(cap.pd) };
        Pd {
            rights: rights::Pd::of(plan, pd),
            image_sha256: hex(&Sha256::digest(bytes)),
            parent: pd.parent.map(|(parent, _)| name(parent)),
            children: pd.children.iter().map(|(_, child)| name(*child)).collect(),
            capabilities: pd.cspace.iter().map(capability).collect(),
            passive: pd.passive,
            budget_us: pd.budget_us,
            period_us: pd.period_us,
            system_calls: calls.clone(),
            layers: Layers {
                namespaces: namespaces(),
                empty_root: true,
                capabilities: 0,
                no_new_privs: true,
                seccomp_filters: launch.filters.loading.len() + launch.filters.running.len(),
                landlock_abi: launch.landlock_abi,
                mdwe: !launch.without.mdwe,
                mseal: !launch.without.mseal,
            },
            end: end.map(|end| End {
                state: match end.state {
                    State::Alive => "alive",
                    State::Faulted => "stopped_by_fault",
                    State::Suspended => "stopped_by_pd",
                    State::Restarting => "about_to_restart",
                    State::Gone => "gone",
                },
                faults: end.faults,
                fresh_starts: end.fresh_starts,
                cpu_us: end.cpu_us,
            }),
        }
    };
    plan.pds.iter().map(pd).collect()
}

fn system_calls() -> SystemCalls {
    let rules = policy::Policy::running().map(|policy| policy.rules).unwrap_or_default();
    let (made, answered): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.answer == Answer::Allow);
    let words = |rules: Vec<&policy::Rule>| rules.iter().map(|rule| rule.to_string()).collect();
    SystemCalls { made: words(made), answered: words(answered), otherwise: "fault" }
}

fn fault(plan: &Plan, recorded: &Recorded) -> Fault {
    let Recorded { fault, registers, at, heard } = recorded;
    let (heard_by, then) = match heard {
        Heard::Parent => ("parent", "as_the_parent_says"),
        Heard::Untaken => ("nobody", "stays_stopped"),
        Heard::User(Policy::Continue) => ("user", if fault.is_end() { "gone" } else { "stays_stopped" }),
        Heard::User(Policy::Stop) => ("user", "system_ends"),
        Heard::User(Policy::Restart) => ("user", "started_again"),
    };
    let (kind, memory, signal) = match &fault.kind {
        Kind::Memory { address, access, .. } => {
            let access = match access {
                monitor::Access::Execute => "execute",
                monitor::Access::Write => "write",
                monitor::Access::Read => "read",
            };
            ("memory", Some(Memory { address: format!("{address:#x}"), access }), None)
        }
        Kind::Syscall { .. } => ("system_call", None, None),
        Kind::Exception { signal, .. } => ("exception", None, Some(signal_name(*signal))),
        Kind::Breakpoint => ("breakpoint", None, None),
        Kind::Ended { signal } => ("ended", None, signal.map(signal_name)),
    };
    let system_call = match (&fault.kind, &fault.call) {
        (Kind::Syscall { number, arguments }, Some(call)) => Some(SystemCall {
            number: *number,
            name: call.name,
            arguments: arguments.map(|argument| format!("{argument:#x}")),
            shown: call.shown.clone(),
            rule: call.rule.clone(),
            instead: call.instead,
        }),
        _ => None,
    };
    Fault {
        pd: plan.pd(fault.pd).name.clone(),
        at_ms: rounded(at.as_secs_f64() * 1e3),
        kind,
        heard_by,
        then,
        text: fault.to_string(),
        reason: fault.reason.clone(),
        place: fault.place.clone(),
        memory,
        system_call,
        signal,
        registers: registers.as_ref().map(general),
    }
}

/// As they stood on the instruction.
fn general(registers: &Registers) -> BTreeMap<&'static str, String> {
    let r = registers;
    [
        ("rip", r.rip),
        ("rsp", r.rsp),
        ("rflags", r.eflags),
        ("rax", r.rax),
        ("rbx", r.rbx),
        ("rcx", r.rcx),
        ("rdx", r.rdx),
        ("rsi", r.rsi),
        ("rdi", r.rdi),
        ("rbp", r.rbp),
        ("r8", r.r8),
        ("r9", r.r9),
        ("r10", r.r10),
        ("r11", r.r11),
        ("r12", r.r12),
        ("r13", r.r13),
        ("r14", r.r14),
        ("r15", r.r15),
    ]
    .map(|(name, value)| (name, format!("{value:#x}")))
    .into()
}

fn chains(plan: &Plan, outcome: &monitor::Outcome) -> Vec<Waiting> {
    let texts = waiting(plan, outcome);
    let one = |(waiting, text): (&monitor::Waiting, String)| Waiting {
        caller: plan.pd(waiting.caller).name.clone(),
        channel: waiting.id,
        callee: plan.pd(waiting.callee).name.clone(),
        text,
    };
    outcome.waiting.iter().zip(texts).map(one).collect()
}
