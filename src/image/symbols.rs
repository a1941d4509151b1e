//! Symbol tables: the dynamic one, which the dynamic linker reads, and the full one of a file that was not stripped.

#![forbid(unsafe_code)]

use super::bytes::{LE, NAME_MAX, printable, record, slice, string, table};
use super::dynamic::Dynamic;
use super::error::Problem;
use super::header::{Header, inside};
use super::segments::Layout;
use object::elf;
use object::endian::LittleEndian;
use std::ops::Range;

pub(super) type Symbol = elf::Sym64<LittleEndian>;

const ENTRY: u64 = 24;

/// A table and its strings, both inside the file.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    /// The table's bytes.
    pub file: Range<u64>,
    /// The string table's bytes.
    pub strings: Range<u64>,
}

impl Symbols {
    /// The dynamic symbol table, with every symbol in it checked.
    pub fn dynamic(bytes: &[u8], layout: &Layout, dynamic: &Dynamic, count: u64) -> Result<Self, Problem> {
        let fault = |tag, why| Problem::Dynamic { tag, why };
        let vaddr = dynamic.get(elf::DT_SYMTAB).ok_or(fault("DT_SYMTAB", "is missing"))?;
        if dynamic.get(elf::DT_SYMENT) != Some(ENTRY) {
            return Err(fault("DT_SYMENT", "is missing or not 24"));
        }
        if vaddr % 8 != 0 {
            return Err(fault("DT_SYMTAB", "is not aligned to 8 bytes"));
        }
        let offset = layout.table(vaddr, count * ENTRY).ok_or(fault(
            "DT_SYMTAB",
            "is not inside the file's part of a read-only segment, with as many symbols as the hash table has",
        ))?;
        let (strings, len) = dynamic.strings;
        let symbols = Self { file: offset..offset + count * ENTRY, strings: strings..strings + len };
        for symbol in symbols.entries(bytes) {
            let Some(name) = symbols.name(bytes, symbol) else {
                let why = "a symbol's name is no string of the string table, or longer than 4 KiB";
                return Err(Problem::Table { table: ".dynsym", why });
            };
            if symbol.st_type() == elf::STT_GNU_IFUNC {
                return Err(Problem::IndirectFunction { symbol: Some(printable(name)) });
            }
        }
        Ok(symbols)
    }

    /// The full symbol table by the section headers; `None` in a stripped file.
    pub fn full(bytes: &[u8], header: &Header) -> Result<Option<Self>, Problem> {
        let count = u64::from(header.e_shnum.get(LE));
        let sections: &[elf::SectionHeader64<LittleEndian>] =
            table(bytes, header.e_shoff.get(LE), count).unwrap_or_default();
        let Some(section) = sections.iter().find(|s| s.sh_type.get(LE) == elf::SHT_SYMTAB) else {
            return Ok(None);
        };
        let fault = |why| Problem::Table { table: ".symtab", why };
        let (offset, len) = (section.sh_offset.get(LE), section.sh_size.get(LE));
        inside(bytes, "the symbol table", offset, len)?;
        if section.sh_entsize.get(LE) != ENTRY || len % ENTRY != 0 {
            return Err(fault("it is not a table of 24-byte symbols"));
        }
        let strings = sections
            .get(section.sh_link.get(LE) as usize)
            .filter(|strings| strings.sh_type.get(LE) == elf::SHT_STRTAB)
            .ok_or(fault("it has no string table"))?;
        let (names, names_len) = (strings.sh_offset.get(LE), strings.sh_size.get(LE));
        inside(bytes, "the string table", names, names_len)?;
        Ok(Some(Self { file: offset..offset + len, strings: names..names + names_len }))
    }

    /// Every symbol in order.
    pub fn entries<'a>(&self, bytes: &'a [u8]) -> &'a [Symbol] {
        let count = (self.file.end - self.file.start) / ENTRY;
        table(bytes, self.file.start, count).unwrap_or_default()
    }

    /// The symbol with this index.
    pub fn get<'a>(&self, bytes: &'a [u8], index: u64) -> Option<&'a Symbol> {
        let at = self.file.start.checked_add(index.checked_mul(ENTRY)?)?;
        (at < self.file.end).then(|| record(bytes, at))?
    }

    /// Its name, unless that is damaged or too long.
    pub fn name<'a>(&self, bytes: &'a [u8], symbol: &Symbol) -> Option<&'a [u8]> {
        let strings = slice(bytes, self.strings.start, self.strings.end - self.strings.start)?;
        string(strings, u64::from(symbol.st_name.get(LE)))
    }

    /// Every symbol of this name.
    pub fn named<'a>(&self, bytes: &'a [u8], name: &str) -> impl Iterator<Item = &'a Symbol> {
        let len = self.strings.end - self.strings.start;
        let strings = slice(bytes, self.strings.start, len).unwrap_or_default();
        let mut wanted = name.as_bytes().to_vec();
        // Nobody's name is empty, has a NUL in it, or is longer than names may be.
        let possible = !wanted.is_empty() && !wanted.contains(&0) && wanted.len() <= NAME_MAX;
        wanted.push(0);
        self.entries(bytes).iter().filter(move |symbol| {
            let at = symbol.st_name.get(LE) as usize;
            possible && strings.get(at..).is_some_and(|tail| tail.starts_with(&wanted))
        })
    }

    /// The function that `vaddr` lies in and how far in: the one beginning last before it. A function whose size is
    /// known reaches as far as that, one of unknown size (hand-written assembly) to the segment's end.
    pub fn function_at<'a>(&self, bytes: &'a [u8], layout: &Layout, vaddr: u64) -> Option<(&'a [u8], u64)> {
        let segment = layout.load(vaddr, 1).filter(|load| load.execute)?;
        let best = self
            .entries(bytes)
            .iter()
            .filter(|symbol| {
                let (start, size) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
                is_code(symbol)
                    && (segment.memory.start..=vaddr).contains(&start)
                    && (size == 0 || vaddr - start < size)
            })
            .filter(|symbol| self.name(bytes, symbol).is_some_and(|name| !name.is_empty()))
            // Among aliases the one with type and size, then the one that the file has first.
            .min_by_key(|symbol| {
                let typed = symbol.st_type() == elf::STT_FUNC;
                (vaddr - symbol.st_value.get(LE), !typed, symbol.st_size.get(LE) == 0)
            })?;
        Some((self.name(bytes, best)?, vaddr - best.st_value.get(LE)))
    }
}

/// Whether a symbol may name code: a function, or a label without a type, defined in a section.
pub(super) fn is_code(symbol: &Symbol) -> bool {
    let section = symbol.st_shndx.get(LE);
    let kind = symbol.st_type();
    (kind == elf::STT_FUNC || kind == elf::STT_NOTYPE) && section != elf::SHN_UNDEF && section != elf::SHN_ABS
}
