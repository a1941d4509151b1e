//! The findings of `check` for people and for programs, one file a format.

#![forbid(unsafe_code)]

mod github;
mod human;
mod json;
mod junit;
mod sarif;

pub use github::write as github;
pub use human::{findings as human, summary};
pub use json::write as json;
pub use junit::write as junit;
pub use sarif::write as sarif;

use super::lint::{Judged, Level};
use crate::diagnostic::Source;
use crate::sdf::{Span, System};

/// What a check found.
#[derive(Debug)]
pub struct Report<'a> {
    /// The system file.
    pub source: &'a Source,
    /// What it says; nothing when it is invalid.
    pub system: Option<&'a System>,
    /// In the order of the file, with all that does not count.
    pub judged: &'a [Judged],
}

impl Report<'_> {
    /// Findings that count, at this level.
    pub fn at(&self, level: Level) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(move |judged| judged.counts() && judged.level == level)
    }

    /// The system file's name as the user gave it, with slashes.
    fn path(&self) -> String {
        self.source.path.to_string_lossy().into_owned()
    }

    fn place(&self, span: &Span) -> Place {
        let (line, column) = self.source.position(span.start);
        let (end_line, end_column) = self.source.position(span.end.max(span.start));
        Place { line, column, end_line, end_column }
    }
}

/// Lines and columns from 1, columns in characters; the end is behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
struct Place {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

/// What machines call a level.
fn level_word(level: Level) -> &'static str {
    match level {
        Level::Allow => "none",
        Level::Note => "note",
        Level::Warn => "warning",
        Level::Deny => "error",
    }
}
