//! The exit codes: a contract with scripts, listed in `--help` and README.md.

#![forbid(unsafe_code)]

/// Why the process ends. The number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The system ended orderly, or the check found nothing.
    Success = 0,
    /// `check` found something, a PD faulted and nobody handled it, or a call can never return.
    Findings = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The system description or an image is invalid.
    Invalid = 3,
    /// This host cannot enforce the sandbox.
    Host = 4,
    /// A failure of mk-sandbox itself or of the system under it.
    Internal = 5,
    /// The time limit of `--timeout` was reached.
    TimeLimit = 124,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
