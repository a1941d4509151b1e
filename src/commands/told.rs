//! What a command says on standard error, kept for the reports that are to tell it too.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An error of the program itself, on standard error. Where nobody can read that, the exit code has to do.
pub fn tell(message: &str) {
    say(message);
    keep(message);
}

/// As [`tell`], of what reports have another place for.
pub fn say(message: &str) {
    print(&format!("mk-sandbox: {message}\n"));
}

/// Text on standard error.
pub fn print(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// An error that has been told in another form.
pub fn keep(message: &str) {
    ERRORS.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
}

/// Every error so far, in order.
pub fn errors() -> Vec<String> {
    ERRORS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
