//! A session for what this process starts: no terminal, and none of its signals (setsid(2)).
//!
//! One for all, not one for each: where kernel.sched_autogroup_enabled is 1, the kernel shares the CPUs among sessions first and weighs nice
//! values only within one (sched(7), "The autogroup feature"), and every wake-up across sessions costs it more. A child has the session of
//! who clones it. So a process that has begun a session clones for this one, with this one's memory and descriptors, as this one's children.

use std::cell::OnceCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{Pid, pipe2, write};

use super::clone::{self, Child, Parent};
use super::descriptor::make_room;
use super::memory::Stack;
use super::raw::{self, system_call};
use super::{exit_now, scheduling, trace};

/// The process that leads it. It ends with this and what is on order; the session stays as long as anybody is in it.
#[derive(Debug)]
pub struct Session(Rc<Led>);

#[derive(Debug)]
struct Led {
    leader: OnceCell<Child>,
    desk: Desk,
}

/// Where orders are left and done orders told.
#[derive(Debug)]
struct Desk {
    /// Becomes readable when the leader may begin. Not a pipe: whoever writes to one says that it will sleep (WF_SYNC), and the scheduler would
    /// take the leader back to the CPU of this process, which goes on.
    begin: EventFd,
    /// The addresses of [`Order`]s.
    given: (OwnedFd, OwnedFd),
    /// One for each order that is done.
    done: EventFd,
    stack: Stack,
    parent: Pid,
}

/// A child to be cloned.
#[derive(Debug)]
pub(super) struct Order {
    pub args: libc::clone_args,
    pub entry: extern "C" fn(u64) -> !,
    pub data: u64,
    pidfd: AtomicI32,
    /// As the kernel returns it: a pid, or an error below 0; 0 as long as it is not done.
    result: AtomicI64,
}

impl Order {
    pub fn new(flags: u64, stack: &Stack, entry: extern "C" fn(u64) -> !, data: u64) -> Box<Self> {
        let (pidfd, result) = (AtomicI32::new(-1), AtomicI64::new(0));
        let args = clone::arguments(flags, Parent::Parents, stack);
        let mut order = Box::new(Self { args, entry, data, pidfd, result });
        order.args.pidfd = order.pidfd.as_ptr() as u64;
        order
    }

    /// # Safety
    /// [`raw::clone3`]'s.
    pub unsafe fn carry_out(&self) {
        // SAFETY: passed on.
        let cloned = unsafe { raw::clone3(&self.args, self.entry, self.data) };
        self.result.store(cloned.unwrap_or_else(|errno| -i64::from(errno as i32)), Ordering::Release);
    }

    /// `None` as long as it is not done.
    pub fn child(&self) -> Option<Result<Child, Errno>> {
        match self.result.load(Ordering::Acquire) {
            0 => None,
            errno @ ..0 => Some(Err(Errno::from_raw(-errno as i32))),
            // SAFETY: as it asks; whoever ordered it takes it once.
            pid => Some(Ok(unsafe { Child::new(pid, self.pidfd.load(Ordering::Relaxed)) })),
        }
    }
}

/// A child that is on order. Ended, if nobody waits for it.
#[derive(Debug)]
pub struct Ordered {
    session: Rc<Led>,
    order: Option<Box<Order>>,
}

impl Ordered {
    /// Waits for it.
    pub fn child(mut self) -> Result<Child, Errno> {
        self.wait()
    }

    fn wait(&mut self) -> Result<Child, Errno> {
        let order = self.order.take().ok_or(Errno::ECHILD)?;
        loop {
            if let Some(child) = order.child() {
                return child;
            }
            if let Err(errno) = self.session.hear() {
                // Without the leader it is done by now or never will be, so the order is nobody's any more.
                self.session.end();
                return order.child().unwrap_or(Err(errno));
            }
        }
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        if let Ok(child) = self.wait() {
            child.kill();
            trace::reap(child.pid);
        }
    }
}

/// In place of an order's address.
const NO_MORE: u64 = 0;

/// Bytes of its stack: several times what [`lead`] needs in a debug build.
const STACK: u64 = 0x4000;
/// Bytes of the stack of a copy of this process.
const STACK_OF_COPY: u64 = 0x80_0000;

impl Session {
    /// Begins one when the first child is ordered. This process must have no other thread, and about so many descriptors at most: the kernel
    /// takes milliseconds to make room for more while two processes share them (expand_fdtable waits for a grace period of RCU).
    pub fn new(descriptors: i32) -> Result<Self, Errno> {
        let done = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        make_room(&done, descriptors);
        let (begin, given) = (EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
        let desk = Desk { begin, given, done, stack: Stack::new(STACK)?, parent: Pid::this() };
        Ok(Self(Rc::new(Led { leader: OnceCell::new(), desk })))
    }

    /// Makes room for so many descriptors where [`Session::new`] was told of fewer.
    pub fn make_room(&self, descriptors: i32) {
        make_room(&self.0.desk.done, descriptors);
    }

    /// Has a child cloned by the leader.
    ///
    /// # Safety
    /// What [`Order::carry_out`] asks for holds until it is done.
    pub(super) unsafe fn order(&self, order: Box<Order>) -> Result<Ordered, Errno> {
        let address = std::ptr::from_ref::<Order>(&order) as u64;
        let Led { leader, desk } = &*self.0;
        let new = match leader.get() {
            Some(_) => None,
            None => {
                let child = self.0.begin()?;
                Some(leader.get_or_init(|| child))
            }
        };
        // Who has read the address sees what was stored before it was written; a pipe takes eight bytes whole (pipe(7)).
        write(&desk.given.1, &address.to_ne_bytes())?;
        if let Some(leader) = new {
            // The kernel mostly queues a new process where this one runs, and leaves it there while another CPU idles. What the leader clones
            // has the affinity that the leader has then: all of it, before it may begin.
            let placed = scheduling::put_elsewhere(leader.pid).and_then(|()| desk.begin.write(1));
            placed.inspect_err(|_| self.0.end())?;
        }
        Ok(Ordered { session: Rc::clone(&self.0), order: Some(order) })
    }

    /// There are no more orders: the leader ends behind those that are given. Who orders all the same hears that it has.
    pub fn close(&self) {
        // If that fails it is killed at the end.
        let _ = write(&self.0.desk.given.1, &NO_MORE.to_ne_bytes());
    }

    /// Its number, as the kernel tells it of those who are in it. `None` before it has begun.
    pub fn id(&self) -> Option<Pid> {
        self.0.leader.get().map(|leader| leader.pid)
    }

    /// A copy of this process, in the session, that does one thing and ends. This process must have no other thread.
    pub fn copy<F: FnOnce() -> i32>(&self, run: F) -> Result<Child, Errno> {
        extern "C" fn begin<F: FnOnce() -> i32>(run: u64) -> ! {
            // SAFETY: the address of the box below, in a process that has its own copy of it.
            let run = unsafe { Box::from_raw(run as *mut F) };
            exit_now(run())
        }
        let stack = Stack::new(STACK_OF_COPY)?;
        let run = Box::new(run);
        let order = Order::new(0, &stack, begin::<F>, std::ptr::from_ref::<F>(&run) as u64);
        // SAFETY: without CLONE_VM it is a process of its own, with a copy of the stack and of the box, neither of which goes before.
        unsafe { self.order(order)? }.child()
    }
}

impl Led {
    fn begin(&self) -> Result<Child, Errno> {
        let mut pidfd = -1;
        let flags = (libc::CLONE_VM | libc::CLONE_FILES) as u64;
        let mut args = clone::arguments(flags, Parent::This, &self.desk.stack);
        args.pidfd = &raw mut pidfd as u64;
        // SAFETY: the stack is its own, it makes system calls only, and what it uses is freed when it has been reaped (`drop`).
        unsafe {
            let pid = raw::clone3(&args, lead, std::ptr::from_ref::<Desk>(&self.desk) as u64)?;
            Ok(Child::new(pid, pidfd))
        }
    }

    /// Waits until the leader has told something, or has ended.
    fn hear(&self) -> Result<(), Errno> {
        let leader = self.leader.get().ok_or(Errno::ECHILD)?;
        let mut fds = [
            PollFd::new(self.desk.done.as_fd(), PollFlags::POLLIN),
            PollFd::new(leader.pidfd.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[0].any().unwrap_or(false) => self.desk.done.read().map(drop),
            Ok(_) => Err(Errno::ECHILD),
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn end(&self) {
        if let Some(leader) = self.leader.get() {
            leader.kill();
            trace::reap(leader.pid);
        }
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        self.end();
    }
}

/// The leader: system calls only, since it is beside the process whose memory it uses.
extern "C" fn lead(desk: u64) -> ! {
    // SAFETY: `Session::new` passes the address of one that is freed only when this process has been reaped.
    let desk = unsafe { &*(desk as *const Desk) };
    // SAFETY: numbers only. None can fail here: there is such an option, and a new process leads no process group.
    unsafe {
        let _ = system_call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64, 0, 0, 0]);
        // The parent may have ended before, of which no signal tells.
        while system_call(libc::SYS_getppid, [0; 5]) != Ok(desk.parent.as_raw().into()) {
            let _ = system_call(libc::SYS_exit_group, [0; 5]);
        }
        let _ = system_call(libc::SYS_setsid, [0; 5]);
    }
    let (mut address, mut one) = (NO_MORE, 1u64);
    let eight_bytes = |fd: &dyn AsRawFd, at: *mut u64| [fd.as_raw_fd() as u64, at as u64, 8, 0, 0];
    let given = eight_bytes(&desk.given.0, &raw mut address);
    let done = eight_bytes(&desk.done, &raw mut one);
    let begin = eight_bytes(&desk.begin, &raw mut address);
    // SAFETY: eight bytes, of `address`.
    while unsafe { system_call(libc::SYS_read, begin) } != Ok(8) {}
    loop {
        // SAFETY: `Session::order` has left the address and keeps the order until its result is there; eight bytes, of `one` and of
        // `address`.
        unsafe {
            while system_call(libc::SYS_read, given) != Ok(8) {}
            while (&raw const address).read_volatile() == NO_MORE {
                let _ = system_call(libc::SYS_exit_group, [0; 5]);
            }
            (*((&raw const address).read_volatile() as *const Order)).carry_out();
            let _ = system_call(libc::SYS_write, done);
        }
    }
}
