//! `mk-sandbox policy`: what `run` would grant each PD, from the plan and the policy files alone. Nothing is started and no
//! image is read.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::args::{Format, PolicyArgs};
use super::{load, say};
use crate::diagnostic::Diagnostic;
use crate::exit::Exit;
use crate::plan::{self, PdPlan, Plan};
use crate::policy::{Answer, Otherwise, Policy, PolicyError, Rule, landlock};
use crate::report::rights::{Pd, namespaces};
use crate::sys::{probe, scheduling};

/// Prints the policy of every PD, or of the one asked for.
pub fn run(args: &PolicyArgs) -> Exit {
    match report(args) {
        Ok(report) => match args.format {
            Format::Human => say(&report.to_string()),
            Format::Json => match serde_json::to_string_pretty(&report) {
                Ok(text) => say(&format!("{text}\n")),
                Err(error) => internal(&error.to_string()),
            },
        },
        Err(exit) => exit,
    }
}

fn internal(error: &str) -> Exit {
    super::told::tell(error);
    Exit::Internal
}

/// An error is told when this returns its exit code.
fn report(args: &PolicyArgs) -> Result<Report, Exit> {
    let loaded = load::system(&args.system, &args.search_path, args.arch)?;
    let cpus = scheduling::cpus();
    let options = plan::Options { heap_size: args.heap_size, cpus, allow_wx: true };
    let plan = Plan::of(&loaded.system, &options).map_err(|errors: Vec<Diagnostic>| {
        load::tell(&loaded.source, &errors);
        Exit::Invalid
    })?;
    let every_pd = EveryPd::new().map_err(|error| internal(&error.to_string()))?;
    let wanted = |pd: &&PdPlan| args.pd.as_ref().is_none_or(|name| *name == pd.name);
    let pds: Vec<Pd> = plan.pds.iter().filter(wanted).map(|pd| Pd::of(&plan, pd)).collect();
    if let (Some(name), true) = (&args.pd, pds.is_empty()) {
        let known: Vec<&str> = plan.pds.iter().map(|pd| pd.name.as_str()).collect();
        super::told::tell(&format!("there is no PD `{name}`; the system has: {}", known.join(", ")));
        return Err(Exit::Usage);
    }
    Ok(Report { pds, every_pd })
}

/// The whole answer. Its fields are the JSON form, which names PDs and regions instead of numbering them.
#[derive(Debug, Serialize)]
struct Report {
    pds: Vec<Pd>,
    every_pd: EveryPd,
}

/// What is the same for every PD of every system.
#[derive(Debug, Serialize)]
struct EveryPd {
    running: Policy,
    loading: Policy,
    landlock: Landlock,
    namespaces: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Landlock {
    abi: i32,
    denied: Vec<String>,
    allowed_while_loading: Vec<String>,
}

impl EveryPd {
    fn new() -> Result<Self, PolicyError> {
        let abi = probe::landlock_abi().unwrap_or(0);
        let while_loading = landlock::Handled { fs: landlock::while_loading(), ..landlock::handled(0) };
        Ok(Self {
            running: Policy::running()?,
            loading: Policy::loading()?,
            landlock: Landlock {
                abi,
                denied: landlock::handled(abi).names(),
                allowed_while_loading: while_loading.names(),
            },
            namespaces: namespaces(),
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for pd in &self.pds {
            writeln!(f, "{pd}")?;
        }
        self.every_pd.fmt(f)
    }
}

impl std::fmt::Display for EveryPd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = &self.landlock;
        writeln!(f, "Every PD")?;
        writeln!(f, "  namespaces of its own: {}", self.namespaces.join(", "))?;
        writeln!(f, "  files: none; its root held the image while that was loaded, read-only")?;
        writeln!(f, "  capabilities: none, and none to be had (no_new_privs, locked securebits)")?;
        writeln!(f, "  Landlock, ABI {}, on this host", landlock.abi)?;
        paragraph(f, 4, 2, &format!("denied: {}", landlock.denied.join(", ")))?;
        let loading = landlock.allowed_while_loading.join(", ");
        paragraph(f, 4, 2, &format!("but {loading}, for its own image, until that is loaded"))?;
        filter(f, "system calls", &self.running, "is a fault")?;
        let before = "system calls before that, while trusted code loads the image and seals the process";
        filter(f, before, &self.loading, "is a failed start")
    }
}

fn filter(
    f: &mut std::fmt::Formatter<'_>,
    title: &str,
    policy: &Policy,
    otherwise: &str,
) -> std::fmt::Result {
    writeln!(f, "  {title}")?;
    for rule in &policy.rules {
        paragraph(f, 4, 2, &format!("{}{rule}", mark(rule)))?;
        paragraph(f, 8, 0, &rule.reason)?;
    }
    let ends = match policy.otherwise {
        Otherwise::Trap => "",
        Otherwise::KillProcess => ", and the end of the process",
    };
    writeln!(f, "    every other system call {otherwise}{ends}")
}

/// Column that lines of prose stay within.
const WIDTH: usize = 100;

/// Words on lines within [`WIDTH`] where a word allows it: the first begins at `indent`, the others `hang` further right.
fn paragraph(f: &mut std::fmt::Formatter<'_>, indent: usize, hang: usize, text: &str) -> std::fmt::Result {
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column == 0 {
            write!(f, "{:indent$}{word}", "")?;
            column = indent + length;
        } else if column + 1 + length <= WIDTH {
            write!(f, " {word}")?;
            column += 1 + length;
        } else {
            column = indent + hang;
            write!(f, "\n{:column$}{word}", "")?;
            column += length;
        }
    }
    writeln!(f)
}

/// So that what is only answered does not look granted.
fn mark(rule: &Rule) -> &'static str {
    match rule.answer {
        Answer::Allow => "",
        Answer::Errno(_) => "not made: ",
    }
}
