//! A process of the binary: its output as it comes, and its end within a time limit.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lock;

/// Far beyond what any run here takes; only a run that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(180);

/// While this is held, this process starts no other.
pub fn no_spawning() -> MutexGuard<'static, ()> {
    static SPAWNING: Mutex<()> = Mutex::new(());
    lock(&SPAWNING)
}

/// What a run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code; `None` when a signal ended the process.
    pub code: Option<i32>,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Outcome {
    /// Fails with everything that was printed unless the exit code is this.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "exit code {code} expected:\n{self}");
        self
    }

    /// Fails unless standard error contains the text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "`{text}` expected on stderr:\n{self}");
        self
    }

    /// Fails unless these are exactly the lines of a PD, in this order.
    #[track_caller]
    pub fn printed(&self, pd: &str, lines: &[&str]) -> &Self {
        assert!(self.lines_of(pd) == lines, "`{pd}` should print {lines:#?}:\n{self}");
        self
    }

    /// The lines that a PD printed, without its name.
    pub fn lines_of(&self, pd: &str) -> Vec<&str> {
        let prefix = format!("{pd} | ");
        self.stdout.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code: {:?}", self.code)?;
        writeln!(f, "stdout:\n{}", shortened(&self.stdout))?;
        writeln!(f, "stderr:\n{}", shortened(&self.stderr))
    }
}

/// Bytes of a stream that a failed test shows from its beginning and from its end.
const SHOWN: usize = 8 << 10;

fn shortened(text: &str) -> String {
    let bytes = text.as_bytes();
    if bytes.len() <= 2 * SHOWN {
        return text.to_owned();
    }
    let (start, rest) = bytes.split_at(SHOWN);
    let (left_out, end) = rest.split_at(rest.len() - SHOWN);
    let text = String::from_utf8_lossy;
    format!("{}\n[… {} bytes …]\n{}", text(start), left_out.len(), text(end))
}

/// A process of the binary that has not been waited for.
#[derive(Debug)]
pub struct Running {
    child: Child,
    streams: Arc<Streams>,
    /// From here on [`Running`] gives up.
    deadline: Instant,
    is_over: bool,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
struct Streams {
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ended: usize,
}

impl Printed {
    fn of(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn outcome(&self, code: Option<i32>) -> Outcome {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Outcome { code, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Running {
    /// Starts the command with nothing to read and both streams collected.
    pub fn start(command: Command) -> Self {
        Self::start_into(command, Stdio::piped())
    }

    /// [`Running::start`] with another standard output, which is collected only if it is a new pipe.
    pub fn start_into(mut command: Command, stdout: Stdio) -> Self {
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let started = {
            let _alone = no_spawning();
            command.spawn()
        };
        let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // The command holds its own copy of the standard output it was given.
        drop(command);
        let streams = Arc::new(Streams::default());
        match child.stdout.take() {
            Some(stdout) => collect(&streams, Stream::Stdout, stdout),
            None => lock(&streams.state).ended += 1,
        }
        collect(&streams, Stream::Stderr, child.stderr.take().unwrap());
        Self { child, streams, deadline: Instant::now() + LIMIT, is_over: false }
    }

    /// The launcher's process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends the launcher a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until standard output contains the text.
    #[track_caller]
    pub fn wait_for_stdout(&mut self, text: &str) {
        self.wait_for(Stream::Stdout, text);
    }

    /// Waits until standard error contains the text.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) {
        self.wait_for(Stream::Stderr, text);
    }

    #[track_caller]
    fn wait_for(&mut self, stream: Stream, text: &str) {
        let seen = |printed: &mut Printed| String::from_utf8_lossy(printed.of(stream)).contains(text);
        if !self.wait_until(|printed| seen(printed) || printed.ended == 2) {
            self.give_up(&format!("waiting for `{text}` on {stream:?}"));
        }
        if !seen(&mut lock(&self.streams.state)) {
            self.give_up(&format!("it ended without `{text}` on {stream:?}"));
        }
    }

    /// Waits until standard output has this many more lines than now.
    #[track_caller]
    pub fn wait_for_lines(&mut self, count: usize) {
        let lines = |printed: &mut Printed| printed.stdout.iter().filter(|byte| **byte == b'\n').count();
        let wanted = lines(&mut lock(&self.streams.state)) + count;
        if !self.wait_until(|printed| lines(printed) >= wanted) {
            self.give_up(&format!("waiting for {count} more lines on stdout"));
        }
    }

    /// False when the time is up before the condition holds.
    fn wait_until(&self, mut condition: impl FnMut(&mut Printed) -> bool) -> bool {
        let mut printed = lock(&self.streams.state);
        while !condition(&mut printed) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            printed = self.streams.changed.wait_timeout(printed, left).unwrap().0;
        }
        true
    }

    /// Waits for the end. It has come when nobody can write to the streams any more, so that a PD that outlives its launcher and
    /// holds them is a failure.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        if !self.wait_until(|printed| printed.ended == 2) {
            self.give_up("waiting for its end");
        }
        let status = self.child.wait().unwrap();
        self.is_over = true;
        lock(&self.streams.state).outcome(status.code())
    }

    #[track_caller]
    fn give_up(&mut self, what: &str) -> ! {
        let printed = lock(&self.streams.state).outcome(None);
        self.end();
        panic!("{what}; so far:\n{printed}");
    }

    /// Process ids of the PDs by name: children of the launcher that have become PD hosts.
    pub fn pds(&self) -> BTreeMap<String, Pid> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // "PID (NAME) STATE PPID …", and a name may hold anything.
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent != Some(&self.child.id().to_string()) {
                continue;
            }
            let Ok(line) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let name = String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or_default())
                .into_owned();
            if let Some(name) = name.strip_prefix("mk-pd:") {
                found.insert(name.to_owned(), Pid::from_raw(pid));
            }
        }
        found
    }

    /// The process of the PD of this name.
    #[track_caller]
    pub fn pd(&self, name: &str) -> Pid {
        let pds = self.pds();
        *pds.get(name).unwrap_or_else(|| panic!("no process of PD `{name}` among {pds:?}"))
    }

    /// Waits until the kernel shows this PD in a state: `S` asleep, `t` or `T` stopped, … (proc(5)).
    #[track_caller]
    pub fn wait_for_state(&mut self, pd: &str, state: char) {
        let path = format!("/proc/{}/stat", self.pd(pd));
        let mut seen = String::new();
        while Instant::now() < self.deadline {
            seen = fs::read_to_string(&path).unwrap_or_default();
            // "PID (NAME) STATE …"
            if seen.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(state)) {
                return;
            }
            std::thread::yield_now();
        }
        self.give_up(&format!("waiting for state {state} of PD `{pd}`, which is: {seen}"));
    }

    /// Writes into a memory region from outside, through the launcher's descriptor of it.
    #[track_caller]
    pub fn poke_region(&self, region: &str, offset: u64, bytes: &[u8]) {
        let directory = format!("/proc/{}/fd", self.pid());
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let name = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(region)
                && let Ok(file) = fs::File::options().write(true).open(entry.path())
            {
                file.write_all_at(bytes, offset).unwrap();
                return;
            }
            names.push(name);
        }
        panic!("no descriptor of region `{region}` among {names:?}");
    }

    fn end(&mut self) {
        if !self.is_over {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.is_over = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn collect(streams: &Arc<Streams>, stream: Stream, mut from: impl Read + Send + 'static) {
    let streams = Arc::clone(streams);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let mut printed = lock(&streams.state);
            if count == 0 {
                printed.ended += 1;
            } else {
                printed.of(stream).extend_from_slice(&buffer[..count]);
            }
            drop(printed);
            streams.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}
