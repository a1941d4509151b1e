//! Cases, one line each, and the count at the end.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Runs cases and counts them.
pub struct Cases {
    wanted: Option<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Cases {
    /// With a word, only the cases that have it in their name are run.
    pub fn new(wanted: Option<String>) -> Self {
        Self { wanted, passed: 0, failed: Vec::new() }
    }

    /// Runs a case, which panics when it fails and else says in a few words what it saw.
    pub fn case(&mut self, name: &str, case: impl FnOnce() -> String) {
        if self.wanted.as_ref().is_some_and(|wanted| !name.contains(wanted)) {
            return;
        }
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(seen) => {
                println!("ok     {name}: {seen}");
                self.passed += 1;
            }
            Err(_) => {
                println!("FAILED {name}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Prints the count.
    pub fn finish(self) -> ExitCode {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        // No case at all would be a success that shows nothing.
        ExitCode::from(u8::from(!self.failed.is_empty() || self.passed == 0))
    }
}
