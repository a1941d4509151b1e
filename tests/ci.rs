//! The CI example: the script as a job would run it, as every user; and that its files are not stale.

mod common;

use std::fs;
use std::path::Path;

use common::{World, for_each_user};

const SYSTEM: &str = "examples/ci/sensor.system";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The script in a copy of the example, with the system file changed; its exit code and all that it printed.
fn run(world: &World, from: &str, to: &str) -> (Option<i32>, String) {
    world.copy(&root().join("examples/ci"), "examples/ci");
    let system = world.path(SYSTEM);
    let text = fs::read_to_string(&system).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&system, text.replacen(from, to, 1)).unwrap();
    // The directory of the copy must be the user's own, as a checkout is.
    world.give(&world.path("examples/ci"));
    let line = format!("MK_SANDBOX=\"$0\" TIER=compat sh examples/ci/check.sh {SYSTEM} 2>&1; exit $?");
    let outcome = world.run_behind(&line, &[]);
    (outcome.code, outcome.stdout)
}

#[test]
fn the_script_passes_a_system_as_it_was_reviewed() {
    for_each_user(|world| {
        let (code, told) = run(world, "perms=\"r\"", "perms=\"r\"");
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("sensor.system: valid"), "{told}");
        let verified = fs::read_to_string(world.path("reports/sensor.verify.junit")).unwrap();
        for pd in ["sensor", "logger"] {
            assert!(verified.contains(&format!("sensor.system: PD {pd}\" name=\"sealed\"/>")), "{verified}");
        }
        assert!(verified.contains("failures=\"0\" errors=\"0\">"), "{verified}");
        let sarif = fs::read_to_string(world.path("reports/sensor.sarif")).unwrap();
        assert!(sarif.contains("\"2.1.0\""), "{sarif}");
        let junit = fs::read_to_string(world.path("reports/sensor.junit")).unwrap();
        assert!(junit.contains("failures=\"0\""), "{junit}");
    });
}

#[test]
fn the_script_fails_for_a_change_of_privilege_and_says_what_grew() {
    for_each_user(|world| {
        let (code, told) = run(world, "perms=\"r\"", "perms=\"rw\"");
        assert_eq!(code, Some(1), "{told}");
        let description = fs::read_to_string(root().join("examples/ci/README.md")).unwrap();
        for line in told.lines().skip_while(|line| !line.starts_with("error[privilege-grew]")).take(2) {
            assert!(description.contains(line), "the description shows it: {line}");
        }
        assert!(told.contains("PD `logger` may now write region `readings`"), "{told}");
        let junit = fs::read_to_string(world.path("reports/sensor.junit")).unwrap();
        assert!(junit.contains("failures=\"1\""), "{junit}");
    });
}

#[test]
fn the_script_fails_for_a_warning_and_for_an_invalid_file() {
    for_each_user(|world| {
        let region =
            "<memory_region name=\"spare\" size=\"0x1000\"/>\n    <protection_domain name=\"sensor\"";
        let (code, told) = run(world, "<protection_domain name=\"sensor\"", region);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("error[region-unused]"), "{told}");
        let (code, told) = run(world, "priority=\"10\"", "priority=\"1000\"");
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("error[invalid-system]") && told.contains("1000"), "{told}");
    });
}

/// A policy that lets PDs make another system call changes this file; so does the example itself.
#[test]
fn the_lock_file_is_up_to_date() {
    let world = World::new(common::users()[0]);
    world.copy(&root().join("examples/ci"), "examples/ci");
    let output = world.run(&["lock", "--no-images", "--output", "-", SYSTEM]);
    let locked = fs::read_to_string(root().join(SYSTEM.to_owned() + ".lock")).unwrap();
    assert_eq!(output.stdout, locked, "write it anew: mk-sandbox lock --no-images {SYSTEM}");
}

/// What the workflow and the script ask of the program, it knows.
#[test]
fn the_commands_exist() {
    let world = World::new(common::users()[0]);
    let read = |name: &str| fs::read_to_string(root().join("examples/ci").join(name)).unwrap();
    let (script, workflow) = (read("check.sh"), read("github.yml"));
    let calls = script.replace("\"$program\"", "mk-sandbox") + &workflow;
    let mut seen = 0;
    for call in calls.lines().filter_map(|line| line.split_once("mk-sandbox ")).map(|(_, call)| call) {
        let mut words = call.split_whitespace();
        let Some(command) =
            words.next().filter(|word| ["cc", "check", "verify", "doctor", "lock"].contains(word))
        else {
            continue;
        };
        seen += 1;
        if command == "cc" {
            continue;
        }
        let help = world.run(&[command, "--help"]).stdout;
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{command} {option}");
        }
    }
    assert!(seen >= 6, "{seen}");
    assert!(workflow.contains("examples/ci/check.sh examples/ci/sensor.system"));
}
