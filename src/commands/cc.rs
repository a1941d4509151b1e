//! `mk-sandbox cc`: the C compiler with what an image needs, as `mpicc` does for its library.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use nix::sys::signal::{SigSet, Signal};

use super::embedded::{COMPILE_FLAGS, LINK_FLAGS, TemporarySdk, include_dir, lib_dir};
use crate::exit::Exit;

/// Why no compiler ran.
#[derive(Debug, thiserror::Error)]
pub enum CcError {
    /// The headers and the library could not be written out.
    #[error("cannot write the headers and libmicrokit.so for the compiler: {0}")]
    Sdk(#[source] io::Error),
    /// There is no compiler of this name.
    #[error("cannot run the C compiler `{compiler}`: {source}; install one, or set CC")]
    Start {
        /// As `$CC` names it.
        compiler: String,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

/// `mk-sandbox cc ARGUMENTS`: the exit code is the compiler's, 128 and the signal when one ended it.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let status = TemporarySdk::new().map_err(CcError::Sdk).and_then(|sdk| compile(&sdk, arguments));
    match status {
        Ok(status) => {
            let signalled = || status.signal().map_or(255, |signal| 128 | signal);
            let code = status.code().unwrap_or_else(signalled);
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => {
            super::told::tell(&error.to_string());
            Exit::Internal.into()
        }
    }
}

/// Runs the compiler with `arguments` and what an image needs, and waits for it.
///
/// # Errors
/// [`CcError::Start`]; that it found something wrong is in the status.
pub fn compile(sdk: &TemporarySdk, arguments: &[OsString]) -> Result<ExitStatus, CcError> {
    let words = std::env::var_os("CC").filter(|words| !words.is_empty());
    let words = words.unwrap_or_else(|| "cc".into());
    let mut words = split(&words).into_iter();
    let compiler = words.next().unwrap_or_else(|| "cc".into());
    let failed = |source| CcError::Start { compiler: compiler.to_string_lossy().into(), source };

    let mut command = Command::new(&compiler);
    command.args(words).args(flags(sdk, arguments));
    tracing::debug!(?command, "compiling");
    let mut child = command.spawn().map_err(failed)?;
    // As system(3) does: what ends the compiler from the terminal must not end this process before the SDK is removed.
    let held: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let before = held.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let status = child.wait().map_err(failed);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    status
}

/// `CC="ccache gcc"` means what it means to make.
fn split(words: &OsStr) -> Vec<OsString> {
    match words.to_str() {
        Some(words) => words.split_whitespace().map(OsString::from).collect(),
        None => vec![words.to_owned()],
    }
}

/// Arguments that make the compiler stop before it links.
const NO_LINK: [&str; 8] = ["-c", "-S", "-E", "-fsyntax-only", "-M", "-MM", "--precompile", "-r"];

/// The user's arguments between ours: their -I come before ours, and libmicrokit behind the objects that need it.
fn flags(sdk: &TemporarySdk, arguments: &[OsString]) -> Vec<OsString> {
    let with = |option: &str, path: std::path::PathBuf| {
        let mut flag = OsString::from(option);
        flag.push(path);
        flag
    };
    let mut all: Vec<OsString> = COMPILE_FLAGS.iter().map(OsString::from).collect();
    all.extend(arguments.iter().cloned());
    all.push(with("-I", include_dir(sdk.path())));
    // Without an input there is nothing to link: `mk-sandbox cc --version`.
    let input = arguments.iter().any(|arg| arg == "-" || !arg.as_encoded_bytes().starts_with(b"-"));
    let stops = arguments.iter().any(|arg| NO_LINK.iter().any(|option| arg == option));
    if input && !stops {
        all.extend(LINK_FLAGS.iter().map(OsString::from));
        all.push(with("-L", lib_dir(sdk.path())));
        all.push("-lmicrokit".into());
    }
    all
}
