//! Variables of an image that the system description sets before the image runs.

#![forbid(unsafe_code)]

use super::Image;
use super::bytes::{LE, printable};
use super::error::{SymbolError, SymbolProblem};
use super::symbols::Symbol;
use object::elf;
use std::ops::Range;

/// A variable that can be set. The caller checks its size: 8 bytes for addresses and sizes, 4 or 8 for ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its address, relative to where the image is loaded.
    pub vaddr: u64,
    /// st_size, bytes. All of them are inside one segment.
    pub size: u64,
    /// How to set it.
    pub placement: Placement,
}

/// How a variable is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Written after the image is loaded and relocated: it lies in memory that stays writable.
    Runtime,
    /// Written to the image's file before it is loaded: it is read-only then. See [`Variable::patch`].
    InFile(FileOffset),
}

/// A place in the file that holds a variable and nothing that the image reader relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOffset(u64);

/// New bytes of a variable for [`Image::prepared`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

impl Variable {
    /// The patch that sets the variable in the file; `None` for a variable that is set at run time, or if `value`
    /// has not the variable's size.
    pub fn patch(&self, value: &[u8]) -> Option<Patch> {
        match self.placement {
            Placement::InFile(FileOffset(offset)) if value.len() as u64 == self.size => {
                Some(Patch { offset, bytes: value.to_vec() })
            }
            _ => None,
        }
    }
}

impl Image {
    /// The variable of this name: looked up in the symbol file if there is one, else in the full symbol table, local
    /// symbols too, else in the dynamic one.
    pub fn variable(&self, name: &str) -> Result<Variable, SymbolError> {
        self.find_variable(name).map_err(|problem| SymbolError {
            image: self.name.clone(),
            symbol: printable(name.as_bytes()),
            problem,
        })
    }

    fn find_variable(&self, name: &str) -> Result<Variable, SymbolProblem> {
        let (bytes, table) = self.symbol_source();
        let mut undefined = false;
        let mut found: Option<&Symbol> = None;
        for symbol in table.named(bytes, name) {
            let kind = symbol.st_type();
            if kind == elf::STT_SECTION || kind == elf::STT_FILE {
                continue;
            }
            if symbol.st_shndx.get(LE) == elf::SHN_UNDEF {
                undefined = true;
            } else if found.replace(symbol).is_some() {
                return Err(SymbolProblem::Duplicate);
            }
        }
        // In the full table an import's name has its version behind it, in the dynamic one not.
        undefined |= self.symbols.named(&self.bytes, name).any(|s| s.st_shndx.get(LE) == elf::SHN_UNDEF);
        match found {
            Some(symbol) => self.place(symbol),
            None if undefined => Err(SymbolProblem::Undefined),
            None => Err(SymbolProblem::Missing),
        }
    }

    fn place(&self, symbol: &Symbol) -> Result<Variable, SymbolProblem> {
        match symbol.st_type() {
            elf::STT_OBJECT | elf::STT_NOTYPE | elf::STT_COMMON => {}
            elf::STT_TLS => return Err(SymbolProblem::ThreadLocal),
            _ => return Err(SymbolProblem::NotData),
        }
        if symbol.st_shndx.get(LE) == elf::SHN_ABS {
            return Err(SymbolProblem::NotData);
        }
        let (vaddr, size) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
        let load = self.layout.load(vaddr, size).ok_or(SymbolProblem::Outside)?;
        // The segment's end was checked, so this cannot overflow. A label without a size still has a place.
        let memory = vaddr..vaddr + size.max(1);
        let meets = |other: &Range<u64>| memory.start < other.end && other.start < memory.end;
        if meets(&self.layout.dynamic) {
            return Err(SymbolProblem::Structure);
        }
        if load.write && !meets(&self.layout.relro) {
            return Ok(Variable { vaddr, size, placement: Placement::Runtime });
        }
        let offset = self.layout.offset(vaddr, size).ok_or(SymbolProblem::NotInFile)?;
        let file = offset..offset + size.max(1);
        if self.structure.iter().any(|part| file.start < part.end && part.start < file.end) {
            return Err(SymbolProblem::Structure);
        }
        if self.relocations.write_to(&self.bytes, &memory) {
            return Err(SymbolProblem::Relocated);
        }
        let placement = Placement::InFile(FileOffset(offset));
        Ok(Variable { vaddr, size, placement })
    }
}
