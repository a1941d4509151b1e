//! As many channels and PDs as a system can have.

use crate::common::for_each_user;
use crate::{channel, program, run_until_idle};

/// The hub calls 62 PDs, each on a channel of its own, and every one rings it while it is blocked.
#[test]
fn a_pd_with_62_channels() {
    for_each_user(|world| {
        program(
            world,
            "hub",
            r#"
            static unsigned heard, out_of_order;
            void init(void) {
                unsigned wrong = 0;
                for (unsigned ch = 0; ch < 62; ch++) {
                    microkit_mr_set(0, ch * 3);
                    microkit_msginfo reply = microkit_ppcall(ch, microkit_msginfo_new(ch, 1));
                    wrong += microkit_msginfo_get_label(reply) != ch || microkit_mr_get(0) != ch * 3 + 61 - ch;
                }
                printf("62 calls, %u wrong\n", wrong);
            }
            void notified(microkit_channel ch) {
                out_of_order += ch != heard++;
                if (heard == 62) {
                    printf("62 notifications, %u out of order\n", out_of_order);
                    for (unsigned to = 0; to < 62; to++) microkit_notify(to);
                }
            }
            "#,
        );
        program(
            world,
            "peer",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                microkit_mr_set(0, microkit_mr_get(0) + ch);
                microkit_notify(ch);
                return info;
            }
            "#,
        );
        let mut system =
            "<protection_domain name=\"hub\"><program_image path=\"hub.elf\"/></protection_domain>"
                .to_owned();
        for id in 0..62_u8 {
            let name = format!("peer{id}");
            system += &format!(
                "<protection_domain name=\"{name}\" priority=\"1\"><program_image path=\"peer.elf\"/></protection_domain>"
            );
            system += &channel(("hub", id, "pp=\"true\""), (&name, 61 - id, ""));
        }
        world.system("x.system", &format!("<system>{system}</system>"));
        let outcome = run_until_idle(world);
        outcome.expect(0).printed("hub", &["62 calls, 0 wrong", "62 notifications, 0 out of order"]);
        for id in 0..62 {
            outcome.printed(&format!("peer{id}"), &[&format!("heard {}", 61 - id)]);
        }
    });
}

/// 63 PDs in a ring: all ring both neighbours, and a token goes round three times.
#[test]
fn sixty_three_pds_ring_their_neighbours() {
    const COUNT: usize = 63;
    for_each_user(|world| {
        program(
            world,
            "link",
            r#"
            enum { NEXT, PREVIOUS, TOKEN_OUT, TOKEN_IN };
            static unsigned heard, tokens;
            void init(void) {
                microkit_notify(NEXT);
                microkit_notify(PREVIOUS);
                if (strcmp(microkit_name, "p0") == 0) microkit_notify(TOKEN_OUT);
            }
            void notified(microkit_channel ch) {
                if (ch == TOKEN_IN) {
                    tokens++;
                    if (tokens < 3 || strcmp(microkit_name, "p0") != 0) microkit_notify(TOKEN_OUT);
                    if (tokens == 3) puts("3 tokens");
                } else {
                    heard |= 1 << ch;
                    if (heard == 3) { puts("both neighbours"); heard |= 4; }
                }
            }
            "#,
        );
        let (mut pds, mut channels) = (String::new(), String::new());
        for index in 0..COUNT {
            let (name, next) = (format!("p{index}"), format!("p{}", (index + 1) % COUNT));
            pds += &format!(
                "<protection_domain name=\"{name}\"><program_image path=\"link.elf\"/></protection_domain>"
            );
            channels += &channel((&name, 0, ""), (&next, 1, ""));
            channels += &channel((&name, 2, ""), (&next, 3, ""));
        }
        world.system("x.system", &format!("<system>{pds}{channels}</system>"));
        let outcome = run_until_idle(world);
        outcome.expect(0);
        for index in 0..COUNT {
            let mut lines = outcome.lines_of(&format!("p{index}"));
            lines.sort_unstable();
            assert_eq!(lines, ["3 tokens", "both neighbours"], "p{index}:\n{outcome}");
        }
    });
}
