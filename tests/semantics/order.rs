//! What waits for a PD, and in which order it is taken: notifications, then calls and faults by priority and arrival; and calls of a
//! PD that has been started again, which are not taken at all.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::common::Running;
use crate::{PP, RUN, World, channel, everywhere, pd, pd_from, program, system, words_of_region};

const BOARD: &str = "<memory_region name=\"board\" size=\"0x1000\"/>\n";
const BOARD_MAP: &str = "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n";

/// Who calls or faults when it is rung, with its priority; their channels to the conductor have their places as ids.
const CROWD: [(&str, u8); 5] = [("call_a", 5), ("call_b", 7), ("crash_c", 5), ("crash_d", 7), ("call_e", 5)];

/// Suspends the server, makes everybody act in this order, one after the other, and lets the server go.
const CONDUCTOR: &str = r#"
volatile uint64_t *board;
static const unsigned order[] = { ORDER };
void init(void) {
    (void)seL4_TCB_Suspend(BASE_USER_CAPS + 1);
    puts("begins");
    for (unsigned i = 0; i < 5; i++) {
        microkit_notify(order[i]);
        /* Under seL4's schedule whoever is rung acts at once. */
        while (WAITS && board[0] <= i) {}
    }
    microkit_notify(10);
    (void)seL4_TCB_Resume(BASE_USER_CAPS + 1);
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const ACTOR: &str = r#"
volatile uint64_t *board;
void init(void) {}
void notified(microkit_channel ch) {
    (void)ch;
    ++board[1];
    if (microkit_name[1] == 'r') __builtin_trap();
    (void)microkit_ppcall(1, microkit_msginfo_new(0, 0));
}
"#;

const TAKER: &str = r#"
void init(void) {}
void notified(microkit_channel ch) { printf("hears %u\n", ch); }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { printf("call of %u\n", ch); return info; }
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)info; (void)reply;
    printf("fault of %u\n", child);
    return seL4_False;
}
"#;

/// What the server takes, in its order, when the others act in this one.
fn taken(world: &World, schedule: &str, order: [usize; 5]) -> Vec<String> {
    let order_text = order.map(|place| place.to_string()).join(", ");
    let waits = if schedule == "linux" { "1" } else { "0" };
    program(world, "conductor", &CONDUCTOR.replace("ORDER", &order_text).replace("WAITS", waits));
    program(world, "actor", ACTOR);
    program(world, "taker", TAKER);
    let actor = |place: usize, more: &str| {
        let (name, priority) = CROWD[place];
        pd_from(name, "actor", &format!("priority=\"{priority}\" {more}"), BOARD_MAP)
    };
    let children = actor(2, "id=\"2\"") + &actor(3, "id=\"3\"");
    let mut elements = vec![
        BOARD.to_owned(),
        pd("taker", "priority=\"20\"", &children),
        actor(0, "") + &actor(1, "") + &actor(4, ""),
        pd(
            "conductor",
            "priority=\"1\"",
            &format!("{BOARD_MAP}<cspace><cap_tcb slot=\"1\" pd=\"taker\"/></cspace>\n"),
        ),
        channel(("conductor", 10, ""), ("taker", 10, "")),
    ];
    for (place, (name, _)) in CROWD.iter().enumerate() {
        elements.push(channel(("conductor", place as u8, ""), (name, 0, "")));
        if name.starts_with("call") {
            elements.push(channel((name, 1, PP), ("taker", place as u8, "")));
        }
    }
    system(world, &elements.concat());
    let mut running = world.start(&[&RUN, &[schedule][..]].concat());
    if schedule == "linux" {
        running.wait_for_stdout("conductor | begins\n");
        for (done, place) in (1..).zip(order) {
            let name = CROWD[place].0;
            wait_for_word(&running, 1, done);
            // It does nothing any more but to call, and to sleep in that, or to fault.
            running.wait_for_state(name, if name.starts_with("call") { 'S' } else { 't' });
            running.poke_region("board", 0, &done.to_le_bytes());
        }
    }
    let outcome = running.wait();
    outcome.expect(0).lines_of("taker").into_iter().map(str::to_owned).collect()
}

/// Waits until a word of the board has this value.
fn wait_for_word(running: &Running, index: usize, value: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let seen = || words_of_region::<4>(running, "board")[index];
    while seen() != value {
        assert!(Instant::now() < deadline, "word {index} of the board is {} and not {value}", seen());
        std::thread::yield_now();
    }
}

#[test]
fn calls_and_faults_are_taken_by_priority_then_in_the_order_they_came() {
    everywhere(|world, schedule| {
        let linux = schedule == "linux";
        let lines = taken(world, schedule, [0, 2, 3, 1, 4]);
        let expected = ["hears 10", "fault of 3", "call of 1", "call of 0", "fault of 2", "call of 4"];
        if linux {
            // Which of equals came first is not settled in parallel.
            assert_eq!(lines[0], expected[0]);
            for group in [1..3, 3..6] {
                let sorted = |words: &mut Vec<String>| words.sort();
                let (mut got, mut due) = (
                    lines[group.clone()].to_vec(),
                    expected[group].iter().map(|s| (*s).to_owned()).collect(),
                );
                sorted(&mut got);
                sorted(&mut due);
                assert_eq!(got, due, "{lines:?}");
            }
        } else {
            assert_eq!(lines, expected);
            let expected = ["hears 10", "call of 1", "fault of 3", "call of 4", "fault of 2", "call of 0"];
            assert_eq!(taken(world, schedule, [4, 2, 0, 1, 3]), expected);
        }
    });
}

const BOSS: &str = r#"
enum { CALLER = 1, SERVER = 2 };
void init(void) {}
void notified(microkit_channel ch) {
    if (ch == 1) { microkit_pd_stop(SERVER); return; }
    microkit_pd_restart(CALLER, 0);
    microkit_pd_resume(SERVER);
}
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)reply;
    printf("child %u: fault %lu\n", child, microkit_msginfo_get_label(info));
    microkit_pd_restart(CALLER, 0);
    microkit_pd_resume(SERVER);
    return seL4_False;
}
"#;

const CALLER: &str = r#"
volatile uint64_t *board;
void init(void) {
    uint64_t start = ++board[1];
    printf("start %lu\n", start);
    if (start == 1) { microkit_notify(0); while (!board[2]) {} board[3] = 1; }
    microkit_mr_set(0, start);
    (void)microkit_ppcall(1, microkit_msginfo_new(0, 1));
    printf("answered %lu\n", microkit_mr_get(0));
}
void notified(microkit_channel ch) { (void)ch; }
"#;

const SERVER: &str = r#"
void init(void) {}
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    (void)ch;
    printf("serves %lu\n", microkit_mr_get(0));
    return info;
}
"#;

const TRIGGER: &str = r#"
volatile uint64_t *board;
void init(void) { while (!board[0]) {} if (board[0] == 1) microkit_notify(0); }
void notified(microkit_channel ch) { (void)ch; }
"#;

/// The server is stopped, the caller calls it, is restarted, and the server is let go before the caller has run again.
fn withdrawn(world: &World, schedule: &str, act: impl Fn(&Running)) {
    program(world, "boss", BOSS);
    program(world, "caller", CALLER);
    program(world, "server", SERVER);
    program(world, "trigger", TRIGGER);
    let children =
        pd("caller", "id=\"1\" priority=\"3\"", BOARD_MAP) + &pd("server", "id=\"2\" priority=\"5\"", "");
    let elements = [
        BOARD.to_owned(),
        pd("boss", "priority=\"9\"", &children),
        pd("trigger", "priority=\"2\"", BOARD_MAP),
        channel(("caller", 0, ""), ("boss", 1, "")),
        channel(("caller", 1, PP), ("server", 1, "")),
        channel(("trigger", 0, ""), ("boss", 0, "")),
    ];
    system(world, &elements.concat());
    let mut running = world.start(&[&RUN, &[schedule][..]].concat());
    running.wait_for_stdout("caller | start 1\n");
    running.wait_for_state("server", 't');
    running.poke_region("board", 16, &1u64.to_le_bytes());
    wait_for_word(&running, 3, 1);
    // In its call.
    running.wait_for_state("caller", if schedule == "linux" { 'S' } else { 't' });
    act(&running);
    let outcome = running.wait();
    outcome
        .expect(0)
        .printed("caller", &["start 1", "start 2", "answered 2"])
        .printed("server", &["serves 2"]);
}

#[test]
fn nobody_serves_a_call_of_who_has_been_restarted() {
    everywhere(|world, schedule| {
        withdrawn(world, schedule, |running| running.poke_region("board", 0, &1u64.to_le_bytes()));
    });
}

#[test]
fn nobody_serves_a_call_of_who_has_been_replaced_by_a_fresh_process() {
    everywhere(|world, schedule| {
        withdrawn(world, schedule, |running| {
            kill(running.pd("caller"), Signal::SIGKILL).unwrap();
            // Nothing more is to be done.
            running.poke_region("board", 0, &2u64.to_le_bytes());
        });
    });
}
