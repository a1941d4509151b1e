//! Systems run by the real binary, as every kind of user.

#[path = "../common/mod.rs"]
mod common;

mod c_library;
mod calls;
mod command_line;
mod console;
mod constructors;
mod ending;
mod examples;
mod faults;
mod many;
mod memory;
mod notifications;
mod outside;

use common::{Outcome, World};

/// What nearly every program begins with.
const HEADERS: &str = "\
#include <microkit.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
";

/// Compiles C behind the usual headers.
fn program(world: &World, name: &str, code: &str) {
    world.program(name, &format!("{HEADERS}{code}"));
}

/// [`program`] for one that only does something in `init`.
fn init_program(world: &World, name: &str, before: &str, statements: &str) {
    let ending = "void notified(microkit_channel ch) { (void)ch; }";
    program(world, name, &format!("{before}\nvoid init(void) {{ {statements} }}\n{ending}\n"));
}

/// A system of one PD, `pd`, from `pd.elf`, with these elements in it and beside it.
fn one_pd(world: &World, inside: &str, beside: &str) {
    let text = format!(
        "<system>{beside}\n<protection_domain name=\"pd\"><program_image path=\"pd.elf\"/>{inside}</protection_domain>\n</system>\n"
    );
    world.system("x.system", &text);
}

/// PDs of this name and priority from images of the same name, with nothing else in them.
fn pds(names: &[(&str, u8)]) -> String {
    let pd = |(name, priority): &(&str, u8)| {
        format!(
            "<protection_domain name=\"{name}\" priority=\"{priority}\"><program_image path=\"{name}.elf\"/></protection_domain>\n"
        )
    };
    names.iter().map(pd).collect()
}

/// A channel between (PD, id, further attributes) and another.
fn channel(one: (&str, u8, &str), other: (&str, u8, &str)) -> String {
    let end = |(pd, id, more): (&str, u8, &str)| format!("<end pd=\"{pd}\" id=\"{id}\" {more}/>");
    format!("<channel>{}{}</channel>\n", end(one), end(other))
}

/// Runs `x.system` until nothing can run.
fn run_until_idle(world: &World) -> Outcome {
    world.run(&["run", "--until-idle", "x.system"])
}
