//! `mk-sandbox show`: the system in words.

#![forbid(unsafe_code)]

use super::inspect_args::ShowArgs;
use super::{load, say};
use crate::exit::Exit;
use crate::report::show;

/// Prints the whole report. Errors in the file are told.
pub fn run(args: &ShowArgs) -> Exit {
    match load::system(&args.system, &args.search_path, args.arch) {
        Ok(loaded) => say(&show::show(&loaded.source, &loaded.system)),
        Err(exit) => exit,
    }
}
