//! `--deny`, `--warn` and `--allow`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{Finding, Level, Lint, kinds};

/// The levels that the command line gives.
#[derive(Debug, Default)]
pub struct Levels {
    by_id: BTreeMap<&'static str, Level>,
    /// By the level that the kinds have by themselves.
    by_group: BTreeMap<Level, Level>,
}

/// A word that names no kind of finding and no group, or a kind whose level is fixed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownId {
    /// Nothing has this name.
    #[error("there is no kind of finding `{0}`; `mk-sandbox explain` lists them all")]
    Unknown(String),
    /// It always fails the check.
    #[error("the level of `{0}` cannot be changed")]
    Fixed(String),
}

impl Levels {
    /// From the words behind each option. An id outweighs a group; of two options for the same, the stricter holds.
    ///
    /// # Errors
    /// The first word that means nothing.
    pub fn new(deny: &[String], warn: &[String], allow: &[String]) -> Result<Self, UnknownId> {
        let mut levels = Self::default();
        for (words, level) in [(allow, Level::Allow), (warn, Level::Warn), (deny, Level::Deny)] {
            for word in words {
                levels.set(word, level)?;
            }
        }
        Ok(levels)
    }

    fn set(&mut self, word: &str, level: Level) -> Result<(), UnknownId> {
        let groups: &[Level] = match word {
            "warnings" => &[Level::Warn],
            "notes" => &[Level::Note],
            "all" => &[Level::Note, Level::Warn, Level::Deny],
            _ => &[],
        };
        for group in groups {
            self.by_group.insert(*group, level);
        }
        if !groups.is_empty() {
            return Ok(());
        }
        let lint = kinds::by_id(word).ok_or_else(|| UnknownId::Unknown(word.to_owned()))?;
        // What the answer of the whole check hangs on may be made stricter only.
        if level < lint.level && !lint.adjustable {
            return Err(UnknownId::Fixed(word.to_owned()));
        }
        self.by_id.insert(lint.id, level);
        Ok(())
    }

    /// The level of a kind.
    pub fn of(&self, lint: &Lint) -> Level {
        let group =
            || self.by_group.get(&lint.level).copied().filter(|level| lint.adjustable || *level > lint.level);
        self.by_id.get(lint.id).copied().or_else(group).unwrap_or(lint.level)
    }

    /// The finding with its level.
    pub fn judge(&self, finding: Finding) -> super::Judged {
        super::Judged { level: self.of(finding.lint), finding, suppressed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(deny: &[&str], warn: &[&str], allow: &[&str]) -> Result<Levels, UnknownId> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Levels::new(&words(deny), &words(warn), &words(allow))
    }

    #[test]
    fn ids_outweigh_groups_and_the_stricter_option_holds() {
        let none = levels(&[], &[], &[]).expect("valid");
        assert_eq!(none.of(&kinds::REGION_UNUSED), Level::Warn);
        let group = levels(&["warnings"], &[], &["region-unused"]).expect("valid");
        assert_eq!(group.of(&kinds::REGION_UNUSED), Level::Allow);
        assert_eq!(group.of(&kinds::INERT_DEVICE), Level::Deny);
        assert_eq!(group.of(&kinds::PD_UNREACHABLE), Level::Note);
        let twice = levels(&["region-unused"], &["region-unused"], &["region-unused"]).expect("valid");
        assert_eq!(twice.of(&kinds::REGION_UNUSED), Level::Deny);
        let down = levels(&[], &["map-writable-executable", "notes"], &[]).expect("valid");
        assert_eq!(down.of(&kinds::MAP_WRITABLE_EXECUTABLE), Level::Warn);
        assert_eq!(down.of(&kinds::PD_UNREACHABLE), Level::Warn);
    }

    #[test]
    fn what_the_check_is_for_cannot_be_switched_off() {
        let error = |result: Result<Levels, UnknownId>| result.expect_err("refused").to_string();
        assert!(error(levels(&[], &[], &["privilege-grew"])).contains("cannot be changed"));
        assert!(error(levels(&[], &["invalid-system"], &[])).contains("cannot be changed"));
        assert!(error(levels(&["region-unsued"], &[], &[])).contains("`region-unsued`"));
        let all = levels(&[], &[], &["all"]).expect("valid");
        assert_eq!(all.of(&kinds::PRIVILEGE_GREW), Level::Deny);
        assert_eq!(all.of(&kinds::ALLOW_UNUSED), Level::Warn);
        assert_eq!(all.of(&kinds::MAP_WRITABLE_EXECUTABLE), Level::Allow);
        let strict = levels(&["warnings"], &[], &[]).expect("valid");
        assert_eq!(strict.of(&kinds::ALLOW_UNUSED), Level::Deny);
    }
}
