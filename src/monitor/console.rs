//! The debug console: one byte stream a PD, printed in whole lines with the PD's name in front, or as it comes.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

/// How consoles are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whole lines, each with the PD's name; bytes that could steer a terminal are made visible.
    Prefixed,
    /// The bytes as they are.
    Raw,
}

/// Bytes of the longest line that is kept together; a PD that prints no newline must not fill the launcher's memory.
const LINE_MAX: usize = 4096;
/// Bytes taken from one PD before the others have their turn.
const TURN: usize = 64 << 10;

/// One PD's console.
#[derive(Debug)]
pub struct Console {
    prefix: String,
    mode: Mode,
    line: Vec<u8>,
}

impl Console {
    /// For the PD of this name.
    pub fn new(name: &str, mode: Mode) -> Self {
        Self { prefix: format!("{name} | "), mode, line: Vec::new() }
    }

    /// Prints what is in the pipe, which must not block. Returns when it is empty or the turn is over.
    pub fn drain(&mut self, mut pipe: impl Read, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < TURN {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    taken += count;
                    self.print(&buffer[..count], out)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        out.flush()
    }

    fn print(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        if self.mode == Mode::Raw {
            return out.write_all(bytes);
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line(out)?;
            } else {
                self.line.push(*byte);
                if self.line.len() == LINE_MAX {
                    self.end_line(out)?;
                }
            }
        }
        Ok(())
    }

    /// Prints a line that has no end yet: before something else is said about the PD, and at the end.
    pub fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        if !self.line.is_empty() {
            self.end_line(out)?;
        }
        out.flush()
    }

    fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let text = format!("{}{}\n", self.prefix, visible(line));
        self.line.clear();
        out.write_all(text.as_bytes())
    }
}

/// Text as it is, control characters and bytes that are no UTF-8 as `\xNN`: what a PD prints must not steer the terminal of
/// whoever watches it.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                let mut buffer = [0; 4];
                character.encode_utf8(&mut buffer).bytes().for_each(|byte| escape(byte, &mut text));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(*byte, &mut text));
    }
    text
}

fn escape(byte: u8, text: &mut String) {
    text.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(mode: Mode, parts: &[&[u8]]) -> String {
        let mut console = Console::new("pd", mode);
        let mut out = Vec::new();
        for part in parts {
            console.drain(*part, &mut out).unwrap();
        }
        console.flush(&mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_come_out_whole() {
        assert_eq!(printed(Mode::Prefixed, &[b"he", b"llo\nwor", b"ld"]), "pd | hello\npd | world\n");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        let hostile = "\x1b[2J\u{9b}m".as_bytes();
        assert_eq!(printed(Mode::Prefixed, &[hostile]), "pd | \\x1b[2J\\xc2\\x9bm\n");
        assert_eq!(printed(Mode::Prefixed, &[b"a\xffb\r\n"]), "pd | a\\xffb\n");
    }

    #[test]
    fn raw_is_raw() {
        assert_eq!(printed(Mode::Raw, &[b"\x1b[2Jx"]), "\x1b[2Jx");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = vec![b'x'; LINE_MAX + 1];
        assert_eq!(printed(Mode::Prefixed, &[&long]).lines().count(), 2);
    }
}
