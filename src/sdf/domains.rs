//! `domains`: the domain schedule.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::build::Builder;
use super::context::{Context, Shape, quoted};
use super::document::{Attribute, Element};
use super::limits::{MAX_DOMAINS, SCHEDULE_LENGTH};
use super::number;

use super::system::Span;

/// Index of a domain in [`Domains::domains`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainIndex(pub usize);

/// The `domains` element.
#[derive(Clone, Debug, PartialEq)]
pub struct Domains {
    /// 1 to 16, in the order of the file.
    pub domains: Vec<Domain>,
    /// Fewer than 100, in the order of the file.
    pub schedule: Vec<ScheduleEntry>,
    /// The entry that runs first: never an end marker.
    pub start_index: usize,
    /// Where the schedule begins in the kernel's table.
    pub index_shift: usize,
    /// The element's start tag.
    pub span: Span,
}

/// One `domain`.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Unique.
    pub name: String,
    /// 0 to 15, unique.
    pub id: u8,
    /// The `domain` element.
    pub span: Span,
}

/// An element of `domain_schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleEntry {
    /// `schedule_entry`: this domain runs so long.
    Run(DomainIndex, Duration),
    /// `schedule_end_marker`: the schedule begins again.
    End,
}

/// `duration`, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duration {
    /// `N us`
    Microseconds(u64),
    /// `N ticks` of the kernel's timer.
    Ticks(u64),
}

const SHAPE: Shape = Shape { attributes: &[], children: &["domain", "domain_schedule"] };

const DOMAIN_SHAPE: Shape = Shape { attributes: &["name", "id"], children: &[] };

const SCHEDULE_SHAPE: Shape = Shape {
    attributes: &["start_index", "index_shift"],
    children: &["schedule_entry", "schedule_end_marker"],
};

const ENTRY_SHAPE: Shape = Shape { attributes: &["domain", "duration"], children: &[] };

const END_MARKER_SHAPE: Shape = Shape { attributes: &[], children: &[] };

/// The names that PDs and schedule entries refer to.
type Names = BTreeMap<String, DomainIndex>;

/// Reads `domains`, before the PDs.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>) {
    let cx = &mut b.cx;
    cx.shape(element, &SHAPE);
    let mut domains: Vec<Domain> = Vec::new();
    let mut names = Names::new();
    let mut ids = BTreeMap::new();
    for child in element.children_called("domain") {
        read_domain(cx, child, &mut domains, &mut names, &mut ids);
    }
    if element.children_called("domain").next().is_none() {
        cx.error_help(&element.span, "`domains` has no `domain`", "add <domain name=\"…\" id=\"0\"/>");
    }
    if let Some(further) = element.children_called("domain").nth(MAX_DOMAINS) {
        cx.error(&further.span, format!("there are more than {MAX_DOMAINS} domains"));
    }
    let mut read =
        Domains { domains, schedule: Vec::new(), start_index: 0, index_shift: 0, span: element.span.clone() };
    match cx.at_most_one(element, "domain_schedule") {
        Some(schedule) => read_schedule(cx, schedule, &names, &mut read),
        None => {
            let help = "add <domain_schedule> with a `schedule_entry`";
            cx.error_help(&element.span, "`domains` has no `domain_schedule`", help);
        }
    }
    b.domain_names = names;
    b.domains = Some(read);
}

fn read_domain<'s>(
    cx: &mut Context<'s>,
    element: &Element<'s>,
    domains: &mut Vec<Domain>,
    names: &mut Names,
    ids: &mut BTreeMap<u8, Span>,
) {
    cx.shape(element, &DOMAIN_SHAPE);
    let name = cx.name(element);
    let id = cx.required(element, "id").and_then(|attribute| {
        let id = cx.number(attribute)?;
        let id = cx.within(attribute, id, 0, MAX_DOMAINS as u64 - 1)?;
        u8::try_from(id).ok()
    });
    if let Some(id) = id {
        if let Some(other) = ids.get(&id) {
            let help = format!("the first is at {}", cx.line_of(other));
            let span = element.attribute("id").map_or(&element.span, |id| &id.span);
            cx.error_help(span, format!("there are two domains with id {id}"), help);
        } else {
            ids.insert(id, element.span.clone());
        }
    }
    let Some(name) = name else { return };
    if let Some(other) = names.get(&name) {
        let help = format!("the first is at {}", cx.line_of(&domains[other.0].span));
        let span = element.attribute("name").map_or(&element.span, |name| &name.span);
        cx.error_help(span, format!("there are two domains {}", quoted(&name)), help);
    } else {
        names.insert(name.clone(), DomainIndex(domains.len()));
    }
    // An id that is missing here has been reported.
    domains.push(Domain { name, id: id.unwrap_or(u8::MAX), span: element.span.clone() });
}

fn read_schedule<'s>(cx: &mut Context<'s>, element: &Element<'s>, names: &Names, domains: &mut Domains) {
    cx.shape(element, &SCHEDULE_SHAPE);
    let index_shift = cx.number_or(element, "index_shift", (0, SCHEDULE_LENGTH - 1), 0);
    domains.index_shift = usize::try_from(index_shift).unwrap_or(0);
    // What stands at each index, whether or not it is right.
    let mut is_entry: Vec<bool> = Vec::new();
    for child in &element.children {
        match child.name {
            "schedule_entry" => {
                is_entry.push(true);
                domains.schedule.extend(read_entry(cx, child, names));
            }
            "schedule_end_marker" => {
                cx.shape(child, &END_MARKER_SHAPE);
                is_entry.push(false);
                domains.schedule.push(ScheduleEntry::End);
            }
            _ => {}
        }
    }
    let length = is_entry.len() as u64 + index_shift;
    if length >= SCHEDULE_LENGTH {
        let message = format!(
            "the schedule has {length} entries, `index_shift` included, but must have fewer than \
             {SCHEDULE_LENGTH}"
        );
        cx.error(&element.span, message);
    }
    let start = element.attribute("start_index");
    let start_index = match start {
        Some(attribute) => cx.number(attribute),
        None => Some(0),
    };
    let Some(start_index) = start_index else {
        return;
    };
    domains.start_index = usize::try_from(start_index).unwrap_or(usize::MAX);
    if is_entry.get(domains.start_index) == Some(&true) {
        return;
    }
    match start {
        Some(attribute) => {
            let message = format!("`start_index` is {start_index}, where no `schedule_entry` stands");
            cx.error_help(&attribute.span, message, "entries and end markers are counted from 0");
        }
        None => {
            let message = "the schedule does not begin with a `schedule_entry`";
            cx.error_help(&element.span, message, "add one, or give a `start_index`");
        }
    }
}

fn read_entry<'s>(cx: &mut Context<'s>, element: &Element<'s>, names: &Names) -> Option<ScheduleEntry> {
    cx.shape(element, &ENTRY_SHAPE);
    let domain = cx.required(element, "domain").and_then(|name| find(cx, names, name));
    let duration = cx.required(element, "duration")?;
    let length = parse_duration(&duration.value);
    if length.is_none() {
        let message = format!("`duration` is {}, which is not a duration", quoted(&duration.value));
        cx.error_help(&duration.span, message, "write `N us` or `N ticks`, with N above 0");
    }
    Some(ScheduleEntry::Run(domain?, length?))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_once(' ')?;
    let number = number::parse(number).ok().filter(|number| *number > 0)?;
    match unit {
        "us" => Some(Duration::Microseconds(number)),
        "ticks" => Some(Duration::Ticks(number)),
        _ => None,
    }
}

/// The domain that `attribute` names, or a finding.
fn find(cx: &mut Context<'_>, names: &Names, attribute: &Attribute<'_>) -> Option<DomainIndex> {
    let found = names.get(&attribute.value).copied();
    // A file without any domain has been reported.
    if found.is_none() && !names.is_empty() {
        let message = format!("there is no domain {}", quoted(&attribute.value));
        let help = match cx.nearest(&attribute.value, names.keys().map(|name| &**name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "declare it in `domains`".to_owned(),
        };
        cx.error_help(&attribute.span, message, help);
    }
    found
}

/// The `domain` of a PD: given exactly when the file has `domains`.
pub(super) fn of_pd<'s>(b: &mut Builder<'s>, element: &Element<'s>) -> Option<DomainIndex> {
    let attribute = element.attribute("domain");
    match (&b.domains, attribute) {
        (None, None) => None,
        (None, Some(attribute)) => {
            let message = "`domain` is given, but the file has no `domains`";
            b.cx.error_help(&attribute.span, message, "remove it, or add <domains> above");
            None
        }
        (Some(_), None) => {
            b.cx.required(element, "domain");
            None
        }
        (Some(domains), Some(attribute)) => {
            if domains.span.start > attribute.span.start {
                let help = format!("`domains` stands at {}", b.cx.line_of(&domains.span));
                let message = "`domain` is given before `domains`";
                b.cx.error_help(&attribute.span, message, format!("{help}: move it up"));
            }
            find(&mut b.cx, &b.domain_names, attribute)
        }
    }
}

/// Domains take turns on one CPU.
pub(super) fn check_cpu(b: &mut Builder<'_>, element: &Element<'_>, cpu: Option<u32>) {
    if b.domains.is_some()
        && cpu.is_some_and(|cpu| cpu > 0)
        && let Some(attribute) = element.attribute("cpu")
    {
        let message = "a system with `domains` has a single CPU";
        b.cx.error_help(&attribute.span, message, "remove `cpu`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10 us"), Some(Duration::Microseconds(10)));
        assert_eq!(parse_duration("0x1_0 ticks"), Some(Duration::Ticks(16)));
        for text in ["", "10", "10us", "0 us", "-1 us", "1 ms", "1  us", "1 us ", " 1 us", "us"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
