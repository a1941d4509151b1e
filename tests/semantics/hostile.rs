//! Launcher calls as no program of good will makes them: without libmicrokit, with wrong rights, wrong numbers and wrong addresses.
//! The launcher answers with an error or takes it for a fault; it never writes where the asker could not.

use crate::common::World;
use crate::{everywhere, pd, program, run, system};

/// A launcher call as libmicrokit makes it (libmicrokit/abi.h).
const ASK: &str = r#"
enum { FAULT_TAKE = 1, FAULT_REPLY, PD_RESTART, PD_STOP, PD_RESUME, TCB_SUSPEND, TCB_RESUME, TCB_READ, TCB_WRITE,
       SC_CONSUMED, SLEEP, SIGNALLED };
static inline long ask(uint64_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    register uint64_t r10 __asm__("r10") = b;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(231L), "D"(78L), "S"(op), "d"(a), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const REGIONS: &str =
    "<memory_region name=\"constant\" size=\"0x1000\"/><memory_region name=\"page\" size=\"0x1000\"/>\n";

/// A parent with a child, a slot of each kind, a region it may only read and one between guards.
fn parent(world: &World, code: &str, child: &str) {
    let begin = format!("{ASK}volatile uint64_t *constant;\nchar *page;\n");
    program(world, "parent", &format!("{begin}{code}"));
    program(world, "child", child);
    let inside = [
        "<map mr=\"constant\" vaddr=\"0x5000000\" perms=\"r\" setvar_vaddr=\"constant\"/>\n",
        "<map mr=\"page\" vaddr=\"0x6000000\" setvar_vaddr=\"page\"/>\n",
        &pd("child", "id=\"5\" priority=\"1\"", ""),
        "<cspace><cap_tcb slot=\"1\" pd=\"child\"/><cap_sc slot=\"2\" pd=\"child\"/><cap_vspace slot=\"3\" pd=\"child\"/></cspace>\n",
    ];
    system(world, &format!("{REGIONS}{}", pd("parent", "priority=\"2\"", &inside.concat())));
}

const QUIET_CHILD: &str = "void init(void) {}\nvoid notified(microkit_channel ch) { (void)ch; }\n";
const FAULTING_CHILD: &str =
    "void init(void) { __builtin_trap(); }\nvoid notified(microkit_channel ch) { (void)ch; }\n";

/// ENOENT 2, EPERM 1, EINVAL 22, ENOSYS 38.
#[test]
fn wrong_numbers_are_refused() {
    everywhere(|world, schedule| {
        let code = r#"
        void init(void) {
            const uint64_t wrong[] = {0, 4, 6, 62, 63, 64, 65, 1UL << 32, (1UL << 32) + 5, ~0UL};
            int refused = 0, asked = 0;
            for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                for (uint64_t op = PD_RESTART; op <= PD_RESUME; op++, asked++) refused += ask(op, wrong[i], 0, 0, 0) == -2;
                refused += ask(FAULT_REPLY, wrong[i], 1, 0, (uint64_t)page) == -2;
                asked++;
            }
            printf("no child: %d of %d refused\n", refused, asked);
            const uint64_t slots[] = {0, 4, 127, 128, 132, 134, 191, 192, 1UL << 32, ~0UL};
            refused = asked = 0;
            for (unsigned i = 0; i < sizeof slots / sizeof *slots; i++) {
                for (uint64_t op = TCB_SUSPEND; op <= TCB_WRITE; op++, asked++) refused += ask(op, slots[i], 0, 20, (uint64_t)page) == -2;
            }
            printf("no slot: %d of %d refused\n", refused, asked);
            printf("wrong kind: %ld %ld %ld %ld\n", ask(TCB_READ, 2, 0, 20, (uint64_t)page), ask(TCB_SUSPEND, 3, 0, 0, 0),
                   ask(SC_CONSUMED, 1, (uint64_t)page, 0, 0), ask(SC_CONSUMED, 133, (uint64_t)page, 0, 0));
            printf("no operation: %ld %ld %ld\n", ask(0, 0, 0, 0, 0), ask(14, 5, 0, 0, 0), ask(~0UL, 5, 0, 0, 0));
            printf("no entry point: %ld %ld\n", ask(PD_RESTART, 5, ~0UL, 0, 0), ask(PD_RESTART, 5, 1UL << 63, 0, 0));
            if (MICROKIT) printf("no channel: %ld %ld\n", ask(SIGNALLED, 0, 0, 0, 0), ask(SIGNALLED, ~0UL, 0, 0, 0));
            puts("goes on");
        }
        seL4_Bool fault(microkit_child c, microkit_msginfo i, microkit_msginfo *r) { (void)c; (void)i; (void)r; return 0; }
        "#;
        let microkit = schedule == "microkit";
        parent(world, &code.replace("MICROKIT", if microkit { "1" } else { "0" }), QUIET_CHILD);
        let mut expected = vec![
            "no child: 40 of 40 refused",
            "no slot: 40 of 40 refused",
            "wrong kind: -1 -1 -1 -1",
            "no operation: -38 -38 -38",
            "no entry point: -22 -22",
        ];
        if microkit {
            expected.push("no channel: -22 -22");
        }
        expected.push("goes on");
        run(world, schedule).expect(0).printed("parent", &expected);
    });
}

/// EFAULT is 14.
#[test]
fn wrong_addresses_are_refused_and_nothing_is_written_or_lost() {
    everywhere(|world, schedule| {
        let code = r#"
        static const uint64_t own_constant[32] = {1, 2, 3};
        static struct { uint64_t child, info, mr[24]; } taken;
        void init(void) {}
        seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
            (void)info; (void)reply;
            if (child != 5) return seL4_False;
            static int faults;
            if (faults++ > 0) return seL4_False;
            uint64_t code_address = (uint64_t)&fault;
            uint64_t before = *(volatile uint64_t *)code_address;
            const uint64_t wrong[] = {
                0, 8, 0x1000, (uint64_t)constant, (uint64_t)constant + 4000, (uint64_t)own_constant, code_address,
                (uint64_t)page + 4096, (uint64_t)page - 208, 1UL << 47, 0xffffffff80000000UL, ~0UL, ~0UL - 207,
            };
            const unsigned count = sizeof wrong / sizeof *wrong;
            /* It faults again, so that there is something to take. */
            ask(PD_RESUME, 5, 0, 0, 0);
            while (ask(FAULT_TAKE, 0, 0, 0, 0) == 0) {}
            unsigned refused = 0;
            for (unsigned i = 0; i < count; i++) refused += ask(FAULT_TAKE, wrong[i], 0, 0, 0) == -14;
            printf("take: %s\n", refused == count ? "all refused" : "one was not");
            refused = 0;
            for (unsigned i = 0; i < count; i++) refused += ask(TCB_READ, 1, 0, 20, wrong[i]) == -14;
            printf("read: %s\n", refused == count ? "all refused" : "one was not");
            refused = 0;
            for (unsigned i = 0; i < count; i++) refused += ask(SC_CONSUMED, 2, wrong[i], 0, 0) == -14;
            printf("time: %s\n", refused == count ? "all refused" : "one was not");
            /* Constants can be read; everything else of these cannot. */
            refused = 0;
            for (unsigned i = 0; i < count; i++) refused += ask(TCB_WRITE, 1, 0, 20, wrong[i]) == -14;
            printf("write: %u refused\n", refused);
            printf("take: %ld\n", ask(FAULT_TAKE, (uint64_t)&taken, 0, 0, 0));
            printf("child %lu, label %lu, number %lu\n", taken.child, taken.info >> 12, taken.mr[3]);
            printf("take: %ld\n", ask(FAULT_TAKE, (uint64_t)&taken, 0, 0, 0));
            printf("reply: %ld %ld\n", ask(FAULT_REPLY, 5, 1, 3, 0), ask(FAULT_REPLY, 5, 1, 127, ~0UL));
            int kept = own_constant[0] == 1 && own_constant[2] == 3 && *(volatile uint64_t *)code_address == before;
            for (int i = 0; i < 512; i++) kept &= constant[i] == 0;
            printf("constants are %s\n", kept ? "constant" : "changed");
            return seL4_False;
        }
        "#;
        parent(world, code, FAULTING_CHILD);
        // Equals, so that under seL4's schedule the child has its turn while the parent asks.
        let text = std::fs::read_to_string(world.path("x.system")).unwrap();
        world.system("x.system", &text.replace("priority=\"2\"", "priority=\"1\""));
        run(world, schedule).expect(0).printed(
            "parent",
            &[
                "take: all refused",
                "read: all refused",
                "time: all refused",
                "write: 10 refused",
                "take: 1",
                "child 5, label 3, number 6",
                "take: 0",
                "reply: -14 -14",
                "constants are constant",
            ],
        );
    });
}

/// Counts and registers out of every bound, for a child that then runs with them.
#[test]
fn nothing_that_is_written_into_a_child_hurts_anybody_but_the_child() {
    everywhere(|world, schedule| {
        let code = r#"
        static uint64_t context[4096];
        void init(void) {
            memset(context, 0xff, sizeof context);
            printf("all ones: %ld\n", ask(TCB_WRITE, 1, 1, 20, (uint64_t)context));
        }
        static void set(uint64_t rip, uint64_t rsp) { context[0] = rip; context[1] = rsp; }
        seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
            (void)child; (void)reply;
            static int faults;
            printf("label %lu, %lu registers\n", microkit_msginfo_get_label(info), microkit_msginfo_get_count(info));
            switch (faults++) {
            case 0: set(1UL << 47, 0); break;
            case 1: set(0xffffffffff600000UL, 0x7ffffffff000UL); break;
            case 2: set(0, ~7UL); break;
            default: printf("too many words: %ld\n", ask(TCB_WRITE, 1, 0, ~0UL, (uint64_t)context)); return seL4_False;
            }
            printf("write: %ld\n", ask(TCB_WRITE, 133, 1, 20, (uint64_t)context));
            return seL4_False;
        }
        "#;
        parent(world, code, QUIET_CHILD);
        let outcome = run(world, schedule);
        let lines = outcome.expect(0).lines_of("parent");
        assert_eq!(lines.first(), Some(&"all ones: 0"), "{outcome}");
        assert_eq!(lines.last(), Some(&"too many words: 0"), "{outcome}");
        assert_eq!(lines.iter().filter(|line| **line == "write: 0").count(), 3, "{outcome}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("label ")).count(), 4, "{outcome}");
    });
}

/// A PD without children and capabilities has nothing to ask: to its parent, and to the user, that is a denied system call.
#[test]
fn who_may_not_ask_faults() {
    everywhere(|world, schedule| {
        let operations: &[u64] =
            if schedule == "linux" { &[1, 3, 4, 6, 10, 11, 12, 13, 99] } else { &[1, 3, 4, 6, 10, 13, 99] };
        for operation in operations {
            let child = format!(
                "{ASK}void init(void) {{ puts(\"asks\"); printf(\"answer %ld\\n\", ask({operation}, 0, 0, 0, 0)); }}\n"
            );
            let code = r#"
            void init(void) {}
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)child; (void)reply;
                printf("label %lu, call %lu of %lu\n", microkit_msginfo_get_label(info), microkit_mr_get(18), microkit_mr_get(5));
                return seL4_False;
            }
            "#;
            parent(world, code, &child);
            run(world, schedule)
                .expect(0)
                .printed("child", &["asks"])
                .printed("parent", &["label 2, call 231 of 78"]);
            // And without a parent.
            system(world, &pd("child", "", ""));
            run(world, schedule).expect(1).says("fault: PD `child`: denied system call exit_group(0x4e,");
        }
    });
}

/// Who has children may not for that reason do what only seL4's schedule has, and nobody is ready twice.
#[test]
fn calls_of_another_mode_are_faults() {
    everywhere(|world, schedule| {
        let calls: &[&str] = match schedule {
            "linux" => &["ask(SLEEP, 0, 0, 0, 0)", "ask(SIGNALLED, 0, 0, 0, 0)", READY],
            _ => &[READY],
        };
        for call in calls {
            let code = format!(
                "void init(void) {{ puts(\"asks\"); (void){call}; puts(\"never\"); }}\n\
                 seL4_Bool fault(microkit_child c, microkit_msginfo i, microkit_msginfo *r) {{ (void)c; (void)i; (void)r; return 0; }}\n"
            );
            parent(world, &code, QUIET_CHILD);
            run(world, schedule)
                .expect(1)
                .printed("parent", &["asks"])
                .says("fault: PD `parent`: denied system call exit_group(");
        }
    });
}

/// MK_READY, a second time.
const READY: &str = "({ long r; __asm__ volatile(\"syscall\" : \"=a\"(r) : \"a\"(231L), \"D\"(77L) : \"rcx\", \"r11\", \"memory\"); r; })";
