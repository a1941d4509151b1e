//! `mk-sandbox verify`: it agrees where the sandbox holds, and it says so where the plan and the kernel differ.

mod common;

use std::path::Path;

use common::World;
use mk_sandbox::commands::prepare::{self, Wishes};
use mk_sandbox::launch::{self, Launch};
use mk_sandbox::pd::Shipped;
use mk_sandbox::plan;
use mk_sandbox::sdf::Arch;
use mk_sandbox::sys::probe::Tier;
use mk_sandbox::verify;

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
        ("seccomp-filters", |launch| launch.filters.running.truncate(1)),
        ("root", |launch| launch.images[0].name.push('x')),
    ];
    for (what, lie) in lies {
        let mut launch = launch_of(&world.path("x.system"));
        let resources = launch::prepare(&launch).expect("resources");
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
