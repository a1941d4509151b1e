//! A live system with everything a PD can have: regions of every kind of rights, channels both ways, calls, a library, a heap and a
//! stack of other sizes than usual, and a PD that has nothing. Its launcher has a terminal, an environment and descriptors to leak.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use mk_sandbox::image::Image;
use mk_sandbox::plan::{Options, PdPlan, Plan};
use mk_sandbox::sdf;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::common::{Running, User, World};

/// Other than the default, so that it shows.
pub const HEAP_SIZE: u64 = 192 << 10;

const SYSTEM: &str = r#"<system>
  <memory_region name="data" size="0x3000"/>
  <memory_region name="code" size="0x2000"/>
  <memory_region name="inner" size="0x1000"/>
  <memory_region name="table" size="0x1000"/>
  <protection_domain name="server" priority="9" stack_size="0x5000">
    <program_image path="server.elf"/>
    <map mr="data" vaddr="0x4000000" perms="r"/>
    <map mr="code" vaddr="0x5000000" perms="rx"/>
    <map mr="table" vaddr="0x20000000000" perms="rw"/>
  </protection_domain>
  <protection_domain name="client" priority="5">
    <program_image path="client.elf"/>
    <map mr="data" vaddr="0x4000000" perms="rw"/>
    <map mr="inner" vaddr="0x4003000" perms="rw"/>
    <map mr="code" vaddr="0x4005000" perms="rw"/>
  </protection_domain>
  <protection_domain name="reader" priority="4">
    <program_image path="client.elf"/>
    <map mr="data" vaddr="0x10000" perms="r"/>
    <map mr="data" vaddr="0x6000000" perms="r"/>
  </protection_domain>
  <protection_domain name="alone" priority="1">
    <program_image path="alone.elf"/>
  </protection_domain>
  <protection_domain name="parent" priority="8">
    <program_image path="parent.elf"/>
    <protection_domain name="child" id="5">
      <program_image path="alone.elf"/>
      <map mr="inner" vaddr="0x4000000" perms="rw"/>
    </protection_domain>
  </protection_domain>
  <channel><end pd="client" id="3" pp="true"/><end pd="server" id="61"/></channel>
  <channel><end pd="reader" id="0" pp="true"/><end pd="server" id="0"/></channel>
  <channel><end pd="client" id="7"/><end pd="reader" id="9" notify="false"/></channel>
</system>"#;

const SERVER: &str = r#"
#include <math.h>
#include <microkit.h>

static volatile double number = 2;
static int calls;

void init(void) { number = sqrt(number); }
void notified(microkit_channel ch) { (void)ch; }

microkit_msginfo protected(microkit_channel ch, microkit_msginfo message)
{
    (void)ch;
    if (++calls == 2) {
        microkit_dbg_puts("ready\n");
    }
    return message;
}
"#;

const CLIENT: &str = r#"
#include <stdlib.h>
#include <stdio.h>
#include <microkit.h>

void init(void)
{
    void *block = malloc(1000);
    microkit_ppcall(microkit_name[0] == 'c' ? 3 : 0, microkit_msginfo_new(0, 4));
    printf("%s\n", block == NULL ? "no memory" : "ready");
}

void notified(microkit_channel ch) { (void)ch; }
"#;

const ALONE: &str = r#"
#include <microkit.h>

void init(void) { microkit_dbg_puts("ready\n"); }
void notified(microkit_channel ch) { (void)ch; }
"#;

const PARENT: &str = r#"
#include <microkit.h>

void init(void) { microkit_dbg_puts("ready\n"); }
void notified(microkit_channel ch) { (void)ch; }

seL4_Bool fault(microkit_child child, microkit_msginfo message, microkit_msginfo *reply)
{
    (void)child, (void)message, (void)reply;
    return seL4_False;
}
"#;

/// The system as it runs, and what the library plans for the same file.
pub struct Scene {
    world: World,
    running: Running,
    plan: Plan,
    pids: BTreeMap<String, Pid>,
    /// The other end of the launcher's terminal.
    _terminal: OwnedFd,
}

/// Descriptor numbers that the launcher inherits and knows nothing of.
pub const LEAKS: [i32; 2] = [9, 200];

impl Scene {
    /// Starts it and waits until every PD has gone through its `init`.
    pub fn new(user: User) -> Self {
        let world = World::new(user);
        world.program_with("server", SERVER, &["-Wl,--no-as-needed", "-lm"]);
        world.program("client", CLIENT);
        world.program("alone", ALONE);
        world.program("parent", PARENT);
        let system = world.system("scene.system", SYSTEM);

        let (terminal, slave) = terminal();
        let (slave_fd, leak) = (slave.as_raw_fd(), File::open("/").unwrap());
        let leaked = leak.as_raw_fd();
        let mut command = world.command();
        command.env("SECRET", "of the launcher").env("LD_BIND_NOT", "1");
        command.args(["run", "--heap-size", &HEAP_SIZE.to_string(), "scene.system"]);
        // SAFETY: system calls alone, in a child that is about to exec.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                libc::ioctl(slave_fd, libc::TIOCSCTTY, 0);
                LEAKS.iter().for_each(|fd| _ = libc::dup2(leaked, *fd));
                // By the kernel's numbers: the C library keeps two signals for itself. Ignored, as under nohup, and blocked.
                let (ignore, mask) = ([libc::SIG_IGN as u64, 0, 0, 0], !0u64);
                for signal in [libc::SIGHUP, libc::SIGUSR1, libc::SIGCHLD, 32, 40] {
                    let none = std::ptr::null_mut::<u64>();
                    libc::syscall(libc::SYS_rt_sigaction, signal, ignore.as_ptr(), none, size_of::<u64>());
                }
                let none = std::ptr::null_mut::<u64>();
                let size = size_of::<u64>();
                libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, none, size);
                Ok(())
            });
        }
        let mut running = Running::start(command);
        let names = ["server", "client", "reader", "alone", "parent", "child"];
        for name in names {
            running.wait_for_stdout(&format!("{name} | ready\n"));
        }
        running.signal(Signal::SIGHUP);
        let pids = running.pds();
        assert_eq!(pids.len(), names.len(), "{pids:?}");

        let source = sdf::read_source(&system).unwrap();
        let options =
            sdf::Options { search_path: vec![world.dir().to_owned()], arch: sdf::Arch::Any, cpus: 1 };
        let (read, _) = sdf::load(&source, &options).unwrap();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let plan = Plan::of(&read, &Options { heap_size: HEAP_SIZE, cpus, allow_wx: false }).unwrap();
        Self { world, running, plan, pids, _terminal: terminal }
    }

    /// Who the launcher is.
    pub fn user(&self) -> User {
        self.world.user()
    }

    /// The name of a case about a PD, or about the system.
    pub fn case(&self, about: &str, what: &str) -> String {
        format!("{}: {about}: {what}", format!("{:?}", self.world.user()).to_lowercase())
    }

    /// The launcher.
    pub fn launcher(&self) -> Pid {
        self.running.pid()
    }

    /// Every PD's plan and process.
    pub fn pds(&self) -> impl Iterator<Item = (&PdPlan, Pid)> {
        self.plan.pds.iter().map(|pd| (pd, self.pids[&pd.name]))
    }

    /// The plan of the whole system.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A PD's process by its place in the system.
    pub fn pid(&self, pd: mk_sandbox::sdf::PdIndex) -> Pid {
        self.pids[&self.plan.pd(pd).name]
    }

    /// The bytes of a PD's image file.
    pub fn image(&self, pd: &PdPlan) -> Vec<u8> {
        fs::read(self.world.dir().join(&pd.image)).unwrap()
    }

    /// The names of the libraries that a PD's image needs.
    pub fn needed(&self, pd: &PdPlan) -> Vec<&'static str> {
        let image = Image::read("image", self.image(pd)).unwrap();
        image.needed().iter().map(|library| library.soname()).collect()
    }

    /// The path of the binary, as the kernel names it.
    pub fn binary(&self) -> String {
        fs::canonicalize(self.world.binary()).unwrap().to_string_lossy().into_owned()
    }

    /// Ends the system, which has run without a fault. What its launcher was made to ignore it has ignored.
    pub fn end(self) {
        assert_eq!(self.running.pds(), self.pids);
        self.running.signal(Signal::SIGTERM);
        self.running.wait().expect(0);
    }
}

/// The two ends of a new terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let none = std::ptr::null_mut();
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: openpty(3) stores two descriptors; it is told no name and no settings.
    let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are fresh.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

/// A file of /proc/PID as text.
#[track_caller]
pub fn read(pid: Pid, file: &str) -> String {
    let bytes =
        fs::read(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("/proc/{pid}/{file}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}
