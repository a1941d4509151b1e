//! What comes with the binary for those who build images: the headers, libmicrokit.so, and the flags to use them with.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// libmicrokit.so: what images link with and what every PD runs on.
pub const LIBMICROKIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libmicrokit.so"));

macro_rules! headers {
    ($($path:literal),* $(,)?) => {
        /// Every file under `include/`: its path there and its text.
        pub const HEADERS: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../include/", $path)))),*];
    };
}

headers!(
    "microkit.h",
    "sel4/config.h",
    "sel4/errors.h",
    "sel4/faults.h",
    "sel4/sel4.h",
    "sel4/syscalls.h",
    "sel4/types.h",
);

/// An image is position-independent.
pub const COMPILE_FLAGS: &[&str] = &["-fPIC"];

/// How an image is linked: a shared object in which nothing is left to do lazily (relro, now), whose stack holds no code, whose
/// code shares no page with data, and in which no symbol is missing. The launcher refuses images that lack the first
/// three where it matters; saying it here makes the error the linker's.
pub const LINK_FLAGS: &[&str] =
    &["-shared", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,-z,separate-code", "-Wl,-z,defs"];

/// Writes `include/`, `lib/libmicrokit.so` and `lib/pkgconfig/microkit.pc` into `directory`, which is made where it is missing.
///
/// # Errors
/// The kernel's, with the path it was about.
pub fn write_sdk(directory: &Path) -> io::Result<()> {
    let write = |path: PathBuf, contents: &[u8]| {
        let with_path =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(with_path)?;
        }
        fs::write(&path, contents).map_err(with_path)
    };
    for (path, text) in HEADERS {
        write(include_dir(directory).join(path), text.as_bytes())?;
    }
    write(lib_dir(directory).join("libmicrokit.so"), LIBMICROKIT)?;
    write(lib_dir(directory).join("pkgconfig/microkit.pc"), pkg_config().as_bytes())
}

/// Where [`write_sdk`] puts the headers.
pub fn include_dir(sdk: &Path) -> PathBuf {
    sdk.join("include")
}

/// Where [`write_sdk`] puts the library.
pub fn lib_dir(sdk: &Path) -> PathBuf {
    sdk.join("lib")
}

/// The folder may be moved: every path in it is relative to the file.
fn pkg_config() -> String {
    format!(
        "prefix=${{pcfiledir}}/../..\n\
         includedir=${{prefix}}/include\n\
         libdir=${{prefix}}/lib\n\
         \n\
         Name: microkit\n\
         Description: The Microkit API for protection domains under mk-sandbox\n\
         Version: {}\n\
         Cflags: -I${{includedir}} {}\n\
         Libs: {} -L${{libdir}} -lmicrokit\n",
        env!("CARGO_PKG_VERSION"),
        COMPILE_FLAGS.join(" "),
        LINK_FLAGS.join(" "),
    )
}

/// A directory that only this user can enter and that goes with this value.
#[derive(Debug)]
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    /// Makes it under `$TMPDIR`, or `/tmp`.
    ///
    /// # Errors
    /// The kernel's, with the path it was about.
    pub fn new() -> io::Result<Self> {
        private_directory().map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // Who removed it first has done the same.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The SDK in a temporary directory. As long as it is there, signals that would end this process wait: then it would stay behind.
#[derive(Debug)]
pub struct TemporarySdk {
    directory: TemporaryDirectory,
    /// Let go behind the directory: fields are dropped in their order.
    _held: Held,
}

/// Signals that are held back for a time.
#[derive(Debug)]
struct Held(SigSet);

impl Held {
    fn new() -> io::Result<Self> {
        let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        Ok(Self(ends.thread_swap_mask(SigmaskHow::SIG_BLOCK)?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}

impl TemporarySdk {
    /// Writes it under `$TMPDIR`, or `/tmp`.
    ///
    /// # Errors
    /// The kernel's, with the path it was about. Nothing is left behind then.
    pub fn new() -> io::Result<Self> {
        let held = Held::new()?;
        let directory = TemporaryDirectory::new()?;
        write_sdk(directory.path())?;
        Ok(Self { directory, _held: held })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Names tried before giving up: each collision is another process in the same nanosecond, or someone who guesses.
const ATTEMPTS: u32 = 64;

fn private_directory() -> io::Result<PathBuf> {
    let base = std::env::temp_dir();
    for attempt in 0..ATTEMPTS {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let name =
            format!("mk-sandbox-{}-{:x}", std::process::id(), u64::from(now) << 8 | u64::from(attempt));
        let directory = base.join(name);
        // Created, never reused: an existing one, or a link, could be somebody else's.
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let text = format!("{}: {error}", directory.display());
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: no free name", base.display())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_header_is_embedded() {
        fn files(directory: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(directory).expect("it is a directory") {
                let path = entry.expect("it is readable").path();
                if path.is_dir() {
                    files(&path, found);
                } else {
                    found.insert(path);
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let mut on_disk = BTreeSet::new();
        files(&root, &mut on_disk);
        let embedded: BTreeSet<_> = HEADERS.iter().map(|(path, _)| root.join(path)).collect();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn the_temporary_sdk_is_private_and_goes_away() {
        let sdk = TemporarySdk::new().expect("it can be written");
        let path = sdk.path().to_owned();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(include_dir(&path).join("sel4/sel4.h").is_file());
        assert_eq!(fs::read(lib_dir(&path).join("libmicrokit.so")).ok().as_deref(), Some(LIBMICROKIT));
        assert_ne!(TemporarySdk::new().expect("it can be written").path(), path);
        drop(sdk);
        assert!(!path.exists());
    }
}
