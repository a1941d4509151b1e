//! Messages about a place in the system file: file, line, column, the line itself and a caret
//! under it.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted.
    Warning,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Byte range in the source; empty at 0 when the file as a whole is meant.
    pub span: Range<usize>,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding that refuses the file.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), help: None }
    }

    /// A finding that the file is accepted with.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, span, message: message.into(), help: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A system file's text and name, which every span refers to.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user named it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// Some editors begin a file with it; it is no part of the first line for people.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Bytes of a line up to which it is shown, cut to the width of a terminal; generated files can
/// consist of a single line.
const MAX_EXCERPT: usize = 4096;

/// A line of the source, without its end.
struct Line<'a> {
    number: usize,
    start: usize,
    text: &'a str,
}

impl Source {
    /// Line and column of a byte offset, both counted from 1, the column in characters. An offset
    /// behind the end, or inside a character, is taken as the nearest one before it.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = boundary(&self.text, offset);
        let line = self.line(offset);
        (line.number, self.text[line.start.min(offset)..offset].chars().count() + 1)
    }

    /// The line that holds `offset`, which is a character boundary.
    fn line(&self, offset: usize) -> Line<'_> {
        let before = &self.text[..offset];
        let mut start = before.rfind('\n').map_or(0, |newline| newline + 1);
        if start == 0 && self.text.starts_with(BYTE_ORDER_MARK) {
            start = BYTE_ORDER_MARK.len_utf8();
        }
        let rest = &self.text[start..];
        let text = rest.split('\n').next().unwrap_or(rest);
        let number = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Line { number, start, text: text.strip_suffix('\r').unwrap_or(text) }
    }
}

/// The nearest offset at or before `offset` that begins a character or ends the text.
fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The finding for a terminal: the message, `--> file:line:column`, the line, a caret, the help.
/// A span over several lines is shown on its first one.
pub fn render(source: &Source, diagnostic: &Diagnostic, color: bool) -> String {
    render_with_id(source, diagnostic, None, color)
}

/// [`render`] with the finding's id in brackets behind its severity.
pub fn render_with_id(source: &Source, diagnostic: &Diagnostic, id: Option<&str>, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = source.path.display().to_string();
    let mut title = level.primary_title(printable(&diagnostic.message));
    if let Some(id) = id {
        title = title.id(id.to_owned());
    }
    let mut group = Group::with_title(title);
    let start = boundary(&source.text, diagnostic.span.start);
    let line = source.line(start);
    if line.text.len() > MAX_EXCERPT {
        let (number, column) = source.position(start);
        let origin = annotate_snippets::Origin::path(path).line(number).char_column(column);
        group = group.element(origin);
    } else {
        let end = boundary(&source.text, diagnostic.span.end);
        let first = start.saturating_sub(line.start).min(line.text.len());
        let last = end.saturating_sub(line.start).clamp(first, line.text.len());
        group = group.element(
            Snippet::source(line.text)
                .path(path)
                .line_start(line.number)
                .annotation(AnnotationKind::Primary.span(first..last)),
        );
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// Control characters from the file must not reach the terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: PathBuf::from("a.system"), text: text.to_owned() }
    }

    #[test]
    fn positions_count_characters_from_one() {
        let source = source("ab\nçd\r\n\nx");
        for (offset, position) in
            [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (5, (2, 2)), (8, (3, 1)), (9, (4, 1))]
        {
            assert_eq!(source.position(offset), position, "offset {offset}");
        }
        assert_eq!(source.position(4), (2, 1), "inside a character");
        assert_eq!(source.position(1000), (4, 2), "behind the end");
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        let source = source("\u{feff}<a/>\n<b/>");
        assert_eq!(source.position(3), (1, 1));
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(4), (1, 2));
        let text = render(&source, &Diagnostic::error(4..5, "bad"), false);
        assert!(text.contains("a.system:1:2"), "{text}");
    }

    #[test]
    fn rendering_shows_place_line_caret_and_help() {
        let source = source("<system>\n\t<mäp bad=\"1\"\n  x=\"2\"/>\n</system>\n");
        let start = source.text.find("bad").unwrap();
        let end = source.text.find("/>").unwrap();
        let diagnostic = Diagnostic::error(start..end, "unknown attribute `bad`").with_help("use `mr`");
        let text = render(&source, &diagnostic, false);
        assert!(text.starts_with("error: unknown attribute `bad`\n"), "{text}");
        assert!(text.contains("--> a.system:2:7\n"), "{text}");
        assert!(text.contains("<mäp bad=\"1\"\n"), "{text}");
        assert!(text.contains("^^^^^^^\n"), "{text}");
        assert!(text.contains("= help: use `mr`"), "{text}");
        let colored = render(&source, &diagnostic, true);
        assert!(colored.contains("\u{1b}["), "{colored}");
    }

    #[test]
    fn the_place_is_the_position() {
        let source = source("<a>\n  <b c='ü' d=''/>\n\n</a>\n");
        for (offset, _) in source.text.char_indices() {
            let (line, column) = source.position(offset);
            let text = render(&source, &Diagnostic::warning(offset..offset + 1, "w"), false);
            assert!(text.contains(&format!("a.system:{line}:{column}\n")), "{offset}: {text}");
        }
    }

    #[test]
    fn empty_texts_and_spans_are_shown() {
        for text in ["", "\n", "x"] {
            for span in [0..0, 0..9, 7..9] {
                let text = render(&source(text), &Diagnostic::error(span, "bad"), false);
                assert!(text.contains("a.system:1:") || text.contains("a.system:2:"), "{text}");
            }
        }
    }

    #[test]
    fn long_lines_give_the_place_alone() {
        let source = source(&"é".repeat(1_000_000));
        let text = render(&source, &Diagnostic::error(1_000_000..1_000_002, "bad"), false);
        assert!(text.contains("a.system:1:500001"), "{text}");
        assert!(text.len() < 200, "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let source = source("<a b='\u{1b}[31m'/>");
        let diagnostic = Diagnostic::error(3..5, "\u{1b}[31mred\nnext").with_help("\u{7}bell");
        let text = render(&source, &diagnostic, false);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        assert!(text.starts_with("error: \\u{1b}[31mred\\nnext\n"), "{text:?}");
    }
}
