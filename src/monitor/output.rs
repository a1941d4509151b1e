//! Standard output, without ever waiting for whoever reads it: a reader that stalls holds up the PDs that print, but not the launcher,
//! which has faults to hear and a time limit to keep.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes that a pipe which is said to be writable takes without blocking (PIPE_BUF, pipe(7)).
const CHUNK: usize = 4096;
/// Bytes kept for a stalled reader; with more, nothing is taken from the PDs' pipes until it reads on.
const KEPT: usize = 256 << 10;
/// Longest wait at the end for a reader that takes nothing, in milliseconds.
const LAST_WAIT_MS: u16 = 2000;

/// What is printed and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Output {
    pending: Vec<u8>,
}

impl Output {
    /// The reader has stalled: something is pending.
    pub fn stalled(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more should be taken from the PDs.
    pub fn full(&self) -> bool {
        self.pending.len() >= KEPT
    }

    /// Hands over what the reader takes now.
    pub fn push(&mut self) -> io::Result<()> {
        self.write_out(PollTimeout::ZERO)
    }

    /// Hands over the rest, as long as the reader takes some of it now and then. Returns the bytes it did not take.
    pub fn finish(&mut self) -> io::Result<usize> {
        self.write_out(PollTimeout::from(LAST_WAIT_MS))?;
        Ok(self.pending.len())
    }

    fn write_out(&mut self, patience: PollTimeout) -> io::Result<()> {
        let stdout = io::stdout();
        let mut done = 0;
        let result = loop {
            if done == self.pending.len() {
                break Ok(());
            }
            let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut fds, patience) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => break Err(errno.into()),
            }
            let end = self.pending.len().min(done + CHUNK);
            // The bare call: the standard library's stdout would keep the last line to itself.
            match nix::unistd::write(&stdout, &self.pending[done..end]) {
                Ok(count) => done += count,
                Err(Errno::EINTR) => {}
                // A reader's end that does not block, or a terminal that was said to be ready and is not.
                Err(Errno::EAGAIN) => break Ok(()),
                Err(errno) => break Err(errno.into()),
            }
        };
        self.pending.drain(..done);
        if result.is_err() {
            self.pending.clear();
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
