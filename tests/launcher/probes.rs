//! Attempts that whoever has taken the launcher over would make. Each has its control, the same attempt just before the launcher
//! confines itself; and each is made with the filter and Landlock, with the filter alone, and with Landlock alone.

#![allow(unsafe_code)]

use std::ffi::CStr;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::Stage;
use crate::cases::Cases;

/// In place of an error number.
const DONE: i64 = 1;

const fn refused(errno: i32) -> i64 {
    -(errno as i64)
}

/// What is prepared while everything is allowed.
pub struct Scene {
    /// A process of the same user that is nobody's tracee.
    victim: i32,
    /// An abstract socket of another domain listens.
    listener: i32,
    address: (libc::sockaddr_un, libc::socklen_t),
}

impl Scene {
    pub fn new() -> Self {
        // SAFETY: the child makes only system calls; the listener is an ordinary socket.
        unsafe {
            let parent = libc::getpid();
            let victim = libc::fork();
            if victim == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                // The launcher may have ended before that.
                while libc::getppid() == parent {
                    libc::pause();
                }
                libc::_exit(0);
            }
            let listener = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            let address = abstract_address();
            let (name, length) = address;
            libc::bind(listener, (&raw const name).cast(), length);
            libc::listen(listener, 4);
            Self { victim, listener, address }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // SAFETY: it is this scene's own.
        unsafe { libc::close(self.listener) };
    }
}

/// What is tried, by which system call, what comes of it without any layer, and with Landlock alone.
struct Probe {
    name: &'static str,
    call: &'static str,
    act: fn(&Scene, Option<Pid>) -> i64,
    control: i64,
    landlock: i64,
}

const EACCES: i64 = refused(libc::EACCES);
const EPERM: i64 = refused(libc::EPERM);
const ENOENT: i64 = refused(libc::ENOENT);

#[rustfmt::skip]
const PROBES: &[Probe] = &[
    Probe { name: "read-a-file", call: "openat", act: |_, _| open(c"/proc/self/status", libc::O_RDONLY), control: DONE, landlock: EACCES },
    Probe { name: "list-the-root", call: "openat", act: |_, _| open(c"/", libc::O_RDONLY | libc::O_DIRECTORY), control: DONE, landlock: EACCES },
    Probe { name: "create-a-file", call: "openat", act: |_, _| open(c"probe", libc::O_WRONLY | libc::O_CREAT), control: DONE, landlock: EACCES },
    Probe { name: "memory-of-a-process", call: "openat", act: |scene, _| open_memory(scene.victim), control: DONE, landlock: EACCES },
    Probe { name: "trace-a-process", call: "ptrace", act: |scene, _| ptrace(libc::PTRACE_SEIZE, scene.victim, 0), control: DONE, landlock: EPERM },
    Probe { name: "read-a-process", call: "process_vm_readv", act: |scene, _| read_process(scene.victim), control: DONE, landlock: EPERM },
    Probe { name: "connect-abstract", call: "socket", act: |scene, _| connect_abstract(scene), control: DONE, landlock: EPERM },
    Probe { name: "bind-tcp", call: "socket", act: |_, _| bind_tcp(), control: DONE, landlock: EACCES },
    Probe { name: "kill-a-process", call: "kill", act: |scene, _| call(libc::SYS_kill, [scene.victim as u64, 0, 0, 0, 0]), control: DONE, landlock: DONE },
    Probe { name: "fork", call: "clone3", act: |_, _| fork(), control: DONE, landlock: DONE },
    Probe { name: "exec", call: "execve", act: |_, _| exec(c"./none"), control: ENOENT, landlock: EACCES_OR_ENOENT },
    Probe { name: "memfd", call: "memfd_create", act: |_, _| call(libc::SYS_memfd_create, [c"m".as_ptr() as u64, 0, 0, 0, 0]), control: DONE, landlock: DONE },
    Probe { name: "executable-memory", call: "mmap", act: |_, _| map_executable(), control: DONE, landlock: DONE },
    Probe { name: "pidfd", call: "pidfd_open", act: |scene, _| call(libc::SYS_pidfd_open, [scene.victim as u64, 0, 0, 0, 0]), control: DONE, landlock: DONE },
    Probe { name: "namespace", call: "unshare", act: |_, _| call(libc::SYS_unshare, [0; 5]), control: DONE, landlock: DONE },
    Probe { name: "another-signal", call: "pidfd_send_signal", act: |_, _| call(libc::SYS_pidfd_send_signal, [u64::MAX, libc::SIGSTOP as u64, 0, 0, 0]),
        control: refused(libc::EBADF), landlock: refused(libc::EBADF) },
    Probe { name: "receive-descriptors", call: "recvmsg", act: |scene, _| call(libc::SYS_recvmsg, [scene.listener as u64, 0, 0, 0, 0]),
        control: refused(libc::EFAULT), landlock: refused(libc::EFAULT) },
];

/// The path is looked up before Landlock is asked.
const EACCES_OR_ENOENT: i64 = ENOENT;

pub fn attempt(name: &str, scene: &Scene, starter: Option<Pid>) -> i64 {
    match name {
        "set-starter" => starter.map_or(0, |starter| ptrace(libc::PTRACE_SETREGS, starter.as_raw(), 0)),
        "read-starter" => starter.map_or(0, |starter| ptrace(libc::PTRACE_PEEKDATA, starter.as_raw(), 0)),
        _ => (PROBES.iter().find(|probe| probe.name == name).unwrap().act)(scene, starter),
    }
}

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    let quiet = ["--until-idle", "quiet.system"];
    let user = stage.user();
    for probe in PROBES {
        let Probe { name, call, .. } = probe;
        cases.case(&format!("{user}: {name}: control"), || {
            let outcome = stage.run(&format!("nothing before {name}"), &quiet);
            outcome.expect(0).says(&format!("{name}: {}\n", probe.control)).printed("quiet", &["ready"]);
            words(probe.control)
        });
        for (left_out, layers) in [("nothing", "all layers"), ("landlock", "the filter alone")] {
            cases.case(&format!("{user}: {name}: {layers}"), || {
                let outcome = stage.run(&format!("{left_out} behind {name}"), &quiet);
                outcome.expect(5).says(&format!("denies it the system call {}", number_and_name(call)));
                assert_eq!(outcome.stdout, "", "a PD has run");
                format!("{call} ends the launcher")
            });
        }
        cases.case(&format!("{user}: {name}: Landlock alone"), || {
            let outcome = stage.run(&format!("filter behind {name}"), &quiet);
            outcome.expect(0).says(&format!("{name}: {}\n", probe.landlock)).printed("quiet", &["ready"]);
            words(probe.landlock)
        });
    }
    let again = ["--until-idle", "--on-fault=restart", "quiet.system"];
    cases.case(&format!("{user}: registers of the process that starts PDs again"), || {
        let outcome = stage.run("nothing behind set-starter", &again);
        outcome.expect(0).says(&format!("set-starter: {EPERM}\n"));
        let outcome = stage.run("filter behind set-starter", &again);
        outcome.expect(0);
        assert!(!outcome.stderr.contains(&format!("set-starter: {EPERM}\n")), "{outcome}");
        words(EPERM)
    });
    cases.case(&format!("{user}: memory of the process that starts PDs again"), || {
        let outcome = stage.run("nothing behind read-starter", &again);
        outcome.expect(5).says("denies it the system call 101 ptrace");
        "ptrace ends the launcher".into()
    });
    cases.case(&format!("{user}: a confinement that fails"), || {
        let outcome = stage.run("nothing fail -", &quiet);
        outcome.expect(5).says("confining the launcher itself: ");
        assert_eq!(outcome.stdout, "", "a PD has run");
        "no PD runs".into()
    });
}

fn number_and_name(call: &str) -> String {
    format!("{} {call}", mk_sandbox::policy::syscall_number(call).unwrap())
}

fn words(outcome: i64) -> String {
    match outcome {
        ..0 => format!("{:?}", Errno::from_raw(-outcome as i32)),
        _ => "works".into(),
    }
}

fn outcome(result: i64) -> i64 {
    if result == -1 { refused(Errno::last_raw()) } else { DONE }
}

fn call(number: i64, a: [u64; 5]) -> i64 {
    // SAFETY: numbers and pointers that the kernel checks.
    outcome(unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4]) })
}

fn open(path: &CStr, flags: libc::c_int) -> i64 {
    // SAFETY: a C string and numbers.
    unsafe {
        let fd = libc::openat(libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o600);
        let outcome = outcome(fd.into());
        libc::close(fd);
        outcome
    }
}

fn open_memory(pid: i32) -> i64 {
    let path = std::ffi::CString::new(format!("/proc/{pid}/mem")).unwrap();
    open(&path, libc::O_RDONLY)
}

fn ptrace(request: libc::c_uint, pid: i32, data: u64) -> i64 {
    call(libc::SYS_ptrace, [request.into(), pid as u64, 0, data, 0])
}

fn read_process(pid: i32) -> i64 {
    let word = 0u64;
    let mut copy = 0u64;
    let local = libc::iovec { iov_base: (&raw mut copy).cast(), iov_len: 8 };
    // The child is a copy of this process, so what is mapped here is mapped there.
    let remote = libc::iovec { iov_base: (&raw const word).cast_mut().cast(), iov_len: 8 };
    // SAFETY: one word is written into a local.
    outcome(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as i64)
}

fn abstract_address() -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: sockaddr_un is plain data.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let name = format!("\0mk-launcher-{}", std::process::id());
    for (to, from) in address.sun_path.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    (address, (size_of::<libc::sa_family_t>() + name.len()) as libc::socklen_t)
}

fn connect_abstract(scene: &Scene) -> i64 {
    let (address, length) = scene.address;
    // SAFETY: numbers, and an address of this length.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let outcome = outcome(libc::connect(socket, (&raw const address).cast(), length).into());
        libc::close(socket);
        outcome
    }
}

fn bind_tcp() -> i64 {
    // SAFETY: sockaddr_in is plain data; the address is as long as it says. Port 0 is any that is free.
    unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as u16;
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let outcome = outcome(libc::bind(socket, (&raw const address).cast(), length).into());
        libc::close(socket);
        outcome
    }
}

/// The C library's fork is clone; clone3 is what PDs are started by.
fn fork() -> i64 {
    // SAFETY: clone_args is plain data; the child ends at once.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.exit_signal = libc::SIGCHLD as u64;
        let pid = libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>());
        if pid == 0 {
            libc::_exit(0);
        }
        outcome(pid)
    }
}

fn exec(path: &CStr) -> i64 {
    let arguments = [path.as_ptr(), std::ptr::null()];
    // SAFETY: null-terminated arrays of C strings.
    outcome(unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), arguments[1..].as_ptr()) }.into())
}

fn map_executable() -> i64 {
    let (rights, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping where the kernel likes.
    outcome(unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, flags, -1, 0) } as i64)
}
