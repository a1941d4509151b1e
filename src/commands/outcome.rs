//! `run --report FILE`: the file is made sure of before the start and written at the end, however the run ends. Whatever is to be
//! known of the host is asked before the start, since at the end this process may not ask any more.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::args::RunArgs;
use super::told;
use super::writer::Writer;
use crate::exit::Exit;
use crate::report::outcome::{self, Asked, Host, Stage};

/// A report that will be written.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    writer: Writer,
    asked: Asked,
    host: Host,
}

impl Pending {
    /// `None` when nobody asked for one.
    ///
    /// # Errors
    /// [`Exit::Internal`], told: the file cannot be written.
    pub fn new(args: &RunArgs) -> Result<Option<Self>, Exit> {
        let Some(path) = &args.report else { return Ok(None) };
        let writer = Writer::start(path).map_err(|why| {
            told::tell(&format!("the report `{}` cannot be written: {why}", path.display()));
            Exit::Internal
        })?;
        let asked = Asked {
            system: args.system.to_string_lossy().into_owned(),
            tier: args.tier.to_string(),
            schedule: outcome::schedule(args.schedule.into()),
            wait: outcome::wait(args.wait.into()),
            on_fault: outcome::on_fault(args.on_fault.into()),
            realtime: args.realtime,
            until_idle: args.until_idle,
            timeout_s: args.timeout.map(|limit| limit.as_secs_f64()),
        };
        Ok(Some(Self { path: path.clone(), writer, asked, host: Host::here() }))
    }

    /// Writes it. The exit code stays what it is, unless it is success and there is no report.
    pub fn write(self, stage: Stage<'_>, exit: Exit) -> Exit {
        let written = outcome::write(&self.asked, &self.host, stage, exit, &told::errors())
            .map_err(|error| error.to_string())
            .and_then(|text| self.writer.finish(&text));
        match written {
            Ok(()) => exit,
            Err(why) => {
                told::tell(&format!("the report `{}` cannot be written: {why}", self.path.display()));
                if exit == Exit::Success { Exit::Internal } else { exit }
            }
        }
    }
}
