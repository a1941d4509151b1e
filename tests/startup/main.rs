//! What is left when the start of a system fails or is cut off, and what a PD is on its way: this program is launcher and PD host
//! itself, through the library, with a seam of its own that the shipped binary does not have.

#[path = "../common/mod.rs"]
mod common;

mod board;
mod cases;
mod early;
mod fail;
mod hold;
mod kill;
mod look;
mod newborn;
mod seam;
mod shipped;
mod stage;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Parser;
use mk_sandbox::cli::RunArgs;
use mk_sandbox::commands::run;
use mk_sandbox::pd;
use mk_sandbox::pd::Seam;

use cases::Cases;
use seam::TestSeam;

/// First argument of this program when it is the launcher; the second is the seam's, the others those of `mk-sandbox run`.
const LAUNCHER: &str = "--launcher";

/// The launcher's exit code when it leaves descriptors open: one that no run has.
const LEAKED: u8 = 99;

#[derive(Parser)]
struct Launcher {
    seam: String,
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    pd::entry::<TestSeam>();
    let mut arguments = std::env::args().peekable();
    if arguments.next_if(|_| true).is_some() && arguments.peek().is_some_and(|first| first == LAUNCHER) {
        return launch(&Launcher::parse_from(arguments));
    }
    // cargo's own options say nothing to this program; a word selects the cases that have it in their names.
    let wanted = arguments.find(|word| !word.starts_with('-'));
    let mut cases = Cases::new(wanted);
    shipped::cases(&mut cases);
    for user in common::users() {
        let stage = stage::Stage::new(user);
        fail::cases(&mut cases, &stage);
        look::cases(&mut cases, &stage);
        hold::cases(&mut cases, &stage);
        newborn::cases(&mut cases, &stage);
        early::cases(&mut cases, &stage);
        kill::cases(&mut cases, &stage);
    }
    cases.finish()
}

fn launch(launcher: &Launcher) -> ExitCode {
    let seam = TestSeam::from_argument(&launcher.seam);
    let before = descriptors();
    let exit = run::run(&launcher.run, run::early([], &seam), &seam);
    let after = descriptors();
    if before == after {
        return exit.into();
    }
    eprintln!("descriptors before the run: {before:?}, after it: {after:?}");
    LEAKED.into()
}

/// Every open descriptor of this process. Asked one by one: after the run, this process can open no directory.
fn descriptors() -> BTreeSet<i32> {
    /// Above all that are used here.
    const MOST: i32 = 1024;
    // SAFETY: F_GETFD takes a number, and a closed one is an error.
    (0..MOST).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1).collect()
}
