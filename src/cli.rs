//! The command line: from arguments to a command and its exit code.

#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub use crate::commands::args::{
    BenchArgs, CcArgs, CompletionsArgs, Console, DoctorArgs, Format, LogArgs, PolicyArgs, RunArgs, SdkArgs,
    VerifyArgs,
};
pub use crate::commands::inspect_args::{CheckArgs, ExplainArgs, GraphArgs, LockArgs, ShowArgs};
use crate::commands::{
    bench, cc, check, doctor, explain, graph, lock, policy, run, say, sdk, show, verify, writer,
};
use crate::exit::Exit;
use crate::launch::Early;
use crate::pd;

const EXIT_CODES: &str = "\
Exit codes:
    0  the system ended orderly, or nothing was found
    1  `check` found something at the level deny, a PD faulted and nobody handled it, or a call can never return
    2  the command line is wrong
    3  the system description or an image is invalid
    4  this host cannot enforce the sandbox that was asked for
    5  a failure of mk-sandbox or of the system under it
  124  the time limit was reached
`mk-sandbox cc` ends with the compiler's exit code.";

const EXAMPLES: &str = "\
Examples:
  mk-sandbox run --build --until-idle examples/client_server/example.system
  mk-sandbox policy --pd client examples/client_server/example.system
  mk-sandbox cc -o server.elf server.c";

/// Runs seL4 Microkit systems on Linux, every protection domain in its own sandbox
///
/// The system description file is the security policy: a protection domain reaches the memory regions that the file maps
/// into it, at the rights given there, and the channels it is an end of. Everything else the kernel refuses.
#[derive(Debug, Parser)]
#[command(
    name = "mk-sandbox",
    version,
    after_help = EXIT_CODES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    Check(CheckArgs),
    Show(ShowArgs),
    Graph(GraphArgs),
    Lock(LockArgs),
    Explain(ExplainArgs),
    Policy(PolicyArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Bench(BenchArgs),
    Cc(CcArgs),
    Sdk(SdkArgs),
    Completions(CompletionsArgs),
}

/// The whole program. It is also the PD host: the launcher starts this binary again for each PD, under a name that no
/// user types.
pub fn main() -> ExitCode {
    // Before anything of the command line exists: a PD's process must never come near it.
    pd::entry::<pd::Shipped>();
    writer::entry();
    let mut arguments = env::args_os().skip(1);
    let is_run = arguments.next().is_some_and(|first| first == "run");
    let early = is_run.then(|| run::early(arguments, &pd::Shipped)).flatten();
    match parse(is_run) {
        Ok(command) => command.run(early),
        Err(error) => {
            // Help and version are no errors for clap's exit code either; a closed standard output changes nothing.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

/// `run` by itself, as it is in [`Cli`].
#[derive(Debug, Parser)]
struct RunAlone {
    #[command(flatten)]
    args: RunArgs,
}

/// The definition of all commands takes longer to make than that of one, and a start waits for it. What the one does not take, help included,
/// is for the whole to answer.
fn parse(is_run: bool) -> Result<Command, clap::Error> {
    if is_run && let Ok(alone) = RunAlone::try_parse_from(env::args_os().skip(1)) {
        return Ok(Command::Run(alone.args));
    }
    Cli::try_parse().map(|cli| cli.command)
}

impl Command {
    fn run(self, early: Option<Early>) -> ExitCode {
        if let Some(log) = self.log() {
            start_log(log);
        }
        match self {
            Self::Run(args) => run::run(&args, early, &pd::Shipped).into(),
            Self::Check(args) => check::run(&args).into(),
            Self::Show(args) => show::run(&args).into(),
            Self::Graph(args) => graph::run(&args).into(),
            Self::Lock(args) => lock::run(&args).into(),
            Self::Explain(args) => explain::run(&args).into(),
            Self::Policy(args) => policy::run(&args).into(),
            Self::Verify(args) => verify::run(&args).into(),
            Self::Doctor(args) => doctor::run(&args).into(),
            Self::Bench(args) => bench::run(&args).into(),
            Self::Cc(args) => cc::run(&args.arguments),
            Self::Sdk(args) => sdk::run(&args.directory).into(),
            Self::Completions(args) => {
                let mut script = Vec::new();
                clap_complete::generate(args.shell, &mut Cli::command(), "mk-sandbox", &mut script);
                say(&String::from_utf8_lossy(&script)).into()
            }
        }
    }

    fn log(&self) -> Option<LogArgs> {
        match self {
            Self::Run(args) => Some(args.log),
            Self::Check(args) => Some(args.log),
            Self::Show(args) => Some(args.log),
            Self::Graph(args) => Some(args.log),
            Self::Lock(args) => Some(args.log),
            Self::Policy(args) => Some(args.log),
            Self::Verify(args) => Some(args.log),
            Self::Doctor(args) => Some(args.log),
            // The arguments of `cc` are the compiler's; the others have nothing to tell.
            Self::Bench(_) | Self::Cc(_) | Self::Sdk(_) | Self::Explain(_) | Self::Completions(_) => None,
        }
    }
}

fn start_log(args: LogArgs) {
    let level = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // The tests of a command may have started one already.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .without_time()
        .with_ansi(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_by_itself_takes_what_it_takes_among_the_others() {
        let alone = |words: &[&str]| RunAlone::try_parse_from(words).map(|alone| format!("{:?}", alone.args));
        let among = |words: &[&str]| {
            let words = [&["mk-sandbox"], words].concat();
            Cli::try_parse_from(words).map(|cli| match cli.command {
                Command::Run(args) => format!("{args:?}"),
                other => panic!("{other:?}"),
            })
        };
        for words in [
            &["run", "x.system"][..],
            &["run", "--build", "--until-idle", "--timeout", "3", "x.system", "-vv"],
            &["run", "--search-path", "a", "--search-path=b", "--allow=wx", "--tier=compat", "--", "-x"],
        ] {
            assert_eq!(alone(words).unwrap(), among(words).unwrap());
        }
        for words in [
            &["run"][..],
            &["run", "-h"],
            &["run", "--version"],
            &["run", "x", "y"],
            &["run", "-q", "-v", "x"],
        ] {
            assert_eq!(alone(words).unwrap_err().kind(), among(words).unwrap_err().kind(), "{words:?}");
        }
    }

    #[test]
    fn the_compilers_arguments_are_left_alone() {
        let parse = |arguments: &[&str]| match Cli::try_parse_from(arguments) {
            Ok(Cli { command: Command::Cc(cc) }) => cc.arguments,
            other => panic!("{arguments:?}: {other:?}"),
        };
        for arguments in [
            &["-o", "server.elf", "server.c"][..],
            &["-c", "server.c", "--help", "--version"],
            &["-v"],
            &["-q", "--", "x.c"],
            &["--version"],
        ] {
            let all: Vec<&str> = ["mk-sandbox", "cc"].into_iter().chain(arguments.iter().copied()).collect();
            assert_eq!(parse(&all), arguments);
        }
        assert!(Cli::try_parse_from(["mk-sandbox", "cc"]).is_err());
    }
}
