//! The debug console: whole lines with their PD's name, or the bytes as they are; nobody's output keeps another's back.

use nix::sys::signal::Signal;

use crate::common::for_each_user;
use crate::{channel, init_program, one_pd, pds, program, run_until_idle};

#[test]
fn lines_come_out_whole_with_their_pds_name() {
    for_each_user(|world| {
        // Two PDs print each line in three pieces, at the same time.
        let statements = r#"
            for (int i = 0; i < 500; i++) {
                microkit_dbg_puts(microkit_name);
                microkit_dbg_puts(" says ");
                microkit_dbg_puts("something\n");
            }
            microkit_dbg_puts("and no newline");
        "#;
        init_program(world, "a", "", statements);
        init_program(world, "bb", "", statements);
        world.system("x.system", &format!("<system>{}</system>", pds(&[("a", 0), ("bb", 0)])));
        let outcome = run_until_idle(world);
        outcome.expect(0);
        for name in ["a", "bb"] {
            let line = format!("{name} says something");
            let mut expected = vec![line.as_str(); 500];
            expected.push("and no newline");
            outcome.printed(name, &expected);
        }
        assert_eq!(outcome.stdout.lines().count(), 1002, "{outcome}");
    });
}

#[test]
fn what_a_pd_prints_does_not_steer_a_terminal() {
    for_each_user(|world| {
        let statements =
            r#"microkit_dbg_puts("\033[2J\033]0;title\007\xff tab\t caf\xc3\xa9\r\n\x7f\x08\n");"#;
        init_program(world, "pd", "", statements);
        one_pd(world, "", "");
        run_until_idle(world)
            .expect(0)
            .printed("pd", &["\\x1b[2J\\x1b]0;title\\x07\\xff tab\t café", "\\x7f\\x08"]);
    });
}

#[test]
fn raw_is_the_bytes_as_they_are() {
    for_each_user(|world| {
        init_program(world, "pd", "", r#"microkit_dbg_puts("a\033[1mb\r\nno newline");"#);
        one_pd(world, "", "");
        let outcome = world.run(&["run", "--until-idle", "--console", "raw", "x.system"]);
        outcome.expect(0);
        assert_eq!(outcome.stdout, "a\u{1b}[1mb\r\nno newline", "{outcome}");
    });
}

#[test]
fn a_line_without_end_is_cut_and_fills_no_memory() {
    for_each_user(|world| {
        let statements = r#"
            static char chunk[10000];
            memset(chunk, 'x', sizeof chunk - 1);
            for (int i = 0; i < 100; i++) microkit_dbg_puts(chunk);
        "#;
        init_program(world, "pd", "", statements);
        one_pd(world, "", "");
        let outcome = run_until_idle(world);
        outcome.expect(0);
        let lines = outcome.lines_of("pd");
        assert!(lines.iter().all(|line| line.len() <= 4096), "{} lines", lines.len());
        assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 999_900);
    });
}

/// One PD writes to its console without end. Two others go on, and the launcher still hears its signals.
#[test]
fn a_flood_does_not_starve_the_others() {
    for_each_user(|world| {
        program(
            world,
            "flood",
            r#"
            void init(void) { for (;;) microkit_dbg_puts("flood flood flood flood flood flood flood flood\n"); }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        program(
            world,
            "quiet",
            r#"
            static int rounds;
            void init(void) { if (strcmp(microkit_name, "left") == 0) microkit_notify(0); }
            void notified(microkit_channel ch) {
                if (++rounds > 100) return;
                printf("round %d\n", rounds);
                if (rounds == 100) puts("done");
                microkit_notify(ch);
            }
            "#,
        );
        let names = [("flood", 254), ("left", 0), ("right", 0)];
        let system = pds(&names).replace("left.elf", "quiet.elf").replace("right.elf", "quiet.elf")
            + &channel(("left", 0, ""), ("right", 0, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        let mut running = world.start(&["run", "x.system"]);
        running.wait_for_stdout("left | done\n");
        running.wait_for_stdout("right | done\n");
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        for name in ["left", "right"] {
            assert_eq!(outcome.lines_of(name).len(), 101);
        }
    });
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_system() {
    for_each_user(|world| {
        init_program(world, "pd", "", "for (;;) puts(\"more\");");
        one_pd(world, "", "");
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let outcome = world.run_into(writer, &["run", "x.system"]);
        outcome.expect(0);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn a_full_disk_is_an_error() {
    for_each_user(|world| {
        init_program(world, "pd", "", "puts(\"up\");");
        one_pd(world, "", "");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        world
            .run_into(full, &["run", "x.system"])
            .expect(5)
            .says("cannot write to standard output: No space left on device");
    });
}

#[test]
fn a_reader_that_stalls_holds_up_nobody_but_those_who_print() {
    for_each_user(|world| {
        world.program(
            "flood",
            "#include <microkit.h>
            void init(void) { for (;;) microkit_dbg_puts(\"no end of it, whoever listens\\n\"); }
            void notified(microkit_channel ch) { (void)ch; }",
        );
        world.system(
            "flood.system",
            "<system><protection_domain name='flood'><program_image path='flood.elf'/></protection_domain></system>",
        );
        let (unread, stdout) = std::io::pipe().expect("a pipe");
        world.run_into(stdout, &["run", "--timeout", "1", "flood.system"]).expect(124).says("are lost");
        drop(unread);
    });
}
