//! The commands, one file each. A command prints what it has to say and returns the exit code.

#![forbid(unsafe_code)]

pub mod args;
pub mod build;
pub mod cc;
pub mod check;
pub mod doctor;
pub mod embedded;
pub mod load;
pub mod run;
pub mod sdk;
pub mod tier;
