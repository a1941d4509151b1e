//! The kernel's account of a running launcher, and of the process that starts PDs again.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Stage;
use crate::cases::Cases;
use crate::common::User;

const NO_CAPABILITY: &str = "0000000000000000";

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    let user = stage.user();
    cases.case(&format!("{user}: a launcher without restarts"), || {
        let mut running = stage.start("nothing never -", &["quiet.system"]);
        running.wait_for_stdout("ready");
        let status = status(running.pid());
        confined(stage, &status);
        let (others, _) = children(running.pid(), "mk-pd:");
        assert_eq!(others, [], "it has children beside its PDs");
        running.signal(Signal::SIGTERM);
        running.wait().expect(0);
        "no capability, no_new_privs, a filter, and no child but its PDs".into()
    });
    cases.case(&format!("{user}: a launcher with restarts"), || {
        let mut running = stage.start("nothing never -", &["--on-fault=restart", "quiet.system"]);
        running.wait_for_stdout("ready");
        confined(stage, &status(running.pid()));
        let (others, _) = children(running.pid(), "mk-pd:");
        let [starter] = others[..] else { panic!("one process to start PDs again: {others:?}") };
        let status = status(starter);
        // CAP_SETGID, CAP_SETUID, CAP_SYS_NICE (linux/capability.h).
        let wanted = match stage.world.user() {
            User::Root => format!("{:016x}", 1u64 << 6 | 1 << 7 | 1 << 23),
            _ => NO_CAPABILITY.to_owned(),
        };
        assert_eq!((&status["CapPrm"], &status["CapEff"]), (&wanted, &wanted));
        assert_eq!((&*status["CapInh"], &*status["CapAmb"]), (NO_CAPABILITY, NO_CAPABILITY));
        assert_eq!(status["NoNewPrivs"], "1");
        assert_eq!(status["TracerPid"], running.pid().to_string());
        running.signal(Signal::SIGTERM);
        running.wait().expect(0);
        assert!(fs::metadata(format!("/proc/{starter}")).is_err(), "it outlives the launcher");
        format!("the launcher as without; the one that starts PDs has capabilities {wanted}")
    });
    cases.case(&format!("{user}: the launcher is killed, and who starts PDs again with it"), || {
        let mut running = stage.start("nothing never -", &["--on-fault=restart", "quiet.system"]);
        running.wait_for_stdout("ready");
        let (others, pds) = children(running.pid(), "mk-pd:");
        running.signal(Signal::SIGKILL);
        running.wait();
        for pid in others.iter().chain(&pds) {
            let gone =
                || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
            while !gone() {
                std::thread::yield_now();
            }
        }
        format!("{} processes are gone", others.len() + pds.len())
    });
    for arguments in [&["--until-idle"][..], &["--until-idle", "--schedule=microkit"]] {
        cases.case(&format!("{user}: a family of faults and restarts: {arguments:?}"), || {
            let outcome = stage.run("nothing never -", &[arguments, &["family.system"]].concat());
            outcome
                .expect(1)
                .printed("parent", &["begins", "fault 6 of 4 words", "fault 0 of 0 words", "child is well"]);
            "told, ended, started again".into()
        });
    }
}

fn confined(stage: &Stage, status: &BTreeMap<String, String>) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], NO_CAPABILITY, "{set}");
    }
    // Who has no CAP_SETPCAP cannot empty the bounding set.
    if stage.world.user() == User::Root {
        assert_eq!(status["CapBnd"], NO_CAPABILITY);
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2");
    let inherited: usize = self::status(Pid::this())["Seccomp_filters"].parse().unwrap();
    assert_eq!(status["Seccomp_filters"], (inherited + 1).to_string());
}

fn status(pid: Pid) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// A process's children whose command line does not begin with this, and those whose does.
fn children(parent: Pid, start: &str) -> (Vec<Pid>, Vec<Pid>) {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let all = list.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()));
    let is_pd = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(start))
    };
    let (pds, others): (Vec<Pid>, Vec<Pid>) = all.partition(is_pd);
    (others, pds)
}
