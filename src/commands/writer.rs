//! The process that writes the report of a run. It is started before the launcher gives up what it does not need to watch PDs, files
//! among it, and gets nothing from it but the text at the end. A launcher that ends without one leaves no file.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::output::OutputFile;

/// argv[0] of the process. Nobody types it.
const NAME: &str = "mk-sandbox-report";
/// Said once the file is known to be possible.
const READY: &str = "ready";
/// Said when it is there. Anything else is why not.
const WRITTEN: &str = "written";
/// Behind every text that is whole: JSON has none.
const END: u8 = 0;

/// A file that is written by a process of its own.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    /// A socket, read and written as a file: sending and shutting down are calls that whoever watches PDs may not make.
    line: File,
}

impl Writer {
    /// Starts the process and waits until it knows that the file can be written.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn start(path: &Path) -> Result<Self, String> {
        let started = || {
            let (line, other) = UnixStream::pair()?;
            let child = Command::new("/proc/self/exe")
                .arg0(NAME)
                .arg(path)
                .env_clear()
                // What a terminal sends to a run is not for it.
                .process_group(0)
                // Standard output and error stay what they are: the report may be meant for them.
                .stdin(OwnedFd::from(other))
                .spawn()?;
            Ok(Self { child, line: File::from(OwnedFd::from(line)) })
        };
        let mut writer = started().map_err(|error: io::Error| error.to_string())?;
        match receive(&mut writer.line) {
            Ok(Some(answer)) if answer == READY => Ok(writer),
            answer => {
                let _ = writer.child.wait();
                Err(why(answer))
            }
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Why not, in words; a file that was there is as it was.
    pub fn finish(mut self, text: &str) -> Result<(), String> {
        let answer = send(&mut self.line, text).and_then(|()| receive(&mut self.line));
        // Its status says nothing more, and whoever watches PDs may have heard of its end already.
        let _ = self.child.wait();
        match answer {
            Ok(Some(answer)) if answer == WRITTEN => Ok(()),
            answer => Err(why(answer)),
        }
    }
}

fn why(answer: io::Result<Option<String>>) -> String {
    match answer {
        Ok(Some(why)) => why,
        Ok(None) => "its writer is gone".into(),
        Err(error) => error.to_string(),
    }
}

fn send(line: &mut impl Write, text: &str) -> io::Result<()> {
    line.write_all(text.as_bytes())?;
    line.write_all(&[END])
}

/// A whole text; `None` when the other side ends before.
fn receive(line: &mut impl Read) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    while bytes.last() != Some(&END) {
        match line.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A socket whose other end was closed with unread bytes in it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    bytes.pop();
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes the file and ends, where this process was started for that; returns where not.
pub fn entry() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != NAME) {
        return;
    }
    let path = PathBuf::from(arguments.next().unwrap_or_default());
    let done = io::stdin().as_fd().try_clone_to_owned().and_then(|line| serve(&path, &mut File::from(line)));
    std::process::exit(i32::from(done.is_err()));
}

fn serve(path: &Path, line: &mut (impl Read + Write)) -> io::Result<()> {
    let file = match OutputFile::open(path) {
        Ok(file) => file,
        Err(error) => return send(line, &error.to_string()),
    };
    send(line, READY)?;
    // Whoever sends may end before the text does.
    let Some(text) = receive(line)? else { return Ok(()) };
    match file.finish(&text) {
        Ok(()) => send(line, WRITTEN),
        Err(error) => send(line, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::commands::embedded::TemporaryDirectory;

    #[test]
    fn half_a_text_is_no_report() {
        let directory = TemporaryDirectory::new().expect("writable");
        let path = directory.path().join("report");
        let said = |text: &[u8]| {
            let (mut here, mut there) = UnixStream::pair().expect("sockets");
            here.write_all(text).expect("room for a little");
            here.shutdown(std::net::Shutdown::Write).expect("its own");
            serve(&path, &mut there).expect("sockets that work");
            drop(there);
            let mut answers = String::new();
            here.read_to_string(&mut answers).expect("UTF-8");
            answers
        };
        assert_eq!(said(b"{\"half\": "), "ready\0");
        assert!(!path.exists());
        assert_eq!(said(b"{}\n\0"), "ready\0written\0");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("{}\n"));
        fs::remove_file(&path).expect("it is there");
        fs::create_dir(&path).expect("writable");
        assert!(said(b"").starts_with("Is a directory"));
    }
}
