//! Findings that were there before, listed in a file, so that a check can fail for new ones only.
//!
//! A finding is known again by its id and its message, which name things and no lines.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Judged, Suppressed};

/// The form of the file.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    findings: BTreeSet<Known>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Known {
    id: String,
    message: String,
}

impl Known {
    fn of(judged: &Judged) -> Self {
        Self { id: judged.finding.lint.id.to_owned(), message: judged.finding.message.clone() }
    }
}

impl Baseline {
    /// What is told today, as far as its level may be changed at all.
    pub fn of(judged: &[Judged]) -> Self {
        let listed = judged.iter().filter(|judged| judged.counts() && judged.finding.lint.adjustable);
        Self { version: VERSION, findings: listed.map(Known::of).collect() }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that these types can have.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is not such a file, or of another version; in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let baseline: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match baseline.version {
            VERSION => Ok(baseline),
            other => Err(format!("its version is {other}, this program knows {VERSION}")),
        }
    }

    /// How many findings it lists.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether it lists none.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Marks the findings that it lists; returns how many of its entries were found no more.
    pub fn apply(&self, judged: &mut [Judged]) -> usize {
        let mut gone = self.findings.clone();
        for judged in judged.iter_mut().filter(|judged| judged.finding.lint.adjustable) {
            let known = Known::of(judged);
            if self.findings.contains(&known) {
                gone.remove(&known);
                judged.suppressed.get_or_insert(Suppressed::Baseline);
            }
        }
        gone.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::lint::{Finding, Levels, kinds};

    #[test]
    fn what_was_there_is_known_again_elsewhere_in_the_file() {
        let levels = Levels::default();
        let judged =
            |at: usize, message: &str| levels.judge(Finding::new(&kinds::REGION_UNUSED, &(at..at), message));
        let fixed = levels.judge(Finding::new(&kinds::PRIVILEGE_GREW, &(0..0), "g"));
        let text = Baseline::of(&[judged(1, "a"), judged(2, "b"), fixed.clone()]).to_text().expect("text");
        let baseline = Baseline::parse(&text).expect("its own text");
        assert_eq!(baseline.len(), 2, "what cannot be allowed is not listed: {text}");
        let mut later = [judged(100, "a"), judged(5, "c"), fixed];
        assert_eq!(baseline.apply(&mut later), 1);
        let suppressed: Vec<bool> = later.iter().map(|judged| judged.suppressed.is_some()).collect();
        assert_eq!(suppressed, [true, false, false]);
    }

    #[test]
    fn other_files_are_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"version\": 2, \"findings\": []}",
            "{\"version\": 1, \"findings\": [], \"x\": 1}",
        ] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }
}
