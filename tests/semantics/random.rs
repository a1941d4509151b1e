//! Random systems: up to thirty PDs in random families, with random channels, that notify, call, work and crash at random. At the end
//! every message is accounted for. The seed is printed; `MK_SANDBOX_SEED` repeats a run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{Running, World};
use crate::{RUN, SCHEDULES, channel, for_each_user, pd_from, program, system};

/// Random systems in a run of this test.
const SYSTEMS: u64 = 10;
const MOST_PDS: u64 = 30;
/// Channel ids of a PD; the last leads to itself, where it arrives with the next.
const CHANNELS: usize = 16;
const SELF: usize = CHANNELS - 1;

/// Every PD's program: it works off a script, a few actions at a time, and keeps account on a board that all share.
const NODE: &str = r#"
#define CHANNELS 16
#define SELF (CHANNELS - 1)
/* The other end of the channel that leads to itself. */
#define SELF_PEER CHANNELS
enum { NOTIFY, CALL, SPIN, CRASH };
volatile const struct { uint64_t self, count, peer[CHANNELS], peer_channel[CHANNELS], actions[]; } *script;
struct cell { uint64_t sent, seen, made, answered, served, wrong; };
volatile struct cell (*board)[CHANNELS];
static uint64_t position;
#define MINE board[script->self]

static void act(uint64_t action) {
    unsigned ch = (unsigned)(action & 0xff);
    uint64_t amount = action >> 16;
    switch (action >> 8 & 0xff) {
    case NOTIFY:
        __atomic_store_n(&MINE[ch].sent, MINE[ch].sent + 1, __ATOMIC_RELEASE);
        microkit_notify(ch);
        break;
    case CALL: {
        uint64_t number = ++MINE[ch].made, count = 1 + number % 120;
        for (unsigned i = 0; i < count; i++) microkit_mr_set((seL4_Uint8)i, number + i * script->self);
        microkit_msginfo answer = microkit_ppcall(ch, microkit_msginfo_new(number, (seL4_Uint16)count));
        MINE[ch].answered++;
        MINE[ch].wrong += microkit_msginfo_get_label(answer) != number + script->peer_channel[ch] ||
                          microkit_msginfo_get_count(answer) != 2 || microkit_mr_get(0) != number * 7 + script->peer[ch] ||
                          microkit_mr_get(1) != count;
        break;
    }
    case SPIN:
        for (volatile uint64_t i = 0; i < amount; i++) {}
        break;
    case CRASH:
        __builtin_trap();
    }
}

static void step(void) {
    for (int burst = 0; burst < 3 && position < script->count; burst++) act(script->actions[position++]);
    if (position < script->count) microkit_notify(SELF);
}

void init(void) {
    if (position == 0) puts("up");
    while (__atomic_load_n(&board[31][0].sent, __ATOMIC_ACQUIRE) == 0) {}
    step();
}

void notified(microkit_channel ch) {
    if (ch == SELF_PEER) {
        step();
    } else {
        MINE[ch].seen = __atomic_load_n(&board[script->peer[ch]][script->peer_channel[ch]].sent, __ATOMIC_ACQUIRE);
    }
}

microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    uint64_t number = microkit_msginfo_get_label(info), count = microkit_msginfo_get_count(info);
    MINE[ch].wrong += number != ++MINE[ch].served || count != 1 + number % 120;
    for (unsigned i = 0; i < count; i++) MINE[ch].wrong += microkit_mr_get((seL4_Uint8)i) != number + i * script->peer[ch];
    microkit_mr_set(0, number * 7 + script->self);
    microkit_mr_set(1, count);
    return microkit_msginfo_new(number + ch, 2);
}

seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)reply;
    MINE[0].wrong += microkit_msginfo_get_label(info) != seL4_Fault_UserException;
    microkit_pd_restart(child, 0);
    return seL4_False;
}
"#;

/// Words of the board that a channel end has: sent, seen, made, answered, served, wrong.
const CELL: usize = 6;
/// The gate: the PDs wait until it opens.
const GATE: u64 = 31 * (CHANNELS * CELL * 8) as u64;

/// Sebastiano Vigna's splitmix64, written from its definition.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// An end of a channel and what its PD does there.
#[derive(Clone, Copy, Default)]
struct End {
    exists: bool,
    may_call: bool,
    peer: usize,
    peer_channel: usize,
    notifications: u64,
    calls: u64,
}

struct Node {
    priority: u64,
    parent: Option<usize>,
    ends: [End; CHANNELS],
    actions: Vec<u64>,
}

enum Action {
    Notify,
    Call,
    Spin,
    Crash,
}

fn action(what: Action, channel: usize, amount: u64) -> u64 {
    amount << 16 | (what as u64) << 8 | channel as u64
}

/// Works out a system.
fn nodes(random: &mut Random) -> Vec<Node> {
    let count = (2 + random.below(MOST_PDS - 1)) as usize;
    let mut nodes: Vec<Node> = (0..count)
        .map(|index| Node {
            priority: random.below(255),
            parent: (index > 0 && random.chance(40)).then(|| random.below(index as u64) as usize),
            ends: [End::default(); CHANNELS],
            actions: Vec::new(),
        })
        .collect();
    for _ in 0..count * 3 {
        let (a, b) = (random.below(count as u64) as usize, random.below(count as u64) as usize);
        let free = |node: &Node| (0..SELF).find(|id| !node.ends[*id].exists);
        let (Some(a_id), Some(b_id)) = (free(&nodes[a]), free(&nodes[b])) else { continue };
        if a == b {
            continue;
        }
        // A call leads to a higher priority.
        let may_call = random.chance(50);
        let end = |from: u64, to: u64, peer, peer_channel| End {
            exists: true,
            may_call: may_call && from < to,
            peer,
            peer_channel,
            ..End::default()
        };
        let (a_priority, b_priority) = (nodes[a].priority, nodes[b].priority);
        nodes[a].ends[a_id] = end(a_priority, b_priority, b, b_id);
        nodes[b].ends[b_id] = end(b_priority, a_priority, a, a_id);
    }
    for index in 0..count {
        // A parent of lower priority may be waiting for the child, in a call, and then nobody restarts it, on seL4 neither.
        let may_crash =
            nodes[index].parent.is_some_and(|parent| nodes[parent].priority >= nodes[index].priority);
        for _ in 0..random.below(120) {
            let id = random.below(SELF as u64) as usize;
            let end = &mut nodes[index].ends[id];
            let next = match random.below(10) {
                0..=4 if end.exists => {
                    end.notifications += 1;
                    action(Action::Notify, id, 0)
                }
                5..=7 if end.may_call => {
                    end.calls += 1;
                    action(Action::Call, id, 0)
                }
                8 if may_crash && random.chance(30) => action(Action::Crash, 0, 0),
                _ => action(Action::Spin, 0, random.below(2000)),
            };
            nodes[index].actions.push(next);
        }
    }
    nodes
}

fn name(index: usize) -> String {
    format!("node{index}")
}

/// A PD and its descendants.
fn element(nodes: &[Node], index: usize, id: usize) -> String {
    let node = &nodes[index];
    let mut inside = format!(
        "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n\
         <map mr=\"script{index}\" vaddr=\"0x6000000\" perms=\"r\" setvar_vaddr=\"script\"/>\n"
    );
    let children = (0..nodes.len()).filter(|child| nodes[*child].parent == Some(index));
    for (id, child) in children.enumerate() {
        inside += &element(nodes, child, id);
    }
    let id = if node.parent.is_some() { format!("id=\"{id}\"") } else { String::new() };
    pd_from(&name(index), "node", &format!("priority=\"{}\" {id}", node.priority), &inside)
}

fn write(world: &World, nodes: &[Node]) {
    program(world, "node", NODE);
    let mut text = "<memory_region name=\"board\" size=\"0x10000\"/>\n".to_owned();
    for (index, node) in nodes.iter().enumerate() {
        let mut words = vec![index as u64, node.actions.len() as u64];
        words.extend(node.ends.iter().map(|end| end.peer as u64));
        words.extend(node.ends.iter().map(|end| end.peer_channel as u64));
        words.extend(&node.actions);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        world.write(&format!("script{index}"), bytes);
        text += &format!("<memory_region name=\"script{index}\" prefill_path=\"script{index}\"/>\n");
    }
    for index in (0..nodes.len()).filter(|index| nodes[*index].parent.is_none()) {
        text += &element(nodes, index, 0);
    }
    for (index, node) in nodes.iter().enumerate() {
        text += &format!(
            "<channel><end pd=\"{0}\" id=\"{SELF}\"/><end pd=\"{0}\" id=\"{1}\"/></channel>\n",
            name(index),
            SELF + 1
        );
        for (id, end) in node.ends.iter().enumerate().filter(|(_, end)| end.exists && end.peer > index) {
            let pp = |may_call: bool| if may_call { crate::PP } else { "" };
            let peer_calls = nodes[end.peer].ends[end.peer_channel].may_call;
            let (a, b) = (name(index), name(end.peer));
            text += &channel((&a, id as u8, pp(end.may_call)), (&b, end.peer_channel as u8, pp(peer_calls)));
        }
    }
    system(world, &text);
}

/// The board, held open beyond the launcher's end.
fn open_board(running: &Running) -> File {
    for entry in fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        if link.to_string_lossy().contains("memfd:board") {
            return File::open(entry.path()).unwrap();
        }
    }
    panic!("the launcher holds no board");
}

#[derive(Debug, PartialEq)]
struct Account {
    sent: u64,
    seen: u64,
    made: u64,
    answered: u64,
    served: u64,
    wrong: u64,
}

impl Account {
    fn read(board: &File, node: usize, channel: usize) -> Self {
        let at = ((node * CHANNELS + channel) * CELL * 8) as u64;
        let mut bytes = [0; CELL * 8];
        board.read_exact_at(&mut bytes, at).unwrap();
        let word = |index: usize| u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap());
        let [sent, seen, made, answered, served, wrong] = std::array::from_fn(word);
        Self { sent, seen, made, answered, served, wrong }
    }
}

fn every_message_is_accounted_for(world: &World, schedule: &str, nodes: &[Node]) {
    let mut running = world.start(&[&RUN, &[schedule][..]].concat());
    // Somebody waits at the gate: everything is there, and stays until the gate opens.
    running.wait_for_stdout(" | up\n");
    let board = open_board(&running);
    running.poke_region("board", GATE, &1u64.to_le_bytes());
    let outcome = running.wait();
    outcome.expect(0);
    assert_eq!(outcome.stderr, "");
    for (index, node) in nodes.iter().enumerate() {
        for (id, end) in node.ends.iter().enumerate().filter(|(_, end)| end.exists) {
            let other = &nodes[end.peer].ends[end.peer_channel];
            let expected = Account {
                sent: end.notifications,
                seen: other.notifications,
                made: end.calls,
                answered: end.calls,
                served: other.calls,
                wrong: 0,
            };
            assert_eq!(
                Account::read(&board, index, id),
                expected,
                "{}, channel {id}\n{outcome}",
                name(index)
            );
        }
    }
}

#[test]
fn every_message_of_random_systems_is_accounted_for() {
    let seed = match std::env::var("MK_SANDBOX_SEED") {
        Ok(seed) => seed.parse().expect("MK_SANDBOX_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    let mut tried = [0; 3];
    for number in 0..SYSTEMS {
        let seed = seed.wrapping_add(number);
        println!("MK_SANDBOX_SEED={seed}");
        let nodes = nodes(&mut Random(seed));
        for action in nodes.iter().flat_map(|node| &node.actions) {
            match action >> 8 & 0xff {
                0 => tried[0] += 1,
                1 => tried[1] += 1,
                3 => tried[2] += 1,
                _ => {}
            }
        }
        for schedule in SCHEDULES {
            println!("{} PDs, schedule {schedule}", nodes.len());
            for_each_user(|world| {
                write(world, &nodes);
                every_message_is_accounted_for(world, schedule, &nodes);
            });
        }
    }
    println!("notifications, calls, crashes: {tried:?}");
    assert!(tried.iter().all(|count| *count > 0), "{tried:?}");
}
