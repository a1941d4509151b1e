//! A system file from disk.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::diagnostic::{self, Diagnostic, Source};

/// Bytes of a system file; 63 PDs with everything a PD can have need less than 1 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is missing, a directory, or may not be read.
    #[error("cannot read the system description `{}`: {error}", .path.display())]
    Io {
        /// As the user named it.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// Longer than [`MAX_BYTES`].
    #[error("the system description `{}` is larger than {} MiB", .path.display(), MAX_BYTES >> 20)]
    TooBig {
        /// As the user named it.
        path: PathBuf,
    },
    /// The text up to the first bytes that are not UTF-8, and where they are.
    #[error("{}", at(.source_until, .diagnostic))]
    NotUtf8 {
        /// The text before them.
        source_until: Source,
        /// The place and what stands there.
        diagnostic: Diagnostic,
    },
}

impl ReadError {
    /// The error for a terminal, without a line end.
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::NotUtf8 { source_until, diagnostic } => diagnostic::render(source_until, diagnostic, color),
            Self::Io { .. } | Self::TooBig { .. } => format!("error: {self}"),
        }
    }
}

/// Reads a system file. That it says anything is for [`super::load`] to find out.
///
/// # Errors
/// It cannot be read, is larger than [`MAX_BYTES`], or is not UTF-8.
pub fn read_source(path: &Path) -> Result<Source, ReadError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| ReadError::Io { path: path.to_path_buf(), error })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooBig { path: path.to_path_buf() });
    }
    let (text, bad) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            let bad = bytes[valid];
            bytes.truncate(valid);
            // Only the line that holds the bad byte is shown, up to it.
            (String::from_utf8_lossy(&bytes).into_owned(), Some(bad))
        }
    };
    let source = Source { path: path.to_path_buf(), text };
    let Some(byte) = bad else { return Ok(source) };
    let place = source.text.len();
    let message = format!("the file is not UTF-8: byte {byte:#04x} at offset {place}");
    let diagnostic = Diagnostic::error(place..place, message).with_help("save it as UTF-8");
    Err(ReadError::NotUtf8 { source_until: source, diagnostic })
}

fn at(source: &Source, diagnostic: &Diagnostic) -> String {
    let (line, column) = source.position(diagnostic.span.start);
    format!("{}:{line}:{column}: {}", source.path.display(), diagnostic.message)
}
