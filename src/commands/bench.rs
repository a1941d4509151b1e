//! `mk-sandbox bench`: how fast systems run on this host, beside what the host can do at best.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, IsTerminal, Write};

use super::args::{BenchArgs, Format};
use super::embedded::TemporaryDirectory;
use super::say;
use crate::bench::{self, BenchError, Harness, Row, Settings, Verdict};
use crate::exit::Exit;

/// Measures, prints, and judges when asked to.
pub fn run(args: &BenchArgs) -> Exit {
    let rows: Vec<Row> = bench::rows()
        .iter()
        .filter(|row| args.only.is_empty() || args.only.iter().any(|id| id == row.id))
        .copied()
        .collect();
    let settings = Settings::new(args.quick);
    let slack = args.check.unwrap_or(1.0);
    let results = match measure(settings, &rows) {
        Ok(results) => results,
        Err(error) => {
            super::told::tell(&error.to_string());
            return error.exit();
        }
    };
    let report = match args.format {
        Format::Human => bench::human,
        Format::Json => bench::json,
    };
    let said = say(&report(&rows, &results, settings, slack));
    let failed = rows.iter().any(|row| row.verdict(&results, slack) == Verdict::Failed);
    if args.check.is_some() && failed && said == Exit::Success { Exit::Findings } else { said }
}

fn measure(settings: Settings, rows: &[Row]) -> Result<bench::Results, BenchError> {
    let host = |what: &str| {
        let what = what.to_owned();
        move |source| BenchError::Host { what, source }
    };
    let program = env::current_exe().map_err(host("finding this program"))?;
    let directory = TemporaryDirectory::new().map_err(host("making a directory for systems"))?;
    let harness = Harness::new(program, directory.path().to_owned())?;
    let terminal = io::stderr().is_terminal();
    let mut progress = |what: &str| {
        if terminal {
            eprint!("\r\x1b[K{what}");
            let _ = io::stderr().flush();
        }
    };
    let results = bench::run(&harness, settings, rows, &mut progress);
    progress("");
    results
}
