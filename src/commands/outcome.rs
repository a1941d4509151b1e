//! `run --report FILE`: the file is made sure of before the start and written at the end, however the run ends.

#![forbid(unsafe_code)]

use super::args::RunArgs;
use super::output::OutputFile;
use super::told;
use crate::exit::Exit;
use crate::report::outcome::{self, Asked, Stage};

/// A report that will be written.
#[derive(Debug)]
pub struct Pending {
    file: OutputFile,
    asked: Asked,
}

impl Pending {
    /// `None` when nobody asked for one.
    ///
    /// # Errors
    /// [`Exit::Internal`], told: the file cannot be written.
    pub fn new(args: &RunArgs) -> Result<Option<Self>, Exit> {
        let Some(path) = &args.report else { return Ok(None) };
        let file = OutputFile::open(path).map_err(|error| {
            told::tell(&format!("the report `{}` cannot be written: {error}", path.display()));
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
        Ok(Some(Self { file, asked }))
    }

    /// Writes it. The exit code stays what it is, unless it is success and there is no report.
    pub fn write(self, stage: Stage<'_>, exit: Exit) -> Exit {
        let path = self.file.path().to_owned();
        let written = outcome::write(&self.asked, stage, exit, &told::errors())
            .map_err(std::io::Error::from)
            .and_then(|text| self.file.finish(&text));
        match written {
            Ok(()) => exit,
            Err(error) => {
                told::tell(&format!("the report `{}` cannot be written: {error}", path.display()));
                if exit == Exit::Success { Exit::Internal } else { exit }
            }
        }
    }
}
