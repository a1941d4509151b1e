//! Everything at once: a parent that stops, resumes and restarts children which fault, ring and call all the while, and PDs that
//! suspend each other. When it is over, all of them work.

use crate::common::World;
use crate::{PP, channel, everywhere, pd, pd_from, program, run, system};

const BOARD: &str = "<memory_region name=\"board\" size=\"0x1000\"/>\n";
const BOARD_MAP: &str = "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n";

/// Without the C library's buffers: a restart in the midst of printf leaves them as they are.
const CHILD: &str = r#"
volatile uint64_t *board;
enum { PARENT, SERVER, PEER };
static uint64_t calls;

static void call(void) {
    microkit_mr_set(0, ++calls);
    microkit_msginfo answer = microkit_ppcall(SERVER, microkit_msginfo_new(calls & 0xfff, 1));
    if (microkit_mr_get(0) != calls * 5 || microkit_msginfo_get_label(answer) != (calls & 0xfff)) board[1]++;
}

void init(void) {
    if (board[0]) {
        call();
        microkit_dbg_puts("calm\n");
        microkit_notify(PARENT);
        return;
    }
    switch (microkit_name[0]) {
    case 'f': __builtin_trap();
    case 'r': for (;;) { microkit_notify(PARENT); for (volatile int i = 0; i < 20000; i++) {} }
    case 'c': for (;;) call();
    default: for (;;) {}
    }
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const SERVER: &str = r#"
void init(void) {}
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    (void)ch;
    microkit_mr_set(0, microkit_mr_get(0) * 5);
    return info;
}
"#;

/// Works whenever the trigger rings, so that it hears of its children in between.
const PARENT: &str = r#"
volatile uint64_t *board;
enum { CHILDREN = 4, TRIGGER = 10, SLICES = 20 };
static unsigned slices, calm;
static uint64_t state = 88172645463325252;
static uint64_t next(void) { state ^= state << 13; state ^= state >> 7; return state ^= state << 17; }

void init(void) {}

void notified(microkit_channel ch) {
    if (board[0] && ch < CHILDREN) calm |= 1u << ch;
    if (calm == (1 << CHILDREN) - 1) { puts("all are calm"); calm = 0; }
    if (ch != TRIGGER || slices == SLICES) return;
    board[2] = ++slices;
    for (int i = 0; i < 20; i++) {
        microkit_child child = (microkit_child)(next() % CHILDREN);
        switch (next() % 4) {
        case 0: microkit_pd_stop(child); break;
        case 1: microkit_pd_resume(child); break;
        default: microkit_pd_restart(child, 0);
        }
    }
    if (slices < SLICES) return;
    board[0] = 1;
    for (microkit_child child = 0; child < CHILDREN; child++) microkit_pd_restart(child, 0);
}

seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)reply;
    if (microkit_msginfo_get_label(info) != seL4_Fault_UserException) printf("child %u: fault %lu\n", child, microkit_msginfo_get_label(info));
    /* To no end: it faults again. */
    return next() % 2 == 0;
}
"#;

const TRIGGER: &str = r#"
volatile uint64_t *board;
void init(void) {
    while (!board[0]) {
        uint64_t slices = board[2];
        microkit_notify(0);
        while (board[2] == slices && !board[0]) {}
        /* Time for the parent to hear of faults, which come after notifications. */
        for (volatile int i = 0; i < 200000; i++) {}
    }
}
void notified(microkit_channel ch) { (void)ch; }
"#;

fn storm(world: &World, schedule: &str, parent: &str) {
    program(world, "child", CHILD);
    program(world, "server", SERVER);
    program(world, "parent", PARENT);
    program(world, "trigger", TRIGGER);
    let names = ["faults", "rings", "calls", "spins"];
    let children: String = names
        .iter()
        .enumerate()
        .map(|(id, name)| pd_from(name, "child", &format!("id=\"{id}\" priority=\"5\""), BOARD_MAP))
        .collect();
    let mut elements = vec![
        BOARD.to_owned(),
        pd("parent", parent, &format!("{BOARD_MAP}{children}")),
        pd("server", "priority=\"7\"", ""),
        pd("trigger", "priority=\"5\"", BOARD_MAP),
        channel(("parent", 10, ""), ("trigger", 0, "")),
    ];
    for (id, name) in names.iter().enumerate() {
        elements.push(channel(("parent", id as u8, ""), (name, 0, "")));
        elements.push(channel((name, 1, PP), ("server", id as u8, "")));
    }
    system(world, &elements.concat());
    let outcome = run(world, schedule);
    outcome.expect(0).printed("parent", &["all are calm"]);
    for name in names {
        // A child may have begun again by itself when the storm was just over.
        let lines = outcome.lines_of(name);
        assert!(!lines.is_empty() && lines.iter().all(|line| *line == "calm"), "{name}:\n{outcome}");
    }
}

#[test]
fn a_parent_that_acts_at_random() {
    // An equal of its children, so that under seL4's schedule they have their turns.
    everywhere(|world, schedule| storm(world, schedule, "priority=\"5\""));
}

/// On another CPU than the children, real or virtual: they fault and ring while they are being stopped.
#[test]
fn a_parent_that_acts_from_another_cpu() {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        everywhere(|world, schedule| storm(world, schedule, "priority=\"5\" cpu=\"1\""));
    }
}

/// Each suspends the other and lets it go again; whoever is suspended in the midst of it goes on from there.
#[test]
fn pds_that_suspend_each_other() {
    everywhere(|world, schedule| {
        program(
            world,
            "rival",
            r#"
            enum { OTHER = BASE_USER_CAPS + 1 };
            volatile uint64_t *board;
            void init(void) {
                volatile uint64_t *mine = &board[microkit_name[0] == 'a'];
                seL4_UserContext context;
                int errors = 0;
                for (int i = 0; i < 2000; i++) {
                    errors += seL4_TCB_Suspend(OTHER) != seL4_NoError;
                    errors += seL4_TCB_ReadRegisters(OTHER, seL4_False, 0, 20, &context) != seL4_NoError;
                    errors += seL4_TCB_Resume(OTHER) != seL4_NoError;
                    ++*mine;
                }
                board[2 + (microkit_name[0] == 'a')] = 1;
                printf("%lu rounds, %d errors\n", *mine, errors);
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        // Both may be suspended at one time: then nobody but a third lets them go.
        program(
            world,
            "judge",
            r#"
            volatile uint64_t *board;
            void init(void) {
                while (!board[2] || !board[3]) {
                    (void)seL4_TCB_Resume(BASE_USER_CAPS + 1);
                    (void)seL4_TCB_Resume(BASE_USER_CAPS + 2);
                }
                puts("both are done");
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        let rival = |name: &str, other: &str| {
            let inside = format!("{BOARD_MAP}<cspace><cap_tcb slot=\"1\" pd=\"{other}\"/></cspace>\n");
            pd_from(name, "rival", "priority=\"1\"", &inside)
        };
        let judge = format!(
            "{BOARD_MAP}<cspace><cap_tcb slot=\"1\" pd=\"a\"/><cap_tcb slot=\"2\" pd=\"b\"/></cspace>\n"
        );
        let elements =
            [BOARD.to_owned(), rival("a", "b"), rival("b", "a"), pd("judge", "priority=\"1\"", &judge)];
        system(world, &elements.concat());
        let outcome = run(world, schedule);
        for name in ["a", "b"] {
            outcome.expect(0).printed(name, &["2000 rounds, 0 errors"]);
        }
        outcome.printed("judge", &["both are done"]);
    });
}
