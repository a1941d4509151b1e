//! What others on the host do to a PD's process: nothing of it is a fault of the PD, and nothing hurts the others.

use std::process::Command;

use nix::sys::signal::{Signal, kill};

use crate::common::{User, World, for_each_user};
use crate::{channel, init_program, pds, program};

/// Two PDs that ring each other for ever; `left` counts.
fn ping_pong(world: &World) {
    program(
        world,
        "player",
        r#"
        static unsigned long rounds;
        void init(void) { if (strcmp(microkit_name, "left") == 0) microkit_notify(0); }
        void notified(microkit_channel ch) {
            if (strcmp(microkit_name, "left") == 0 && ++rounds % 500 == 0) printf("%lu.\n", rounds / 500);
            microkit_notify(ch);
        }
        "#,
    );
    let names = [("left", 0), ("right", 0), ("third", 0)];
    let system =
        names.iter().fold(pds(&names), |text, (name, _)| text.replace(&format!("{name}.elf"), "player.elf"))
            + &channel(("left", 0, ""), ("right", 0, ""));
    world.system("x.system", &format!("<system>{system}</system>"));
}

#[test]
fn a_killed_pd_is_reported_and_the_others_go_on() {
    for_each_user(|world| {
        ping_pong(world);
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stdout("left | 1.\n");
        kill(running.pd("third"), Signal::SIGKILL).unwrap();
        running.wait_for_stderr("fault: PD `third`: ended by SIGKILL: ended from outside");
        running.wait_for_lines(3);
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(1).says("nobody handles it: it is gone, the others go on");
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 1, "{outcome}");
    });
}

#[test]
fn a_stopped_pd_stays_stopped_until_it_is_continued() {
    for_each_user(|world| {
        ping_pong(world);
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stdout("left | 1.\n");
        let right = running.pd("right");
        for _ in 0..3 {
            kill(right, Signal::SIGSTOP).unwrap();
            running.wait_for_state("right", 't');
            // With nobody to answer it, the other comes to rest.
            running.wait_for_state("left", 'S');
            kill(right, Signal::SIGCONT).unwrap();
            running.wait_for_lines(2);
        }
        // An end in the middle of a stop is an end.
        kill(right, Signal::SIGSTOP).unwrap();
        running.wait_for_state("right", 't');
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(0);
        assert_eq!(outcome.stderr, "");
    });
}

/// Signals that a PD did not cause have no meaning to it, also those that look like faults.
#[test]
fn signals_from_outside_do_nothing() {
    for_each_user(|world| {
        ping_pong(world);
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stdout("left | 1.\n");
        let left = running.pd("left");
        for signal in Signal::iterator() {
            let stops = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
            if signal != Signal::SIGKILL && !stops.contains(&signal) {
                kill(left, signal).unwrap();
            }
        }
        running.wait_for_lines(3);
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(0);
        assert_eq!(outcome.stderr, "");
    });
}

/// SIGTSTP and its like, sent by hand, are no job control for a process without a terminal.
#[test]
fn terminal_stops_do_not_end_or_hang_the_system() {
    for_each_user(|world| {
        ping_pong(world);
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stdout("left | 1.\n");
        for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
            kill(running.pd("left"), signal).unwrap();
        }
        kill(running.pd("left"), Signal::SIGCONT).unwrap();
        running.wait_for_lines(2);
        running.signal(Signal::SIGTERM);
        running.wait().expect(0);
    });
}

/// Such a root may trace its own children as long as nothing makes it undumpable (`sys::bare::Memory`).
#[test]
fn root_in_a_container_that_may_not_trace_others() {
    for_each_user(|world| {
        if world.user() != User::Root {
            return;
        }
        init_program(world, "pd", "", "puts(\"runs\");");
        let names: Vec<String> = (0..20).map(|number| format!("pd{number}")).collect();
        let names: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let system =
            names.iter().fold(pds(&names), |text, (name, _)| text.replace(&format!("{name}.elf"), "pd.elf"));
        world.system("x.system", &format!("<system>{system}</system>"));
        let output = Command::new("setpriv")
            .args(["--bounding-set", "-sys_ptrace"])
            .arg(world.binary())
            .args(["run", "--until-idle", "x.system"])
            .current_dir(world.dir())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("| runs").count(), 20, "{said}");
    });
}
