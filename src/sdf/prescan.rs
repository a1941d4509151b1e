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

/// What the scan learns from a text that keeps the bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    /// Offset of the start tag of the innermost element that is still open at the end.
    pub(super) open: Option<usize>,
}

/// Scans up to the end, or to the first thing that the parser refuses anyway.
///
/// # Errors
/// A document type declaration, or a bound of this module is passed.
pub(super) fn scan(text: &str) -> Result<Tags, Diagnostic> {
    let mut open: Vec<usize> = Vec::new();
    let mut elements = 0;
    let mut position = 0;
    while let Some(distance) = text[position..].find('<') {
        let start = position + distance;
        let rest = &text[start..];
        let skipped = if rest.starts_with("<!--") {
            after(rest, 4, "-->")
        } else if rest.starts_with("<![CDATA[") {
            after(rest, 9, "]]>")
        } else if rest.starts_with("<?") {
            after(rest, 2, "?>")
        } else if rest.starts_with("<!DOCTYPE") {
            return Err(Diagnostic::error(
                start..start + "<!DOCTYPE".len(),
                "a document type declaration is not allowed",
            )
            .with_help("remove it: a system description defines no entities"));
        } else if rest.starts_with("</") {
            open.pop();
            after(rest, 2, ">")
        } else if let Some(tag) = StartTag::scan(rest) {
            elements += 1;
            if elements > MAX_ELEMENTS {
                let message = format!("the file has more than {MAX_ELEMENTS} elements");
                return Err(Diagnostic::error(start..start + 1, message));
            }
            if tag.attributes > MAX_ATTRIBUTES {
                let message = format!("this element has more than {MAX_ATTRIBUTES} attributes");
                return Err(Diagnostic::error(start..start + 1, message));
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
    }
    Ok(Tags {
        open: open.last().copied(),
    })
}

/// Bytes up to and including `end`, which is searched for from byte `from` on.
fn after(text: &str, from: usize, end: &str) -> Option<usize> {
    text[from..]
        .find(end)
        .map(|distance| from + distance + end.len())
}

/// A start tag, or the tag of an empty element.
struct StartTag {
    length: usize,
    attributes: usize,
    closed: bool,
}

impl StartTag {
    /// The tag that `text` begins with; `None` when it does not end.
    fn scan(text: &str) -> Option<Self> {
        let mut attributes = 0;
        let mut quote = None;
        let mut before = b'<';
        for (offset, byte) in text.bytes().enumerate().skip(1) {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'=') => attributes += 1,
                (None, b'>') => {
                    return Some(Self {
                        length: offset + 1,
                        attributes,
                        closed: before == b'/',
                    });
                }
                // No value and no tag may hold it: a quote or a bracket is missing before.
                (_, b'<') => return None,
                _ => {}
            }
            before = byte;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_elements_are_found() {
        for (text, open) in [
            ("<a><b/></a>", None),
            ("<a><b c='>' d=\"/>\">", Some(3)),
            (
                "<?xml version='1.0'?><a><!-- <b> --><![CDATA[<c>]]>",
                Some(21),
            ),
            ("<a></a></a><b>", Some(11)),
            ("no tags", None),
        ] {
            assert_eq!(scan(text), Ok(Tags { open }), "{text}");
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
        assert_eq!(
            scan(&format!("{many}<b/>")).unwrap_err().span.start,
            many.len()
        );
        let wide = "a='' ".repeat(MAX_ATTRIBUTES);
        assert!(scan(&format!("<a {wide}/>")).is_ok());
        assert_eq!(
            scan(&format!("<x/><a {wide}b=''/>"))
                .unwrap_err()
                .span
                .start,
            4
        );
        assert_eq!(scan(" <!DOCTYPE a []><a/>").unwrap_err().span, 1..10);
    }
}
