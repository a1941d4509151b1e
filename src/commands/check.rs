//! `mk-sandbox check`: every error of a system description, each at its place.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::args::CheckArgs;
use super::{load, say};
use crate::diagnostic::{Diagnostic, Severity};
use crate::exit::Exit;
use crate::sdf;

/// Judges the file; images are only looked for.
pub fn run(args: &CheckArgs) -> Exit {
    let loaded = match load::system(&args.system, &args.search_path, args.arch) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let system = &loaded.system;
    let mut seen = BTreeSet::new();
    let missing: Vec<Diagnostic> = system
        .pds
        .iter()
        .filter(|pd| seen.insert(&pd.image.path))
        .filter_map(|pd| {
            let error = sdf::find_in_search_path(&pd.image.path, &loaded.search_path).err()?;
            Some(Diagnostic {
                severity: Severity::Warning,
                span: pd.image.span.clone(),
                message: error.to_string(),
                help: Some("`run` needs the image; name its directory with --search-path".into()),
            })
        })
        .collect();
    load::tell(&loaded.source, &missing);
    say(&format!(
        "{}: valid: {}, {}, {}\n",
        args.system.display(),
        count(system.pds.len(), "protection domain"),
        count(system.regions.len(), "memory region"),
        count(system.channels.len(), "channel"),
    ))
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
