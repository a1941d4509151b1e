//! Budgets: a PD gets `budget` microseconds of a CPU in every `period`, by the kernel's account of its CPU time. What it takes beyond a budget
//! before it is stopped is taken off the next one, so the mean is exact.

#![forbid(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use super::{Monitor, OnFault, Process};
use crate::pd::Seam;
use crate::plan::Plan;
use crate::sdf::PdIndex;
use crate::sys::cputime;

/// A budget below its period; one that equals it limits nothing.
#[derive(Debug)]
struct Budget {
    pd: PdIndex,
    budget_us: u64,
    period: Duration,
    /// Begin of the current period, and the CPU time at which its budget is spent.
    began: Instant,
    spent_at_us: Option<u64>,
    /// When to look again.
    look: Instant,
}

/// Every limited budget.
#[derive(Debug)]
pub(super) struct Budgets(Vec<Budget>);

impl Budgets {
    pub fn new(plan: &Plan) -> Self {
        let now = Instant::now();
        // A passive PD has no time of its own: what it does for a caller is bounded by how often the caller can ask.
        let limited = plan.pds.iter().filter(|pd| pd.budget_us < pd.period_us && !pd.passive);
        Self(
            limited
                .map(|pd| Budget {
                    pd: pd.index,
                    budget_us: pd.budget_us,
                    period: Duration::from_micros(pd.period_us),
                    began: now,
                    spent_at_us: None,
                    look: now,
                })
                .collect(),
        )
    }

    /// When the next one has to be looked at.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|budget| budget.look).min()
    }

    /// A fresh process has used no CPU time.
    pub fn begin_again(&mut self, pd: PdIndex) {
        for budget in self.0.iter_mut().filter(|budget| budget.pd == pd) {
            budget.spent_at_us = None;
            budget.look = Instant::now();
        }
    }
}

impl<S: Seam> Monitor<'_, S> {
    pub(super) fn enforce_budgets(&mut self, now: Instant, on_fault: OnFault) -> io::Result<()> {
        for index in 0..self.budgets.0.len() {
            let pd = self.budgets.0[index].pd;
            if self.budgets.0[index].look > now {
                continue;
            }
            let used = match self.pds[pd.0].process {
                Process::Gone => None,
                _ => cputime::microseconds(self.pid(pd)).ok(),
            };
            let budget = &mut self.budgets.0[index];
            let Some(used) = used else {
                budget.look = now + budget.period;
                continue;
            };
            let spent_at = *budget.spent_at_us.get_or_insert(used + budget.budget_us);
            let end = budget.began + budget.period;
            let held = if now >= end {
                // Time that was not used is lost, as on seL4; time used too much is owed.
                budget.began = now;
                let owed = used.saturating_sub(spent_at);
                budget.spent_at_us = Some(used + budget.budget_us.saturating_sub(owed));
                budget.look = now + Duration::from_micros(budget.budget_us.saturating_sub(owed).max(1));
                owed >= budget.budget_us
            } else {
                let left = spent_at.saturating_sub(used);
                budget.look = if left == 0 { end } else { (now + Duration::from_micros(left)).min(end) };
                left == 0
            };
            if self.pds[pd.0].holds.budget != held {
                self.pds[pd.0].holds.budget = held;
                self.settle(pd, on_fault)?;
            }
        }
        Ok(())
    }
}
