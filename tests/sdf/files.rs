//! Files as they come from disk.

use std::fs;
use std::path::PathBuf;

use mk_sandbox::sdf::{self, Arch, Options, ReadError};

use super::fixtures;

/// A file with these bytes, which is removed with the value.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, bytes).expect("the target directory is writable");
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Nothing depends on it, and cargo clean removes the rest.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn files_that_are_no_text() {
    let file = TemporaryFile::new("not-utf8.system", b"<system>\n <!-- \xc3\xbc \xff -->\n</system>");
    let error = sdf::read_source(&file.0).unwrap_err();
    assert!(matches!(error, ReadError::NotUtf8 { .. }), "{error:?}");
    assert!(error.to_string().contains(":2:9: the file is not UTF-8: byte 0xff at offset 18"));
    let shown = error.render(false);
    assert!(shown.starts_with("error: the file is not UTF-8: byte 0xff"), "{shown}");
    assert!(shown.contains(":2:9\n") && shown.contains("^"), "{shown}");

    let utf16 = TemporaryFile::new("utf16.system", b"\xff\xfe<\0s\0");
    let error = sdf::read_source(&utf16.0).unwrap_err();
    assert!(error.to_string().contains(":1:1: the file is not UTF-8"), "{error}");

    let big = TemporaryFile::new("big.system", &vec![b' '; 16 * 1024 * 1024 + 1]);
    let error = sdf::read_source(&big.0).unwrap_err();
    assert!(error.render(false).contains("is larger than 16 MiB"), "{error}");
    let endless = sdf::read_source("/dev/zero".as_ref()).unwrap_err();
    assert!(matches!(endless, ReadError::TooBig { .. }), "{endless}");

    let missing = sdf::read_source(&fixtures().join("missing.system")).unwrap_err();
    assert!(missing.render(false).contains("missing.system`: No such file"), "{missing}");
    let directory = sdf::read_source(&fixtures()).unwrap_err();
    assert!(directory.render(false).contains("Is a directory"), "{directory}");
}

#[test]
fn empty_files_are_named_so() {
    let options = Options { search_path: Vec::new(), arch: Arch::Any, cpus: 1 };
    for bytes in ["", "\n \t\r\n", "\u{feff}"] {
        let file = TemporaryFile::new("empty.system", bytes.as_bytes());
        let source = sdf::read_source(&file.0).expect("it is text");
        let errors = sdf::load(&source, &options).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert_eq!(error.message, "the file is empty");
        let shown = mk_sandbox::diagnostic::render(&source, error, false);
        assert!(shown.contains("empty.system:1:1\n"), "{shown}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let text = fs::read_to_string(fixtures().join("valid_client_server.system")).expect("read");
    let file = TemporaryFile::new("bom.system", format!("\u{feff}{text}").as_bytes());
    let source = sdf::read_source(&file.0).expect("it is text");
    let options = Options { search_path: Vec::new(), arch: Arch::Any, cpus: 1 };
    let (system, warnings) = sdf::load(&source, &options).expect("valid");
    assert_eq!((system.pds.len(), warnings.len()), (2, 0));
}
