//! Reads records, tables and strings at places that a hostile file names.

#![forbid(unsafe_code)]

use object::read::ReadRef;
use std::ffi::CStr;

/// The only byte order an image may have.
pub(super) const LE: object::LittleEndian = object::LittleEndian;

/// Longest symbol, library or version name in bytes. Mangled C++ and Rust names reach a few hundred; the dynamic
/// linker hashes the name anew for each relocation, so an unbounded one would cost it minutes.
pub(super) const NAME_MAX: usize = 4096;

/// Most characters of a hostile name that a message repeats.
const SHOWN_MAX: usize = 200;

/// The record at `offset`, if the file holds all of it.
pub(super) fn record<T: object::pod::Pod>(bytes: &[u8], offset: u64) -> Option<&T> {
    bytes.read_at(offset).ok()
}

/// The `count` records at `offset`, if the file holds all of them.
pub(super) fn table<T: object::pod::Pod>(bytes: &[u8], offset: u64, count: u64) -> Option<&[T]> {
    bytes.read_slice_at(offset, usize::try_from(count).ok()?).ok()
}

/// `bytes[offset..offset + len]`, if the file holds all of it.
pub(super) fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    bytes.read_bytes_at(offset, len).ok()
}

/// The string at `offset` of a string table without its NUL, if it ends inside the table and within [`NAME_MAX`].
pub(super) fn string(strings: &[u8], offset: u64) -> Option<&[u8]> {
    let tail = strings.get(usize::try_from(offset).ok()?..)?;
    let tail = &tail[..tail.len().min(NAME_MAX + 1)];
    CStr::from_bytes_until_nul(tail).ok().map(CStr::to_bytes)
}

/// A name out of a hostile file, made fit for a message: control characters escaped, the length bounded.
pub(super) fn printable(name: &[u8]) -> String {
    // A character has at most four bytes: enough of them for every character that is shown, and one more.
    let head = &name[..name.len().min(4 * (SHOWN_MAX + 1))];
    let text = String::from_utf8_lossy(head);
    let mut shown: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(|c| {
            let plain = !c.is_control() && c != '\u{fffd}';
            plain.then_some(c).into_iter().chain(c.escape_unicode().filter(move |_| !plain))
        })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_inside_their_table() {
        assert_eq!(string(b"\0init\0x", 1), Some(&b"init"[..]));
        assert_eq!(string(b"\0init\0x", 5), Some(&b""[..]));
        assert_eq!(string(b"\0init\0x", 6), None);
        assert_eq!(string(b"\0init\0x", 7), None);
        assert_eq!(string(b"\0init\0x", u64::MAX), None);
        let mut long = vec![b'a'; NAME_MAX];
        long.push(0);
        assert_eq!(string(&long, 0).map(<[u8]>::len), Some(NAME_MAX));
        long.insert(0, b'a');
        assert_eq!(string(&long, 0), None);
    }

    #[test]
    fn a_hostile_name_cannot_steer_a_terminal() {
        assert_eq!(printable(b"buffer"), "buffer");
        assert_eq!(printable(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(printable(b"\xff"), "\\u{fffd}");
        let shown = printable(&vec![b'x'; 100_000]);
        assert_eq!(shown.chars().count(), SHOWN_MAX + 1);
    }
}
