//! The commands, one file each. A command prints what it has to say and returns the exit code.

#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod build;
pub mod cc;
pub mod check;
pub mod doctor;
pub mod embedded;
pub mod load;
pub mod policy;
pub mod prepare;
pub mod run;
pub mod sdk;
pub mod tier;
pub mod verify;

use std::io::{self, Write};

use crate::exit::Exit;

/// Prints an answer on standard output. A reader that has seen enough (`| head`) is no failure; a full disk is.
pub(crate) fn say(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            eprintln!("mk-sandbox: cannot write to standard output: {error}");
            Exit::Internal
        }
    }
}
