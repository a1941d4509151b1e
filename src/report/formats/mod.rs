//! The findings of `check` for people and for programs, one file a format; `verified.rs` has those of `verify`.

#![forbid(unsafe_code)]

mod github;
mod human;
mod json;
mod junit;
mod places;
mod sarif;
mod verified;

pub use github::write as github;
pub use human::{findings as human, summary};
pub use json::write as json;
pub use junit::write as junit;
pub use places::{Place, Places};
pub use sarif::write as sarif;
pub use verified::{Verified, human as verified_human};

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
    places: Places<'a>,
}

impl<'a> Report<'a> {
    /// A report of what was judged.
    pub fn new(source: &'a Source, system: Option<&'a System>, judged: &'a [Judged]) -> Self {
        Self { source, system, judged, places: Places::new(source) }
    }

    /// Findings that count, at this level.
    pub fn at(&self, level: Level) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(move |judged| judged.counts() && judged.level == level)
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        self.places.position(offset)
    }

    fn path(&self) -> String {
        self.places.path()
    }

    fn place(&self, span: &Span) -> Place {
        self.places.place(span)
    }
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
