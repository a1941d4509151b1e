//! Watching a running system: consoles, faults, who may run, the end. What it knows of a PD it has from the kernel; what a PD says of
//! itself is only printed.

#![forbid(unsafe_code)]

mod ask;
mod budget;
mod console;
mod decode;
mod domains;
mod fault;
mod idle;
mod message;
mod output;
mod pd;
mod schedule;
mod wait;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

pub use console::Mode;
pub use fault::{Access, Fault, Kind};
pub use wait::Waiting;

use ask::{Ask, gone_is_fine};
use pd::{Pending, Process, Watched};

use crate::launch::{self, Launch, LaunchError, Resources, RunningPd, Schedule, end_all};
use crate::pd::Seam;
use crate::sdf::PdIndex;
use crate::sys::descriptor::bytes_waiting;
use crate::sys::trace::{self, Event, Registers};

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
struct Monitor<'a, S> {
    launch: &'a Launch,
    resources: &'a Resources,
    signals: &'a SignalFd,
    seam: &'a S,
    options: Options,
    pds: Vec<Watched>,
    faults: Vec<Fault>,
    restarts: Vec<(Instant, PdIndex)>,
    budgets: budget::Budgets,
    domains: Option<domains::Domains>,
    scheduler: schedule::Scheduler,
    output: output::Output,
    epoll: Epoll,
    /// The reader of standard output has stalled, and the consoles are not listened to until it reads on.
    stalled: bool,
    ended: Option<Ended>,
}

/// Opens the barrier and watches until the end; then every process is gone and reaped.
pub fn run<S: Seam>(
    launch: &Launch,
    resources: &Resources,
    running: Vec<RunningPd>,
    signals: &SignalFd,
    seam: &S,
    options: Options,
    on_fault: OnFault,
) -> io::Result<Outcome> {
    let console = |pd: &RunningPd| console::Console::new(&launch.plan.pd(pd.index).name, options.console);
    let mut monitor = Monitor {
        launch,
        resources,
        signals,
        seam,
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
        output: output::Output::default(),
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        stalled: false,
        ended: None,
    };
    let ended = monitor.watch(on_fault);
    end_all(monitor.pds.iter().filter(|pd| pd.process != Process::Gone).map(|pd| &pd.pd.child));
    let waiting = match &ended {
        Ok(Ended::Idle | Ended::Limit) => monitor.unanswered(),
        _ => Vec::new(),
    };
    monitor.print_consoles()?;
    monitor.tell_untaken(on_fault);
    Ok(Outcome { ended: ended?, faults: monitor.faults, waiting })
}

impl<S: Seam> Monitor<'_, S> {
    fn watch(&mut self, on_fault: OnFault) -> io::Result<Ended> {
        let until = self.options.until;
        self.epoll.add(self.signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        for (index, console) in self.resources.consoles.iter().enumerate() {
            self.epoll.add(console.read.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        for index in self.indices() {
            self.open_watch(index)?;
        }
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
                self.timers(now),
            ];
            let mut events = [EpollEvent::empty(); 64];
            let count = match self.epoll.wait(&mut events, timeout(pause.into_iter().flatten().min())) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let mut asked = false;
            for event in &events[..count] {
                match event.data() {
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
            if until.idle && count == 0 && !more {
                if self.is_idle() {
                    return Ok(Ended::Idle);
                }
                look = (look * 2).min(IDLE_LOOK.1);
            } else {
                look = IDLE_LOOK.0;
            }
        }
    }

    fn indices(&self) -> impl Iterator<Item = PdIndex> + use<S> {
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

    /// True when there may be more: PDs that ask without end must not keep the launcher from signals, timers and consoles.
    fn take_events(&mut self, on_fault: OnFault) -> io::Result<bool> {
        for _ in 0..EVENTS_A_TURN {
            match trace::next_event()? {
                Some(event) => self.take(event, on_fault)?,
                None => return Ok(false),
            }
        }
        // The kernel always names the first child that has an event; behind those that always have one, the others wait.
        for index in self.indices() {
            if let Some(event) = trace::next_event_of(self.pid(index))? {
                self.take(event, on_fault)?;
            }
        }
        Ok(true)
    }

    fn take(&mut self, event: Event, on_fault: OnFault) -> io::Result<()> {
        let pid = event.pid();
        let Some(index) = self.indices().find(|index| self.pid(*index) == pid) else { return Ok(()) };
        match event {
            Event::Signal(..) => self.stopped_for_signal(index, on_fault),
            Event::Interrupted(_) => {
                self.pds[index.0].process = Process::Stopped;
                self.settle(index, on_fault)
            }
            // A stop from outside (SIGSTOP): it is not the PD's, and SIGCONT ends it.
            Event::GroupStopped(pid) => Ok(trace::listen(pid).or_else(gone_is_fine)?),
            Event::Exited(..) => self.ended(index, None, on_fault),
            Event::Killed(_, signal) => self.ended(index, Some(signal), on_fault),
        }
    }

    fn stopped_for_signal(&mut self, index: PdIndex, on_fault: OnFault) -> io::Result<()> {
        self.pds[index.0].process = Process::Stopped;
        let pid = self.pid(index);
        let (Ok(info), Ok(mut registers)) = (trace::signal_info(pid), trace::registers(pid)) else {
            // It was killed while it stopped; its end is the next event.
            return Ok(());
        };
        if info.signal == libc::SIGSTOP && self.pds[index.0].should_run() {
            // Whoever may send it to a PD may stop it.
            trace::pass_stop(pid).or_else(gone_is_fine)?;
            self.pds[index.0].process = Process::Running;
            return Ok(());
        }
        let is_fault = matches!(
            info.signal,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS
        );
        if !is_fault || info.code <= 0 {
            // Sent by somebody, not caused by the PD: it is swallowed.
            return self.settle(index, on_fault);
        }
        if let Some((number, _)) = info.syscall
            && let Some(ask) = Ask::of(number.into(), &registers)
            && self.answer(index, ask, registers, on_fault)?
        {
            return Ok(());
        }
        let image = &self.launch.images[index.0];
        let plan = &self.launch.plan;
        let layout = self.pds[index.0].pd.layout;
        let fault =
            fault::of_stop(plan, plan.pd(index), (&image.image, &image.name), layout, pid, info, &registers);
        if matches!(fault.kind, Kind::Syscall { .. }) {
            message::step_back(&mut registers);
            trace::set_registers(pid, registers).or_else(gone_is_fine)?;
        }
        self.pds[index.0].holds.fault = true;
        self.raise(fault, Some(registers), on_fault)
    }

    fn ended(&mut self, index: PdIndex, signal: Option<i32>, on_fault: OnFault) -> io::Result<()> {
        self.pds[index.0].process = Process::Gone;
        // A PD that had faulted already has been told of.
        if self.pds[index.0].holds.fault {
            return Ok(());
        }
        self.raise(fault::of_end(index, signal), None, on_fault)
    }

    /// Gives a fault to the parent, or deals with it where there is none.
    fn raise(&mut self, fault: Fault, registers: Option<Registers>, on_fault: OnFault) -> io::Result<()> {
        let index = fault.pd;
        // What the PD said before the fault comes first.
        self.print_console(index.0)?;
        self.end_line(index.0)?;
        self.leave_cpu(index);
        match self.launch.plan.pd(index).parent {
            Some((parent, _)) => {
                tracing::debug!(pd = %self.launch.plan.pd(index).name, %fault, "fault, for the parent");
                self.pds[index.0].pending = Some(Pending { fault, registers, taken: false });
                let parent_pd = &mut self.pds[parent.0];
                parent_pd.inbox.push_back(index);
                parent_pd.raised += 1;
                let raised = parent_pd.raised;
                if let Some(page) = &self.resources.supervisors[parent.0] {
                    page.read_write.write_all_at(&raised.to_le_bytes(), 0)?;
                }
                self.ring(parent);
                self.wake(parent);
            }
            None => {
                let policy = self.options.policy;
                on_fault(&fault, policy);
                match policy {
                    Policy::Continue => self.faults.push(fault),
                    Policy::Stop => {
                        self.faults.push(fault);
                        self.ended = Some(Ended::Fault);
                    }
                    Policy::Restart => self.plan_restart(index),
                }
            }
        }
        self.reschedule(on_fault)
    }

    /// Wakes a PD as a peer would. A full doorbell has a wake in it already.
    fn ring(&self, pd: PdIndex) {
        let _ = nix::unistd::write(&self.resources.doorbells[pd.0].write, &[0]);
    }

    fn plan_restart(&mut self, index: PdIndex) {
        let pd = &mut self.pds[index.0];
        let pause = (RESTART_PAUSE.0 * 2u32.saturating_pow(pd.restarts)).min(RESTART_PAUSE.1);
        pd.restarts += 1;
        self.restarts.push((Instant::now() + pause, index));
    }

    /// A fresh process in the place of the old one, with clean memory; regions and channels are as they were.
    fn start_again(&mut self, index: PdIndex) -> io::Result<()> {
        let old = &self.pds[index.0];
        if old.process != Process::Gone {
            end_all(std::iter::once(&old.pd.child));
            self.pds[index.0].process = Process::Gone;
        }
        let started = launch::start_again(self.launch, self.resources, self.signals, self.seam, index);
        let pd = match started {
            Ok(Some(pd)) => pd,
            Ok(None) => return Err(io::Error::other("a PD that was started again is not there")),
            Err(LaunchError::Interrupted) => {
                self.ended = Some(Ended::Asked);
                return Ok(());
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        let watched = &mut self.pds[index.0];
        watched.pd = pd;
        watched.process = Process::Stopped;
        watched.holds.fault = false;
        watched.pending = None;
        watched.consumed_us = 0;
        self.budgets.begin_again(index);
        self.wake(index);
        self.open_watch(index)
    }

    /// Brings the process in line with its holds: lets it run when none holds, stops it when one does.
    fn settle(&mut self, index: PdIndex, on_fault: OnFault) -> io::Result<()> {
        loop {
            let pd = &mut self.pds[index.0];
            let pid = pd.pd.child.pid;
            match (pd.process, pd.should_run()) {
                (Process::Stopped, true) => {
                    trace::resume(pid).or_else(gone_is_fine)?;
                    pd.process = Process::Running;
                    return Ok(());
                }
                (Process::Running, false) => {
                    trace::interrupt(pid).or_else(gone_is_fine)?;
                    match trace::wait_for(pid)? {
                        Some(Event::Interrupted(_) | Event::GroupStopped(_)) => pd.process = Process::Stopped,
                        // It faulted or ended at this very moment; the interrupt still comes when it runs again.
                        Some(event) => self.take(event, on_fault)?,
                        None => return Ok(()),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn is_idle(&self) -> bool {
        if self.launch.schedule == Schedule::Microkit {
            return self.restarts.is_empty() && self.nobody_ready();
        }
        if !self.restarts.is_empty() {
            return false;
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
                let bell = &self.resources.doorbells[pd.pd.index.0].read;
                bytes_waiting(bell.as_fd()).is_ok_and(|count| count == 0)
            })
        })
    }

    fn unanswered(&self) -> Vec<Waiting> {
        wait::unanswered(&self.launch.plan, |pd| &self.resources.channels[pd.0].read_write)
    }

    /// Faults that wait in an inbox at the end: their parents never took them, so nobody handled them.
    fn tell_untaken(&mut self, on_fault: OnFault) {
        for pd in &mut self.pds {
            if let Some(pending) = pd.pending.take_if(|pending| !pending.taken) {
                on_fault(&pending.fault, Policy::Continue);
                self.faults.push(pending.fault);
            }
        }
    }

    fn print_console(&mut self, index: usize) -> io::Result<()> {
        if self.output.full() {
            return Ok(());
        }
        let pipe = File::from(self.resources.consoles[index].read.try_clone()?);
        self.pds[index].console.drain(pipe, &mut self.output)?;
        self.push_output()
    }

    fn end_line(&mut self, index: usize) -> io::Result<()> {
        self.pds[index].console.flush(&mut self.output)?;
        self.push_output()
    }

    fn push_output(&mut self) -> io::Result<()> {
        let pushed = self.output.push();
        self.printed(pushed)?;
        if self.output.stalled() != self.stalled {
            self.stalled = self.output.stalled();
            self.listen_to_consoles(!self.stalled)?;
        }
        Ok(())
    }

    /// While the reader stalls, PDs that print wait for it in their pipes; it is heard when it reads on.
    fn listen_to_consoles(&self, listen: bool) -> io::Result<()> {
        let flags = if listen { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        for (index, console) in self.resources.consoles.iter().enumerate() {
            self.epoll.modify(console.read.as_fd(), &mut EpollEvent::new(flags, index as u64))?;
        }
        let stdout = io::stdout();
        if listen {
            self.epoll.delete(stdout.as_fd())?;
        } else {
            self.epoll.add(stdout.as_fd(), EpollEvent::new(EpollFlags::EPOLLOUT, STDOUT))?;
        }
        Ok(())
    }

    /// Whoever reads the consoles and has seen enough (`| head`) asks for the end.
    fn printed(&mut self, printed: io::Result<()>) -> io::Result<()> {
        match printed {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.ended.get_or_insert(Ended::Asked);
                Ok(())
            }
            Err(error) => Err(io::Error::other(format!("cannot write to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// All that is left at the end.
    fn print_consoles(&mut self) -> io::Result<()> {
        for index in 0..self.pds.len() {
            let pipe = File::from(self.resources.consoles[index].read.try_clone()?);
            let console = &mut self.pds[index].console;
            console.drain(pipe, &mut self.output)?;
            console.flush(&mut self.output)?;
        }
        let finished = self.output.finish().map(|lost| {
            if lost > 0 {
                tracing::warn!("nobody reads standard output: {lost} bytes of the PDs' consoles are lost");
            }
        });
        self.printed(finished)
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
