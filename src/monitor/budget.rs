//! Budgets: a PD gets `budget` microseconds of a CPU in every `period`, by the kernel's account of its CPU time. What it takes beyond a budget
//! before it is stopped is taken off the next one, so the mean is exact.
//!
//! A passive PD runs on its callers' time: it says whose call it is about to serve (MK_OP_CHARGE), and while that call is open, what it runs
//! is charged to that caller, or where that is passive too, to whoever it works for. When that budget is spent, it waits for the next with the
//! caller, as on seL4, whatever other callers it has.

#![forbid(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Monitor, OnFault, wait};
use crate::plan::{EndPlan, Plan};
use crate::sdf::PdIndex;
use crate::sys::{abi, cputime, errno_of};

/// What a PD has run, and on whose time. All are microseconds.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Charged to this PD: what it ran itself, but for calls that it served as a passive PD, and what passive PDs ran for it.
    charged: u64,
    /// CPU time of its process that has been charged to somebody.
    seen: u64,
    /// The call that a passive PD serves, and the number it had when somebody was last charged for it.
    serves: Option<(EndPlan, u64)>,
    /// Its budget of this period is spent.
    is_spent: bool,
}

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

/// Every account, and every limited budget.
#[derive(Debug)]
pub(super) struct Budgets {
    accounts: Vec<Account>,
    limited: Vec<Budget>,
    /// Passive PDs whose callers are charged.
    passive: Vec<PdIndex>,
}

impl Budgets {
    pub fn new(plan: &Plan) -> Self {
        let now = Instant::now();
        let limited = plan.pds.iter().filter(|pd| pd.budget_us < pd.period_us).map(|pd| Budget {
            pd: pd.index,
            budget_us: pd.budget_us,
            period: Duration::from_micros(pd.period_us),
            began: now,
            spent_at_us: None,
            used_us: 0,
            rests: 0,
            look: now,
        });
        Self {
            accounts: vec![Account::default(); plan.pds.len()],
            limited: limited.collect(),
            passive: plan.pds.iter().map(|pd| pd.index).filter(|pd| plan.charges(*pd)).collect(),
        }
    }

    /// When the next one has to be looked at.
    pub fn next(&self) -> Option<Instant> {
        self.limited.iter().map(|budget| budget.look).min()
    }
}

impl Monitor<'_> {
    /// From here on what they run counts: a process has run before its PD does.
    pub(super) fn open_accounts(&mut self) {
        for pd in self.indices() {
            self.open_account(pd);
        }
    }

    /// For a fresh process.
    pub(super) fn open_account(&mut self, pd: PdIndex) {
        let seen = cputime::microseconds(self.pid(pd)).unwrap_or(0);
        let account = &mut self.budgets.accounts[pd.0];
        account.seen = seen;
        account.serves = None;
    }

    /// A PD that starts again serves nobody.
    pub(super) fn charge_itself(&mut self, pd: PdIndex) {
        self.charge_up(pd);
        self.budgets.accounts[pd.0].serves = None;
    }

    /// Time that has been charged to a PD, up to now.
    pub(super) fn charged_us(&mut self, pd: PdIndex) -> u64 {
        self.charge_up(pd);
        self.budgets.accounts[pd.0].charged
    }

    /// Charges what this PD and all passive ones have run since somebody was last charged for it.
    fn charge_up(&mut self, pd: PdIndex) {
        let others = self.budgets.passive.iter().copied().filter(|passive| *passive != pd);
        let runners: Vec<PdIndex> = others.chain([pd]).collect();
        for runner in &runners {
            let Ok(ran) = cputime::microseconds(self.pid(*runner)) else { continue };
            let payer = self.payer(*runner, |pd, number| self.number(pd) != number).0;
            let account = &mut self.budgets.accounts[runner.0];
            let since = ran.saturating_sub(account.seen);
            account.seen = account.seen.max(ran);
            self.budgets.accounts[payer.0].charged += since;
        }
        for runner in runners {
            let number = self.number(runner);
            if let Some((_, known)) = &mut self.budgets.accounts[runner.0].serves {
                *known = number;
            }
        }
    }

    /// The number of the latest call of the caller that a passive PD says it serves.
    fn number(&self, pd: PdIndex) -> u64 {
        let serves = &self.budgets.accounts[pd.0].serves;
        serves.as_ref().map_or(0, |(end, _)| self.latest_call(end))
    }

    fn is_open(&self, pd: PdIndex, end: &EndPlan) -> bool {
        wait::is_open(self.latest_call(end), wait::sequence(self.channels_of(pd), end.out))
    }

    /// The number of the latest call that came in on an end.
    fn latest_call(&self, end: &EndPlan) -> u64 {
        wait::sequence(self.channels_of(end.peer), end.incoming)
    }

    /// On whose time a PD runs: its own, or that of the caller it serves. A PD can say that it serves whom it does not, so the call must be open,
    /// or `counts` say of it and its last known number that it has been meanwhile; that word is the caller's.
    fn payer(&self, pd: PdIndex, counts: impl Fn(PdIndex, u64) -> bool) -> (PdIndex, bool) {
        let mut payer = pd;
        // Callers have strictly lower priorities than whom they call.
        while let Some((end, number)) = &self.budgets.accounts[payer.0].serves {
            if !self.is_open(payer, end) && !counts(payer, *number) {
                break;
            }
            payer = end.peer;
        }
        (payer, self.budgets.accounts[payer.0].is_spent)
    }

    /// MK_OP_CHARGE
    pub(super) fn charge(&mut self, pd: PdIndex, channel: u64, on_fault: OnFault) -> Result<u64, Errno> {
        self.charge_itself(pd);
        if channel != abi::MK_CHARGE_SELF {
            let ends = &self.launch.plan.pd(pd).ends;
            let end = ends.iter().find(|end| u64::from(end.id) == channel && end.rights.serves);
            let end = end.ok_or(Errno::EINVAL)?.clone();
            let number = self.latest_call(&end);
            self.budgets.accounts[pd.0].serves = Some((end, number));
        }
        self.hold_for_budgets(on_fault).map_err(|error| errno_of(&error))?;
        Ok(0)
    }

    /// Holds whoever runs on a budget that is spent, and lets all others go.
    pub(super) fn hold_for_budgets(&mut self, on_fault: OnFault) -> io::Result<()> {
        let mut changed = false;
        for pd in self.indices() {
            let (_, held) = self.payer(pd, |_, _| false);
            if self.pds[pd.0].holds.budget != held {
                self.pds[pd.0].holds.budget = held;
                self.settle(pd, on_fault)?;
                changed = true;
            }
        }
        // Who has spent a budget leaves the CPU to others; who has a new one may take it from them.
        if changed { self.reschedule(on_fault) } else { Ok(()) }
    }

    pub(super) fn enforce_budgets(&mut self, now: Instant, on_fault: OnFault) -> io::Result<()> {
        let mut looked = false;
        for index in 0..self.budgets.limited.len() {
            if self.budgets.limited[index].look > now {
                continue;
            }
            let pd = self.budgets.limited[index].pd;
            let used = self.charged_us(pd);
            self.budgets.accounts[pd.0].is_spent = self.budgets.limited[index].account(used, now);
            looked = true;
        }
        if looked { self.hold_for_budgets(on_fault) } else { Ok(()) }
    }
}
