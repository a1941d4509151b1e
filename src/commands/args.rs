//! What each command is asked for. The doc comments are the help texts.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{ArgAction, Args, ValueHint};
use clap_complete::Shell;

use super::inspect_args::ReportFormat;
use crate::bench;
use crate::monitor::Mode;
use crate::plan::DEFAULT_HEAP_SIZE;
use crate::sdf::Arch;
use crate::sys::probe::Tier;

/// The log on standard error, which nothing but errors shares.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct LogArgs {
    /// Tell on standard error what is being done; twice for every detail
    #[arg(short, long, action = ArgAction::Count, help_heading = "Log")]
    pub verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Log")]
    pub quiet: bool,
}

/// Run a system, every protection domain in its own sandbox
///
/// Reads the system description, gives every protection domain (PD) a process that reaches its memory regions and its
/// channels and nothing else, starts all of them or none, and prints what they write to their debug consoles. Ends with
/// 0 on SIGINT or SIGTERM.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Also look for images in DIR; may be repeated
    ///
    /// The order is: the current directory, each DIR, the directory of SYSTEM.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture; any accepts what one of the others does
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// First compile NAME.c beside SYSTEM where the image NAME.elf is missing or older
    #[arg(long)]
    pub build: bool,
    /// End when no PD can run again
    ///
    /// That is when every PD waits with nothing pending, has stopped, or is gone. A call that can never return is reported
    /// with who waits for whom.
    #[arg(long)]
    pub until_idle: bool,
    /// End after this many seconds, with exit code 124
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// How the PDs' debug consoles are printed
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Console::Prefixed)]
    pub console: Console,
    /// How much of the sandbox this host must enforce
    ///
    /// full: all of it. compat: also runs without mseal, memory-deny-write-execute, NOEXEC_SEAL and Landlock's scopes, and
    /// says so. A host that offers less than the tier is an error (exit code 4); see `mk-sandbox doctor`.
    #[arg(long, value_name = "TIER", default_value = "full", value_parser = tiers())]
    pub tier: Tier,
    /// Memory that malloc can hand out in each PD, at least: bytes, or with K, M or G behind the number
    ///
    /// It is set aside before the PD runs. When it is used up, malloc returns NULL.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_HEAP_SIZE, value_parser = heap_size)]
    pub heap_size: u64,
    /// Who decides when PDs run
    ///
    /// linux: they run in parallel. microkit: as seL4 does it: PDs with the same cpu share one virtual CPU, and of those that
    /// can run exactly the one with the highest priority does; every switch is immediate. On one virtual CPU a system gives the same
    /// transcript every time, unless it depends on time: by budgets, domains, or computing for longer than 10 ms without an event
    /// while an equal waits.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Schedule::Linux)]
    pub schedule: Schedule,
    /// How PDs wait for messages under Linux's schedule
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Wait::Auto)]
    pub wait: Wait,
    /// Priorities become SCHED_FIFO where this host allows it
    ///
    /// Without it, or where it is not allowed, they become nice values as far as anybody may set them. A PD of high
    /// priority that never sleeps can take a CPU for itself.
    #[arg(long)]
    pub realtime: bool,
    /// What becomes of a PD without a parent that faults
    ///
    /// continue: it stays stopped, the others go on. stop: the system ends. restart: it is started again as a fresh process
    /// with clean memory, after pauses that grow from 10 ms to 5 s.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnFault::Continue)]
    pub on_fault: OnFault,
    /// Allow what is refused by default; wx: a PD may write and execute the same region
    #[arg(long, value_name = "WHAT", value_enum)]
    pub allow: Vec<Allow>,
    /// Write the whole outcome to FILE as JSON when the run ends, however it ends
    ///
    /// Every PD's rights and end, faults with registers, place and explanation, calls that cannot return, timings, the exit code
    /// and why. FILE is replaced as a whole; docs/report.schema.json describes it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// When all PDs are ready, print on standard error how long each step of the start took
    #[arg(long)]
    pub timings: bool,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Show what each protection domain of a system may do
///
/// Memory regions with rights and addresses, channels, descriptors, system calls with the reason for each, Landlock
/// rights and namespaces: all that `run` would grant, without running anything.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Only this PD
    #[arg(long, value_name = "NAME")]
    pub pd: Option<String>,
    /// Text for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Also look for the files of prefilled regions in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// Memory that malloc can hand out in each PD, as for `run`
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_HEAP_SIZE, value_parser = heap_size)]
    pub heap_size: u64,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Prove the sandbox on this host: start the system, ask the kernel what each PD really has, compare it with the plan
///
/// Every PD is started and confined, but none runs: what is looked at is the kernel's own account of its privileges,
/// namespaces, limits, root, mappings and descriptors, and every system call number is tried by the launcher's hand. Ends
/// with 0 when all agree and 1 on any difference.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Also look for images in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// First compile NAME.c beside SYSTEM where the image NAME.elf is missing or older
    #[arg(long)]
    pub build: bool,
    /// How much of the sandbox this host must enforce, as for `run`
    #[arg(long, value_name = "TIER", default_value = "full", value_parser = tiers())]
    pub tier: Tier,
    /// How what was found is written
    ///
    /// JUnit has a case for every PD and check; SARIF and GitHub's annotations tell of differences only.
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `--allow`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Allow {
    /// A region that is writable and executable in one PD
    Wx,
}

/// How consoles are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Console {
    /// Whole lines, each with its PD's name, control characters made visible
    Prefixed,
    /// The bytes as they are
    Raw,
}

impl From<Console> for Mode {
    fn from(console: Console) -> Self {
        match console {
            Console::Prefixed => Self::Prefixed,
            Console::Raw => Self::Raw,
        }
    }
}

/// `--wait`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// Spin for a moment where that has lately paid and a CPU is free for it, else sleep
    Auto,
    /// Always spin for a moment before sleeping
    Spin,
    /// Never spin
    Sleep,
}

impl From<Wait> for crate::launch::Wait {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Auto => Self::Auto,
            Wait::Spin => Self::Spin,
            Wait::Sleep => Self::Sleep,
        }
    }
}

/// `--schedule`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Schedule {
    /// Linux schedules
    Linux,
    /// seL4's rules
    Microkit,
}

impl From<Schedule> for crate::launch::Schedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Linux => Self::Linux,
            Schedule::Microkit => Self::Microkit,
        }
    }
}

/// `--on-fault`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFault {
    /// The others go on
    Continue,
    /// The system ends
    Stop,
    /// It is started again
    Restart,
}

impl From<OnFault> for crate::monitor::Policy {
    fn from(on_fault: OnFault) -> Self {
        match on_fault {
            OnFault::Continue => Self::Continue,
            OnFault::Stop => Self::Stop,
            OnFault::Restart => Self::Restart,
        }
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people
    Human,
    /// One JSON value
    Json,
}

/// Say how much of the sandbox this host can enforce
///
/// Tries every layer in a process that is gone afterwards, as the user who runs it, and says what to change where one
/// falls short. Exit code 0 when the host enforces everything, 4 otherwise.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Text for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Measure how fast systems run on this host
///
/// Runs systems in the full sandbox beside the floors of the machine: the same round trips without any of ours, and prints the
/// ratios. Machines differ and drift, so only ratios of one run mean anything. Takes a few minutes; nothing else should run.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Shorter measurements, fewer repetitions
    #[arg(long)]
    pub quick: bool,
    /// Text for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Only this row; may be repeated
    #[arg(long, value_name = "ROW", value_parser = PossibleValuesParser::new(bench::rows().iter().map(|row| row.id)))]
    pub only: Vec<String>,
    /// End with exit code 1 when a target is missed by more than this factor, as 1.5
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub check: Option<f64>,
}

/// Compile a protection domain's image: $CC with what an image needs
///
/// Runs $CC (cc when it is not set) with your arguments, the headers' place, -fPIC, and, when it links, -shared, libmicrokit
/// and the linker's hardening flags. The exit code is the compiler's.
///
///   mk-sandbox cc -o server.elf server.c
#[derive(Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct CcArgs {
    /// What the compiler is told
    #[arg(
        value_name = "ARGUMENTS",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_parser = ValueParser::os_string(),
        value_hint = ValueHint::FilePath
    )]
    pub arguments: Vec<OsString>,
}

/// Write the headers, libmicrokit.so and a pkg-config file to a directory
///
/// For build systems that call the compiler themselves:
/// PKG_CONFIG_PATH=DIR/lib/pkgconfig pkg-config --cflags --libs microkit
#[derive(Args, Clone, Debug)]
pub struct SdkArgs {
    /// Created where it does not exist; files in it are replaced
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Print a completion script for a shell
///
/// For example: mk-sandbox completions bash > ~/.local/share/bash-completion/completions/mk-sandbox
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

fn tiers() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(["full", "compat"])
        .map(|word| if word == "compat" { Tier::Compat } else { Tier::Full })
}

pub(super) fn architectures() -> impl TypedValueParser<Value = Arch> {
    PossibleValuesParser::new(Arch::ALL.map(Arch::name)).map(|word| word.parse().unwrap_or_default())
}

/// A day: longer runs need no limit, and the sum of any start and this stays far from the end of the clock.
const TIMEOUT_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= TIMEOUT_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds above 0, up to 86400 (a day)".to_owned()),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor >= 1.0 && factor.is_finite() => Ok(factor),
        _ => Err("a number of at least 1".to_owned()),
    }
}

/// Below a page there is no room for malloc's own tables; above 4 GiB a system of 63 PDs would not fit any host.
const HEAP_SIZE: std::ops::RangeInclusive<u64> = 4096..=4 << 30;

fn heap_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    u64::from_str_radix(digits, radix)
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| HEAP_SIZE.contains(bytes))
        .ok_or_else(|| "a size from 4K to 4G, as 65536, 64K, 16M or 0x10000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_sizes_have_suffixes_and_bounds() {
        for (text, bytes) in
            [("4096", 4096), ("4k", 4096), ("16M", 16 << 20), ("0x10000", 65536), ("4G", 4 << 30)]
        {
            assert_eq!(heap_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "M", "0", "4095", "5G", "1.5M", "-1", "+-1", "0x", "99999999999999999999G", "1MM", "1é"]
        {
            assert!(heap_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn factors_are_at_least_one() {
        assert_eq!(factor("1.5"), Ok(1.5));
        for text in ["0.5", "-2", "nan", "inf", ""] {
            assert!(factor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_limits_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("86400"), Ok(Duration::from_secs(86_400)));
        for text in ["0", "-1", "nan", "inf", "1e300", "", "1s", "86401"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
