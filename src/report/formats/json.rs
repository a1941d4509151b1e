//! Findings as one JSON value.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::{Place, Report, level_word};
use crate::report::lint::{Judged, Level, Suppressed};

#[derive(Serialize)]
struct Output<'a> {
    file: String,
    valid: bool,
    summary: Summary,
    findings: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    notes: usize,
    suppressed: usize,
}

#[derive(Serialize)]
struct Finding<'a> {
    id: &'static str,
    level: &'static str,
    message: &'a str,
    help: Option<&'a str>,
    #[serde(flatten)]
    place: Place,
    related: Vec<Related<'a>>,
    /// `file` or `baseline`; absent where the finding counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<&'static str>,
    /// The reason in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Related<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Place,
}

/// One value, with a line end.
///
/// # Errors
/// None that these types can have.
pub fn write(report: &Report<'_>) -> Result<String, serde_json::Error> {
    let told = report.judged.iter().filter(|judged| judged.level != Level::Allow);
    let findings: Vec<Finding<'_>> = told.map(|judged| finding(report, judged)).collect();
    let count = |level| report.at(level).count();
    let output = Output {
        file: report.path(),
        valid: report.system.is_some(),
        summary: Summary {
            errors: count(Level::Deny),
            warnings: count(Level::Warn),
            notes: count(Level::Note),
            suppressed: findings.iter().filter(|finding| finding.suppressed.is_some()).count(),
        },
        findings,
    };
    Ok(serde_json::to_string_pretty(&output)? + "\n")
}

fn finding<'a>(report: &Report<'_>, judged: &'a Judged) -> Finding<'a> {
    let found = &judged.finding;
    let related = found.related.iter().map(|(span, message)| Related { message, place: report.place(span) });
    let (suppressed, reason) = match &judged.suppressed {
        Some(Suppressed::InFile(reason)) => (Some("file"), Some(reason.as_str())),
        Some(Suppressed::Baseline) => (Some("baseline"), None),
        None => (None, None),
    };
    Finding {
        id: found.lint.id,
        level: level_word(judged.level),
        message: &found.message,
        help: found.help.as_deref(),
        place: report.place(&found.span),
        related: related.collect(),
        suppressed,
        reason,
    }
}
