//! How a run ends, and what its exit code says.

use nix::sys::signal::{Signal, kill};

use crate::common::for_each_user;
use crate::{channel, init_program, one_pd, pds, program, run_until_idle};

const PP: &str = "pp=\"true\"";

#[test]
fn a_system_that_has_nothing_to_do_ends_and_says_nothing() {
    for_each_user(|world| {
        init_program(world, "pd", "", "");
        one_pd(world, "", "");
        let outcome = run_until_idle(world);
        outcome.expect(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    });
}

/// Idle is when nothing is pending either: a chain of notifications and calls through sleeping PDs runs to its end.
#[test]
fn a_system_with_something_pending_is_not_idle() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            static void work(void) { for (volatile int i = 0; i < 20000000; i++) {} }
            void init(void) { if (microkit_pps != 0) microkit_notify(0); }
            void notified(microkit_channel ch) {
                work();
                if (microkit_pps != 0) {
                    (void)microkit_ppcall(1, microkit_msginfo_new(0, 0));
                    puts("done");
                } else {
                    microkit_notify(ch);
                }
            }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { (void)ch; work(); return info; }
            "#,
        );
        let system = pds(&[("one", 0), ("two", 1)]).replace("one.elf", "pd.elf").replace("two.elf", "pd.elf")
            + &channel(("one", 0, ""), ("two", 0, ""))
            + &channel(("one", 1, PP), ("two", 1, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world).expect(0).printed("one", &["done"]);
    });
}

#[test]
fn an_orderly_end_is_a_success() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\"); microkit_dbg_puts(\"a line without end\");");
        one_pd(world, "", "");
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            for arguments in [&["run", "x.system"][..], &["run", "--timeout", "600", "x.system"]] {
                let mut running = world.start(arguments);
                running.wait_for_stdout("pd | up\n");
                let pd = running.pd("pd");
                // What it has printed is in its pipe before it sleeps.
                running.wait_for_state("pd", 'S');
                running.signal(signal);
                let outcome = running.wait();
                outcome.expect(0).printed("pd", &["up", "a line without end"]);
                assert_eq!(outcome.stderr, "");
                assert!(kill(pd, None).is_err(), "the PD's process is still there");
            }
        }
    });
}

#[test]
fn the_time_limit_ends_a_busy_system() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"busy\"); for (;;) {}");
        one_pd(world, "", "");
        for arguments in [&["--timeout", "0.3"][..], &["--until-idle", "--timeout", "0.3"]] {
            let mut words = vec!["run"];
            words.extend(arguments);
            words.push("x.system");
            let outcome = world.run(&words);
            outcome.expect(124).printed("pd", &["busy"]);
        }
    });
}

#[test]
fn the_time_limit_ends_an_idle_system() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"idle\");");
        one_pd(world, "", "");
        world.run(&["run", "--timeout", "0.1", "x.system"]).expect(124);
        // Idle comes first.
        world
            .run(&["run", "--until-idle", "--timeout", "600", "x.system"])
            .expect(0)
            .printed("pd", &["idle"]);
    });
}

#[test]
fn an_unhandled_fault_is_told_by_the_exit_code() {
    for_each_user(|world| {
        init_program(world, "pd", "", "*(volatile int *)0 = 1;");
        init_program(world, "other", "", "puts(\"up\");");
        world.system("x.system", &format!("<system>{}</system>", pds(&[("pd", 0), ("other", 0)])));
        run_until_idle(world).expect(1);
        // The time limit is what scripts look for, whatever else there was.
        world.run(&["run", "--timeout", "0.2", "x.system"]).expect(124).says("fault: PD `pd`");
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stderr("fault: PD `pd`");
        running.wait_for_stdout("other | up\n");
        running.signal(Signal::SIGTERM);
        running.wait().expect(1);
    });
}

const CALLER: &str = "(void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); puts(\"answered\");";

/// A server that does this with a call.
fn server(code: &str) -> String {
    format!(
        r#"
        void init(void) {{}}
        void notified(microkit_channel ch) {{ (void)ch; }}
        microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {{ {code} return info; }}
        "#
    )
}

#[test]
fn who_waits_for_whom_is_said_along_the_chain() {
    for_each_user(|world| {
        init_program(world, "one", "", CALLER);
        init_program(world, "other", "", CALLER);
        program(world, "two", &server("(void)microkit_ppcall(9, info);"));
        program(world, "three", &server("*(volatile int *)0 = 1;"));
        let system = [
            pds(&[("one", 1), ("other", 0), ("two", 2), ("three", 3)]),
            channel(("one", 0, PP), ("two", 0, "")),
            channel(("two", 9, PP), ("three", 0, "")),
            channel(("other", 0, PP), ("two", 1, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        let outcome = run_until_idle(world);
        outcome
            .expect(1)
            .says(
                "a call can never return: PD `one` waits in a call on channel 0 for `two`, which waits for `three`, \
                 which is stopped by a fault\n",
            )
            .says(
                "a call can never return: PD `other` waits in a call on channel 0 for `two`, which waits for `three`, \
                 which is stopped by a fault\n",
            )
            .says(
                "a call can never return: PD `two` waits in a call on channel 9 for `three`, which is stopped by a fault\n",
            );
        assert!(outcome.lines_of("one").is_empty() && outcome.lines_of("other").is_empty());
    });
}

#[test]
fn a_callee_that_is_gone_is_called_gone() {
    for_each_user(|world| {
        init_program(world, "caller", "", CALLER);
        program(world, "server", &server("puts(\"serving\"); for (;;) {}"));
        let system = pds(&[("caller", 1), ("server", 2)]) + &channel(("caller", 0, PP), ("server", 0, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        let mut running = world.start(&["run", "--until-idle", "x.system"]);
        running.wait_for_stdout("server | serving\n");
        kill(running.pd("server"), Signal::SIGKILL).unwrap();
        running
            .wait()
            .expect(1)
            .says("fault: PD `server`: ended by SIGKILL: ended from outside\n  nobody handles it: it is gone, the others go on")
            .says("a call can never return: PD `caller` waits in a call on channel 0 for `server`, which is gone");
    });
}

/// A callee that has stopped before the call.
#[test]
fn a_callee_that_faulted_in_init_is_named() {
    for_each_user(|world| {
        init_program(world, "caller", "", CALLER);
        program(
            world,
            "server",
            r#"
            void init(void) { __builtin_trap(); }
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { (void)ch; return info; }
            "#,
        );
        let system = pds(&[("caller", 1), ("server", 2)]) + &channel(("caller", 0, PP), ("server", 0, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world).expect(1).says("fault: PD `server`: SIGILL").says(
            "a call can never return: PD `caller` waits in a call on channel 0 for `server`, which is stopped by a fault",
        );
    });
}
