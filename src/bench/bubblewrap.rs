//! How long bubblewrap takes for about what a PD's start does: every namespace, an own root, and a program.

#![forbid(unsafe_code)]

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The time of `count` whole processes, two at a time. `None` where there is no bubblewrap, or it may not do it.
pub fn bubblewrap(count: u32) -> Option<Duration> {
    let started = AtomicU32::new(0);
    let start = Instant::now();
    let work = || -> Option<()> {
        while started.fetch_add(1, Ordering::Relaxed) < count {
            one()?;
        }
        Some(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        other.join().ok().flatten().and(mine)
    })?;
    Some(start.elapsed())
}

fn one() -> Option<()> {
    let status = Command::new("bwrap")
        .args(["--unshare-all", "--ro-bind", "/", "/", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    status.success().then_some(())
}
