//! The image reader: what it accepts, what it refuses and why, and that the dynamic linker gets on with the rest.

mod accepted;
mod linker;
mod mutants;
#[path = "../common/random.rs"]
mod random;
mod refused;
mod support;
mod tables;
