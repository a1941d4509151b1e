//! `doctor` and `run` where the host gives less: under the filters of container runtimes, in containers and chroots, behind a host's
//! settings. Each shortage is named with its cure, ends with 4, and no PD runs.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{World, for_each_user};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use serde_json::Value;

/// One system call that the host refuses: its number, with which error, and only with one of these bits in its first argument.
type Refusal = (i64, i32, Option<u64>);

const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// A filter for each refusal: the kernel takes the strictest answer of all.
fn filters(refusals: &[Refusal]) -> Vec<BpfProgram> {
    let filter = |(call, errno, bits): &Refusal| {
        let of_bit = |bit: u32| {
            let bit = 1u64 << bit;
            let set = SeccompCmpOp::MaskedEq(bit);
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, bit).unwrap();
            SeccompRule::new(vec![condition]).unwrap()
        };
        let rules = bits.map(|bits| (0..64).filter(|bit| bits & 1 << bit != 0).map(of_bit).collect());
        let errno = u32::try_from(*errno).unwrap();
        let filter = SeccompFilter::new(
            BTreeMap::from([(*call, rules.unwrap_or_default())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            TargetArch::x86_64,
        );
        filter.unwrap().try_into().unwrap()
    };
    refusals.iter().map(filter).collect()
}

/// The command will run where these calls are refused.
fn behind(command: &mut Command, refusals: &[Refusal]) {
    let filters = filters(refusals);
    let install = move || {
        filters.iter().try_for_each(|filter| {
            seccompiler::apply_filter(filter).map_err(|_| std::io::Error::from_raw_os_error(libc::EPERM))
        })
    };
    // SAFETY: between fork and exec only system calls are made; the programs were compiled before.
    unsafe { command.pre_exec(install) };
}

/// Runs the binary where these calls are refused.
fn refused(world: &World, refusals: &[Refusal], arguments: &[&str]) -> Output {
    let mut command = world.command();
    command.args(arguments);
    behind(&mut command, refusals);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `doctor` says in its two forms, which must agree; and that `run` refuses the host in the same words, before any PD.
fn judged(world: &World, run: &dyn Fn(&[&str]) -> Output, full_only: bool) -> (String, Value) {
    let human = run(&["doctor"]);
    let json = run(&["doctor", "--format", "json"]);
    assert_eq!((human.status.code(), json.status.code()), (Some(4), Some(4)), "{human:?}");
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["tier"], if full_only { Value::from("compat") } else { Value::Null }, "{report:#}");
    system(world);
    for tier in ["full", "compat"] {
        let outcome = run(&["run", "--until-idle", "--tier", tier, "x.system"]);
        let works = full_only && tier == "compat";
        assert_eq!(outcome.status.code(), Some(if works { 0 } else { 4 }), "{tier}: {outcome:?}");
        assert_eq!(text(&outcome.stdout), if works { "a | up\n" } else { "" }, "{tier}: {outcome:?}");
        for advice in report["advice"].as_object().unwrap().values().filter(|_| !works) {
            let said = text(&outcome.stderr);
            assert!(said.contains(advice.as_str().unwrap()), "{tier}: {advice}\n{said}");
        }
    }
    (text(&human.stdout), report)
}

fn system(world: &World) {
    world.program(
        "a",
        "#include <microkit.h>\nvoid init(void) { microkit_dbg_puts(\"up\\n\"); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
    );
    world.system(
        "x.system",
        "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
    );
}

/// What the host refuses; the layer found lacking; words of the report; whether tier compat does without.
#[test]
fn a_filter_of_a_container_is_named_with_its_cure() {
    let cases: &[(&[Refusal], &str, &[&str], bool)] = &[
        // Docker's default profile without the capability to administer: as far as it concerns a sandbox.
        (
            &[
                (libc::SYS_clone, libc::EPERM, Some(NAMESPACES)),
                (libc::SYS_clone3, libc::ENOSYS, None),
                (libc::SYS_unshare, libc::EPERM, None),
                (libc::SYS_mount, libc::EPERM, None),
                (libc::SYS_umount2, libc::EPERM, None),
                (libc::SYS_pivot_root, libc::EPERM, None),
                (libc::SYS_setns, libc::EPERM, None),
            ],
            "user_namespace",
            &["Docker's default profile", "--security-opt seccomp=unconfined"],
            false,
        ),
        (
            &[(libc::SYS_clone3, libc::ENOSYS, None)],
            "clone3",
            &["Docker's default profile answers clone3 with ENOSYS"],
            false,
        ),
        (&[(libc::SYS_mount, libc::EPERM, None)], "root", &["MISSING  empty root", "mount"], false),
        (
            &[(libc::SYS_landlock_create_ruleset, libc::ENOSYS, None)],
            "landlock",
            &["MISSING  Landlock: landlock_create_ruleset fails with ENOSYS"],
            false,
        ),
        (
            &[(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP, None)],
            "landlock",
            &["add landlock to the lsm= list"],
            false,
        ),
        (
            &[(libc::SYS_mseal, libc::EPERM, None)],
            "mseal",
            &["lacking  sealed mappings (mseal): mseal fails with EPERM"],
            true,
        ),
        (&[(libc::SYS_mseal, libc::ENOSYS, None)], "mseal", &["--security-opt seccomp=unconfined"], true),
        (
            &[(libc::SYS_ptrace, libc::EPERM, None)],
            "ptrace",
            &["MISSING  tracing a PD (ptrace): ptrace fails with EPERM"],
            false,
        ),
        (&[(libc::SYS_close_range, libc::ENOSYS, None)], "close_range", &["MISSING  close_range"], false),
        (&[(libc::SYS_memfd_create, libc::EPERM, None)], "memfd_seals", &["MISSING  sealed memfds"], false),
    ];
    for_each_user(|world| {
        for (refusals, layer, words, full_only) in cases {
            let run = |arguments: &[&str]| refused(world, refusals, arguments);
            let (human, report) = judged(world, &run, *full_only);
            assert_ne!(report["layers"][layer], "works", "{layer}: {report:#}");
            assert!(
                report["advice"][layer].is_string() || report["layers"][layer] == "not_tried",
                "{report:#}"
            );
            assert_eq!(report["filtered"], true);
            for word in *words {
                assert!(human.contains(word), "{layer}: {word}\n{human}");
            }
        }
    });
}

/// Seccomp itself refused. The filter that does so is the last that can be installed.
#[test]
fn seccomp_that_is_refused_is_named() {
    for_each_user(|world| {
        let refusals: &[Refusal] = &[(libc::SYS_seccomp, libc::EPERM, None)];
        let run = |arguments: &[&str]| refused(world, refusals, arguments);
        let (human, report) = judged(world, &run, false);
        assert_ne!(report["layers"]["seccomp"], "works");
        assert!(
            human.contains("MISSING  system call filters (seccomp): seccomp fails with EPERM"),
            "{human}"
        );
    });
}

/// `unshare` with these options around a script; it comes with every Linux system.
fn unshared(world: &World, options: &[&str], script: &str) -> Output {
    let mut command = Command::new("unshare");
    command.current_dir(world.dir()).env("TMPDIR", world.dir()).args(options).args(["sh", "-ec", script]);
    command.output().expect("unshare is part of util-linux")
}

/// Files of the host's settings as another host has them: a tmpfs over them in a mount namespace. What the kernel does about such a
/// setting is done by a filter.
fn with_settings(world: &World, settings: &[(&str, &str)], refusals: &[Refusal]) -> (String, Value) {
    let files: String = settings
        .iter()
        .map(|(path, value)| format!("mkdir -p \"$(dirname {path})\"; echo {value} > {path}; "))
        .collect();
    let run = |arguments: &[&str]| {
        let script = format!(
            "mount -t tmpfs none /proc/sys/kernel; {files} exec {} {}",
            world.binary().display(),
            arguments.join(" ")
        );
        let mut command = Command::new("unshare");
        command.current_dir(world.dir()).args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
        behind(&mut command, refusals);
        command.output().expect("unshare is part of util-linux")
    };
    judged(world, &run, false)
}

#[test]
fn settings_of_the_host_are_named() {
    let world = World::new(common::users()[0]);
    let (human, report) = with_settings(
        &world,
        &[("/proc/sys/kernel/yama/ptrace_scope", "3")],
        &[(libc::SYS_ptrace, libc::EPERM, None)],
    );
    assert!(human.contains("kernel.yama.ptrace_scope is 3"), "{human}");
    assert_eq!(report["settings"]["/proc/sys/kernel/yama/ptrace_scope"], "3");
    // AppArmor lets the namespace be made and takes what it is good for.
    let (human, _) = with_settings(
        &world,
        &[("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")],
        &[(libc::SYS_pivot_root, libc::EACCES, None)],
    );
    assert!(human.contains("MISSING  empty root") && human.contains("userns,"), "{human}");
    assert!(human.contains("sysctl kernel.apparmor_restrict_unprivileged_userns=0"), "{human}");
}

/// A user namespace in which no further one may be made.
#[test]
fn a_spent_limit_on_user_namespaces_is_named() {
    let world = World::new(common::users()[0]);
    let run = |arguments: &[&str]| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces; exec {} {}",
            world.binary().display(),
            arguments.join(" ")
        );
        unshared(&world, &["--user", "--map-root-user"], &script)
    };
    let (human, report) = judged(&world, &run, false);
    assert!(human.contains("MISSING  user namespace: clone fails with ENOSPC"), "{human}");
    assert!(human.contains("sysctl user.max_user_namespaces"), "{human}");
    assert_eq!(report["settings"]["/proc/sys/user/max_user_namespaces"], "0");
}

/// A container that allows namespaces is a host like any other: pid, mount, network and all namespaces of its own.
#[test]
fn a_container_that_allows_it_enforces_everything() {
    let world = World::new(common::users()[0]);
    system(&world);
    let program = world.binary().display().to_string();
    let options = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--net",
        "--ipc",
        "--uts",
    ];
    for arguments in ["doctor", "run --until-idle x.system", "verify x.system"] {
        let output = unshared(&world, &options, &format!("exec {program} {arguments}"));
        assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
    }
}

/// In a chroot the kernel makes no user namespace, and this one has no /proc either.
#[test]
fn a_chroot_is_told_as_one() {
    let world = World::new(common::users()[0]);
    let root = world.path("root");
    let copy = |path: &Path| {
        let to = root.join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    };
    let binary = world.binary();
    let listed = Command::new("ldd").arg(binary).output().expect("ldd comes with the C library");
    let listed = text(&listed.stdout);
    listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .for_each(|library| copy(Path::new(library)));
    fs::copy(binary, root.join("mk-sandbox")).unwrap();
    let enter = |with_proc: bool| {
        fs::create_dir_all(root.join("proc")).unwrap();
        let proc = if with_proc { "mount --rbind /proc root/proc;" } else { "" };
        let script = format!("{proc} exec chroot root /mk-sandbox doctor");
        unshared(&world, &["--user", "--map-root-user", "--mount"], &script)
    };
    let bare = enter(false);
    assert_eq!(bare.status.code(), Some(4), "{bare:?}");
    assert!(text(&bare.stdout).contains("MISSING  procfs"), "{bare:?}");
    assert!(text(&bare.stdout).contains("mount -t proc proc /proc"), "{bare:?}");
    let furnished = enter(true);
    assert_eq!(furnished.status.code(), Some(4), "{furnished:?}");
    assert!(text(&furnished.stdout).contains("not possible inside a chroot"), "{furnished:?}");
}
