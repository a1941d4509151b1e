//! `mk-sandbox check` beyond validity: what a system file may say and should not, or should say on purpose.
//!
//! Each kind of finding is a [`Lint`] (`kinds.rs`), found by one of `memory.rs`, `channels.rs`, `scheduling.rs` and
//! `images.rs`. What the file allows in comments (`comments.rs`), what the command line says about levels (`levels.rs`)
//! and what was there before (`baseline.rs`) decides what becomes of it.

#![forbid(unsafe_code)]

pub mod baseline;
mod channels;
mod comments;
mod images;
pub mod kinds;
pub mod levels;
mod memory;
mod scheduling;

pub use comments::Comments;
pub use images::{ImageFile, NotRead};
pub use kinds::Lint;
pub use levels::{Levels, UnknownId};

use std::collections::BTreeMap;

use super::show::interrupt;
use crate::diagnostic::{Diagnostic, Severity};
use crate::sdf::{PdIndex, Span, System};

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not told.
    Allow,
    /// Told in a line.
    Note,
    /// Told with its place.
    Warn,
    /// Fails the check.
    Deny,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub lint: &'static Lint,
    /// Where in the system file.
    pub span: Span,
    /// What is found, one sentence without a full stop. It names things and no lines, so that it stays the same when the
    /// file is edited elsewhere.
    pub message: String,
    /// What would be right here.
    pub help: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<(Span, String)>,
}

impl Finding {
    pub(crate) fn new(lint: &'static Lint, span: &Span, message: impl Into<String>) -> Self {
        Self { lint, span: span.clone(), message: message.into(), help: None, related: Vec::new() }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn related(mut self, places: impl IntoIterator<Item = (Span, String)>) -> Self {
        self.related.extend(places);
        self
    }
}

/// Why a finding does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// A comment in the file allows it, for this reason.
    InFile(String),
    /// The baseline lists it.
    Baseline,
}

/// A finding with what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What was found.
    pub finding: Finding,
    /// Its level here.
    pub level: Level,
    /// Told nowhere but where a format has a place for it.
    pub suppressed: Option<Suppressed>,
}

impl Judged {
    /// Whether anybody is to hear of it.
    pub fn counts(&self) -> bool {
        self.suppressed.is_none() && self.level != Level::Allow
    }
}

/// Everything found in a valid system. `warnings` are those of the system file's reader; `images` has an entry for each PD;
/// `permitted` says whether PDs may make a system call of that name.
pub fn findings(
    system: &System,
    warnings: Vec<Diagnostic>,
    images: &[ImageFile],
    permitted: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut found = warnings.into_iter().map(|warning| of_warning(system, warning)).collect::<Vec<_>>();
    memory::find(system, &mut found);
    channels::find(system, images, &mut found);
    scheduling::find(system, &mut found);
    images::find(system, images, permitted, &mut found);
    found.extend(system.unsupported.iter().map(|unsupported| {
        Finding::new(&kinds::NOT_RUNNABLE, &unsupported.span, format!("`run` refuses {}", unsupported.what))
    }));
    in_order(&mut found);
    shortened(found)
}

/// Findings of one kind that are told. Who has more knows what to do, and telling them all must not take minutes.
const MOST: usize = 100;

/// The first [`MOST`] of each kind, the last of them saying how many more there are.
fn shortened(found: Vec<Finding>) -> Vec<Finding> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &found {
        *counts.entry(finding.lint.id).or_default() += 1;
    }
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let mut short = Vec::new();
    for mut finding in found {
        let count = kept.entry(finding.lint.id).or_default();
        *count += 1;
        if *count > MOST {
            continue;
        }
        let all = counts.get(finding.lint.id).copied().unwrap_or(0);
        if *count == MOST && all > MOST {
            finding.message += &format!(", and {} more findings of this kind", all - MOST);
        }
        short.push(finding);
    }
    short
}

/// The findings of a file that is no valid system description.
pub fn of_invalid(findings: Vec<Diagnostic>) -> Vec<Finding> {
    let mut found: Vec<Finding> = findings
        .into_iter()
        .map(|diagnostic| {
            let lint = match diagnostic.severity {
                Severity::Warning => &kinds::SYSTEM_WARNING,
                Severity::Error if channels::is_about_priorities(&diagnostic.message) => {
                    &kinds::CALL_PRIORITY
                }
                Severity::Error => &kinds::INVALID_SYSTEM,
            };
            of_diagnostic(lint, diagnostic)
        })
        .collect();
    in_order(&mut found);
    found
}

pub(crate) fn of_diagnostic(lint: &'static Lint, diagnostic: Diagnostic) -> Finding {
    let Diagnostic { span, message, help, .. } = diagnostic;
    Finding { lint, span, message, help, related: Vec::new() }
}

/// The kind of a warning follows from the element that it is about; so do its words where the reader's name nothing, as a
/// finding is known again by them.
fn of_warning(system: &System, warning: Diagnostic) -> Finding {
    let inside = |span: &Span| span.start <= warning.span.start && warning.span.end <= span.end;
    let region = system.regions.iter().find(|region| inside(&region.span));
    let mut devices = system.indexed_pds().flat_map(|(index, pd)| {
        let irqs = pd.irqs.iter().map(move |irq| {
            let what = interrupt(irq.source);
            (&irq.span, format!("{what} of PD {} never arrives", pd_name(system, index)))
        });
        let ports = pd.ioports.iter().map(move |port| {
            (&port.span, format!("ioport {} of PD {} reaches no device", port.id, pd_name(system, index)))
        });
        irqs.chain(ports)
    });
    let device = devices.find(|(span, _)| inside(span)).map(|(_, message)| message);
    match (region, device) {
        (Some(region), _) if region.span == warning.span => of_diagnostic(&kinds::REGION_UNUSED, warning),
        (Some(_), _) => of_diagnostic(&kinds::INERT_DEVICE, warning),
        (None, Some(message)) => Finding { message, ..of_diagnostic(&kinds::INERT_DEVICE, warning) },
        (None, None) => of_diagnostic(&kinds::SYSTEM_WARNING, warning),
    }
}

/// By place, then by the order of the kinds.
pub(crate) fn in_order(found: &mut [Finding]) {
    found.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.span.start, finding.span.end, kinds::position(finding.lint));
        key(one).cmp(&key(other)).then_with(|| one.message.cmp(&other.message))
    });
}

/// A PD's name as messages write it.
fn pd_name(system: &System, pd: PdIndex) -> String {
    super::words::quoted(&system.pd(pd).name)
}
