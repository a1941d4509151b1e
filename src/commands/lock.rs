//! `mk-sandbox lock`: writes down every right that the system file gives.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::inspect_args::LockArgs;
use super::{images, load, say, write_file};
use crate::exit::Exit;
use crate::policy::{Answer, Policy, PolicyError};
use crate::report::lock::Lock;
use crate::report::words::count;
use crate::sdf::System;

/// Writes the lock file.
pub fn run(args: &LockArgs) -> Exit {
    match text(args) {
        Ok((text, rights)) => {
            let path = args.output.clone().unwrap_or_else(|| lock_path(&args.system));
            if path.as_os_str() == "-" {
                return say(&text);
            }
            match write_file(&path, &text) {
                Exit::Success => say(&format!("{}: {}\n", path.display(), count(rights, "right"))),
                failed => failed,
            }
        }
        Err(exit) => exit,
    }
}

/// An error is told when this returns its exit code.
fn text(args: &LockArgs) -> Result<(String, usize), Exit> {
    let loaded = load::system(&args.system, &args.search_path, args.arch)?;
    let system = &loaded.system;
    let hashes = match args.no_images {
        true => Vec::new(),
        false => hashes(system, &loaded.search_path)?,
    };
    let calls = system_calls().map_err(|error| internal(&error.to_string()))?;
    let lock = Lock::of(system, &hashes, &calls);
    let text = lock.to_text().map_err(|error| internal(&error.to_string()))?;
    Ok((text, lock.rights()))
}

fn internal(error: &str) -> Exit {
    super::told::tell(error);
    Exit::Internal
}

/// Every image's hash; those that cannot be read are told.
fn hashes(system: &System, search_path: &[PathBuf]) -> Result<Vec<Option<String>>, Exit> {
    let files = images::read(system, search_path);
    let mut missing = false;
    for (pd, _) in system.pds.iter().zip(&files).filter(|(_, file)| file.sha256.is_none()) {
        super::told::tell(&format!("image `{}` of PD `{}` cannot be read", pd.image.path.display(), pd.name));
        missing = true;
    }
    if missing {
        super::told::tell("build the images, name their directory with --search-path, or use --no-images");
        return Err(Exit::Invalid);
    }
    Ok(files.into_iter().map(|file| file.sha256).collect())
}

/// `SYSTEM.lock`
pub(super) fn lock_path(system: &Path) -> PathBuf {
    let mut path = system.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// The system calls that every PD may make, as the policy words them.
pub(super) fn system_calls() -> Result<Vec<String>, PolicyError> {
    let allowed = |policy: Policy| {
        let rules = policy.rules.into_iter().filter(|rule| rule.answer == Answer::Allow);
        rules.map(|rule| rule.to_string()).collect()
    };
    Policy::running().map(allowed)
}
