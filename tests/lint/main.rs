//! `check`, `explain` and `lock` as typed. Every kind of finding has a fixture, tests/fixtures/lint/ID.system, in which it is found
//! at the place that is written here, and nothing else.

#![forbid(unsafe_code)]

mod formats;
mod kinds;
mod lock;
mod options;
mod support;
