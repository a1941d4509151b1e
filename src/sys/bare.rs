//! A child between clone3(2) and execveat(2). It uses the launcher's memory, as after vfork(2), so that nothing of the launcher is copied for
//! it only to be thrown away; but the launcher goes on meanwhile. So it makes system calls and nothing else, and makes them itself: the C
//! library would write errno where the launcher's is.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::clone::Child;
use super::memory::Stack;
use super::raw::system_call;
use super::session::{Order, Ordered, Session};

/// What a child does between the parent's word and exec.
#[derive(Debug)]
pub struct ExecPlan {
    /// The program, by descriptor.
    pub program: Rc<File>,
    /// Argument strings; the environment is empty.
    pub arguments: Vec<CString>,
    /// Become user and group 0 of the new user namespace and drop supplementary groups: only when the parent mapped
    /// another host uid than its own.
    pub become_mapped: bool,
    /// Descriptors that stay open in the program.
    pub keep: Vec<RawFd>,
    /// Of these, what is the child's alone: the parent needs it no longer than the child does.
    pub given: Vec<OwnedFd>,
    /// Where a failure is written; of `given`.
    pub status: RawFd,
    /// Fails the change of identity before it is tried.
    pub before_identity: Option<Errno>,
    /// Fails the exec before it is tried.
    pub before_exec: Option<Errno>,
}

/// Who clones it; the child's parent is that one's.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The leader of this session, whose parent is this process.
    Session(&'a Session),
    /// This process, whose parent is the launcher.
    Itself,
}

/// What memory the child has until it execs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// This process's. A child that changes its user makes this process undumpable, too (the kernel's commit_creds), and then nobody without
    /// CAP_SYS_PTRACE may attach to later children.
    Shared,
    /// A copy.
    Copied,
}

/// Which part of [`ExecPlan`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStep {
    /// The launcher ended first.
    Go,
    /// setgroups, setresgid, setresuid.
    Identity,
    /// fcntl or execveat.
    Exec,
}

/// First byte of a child's failure: never the first of a JSON text.
const FAILURE_MARK: u8 = 0xff;

fn encode_failure(step: ExecStep, errno: Errno) -> [u8; 6] {
    let [a, b, c, d] = (errno as i32).to_le_bytes();
    [FAILURE_MARK, step as u8, a, b, c, d]
}

/// Reads what a child wrote when it could not become the program.
pub fn decode_failure(bytes: &[u8]) -> Option<(ExecStep, Errno)> {
    let [FAILURE_MARK, step, errno @ ..] = bytes else { return None };
    let step = match step {
        0 => ExecStep::Go,
        1 => ExecStep::Identity,
        2 => ExecStep::Exec,
        _ => return None,
    };
    Some((step, Errno::from_raw(i32::from_le_bytes(errno.try_into().ok()?))))
}

/// A child that is being cloned.
#[derive(Debug)]
pub struct Coming {
    child: Cloned,
    in_use: InUse,
}

#[derive(Debug)]
enum Cloned {
    Ordered(Ordered),
    There(Child),
}

impl Coming {
    /// What it becomes, for one of [`clone_ahead`]: to be said before it has arrived.
    pub fn becomes(&mut self, plan: ExecPlan) {
        self.in_use.0.exec.get_or_init(|| Exec::new(plan));
    }

    /// Waits until it is there.
    pub fn arrived(self) -> Result<(Child, InUse), Errno> {
        let Self { child, in_use } = self;
        let child = match child {
            Cloned::There(child) => Ok(child),
            Cloned::Ordered(ordered) => ordered.child(),
        };
        child.map(|child| (child, in_use))
    }
}

/// Starts a child in new `namespaces` that waits for the parent's word ([`InUse::go`]) and then becomes the program of `plan`. When that
/// fails it writes why to the plan's status descriptor ([`decode_failure`]) and ends with status 127. `launcher` is a pidfd of its parent's.
pub fn clone_and_exec(
    namespaces: u64,
    by: By<'_>,
    memory: Memory,
    launcher: BorrowedFd<'_>,
    plan: ExecPlan,
) -> Result<Coming, Errno> {
    let flags = match memory {
        Memory::Shared => namespaces | SHARED_MEMORY,
        Memory::Copied => namespaces,
    };
    clone(flags, by, launcher, OnceLock::from(Exec::new(plan)))
}

/// Starts a child that is told later what it becomes. Until the parent's word it uses this process's memory and its descriptors, so
/// that it then has what was made meanwhile.
pub fn clone_ahead(namespaces: u64, session: &Session, launcher: BorrowedFd<'_>) -> Result<Coming, Errno> {
    let flags = namespaces | SHARED_MEMORY | libc::CLONE_FILES as u64;
    clone(flags, By::Session(session), launcher, OnceLock::new())
}

/// The kernel tells when the child lets go of this process's memory.
const SHARED_MEMORY: u64 = (libc::CLONE_VM | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;

fn clone(flags: u64, by: By<'_>, launcher: BorrowedFd<'_>, exec: OnceLock<Exec>) -> Result<Coming, Errno> {
    let in_use = InUse(ManuallyDrop::new(Box::new(Bare {
        in_use: AtomicI32::new(0),
        stack: Stack::new(STACK)?,
        go: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        launcher: launcher.as_raw_fd(),
        exec,
    })));
    let bare: &Bare = &in_use.0;
    let mut order = Order::new(flags, &bare.stack, become_program, std::ptr::from_ref(bare) as u64);
    order.args.parent_tid = bare.in_use.as_ptr() as u64;
    order.args.child_tid = order.args.parent_tid;
    // SAFETY: the stack is its own, and it makes system calls only. What it uses stays: `Bare`, with the descriptors in it, is not freed
    // before the kernel says that this memory is not the child's any more ([`InUse`]).
    let cloned = unsafe {
        match by {
            By::Session(session) => session.order(order).map(Cloned::Ordered),
            By::Itself => {
                order.carry_out();
                order.child().unwrap_or(Err(Errno::ECHILD)).map(Cloned::There)
            }
        }
    };
    Ok(Coming { child: cloned?, in_use })
}

/// What a child uses of this process's memory and descriptors until it has become another program or has ended: not to be dropped before.
/// Where it is all the same, it is not freed.
#[derive(Debug)]
pub struct InUse(ManuallyDrop<Box<Bare>>);

impl InUse {
    /// The parent's word.
    pub fn go(&self) -> Result<(), Errno> {
        self.0.go.write(1).map(drop)
    }

    /// Gives the CPU to the child until it has become the program or has ended, or for a millisecond.
    pub fn give_way(&self) {
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let child = self.0.in_use.load(Ordering::Acquire);
        if child != 0 {
            // SAFETY: futex(2) reads the word and the time. CLONE_CHILD_CLEARTID wakes up who waits there, not by a private futex.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.in_use.as_ptr(),
                    libc::FUTEX_WAIT,
                    child,
                    &raw const limit,
                );
            }
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // The kernel stores the child's number before that runs (CLONE_PARENT_SETTID), and 0 when it lets go of this memory, after its last
        // use of it (CLONE_CHILD_CLEARTID, mm_release). A child with a copy has nothing of this.
        if self.0.in_use.load(Ordering::Acquire) == 0 {
            // SAFETY: it is not used afterwards, being dropped itself.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// Bytes of a child's stack: several times what `become_program` needs in a debug build.
const STACK: u64 = 0x4000;

/// What a child uses that allocates nothing.
#[derive(Debug)]
struct Bare {
    /// Not 0 while a child uses this.
    in_use: AtomicI32,
    stack: Stack,
    /// Becomes readable when the child may go on. Not a pipe: whoever writes to one says that it will sleep (WF_SYNC), and the scheduler would
    /// move the child to the parent's CPU, which goes on.
    go: EventFd,
    /// A pidfd of the launcher, which becomes readable when that has ended. Not a pipe that would hang up: who shares the launcher's
    /// descriptors would hold its other end.
    launcher: RawFd,
    /// Set before the word to go on is given.
    exec: OnceLock<Exec>,
}

/// An [`ExecPlan`] by numbers.
#[derive(Debug)]
struct Exec {
    argv: Vec<*const libc::c_char>,
    plan: ExecPlan,
}

impl Exec {
    fn new(plan: ExecPlan) -> Self {
        let arguments = plan.arguments.iter().map(|argument| argument.as_ptr());
        Self { argv: arguments.chain([std::ptr::null()]).collect(), plan }
    }
}

extern "C" fn become_program(bare: u64) -> ! {
    // SAFETY: `clone_and_exec` passes the address of one that is not freed before this process has let go of it.
    let bare = unsafe { &*(bare as *const Bare) };
    let Err((step, errno)) = bare.run();
    if let Some(exec) = bare.exec.get() {
        let bytes = encode_failure(step, errno);
        // SAFETY: the buffer is valid for its length.
        let _ = unsafe {
            system_call(libc::SYS_write, [exec.plan.status as u64, bytes.as_ptr() as u64, 6, 0, 0])
        };
    }
    loop {
        // SAFETY: ends this process, and nothing of the parent.
        let _ = unsafe { system_call(libc::SYS_exit_group, [127, 0, 0, 0, 0]) };
    }
}

const DIE_WITH_PARENT: [u64; 5] = [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64, 0, 0, 0];

impl Bare {
    /// Waits for the parent's word and becomes the program. Returns only on failure.
    fn run(&self) -> Result<Infallible, (ExecStep, Errno)> {
        // SAFETY: numbers only.
        let _ = unsafe { system_call(libc::SYS_prctl, DIE_WITH_PARENT) };
        self.wait_for_go().map_err(|errno| (ExecStep::Go, errno))?;
        let Exec { argv, plan } = self.exec.get().ok_or((ExecStep::Go, Errno::EINVAL))?;
        if let Some(errno) = plan.before_identity {
            return Err((ExecStep::Identity, errno));
        }
        if plan.become_mapped {
            for (call, arguments) in [
                (libc::SYS_setgroups, [0; 5]),
                (libc::SYS_setresgid, [0; 5]),
                (libc::SYS_setresuid, [0; 5]),
                // The change of uid has reset it.
                (libc::SYS_prctl, DIE_WITH_PARENT),
            ] {
                // SAFETY: numbers only; of no groups there is no list.
                unsafe { system_call(call, arguments) }.map_err(|errno| (ExecStep::Identity, errno))?;
            }
        }
        if let Some(errno) = plan.before_exec {
            return Err((ExecStep::Exec, errno));
        }
        // What is done to descriptors from here on must not be done to the launcher's. By close_range(2), which the PD host needs, too, and
        // hosts that deny namespaces do not deny like unshare(2); it closes nothing, since no descriptor has the highest number.
        let none = u64::from(libc::c_uint::MAX);
        // SAFETY: numbers only.
        unsafe { system_call(libc::SYS_close_range, [none, none, libc::CLOSE_RANGE_UNSHARE as u64, 0, 0]) }
            .map_err(|errno| (ExecStep::Exec, errno))?;
        for fd in &plan.keep {
            // SAFETY: F_SETFD takes a number; a bad descriptor is an error, not undefined.
            unsafe { system_call(libc::SYS_fcntl, [*fd as u64, libc::F_SETFD as u64, 0, 0, 0]) }
                .map_err(|errno| (ExecStep::Exec, errno))?;
        }
        let (path, environment): (&CStr, _) = (c"", [std::ptr::null::<libc::c_char>()]);
        let exec = [
            plan.program.as_raw_fd() as u64,
            path.as_ptr() as u64,
            argv.as_ptr() as u64,
            environment.as_ptr() as u64,
            libc::AT_EMPTY_PATH as u64,
        ];
        // SAFETY: argv and environment are null-terminated arrays of C strings that outlive the call.
        let failed = unsafe { system_call(libc::SYS_execveat, exec) };
        Err((ExecStep::Exec, failed.err().unwrap_or(Errno::EINVAL)))
    }

    fn wait_for_go(&self) -> Result<(), Errno> {
        let wait = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [wait(self.go.as_raw_fd()), wait(self.launcher)];
        loop {
            // SAFETY: poll(2) writes to as many entries as it is told there are.
            match unsafe { system_call(libc::SYS_poll, [fds.as_mut_ptr() as u64, 2, u64::MAX, 0, 0]) } {
                Ok(_) if fds[0].revents & libc::POLLIN != 0 => return Ok(()),
                Ok(_) => return Err(Errno::EPIPE),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
