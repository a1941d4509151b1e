//! What `verify` found, for people and for programs. What agrees with the plan is a passed case in JUnit and nothing in SARIF and in
//! annotations, which tell of differences alone.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::github::annotation;
use super::junit::escape;
use super::places::Places;
use super::sarif::{fingerprint, location, log, pascal, sentence};
use crate::diagnostic::Source;
use crate::sdf::{Span, System};
use crate::verify::{Check, kinds};

/// A proof, or why there is none.
#[derive(Debug)]
pub struct Verified<'a> {
    source: &'a Source,
    system: Option<&'a System>,
    /// `Err`: the system did not start, in words.
    outcome: Result<&'a [Check], &'a str>,
    places: Places<'a>,
}

/// All checks of one kind in one PD.
struct Case<'a> {
    pd: &'a str,
    id: &'static str,
    differ: Vec<&'a Check>,
}

impl<'a> Verified<'a> {
    /// Of a system file. Without a system, because the file is invalid, there is no outcome but an error.
    pub fn new(
        source: &'a Source,
        system: Option<&'a System>,
        outcome: Result<&'a [Check], &'a str>,
    ) -> Self {
        Self { source, system, outcome, places: Places::new(source) }
    }

    /// One JSON value: the checks in order. What did not start is an object with the error.
    ///
    /// # Errors
    /// None that these types can have.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let text = match self.outcome {
            Ok(checks) => serde_json::to_string_pretty(checks)?,
            Err(error) => serde_json::to_string_pretty(&json!({ "error": error }))?,
        };
        Ok(text + "\n")
    }

    /// SARIF 2.1.0: a result for each difference, at its PD in the system file.
    ///
    /// # Errors
    /// None that these types can have.
    pub fn sarif(&self) -> Result<String, serde_json::Error> {
        let rules = kinds::ALL
            .iter()
            .map(|kind| {
                let id = rule(kind.id);
                json!({
                    "id": id,
                    "name": pascal(&id),
                    "shortDescription": {"text": sentence(&format!("{} differ from the plan", kind.title))},
                    "fullDescription": {"text": kind.why},
                    "help": {"text": HELP},
                    "defaultConfiguration": {"level": "error"},
                })
            })
            .collect();
        let results = self.differ().map(|check| self.result(check)).collect();
        let mut log = log(&self.places.path(), rules, results);
        log["runs"][0]["invocations"] = match self.outcome {
            Ok(_) => json!([{"executionSuccessful": true}]),
            Err(error) => json!([{
                "executionSuccessful": false,
                "toolExecutionNotifications": [{"level": "error", "message": {"text": error}}],
            }]),
        };
        Ok(serde_json::to_string_pretty(&log)? + "\n")
    }

    fn result(&self, check: &Check) -> Value {
        let message = message(check);
        json!({
            "ruleId": rule(check.what),
            "ruleIndex": kinds::ALL.iter().position(|kind| kind.id == check.what),
            "level": "error",
            "message": {"text": message},
            "locations": [location(&self.places, &self.span(&check.pd), None)],
            "partialFingerprints": {"difference/v1": fingerprint(check.what, &check.pd)},
        })
    }

    /// JUnit XML: a suite for each PD, in it a case for each kind of check.
    pub fn junit(&self) -> String {
        let path = self.places.path();
        let mut suites = String::new();
        let cases = self.cases();
        let mut pds: Vec<&str> = cases.iter().map(|case| case.pd).collect();
        pds.dedup();
        for pd in pds {
            let class = escape(&format!("{path}: PD {pd}"));
            let own: Vec<&Case<'_>> = cases.iter().filter(|case| case.pd == pd).collect();
            let failures = own.iter().filter(|case| !case.differ.is_empty()).count();
            suites += &format!(
                "  <testsuite name=\"{class}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">\n",
                own.len()
            );
            for case in own {
                suites += &format!("    <testcase classname=\"{class}\" name=\"{}\"", case.id);
                suites += &match case.differ.first() {
                    None => "/>\n".to_owned(),
                    Some(first) => format!(
                        ">\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n    </testcase>\n",
                        case.id,
                        escape(&message(first)),
                        escape(&case.differ.iter().map(|check| words(check)).collect::<Vec<_>>().join("\n"))
                    ),
                };
            }
            suites += "  </testsuite>\n";
        }
        if let Err(error) = self.outcome {
            let class = escape(&path);
            suites += &format!(
                "  <testsuite name=\"{class}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n    \
                 <testcase classname=\"{class}\" name=\"start\">\n      \
                 <error type=\"start\" message=\"{}\"/>\n    </testcase>\n  </testsuite>\n",
                escape(error)
            );
        }
        let failures = cases.iter().filter(|case| !case.differ.is_empty()).count();
        let errors = usize::from(self.outcome.is_err());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"mk-sandbox verify\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">\n\
             {suites}</testsuites>\n",
            cases.len() + errors
        )
    }

    /// Workflow commands of GitHub Actions: an annotation for each difference.
    pub fn github(&self) -> String {
        let line = |check: &Check| {
            annotation("error", &self.places, &self.span(&check.pd), &rule(check.what), &message(check))
        };
        let error = |error: &str| annotation("error", &self.places, &(0..0), "verify", error);
        let failed: String = self.outcome.err().map(error).unwrap_or_default();
        self.differ().map(line).collect::<String>() + &failed
    }

    fn differ(&self) -> impl Iterator<Item = &'a Check> {
        self.outcome.unwrap_or_default().iter().filter(|check| !check.ok)
    }

    /// In the order of the PDs and of the kinds.
    fn cases(&self) -> Vec<Case<'a>> {
        let mut cases: Vec<Case<'a>> = Vec::new();
        for check in self.outcome.unwrap_or_default() {
            let known = cases.iter().position(|case| case.pd == check.pd && case.id == check.what);
            let place = known.unwrap_or_else(|| {
                cases.push(Case { pd: &check.pd, id: check.what, differ: Vec::new() });
                cases.len() - 1
            });
            if !check.ok {
                cases[place].differ.push(check);
            }
        }
        cases
    }

    /// The line of a PD's element, as far as its start tag is on it.
    fn span(&self, pd: &str) -> Span {
        let pds = self.system.map(|system| system.pds.as_slice()).unwrap_or_default();
        let Some(found) = pds.iter().find(|candidate| candidate.name == pd) else { return 0..0 };
        let text = self.source.text.get(found.span.clone()).unwrap_or_default();
        let tag = text.find(['>', '\n']).map_or(text.len(), |end| end + 1);
        found.span.start..found.span.start + tag
    }
}

const HELP: &str = "The sandbox on this host is not what the system file says: do not run the system here, and report it with this log.";

/// Rules of `check` have ids of their own, so those of `verify` say whose they are.
fn rule(id: &str) -> String {
    format!("verify-{}", id.replace('_', "-"))
}

fn message(check: &Check) -> String {
    let title = kinds::by_id(check.what).map_or(check.what, |kind| kind.title);
    format!("PD `{}`: {title}: planned {}, found {}", check.pd, check.expected, check.found)
}

fn words(check: &Check) -> String {
    format!("planned: {}\nfound:   {}", check.expected, check.found)
}

/// For each PD what agrees, by name, and what differs in full.
pub fn human(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut pds: Vec<&str> = checks.iter().map(|check| check.pd.as_str()).collect();
    pds.dedup();
    for pd in pds {
        let of_pd = || checks.iter().filter(|check| check.pd == pd);
        let mut agree: Vec<&str> = of_pd().filter(|check| check.ok).map(|check| check.what).collect();
        agree.dedup();
        text += &format!("PD `{pd}`\n  agrees: {}\n", agree.join(", "));
        for Check { what, expected, found, .. } in of_pd().filter(|check| !check.ok) {
            text += &format!("  DIFFERS: {what}\n    planned: {expected}\n    found:   {found}\n");
        }
    }
    let differ = checks.iter().filter(|check| !check.ok).count();
    text + &format!("{} checks agree with the plan, {differ} differ\n", checks.len() - differ)
}
