//! `<!-- mk-allow ID: reason -->` in a system file.
//!
//! A comment on a line of its own is about the element that follows, and all inside it. One behind an element, on the same
//! line, is about that element. One behind a start tag, on the same line, is about the element that begins there.

#![forbid(unsafe_code)]

use roxmltree::{Node, ParsingOptions};

use super::{Finding, Judged, Lint, Suppressed, kinds};
use crate::diagnostic::Source;
use crate::report::words::quoted;
use crate::sdf::Span;

/// What the file allows.
#[derive(Debug, Default)]
pub struct Comments {
    allows: Vec<Allow>,
    malformed: Vec<Finding>,
}

#[derive(Debug)]
struct Allow {
    lint: &'static Lint,
    reason: String,
    comment: Span,
    /// Where findings must begin.
    about: Span,
}

const WORD: &str = "mk-allow";

impl Comments {
    /// Reads the comments of a file that is a valid system description, so that it is known to be well-formed and bounded.
    pub fn of(source: &Source) -> Self {
        let mut comments = Self::default();
        let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
        let Ok(document) = roxmltree::Document::parse_with_options(&source.text, options) else {
            return comments;
        };
        for node in document.descendants().filter(Node::is_comment) {
            let text = node.text().unwrap_or_default().trim();
            // A longer word is somebody else's.
            let rest =
                text.strip_prefix(WORD).filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
            if let Some(rest) = rest {
                comments.read(source, &node, rest);
            }
        }
        comments
    }

    fn read(&mut self, source: &Source, node: &Node<'_, '_>, rest: &str) {
        let comment = node.range();
        let mut malformed = |message: String| {
            self.malformed.push(
                Finding::new(&kinds::ALLOW_MALFORMED, &comment, message)
                    .help("write <!-- mk-allow ID: reason -->; `mk-sandbox explain` lists the ids"),
            );
        };
        let (id, reason) = match rest.split_once(':') {
            Some((id, reason)) => (id.trim(), reason.trim()),
            None => (rest.trim(), ""),
        };
        match kinds::by_id(id) {
            None => malformed(format!("there is no kind of finding {}", quoted(id))),
            Some(lint) if !lint.adjustable => malformed(format!("{} cannot be allowed", quoted(id))),
            Some(lint) if reason.is_empty() => malformed(format!("{} is allowed without a reason", lint.id)),
            Some(lint) => {
                let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
                let about = about(source, node).unwrap_or(0..0);
                self.allows.push(Allow { lint, reason, comment, about });
            }
        }
    }

    /// Marks what the file allows, and adds what is wrong with the comments themselves. `all_images` says whether every
    /// image was read: if not, a comment about images may be right without a finding.
    pub fn apply(self, judged: &mut [Judged], all_images: bool) -> Vec<Finding> {
        let mut found = self.malformed;
        for allow in self.allows {
            let mut used = false;
            for finding in judged.iter_mut() {
                let own = finding.finding.lint.id == allow.lint.id;
                if own && allow.about.contains(&finding.finding.span.start) {
                    finding.suppressed = Some(Suppressed::InFile(allow.reason.clone()));
                    used = true;
                }
            }
            if !used && (all_images || !allow.lint.needs_images) {
                let message = format!("{} is allowed here, but not found", allow.lint.id);
                found.push(
                    Finding::new(&kinds::ALLOW_UNUSED, &allow.comment, message).help("remove the comment"),
                );
            }
        }
        found
    }
}

/// The element that a comment is about.
fn about(source: &Source, comment: &Node<'_, '_>) -> Option<Span> {
    let range = comment.range();
    let same_line =
        |end: usize| source.text.get(end..range.start).is_some_and(|between| !between.contains('\n'));
    if let Some(before) = comment.prev_siblings().skip(1).find(Node::is_element)
        && same_line(before.range().end)
    {
        return Some(before.range());
    }
    if let Some(parent) = comment.parent_element()
        && let Some(inside) = parent.first_child()
        && same_line(inside.range().start)
        && comment.prev_siblings().skip(1).all(|node| !node.is_element())
    {
        return Some(parent.range());
    }
    comment.next_siblings().skip(1).find(Node::is_element).map(|element| element.range())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::lint::Level;

    /// What the comment in `text` is about, as the text that it covers.
    fn covered(text: &str) -> String {
        let source = Source { path: "a.system".into(), text: text.to_owned() };
        let comments = Comments::of(&source);
        assert!(comments.malformed.is_empty(), "{comments:?}");
        source.text[comments.allows[0].about.clone()].to_owned()
    }

    const ALLOW: &str = "<!-- mk-allow region-unused: it is a test -->";

    #[test]
    fn a_comment_is_about_what_follows_or_stands_before_it() {
        assert_eq!(covered(&format!("<s>\n{ALLOW}\n<!-- x -->\n<a><b/></a>\n<c/></s>")), "<a><b/></a>");
        assert_eq!(covered(&format!("<s>\n<a/> {ALLOW}\n<c/></s>")), "<a/>");
        assert_eq!(
            covered(&format!("<s>\n<a> {ALLOW}\n<b/></a>\n<c/></s>")),
            format!("<a> {ALLOW}\n<b/></a>")
        );
        assert_eq!(covered(&format!("{ALLOW}\n<s><a/></s>")), "<s><a/></s>");
        assert_eq!(covered(&format!("<s><a/>\n{ALLOW}\n</s>")), "");
        assert_eq!(covered(&format!("<s>\n<a\n x='1'/> {ALLOW}\n<c/></s>")), "<a\n x='1'/>");
    }

    #[test]
    fn a_comment_needs_a_known_id_and_a_reason() {
        for (text, said) in [
            ("mk-allow", "no kind of finding ``"),
            ("mk-allow region-unused", "without a reason"),
            ("mk-allow region-unused:  ", "without a reason"),
            ("mk-allow region-unsued: r", "no kind of finding `region-unsued`"),
            ("mk-allow privilege-grew: r", "cannot be allowed"),
            ("mk-allow: r", "no kind of finding ``"),
        ] {
            let source = Source { path: "a".into(), text: format!("<s><!-- {text} --><a/></s>") };
            let comments = Comments::of(&source);
            assert!(comments.allows.is_empty(), "{text}");
            assert!(comments.malformed[0].message.contains(said), "{text}: {:?}", comments.malformed);
        }
        let other =
            Source { path: "a".into(), text: "<s><!-- mk-allowance --><!-- allow --><a/></s>".into() };
        let comments = Comments::of(&other);
        assert!(comments.allows.is_empty() && comments.malformed.is_empty());
    }

    #[test]
    fn only_what_is_there_is_used_up() {
        let text = format!("<s>\n{ALLOW}\n<a/></s>");
        let source = Source { path: "a".into(), text };
        let at = source.text.find("<a/>").unwrap();
        let judged = |lint| Judged {
            finding: Finding::new(lint, &(at..at + 4), "m"),
            level: Level::Warn,
            suppressed: None,
        };
        let mut both = [judged(&kinds::REGION_UNUSED), judged(&kinds::PD_UNREACHABLE)];
        assert_eq!(Comments::of(&source).apply(&mut both, true), []);
        assert!(matches!(&both[0].suppressed, Some(Suppressed::InFile(reason)) if reason == "it is a test"));
        assert_eq!(both[1].suppressed, None);
        let unused = Comments::of(&source).apply(&mut both[1..], true);
        assert_eq!(unused[0].lint.id, "allow-unused");
    }
}
