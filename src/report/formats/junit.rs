//! JUnit XML: a test case for each kind of finding. JUnit knows no warnings: what is not denied is a case's output.

#![forbid(unsafe_code)]

use super::{Report, level_word};
use crate::report::lint::{Judged, Level, kinds};

/// One document.
pub fn write(report: &Report<'_>) -> String {
    let mut cases = String::new();
    let mut failures = 0;
    let class = escape(&report.path());
    for lint in kinds::ALL {
        let own: Vec<&Judged> = report
            .judged
            .iter()
            .filter(|judged| judged.counts() && judged.finding.lint.id == lint.id)
            .collect();
        let denied: Vec<&Judged> = own.iter().copied().filter(|judged| judged.level == Level::Deny).collect();
        cases += &format!("    <testcase classname=\"{class}\" name=\"{}\"", lint.id);
        if own.is_empty() {
            cases += "/>\n";
            continue;
        }
        cases += ">\n";
        if let Some(first) = denied.first() {
            failures += 1;
            cases += &format!(
                "      <failure type=\"{}\" message=\"{}\">{}</failure>\n",
                lint.id,
                escape(&first.finding.message),
                escape(&lines(report, &denied))
            );
        }
        let told: Vec<&Judged> = own.into_iter().filter(|judged| judged.level != Level::Deny).collect();
        if !told.is_empty() {
            cases += &format!("      <system-out>{}</system-out>\n", escape(&lines(report, &told)));
        }
        cases += "    </testcase>\n";
    }
    let tests = kinds::ALL.len();
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"mk-sandbox check\" {counts}>\n  \
         <testsuite name=\"{class}\" {counts} skipped=\"0\">\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

/// One line each, with the place, and what would be right.
fn lines(report: &Report<'_>, judged: &[&Judged]) -> String {
    let line = |judged: &&Judged| {
        let (line, column) = report.position(judged.finding.span.start);
        let help = judged.finding.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        let level = level_word(judged.level);
        format!("{}:{line}:{column}: {level}: {}{help}", report.path(), judged.finding.message)
    };
    judged.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Text of an XML document, which cannot have most control characters at all.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}
