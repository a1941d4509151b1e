//! One short-lived process that goes through what a PD goes through, reports each layer as it comes to it, and ends in the trap that
//! its tracer must see.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::ptrace;
use nix::unistd::{Pid, getegid, geteuid, pipe2};

use super::super::clone::CLONE_NEWTIME;
use super::super::{check, errno_of};
use super::{Finding, Layer, finding};

/// What the process is started in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// All that a PD has.
    All,
    /// None: the layers that need one are not tried.
    None,
}

/// A namespace of each kind, beside the user namespace that makes them possible.
const KINDS: [(Layer, libc::c_int); 7] = [
    (Layer::MountNamespace, libc::CLONE_NEWNS),
    (Layer::PidNamespace, libc::CLONE_NEWPID),
    (Layer::NetNamespace, libc::CLONE_NEWNET),
    (Layer::IpcNamespace, libc::CLONE_NEWIPC),
    (Layer::UtsNamespace, libc::CLONE_NEWUTS),
    (Layer::CgroupNamespace, libc::CLONE_NEWCGROUP),
    (Layer::TimeNamespace, CLONE_NEWTIME),
];

type Findings = BTreeMap<Layer, Finding>;

/// Tries every layer that needs a process. What is missing in the result was not reached.
pub(super) fn attempt(landlock_abi: i32, namespaces: Namespaces) -> Findings {
    let mut found = Findings::new();
    let flags = match namespaces {
        Namespaces::All => KINDS.iter().fold(libc::CLONE_NEWUSER, |flags, (_, kind)| flags | kind),
        Namespaces::None => 0,
    };
    let (Ok((report, report_end)), Ok((go_end, go))) = (pipe2(OFlag::O_CLOEXEC), pipe2(OFlag::O_CLOEXEC))
    else {
        return found;
    };
    let child = Child {
        report: report_end.as_raw_fd(),
        go: go_end.as_raw_fd(),
        not_mine: go.as_raw_fd(),
        landlock_abi,
        namespaces,
    };
    let (pid, clone3) = match spawn(flags, &child) {
        Ok(spawned) => spawned,
        Err(errno) => {
            found.insert(Layer::UserNamespace, finding("clone", Err(errno)));
            return found;
        }
    };
    drop((report_end, go_end));
    found.insert(Layer::Clone3, clone3);
    if namespaces == Namespaces::All {
        found.insert(Layer::UserNamespace, Finding::Works);
        found.extend(KINDS.map(|(layer, _)| (layer, Finding::Works)));
        found.insert(Layer::IdMaps, write_maps(pid.0));
    }
    let seized = ptrace::seize(pid.0, ptrace::Options::PTRACE_O_EXITKILL);
    found.insert(Layer::Ptrace, finding("ptrace", seized));
    // A pipe takes one byte at once. A child that is already gone shows in its report, which ends.
    let _ = nix::unistd::write(&go, &[1]);
    read_report(report, &mut found);
    if found.get(&Layer::Seccomp) == Some(&Finding::Works) {
        // Its last act was a call that its filter traps.
        found.insert(Layer::Seccomp, see_trap(pid.0, seized.is_ok()));
    }
    found
}

/// Which kinds of namespace the kernel makes, each together with a user namespace.
pub(super) fn each_namespace() -> Findings {
    let works = |flags: libc::c_int| {
        let child = Child { report: -1, go: -1, not_mine: -1, landlock_abi: 0, namespaces: Namespaces::None };
        finding("clone", spawn(flags, &child).map(drop))
    };
    let user = works(libc::CLONE_NEWUSER);
    let mut found = Findings::from([(Layer::UserNamespace, user)]);
    if user == Finding::Works {
        found.extend(KINDS.map(|(layer, kind)| (layer, works(libc::CLONE_NEWUSER | kind))));
    }
    found
}

/// A child that is killed and reaped when this goes.
struct Spawned(Pid);

impl Drop for Spawned {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: a signal to, and a wait for, a child that nobody else waits for; its pid cannot be reused before the wait.
        unsafe {
            libc::kill(self.0.as_raw(), libc::SIGKILL);
            loop {
                let waited = libc::waitpid(self.0.as_raw(), &raw mut status, libc::__WALL);
                let stopped = waited > 0 && libc::WIFSTOPPED(status);
                let interrupted = waited == -1 && Errno::last() == Errno::EINTR;
                if !stopped && !interrupted {
                    break;
                }
            }
        }
    }
}

/// Starts the child in new namespaces. Where the host answers clone3 with ENOSYS, which is the finding, by clone.
fn spawn(flags: libc::c_int, child: &Child) -> Result<(Spawned, Finding), Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data, for which zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned()) | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory and returns here as from fork(2); it makes only system
    // calls, so locks that other threads held do not matter.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) });
    let (pid, finding) = match pid {
        Err(Errno::ENOSYS) => {
            let flags = libc::c_long::from(flags & !CLONE_NEWTIME | libc::SIGCHLD);
            // SAFETY: as above; stack 0 means the copy of this one.
            let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
            (pid, Finding::Refused { errno: libc::ENOSYS, call: "clone3" })
        }
        other => (other?, Finding::Works),
    };
    if pid == 0 {
        child.run();
    }
    if pidfd >= 0 {
        // SAFETY: CLONE_PIDFD stored a fresh descriptor that nobody else owns.
        drop(unsafe { OwnedFd::from_raw_fd(pidfd) });
    }
    Ok((Spawned(Pid::from_raw(i32::try_from(pid).unwrap_or(0))), finding))
}

/// As the launcher does it when it is not root.
fn write_maps(pid: Pid) -> Finding {
    let write = |file: &str, text: String| fs::write(format!("/proc/{pid}/{file}"), text);
    let result = write("setgroups", "deny".into())
        .and_then(|()| write("gid_map", format!("0 {} 1", getegid())))
        .and_then(|()| write("uid_map", format!("0 {} 1", geteuid())));
    finding("write to uid_map", result.map_err(|error| errno_of(&error)))
}

/// The child's records, up to the end of its pipe or the record of the filter, behind which it is stopped.
fn read_report(report: OwnedFd, found: &mut Findings) {
    let mut pipe = fs::File::from(report);
    let mut record = [0; RECORD];
    while pipe.read_exact(&mut record).is_ok() {
        let [layer, step, errno @ ..] = record;
        let Some(layer) = Layer::ALL.get(usize::from(layer)) else {
            return;
        };
        let errno = i32::from_le_bytes(errno);
        let call = CALLS.get(usize::from(step)).copied().unwrap_or("");
        let finding = match errno {
            0 => Finding::Works,
            NO_EFFECT => Finding::NoEffect,
            errno => Finding::Refused { errno, call },
        };
        found.insert(*layer, finding);
        if *layer == Layer::Seccomp {
            return;
        }
    }
}

/// The child is about to make a trapped call: a tracer sees it stop with SIGSYS, nobody else can keep it alive.
fn see_trap(pid: Pid, traced: bool) -> Finding {
    let mut status = 0;
    // SAFETY: waitpid(2) stores one int. Where the trap is the child's end, the reaper finds no child, which is no error there.
    while unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::__WALL) } == -1 {
        if Errno::last() != Errno::EINTR {
            return Finding::NoEffect;
        }
    }
    let seen = match traced {
        true => libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSYS,
        false => libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS,
    };
    if seen { Finding::Works } else { Finding::NoEffect }
}

/// Bytes of a record: the layer, the call, and the error number, little-endian.
const RECORD: usize = 6;
/// In place of an error number: all calls succeeded, and what they should forbid still worked.
const NO_EFFECT: i32 = i32::MAX;

/// The calls that a record can name, by number.
const CALLS: [&str; 13] = [
    "mount (making mounts private)",
    "mount (tmpfs)",
    "open in a new tmpfs",
    "pivot_root",
    "umount2",
    "mount (read-only)",
    "prctl",
    "mseal",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "seccomp",
    "mmap",
    "setresuid",
];

/// What the child needs to know. It may not allocate: it is a copy of a process that may have other threads.
struct Child {
    report: RawFd,
    go: RawFd,
    /// The parent's end of `go`: as long as it is open here too, there is no end of file when the parent is gone.
    not_mine: RawFd,
    landlock_abi: i32,
    namespaces: Namespaces,
}

type Step = Result<(), (u8, i32)>;

impl Child {
    fn run(&self) -> ! {
        // SAFETY: raw system calls on descriptors and memory that are this process's own copies.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if self.report >= 0 {
                self.wait_for_parent();
                if self.namespaces == Namespaces::All {
                    self.tell(Layer::Root, empty_root());
                }
                self.tell(Layer::Capabilities, self.drop_capabilities());
                self.tell(Layer::NoNewPrivs, prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
                self.tell(Layer::Mdwe, deny_write_execute());
                self.tell(Layer::Mseal, seal());
                if self.landlock_abi > 0 {
                    self.tell(Layer::Landlock, landlock());
                }
                self.filter();
            }
            libc::_exit(0)
        }
    }

    /// One byte, once the parent has become the tracer and written the maps. A parent that ended before this child could ask for
    /// the parent-death signal is an end of file.
    unsafe fn wait_for_parent(&self) {
        let mut byte = 0u8;
        // SAFETY: both descriptors are the child's copies, which nothing else here uses; one byte is read into one byte.
        unsafe {
            libc::close(self.not_mine);
            if libc::read(self.go, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(0);
            }
        }
    }

    /// One write of less than PIPE_BUF bytes, which a pipe takes whole.
    unsafe fn tell(&self, layer: Layer, step: Step) {
        let (call, errno) = step.err().unwrap_or((0, 0));
        let [a, b, c, d] = errno.to_le_bytes();
        let record = [layer as u8, call, a, b, c, d];
        // SAFETY: the record has as many bytes.
        unsafe { libc::write(self.report, record.as_ptr().cast(), RECORD) };
    }

    /// As root of a user namespace: the last capability's number is not known, EINVAL ends the list.
    unsafe fn drop_capabilities(&self) -> Step {
        if self.namespaces == Namespaces::None {
            // Only with the capability in a namespace of one's own; here the question is whether prctl answers at all.
            // SAFETY: only asks.
            return unsafe { prctl(libc::PR_CAPBSET_READ, 0) };
        }
        for capability in 0..=63 {
            // SAFETY: what it takes away, it takes from the child.
            match unsafe { prctl(libc::PR_CAPBSET_DROP, capability) } {
                Err((_, libc::EINVAL)) => break,
                other => other?,
            }
        }
        // SAFETY: as above. SECBIT_*_LOCKED and the bits themselves, but keep-caps (linux/securebits.h).
        unsafe { prctl(libc::PR_SET_SECUREBITS, 0b1110_1111) }
    }

    /// A filter that answers one call with an error number and traps another, installed last: then the trap.
    unsafe fn filter(&self) {
        const fn op(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
            libc::sock_filter { code: code as u16, jt, jf, k }
        }
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        let program = [
            op(LOAD, 0, 0, 0),
            op(EQUAL, 0, 1, libc::SYS_getppid as u32),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EDOM as u32),
            op(EQUAL, 0, 1, libc::SYS_getpgrp as u32),
            op(RETURN, 0, 0, libc::SECCOMP_RET_TRAP),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: the program and what points to it live until the calls are over; the filter is the child's own.
        unsafe {
            let installed =
                check(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter));
            let step = match installed {
                Err(errno) => Err((10, errno as i32)),
                Ok(_) if check(libc::syscall(libc::SYS_getppid)) != Err(Errno::EDOM) => Err((10, NO_EFFECT)),
                Ok(_) => Ok(()),
            };
            self.tell(Layer::Seccomp, step);
            libc::syscall(libc::SYS_getpgrp);
        }
    }
}

fn at(call: u8, result: libc::c_long) -> Step {
    check(result).map(drop).map_err(|errno| (call, errno as i32))
}

/// # Safety
/// The option takes no pointer, and changes only what the child can do without.
unsafe fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Step {
    // SAFETY: passed on to the caller.
    at(6, unsafe { libc::prctl(option, argument, 0, 0, 0) }.into())
}

/// What the PD host does for its root. A directory that every host has is covered: nothing is created in the host's files.
unsafe fn empty_root() -> Step {
    let (none, root, place, here) = (std::ptr::null(), c"/".as_ptr(), c"/proc".as_ptr(), c".".as_ptr());
    let data = std::ptr::null();
    // SAFETY: every path is a literal that ends in NUL; the mounts are those of the child's own namespace.
    unsafe {
        // The user that the maps made: without them no file can be created.
        at(12, libc::syscall(libc::SYS_setresuid, 0, 0, 0))?;
        at(0, libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, data).into())?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        let tmpfs = c"tmpfs".as_ptr();
        at(1, libc::mount(tmpfs, place, tmpfs, flags, c"size=4096".as_ptr().cast()).into())?;
        at(1, libc::chdir(place).into())?;
        let file = libc::open(c"image".as_ptr(), libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC, 0o500);
        at(2, file.into())?;
        libc::close(file);
        at(3, libc::syscall(libc::SYS_pivot_root, here, here))?;
        at(4, libc::umount2(here, libc::MNT_DETACH).into())?;
        at(4, libc::chdir(root).into())?;
        let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | flags;
        at(5, libc::mount(none, root, none, read_only, data).into())
    }
}

/// A private page with these rights, or the step that failed.
unsafe fn page(rights: libc::c_int) -> Result<*mut libc::c_void, (u8, i32)> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, rights, flags, -1, 0) };
    if page == libc::MAP_FAILED { Err((11, Errno::last() as i32)) } else { Ok(page) }
}

const PAGE: usize = 4096;

unsafe fn deny_write_execute() -> Step {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: the page is new, and nothing of the child becomes executable later.
    unsafe {
        prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)?;
        let page = page(libc::PROT_READ | libc::PROT_WRITE)?;
        match libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) {
            0 => Err((6, NO_EFFECT)),
            _ => Ok(()),
        }
    }
}

unsafe fn seal() -> Step {
    // SAFETY: the page is new and nobody else's.
    unsafe {
        let page = page(libc::PROT_READ)?;
        at(7, libc::syscall(libc::SYS_mseal, page, PAGE, 0))?;
        match libc::munmap(page, PAGE) {
            0 => Err((7, NO_EFFECT)),
            _ => Ok(()),
        }
    }
}

/// A ruleset that handles opening directories and allows none, the oldest right there is.
unsafe fn landlock() -> Step {
    const READ_DIR: u64 = 1 << 3;
    let handled = READ_DIR;
    // SAFETY: the kernel reads the eight bytes it is told of; the child opens nothing afterwards.
    unsafe {
        let ruleset =
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size_of::<u64>(), 0);
        at(8, ruleset)?;
        at(9, libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0))?;
        match libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) {
            -1 if Errno::last() == Errno::EACCES => Ok(()),
            _ => Err((9, NO_EFFECT)),
        }
    }
}
