//! Families of PDs: faults of parents, a chain of three, callers of a child that stands still, entry points.

use nix::sys::signal::{Signal, kill};

use crate::common::World;
use crate::{PP, RUN, channel, everywhere, pd, program, run, run_with, system};

/// Rings channel 0 when the first word of the board is set from outside.
const TRIGGER: &str = r#"
volatile uint64_t *board;
void init(void) { while (!board[0]) {} microkit_notify(0); }
void notified(microkit_channel ch) { (void)ch; }
"#;

const BOARD: &str = "<memory_region name=\"board\" size=\"0x1000\"/>\n";
const BOARD_MAP: &str = "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n";

/// The child faults, its parent faults over it, and the grandparent restarts the parent, which then restarts the child.
#[test]
fn a_chain_of_three() {
    everywhere(|world, schedule| {
        program(
            world,
            "grandparent",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)reply;
                printf("child %u: fault %lu at %#lx\n", child, microkit_msginfo_get_label(info), microkit_mr_get(1));
                microkit_pd_restart(child, 0);
                return seL4_False;
            }
            "#,
        );
        program(
            world,
            "parent",
            r#"
            static int starts;
            void init(void) {
                printf("start %d\n", ++starts);
                if (starts == 2) microkit_pd_restart(20, 0);
            }
            void notified(microkit_channel ch) { printf("notified %u\n", ch); }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)reply;
                printf("child %u: fault %lu\n", child, microkit_msginfo_get_label(info));
                *(volatile char *)0x123 = 1;
                return seL4_True;
            }
            "#,
        );
        program(
            world,
            "child",
            r#"
            static int starts;
            void init(void) {
                printf("start %d\n", ++starts);
                if (starts == 1) __builtin_trap();
                microkit_notify(0);
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        let family = pd("child", "id=\"20\" priority=\"1\"", "");
        let family = pd("parent", "id=\"10\" priority=\"2\"", &family);
        let family = pd("grandparent", "priority=\"3\"", &family);
        system(world, &(family + &channel(("parent", 0, ""), ("child", 0, ""))));
        let outcome = run(world, schedule);
        outcome
            .expect(0)
            .printed("grandparent", &["child 10: fault 6 at 0x123"])
            .printed("parent", &["start 1", "child 20: fault 3", "start 2", "notified 0"])
            .printed("child", &["start 1", "start 2"]);
        assert_eq!(outcome.stderr, "");
    });
}

/// Two children fault while their parent cannot hear it. It hears of those it has not yet been told of when it is back, in order.
const FAULTING_CHILD: &str = r#"
volatile uint64_t *board;
void init(void) {
    if (microkit_name[0] != 'a') while (!board[0]) {}
    __builtin_trap();
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const FORGETFUL_PARENT: &str = r#"
volatile uint64_t *board;
void init(void) { printf("start %lu\n", ++board[1]); }
void notified(microkit_channel ch) { (void)ch; }
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)info; (void)reply;
    printf("child %u\n", child);
    if (board[1] == 1) __builtin_trap();
    microkit_pd_stop(child);
    return seL4_False;
}
"#;

/// [`forgetful`] below a grandparent, whom a bell rings when it is told from outside.
fn forgetful_with_bell(world: &World) {
    program(
        world,
        "bell",
        r#"
        volatile uint64_t *board;
        void init(void) { while (!board[2]) {} microkit_notify(0); }
        void notified(microkit_channel ch) { (void)ch; }
        "#,
    );
    forgetful(world, |children| {
        let parent = pd("parent", "id=\"9\" priority=\"5\"", children);
        pd("grandparent", "priority=\"6\"", &format!("{BOARD_MAP}{parent}"))
            + &pd("bell", "priority=\"1\"", BOARD_MAP)
            + &channel(("grandparent", 0, ""), ("bell", 0, ""))
    });
}

fn forgetful(world: &World, around: impl Fn(&str) -> String) {
    program(world, "child", FAULTING_CHILD);
    program(world, "parent", FORGETFUL_PARENT);
    let child = |name: &str, id: u8, priority: u8| {
        crate::pd_from(name, "child", &format!("id=\"{id}\" priority=\"{priority}\""), BOARD_MAP)
    };
    let children = [child("a", 1, 4), child("b", 2, 3), child("c", 3, 2)].concat();
    system(world, &(BOARD.to_owned() + &around(&format!("{BOARD_MAP}{children}"))));
}

#[test]
fn faults_wait_for_a_parent_that_is_restarted() {
    everywhere(|world, schedule| {
        program(
            world,
            "grandparent",
            r#"
            volatile uint64_t *board;
            static seL4_Bool has_faulted;
            void init(void) {}
            void notified(microkit_channel ch) {
                (void)ch;
                if (has_faulted) { puts("restart"); microkit_pd_restart(9, 0); }
            }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)info; (void)reply;
                printf("child %u\n", child);
                has_faulted = seL4_True;
                board[0] = 1;
                return seL4_False;
            }
            "#,
        );
        forgetful_with_bell(world);
        let mut running = world.start(&[&RUN, &[schedule][..]].concat());
        running.wait_for_stdout("grandparent | child 9\n");
        for child in ["b", "c"] {
            running.wait_for_state(child, 't');
        }
        running.poke_region("board", 16, &1u64.to_le_bytes());
        let outcome = running.wait();
        outcome.expect(0).printed("grandparent", &["child 9", "restart"]);
        let mut lines = outcome.lines_of("parent");
        if schedule == "linux" {
            // Which of the two was first is not settled in parallel.
            lines[3..].sort_unstable();
        }
        assert_eq!(lines, ["start 1", "child 1", "start 2", "child 2", "child 3"]);
    });
}

#[test]
fn faults_wait_for_a_parent_that_is_started_again_as_a_fresh_process() {
    everywhere(|world, schedule| {
        forgetful(world, |children| pd("parent", "priority=\"5\"", children));
        let mut running = world.start(&[&RUN, &[schedule, "--on-fault", "restart"][..]].concat());
        running.wait_for_stderr("it is started again");
        running.poke_region("board", 0, &1u64.to_le_bytes());
        let outcome = running.wait();
        outcome.expect(0);
        let mut lines = outcome.lines_of("parent");
        if schedule == "linux" {
            lines[3..].sort_unstable();
        }
        assert_eq!(lines, ["start 1", "child 1", "start 2", "child 2", "child 3"], "{outcome}");
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 1, "{outcome}");
    });
}

/// Where the parent is gone for good, nobody handles what its children do, and that is told as it happens.
#[test]
fn faults_that_nobody_is_left_to_handle_are_reported_at_once() {
    everywhere(|world, schedule| {
        forgetful(world, |children| pd("parent", "priority=\"5\"", children));
        let mut running = crate::start(world, schedule, &[]);
        running.wait_for_stderr("fault: PD `parent`");
        running.poke_region("board", 0, &1u64.to_le_bytes());
        running.wait_for_stderr("fault: PD `b`: SIGILL");
        running.wait_for_stderr("fault: PD `c`: SIGILL");
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(1);
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 3, "each once: {outcome}");
        assert!(!outcome.stderr.contains("PD `a`"), "its parent had taken that: {outcome}");
    });
}

/// Also those that waited for the parent when it went, with all of its family below it; and of a grandparent nothing is told as long as it
/// could still restart the parent.
#[test]
fn faults_that_wait_when_the_last_who_could_handle_them_goes() {
    everywhere(|world, schedule| {
        program(
            world,
            "grandparent",
            r#"
            volatile uint64_t *board;
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; __builtin_trap(); }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)info; (void)reply;
                printf("child %u\n", child);
                return seL4_False;
            }
            "#,
        );
        forgetful_with_bell(world);
        let mut running = crate::start(world, schedule, &[]);
        running.wait_for_stdout("grandparent | child 9\n");
        running.poke_region("board", 0, &1u64.to_le_bytes());
        for child in ["b", "c"] {
            running.wait_for_state(child, 't');
        }
        running.poke_region("board", 16, &1u64.to_le_bytes());
        running.wait_for_stderr("fault: PD `b`");
        running.wait_for_stderr("fault: PD `c`");
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(1);
        assert_eq!(outcome.stderr.matches("its parent has not taken it").count(), 2, "{outcome}");
        assert!(outcome.stderr.starts_with("mk-sandbox: fault: PD `grandparent`"), "{outcome}");
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 3, "{outcome}");
    });
}

/// Whoever holds a thread can let it go, so a stopped parent is not gone for good while one of those can act.
#[test]
fn faults_wait_for_a_stopped_parent_that_somebody_can_resume() {
    everywhere(|world, schedule| {
        program(
            world,
            "parent",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)info; (void)reply;
                printf("child %u\n", child);
                return seL4_False;
            }
            "#,
        );
        program(
            world,
            "holder",
            r#"
            volatile uint64_t *board;
            void init(void) {
                (void)seL4_TCB_Suspend(BASE_USER_CAPS + 1);
                puts("stopped");
                while (!board[0]) {}
                if (board[0] == 1) (void)seL4_TCB_Resume(BASE_USER_CAPS + 1); else __builtin_trap();
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        program(
            world,
            "child",
            "void init(void) {}\nvoid notified(microkit_channel ch) { (void)ch; __builtin_trap(); }\n",
        );
        program(
            world,
            "trigger",
            "volatile uint64_t *board;\nvoid init(void) { while (!board[1]) {} microkit_notify(0); puts(\"rung\"); }\n\
             void notified(microkit_channel ch) { (void)ch; }\n",
        );
        // On another virtual CPU, so that the others go on while it looks at the board.
        let cpu = if schedule == "microkit" { "cpu=\"1\"" } else { "" };
        for (what, code) in [(1u64, 0), (2, 1)] {
            let elements = [
                BOARD.to_owned(),
                pd("parent", "priority=\"5\"", &pd("child", "id=\"1\" priority=\"5\"", "")),
                pd(
                    "holder",
                    &format!("priority=\"7\" {cpu}"),
                    &format!("{BOARD_MAP}<cspace><cap_tcb slot=\"1\" pd=\"parent\"/></cspace>\n"),
                ),
                pd("trigger", "priority=\"1\"", BOARD_MAP),
                channel(("trigger", 0, ""), ("child", 0, "")),
            ];
            system(world, &elements.concat());
            let mut running = world.start(&[&RUN, &[schedule][..]].concat());
            running.wait_for_stdout("holder | stopped\n");
            running.poke_region("board", 8, &1u64.to_le_bytes());
            running.wait_for_stdout("trigger | rung\n");
            running.wait_for_state("child", 't');
            running.poke_region("board", 0, &what.to_le_bytes());
            let outcome = running.wait();
            let told = if what == 1 { 0 } else { 1 };
            outcome.expect(code).printed("parent", &["child 1"][told..]);
            assert_eq!(outcome.stderr.matches("fault: PD `child`").count(), told, "{outcome}");
        }
    });
}

/// What a parent that could take it has not taken by the end, nobody has handled either.
#[test]
fn faults_that_no_parent_has_taken_are_reported_at_the_end() {
    everywhere(|world, schedule| {
        program(
            world,
            "parent",
            r#"
            void init(void) { (void)microkit_ppcall(0, microkit_msginfo_new(0, 0)); }
            void notified(microkit_channel ch) { (void)ch; }
            seL4_Bool fault(microkit_child c, microkit_msginfo i, microkit_msginfo *r) { (void)c; (void)i; (void)r; return 0; }
            "#,
        );
        program(
            world,
            "child",
            "void init(void) { __builtin_trap(); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        program(
            world,
            "server",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { (void)ch; __builtin_trap(); return info; }
            "#,
        );
        let elements = [
            pd("parent", "priority=\"5\"", &pd("child", "id=\"1\" priority=\"1\"", "")),
            pd("server", "priority=\"9\"", ""),
            channel(("parent", 0, PP), ("server", 0, "")),
        ];
        system(world, &elements.concat());
        let outcome = run(world, schedule);
        outcome.expect(1).says("fault: PD `server`").says("fault: PD `child`: SIGILL");
        assert_eq!(outcome.stderr.matches("its parent has not taken it").count(), 1, "{outcome}");
    });
}

/// A server that faults in its first call; it adds to a total that a restart does not reset, but a fresh process does.
const SERVER: &str = r#"
static int starts, total;
void init(void) { printf("start %d\n", ++starts); }
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    total += 1;
    if (total == 1) { puts("first call"); for (;;) { FIRST } }
    printf("serves %u\n", ch);
    microkit_mr_set(0, microkit_mr_get(0) + 1000);
    return info;
}
"#;

const CALLER: &str = r#"
void init(void) {
    microkit_mr_set(0, (seL4_Word)microkit_name[6]);
    microkit_msginfo answer = microkit_ppcall(0, microkit_msginfo_new(5, 1));
    printf("label %lu, %lu\n", microkit_msginfo_get_label(answer), microkit_mr_get(0));
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const KEEPER: &str = r#"
void init(void) {}
void notified(microkit_channel ch) {
    if (ch == 0) { puts("restart"); microkit_pd_restart(4, 0); }
}
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)reply;
    printf("child %u: fault %lu\n", child, microkit_msginfo_get_label(info));
    return seL4_False;
}
"#;

fn with_callers(world: &World, server: &str) {
    program(world, "server", server);
    program(world, "keeper", KEEPER);
    program(world, "caller", CALLER);
    program(world, "trigger", TRIGGER);
    let caller =
        |name: &str, priority: u8| crate::pd_from(name, "caller", &format!("priority=\"{priority}\""), "");
    let elements = [
        BOARD.to_owned(),
        pd("keeper", "priority=\"9\"", &pd("server", "id=\"4\" priority=\"5\"", "")),
        [caller("callerA", 2), caller("callerB", 4), caller("callerC", 3)].concat(),
        pd("trigger", "priority=\"1\"", BOARD_MAP),
        channel(("keeper", 0, ""), ("trigger", 0, "")),
        channel(("callerA", 0, PP), ("server", 11, "")),
        channel(("callerB", 0, PP), ("server", 12, "")),
        channel(("callerC", 0, PP), ("server", 13, "")),
    ];
    system(world, &elements.concat());
}

const ANSWERED: [(&str, &str); 3] =
    [("callerA", "label 5, 1065"), ("callerB", "label 5, 1066"), ("callerC", "label 5, 1067")];

#[test]
fn callers_of_a_faulted_server_wait_and_are_served_when_it_is_restarted() {
    everywhere(|world, schedule| {
        with_callers(world, &SERVER.replace("FIRST", "__builtin_trap();"));
        let mut running = world.start(&[&RUN, &[schedule][..]].concat());
        running.wait_for_stdout("keeper | child 4: fault 3\n");
        for (caller, _) in ANSWERED {
            running.wait_for_state(caller, if schedule == "linux" { 'S' } else { 't' });
        }
        running.poke_region("board", 0, &1u64.to_le_bytes());
        let outcome = running.wait();
        outcome.expect(0);
        for (caller, line) in ANSWERED {
            outcome.printed(caller, &[line]);
        }
        // By the callers' priority; the call that was being served has not been answered, so it is served again.
        outcome
            .printed("server", &["start 1", "first call", "start 2", "serves 12", "serves 13", "serves 11"]);
    });
}

#[test]
fn callers_of_a_dead_server_wait_and_are_served_by_its_successor() {
    everywhere(|world, schedule| {
        // The total lies in a fresh process: it knows of its first life by the channel it then serves.
        let server = SERVER
            .replace(
                "static int starts, total;",
                "volatile uint64_t *board;\nstatic int starts;\n#define total (board[1])",
            )
            .replace("FIRST", "");
        with_callers(world, &server);
        let text = std::fs::read_to_string(world.path("x.system")).unwrap();
        let image = "<program_image path=\"server.elf\"/>\n";
        world.system("x.system", &text.replace(image, &format!("{image}{BOARD_MAP}")));
        let mut running = world.start(&[&RUN, &[schedule][..]].concat());
        running.wait_for_stdout("server | first call\n");
        kill(running.pd("server"), Signal::SIGKILL).unwrap();
        running.wait_for_stdout("keeper | child 4: fault 0\n");
        for (caller, _) in ANSWERED {
            running.wait_for_state(caller, if schedule == "linux" { 'S' } else { 't' });
        }
        running.poke_region("board", 0, &1u64.to_le_bytes());
        let outcome = running.wait();
        outcome.expect(0);
        for (caller, line) in ANSWERED {
            outcome.printed(caller, &[line]);
        }
        outcome
            .printed("server", &["start 1", "first call", "start 1", "serves 12", "serves 13", "serves 11"]);
    });
}

/// Entry points other than the image's start: an address of the process, or of the file.
#[test]
fn a_child_is_restarted_elsewhere() {
    everywhere(|world, schedule| {
        program(
            world,
            "child",
            r#"
            volatile uint64_t *board;
            extern char __ehdr_start[] __attribute__((visibility("hidden")));
            static void elsewhere(void) { puts("elsewhere"); }
            void init(void) {
                board[1] = (uint64_t)elsewhere;
                board[2] = (uint64_t)elsewhere - (uint64_t)__ehdr_start;
                puts("start");
                __builtin_trap();
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        program(
            world,
            "parent",
            r#"
            volatile uint64_t *board;
            static unsigned faults;
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)reply;
                printf("fault %lu, %lu registers, ip %s\n", microkit_msginfo_get_label(info),
                       microkit_msginfo_get_count(info), microkit_mr_get(0) == 0 ? "0" : "somewhere");
                switch (faults++) {
                case 0: microkit_pd_restart(child, board[1]); break;
                case 1: microkit_pd_restart(child, board[2]); break;
                case 2: microkit_pd_restart(child, (seL4_Word)parent); break;
                }
                return seL4_False;
            }
            "#
            .replace("(seL4_Word)parent", "0x7fff00000000")
            .as_str(),
        );
        let family =
            pd("parent", "priority=\"2\"", &format!("{BOARD_MAP}{}", pd("child", "id=\"0\"", BOARD_MAP)));
        system(world, &(BOARD.to_owned() + &family));
        let outcome = run(world, schedule);
        outcome.expect(0).printed("child", &["start", "elsewhere", "elsewhere"]).printed(
            "parent",
            &[
                "fault 3, 5 registers, ip somewhere",
                // A function that is entered that way has nowhere to return to.
                "fault 6, 4 registers, ip 0",
                "fault 6, 4 registers, ip 0",
                "parent microkit_pd_restart: the launcher cannot do this to child '0'",
            ],
        );
    });
}

/// A restart that is refused changes nothing.
#[test]
fn a_refused_restart_leaves_the_child_as_it_was() {
    everywhere(|world, schedule| {
        program(
            world,
            "child",
            "void init(void) { puts(\"start\"); }\nvoid notified(microkit_channel ch) { printf(\"notified %u\\n\", ch); }\n",
        );
        program(
            world,
            "parent",
            "void init(void) { microkit_pd_restart(0, 0x7fff00000000); microkit_notify(0); }\n\
             void notified(microkit_channel ch) { (void)ch; }\n\
             seL4_Bool fault(microkit_child c, microkit_msginfo i, microkit_msginfo *r) { (void)c; (void)i; (void)r; return 0; }\n",
        );
        let family = pd("parent", "priority=\"2\"", &pd("child", "id=\"0\"", ""));
        system(world, &(family + &channel(("parent", 0, ""), ("child", 0, ""))));
        run_with(world, schedule, &[]).expect(0).printed("child", &["start", "notified 0"]);
    });
}
