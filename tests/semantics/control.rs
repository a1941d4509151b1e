//! What a parent does to its children: microkit_pd_restart, microkit_pd_stop and microkit_pd_resume, whatever the child is doing.

use nix::sys::signal::{Signal, kill};

use crate::common::{Outcome, Running, World};
use crate::{PP, RUN, channel, everywhere, pd, program, system};

/// What the child does in its first life is its state; later it only says that it has started. The board's words: `go` lets the
/// trigger ring the parent, `finish` ends a spin, `ready` says that the server has been suspended.
const CHILD: &str = r#"
struct board { uint64_t go, finish, ready; };
volatile struct board *board;
static int starts;
enum { PARENT, SERVER };

/* Without the C library's buffers: a restart in the midst of printf leaves them as they are. */
#define say(...) do { char line[64]; snprintf(line, sizeof line, __VA_ARGS__); microkit_dbg_puts(line); } while (0)

static void call(void) {
    microkit_mr_set(0, (seL4_Word)starts);
    (void)microkit_ppcall(SERVER, microkit_msginfo_new(0, 1));
    say("answered %lu\n", microkit_mr_get(0));
}

static void running(void) { if (starts == 1) { say("running\n"); while (!board->finish) {} say("ran on\n"); } }
static void waiting(void) { say("waiting\n"); }
static void calling(void) { while (!board->ready) {} say("calling\n"); call(); }
static void faulted(void) { if (starts == 1) { say("faulting\n"); __builtin_trap(); } }

void init(void) { say("start %d\n", ++starts); STATE(); }
void notified(microkit_channel ch) { say("notified %u\n", ch); }
"#;

/// Rings the parent when told from outside.
const TRIGGER: &str = r#"
struct board { uint64_t go, finish, ready; };
volatile struct board *board;
void init(void) { while (!board->go) {} microkit_notify(0); }
void notified(microkit_channel ch) { (void)ch; }
"#;

/// Stands still from the beginning, since the parent has its thread suspended.
const SERVER: &str = r#"
void init(void) {}
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    (void)ch;
    microkit_mr_set(0, microkit_mr_get(0) * 10);
    return info;
}
"#;

const PARENT: &str = r#"
struct board { uint64_t go, finish, ready; };
volatile struct board *board;
enum { TRIGGER, CHANNEL };
#define CHILD 7
#define SERVER_TCB (BASE_USER_CAPS + 1)
static void act(void);

void init(void) { if (seL4_TCB_Suspend(SERVER_TCB) != seL4_NoError) puts("no capability"); board->ready = 1; }
void notified(microkit_channel ch) {
    if (ch != TRIGGER) return;
    act();
    board->finish = 1;
    if (seL4_TCB_Resume(SERVER_TCB) != seL4_NoError) puts("no capability");
    puts("acted");
}
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)reply;
    printf("child %u: fault %lu\n", child, microkit_msginfo_get_label(info));
    return seL4_False;
}
"#;

/// What a child does when its parent acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Running,
    Waiting,
    Calling,
    Faulted,
    Dead,
}

const STATES: [State; 5] = [State::Running, State::Waiting, State::Calling, State::Faulted, State::Dead];

impl State {
    /// The function of the child, and what it prints in it.
    fn function(self) -> (&'static str, &'static str) {
        match self {
            Self::Running => ("running", "running"),
            Self::Waiting | Self::Dead => ("waiting", "waiting"),
            Self::Calling => ("calling", "calling"),
            Self::Faulted => ("faulted", "faulting"),
        }
    }

    /// Brings about what the child cannot do itself, and waits until it is in this state.
    fn reach(self, schedule: &str, running: &mut Running) {
        running.wait_for_stdout(&format!("child | {}\n", self.function().1));
        match self {
            Self::Running => {}
            // Under seL4's schedule everybody but one is stopped all the time.
            Self::Waiting | Self::Calling if schedule == "microkit" => running.wait_for_state("child", 't'),
            Self::Waiting | Self::Calling => running.wait_for_state("child", 'S'),
            Self::Faulted => running.wait_for_stdout("parent | child 7: fault 3\n"),
            Self::Dead => {
                kill(running.pd("child"), Signal::SIGKILL).unwrap();
                running.wait_for_stdout("parent | child 7: fault 0\n");
            }
        }
    }
}

/// Runs a system in which the parent acts on a child in this state.
fn act(world: &World, schedule: &str, state: State, act: &str) -> Outcome {
    program(world, "child", &CHILD.replace("STATE", state.function().0));
    program(world, "trigger", TRIGGER);
    program(world, "server", SERVER);
    program(world, "parent", &format!("{PARENT}static void act(void) {{ {act} }}\n"));
    let board = "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n";
    let child = pd("child", "id=\"7\" priority=\"3\"", board);
    let inside = format!("{board}{child}<cspace><cap_tcb slot=\"1\" pd=\"server\"/></cspace>\n");
    let elements = [
        "<memory_region name=\"board\" size=\"0x1000\"/>\n".to_owned(),
        pd("parent", "priority=\"10\"", &inside),
        pd("server", "priority=\"5\"", ""),
        pd("trigger", "priority=\"3\"", board),
        channel(("parent", 0, ""), ("trigger", 0, "")),
        channel(("parent", 1, ""), ("child", 0, "")),
        channel(("child", 1, PP), ("server", 0, "")),
    ];
    system(world, &elements.concat());
    let mut running = world.start(&[&RUN, &[schedule][..]].concat());
    state.reach(schedule, &mut running);
    running.poke_region("board", 0, &1u64.to_le_bytes());
    let outcome = running.wait();
    eprintln!("{state:?}: {outcome}");
    outcome.expect(0);
    let heard = match state {
        State::Faulted => vec!["child 7: fault 3"],
        State::Dead => vec!["child 7: fault 0"],
        _ => vec![],
    };
    assert_eq!(outcome.stderr, "");
    assert!(outcome.lines_of("parent").starts_with(&heard));
    outcome
}

/// What the child prints behind the lines of its first life up to where its parent acts.
fn afterwards(outcome: &Outcome, state: State) -> Vec<&str> {
    let lines = outcome.lines_of("child");
    assert_eq!(lines[..2], ["start 1", state.function().1], "{outcome}");
    lines[2..].to_vec()
}

/// Runs the act in every state; what the child prints then, and the parent at its end.
fn each_state(code: &str, expected: impl Fn(State) -> (Vec<&'static str>, Vec<&'static str>)) {
    everywhere(|world, schedule| {
        for state in STATES {
            if schedule == "linux" && state == State::Waiting && code.starts_with("microkit_notify") {
                // In parallel, the child hears it before the act, or in the midst of it.
                continue;
            }
            let outcome = act(world, schedule, state, code);
            let (child, parent) = expected(state);
            assert_eq!(afterwards(&outcome, state), child, "{state:?}");
            let skip = usize::from(matches!(state, State::Faulted | State::Dead));
            assert_eq!(outcome.lines_of("parent")[skip..], parent, "{state:?}");
        }
    });
}

const ACTED: [&str; 1] = ["acted"];

#[test]
fn a_restarted_child_begins_again() {
    each_state("microkit_pd_restart(CHILD, 0);", |state| {
        let child = match state {
            State::Running | State::Faulted => vec!["start 2"],
            State::Waiting => vec!["start 2", "waiting"],
            // The answer to the call of its first life is none to that of its second.
            State::Calling => vec!["start 2", "calling", "answered 20"],
            State::Dead => vec!["start 1", "waiting"],
        };
        (child, ACTED.into())
    });
}

#[test]
fn a_notification_that_is_pending_survives_a_restart() {
    each_state("microkit_notify(CHANNEL); microkit_pd_restart(CHILD, 0x200000);", |state| {
        let child = match state {
            State::Running | State::Faulted => vec!["start 2", "notified 0"],
            State::Waiting => vec!["start 2", "waiting", "notified 0"],
            State::Calling => vec!["start 2", "calling", "answered 20", "notified 0"],
            State::Dead => vec!["start 1", "waiting", "notified 0"],
        };
        (child, ACTED.into())
    });
}

#[test]
fn a_stopped_child_does_nothing() {
    each_state("microkit_pd_stop(CHILD); microkit_notify(CHANNEL);", |_| (vec![], ACTED.into()));
}

#[test]
fn a_resumed_child_goes_on_where_it_was() {
    let code = "microkit_pd_stop(CHILD); microkit_notify(CHANNEL); microkit_pd_resume(CHILD);";
    each_state(code, |state| match state {
        State::Running => (vec!["ran on", "notified 0"], ACTED.into()),
        State::Waiting => (vec!["notified 0"], ACTED.into()),
        State::Calling => (vec!["answered 10", "notified 0"], ACTED.into()),
        // It tries again what it did.
        State::Faulted => (vec![], vec!["acted", "child 7: fault 3"]),
        State::Dead => {
            (vec![], vec!["parent microkit_pd_resume: the launcher cannot do this to child '7'", "acted"])
        }
    });
}

#[test]
fn to_resume_who_is_not_stopped_changes_nothing() {
    each_state("microkit_pd_resume(CHILD);", |state| match state {
        State::Running => (vec!["ran on"], ACTED.into()),
        State::Waiting => (vec![], ACTED.into()),
        State::Calling => (vec!["answered 10"], ACTED.into()),
        State::Faulted => (vec![], vec!["acted", "child 7: fault 3"]),
        State::Dead => {
            (vec![], vec!["parent microkit_pd_resume: the launcher cannot do this to child '7'", "acted"])
        }
    });
}

#[test]
fn a_stopped_child_is_restarted_as_any_other() {
    each_state("microkit_pd_stop(CHILD); microkit_pd_stop(CHILD); microkit_pd_restart(CHILD, 0);", |state| {
        let child = match state {
            State::Running | State::Faulted => vec!["start 2"],
            State::Waiting => vec!["start 2", "waiting"],
            State::Calling => vec!["start 2", "calling", "answered 20"],
            State::Dead => vec!["start 1", "waiting"],
        };
        (child, ACTED.into())
    });
}

#[test]
fn what_is_no_child_is_refused() {
    let code = "microkit_pd_stop(6); microkit_pd_resume(62); microkit_pd_restart(~0u, 0);";
    each_state(code, |state| {
        let child = match state {
            State::Running => vec!["ran on"],
            State::Calling => vec!["answered 10"],
            State::Waiting | State::Faulted | State::Dead => vec![],
        };
        let parent = vec![
            "parent microkit_pd_stop: invalid child given '6'",
            "parent microkit_pd_resume: invalid child given '62'",
            "parent microkit_pd_restart: invalid child given '4294967295'",
            "acted",
        ];
        (child, parent)
    });
}
