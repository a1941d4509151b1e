//! What every reader of an element uses: attributes by type, with a finding and a stand-in value
//! where one is wrong, so that the rest of the file is still judged.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::Options;
use super::arch::ArchSet;
use super::document::{Attribute, Element};
use super::number::{self, NotANumber};
use super::suggest;
use super::system::{Span, Unsupported};
use crate::diagnostic::{Diagnostic, Severity, Source};

/// Errors, and warnings, of one run: behind so many, more help nobody and are only counted.
const MAX_FINDINGS: usize = 100;

/// Characters of a word from the file that a message repeats.
const MAX_QUOTED: usize = 80;

/// Elements with the elements they may stand in.
const PLACES: [(&str, &str); 20] = [
    ("protection_domain", "`system` or `protection_domain`"),
    ("memory_region", "`system`"),
    ("channel", "`system`"),
    ("io_address_space", "`system`"),
    ("domains", "`system`"),
    ("program_image", "`protection_domain`"),
    ("map", "`protection_domain` or `virtual_machine`"),
    ("setvar", "`protection_domain`"),
    ("irq", "`protection_domain`"),
    ("ioport", "`protection_domain`"),
    ("cspace", "`protection_domain`"),
    ("virtual_machine", "`protection_domain`"),
    ("end", "`channel`"),
    ("vcpu", "`virtual_machine`"),
    ("iomap", "`io_address_space`"),
    ("domain", "`domains`"),
    ("domain_schedule", "`domains`"),
    ("cap_tcb", "`cspace`"),
    ("cap_sc", "`cspace`"),
    ("cap_vspace", "`cspace`"),
];

/// The findings so far, and what they are judged by.
pub(super) struct Context<'s> {
    pub(super) source: &'s Source,
    pub(super) options: &'s Options,
    /// At most [`MAX_FINDINGS`] of each kind.
    findings: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    unsupported: Vec<Unsupported>,
    /// Architectures that the file read so far can be for.
    pub(super) archs: ArchSet,
    /// Required attributes that an element has under a misspelt name, by the element's start: to be
    /// told once is enough.
    misspelt: BTreeSet<(usize, &'static str)>,
}

/// What the attributes and children of an element may be.
pub(super) struct Shape {
    pub(super) attributes: &'static [&'static str],
    pub(super) children: &'static [&'static str],
}

impl<'s> Context<'s> {
    pub(super) fn new(source: &'s Source, options: &'s Options) -> Self {
        Self {
            source,
            options,
            findings: Vec::new(),
            errors: 0,
            warnings: 0,
            unsupported: Vec::new(),
            archs: ArchSet::from(options.arch),
            misspelt: BTreeSet::new(),
        }
    }

    /// Everything found, in the order of the file, and what `run` cannot do yet.
    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Unsupported>) {
        let is_warning = |finding: &Diagnostic| finding.severity == Severity::Warning;
        self.findings.sort_by_key(|finding| (finding.span.start, is_warning(finding)));
        let end = self.source.text.len();
        if let Some(more) = self.errors.checked_sub(MAX_FINDINGS + 1) {
            let message = format!("and {} more errors", more + 1);
            self.findings.push(Diagnostic::error(end..end, message));
        }
        if let Some(more) = self.warnings.checked_sub(MAX_FINDINGS + 1) {
            let message = format!("and {} more warnings", more + 1);
            self.findings.push(Diagnostic::warning(end..end, message));
        }
        self.unsupported.sort_by_key(|unsupported| unsupported.span.start);
        (self.findings, self.unsupported)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The cost of wording a finding must not grow with the number of findings.
    fn is_full(&self) -> bool {
        self.errors.max(self.warnings) > MAX_FINDINGS
    }

    fn found(&mut self, finding: Diagnostic) {
        let count = match finding.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// The candidate that `word` most likely stands for.
    pub(super) fn nearest<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str> + Clone,
    ) -> Option<&'c str> {
        if self.is_full() { None } else { suggest::nearest(word, candidates) }
    }

    pub(super) fn error(&mut self, span: &Span, message: impl Into<String>) {
        self.found(Diagnostic::error(span.clone(), message));
    }

    pub(super) fn error_help(&mut self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.found(Diagnostic::error(span.clone(), message).with_help(help));
    }

    pub(super) fn warning(&mut self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.found(Diagnostic::warning(span.clone(), message).with_help(help));
    }

    pub(super) fn unsupported(&mut self, what: impl Into<String>, span: &Span) {
        self.unsupported.push(Unsupported { what: what.into(), span: span.clone() });
    }

    /// ``line 12``: where something else stands.
    pub(super) fn line_of(&self, span: &Span) -> String {
        if self.is_full() {
            return "another line".to_owned();
        }
        format!("line {}", self.source.position(span.start).0)
    }

    /// Says that `what` exists on `archs` only, and narrows the file down to them.
    pub(super) fn require_arch(&mut self, archs: ArchSet, what: &str, span: &Span) {
        let left = self.archs.and(archs);
        if left.is_empty() {
            let have = self.archs;
            let why = match ArchSet::from(self.options.arch) == have {
                true => format!("this file is judged for {have}"),
                false => format!("what stands elsewhere in this file exists on {have} only"),
            };
            self.error_help(span, format!("{what} exists on {archs} only"), why);
        } else {
            self.archs = left;
        }
    }

    /// Reports attributes, children and texts that do not belong into `element`.
    pub(super) fn shape(&mut self, element: &Element<'_>, shape: &Shape) {
        for attribute in &element.attributes {
            if !shape.attributes.contains(&attribute.name) {
                self.unknown_attribute(element, attribute, shape.attributes);
            }
        }
        for child in &element.children {
            if !shape.children.contains(&child.name) {
                self.unknown_element(element, child, shape.children);
            }
        }
        for text in &element.texts {
            let message = format!("text is not allowed in {}", quoted(element.name));
            self.error_help(text, message, "remove it, or put it into a comment");
        }
    }

    fn unknown_attribute(
        &mut self,
        element: &Element<'_>,
        attribute: &Attribute<'_>,
        allowed: &[&'static str],
    ) {
        let message = format!("{} has no attribute {}", quoted(element.name), quoted(attribute.name));
        let free = allowed.iter().copied().filter(|name| element.attribute(name).is_none());
        let help = match self.nearest(attribute.name, free) {
            Some(meant) => {
                self.misspelt.insert((element.span.start, meant));
                format!("did you mean `{meant}`?")
            }
            None if allowed.is_empty() => "it takes none".to_owned(),
            None => format!("it takes {}", list(allowed)),
        };
        self.error_help(&attribute.span, message, help);
    }

    fn unknown_element(&mut self, parent: &Element<'_>, child: &Element<'_>, allowed: &[&'static str]) {
        let (name, parent) = (quoted(child.name), quoted(parent.name));
        if let Some((_, places)) = PLACES.iter().find(|(known, _)| *known == child.name) {
            let message = format!("{name} is not allowed in {parent}");
            return self.error_help(&child.span, message, format!("it belongs into {places}"));
        }
        let help = match self.nearest(child.name, allowed.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if allowed.is_empty() => format!("{parent} holds no elements"),
            None => format!("{parent} holds {}", list(allowed)),
        };
        self.error_help(&child.span, format!("unknown element {name} in {parent}"), help);
    }

    /// Reports every child called `name` behind the first, which it yields.
    pub(super) fn at_most_one<'e>(
        &mut self,
        element: &'e Element<'s>,
        name: &str,
    ) -> Option<&'e Element<'s>> {
        let mut children = element.children_called(name);
        let first = children.next();
        for further in children {
            let message = format!("more than one `{name}` in {}", quoted(element.name));
            let help =
                first.map_or(String::new(), |first| format!("the first is at {}", self.line_of(&first.span)));
            self.error_help(&further.span, message, help);
        }
        first
    }

    /// The attribute has been reported under another name.
    pub(super) fn is_misspelt(&self, element: &Element<'_>, name: &'static str) -> bool {
        self.misspelt.contains(&(element.span.start, name))
    }

    /// The attribute, or a finding that it is missing.
    pub(super) fn required<'e>(
        &mut self,
        element: &'e Element<'s>,
        name: &'static str,
    ) -> Option<&'e Attribute<'s>> {
        let attribute = element.attribute(name);
        if attribute.is_none() && !self.is_misspelt(element, name) {
            let message = format!("{} has no `{name}`", quoted(element.name));
            self.error_help(&element.span, message, format!("add {name}=\"…\""));
        }
        attribute
    }

    /// A required name: not empty, without control characters.
    pub(super) fn name(&mut self, element: &Element<'s>) -> Option<String> {
        let attribute = self.required(element, "name")?;
        if attribute.value.is_empty() {
            self.error(&attribute.span, "the name is empty");
            return None;
        }
        if attribute.value.chars().any(char::is_control) {
            self.error(&attribute.span, "the name holds a control character");
            return None;
        }
        Some(attribute.value.clone())
    }

    /// A number as the file writes them.
    pub(super) fn number(&mut self, attribute: &Attribute<'_>) -> Option<u64> {
        let help = "write it in decimal, or in hexadecimal behind `0x`; `_` may stand between digits";
        self.parsed(attribute, number::parse(&attribute.value), help)
    }

    /// A number in plain decimal.
    pub(super) fn decimal(&mut self, attribute: &Attribute<'_>) -> Option<u64> {
        let help = "write it in plain decimal digits";
        self.parsed(attribute, number::parse_decimal(&attribute.value), help)
    }

    fn parsed(
        &mut self,
        attribute: &Attribute<'_>,
        parsed: Result<u64, NotANumber>,
        help: &str,
    ) -> Option<u64> {
        let (name, value) = (attribute.name, quoted(&attribute.value));
        match parsed {
            Ok(number) => return Some(number),
            Err(NotANumber::TooLarge) => {
                let message = format!("`{name}` is {value}, which does not fit into 64 bits");
                self.error(&attribute.span, message);
            }
            Err(NotANumber::Malformed) => {
                let message = format!("`{name}` is {value}, which is not a number");
                self.error_help(&attribute.span, message, help);
            }
        }
        None
    }

    /// `number` when it lies between `least` and `most`.
    pub(super) fn within(
        &mut self,
        attribute: &Attribute<'_>,
        number: u64,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let value = quoted(&attribute.value);
        let message = format!("`{}` is {value}, but must be {least} to {most}", attribute.name);
        self.error(&attribute.span, message);
        None
    }

    /// An optional number between `least` and `most`; `default` where it is missing or wrong.
    pub(super) fn number_or(
        &mut self,
        element: &Element<'s>,
        name: &str,
        (least, most): (u64, u64),
        default: u64,
    ) -> u64 {
        let Some(attribute) = element.attribute(name) else {
            return default;
        };
        let number = self.number(attribute);
        number.and_then(|number| self.within(attribute, number, least, most)).unwrap_or(default)
    }

    /// A required `id` in plain decimal, 0 to `most`.
    pub(super) fn id(&mut self, element: &Element<'s>, most: u8) -> Option<u8> {
        let attribute = self.required(element, "id")?;
        let id = self.decimal(attribute)?;
        self.within(attribute, id, 0, u64::from(most))?;
        u8::try_from(id).ok()
    }

    /// An optional `true` or `false`.
    pub(super) fn boolean(&mut self, element: &Element<'s>, name: &str, default: bool) -> bool {
        let Some(attribute) = element.attribute(name) else {
            return default;
        };
        match attribute.value.as_str() {
            "true" => true,
            "false" => false,
            other => {
                let message = format!("`{name}` is {}, but must be `true` or `false`", quoted(other));
                self.error(&attribute.span, message);
                default
            }
        }
    }

    /// An optional word out of a few, the first of which is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        element: &Element<'s>,
        name: &str,
        choices: [(&str, T); 2],
    ) -> T {
        let [(first, default), (second, other)] = choices;
        match element.attribute(name) {
            None => default,
            Some(attribute) if attribute.value == first => default,
            Some(attribute) if attribute.value == second => other,
            Some(attribute) => {
                let value = quoted(&attribute.value);
                let message = format!("`{name}` is {value}, but must be `{first}` or `{second}`");
                self.error(&attribute.span, message);
                default
            }
        }
    }

    /// An optional `cpu`: one that this run has.
    pub(super) fn cpu(&mut self, element: &Element<'s>) -> Option<u32> {
        let attribute = element.attribute("cpu")?;
        let cpu = self.number(attribute)?;
        let cpus = self.options.cpus;
        if cpu < u64::from(cpus) {
            return u32::try_from(cpu).ok();
        }
        let message = match cpus {
            1 => format!("`cpu` is {cpu}, but there is one CPU, 0"),
            _ => format!("`cpu` is {cpu}, but there are {cpus} CPUs, from 0 on"),
        };
        self.error(&attribute.span, message);
        None
    }
}

/// A word of the file for a message: shortened, within backticks.
pub(super) fn quoted(word: &str) -> String {
    match word.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("`{}…`", &word[..end]),
        None => format!("`{word}`"),
    }
}

/// `` `a`, `b` and `c` ``
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_listed() {
        assert_eq!(list(&[]), "");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn long_words_are_shortened() {
        assert_eq!(quoted("ä"), "`ä`");
        assert_eq!(quoted(&"ä".repeat(1000)), format!("`{}…`", "ä".repeat(MAX_QUOTED)));
    }
}
