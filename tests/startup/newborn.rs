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

/// Clones the PDs for the launcher.
const LEADER: &str = "the session's leader";

/// The launcher's children in the order they are made, by tier: in the lower one the first finds out what the host offers.
const CHILDREN: [(&str, &[&str]); 2] =
    [("full", &[LEADER, PDS[0], PDS[1], PDS[2]]), ("compat", &["the host's probe", LEADER, PDS[0]])];

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    for (tier, children) in CHILDREN {
        for (earlier, child) in children.iter().enumerate() {
            let name = format!("{}: launcher killed in tier {tier}, {child} just born", stage.user());
            cases.case(&name, || killed(stage, tier, &children[..earlier]));
        }
    }
}

fn killed(stage: &Stage, tier: &str, earlier: &[&str]) -> String {
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

/// Lets the launcher make these children, and stops at the next one, which it returns: that one and who made it are stopped.
fn newborn(launcher: Pid, earlier: &[&str]) -> Pid {
    let all = Some(WaitPidFlag::__WALL);
    // The stop at its exec.
    assert!(matches!(waitpid(launcher, all), Ok(WaitStatus::Stopped(_, Signal::SIGTRAP))));
    let options = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(launcher, options).unwrap();
    ptrace::cont(launcher, None).unwrap();
    let mut earlier = earlier.iter();
    // Whose first stop was told before who made them.
    let mut unknown = Vec::new();
    let mut followed = vec![launcher];
    loop {
        match waitpid(None, all).unwrap() {
            WaitStatus::PtraceEvent(by, ..) => {
                let child = Pid::from_raw(i32::try_from(ptrace::getevent(by).unwrap()).unwrap());
                // Its first stop, before its first instruction.
                if !unknown.contains(&child) {
                    assert!(matches!(waitpid(child, all), Ok(WaitStatus::Stopped(..))));
                }
                match earlier.next() {
                    None => return child,
                    // It has the launcher's options.
                    Some(&LEADER) => {
                        followed.push(child);
                        ptrace::cont(child, None).unwrap();
                    }
                    Some(_) => ptrace::detach(child, None).unwrap(),
                }
                ptrace::cont(by, None).unwrap();
            }
            WaitStatus::Stopped(pid, for_it) if followed.contains(&pid) => {
                ptrace::cont(pid, for_it).unwrap();
            }
            WaitStatus::Stopped(pid, _) => unknown.push(pid),
            other if other.pid() == Some(launcher) => {
                kill(launcher, Signal::SIGKILL).ok();
                panic!("the launcher ends before it makes the child: {other:?}");
            }
            _ => {}
        }
    }
}
