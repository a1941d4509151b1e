//! Privileges, namespaces, limits, root: /proc/PID/{status,ns,limits,mountinfo,root,environ,stat}.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::unistd::Pid;

use super::{Checks, Scene};
use crate::launch::RunningPd;
use crate::sys::session::Session;

/// namespaces(7)
const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

pub(super) fn check(scene: &Scene, pd: &RunningPd, checks: &mut Checks) -> io::Result<()> {
    let pid = pd.child.pid;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let status = read("status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("missing").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    checks.equal("no_new_privs", 1, field("NoNewPrivs"));
    checks.equal("seccomp-mode", 2, field("Seccomp"));
    let filters = scene.launch.filters.loading.len() + scene.launch.filters.running.len();
    checks.equal("seccomp-filters", filters + inherited_filters()?, field("Seccomp_filters"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        checks.equal("capabilities", format!("{set} {:016x}", 0), format!("{set} {}", field(set)));
    }
    checks.equal("tracer", Pid::this(), field("TracerPid"));
    checks.equal("threads", 1, field("Threads"));
    namespaces(scene, pd, checks)?;

    let limits = read("limits")?;
    let held = checks.pd.descriptors.len() + 1;
    for (name, most) in [
        ("Max core file size", 0),
        ("Max file size", 0),
        ("Max open files", held),
        ("Max processes", 0),
        ("Max locked memory", 0),
        ("Max msgqueue size", 0),
        ("Max pending signals", 0),
        ("Max stack size", 0),
    ] {
        let found = limits.lines().find_map(|line| line.strip_prefix(name));
        let found: Vec<&str> = found.unwrap_or("").split_whitespace().take(2).collect();
        checks.equal("limits", format!("{name}: {most} {most}"), format!("{name}: {}", found.join(" ")));
    }

    checks.equal("environment", "empty", if read("environ")?.is_empty() { "empty" } else { "not empty" });
    // Behind the name in parentheses: state, ppid, pgrp, session, tty_nr (proc_pid_stat(5)).
    let stat = read("stat")?;
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let session =
        scene.resources.session.as_ref().and_then(Session::id).map_or("none".into(), |id| id.to_string());
    let place = |group: &str, session: &str, terminal: &str| {
        format!("process group {group}, session {session}, terminal {terminal}")
    };
    let field = |number: usize| rest.get(number).copied().unwrap_or("?");
    checks.equal("session", place(&pid.to_string(), &session, "0"), place(field(2), field(3), field(4)));

    let mounts: Vec<String> = read("mountinfo")?
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let options = words.get(5).copied().unwrap_or("");
            let flags: Vec<&str> =
                options.split(',').filter(|o| matches!(*o, "ro" | "rw" | "nosuid" | "nodev")).collect();
            let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
            format!("{} {kind} {}", words.get(4).copied().unwrap_or(""), flags.join(","))
        })
        .collect();
    checks.equal("mounts", "/ tmpfs ro,nosuid,nodev", mounts.join("; "));
    let mut files: Vec<String> = fs::read_dir(PathBuf::from(format!("/proc/{pid}/root")))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    files.sort();
    checks.equal("root", &scene.launch.images[pd.index.0].name, files.join(" "));
    Ok(())
}

/// Filters that the launcher itself runs under, as in a container, are in force in the PD too.
fn inherited_filters() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
}

fn namespaces(scene: &Scene, pd: &RunningPd, checks: &mut Checks) -> io::Result<()> {
    let inode = |process: &str, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}"));
    let own = pd.child.pid.to_string();
    let mut shared = Vec::new();
    for kind in NAMESPACES {
        let mine = inode(&own, kind)?;
        if inode("self", kind)? == mine {
            shared.push(format!("{kind} with the launcher"));
        }
        for other in scene.running.iter().filter(|other| other.index != pd.index) {
            if inode(&other.child.pid.to_string(), kind)? == mine {
                shared.push(format!("{kind} with `{}`", scene.launch.plan.pd(other.index).name));
            }
        }
    }
    checks.none("namespaces", format!("own {}", NAMESPACES.join(", ")), &shared);
    Ok(())
}
