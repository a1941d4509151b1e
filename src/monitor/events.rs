//! What the kernel tells of PDs' processes, and what follows: faults to their parents or nobody, fresh starts, and the one place where a
//! process is stopped or let go.

#![forbid(unsafe_code)]

use std::io;
use std::time::Instant;

use super::ask::{Ask, gone_is_fine};
use super::fault::{self, Fault, Kind};
use super::message;
use super::pd::{Pending, Process};
use super::record::Heard;
use super::{EVENTS_A_TURN, Ended, Monitor, OnFault, Policy, RESTART_PAUSE, wait};
use crate::launch::{self, LaunchError, end_all};
use crate::sdf::PdIndex;
use crate::sys::floor::cycles;
use crate::sys::trace::{self, Event, Registers};

impl Monitor<'_> {
    /// True when there may be more: PDs that ask without end must not keep the launcher from signals, timers and consoles.
    pub(super) fn take_events(&mut self, on_fault: OnFault) -> io::Result<bool> {
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

    pub(super) fn take(&mut self, event: Event, on_fault: OnFault) -> io::Result<()> {
        let pid = event.pid();
        let Some(index) = self.indices().find(|index| self.pid(*index) == pid) else {
            // Whoever starts PDs again is traced, too, and is never to stop.
            return Ok(trace::resume(pid).or_else(gone_is_fine)?);
        };
        match event {
            Event::Signal(..) => self.stopped_for_signal(index, on_fault),
            Event::Interrupted(_) => {
                self.interrupted(index, on_fault)?;
                self.settle(index, on_fault)
            }
            // A stop from outside (SIGSTOP): it is not the PD's, and SIGCONT ends it.
            Event::GroupStopped(pid) => Ok(trace::listen(pid).or_else(gone_is_fine)?),
            Event::Exited(..) => self.ended(index, None, on_fault),
            Event::Killed(_, signal) => self.ended(index, Some(signal), on_fault),
        }
    }

    pub(super) fn stopped_for_signal(&mut self, index: PdIndex, on_fault: OnFault) -> io::Result<()> {
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
        if !trace::FAULTS.contains(&info.signal) || info.code <= 0 {
            // Sent by somebody, not caused by the PD: it is swallowed.
            return self.settle(index, on_fault);
        }
        if let Some((number, _)) = info.syscall
            && let Some(ask) = Ask::of(number.into(), &registers)
            && self.answer(index, ask, on_fault)?
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

    pub(super) fn ended(&mut self, index: PdIndex, signal: Option<i32>, on_fault: OnFault) -> io::Result<()> {
        self.pds[index.0].process = Process::Gone;
        // A PD that had faulted already has been told of.
        if self.pds[index.0].holds.fault {
            self.tell_unhandled(on_fault);
            return Ok(());
        }
        self.raise(fault::of_end(index, signal), None, on_fault)
    }

    /// Gives a fault to the parent, or deals with it where there is none.
    pub(super) fn raise(
        &mut self,
        fault: Fault,
        registers: Option<Registers>,
        on_fault: OnFault,
    ) -> io::Result<()> {
        let index = fault.pd;
        // What the PD said before the fault comes first.
        self.print_console(index.0)?;
        self.end_line(index.0)?;
        self.leave_cpu(index);
        let parent = self.launch.plan.pd(index).parent;
        let heard = if parent.is_some() { Heard::Parent } else { Heard::User(self.options.policy) };
        self.record.fault(&fault, registers, heard);
        match parent {
            Some((parent, _)) => {
                tracing::debug!(pd = %self.launch.plan.pd(index).name, %fault, "fault, for the parent");
                let pending = Pending { fault, registers, since: cycles(), taken: false, told: false };
                self.post(index, parent, pending)?;
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
        self.tell_unhandled(on_fault);
        self.reschedule(on_fault)
    }

    /// Wakes a PD as a peer would. A full doorbell has a wake in it already.
    pub(super) fn ring(&self, pd: PdIndex) {
        let _ = nix::unistd::write(&self.resources.doorbells[pd.0].write, &[0]);
    }

    pub(super) fn plan_restart(&mut self, index: PdIndex) {
        let pd = &mut self.pds[index.0];
        let pause = (RESTART_PAUSE.0 * 2u32.saturating_pow(pd.restarts)).min(RESTART_PAUSE.1);
        pd.restarts += 1;
        self.restarts.push((Instant::now() + pause, index));
    }

    /// A fresh process in the place of the old one, with clean memory; regions and channels are as they were.
    pub(super) fn start_again(&mut self, index: PdIndex) -> io::Result<()> {
        let old = &self.pds[index.0];
        if old.process != Process::Gone {
            end_all(std::iter::once(&old.pd.child));
            self.pds[index.0].process = Process::Gone;
        }
        self.withdraw_calls(index)?;
        let started = launch::start_again(self.launch, self.resources, self.signals, index);
        let pd = match started {
            Ok(Some(pd)) => pd,
            Ok(None) => return Err(io::Error::other("a PD that was started again is not there")),
            Err(LaunchError::Interrupted) => {
                self.ended = Some(Ended::Asked);
                return Ok(());
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        self.record.fresh_start(index);
        let watched = &mut self.pds[index.0];
        watched.pd = pd;
        watched.process = Process::Stopped;
        watched.holds.fault = false;
        watched.pending = None;
        watched.consumed_us = 0;
        self.open_account(index);
        self.scheduler.begin_again(index);
        self.wake(index);
        self.open_watch(index)
    }

    /// What a PD that starts again was calling for is not served any more, if nobody has begun to.
    pub(super) fn withdraw_calls(&mut self, index: PdIndex) -> io::Result<()> {
        wait::withdraw(self.launch.plan.pd(index), |pd| self.channels_of(pd))
    }

    /// A PD has stopped because it was told to. What it did just before, a fault or a launcher call, comes first: later it would stop for
    /// that with registers that somebody may have set meanwhile.
    fn interrupted(&mut self, index: PdIndex, on_fault: OnFault) -> io::Result<()> {
        let pid = self.pid(index);
        if trace::has_fault_to_come(pid) {
            trace::resume(pid).or_else(gone_is_fine)?;
            return match trace::wait_for(pid)? {
                Some(event) => self.take(event, on_fault),
                None => Ok(()),
            };
        }
        self.pds[index.0].process = Process::Stopped;
        if self.schedules() {
            self.print_console(index.0)?;
        }
        Ok(())
    }

    /// Brings the process in line with its holds: lets it run when none holds, stops it when one does.
    pub(super) fn settle(&mut self, index: PdIndex, on_fault: OnFault) -> io::Result<()> {
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
                        Some(Event::Interrupted(_) | Event::GroupStopped(_)) => {
                            self.interrupted(index, on_fault)?;
                        }
                        // It faulted or ended at this very moment; the interrupt still comes when it runs again.
                        Some(event) => self.take(event, on_fault)?,
                        None => return Ok(()),
                    }
                }
                _ => return Ok(()),
            }
        }
    }
}
