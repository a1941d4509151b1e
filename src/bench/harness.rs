//! Runs systems of the bench's programs as a user would, with `mk-sandbox run`, and reads what they print.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::measure::Cpus;
use super::system::PARAMETERS;
use crate::exit::Exit;
use crate::sys::floor;

macro_rules! programs {
    ($($name:literal),*) => {
        /// The images, from `programs/` by build.rs.
        const PROGRAMS: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name)))),*];
    };
}

programs!("call.elf", "crowd.elf", "idle.elf", "notify.elf", "restart.elf", "ring.elf");

/// Seconds after which a system has failed: far more than any takes, on a machine that is busy otherwise too.
const LIMIT: u32 = 120;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or a process of the bench's own.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: String,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
    /// A system that ended before it had measured everything.
    #[error("the system `{system}` ended early ({status}){said}")]
    Ended {
        /// Which.
        system: String,
        /// How `mk-sandbox run` ended.
        status: std::process::ExitStatus,
        /// What it said, on lines of their own.
        said: String,
    },
    /// A PD that printed what none of these programs prints.
    #[error("the system `{system}` printed `{line}`")]
    Line {
        /// Which.
        system: String,
        /// What.
        line: String,
    },
}

impl BenchError {
    /// What `run` ended with, where it was that: a host that cannot enforce the sandbox cannot be measured.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Ended { status, .. } if status.code() == Some(Exit::Host as i32) => Exit::Host,
            _ => Exit::Internal,
        }
    }

    pub(super) fn host(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Self::Host { what, source: errno.into() }
    }
}

/// What the PDs are told: `struct parameters` of programs/bench.h.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parameters {
    pub batches: u64,
    pub rounds: u64,
    pub cycles: u64,
}

/// A line that a PD printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub pd: String,
    pub word: String,
    pub number: u64,
}

/// Where systems are run, and with which binary.
#[derive(Debug)]
pub struct Harness {
    program: PathBuf,
    directory: PathBuf,
    cycles_per_second: f64,
}

impl Harness {
    /// Puts the images into `directory`; `program` is an mk-sandbox.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(program: PathBuf, directory: PathBuf) -> Result<Self, BenchError> {
        let harness = Self { program, directory, cycles_per_second: floor::cycles_per_second() };
        PROGRAMS.iter().try_for_each(|(name, bytes)| harness.write(name, bytes))?;
        Ok(harness)
    }

    /// Cycles of the time stamp counter in nanoseconds.
    pub fn nanoseconds(&self, cycles: f64) -> f64 {
        cycles / self.cycles_per_second * 1e9
    }

    pub(super) fn cycles(&self, seconds: f64) -> u64 {
        (seconds * self.cycles_per_second) as u64
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), BenchError> {
        let path = self.directory.join(name);
        fs::write(&path, bytes)
            .map_err(|source| BenchError::Host { what: format!("writing {}", path.display()), source })
    }

    /// Starts a system and leaves it running.
    pub(super) fn start(
        &self,
        name: &str,
        text: &str,
        parameters: Parameters,
        cpus: Cpus,
    ) -> Result<Running, BenchError> {
        let file = format!("{name}.system");
        self.write(&file, text.as_bytes())?;
        let words = [parameters.batches, parameters.rounds, parameters.cycles];
        self.write(PARAMETERS, &words.map(u64::to_le_bytes).concat())?;
        let mut command = Command::new(&self.program);
        command.arg("run").args(["--timeout", &LIMIT.to_string()]).arg(self.directory.join(&file));
        // Files are looked for there first, whatever is where the user stands.
        command.current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());

        let pin = |what| BenchError::host(what);
        let all = floor::cpus().map_err(pin("reading the CPUs of this process"))?;
        if cpus == Cpus::One {
            floor::run_on(&all[..1]).map_err(pin("pinning to one CPU"))?;
        }
        let started = floor::cycles();
        let spawned = command.spawn();
        floor::run_on(&all).map_err(pin("going back to all CPUs"))?;
        let mut child = spawned.map_err(|source| BenchError::Host {
            what: format!("starting {}", self.program.display()),
            source,
        })?;
        let Some(stdout) = child.stdout.take() else {
            return Err(BenchError::host("the system's output")(Errno::EBADF));
        };
        Ok(Running { name: name.into(), child, lines: BufReader::new(stdout), started })
    }

    /// Runs a system until `ends` PDs have printed `end`.
    pub(super) fn run(
        &self,
        name: &str,
        text: &str,
        parameters: Parameters,
        cpus: Cpus,
        ends: usize,
    ) -> Result<Vec<Line>, BenchError> {
        let mut running = self.start(name, text, parameters, cpus)?;
        running.read_until("end", ends)
    }
}

/// A system that runs. It ends with this value.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    lines: BufReader<ChildStdout>,
    /// The time stamp counter just before its launcher was started.
    pub started: u64,
}

impl Running {
    /// Process id of the launcher.
    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// Reads lines until `count` of them had this word.
    pub fn read_until(&mut self, word: &str, count: usize) -> Result<Vec<Line>, BenchError> {
        let mut lines = Vec::new();
        let mut seen = 0;
        while seen < count {
            let mut text = String::new();
            match self.lines.read_line(&mut text) {
                Ok(0) => return Err(self.ended()),
                Ok(_) => {}
                Err(source) => {
                    return Err(BenchError::Host { what: format!("reading from `{}`", self.name), source });
                }
            }
            let line = parse(&text).filter(|line| line.word != "wrong").ok_or_else(|| BenchError::Line {
                system: self.name.clone(),
                line: text.trim_end().into(),
            })?;
            seen += usize::from(line.word == word);
            lines.push(line);
        }
        Ok(lines)
    }

    fn ended(&mut self) -> BenchError {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.take(64 << 10).read_to_string(&mut said);
        }
        let said = said.lines().map(|line| format!("\n  {line}")).collect();
        match self.child.wait() {
            Ok(status) => BenchError::Ended { system: self.name.clone(), status, said },
            Err(source) => BenchError::Host { what: format!("waiting for `{}`", self.name), source },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already was waited for, and then its number may be another's.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// `PD | WORD NUMBER`
fn parse(text: &str) -> Option<Line> {
    let (pd, rest) = text.trim_end().split_once(" | ")?;
    let (word, number) = rest.split_once(' ')?;
    Some(Line { pd: pd.into(), word: word.into(), number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = Line { pd: "client".into(), word: "few".into(), number: 12 };
        assert_eq!(parse("client | few 12\n"), Some(line));
        for text in ["", "few 12\n", "client | few\n", "client | few twelve\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
