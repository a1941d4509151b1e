//! mk-sandbox runs seL4 Microkit systems on Linux, every protection domain in a sandbox generated from the system
//! description file. ARCHITECTURE.md follows one run through these modules; each may name only those above it in
//! the list below (`tests/layering.rs`).

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod commands;
pub mod diagnostic;
pub mod exit;
pub mod image;
pub mod launch;
pub mod monitor;
pub mod verify;
pub mod pd;
pub mod plan;
pub mod policy;
pub mod report;
pub mod sdf;
pub mod sys;
