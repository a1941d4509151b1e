//! Many processes that pass turns to each other at random, each through the other's pipe: what a crowd of PDs does, and
//! nothing else.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::pipe;

use super::super::check;
use super::{CACHE_LINE, Placement, Shared, beside, end, fork};

/// Turns a second that `count` processes take together: whoever has the turn passes it to another at random and sleeps when it has
/// none left. Each begins with one.
pub fn crowd(count: usize, placement: Placement, span: Duration) -> Result<f64, Errno> {
    // One process measures, beside another that does nothing, where `placement` puts it: the crowd inherits its CPUs.
    beside(placement, || Ok(()), || turns(count, span))
}

fn turns(count: usize, span: Duration) -> Result<f64, Errno> {
    let place = |number: usize| 2 * CACHE_LINE * number;
    let shared = Shared::new(place(count))?;
    let pipes: Vec<(OwnedFd, OwnedFd)> = (0..count).map(|_| pipe()).collect::<Result<_, _>>()?;
    let mut children = Vec::new();
    let started: Result<(), Errno> = (0..count).try_for_each(|own| {
        let mut random = own as u64 + 1;
        let (count_of, read) = (shared.long(place(own)), pipes[own].0.as_raw_fd());
        children.push(fork(|| {
            let mut turns = [0u8; 4096];
            loop {
                // SAFETY: the buffer is valid for its length.
                let got = check(unsafe { libc::read(read, turns.as_mut_ptr().cast(), turns.len()) } as _)?;
                for _ in 0..got {
                    // xorshift64 (Marsaglia, 2003).
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let other = (own + 1 + (random >> 32) as usize % (count - 1)) % count;
                    count_of.store(count_of.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    // SAFETY: one byte of the buffer.
                    check(unsafe { libc::write(pipes[other].1.as_raw_fd(), turns.as_ptr().cast(), 1) } as _)?;
                }
            }
        })?);
        Ok(())
    });
    let all = || (0..count).map(|own| shared.long(place(own)).load(Ordering::Relaxed)).sum::<u64>();
    let taken = started.and_then(|()| {
        pipes.iter().try_for_each(|(_, write)| nix::unistd::write(write, &[1]).map(drop))?;
        // Until everybody has had some.
        std::thread::sleep(span / 10);
        let (before, start) = (all(), Instant::now());
        std::thread::sleep(span);
        Ok((all() - before) as f64 / start.elapsed().as_secs_f64())
    });
    children.into_iter().for_each(end);
    taken
}

#[cfg(test)]
mod tests {
    use super::super::cpus;
    use super::*;

    #[test]
    fn a_crowd_takes_turns() {
        for (count, placement) in [(2, Placement::OneCpu), (20, Placement::Unpinned)] {
            let before = cpus().unwrap();
            assert!(crowd(count, placement, Duration::from_millis(20)).unwrap() > 0.0);
            assert_eq!(cpus().unwrap(), before);
        }
    }
}
