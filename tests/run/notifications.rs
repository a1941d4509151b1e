//! Notifications: coalesced, in ascending order, never on another channel than the one that was rung.
//!
//! A PD that is blocked in a call hears nothing until the call returns. So a PD calls whoever is to ring it: when the call returns,
//! everything has been rung, and what it hears then is settled.

use crate::common::for_each_user;
use crate::{channel, init_program, pds, program, run_until_idle};

/// Calls on channel 0 from `init`, then says what it hears.
const LISTENER: &str = r#"
void init(void) { (void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); puts("called"); }
void notified(microkit_channel ch) { printf("heard %u\n", ch); }
"#;

#[test]
fn many_notifications_before_one_look_are_one() {
    for_each_user(|world| {
        program(world, "listener", LISTENER);
        program(
            world,
            "ringer",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                for (int i = 0; i < 1000; i++) microkit_notify(ch);
                return info;
            }
            "#,
        );
        let system = pds(&[("listener", 1), ("ringer", 2)])
            + &channel(("listener", 0, "pp=\"true\""), ("ringer", 9, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world).expect(0).printed("listener", &["called", "heard 0"]);
    });
}

/// Three channels to one peer and one to another, rung in descending order and twice.
#[test]
fn what_rings_together_is_heard_in_ascending_order_and_once() {
    for_each_user(|world| {
        program(world, "listener", LISTENER);
        program(
            world,
            "first",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                microkit_notify(61); microkit_notify(1); microkit_notify(30); microkit_notify(1);
                (void)microkit_ppcall(5, microkit_msginfo_new(0, 0));
                microkit_notify(61); microkit_notify(30);
                return info;
            }
            "#,
        );
        program(
            world,
            "second",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { microkit_notify(2); return info; }
            "#,
        );
        let system = [
            pds(&[("listener", 1), ("first", 2), ("second", 3)]),
            channel(("listener", 0, "pp=\"true\""), ("first", 0, "")),
            // The ids cross: what the sender calls 61 is the lowest here.
            channel(("listener", 7, ""), ("first", 61, "")),
            channel(("listener", 40, ""), ("first", 30, "")),
            channel(("listener", 61, ""), ("first", 1, "")),
            channel(("first", 5, "pp=\"true\""), ("second", 6, "")),
            channel(("second", 2, ""), ("listener", 33, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world)
            .expect(0)
            .printed("listener", &["called", "heard 7", "heard 33", "heard 40", "heard 61"]);
    });
}

/// Two peers play ping-pong with one hub at the same time. Before each ring a peer counts up in its own region; since it then waits
/// for the answer, the hub finds exactly one more on the channel it hears, if it hears the right one.
#[test]
fn ids_are_never_mixed() {
    const ROUNDS: u32 = 3000;
    for_each_user(|world| {
        program(
            world,
            "hub",
            &format!(
                r#"
                volatile uint64_t *count_3, *count_4;
                static uint64_t seen[62], wrong;
                void init(void) {{}}
                void notified(microkit_channel ch) {{
                    uint64_t now = ch == 3 ? *count_3 : ch == 4 ? *count_4 : 0;
                    if (now != ++seen[ch]) wrong++;
                    if (seen[3] == {ROUNDS} && seen[4] == {ROUNDS}) printf("%lu rounds, %lu wrong\n", now, wrong);
                    microkit_notify(ch);
                }}
                "#
            ),
        );
        let peer = format!(
            r#"
            volatile uint64_t *count;
            void init(void) {{ *count = 1; microkit_notify(0); }}
            void notified(microkit_channel ch) {{ if (*count < {ROUNDS}) {{ ++*count; microkit_notify(ch); }} }}
            "#
        );
        program(world, "peer", &peer);
        let peer = |name: &str, region: &str| {
            format!(
                "<protection_domain name=\"{name}\"><program_image path=\"peer.elf\"/>\
                 <map mr=\"{region}\" vaddr=\"0x5000000\" setvar_vaddr=\"count\"/></protection_domain>"
            )
        };
        let system = [
            "<memory_region name=\"r3\" size=\"0x1000\"/><memory_region name=\"r4\" size=\"0x1000\"/>"
                .to_owned(),
            "<protection_domain name=\"hub\"><program_image path=\"hub.elf\"/>\
             <map mr=\"r3\" vaddr=\"0x5000000\" perms=\"r\" setvar_vaddr=\"count_3\"/>\
             <map mr=\"r4\" vaddr=\"0x6000000\" perms=\"r\" setvar_vaddr=\"count_4\"/></protection_domain>"
                .to_owned(),
            peer("left", "r3"),
            peer("right", "r4"),
            channel(("hub", 3, ""), ("left", 0, "")),
            channel(("hub", 4, ""), ("right", 0, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world).expect(0).printed("hub", &[&format!("{ROUNDS} rounds, 0 wrong")]);
    });
}

#[test]
fn a_channel_with_itself_carries_notifications() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            void init(void) { microkit_notify(5); puts("rung 5"); }
            void notified(microkit_channel ch) {
                printf("heard %u\n", ch);
                if (ch == 6) { microkit_notify(6); puts("rung 6"); }
            }
            "#,
        );
        let system = pds(&[("pd", 0)]) + &channel(("pd", 5, ""), ("pd", 6, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        run_until_idle(world).expect(0).printed("pd", &["rung 5", "heard 6", "rung 6", "heard 5"]);
    });
}

/// A handler has one deferred action: a later one takes the place of an earlier one, and it happens when the handler returns, in `init`
/// and in `protected` too.
#[test]
fn a_deferred_notification_happens_when_the_handler_returns() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            r#"
            void init(void) {
                microkit_deferred_notify(0);
                microkit_deferred_notify(2);
                printf("pending: %d\n", microkit_have_signal);
            }
            void notified(microkit_channel ch) {
                printf("heard %u, pending: %d\n", ch, microkit_have_signal);
                if (ch == 3) {
                    /* Rung at once, and its id is the higher one. */
                    microkit_deferred_notify(0);
                    microkit_notify(4);
                    printf("rung 4\n");
                }
            }
            "#,
        );
        let system = [
            pds(&[("pd", 0)]),
            channel(("pd", 0, ""), ("pd", 1, "")),
            channel(("pd", 2, ""), ("pd", 3, "")),
            channel(("pd", 4, ""), ("pd", 5, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world).expect(0).printed(
            "pd",
            &["pending: 1", "heard 3, pending: 0", "rung 4", "heard 1, pending: 0", "heard 5, pending: 0"],
        );
    });
}

/// The reply comes after the deferred notification, so the caller has it when its call returns.
#[test]
fn a_deferred_notification_comes_before_the_reply() {
    for_each_user(|world| {
        program(
            world,
            "caller",
            r#"
            void init(void) { (void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); microkit_notify(2); }
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            "#,
        );
        program(
            world,
            "server",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                microkit_deferred_notify(4);
                return info;
            }
            "#,
        );
        // The caller's own channel is rung after the call: were the reply first, it could be heard alone.
        let system = [
            pds(&[("caller", 1), ("server", 2)]),
            channel(("caller", 0, "pp=\"true\""), ("server", 0, "")),
            channel(("caller", 1, ""), ("server", 4, "")),
            channel(("caller", 2, ""), ("caller", 3, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        run_until_idle(world).expect(0).printed("caller", &["heard 1", "heard 3"]);
    });
}

#[test]
fn an_end_without_the_right_cannot_notify() {
    for_each_user(|world| {
        let statements =
            "microkit_notify(0); microkit_notify(1); microkit_notify(99); microkit_deferred_notify(0);";
        init_program(world, "quiet", "", statements);
        program(
            world,
            "listener",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            "#,
        );
        let system = pds(&[("quiet", 0), ("listener", 0)])
            + &channel(("quiet", 0, "notify=\"false\""), ("listener", 0, ""));
        world.system("x.system", &format!("<system>{system}</system>"));
        let outcome = run_until_idle(world);
        outcome.expect(0).printed("listener", &[]).printed(
            "quiet",
            &[
                "quiet microkit_notify: invalid channel given '0'",
                "quiet microkit_notify: invalid channel given '1'",
                "quiet microkit_notify: invalid channel given '99'",
                "quiet microkit_deferred_notify: invalid channel given '0'",
            ],
        );
    });
}
