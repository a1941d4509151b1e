//! The launcher killed at the one moment when nothing but its own care ties a child to it: the child exists, and has not made one
//! system call. This program traces the launcher, so that the kernel stops both there.

#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cases::Cases;
use crate::common::Running;
use crate::stage::{PDS, Stage};

/// The launcher's children in the order they are made, by tier: in the lower one the first finds out what the host offers.
const CHILDREN: [(&str, &[&str]); 2] = [("full", &PDS), ("compat", &["the host's probe", PDS[0]])];

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    for (tier, children) in CHILDREN {
        for (earlier, child) in children.iter().enumerate() {
            let name = format!("{}: launcher killed in tier {tier}, {child} just born", stage.user());
            cases.case(&name, || killed(stage, tier, earlier));
        }
    }
}

fn killed(stage: &Stage, tier: &str, earlier: usize) -> String {
    let before = stage.before();
    let mut command = stage.shipped();
    command.args(["--tier", tier]);
    // SAFETY: one system call, in a child that is about to exec.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let running = Running::start(command);
    let newborn = newborn(running.pid(), earlier);
    running.signal(Signal::SIGKILL);
    // Its end, which is collected later; until then it may still be on its way.
    let end = nix::sys::wait::Id::Pid(running.pid());
    nix::sys::wait::waitid(end, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    ptrace::detach(newborn, None).unwrap();
    let outcome = before.dies_clean(running);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (None, ""), "{outcome}");
    "nothing is left".into()
}

/// Lets the launcher make so many children, and stops it at the next one, which it returns; both are stopped.
fn newborn(launcher: Pid, earlier: usize) -> Pid {
    let all = Some(WaitPidFlag::__WALL);
    // The stop at its exec.
    assert!(matches!(waitpid(launcher, all), Ok(WaitStatus::Stopped(_, Signal::SIGTRAP))));
    let options = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(launcher, options).unwrap();
    let mut seen = 0;
    let mut signal = None;
    loop {
        ptrace::cont(launcher, signal.take()).unwrap();
        match waitpid(launcher, all).unwrap() {
            WaitStatus::PtraceEvent(..) => {
                let child = Pid::from_raw(i32::try_from(ptrace::getevent(launcher).unwrap()).unwrap());
                // Its first stop, before its first instruction.
                assert!(matches!(waitpid(child, all), Ok(WaitStatus::Stopped(..))));
                if seen == earlier {
                    return child;
                }
                seen += 1;
                ptrace::detach(child, None).unwrap();
            }
            WaitStatus::Stopped(_, for_it) => signal = Some(for_it),
            other => {
                kill(launcher, Signal::SIGKILL).ok();
                panic!("the launcher makes no child after {seen}: {other:?}");
            }
        }
    }
}
