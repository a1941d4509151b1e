//! Watching a running system: consoles, faults, who may run, the end. What it knows of a PD it has from the kernel; what a PD says of
//! itself is only printed.

#![forbid(unsafe_code)]

mod ask;
mod budget;
mod console;
mod decode;
mod domains;
mod events;
mod explain;
mod fault;
mod idle;
mod inbox;
pub mod message;
mod output;
mod pd;
mod printing;
mod record;
mod schedule;
mod timer;
mod wait;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

pub use console::{Console, Mode};
pub use explain::DeniedCall;
pub use fault::{Access, Fault, Kind, of_stop};
pub use record::{Heard, PdEnd, Recorded, State};
pub use wait::Waiting;

use pd::{Process, Watched};

use crate::launch::{Launch, Resources, RunningPd, end_all};
use crate::sdf::PdIndex;
use crate::sys::descriptor::{bytes_waiting, has_room};
use crate::sys::procfs;

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// When no PD can run again.
    pub idle: bool,
    /// After this long.
    pub limit: Option<Duration>,
}

/// What becomes of a PD without a parent that faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It stays stopped, the others go on, as under Microkit's monitor.
    Continue,
    /// The system ends.
    Stop,
    /// It is started again as a fresh process with clean memory, after pauses that grow.
    Restart,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SIGINT or SIGTERM.
    Asked,
    /// No PD could run again.
    Idle,
    /// The time limit.
    Limit,
    /// A fault, with [`Policy::Stop`].
    Fault,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended.
    pub ended: Ended,
    /// Every fault that nobody handled, in the order they happened.
    pub faults: Vec<Fault>,
    /// Calls nobody had answered at the end, when that was idleness or the time limit.
    pub waiting: Vec<Waiting>,
    /// The first faults of each PD, handled ones included, in the order they happened.
    pub recorded: Vec<Recorded>,
    /// How each PD was.
    pub pds: Vec<PdEnd>,
    /// How long the barrier was open.
    pub ran: Duration,
}

/// How a fault that no parent handles is told as it happens, with what becomes of the PD.
pub type OnFault<'a> = &'a dyn Fn(&Fault, Policy);

/// Shortest and longest pause between two looks for idleness; only a run with `--until-idle` looks at all.
const IDLE_LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Pauses before a PD is started again: the first, and the longest that doubling reaches.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

/// Events taken at one go.
const EVENTS_A_TURN: usize = 64;

/// A number no PD has, for the signal descriptor in epoll.
const SIGNALS: u64 = u64::MAX;

/// Another, for standard output while its reader stalls.
const STDOUT: u64 = u64::MAX - 1;

/// And for the timer.
const TIMER: u64 = u64::MAX - 2;

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How consoles are printed.
    pub console: Mode,
    /// When to end.
    pub until: Until,
    /// What to do about faults.
    pub policy: Policy,
}

/// The monitor of one run.
struct Monitor<'a> {
    launch: &'a Launch,
    resources: &'a Resources,
    signals: &'a SignalFd,
    options: Options,
    pds: Vec<Watched>,
    faults: Vec<Fault>,
    restarts: Vec<(Instant, PdIndex)>,
    budgets: budget::Budgets,
    domains: Option<domains::Domains>,
    scheduler: schedule::Scheduler,
    record: record::Record,
    output: output::Output,
    epoll: Epoll,
    /// The reader of standard output has stalled, and the consoles are not listened to until it reads on.
    stalled: bool,
    ended: Option<Ended>,
}

/// Opens the barrier and watches until the end; then every process is gone and reaped.
pub fn run(
    launch: &Launch,
    resources: &Resources,
    running: Vec<RunningPd>,
    signals: &SignalFd,
    options: Options,
    on_fault: OnFault,
) -> io::Result<Outcome> {
    let console = |pd: &RunningPd| console::Console::new(&launch.plan.pd(pd.index).name, options.console);
    let mut monitor = Monitor {
        launch,
        resources,
        signals,
        options,
        pds: running
            .into_iter()
            .map(|pd| {
                let console = console(&pd);
                Watched::new(pd, console)
            })
            .collect(),
        faults: Vec::new(),
        restarts: Vec::new(),
        budgets: budget::Budgets::new(&launch.plan),
        domains: domains::Domains::new(&launch.plan),
        scheduler: schedule::Scheduler::new(&launch.plan),
        record: record::Record::new(launch.plan.pds.len()),
        output: output::Output::default(),
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        stalled: false,
        ended: None,
    };
    let ended = monitor.watch(on_fault);
    let (pds, ran) = (monitor.ends(), monitor.record.elapsed());
    end_all(monitor.pds.iter().filter(|pd| pd.process != Process::Gone).map(|pd| &pd.pd.child));
    let waiting = match &ended {
        Ok(Ended::Idle | Ended::Limit) => monitor.unanswered(),
        _ => Vec::new(),
    };
    monitor.print_consoles()?;
    monitor.tell_untaken(on_fault);
    let recorded = monitor.record.faults;
    Ok(Outcome { ended: ended?, faults: monitor.faults, waiting, recorded, pds, ran })
}

impl Monitor<'_> {
    fn watch(&mut self, on_fault: OnFault) -> io::Result<Ended> {
        let until = self.options.until;
        self.epoll.add(self.signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        let mut timer = timer::Timer::new()?;
        self.epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        for (index, console) in self.resources.consoles.iter().enumerate() {
            self.epoll.add(console.read.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        for index in self.indices() {
            self.open_watch(index)?;
        }
        self.open_accounts();
        let deadline = until.limit.map(|limit| Instant::now() + limit);
        self.hold_for_domain();
        self.reschedule(on_fault)?;
        for index in self.indices() {
            self.settle(index, on_fault)?;
        }
        let mut look = IDLE_LOOK.0;
        let mut more = false;
        loop {
            if let Some(ended) = self.ended {
                return Ok(ended);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(Ended::Limit);
            }
            let pause = [
                more.then_some(Duration::ZERO),
                deadline.map(|deadline| deadline - now),
                until.idle.then_some(look),
            ];
            timer.set(self.timers(now))?;
            let mut events = [EpollEvent::empty(); 64];
            let count = match self.epoll.wait(&mut events, timeout(pause.into_iter().flatten().min())) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let (mut asked, mut is_quiet) = (false, true);
            for event in &events[..count] {
                is_quiet &= event.data() == TIMER;
                match event.data() {
                    TIMER => {}
                    SIGNALS => asked |= self.asked_to_end()?,
                    STDOUT => self.push_output()?,
                    index => self.print_console(index as usize)?,
                }
            }
            // Timers first: a start on the way takes in the signals that tell of other PDs' events.
            self.run_timers(on_fault)?;
            more = self.take_events(on_fault)?;
            if asked {
                return Ok(Ended::Asked);
            }
            if until.idle && is_quiet && !more {
                if self.is_idle() {
                    return Ok(Ended::Idle);
                }
                look = (look * 2).min(IDLE_LOOK.1);
            } else {
                look = IDLE_LOOK.0;
            }
        }
    }

    fn indices(&self) -> impl Iterator<Item = PdIndex> + use<> {
        (0..self.pds.len()).map(PdIndex)
    }

    fn open_watch(&mut self, index: PdIndex) -> io::Result<()> {
        if self.options.until.idle {
            self.pds[index.0].watch = Some(idle::Watch::open(self.pid(index))?);
        }
        Ok(())
    }

    /// Time until something is to be done without an event.
    fn timers(&self, now: Instant) -> Option<Duration> {
        let restart = self.restarts.iter().map(|(when, _)| *when).min();
        let next = [restart, self.budgets.next(), self.next_domain(), self.scheduler.next()];
        next.into_iter().flatten().min().map(|when| when.saturating_duration_since(now))
    }

    fn run_timers(&mut self, on_fault: OnFault) -> io::Result<()> {
        let now = Instant::now();
        while let Some(due) = self.restarts.iter().position(|(when, _)| *when <= now) {
            let (_, index) = self.restarts.swap_remove(due);
            self.start_again(index)?;
            self.reschedule(on_fault)?;
            self.settle(index, on_fault)?;
        }
        self.enforce_budgets(now, on_fault)?;
        self.switch_domain(now, on_fault)?;
        self.rotate(now, on_fault)
    }

    /// True when somebody asked for the end.
    fn asked_to_end(&self) -> io::Result<bool> {
        let mut asked = false;
        while let Some(signal) = self.signals.read_signal()? {
            asked |= signal.ssi_signo != libc::SIGCHLD as u32;
        }
        Ok(asked)
    }

    fn is_idle(&self) -> bool {
        // Who has been killed while stopped has an end that is still to be told.
        let held = |pd: &Watched| pd.holds.lasting() || self.schedules();
        let mut stopped = self.pds.iter().filter(|pd| pd.process != Process::Gone && held(pd));
        if !self.restarts.is_empty() || !stopped.all(|pd| procfs::is_stopped(pd.pd.child.pid)) {
            return false;
        }
        if self.schedules() {
            return self.nobody_ready();
        }
        let can_run = self
            .pds
            .iter()
            .filter(|pd| pd.process != Process::Gone && !pd.holds.lasting())
            .collect::<Vec<_>>();
        // Stopped for its budget or domain: asleep if the stop came while it slept.
        let (stopped, running): (Vec<&Watched>, Vec<&Watched>) =
            can_run.iter().copied().partition(|pd| pd.process == Process::Stopped);
        if !stopped.iter().all(|pd| idle::was_asleep(pd.pd.child.pid)) {
            return false;
        }
        let watches: Option<Vec<&idle::Watch>> = running.iter().map(|pd| pd.watch.as_ref()).collect();
        let Some(watches) = watches else { return false };
        idle::nothing_can_run(&watches, || {
            can_run.iter().all(|pd| {
                let index = pd.pd.index.0;
                let (bell, console) =
                    (&self.resources.doorbells[index].read, &self.resources.consoles[index].write);
                bytes_waiting(bell.as_fd()).is_ok_and(|count| count == 0) && has_room(console.as_fd())
            })
        })
    }

    /// The channel memory of a PD.
    fn channels_of(&self, pd: PdIndex) -> &std::fs::File {
        &self.resources.channels[pd.0].read_write
    }

    fn unanswered(&self) -> Vec<Waiting> {
        wait::unanswered(&self.launch.plan, |pd| self.channels_of(pd))
    }
}

fn timeout(pause: Option<Duration>) -> EpollTimeout {
    match pause {
        None => EpollTimeout::NONE,
        Some(Duration::ZERO) => EpollTimeout::ZERO,
        // Rounded up, so that a wait never ends just before what it waits for.
        Some(pause) => {
            EpollTimeout::try_from(pause + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
        }
    }
}
