//! A start that is cut off while a PD stands at a step: the launcher is killed there, or asked to end, or the PD is killed.
//! Each time nothing is left.

#![forbid(unsafe_code)]

use mk_sandbox::pd::Step;
use nix::sys::signal::{Signal, kill};

use crate::board::Board;
use crate::cases::Cases;
use crate::common::Running;
use crate::seam::{Act, REACHED};
use crate::stage::{Before, PDS, Stage};

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    for step in Step::ALL {
        for pd in [PDS[0], PDS[2]] {
            let name = format!("{}: launcher killed, `{pd}` before {step:?}", stage.user());
            cases.case(&name, || {
                let (before, running) = held(stage, step, pd);
                running.signal(Signal::SIGKILL);
                let outcome = before.dies_clean(running);
                assert_eq!((outcome.code, outcome.stdout.as_str()), (None, ""), "{outcome}");
                "nothing is left".into()
            });
        }
        if step < Step::Handoff {
            // The launcher's own steps: there it does not listen, and there is no PD host yet.
            continue;
        }
        let name = format!("{}: launcher asked to end, `{}` before {step:?}", stage.user(), PDS[1]);
        cases.case(&name, || {
            let (before, running) = held(stage, step, PDS[1]);
            running.signal(Signal::SIGTERM);
            let outcome = before.ends_clean(running);
            outcome.expect(0).says("interrupted while starting");
            assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
            "nothing is left".into()
        });
        let name = format!("{}: PD killed, `{}` before {step:?}", stage.user(), PDS[1]);
        cases.case(&name, || {
            let (before, running) = held(stage, step, PDS[1]);
            kill(running.pd(PDS[1]), Signal::SIGKILL).unwrap();
            let outcome = before.ends_clean(running);
            outcome.expect(5).says(&format!("PD `{}`: failed while", PDS[1])).says("ended by SIGKILL");
            assert_eq!(outcome.stdout, "", "a PD has run: {outcome}");
            "the run fails and names it, nothing is left".into()
        });
    }
}

/// A run in which a PD has come to a step and will not leave it.
fn held<'a>(stage: &'a Stage, step: Step, pd: &str) -> (Before<'a>, Running) {
    let path = stage.path("board");
    let board = Board::create(&path);
    let before = stage.before();
    let running = stage.start(&Act::Hold(step), pd, &path);
    board.wait_for(REACHED);
    (before, running)
}
