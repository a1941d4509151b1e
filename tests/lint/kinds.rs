//! Each kind of finding, its place, its level; and what `explain` says.

use std::collections::BTreeSet;
use std::fs;

use mk_sandbox::report::lint::{Level, kinds};

use super::support::{check, code, err, fixtures, out, program};

/// Each fixture, named after the kind, with the exit code of `check` and all that is found in it.
const EXPECTED: &[(&str, i32, &[&str])] = &[
    ("allow-malformed", 1, &["allow-malformed 3:5"]),
    ("allow-unused", 0, &["allow-unused 3:5"]),
    ("call-cycle", 0, &["call-cycle 11:9"]),
    ("call-priority", 3, &["call-priority 6:28"]),
    ("call-without-protected", 0, &["call-without-protected 4:30"]),
    ("channel-unused", 0, &["channel-unused 6:5"]),
    ("channel-without-rights", 0, &["channel-without-rights 6:5"]),
    ("children-without-fault", 0, &["children-without-fault 4:30"]),
    ("full-budget-at-top-priority", 0, &["full-budget-at-top-priority 3:5"]),
    ("image-executable-stack", 1, &["image-executable-stack 5:30"]),
    ("image-foreign-library", 1, &["image-foreign-library 5:30"]),
    ("image-imports-denied", 0, &["image-imports-denied 5:30"]),
    ("image-indirect-function", 1, &["image-indirect-function 5:30"]),
    ("image-not-found", 0, &["image-not-found 5:30"]),
    ("image-refused", 1, &["image-refused 5:30"]),
    ("image-search-path", 1, &["image-search-path 5:30"]),
    ("image-text-relocations", 1, &["image-text-relocations 5:30"]),
    ("image-without-bind-now", 0, &["image-without-bind-now 5:30"]),
    ("image-without-relro", 0, &["image-without-relro 5:30"]),
    ("image-writable-executable", 1, &["image-writable-executable 5:30"]),
    ("inert-device", 0, &["inert-device 3:51", "inert-device 7:9", "inert-device 8:9"]),
    ("invalid-system", 3, &["invalid-system 3:34"]),
    ("map-writable-executable", 1, &["map-writable-executable 6:9"]),
    ("maps-without-guard", 0, &["maps-without-guard 8:9"]),
    ("not-runnable", 0, &["not-runnable 5:9", "not-runnable 6:13"]),
    ("pd-unreachable", 0, &["pd-unreachable 5:5"]),
    ("priority-inversion", 0, &["priority-inversion 6:5"]),
    ("region-mapped-with-different-rights", 0, &["region-mapped-with-different-rights 7:9"]),
    ("region-shared-without-channel", 0, &["region-shared-without-channel 8:9"]),
    ("region-unused", 0, &["region-unused 3:5"]),
    ("region-writable-at-both-ends", 0, &["region-writable-at-both-ends 3:5"]),
    ("region-writable-by-many", 0, &["region-writable-by-many 3:5"]),
    ("region-written-and-executed", 0, &["region-written-and-executed 10:9"]),
    ("setvar-symbol", 1, &["setvar-symbol 7:44"]),
];

/// Kinds that need more than a system file: tests/lint/lock.rs has those of the lock file, and no system file is known
/// that gets a warning without a kind.
const ELSEWHERE: [&str; 5] =
    ["lock-missing", "privilege-changed", "privilege-grew", "privilege-shrank", "system-warning"];

#[test]
fn every_kind_is_found_in_its_fixture_at_its_place_and_nothing_else_is() {
    for (id, expected_code, expected) in EXPECTED {
        let (code, json) = check(&[&format!("{id}.system")]);
        let own: Vec<String> = super::support::found(&json)
            .into_iter()
            // What `run` does not support yet becomes less from version to version.
            .filter(|found| !found.starts_with("not-runnable") || *id == "not-runnable")
            .collect();
        assert_eq!(
            (code, own.as_slice()),
            (*expected_code, &expected.map_to_strings()[..]),
            "{id}: {json:#}"
        );
    }
}

trait Strings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl Strings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn no_kind_is_without_a_fixture() {
    let here: BTreeSet<&str> = EXPECTED.iter().map(|(id, ..)| *id).chain(ELSEWHERE).collect();
    let all: BTreeSet<&str> = kinds::ALL.iter().map(|lint| lint.id).collect();
    assert_eq!(here, all);
    let files = fs::read_dir(fixtures()).expect("readable").map(|entry| entry.expect("readable").path());
    let systems: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "system"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "allowed")
        .collect();
    let named: BTreeSet<String> = EXPECTED.iter().map(|(id, ..)| (*id).to_owned()).collect();
    assert_eq!(systems, named);
}

#[test]
fn the_exit_code_follows_from_the_level() {
    for (id, code, _) in EXPECTED {
        let level = kinds::by_id(id).expect("it is known").level;
        assert_eq!(level == Level::Deny, *code != 0, "{id}");
    }
}

#[test]
fn explain_explains_every_kind_and_lists_them() {
    let list = out(&program(&["explain"]));
    for lint in kinds::ALL {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(lint.id)), "{}", lint.id);
        let output = program(&["explain", lint.id]);
        assert_eq!((code(&output), err(&output).as_str()), (0, ""));
        let text = out(&output);
        assert!(text.starts_with(&format!("{}: ", lint.id)), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert!(words(&text).contains(&words(lint.why)) && words(&text).contains(&words(lint.fix)), "{text}");
        assert_eq!(
            text.contains("mk-allow"),
            lint.adjustable || lint.why.contains("mk-allow") || lint.title.contains("mk-allow")
        );
    }
    let unknown = program(&["explain", "no-such-kind"]);
    assert_eq!((code(&unknown), out(&unknown).as_str()), (2, ""));
    assert!(err(&unknown).contains("`no-such-kind`"));
}

#[test]
fn the_examples_pass() {
    for example in
        ["client_server/example.system", "intruder/intruder.system", "ppc/ppc.system", "ring/ring.system"]
    {
        let output = program(&["check", &format!("../../../examples/{example}")]);
        assert_eq!(code(&output), 0, "{example}: {}", err(&output));
    }
}
