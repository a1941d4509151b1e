//! `<cspace>`: what can be done with a thread or a scheduling context of another PD, and what cannot.

use crate::common::World;
use crate::{channel, everywhere, pd, program, run, system};

const HOLDER: &str = r#"
volatile uint64_t *board;
enum { TCB = BASE_USER_CAPS + 1, SC, VSPACE, OWN_TCB = BASE_USER_CAPS + 127, OWN_SC = BASE_USER_CAPS + 126 };
void init(void) {}
"#;

const BOARD: &str = "<memory_region name=\"board\" size=\"0x1000\"/>\n";
const BOARD_MAP: &str = "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n";
const SLOTS: &str = "<cspace><cap_tcb slot=\"1\" pd=\"other\"/><cap_sc slot=\"2\" pd=\"other\"/>\
    <cap_vspace slot=\"3\" pd=\"other\"/><cap_tcb slot=\"127\" pd=\"holder\"/><cap_sc slot=\"126\" pd=\"holder\"/></cspace>\n";

/// A holder that does this when `other` rings it, with this program for `other`.
fn pair(world: &World, notified: &str, other: &str) {
    let handler = format!("void notified(microkit_channel ch) {{ (void)ch; {notified} }}\n");
    program(world, "holder", &format!("{HOLDER}{handler}"));
    program(world, "other", &format!("volatile uint64_t *board;\n{other}"));
    let elements = [
        BOARD.to_owned(),
        pd("holder", "priority=\"2\"", &format!("{BOARD_MAP}{SLOTS}")),
        pd("other", "priority=\"1\"", BOARD_MAP),
        channel(("holder", 0, ""), ("other", 0, "")),
    ];
    system(world, &elements.concat());
}

/// Rings the holder, then counts on the board in a loop that nobody leaves by himself.
const COUNTER: &str = r#"
void init(void) {
    uint64_t r13;
    __asm__ volatile("leaq 1f(%%rip), %%rax\n movq %%rax, 8(%%rdi)\n leaq 2f(%%rip), %%rax\n movq %%rax, 16(%%rdi)\n" : : "D"(board) : "rax", "memory");
    microkit_notify(0);
    __asm__ volatile("movq $0x1212, %%r12\n movq $0x1313, %%r13\n"
                     "1: incq (%%rdi)\n jmp 1b\n 2: movq %%r13, %0" : "=r"(r13) : "D"(board) : "r12", "r13", "memory");
    printf("out with %#lx\n", r13);
}
void notified(microkit_channel ch) { printf("notified %u\n", ch); }
"#;

#[test]
fn a_thread_is_stopped_read_written_and_let_go() {
    everywhere(|world, schedule| {
        let act = r#"
            while (board[0] == 0) {}
            printf("suspend %d\n", seL4_TCB_Suspend(TCB));
            uint64_t count = board[0];
            seL4_UserContext context = {0};
            printf("read %d\n", seL4_TCB_ReadRegisters(TCB, seL4_False, 0, 20, &context));
            printf("in the loop: %d\n", context.rip >= board[1] && context.rip < board[2]);
            printf("r12 %#lx, r13 %#lx, rdi is the board: %d\n", context.r12, context.r13, context.rdi == (uint64_t)board);
            for (volatile int i = 0; i < 1000000; i++) {}
            printf("stands still: %d\n", board[0] == count);
            context.rip = board[2];
            context.r13 = 0xabcdef;
            /* Not for a PD to set: thread pointers, and flags that are the kernel's. */
            context.fs_base = 0;
            context.rflags = ~0ul;
            printf("write %d\n", seL4_TCB_WriteRegisters(TCB, seL4_True, 0, 20, &context));
            microkit_notify(0);
        "#;
        pair(world, act, COUNTER);
        // Equals, so that under seL4's schedule either has its turn.
        let text = std::fs::read_to_string(world.path("x.system")).unwrap();
        world.system("x.system", &text.replace("priority=\"2\"", "priority=\"1\""));
        run(world, schedule)
            .expect(0)
            .printed(
                "holder",
                &[
                    "suspend 0",
                    "read 0",
                    "in the loop: 1",
                    "r12 0x1212, r13 0x1313, rdi is the board: 1",
                    "stands still: 1",
                    "write 0",
                ],
            )
            .printed("other", &["out with 0xabcdef", "notified 0"]);
    });
}

/// To read a sleeping PD's registers and write them back is to change nothing: it sleeps on, and wakes when it should.
#[test]
fn a_sleeping_pd_is_read_and_written_back() {
    everywhere(|world, schedule| {
        let act = r#"
            seL4_UserContext context = {0};
            static int round;
            if (round == 3) return;
            round++;
            /* Below the holder in priority: under seL4's schedule it is not yet back in its loop here. */
            printf("read %d\n", seL4_TCB_ReadRegisters(TCB, seL4_True, 0, 20, &context));
            printf("write %d\n", seL4_TCB_WriteRegisters(TCB, round == 2, 0, 20, &context));
            if (round != 2) printf("resume %d\n", seL4_TCB_Resume(TCB));
            microkit_notify(0);
        "#;
        let other = r#"
            void init(void) { puts("up"); }
            void notified(microkit_channel ch) { puts("notified"); microkit_notify(ch); }
        "#;
        pair(world, act, other);
        // A third PD begins when the other sleeps.
        program(
            world,
            "starter",
            "volatile uint64_t *board;\n\
             void init(void) { while (!board[0]) {} microkit_notify(0); }\n\
             void notified(microkit_channel ch) { (void)ch; }\n",
        );
        let text = std::fs::read_to_string(world.path("x.system")).unwrap();
        let more =
            pd("starter", "priority=\"0\"", BOARD_MAP) + &channel(("starter", 0, ""), ("holder", 1, ""));
        world.system("x.system", &text.replace("</system>", &format!("{more}</system>")));
        let mut running = world.start(&[&crate::RUN, &[schedule][..]].concat());
        running.wait_for_stdout("other | up\n");
        // Asleep, or stopped by the scheduler in its sleep.
        running.wait_for_state("other", if schedule == "linux" { 'S' } else { 't' });
        running.poke_region("board", 0, &1u64.to_le_bytes());
        let outcome = running.wait();
        outcome.expect(0).printed(
            "holder",
            &["read 0", "write 0", "resume 0", "read 0", "write 0", "read 0", "write 0", "resume 0"],
        );
        outcome.printed("other", &["up", "notified", "notified", "notified"]);
    });
}

#[test]
fn the_time_a_pd_has_run_is_counted_since_it_was_asked_for_last() {
    everywhere(|world, schedule| {
        let act = r#"
            (void)seL4_TCB_Suspend(TCB);
            seL4_SchedContext_Consumed_t consumed = seL4_SchedContext_Consumed(SC);
            printf("error %d, some: %d\n", consumed.error, consumed.consumed > 0 && consumed.consumed < 60000000);
            consumed = seL4_SchedContext_Consumed(SC);
            printf("error %d, %lu\n", consumed.error, consumed.consumed);
            for (volatile int i = 0; i < 10000000; i++) {}
            uint64_t first = seL4_SchedContext_Consumed(OWN_SC).consumed;
            uint64_t second = seL4_SchedContext_Consumed(OWN_SC).consumed;
            printf("own: more, then less: %d\n", first > second);
        "#;
        pair(
            world,
            act,
            "void init(void) { for (volatile int i = 0; i < 1000000; i++) {} microkit_notify(0); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        run(world, schedule)
            .expect(0)
            .printed("holder", &["error 0, some: 1", "error 0, 0", "own: more, then less: 1"]);
    });
}

/// seL4_InvalidCapability is 2, seL4_IllegalOperation 3, seL4_RangeError 4, seL4_TruncatedMessage 7.
#[test]
fn what_a_slot_does_not_allow_is_an_error() {
    everywhere(|world, schedule| {
        let act = r#"
            seL4_UserContext context = {0};
            struct { const char *name; seL4_CPtr cap; } slots[] = {
                {"tcb", TCB}, {"sc", SC}, {"vspace", VSPACE}, {"own tcb", OWN_TCB}, {"empty", BASE_USER_CAPS + 4},
                {"slot 0", BASE_USER_CAPS}, {"behind", BASE_USER_CAPS + 128}, {"notification", BASE_OUTPUT_NOTIFICATION_CAP},
                {"no notification", BASE_OUTPUT_NOTIFICATION_CAP + 1}, {"endpoint", BASE_ENDPOINT_CAP}, {"child", BASE_TCB_CAP},
                {"null", seL4_CapNull}, {"highest", ~0ul},
            };
            (void)seL4_TCB_Suspend(TCB);
            for (unsigned i = 0; i < sizeof slots / sizeof *slots; i++) {
                seL4_CPtr cap = slots[i].cap;
                printf("%s:", slots[i].name);
                if (cap != OWN_TCB) printf(" %d", seL4_TCB_Suspend(cap));
                printf(" %d", seL4_TCB_ReadRegisters(cap, seL4_False, 0, 20, &context));
                printf(" %d", seL4_TCB_WriteRegisters(cap, seL4_False, 0, 20, &context));
                printf(" %d", seL4_SchedContext_Consumed(cap).error);
                printf(" %d", seL4_SchedContext_Bind(cap, TCB));
                printf(" %d\n", seL4_SchedContext_YieldTo(cap).error);
            }
            printf("read 0, 1, 21 words: %d %d %d\n", seL4_TCB_ReadRegisters(TCB, 0, 0, 0, &context),
                   seL4_TCB_ReadRegisters(TCB, 0, 0, 1, &context), seL4_TCB_ReadRegisters(TCB, 0, 0, 21, &context));
            printf("write 0, 1, 21 words: %d %d %d\n", seL4_TCB_WriteRegisters(TCB, 0, 0, 0, &context),
                   seL4_TCB_WriteRegisters(TCB, 0, 0, 1, &context), seL4_TCB_WriteRegisters(TCB, 0, 0, 21, &context));
            printf("own resume %d\n", seL4_TCB_Resume(OWN_TCB));
        "#;
        pair(
            world,
            act,
            "void init(void) { microkit_notify(0); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        run(world, schedule).expect(0).printed(
            "holder",
            &[
                "tcb: 0 0 0 3 3 3",
                "sc: 3 3 3 0 3 3",
                "vspace: 3 3 3 3 3 3",
                "own tcb: 3 3 3 3 3",
                "empty: 2 2 2 2 2 2",
                "slot 0: 2 2 2 2 2 2",
                "behind: 2 2 2 2 2 2",
                "notification: 3 3 3 3 3 3",
                "no notification: 2 2 2 2 2 2",
                "endpoint: 2 2 2 2 2 2",
                "child: 2 2 2 2 2 2",
                "null: 2 2 2 2 2 2",
                "highest: 2 2 2 2 2 2",
                "read 0, 1, 21 words: 4 0 4",
                "write 0, 1, 21 words: 0 0 7",
                "own resume 0",
            ],
        );
    });
}

/// Two PDs that hold each other's threads: one puts itself to sleep, the other wakes it.
#[test]
fn a_pd_suspends_itself() {
    everywhere(|world, schedule| {
        let act = r#"
            puts("suspends itself");
            board[0] = 1;
            int error = seL4_TCB_Suspend(OWN_TCB);
            printf("back, error %d\n", error);
        "#;
        pair(
            world,
            act,
            r#"
            void init(void) { microkit_notify(0); }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        program(
            world,
            "waker",
            r#"
            volatile uint64_t *board;
            void init(void) {
                while (!board[0]) {}
                uint64_t asleep;
                do { asleep = board[1]++; } while (asleep < 100000);
                puts("wakes it");
                printf("error %d\n", seL4_TCB_Resume(BASE_USER_CAPS + 5));
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        let text = std::fs::read_to_string(world.path("x.system")).unwrap();
        let inside = format!("{BOARD_MAP}<cspace><cap_tcb slot=\"5\" pd=\"holder\"/></cspace>");
        let more = pd("waker", "priority=\"0\"", &inside);
        world.system("x.system", &text.replace("</system>", &format!("{more}</system>")));
        let outcome = run(world, schedule);
        outcome
            .expect(0)
            .printed("holder", &["suspends itself", "back, error 0"])
            .printed("waker", &["wakes it", "error 0"]);
        if schedule == "microkit" {
            // The waker has the lowest priority: that it ran shows that the holder did not.
            let lines: Vec<&str> = outcome.stdout.lines().collect();
            assert_eq!(
                lines,
                ["holder | suspends itself", "waker | wakes it", "holder | back, error 0", "waker | error 0"]
            );
        }
    });
}
