//! The SDF front end against its fixtures: one file for each rule that can be broken, and valid
//! ones. A fixture says in comments what is found in it:
//!
//! - `expect LINE:COLUMN error: MESSAGE | HELP`, or `warning:`; all of them, in order
//! - `unsupported LINE:COLUMN WHAT`: what `run` has to refuse; all of them, in order
//! - `expect nothing`: neither errors nor warnings
//! - `options arch=… cpus=…`
//!
//! A comment cannot hold two hyphens: `\-` stands for one.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use mk_sandbox::diagnostic::{Diagnostic, Source, render};
use mk_sandbox::sdf::{self, Arch, Options};

#[path = "sdf/files.rs"]
mod files;
#[path = "sdf/hostile.rs"]
mod hostile;
#[path = "sdf/values.rs"]
mod values;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sdf")
}

/// What a fixture's comments say.
#[derive(Default)]
struct Expected {
    findings: Vec<String>,
    unsupported: Vec<String>,
    nothing: bool,
    options: Vec<(String, String)>,
}

impl Expected {
    fn of(text: &str) -> Self {
        let mut expected = Self::default();
        let comments = text.split("<!--").skip(1).filter_map(|rest| rest.split("-->").next());
        for comment in comments.map(str::trim) {
            if comment == "expect nothing" {
                expected.nothing = true;
            } else if let Some(finding) = comment.strip_prefix("expect ") {
                expected.findings.push(finding.replace("\\-", "-"));
            } else if let Some(unsupported) = comment.strip_prefix("unsupported ") {
                expected.unsupported.push(unsupported.to_owned());
            } else if let Some(options) = comment.strip_prefix("options ") {
                let pairs = options.split_whitespace().filter_map(|pair| pair.split_once('='));
                expected.options.extend(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
            }
        }
        expected
    }

    fn options(&self) -> Options {
        let mut options = Options { search_path: vec![fixtures()], arch: Arch::Any, cpus: 4 };
        for (key, value) in &self.options {
            match key.as_str() {
                "arch" => options.arch = value.parse().expect("arch"),
                "cpus" => options.cpus = value.parse().expect("cpus"),
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn line(source: &Source, diagnostic: &Diagnostic) -> String {
    let (line, column) = source.position(diagnostic.span.start);
    let Diagnostic { severity, message, help, .. } = diagnostic;
    let help = help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
    // Prefill files are found at this machine's path.
    let directory = fixtures().display().to_string();
    format!("{line}:{column} {severity}: {message}{help}").replace(&directory, "DIR")
}

/// What is wrong with a fixture, if anything.
fn judge(path: &Path) -> Result<(), String> {
    let source = sdf::read_source(path).map_err(|error| error.to_string())?;
    let expected = Expected::of(&source.text);
    let (findings, unsupported) = match sdf::load(&source, &expected.options()) {
        Ok((system, warnings)) => (warnings, Some(system.unsupported)),
        Err(errors) => (errors, None),
    };
    let found: Vec<String> = findings.iter().map(|finding| line(&source, finding)).collect();
    let mut complaints = String::new();
    if expected.findings != found {
        complaints +=
            &format!("expected\n  {}\nfound\n  {}\n", expected.findings.join("\n  "), found.join("\n  "));
    }
    if expected.findings.is_empty() != expected.nothing {
        complaints += "say `expect nothing` exactly where nothing is expected\n";
    }
    let unsupported: Vec<String> = unsupported
        .unwrap_or_default()
        .iter()
        .map(|element| {
            let (line, column) = source.position(element.span.start);
            format!("{line}:{column} {}", element.what)
        })
        .collect();
    if expected.unsupported != unsupported {
        complaints += &format!("unsupported elements are\n  {}\n", unsupported.join("\n  "));
    }
    for finding in &findings {
        let (line, column) = source.position(finding.span.start);
        let shown = render(&source, finding, false);
        let place = format!("{}:{line}:{column}\n", path.display());
        if !shown.starts_with(&format!("{}: ", finding.severity)) || !shown.contains(&place) {
            complaints += &format!("is shown as\n{shown}\n");
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

#[test]
fn fixtures_are_judged_as_they_say() {
    let mut paths: Vec<PathBuf> = fs::read_dir(fixtures())
        .expect("the fixtures are part of the source")
        .map(|entry| entry.expect("the fixtures are readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "system"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures");
    let mut failures = String::new();
    for path in &paths {
        if let Err(complaints) = judge(path) {
            failures += &format!("\n{}\n{complaints}", path.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
