//! Symbol versions: which version of a library's symbol the image was linked against.
//!
//! The dynamic linker walks lists of records by the offsets in them, asserts that each named library is loaded, and
//! indexes an array that it sized by the highest index it met.

#![forbid(unsafe_code)]

use super::Library;
use super::bytes::{LE, record, table};
use super::dynamic::Dynamic;
use super::error::Problem;
use super::segments::Layout;
use object::elf;
use object::endian::LittleEndian;
use object::pod::Pod;
use std::ops::Range;

/// Bits of a version index; the top bit hides a symbol.
const INDEX: u16 = 0x7fff;

/// Checks all version tables and returns the parts of the file that they take.
pub(super) fn check(
    bytes: &[u8],
    layout: &Layout,
    dynamic: &Dynamic,
    symbols: u64,
) -> Result<Vec<Range<u64>>, Problem> {
    let needed = dynamic.get(elf::DT_VERNEED);
    let defined = dynamic.get(elf::DT_VERDEF);
    let mut walk = Walk { bytes, layout, dynamic, highest: 0, records: 0, list: None };
    let mut file = Vec::new();
    if let Some(vaddr) = needed {
        walk.needed(vaddr)?;
        file.extend(walk.list.take());
    }
    if let Some(vaddr) = defined {
        walk.defined(vaddr)?;
        file.extend(walk.list.take());
    }
    let fault = |why| Problem::Table { table: ".gnu.version", why };
    match dynamic.get(elf::DT_VERSYM) {
        None if needed.or(defined).is_some() => Err(fault("it is missing, but versions are there")),
        None => Ok(file),
        Some(_) if needed.or(defined).is_none() => Err(fault("it is there, but no versions are")),
        Some(vaddr) => {
            let outside = fault("it is not inside the file's part of a read-only segment");
            let offset =
                layout.table(vaddr, symbols * 2).filter(|_| vaddr % 2 == 0).ok_or(outside.clone())?;
            let indexes: &[elf::Versym<LittleEndian>] = table(bytes, offset, symbols).ok_or(outside)?;
            if indexes.iter().any(|index| index.0.get(LE).0 & INDEX > walk.highest) {
                return Err(fault("a symbol has a version that is neither needed nor defined"));
            }
            file.push(offset..offset + symbols * 2);
            Ok(file)
        }
    }
}

/// Most records of both lists. Linkers write one for each library and version, some dozens. Lists may share records,
/// so without a bound a small file could keep the dynamic linker walking for hours.
const RECORDS_MAX: usize = 4096;

struct Walk<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
    dynamic: &'a Dynamic,
    /// Highest version index: the dynamic linker's array ends with it, and does not exist while it is 0. Index 1,
    /// "global", is inside of any array, since every real version has a higher one.
    highest: u16,
    /// Records met.
    records: usize,
    /// From the first to the last byte of the list that is being walked.
    list: Option<Range<u64>>,
}

const NEEDED: &str = ".gnu.version_r";
const DEFINED: &str = ".gnu.version_d";

impl Walk<'_> {
    fn record<T: Pod>(&mut self, name: &'static str, vaddr: u64) -> Result<T, Problem> {
        let fault = |why| Problem::Table { table: name, why };
        if !vaddr.is_multiple_of(4) {
            return Err(fault("a record is not aligned to 4 bytes"));
        }
        self.records += 1;
        if self.records > RECORDS_MAX {
            return Err(fault("there are more than 4096 records"));
        }
        let len = size_of::<T>() as u64;
        let outside = || fault("a record is not inside the file's part of a read-only segment");
        let offset = self.layout.table(vaddr, len).ok_or_else(outside)?;
        let value = record::<T>(self.bytes, offset).ok_or_else(outside)?;
        let end = offset + len;
        let list = self.list.get_or_insert(offset..end);
        *list = list.start.min(offset)..list.end.max(end);
        Ok(*value)
    }

    fn name(&self, table: &'static str, at: u32) -> Result<&[u8], Problem> {
        let name = self.dynamic.string(self.bytes, u64::from(at));
        name.ok_or(Problem::Table { table, why: "a name is no string of the string table" })
    }

    /// Offsets in records are unsigned and 0 ends a list, so a walk goes upwards and ends.
    fn needed(&mut self, vaddr: u64) -> Result<(), Problem> {
        let fault = |why| Problem::Table { table: NEEDED, why };
        let mut at = vaddr;
        loop {
            let entry: elf::Verneed<LittleEndian> = self.record(NEEDED, at)?;
            if entry.vn_version.get(LE) != 1 {
                return Err(fault("a record has an unknown version"));
            }
            let library = Library::from_soname(self.name(NEEDED, entry.vn_file.get(LE))?);
            // libmicrokit has no versions: the dynamic linker would stop at an assertion.
            if !library.is_some_and(|l| l != Library::Microkit && self.dynamic.needs(l)) {
                return Err(fault("it names a library that has no versions or is not in DT_NEEDED"));
            }
            self.needed_versions(at + u64::from(entry.vn_aux.get(LE)))?;
            match entry.vn_next.get(LE) {
                0 => return Ok(()),
                next => at += u64::from(next),
            }
        }
    }

    fn needed_versions(&mut self, vaddr: u64) -> Result<(), Problem> {
        let mut at = vaddr;
        loop {
            let version: elf::Vernaux<LittleEndian> = self.record(NEEDED, at)?;
            self.name(NEEDED, version.vna_name.get(LE))?;
            self.highest = self.highest.max(version.vna_other.get(LE).0 & INDEX);
            match version.vna_next.get(LE) {
                0 => return Ok(()),
                next => at += u64::from(next),
            }
        }
    }

    fn defined(&mut self, vaddr: u64) -> Result<(), Problem> {
        let mut at = vaddr;
        loop {
            let entry: elf::Verdef<LittleEndian> = self.record(DEFINED, at)?;
            if entry.vd_version.get(LE) != 1 {
                return Err(Problem::Table { table: DEFINED, why: "a record has an unknown version" });
            }
            // Of the names, the dynamic linker reads the first; the others are parents.
            let name: elf::Verdaux<LittleEndian> =
                self.record(DEFINED, at + u64::from(entry.vd_aux.get(LE)))?;
            self.name(DEFINED, name.vda_name.get(LE))?;
            self.highest = self.highest.max(entry.vd_ndx.get(LE).0 & INDEX);
            match entry.vd_next.get(LE) {
                0 => return Ok(()),
                next => at += u64::from(next),
            }
        }
    }
}
