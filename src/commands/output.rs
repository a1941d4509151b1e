//! A file that a command writes: whether that is possible is known before the work, and the file is there whole or as it was before.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

/// A file to be written at the end. Until then nothing can be seen of it, and when it never comes to that, nothing is left.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    unfinished: Unfinished,
}

#[derive(Debug)]
enum Unfinished {
    /// A file without a name in the directory (O_TMPFILE).
    Nameless(File),
    /// The file system knows no such files: it is made at the end.
    Later,
    /// A pipe or a device, which is written to as it is.
    Stream(File),
}

impl OutputFile {
    /// Makes sure that the file can be written.
    ///
    /// # Errors
    /// The kernel's: no such directory, no permission, a directory of that name.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = resolve(path)?;
        if let Ok(kind) = fs::metadata(&path).map(|metadata| metadata.file_type()) {
            // Also says no to a directory, and to a file that is not ours to replace.
            let stream = File::options().write(true).open(&path)?;
            if kind.is_fifo() || kind.is_char_device() || kind.is_socket() || kind.is_block_device() {
                return Ok(Self { path, unfinished: Unfinished::Stream(stream) });
            }
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let nameless =
            File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o666).open(directory);
        let unfinished = match nameless {
            Ok(file) => Unfinished::Nameless(file),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                let (_, name) = create(&path)?;
                fs::remove_file(name)?;
                Unfinished::Later
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path, unfinished })
    }

    /// Where it will be, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it and gives it its name.
    ///
    /// # Errors
    /// The kernel's; a file that was there is as it was.
    pub fn finish(self, text: &str) -> io::Result<()> {
        let (mut file, name) = match self.unfinished {
            Unfinished::Stream(mut file) => return file.write_all(text.as_bytes()),
            Unfinished::Nameless(file) => (file, None),
            Unfinished::Later => create(&self.path).map(|(file, name)| (file, Some(Named(name))))?,
        };
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let name = match name {
            Some(name) => name,
            None => Named(link(&file, &self.path)?),
        };
        fs::rename(&name.0, &self.path)
    }
}

/// A file that is removed unless it got another name.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A link is followed, so that it stays one; what is not there yet is named by its directory.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            Ok(fs::canonicalize(parent.unwrap_or(Path::new(".")))?.join(name))
        }
        other => other,
    }
}

/// Names tried beside the file.
const ATTEMPTS: u32 = 16;

/// Does something with a free name beside the file.
fn beside<T>(path: &Path, with: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    for attempt in 0..ATTEMPTS {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{attempt}", std::process::id()));
        let name = path.with_file_name(name);
        match with(&name) {
            Ok(done) => return Ok((done, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    beside(path, |name| File::options().write(true).create_new(true).mode(0o666).open(name))
}

fn link(file: &File, path: &Path) -> io::Result<PathBuf> {
    let nameless = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let linked =
        beside(path, |name| Ok(linkat(AT_FDCWD, &nameless, AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)?));
    linked.map(|((), name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::embedded::TemporaryDirectory;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it is a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_there_whole_or_as_it_was() {
        let directory = TemporaryDirectory::new().expect("writable");
        let path = directory.path().join("report");
        let file = OutputFile::open(&path).expect("it can be written");
        assert_eq!(names(directory.path()), [""; 0], "nothing is seen of it yet");
        drop(file);
        assert_eq!(names(directory.path()), [""; 0], "and nothing is left");
        fs::write(&path, "before").expect("writable");
        let file = OutputFile::open(&path).expect("it can be written");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("before"));
        file.finish("after").expect("it can be written");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("after"));
        let later = OutputFile { path: path.clone(), unfinished: Unfinished::Later };
        later.finish("later").expect("it can be written");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("later"));
        assert_eq!(names(directory.path()), ["report"]);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let directory = TemporaryDirectory::new().expect("writable");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "before").expect("writable");
        std::os::unix::fs::symlink(&file, &link).expect("writable");
        OutputFile::open(&link).and_then(|output| output.finish("after")).expect("it can be written");
        assert!(fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_symlink()));
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), Some("after"));
        let null = OutputFile::open(Path::new("/dev/null")).and_then(|output| output.finish("nothing"));
        assert!(
            null.is_ok() && fs::metadata("/dev/null").is_ok_and(|found| found.file_type().is_char_device())
        );
        let full = OutputFile::open(Path::new("/dev/full")).and_then(|output| output.finish("much"));
        assert_eq!(full.map_err(|error| error.raw_os_error()), Err(Some(libc::ENOSPC)));
    }

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let directory = TemporaryDirectory::new().expect("writable");
        let refused = |path: &Path| OutputFile::open(path).map(drop).map_err(|error| error.raw_os_error());
        assert_eq!(refused(directory.path()), Err(Some(libc::EISDIR)));
        assert_eq!(refused(&directory.path().join("no/such")), Err(Some(libc::ENOENT)));
        assert_eq!(refused(Path::new("/proc/new")), Err(Some(libc::ENOENT)));
        assert!(refused(Path::new("")).is_err());
    }
}
