//! Protected procedure calls: what is passed, whom they reach, in which order they are served.

use crate::common::for_each_user;
use crate::{channel, init_program, pds, program, run_until_idle};

const PP: &str = "pp=\"true\"";

#[test]
fn all_120_registers_pass_both_ways() {
    for_each_user(|world| {
        let statements = r#"
            for (int i = 0; i < 120; i++) microkit_mr_set(i, 0x0123456789abcdefUL * (i + 1));
            microkit_msginfo reply = microkit_ppcall(0, microkit_msginfo_new(0xfffffffffffffUL, 120));
            int wrong = 0;
            for (int i = 0; i < 120; i++) wrong += microkit_mr_get(i) != ~(0x0123456789abcdefUL * (120 - i));
            printf("label %lx, %lu words, %d wrong\n", microkit_msginfo_get_label(reply),
                   microkit_msginfo_get_count(reply), wrong);
        "#;
        init_program(world, "caller", "", statements);
        program(
            world,
            "server",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                seL4_Word got[120];
                int wrong = 0;
                for (int i = 0; i < 120; i++) got[i] = microkit_mr_get(i);
                for (int i = 0; i < 120; i++) wrong += got[i] != 0x0123456789abcdefUL * (i + 1);
                printf("channel %u, label %lx, %lu words, %d wrong\n", ch, microkit_msginfo_get_label(info),
                       microkit_msginfo_get_count(info), wrong);
                for (int i = 0; i < 120; i++) microkit_mr_set(i, ~got[119 - i]);
                return microkit_msginfo_new(7, 120);
            }
            "#,
        );
        let system = pds(&[("caller", 1), ("server", 2)]) + &channel(("caller", 0, PP), ("server", 55, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world)
            .expect(0)
            .printed("server", &["channel 55, label fffffffffffff, 120 words, 0 wrong"])
            .printed("caller", &["label 7, 120 words, 0 wrong"]);
    });
}

#[test]
fn a_call_that_cannot_be_is_refused_and_returns_nothing() {
    for_each_user(|world| {
        let before = r#"
            static void call(microkit_channel ch, seL4_Word label, int count) {
                microkit_msginfo reply = microkit_ppcall(ch, microkit_msginfo_new(label, count));
                printf("label %lu, %lu words\n", microkit_msginfo_get_label(reply), microkit_msginfo_get_count(reply));
            }
        "#;
        init_program(
            world,
            "caller",
            before,
            "call(0, 5, 121); call(1, 5, 1); call(2, 5, 1); call(62, 5, 1); call(0, 5, 120);",
        );
        program(
            world,
            "server",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                printf("called on %u, %lu words\n", ch, microkit_msginfo_get_count(info));
                return microkit_msginfo_new(9, 127);
            }
            "#,
        );
        // 1 has no pp, 2 is no channel, 62 is beyond all. A reply of 127 words is one of 120.
        let system = [
            pds(&[("caller", 1), ("server", 2)]),
            channel(("caller", 0, PP), ("server", 0, "")),
            channel(("caller", 1, ""), ("server", 1, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world).expect(0).printed("server", &["called on 0, 120 words"]).printed(
            "caller",
            &[
                "caller microkit_ppcall: more than 120 message registers given '121'",
                "label 0, 0 words",
                "caller microkit_ppcall: invalid channel given '1'",
                "label 0, 0 words",
                "caller microkit_ppcall: invalid channel given '2'",
                "label 0, 0 words",
                "caller microkit_ppcall: invalid channel given '62'",
                "label 0, 0 words",
                "label 9, 120 words",
            ],
        );
    });
}

#[test]
fn calls_nest() {
    for_each_user(|world| {
        // Every PD of the chain adds its digit and passes the call on, on a channel of another number.
        program(
            world,
            "link",
            r#"
            static seL4_Word pass_on(seL4_Word value) {
                unsigned me = microkit_name[1] - '0';
                microkit_mr_set(0, value * 10 + me);
                if (microkit_pps != 0) {
                    (void)microkit_ppcall(10 + me, microkit_msginfo_new(0, 1));
                }
                return microkit_mr_get(0);
            }
            void init(void) { if (microkit_name[1] == '0') printf("%lu\n", pass_on(9)); }
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                seL4_Word value = pass_on(microkit_mr_get(0));
                printf("on %u: %lu\n", ch, value);
                microkit_mr_set(0, value * 10 + microkit_name[1] - '0');
                return info;
            }
            "#,
        );
        let mut system = String::new();
        for index in 0..5 {
            system += &format!(
                "<protection_domain name=\"p{index}\" priority=\"{index}\"><program_image path=\"link.elf\"/></protection_domain>"
            );
        }
        for index in 0..4_u8 {
            let (caller, callee) = (format!("p{index}"), format!("p{}", index + 1));
            system += &channel((&caller, 10 + index, PP), (&callee, 20 + index, ""));
        }
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world)
            .expect(0)
            .printed("p4", &["on 23: 901234"])
            .printed("p3", &["on 22: 9012344"])
            .printed("p2", &["on 21: 90123443"])
            .printed("p1", &["on 20: 901234432"])
            .printed("p0", &["9012344321"]);
    });
}

/// All callers wait before the first is served: the server is kept in `init` until each of them is seen asleep in its call.
#[test]
fn callers_are_served_by_priority() {
    const CALLERS: [(&str, u8); 5] = [("c0", 3), ("c1", 200), ("c2", 1), ("c3", 77), ("c4", 201)];
    for_each_user(|world| {
        program(
            world,
            "server",
            r#"
            volatile uint64_t *go;
            void init(void) { while (*go == 0) {} }
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                printf("serving %u\n", ch);
                return info;
            }
            "#,
        );
        let statements = r#"
            puts("calling");
            (void)microkit_ppcall(0, microkit_msginfo_new(0, 0));
            puts("answered");
        "#;
        init_program(world, "caller", "", statements);
        init_program(world, "ringer", "", "microkit_notify(0); puts(\"rung\");");
        let mut system = "<memory_region name=\"go_region\" size=\"0x1000\"/>\
            <protection_domain name=\"server\" priority=\"254\"><program_image path=\"server.elf\"/>\
            <map mr=\"go_region\" vaddr=\"0x5000000\" perms=\"r\" setvar_vaddr=\"go\"/></protection_domain>"
            .to_owned()
            + &pds(&[("ringer", 0)])
            + &channel(("ringer", 0, ""), ("server", 60, ""));
        for (index, (name, priority)) in CALLERS.iter().enumerate() {
            system += &format!(
                "<protection_domain name=\"{name}\" priority=\"{priority}\"><program_image path=\"caller.elf\"/></protection_domain>"
            );
            system += &channel((name, 0, PP), ("server", index as u8, ""));
        }
        world.system("x.system", &format!("<system>{system}</system>"));
        let mut running = world.start(&["run", "--until-idle", "x.system"]);
        running.wait_for_stdout("ringer | rung\n");
        for (name, _) in CALLERS {
            running.wait_for_stdout(&format!("{name} | calling\n"));
            running.wait_for_state(name, 'S');
        }
        running.poke_region("go_region", 0, &1_u64.to_le_bytes());
        let outcome = running.wait();
        // Notifications come before any call.
        let order = ["heard 60", "serving 4", "serving 1", "serving 3", "serving 0", "serving 2"];
        outcome.expect(0).printed("server", &order);
        for (name, _) in CALLERS {
            outcome.printed(name, &["calling", "answered"]);
        }
    });
}

#[test]
fn a_call_to_an_image_without_protected_is_a_fault_of_the_called() {
    for_each_user(|world| {
        init_program(
            world,
            "caller",
            "",
            "(void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); puts(\"answered\");",
        );
        init_program(world, "server", "", "");
        let system = pds(&[("caller", 1), ("server", 2)]) + &channel(("caller", 0, PP), ("server", 0, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        let outcome = run_until_idle(world);
        outcome.expect(1).printed("caller", &[]).says("fault: PD `server`").says(
            "a call can never return: PD `caller` waits in a call on channel 0 for `server`, which is stopped by a fault",
        );
        assert!(
            outcome.lines_of("server").contains(&"server is missing the 'protected' entry point"),
            "{outcome}"
        );
    });
}
