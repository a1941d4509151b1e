//! The measurements. Each adds one value to each of its results; the main loop repeats them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::harness::{BenchError, Harness, Line, Parameters};
use super::largest::{LARGEST, largest_system};
use super::statistics::median;
use super::table::Results;
use super::{FLOORS, bubblewrap, inspect, system};
use crate::diagnostic::Source;
use crate::plan::{self, Plan};
use crate::policy::{Filters, PlanValues};
use crate::sdf;
use crate::sys::floor::{self, Placement, RING, Via};

/// Which CPUs a system may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// All that this process may use, as by default.
    Free,
    /// The first of them.
    One,
}

/// How long a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// To see that nothing is far off.
    Quick,
    /// For figures that are shown.
    Full,
}

impl Size {
    fn of(self, quick: u64) -> u64 {
        match self {
            Self::Quick => quick,
            Self::Full => quick * 5,
        }
    }
}

/// A measurement.
pub(super) struct Step {
    /// For whoever waits.
    pub what: &'static str,
    /// What it adds to.
    pub results: &'static [&'static str],
    /// Means nothing where there is only one.
    pub needs_two_cpus: bool,
    pub measure: fn(&Harness, Size, &mut Results) -> Result<(), BenchError>,
}

/// Measured in every repetition.
pub(super) const STEPS: &[Step] = &[
    Step {
        what: "calls and notifications, two CPUs",
        results: &["call 4", "call 120", "notify"],
        needs_two_cpus: true,
        measure: |harness, size, results| {
            harness
                .calls(Cpus::Free, 1, size)
                .map(|times| times.add(["call 4", "call 120", "notify"], results))
        },
    },
    Step {
        what: "calls and notifications, two CPUs, 62 channels",
        results: &["call 4, 62 channels", "notify, 62 channels"],
        needs_two_cpus: true,
        measure: |harness, size, results| {
            let names = ["call 4, 62 channels", "call 120, 62 channels", "notify, 62 channels"];
            harness.calls(Cpus::Free, 62, size).map(|times| times.add(names, results))
        },
    },
    Step {
        what: "calls and notifications, one CPU",
        results: &["call 4, one CPU", "notify, one CPU"],
        needs_two_cpus: false,
        measure: |harness, size, results| {
            let names = ["call 4, one CPU", "call 120, one CPU", "notify, one CPU"];
            harness.calls(Cpus::One, 1, size).map(|times| times.add(names, results))
        },
    },
    Step {
        what: "a notification to a busy PD",
        results: &["notify busy"],
        needs_two_cpus: true,
        measure: notify_busy,
    },
    Step {
        what: "a notification to a sleeping PD",
        results: &["notify sleeper", "futex wake-up"],
        needs_two_cpus: true,
        measure: notify_sleeper,
    },
    Step { what: "64 KiB through a ring", results: &["ring", "copy"], needs_two_cpus: true, measure: ring },
    Step {
        what: "63 PDs at random",
        results: &["crowd", "pair", "crowd, least", "pipes, 63", "pipes, 2"],
        needs_two_cpus: false,
        measure: crowd,
    },
    Step {
        what: "the start of a PD",
        results: &["start 1", "bubblewrap 1"],
        needs_two_cpus: false,
        measure: start_one,
    },
    Step {
        what: "the start of 63 PDs",
        results: &["start 63", "bubblewrap 63"],
        needs_two_cpus: false,
        measure: start_many,
    },
    Step {
        what: "the restart of a PD",
        results: &["restart", "start of a PD"],
        needs_two_cpus: false,
        measure: restart,
    },
    Step {
        what: "reading and planning the largest system",
        results: &["largest", "largest, growth"],
        needs_two_cpus: false,
        measure: |_, _, results| {
            largest(results);
            Ok(())
        },
    },
    Step {
        what: "messages of 120 words, both spin",
        results: &["spin, 120 words"],
        needs_two_cpus: true,
        measure: |harness, size, results| {
            let cycles = floor::message_round_trip(120, size.of(4000) as u32)
                .map_err(BenchError::host("floor 120 words"))?;
            results.add("spin, 120 words", harness.nanoseconds(cycles));
            Ok(())
        },
    },
    Step { what: "the filter", results: &["filter"], needs_two_cpus: false, measure: filter },
];

/// Measured once, since it takes long and is no time.
pub(super) const LONG: Step = Step {
    what: "63 PDs that have nothing to do",
    results: &["memory PD", "memory launcher", "idle switches", "idle ticks"],
    needs_two_cpus: false,
    measure: idle,
};

/// Nanoseconds of the round trips between two PDs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallTimes {
    /// Call and reply with 4 message registers.
    pub few: f64,
    /// Call and reply with 120.
    pub many: f64,
    /// A notification there and one back.
    pub notify: f64,
}

impl CallTimes {
    fn add(self, names: [&'static str; 3], results: &mut Results) {
        for (name, time) in names.into_iter().zip([self.few, self.many, self.notify]) {
            results.add(name, time);
        }
    }
}

/// How a crowd did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    /// Turns of all PDs a second.
    pub turns: f64,
    /// Turns of the PD that had the fewest, over the mean.
    pub least: f64,
}

/// Batches that a measuring PD prints in one run; the run's value is their median.
const BATCHES: u64 = 5;

/// Rest before a wake-up: several times the longest spin of a PD, so that the sleeper sleeps.
const REST: Duration = Duration::from_micros(400);

impl Harness {
    /// Round trips between two PDs, the called one with this many channels (1 to 62).
    ///
    /// # Errors
    /// The system does not run.
    pub fn calls(&self, cpus: Cpus, channels: usize, size: Size) -> Result<CallTimes, BenchError> {
        let rounds = match cpus {
            Cpus::Free => size.of(4000),
            Cpus::One => size.of(1000),
        };
        let parameters = Parameters { batches: BATCHES, rounds, cycles: 0 };
        let lines = self.run("call", &system::call(channels), parameters, cpus, 1)?;
        let time = |word| self.median_of(&lines, word) / rounds as f64;
        Ok(CallTimes { few: time("few"), many: time("many"), notify: time("notify") })
    }

    /// Turns of `count` PDs that call and notify at random.
    ///
    /// # Errors
    /// The system does not run.
    pub fn crowd(&self, count: usize, cpus: Cpus, size: Size) -> Result<Crowd, BenchError> {
        let seconds = 0.1 * size.of(1) as f64;
        let parameters = Parameters { cycles: self.cycles(seconds), ..Parameters::default() };
        let lines = self.run("crowd", &system::crowd(count), parameters, cpus, count)?;
        let mut turns: BTreeMap<&str, u64> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.word == "turns") {
            *turns.entry(&line.pd).or_default() += line.number;
        }
        let total: u64 = turns.values().sum();
        let least = turns.values().copied().min().unwrap_or(0);
        // On a busy host the end is late: what counts is the time there was.
        let times =
            |word: &'static str| lines.iter().filter(move |line| line.word == word).map(|line| line.number);
        let (began, ended) = (times("began").min().unwrap_or(0), times("ended").max().unwrap_or(0));
        let seconds = self.nanoseconds(ended.saturating_sub(began).max(1) as f64) / 1e9;
        Ok(Crowd { turns: total as f64 / seconds, least: least as f64 * count as f64 / total.max(1) as f64 })
    }

    /// Milliseconds from the start of `mk-sandbox run` to the `init` of the last of `count` PDs.
    ///
    /// # Errors
    /// The system does not run.
    pub fn start_time(&self, count: usize) -> Result<f64, BenchError> {
        self.time_to_init(&system::idle(count), count)
    }

    /// Milliseconds from the start of `mk-sandbox run` to the `init` of a PD that maps this many regions.
    ///
    /// # Errors
    /// The system does not run.
    pub fn start_time_with_regions(&self, regions: usize) -> Result<f64, BenchError> {
        self.time_to_init(&system::regions(regions), 1)
    }

    fn time_to_init(&self, text: &str, count: usize) -> Result<f64, BenchError> {
        let mut running = self.start("idle", text, Parameters::default(), Cpus::Free)?;
        let lines = running.read_until("init", count)?;
        let last = lines.iter().map(|line| line.number).max().unwrap_or(0);
        Ok(self.nanoseconds(last.saturating_sub(running.started) as f64) / 1e6)
    }

    /// Median of what was printed with this word, in nanoseconds.
    fn median_of(&self, lines: &[Line], word: &str) -> f64 {
        let values: Vec<f64> =
            lines.iter().filter(|line| line.word == word).map(|line| line.number as f64).collect();
        self.nanoseconds(median(&values).unwrap_or(f64::NAN))
    }
}

/// The floor round trips that are wanted, in nanoseconds.
pub(super) fn floors(
    harness: &Harness,
    size: Size,
    two_cpus: bool,
    wants: &dyn Fn(&str) -> bool,
    results: &mut Results,
) -> Result<(), BenchError> {
    for (name, via, placement) in FLOORS.into_iter().filter(|(name, ..)| wants(name)) {
        // One that spins needs a CPU for each.
        if !two_cpus && (placement == Placement::TwoCpus || via == Via::Spin) {
            continue;
        }
        let rounds = if via == Via::Spin { size.of(20_000) } else { size.of(1000) };
        let cycles = floor::round_trip(via, placement, rounds as u32)
            .map_err(BenchError::host(format!("floor {name}")))?;
        results.add(name, harness.nanoseconds(cycles));
    }
    Ok(())
}

fn notify_busy(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    let rounds = size.of(100_000);
    let parameters = Parameters { batches: BATCHES, rounds, cycles: 0 };
    let lines = harness.run("notify_busy", &system::notify("ringer", "busy"), parameters, Cpus::Free, 1)?;
    results.add("notify busy", harness.median_of(&lines, "busy") / rounds as f64);
    Ok(())
}

fn notify_sleeper(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    let (rounds, pause) = (size.of(100), harness.cycles(REST.as_secs_f64()));
    let wakes = floor::wake_up(Placement::Unpinned, rounds as u32, pause)
        .map_err(BenchError::host("floor futex wake-up"))?;
    let wakes: Vec<f64> = wakes.into_iter().map(|cycles| cycles as f64).collect();
    results.add("futex wake-up", harness.nanoseconds(median(&wakes).unwrap_or(f64::NAN)));
    let parameters = Parameters { batches: 1, rounds, cycles: pause };
    let lines =
        harness.run("notify_sleeper", &system::notify("waker", "sleeper"), parameters, Cpus::Free, 1)?;
    results.add("notify sleeper", harness.median_of(&lines, "sleeper"));
    Ok(())
}

fn ring(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    let messages = size.of(400);
    let gigabytes_a_second = |nanoseconds: f64| (messages * RING.0 as u64) as f64 / nanoseconds;
    let copies: Vec<f64> = (0..BATCHES)
        .map(|_| floor::copy_through_ring(messages).map(|cycles| cycles as f64))
        .collect::<Result<_, _>>()
        .map_err(BenchError::host("floor copy"))?;
    let copy = harness.nanoseconds(median(&copies).unwrap_or(f64::NAN));
    results.add("copy", gigabytes_a_second(copy));
    let parameters = Parameters { batches: BATCHES, rounds: messages, cycles: 0 };
    let lines = harness.run("ring", &system::ring(), parameters, Cpus::Free, 1)?;
    results.add("ring", gigabytes_a_second(harness.median_of(&lines, "ring")));
    Ok(())
}

fn crowd(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    const PDS: usize = 63;
    let cpus = floor::cpus().map_or(1, |cpus| cpus.len().max(1)) as f64;
    let span = Duration::from_millis(size.of(60));
    let pipes = |count, placement| {
        floor::crowd(count, placement, span).map_err(BenchError::host(format!("floor {count} pipes")))
    };
    results.add("pipes, 2", pipes(2, Placement::OneCpu)?);
    results.add("pair", harness.crowd(2, Cpus::One, size)?.turns);
    results.add("pipes, 63", pipes(PDS, Placement::Unpinned)? / cpus);
    let crowd = harness.crowd(PDS, Cpus::Free, size)?;
    results.add("crowd", crowd.turns / cpus);
    results.add("crowd, least", crowd.least);
    Ok(())
}

fn start_one(harness: &Harness, _: Size, results: &mut Results) -> Result<(), BenchError> {
    // One of each is a few milliseconds, so each repetition has several, in turn.
    const TIMES: usize = 7;
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..TIMES {
        theirs.extend(bubblewrap(1).map(milliseconds));
        ours.push(harness.start_time(1)?);
    }
    results.add("start 1", median(&ours).unwrap_or(f64::NAN));
    if let Some(theirs) = median(&theirs) {
        results.add("bubblewrap 1", theirs);
    }
    Ok(())
}

fn start_many(harness: &Harness, _: Size, results: &mut Results) -> Result<(), BenchError> {
    const PDS: u32 = 63;
    results.add("start 63", harness.start_time(PDS as usize)?);
    if let Some(theirs) = bubblewrap(PDS) {
        results.add("bubblewrap 63", milliseconds(theirs));
    }
    Ok(())
}

/// A child that crashes and is started again by its parent, beside the start of a system of one PD.
fn restart(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    let parameters = Parameters { rounds: size.of(20), ..Parameters::default() };
    let lines = harness.run("restart", &system::restart(), parameters, Cpus::Free, 1)?;
    results.add("restart", harness.median_of(&lines, "restart") / 1e6);
    results.add("start of a PD", harness.start_time(1)?);
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Milliseconds to read, judge and plan the largest system, and how much more a byte of its text costs than one of a system with a
/// quarter of the channels and regions.
fn largest(results: &mut Results) {
    let (pds, _, regions) = LARGEST;
    const TIMES: usize = 3;
    let time = |pds: usize, regions: usize| {
        let text = largest_system(pds, regions);
        let size = text.len();
        let source = Source { path: "largest.system".into(), text };
        let options = sdf::Options { search_path: Vec::new(), arch: sdf::Arch::default(), cpus: 1 };
        let times: Vec<f64> = (0..TIMES)
            .map(|_| {
                let start = Instant::now();
                let planned = sdf::load(&source, &options).ok().map(|(system, _)| {
                    let heap_size = plan::DEFAULT_HEAP_SIZE;
                    Plan::of(&system, &plan::Options { heap_size, cpus: 1, allow_wx: false })
                });
                let took = start.elapsed().as_secs_f64() * 1e3;
                drop(black_box(planned));
                took
            })
            .collect();
        let took = median(&times).unwrap_or(f64::NAN);
        (took, took / size as f64)
    };
    let (whole, whole_per_byte) = time(pds, regions);
    let (_, quarter_per_byte) = time(pds / 2, regions / 4);
    results.add("largest", whole);
    results.add("largest, growth", whole_per_byte / quarter_per_byte);
}

fn filter(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    let filters = Filters::compile(std::env::consts::ARCH, &PlanValues::new()).map_err(|error| {
        BenchError::Host { what: "compiling the filters".into(), source: std::io::Error::other(error) }
    })?;
    let words: Vec<Vec<u64>> =
        filters.loading.into_iter().chain(filters.running).map(|program| program.words).collect();
    let (without, with) = floor::filtered_call(&words, size.of(50_000) as u32)
        .map_err(BenchError::host("floor system call"))?;
    results.add("system call", harness.nanoseconds(without));
    results.add("filter", harness.nanoseconds(with - without));
    Ok(())
}

fn idle(harness: &Harness, size: Size, results: &mut Results) -> Result<(), BenchError> {
    const PDS: usize = 63;
    let io = |source| BenchError::Host { what: "inspecting the idle system".into(), source };
    let mut running = harness.start("idle", &system::idle(PDS), Parameters::default(), Cpus::Free)?;
    running.read_until("init", PDS)?;
    let pids = inspect::children(running.launcher()).map_err(io)?;
    let all = || pids.iter().copied().chain([running.launcher()]);
    let ran = || -> std::io::Result<(u64, u64)> {
        let each: Vec<_> = all().map(inspect::ran).collect::<Result<_, _>>()?;
        Ok((each.iter().map(|ran| ran.ticks).sum(), each.iter().map(|ran| ran.switches).sum()))
    };
    // The last has printed its line, and may still be on its way to sleep.
    std::thread::sleep(Duration::from_millis(200));
    let before = ran().map_err(io)?;
    std::thread::sleep(Duration::from_secs(size.of(2)));
    let after = ran().map_err(io)?;
    results.add("idle ticks", (after.0 - before.0) as f64);
    results.add("idle switches", (after.1 - before.1) as f64);
    let memory: Vec<inspect::Memory> =
        pids.iter().copied().map(inspect::memory).collect::<Result<_, _>>().map_err(io)?;
    let mean =
        memory.iter().map(|memory| memory.proportional).sum::<u64>() as f64 / memory.len().max(1) as f64;
    results.add("memory PD", mean);
    let launcher = inspect::memory(running.launcher()).map_err(io)?;
    results.add("memory launcher", launcher.resident as f64);
    Ok(())
}
