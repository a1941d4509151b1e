//! `show` as typed: the whole report of a system that has everything, and that hostile names stay words.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mk-sandbox"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What `run` cannot do yet stands last, and shrinks from version to version.
const LAST: &str = "\nWhat `run` refuses\n";

#[test]
fn the_report_of_a_system_with_everything() {
    let output = program(&["show", "tests/fixtures/show/controller.system"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    let told = text.split_once(LAST).map_or(text.as_str(), |(told, _)| told);
    let expected = include_str!("fixtures/show/controller.txt");
    assert_eq!(told.trim_end(), expected.trim_end(), "\n{told}");
}

#[test]
fn what_a_system_has_not_is_not_mentioned() {
    let text = out(&program(&["show", "examples/ppc/ppc.system"]));
    for absent in ["Memory regions", "Domain schedule", "Devices", "Variables", "Without effect", "refuses"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let calls = "Calls\n  alice (101)\n    → service (110)\n      → store (120)\n  bob (100)\n    → service (110), see above\n";
    assert!(text.contains(calls), "{text}");
}

#[test]
fn names_cannot_play_with_the_terminal() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("show-names");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let system = directory.join("names.system");
    let text = "<system><memory_region name=\"m\u{202e}m\" size=\"0x1000\"/>\
        <protection_domain name=\"p\"><program_image path=\"p&#9;.elf\"/>\
        <map mr=\"m\u{202e}m\" vaddr=\"0x1000000\" setvar_vaddr=\"a&#10;Channels\"/></protection_domain></system>";
    fs::write(&system, text).expect("writable");
    let output = program(&["show", system.to_str().expect("UTF-8")]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for shown in ["p\\u{9}.elf", "m\\u{202e}m", "a\\u{a}Channels"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("\nChannels") && !text.contains('\u{202e}') && !text.contains('\t'), "{text}");
}

#[test]
fn an_invalid_file_is_3_and_shows_nothing() {
    let output = program(&["show", "tests/fixtures/sdf/protection_domain_stack_zero.system"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(3), ""));
    assert!(!output.stderr.is_empty());
}
