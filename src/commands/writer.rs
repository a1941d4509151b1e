//! The process that writes the report of a run. It is started before the launcher gives up what it does not need to watch PDs, files
//! among it, and gets nothing from it but the text at the end. A launcher that ends without one leaves no file.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::output::OutputFile;

/// argv[0] of the process. Nobody types it.
const NAME: &str = "mk-sandbox-report";
/// Said once the file is known to be possible.
const READY: &str = "ready";
/// Said when it is there. Anything else is why not.
const WRITTEN: &str = "written";
/// Behind a text that is whole: JSON has none.
const END: u8 = 0;

/// A file that is written by a process of its own.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    /// Starts the process and waits until it knows that the file can be written.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn start(path: &Path) -> Result<Self, String> {
        let mut child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(path)
            .env_clear()
            // What a terminal sends to a run is not for it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its writer has no pipes".into());
        };
        let mut writer = Self { child, stdin, answers: BufReader::new(stdout) };
        match writer.answer() {
            Ok(answer) if answer == READY => Ok(writer),
            Ok(why) => {
                let _ = writer.child.wait();
                Err(why)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Why not, in words; a file that was there is as it was.
    pub fn finish(mut self, text: &str) -> Result<(), String> {
        let sent = self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.write_all(&[END]));
        drop(self.stdin);
        let answer = sent.and_then(|()| {
            let mut answer = String::new();
            self.answers.read_line(&mut answer).map(|_| answer)
        });
        // Its status says nothing more, and whoever watches PDs may have heard of its end already.
        let _ = self.child.wait();
        match answer.as_deref().map(str::trim_end) {
            Ok(WRITTEN) => Ok(()),
            Ok("") => Err("its writer is gone".into()),
            Ok(why) => Err(why.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

/// Writes the file and ends, where this process was started for that; returns where not.
pub fn entry() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != NAME) {
        return;
    }
    let path = PathBuf::from(arguments.next().unwrap_or_default());
    let done = write(&path, io::stdin().lock(), io::stdout().lock());
    std::process::exit(i32::from(done.is_err()));
}

fn write(path: &Path, mut text: impl Read, mut answers: impl Write) -> io::Result<()> {
    let file = match OutputFile::open(path) {
        Ok(file) => file,
        Err(error) => return writeln!(answers, "{error}"),
    };
    writeln!(answers, "{READY}")?;
    answers.flush()?;
    let mut bytes = Vec::new();
    text.read_to_end(&mut bytes)?;
    // Whoever sends ended before the text did.
    let Some(bytes) = bytes.strip_suffix(&[END]) else { return Ok(()) };
    match file.finish(&String::from_utf8_lossy(bytes)) {
        Ok(()) => writeln!(answers, "{WRITTEN}"),
        Err(error) => writeln!(answers, "{error}"),
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
            let mut answers = Vec::new();
            write(&path, text, &mut answers).expect("pipes that work");
            String::from_utf8(answers).expect("UTF-8")
        };
        assert_eq!(said(b"{\"half\": "), "ready\n");
        assert!(!path.exists());
        assert_eq!(said(b"{}\n\0"), "ready\nwritten\n");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("{}\n"));
        fs::remove_file(&path).expect("it is there");
        fs::create_dir(&path).expect("writable");
        assert!(said(b"{}\0").starts_with("Is a directory"));
    }
}
