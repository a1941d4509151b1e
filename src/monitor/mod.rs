//! Watching a running system: consoles, faults, the end. What it knows of a PD it has from the kernel; what a PD says of itself is
//! only printed.

#![forbid(unsafe_code)]

mod console;
mod fault;
mod idle;
mod wait;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

pub use console::Mode;
pub use fault::{Access, Fault, Kind};
pub use wait::Waiting;

use crate::launch::{Launch, Resources, RunningPd, end_all};
use crate::sdf::PdIndex;
use crate::sys::descriptor::bytes_waiting;
use crate::sys::trace::{self, Event};

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// When no PD can run again.
    pub idle: bool,
    /// After this long.
    pub limit: Option<Duration>,
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
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended.
    pub ended: Ended,
    /// Every fault, in the order they happened.
    pub faults: Vec<Fault>,
    /// Calls that can never return, when it ended idle.
    pub waiting: Vec<Waiting>,
}

/// Shortest and longest pause between two looks for idleness; only a run with `--until-idle` looks at all.
const IDLE_LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A number no PD has, for the signal descriptor in epoll.
const SIGNALS: u64 = u64::MAX;

/// A PD as the monitor sees it.
struct Watched {
    pd: RunningPd,
    console: console::Console,
    watch: Option<idle::Watch>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Running or asleep.
    Alive,
    /// Stopped by a fault that nobody handles.
    Faulted,
    /// Its process has ended.
    Gone,
}

/// Told of a fault as it happens.
pub type OnFault<'a> = &'a mut dyn FnMut(&Fault);

struct Monitor<'a> {
    launch: &'a Launch,
    resources: &'a Resources,
    pds: Vec<Watched>,
    faults: Vec<Fault>,
}

/// Opens the barrier and watches until the end; then every process is gone and reaped.
pub fn run(
    launch: &Launch,
    resources: &Resources,
    running: Vec<RunningPd>,
    signals: &SignalFd,
    mode: Mode,
    until: Until,
    on_fault: OnFault,
) -> io::Result<Outcome> {
    let pds = running
        .into_iter()
        .map(|pd| Watched {
            console: console::Console::new(&launch.plan.pd(pd.index).name, mode),
            watch: None,
            state: State::Alive,
            pd,
        })
        .collect();
    let mut monitor = Monitor { launch, resources, pds, faults: Vec::new() };
    let ended = monitor.watch(signals, until, on_fault);
    end_all(monitor.pds.iter().filter(|pd| pd.state != State::Gone).map(|pd| &pd.pd.child));
    let waiting = match &ended {
        Ok(Ended::Idle) => monitor.unanswered(),
        _ => Vec::new(),
    };
    monitor.print_consoles()?;
    for pd in &mut monitor.pds {
        pd.console.flush(&mut io::stdout().lock())?;
    }
    Ok(Outcome { ended: ended?, faults: monitor.faults, waiting })
}

impl Monitor<'_> {
    fn watch(&mut self, signals: &SignalFd, until: Until, on_fault: OnFault) -> io::Result<Ended> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        for pd in &self.pds {
            let index = pd.pd.index.0;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            epoll.add(self.resources.consoles[index].read.as_fd(), event)?;
        }
        for pd in &mut self.pds {
            if until.idle {
                pd.watch = Some(idle::Watch::open(pd.pd.child.pid)?);
            }
        }
        let deadline = until.limit.map(|limit| Instant::now() + limit);
        for pd in &self.pds {
            match trace::resume(pd.pd.child.pid) {
                // Killed from outside while it waited; its end is told as one.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut look = IDLE_LOOK.0;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ended::Limit);
            }
            let pause = match (until.idle, left) {
                (true, Some(left)) => Some(look.min(left)),
                (true, None) => Some(look),
                (false, left) => left,
            };
            let mut events = [EpollEvent::empty(); 64];
            let count = match epoll.wait(&mut events, timeout(pause)) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let mut asked = false;
            for event in &events[..count] {
                match event.data() {
                    SIGNALS => asked |= self.signalled(signals)?,
                    index => self.print_console(index as usize)?,
                }
            }
            self.take_events(on_fault)?;
            if asked {
                return Ok(Ended::Asked);
            }
            if until.idle && count == 0 {
                if self.is_idle() {
                    return Ok(Ended::Idle);
                }
                look = (look * 2).min(IDLE_LOOK.1);
            } else {
                look = IDLE_LOOK.0;
            }
        }
    }

    /// True when somebody asked for the end.
    fn signalled(&self, signals: &SignalFd) -> io::Result<bool> {
        let mut asked = false;
        while let Some(signal) = signals.read_signal()? {
            asked |= signal.ssi_signo != libc::SIGCHLD as u32;
        }
        Ok(asked)
    }

    fn take_events(&mut self, on_fault: OnFault) -> io::Result<()> {
        while let Some(event) = trace::next_event()? {
            let pid = event.pid();
            let Some(place) = self.pds.iter().position(|pd| pd.pd.child.pid == pid) else { continue };
            let index = self.pds[place].pd.index;
            let fault = match event {
                Event::Signal(..) => self.fault_of_stop(index),
                Event::Stopped(_) => {
                    // A stop from outside (SIGSTOP): it is not the PD's, and SIGCONT ends it.
                    let _ = trace::listen(pid);
                    None
                }
                Event::Continued(_) => {
                    let _ = trace::resume(pid);
                    None
                }
                Event::Exited(..) => Some(fault::of_end(index, None)),
                Event::Killed(_, signal) => Some(fault::of_end(index, Some(signal))),
            };
            let Some(fault) = fault else { continue };
            self.pds[place].state = match fault.kind {
                Kind::Ended { .. } => State::Gone,
                _ => State::Faulted,
            };
            // What the PD said before the fault comes first.
            self.print_console(index.0)?;
            self.pds[place].console.flush(&mut io::stdout().lock())?;
            on_fault(&fault);
            self.faults.push(fault);
        }
        Ok(())
    }

    /// `None` for a signal that the PD did not cause: it is swallowed.
    fn fault_of_stop(&self, index: PdIndex) -> Option<Fault> {
        let pd = &self.pds[index.0].pd;
        let pid = pd.child.pid;
        let (Ok(info), Ok(registers)) = (trace::signal_info(pid), trace::registers(pid)) else {
            // It was killed while it stopped; its end is the next event.
            return None;
        };
        if info.signal == libc::SIGSTOP {
            // Whoever may send it to a PD may stop it.
            let _ = trace::pass_stop(pid);
            return None;
        }
        let is_fault = matches!(
            info.signal,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS
        );
        if !is_fault || info.code <= 0 {
            let _ = trace::resume(pid);
            return None;
        }
        let image = &self.launch.images[index.0];
        let plan = &self.launch.plan;
        Some(fault::of_stop(
            plan,
            plan.pd(index),
            (&image.image, &image.name),
            pd.layout,
            pid,
            info,
            &registers,
        ))
    }

    fn is_idle(&self) -> bool {
        let alive = self.pds.iter().filter(|pd| pd.state == State::Alive);
        let watches: Option<Vec<&idle::Watch>> = alive.clone().map(|pd| pd.watch.as_ref()).collect();
        let Some(watches) = watches else { return false };
        idle::nothing_can_run(&watches, || {
            alive.clone().all(|pd| {
                let bell = &self.resources.doorbells[pd.pd.index.0].read;
                bytes_waiting(bell.as_fd()).is_ok_and(|count| count == 0)
            })
        })
    }

    fn unanswered(&self) -> Vec<Waiting> {
        wait::unanswered(&self.launch.plan, |pd| &self.resources.channels[pd.0].read_write)
    }

    fn print_console(&mut self, index: usize) -> io::Result<()> {
        let pipe = File::from(self.resources.consoles[index].read.try_clone()?);
        let mut out = io::stdout().lock();
        self.pds[index].console.drain(pipe, &mut out)?;
        out.flush()
    }

    fn print_consoles(&mut self) -> io::Result<()> {
        (0..self.pds.len()).try_for_each(|index| self.print_console(index))
    }
}

fn timeout(pause: Option<Duration>) -> EpollTimeout {
    match pause {
        None => EpollTimeout::NONE,
        // Rounded up, so that a wait never ends just before what it waits for.
        Some(pause) => {
            EpollTimeout::try_from(pause + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
        }
    }
}
