//! A look at the tags of a text before it is parsed: bounds that the XML parser does not set, each
//! reported at its place. Whatever else is wrong is left to the parser.

#![forbid(unsafe_code)]

use crate::diagnostic::Diagnostic;

/// Levels of elements. PDs nest at most 63 deep, and three levels stand around and in them; the
/// tree is walked recursively, so its depth is the depth of the stack.
pub(super) const MAX_DEPTH: usize = 128;

/// Elements in one file. 63 PDs with 62 channel ends each, and as many maps, are not a tenth of it.
pub(super) const MAX_ELEMENTS: usize = 65_536;

/// Attributes of one element; the parser compares each with each. No element takes more than 12.
pub(super) const MAX_ATTRIBUTES: usize = 64;

/// Begins the attributes that declare namespaces. The parser compares each with all that are in
/// scope.
const XMLNS: &str = "xmlns";

/// What the scan learns from a text that keeps the bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    /// Offset of the start tag of the innermost element that is still open at the end.
    pub(super) open: Option<usize>,
    /// Where the first element is closed again.
    pub(super) root_end: Option<usize>,
}

/// Scans up to the end, or to the first thing that the parser refuses anyway.
///
/// # Errors
/// A document type or namespace declaration, something that does not end, or a bound of this module
/// is passed.
pub(super) fn scan(text: &str) -> Result<Tags, Diagnostic> {
    let mut open: Vec<usize> = Vec::new();
    let mut elements = 0;
    let mut root_end = None;
    let mut position = 0;
    while let Some(distance) = text[position..].find('<') {
        let start = position + distance;
        let rest = &text[start..];
        let skipped = if let Some(what) = Skipped::of(rest) {
            Some(what.length(rest).ok_or_else(|| {
                let message = format!("this {} has no end", what.name);
                Diagnostic::error(start..start + what.begin.len(), message)
                    .with_help(format!("it ends with `{}`", what.end))
            })?)
        } else if rest.starts_with("<!DOCTYPE") {
            return Err(Diagnostic::error(
                start..start + "<!DOCTYPE".len(),
                "a document type declaration is not allowed",
            )
            .with_help("remove it: a system description defines no entities"));
        } else if rest.starts_with("</") {
            open.pop();
            rest.find('>').map(|end| end + 1)
        } else if let Some(tag) = StartTag::scan(rest) {
            if !tag.ended {
                return Err(Diagnostic::error(start..start + 1, "this tag has no end")
                    .with_help("it ends with `>`; is a quote missing before?"));
            }
            elements += 1;
            if elements > MAX_ELEMENTS {
                let message = format!("the file has more than {MAX_ELEMENTS} elements");
                return Err(Diagnostic::error(start..start + 1, message));
            }
            if tag.attributes > MAX_ATTRIBUTES {
                let message = format!("this element has more than {MAX_ATTRIBUTES} attributes");
                return Err(Diagnostic::error(start..start + 1, message));
            }
            if let Some(offset) = tag.namespace {
                let place = start + offset;
                return Err(Diagnostic::error(place..place + XMLNS.len(), "`xmlns` is not allowed")
                    .with_help("a system description has no namespaces"));
            }
            if !tag.closed {
                open.push(start);
            }
            if open.len() > MAX_DEPTH {
                let message = format!("elements are nested more than {MAX_DEPTH} deep");
                return Err(Diagnostic::error(start..start + 1, message));
            }
            Some(tag.length)
        } else {
            None
        };
        match skipped {
            Some(length) => position = start + length,
            None => break,
        }
        if elements > 0 && open.is_empty() {
            root_end.get_or_insert(position);
        }
    }
    let open = open.last().copied();
    Ok(Tags { open, root_end })
}

/// What holds no tags.
struct Skipped {
    name: &'static str,
    begin: &'static str,
    end: &'static str,
}

const SKIPPED: [Skipped; 3] = [
    Skipped { name: "comment", begin: "<!--", end: "-->" },
    Skipped { name: "CDATA section", begin: "<![CDATA[", end: "]]>" },
    Skipped { name: "processing instruction", begin: "<?", end: "?>" },
];

impl Skipped {
    fn of(text: &str) -> Option<&'static Self> {
        SKIPPED.iter().find(|skipped| text.starts_with(skipped.begin))
    }

    fn length(&self, text: &str) -> Option<usize> {
        let inside = text[self.begin.len()..].find(self.end)?;
        Some(self.begin.len() + inside + self.end.len())
    }
}

/// A start tag, or the tag of an empty element.
struct StartTag {
    length: usize,
    attributes: usize,
    /// Where a namespace is declared.
    namespace: Option<usize>,
    closed: bool,
    ended: bool,
}

impl StartTag {
    /// The tag that `text` begins with; `None` when another begins in it.
    fn scan(text: &str) -> Option<Self> {
        let mut attributes = 0;
        let mut namespace = None;
        let mut quote = None;
        let mut before = b'<';
        for (offset, byte) in text.bytes().enumerate().skip(1) {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'=') => attributes += 1,
                (None, b'>') => {
                    let closed = before == b'/';
                    let length = offset + 1;
                    return Some(Self { length, attributes, namespace, closed, ended: true });
                }
                // No value and no tag may hold it: a quote or a bracket is missing before.
                (_, b'<') => return None,
                (None, b'x') if before.is_ascii_whitespace() => {
                    let declares = text[offset..].starts_with(XMLNS);
                    namespace = namespace.or(declares.then_some(offset));
                }
                _ => {}
            }
            before = byte;
        }
        Some(Self { length: text.len(), attributes, namespace, closed: false, ended: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_elements_are_found() {
        for (text, open, root_end) in [
            ("<a><b/></a>", None, Some(11)),
            ("<a><b c='>' d=\"/>\">", Some(3), None),
            ("<?xml version='1.0'?><a><!-- <b> --><![CDATA[<c>]]>", Some(21), None),
            ("<a></a></a><b>", Some(11), Some(7)),
            ("<a/><b/>", None, Some(4)),
            ("no tags", None, None),
        ] {
            assert_eq!(scan(text), Ok(Tags { open, root_end }), "{text}");
        }
    }

    #[test]
    fn every_bound_has_its_place() {
        let deep = "<a>".repeat(MAX_DEPTH);
        assert!(scan(&deep).is_ok());
        let error = scan(&format!("{deep}<b>")).unwrap_err();
        assert_eq!(error.span.start, deep.len());
        let many = "<a/>".repeat(MAX_ELEMENTS);
        assert!(scan(&many).is_ok());
        assert_eq!(scan(&format!("{many}<b/>")).unwrap_err().span.start, many.len());
        let wide = "a='' ".repeat(MAX_ATTRIBUTES);
        assert!(scan(&format!("<a {wide}/>")).is_ok());
        assert_eq!(scan(&format!("<x/><a {wide}b=''/>")).unwrap_err().span.start, 4);
        for text in ["<a><b", "<a><b c='/>", "<a><!-- ->", "<a><![CDATA[ ]>", "<a><?x ?"] {
            assert_eq!(scan(text).unwrap_err().span.start, 3, "{text}");
        }
        assert_eq!(scan("<a b='xmlns' \txmlns:x=''>").unwrap_err().span, 14..19);
        assert!(scan("<a b='\txmlns' axmlns=''/>").is_ok());
        assert_eq!(scan(" <!DOCTYPE a []><a/>").unwrap_err().span, 1..10);
    }
}
