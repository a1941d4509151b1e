//! Places of a system file, as reports for machines give them.

#![forbid(unsafe_code)]

use crate::diagnostic::Source;
use crate::sdf::Span;

/// A system file with the beginnings of its lines: a large one has many places to be told.
#[derive(Debug)]
pub struct Places<'a> {
    source: &'a Source,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    /// Of this file.
    pub fn new(source: &'a Source) -> Self {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { source, lines }
    }

    /// As [`Source::position`], without reading the file from its start. On the first line a byte order mark is no column, so
    /// that line is left to it.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        match self.lines.get(line).and_then(|start| self.source.text.get(*start..offset)) {
            Some(before) if line > 0 => (line + 1, before.chars().count() + 1),
            _ => self.source.position(offset),
        }
    }

    /// The system file's name as the user gave it, with slashes.
    pub fn path(&self) -> String {
        self.source.path.to_string_lossy().into_owned()
    }

    /// Where a span is.
    pub fn place(&self, span: &Span) -> Place {
        let (line, column) = self.position(span.start);
        let (end_line, end_column) = self.position(span.end.max(span.start));
        Place { line, column, end_line, end_column }
    }
}

/// Lines and columns from 1, columns in characters; the end is behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// Of the first character.
    pub line: usize,
    /// Of the first character.
    pub column: usize,
    /// Of the end.
    pub end_line: usize,
    /// Of the end.
    pub end_column: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_source() {
        for text in ["", "a", "\n", "ab\nçd\r\n\nx", "\u{feff}ä\nb"] {
            let source = Source { path: "a".into(), text: text.to_owned() };
            let places = Places::new(&source);
            for offset in 0..text.len() + 2 {
                assert_eq!(places.position(offset), source.position(offset), "{text:?} {offset}");
            }
        }
    }
}
