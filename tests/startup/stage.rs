//! A system of three PDs, this program as its launcher, and what must be left of both.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::LAUNCHER;
use crate::common::{Outcome, Running, UNPRIVILEGED_ID, User, World};
use crate::seam::{Act, argument};

/// PDs of the system, in its order. The first two notify each other without end, the last one waits.
pub const PDS: [&str; 3] = ["first", "middle", "last"];

/// Every PD counts here what it was notified of; a read-only view of it is in its neighbour.
pub const COUNTER: u64 = 0x400_0000;

const SYSTEM: &str = r#"<system>
  <memory_region name="counts" size="0x1000"/>
  <memory_region name="others" size="0x2000"/>
  <protection_domain name="first" priority="3">
    <program_image path="pd.elf"/>
    <map mr="counts" vaddr="0x4000000" perms="rw"/>
  </protection_domain>
  <protection_domain name="middle" priority="2">
    <program_image path="pd.elf"/>
    <map mr="others" vaddr="0x4000000" perms="rw"/>
    <map mr="counts" vaddr="0x5000000" perms="r"/>
  </protection_domain>
  <protection_domain name="last" priority="1">
    <program_image path="pd.elf"/>
    <map mr="others" vaddr="0x4000000" perms="rw"/>
  </protection_domain>
  <channel><end pd="first" id="0"/><end pd="middle" id="0"/></channel>
  <channel><end pd="middle" id="1"/><end pd="last" id="0" pp="true"/></channel>
</system>"#;

const PROGRAM: &str = r#"
#include <microkit.h>

__attribute__((constructor)) static void constructed(void)
{
    microkit_dbg_puts("constructed\n");
}

void init(void)
{
    microkit_dbg_puts("ready\n");
    if (microkit_name[0] == 'f') {
        microkit_notify(0);
    }
}

void notified(microkit_channel ch)
{
    ++*(volatile unsigned long *)0x4000000;
    microkit_notify(ch);
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo message)
{
    (void)ch;
    return message;
}
"#;

const FAULTY: &str = r#"
#include <microkit.h>

void init(void)
{
    microkit_dbg_puts("begins\n");
    __builtin_trap();
}

void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo message) { (void)ch; return message; }
"#;

/// Everything that the cases of one user need.
pub struct Stage {
    world: World,
    launcher: PathBuf,
}

impl Stage {
    /// Builds it. From here on this process takes in what its descendants leave behind.
    pub fn new(user: User) -> Self {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let world = World::new(user);
        world.program("pd", PROGRAM);
        world.system("three.system", SYSTEM);
        world.program("faulty", FAULTY);
        world.system("restarting.system", &SYSTEM.replace("pd.elf", "faulty.elf"));
        let launcher = world.test_program();
        Self { world, launcher }
    }

    /// For the names of cases.
    pub fn user(&self) -> String {
        format!("{:?}", self.world.user()).to_lowercase()
    }

    /// A file of this stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// Starts the system with this program as the launcher.
    pub fn start(&self, act: &Act, pd: &str, board: &Path) -> Running {
        let mut command = self.as_user(Command::new(&self.launcher));
        command.args([LAUNCHER, &argument(act, pd, board), "three.system"]);
        Running::start(command)
    }

    /// Makes a file the user's own.
    pub fn give(&self, path: &Path) {
        self.world.give(path);
    }

    /// The system with the shipped binary as its launcher.
    pub fn shipped(&self) -> Command {
        self.shipped_with(&["run", "three.system"])
    }

    /// The shipped binary with other arguments.
    pub fn shipped_with(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command();
        command.args(arguments);
        command
    }

    /// Starts a system whose PDs fault as soon as they run and are started again, without end.
    pub fn start_restarting(&self) -> Running {
        let mut command = self.world.command();
        command.args(["run", "--on-fault", "restart", "restarting.system"]);
        Running::start(command)
    }

    /// Starts the system with the shipped binary.
    pub fn start_shipped(&self) -> Running {
        Running::start(self.shipped())
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.current_dir(self.world.dir()).env_clear().env("TMPDIR", self.world.dir());
        if self.world.user() == User::Unprivileged {
            command.gid(UNPRIVILEGED_ID).uid(UNPRIVILEGED_ID);
        }
        command
    }

    /// What there is now, to be compared with what a run leaves.
    pub fn before(&self) -> Before<'_> {
        reap(Duration::ZERO);
        Before { stage: self, found: self.look() }
    }

    fn look(&self) -> Found {
        let mut files = BTreeSet::new();
        list(self.world.dir(), &mut files);
        Found { files, mounts: fs::read_to_string("/proc/self/mountinfo").unwrap() }
    }
}

/// What a run could leave behind, but for processes.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    files: BTreeSet<PathBuf>,
    mounts: String,
}

/// The moment before a run.
pub struct Before<'a> {
    stage: &'a Stage,
    found: Found,
}

/// A PD whose launcher was killed is on its way out, which takes a moment; nothing here takes that long.
const LAST_BREATH: Duration = Duration::from_secs(20);

impl Before<'_> {
    /// Waits for the launcher's end, which has already ended and reaped its PDs: no process, no mount and no file is left, and the
    /// launcher itself has closed what it opened.
    #[track_caller]
    pub fn ends_clean(&self, running: Running) -> Outcome {
        let outcome = running.wait();
        let left = reap(Duration::ZERO);
        assert!(left.is_empty(), "processes left behind: {left:?}\n{outcome}");
        self.nothing_else_left();
        assert_ne!(outcome.code, Some(i32::from(crate::LEAKED)), "{outcome}");
        outcome
    }

    /// The launcher was killed: its PDs follow it, and nothing is left.
    #[track_caller]
    pub fn dies_clean(&self, running: Running) -> Outcome {
        let outcome = running.wait();
        let left = reap(LAST_BREATH);
        assert!(left.is_empty(), "processes left behind: {left:?}\n{outcome}");
        self.nothing_else_left();
        outcome
    }

    #[track_caller]
    fn nothing_else_left(&self) {
        assert_eq!(self.stage.look(), self.found);
    }
}

/// Takes in every descendant that has ended, and waits so long for those that have not. Returns those that live on.
fn reap(patience: Duration) -> Vec<String> {
    let deadline = Instant::now() + patience;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => return Vec::new(),
            Err(Errno::EINTR) => {}
            Err(errno) => panic!("waitpid: {errno}"),
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => std::thread::yield_now(),
            Ok(WaitStatus::StillAlive) => return end_children(),
            Ok(_) => {}
        }
    }
}

/// The command lines of this process's children, which are ended, so that the next case does not find them.
fn end_children() -> Vec<String> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for pid in list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw) {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
            found.push(format!("{pid}: {}", line.replace('\0', " ")));
        }
    }
    // The list above needs a kernel with checkpoint support; that somebody is there is known already.
    if found.is_empty() {
        found.push("a process that the kernel does not name".into());
    }
    found
}

fn list(directory: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), files);
        }
        files.insert(entry.path());
    }
}
