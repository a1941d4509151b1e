//! What only the PD itself can tell, asked on its way through the steps: values of prctl, and what Landlock, memory-deny-write-execute
//! and mseal answer to attempts that nothing else forbids at that step. Each attempt has its control: the same attempt before the
//! layer is on.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CStr;

use mk_sandbox::pd::Step;

use crate::board::Board;
use crate::cases::Cases;
use crate::seam::Act;
use crate::stage::{PDS, Stage};

/// One look: before which step, what, and what must come of it.
struct Fact {
    before: Step,
    what: &'static str,
    ask: fn(&Look) -> i64,
    expected: i64,
}

/// In place of an error number.
const DONE: i64 = 1;

const fn refused(errno: i32) -> i64 {
    -(errno as i64)
}

const IMAGE: &CStr = c"/pd.elf";
const ROOT: &CStr = c"/";

#[rustfmt::skip]
const FACTS: [Fact; 28] = [
    Fact { before: Step::Root, what: "a page is made executable", ask: Look::make_executable, expected: DONE },
    Fact { before: Step::Capabilities, what: "securebits", ask: |_| prctl(libc::PR_GET_SECUREBITS), expected: 0 },
    Fact { before: Step::Privileges, what: "securebits: all on and all locked, but keep-caps, which is off and locked",
        ask: |_| prctl(libc::PR_GET_SECUREBITS), expected: 0b1110_1111 },
    Fact { before: Step::Privileges, what: "dumpable", ask: |_| prctl(libc::PR_GET_DUMPABLE), expected: 1 },
    Fact { before: Step::Privileges, what: "no_new_privs", ask: |_| prctl(libc::PR_GET_NO_NEW_PRIVS), expected: 0 },
    Fact { before: Step::Privileges, what: "memory-deny-write-execute", ask: |_| prctl(PR_GET_MDWE), expected: 0 },
    Fact { before: Step::Descriptors, what: "securebits set back", ask: |_| securebits_back(), expected: refused(libc::EPERM) },
    Fact { before: Step::Descriptors, what: "dumpable", ask: |_| prctl(libc::PR_GET_DUMPABLE), expected: 0 },
    Fact { before: Step::Descriptors, what: "no_new_privs", ask: |_| prctl(libc::PR_GET_NO_NEW_PRIVS), expected: 1 },
    Fact { before: Step::Descriptors, what: "memory-deny-write-execute", ask: |_| prctl(PR_GET_MDWE), expected: 1 },
    Fact { before: Step::Descriptors, what: "parent-death signal", ask: |_| parent_death_signal(), expected: libc::SIGKILL as i64 },
    Fact { before: Step::Descriptors, what: "a page is made executable", ask: Look::make_executable,
        expected: refused(libc::EACCES) },
    Fact { before: Step::Landlock, what: "the image is opened", ask: |_| open(IMAGE), expected: DONE },
    Fact { before: Step::Landlock, what: "the root directory is opened", ask: |_| open(ROOT), expected: DONE },
    Fact { before: Step::Landlock, what: "a TCP port is bound", ask: |_| bind_tcp(), expected: DONE },
    Fact { before: Step::Landlock, what: "an abstract socket of before is connected to", ask: Look::connect_abstract,
        expected: DONE },
    Fact { before: Step::LoadingFilter, what: "the image is opened", ask: |_| open(IMAGE), expected: DONE },
    Fact { before: Step::LoadingFilter, what: "the root directory is opened", ask: |_| open(ROOT),
        expected: refused(libc::EACCES) },
    Fact { before: Step::LoadingFilter, what: "a TCP port is bound", ask: |_| bind_tcp(), expected: refused(libc::EACCES) },
    Fact { before: Step::LoadingFilter, what: "an abstract socket of before is connected to", ask: Look::connect_abstract,
        expected: refused(libc::EPERM) },
    Fact { before: Step::Image, what: "the image is opened", ask: |_| open(IMAGE), expected: DONE },
    Fact { before: Step::Image, what: "the root directory is opened", ask: |_| open(ROOT), expected: refused(libc::EACCES) },
    Fact { before: Step::Variables, what: "the image is opened", ask: |_| open(IMAGE), expected: refused(libc::EACCES) },
    Fact { before: Step::Variables, what: "the root directory is opened", ask: |_| open(ROOT), expected: refused(libc::EACCES) },
    Fact { before: Step::Seal, what: "a page gets other rights", ask: Look::make_readable, expected: DONE },
    Fact { before: Step::FinalFilter, what: "a page gets other rights", ask: Look::make_unreadable,
        expected: refused(libc::EPERM) },
    Fact { before: Step::FinalFilter, what: "a page is unmapped", ask: Look::unmap, expected: refused(libc::EPERM) },
    Fact { before: Step::FinalFilter, what: "a page of the PD host's own code is unmapped", ask: |_| unmap_code(),
        expected: refused(libc::EPERM) },
];

/// The board's words from here on are the facts, in their order, each one above its value: a blank word is one nobody wrote.
const FIRST_WORD: usize = 8;

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    let path = stage.path("board");
    let board = Board::create(&path);
    cases.case(&format!("{}: a PD looks at itself at every step and runs", stage.user()), || {
        let before = stage.before();
        let mut running = stage.start(&Act::Look, PDS[1], &path);
        running.wait_for_stdout(&format!("{} | ready\n", PDS[1]));
        running.signal(nix::sys::signal::Signal::SIGTERM);
        before.ends_clean(running).expect(0);
        format!("{} looks", FACTS.len())
    });
    for (index, fact) in FACTS.iter().enumerate() {
        cases.case(&format!("{}: a PD looks before {:?}: {}", stage.user(), fact.before, fact.what), || {
            let seen = board.get(FIRST_WORD + index) - OFFSET;
            assert_eq!(seen, fact.expected);
            match seen {
                ..0 => format!("{:?}", nix::errno::Errno::from_raw(-seen as i32)),
                seen => format!("{seen:#x}"),
            }
        });
    }
}

/// Above every negative error number, so that what is written is never blank.
const OFFSET: i64 = 1 << 32;

/// What the PD keeps between two looks. Both are made before anything forbids them.
pub struct Look {
    /// A private page.
    page: Cell<usize>,
    /// A listening abstract socket, made outside of any Landlock domain.
    listener: Cell<i32>,
}

impl Look {
    /// Nothing yet: this also exists in PDs that are not looked at.
    pub fn new() -> Self {
        Self { page: Cell::new(0), listener: Cell::new(-1) }
    }

    /// Asks what is to be asked before this step.
    pub fn at(&self, step: Step, board: &Board) {
        if step == Step::Root {
            self.page.set(page());
        }
        if step == Step::Landlock {
            // Not earlier: the step before closes what it does not know.
            self.listener.set(listen_abstract());
        }
        for (index, fact) in FACTS.iter().enumerate().filter(|(_, fact)| fact.before == step) {
            board.put(FIRST_WORD + index, (fact.ask)(self) + OFFSET);
        }
        if step == Step::LoadingFilter {
            // SAFETY: the descriptor is this seam's alone. The PD host is given no number that it did not have before.
            unsafe { libc::close(self.listener.replace(-1)) };
        }
    }

    fn protect(&self, rights: libc::c_int) -> i64 {
        // SAFETY: the page is this seam's and nothing is in it.
        outcome(unsafe { libc::mprotect(self.page.get() as *mut libc::c_void, PAGE, rights) })
    }

    fn make_executable(&self) -> i64 {
        let outcome = self.protect(libc::PROT_READ | libc::PROT_EXEC);
        self.protect(libc::PROT_READ | libc::PROT_WRITE);
        outcome
    }

    fn make_readable(&self) -> i64 {
        self.protect(libc::PROT_READ)
    }

    fn make_unreadable(&self) -> i64 {
        self.protect(libc::PROT_NONE)
    }

    fn unmap(&self) -> i64 {
        // SAFETY: as in `protect`.
        outcome(unsafe { libc::munmap(self.page.get() as *mut libc::c_void, PAGE) })
    }

    fn connect_abstract(&self) -> i64 {
        let (address, length) = abstract_address();
        // SAFETY: numbers, and an address of this length.
        unsafe {
            let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            let outcome = outcome(libc::connect(socket, (&raw const address).cast(), length));
            libc::close(socket);
            outcome
        }
    }
}

const PAGE: usize = 4096;
const PR_GET_MDWE: libc::c_int = 66;

fn outcome(result: libc::c_int) -> i64 {
    if result == -1 { refused(nix::errno::Errno::last_raw()) } else { DONE }
}

fn prctl(option: libc::c_int) -> i64 {
    // SAFETY: these options take no argument and return a number.
    unsafe { libc::prctl(option, 0, 0, 0, 0) }.into()
}

fn securebits_back() -> i64 {
    // SAFETY: takes a number.
    outcome(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0) })
}

fn parent_death_signal() -> i64 {
    let mut signal: libc::c_int = 0;
    // SAFETY: stores one int.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    signal.into()
}

/// With the very flags that the loading filter knows.
fn open(path: &CStr) -> i64 {
    // SAFETY: a C string and numbers.
    let fd = unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let outcome = outcome(fd);
    if fd >= 0 {
        // SAFETY: it is nobody else's.
        unsafe { libc::close(fd) };
    }
    outcome
}

fn bind_tcp() -> i64 {
    // SAFETY: sockaddr_in is plain data; the address is as long as it says.
    unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as u16;
        address.sin_port = 4242u16.to_be();
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let outcome = outcome(libc::bind(socket, (&raw const address).cast(), length));
        libc::close(socket);
        outcome
    }
}

fn abstract_address() -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: sockaddr_un is plain data.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    address.sun_path[1] = b'm' as libc::c_char;
    (address, (size_of::<libc::sa_family_t>() + 2) as libc::socklen_t)
}

fn listen_abstract() -> i32 {
    let (address, length) = abstract_address();
    // SAFETY: numbers, and an address of this length.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        libc::bind(socket, (&raw const address).cast(), length);
        libc::listen(socket, 4);
        socket
    }
}

fn page() -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the kernel likes.
    unsafe {
        libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) as usize
    }
}

/// The page of a function that never runs again in this process, should it work.
fn unmap_code() -> i64 {
    let code = listen_abstract as *const () as usize & !(PAGE - 1);
    // SAFETY: if it is possible at all, the case fails; the PD may then do what it likes.
    outcome(unsafe { libc::munmap(code as *mut libc::c_void, PAGE) })
}
