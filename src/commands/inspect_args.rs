//! What the commands are asked for that look at a system without running it. The doc comments are the help texts.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::args::{LogArgs, architectures};
use crate::sdf::Arch;

/// Show a system in words
///
/// Protection domains with parents, priorities and CPUs; memory regions with who maps them where and how; channels both
/// ways; who calls whom; and what of the file has no effect on Linux.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Also look for the files of prefilled regions in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Draw a system
///
/// PDs inside their parents, memory regions and who maps them how, channels, calls. DOT is for Graphviz, Mermaid for
/// Markdown renderers, SVG for everything that shows pictures.
#[derive(Args, Clone, Debug)]
pub struct GraphArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// What to write; by default what the name of FILE says, else dot
    #[arg(long, value_enum)]
    pub format: Option<GraphFormat>,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Also look for the files of prefilled regions in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz
    Dot,
    /// For Markdown renderers
    Mermaid,
    /// A picture
    Svg,
}

/// Check a system description
///
/// Prints every error with its place, the line and what would be right, and what is valid but unwise: rights nobody
/// needs, calls that can wait for ever, images that `run` would refuse. Each kind of finding has an id; `mk-sandbox
/// explain ID` says why it matters. Exit code 1 when something is found at the level deny, 3 when the file is invalid.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Also look for images in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge by the rules of this architecture; any accepts what one of the others does
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// How findings are written
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
    /// Write to FILE instead of standard output and standard error
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Findings of this kind fail the check; may be repeated
    ///
    /// ID is a finding's id, or one of the groups warnings, notes and all. An id outweighs a group; where the same is named
    /// twice, the stricter option holds.
    #[arg(long, value_name = "ID")]
    pub deny: Vec<String>,
    /// Findings of this kind are told, but do not fail the check; may be repeated
    #[arg(long, value_name = "ID")]
    pub warn: Vec<String>,
    /// Findings of this kind are not told; may be repeated
    ///
    /// For one place in the file, write <!-- mk-allow ID: reason --> before or behind the element instead.
    #[arg(long, value_name = "ID")]
    pub allow: Vec<String>,
    /// Leave out the findings that FILE lists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub baseline: Option<PathBuf>,
    /// List today's findings in FILE, for --baseline, and end with 0
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "baseline")]
    pub write_baseline: Option<PathBuf>,
    /// Compare every PD's rights with SYSTEM.lock, which `mk-sandbox lock` writes; any difference is a finding
    #[arg(long)]
    pub locked: bool,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// Text for people
    Human,
    /// One JSON value
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, a test case for each kind of finding or check
    Junit,
    /// Annotations of GitHub Actions
    Github,
}

/// Write down every right that each protection domain has
///
/// SYSTEM.lock lists per PD its regions, channels, devices, system calls, scheduling and the SHA-256 of its image, one right
/// a line. Keep it beside the system file: `mk-sandbox check --locked` fails when the rights are no longer those, so that
/// no change of privilege slips through a review.
#[derive(Args, Clone, Debug)]
pub struct LockArgs {
    /// The system description file
    #[arg(value_name = "SYSTEM", value_hint = ValueHint::FilePath)]
    pub system: PathBuf,
    /// Write to FILE instead of SYSTEM.lock; - is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Leave the images out: where they are built anew for each check, their bytes may differ
    #[arg(long)]
    pub no_images: bool,
    /// Also look for images in DIR; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub search_path: Vec<PathBuf>,
    /// Judge the file by the rules of this architecture
    #[arg(long, value_name = "ARCH", default_value = "any", value_parser = architectures())]
    pub arch: Arch,
    /// Verbosity.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Explain a kind of finding
///
/// Without ID: every kind that `check` knows, with its level.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// As in the brackets behind `error`, `warning` or `note`
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}
