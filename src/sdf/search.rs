//! Files that a system description names: images and prefill files.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};

use super::context::quoted;
use super::system::ProgramImage;
use crate::diagnostic::Diagnostic;

/// A file that is in none of the places it was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// As the system description names it.
    pub path: PathBuf,
    /// The directories, in the order they were tried; none for an absolute path.
    pub searched: Vec<PathBuf>,
}

/// The first directory of `search_path` that holds a file called `path`, joined with it. An
/// absolute `path` is looked for just where it says. Directories do not count as found.
///
/// # Errors
/// No place holds such a file, or none that may be looked at.
pub fn find_in_search_path(path: &Path, search_path: &[PathBuf]) -> Result<PathBuf, NotFound> {
    // Joining an absolute path yields that path.
    let nowhere = [PathBuf::new()];
    let searched = if path.is_absolute() { &nowhere } else { search_path };
    let mut candidates = searched.iter().map(|directory| directory.join(path));
    candidates.find(|candidate| is_file(candidate)).ok_or_else(|| NotFound {
        path: path.to_path_buf(),
        searched: if path.is_absolute() { Vec::new() } else { search_path.to_vec() },
    })
}

/// [`find_in_search_path`] for a program image.
///
/// # Errors
/// The image is not found: an error at the place in the system file that names it.
pub fn find_image(image: &ProgramImage, search_path: &[PathBuf]) -> Result<PathBuf, Diagnostic> {
    find_in_search_path(&image.path, search_path).map_err(|error| {
        let name = quoted(&image.path.to_string_lossy());
        let error_there = Diagnostic::error(image.span.clone(), format!("there is no image {name}"));
        match error.places() {
            Some(places) => error_there.with_help(format!("it is looked for in {places}; see --search-path")),
            None => error_there,
        }
    })
}

/// Whatever can be opened and read: an image may also come through a pipe or a device.
fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

impl std::error::Error for NotFound {}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no file `{}`", self.path.display())?;
        match self.places() {
            Some(places) => write!(f, " in {places}"),
            None => Ok(()),
        }
    }
}

impl NotFound {
    /// The directories for a message, unless the path is absolute.
    pub fn places(&self) -> Option<String> {
        if self.searched.is_empty() {
            return None;
        }
        let shown = self.searched.iter().map(|directory| match directory.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => directory.display().to_string(),
        });
        Some(shown.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_wins_and_directories_are_no_files() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let path = [root.join("missing"), root.join("src"), root.clone()];
        assert_eq!(find_in_search_path(Path::new("lib.rs"), &path), Ok(root.join("src/lib.rs")));
        assert_eq!(find_in_search_path(Path::new("Cargo.toml"), &path), Ok(root.join("Cargo.toml")));
        let error = find_in_search_path(Path::new("src"), &path).unwrap_err();
        assert_eq!(error.searched, path);
        assert!(error.to_string().contains("no file `src` in "), "{error}");
    }

    #[test]
    fn absolute_paths_need_no_search_path() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("Cargo.toml");
        assert_eq!(find_in_search_path(&file, &[]), Ok(file));
        let error = find_in_search_path(&root.join("missing"), std::slice::from_ref(&root)).unwrap_err();
        assert!(error.to_string().ends_with("missing`"), "{error}");
    }
}
