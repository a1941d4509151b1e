//! The commands, one file each. A command prints what it has to say and returns the exit code.

#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod build;
pub mod cc;
pub mod check;
pub mod doctor;
pub mod embedded;
pub mod explain;
pub mod graph;
pub mod images;
pub mod inspect_args;
pub mod load;
pub mod lock;
pub mod outcome;
pub mod output;
pub mod policy;
pub mod prepare;
pub mod run;
pub mod sdk;
pub mod show;
pub mod tier;
pub mod told;
pub mod verify;
pub mod writer;

use std::io::{self, Write};
use std::path::Path;

use crate::exit::Exit;

/// Prints an answer on standard output. A reader that has seen enough (`| head`) is no failure; a full disk is.
pub(crate) fn say(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            told::tell(&format!("cannot write to standard output: {error}"));
            Exit::Internal
        }
    }
}

/// Writes an answer to a file, whatever was in it before.
pub(crate) fn write_file(path: &Path, text: &str) -> Exit {
    match output::OutputFile::open(path).and_then(|file| file.finish(text)) {
        Ok(()) => Exit::Success,
        Err(error) => cannot_write(path, &error),
    }
}

/// Says so.
fn cannot_write(path: &Path, error: &io::Error) -> Exit {
    told::tell(&format!("cannot write `{}`: {error}", path.display()));
    Exit::Internal
}
