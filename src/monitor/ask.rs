//! Launcher calls: what a PD asks the launcher for by a denied system call, checked against the plan and carried out from outside.

#![forbid(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::message;
use super::pd::Process;
use super::{Monitor, OnFault};
use crate::plan::CapObject;
use crate::sdf::PdIndex;
use crate::sys::trace::Registers;
use crate::sys::{abi, errno_of, remote, trace};

/// Words of the longest reply to a fault that are looked at.
const REPLY_WORDS: usize = 20;

/// A call, as its registers say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    op: u64,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl Ask {
    /// `None` for any other system call.
    pub fn of(number: i64, registers: &Registers) -> Option<Self> {
        (number == libc::SYS_exit_group && registers.rdi == abi::MK_LAUNCHER_CALL).then_some(Self {
            op: registers.rsi,
            a: registers.rdx,
            b: registers.r10,
            c: registers.r8,
            d: registers.r9,
        })
    }
}

impl Monitor<'_> {
    /// Carries it out and lets the asker go on behind the call. `false`: this PD may not ask for that, so it is a fault.
    pub(super) fn answer(&mut self, asker: PdIndex, ask: Ask, on_fault: OnFault) -> io::Result<bool> {
        if !self.may_ask(asker, ask) {
            return Ok(false);
        }
        if self.schedules() {
            self.scheduler.told(asker);
            // Whoever runs next prints behind what this PD has printed.
            self.print_console(asker.0)?;
        }
        // Whatever the call does, also to the asker itself, it goes on with the answer and not before.
        self.pds[asker.0].holds.asking = true;
        // A failure is the asker's to see; only a broken launcher ends the run.
        let result = match self.carry_out(asker, ask, on_fault) {
            Ok(value) => value as i64,
            Err(errno) => -(errno as i64),
        };
        let pd = &mut self.pds[asker.0];
        pd.holds.asking = false;
        let pid = pd.pd.child.pid;
        if pd.process == Process::Stopped
            && let Ok(mut registers) = trace::registers(pid)
        {
            registers.rax = result as u64;
            trace::set_registers(pid, registers).or_else(gone_is_fine)?;
        }
        self.reschedule(on_fault)?;
        self.settle(asker, on_fault)?;
        Ok(true)
    }

    fn may_ask(&self, asker: PdIndex, ask: Ask) -> bool {
        match ask.op {
            abi::MK_OP_SLEEP | abi::MK_OP_SIGNALLED => self.schedules(),
            abi::MK_OP_CHARGE => self.launch.plan.charges(asker),
            _ => self.launch.plan.may_ask(asker),
        }
    }

    fn carry_out(&mut self, asker: PdIndex, ask: Ask, on_fault: OnFault) -> Result<u64, Errno> {
        let Ask { op, a, b, c, d } = ask;
        match op {
            abi::MK_OP_FAULT_TAKE => self.take_fault(asker, a),
            abi::MK_OP_FAULT_REPLY => self.reply_to_fault(asker, a, b == 1, c, d, on_fault),
            abi::MK_OP_PD_RESTART => {
                let child = self.child(asker, a)?;
                self.restart(child, b, on_fault)
            }
            abi::MK_OP_PD_STOP => {
                let child = self.child(asker, a)?;
                self.suspend(child, on_fault)
            }
            abi::MK_OP_PD_RESUME => {
                let child = self.child(asker, a)?;
                self.resume(child, on_fault)
            }
            abi::MK_OP_TCB_SUSPEND => {
                let target = self.cap(asker, a, CapObject::Tcb)?;
                self.suspend(target, on_fault)
            }
            abi::MK_OP_TCB_RESUME => {
                let target = self.cap(asker, a, CapObject::Tcb)?;
                self.resume(target, on_fault)
            }
            abi::MK_OP_TCB_READ => {
                let target = self.cap(asker, a, CapObject::Tcb)?;
                self.read_registers(asker, target, b == 1, c, d, on_fault)
            }
            abi::MK_OP_TCB_WRITE => {
                let target = self.cap(asker, a, CapObject::Tcb)?;
                self.write_registers(asker, target, b == 1, c, d, on_fault)
            }
            abi::MK_OP_SC_CONSUMED => {
                let target = self.cap(asker, a, CapObject::SchedContext)?;
                self.consumed(asker, target, b)
            }
            abi::MK_OP_SLEEP => self.sleep(asker),
            abi::MK_OP_SIGNALLED => self.signalled_by(asker, a),
            abi::MK_OP_CHARGE => self.charge(asker, a, on_fault),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn child(&self, parent: PdIndex, id: u64) -> Result<PdIndex, Errno> {
        let children = &self.launch.plan.pd(parent).children;
        children.iter().find(|(child, _)| u64::from(*child) == id).map(|(_, pd)| *pd).ok_or(Errno::ENOENT)
    }

    fn cap(&self, holder: PdIndex, slot: u64, object: CapObject) -> Result<PdIndex, Errno> {
        if slot >= abi::MK_SLOT_CHILD {
            return match object {
                CapObject::Tcb => self.child(holder, slot - abi::MK_SLOT_CHILD),
                _ => Err(Errno::EPERM),
            };
        }
        let caps = &self.launch.plan.pd(holder).cspace;
        let cap = caps.iter().find(|cap| u64::from(cap.slot) == slot).ok_or(Errno::ENOENT)?;
        if cap.object == object { Ok(cap.pd) } else { Err(Errno::EPERM) }
    }

    fn reply_to_fault(
        &mut self,
        parent: PdIndex,
        id: u64,
        resume: bool,
        info: u64,
        address: u64,
        on_fault: OnFault,
    ) -> Result<u64, Errno> {
        let child = self.child(parent, id)?;
        let is_taken = |pd: &super::pd::Watched| pd.pending.as_ref().is_some_and(|pending| pending.taken);
        if !is_taken(&self.pds[child.0]) {
            // It was restarted or resumed meanwhile: the reply has nobody to go to, as on seL4.
            return Ok(0);
        }
        if !resume {
            return Ok(0);
        }
        let count = ((info & 0x7f) as usize).min(REPLY_WORDS);
        let words = remote::read(self.pid(parent), address, count)?;
        self.let_go_on(child, info >> 12, &words);
        self.settle(child, on_fault).map_err(|error| errno_of(&error))?;
        Ok(0)
    }

    /// Ends a fault, also one that nobody was told of but the user: the PD goes on at the instruction, or where the reply says.
    fn let_go_on(&mut self, child: PdIndex, label: u64, reply: &[u64]) {
        let pid = self.pid(child);
        self.pds[child.0].holds.fault = false;
        let Some(pending) = self.pds[child.0].pending.take() else { return };
        self.forget_in_inbox(child);
        // As they are now: whoever holds the child's thread may have written them meanwhile.
        if pending.registers.is_some()
            && let Ok(mut registers) = trace::registers(pid)
        {
            message::apply_reply(&pending.fault, &mut registers, label, reply);
            let _ = trace::set_registers(pid, registers);
        }
    }

    fn suspend(&mut self, target: PdIndex, on_fault: OnFault) -> Result<u64, Errno> {
        self.pds[target.0].holds.suspended = true;
        self.settle(target, on_fault).map_err(|error| errno_of(&error))?;
        self.tell_unhandled(on_fault);
        Ok(0)
    }

    /// As seL4_TCB_Resume: a PD that is stopped by a fault tries again.
    fn resume(&mut self, target: PdIndex, on_fault: OnFault) -> Result<u64, Errno> {
        if self.pds[target.0].process == Process::Gone {
            return Err(Errno::ESRCH);
        }
        self.let_go_on(target, u64::MAX, &[]);
        self.pds[target.0].holds.suspended = false;
        self.settle(target, on_fault).map_err(|error| errno_of(&error))?;
        Ok(0)
    }

    fn restart(&mut self, child: PdIndex, entry: u64, on_fault: OnFault) -> Result<u64, Errno> {
        // A refusal changes nothing.
        let entry = self.entry(child, entry)?;
        self.pds[child.0].holds.suspended = true;
        self.settle(child, on_fault).map_err(|error| errno_of(&error))?;
        self.forget_in_inbox(child);
        let pd = &mut self.pds[child.0];
        pd.pending = None;
        if pd.process == Process::Gone {
            // Memory is not reset where there is some; a process that has ended has none left.
            self.start_again(child).map_err(|_| Errno::EAGAIN)?;
        } else {
            let pd = &self.pds[child.0];
            let pid = pd.pd.child.pid;
            let mut registers = trace::registers(pid)?;
            // As after a call from nowhere: the return address is 0, and rsp + 8 is a multiple of 16.
            let top = pd.pd.layout.stack + self.launch.plan.pd(child).stack_size;
            registers.rsp = top - 8;
            remote::write(pid, registers.rsp, &[0])?;
            registers.rip = entry;
            registers.rdi = pd.pd.layout.handoff;
            registers.rbp = 0;
            registers.rax = 0;
            message::set_flags(&mut registers, Some(&0));
            trace::set_registers(pid, registers)?;
            self.withdraw_calls(child).map_err(|error| errno_of(&error))?;
            self.charge_itself(child);
            self.hold_for_budgets(on_fault).map_err(|error| errno_of(&error))?;
        }
        let pd = &mut self.pds[child.0];
        pd.holds.suspended = false;
        pd.holds.fault = false;
        // What it slept for is forgotten.
        self.wake(child);
        self.settle(child, on_fault).map_err(|error| errno_of(&error))?;
        Ok(0)
    }

    /// 0 and Microkit's link address mean the image's start; anything else is an address in the image, as its file or as its
    /// process has it.
    fn entry(&self, child: PdIndex, entry: u64) -> Result<u64, Errno> {
        const MICROKIT_LINK_ADDRESS: u64 = 0x20_0000;
        let layout = self.pds[child.0].pd.layout;
        let size = self.launch.images[child.0].image.memory_size();
        match entry {
            0 | MICROKIT_LINK_ADDRESS => Ok(layout.restart),
            offset if offset < size => Ok(layout.image_base + offset),
            address if (layout.image_base..layout.image_base + size).contains(&address) => Ok(address),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Stopped, so that its registers can be had; [`Monitor::release`] undoes it.
    fn inspect(&mut self, asker: PdIndex, target: PdIndex, on_fault: OnFault) -> Result<Pid, Errno> {
        if target == asker {
            // As on seL4: the current thread's registers are not its own to read this way.
            return Err(Errno::EPERM);
        }
        self.pds[target.0].holds.inspected = true;
        self.settle(target, on_fault).map_err(|error| errno_of(&error))?;
        match self.pds[target.0].process {
            Process::Stopped => Ok(self.pid(target)),
            _ => Err(Errno::ESRCH),
        }
    }

    fn release(&mut self, target: PdIndex, on_fault: OnFault) -> Result<(), Errno> {
        self.pds[target.0].holds.inspected = false;
        self.settle(target, on_fault).map_err(|error| errno_of(&error))?;
        self.tell_unhandled(on_fault);
        Ok(())
    }

    fn read_registers(
        &mut self,
        asker: PdIndex,
        target: PdIndex,
        suspend: bool,
        count: u64,
        address: u64,
        on_fault: OnFault,
    ) -> Result<u64, Errno> {
        let result = self.inspect(asker, target, on_fault).and_then(registers_at_rest);
        if suspend {
            self.pds[target.0].holds.suspended = true;
        }
        self.release(target, on_fault)?;
        let context = message::to_context(&result?);
        let count = (count as usize).min(context.len());
        remote::write(self.pid(asker), address, &context[..count])?;
        Ok(0)
    }

    fn write_registers(
        &mut self,
        asker: PdIndex,
        target: PdIndex,
        resume: bool,
        count: u64,
        address: u64,
        on_fault: OnFault,
    ) -> Result<u64, Errno> {
        let words = remote::read(self.pid(asker), address, (count as usize).min(REPLY_WORDS))?;
        let written = self.inspect(asker, target, on_fault).and_then(|pid| {
            let mut registers = registers_at_rest(pid)?;
            message::set_context(&mut registers, &words);
            trace::set_registers(pid, registers)
        });
        if resume && written.is_ok() {
            let pd = &mut self.pds[target.0];
            pd.holds.suspended = false;
            pd.holds.fault = false;
            pd.pending = None;
            self.forget_in_inbox(target);
            self.wake(target);
        }
        self.release(target, on_fault)?;
        written.map(|()| 0)
    }

    fn consumed(&mut self, asker: PdIndex, target: PdIndex, address: u64) -> Result<u64, Errno> {
        let now = self.charged_us(target);
        let since = now.saturating_sub(self.pds[target.0].consumed_us);
        remote::write(self.pid(asker), address, &[since])?;
        self.pds[target.0].consumed_us = now;
        Ok(0)
    }

    pub(super) fn pid(&self, pd: PdIndex) -> Pid {
        self.pds[pd.0].pd.child.pid
    }
}

/// Registers of a PD that was stopped from outside. One that slept in a system call stands on the instruction, with the call's number:
/// so it sleeps on when it is let go with these registers, as a thread of seL4 that is blocked.
fn registers_at_rest(pid: Pid) -> Result<Registers, Errno> {
    /// ERESTARTSYS to ERESTARTNOHAND (include/linux/errno.h): the kernel means to make the call again.
    const AGAIN: std::ops::RangeInclusive<i64> = -514..=-512;
    let mut registers = trace::registers(pid)?;
    if registers.orig_rax as i64 >= 0 && AGAIN.contains(&(registers.rax as i64)) {
        registers.rax = registers.orig_rax;
        message::step_back(&mut registers);
    }
    Ok(registers)
}

/// A PD killed from outside in the middle of it all is told by its own event.
pub(super) fn gone_is_fine(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::ESRCH { Ok(()) } else { Err(errno) }
}
