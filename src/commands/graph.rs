//! `mk-sandbox graph`: the system as a picture.

#![forbid(unsafe_code)]

use std::path::Path;

use super::inspect_args::{GraphArgs, GraphFormat};
use super::{load, say, write_file};
use crate::exit::Exit;
use crate::report::graph::{self, Format};

/// Writes the picture to standard output or to `--output`.
pub fn run(args: &GraphArgs) -> Exit {
    let loaded = match load::system(&args.system, &args.search_path, args.arch) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let format = args.format.unwrap_or_else(|| by_name(args.output.as_deref()));
    let title = args.system.file_name().unwrap_or_default().to_string_lossy();
    let picture = match graph::graph(&loaded.system, &title, format.into()) {
        Ok(picture) => picture,
        Err(error) => {
            super::told::tell(&error.to_string());
            return Exit::Usage;
        }
    };
    match &args.output {
        Some(path) => write_file(path, &picture),
        None => say(&picture),
    }
}

/// What the ending of a file's name says; DOT otherwise.
fn by_name(path: Option<&Path>) -> GraphFormat {
    match path.and_then(Path::extension).and_then(|extension| extension.to_str()) {
        Some("svg") => GraphFormat::Svg,
        Some("mmd" | "mermaid") => GraphFormat::Mermaid,
        _ => GraphFormat::Dot,
    }
}

impl From<GraphFormat> for Format {
    fn from(format: GraphFormat) -> Self {
        match format {
            GraphFormat::Dot => Self::Dot,
            GraphFormat::Mermaid => Self::Mermaid,
            GraphFormat::Svg => Self::Svg,
        }
    }
}
