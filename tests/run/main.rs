//! Systems run by the real binary, as every kind of user.

#[path = "../common/mod.rs"]
mod common;
