//! Proof on the running system: starts every PD up to the barrier, asks the kernel what each really has, and compares that with the
//! plan. No foreign code runs: the system calls tried are made by the launcher's hand, as the PD's tracer.

#![forbid(unsafe_code)]

mod descriptors;
pub mod kinds;
mod maps;
mod process;
mod syscalls;

use std::io;

use serde::Serialize;

use crate::launch::{Launch, Resources, RunningPd};
use crate::plan::PdPlan;

/// One thing that was looked at in one PD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The PD's name.
    pub pd: String,
    /// What was looked at: an id of [`kinds`].
    pub what: &'static str,
    /// What the plan says.
    pub expected: String,
    /// What the kernel says.
    pub found: String,
    /// Whether they agree.
    pub ok: bool,
}

/// Where the checks of one PD are collected.
struct Checks<'a> {
    pd: &'a PdPlan,
    list: Vec<Check>,
}

/// Strangers named in one check.
const NAMED: usize = 20;

impl Checks<'_> {
    fn equal(&mut self, what: &'static str, expected: impl ToString, found: impl ToString) {
        let (expected, found) = (expected.to_string(), found.to_string());
        let ok = expected == found;
        self.list.push(Check { pd: self.pd.name.clone(), what, expected, found, ok });
    }

    /// Nothing was found that should not be.
    fn none(&mut self, what: &'static str, expected: impl ToString, strangers: &[String]) {
        let named = strangers.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let found = match strangers.len() {
            0 => expected.to_string(),
            1..=NAMED => named,
            more => format!("{named}; and {} more", more - NAMED),
        };
        self.equal(what, expected.to_string(), found);
    }
}

/// What the checks of every PD need.
struct Scene<'a> {
    launch: &'a Launch,
    resources: &'a Resources,
    running: &'a [RunningPd],
}

/// Looks at every PD, which must stand at the barrier, in the order of the system.
///
/// # Errors
/// A PD's files in /proc could not be read, or the PD was ended from outside.
pub fn verify(launch: &Launch, resources: &Resources, running: &[RunningPd]) -> io::Result<Vec<Check>> {
    let scene = Scene { launch, resources, running };
    let mut all = Vec::new();
    for pd in running {
        let plan = launch.plan.pd(pd.index);
        let mut checks = Checks { pd: plan, list: Vec::new() };
        process::check(&scene, pd, &mut checks)?;
        maps::check(&scene, pd, &mut checks)?;
        descriptors::check(&scene, pd, &mut checks)?;
        syscalls::check(pd, &mut checks)?;
        all.extend(checks.list);
    }
    Ok(all)
}
