//! What the launcher itself has and can do once the system runs: the kernel's account of its process, and attempts from inside of it,
//! with each of its layers alone. This program is launcher and PD host itself, with a seam that makes the attempts.

#[path = "../startup/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;

mod probes;
mod rules;
mod seam;
mod status;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use mk_sandbox::cli::RunArgs;
use mk_sandbox::commands::run;
use mk_sandbox::pd::{self, Seam};

use cases::Cases;
use common::{Outcome, Running, UNPRIVILEGED_ID, User, World};
use seam::TestSeam;

/// First argument of this program when it is the launcher; the second is the seam's, the others those of `mk-sandbox run`.
const LAUNCHER: &str = "--launcher";

#[derive(Parser)]
struct Launcher {
    seam: String,
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    pd::entry::<TestSeam>();
    let mut arguments = std::env::args().peekable();
    if arguments.next_if(|_| true).is_some() && arguments.peek().is_some_and(|first| first == LAUNCHER) {
        let launcher = Launcher::parse_from(arguments);
        let seam = TestSeam::from_argument(&launcher.seam);
        return run::run(&launcher.run, run::early([], &seam), &seam).into();
    }
    let wanted = arguments.find(|word| !word.starts_with('-'));
    let mut cases = Cases::new(wanted);
    for user in common::users() {
        let stage = Stage::new(user);
        status::cases(&mut cases, &stage);
        probes::cases(&mut cases, &stage);
        rules::cases(&mut cases, &stage);
    }
    cases.finish()
}

/// A parent whose child faults, is told of, set, and started again; a PD without a parent that faults; one with a budget.
const SYSTEM: &str = r#"<system>
  <memory_region name="count" size="0x1000"/>
  <protection_domain name="parent" priority="9">
    <program_image path="parent.elf"/>
    <protection_domain name="child" id="1" priority="5">
      <program_image path="child.elf"/>
      <map mr="count" vaddr="0x4000000" perms="rw" setvar_vaddr="count"/>
    </protection_domain>
  </protection_domain>
  <protection_domain name="alone" priority="3" budget="200" period="1000">
    <program_image path="alone.elf"/>
  </protection_domain>
  <channel><end pd="parent" id="0"/><end pd="child" id="0"/></channel>
</system>"#;

const PARENT: &str = r#"
#include <microkit.h>
#include <stdio.h>
static unsigned faults;
void init(void) { puts("begins"); }
void notified(microkit_channel ch) { (void)ch; puts("child is well"); }
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    seL4_UserContext context;
    seL4_TCB_ReadRegisters(BASE_TCB_CAP + child, 0, 0, 20, &context);
    printf("fault %lu of %u words\n", microkit_msginfo_get_label(info), (unsigned)microkit_msginfo_get_count(info));
    (void)reply;
    if (faults++ < 2) { microkit_pd_restart(child, 0); }
    return seL4_False;
}
"#;

/// Faults at first, then leaves by the 32-bit gate, which ends its process, then rings.
const CHILD: &str = r#"
#include <microkit.h>
volatile unsigned long *count;
void init(void) {
    switch (++*count) {
    case 1: *(volatile int *)8 = 1; break;
    case 2: __asm__ volatile("int $0x80" : : "a"(20) : "memory"); break;
    default: microkit_notify(0);
    }
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const ALONE: &str = r#"
#include <microkit.h>
void init(void) {
    for (volatile int i = 0; i < 20000000; i++) {}
    microkit_dbg_puts("alone is done\n");
    __builtin_trap();
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const QUIET: &str = r#"<system>
  <protection_domain name="quiet"><program_image path="quiet.elf"/></protection_domain>
</system>"#;

const QUIET_PROGRAM: &str = r#"
#include <microkit.h>
void init(void) { microkit_dbg_puts("ready\n"); }
void notified(microkit_channel ch) { (void)ch; }
"#;

/// What the cases of one user need.
pub struct Stage {
    pub world: World,
    launcher: PathBuf,
}

impl Stage {
    fn new(user: User) -> Self {
        let world = World::new(user);
        for (name, source) in
            [("parent", PARENT), ("child", CHILD), ("alone", ALONE), ("quiet", QUIET_PROGRAM)]
        {
            world.program(name, source);
        }
        world.system("family.system", SYSTEM);
        world.system("quiet.system", QUIET);
        let launcher = world.test_program();
        Self { world, launcher }
    }

    /// For the names of cases.
    pub fn user(&self) -> String {
        format!("{:?}", self.world.user()).to_lowercase()
    }

    /// This program as the launcher, with this word for its seam.
    pub fn start(&self, seam: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(&self.launcher);
        command.args([LAUNCHER, seam]).args(arguments);
        command.current_dir(self.world.dir()).env_clear().env("TMPDIR", self.world.dir());
        if self.world.user() == User::Unprivileged {
            command.gid(UNPRIVILEGED_ID).uid(UNPRIVILEGED_ID);
        }
        Running::start(command)
    }

    /// The same up to its end.
    pub fn run(&self, seam: &str, arguments: &[&str]) -> Outcome {
        self.start(seam, arguments).wait()
    }
}
