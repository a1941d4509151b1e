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
    /// Where each line begins: a large file has many places to be told.
    lines: Vec<usize>,
}

impl<'a> Report<'a> {
    /// A report of what was judged.
    pub fn new(source: &'a Source, system: Option<&'a System>, judged: &'a [Judged]) -> Self {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { source, system, judged, lines }
    }

    /// As [`Source::position`], without reading the file from its start. On the first line a byte order mark is no column, so
    /// that line is left to it.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        match self.lines.get(line).and_then(|start| self.source.text.get(*start..offset)) {
            Some(before) if line > 0 => (line + 1, before.chars().count() + 1),
            _ => self.source.position(offset),
        }
    }

    /// Findings that count, at this level.
    pub fn at(&self, level: Level) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(move |judged| judged.counts() && judged.level == level)
    }

    /// The system file's name as the user gave it, with slashes.
    fn path(&self) -> String {
        self.source.path.to_string_lossy().into_owned()
    }

    fn place(&self, span: &Span) -> Place {
        let (line, column) = self.position(span.start);
        let (end_line, end_column) = self.position(span.end.max(span.start));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_source() {
        for text in ["", "a", "\n", "ab\nçd\r\n\nx", "\u{feff}ä\nb"] {
            let source = Source { path: "a".into(), text: text.to_owned() };
            let report = Report::new(&source, None, &[]);
            for offset in 0..text.len() + 2 {
                assert_eq!(report.position(offset), source.position(offset), "{text:?} {offset}");
            }
        }
    }
}
