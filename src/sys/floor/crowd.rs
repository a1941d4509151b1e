//! Many processes that call and notify each other at random, each through the other's pipe: what the bench's crowd of PDs does
//! (`bench/programs/crowd.c`), among the same acquaintances, and nothing else.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{pipe, read};

use super::{CACHE_LINE, Placement, Shared, beside, end, fork};

/// How many places on whom a process knows, around the circle.
pub const DISTANCES: [usize; 6] = [1, 2, 5, 11, 16, 23];

/// Turns a second that `count` processes, at most 64, take together: whoever has a turn calls or notifies an acquaintance, which then has
/// one, and sleeps when it has none left. Each begins with one. Notifications of one sender that nobody has read yet are one.
pub fn crowd(count: usize, placement: Placement, span: Duration) -> Result<f64, Errno> {
    // One process measures, beside another that does nothing, where `placement` puts it: the crowd inherits its CPUs.
    beside(placement, || Ok(()), || turns(count, span))
}

/// Set in a byte that asks for an answer; the rest is who sends it.
const CALL: u8 = 0x80;

/// One process of the crowd.
struct Member<'a> {
    own: usize,
    bells: &'a [(OwnedFd, OwnedFd)],
    answers: &'a [(OwnedFd, OwnedFd)],
    known: Vec<usize>,
    /// Those of them that it calls: the even the odd, so that nobody waits for himself.
    called: Vec<usize>,
    random: u64,
    turns: &'a AtomicU64,
}

impl Member<'_> {
    fn run(mut self) -> Result<(), Errno> {
        let mut events = [0u8; 4096];
        self.notify()?;
        loop {
            let got = read(&self.bells[self.own].0, &mut events)?;
            let mut notified = 0u64;
            for event in &events[..got] {
                match event & CALL {
                    0 => notified |= 1 << event,
                    _ => {
                        self.turn();
                        self.notify()?;
                        write(&self.answers[usize::from(event & !CALL)].1, 0)?;
                    }
                }
            }
            for _ in 0..notified.count_ones() {
                self.turn();
                let choice = self.next_random() >> 32;
                if !self.called.is_empty() && choice.is_multiple_of(2) {
                    let random = self.next_random() as usize;
                    let callee = self.called[random % self.called.len()];
                    write(&self.bells[callee].1, self.own as u8 | CALL)?;
                    read(&self.answers[self.own].0, &mut [0])?;
                } else {
                    self.notify()?;
                }
                if choice % 8 < 3 {
                    self.notify()?;
                }
            }
        }
    }

    fn notify(&mut self) -> Result<(), Errno> {
        let random = self.next_random() as usize;
        let peer = self.known[random % self.known.len()];
        write(&self.bells[peer].1, self.own as u8)
    }

    fn turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// xorshift64 (Marsaglia, 2003).
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn write(to: &OwnedFd, byte: u8) -> Result<(), Errno> {
    nix::unistd::write(to, &[byte]).map(drop)
}

fn turns(count: usize, span: Duration) -> Result<f64, Errno> {
    let place = |number: usize| 2 * CACHE_LINE * number;
    let shared = Shared::new(place(count))?;
    let pipes = || (0..count).map(|_| pipe()).collect::<Result<Vec<(OwnedFd, OwnedFd)>, _>>();
    let (bells, answers) = (pipes()?, pipes()?);
    let mut children = Vec::new();
    let started: Result<(), Errno> = (0..count).try_for_each(|own| {
        let near = DISTANCES.into_iter().filter(|distance| *distance < count);
        let mut known: Vec<usize> =
            near.flat_map(|distance| [(own + distance) % count, (own + count - distance) % count]).collect();
        known.sort_unstable();
        known.dedup();
        let called = known.iter().copied().filter(|other| own % 2 < other % 2).collect();
        let (bells, answers, turns) = (&bells, &answers, shared.long(place(own)));
        let member =
            Member { own, bells, answers, known, called, random: 0x9e37_79b9_7f4a_7c15 ^ own as u64, turns };
        children.push(fork(|| member.run())?);
        Ok(())
    });
    let all = || (0..count).map(|own| shared.long(place(own)).load(Ordering::Relaxed)).sum::<u64>();
    let taken = started.map(|()| {
        // Until everybody has had some.
        std::thread::sleep(span / 10);
        let (before, start) = (all(), Instant::now());
        std::thread::sleep(span);
        (all() - before) as f64 / start.elapsed().as_secs_f64()
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
