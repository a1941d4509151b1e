//! Microkit's semantics beyond messages: faults and their parents, control of children, shared capabilities, schedules; under both
//! schedules, as every kind of user.

#[path = "../common/mod.rs"]
mod common;

mod capabilities;
mod control;
mod endurance;
mod family;
mod faults;
mod host;
mod hostile;
mod order;
mod passive;
mod random;
mod scheduling;
mod storm;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::sys::signal::Signal;

use common::{Outcome, Running, World, for_each_user};

/// What nearly every program begins with.
const HEADERS: &str = "\
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
";

/// Who decides when PDs run.
const SCHEDULES: [&str; 2] = ["linux", "microkit"];

/// Runs a test once for each user under each schedule, each in its own world.
fn everywhere(test: impl Fn(&World, &str)) {
    for schedule in SCHEDULES {
        // Shown only when the test fails.
        eprintln!("--- schedule {schedule}");
        for_each_user(|world| test(world, schedule));
    }
}

/// Compiles C behind the usual headers, with neither inlining nor other surprises.
fn program(world: &World, name: &str, code: &str) {
    world.program_with(name, &format!("{HEADERS}{code}"), &["-O1"]);
}

/// Writes `x.system`.
fn system(world: &World, elements: &str) {
    world.system("x.system", &format!("<system>\n{elements}</system>\n"));
}

/// A PD from the image of its name, with these attributes and these elements in it.
fn pd(name: &str, attributes: &str, inside: &str) -> String {
    pd_from(name, name, attributes, inside)
}

/// A PD from another image.
fn pd_from(name: &str, image: &str, attributes: &str, inside: &str) -> String {
    format!(
        "<protection_domain name=\"{name}\" {attributes}><program_image path=\"{image}.elf\"/>\n{inside}</protection_domain>\n"
    )
}

/// A channel between PD and id, with further attributes, and another.
fn channel(one: (&str, u8, &str), other: (&str, u8, &str)) -> String {
    let end = |(pd, id, more): (&str, u8, &str)| format!("<end pd=\"{pd}\" id=\"{id}\" {more}/>");
    format!("<channel>{}{}</channel>\n", end(one), end(other))
}

/// Makes an end a calling one.
const PP: &str = "pp=\"true\"";

/// The arguments of a run of `x.system` until nothing can run, with a limit that only a run which hangs reaches.
const RUN: [&str; 6] = ["run", "--until-idle", "--timeout", "100", "x.system", "--schedule"];

/// Runs `x.system` until nothing can run.
fn run(world: &World, schedule: &str) -> Outcome {
    run_with(world, schedule, &[])
}

/// [`run`] with further arguments.
fn run_with(world: &World, schedule: &str, more: &[&str]) -> Outcome {
    world.run(&[&RUN, &[schedule][..], more].concat())
}

/// Starts `x.system`, to be ended by a signal.
fn start(world: &World, schedule: &str, more: &[&str]) -> Running {
    world.start(&[&["run", "x.system", "--schedule", schedule][..], more].concat())
}

/// Asks it to end, and waits.
fn end_of(running: Running) -> Outcome {
    running.signal(Signal::SIGTERM);
    running.wait()
}

/// The first words of a memory region, through the launcher's descriptor of it.
fn words_of_region<const N: usize>(running: &Running, region: &str) -> [u64; N] {
    for entry in fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().flatten() {
        let name = fs::read_link(entry.path()).unwrap_or_default();
        if name.to_string_lossy().contains(region) {
            let file = File::open(entry.path()).unwrap();
            return std::array::from_fn(|index| {
                let mut word = [0; 8];
                file.read_exact_at(&mut word, 8 * index as u64).unwrap();
                u64::from_le_bytes(word)
            });
        }
    }
    panic!("the launcher holds no region `{region}`");
}
