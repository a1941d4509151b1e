//! Priorities and budgets.

#![forbid(unsafe_code)]

use super::{Finding, kinds, pd_name};
use crate::report::words::list;
use crate::sdf::{PdIndex, System};

pub(super) fn find(system: &System, found: &mut Vec<Finding>) {
    inversions(system, found);
    full_budget(system, found);
}

/// Whether two PDs can be kept from running by each other.
fn share_a_cpu(system: &System, one: PdIndex, other: PdIndex) -> bool {
    match (system.pd(one).cpu, system.pd(other).cpu) {
        (Some(one), Some(other)) => one == other,
        // Where the file says nothing, Microkit runs a PD on CPU 0.
        (None, Some(cpu)) | (Some(cpu), None) => cpu == 0,
        (None, None) => true,
    }
}

/// Channels without calls over which both notify, where somebody stands between the two priorities.
fn inversions(system: &System, found: &mut Vec<Finding>) {
    for channel in &system.channels {
        let [one, other] = &channel.ends;
        let asks_and_answers = one.notify && other.notify && !one.pp && !other.pp;
        if !asks_and_answers {
            continue;
        }
        let (high, low) = match system.pd(one.pd).priority > system.pd(other.pd).priority {
            true => (one, other),
            false => (other, one),
        };
        let range = system.pd(low.pd).priority + 1..system.pd(high.pd).priority;
        let between: Vec<String> = system
            .indexed_pds()
            .filter(|(index, pd)| {
                range.contains(&pd.priority) && !pd.passive && share_a_cpu(system, *index, low.pd)
            })
            .map(|(index, _)| pd_name(system, index))
            .collect();
        if range.is_empty() || between.is_empty() {
            continue;
        }
        let message = format!(
            "PD {} (priority {}) waits for {} (priority {}), which {} can keep from running",
            pd_name(system, high.pd),
            system.pd(high.pd).priority,
            pd_name(system, low.pd),
            system.pd(low.pd).priority,
            list(&between),
        );
        found.push(Finding::new(&kinds::PRIORITY_INVERSION, &channel.span, message).help(
            "make it a call, bring the priorities together, or say notify=\"false\" where no answer is meant",
        ));
    }
}

fn full_budget(system: &System, found: &mut Vec<Finding>) {
    let priorities = || system.pds.iter().map(|pd| pd.priority);
    let (Some(highest), Some(lowest)) = (priorities().max(), priorities().min()) else { return };
    if highest == lowest {
        return;
    }
    for (index, pd) in system.indexed_pds() {
        if pd.priority == highest && pd.budget_us == pd.period_us && !pd.passive {
            let message = format!(
                "PD {} has the highest priority, {highest}, and all of the CPU's time",
                pd_name(system, index)
            );
            found.push(
                Finding::new(&kinds::FULL_BUDGET, &pd.span, message).help(
                    "give it a budget below its period, or passive=\"true\" where it only serves calls",
                ),
            );
        }
    }
}
