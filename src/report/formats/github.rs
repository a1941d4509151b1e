//! Workflow commands of GitHub Actions: each finding becomes an annotation in the file's view.

#![forbid(unsafe_code)]

use super::{Places, Report};
use crate::report::lint::Level;
use crate::sdf::Span;

/// A line for each finding that counts.
pub fn write(report: &Report<'_>) -> String {
    let mut text = String::new();
    for judged in report.judged.iter().filter(|judged| judged.counts()) {
        let command = match judged.level {
            Level::Deny => "error",
            Level::Warn => "warning",
            Level::Note | Level::Allow => "notice",
        };
        let finding = &judged.finding;
        let help = finding.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
        let message = format!("{}{help}", finding.message);
        text += &annotation(command, &report.places, &finding.span, finding.lint.id, &message);
    }
    text
}

/// One line.
pub(super) fn annotation(command: &str, places: &Places<'_>, span: &Span, title: &str, text: &str) -> String {
    let place = places.place(span);
    let mut properties = format!("file={},line={}", property(&places.path()), place.line);
    // Columns may be given only where the place is within a line.
    if place.line == place.end_line {
        properties += &format!(",col={},endColumn={}", place.column, place.end_column);
    } else {
        properties += &format!(",endLine={}", place.end_line);
    }
    format!("::{command} {properties},title={}::{}\n", property(title), data(text))
}

/// A message: one line of the log.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value, which a comma or a colon would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_value_before_its_time() {
        assert_eq!(property("a,b:c%\n"), "a%2Cb%3Ac%25%0A");
        assert_eq!(data("a,b:c%\r\n"), "a,b:c%25%0D%0A");
    }
}
