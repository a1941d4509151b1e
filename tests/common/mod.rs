//! What every end-to-end test stands on: the real binary, run by each kind of user, in a directory that goes away afterwards.
//!
//! Started as root, a test runs everything twice: as root and as a user without any privilege. Started by an ordinary user, it runs
//! as that user. A host on which one of them cannot run a system makes the tests fail with what `doctor` says.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub mod markdown;
mod process;
pub mod random;
pub mod schema;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

pub use process::{Outcome, Running};

/// Uid and gid of the user without privilege: one that no account has on an ordinary system.
pub const UNPRIVILEGED_ID: u32 = 64_321;

/// Who runs the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// The tests were started by root, and so is the binary.
    Root,
    /// The tests were started by root; the binary runs as [`UNPRIVILEGED_ID`] without groups.
    Unprivileged,
    /// The tests were started by an ordinary user.
    Own,
}

/// Everybody that the tests can run the binary as.
pub fn users() -> Vec<User> {
    if nix::unistd::geteuid().is_root() { vec![User::Root, User::Unprivileged] } else { vec![User::Own] }
}

/// Runs a test once for each user, each in its own world.
pub fn for_each_user(test: impl Fn(&World)) {
    for user in users() {
        // Shown only when the test fails.
        eprintln!("--- as {user:?}");
        test(&World::new(user));
    }
}

/// A directory of its own, and the binary as one user sees it.
#[derive(Debug)]
pub struct World {
    user: User,
    dir: Directory,
    binary: Arc<Binary>,
}

impl World {
    /// Fails when this user cannot run systems here.
    pub fn new(user: User) -> Self {
        let world = Self { user, dir: Directory::new(user), binary: Binary::of(user) };
        world.require_host();
        world
    }

    /// Who runs the binary.
    pub fn user(&self) -> User {
        self.user
    }

    /// Where everything of this world is, and the working directory of the binary.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// The path of the binary for this user.
    pub fn binary(&self) -> &Path {
        &self.binary.path
    }

    /// The test program itself where the user can execute it: the build directory may be closed to others.
    pub fn test_program(&self) -> PathBuf {
        let built = std::env::current_exe().unwrap();
        if self.user != User::Unprivileged {
            return built;
        }
        let copy = self.path("test-program");
        if !copy.exists() {
            fs::copy(&built, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
        copy
    }

    /// A file of this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Writes a file that belongs to the user.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).unwrap();
            self.give(parent);
        }
        fs::write(&path, content).unwrap();
        self.give(&path);
        path
    }

    /// Makes a path the user's own.
    pub fn give(&self, path: &Path) {
        if self.user == User::Unprivileged {
            chown(path, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID)).unwrap();
        }
    }

    /// Writes a system file.
    pub fn system(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, text)
    }

    /// Makes `NAME.elf` of C source, with `mk-sandbox cc`. The same source is compiled once for all worlds of this process.
    pub fn program(&self, name: &str, source: &str) -> PathBuf {
        self.program_with(name, source, &[])
    }

    /// [`World::program`] with further arguments for the compiler.
    pub fn program_with(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        type Key = (String, Vec<String>);
        static IMAGES: OnceLock<Mutex<HashMap<Key, Vec<u8>>>> = OnceLock::new();
        let images = IMAGES.get_or_init(Mutex::default);
        let key: Key = (source.to_owned(), arguments.iter().map(|word| (*word).to_owned()).collect());
        let image_name = format!("{name}.elf");
        let known = lock(images).get(&key).cloned();
        if let Some(image) = known {
            return self.write(&image_name, image);
        }
        let source_name = format!("{name}.c");
        self.write(&source_name, source);
        let mut words = vec!["cc", "-o", &image_name, &source_name];
        words.extend(arguments);
        self.run(&words).expect(0);
        let path = self.path(&image_name);
        lock(images).insert(key, fs::read(&path).unwrap());
        path
    }

    /// Copies a directory of the repository, files only, into one of this world.
    pub fn copy(&self, from: &Path, to: &str) {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap();
                self.write(&format!("{to}/{name}"), fs::read(&path).unwrap());
            }
        }
    }

    /// Runs `mk-sandbox` with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).wait()
    }

    /// Starts `mk-sandbox` with these arguments.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        command.args(arguments);
        Running::start(command)
    }

    /// Runs `mk-sandbox` with these arguments behind a line of shell, which changes what a process inherits.
    pub fn run_behind(&self, line: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.user_command(Path::new("/bin/sh"));
        command.arg("-c").arg(format!("{line} && exec \"$0\" \"$@\"")).arg(self.binary()).args(arguments);
        Running::start(command).wait()
    }

    /// Runs `mk-sandbox` with these arguments and this standard output, which is not collected.
    pub fn run_into(&self, stdout: impl Into<Stdio>, arguments: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(arguments);
        Running::start_into(command, stdout.into()).wait()
    }

    /// `mk-sandbox` as this user in this world's directory, with little in its environment.
    pub fn command(&self) -> Command {
        self.user_command(self.binary())
    }

    fn user_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir()).env_clear().env("LC_ALL", "C").env("TMPDIR", self.dir());
        for name in ["PATH", "CC"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.user == User::Unprivileged {
            use std::os::unix::process::CommandExt;
            // The standard library also drops all supplementary groups when root changes the uid.
            command.gid(UNPRIVILEGED_ID).uid(UNPRIVILEGED_ID);
        }
        command
    }

    /// Asks `doctor` once for each user.
    fn require_host(&self) {
        static ANSWERS: OnceLock<Mutex<HashMap<User, Outcome>>> = OnceLock::new();
        let mut answers = lock(ANSWERS.get_or_init(Mutex::default));
        let answer = answers.entry(self.user).or_insert_with(|| self.run(&["doctor"])).clone();
        drop(answers);
        assert!(
            answer.code == Some(0),
            "this host cannot run systems as {:?}, so nothing can be shown; `mk-sandbox doctor` says:\n{answer}",
            self.user
        );
    }
}

/// A directory that is removed with what is in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new(user: User) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mk-sandbox-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if user == User::Unprivileged {
            chown(&path, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID)).unwrap();
        }
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// The binary where a user can execute it: root's target directory may be closed to others.
#[derive(Debug)]
struct Binary {
    path: PathBuf,
    /// Holds the copy.
    _dir: Option<Directory>,
}

impl Binary {
    /// All worlds that exist at one time share one copy.
    fn of(user: User) -> Arc<Self> {
        static COPY: Mutex<Weak<Binary>> = Mutex::new(Weak::new());
        let built = Path::new(env!("CARGO_BIN_EXE_mk-sandbox"));
        if user != User::Unprivileged {
            return Arc::new(Self { path: built.to_owned(), _dir: None });
        }
        let mut copy = lock(&COPY);
        if let Some(binary) = copy.upgrade() {
            return binary;
        }
        let dir = Directory::new(User::Root);
        let path = dir.0.join("mk-sandbox");
        // No process may be started while the copy is open for writing: a child holds it open until its exec, and a program that
        // somebody may write cannot be executed.
        let spawning = process::no_spawning();
        fs::copy(built, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        drop(spawning);
        let binary = Arc::new(Self { path, _dir: Some(dir) });
        *copy = Arc::downgrade(&binary);
        binary
    }
}

/// A test that failed while it held a lock must not fail the others.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
