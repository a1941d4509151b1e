//! seL4's scheduling, for `--schedule microkit`: PDs with the same `cpu` share one virtual CPU, on which exactly one runs: of those
//! that can, the one with the highest priority, in turn among equals. PDs tell of every event by a launcher call and stop in it, so a switch
//! is immediate and the same every time; one that never tells anything is stopped from outside when its turn is over.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Monitor, OnFault, Process};
use crate::launch::Schedule;
use crate::pd::Seam;
use crate::plan::Plan;
use crate::sdf::PdIndex;

/// Who can run, and who does.
#[derive(Debug)]
pub(super) struct Scheduler {
    pds: Vec<Turn>,
    cpus: BTreeMap<u32, Cpu>,
    /// Rises with every turn that ends and every wake: the order among equals.
    clock: u64,
}

/// A PD to the scheduler.
#[derive(Debug)]
struct Turn {
    cpu: u32,
    priority: u8,
    period: Duration,
    ready: bool,
    /// Something happened since it last looked: its next sleep ends at once.
    woken: bool,
    /// The lower, the sooner among equals.
    since: u64,
}

/// A virtual CPU.
#[derive(Debug, Default)]
struct Cpu {
    current: Option<PdIndex>,
    /// When the current PD's turn ends, if an equal waits.
    turn_ends: Option<Instant>,
}

impl Scheduler {
    pub fn new(plan: &Plan) -> Self {
        let pds: Vec<Turn> = plan
            .pds
            .iter()
            .map(|pd| Turn {
                cpu: pd.cpu.unwrap_or(0),
                priority: pd.priority,
                period: Duration::from_micros(pd.period_us),
                ready: true,
                woken: false,
                since: pd.index.0 as u64,
            })
            .collect();
        let cpus = pds.iter().map(|pd| (pd.cpu, Cpu::default())).collect();
        Self { clock: pds.len() as u64, pds, cpus }
    }

    pub fn next(&self) -> Option<Instant> {
        self.cpus.values().filter_map(|cpu| cpu.turn_ends).min()
    }

    fn move_to_back(&mut self, pd: PdIndex) {
        self.clock += 1;
        self.pds[pd.0].since = self.clock;
    }
}

impl<S: Seam> Monitor<'_, S> {
    pub(super) fn schedules(&self) -> bool {
        self.launch.schedule == Schedule::Microkit
    }

    /// MK_OP_SLEEP
    pub(super) fn sleep(&mut self, pd: PdIndex) -> Result<u64, Errno> {
        let turn = &mut self.scheduler.pds[pd.0];
        if !std::mem::take(&mut turn.woken) {
            turn.ready = false;
        }
        Ok(0)
    }

    /// MK_OP_SIGNALLED: the peer at the other end of this channel has something to look at.
    pub(super) fn signalled_by(&mut self, pd: PdIndex, channel: u64) -> Result<u64, Errno> {
        let ends = &self.launch.plan.pd(pd).ends;
        let end = ends.iter().find(|end| u64::from(end.id) == channel).ok_or(Errno::EINVAL)?;
        self.wake(end.peer);
        Ok(0)
    }

    /// Something has happened that this PD will want to look at.
    pub(super) fn wake(&mut self, pd: PdIndex) {
        let turn = &mut self.scheduler.pds[pd.0];
        if turn.ready {
            turn.woken = true;
        } else {
            turn.ready = true;
            self.scheduler.move_to_back(pd);
        }
    }

    /// A PD that has faulted or ended waits for nothing by itself.
    pub(super) fn leave_cpu(&mut self, pd: PdIndex) {
        let cpu = self.scheduler.pds[pd.0].cpu;
        if let Some(cpu) = self.scheduler.cpus.get_mut(&cpu)
            && cpu.current == Some(pd)
        {
            cpu.current = None;
        }
    }

    fn can_run(&self, pd: PdIndex) -> bool {
        let watched = &self.pds[pd.0];
        let holds = watched.holds;
        self.scheduler.pds[pd.0].ready
            && watched.process != Process::Gone
            && !(holds.fault || holds.suspended || holds.budget || holds.domain)
    }

    /// True when no PD can run any more.
    pub(super) fn nobody_ready(&self) -> bool {
        self.indices().all(|pd| {
            let watched = &self.pds[pd.0];
            !self.scheduler.pds[pd.0].ready || watched.process == Process::Gone || watched.holds.lasting()
        })
    }

    /// Gives every virtual CPU to whom it belongs now.
    pub(super) fn reschedule(&mut self, on_fault: OnFault) -> io::Result<()> {
        if !self.schedules() {
            return Ok(());
        }
        let cpus: Vec<u32> = self.scheduler.cpus.keys().copied().collect();
        for number in cpus {
            let here = |pd: &PdIndex| self.scheduler.pds[pd.0].cpu == number;
            let candidates: Vec<PdIndex> =
                self.indices().filter(here).filter(|pd| self.can_run(*pd)).collect();
            let rank = |pd: &PdIndex| {
                let turn = &self.scheduler.pds[pd.0];
                (std::cmp::Reverse(turn.priority), turn.since)
            };
            let current = self.scheduler.cpus[&number].current.filter(|pd| candidates.contains(pd));
            let best = candidates.iter().copied().min_by_key(rank);
            // An equal waits for its turn; only a higher priority takes the CPU at once.
            let next = match (current, best) {
                (Some(current), Some(best))
                    if self.scheduler.pds[current.0].priority >= self.scheduler.pds[best.0].priority =>
                {
                    Some(current)
                }
                (_, best) => best,
            };
            let rival = next.is_some_and(|next| {
                let priority = self.scheduler.pds[next.0].priority;
                candidates.iter().any(|pd| *pd != next && self.scheduler.pds[pd.0].priority == priority)
            });
            let changed = self.scheduler.cpus[&number].current != next;
            let period = next.map(|next| self.scheduler.pds[next.0].period);
            let cpu = self.scheduler.cpus.entry(number).or_default();
            cpu.current = next;
            cpu.turn_ends = match (rival, cpu.turn_ends) {
                (false, _) => None,
                (true, Some(ends)) if !changed => Some(ends),
                (true, _) => period.map(|period| Instant::now() + period),
            };
            // First the others stop, then it runs.
            let members: Vec<PdIndex> =
                self.indices().filter(|pd| self.scheduler.pds[pd.0].cpu == number).collect();
            for pd in members.iter().copied().filter(|pd| Some(*pd) != next) {
                self.pds[pd.0].holds.cpu = true;
                self.settle(pd, on_fault)?;
            }
            if let Some(next) = next {
                self.pds[next.0].holds.cpu = false;
                self.settle(next, on_fault)?;
            }
        }
        Ok(())
    }

    /// Ends turns that are over.
    pub(super) fn rotate(&mut self, now: Instant, on_fault: OnFault) -> io::Result<()> {
        let mut over = Vec::new();
        for cpu in self.scheduler.cpus.values_mut() {
            if cpu.turn_ends.is_some_and(|ends| ends <= now) {
                cpu.turn_ends = None;
                over.extend(cpu.current.take());
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        for pd in over {
            self.scheduler.move_to_back(pd);
        }
        self.reschedule(on_fault)
    }
}
