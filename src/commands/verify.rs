//! `mk-sandbox verify`: the sandbox, proved on this host.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::args::VerifyArgs;
use super::inspect_args::ReportFormat;
use super::output::OutputFile;
use super::prepare::{self, Prepared, Wishes, refused};
use super::{cannot_write, say, told};
use crate::diagnostic::Source;
use crate::exit::Exit;
use crate::launch::{self, Launch, LaunchError, Schedule, Wait};
use crate::pd::Shipped;
use crate::report::formats::{self, Verified};
use crate::sdf::System;
use crate::sys::descriptor;
use crate::verify::{self, Check};

/// Starts the system up to the barrier, looks, ends it, writes the report. A report for programs is written also when there was
/// nothing to look at, so that an older one is not taken for the answer.
pub fn run(args: &VerifyArgs) -> Exit {
    let output = match args.output.as_deref().map(open).transpose() {
        Ok(output) => output,
        Err(exit) => return exit,
    };
    match prove(args) {
        Ok(proof) => {
            let verified = Verified::new(&proof.source, Some(&proof.system), Ok(&proof.checks));
            match write(args.format, output, &verified, Some(&proof.checks)) {
                Exit::Success if proof.checks.iter().all(|check| check.ok) => Exit::Success,
                Exit::Success => Exit::Findings,
                failed => failed,
            }
        }
        Err(exit) => {
            let source = Source { path: args.system.clone(), text: String::new() };
            let why = told::errors().join("\n");
            write(args.format, output, &Verified::new(&source, None, Err(&why)), None);
            exit
        }
    }
}

/// What was found.
struct Proof {
    source: Source,
    system: System,
    checks: Vec<Check>,
}

fn open(path: &Path) -> Result<OutputFile, Exit> {
    OutputFile::open(path).map_err(|error| cannot_write(path, &error))
}

/// An error has been told when this returns it.
fn prove(args: &VerifyArgs) -> Result<Proof, Exit> {
    let wishes = Wishes {
        system: &args.system,
        search_path: &args.search_path,
        arch: args.arch,
        build: args.build,
        heap_size: crate::plan::DEFAULT_HEAP_SIZE,
        tier: args.tier,
        schedule: Schedule::Linux,
        wait: Wait::Auto,
        realtime: false,
        again: false,
        allow_wx: true,
    };
    let Prepared { loaded, launch, .. } = prepare::launch(&wishes)?;
    let checks = look(&launch).map_err(|error| match refused(&loaded, args.tier, &error) {
        // Asked to end before anything was proved: a run may end like that, a proof may not.
        Exit::Success => Exit::Internal,
        exit => exit,
    })?;
    Ok(Proof { source: loaded.source, system: loaded.system, checks })
}

fn look(launch: &Launch) -> Result<Vec<Check>, LaunchError> {
    let failed = |what: &'static str| move |source| LaunchError::Prepare { what: what.into(), source };
    descriptor::raise_limit().map_err(io::Error::from).map_err(failed("raising the limit on open files"))?;
    let signals = prepare::take_signals().map_err(failed("taking signals"))?;
    let resources = launch::prepare(launch, None)?;
    let running = launch::start(launch, &resources, &signals, &Shipped)?;
    let checks = verify::verify(launch, &resources, &running);
    launch::end_all(running.iter().map(|pd| &pd.child));
    checks.map_err(failed("asking the kernel about a PD"))
}

fn write(
    format: ReportFormat,
    output: Option<OutputFile>,
    verified: &Verified<'_>,
    checks: Option<&[Check]>,
) -> Exit {
    let text = match format {
        // Standard error has the reason.
        ReportFormat::Human => Ok(checks.map(formats::verified_human).unwrap_or_default()),
        ReportFormat::Json => verified.json(),
        ReportFormat::Sarif => verified.sarif(),
        ReportFormat::Junit => Ok(verified.junit()),
        ReportFormat::Github => Ok(verified.github()),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            told::tell(&error.to_string());
            return Exit::Internal;
        }
    };
    let Some(output) = output else { return say(&text) };
    let path = output.path().to_owned();
    match output.finish(&text) {
        Ok(()) => Exit::Success,
        Err(error) => cannot_write(&path, &error),
    }
}
