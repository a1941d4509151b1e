//! The system description file: text -> [`System`], with every rule of Microkit's SDF checked and
//! every fault reported at its place. Each element has a file of its own, which holds its type and
//! its rules; `build.rs` says in which order they are read.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity, Source};

mod arch;
mod build;
mod channel;
mod context;
pub mod cspace;
mod document;
pub mod domains;
pub mod io_address_space;
pub mod ioport;
pub mod irq;
mod limits;
mod map;
pub mod memory_region;
mod number;
mod prescan;
mod protection_domain;
mod search;
mod setvar;
mod source;
mod suggest;
pub mod system;
pub mod virtual_machine;

pub use arch::{Arch, UnknownArch};
pub use protection_domain::Scheduling;
pub use search::{NotFound, find_image, find_in_search_path};
pub use source::{MAX_BYTES, ReadError, read_source};
pub use system::{
    Channel, End, Map, MemoryRegion, PdIndex, Perms, ProgramImage, ProtectionDomain, RegionIndex, SetVar,
    SetVarValue, Span, System, Unsupported,
};

/// What a file is judged by, beside the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where images and prefill files are looked for, complete and in order: the current directory,
    /// `--search-path`, the directory of the system file.
    pub search_path: Vec<PathBuf>,
    /// `--arch`
    pub arch: Arch,
    /// Number of CPUs: `cpu` attributes are below it.
    pub cpus: u32,
}

/// Reads a system description. The second part of the result are warnings.
///
/// Images are not looked for: see [`find_image`]. Prefill files are, since their length
/// can be a region's size.
///
/// # Errors
/// The text breaks a rule: everything found, warnings included, in the order of the file.
pub fn load(source: &Source, options: &Options) -> Result<(System, Vec<Diagnostic>), Vec<Diagnostic>> {
    let root = document::parse(source).map_err(|error| vec![error])?;
    let (system, findings) = build::build(source, options, &root);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    Ok((system, findings))
}
