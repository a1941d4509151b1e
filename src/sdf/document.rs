//! Text -> [`Document`]: elements and attributes, each with its place. Nothing here knows what a
//! system description may say.

#![forbid(unsafe_code)]

use roxmltree::{Error, Node, ParsingOptions};

use super::context::quoted;
use super::prescan::{self, Tags};
use super::system::Span;
use crate::diagnostic::{Diagnostic, Source};

/// Nodes of the XML tree: elements, and the texts and comments between them.
const MAX_NODES: u32 = 4 * prescan::MAX_ELEMENTS as u32;

/// One element.
#[derive(Debug)]
pub(super) struct Element<'s> {
    /// As written, with a prefix if it has one.
    pub(super) name: &'s str,
    /// The start tag.
    pub(super) span: Span,
    /// In the order of the file.
    pub(super) attributes: Vec<Attribute<'s>>,
    /// In the order of the file.
    pub(super) children: Vec<Element<'s>>,
    /// Texts directly inside that are not blank.
    pub(super) texts: Vec<Span>,
}

/// One attribute.
#[derive(Debug)]
pub(super) struct Attribute<'s> {
    /// As written, with a prefix if it has one.
    pub(super) name: &'s str,
    /// With entities replaced.
    pub(super) value: String,
    /// From the name to the closing quote.
    pub(super) span: Span,
}

impl<'s> Element<'s> {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'s>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn children_called(&self, name: &str) -> impl Iterator<Item = &Element<'s>> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

impl Attribute<'_> {
    /// The value between the quotes.
    pub(super) fn value_span(&self, source: &Source) -> Span {
        let text = &source.text[self.span.clone()];
        let quote = text.find(['"', '\'']).map_or(0, |offset| offset + 1);
        self.span.start + quote..self.span.end.saturating_sub(1).max(self.span.start + quote)
    }
}

/// The root element.
///
/// # Errors
/// The text is no well-formed XML, has a document type declaration, or passes a bound.
pub(super) fn parse(source: &Source) -> Result<Element<'_>, Diagnostic> {
    let text = source.text.as_str();
    let first = text.find(|character: char| !is_blank(character));
    match first.map(|offset| (offset, text[offset..].starts_with('<'))) {
        None => {
            return Err(Diagnostic::error(0..0, "the file is empty")
                .with_help("a system description is an XML file with the root element `system`"));
        }
        Some((offset, false)) => {
            return Err(Diagnostic::error(offset..offset + 1, "this is not XML")
                .with_help("a system description is an XML file with the root element `system`"));
        }
        Some((_, true)) => {}
    }
    let tags = prescan::scan(text)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| not_well_formed(&error, &tags, text))?;
    Ok(element(text, document.root_element()))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\u{feff}')
}

/// Recursive: [`prescan::MAX_DEPTH`] bounds it.
fn element<'s>(text: &'s str, node: Node<'_, 's>) -> Element<'s> {
    let start = node.range().start;
    let attributes: Vec<Attribute<'s>> = node
        .attributes()
        .map(|attribute| {
            let span = attribute.range();
            let name = name_at(text, span.start);
            Attribute { name, value: attribute.value().to_owned(), span }
        })
        .collect();
    // Behind the last attribute only a blank and the bracket can follow.
    let behind = attributes.last().map_or(start, |attribute| attribute.span.end);
    let end = text[behind..].find('>').map_or(text.len(), |distance| behind + distance + 1);
    let blank = |node: &Node<'_, 's>| node.text().is_none_or(|text| text.trim().is_empty());
    Element {
        name: name_at(text, start + 1),
        span: start..end,
        attributes,
        children: node.children().filter(Node::is_element).map(|child| element(text, child)).collect(),
        texts: node
            .children()
            .filter(|child| child.is_text() && !blank(child))
            .map(|child| trimmed(text, child.range()))
            .collect(),
    }
}

fn name_at(text: &str, start: usize) -> &str {
    let rest = &text[start..];
    let end = rest.find(|c: char| is_blank(c) || matches!(c, '/' | '>' | '=')).unwrap_or(rest.len());
    &rest[..end]
}

/// `range` without the blanks around its text.
fn trimmed(text: &str, range: Span) -> Span {
    let inside = &text[range.clone()];
    let start = range.start + (inside.len() - inside.trim_start().len());
    start..start + inside.trim().len()
}

fn not_well_formed(error: &Error, tags: &Tags, text: &str) -> Diagnostic {
    let place = error.pos();
    let offset = offset_of(text, place.row, place.col);
    let here = offset..offset;
    match error {
        Error::UnexpectedCloseTag(open, close, _) => {
            Diagnostic::error(here, format!("{} is closed here, but {} is open", quoted(close), quoted(open)))
        }
        Error::DuplicatedAttribute(name, _) => {
            Diagnostic::error(here, format!("the attribute {} is given twice", quoted(name)))
        }
        Error::InvalidAttributeValue(_) | Error::InvalidChar(b'"' | b'\'', b'<', _) => {
            Diagnostic::error(here, "a value holds a `<`".to_owned())
                .with_help("close the quote before it, or write `&lt;`")
        }
        Error::InvalidChar2("a whitespace", ..) => Diagnostic::error(here, "a blank is missing before this")
            .with_help("attributes are separated by blanks; is a quote missing before?"),
        Error::UnknownToken(_) if tags.root_end.is_some_and(|end| offset >= end) => {
            Diagnostic::error(here, "something stands behind the root element")
                .with_help("a system description has one root element, `system`, and ends with it")
        }
        Error::UnknownNamespace(prefix, _) => {
            Diagnostic::error(here, format!("the prefix {} stands for nothing", quoted(prefix)))
                .with_help("a system description has no namespaces")
        }
        Error::UnknownEntityReference(name, _) => {
            Diagnostic::error(here, format!("the entity {} stands for nothing", quoted(name)))
                .with_help("XML knows `&lt;`, `&gt;`, `&amp;`, `&quot;` and `&apos;`")
        }
        Error::MalformedEntityReference(_) => {
            Diagnostic::error(here, "a lone `&`").with_help("write `&amp;` where an ampersand is meant")
        }
        Error::NoRootNode => Diagnostic::error(0..0, "the file has no element")
            .with_help("a system description has the root element `system`"),
        Error::NodesLimitReached => Diagnostic::error(
            0..0,
            format!("the file has more than {MAX_NODES} elements, texts and comments"),
        ),
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => match tags.open {
            Some(open) => Diagnostic::error(
                open..open + 1 + name_at(text, open + 1).len(),
                format!("{} is never closed", quoted(name_at(text, open + 1))),
            ),
            None => Diagnostic::error(text.len()..text.len(), "the file ends in the middle of something"),
        },
        other => {
            let words = other.to_string();
            let position = format!(" at {place}");
            Diagnostic::error(here, format!("not well-formed XML: {}", words.replace(&position, "")))
        }
    }
}

/// The byte that the parser counts as this row and column, both from 1, columns in characters.
fn offset_of(text: &str, row: u32, column: u32) -> usize {
    let mut rest = text;
    for _ in 1..row {
        match rest.split_once('\n') {
            Some((_, below)) => rest = below,
            None => break,
        }
    }
    let start = text.len() - rest.len();
    let inside = rest.char_indices().nth(column.saturating_sub(1) as usize);
    inside.map_or(text.len(), |(offset, _)| start + offset)
}
