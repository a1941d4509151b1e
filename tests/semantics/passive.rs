//! Passive PDs: what they run for a caller is that caller's, by the kernel's account of CPU time.

use crate::common::for_each_user;
use crate::scheduling::{Shares, begin, end, spinner};
use crate::{PP, World, channel, everywhere, pd, pd_from, program, system};

/// Calls for ever. What it does itself between calls is little.
const CALLER: &str = r#"
void init(void) { puts("spins"); for (;;) (void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); }
void notified(microkit_channel ch) { (void)ch; }
"#;

/// Works for its caller; `BACK` is what it does besides.
const SERVER: &str = r#"
void init(void) { puts("spins"); }
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    (void)ch;
    for (volatile int i = 0; i < 100000; i++) {}
    BACK
    return info;
}
"#;

const SPINNER: &str =
    "void init(void) { puts(\"spins\"); for (;;) {} }\nvoid notified(microkit_channel ch) { (void)ch; }\n";

const PASSIVE: &str = "passive=\"true\"";

fn programs(world: &World) {
    program(world, "caller", CALLER);
    program(world, "spinner", SPINNER);
    program(world, "server", &SERVER.replace("BACK", ""));
    program(world, "middle", &SERVER.replace("BACK", "(void)microkit_ppcall(0, info);"));
}

fn caller(name: &str, attributes: &str) -> String {
    pd_from(name, "caller", attributes, "")
}

/// Caller, a passive server and that one's passive server run on one budget.
#[test]
fn passive_pds_run_on_their_callers_budget() {
    everywhere(|world, schedule| {
        programs(world);
        let elements = [
            caller("caller", "priority=\"3\" budget=\"3000\" period=\"10000\""),
            pd("middle", &format!("priority=\"5\" {PASSIVE}"), ""),
            pd("server", &format!("priority=\"7\" {PASSIVE}"), ""),
            channel(("caller", 0, PP), ("middle", 1, "")),
            channel(("middle", 0, PP), ("server", 1, "")),
        ];
        system(world, &elements.concat());
        let running = begin(world, schedule, &["caller"]);
        let shares = Shares::of(&running, ["caller", "middle", "server"]);
        end(running);
        shares.sum_is_about(0.3);
        // A good part of that is not the caller's own.
        assert!(shares.ran[1..].iter().all(|ran| *ran > 0.02), "{shares:?}");
    });
}

/// A server that is not passive has its own time.
#[test]
fn other_servers_run_on_their_own_budget() {
    everywhere(|world, schedule| {
        programs(world);
        let elements = [
            caller("caller", "priority=\"3\" budget=\"9000\" period=\"10000\""),
            pd("server", "priority=\"7\" budget=\"2000\" period=\"10000\"", ""),
            channel(("caller", 0, PP), ("server", 1, "")),
        ];
        system(world, &elements.concat());
        let running = begin(world, schedule, &["caller"]);
        let shares = Shares::of(&running, ["caller", "server"]);
        end(running);
        shares.only([1]).are_about([0.2]);
    });
}

/// Of two callers, one is charged for what the server does for it, and the other is not limited by that.
#[test]
fn nobody_pays_for_another_caller() {
    everywhere(|world, schedule| {
        programs(world);
        let elements = [
            // Has a channel to the passive server and does not use it.
            spinner("silent", "priority=\"4\" budget=\"2000\" period=\"10000\""),
            caller("caller", "priority=\"3\""),
            pd("server", &format!("priority=\"7\" budget=\"1000\" period=\"10000\" {PASSIVE}"), ""),
            channel(("silent", 0, PP), ("server", 0, "")),
            channel(("caller", 0, PP), ("server", 1, "")),
        ];
        system(world, &elements.concat());
        let running = begin(world, schedule, &["silent", "caller"]);
        let shares = Shares::of(&running, ["silent", "caller", "server"]);
        end(running);
        shares.only([0]).are_about([0.2]);
        // More than its own budget, and more than the other's.
        shares.only([2]).are_at_least(0.35);
    });
}

/// What a spent budget leaves is everybody else's, also where it was spent by a passive PD of high priority.
#[test]
fn a_passive_pd_without_time_leaves_the_cpu() {
    for_each_user(|world| {
        programs(world);
        let elements = [
            caller("caller", "priority=\"3\" budget=\"3000\" period=\"10000\""),
            pd("server", &format!("priority=\"7\" {PASSIVE}"), ""),
            spinner("rest", "priority=\"1\""),
            channel(("caller", 0, PP), ("server", 1, "")),
        ];
        system(world, &elements.concat());
        let running = begin(world, "microkit", &["caller", "rest"]);
        let shares = Shares::of(&running, ["caller", "server", "rest"]);
        end(running);
        shares.only([2]).are_about([0.7]);
    });
}
