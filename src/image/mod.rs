//! Program images: shared objects that are read, judged and made ready before anything of them is loaded.
//!
//! The dynamic linker processes an image inside the PD host *before* the final filter is on. It trusts the file: it
//! follows every address, index and offset in it without bounds, and runs functions that the file names. So nothing
//! reaches it that [`Image::read`] has not followed first, and what it gets is [`Image::prepared`]: a copy in which
//! the dynamic section holds only what was checked, without constructors. Then no file makes it touch memory outside
//! of the image, run the image's code, or open another file.
//!
//! The checks follow what glibc's dynamic linker does with `RTLD_NOW | RTLD_LOCAL`, when the libraries that the image
//! needs are already loaded; both are the PD host's part of the bargain.

#![forbid(unsafe_code)]

mod bytes;
mod dynamic;
mod entry;
mod error;
mod hash;
mod header;
mod relocations;
mod segments;
mod symbols;
mod variable;
mod versions;

pub use entry::{Constructors, EntryPoints, FunctionArray};
pub use error::{ImageError, Kind, Missing, Problem, SymbolError, SymbolProblem};
pub use variable::{FileOffset, Patch, Placement, Variable};

use bytes::{LE, printable};
use object::elf;
use std::borrow::Cow;
use std::ops::Range;

/// A library that images may need. A PD gets these and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Library {
    /// Ours.
    Microkit,
    /// The C library.
    C,
    /// Its mathematics.
    Math,
    /// The dynamic linker, for `__tls_get_addr`.
    Loader,
    /// The compiler's support functions.
    Gcc,
}

impl Library {
    /// Every library.
    pub const ALL: [Self; 5] = [Self::Microkit, Self::C, Self::Math, Self::Loader, Self::Gcc];

    /// The name in DT_NEEDED.
    pub const fn soname(self) -> &'static str {
        match self {
            Self::Microkit => "libmicrokit.so",
            Self::C => "libc.so.6",
            Self::Math => "libm.so.6",
            Self::Loader => "ld-linux-x86-64.so.2",
            Self::Gcc => "libgcc_s.so.1",
        }
    }

    /// The library of exactly this name.
    pub fn from_soname(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|library| library.soname().as_bytes() == name)
    }
}

/// An image that was read and found harmless to load.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    bytes: Vec<u8>,
    layout: segments::Layout,
    dynamic: Vec<(i64, u64)>,
    needed: Vec<Library>,
    soname: Option<String>,
    bind_now: bool,
    symbols: symbols::Symbols,
    full: Option<symbols::Symbols>,
    source: Option<(Vec<u8>, symbols::Symbols)>,
    relocations: relocations::Relocations,
    entry: EntryPoints,
    constructors: Constructors,
    /// Parts of the file that were checked, which no patch may change.
    structure: Vec<Range<u64>>,
}

impl Image {
    /// Reads and judges an image. `name` is for messages; `bytes` is the whole file, read once, so that it cannot
    /// change between the check and the use. The caller bounds its length; time and memory are linear in it.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Self, ImageError> {
        let refused = |problem| ImageError { image: name.to_owned(), problem };
        Self::judge(name, bytes).map_err(refused)
    }

    fn judge(name: &str, bytes: Vec<u8>) -> Result<Self, Problem> {
        let header = header::read(&bytes)?;
        header::shared_object(header)?;
        let layout = segments::read(&bytes, header)?;
        let dynamic = dynamic::read(&bytes, &layout)?;
        let full = symbols::Symbols::full(&bytes, header)?;
        let hash = hash::read(&bytes, &layout, &dynamic)?;
        let symbols = symbols::Symbols::dynamic(&bytes, &layout, &dynamic, hash.symbols)?;
        // Before the relocations: an image that exports nothing has a hash table that says nothing of its symbols.
        let entry = entry::points(&bytes, &layout, &symbols, full.as_ref())?;
        let constructors = entry::constructors(&layout, &dynamic)?;
        let versions = versions::check(&bytes, &layout, &dynamic, hash.symbols)?;
        let relocations = relocations::Relocations::read(&bytes, &layout, &dynamic, &symbols)?;
        let file_header = 0..size_of::<header::Header>() as u64;
        let (strings, strings_len) = dynamic.strings;
        let tables = [symbols.file.clone(), strings..strings + strings_len, hash.file];
        let mut structure = vec![file_header, layout.headers.clone()];
        structure.extend(tables.into_iter().chain(versions).chain(relocations.file()));
        // The prepared image has a changed program header table; nothing that was checked may share its bytes.
        let headers = &layout.headers;
        if structure[2..].iter().any(|part| part.start < headers.end && headers.start < part.end) {
            return Err(Problem::Header("the program headers share bytes with another table"));
        }
        let soname = dynamic.get(elf::DT_SONAME).and_then(|at| dynamic.string(&bytes, at));
        let flags = |tag| dynamic.get(tag).unwrap_or(0);
        let bind_now = dynamic.get(elf::DT_BIND_NOW).is_some()
            || flags(elf::DT_FLAGS) & elf::DF_BIND_NOW.0 != 0
            || flags(elf::DT_FLAGS_1) & elf::DF_1_NOW.0 != 0;
        Ok(Self {
            name: name.to_owned(),
            soname: soname.map(printable),
            bind_now,
            needed: dynamic.needed.iter().map(|(library, _)| *library).collect(),
            dynamic: dynamic.kept(),
            layout,
            symbols,
            full,
            source: None,
            relocations,
            entry,
            constructors,
            structure,
            bytes,
        })
    }

    /// Takes symbols from another file from now on: `path_for_symbols`, the same program before it was stripped.
    pub fn use_symbols_of(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), ImageError> {
        let read = || {
            let symbols = symbols::Symbols::full(&bytes, header::read(&bytes)?)?;
            symbols.ok_or(Problem::Table { table: ".symtab", why: "there is none: the file is stripped" })
        };
        let symbols = read().map_err(|problem| ImageError { image: name.to_owned(), problem })?;
        self.source = Some((bytes, symbols));
        Ok(())
    }

    /// The name given to [`Image::read`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file, as it was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The libraries it needs, in the file's order, each once. All must be loaded before the image is.
    pub fn needed(&self) -> &[Library] {
        &self.needed
    }

    /// The functions that libmicrokit calls.
    pub fn entry_points(&self) -> EntryPoints {
        self.entry
    }

    /// The functions to run before `init`.
    pub fn constructors(&self) -> Constructors {
        self.constructors
    }

    /// DT_SONAME, fit for a message.
    pub fn soname(&self) -> Option<&str> {
        self.soname.as_deref()
    }

    /// Bytes from the first to the last one in memory; at most 1 GiB.
    pub fn memory_size(&self) -> u64 {
        self.layout.loads.last().map_or(0, |last| last.memory.end)
    }

    /// Whether some of it becomes read-only after relocation.
    pub fn has_relro(&self) -> bool {
        !self.layout.relro.is_empty()
    }

    /// Whether it was linked with `-z now`. It is loaded that way in any case.
    pub fn has_bind_now(&self) -> bool {
        self.bind_now
    }

    /// Whether it has thread-local variables.
    pub fn has_thread_locals(&self) -> bool {
        self.layout.tls
    }

    /// Whether it has a full symbol table.
    pub fn has_full_symbols(&self) -> bool {
        self.full.is_some()
    }

    /// Names of the symbols that other libraries must define, in the file's order, weak ones too.
    pub fn imports(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.symbols.entries(&self.bytes).iter().skip(1).filter_map(|symbol| {
            let undefined = symbol.st_shndx.get(LE) == elf::SHN_UNDEF;
            let name = self.symbols.name(&self.bytes, symbol).filter(|_| undefined)?;
            Some(String::from_utf8_lossy(name))
        })
    }

    /// The function that an address relative to the image's start lies in, and how many bytes in. The name is fit for
    /// a message.
    pub fn symbolize(&self, vaddr: u64) -> Option<(String, u64)> {
        let (bytes, table) = self.symbol_source();
        table
            .function_at(bytes, &self.layout, vaddr)
            .or_else(|| self.symbols.function_at(&self.bytes, &self.layout, vaddr))
            .map(|(name, offset)| (printable(name), offset))
    }

    fn symbol_source(&self) -> (&[u8], &symbols::Symbols) {
        match &self.source {
            Some((bytes, table)) => (bytes, table),
            None => (&self.bytes, self.full.as_ref().unwrap_or(&self.symbols)),
        }
    }

    /// The file to load: a copy whose dynamic section holds what was checked and no constructors or destructors,
    /// whose notes and unused program headers are hidden from the dynamic linker, and whose read-only variables have
    /// the values of `patches`.
    pub fn prepared(&self, patches: &[Patch]) -> Vec<u8> {
        let mut file = self.bytes.clone();
        for &at in &self.layout.hidden {
            write(&mut file, at, &elf::PT_NULL.0.to_le_bytes());
        }
        let slots = (self.layout.dynamic.end - self.layout.dynamic.start) / 16;
        let entries = self.dynamic.iter().copied().chain(std::iter::repeat((elf::DT_NULL.0, 0)));
        for (slot, (tag, value)) in (0..slots).zip(entries) {
            let at = self.layout.dynamic_offset + slot * 16;
            write(&mut file, at, &tag.to_le_bytes());
            write(&mut file, at + 8, &value.to_le_bytes());
        }
        for patch in patches {
            write(&mut file, patch.offset, &patch.bytes);
        }
        file
    }
}

/// Writes inside the file; the places were checked when the image was read.
fn write(file: &mut [u8], at: u64, bytes: &[u8]) {
    let place = usize::try_from(at).ok().and_then(|at| file.get_mut(at..at.checked_add(bytes.len())?));
    if let Some(place) = place {
        place.copy_from_slice(bytes);
    }
}
