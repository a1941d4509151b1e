//! Channels: rights nobody has or uses, PDs nobody reaches, circles of waiting.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::images::{ImageFile, imports};
use super::{Finding, kinds, pd_name};
use crate::report::words::list;
use crate::sdf::{Channel, End, PdIndex, System};

pub(super) fn find(system: &System, images: &[ImageFile], found: &mut Vec<Finding>) {
    for channel in &system.channels {
        let [one, other] = &channel.ends;
        if ![one, other].into_iter().any(|end| end.notify || end.pp) {
            let message = format!("nobody may use the channel between {}", ends(system, channel));
            found.push(
                Finding::new(&kinds::CHANNEL_WITHOUT_RIGHTS, &channel.span, message)
                    .help("remove it, or remove notify=\"false\" from an end"),
            );
        } else if uses(images, one) == Some(false) && uses(images, other) == Some(false) {
            let message = format!("neither image uses the channel between {}", ends(system, channel));
            found.push(
                Finding::new(&kinds::CHANNEL_UNUSED, &channel.span, message)
                    .help("remove it, or take from each end the rights that its image does not use"),
            );
        }
    }
    unreachable(system, found);
    cycles(system, found);
}

fn ends(system: &System, channel: &Channel) -> String {
    let side = |end: &End| format!("{} ({})", pd_name(system, end.pd), end.id);
    format!("{} and {}", side(&channel.ends[0]), side(&channel.ends[1]))
}

/// Whether an end's image calls what the end may do; unknown without an image.
fn uses(images: &[ImageFile], end: &End) -> Option<bool> {
    let imports = imports(images, end.pd)?;
    let calls = |name: &str| imports.contains(name);
    let notifies = end.notify && (calls("microkit_notify") || calls("microkit_deferred_notify"));
    Some(notifies || end.pp && calls("microkit_ppcall"))
}

/// PDs that have nothing to wait for.
fn unreachable(system: &System, found: &mut Vec<Finding>) {
    for (index, pd) in system.indexed_pds() {
        let hears = |channel: &Channel| {
            let [one, other] = &channel.ends;
            let reached = |own: &End, from: &End| own.pd == index && (from.notify || from.pp);
            reached(one, other) || reached(other, one)
        };
        let is_parent =
            system.pds.iter().any(|other| other.parent.is_some_and(|(parent, _)| parent == index));
        let woken = system.channels.iter().any(hears)
            || is_parent
            || !pd.irqs.is_empty()
            || pd.virtual_machine.is_some();
        if !woken {
            let message =
                format!("nothing can wake PD {} once its `init` has returned", pd_name(system, index));
            found.push(
                Finding::new(&kinds::PD_UNREACHABLE, &pd.span, message)
                    .help("no channel leads to it, and it has neither interrupts nor children"),
            );
        }
    }
}

/// For each PD those without whom it may not go on: those it calls, and, once it faults, its parent.
fn waits(system: &System) -> Vec<BTreeSet<(PdIndex, Wait)>> {
    let mut waits = vec![BTreeSet::new(); system.pds.len()];
    for channel in &system.channels {
        let [one, other] = &channel.ends;
        for (from, to) in [(one, other), (other, one)] {
            if from.pp {
                waits[from.pd.0].insert((to.pd, Wait::Call));
            }
        }
    }
    for (index, pd) in system.indexed_pds() {
        waits[index.0].extend(pd.parent.map(|(parent, _)| (parent, Wait::Fault)));
    }
    waits
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Call,
    Fault,
}

/// For each call: the shortest way on which the callee, in the end, waits for the caller. A circle is told once.
fn cycles(system: &System, found: &mut Vec<Finding>) {
    let mut told: BTreeSet<BTreeSet<PdIndex>> = BTreeSet::new();
    let waits = waits(system);
    for channel in &system.channels {
        let [one, other] = &channel.ends;
        for (from, to) in [(one, other), (other, one)] {
            if !from.pp {
                continue;
            }
            if let Some(way) = way_back(&waits, to.pd, from.pd)
                && told.insert(way.iter().map(|(pd, ..)| *pd).chain([from.pd]).collect())
            {
                let mut words =
                    vec![format!("{} calls {}", pd_name(system, from.pd), pd_name(system, to.pd))];
                words.extend(way.iter().map(|(pd, wait, next)| {
                    let (who, whom) = (pd_name(system, *pd), pd_name(system, *next));
                    match wait {
                        Wait::Call => format!("{who} calls {whom}"),
                        Wait::Fault => format!("a fault of {who} waits for {whom}"),
                    }
                }));
                let message = format!("PDs can wait for each other for ever: {}", list(&words));
                found.push(
                    Finding::new(&kinds::CALL_CYCLE, &from.span, message)
                        .help("let the parent notify instead of calling, or give the child another parent"),
                );
            }
        }
    }
}

/// The steps from one PD to another along who waits for whom. For a callee and its caller one of them is a fault, as calls only
/// lead to higher priorities.
fn way_back(
    waits: &[BTreeSet<(PdIndex, Wait)>],
    start: PdIndex,
    goal: PdIndex,
) -> Option<Vec<(PdIndex, Wait, PdIndex)>> {
    let mut came: Vec<Option<(PdIndex, Wait)>> = vec![None; waits.len()];
    let mut due = std::collections::VecDeque::from([start]);
    while let Some(pd) = due.pop_front() {
        for &(next, wait) in &waits[pd.0] {
            if next != start && came[next.0].is_none() {
                came[next.0] = Some((pd, wait));
                due.push_back(next);
            }
        }
    }
    let mut steps = Vec::new();
    let mut at = goal;
    while at != start {
        let (from, wait) = came[at.0]?;
        steps.push((from, wait, at));
        at = from;
    }
    steps.reverse();
    Some(steps)
}

/// Whether an error of the system description's reader is about who may call whom. It has no other mark than its words; a
/// fixture holds the two together.
pub(super) fn is_about_priorities(message: &str) -> bool {
    message.contains("a caller's priority must be lower") || message.contains("both ends have `pp`")
}
