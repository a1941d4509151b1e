//! Findings for a terminal: those that matter with their place in the file, notes in a line.

#![forbid(unsafe_code)]

use super::{Report, level_word};
use crate::diagnostic::{self, Diagnostic, Severity};
use crate::report::lint::{Judged, Level, Lint, Suppressed, kinds};
use crate::report::words::{count, printable};

/// Every finding that counts. Changes of privilege come last, as one list.
pub fn findings(report: &Report<'_>, color: bool) -> String {
    let mut text = String::new();
    let about_lock = |judged: &&Judged| DRIFT.iter().any(|(_, lint)| judged.finding.lint.id == lint.id);
    for judged in report.judged.iter().filter(|judged| judged.counts() && !about_lock(judged)) {
        text += &match judged.level {
            Level::Deny | Level::Warn => with_place(report, judged, color),
            Level::Note | Level::Allow => in_a_line(report, judged),
        };
        text.push('\n');
    }
    text + &drift(report)
}

/// Kinds of changes against the lock file, by what they are told under.
const DRIFT: [(&str, &Lint); 3] = [
    ("more privilege than the lock file says", &kinds::PRIVILEGE_GREW),
    ("less privilege than the lock file says", &kinds::PRIVILEGE_SHRANK),
    ("other than the lock file says", &kinds::PRIVILEGE_CHANGED),
];

/// The privilege diff: what grew, what shrank, what changed.
fn drift(report: &Report<'_>) -> String {
    let mut text = String::new();
    for (title, lint) in DRIFT {
        let own = report.judged.iter().filter(|judged| judged.counts() && judged.finding.lint.id == lint.id);
        let lines: Vec<String> = own
            .map(|judged| {
                let (line, column) = report.position(judged.finding.span.start);
                let message = printable(&judged.finding.message);
                format!("  {message} ({}:{line}:{column})\n", printable(&report.path()))
            })
            .collect();
        if !lines.is_empty() {
            text += &format!("error[{}]: {title}\n{}", lint.id, lines.concat());
        }
    }
    text
}

fn with_place(report: &Report<'_>, judged: &Judged, color: bool) -> String {
    let finding = &judged.finding;
    let places = finding.related.iter().map(|(span, what)| {
        let (line, column) = report.position(span.start);
        format!("line {line}:{column}: {what}")
    });
    let help: Vec<String> = finding.help.iter().cloned().chain(places).collect();
    let diagnostic = Diagnostic {
        severity: if judged.level == Level::Deny { Severity::Error } else { Severity::Warning },
        span: finding.span.clone(),
        message: finding.message.clone(),
        help: (!help.is_empty()).then(|| help.join("; ")),
    };
    diagnostic::render_with_id(report.source, &diagnostic, Some(finding.lint.id), color)
}

fn in_a_line(report: &Report<'_>, judged: &Judged) -> String {
    let finding = &judged.finding;
    let (line, column) = report.position(finding.span.start);
    format!(
        "note[{}]: {}:{line}:{column}: {}",
        finding.lint.id,
        printable(&report.path()),
        printable(&finding.message)
    )
}

/// The last line: what the system has, and how much was found.
pub fn summary(report: &Report<'_>) -> String {
    let found = |level| report.at(level).count();
    let mut words = Vec::new();
    for level in [Level::Deny, Level::Warn, Level::Note] {
        if found(level) > 0 {
            words.push(count(found(level), level_word(level)));
        }
    }
    let suppressed = |by: fn(&Suppressed) -> bool| {
        report.judged.iter().filter(|judged| judged.suppressed.as_ref().is_some_and(by)).count()
    };
    let in_file = suppressed(|by| matches!(by, Suppressed::InFile(_)));
    let in_baseline = suppressed(|by| matches!(by, Suppressed::Baseline));
    if in_file > 0 {
        words.push(format!("{in_file} allowed in the file"));
    }
    if in_baseline > 0 {
        words.push(format!("{in_baseline} in the baseline"));
    }
    let found = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
    let path = printable(&report.path());
    match report.system {
        Some(system) => format!(
            "{path}: valid: {}, {}, {}{found}\n",
            count(system.pds.len(), "protection domain"),
            count(system.regions.len(), "memory region"),
            count(system.channels.len(), "channel"),
        ),
        // The errors have said it.
        None => String::new(),
    }
}
