//! SARIF 2.1.0 (OASIS), for code scanning services.

#![forbid(unsafe_code)]

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Places, Report, level_word};
use crate::report::lint::{Judged, Level, Suppressed, kinds};
use crate::report::words::hex;
use crate::sdf::Span;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// One log with one run, with a line end.
///
/// # Errors
/// None that these types can have.
pub fn write(report: &Report<'_>) -> Result<String, serde_json::Error> {
    let rules: Vec<Value> = kinds::ALL
        .iter()
        .map(|lint| {
            json!({
                "id": lint.id,
                "name": pascal(lint.id),
                "shortDescription": {"text": sentence(lint.title)},
                "fullDescription": {"text": lint.why},
                "help": {"text": lint.fix},
                "defaultConfiguration": {"level": level_word(lint.level)},
            })
        })
        .collect();
    let told = report.judged.iter().filter(|judged| judged.level != Level::Allow);
    let results: Vec<Value> = told.map(|judged| result(report, judged)).collect();
    Ok(serde_json::to_string_pretty(&log(&report.path(), rules, results))? + "\n")
}

/// A log of one run, about one system file.
pub(super) fn log(path: &str, rules: Vec<Value>, results: Vec<Value>) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": [{"location": {"uri": uri(path)}}],
            "results": results,
        }],
    })
}

fn result(report: &Report<'_>, judged: &Judged) -> Value {
    let finding = &judged.finding;
    let text = match &finding.help {
        Some(help) => format!("{}: {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut result = json!({
        "ruleId": finding.lint.id,
        "ruleIndex": kinds::position(finding.lint),
        "level": level_word(judged.level),
        "message": {"text": text},
        "locations": [location(&report.places, &finding.span, None)],
        "partialFingerprints": {"finding/v1": fingerprint(finding.lint.id, &finding.message)},
    });
    if !finding.related.is_empty() {
        let related = finding.related.iter().map(|(span, words)| location(&report.places, span, Some(words)));
        result["relatedLocations"] = related.collect();
    }
    match &judged.suppressed {
        Some(Suppressed::InFile(reason)) => {
            result["suppressions"] =
                json!([{"kind": "inSource", "status": "accepted", "justification": reason}]);
        }
        Some(Suppressed::Baseline) => {
            result["suppressions"] =
                json!([{"kind": "external", "status": "accepted", "justification": "in the baseline"}]);
        }
        None => {}
    }
    result
}

pub(super) fn location(places: &Places<'_>, span: &Span, words: Option<&str>) -> Value {
    let place = places.place(span);
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": {"uri": uri(&places.path()), "index": 0},
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endLine": place.end_line,
                "endColumn": place.end_column,
            },
        },
    });
    if let Some(words) = words {
        location["message"] = json!({"text": words});
    }
    location
}

/// What a finding is known again by: its id and message, which do not change with its place.
pub(super) fn fingerprint(id: &str, message: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update([0]);
    hash.update(message);
    hex(&hash.finalize())
}

/// A path as a URI reference: a relative one stays relative, to the root of the repository for most readers.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    let relative = path.strip_prefix("./").unwrap_or(path);
    for byte in relative.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri
}

/// `region-unused` -> `RegionUnused`
pub(super) fn pascal(id: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_uppercase() + rest
    };
    id.split('-').map(word).collect()
}

/// A capital letter and a full stop.
pub(super) fn sentence(title: &str) -> String {
    let (first, rest) = title.split_at(1.min(title.len()));
    format!("{}{rest}.", first.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("./a b/ä%.system"), "a%20b/%C3%A4%25.system");
        assert_eq!(uri("/a:b"), "file:///a%3Ab");
        assert_eq!(uri("x:y"), "x%3Ay");
    }

    #[test]
    fn names_are_pascal_case() {
        assert_eq!(pascal("region-writable-by-many"), "RegionWritableByMany");
    }
}
