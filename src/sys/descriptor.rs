//! Descriptors by number: what the PD host does to leave exactly the granted ones open, and small reads from outside.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::check;

/// Takes over a descriptor that exec left open under this number.
///
/// # Safety
/// Nothing else in the process owns the number.
pub unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: passed on to the caller.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes `descriptors[i].0` available as number `descriptors[i].1`, then closes everything else. A source may stand where
/// another's target is.
///
/// # Safety
/// No owner of a closed descriptor may use or close it later.
pub unsafe fn arrange(descriptors: &[(RawFd, RawFd)]) -> Result<(), Errno> {
    let above = descriptors.iter().map(|(_, to)| *to).max().unwrap_or(-1) + 1;
    let mut lifted = Vec::with_capacity(descriptors.len());
    for (from, to) in descriptors {
        // SAFETY: F_DUPFD takes a number; the lowest free one from there is returned.
        let high = check(unsafe { libc::fcntl(*from, libc::F_DUPFD, above) } as _)?;
        lifted.push((high as RawFd, *to));
    }
    for (high, to) in lifted {
        // SAFETY: the caller gives up whatever stood at `to`.
        check(unsafe { libc::dup2(high, to) } as _)?;
    }
    let mut targets: Vec<RawFd> = descriptors.iter().map(|(_, to)| *to).collect();
    targets.sort_unstable();
    let mut next: libc::c_uint = 0;
    for target in targets {
        let target = target as libc::c_uint;
        if target > next {
            close_range(next, target - 1)?;
        }
        next = target + 1;
    }
    close_range(next, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: close_range(2) takes numbers; `arrange` demands that nobody uses what it closes.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes a descriptor with close(2) and nothing else: dropping an OwnedFd looks at it with fcntl first in debug builds.
pub fn close_owned(fd: OwnedFd) -> Result<(), Errno> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the number is nobody else's.
    check(unsafe { libc::close(fd.into_raw_fd()) } as _).map(drop)
}

/// Sets O_NONBLOCK on the open file description, for every process that shares it.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Bytes waiting in a pipe.
pub fn bytes_waiting(fd: BorrowedFd) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) } as _)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// True when a writer to this pipe would not have to wait for a reader.
pub fn has_room(write_end: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(write_end, PollFlags::POLLOUT)];
    let ready = |fds: &[PollFd]| fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
    poll(&mut fds, PollTimeout::ZERO).is_ok() && ready(&fds)
}

/// Raises the soft limit on open descriptors to the hard one: a system of 63 PDs needs several hundred.
pub fn raise_limit() -> Result<(), Errno> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// Has the kernel make room for `count` descriptors now, which it else makes by and by. More than the limit is no error.
pub fn make_room(fd: impl AsFd, count: i32) {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and returns a descriptor nobody else owns.
    unsafe {
        let highest = libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, count);
        if highest >= 0 {
            libc::close(highest);
        }
    }
}

/// A reader of its own over a descriptor that exec left open under this number; the number itself stays open.
pub fn reader(fd: RawFd) -> Result<std::fs::File, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and returns a descriptor nobody else owns.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) } as _)?;
    // SAFETY: as above.
    Ok(std::fs::File::from(unsafe { OwnedFd::from_raw_fd(copy as RawFd) }))
}
