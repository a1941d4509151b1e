//! The first PD's process, which waits while the launcher has not yet read its file. The file is a pipe here, so that the launcher stands
//! there for as long as a case wants: it is killed, or asked to end, or told what is no system, or one of its processes is ended.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getsid, mkfifo};

use crate::cases::Cases;
use crate::common::{Outcome, Running};
use crate::stage::{Before, PDS, Stage};

/// Far beyond what it takes to make two processes.
const LIMIT: Duration = Duration::from_secs(60);

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    let user = stage.user();
    let pipe = stage.path("pipe.system");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    stage.give(&pipe);
    let system = fs::read_to_string(stage.path("three.system")).unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        cases.case(&format!("{user}: launcher ended by {signal}, its file not read"), || {
            let waiting = Waiting::new(stage, &pipe);
            waiting.running.signal(signal);
            let outcome = waiting.before.dies_clean(waiting.running);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (None, ""), "{outcome}");
            "nothing is left".into()
        });
    }
    cases.case(&format!("{user}: the file is no system"), || {
        let outcome = Waiting::new(stage, &pipe).read("no system", |_| {});
        outcome.expect(3);
        assert_eq!(outcome.stdout, "", "{outcome}");
        "nothing is left".into()
    });
    cases.case(&format!("{user}: an image of the system is not there"), || {
        let outcome = Waiting::new(stage, &pipe).read(&system.replace("pd.elf", "none.elf"), |_| {});
        outcome.expect(3).says("image `none.elf` of PD `first` is not found");
        "nothing is left".into()
    });
    cases.case(&format!("{user}: the process that waited is the first PD"), || {
        let waiting = Waiting::new(stage, &pipe);
        let first = waiting.first;
        let outcome = waiting.read(&system, |running| {
            for pd in PDS {
                running.wait_for_stdout(&format!("{pd} | ready\n"));
            }
            assert_eq!(running.pd(PDS[0]), first);
            for (pd, pid) in running.pds() {
                assert_eq!(cpus(pid), cpus(Pid::this()), "`{pd}` may run on fewer CPUs than who starts it");
            }
            running.signal(Signal::SIGTERM);
        });
        outcome.expect(0);
        "every PD has run".into()
    });
    cases.case(&format!("{user}: that process is killed before it is known which PD it is"), || {
        let waiting = Waiting::new(stage, &pipe);
        kill(waiting.first, Signal::SIGKILL).unwrap();
        // Until it has ended it can still be traced, and its end is told later.
        wait_for_end(waiting.first);
        let outcome = waiting.read(&system, |_| {});
        let words = format!("PD `{}`: failed while becoming its tracer (step Trace, ECHILD", PDS[0]);
        outcome.expect(5).says(&words).says("ended by SIGKILL");
        assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
        "the run fails and names it, nothing is left".into()
    });
    cases.case(&format!("{user}: who clones the others is killed before they are known"), || {
        let waiting = Waiting::new(stage, &pipe);
        kill(waiting.leader, Signal::SIGKILL).unwrap();
        wait_for_end(waiting.leader);
        let outcome = waiting.read(&system, |_| {});
        outcome.expect(5).says("failed while creating its process and namespaces (step Clone, ECHILD");
        assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
        "the run fails, nothing is left".into()
    });
}

/// It is killed, and nobody takes it in.
fn wait_for_end(pid: Pid) {
    while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
}

fn cpus(pid: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned()
}

/// A launcher that waits for its file, with all the processes it has then.
struct Waiting<'a> {
    before: Before<'a>,
    running: Running,
    pipe: &'a Path,
    leader: Pid,
    first: Pid,
}

impl<'a> Waiting<'a> {
    fn new(stage: &'a Stage, pipe: &'a PathBuf) -> Self {
        let before = stage.before();
        let running = Running::start(stage.shipped_with(&["run", "pipe.system"]));
        let children = format!("/proc/{0}/task/{0}/children", running.pid());
        let deadline = Instant::now() + LIMIT;
        loop {
            let list = fs::read_to_string(&children).unwrap();
            let pids = list.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()));
            let leads = |pid: &Pid| getsid(Some(*pid)) == Ok(*pid);
            let (leaders, others): (Vec<Pid>, Vec<Pid>) = pids.partition(leads);
            if let ([leader], [first]) = (&leaders[..], &others[..]) {
                return Self { before, running, pipe, leader: *leader, first: *first };
            }
            assert!(Instant::now() < deadline, "the launcher has these children: {leaders:?}, {others:?}");
            std::thread::yield_now();
        }
    }

    /// Lets it read this, then does something until it ends, orderly.
    fn read(self, text: &str, then: impl FnOnce(&mut Running)) -> Outcome {
        let Self { before, mut running, pipe, .. } = self;
        // It is alive, so it opens the other end or has.
        fs::write(pipe, text).unwrap();
        then(&mut running);
        before.ends_clean(running)
    }
}
