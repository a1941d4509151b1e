//! The commands as a user types them: what they print where, and their exit codes.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use mk_sandbox::image::{Image, Library};

const EXAMPLE: &str = "examples/client_server/example.system";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mk-sandbox"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CC");
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// An empty directory for one test; what an earlier run left there is gone.
fn scratch(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The client_server example without its images.
fn example_copy(test: &str) -> PathBuf {
    let directory = scratch(test);
    for name in ["example.system", "client.c", "server.c"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/client_server").join(name);
        fs::copy(from, directory.join(name)).expect("the example is there");
    }
    directory
}

const IMAGE: &str = "#include <microkit.h>\n\
    void init(void) { microkit_dbg_puts(\"hello\\n\"); }\n\
    void notified(microkit_channel ch) { microkit_notify(ch); }\n";

#[test]
fn help_lists_commands_and_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!((code(&help), err(&help).as_str()), (0, ""));
    let text = out(&help);
    for word in ["run", "check", "policy", "doctor", "cc", "sdk", "completions", "124", "Exit codes:"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for command in ["run", "check", "policy", "doctor", "cc", "sdk", "completions"] {
        let help = run(&[command, "--help"]);
        assert_eq!((code(&help), err(&help).as_str()), (0, ""), "{command}");
        assert!(out(&help).lines().count() > 5, "{command}");
    }
}

#[test]
fn version_is_the_packages() {
    let version = run(&["--version"]);
    assert_eq!(out(&version), format!("mk-sandbox {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(code(&version), 0);
}

#[test]
fn a_wrong_command_line_is_2_and_says_why_on_standard_error() {
    for (arguments, said) in [
        (&[][..], "Usage"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["run"], "<SYSTEM>"),
        (&["run", "--fast", EXAMPLE], "--fast"),
        (&["run", "--timeout", "0", EXAMPLE], "above 0"),
        (&["run", "--heap-size", "1", EXAMPLE], "a size from 4K"),
        (&["run", "--tier", "half", EXAMPLE], "full, compat"),
        (&["run", "--console", "loud", EXAMPLE], "prefixed, raw"),
        (&["run", "-q", "-v", EXAMPLE], "cannot be used with"),
        (&["cc"], "<ARGUMENTS>"),
        (&["policy", "--pd", "nobody", EXAMPLE], "no PD `nobody`; the system has: server, client"),
    ] {
        let output = run(arguments);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]);
        assert_eq!((code(&script), err(&script).as_str()), (0, ""), "{shell}");
        assert!(out(&script).contains("until-idle"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    use std::process::Stdio;
    for arguments in [&["policy", EXAMPLE][..], &["completions", "bash"], &["doctor"], &["--help"]] {
        let mut child = program()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(err(&output), "", "{arguments:?}");
        assert_ne!(code(&output), 101, "{arguments:?} panicked");
    }
}

#[test]
fn check_accepts_a_valid_system_and_warns_of_missing_images() {
    let directory = example_copy("check_valid");
    let system = directory.join("example.system");
    let system = system.to_str().expect("UTF-8");
    let output = run(&["check", system]);
    assert_eq!(code(&output), 0);
    let told =
        format!("{system}: valid: 2 protection domains, 1 memory region, 1 channel (2 warnings, 1 note)\n");
    assert_eq!(out(&output), told);
    let warnings = err(&output);
    assert!(warnings.contains("server.elf") && warnings.contains("client.elf"), "{warnings}");
    assert!(warnings.contains("example.system:6:"), "the place: {warnings}");

    let elsewhere = scratch("check_valid_images");
    for name in ["server", "client"] {
        let image = elsewhere.join(format!("{name}.elf"));
        let source = directory.join(format!("{name}.c"));
        let built = run(&["cc", "-o", image.to_str().expect("UTF-8"), source.to_str().expect("UTF-8")]);
        assert_eq!(code(&built), 0, "{}", err(&built));
    }
    let search_path = elsewhere.to_str().expect("UTF-8");
    let found = run(&["check", "--allow", "notes", "--search-path", search_path, system]);
    assert_eq!((code(&found), err(&found).as_str()), (0, ""));
}

#[test]
fn check_reports_every_error_at_its_place() {
    let directory = scratch("check_errors");
    let system = directory.join("bad.system");
    let text = "<system>\n  \
        <memory_region name=\"a\" size=\"0x1001\"/>\n  \
        <protection_domain name=\"p\" priority=\"300\">\n    \
        <program_image path=\"p.elf\"/>\n  \
        </protection_domain>\n\
        </system>\n";
    fs::write(&system, text).expect("writable");
    let output = run(&["check", system.to_str().expect("UTF-8")]);
    assert_eq!((code(&output), out(&output).as_str()), (3, ""));
    let errors = err(&output);
    for word in ["bad.system:2:", "0x1001", "bad.system:3:", "300", "^"] {
        assert!(errors.contains(word), "{word}: {errors}");
    }
    let missing = run(&["check", "no/such.system"]);
    assert_eq!(code(&missing), 3);
    assert!(err(&missing).contains("no/such.system"), "{}", err(&missing));
}

#[test]
fn policy_shows_what_the_file_grants_and_nothing_else() {
    let output = run(&["policy", EXAMPLE, "--format", "json"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON");
    let client = &json["pds"][1];
    assert_eq!(client["name"], "client");
    let region = serde_json::json!({"name": "shared", "vaddr": 0x4000000, "size": 0x1000, "perms": "rw"});
    assert_eq!(client["regions"], serde_json::json!([region]));
    assert_eq!(client["channels"][0]["id"], 1);
    assert_eq!(client["channels"][0]["peer"], "server");
    assert_eq!(client["channels"][0]["peer_id"], 2);
    assert_eq!(client["channels"][0]["may_call"], false);
    let held: Vec<_> = client["descriptors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|held| (held["fd"].as_i64(), held["what"].as_str()))
        .collect();
    let expected = [
        (Some(1), Some("console")),
        (Some(2), Some("console")),
        (Some(3), Some("doorbell")),
        (Some(4), Some("doorbell of server")),
    ];
    assert_eq!(held, expected);
    let rules = json["every_pd"]["running"]["rules"].as_array().expect("a list");
    let allowed: Vec<_> = rules
        .iter()
        .filter(|rule| rule["action"] == "allow")
        .map(|rule| rule["syscall"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(allowed, ["read", "write"]);

    let one = out(&run(&["policy", "--pd", "client", EXAMPLE]));
    for word in ["PD `client`", "0x000004000000..0x000004001000  rw   shared", "with `server` (there 2)"] {
        assert!(one.contains(word), "{word}: {one}");
    }
    assert!(!one.contains("PD `server`"), "{one}");
    assert!(one.lines().all(|line| line.chars().count() <= 100), "{one}");
}

#[test]
fn doctor_agrees_with_itself() {
    let human = run(&["doctor"]);
    let json = run(&["doctor", "--format", "json"]);
    assert_eq!((err(&human), err(&json)), (String::new(), String::new()));
    let report: serde_json::Value = serde_json::from_str(&out(&json)).expect("JSON");
    let full = report["tier"] == "full";
    assert_eq!(code(&human), if full { 0 } else { 4 }, "{}", out(&human));
    assert_eq!(code(&json), code(&human));
    assert_eq!(out(&human).contains("Tier full"), full, "{}", out(&human));
    assert_eq!(out(&human).matches("\n  ok ").count() == 23, full, "{}", out(&human));
}

/// A user namespace in which no further one may be made stands for a host that lacks a layer. `unshare` and `sh` come with every
/// Linux system.
#[test]
fn a_host_that_falls_short_is_4_with_the_cause_and_the_cure() {
    let program = env!("CARGO_BIN_EXE_mk-sandbox");
    let on_poor_host = |command: &str| {
        let limit = "echo 0 > /proc/sys/user/max_user_namespaces";
        Command::new("unshare")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--user", "--map-root-user", "sh", "-ec", &format!("{limit}; exec {program} {command}")])
            .output()
            .expect("unshare is part of util-linux")
    };
    let doctor = on_poor_host("doctor");
    assert_eq!(code(&doctor), 4, "{}", err(&doctor));
    let text = out(&doctor);
    assert!(text.contains("MISSING  user namespace: clone fails with ENOSPC"), "{text}");
    assert!(text.contains("sysctl user.max_user_namespaces"), "{text}");
    assert!(text.contains("ok       system call filters (seccomp)"), "the rest is tried: {text}");

    let directory = example_copy("poor_host");
    let system = directory.join("example.system");
    for tier in ["full", "compat"] {
        let system = system.display();
        let output = on_poor_host(&format!("run --build --until-idle --tier {tier} {system}"));
        let said = err(&output);
        assert_eq!((code(&output), out(&output).as_str()), (4, ""), "{said}");
        assert!(said.contains("user namespace") && said.contains("sysctl"), "{said}");
        assert!(!said.contains("--tier compat\n"), "no tier does without it: {said}");
    }
    // Without --build the first process is cloned before the file is read; what the file says is told first all the same.
    let output = on_poor_host(&format!("run --until-idle {}", system.display()));
    assert_eq!((code(&output), out(&output).as_str()), (4, ""), "{}", err(&output));
    assert!(err(&output).contains("user namespace"), "{}", err(&output));
    fs::write(&system, "no system").expect("writable");
    let output = on_poor_host(&format!("run --until-idle {}", system.display()));
    assert_eq!((code(&output), out(&output).as_str()), (3, ""), "{}", err(&output));
    assert!(!err(&output).contains("namespace"), "{}", err(&output));
}

#[test]
fn cc_builds_an_image_that_is_accepted() {
    let directory = scratch("cc");
    let temporary = scratch("cc_tmp");
    fs::write(directory.join("image.c"), IMAGE).expect("writable");
    let cc = |arguments: &[&str]| {
        let mut command = program();
        command.arg("cc").args(arguments).current_dir(&directory).env("TMPDIR", &temporary);
        let output = command.output().expect("the binary runs");
        assert_eq!(names_in(&temporary), [""; 0], "{arguments:?} leaves nothing behind");
        output
    };
    let image = |name: &str| {
        let bytes = fs::read(directory.join(name)).expect("it was built");
        Image::read(name, bytes).expect("it is accepted")
    };
    let direct = cc(&["-o", "direct.elf", "image.c"]);
    assert_eq!((code(&direct), err(&direct).as_str()), (0, ""));
    assert!(image("direct.elf").needed().contains(&Library::Microkit));

    let object = cc(&["-c", "image.c"]);
    assert_eq!((code(&object), err(&object).as_str()), (0, ""));
    assert!(directory.join("image.o").is_file());
    let linked = cc(&["-o", "linked.elf", "image.o"]);
    assert_eq!((code(&linked), err(&linked).as_str()), (0, ""));
    assert!(image("linked.elf").needed().contains(&Library::Microkit));

    let version = cc(&["--version"]);
    assert_eq!((code(&version), err(&version).as_str()), (0, ""));

    fs::write(directory.join("broken.c"), "void init(void) { undeclared(1)\n").expect("writable");
    let broken = cc(&["-o", "broken.elf", "broken.c"]);
    assert_eq!(code(&broken), 1);
    assert!(err(&broken).contains("broken.c:1"), "{}", err(&broken));
    fs::write(directory.join("open.c"), "void nobody(void); void init(void) { nobody(); }\n")
        .expect("writable");
    let undefined = cc(&["-o", "open.elf", "open.c"]);
    assert_eq!(code(&undefined), 1, "a missing symbol is found when linking");
    assert!(err(&undefined).contains("nobody"), "{}", err(&undefined));
    assert!(!directory.join("open.elf").exists());
}

#[test]
fn cc_runs_the_compiler_that_cc_names() {
    let with = |compiler: &str, arguments: &[&str]| {
        program().arg("cc").args(arguments).env("CC", compiler).output().expect("the binary runs")
    };
    let echoed = out(&with("echo hello", &["-c", "a b.c"]));
    assert!(echoed.starts_with("hello -fPIC -c a b.c -I"), "{echoed}");
    assert!(!echoed.contains("-lmicrokit") && !echoed.contains("-shared"), "{echoed}");
    let echoed = out(&with("echo", &["-o", "x.elf", "x.c"]));
    assert!(echoed.contains(" x.c ") && echoed.trim_end().ends_with(" -lmicrokit"), "{echoed}");
    for flag in ["-shared", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,-z,separate-code"] {
        assert!(echoed.contains(flag), "{flag}: {echoed}");
    }
    assert!(!echoed.contains("rpath"), "{echoed}");
    assert_eq!(code(&with("false", &["x.c"])), 1);
    let none = with("/no/such/compiler", &["x.c"]);
    assert_eq!(code(&none), 5);
    assert!(err(&none).contains("/no/such/compiler") && err(&none).contains("CC"), "{}", err(&none));
}

#[test]
fn the_sdk_serves_other_build_systems() {
    let directory = scratch("sdk").join("deep/sdk");
    let written = run(&["sdk", directory.to_str().expect("UTF-8")]);
    assert_eq!((code(&written), out(&written), err(&written)), (0, String::new(), String::new()));
    // As pkg-config reads it, after the folder has been moved.
    let moved = directory.with_file_name("moved");
    fs::rename(&directory, &moved).expect("writable");
    let file = moved.join("lib/pkgconfig/microkit.pc");
    let text = fs::read_to_string(&file).expect("it is there");
    let line = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{key} in {text}")).trim().to_owned()
    };
    let pcfiledir = file.parent().expect("it has one").to_str().expect("UTF-8");
    let prefix = line("prefix=").replace("${pcfiledir}", pcfiledir);
    let expand = |text: String| {
        let text = text.replace("${includedir}", &line("includedir=")).replace("${libdir}", &line("libdir="));
        text.replace("${prefix}", &prefix)
    };
    fs::write(moved.join("image.c"), IMAGE).expect("writable");
    let status = Command::new("cc")
        .current_dir(&moved)
        .args(expand(line("Cflags:")).split_whitespace())
        .args(["-o", "image.elf", "image.c"])
        .args(expand(line("Libs:")).split_whitespace())
        .status()
        .expect("there is a C compiler");
    assert!(status.success());
    let image = fs::read(moved.join("image.elf")).expect("it was built");
    assert!(Image::read("image.elf", image).expect("it is accepted").needed().contains(&Library::Microkit));

    let denied = run(&["sdk", "/proc/no/such/place"]);
    assert_eq!(code(&denied), 5);
    assert!(err(&denied).contains("/proc/no/such/place"), "{}", err(&denied));
}

#[test]
fn build_makes_missing_and_older_images_only() {
    let directory = example_copy("build");
    let system = directory.join("example.system");
    let start = || run(&["run", "--build", "--until-idle", system.to_str().expect("UTF-8")]);
    let time = |name: &str| -> SystemTime {
        let metadata = fs::metadata(directory.join(name)).expect("it was built");
        metadata.modified().expect("it has a time")
    };
    let first = start();
    assert_eq!((code(&first), err(&first).as_str()), (0, ""));
    assert!(out(&first).contains("client | "), "{}", out(&first));
    let all = ["client.c", "client.elf", "example.system", "server.c", "server.elf"];
    assert_eq!(names_in(&directory), all, "nothing else is left");
    let (client, server) = (time("client.elf"), time("server.elf"));

    // Older than its source by a minute, and only that one.
    let old = fs::File::options().write(true).open(directory.join("client.elf")).expect("writable");
    old.set_modified(client - Duration::from_secs(60)).expect("it is ours");
    let second = start();
    // Each PD has a console of its own, so lines of two PDs come in either order.
    let lines = |output: &Output| out(output).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!((code(&second), lines(&second)), (0, lines(&first)));
    assert!(time("client.elf") >= client, "the older one is built again");
    assert_eq!(time("server.elf"), server, "the other is left alone");

    let before = fs::read(directory.join("server.elf")).expect("it was built");
    fs::write(directory.join("server.c"), "#error \"not today\"\n").expect("writable");
    let future = fs::File::options().write(true).open(directory.join("server.c")).expect("writable");
    future.set_modified(server + Duration::from_secs(60)).expect("it is ours");
    let broken = start();
    assert_eq!((code(&broken), out(&broken).as_str()), (3, ""));
    let said = err(&broken);
    assert!(said.contains("not today") && said.contains("server.c` does not compile"), "{said}");
    assert_eq!(fs::read(directory.join("server.elf")).ok(), Some(before), "as it was before");
    assert_eq!(names_in(&directory), all, "nothing else is left");
}

#[test]
fn build_leaves_images_of_the_search_path_alone() {
    let directory = example_copy("build_elsewhere");
    let elsewhere = scratch("build_elsewhere_images");
    for name in ["server.elf", "client.elf"] {
        fs::write(elsewhere.join(name), "not an ELF").expect("writable");
    }
    let output = program()
        .args(["run", "--build", "--until-idle", "--search-path"])
        .args([&elsewhere, &directory.join("example.system")])
        .output()
        .expect("the binary runs");
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert_eq!(names_in(&directory), ["client.c", "example.system", "server.c"]);
    assert_eq!(fs::read(elsewhere.join("server.elf")).ok(), Some(b"not an ELF".to_vec()));
}

/// What ends the program while it compiles leaves neither the headers it wrote out for the compiler nor half an image.
#[test]
fn a_signal_while_compiling_leaves_nothing_behind() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    let directory = example_copy("interrupted");
    let temporary = scratch("interrupted_tmp");
    // A compiler that takes as long as it is let: it says that it has begun, and waits for its end.
    let compiler = scratch("interrupted_cc").join("slow");
    fs::write(&compiler, "#!/bin/sh\necho begun\nexec sleep 1000\n").expect("writable");
    fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its own");
    let before = names_in(&directory);
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        for arguments in [&["run", "--build", "example.system"][..], &["cc", "-o", "x.elf", "server.c"]] {
            // Whoever runs this test in the background of a shell has it ignore SIGINT, and whatever it starts.
            let mut child = Command::new("env")
                .args(["--default-signal=INT,TERM", env!("CARGO_BIN_EXE_mk-sandbox")])
                .args(arguments)
                .current_dir(&directory)
                .env("CC", &compiler)
                .env("TMPDIR", &temporary)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("the binary runs");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
            assert_eq!(line, "begun\n");
            assert_eq!(names_in(&temporary).len(), 1, "the headers are there for the compiler");
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
            nix::sys::signal::kill(pid, signal).expect("it runs");
            let status = child.wait().expect("it ends");
            assert_eq!(
                status.signal(),
                Some(signal as i32),
                "{arguments:?} ends as if it had not held the signal"
            );
            assert_eq!(names_in(&temporary), [""; 0], "{arguments:?} {signal}");
            assert_eq!(names_in(&directory), before, "{arguments:?} {signal}");
        }
    }
}
