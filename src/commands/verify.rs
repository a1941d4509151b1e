//! `mk-sandbox verify`: the sandbox, proved on this host.

#![forbid(unsafe_code)]

use std::io::{self, Write};

use super::args::{Format, VerifyArgs};
use super::prepare::{self, Prepared, Wishes, refused, tell};
use crate::exit::Exit;
use crate::launch::{self, Launch, LaunchError, Schedule, Wait};
use crate::pd::Shipped;
use crate::sys::descriptor;
use crate::verify::{self, Check};

/// Starts the system up to the barrier, looks, ends it.
pub fn run(args: &VerifyArgs) -> Exit {
    match try_run(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &VerifyArgs) -> Result<Exit, Exit> {
    let wishes = Wishes {
        system: &args.system,
        search_path: &args.search_path,
        arch: args.arch,
        build: args.build,
        heap_size: crate::plan::DEFAULT_HEAP_SIZE,
        tier: args.tier,
        schedule: Schedule::Linux,
        wait: Wait::Auto,
        realtime: false,
        allow_wx: true,
    };
    let Prepared { loaded, launch, .. } = prepare::launch(&wishes)?;
    let checks = look(&launch).map_err(|error| refused(&loaded, args.tier, &error))?;
    let text = match args.format {
        Format::Human => human(&checks),
        Format::Json => serde_json::to_string_pretty(&checks).unwrap_or_default() + "\n",
    };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        tell(&format!("standard output: {error}"));
        return Err(Exit::Internal);
    }
    Ok(if checks.iter().all(|check| check.ok) { Exit::Success } else { Exit::Findings })
}

fn look(launch: &Launch) -> Result<Vec<Check>, LaunchError> {
    let failed = |what: &'static str| move |source| LaunchError::Prepare { what: what.into(), source };
    descriptor::raise_limit().map_err(io::Error::from).map_err(failed("raising the limit on open files"))?;
    let signals = prepare::take_signals().map_err(failed("taking signals"))?;
    let resources = launch::prepare(launch)?;
    let running = launch::start(launch, &resources, &signals, &Shipped)?;
    let checks = verify::verify(launch, &resources, &running);
    launch::end_all(running.iter().map(|pd| &pd.child));
    checks.map_err(failed("asking the kernel about a PD"))
}

/// For each PD what agrees, by name, and what differs in full.
fn human(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut pds: Vec<&str> = checks.iter().map(|check| check.pd.as_str()).collect();
    pds.dedup();
    for pd in pds {
        let of_pd = || checks.iter().filter(|check| check.pd == pd);
        let mut agree: Vec<&str> = of_pd().filter(|check| check.ok).map(|check| check.what).collect();
        agree.dedup();
        text += &format!("PD `{pd}`\n  agrees: {}\n", agree.join(", "));
        for Check { what, expected, found, .. } in of_pd().filter(|check| !check.ok) {
            text += &format!("  DIFFERS: {what}\n    planned: {expected}\n    found:   {found}\n");
        }
    }
    let differ = checks.iter().filter(|check| !check.ok).count();
    text + &format!("{} checks agree with the plan, {differ} differ\n", checks.len() - differ)
}
