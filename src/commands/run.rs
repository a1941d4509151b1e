//! `mk-sandbox run`: the one way from the system file to the report.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;

use nix::sys::signalfd::SignalFd;

use super::args::{Allow, OnFault, RunArgs, Schedule};
use super::outcome::Pending;
use super::prepare::{self, Prepared, Wishes, refused};
use super::told;
use crate::exit::Exit;
use crate::launch::{self, Early, Launch, LaunchError};
use crate::monitor::{self, Until};
use crate::pd::Seam;
use crate::report::outcome::Stage;
use crate::report::{self, Timings};
use crate::sys::descriptor;

/// Has the first PD's process cloned before the command line is parsed, which takes about as long as all else up to the plan. `arguments` are
/// those of `run`; should they be wrong, all that is lost is the process.
pub fn early<S: Seam>(arguments: impl IntoIterator<Item = OsString>, seam: &S) -> Option<Early> {
    // A lower tier first finds out by processes of its own what the host offers, and compilers of images are processes, too.
    let needs_processes = |argument: OsString| {
        ["--tier", "--build"].iter().any(|name| argument.to_string_lossy().starts_with(name))
    };
    if arguments.into_iter().any(needs_processes) { None } else { launch::begin(seam) }
}

/// Runs the system until it ends; says everything there is to say and returns the exit code.
pub fn run<S: Seam>(args: &RunArgs, early: Option<Early>, seam: &S) -> Exit {
    let report = match Pending::new(args) {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    // A report is written also when a signal comes before there is anything to end.
    let signals = match report.as_ref().map(|_| prepare::take_signals()).transpose() {
        Ok(signals) => signals,
        Err(error) => {
            told::tell(&format!("taking signals: {error}"));
            return Exit::Internal;
        }
    };
    let write = |stage: Stage<'_>, exit| match report {
        Some(report) => report.write(stage, exit),
        None => exit,
    };
    let Prepared { loaded, launch, mut timings } = match prepare(args) {
        Ok(prepared) => prepared,
        Err(exit) => return write(Stage::Refused, exit),
    };
    match launch_and_watch(&launch, early, args, seam, signals, &mut timings) {
        Ok(outcome) => {
            for chain in report::waiting(&launch.plan, &outcome) {
                told::say(&format!("a call can never return: {chain}"));
            }
            write(Stage::Ran(&launch, &timings, &outcome), report::exit(&outcome))
        }
        Err(error) => {
            let exit = refused(&loaded, args.tier, &error);
            write(Stage::Planned(&launch, &timings), exit)
        }
    }
}

/// An error has been told when this returns it.
fn prepare(args: &RunArgs) -> Result<Prepared, Exit> {
    prepare::launch(&Wishes {
        system: &args.system,
        search_path: &args.search_path,
        arch: args.arch,
        build: args.build,
        heap_size: args.heap_size,
        tier: args.tier,
        schedule: args.schedule.into(),
        wait: args.wait.into(),
        realtime: args.realtime,
        again: args.on_fault == OnFault::Restart,
        allow_wx: args.allow.contains(&Allow::Wx),
    })
}

fn launch_and_watch<S: Seam>(
    launch: &Launch,
    early: Option<Early>,
    args: &RunArgs,
    seam: &S,
    signals: Option<SignalFd>,
    timings: &mut Timings,
) -> Result<monitor::Outcome, LaunchError> {
    let failed = |what: &'static str| move |source| LaunchError::Prepare { what: what.into(), source };
    descriptor::raise_limit().map_err(io::Error::from).map_err(failed("raising the limit on open files"))?;
    let signals = match signals {
        Some(signals) => signals,
        None => prepare::take_signals().map_err(failed("taking signals"))?,
    };
    let mut resources = launch::prepare(launch, early)?;
    timings.done("creating memory and pipes");
    let mut confinement = None;
    let meanwhile = || launch::begin_to_confine(launch, seam).map(|begun| confinement = begun);
    let running = launch::start_and(launch, &resources, &signals, seam, meanwhile)?;
    timings.done("starting the PDs");
    // Whatever is opened, is opened before this.
    if let Err(error) = launch::confine(launch, &mut resources, seam, confinement) {
        launch::end_all(running.iter().map(|pd| &pd.child));
        return Err(error);
    }
    timings.done("confining the launcher itself");
    if args.timings {
        told::print(&timings.table(&running));
    }
    let priorities = match (args.schedule, args.realtime) {
        (Schedule::Microkit, _) => "seL4's rules decide who runs",
        (Schedule::Linux, true) => "priorities are SCHED_FIFO where this host allows it",
        (Schedule::Linux, false) => "priorities are nice values",
    };
    tracing::info!(pds = running.len(), "every PD is confined and ready; {priorities}");
    let options = monitor::Options {
        console: args.console.into(),
        until: Until { idle: args.until_idle, limit: args.timeout },
        policy: args.on_fault.into(),
    };
    let on_fault = |fault: &monitor::Fault, policy| told::say(&report::fault(&launch.plan, fault, policy));
    monitor::run(launch, &resources, running, &signals, options, &on_fault)
        .map_err(|source| LaunchError::Confined { what: "watching the system".into(), source })
}
