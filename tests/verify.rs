//! `mk-sandbox verify`: it agrees where the sandbox holds, and it says so where the plan and the kernel differ.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::World;
use mk_sandbox::commands::prepare::{self, Wishes};
use mk_sandbox::diagnostic::Source;
use mk_sandbox::launch::{self, Launch};
use mk_sandbox::pd::Shipped;
use mk_sandbox::plan;
use mk_sandbox::report::formats::Verified;
use mk_sandbox::sdf::{Arch, Options};
use mk_sandbox::sys::probe::Tier;
use mk_sandbox::verify::{self, Check, kinds};
use roxmltree::Document;
use serde_json::Value;

const PROGRAM: &str = "
#include <microkit.h>
void init(void) { microkit_dbg_puts(\"this must never be printed\\n\"); }
void notified(microkit_channel ch) { (void)ch; }
";

const SYSTEM: &str = r#"
<system>
    <memory_region name="one" size="0x1000"/>
    <memory_region name="two" size="0x3000"/>
    <protection_domain name="a" priority="2">
        <program_image path="p.elf"/>
        <map mr="one" vaddr="0x4000000" perms="r"/>
        <map mr="two" vaddr="0x5000000" perms="rw"/>
        <protection_domain name="child" id="1"><program_image path="p.elf"/></protection_domain>
    </protection_domain>
    <protection_domain name="b" priority="1">
        <program_image path="p.elf"/>
        <map mr="one" vaddr="0x4000000" perms="rw"/>
        <map mr="two" vaddr="0x4001000" perms="r"/>
    </protection_domain>
    <channel><end pd="a" id="3"/><end pd="b" id="5" pp="true"/></channel>
    <channel><end pd="child" id="0"/><end pd="child" id="1"/></channel>
</system>
"#;

fn every_pd_has_what_the_plan_says_and_nothing_runs(world: &World) {
    let outcome = world.run(&["verify", "x.system"]);
    outcome.expect(0);
    assert!(outcome.stdout.ends_with("0 differ\n"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("never be printed"), "{}", outcome.stdout);
    for what in ["system-calls", "sealed", "mappings", "descriptors", "channel-memory", "namespaces"] {
        assert!(outcome.stdout.contains(what), "{what} was not looked at: {}", outcome.stdout);
    }
}

fn the_report_for_programs_has_every_check(world: &World) {
    let outcome = world.run(&["verify", "--format", "json", "x.system"]);
    outcome.expect(0);
    let checks: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let checks = checks.as_array().expect("a list");
    assert!(checks.len() > 60 && checks.iter().all(|check| check["ok"] == true), "{checks:?}");
}

fn report(world: &World, format: &str, system: &str) -> (Option<i32>, String) {
    let path = world.path("report");
    let outcome = world.run(&["verify", "--format", format, "--output", "report", system]);
    assert_eq!(outcome.stdout, "", "{outcome}");
    let text = fs::read_to_string(&path).expect("a report");
    fs::remove_file(&path).expect("nobody else removes it");
    (outcome.code, text)
}

fn junit_has_a_case_for_every_pd_and_kind_of_check(world: &World) {
    let (code, text) = report(world, "junit", "x.system");
    assert_eq!(code, Some(0), "{text}");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let suites: Vec<_> = document.root_element().children().filter(roxmltree::Node::is_element).collect();
    let names: Vec<_> = suites.iter().filter_map(|suite| suite.attribute("name")).collect();
    assert_eq!(names, ["x.system: PD a", "x.system: PD child", "x.system: PD b"], "{text}");
    let mut seen = BTreeSet::new();
    for suite in &suites {
        let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(suite.attribute("tests"), Some(cases.len().to_string().as_str()));
        let own: BTreeSet<_> = cases.iter().filter_map(|case| case.attribute("name")).collect();
        assert_eq!(own.len(), cases.len(), "a name stands for one case");
        assert!(own.len() >= kinds::ALL.len() - 3, "{own:?}: no PD is without most kinds");
        seen.extend(own);
    }
    let all: BTreeSet<_> = kinds::ALL.iter().map(|kind| kind.id).collect();
    assert_eq!(seen, all, "every kind is looked at in some PD, and every one looked at is described");
    let total = document.root_element().attribute("tests").and_then(|count| count.parse().ok());
    assert_eq!(total, Some(document.descendants().filter(|node| node.has_tag_name("testcase")).count()));
}

fn a_proof_without_differences_has_no_result_in_sarif(world: &World) {
    let (code, text) = report(world, "sarif", "x.system");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &log["version"]), (Some(0), &Value::from("2.1.0")));
    let run = &log["runs"][0];
    assert_eq!(run["results"], serde_json::json!([]));
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    assert_eq!(run["tool"]["driver"]["rules"].as_array().map(Vec::len), Some(kinds::ALL.len()));
    assert_eq!(report(world, "github", "x.system"), (Some(0), String::new()));
}

/// What did not start is an error in every report: an older one must not be taken for the answer.
fn what_did_not_start_is_told_in_the_report(world: &World) {
    world.system("bad.system", "<system><protection_domain name=\"a\"/></system>");
    let (code, text) = report(world, "junit", "bad.system");
    let document = Document::parse(&text).expect("XML");
    assert_eq!((code, document.root_element().attribute("errors")), (Some(3), Some("1")), "{text}");
    assert!(text.contains("bad.system:1:9: ") && text.contains("program_image"), "{text}");
    let (_, text) = report(world, "sarif", "bad.system");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
    let (_, text) = report(world, "json", "bad.system");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert!(json["error"].as_str().is_some_and(|error| error.contains("program_image")), "{text}");
    let (_, text) = report(world, "github", "bad.system");
    assert!(text.starts_with("::error file=bad.system,line=1,"), "{text}");
    let nowhere = world.run(&["verify", "--output", "no/such/place", "x.system"]);
    nowhere.expect(5).says("cannot write `no/such/place`: No such file or directory");
}

/// A difference has its PD's place, and the words of both sides.
fn a_difference_is_told_at_its_place(_: &World) {
    let source = Source { path: "x.system".into(), text: SYSTEM.to_owned() };
    let loaded = mk_sandbox::sdf::load(&source, &Options { search_path: vec![], arch: Arch::Any, cpus: 1 });
    let (system, _) = loaded.expect("a valid system");
    let check = |pd: &str, ok| Check {
        pd: pd.into(),
        what: "no_new_privs",
        expected: "1".into(),
        found: if ok { "1" } else { "0" }.into(),
        ok,
    };
    let checks = [check("a", true), check("b", false)];
    let verified = Verified::new(&source, Some(&system), Ok(&checks));
    let text = verified.sarif().expect("JSON");
    // For .ci/schemas, which holds it against the schema: no host here gives it a real difference.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("difference.sarif"), &text).expect("writable");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("a list");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["ruleId"], "verify-no-new-privs");
    let rule =
        results[0]["ruleIndex"].as_u64().and_then(|index| usize::try_from(index).ok()).expect("an index");
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][rule]["id"], "verify-no-new-privs");
    let region = &results[0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!((&region["startLine"], &region["startColumn"]), (&Value::from(11), &Value::from(5)));
    assert_eq!(results[0]["message"]["text"], "PD `b`: no_new_privs: planned 1, found 0");
    let text = verified.junit();
    let document = Document::parse(&text).expect("XML");
    assert_eq!(document.root_element().attribute("failures"), Some("1"), "{text}");
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).expect("one");
    assert_eq!(failure.text(), Some("planned: 1\nfound:   0"));
    let case = failure.parent().and_then(|case| case.attribute("classname").map(str::to_owned));
    assert_eq!(case.as_deref(), Some("x.system: PD b"));
    assert!(verified.github().starts_with("::error file=x.system,line=11,col=5,"), "{}", verified.github());
    assert_eq!(verified.github().lines().count(), 1);
}

/// Each lie about the plan is noticed, by the check that is there for it.
fn a_plan_that_is_not_what_runs_is_noticed(world: &World) {
    type Lie = (&'static str, fn(&mut Launch));
    let lies: &[Lie] = &[
        ("regions", |launch| launch.plan.pds[0].maps[0].perms.write = true),
        ("mappings", |launch| launch.plan.pds[0].maps.truncate(1)),
        ("guards", |launch| launch.plan.pds[0].guards[0].vaddr -= 0x1000),
        ("channel-memory", |launch| launch.plan.pds[0].ends.truncate(0)),
        ("descriptors", |launch| launch.plan.pds[0].descriptors.truncate(3)),
        ("limits", |launch| launch.plan.pds[0].descriptors.truncate(3)),
        ("seccomp-filters", |launch| launch.filters.running.clear()),
        ("root", |launch| launch.images[0].name.push('x')),
    ];
    for (what, lie) in lies {
        let mut launch = launch_of(&world.path("x.system"));
        let resources = launch::prepare(&launch, None).expect("resources");
        let signals = prepare::take_signals().expect("signals");
        let running = launch::start(&launch, &resources, &signals, &Shipped).expect("a start");
        let honest = verify::verify(&launch, &resources, &running).expect("the kernel's word");
        lie(&mut launch);
        let lied = verify::verify(&launch, &resources, &running).expect("the kernel's word");
        launch::end_all(running.iter().map(|pd| &pd.child));
        assert!(honest.iter().all(|check| check.ok), "{honest:?}");
        let noticed: Vec<&str> = lied.iter().filter(|check| !check.ok).map(|check| check.what).collect();
        assert!(noticed.contains(what), "{what}: only {noticed:?} differ");
    }
}

fn launch_of(system: &Path) -> Launch {
    let wishes = Wishes {
        system,
        search_path: &[],
        arch: Arch::Any,
        build: false,
        heap_size: plan::DEFAULT_HEAP_SIZE,
        tier: Tier::Full,
        schedule: launch::Schedule::Linux,
        wait: launch::Wait::Auto,
        realtime: false,
        again: false,
        allow_wx: false,
    };
    prepare::launch(&wishes).expect("a valid system").launch
}

/// Its own main, since this program is the launcher of the last test and with that the PD host, too.
fn main() {
    mk_sandbox::pd::entry::<Shipped>();
    type Test = (&'static str, fn(&World));
    let tests: &[Test] = &[
        (
            "every_pd_has_what_the_plan_says_and_nothing_runs",
            every_pd_has_what_the_plan_says_and_nothing_runs,
        ),
        ("the_report_for_programs_has_every_check", the_report_for_programs_has_every_check),
        ("a_plan_that_is_not_what_runs_is_noticed", a_plan_that_is_not_what_runs_is_noticed),
        ("junit_has_a_case_for_every_pd_and_kind_of_check", junit_has_a_case_for_every_pd_and_kind_of_check),
        (
            "a_proof_without_differences_has_no_result_in_sarif",
            a_proof_without_differences_has_no_result_in_sarif,
        ),
        ("what_did_not_start_is_told_in_the_report", what_did_not_start_is_told_in_the_report),
        ("a_difference_is_told_at_its_place", a_difference_is_told_at_its_place),
    ];
    for (name, test) in tests {
        for user in common::users() {
            let world = World::new(user);
            world.program("p", PROGRAM);
            world.system("x.system", SYSTEM);
            println!("{name} as {user:?}");
            test(&world);
        }
    }
    println!("{} passed, 0 failed", tests.len());
}
