//! seL4's scheduling, for `--schedule microkit`: PDs with the same `cpu` share one virtual CPU, on which exactly one runs: of those
//! that can, the one with the highest priority, in turn among equals. PDs tell of every event by a launcher call and stop in it, so a switch
//! is immediate; one that never tells anything is stopped from outside when its turn is over.
//!
//! On one virtual CPU every decision is made at a launcher call or fault of the one PD that runs, from what has happened so far: the same
//! system gives the same transcript every time. Time comes in only where somebody's time is over: a budget, a domain, a turn of an equal that
//! has computed for all of it without a launcher call.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Monitor, OnFault, Process};
use crate::launch::Schedule;
use crate::plan::{PdPlan, Plan};
use crate::sdf::PdIndex;
use crate::sys::{cputime, procfs};

/// Who can run, and who does.
#[derive(Debug)]
pub(super) struct Scheduler {
    pds: Vec<Turn>,
    cpus: BTreeMap<u32, Cpu>,
    /// Rises with every turn that ends and every wake: the order among equals.
    clock: u64,
    /// CPUs are being given out, and that has led to an event after which it has to be looked at again.
    choosing: bool,
    again: bool,
}

/// A PD to the scheduler.
#[derive(Debug)]
struct Turn {
    cpu: u32,
    priority: u8,
    /// CPU time of a turn, in microseconds.
    turn_us: u64,
    ready: bool,
    /// Something happened since it last looked: its next sleep ends at once.
    woken: bool,
    /// The lower, the sooner among equals.
    since: u64,
    /// How far its turn is; `None`: its next turn has not begun.
    spent: Option<Spent>,
    /// It has made a launcher call since its turn was last looked at.
    told: bool,
}

/// CPU times of a PD, in microseconds: what it has really run, so that a busy host does not change whose turn it is.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// When its turn began.
    from: u64,
    /// When it was last seen to have told something.
    silent_from: u64,
}

impl Turn {
    /// Microseconds until its turn is over at the earliest, at this CPU time of its.
    fn left(&mut self, ran: u64) -> u64 {
        let spent = self.spent.get_or_insert(Spent { from: ran, silent_from: ran });
        if std::mem::take(&mut self.told) {
            spent.silent_from = ran;
        }
        let silent = self.turn_us.saturating_sub(ran.saturating_sub(spent.silent_from));
        let all = self.turn_us.saturating_mul(TALKING_TURNS).saturating_sub(ran.saturating_sub(spent.from));
        silent.min(all)
    }
}

/// A virtual CPU.
#[derive(Debug, Default)]
struct Cpu {
    current: Option<PdIndex>,
    /// If an equal waits: when to look whether the current PD's turn is over.
    look: Option<Look>,
}

/// A look at a turn.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// CPU time of the PD when that was settled.
    ran_us: u64,
}

/// The shortest turn of some equals is at least so long, and the others' longer in proportion, as far as none gets longer than the second.
/// Microkit's period of a millisecond is little more than what a PD needs to begin on a cold cache: with turns as short as that, chance
/// would decide how far it comes, and no two runs would be the same.
const SHORTEST_TURN_US: u64 = 10_000;
const LONGEST_STRETCHED_TURN_US: u64 = 100_000;

/// A turn is over when a PD has run for that long and told the launcher nothing. One that does tell, and so has its place in the order of
/// events, keeps its turn for up to so many times as long: how much time it needs for that differs from run to run.
const TALKING_TURNS: u64 = 3;

/// The turns of a group of equals, from their periods.
fn turns(periods_us: &[u64]) -> Vec<u64> {
    let shortest = periods_us.iter().copied().min().unwrap_or(1).max(1);
    let longest = periods_us.iter().copied().max().unwrap_or(1).max(1);
    let times = (SHORTEST_TURN_US / shortest).min(LONGEST_STRETCHED_TURN_US / longest).max(1);
    periods_us.iter().map(|period| (*period).max(1).saturating_mul(times)).collect()
}

impl Scheduler {
    pub fn new(plan: &Plan) -> Self {
        let group = |pd: &PdPlan| (pd.cpu.unwrap_or(0), pd.priority);
        let turn_us = |pd: &PdPlan| {
            let equals: Vec<&PdPlan> = plan.pds.iter().filter(|other| group(other) == group(pd)).collect();
            let periods: Vec<u64> = equals.iter().map(|equal| equal.period_us).collect();
            let place = equals.iter().position(|equal| equal.index == pd.index);
            place.and_then(|place| turns(&periods).get(place).copied()).unwrap_or(SHORTEST_TURN_US)
        };
        let pds: Vec<Turn> = plan
            .pds
            .iter()
            .map(|pd| Turn {
                cpu: pd.cpu.unwrap_or(0),
                priority: pd.priority,
                turn_us: turn_us(pd),
                ready: true,
                woken: false,
                since: pd.index.0 as u64,
                spent: None,
                told: false,
            })
            .collect();
        let cpus = pds.iter().map(|pd| (pd.cpu, Cpu::default())).collect();
        Self { clock: pds.len() as u64, pds, cpus, choosing: false, again: false }
    }

    pub fn next(&self) -> Option<Instant> {
        self.cpus.values().filter_map(|cpu| cpu.look.map(|look| look.at)).min()
    }

    fn move_to_back(&mut self, pd: PdIndex) {
        self.clock += 1;
        self.pds[pd.0].since = self.clock;
        self.pds[pd.0].spent = None;
    }

    /// A fresh process has used no CPU time.
    pub fn begin_again(&mut self, pd: PdIndex) {
        self.pds[pd.0].spent = None;
    }

    /// A PD makes a launcher call.
    pub fn told(&mut self, pd: PdIndex) {
        self.pds[pd.0].told = true;
    }
}

impl Monitor<'_> {
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
        self.scheduler.again = true;
        if self.scheduler.choosing {
            // To stop a PD can be to hear of its fault or its call, which may decide otherwise: whoever began sees to it.
            return Ok(());
        }
        self.scheduler.choosing = true;
        let mut outcome = Ok(());
        while outcome.is_ok() && std::mem::take(&mut self.scheduler.again) {
            let cpus: Vec<u32> = self.scheduler.cpus.keys().copied().collect();
            outcome = cpus.into_iter().try_for_each(|cpu| self.give_out(cpu, on_fault));
        }
        self.scheduler.choosing = false;
        outcome
    }

    fn give_out(&mut self, number: u32, on_fault: OnFault) -> io::Result<()> {
        let members: Vec<PdIndex> =
            self.indices().filter(|pd| self.scheduler.pds[pd.0].cpu == number).collect();
        let next = self.choose(number, &members);
        // First the others stop, then it runs.
        for pd in members.into_iter().filter(|pd| Some(*pd) != next) {
            self.pds[pd.0].holds.cpu = true;
            self.settle(pd, on_fault)?;
        }
        if self.scheduler.again {
            return Ok(());
        }
        if let Some(next) = next {
            self.pds[next.0].holds.cpu = false;
            self.settle(next, on_fault)?;
        }
        Ok(())
    }

    /// Whose turn it is, and until when.
    fn choose(&mut self, number: u32, members: &[PdIndex]) -> Option<PdIndex> {
        let candidates: Vec<PdIndex> = members.iter().copied().filter(|pd| self.can_run(*pd)).collect();
        let priority = |pd: PdIndex| self.scheduler.pds[pd.0].priority;
        let rank = |pd: &PdIndex| (std::cmp::Reverse(priority(*pd)), self.scheduler.pds[pd.0].since);
        let current = self.scheduler.cpus[&number].current;
        let best = candidates.iter().copied().min_by_key(rank);
        // An equal waits for its turn; only a higher priority takes the CPU at once.
        let stays = current.filter(|current| {
            candidates.contains(current) && best.is_some_and(|best| priority(*current) >= priority(best))
        });
        let next = stays.or(best);
        let rival = next
            .is_some_and(|next| candidates.iter().any(|pd| *pd != next && priority(*pd) == priority(next)));
        let old = self.scheduler.cpus[&number].look.filter(|_| next == current);
        let look = match next {
            Some(next) if rival => Some(old.unwrap_or_else(|| self.begin_turn(next))),
            _ => None,
        };
        let cpu = self.scheduler.cpus.entry(number).or_default();
        cpu.current = next;
        cpu.look = look;
        next
    }

    /// Begins a turn, or goes on with one that a higher priority had broken into.
    fn begin_turn(&mut self, pd: PdIndex) -> Look {
        let ran_us = cputime::microseconds(self.pid(pd)).unwrap_or(0);
        let left = self.scheduler.pds[pd.0].left(ran_us);
        Look { at: Instant::now() + Duration::from_micros(left), ran_us }
    }

    /// Ends turns that are over.
    pub(super) fn rotate(&mut self, now: Instant, on_fault: OnFault) -> io::Result<()> {
        let mut over = Vec::new();
        let due = |cpu: &Cpu| cpu.current.zip(cpu.look.filter(|look| look.at <= now));
        let looks: Vec<(u32, PdIndex, Look)> = self
            .scheduler
            .cpus
            .iter()
            .filter_map(|(number, cpu)| due(cpu).map(|(pd, look)| (*number, pd, look)))
            .collect();
        for (number, pd, look) in looks {
            let ran_us = cputime::microseconds(self.pid(pd)).unwrap_or(0);
            let left = self.scheduler.pds[pd.0].left(ran_us);
            // Who sleeps though it has the CPU waits for its console to be read: its turn is over as well. Who was kept off by a busy host is
            // not asleep.
            let is_blocked = ran_us == look.ran_us && procfs::is_asleep(self.pid(pd));
            let Some(cpu) = self.scheduler.cpus.get_mut(&number) else { continue };
            if left == 0 || is_blocked {
                cpu.current = None;
                cpu.look = None;
                over.push(pd);
            } else {
                cpu.look = Some(Look { at: now + Duration::from_micros(left), ran_us });
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

#[cfg(test)]
mod tests {
    use super::{TALKING_TURNS, Turn, turns};

    #[test]
    fn turns_keep_the_proportion_of_periods() {
        assert_eq!(turns(&[1000, 1000]), [10_000, 10_000]);
        assert_eq!(turns(&[1000, 3000]), [10_000, 30_000]);
        assert_eq!(turns(&[40_000, 20_000]), [40_000, 20_000]);
        assert_eq!(turns(&[100, 50_000]), [200, 100_000]);
        assert_eq!(turns(&[1, 1_000_000]), [1, 1_000_000]);
        assert_eq!(turns(&[0, u64::MAX]), [1, u64::MAX]);
        assert!(turns(&[]).is_empty());
    }

    #[test]
    fn a_turn_is_over_in_silence_or_after_many_times_its_length() {
        let mut turn = Turn {
            cpu: 0,
            priority: 1,
            turn_us: 1000,
            ready: true,
            woken: false,
            since: 0,
            spent: None,
            told: false,
        };
        assert_eq!(turn.left(500), 1000);
        assert_eq!(turn.left(1400), 100);
        turn.told = true;
        assert_eq!(turn.left(1450), 1000);
        assert_eq!(turn.left(2450), 0);
        for ran in (2500..).step_by(500).take_while(|ran| *ran < 500 + 1000 * TALKING_TURNS) {
            turn.told = true;
            assert_eq!(turn.left(ran), (500 + 1000 * TALKING_TURNS - ran).min(1000));
        }
        turn.told = true;
        assert_eq!(turn.left(500 + 1000 * TALKING_TURNS), 0);
    }
}
