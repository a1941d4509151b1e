//! How long bubblewrap takes for about what a PD's start does: every namespace, an own root, and a program.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::Result;

/// Nanoseconds of `count` whole processes, two at a time.
pub fn bubblewrap(count: u32) -> Result<f64> {
    let started = AtomicU32::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> std::io::Result<()> {
            while started.fetch_add(1, Ordering::Relaxed) < count {
                one()?;
            }
            Ok(())
        };
        let other = scope.spawn(work);
        let mine = work();
        other.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked"))).and(mine)
    })?;
    Ok(start.elapsed().as_nanos() as f64)
}

fn one() -> std::io::Result<()> {
    let status = Command::new("bwrap")
        .args(["--unshare-all", "--ro-bind", "/", "/", "true"])
        .stdin(Stdio::null())
        .status()
        .map_err(|error| {
            std::io::Error::new(error.kind(), format!("bwrap (Debian package bubblewrap): {error}"))
        })?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("bwrap: {status}"))) }
}
