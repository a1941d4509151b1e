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
    /// CPU time at the last look, and for how many looks it has not changed.
    used_us: u64,
    rests: u32,
    /// When to look again.
    look: Instant,
}

/// Longest time between two looks at a PD that does not run. What it takes in between is owed.
const REST: Duration = Duration::from_millis(20);

impl Budget {
    /// Takes the account at a look; true when the budget is spent.
    fn account(&mut self, used: u64, now: Instant) -> bool {
        let spent_at = *self.spent_at_us.get_or_insert(used + self.budget_us);
        let period_us = (self.period.as_micros() as u64).max(1);
        let periods = now.saturating_duration_since(self.began).as_micros() as u64 / period_us;
        self.began += Duration::from_micros(periods * period_us);
        // Every period brings a budget. Time that was not used is lost, as on seL4; time used too much is owed.
        let granted = spent_at.saturating_add(periods.saturating_mul(self.budget_us));
        let spent_at = if periods == 0 { spent_at } else { granted.min(used + self.budget_us) };
        self.spent_at_us = Some(spent_at);
        let held = used >= spent_at;
        self.rests = if used == self.used_us && !held { self.rests + 1 } else { 0 };
        self.used_us = used;
        let end = self.began + self.period;
        let left = Duration::from_micros(spent_at.saturating_sub(used));
        self.look = match self.rests {
            _ if held => end,
            0 | 1 => (now + left).min(end),
            rests => end + (self.period * (rests - 2).min(1000)).min(REST),
        };
        held
    }
}

/// Every limited budget.
#[derive(Debug)]
pub(super) struct Budgets(Vec<Budget>);

impl Budgets {
    pub fn new(plan: &Plan) -> Self {
        let now = Instant::now();
        let limited = plan.pds.iter().filter(|pd| pd.budget_us < pd.period_us);
        Self(
            limited
                .map(|pd| Budget {
                    pd: pd.index,
                    budget_us: pd.budget_us,
                    period: Duration::from_micros(pd.period_us),
                    began: now,
                    spent_at_us: None,
                    used_us: 0,
                    rests: 0,
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
        let mut changed = false;
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
            let held = budget.account(used, now);
            if self.pds[pd.0].holds.budget != held {
                self.pds[pd.0].holds.budget = held;
                self.settle(pd, on_fault)?;
                changed = true;
            }
        }
        // Who has spent a budget leaves the CPU to others; who has a new one may take it from them.
        if changed { self.reschedule(on_fault) } else { Ok(()) }
    }
}
