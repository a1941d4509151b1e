//! The consoles' way to standard output, and what happens when nobody takes it from there.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Ended, Monitor, STDOUT};

impl Monitor<'_> {
    pub(super) fn print_console(&mut self, index: usize) -> io::Result<()> {
        if self.output.full() {
            return Ok(());
        }
        let pipe = File::from(self.resources.consoles[index].read.try_clone()?);
        self.pds[index].console.drain(pipe, &mut self.output)?;
        self.push_output()
    }

    pub(super) fn end_line(&mut self, index: usize) -> io::Result<()> {
        self.pds[index].console.flush(&mut self.output)?;
        self.push_output()
    }

    pub(super) fn push_output(&mut self) -> io::Result<()> {
        let pushed = self.output.push();
        self.printed(pushed)?;
        if self.output.stalled() != self.stalled {
            self.stalled = self.output.stalled();
            self.listen_to_consoles(!self.stalled)?;
        }
        Ok(())
    }

    /// While the reader stalls, PDs that print wait for it in their pipes; it is heard when it reads on.
    pub(super) fn listen_to_consoles(&self, listen: bool) -> io::Result<()> {
        let flags = if listen { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        for (index, console) in self.resources.consoles.iter().enumerate() {
            self.epoll.modify(console.read.as_fd(), &mut EpollEvent::new(flags, index as u64))?;
        }
        let stdout = io::stdout();
        if listen {
            self.epoll.delete(stdout.as_fd())?;
        } else {
            self.epoll.add(stdout.as_fd(), EpollEvent::new(EpollFlags::EPOLLOUT, STDOUT))?;
        }
        Ok(())
    }

    /// Whoever reads the consoles and has seen enough (`| head`) asks for the end.
    pub(super) fn printed(&mut self, printed: io::Result<()>) -> io::Result<()> {
        match printed {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.ended.get_or_insert(Ended::Asked);
                Ok(())
            }
            Err(error) => Err(io::Error::other(format!("cannot write to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// All that is left at the end.
    pub(super) fn print_consoles(&mut self) -> io::Result<()> {
        for index in 0..self.pds.len() {
            let pipe = File::from(self.resources.consoles[index].read.try_clone()?);
            let console = &mut self.pds[index].console;
            console.drain(pipe, &mut self.output)?;
            console.flush(&mut self.output)?;
        }
        let finished = self.output.finish().map(|lost| {
            if lost > 0 {
                tracing::warn!("nobody reads standard output: {lost} bytes of the PDs' consoles are lost");
            }
        });
        self.printed(finished)
    }
}
