//! The examples do what their descriptions say, started as their descriptions say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{Outcome, World, for_each_user};

/// A fenced block of Markdown: its language and lines, and the last line of text before it.
struct Block {
    language: String,
    lines: Vec<String>,
    introduced_by: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| !line.starts_with("```"));
            found.push(Block {
                language: language.to_owned(),
                lines: body.map(str::to_owned).collect(),
                introduced_by: before.clone(),
            });
        } else if !line.trim().is_empty() {
            before = line.to_owned();
        }
    }
    found
}

/// PDs run in parallel: only the order of each one's lines is settled.
fn by_pd<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut pds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (pd, text) = line.split_once(" | ").unwrap_or(("(no PD)", line));
        pds.entry(pd).or_default().push(text);
    }
    pds
}

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
        let printed = by_pd(outcome.stdout.lines());
        assert_eq!(printed, by_pd(expected.lines.iter().map(String::as_str)), "{outcome}");
        let told: Vec<&str> = outcome.stderr.lines().filter(|line| !line.starts_with(' ')).collect();
        let patterns = faults.map_or(&[][..], |block| &block.lines);
        assert_eq!(told.len(), patterns.len(), "{outcome}");
        for pattern in patterns {
            assert!(told.iter().any(|line| fits(pattern, line)), "`{pattern}` is not on stderr:\n{outcome}");
        }
    });
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
fn every_example_is_run_here() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["client_server", "intruder", "ppc", "ring"]);
}

#[test]
fn patterns_fit_what_they_should() {
    assert!(fits("a(…) b", "a(1, 2) b"));
    assert!(fits("a…", "a whatever"));
    assert!(!fits("a(…) b", "a(1, 2) c"));
    assert!(!fits("a b", "a b c"));
    assert!(!fits("a b", "a"));
}
