//! `mk-sandbox bench`: what this host does at best, what a system in the full sandbox does on it, and the ratio.
//!
//! Only ratios of one run mean anything, since machines differ and drift: every repetition measures all floors and then all
//! of ours, and a row's ratio is the median of the repetitions' ratios. Ours is measured as users have it: systems are
//! started with `mk-sandbox run` and its default options, and the PDs themselves read the time.

#![forbid(unsafe_code)]

mod bubblewrap;
pub mod harness;
mod inspect;
mod largest;
mod measure;
mod print;
mod statistics;
mod system;
mod table;

pub use bubblewrap::bubblewrap;
pub use harness::{BenchError, Harness};
pub use largest::largest_system;
pub use measure::{CallTimes, Cpus, Crowd, Size};
pub use print::{human, json};
pub use statistics::Summary;
pub use table::{Kind, Results, Row, Target, Verdict, rows};

use crate::sys::floor::{self, Placement, Via};

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repetitions of everything, at least 1. Below 5 a median says little.
    pub repetitions: usize,
    /// How long each measurement is.
    pub size: Size,
}

impl Settings {
    /// What `--quick` and its absence mean.
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { repetitions: 5, size: Size::Quick }
        } else {
            Self { repetitions: 9, size: Size::Full }
        }
    }
}

/// Every way of a floor round trip, by the name its results have.
pub const FLOORS: [(&str, Via, Placement); 14] = [
    ("spin, two CPUs", Via::Spin, Placement::TwoCpus),
    ("spin, unpinned", Via::Spin, Placement::Unpinned),
    ("futex, one CPU", Via::Futex, Placement::OneCpu),
    ("futex, two CPUs", Via::Futex, Placement::TwoCpus),
    ("futex, unpinned", Via::Futex, Placement::Unpinned),
    ("eventfd, one CPU", Via::Eventfd, Placement::OneCpu),
    ("eventfd, two CPUs", Via::Eventfd, Placement::TwoCpus),
    ("eventfd, unpinned", Via::Eventfd, Placement::Unpinned),
    ("pipe, one CPU", Via::Pipe, Placement::OneCpu),
    ("pipe, two CPUs", Via::Pipe, Placement::TwoCpus),
    ("pipe, unpinned", Via::Pipe, Placement::Unpinned),
    ("unix socket, one CPU", Via::Socket, Placement::OneCpu),
    ("unix socket, two CPUs", Via::Socket, Placement::TwoCpus),
    ("unix socket, unpinned", Via::Socket, Placement::Unpinned),
];

/// Measures everything that a row of `wanted` needs; `progress` hears what is being done.
///
/// # Errors
/// The first system that does not run, in words.
pub fn run(
    harness: &Harness,
    settings: Settings,
    wanted: &[Row],
    progress: &mut dyn FnMut(&str),
) -> Result<Results, BenchError> {
    let mut results = Results::default();
    let two_cpus = floor::cpus().is_ok_and(|cpus| cpus.len() > 1);
    let wants = |name: &str| wanted.iter().any(|row| row.names().any(|needed| needed == name));
    let any = |names: &[&str]| names.iter().any(|name| wants(name));
    for repetition in 1..=settings.repetitions {
        let told = |what: &str| format!("{repetition}/{}: {what}", settings.repetitions);
        progress(&told("floors"));
        measure::floors(harness, settings.size, two_cpus, &wants, &mut results)?;
        for step in measure::STEPS {
            if any(step.results) && (two_cpus || !step.needs_two_cpus) {
                progress(&told(step.what));
                (step.measure)(harness, settings.size, &mut results)?;
            }
        }
    }
    if any(measure::LONG.results) {
        progress(measure::LONG.what);
        (measure::LONG.measure)(harness, settings.size, &mut results)?;
    }
    Ok(results)
}
