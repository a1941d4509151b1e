//! This program as a launcher, through the library: with layers left out, or with no monitor but its own eyes.

#![forbid(unsafe_code)]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use mk_sandbox::commands::prepare::{self, Wishes};
use mk_sandbox::launch::{self, Launch, Schedule};
use mk_sandbox::monitor::{self, Mode, Policy, Until};
use mk_sandbox::pd::{self, Seam, Step};
use mk_sandbox::policy::Program;
use mk_sandbox::sdf::Arch;
use mk_sandbox::sys::probe::Tier;
use mk_sandbox::{report, sys};
use nix::errno::Errno;

use crate::common::{Outcome, Running, UNPRIVILEGED_ID, User, World};
use crate::{asked, sweep};

/// First argument of this program when it is a launcher; the second is what kind, the third the system file.
pub const LAUNCHER: &str = "--launcher";

/// Layers that a launcher of this program can leave out: ablation, which no option of the shipped binary offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Both filters.
    Seccomp,
    /// The Landlock domains.
    Landlock,
    /// All but the user and mount namespaces, and the empty root.
    Namespaces,
    /// mseal.
    Sealing,
    /// The empty capability sets.
    Capabilities,
    /// Memory-deny-write-execute.
    Mdwe,
    /// Resource limits.
    Limits,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Seccomp,
        Self::Landlock,
        Self::Namespaces,
        Self::Sealing,
        Self::Capabilities,
        Self::Mdwe,
        Self::Limits,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "Landlock",
            Self::Namespaces => "namespaces",
            Self::Sealing => "sealing",
            Self::Capabilities => "capability drop",
            Self::Mdwe => "write-execute denial",
            Self::Limits => "limits",
        }
    }
}

/// The seam of this program: the layers in its argument are left out.
pub struct Ablated(Vec<Layer>);

impl Seam for Ablated {
    fn argument(&self) -> String {
        without(&self.0)
    }

    fn from_argument(argument: &str) -> Self {
        let is_named = |layer: &Layer| argument.split(',').any(|word| word == format!("{layer:?}"));
        Self(Layer::ALL.into_iter().filter(is_named).collect())
    }

    fn before(&self, _: Step, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn leaves_out(&self, layer: pd::Layer) -> bool {
        self.0.contains(&match layer {
            pd::Layer::Landlock => Layer::Landlock,
            pd::Layer::Namespaces => Layer::Namespaces,
            pd::Layer::Capabilities => Layer::Capabilities,
            pd::Layer::Limits => Layer::Limits,
        })
    }
}

/// As in attacks.c.
const ABSTRACT: &str = "mk-sandbox-probe";

/// A launcher that makes its PDs try every system call number.
pub const SWEEP: &str = "sweep";

/// Runs a system as the world's user with this program as the launcher.
pub fn run(world: &World, kind: &str, system: &str) -> Outcome {
    let mut command = Command::new(world.test_program());
    command.args([LAUNCHER, kind, system]);
    command.current_dir(world.dir()).env_clear().env("TMPDIR", world.dir());
    if world.user() == User::Unprivileged {
        command.gid(UNPRIVILEGED_ID).uid(UNPRIVILEGED_ID);
    }
    Running::start(command).wait()
}

/// What [`run`] is told to leave layers out.
pub fn without(layers: &[Layer]) -> String {
    layers.iter().map(|layer| format!("{layer:?}")).collect::<Vec<_>>().join(",")
}

/// The launcher's side.
pub fn launcher(kind: &str, system: &str) -> ExitCode {
    let wishes = Wishes {
        system: Path::new(system),
        search_path: &[],
        arch: Arch::Any,
        build: false,
        heap_size: 1 << 20,
        tier: Tier::Full,
        schedule: Schedule::Linux,
        wait: mk_sandbox::launch::Wait::Auto,
        realtime: false,
        again: false,
        allow_wx: false,
    };
    let mut launch = prepare::launch(&wishes).unwrap().launch;
    if kind == SWEEP {
        return sweep::launcher(&launch);
    }
    if kind == asked::ASK {
        let_all_through(&mut launch);
        return asked::launcher(&launch);
    }
    let seam = Ablated::from_argument(kind);
    for layer in &seam.0 {
        match layer {
            Layer::Seccomp => let_all_through(&mut launch),
            Layer::Sealing => launch.without.mseal = true,
            Layer::Mdwe => launch.without.mdwe = true,
            Layer::Landlock | Layer::Namespaces | Layer::Capabilities | Layer::Limits => {}
        }
    }
    // Whom a PD that reaches the host's network could reach. Another user's run may be listening there already.
    let address = SocketAddr::from_abstract_name(ABSTRACT).unwrap();
    let _listener = match UnixListener::bind_addr(&address) {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => panic!("{error}"),
        listener => listener,
    };
    sys::descriptor::raise_limit().unwrap();
    let signals = prepare::take_signals().unwrap();
    let resources = launch::prepare(&launch, None).unwrap();
    let running = launch::start(&launch, &resources, &signals, &seam).unwrap();
    let until = Until { idle: true, limit: None };
    let options = monitor::Options { console: Mode::Prefixed, until, policy: Policy::Continue };
    let tell = |fault: &monitor::Fault, policy| {
        eprintln!("mk-sandbox: {}", report::fault(&launch.plan, fault, policy));
    };
    monitor::run(&launch, &resources, running, &signals, options, &tell).unwrap();
    ExitCode::SUCCESS
}

/// Filters that deny nothing but the call by which a PD says that it is ready.
fn let_all_through(launch: &mut Launch) {
    // struct sock_filter: code in bits 0 to 15, jt in 16 to 23, jf in 24 to 31, k from 32 on.
    let load_number = 0x20;
    let is_exit_group = 0x15 | 1 << 24 | (libc::SYS_exit_group as u64) << 32;
    let answer = |action: u32| 0x06 | u64::from(action) << 32;
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    launch.filters.loading = vec![Program { name: "nothing".into(), words: vec![allow] }];
    let words = vec![load_number, is_exit_group, answer(libc::SECCOMP_RET_TRAP), allow];
    launch.filters.running = vec![Program { name: "ready".into(), words }];
}
