//! `run --report`: written however a run ends, as docs/report.schema.json says, and true.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::schema::violations;
use common::{World, for_each_user};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PROGRAM: &str = "
#include <microkit.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#ifndef DO
#define DO
#endif
#ifndef HEARD
#define HEARD
#endif
void init(void) { DO; }
void notified(microkit_channel ch) { (void)ch; HEARD; }
#ifdef ANSWER
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) { (void)info; (void)reply; ANSWER; }
#endif
";

fn program(world: &World, name: &str, definitions: &[&str]) {
    let arguments: Vec<String> = definitions.iter().map(|text| format!("-D{text}")).collect();
    world.program_with(name, PROGRAM, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The report at this path, which is of the form that the schema has.
fn read(world: &World, name: &str) -> Value {
    let text = fs::read_to_string(world.path(name)).unwrap();
    // For .ci/schemas, which holds it against the schema with a validator that others wrote.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports");
    fs::create_dir_all(&kept).unwrap();
    let caller = std::thread::current().name().unwrap_or("report").replace("::", "-");
    fs::write(kept.join(format!("{caller}.json")), &text).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let wrong = violations(&schema(), &report);
    assert!(wrong.is_empty(), "{wrong:#?}\n{text}");
    report
}

/// Runs `x.system` with a report; every file of the world that is new is the report.
fn run(world: &World, options: &[&str]) -> (Option<i32>, Value) {
    let before = names(world);
    let mut arguments = vec!["run", "--report", "report.json"];
    arguments.extend(options);
    arguments.push("x.system");
    let outcome = world.run(&arguments);
    let mut after = names(world);
    assert!(after.iter().any(|name| name == "report.json"), "{outcome}");
    after.retain(|name| !before.contains(name) && name != "report.json");
    assert_eq!(after, [""; 0], "nothing else is left");
    let report = read(world, "report.json");
    fs::remove_file(world.path("report.json")).unwrap();
    assert_eq!(report["exit"]["code"].as_i64(), outcome.code.map(i64::from), "{outcome}");
    (outcome.code, report)
}

fn names(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.dir()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn pd<'a>(report: &'a Value, name: &str) -> &'a Value {
    let pds = report["pds"].as_array().unwrap();
    pds.iter().find(|pd| pd["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

const TWO: &str = r#"<system>
    <memory_region name="shared" size="0x2000"/>
    <protection_domain name="a" priority="2">
        <program_image path="a.elf"/>
        <map mr="shared" vaddr="0x4000000" perms="r"/>
        <protection_domain name="child" id="3" priority="1"><program_image path="b.elf"/></protection_domain>
    </protection_domain>
    <protection_domain name="b" priority="5"><program_image path="b.elf"/><map mr="shared" vaddr="0x5000000" perms="rw"/></protection_domain>
    <channel><end pd="a" id="1" pp="true"/><end pd="b" id="2" notify="false"/></channel>
</system>"#;

#[test]
fn the_schema_is_not_satisfied_by_anything() {
    let schema = schema();
    assert_eq!(violations(&schema, &json!({})).len(), 1, "all that is required is missing");
    assert_eq!(violations(&schema, &json!([])).len(), 1, "it is no object");
    let hexadecimal = json!({"$ref": "#/$defs/hexadecimal", "$defs": schema["$defs"]});
    for (text, wrong) in [("0x1f", 0), ("1f", 1), ("0x", 1), ("0x1F", 1), ("0x12345678123456789", 1)] {
        assert_eq!(violations(&hexadecimal, &json!(text)).len(), wrong, "{text}");
    }
    assert_eq!(violations(&schema["properties"]["exit"], &json!({"code": 6, "why": 1, "more": 2})).len(), 3);
}

#[test]
fn a_run_is_told_with_what_every_pd_may_do() {
    for_each_user(|world| {
        program(world, "a", &["DO=microkit_notify(1)"]);
        program(world, "b", &[]);
        world.system("x.system", TWO);
        let (code, report) = run(world, &["--until-idle"]);
        assert_eq!((code, &report["ended"], &report["started"]), (Some(0), &json!("idle"), &json!(true)));
        assert_eq!(report["exit"]["why"], "no PD could run again");
        let none =
            json!({"pds": 3, "faults": 0, "unhandled_faults": 0, "fresh_starts": 0, "unanswered_calls": 0});
        assert_eq!(report["counts"], none);
        let a = pd(&report, "a");
        assert_eq!(
            a["regions"],
            json!([{"name": "shared", "vaddr": 0x4000000, "size": 0x2000, "perms": "r"}])
        );
        let channel = json!([{"id": 1, "peer": "b", "peer_id": 2, "may_notify": true, "may_call": true,
            "may_be_notified": false, "may_be_called": false}]);
        assert_eq!(a["channels"], channel);
        assert_eq!((&a["children"], &pd(&report, "child")["parent"]), (&json!(["child"]), &json!("a")));
        assert_eq!(a["system_calls"]["made"], json!(["read", "write"]));
        assert_eq!(a["system_calls"]["answered"].as_array().map(Vec::len), Some(2));
        assert_eq!(a["layers"]["namespaces"].as_array().map(Vec::len), Some(8));
        assert_eq!((&a["layers"]["mseal"], &a["layers"]["mdwe"]), (&json!(true), &json!(true)));
        assert_eq!(pd(&report, "b")["regions"][0]["perms"], "rw");
        assert_eq!(a["end"]["state"], "alive");
        assert!(a["end"]["cpu_us"].is_u64());
        // As the lock file has it.
        world.run(&["lock", "--output", "x.lock", "x.system"]).expect(0);
        let lock: Value = serde_json::from_str(&fs::read_to_string(world.path("x.lock")).unwrap()).unwrap();
        assert_eq!(a["image_sha256"], lock["pds"]["a"]["image"]["sha256"]);
        let phases = report["timings"]["phases"].as_array().unwrap();
        assert!(phases.iter().any(|phase| phase["what"] == "starting the PDs"), "{phases:?}");
    });
}

#[test]
fn faults_have_kind_registers_place_and_explanation() {
    for_each_user(|world| {
        let kinds = [
            ("DO=getppid()", "system_call"),
            ("DO=*(volatile char*)0x4000000=1", "memory"),
            ("DO=__builtin_trap()", "exception"),
            ("DO=__asm__(\"int3\")", "breakpoint"),
        ];
        for (code, kind) in kinds {
            program(world, "a", &[code]);
            world.system(
                "x.system",
                "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
            );
            let (exit, report) = run(world, &["--until-idle"]);
            assert_eq!((exit, &report["ended"]), (Some(1), &json!("idle")));
            assert_eq!(report["exit"]["why"], "a PD faulted and nobody handled it");
            let fault = &report["faults"][0];
            assert_eq!((&fault["kind"], &fault["pd"]), (&json!(kind), &json!("a")), "{fault:#}");
            assert_eq!((&fault["heard_by"], &fault["then"]), (&json!("user"), &json!("stays_stopped")));
            assert!(
                fault["place"]
                    .as_str()
                    .is_some_and(|place| place.contains("init") && place.contains("a.elf"))
            );
            assert_eq!(pd(&report, "a")["end"]["state"], "stopped_by_fault");
            match kind {
                "system_call" => {
                    assert_eq!(
                        (&fault["system_call"]["name"], &fault["registers"]["rax"]),
                        (&json!("getppid"), &json!("0x6e"))
                    );
                    assert_eq!(fault["system_call"]["shown"], "getppid()");
                    assert!(
                        fault["system_call"]["rule"]
                            .as_str()
                            .is_some_and(|rule| rule.contains("policy/running.json"))
                    );
                }
                "memory" => assert_eq!(fault["memory"], json!({"address": "0x4000000", "access": "write"})),
                "exception" => assert_eq!(fault["signal"], "SIGILL"),
                _ => {}
            }
        }
    });
}

#[test]
fn handled_faults_and_fresh_starts_are_counted() {
    for_each_user(|world| {
        program(
            world,
            "a",
            &["ANSWER=static int left=40;if(left--){microkit_pd_restart(child,0);}return seL4_False"],
        );
        program(world, "b", &["DO=*(volatile char*)8=1"]);
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\" priority=\"2\"><program_image path=\"a.elf\"/>\
             <protection_domain name=\"b\" id=\"1\" priority=\"1\"><program_image path=\"b.elf\"/></protection_domain>\
             </protection_domain></system>",
        );
        let (code, report) = run(world, &["--until-idle"]);
        assert_eq!((code, &report["counts"]["faults"]), (Some(0), &json!(41)), "{report:#}");
        assert_eq!(report["counts"]["unhandled_faults"], 0);
        assert_eq!(report["faults"].as_array().map(Vec::len), Some(16), "the first are kept");
        assert_eq!(report["faults"][0]["heard_by"], "parent");

        program(world, "a", &["DO=abort()"]);
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
        );
        let mut running =
            world.start(&["run", "--on-fault", "restart", "--report", "report.json", "x.system"]);
        for _ in 0..3 {
            running.wait_for_stderr("it is started again");
        }
        assert!(!world.path("report.json").exists(), "nothing is seen of a report before the end");
        running.signal(Signal::SIGTERM);
        running.wait().expect(0);
        let report = read(world, "report.json");
        assert_eq!(
            (&report["ended"], &report["faults"][0]["then"]),
            (&json!("asked"), &json!("started_again"))
        );
        let (faults, starts) = (&report["counts"]["faults"], &report["counts"]["fresh_starts"]);
        assert!(faults.as_u64() > Some(0) && starts.as_u64() <= faults.as_u64(), "{faults} {starts}");
    });
}

#[test]
fn the_end_is_told_whatever_it_is() {
    for_each_user(|world| {
        program(world, "a", &["DO=microkit_dbg_puts(\"up\\n\")"]);
        program(world, "b", &["DO=microkit_ppcall(2,microkit_msginfo_new(0,0))"]);
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
        );
        let (code, report) = run(world, &["--timeout", "0.2"]);
        assert_eq!((code, &report["ended"]), (Some(124), &json!("limit")));
        assert_eq!(report["asked"]["timeout_s"], 0.2);
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut running = world.start(&["run", "--report", "report.json", "x.system"]);
            running.wait_for_stdout("up");
            running.signal(signal);
            running.wait().expect(0);
            let report = read(world, "report.json");
            assert_eq!((&report["ended"], &report["started"]), (&json!("asked"), &json!(true)), "{signal}");
        }
        // Killed, it leaves the report that was there, and nothing beside it.
        let before = (names(world), fs::read(world.path("report.json")).unwrap());
        let mut running = world.start(&["run", "--report", "report.json", "x.system"]);
        running.wait_for_stdout("up");
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().code, None);
        assert_eq!((names(world), fs::read(world.path("report.json")).unwrap()), before);
        fs::remove_file(world.path("report.json")).unwrap();

        // A call to a PD that has stopped.
        program(world, "a", &["DO=abort()"]);
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\" priority=\"9\"><program_image path=\"a.elf\"/></protection_domain>\
             <protection_domain name=\"b\"><program_image path=\"b.elf\"/></protection_domain>\
             <channel><end pd=\"a\" id=\"1\"/><end pd=\"b\" id=\"2\" pp=\"true\"/></channel></system>",
        );
        let (code, report) = run(world, &["--until-idle", "-q"]);
        assert_eq!((code, &report["counts"]["unanswered_calls"]), (Some(1), &json!(1)));
        let waiting = &report["waiting"][0];
        assert_eq!(
            (&waiting["caller"], &waiting["callee"], &waiting["channel"]),
            (&json!("b"), &json!("a"), &json!(2))
        );
        assert!(
            waiting["text"].as_str().is_some_and(|text| text.contains("stopped by a fault")),
            "{waiting}"
        );
        let (code, report) = run(world, &["--on-fault", "stop"]);
        assert_eq!((code, &report["ended"]), (Some(1), &json!("fault")));
    });
}

#[test]
fn what_does_not_start_is_told() {
    for_each_user(|world| {
        world.system("x.system", "<system><protection_domain name=\"a\" priority=\"999\"/></system>");
        let (code, report) = run(world, &[]);
        assert_eq!((code, &report["started"], &report["pds"]), (Some(3), &json!(false), &json!([])));
        let errors = report["errors"].as_array().unwrap();
        assert!(
            errors.iter().any(|error| error
                .as_str()
                .is_some_and(|text| text.contains("x.system:1:") && text.contains("999"))),
            "{errors:?}"
        );
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\"><program_image path=\"none.elf\"/></protection_domain></system>",
        );
        let (code, report) = run(world, &[]);
        assert_eq!((code, &report["timings"], &report["ended"]), (Some(3), &Value::Null, &Value::Null));
        assert!(report["errors"][0].as_str().is_some_and(|text| text.contains("none.elf")));
    });
}

/// A host where no user namespace can be made: the plan is known, and nothing ran.
#[test]
fn a_host_that_falls_short_is_told() {
    let world = World::new(common::users()[0]);
    program(&world, "a", &[]);
    world.system(
        "x.system",
        "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
    );
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; exec {} run --report report.json x.system",
        world.binary().display()
    );
    let output = Command::new("unshare")
        .current_dir(world.dir())
        .args(["--user", "--map-root-user", "sh", "-ec", &script])
        .output()
        .expect("unshare is part of util-linux");
    assert_eq!(output.status.code(), Some(4));
    let report = read(&world, "report.json");
    assert_eq!((&report["started"], &report["exit"]["code"]), (&json!(false), &json!(4)));
    assert_eq!(report["exit"]["why"], "this host cannot enforce the sandbox");
    assert_eq!(pd(&report, "a")["end"], Value::Null);
    assert!(report["errors"].to_string().contains("sysctl user.max_user_namespaces"), "{report:#}");
}

/// Known before the start: no PD says anything.
#[test]
fn a_file_that_cannot_be_written_is_told_first() {
    for_each_user(|world| {
        program(world, "a", &["DO=microkit_dbg_puts(\"up\\n\")"]);
        world.system(
            "x.system",
            "<system><protection_domain name=\"a\"><program_image path=\"a.elf\"/></protection_domain></system>",
        );
        fs::create_dir(world.path("directory")).unwrap();
        for (path, why) in [
            ("no/such/report.json", "No such file or directory"),
            ("directory", "Is a directory"),
            ("x.system/report.json", "Not a directory"),
        ] {
            let outcome = world.run(&["run", "--until-idle", "--report", path, "x.system"]);
            outcome.expect(5).says(&format!("the report `{path}` cannot be written: {why}"));
            assert_eq!(outcome.stdout, "", "{path}");
        }
        // Full only at the end: the run is told of all the same, and is no success.
        let full = world.run(&["run", "--until-idle", "--report", "/dev/full", "x.system"]);
        full.expect(5).printed("a", &["up"]).says("cannot be written: No space left on device");
        world.run(&["run", "--until-idle", "--report", "/dev/null", "x.system"]).expect(0);
    });
}
