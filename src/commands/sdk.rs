//! `mk-sandbox sdk`: headers, library and a pkg-config file for other build systems.

#![forbid(unsafe_code)]

use std::path::Path;

use super::embedded::write_sdk;
use crate::exit::Exit;

/// Writes the SDK to `directory`.
pub fn run(directory: &Path) -> Exit {
    match write_sdk(directory) {
        Ok(()) => Exit::Success,
        Err(error) => {
            super::told::tell(&format!("cannot write the SDK: {error}"));
            Exit::Internal
        }
    }
}
