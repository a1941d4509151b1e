//! The dynamic section: what the dynamic linker is told.
//!
//! An allowlist. An entry is understood and kept, understood and left out of the prepared image, refused, or unknown
//! and left out: the dynamic linker sees nothing that was not checked here or in the modules for the tables.

#![forbid(unsafe_code)]

use super::Library;
use super::bytes::{LE, printable, slice, string, table};
use super::error::{Kind, Problem};
use super::segments::Layout;
use object::elf;
use std::collections::BTreeMap;

/// The entries that were understood. Addresses are not checked yet, except the string table's.
pub(super) struct Dynamic {
    /// Entry by tag.
    pub values: BTreeMap<i64, u64>,
    /// Libraries in the file's order, each once, with the name's place in the string table.
    pub needed: Vec<(Library, u64)>,
    /// The string table's place in the file and its length. Its last byte is NUL.
    pub strings: (u64, u64),
}

/// The tag and its name in messages.
macro_rules! tag {
    ($name:ident) => {
        (elf::$name.0, stringify!($name))
    };
}

/// Entries that are read, at most once each.
const READ: &[(i64, &str)] = &[
    tag!(DT_PLTRELSZ),
    tag!(DT_HASH),
    tag!(DT_STRTAB),
    tag!(DT_SYMTAB),
    tag!(DT_RELA),
    tag!(DT_RELASZ),
    tag!(DT_RELAENT),
    tag!(DT_STRSZ),
    tag!(DT_SYMENT),
    tag!(DT_INIT),
    tag!(DT_SONAME),
    tag!(DT_SYMBOLIC),
    tag!(DT_PLTREL),
    tag!(DT_JMPREL),
    tag!(DT_BIND_NOW),
    tag!(DT_INIT_ARRAY),
    tag!(DT_INIT_ARRAYSZ),
    tag!(DT_FLAGS),
    tag!(DT_PREINIT_ARRAY),
    tag!(DT_PREINIT_ARRAYSZ),
    tag!(DT_RELR),
    tag!(DT_RELRSZ),
    tag!(DT_RELRENT),
    tag!(DT_GNU_HASH),
    tag!(DT_VERSYM),
    tag!(DT_RELACOUNT),
    tag!(DT_FLAGS_1),
    tag!(DT_VERDEF),
    tag!(DT_VERDEFNUM),
    tag!(DT_VERNEED),
    tag!(DT_VERNEEDNUM),
];

/// Of those, the ones that the prepared image keeps: not the constructors, which run under the final filter; not the
/// name, by which the image could pass for a library that another one needs.
const KEPT: &[i64] = &[
    elf::DT_HASH.0,
    elf::DT_GNU_HASH.0,
    elf::DT_STRTAB.0,
    elf::DT_STRSZ.0,
    elf::DT_SYMTAB.0,
    elf::DT_SYMENT.0,
    elf::DT_RELA.0,
    elf::DT_RELASZ.0,
    elf::DT_RELAENT.0,
    elf::DT_RELACOUNT.0,
    elf::DT_RELR.0,
    elf::DT_RELRSZ.0,
    elf::DT_RELRENT.0,
    elf::DT_JMPREL.0,
    elf::DT_PLTRELSZ.0,
    elf::DT_PLTREL.0,
    elf::DT_VERSYM.0,
    elf::DT_VERNEED.0,
    elf::DT_VERNEEDNUM.0,
    elf::DT_VERDEF.0,
    elf::DT_VERDEFNUM.0,
    elf::DT_SYMBOLIC.0,
    elf::DT_BIND_NOW.0,
    elf::DT_FLAGS.0,
    elf::DT_FLAGS_1.0,
];

/// Flags that are kept: how symbols are bound and where thread-local variables go.
const FLAGS: u64 = elf::DF_SYMBOLIC.0 | elf::DF_BIND_NOW.0 | elf::DF_STATIC_TLS.0;
const FLAGS_1: u64 = elf::DF_1_NOW.0;

/// Reads the entries up to DT_NULL.
pub(super) fn read(bytes: &[u8], layout: &Layout) -> Result<Dynamic, Problem> {
    let count = (layout.dynamic.end - layout.dynamic.start) / 16;
    let entries: &[elf::Dyn64<object::LittleEndian>] =
        table(bytes, layout.dynamic_offset, count).unwrap_or_default();
    let fault = |tag, why| Problem::Dynamic { tag, why };
    let end = entries.iter().position(|entry| entry.d_tag.get(LE) == elf::DT_NULL);
    let end = end.ok_or(fault("DT_NULL", "is missing: the section has no end"))?;
    let mut values = BTreeMap::new();
    let mut names = Vec::new();
    for entry in &entries[..end] {
        let (tag, value) = (entry.d_tag.get(LE), entry.d_val.get(LE));
        refuse(tag, value)?;
        if tag == elf::DT_NEEDED {
            names.push(value);
        } else if let Some((tag, name)) = READ.iter().find(|(read, _)| *read == tag.0)
            && values.insert(*tag, value).is_some()
        {
            return Err(fault(name, "comes more than once"));
        }
    }
    if values.get(&elf::DT_FLAGS_1.0).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
        return Err(Problem::NotSharedObject(Kind::PositionIndependentExecutable));
    }
    let strings = strings(bytes, layout, &values)?;
    let mut dynamic = Dynamic { values, needed: Vec::new(), strings };
    for name in names {
        let library = library(dynamic.string(bytes, name))?;
        if dynamic.needed.iter().all(|(known, _)| *known != library) {
            dynamic.needed.push((library, name));
        }
    }
    Ok(dynamic)
}

/// Entries that no image may have, whatever they point at.
fn refuse(tag: elf::DynamicTag, value: u64) -> Result<(), Problem> {
    match tag {
        elf::DT_RPATH => Err(Problem::SearchPath { tag: "DT_RPATH" }),
        elf::DT_RUNPATH => Err(Problem::SearchPath { tag: "DT_RUNPATH" }),
        elf::DT_AUDIT => Err(Problem::LoadsOthers("DT_AUDIT")),
        elf::DT_DEPAUDIT => Err(Problem::LoadsOthers("DT_DEPAUDIT")),
        elf::DT_FILTER => Err(Problem::LoadsOthers("DT_FILTER")),
        elf::DT_AUXILIARY => Err(Problem::LoadsOthers("DT_AUXILIARY")),
        elf::DT_TEXTREL => Err(Problem::TextRelocations { at: None }),
        elf::DT_FLAGS if value & elf::DF_TEXTREL.0 != 0 => Err(Problem::TextRelocations { at: None }),
        // The image would run unrelocated: x86-64 has relocations with addends only.
        elf::DT_REL => Err(Problem::Dynamic { tag: "DT_REL", why: "is not of this architecture" }),
        _ => Ok(()),
    }
}

fn strings(bytes: &[u8], layout: &Layout, values: &BTreeMap<i64, u64>) -> Result<(u64, u64), Problem> {
    let fault = |tag, why| Problem::Dynamic { tag, why };
    let vaddr = values.get(&elf::DT_STRTAB.0).ok_or(fault("DT_STRTAB", "is missing"))?;
    let len = *values.get(&elf::DT_STRSZ.0).ok_or(fault("DT_STRSZ", "is missing"))?;
    let outside = fault("DT_STRTAB", "is not inside the file's part of a read-only segment");
    let offset = layout.table(*vaddr, len).ok_or(outside)?;
    match slice(bytes, offset, len).and_then(<[u8]>::last) {
        Some(0) => Ok((offset, len)),
        _ => Err(Problem::Table { table: ".dynstr", why: "it does not end with a NUL" }),
    }
}

fn library(name: Option<&[u8]>) -> Result<Library, Problem> {
    let outside = Problem::Dynamic { tag: "DT_NEEDED", why: "is no string of the string table" };
    let name = name.ok_or(outside)?;
    Library::from_soname(name).ok_or_else(|| Problem::ForeignLibrary(printable(name)))
}

impl Dynamic {
    /// The entry of this tag.
    pub fn get(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.values.get(&tag.0).copied()
    }

    /// The string at this place of the string table.
    pub fn string<'a>(&self, bytes: &'a [u8], at: u64) -> Option<&'a [u8]> {
        string(slice(bytes, self.strings.0, self.strings.1)?, at)
    }

    /// The library as one of those needed.
    pub fn needs(&self, library: Library) -> bool {
        self.needed.iter().any(|(needed, _)| *needed == library)
    }

    /// What the prepared image's dynamic section says, without the ending DT_NULL. It is never longer than what was
    /// read, since every entry of it was there.
    pub fn kept(&self) -> Vec<(i64, u64)> {
        let needed = self.needed.iter().map(|(_, name)| (elf::DT_NEEDED.0, *name));
        let others = KEPT.iter().filter_map(|tag| {
            let value = *self.values.get(tag)?;
            let value = match elf::DynamicTag(*tag) {
                // Only the newer of two hash tables is read.
                elf::DT_HASH if self.get(elf::DT_GNU_HASH).is_some() => return None,
                elf::DT_FLAGS => value & FLAGS,
                elf::DT_FLAGS_1 => value & FLAGS_1,
                _ => value,
            };
            Some((*tag, value))
        });
        needed.chain(others).collect()
    }
}
