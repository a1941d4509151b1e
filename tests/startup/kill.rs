//! SIGKILL at random moments of starting and running: of the launcher, and of single PDs. The seed is printed; MK_SEED=N repeats a run
//! as far as the machine's timing allows.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cases::Cases;
use crate::common::Running;
use crate::common::random::Random;
use crate::stage::{COUNTER, PDS, Stage};

/// Moments of each kind.
const MOMENTS: usize = 50;

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    let seed = seed();
    let mut random = Random(seed);
    let user = stage.user();
    cases.case(&format!("{user}: launcher killed at {MOMENTS} random moments"), || {
        println!("       seed {seed}");
        let span = span(stage);
        let mut running_count = 0;
        for _ in 0..MOMENTS {
            let before = stage.before();
            let running = stage.start_shipped();
            std::thread::sleep(random.moment(span));
            running.signal(Signal::SIGKILL);
            let outcome = before.dies_clean(running);
            assert_eq!(outcome.code, None, "{outcome}");
            running_count += usize::from(!outcome.stdout.is_empty());
        }
        format!("nothing is left; seed {seed}, within {span:?}, {running_count} times PDs had run")
    });
    cases.case(&format!("{user}: launcher killed at {MOMENTS} random moments of starting PDs again"), || {
        let span = span(stage);
        let mut begins = 0;
        for _ in 0..MOMENTS {
            let before = stage.before();
            let mut running = stage.start_restarting();
            running.wait_for_stdout("begins");
            // The pauses before a PD is started again are 10, 20 and 40 ms at first.
            std::thread::sleep(random.moment(3 * span));
            running.signal(Signal::SIGKILL);
            let outcome = before.dies_clean(running);
            begins += outcome.stdout.matches("begins").count();
        }
        format!("nothing is left; seed {seed}, PDs have begun {begins} times")
    });
    cases.case(&format!("{user}: a PD killed at {MOMENTS} random moments of start and running"), || {
        let span = span(stage);
        let (mut starting, mut early) = (0, 0);
        for _ in 0..MOMENTS {
            let before = stage.before();
            let mut running = stage.start_shipped();
            std::thread::sleep(random.moment(span));
            let Some((name, pid)) = random.choose(running.pds().into_iter().collect()) else {
                early += 1;
                running.signal(Signal::SIGKILL);
                before.dies_clean(running);
                continue;
            };
            let _ = kill(pid, Signal::SIGKILL);
            running.wait_for_stderr(&format!("PD `{name}`"));
            running.signal(Signal::SIGTERM);
            let outcome = before.ends_clean(running);
            outcome.says("ended by SIGKILL");
            match outcome.code {
                Some(1) => {}
                Some(5) => {
                    starting += 1;
                    outcome.says(&format!("PD `{name}`: failed while"));
                    assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
                }
                _ => panic!("neither a failed start nor a fault: {outcome}"),
            }
        }
        format!("each is told and nothing is left; seed {seed}, {starting} while starting, {early} before there was one")
    });
    for victim in PDS {
        cases.case(&format!("{user}: `{victim}` killed while it runs"), || {
            one_of_many(stage, victim, &mut random)
        });
    }
}

/// The others go on, nothing of it is left, and the run's exit code tells.
fn one_of_many(stage: &Stage, victim: &str, random: &mut Random) -> String {
    let before = stage.before();
    let mut running = stage.start_shipped();
    for pd in PDS {
        running.wait_for_stdout(&format!("{pd} | ready\n"));
    }
    let pds = running.pds();
    assert_eq!(pds.len(), PDS.len(), "{pds:?}");
    std::thread::sleep(random.moment(Duration::from_millis(5)));
    kill(pds[victim], Signal::SIGKILL).unwrap();
    running.wait_for_stderr(&format!("fault: PD `{victim}`: ended by SIGKILL"));
    assert!(kill(pds[victim], None).is_err(), "`{victim}` is left as a zombie");
    for (name, pid) in pds.iter().filter(|(name, _)| *name != victim) {
        kill(*pid, None).unwrap_or_else(|errno| panic!("`{name}`: {errno}"));
    }
    let seen = if victim == PDS[2] {
        // These two ring each other without end.
        for pd in [PDS[0], PDS[1]] {
            goes_on(&running, pds[pd], pd);
        }
        "the other two go on"
    } else {
        "the other two live on"
    };
    running.signal(Signal::SIGTERM);
    before.ends_clean(running).expect(1);
    seen.into()
}

#[track_caller]
fn goes_on(_running: &Running, pid: Pid, name: &str) {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let count = || {
        let mut word = [0; 8];
        memory.read_exact_at(&mut word, COUNTER).unwrap();
        u64::from_le_bytes(word)
    };
    let (start, deadline) = (count(), Instant::now() + Duration::from_secs(20));
    while count() < start + 100 {
        assert!(Instant::now() < deadline, "`{name}` has stopped counting at {start}");
        std::thread::yield_now();
    }
}

/// From the launcher's start to well after the last PD has run, on this machine now.
fn span(stage: &Stage) -> Duration {
    let start = Instant::now();
    let mut running = stage.start_shipped();
    for pd in PDS {
        running.wait_for_stdout(&format!("{pd} | ready\n"));
    }
    let span = start.elapsed();
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
    span + span / 3
}

fn seed() -> u64 {
    let given = std::env::var("MK_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    given.unwrap_or(now.as_nanos() as u64).max(1)
}

impl Random {
    fn moment(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.next() % span.as_nanos().max(1) as u64)
    }

    fn choose<T>(&mut self, mut from: Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let index = self.next() as usize % from.len();
        Some(from.swap_remove(index))
    }
}
