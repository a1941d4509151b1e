//! mk-sandbox runs seL4 Microkit systems on Linux, every protection domain in a sandbox generated from the system
//! description file. ARCHITECTURE.md follows one run through these modules; each may name only those above it in
//! the list below (`tests/conventions.rs`). The blank lines keep rustfmt from sorting it.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod sys;

pub mod exit;

pub mod diagnostic;

pub mod sdf;

pub mod image;

pub mod policy;

pub mod plan;

pub mod pd;

pub mod launch;

pub mod monitor;

pub mod verify;

pub mod report;

pub mod bench;

pub mod commands;

pub mod cli;
