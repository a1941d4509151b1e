//! `run --build`: compiles the one-file images that stand beside the system description.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cc::{CcError, compile};
use super::embedded::TemporarySdk;
use super::load::Loaded;
use crate::exit::Exit;
use crate::sdf::{System, find_in_search_path};

/// Builds what is due for a loaded system; an error is told, and the exit code returned.
///
/// # Errors
/// The exit code of [`BuildError::exit`].
pub fn images(loaded: &Loaded) -> Result<(), Exit> {
    let directory = loaded.source.path.parent().unwrap_or(Path::new(""));
    match build_images(&loaded.system, directory, &loaded.search_path) {
        Ok(built) => {
            for image in built {
                tracing::info!("built {}", image.display());
            }
            Ok(())
        }
        Err(error) => {
            super::told::tell(&error.to_string());
            Err(error.exit())
        }
    }
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No compiler ran.
    #[error(transparent)]
    Compiler(#[from] CcError),
    /// The compiler refused the source; it has said why.
    #[error("`{}` does not compile", .0.display())]
    Source(PathBuf),
    /// A file could not be looked at or put in its place.
    #[error("cannot build `{}`: {source}", .image.display())]
    File {
        /// The image.
        image: PathBuf,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// A source that does not compile is the user's, everything else the machine's.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Source(_) => Exit::Invalid,
            Self::Compiler(_) | Self::File { .. } => Exit::Internal,
        }
    }
}

/// Compiles `NAME.c` in `directory`, the system file's, for every image `NAME.elf` that is missing or older than it.
/// An image that is found elsewhere in the search path is the user's affair and stays as it is; so does one without such a
/// source. Returns what was built.
///
/// # Errors
/// The first that fails. An image is in place whole, or as it was before.
pub fn build_images(
    system: &System,
    directory: &Path,
    search_path: &[PathBuf],
) -> Result<Vec<PathBuf>, BuildError> {
    let names: BTreeSet<&Path> = system.pds.iter().map(|pd| pd.image.path.as_path()).collect();
    let mut sdk = None;
    let mut built = Vec::new();
    for name in names {
        let image = directory.join(name);
        let source = image.with_extension("c");
        let found = find_in_search_path(name, search_path).ok();
        if found.is_some_and(|found| !same_file(&found, &image)) || !is_due(&source, &image) {
            continue;
        }
        let sdk = match &sdk {
            Some(sdk) => sdk,
            None => sdk.insert(TemporarySdk::new().map_err(CcError::Sdk)?),
        };
        tracing::debug!("building {}", image.display());
        build(sdk, &source, &image)?;
        built.push(image);
    }
    Ok(built)
}

/// There is a source, and the image is missing or older. Equal times count as older: a source may change within the
/// clock's step.
fn is_due(source: &Path, image: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    match (modified(source), modified(image)) {
        (Some(source), Some(image)) => image <= source,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Compiles into a file beside the image, which then takes the image's name.
fn build(sdk: &TemporarySdk, source: &Path, image: &Path) -> Result<(), BuildError> {
    let mut name = OsString::from(".");
    name.push(image.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let unfinished = Unfinished(image.with_file_name(name));
    let mut output = OsString::from("-o");
    output.push(&unfinished.0);
    // Not taken for an option, whatever the file is called.
    let source_argument = if source.is_absolute() { source.to_owned() } else { Path::new(".").join(source) };
    let arguments = ["-O2".into(), "-g".into(), output, source_argument.into_os_string()];
    if !compile(sdk, &arguments)?.success() {
        return Err(BuildError::Source(source.to_owned()));
    }
    fs::rename(&unfinished.0, image).map_err(|source| BuildError::File { image: image.to_owned(), source })
}

/// A file that is removed unless it got another name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
