//! The first stage of every command that takes a system file: read it, judge it, say what is wrong.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::told;
use crate::diagnostic::{self, Diagnostic, Severity, Source};
use crate::exit::Exit;
use crate::sdf::{self, Arch, System};
use crate::sys::scheduling;

/// A system file that is valid.
#[derive(Debug)]
pub struct Loaded {
    /// Its text, for later messages.
    pub source: Source,
    /// What it says.
    pub system: System,
    /// Where images are looked for, in order.
    pub search_path: Vec<PathBuf>,
}

/// Reads and judges a system file. Errors and warnings are told; an error is the exit code.
pub fn system(path: &Path, extra: &[PathBuf], arch: Arch) -> Result<Loaded, Exit> {
    let source = sdf::read_source(path).map_err(|error| {
        told::print(&format!("{}\n", error.render(io::stderr().is_terminal())));
        told::keep(&error.to_string());
        Exit::Invalid
    })?;
    let search_path = search_path(path, extra);
    let options = options(&search_path, arch);
    match sdf::load(&source, &options) {
        Ok((system, warnings)) => {
            tell(&source, &folded(warnings));
            Ok(Loaded { source, system, search_path })
        }
        Err(errors) => {
            tell(&source, &errors);
            Err(Exit::Invalid)
        }
    }
}

/// What a file is judged by on this host.
pub(super) fn options(search_path: &[PathBuf], arch: Arch) -> sdf::Options {
    let cpus = scheduling::cpus();
    sdf::Options { search_path: search_path.to_vec(), arch, cpus: u32::try_from(cpus).unwrap_or(u32::MAX) }
}

/// Each kind of warning once, at its first place; `check` lists them all.
fn folded(warnings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kinds: Vec<(Diagnostic, usize)> = Vec::new();
    for warning in warnings {
        match kinds.iter_mut().find(|(first, _)| first.message == warning.message) {
            Some((_, more)) => *more += 1,
            None => kinds.push((warning, 0)),
        }
    }
    let count = |(mut first, more): (Diagnostic, usize)| {
        if more > 0 {
            first.message += &format!(" (and {more} more like it)");
        }
        first
    };
    kinds.into_iter().map(count).collect()
}

/// The current directory, `--search-path` in order, the system file's own directory.
pub(super) fn search_path(system: &Path, extra: &[PathBuf]) -> Vec<PathBuf> {
    let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let own = match system.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    [here].into_iter().chain(extra.iter().cloned()).chain([own]).collect()
}

/// Prints findings to standard error, each with its place in the file; with `-q`, only errors.
pub fn tell(source: &Source, diagnostics: &[Diagnostic]) {
    let color = io::stderr().is_terminal();
    let wanted = |diagnostic: &&Diagnostic| {
        diagnostic.severity == Severity::Error || tracing::enabled!(tracing::Level::WARN)
    };
    for diagnostic in diagnostics.iter().filter(wanted) {
        told::print(&format!("{}\n", diagnostic::render(source, diagnostic, color)));
        if diagnostic.severity == Severity::Error {
            let (line, column) = source.position(diagnostic.span.start);
            told::keep(&format!("{}:{line}:{column}: {}", source.path.display(), diagnostic.message));
        }
    }
}
