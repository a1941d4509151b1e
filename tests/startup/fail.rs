//! Each step made to fail, in the first and in the last PD: the run says which PD, which step and why, no PD has run, and nothing
//! is left.

#![forbid(unsafe_code)]

use mk_sandbox::exit::Exit;
use mk_sandbox::pd::Step;
use nix::errno::Errno;

use crate::cases::Cases;
use crate::seam::Act;
use crate::stage::{PDS, Stage};

/// Errors that no part of the start answers otherwise, with the exit code each stands for: a host that lacks something, and a failure
/// that says nothing about the host.
const ERRORS: [(Errno, Exit); 2] = [(Errno::ENOSYS, Exit::Host), (Errno::EIO, Exit::Internal)];

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    for (pd, (errno, exit)) in [PDS[0], PDS[2]].into_iter().zip(ERRORS) {
        for step in Step::ALL {
            let name = format!("{}: {step:?} fails in `{pd}` with {errno:?}", stage.user());
            cases.case(&name, || fails(stage, step, pd, errno, exit));
        }
    }
    let name = format!("{}: without a failure the same system runs", stage.user());
    cases.case(&name, || runs(stage));
}

fn fails(stage: &Stage, step: Step, pd: &str, errno: Errno, exit: Exit) -> String {
    let before = stage.before();
    let outcome = before.ends_clean(stage.start(&Act::Fail(step, errno), pd, "-".as_ref()));
    let words =
        format!("PD `{pd}`: failed while {} (step {step:?}, {errno:?}: {})", step.doing(), errno.desc());
    outcome.expect(i32::from(exit as u8)).says(&words);
    assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
    format!("exit code {}, {words}", exit as u8)
}

/// The control: it is the seam that makes the others fail.
fn runs(stage: &Stage) -> String {
    let before = stage.before();
    let mut running = stage.start(&Act::Nothing, "-", "-".as_ref());
    for pd in PDS {
        running.wait_for_stdout(&format!("{pd} | constructed\n"));
        running.wait_for_stdout(&format!("{pd} | ready\n"));
    }
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let outcome = before.ends_clean(running);
    outcome.expect(0);
    "every PD has run".into()
}
