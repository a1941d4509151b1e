//! What this machine does at best, without anything of ours: round trips between two processes, a wake-up, copies between
//! two threads, a crowd, a system call. Times are in cycles of the time stamp counter, which PDs can read too.

mod crowd;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{Pid, pipe2};

use super::{check, errno_of, seccomp};

pub use crowd::{DISTANCES as CROWD_DISTANCES, crowd};

/// The time stamp counter. On any machine Linux trusts it on, all CPUs count alike and at one rate.
pub fn cycles() -> u64 {
    // SAFETY: rdtsc exists on every x86-64 CPU and changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Cycles a second, compared with the kernel's monotonic clock for 50 ms: an error of a microsecond in reading either is 1 in
/// 50,000.
pub fn cycles_per_second() -> f64 {
    let (start, at) = (cycles(), Instant::now());
    while at.elapsed() < Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    (cycles() - start) as f64 / at.elapsed().as_secs_f64()
}

/// How one process tells another that it is its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Both look at shared memory all the time.
    Spin,
    /// futex(2) on shared memory.
    Futex,
    /// eventfd(2)
    Eventfd,
    /// pipe(2)
    Pipe,
    /// A pair of unix(7) datagram sockets.
    Socket,
}

/// Where two processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Both on one CPU.
    OneCpu,
    /// Each on its own.
    TwoCpus,
    /// Where the scheduler puts them.
    Unpinned,
}

/// CPUs this thread may run on, ascending.
pub fn cpus() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Lets this thread, and the processes it starts from now on, run on these CPUs only.
pub fn run_on(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu))?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Cycles of one round trip between two processes, over `rounds` of them.
pub fn round_trip(via: Via, placement: Placement, rounds: u32) -> Result<f64, Errno> {
    let shared = Shared::new(4096)?;
    let (ping, pong) = (shared.word(0), shared.word(2 * CACHE_LINE));
    let there = Channel::new(via)?;
    let back = Channel::new(via)?;
    let answer =
        || (1..=rounds).try_for_each(|round| there.wait(ping, round).and_then(|()| back.send(pong, round)));
    let ask = || {
        let turn = |round| there.send(ping, round).and_then(|()| back.wait(pong, round));
        // The child is there, and both have found their CPU, when a few have gone through.
        let warm = (rounds / 10).min(200);
        (1..=warm).try_for_each(turn)?;
        timed((warm + 1..=rounds).map(turn))
    };
    beside(placement, answer, ask)
}

/// Cycles of one round trip between two processes that spin on two CPUs, with a message of `words` each way: copied into shared
/// memory, and out of it.
pub fn message_round_trip(words: usize, rounds: u32) -> Result<f64, Errno> {
    let page = 4096;
    let shared = Shared::new(2 * page)?;
    let at = |base: usize, word: usize| shared.long(base + 8 * word);
    let put = |base, number: u64, message: &[u64]| {
        message.iter().enumerate().for_each(|(i, word)| at(base, i + 1).store(*word, Ordering::Relaxed));
        at(base, 0).store(number, Ordering::Release);
    };
    let get = |base, number, message: &mut [u64]| {
        while at(base, 0).load(Ordering::Acquire) != number {
            std::hint::spin_loop();
        }
        message.iter_mut().enumerate().for_each(|(i, word)| *word = at(base, i + 1).load(Ordering::Relaxed));
    };
    let (mut asked, mut answered) = (vec![0; words], vec![0; words]);
    let answer = || {
        (1..=u64::from(rounds)).for_each(|round| {
            get(0, round, &mut answered);
            answered[0] += 1;
            put(page, round, &answered);
        });
        Ok(())
    };
    let ask = || {
        let mut turn = |round| {
            put(0, round, &asked);
            get(page, round, &mut asked);
            Ok(())
        };
        let warm = u64::from((rounds / 10).min(200));
        (1..=warm).try_for_each(&mut turn)?;
        timed((warm + 1..=u64::from(rounds)).map(turn))
    };
    beside(Placement::TwoCpus, answer, ask)
}

/// Longest time for the turns of one measurement. Beside other processes at work, two that spin on two CPUs take a time slice for
/// many a turn.
const LONGEST: Duration = Duration::from_millis(500);

/// Cycles of one turn, over all of them or as many as there is time for.
fn timed(turns: impl Iterator<Item = Result<(), Errno>>) -> Result<f64, Errno> {
    let (start, until) = (cycles(), Instant::now() + LONGEST);
    let mut taken = 0u32;
    for turn in turns {
        turn?;
        taken += 1;
        // Reading the clock takes part of the time of a turn.
        if taken.is_multiple_of(32) && Instant::now() > until {
            break;
        }
    }
    Ok((cycles() - start) as f64 / f64::from(taken.max(1)))
}

/// Cycles from waking a process that sleeps on a futex to its first instruction, each time after a pause of `pause` cycles.
pub fn wake_up(placement: Placement, rounds: u32, pause: u64) -> Result<Vec<u64>, Errno> {
    let shared = Shared::new(4096)?;
    let (bell, count) = (shared.word(0), shared.word(2 * CACHE_LINE));
    let at = shared.long(3 * CACHE_LINE);
    let sleeper = || {
        (1..=rounds).try_for_each(|round| {
            futex_wait_until(bell, round)?;
            at.store(cycles(), Ordering::Relaxed);
            count.store(round, Ordering::Release);
            Ok(())
        })
    };
    let waker = || {
        (1..=rounds)
            .map(|round| {
                let rest = cycles();
                while cycles() - rest < pause {
                    std::hint::spin_loop();
                }
                let start = cycles();
                bell.store(round, Ordering::SeqCst);
                futex_wake(bell)?;
                while count.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                Ok(at.load(Ordering::Relaxed).saturating_sub(start))
            })
            .collect()
    };
    beside(placement, sleeper, waker)
}

/// Bytes of a message of [`copy_through_ring`], and how many the ring holds.
pub const RING: (usize, usize) = (64 << 10, 8);

/// Cycles to bring `messages` of 64 KiB from one thread to another, copied into a ring of 8 and out of it. Both spin.
pub fn copy_through_ring(messages: u64) -> Result<u64, Errno> {
    let (size, slots) = RING;
    let ring = Shared::new(size * slots)?;
    let (filled, emptied) = (AtomicU64::new(0), AtomicU64::new(0));
    let slot = |number: u64| ring.at((number % slots as u64) as usize * size);
    // Before the clock starts every page of the ring has been touched, and both threads have found their CPU.
    let warm = 4 * slots as u64;
    let all = warm + messages;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let source = vec![0x5a; size];
            for number in 0..all {
                while number - emptied.load(Ordering::Acquire) == slots as u64 {
                    std::hint::spin_loop();
                }
                // SAFETY: the slot has `size` bytes, and until `filled` says so the consumer does not look at it.
                unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), slot(number), size) };
                filled.store(number + 1, Ordering::Release);
            }
        });
        let mut sink = vec![0; size];
        let mut start = 0;
        for number in 0..all {
            if number == warm {
                start = cycles();
            }
            while filled.load(Ordering::Acquire) == number {
                std::hint::spin_loop();
            }
            // SAFETY: as above, until `emptied` says so the producer does not write it.
            unsafe {
                std::ptr::copy_nonoverlapping(slot(number), std::hint::black_box(sink.as_mut_ptr()), size);
            }
            emptied.store(number + 1, Ordering::Release);
        }
        Ok(cycles() - start)
    })
}

/// Cycles of a system call that only fails, without and with filters, each over `rounds` calls. The filters must allow write(2).
pub fn filtered_call(filters: &[Vec<seccomp::Instruction>], rounds: u32) -> Result<(f64, f64), Errno> {
    let shared = Shared::new(4096)?;
    let (without, with) = (shared.long(0), shared.long(8));
    let time = || {
        let start = cycles();
        for _ in 0..rounds {
            // SAFETY: there is no descriptor -1; the kernel looks no further.
            unsafe { libc::syscall(libc::SYS_write, -1, 0, 0) };
        }
        cycles() - start
    };
    let child = fork(|| {
        super::privilege::undumpable()?;
        time();
        without.store(time(), Ordering::Release);
        super::privilege::no_new_privileges()?;
        filters.iter().try_for_each(|filter| seccomp::install(filter))?;
        with.store(time(), Ordering::Release);
        // The filters deny the exit that follows: the child ends by SIGSYS.
        Ok(())
    })?;
    reap(child)?;
    let [without, with] =
        [without, with].map(|total| total.load(Ordering::Acquire) as f64 / f64::from(rounds));
    if with == 0.0 { Err(Errno::ENOSYS) } else { Ok((without, with)) }
}

/// Bytes that no two words of different writers share: x86 fetches lines in pairs.
const CACHE_LINE: usize = 64;

/// Zeroed memory that a forked child shares.
struct Shared {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: it is memory and nothing else; whoever makes pointers from it answers for how they are used.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(length: usize) -> Result<Self, Errno> {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, kind, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(base.cast()).map(|base| Self { base, length }).ok_or(Errno::ENOMEM)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.length);
        // SAFETY: inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: aligned, mapped as long as `self`, and used as an atomic only.
        unsafe { AtomicU32::from_ptr(self.at(offset).cast()) }
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.at(offset).cast()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: nothing borrowed from it is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// One direction of a round trip. Both processes use it by the numbers they had at the fork.
struct Channel {
    via: Via,
    read: RawFd,
    write: RawFd,
    _owned: Vec<OwnedFd>,
}

impl Channel {
    fn new(via: Via) -> Result<Self, Errno> {
        let owned = match via {
            Via::Spin | Via::Futex => Vec::new(),
            Via::Eventfd => vec![EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?.into()],
            Via::Pipe => pipe2(OFlag::O_CLOEXEC).map(|(read, write)| vec![read, write])?,
            Via::Socket => UnixDatagram::pair()
                .map(|(a, b)| vec![a.into(), b.into()])
                .map_err(|error| errno_of(&error))?,
        };
        let number = |fd: Option<&OwnedFd>| fd.map_or(-1, AsRawFd::as_raw_fd);
        Ok(Self { via, read: number(owned.first()), write: number(owned.last()), _owned: owned })
    }

    fn send(&self, word: &AtomicU32, round: u32) -> Result<(), Errno> {
        match self.via {
            Via::Spin => word.store(round, Ordering::Release),
            Via::Futex => {
                word.store(round, Ordering::SeqCst);
                futex_wake(word)?;
            }
            Via::Eventfd | Via::Pipe | Via::Socket => {
                let message = 1u64;
                // SAFETY: the buffer is valid for its length.
                check(unsafe { libc::write(self.write, (&raw const message).cast(), 8) } as _)?;
            }
        }
        Ok(())
    }

    fn wait(&self, word: &AtomicU32, round: u32) -> Result<(), Errno> {
        match self.via {
            Via::Spin => {
                while word.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
            }
            Via::Futex => futex_wait_until(word, round)?,
            Via::Eventfd | Via::Pipe | Via::Socket => {
                let mut message = 0u64;
                // SAFETY: as above.
                check(unsafe { libc::read(self.read, (&raw mut message).cast(), 8) } as _)?;
            }
        }
        Ok(())
    }
}

fn futex_wake(word: &AtomicU32) -> Result<(), Errno> {
    // SAFETY: FUTEX_WAKE only takes the address for a name.
    check(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) }).map(drop)
}

fn futex_wait_until(word: &AtomicU32, wanted: u32) -> Result<(), Errno> {
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen == wanted {
            return Ok(());
        }
        let no_timeout = std::ptr::null::<libc::timespec>();
        // SAFETY: FUTEX_WAIT compares the word and sleeps.
        match check(unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, no_timeout)
        }) {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Runs `there` in a child and `here` in this process, where `placement` says; when `here` is done, the child is ended and this thread
/// put back where it was.
fn beside<T>(
    placement: Placement,
    there: impl FnOnce() -> Result<(), Errno>,
    here: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let all = cpus()?;
    let (ours, theirs) = match (placement, all.as_slice()) {
        (Placement::Unpinned, all) => (all, all),
        (Placement::OneCpu, [first, ..]) => (std::slice::from_ref(first), std::slice::from_ref(first)),
        (Placement::TwoCpus, [first, second, ..]) => {
            (std::slice::from_ref(first), std::slice::from_ref(second))
        }
        _ => return Err(Errno::ENODEV),
    };
    let child = fork(|| run_on(theirs).and_then(|()| there()))?;
    let result = run_on(ours).and_then(|()| here());
    // Whoever measures may have had enough before the other has.
    end(child);
    run_on(&all)?;
    result
}

/// Kills a child and reaps it.
fn end(child: libc::pid_t) {
    // SAFETY: the child is not reaped yet, so the number is its.
    unsafe { libc::kill(child, libc::SIGKILL) };
    let _ = reap(child);
}

/// The child ends with status 0, or 1 on an error, and with its parent in any case.
fn fork(child: impl FnOnce() -> Result<(), Errno>) -> Result<libc::pid_t, Errno> {
    // SAFETY: the children of this module make system calls and use memory they have already; they allocate nothing, so a lock that
    // another thread held at the fork is none of theirs.
    let pid = check(unsafe { libc::fork() } as _)?;
    if pid == 0 {
        let ended = super::privilege::die_with_parent().and_then(|()| child());
        // SAFETY: _exit(2) runs none of the parent's exit handlers.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    Ok(pid as libc::pid_t)
}

fn reap(pid: libc::pid_t) -> Result<i32, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid(2) stores one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) } as _) {
            Ok(_) => return Ok(status),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_there_and_back_ends() {
        for via in [Via::Spin, Via::Futex, Via::Eventfd, Via::Pipe, Via::Socket] {
            // Two processes that spin on one CPU take a time slice for each turn.
            for placement in [Placement::OneCpu, Placement::Unpinned] {
                if (via, placement) != (Via::Spin, Placement::OneCpu) {
                    assert!(round_trip(via, placement, 50).unwrap() > 0.0, "{via:?} {placement:?}");
                }
            }
        }
    }

    #[test]
    fn messages_go_there_and_back() {
        if cpus().unwrap().len() > 1 {
            assert!(message_round_trip(120, 50).unwrap() > 0.0);
        }
    }

    #[test]
    fn a_wake_up_is_seen_every_time() {
        assert_eq!(wake_up(Placement::Unpinned, 5, 1000).unwrap().len(), 5);
    }

    #[test]
    fn copies_arrive() {
        assert!(copy_through_ring(20).unwrap() > 0);
    }

    #[test]
    fn a_filter_is_installed_between_the_two_times() {
        /// BPF: return SECCOMP_RET_ALLOW (include/uapi/linux/seccomp.h).
        const ALLOW: u64 = 0x7fff_0000_0000_0006;
        let (without, with) = filtered_call(&[vec![ALLOW]], 100).unwrap();
        assert!(without > 0.0 && with > 0.0);
        assert_eq!(filtered_call(&[vec![]], 100), Err(Errno::ENOSYS));
    }
}
