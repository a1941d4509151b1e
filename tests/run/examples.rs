//! The examples do what their descriptions say, started as their descriptions say.

use std::fs;
use std::path::Path;

use crate::common::markdown::{blocks, by_pd};
use crate::common::{Outcome, World, for_each_user};

/// `…` in the pattern stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = "";
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (last.is_empty() && pattern.ends_with('…'))
}

/// Runs the description's command from a copy of the repository's `examples`, and compares.
fn check(example: &str, exit_code: i32) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join("examples").join(example);
    let description = fs::read_to_string(directory.join("README.md")).unwrap();
    let blocks = blocks(&description);
    let command = blocks.iter().find(|block| block.language == "sh").expect("a ```sh block");
    let [command] = command.lines.as_slice() else { panic!("one command, not {:?}", command.lines) };
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[0], "mk-sandbox");
    let expected = blocks
        .iter()
        .find(|block| block.introduced_by == "Output:" && block.language == "text")
        .expect("a ```text block behind a line `Output:`");
    let faults = blocks.iter().find(|block| block.introduced_by.contains("standard error"));

    for_each_user(|world: &World| {
        world.copy(&directory, &format!("examples/{example}"));
        let outcome: Outcome = world.run(&words[1..]);
        outcome.expect(exit_code);
        let expected = expected.lines.iter().map(String::as_str);
        if command.contains("--schedule microkit") {
            // seL4's schedule: one run is as the other, to the last line.
            assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{outcome}");
        } else {
            assert_eq!(by_pd(outcome.stdout.lines()), by_pd(expected), "{outcome}");
        }
        // Without what is told about a line: places, quotations, help.
        let is_message = |line: &&str| line.starts_with(|first: char| first.is_alphabetic());
        let told: Vec<&str> = outcome.stderr.lines().filter(is_message).collect();
        let patterns = faults.map_or(&[][..], |block| &block.lines);
        assert_eq!(told.len(), patterns.len(), "{outcome}");
        for pattern in patterns {
            assert!(told.iter().any(|line| fits(pattern, line)), "`{pattern}` is not on stderr:\n{outcome}");
        }
    });
}

#[test]
fn ci() {
    check("ci", 0);
}

#[test]
fn client_server() {
    check("client_server", 0);
}

#[test]
fn ppc() {
    check("ppc", 0);
}

#[test]
fn ring() {
    check("ring", 0);
}

#[test]
fn intruder() {
    check("intruder", 1);
}

#[test]
fn hello() {
    check("hello", 0);
}

#[test]
fn hierarchy() {
    check("hierarchy", 0);
}

#[test]
fn passive_server() {
    check("passive_server", 0);
}

#[test]
fn prefill() {
    check("prefill", 0);
}

#[test]
fn setvar() {
    check("setvar", 0);
}

#[test]
fn cap_sharing() {
    check("cap_sharing", 0);
}

#[test]
fn domains() {
    check("domains", 0);
}

#[test]
fn every_example_is_run_here() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let run = [
        "cap_sharing",
        "ci",
        "client_server",
        "domains",
        "hello",
        "hierarchy",
        "intruder",
        "passive_server",
        "ppc",
        "prefill",
        "ring",
        "setvar",
    ];
    assert_eq!(names, run);
}

#[test]
fn patterns_fit_what_they_should() {
    assert!(fits("a(…) b", "a(1, 2) b"));
    assert!(fits("a…", "a whatever"));
    assert!(!fits("a(…) b", "a(1, 2) c"));
    assert!(!fits("a b", "a b c"));
    assert!(!fits("a b", "a"));
}
