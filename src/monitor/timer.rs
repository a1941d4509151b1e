//! The launcher's alarm clock: budgets and turns are shorter than epoll_wait(2)'s milliseconds.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A descriptor that becomes readable when it is time, and stays so until it is set again.
#[derive(Debug)]
pub(super) struct Timer {
    clock: TimerFd,
    is_set: bool,
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        let clock =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self { clock, is_set: false })
    }

    /// From now on; `None`: never.
    pub fn set(&mut self, pause: Option<Duration>) -> io::Result<()> {
        match pause {
            Some(pause) => {
                // 0 would mean never.
                let pause = TimeSpec::from_duration(pause.max(Duration::from_nanos(1)));
                self.clock.set(Expiration::OneShot(pause), TimerSetTimeFlags::empty())?;
            }
            None if self.is_set => self.clock.unset()?,
            None => {}
        }
        self.is_set = pause.is_some();
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.clock.as_fd()
    }
}
