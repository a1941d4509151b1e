//! The process of each PD: privileges, identity, namespaces, limits, root.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mk_sandbox::plan::PdPlan;
use mk_sandbox::policy::{Filters, PlanValues};
use nix::unistd::Pid;

use crate::cases::Cases;
use crate::common::{UNPRIVILEGED_ID, User};
use crate::scene::{Scene, read};

/// A case about one PD.
type Look = fn(&Scene, &PdPlan, Pid) -> String;

const LOOKS: [(&str, Look); 10] = [
    ("privileges", privileges),
    ("filters", filters),
    ("identity", identity),
    ("session and terminal", session),
    ("environment and arguments", environment),
    ("signals", signals),
    ("limits", limits),
    ("mounts", mounts),
    ("root", root),
    ("namespaces", namespaces),
];

/// Adds the cases.
pub fn cases(cases: &mut Cases, scene: &Scene) {
    for (pd, pid) in scene.pds() {
        for (what, look) in LOOKS {
            cases.case(&scene.case(&pd.name, what), || look(scene, pd, pid));
        }
    }
    cases.case(&scene.case("system", "no namespace is shared"), || all_namespaces(scene));
    cases.case(&scene.case("system", "host users"), || host_users(scene));
}

/// The fields of /proc/PID/status.
fn status(pid: Pid) -> BTreeMap<String, String> {
    let text = read(pid, "status");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Words of /proc/PID/stat from the state on: field 3 of proc(5) is word 0.
fn stat(pid: Pid) -> Vec<String> {
    let text = read(pid, "stat");
    let (_, rest) = text.rsplit_once(')').unwrap();
    rest.split_whitespace().map(str::to_owned).collect()
}

fn privileges(_: &Scene, _: &PdPlan, pid: Pid) -> String {
    let status = status(pid);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(read(pid, "personality").trim(), "00000000");
    "five empty capability sets, no_new_privs, no personality flags".into()
}

fn filters(_: &Scene, _: &PdPlan, pid: Pid) -> String {
    let status = status(pid);
    assert_eq!(status["Seccomp"], "2");
    let filters = Filters::compile(std::env::consts::ARCH, &PlanValues::new()).unwrap();
    // Where all of this runs under filters, PDs do so too; those that the launcher puts on itself come after.
    let inherited: usize = self::status(Pid::this())["Seccomp_filters"].parse().unwrap();
    let own = filters.loading.len() + filters.running.len();
    assert_eq!(status["Seccomp_filters"], (inherited + own).to_string());
    format!("all {own}")
}

fn identity(scene: &Scene, _: &PdPlan, pid: Pid) -> String {
    let status = status(pid);
    assert_eq!(status["Groups"], "");
    assert_eq!(status["Threads"], "1");
    assert_eq!(status["TracerPid"], scene.launcher().to_string());
    assert_eq!(status["PPid"], scene.launcher().to_string());
    for numbers in ["NSpid", "NStgid", "NSpgid"] {
        assert_eq!(
            status[numbers].split_whitespace().collect::<Vec<_>>(),
            [&*pid.to_string(), "1"],
            "{numbers}"
        );
    }
    let mut ids = Vec::new();
    for (numbers, map) in [("Uid", "uid_map"), ("Gid", "gid_map")] {
        let all: BTreeSet<&str> = status[numbers].split_whitespace().collect();
        assert_eq!(all.len(), 1, "real, effective, saved and file system {numbers}: {all:?}");
        let id = all.first().unwrap().to_string();
        let map = read(pid, map);
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", id.as_str(), "1"]);
        ids.push(id);
    }
    if scene.user() != User::Root {
        assert_eq!(read(pid, "setgroups").trim(), "deny");
    }
    format!("process 1 of its namespace, host user {}, group {}, no other", ids[0], ids[1])
}

fn session(scene: &Scene, _: &PdPlan, pid: Pid) -> String {
    let (own, launcher) = (stat(pid), stat(scene.launcher()));
    // Fields 5 to 8: process group, session, terminal, foreground process group of the terminal.
    assert_ne!(launcher[4], "0", "the launcher has no terminal, so this would show nothing");
    assert_ne!(own[3], launcher[3], "the launcher's session");
    assert_eq!([&*own[2], &own[4], &own[5]], [&pid.to_string(), "0", "-1"]);
    for (_, other) in scene.pds() {
        assert_eq!(stat(other)[3], own[3], "one session of the PDs");
    }
    // Who leads it is outside of the PD's namespace.
    assert_eq!(status(pid)["NSsid"].split_whitespace().collect::<Vec<_>>(), [&*own[3], "0"]);
    "the PDs', none".into()
}

fn environment(_: &Scene, pd: &PdPlan, pid: Pid) -> String {
    assert_eq!(read(pid, "environ"), "");
    let line = read(pid, "cmdline");
    let words: Vec<&str> = line.split('\0').collect();
    assert_eq!(words[0], format!("mk-pd:{}", pd.name));
    assert!(words[1].parse::<u32>().is_ok(), "{words:?}");
    assert_eq!(words[2..], ["shipped", ""], "{words:?}");
    assert_eq!(read(pid, "comm"), format!("{}\n", pd.name));
    "empty, and nothing that a PD should not know".into()
}

fn signals(scene: &Scene, _: &PdPlan, pid: Pid) -> String {
    let (launcher, status) = (status(scene.launcher()), status(pid));
    for set in ["SigBlk", "SigIgn"] {
        assert_ne!(launcher[set], "0000000000000000", "the launcher has none to hand down: {set}");
    }
    for set in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    "none pending, blocked, ignored or handled".into()
}

/// /proc/PID/limits: soft and hard limit by name.
fn all_limits(pid: Pid) -> BTreeMap<String, [String; 2]> {
    let text = read(pid, "limits");
    let lines = text.lines().skip(1).map(|line| {
        // Names have 25 columns and hold single spaces.
        let (name, rest) = line.split_at(25);
        let mut words = rest.split_whitespace().map(str::to_owned);
        (name.trim().to_owned(), [words.next().unwrap(), words.next().unwrap()])
    });
    lines.collect()
}

fn limits(scene: &Scene, pd: &PdPlan, pid: Pid) -> String {
    let mut expected = all_limits(scene.launcher());
    for nothing in [
        "Max core file size",
        "Max file size",
        "Max locked memory",
        "Max msgqueue size",
        "Max nice priority",
        "Max pending signals",
        "Max processes",
        "Max realtime priority",
        "Max stack size",
    ] {
        assert!(expected.insert(nothing.into(), ["0".into(), "0".into()]).is_some(), "{nothing}");
    }
    // The highest number it holds, and one more for the count from 0.
    let files = (pd.descriptors.last().unwrap().fd + 1).to_string();
    expected.insert("Max open files".into(), [files.clone(), files.clone()]);
    assert_eq!(all_limits(pid), expected);
    format!("nine of nothing, {files} descriptor numbers")
}

fn mounts(_: &Scene, _: &PdPlan, pid: Pid) -> String {
    let text = read(pid, "mountinfo");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(words[3..5], ["/", "/"], "{text}");
    let options: BTreeSet<&str> = words[5].split(',').collect();
    assert!(["ro", "nosuid", "nodev"].iter().all(|option| options.contains(option)), "{text}");
    // No optional fields: neither shared with nor received from any other mount.
    assert_eq!(words[6..8], ["-", "tmpfs"], "{text}");
    format!("one: {}", words[5])
}

fn root(scene: &Scene, pd: &PdPlan, pid: Pid) -> String {
    let root = format!("/proc/{pid}/root/");
    let names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [pd.image.file_name().unwrap()]);
    let file = fs::read(format!("{root}{}", pd.image.display())).unwrap();
    // Only that it is the image: what is taken out of it is not this test's matter.
    assert_eq!(file.len(), scene.image(pd).len());
    let statvfs = nix::sys::statvfs::statvfs(root.as_str()).unwrap();
    assert!(statvfs.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
    let own = fs::metadata(&root).unwrap();
    for link in ["cwd", "root"] {
        use std::os::unix::fs::MetadataExt;
        let seen = fs::metadata(format!("/proc/{pid}/{link}")).unwrap();
        assert_eq!((seen.dev(), seen.ino()), (own.dev(), own.ino()), "{link}");
    }
    format!("read-only, with {} in it, also the working directory", pd.image.display())
}

/// Every kind of namespace the kernel has, with this process's own.
fn namespaces_of(pid: Pid) -> BTreeMap<String, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns")).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let link = fs::read_link(entry.path()).unwrap();
            (entry.file_name().to_string_lossy().into_owned(), link.to_string_lossy().into_owned())
        })
        .collect()
}

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

fn namespaces(scene: &Scene, _: &PdPlan, pid: Pid) -> String {
    let (own, launcher) = (namespaces_of(pid), namespaces_of(scene.launcher()));
    assert!(KINDS.iter().all(|kind| own.contains_key(*kind)), "{own:?}");
    // The kernel's list, not this file's: a new kind shows.
    for (kind, inode) in &own {
        assert_ne!(Some(inode), launcher.get(kind), "{kind}");
    }
    format!("{} of its own", KINDS.len())
}

fn all_namespaces(scene: &Scene) -> String {
    let mut seen = BTreeMap::new();
    for (pd, pid) in scene.pds() {
        for (kind, inode) in namespaces_of(pid) {
            // What its children would have is what it has.
            let kind = kind.trim_end_matches("_for_children").to_owned();
            let first = seen.entry(inode.clone()).or_insert((pd.name.clone(), kind.clone()));
            assert_eq!(*first, (pd.name.clone(), kind), "{inode}");
        }
    }
    assert_eq!(seen.len(), KINDS.len() * scene.plan().pds.len());
    format!("{} different ones", seen.len())
}

fn host_users(scene: &Scene) -> String {
    let ids: Vec<u32> = scene
        .pds()
        .flat_map(|(_, pid)| ["uid_map", "gid_map"].map(|map| (pid, map)))
        .map(|(pid, map)| read(pid, map).split_whitespace().nth(1).unwrap().parse().unwrap())
        .collect();
    match scene.user() {
        User::Root => {
            let distinct: BTreeSet<u32> = ids.iter().copied().collect();
            assert_eq!(
                distinct.len(),
                scene.plan().pds.len(),
                "one for each PD, as user and as group: {ids:?}"
            );
            assert!(distinct.iter().all(|id| (0x7000_0000..0x8000_0000).contains(id)), "{ids:x?}");
            format!("a different one for each PD: {distinct:?}")
        }
        user => {
            let own = match user {
                User::Unprivileged => [UNPRIVILEGED_ID; 2],
                _ => [nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()],
            };
            assert!(ids.chunks(2).all(|pair| pair == own), "{ids:?}");
            format!("the launcher's own for each: {}", own[0])
        }
    }
}
