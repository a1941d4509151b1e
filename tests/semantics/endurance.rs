//! Crashes and restarts without end: nothing piles up in the launcher, and nothing that was sent is lost.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Running, for_each_user};
use crate::{PP, RUN, channel, everywhere, pd, program, run_with, system};

/// What a launcher holds, from outside.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    processes: usize,
    /// Resident memory in KiB.
    memory: u64,
}

impl Held {
    fn by(running: &Running) -> Self {
        let pid = running.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            processes: children(pid),
            memory: memory.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }

    #[track_caller]
    fn is_no_more_than(self, before: Self) {
        // A descriptor may be open for a moment, as when the launcher reads a PD's maps.
        assert!(self.descriptors <= before.descriptors + 2, "{before:?}, then {self:?}");
        assert_eq!(self.processes, before.processes, "{before:?}, then {self:?}");
        assert!(self.memory <= before.memory + 512, "{before:?}, then {self:?}");
    }
}

/// Children of a process, zombies among them.
fn children(parent: Pid) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        // "PID (NAME) STATE PPID …", and a name may hold anything.
        .filter(|stat| {
            let words = stat.rsplit(')').next().unwrap_or_default();
            words.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .count()
}

/// A parent that restarts whoever faults.
const PARENT: &str = r#"
static unsigned long restarts;
void init(void) {}
void notified(microkit_channel ch) { (void)ch; printf("%lu restarts\n", restarts); }
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
    (void)info; (void)reply;
    restarts++;
    microkit_pd_restart(child, 0);
    return seL4_False;
}
"#;

/// Crashes in every call, before it answers; restarted, it is asked again and answers.
const SERVER: &str = r#"
static seL4_Word crashed_in, notifications, starts;
void init(void) { starts++; }
void notified(microkit_channel ch) { (void)ch; notifications++; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
    (void)ch;
    seL4_Word number = microkit_mr_get(0);
    if (crashed_in != number) {
        crashed_in = number;
        *(volatile char *)number = 1;
    }
    microkit_mr_set(0, number * 3);
    microkit_mr_set(1, notifications);
    microkit_mr_set(2, starts);
    return microkit_msginfo_new(microkit_msginfo_get_label(info), 3);
}
"#;

/// Calls and notifies the server, and a peer that never faults.
const CLIENT: &str = r#"
enum { SERVER, SERVER_CALLS, PEER, PARENT_OF_SERVER };
static unsigned long wrong, peer_answers;
void init(void) {
    for (seL4_Word number = 1; number <= CYCLES; number++) {
        microkit_notify(SERVER);
        microkit_mr_set(0, number);
        microkit_msginfo answer = microkit_ppcall(SERVER_CALLS, microkit_msginfo_new(number % 1000, 1));
        wrong += microkit_mr_get(0) != number * 3 || microkit_mr_get(1) != number || microkit_mr_get(2) != number + 1 ||
                 microkit_msginfo_get_label(answer) != number % 1000 || microkit_msginfo_get_count(answer) != 3;
        microkit_notify(PEER);
        if (number == 500 || number == CYCLES) printf("%lu calls\n", number);
    }
    printf("%lu wrong\n", wrong);
}
void notified(microkit_channel ch) {
    if (ch == PEER && peer_answers++ == 0) microkit_notify(PARENT_OF_SERVER);
}
"#;

const PEER: &str = "void init(void) {}\nvoid notified(microkit_channel ch) { microkit_notify(ch); }\n";

const CYCLES: &str = "10000";

fn ten_thousand_crashes_and_restarts(schedule: &str) {
    for_each_user(|world| {
        program(world, "parent", PARENT);
        program(world, "server", SERVER);
        program(world, "client", &CLIENT.replace("CYCLES", CYCLES));
        program(world, "peer", PEER);
        let elements = [
            pd("parent", "priority=\"9\"", &pd("server", "id=\"1\" priority=\"5\"", "")),
            pd("client", "priority=\"3\"", ""),
            pd("peer", "priority=\"4\"", ""),
            channel(("client", 0, ""), ("server", 0, "")),
            channel(("client", 1, PP), ("server", 1, "")),
            channel(("client", 2, ""), ("peer", 0, "")),
            channel(("client", 3, ""), ("parent", 0, "")),
        ];
        system(world, &elements.concat());
        let mut running = crate::start(world, schedule, &[]);
        running.wait_for_stdout("client | 500 calls\n");
        let before = Held::by(&running);
        running.wait_for_stdout(&format!("parent | {CYCLES} restarts\n"));
        let after = Held::by(&running);
        running.signal(Signal::SIGTERM);
        running.wait().expect(0).printed("client", &["500 calls", &format!("{CYCLES} calls"), "0 wrong"]);
        after.is_no_more_than(before);
    });
}

#[test]
fn ten_thousand_crashes_and_restarts_in_parallel() {
    ten_thousand_crashes_and_restarts("linux");
}

#[test]
fn ten_thousand_crashes_and_restarts_by_priority() {
    ten_thousand_crashes_and_restarts("microkit");
}

/// A child that is killed from outside is gone, and what its parent starts is a fresh process.
#[test]
fn fresh_processes_leave_nothing_behind() {
    const KILLS: usize = 60;
    everywhere(|world, schedule| {
        program(world, "parent", PARENT);
        program(
            world,
            "child",
            r#"
            volatile unsigned long *lives;
            static int clean = 1;
            void init(void) { printf("life %lu, %s\n", ++*lives, clean ? "clean" : "dirty"); clean = 0; microkit_notify(0); }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        program(
            world,
            "peer",
            r#"
            static unsigned long heard;
            void init(void) {}
            void notified(microkit_channel ch) { (void)ch; printf("heard %lu\n", ++heard); }
            "#,
        );
        let map = "<map mr=\"lives\" vaddr=\"0x5000000\" setvar_vaddr=\"lives\"/>\n";
        let elements = [
            "<memory_region name=\"lives\" size=\"0x1000\"/>\n".to_owned(),
            pd("parent", "priority=\"9\"", &pd("child", "id=\"1\" priority=\"5\"", map)),
            pd("peer", "priority=\"9\"", ""),
            channel(("child", 0, ""), ("peer", 0, "")),
        ];
        system(world, &elements.concat());
        let mut running = crate::start(world, schedule, &[]);
        let mut before = None;
        for life in 1..=KILLS {
            running.wait_for_stdout(&format!("child | life {life}, clean\n"));
            running.wait_for_stdout(&format!("peer | heard {life}\n"));
            if life == 10 {
                before = Some(Held::by(&running));
            }
            if life < KILLS {
                kill(running.pd("child"), Signal::SIGKILL).unwrap();
            }
        }
        Held::by(&running).is_no_more_than(before.unwrap());
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(0);
        assert_eq!(outcome.stderr, "");
    });
}

/// A server without a parent that crashes in its first calls, and a client.
fn crashing_server(world: &crate::World, crashes: u32) {
    program(
        world,
        "server",
        &r#"
        volatile unsigned long *calls;
        static int clean = 1;
        void init(void) { puts(clean ? "clean" : "dirty"); clean = 0; }
        void notified(microkit_channel ch) { (void)ch; }
        microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
            (void)ch;
            if (++*calls <= CRASHES) __builtin_trap();
            microkit_mr_set(0, *calls);
            return info;
        }
        "#
        .replace("CRASHES", &crashes.to_string()),
    );
    program(
        world,
        "client",
        r#"
        void init(void) {
            for (int i = 0; i < 3; i++) {
                (void)microkit_ppcall(0, microkit_msginfo_new(0, 1));
                printf("answered after %lu\n", microkit_mr_get(0));
            }
        }
        void notified(microkit_channel ch) { (void)ch; }
        "#,
    );
    let elements = [
        "<memory_region name=\"calls\" size=\"0x1000\"/>\n".to_owned(),
        pd("server", "priority=\"9\"", "<map mr=\"calls\" vaddr=\"0x5000000\" setvar_vaddr=\"calls\"/>\n"),
        pd("client", "priority=\"1\"", ""),
        channel(("client", 0, PP), ("server", 0, "")),
    ];
    system(world, &elements.concat());
}

#[test]
fn on_fault_restart() {
    everywhere(|world, schedule| {
        crashing_server(world, 4);
        let begun = Instant::now();
        let outcome = run_with(world, schedule, &["--on-fault", "restart"]);
        // Each pause is twice the one before.
        assert!(begun.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80), "{:?}", begun.elapsed());
        outcome
            .expect(0)
            .printed("server", &["clean"; 5])
            .printed("client", &["answered after 5", "answered after 6", "answered after 7"]);
        assert_eq!(outcome.stderr.matches("fault: PD `server`: SIGILL").count(), 4, "{outcome}");
        assert_eq!(outcome.stderr.matches("it is started again").count(), 4, "{outcome}");
    });
}

/// Also one that is killed from outside.
#[test]
fn on_fault_restart_of_a_killed_pd() {
    everywhere(|world, schedule| {
        crashing_server(world, 0);
        let mut running = crate::start(world, schedule, &["--on-fault", "restart"]);
        running.wait_for_stdout("client | answered after 3\n");
        let before = Held::by(&running);
        for lives in 2..=4 {
            kill(running.pd("server"), Signal::SIGKILL).unwrap();
            running.wait_for_lines(1);
            assert_eq!(running.pds().len(), 2, "life {lives}");
        }
        Held::by(&running).is_no_more_than(before);
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(0).printed("server", &["clean"; 4]);
        assert_eq!(outcome.stderr.matches("ended by SIGKILL").count(), 3, "{outcome}");
    });
}

#[test]
fn on_fault_stop() {
    everywhere(|world, schedule| {
        crashing_server(world, 1);
        // Not until idle: the fault is what ends it.
        let outcome =
            world.run(&["run", "--timeout", "30", "--on-fault", "stop", "x.system", "--schedule", schedule]);
        outcome.expect(1).says("fault: PD `server`: SIGILL").says("the system ends").printed("client", &[]);
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 1, "{outcome}");
    });
}

#[test]
fn on_fault_continue() {
    everywhere(|world, schedule| {
        crashing_server(world, 1);
        for more in [&[][..], &["--on-fault", "continue"]] {
            world
                .run(&[&RUN, &[schedule][..], more].concat())
                .expect(1)
                .says("nobody handles it: it stays stopped, the others go on")
                .says("a call can never return: PD `client` waits in a call on channel 0 for `server`")
                .printed("client", &[]);
        }
    });
}
