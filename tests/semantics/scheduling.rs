//! Who runs when, and for how long, by the kernel's account of CPU time: priorities, turns, budgets, domains.

use std::fs;
use std::time::{Duration, Instant};

use mk_sandbox::sys::scheduling::set_nice;
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, gettid};

use crate::common::{Running, World, for_each_user};
use crate::{PP, channel, everywhere, pd, pd_from, program, run, start, system, words_of_region};

/// How long a measurement takes: many times every period and duration here.
const WINDOW: Duration = Duration::from_millis(1500);

/// How many windows are measured at most, as long as others of the host take more than [`CALM`] of them.
const WINDOWS: usize = 4;
const CALM: f64 = 0.1;

/// What a process got in a window: time on a CPU, and time it was ready but waited for one.
#[derive(Clone, Copy, Debug)]
struct Share {
    ran: f64,
    waited: f64,
}

impl Share {
    fn of(pid: Pid) -> Self {
        let time = Duration::from(clock_gettime(clock_getcpuclockid(pid).unwrap()).unwrap());
        // Nanoseconds on a CPU, nanoseconds waiting for one, turns (Documentation/scheduler/sched-stats.rst).
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        let waited: f64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0.0);
        Self { ran: time.as_secs_f64(), waited: waited / 1e9 }
    }
}

/// Returns when this process sleeps, or has had a CPU since it was called.
fn has_run(pid: Pid) {
    let turns = || {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split_whitespace().nth(2).map(str::to_owned)
    };
    let sleeps = || {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        text.rsplit(") ").next().is_none_or(|rest| !rest.starts_with('R'))
    };
    let (before, deadline) = (turns(), Instant::now() + Duration::from_secs(10));
    while !sleeps() && turns() == before && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// Seconds that the host of this virtual machine kept the CPUs from it: column 8 of the first line of /proc/stat, in hundredths (proc(5)).
fn stolen() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let ticks: f64 = text.split_whitespace().nth(8).and_then(|word| word.parse().ok()).unwrap_or(0.0);
    ticks / 100.0
}

/// What PDs got in a window, in parts of it. What other processes of the host took is no fault of the schedule: a PD that waited for a CPU
/// ran too little, and where the launcher waited for one, it stopped a PD too late or let it go too late. So is what the launcher itself
/// needed for the switches: it grows where others spoil the caches.
#[derive(Clone, Copy, Debug)]
pub struct Shares<const N: usize> {
    pub ran: [f64; N],
    pds_waited: f64,
    launcher_ran: f64,
    launcher_waited: f64,
    stolen: f64,
}

impl<const N: usize> Shares<N> {
    pub fn of(running: &Running, pds: [&str; N]) -> Self {
        let pids = pds.map(|pd| running.pd(pd));
        let look = || (Instant::now(), pids.map(Share::of), Share::of(running.pid()), stolen());
        let start = look();
        let mut shares = None;
        for _ in 0..WINDOWS {
            std::thread::sleep(WINDOW);
            let (end, after, launcher_after, stolen_after) = look();
            // The kernel accounts for a wait when it is over, and one of the launcher's that is not lets PDs run on.
            has_run(running.pid());
            let waited_after = (pids.map(|pid| Share::of(pid).waited), Share::of(running.pid()).waited);
            // All from the start: who got too much in one window, since the launcher waited, gets less in the next.
            let (start, before, launcher_before, stolen_before) = &start;
            let window = (end - *start).as_secs_f64();
            let waited: f64 =
                waited_after.0.iter().zip(before).map(|(after, before)| after - before.waited).sum();
            let all = Self {
                ran: std::array::from_fn(|index| (after[index].ran - before[index].ran) / window),
                pds_waited: waited / window,
                launcher_ran: (launcher_after.ran - launcher_before.ran) / window,
                launcher_waited: (waited_after.1 - launcher_before.waited) / window,
                stolen: (stolen_after - stolen_before) / window,
            };
            eprintln!("{pds:?}: {all:?}");
            shares = Some(all);
            if all.taken_by_others() <= CALM {
                break;
            }
        }
        shares.unwrap()
    }

    fn taken_by_others(&self) -> f64 {
        self.pds_waited + self.launcher_waited + self.stolen
    }

    /// Some of them.
    pub fn only<const M: usize>(&self, places: [usize; M]) -> Shares<M> {
        self.with(places.map(|place| self.ran[place]))
    }

    fn with<const M: usize>(&self, ran: [f64; M]) -> Shares<M> {
        let Self { ran: _, pds_waited, launcher_ran, launcher_waited, stolen } = *self;
        Shares { ran, pds_waited, launcher_ran, launcher_waited, stolen }
    }

    /// All together, within a tenth.
    #[track_caller]
    pub fn sum_is_about(&self, expected: f64) {
        self.with([self.ran.iter().sum()]).are_about([expected]);
    }

    /// Each within a tenth, but for what others took.
    #[track_caller]
    pub fn are_about(&self, expected: [f64; N]) {
        for (ran, expected) in self.ran.into_iter().zip(expected) {
            let late = self.launcher_waited + self.stolen;
            assert!(ran <= 1.1 * expected + late, "{ran} is more than {expected}: {self:?}");
            self.is_at_least(ran, 0.9 * expected);
        }
    }

    /// Each, but for what others took.
    #[track_caller]
    pub fn are_at_least(&self, expected: f64) {
        self.ran.into_iter().for_each(|ran| self.is_at_least(ran, expected));
    }

    #[track_caller]
    fn is_at_least(&self, ran: f64, expected: f64) {
        let got = ran + self.taken_by_others() + self.launcher_ran;
        assert!(got >= expected, "{ran} is less than {expected}: {self:?}");
    }
}

pub const SPINNER: &str =
    "void init(void) { puts(\"spins\"); for (;;) {} }\nvoid notified(microkit_channel ch) { (void)ch; }\n";

/// Starts `x.system` and waits until all of these have begun. Launcher and PDs go before others of the host, where that is allowed: a
/// launcher that waits for a CPU lets PDs run for too long.
pub fn begin(world: &World, schedule: &str, pds: &[&str]) -> Running {
    // A thread has a nice value of its own, which what it starts begins with.
    let mut running = std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let _ = set_nice(gettid(), -20);
            start(world, schedule, &[])
        });
        starter.join().unwrap()
    });
    for pd in pds {
        running.wait_for_stdout(&format!("{pd} | spins\n"));
    }
    running
}

pub fn end(running: Running) {
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

pub fn spinner(name: &str, attributes: &str) -> String {
    pd_from(name, "spinner", attributes, "")
}

#[test]
fn pds_begin_by_priority_and_equals_by_their_place() {
    for_each_user(|world| {
        program(
            world,
            "pd",
            "void init(void) { puts(\"begins\"); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        let given =
            [("a", 7), ("b", 254), ("c", 0), ("d", 7), ("e", 100), ("f", 8), ("g", 7), ("h", 253), ("i", 0)];
        let list: String = given
            .iter()
            .map(|(name, priority)| pd_from(name, "pd", &format!("priority=\"{priority}\""), ""))
            .collect();
        system(world, &list);
        let outcome = run(world, "microkit");
        let order: Vec<&str> =
            outcome.expect(0).stdout.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(order, ["b", "h", "e", "f", "a", "d", "g", "c", "i"]);
    });
}

/// Notifying, calling and answering someone of higher priority switches at once; of lower priority, when there is nothing else.
#[test]
fn every_switch_is_immediate() {
    for_each_user(|world| {
        program(
            world,
            "low",
            r#"
            void init(void) {
                puts("notifies high"); microkit_notify(0);
                puts("notifies equal"); microkit_notify(1);
                puts("calls high"); (void)microkit_ppcall(2, microkit_msginfo_new(0, 0));
                puts("is answered");
            }
            void notified(microkit_channel ch) { printf("hears %u\n", ch); }
            "#,
        );
        program(
            world,
            "high",
            r#"
            void init(void) { puts("begins"); }
            void notified(microkit_channel ch) { puts("is notified"); if (ch == 0) microkit_notify(ch); puts("is done"); }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { (void)ch; puts("is called"); return info; }
            "#,
        );
        program(
            world,
            "equal",
            r#"
            void init(void) { puts("begins"); }
            void notified(microkit_channel ch) { (void)ch; puts("is notified"); }
            "#,
        );
        let elements = [
            pd("low", "priority=\"1\"", ""),
            pd("equal", "priority=\"1\"", ""),
            pd("high", "priority=\"2\"", ""),
            channel(("low", 0, ""), ("high", 0, "")),
            channel(("low", 1, ""), ("equal", 0, "")),
            channel(("low", 2, PP), ("high", 1, "")),
        ];
        system(world, &elements.concat());
        let outcome = run(world, "microkit");
        let expected = [
            "high | begins",
            "low | notifies high",
            "high | is notified",
            "high | is done",
            "low | notifies equal",
            "low | calls high",
            "high | is called",
            "low | is answered",
            "low | hears 0",
            "equal | begins",
            "equal | is notified",
        ];
        assert_eq!(outcome.expect(0).stdout.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn who_never_yields_is_preempted() {
    for_each_user(|world| {
        program(world, "spinner", SPINNER);
        program(
            world,
            "worker",
            r#"
            static unsigned rounds;
            static int is_left(void) { return microkit_name[0] == 'l'; }
            void init(void) { if (is_left()) microkit_notify(0); }
            void notified(microkit_channel ch) {
                if (is_left() && ++rounds == 20) puts("20 rounds"); else microkit_notify(ch);
            }
            "#,
        );
        let elements = [
            spinner("spinner", "priority=\"5\""),
            pd_from("left", "worker", "priority=\"5\"", ""),
            pd_from("right", "worker", "priority=\"5\"", ""),
            // Below the one that never yields: it never begins.
            spinner("lower", "priority=\"4\""),
            channel(("left", 0, ""), ("right", 0, "")),
        ];
        system(world, &elements.concat());
        let mut running = begin(world, "microkit", &["spinner"]);
        running.wait_for_stdout("left | 20 rounds\n");
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        outcome.expect(0).printed("lower", &[]);
    });
}

#[test]
fn equals_share_a_cpu_by_their_periods() {
    for_each_user(|world| {
        program(world, "spinner", SPINNER);
        let elements = [
            spinner("one", "priority=\"5\" budget=\"40000\""),
            spinner("two", "priority=\"5\" budget=\"20000\""),
            spinner("three", "priority=\"5\" budget=\"20000\""),
            spinner("lower", "priority=\"4\""),
        ];
        system(world, &elements.concat());
        let running = begin(world, "microkit", &["one", "two", "three"]);
        let shares = Shares::of(&running, ["one", "two", "three", "lower"]);
        end(running);
        shares.are_about([0.5, 0.25, 0.25, 0.0]);
        assert_eq!(shares.ran[3], 0.0);
    });
}

#[test]
fn budgets_are_kept() {
    everywhere(|world, schedule| {
        program(world, "spinner", SPINNER);
        let elements = [
            spinner("a", "priority=\"9\" budget=\"3000\" period=\"10000\""),
            spinner("b", "priority=\"8\" budget=\"400\" period=\"2000\""),
        ];
        system(world, &elements.concat());
        let running = begin(world, schedule, &["a", "b"]);
        let shares = Shares::of(&running, ["a", "b"]);
        end(running);
        shares.are_about([0.3, 0.2]);
    });
}

/// Who has spent a budget leaves the CPU to the others, and takes it back when the next period begins.
#[test]
fn what_budgets_leave_goes_to_the_others() {
    for_each_user(|world| {
        program(world, "spinner", SPINNER);
        let elements = [
            spinner("first", "priority=\"9\" budget=\"8000\" period=\"20000\""),
            spinner("second", "priority=\"8\" budget=\"5000\" period=\"20000\""),
            spinner("rest", "priority=\"1\""),
        ];
        system(world, &elements.concat());
        let running = begin(world, "microkit", &["first", "second", "rest"]);
        let shares = Shares::of(&running, ["first", "second", "rest"]);
        end(running);
        shares.are_about([0.4, 0.25, 0.35]);
    });
}

#[test]
fn domains_run_by_their_schedule_and_one_at_a_time() {
    everywhere(|world, schedule| {
        program(world, "spinner", SPINNER);
        let elements = [
            "<domains><domain name=\"x\" id=\"3\"/><domain name=\"y\" id=\"0\"/><domain name=\"never\" id=\"1\"/>\
             <domain_schedule><schedule_entry domain=\"x\" duration=\"30000 us\"/><schedule_entry domain=\"y\" duration=\"10000 us\"/>\
             </domain_schedule></domains>\n"
                .to_owned(),
            spinner("one", "domain=\"x\" priority=\"1\""),
            spinner("two", "domain=\"y\" priority=\"9\""),
            spinner("three", "domain=\"never\" priority=\"200\""),
        ];
        system(world, &elements.concat());
        let running = begin(world, schedule, &["one", "two"]);
        let shares = Shares::of(&running, ["one", "two", "three"]);
        end(running);
        shares.are_about([0.75, 0.25, 0.0]);
        assert_eq!(shares.ran[2], 0.0);
    });
}

/// A PD that waits for somebody to read what it prints has the CPU and does not use it: its equals go on.
#[test]
fn a_stalled_console_stalls_no_equal() {
    for_each_user(|world| {
        program(
            world,
            "talker",
            "void init(void) { for (;;) puts(\"and so on and so on and so on\"); }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        program(
            world,
            "worker",
            "volatile uint64_t *board;\nvoid init(void) { for (;;) ++*board; }\nvoid notified(microkit_channel ch) { (void)ch; }\n",
        );
        let elements = [
            "<memory_region name=\"board\" size=\"0x1000\"/>\n".to_owned(),
            pd("talker", "priority=\"5\"", ""),
            pd(
                "worker",
                "priority=\"5\"",
                "<map mr=\"board\" vaddr=\"0x5000000\" setvar_vaddr=\"board\"/>\n",
            ),
        ];
        system(world, &elements.concat());
        let (nobody_reads, stdout) = std::io::pipe().unwrap();
        let mut command = world.command();
        command.args(["run", "x.system", "--schedule", "microkit"]);
        let mut running = Running::start_into(command, stdout.into());
        let deadline = Instant::now() + Duration::from_secs(30);
        let wait_for_work = |running: &Running, beyond: u64| {
            while running.pds().len() < 2 || words_of_region(running, "board") <= [beyond] {
                assert!(Instant::now() < deadline, "the worker stands still at {beyond}");
                std::thread::yield_now();
            }
        };
        wait_for_work(&running, 0);
        for _ in 0..5 {
            running.wait_for_state("talker", 'S');
            let [before] = words_of_region(&running, "board");
            wait_for_work(&running, before);
        }
        drop(nobody_reads);
        running.signal(Signal::SIGTERM);
        running.wait();
    });
}

/// Seven PDs of mixed priorities, equals among them, in two families, that ring and call each other in every direction.
#[test]
fn the_same_system_gives_the_same_transcript_every_time() {
    for_each_user(|world| {
        program(
            world,
            "node",
            r#"
            static unsigned events;
            static int begun;
            static void on(const char *what, unsigned id) {
                printf("%s %u, event %u\n", what, id, ++events);
                for (microkit_channel ch = 0; ch < 8 && events < 12; ch++) {
                    if (microkit_notifications >> ch & 1) {
                        printf("rings %u\n", ch);
                        microkit_notify(ch);
                    }
                    if (microkit_pps >> ch & 1) {
                        microkit_mr_set(0, events);
                        (void)microkit_ppcall(ch, microkit_msginfo_new(0, 1));
                        printf("%u answers %lu\n", ch, microkit_mr_get(0));
                    }
                }
                if (events == 7 && microkit_name[0] == 'c') __builtin_trap();
            }
            void init(void) { on("begins", (unsigned)begun++); }
            void notified(microkit_channel ch) { on("hears", ch); }
            microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) {
                printf("serves %u\n", ch);
                microkit_mr_set(0, microkit_mr_get(0) + 100);
                if (events < 5) microkit_notify(0);
                return info;
            }
            seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply) {
                (void)info; (void)reply;
                printf("restarts %u\n", child);
                microkit_pd_restart(child, 0);
                return seL4_False;
            }
            "#,
        );
        let node = |name: &str, priority: u8, more: &str, inside: &str| {
            pd_from(name, "node", &format!("priority=\"{priority}\" {more}"), inside)
        };
        let elements = [
            node("a", 5, "", &node("child1", 5, "id=\"1\"", "")),
            node("b", 5, "", &node("child2", 9, "id=\"2\"", "")),
            node("d", 2, "", ""),
            node("e", 5, "", ""),
            node("f", 200, "", ""),
            channel(("a", 0, ""), ("b", 0, "")),
            channel(("a", 1, ""), ("child1", 0, "")),
            channel(("b", 1, ""), ("child2", 0, "")),
            channel(("child1", 1, ""), ("child2", 1, "")),
            channel(("d", 0, ""), ("a", 2, "")),
            channel(("e", 0, ""), ("d", 1, "")),
            channel(("f", 0, ""), ("e", 1, "")),
            channel(("d", 2, PP), ("f", 1, "notify=\"false\"")),
            channel(("a", 3, PP), ("child2", 2, "notify=\"false\"")),
            channel(("e", 2, PP), ("f", 2, "notify=\"false\"")),
        ];
        system(world, &elements.concat());
        let first = run(world, "microkit");
        first.expect(0);
        let count = |word: &str| first.stdout.lines().filter(|line| line.contains(word)).count();
        assert!(count("rings") > 20 && count("serves") > 5 && count("restarts") == 2, "{first}");
        for _ in 1..20 {
            let outcome = run(world, "microkit");
            outcome.expect(0);
            assert!(outcome.stdout == first.stdout, "not always the same:\n{first}\n{outcome}");
        }
    });
}
