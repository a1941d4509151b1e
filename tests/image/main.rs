//! The image reader: what it accepts, what it refuses and why, and that the dynamic linker gets on with the rest.

mod accepted;
mod linker;
mod mutants;
mod refused;
mod support;
mod tables;
