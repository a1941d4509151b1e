//! Faults of children on their way to the parent: the inbox of each parent, what its supervisor page says of it, and the faults that
//! nobody is left to handle.

#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use super::pd::{Pending, Process};
use super::{Ended, Monitor, OnFault, Policy, message};
use crate::plan::CapObject;
use crate::sdf::PdIndex;
use crate::sys::{abi, remote};

impl Monitor<'_> {
    /// Puts a child's fault into its parent's inbox, behind those of children with higher priority and those that came before from equals, as
    /// seL4 queues on an endpoint; and lets the parent know.
    pub(super) fn post(&mut self, child: PdIndex, parent: PdIndex, pending: Pending) -> io::Result<()> {
        self.pds[child.0].pending = Some(pending);
        let priority = |pd: PdIndex| self.launch.plan.pd(pd).priority;
        let inbox = &self.pds[parent.0].inbox;
        let place = inbox.iter().position(|waiting| priority(*waiting) < priority(child));
        let place = place.unwrap_or(inbox.len());
        self.pds[parent.0].inbox.insert(place, child);
        self.pds[parent.0].raised += 1;
        self.show_inbox(parent)?;
        self.ring(parent);
        self.wake(parent);
        Ok(())
    }

    /// Writes the supervisor page: first what it says of the fault to be taken, then the count that makes the parent look.
    fn show_inbox(&self, parent: PdIndex) -> io::Result<()> {
        let Some(page) = &self.resources.supervisors[parent.0] else { return Ok(()) };
        let first = self.pds[parent.0].inbox.front().copied();
        let since = first.and_then(|child| self.pds[child.0].pending.as_ref()).map_or(0, |first| first.since);
        // Where there is none, a parent that looks finds that out at once.
        let priority = first.map_or(u64::from(u8::MAX), |child| self.launch.plan.pd(child).priority.into());
        page.read_write.write_all_at(&priority.to_le_bytes(), abi::MK_SUPERVISOR_OFF_PRIORITY)?;
        page.read_write.write_all_at(&since.to_le_bytes(), abi::MK_SUPERVISOR_OFF_SINCE)?;
        page.read_write.write_all_at(&self.pds[parent.0].raised.to_le_bytes(), 0)
    }

    /// MK_OP_FAULT_TAKE
    pub(super) fn take_fault(&mut self, parent: PdIndex, address: u64) -> Result<u64, Errno> {
        let Some(child) = self.pds[parent.0].inbox.front().copied() else { return Ok(0) };
        let id = self.launch.plan.pd(child).parent.map_or(0, |(_, id)| id);
        let Some(pending) = &self.pds[child.0].pending else { return Ok(0) };
        let message = match &pending.registers {
            Some(registers) => message::of_fault(&pending.fault, registers),
            None => message::of_end(),
        };
        let info = message.label << 12 | message.words.len() as u64;
        let mut words = vec![u64::from(id), info];
        words.extend(&message.words);
        words.resize(2 + abi::MK_FAULT_MRS as usize, 0);
        remote::write(self.pid(parent), address, &words)?;
        // Taken only now: what could not be handed over stays to be taken.
        self.pds[parent.0].inbox.pop_front();
        if let Some(pending) = &mut self.pds[child.0].pending {
            pending.taken = true;
        }
        self.show_inbox(parent).map_err(|_| Errno::EIO)?;
        Ok(1)
    }

    /// A fault that was settled before its parent took it.
    pub(super) fn forget_in_inbox(&mut self, child: PdIndex) {
        if let Some((parent, _)) = self.launch.plan.pd(child).parent {
            self.pds[parent.0].inbox.retain(|waiting| *waiting != child);
            // A parent that still reads of it asks for a fault and is told that there is none.
            let _ = self.show_inbox(parent);
        }
    }

    /// Tells of faults that nobody will handle, because whoever could is stopped or gone for good.
    pub(super) fn tell_unhandled(&mut self, on_fault: OnFault) {
        for index in self.indices() {
            let Some((parent, _)) = self.launch.plan.pd(index).parent else { continue };
            if self.pds[index.0].pending.as_ref().is_some_and(Pending::is_untold)
                && !self.may_act(parent, &mut vec![index])
            {
                self.tell(index, on_fault);
                if self.options.policy == Policy::Stop {
                    self.ended.get_or_insert(Ended::Fault);
                }
            }
        }
    }

    /// Faults that wait in an inbox at the end: their parents never took them, so nobody handled them.
    pub(super) fn tell_untaken(&mut self, on_fault: OnFault) {
        for index in self.indices() {
            if self.pds[index.0].pending.as_ref().is_some_and(Pending::is_untold) {
                self.tell(index, on_fault);
            }
        }
    }

    fn tell(&mut self, index: PdIndex, on_fault: OnFault) {
        if let Some(pending) = &mut self.pds[index.0].pending {
            pending.told = true;
            self.record.untaken(index);
            on_fault(&pending.fault, Policy::Continue);
            self.faults.push(pending.fault.clone());
        }
    }

    /// Whether a PD can still do something, now or after another PD has let it go, restarted it or been started again itself. `asked`: who
    /// has been asked about already, and can do so by itself no more.
    fn may_act(&self, pd: PdIndex, asked: &mut Vec<PdIndex>) -> bool {
        if asked.contains(&pd) {
            return false;
        }
        asked.push(pd);
        let watched = &self.pds[pd.0];
        let is_gone = watched.process == Process::Gone;
        if !is_gone && !watched.holds.lasting() || self.restarts.iter().any(|(_, planned)| *planned == pd) {
            return true;
        }
        if self.launch.plan.pd(pd).parent.is_some_and(|(parent, _)| self.may_act(parent, asked)) {
            return true;
        }
        let holds_thread = |other: &crate::plan::PdPlan| {
            other.cspace.iter().any(|cap| cap.object == CapObject::Tcb && cap.pd == pd)
        };
        // A thread that is gone cannot be resumed.
        !is_gone
            && self
                .launch
                .plan
                .pds
                .iter()
                .any(|other| holds_thread(other) && self.may_act(other.index, asked))
    }
}
