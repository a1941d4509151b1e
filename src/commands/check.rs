//! `mk-sandbox check`: every error of a system description, and what is valid but unwise, each at its place.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use super::inspect_args::{CheckArgs, ReportFormat};
use super::{images, load, lock, say, write_file};
use crate::diagnostic::{Diagnostic, Source};
use crate::exit::Exit;
use crate::policy::{Answer, Policy};
use crate::report::formats::{self, Report};
use crate::report::lint::baseline::Baseline;
use crate::report::lint::{self, Comments, Finding, Judged, Level, Levels, kinds};
use crate::report::lock::{Lock, compare, findings};
use crate::sdf::{self, ReadError, System};

/// Judges the file and the images that are there.
pub fn run(args: &CheckArgs) -> Exit {
    match try_run(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn tell(exit: Exit, message: &str) -> Exit {
    super::told::tell(message);
    exit
}

/// What was judged.
struct Checked {
    source: Source,
    system: Option<System>,
    judged: Vec<Judged>,
}

/// An error has been told when this returns it.
fn try_run(args: &CheckArgs) -> Result<Exit, Exit> {
    let levels = Levels::new(&args.deny, &args.warn, &args.allow)
        .map_err(|error| tell(Exit::Usage, &error.to_string()))?;
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let mut checked = check(args, &levels)?;
    if let Some(baseline) = &baseline
        && checked.system.is_some()
    {
        let gone = baseline.apply(&mut checked.judged);
        if gone > 0 {
            tracing::warn!(
                "{gone} of the {} findings in the baseline are gone: write it anew",
                baseline.len()
            );
        }
    }
    if let (Some(path), Some(_)) = (&args.write_baseline, &checked.system) {
        return Ok(write_baseline(path, &checked.judged));
    }
    let Checked { source, system, judged } = &checked;
    let report = Report::new(source, system.as_ref(), judged);
    match write(args, &report)? {
        Exit::Success => {}
        failed => return Ok(failed),
    }
    Ok(match system {
        None => Exit::Invalid,
        Some(_) if report.at(Level::Deny).next().is_some() => Exit::Findings,
        Some(_) => Exit::Success,
    })
}

fn check(args: &CheckArgs, levels: &Levels) -> Result<Checked, Exit> {
    let invalid = |source: Source, errors: Vec<Diagnostic>| {
        let judged = lint::of_invalid(errors).into_iter().map(|finding| levels.judge(finding)).collect();
        Ok(Checked { source, system: None, judged })
    };
    let source = match sdf::read_source(&args.system) {
        Ok(source) => source,
        Err(ReadError::NotUtf8 { source_until, diagnostic }) => {
            return invalid(source_until, vec![diagnostic]);
        }
        Err(error) => {
            let source = Source { path: args.system.clone(), text: String::new() };
            return invalid(source, vec![Diagnostic::error(0..0, error.to_string())]);
        }
    };
    let search_path = load::search_path(&args.system, &args.search_path);
    let options = load::options(&search_path, args.arch);
    let (system, warnings) = match sdf::load(&source, &options) {
        Ok(loaded) => loaded,
        Err(errors) => return invalid(source, errors),
    };
    let images = images::read(&system, &search_path);
    let policy = Policy::running().map_err(|error| tell(Exit::Internal, &error.to_string()))?;
    let permitted =
        |call: &str| policy.rules.iter().any(|rule| rule.syscall == call && rule.answer == Answer::Allow);
    let mut found = lint::findings(&system, warnings, &images, &permitted);
    if args.locked {
        let hashes: Vec<Option<String>> = images.iter().map(|file| file.sha256.clone()).collect();
        found.extend(drift(&args.system, &system, &hashes)?);
    }
    let mut judged: Vec<Judged> = found.into_iter().map(|finding| levels.judge(finding)).collect();
    let all_images = images.iter().all(|file| file.image.is_ok());
    let about_comments = Comments::of(&source).apply(&mut judged, all_images);
    judged.extend(about_comments.into_iter().map(|finding| levels.judge(finding)));
    judged.sort_by_key(|judged| judged.finding.span.start);
    Ok(Checked { source, system: Some(system), judged })
}

/// The rights against those of the lock file.
fn drift(path: &Path, system: &System, hashes: &[Option<String>]) -> Result<Vec<Finding>, Exit> {
    let path = lock::lock_path(path);
    let calls = lock::system_calls().map_err(|error| tell(Exit::Internal, &error.to_string()))?;
    let locked =
        fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| Lock::parse(&text));
    Ok(match locked {
        Ok(locked) => findings(system, compare(&locked, &Lock::of(system, hashes, &calls))),
        Err(error) => {
            let message = format!("the lock file `{}` cannot be used: {error}", path.display());
            vec![Finding {
                lint: &kinds::LOCK_MISSING,
                span: 0..0,
                message,
                help: Some("write it with `mk-sandbox lock`".into()),
                related: Vec::new(),
            }]
        }
    })
}

fn read_baseline(path: &Path) -> Result<Baseline, Exit> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| Baseline::parse(&text)).map_err(|error| {
        tell(Exit::Usage, &format!("the baseline `{}` cannot be used: {error}", path.display()))
    })
}

fn write_baseline(path: &Path, judged: &[Judged]) -> Exit {
    let baseline = Baseline::of(judged);
    let text = match baseline.to_text() {
        Ok(text) => text,
        Err(error) => return tell(Exit::Internal, &error.to_string()),
    };
    match write_file(path, &text) {
        Exit::Success => say(&format!("{}: {} findings\n", path.display(), baseline.len())),
        failed => failed,
    }
}

/// Findings for people go to standard error, as a compiler's do; all else to standard output or the file.
fn write(args: &CheckArgs, report: &Report<'_>) -> Result<Exit, Exit> {
    let internal = |error: serde_json::Error| tell(Exit::Internal, &error.to_string());
    let text = match args.format {
        ReportFormat::Human => {
            let to_file = args.output.is_some();
            let findings = formats::human(report, !to_file && io::stderr().is_terminal());
            let summary = formats::summary(report);
            if to_file {
                findings + &summary
            } else {
                super::told::print(&findings);
                summary
            }
        }
        ReportFormat::Json => formats::json(report).map_err(internal)?,
        ReportFormat::Sarif => formats::sarif(report).map_err(internal)?,
        ReportFormat::Junit => formats::junit(report),
        ReportFormat::Github => formats::github(report),
    };
    Ok(match &args.output {
        Some(path) => write_file(path, &text),
        None => say(&text),
    })
}
