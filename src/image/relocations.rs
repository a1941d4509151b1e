//! Relocations: what the dynamic linker writes into the image before it runs.
//!
//! Every write must land in a writable segment of the image and miss the dynamic section, which the dynamic linker
//! goes on reading; every value must come from a symbol that exists and needs no code of the image to run.

#![forbid(unsafe_code)]

use super::bytes::{LE, printable, table};
use super::dynamic::Dynamic;
use super::error::Problem;
use super::segments::Layout;
use super::symbols::Symbols;
use object::elf;
use object::endian::{LittleEndian, U64};
use std::ops::Range;

type Rela = elf::Rela64<LittleEndian>;

const ENTRY: u64 = 24;

/// The tables' places in the file, checked. Each may be empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Relocations {
    rela: Range<u64>,
    plt: Range<u64>,
    relr: Range<u64>,
}

/// What the dynamic linker does for one entry.
enum Action {
    Nothing,
    /// Writes this many bytes.
    Write(u64),
    /// The same, out of a thread-local variable's block; the flag says that it must be the image's own.
    ThreadLocal(u64, bool),
}

fn action(entry: &Rela) -> Result<Action, Problem> {
    let offset = entry.r_offset.get(LE);
    match entry.r_type(LE, false) {
        elf::R_X86_64_NONE => Ok(Action::Nothing),
        elf::R_X86_64_64 | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_RELATIVE => {
            Ok(Action::Write(8))
        }
        elf::R_X86_64_DTPMOD64 | elf::R_X86_64_DTPOFF64 => Ok(Action::ThreadLocal(8, false)),
        elf::R_X86_64_TPOFF64 => Ok(Action::ThreadLocal(8, true)),
        elf::R_X86_64_TLSDESC => Ok(Action::ThreadLocal(16, true)),
        elf::R_X86_64_COPY => Err(Problem::CopyRelocation { offset }),
        elf::R_X86_64_IRELATIVE => Err(Problem::IndirectFunction { symbol: None }),
        other => Err(Problem::RelocationType { offset, kind: other.0 }),
    }
}

impl Relocations {
    /// Finds and checks all tables.
    pub fn read(
        bytes: &[u8],
        layout: &Layout,
        dynamic: &Dynamic,
        symbols: &Symbols,
    ) -> Result<Self, Problem> {
        let rela = find(
            layout,
            dynamic,
            [(elf::DT_RELA, "DT_RELA"), (elf::DT_RELASZ, "DT_RELASZ")],
            (elf::DT_RELAENT, ENTRY, "DT_RELAENT"),
        )?;
        let plt = find(
            layout,
            dynamic,
            [(elf::DT_JMPREL, "DT_JMPREL"), (elf::DT_PLTRELSZ, "DT_PLTRELSZ")],
            (elf::DT_PLTREL, elf::DT_RELA.0 as u64, "DT_PLTREL"),
        )?;
        let relr = find(
            layout,
            dynamic,
            [(elf::DT_RELR, "DT_RELR"), (elf::DT_RELRSZ, "DT_RELRSZ")],
            (elf::DT_RELRENT, 8, "DT_RELRENT"),
        )?;
        for (tag, range, size) in
            [("DT_RELASZ", &rela, ENTRY), ("DT_PLTRELSZ", &plt, ENTRY), ("DT_RELRSZ", &relr, 8)]
        {
            if (range.end - range.start) % size != 0 {
                return Err(Problem::Dynamic { tag, why: "is not a number of whole entries" });
            }
        }
        // The dynamic linker cuts a common end off the first table, without asking whether it is long enough.
        let value = |tag| dynamic.get(tag).unwrap_or(0);
        let (plt_len, rela_len) = (value(elf::DT_PLTRELSZ), value(elf::DT_RELASZ));
        let common_end = value(elf::DT_JMPREL) + plt_len == value(elf::DT_RELA) + rela_len;
        if common_end && plt_len > rela_len {
            return Err(Problem::Dynamic { tag: "DT_JMPREL", why: "overlaps DT_RELA" });
        }
        let tables = Self { rela, plt, relr };
        tables.relative_first(bytes, dynamic)?;
        for entry in tables.entries(bytes) {
            check(entry, layout, symbols, bytes)?;
        }
        tables.check_relr(bytes, layout)?;
        Ok(tables)
    }

    /// The parts of the file that the tables take.
    pub fn file(&self) -> [Range<u64>; 3] {
        [self.rela.clone(), self.plt.clone(), self.relr.clone()]
    }

    /// Whether a relocation writes to any of these addresses.
    pub fn write_to(&self, bytes: &[u8], memory: &Range<u64>) -> bool {
        let touches = |at: u64, len: u64| at < memory.end && memory.start < at.saturating_add(len);
        let entries = self.entries(bytes).any(|entry| match action(entry) {
            Ok(Action::Write(len) | Action::ThreadLocal(len, _)) => touches(entry.r_offset.get(LE), len),
            _ => false,
        });
        let mut relr = false;
        let walked = self.each_relr(bytes, |at| {
            relr |= touches(at, 8);
            Ok(())
        });
        entries || relr || walked.is_err()
    }

    fn entries<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a Rela> {
        [&self.rela, &self.plt].into_iter().flat_map(|range| {
            let count = (range.end - range.start) / ENTRY;
            table::<Rela>(bytes, range.start, count).unwrap_or_default()
        })
    }

    /// DT_RELACOUNT promises that so many entries are R_X86_64_RELATIVE; the dynamic linker asserts it.
    fn relative_first(&self, bytes: &[u8], dynamic: &Dynamic) -> Result<(), Problem> {
        let promised = dynamic.get(elf::DT_RELACOUNT).unwrap_or(0);
        let entries = (self.rela.end - self.rela.start) / ENTRY;
        let first = table::<Rela>(bytes, self.rela.start, promised.min(entries)).unwrap_or_default();
        let kept = first.iter().all(|entry| entry.r_type(LE, false) == elf::R_X86_64_RELATIVE);
        if promised > entries || !kept {
            let why = "promises more relative relocations than there are";
            return Err(Problem::Dynamic { tag: "DT_RELACOUNT", why });
        }
        Ok(())
    }

    fn check_relr(&self, bytes: &[u8], layout: &Layout) -> Result<(), Problem> {
        self.each_relr(bytes, |at| target(at, 8, layout))
    }

    /// Every word that DT_RELR relocates: an even entry is an address, an odd one a bit for each of the next 63 words.
    fn each_relr(
        &self,
        bytes: &[u8],
        mut each: impl FnMut(u64) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let count = (self.relr.end - self.relr.start) / 8;
        let entries: &[U64<LittleEndian>] = table(bytes, self.relr.start, count).unwrap_or_default();
        let mut next: Option<u64> = None;
        for entry in entries {
            let mut bits = entry.get(LE);
            if bits & 1 == 0 {
                each(bits)?;
                next = bits.checked_add(8);
                continue;
            }
            let lost = Problem::Table { table: ".relr.dyn", why: "a bitmap follows no address" };
            let base = next.ok_or(lost)?;
            bits >>= 1;
            while bits != 0 {
                let skip = u64::from(bits.trailing_zeros());
                each(base.saturating_add(skip * 8))?;
                bits &= bits - 1;
            }
            next = base.checked_add(63 * 8);
        }
        Ok(())
    }
}

/// The range of one table out of its three entries, of which all or none must be there.
fn find(
    layout: &Layout,
    dynamic: &Dynamic,
    [start, size]: [(elf::DynamicTag, &'static str); 2],
    (kind, right, kind_name): (elf::DynamicTag, u64, &'static str),
) -> Result<Range<u64>, Problem> {
    let fault = |tag, why| Err(Problem::Dynamic { tag, why });
    let values = (dynamic.get(start.0), dynamic.get(size.0), dynamic.get(kind));
    let (vaddr, len) = match values {
        (None, None, None) => return Ok(0..0),
        (Some(vaddr), Some(len), Some(kind)) if kind == right => (vaddr, len),
        (Some(_), Some(_), Some(_)) => return fault(kind_name, "has a wrong value"),
        _ => {
            return fault(start.1, "comes without its size or kind, or those without it");
        }
    };
    if vaddr % 8 != 0 {
        return fault(start.1, "is not aligned to 8 bytes");
    }
    match layout.table(vaddr, len) {
        Some(offset) => Ok(offset..offset + len),
        None => fault(start.1, "is not inside the file's part of a read-only segment"),
    }
}

fn check(entry: &Rela, layout: &Layout, symbols: &Symbols, bytes: &[u8]) -> Result<(), Problem> {
    let offset = entry.r_offset.get(LE);
    let fault = |why| Problem::Relocation { offset, why };
    let index = u64::from(entry.r_sym(LE, false));
    let action = action(entry)?;
    // Looked up in the version table even where the type needs no symbol.
    let symbol = symbols.get(bytes, index).ok_or(fault("its symbol is not in the symbol table"))?;
    let len = match action {
        Action::Nothing => return Ok(()),
        Action::Write(len) => len,
        Action::ThreadLocal(len, own) => {
            let defined = symbol.st_shndx.get(LE) != elf::SHN_UNDEF;
            let local = symbol.st_bind() == elf::STB_LOCAL || symbol.st_visibility() != elf::STV_DEFAULT;
            // A local symbol, whatever it is, stands for the image's own block.
            let right = symbol.st_bind() == elf::STB_LOCAL || defined && symbol.st_type() == elf::STT_TLS;
            if !layout.tls || !right {
                return Err(fault("it needs a thread-local variable that the image does not define"));
            }
            // Resolved to a library's symbol of that name instead, the dynamic linker would divide by the zero
            // alignment of a library without thread-local variables.
            if own && !local {
                let name = printable(symbols.name(bytes, symbol).unwrap_or_default());
                let words = format!("`{name}` is visible to other libraries");
                return Err(Problem::ThreadLocal(words));
            }
            len
        }
    };
    target(offset, len, layout)
}

/// Whether the dynamic linker may write there.
fn target(at: u64, len: u64, layout: &Layout) -> Result<(), Problem> {
    match layout.load(at, len) {
        None => Err(Problem::Relocation { offset: at, why: "it writes outside of the image" }),
        Some(load) if !load.write => Err(Problem::TextRelocations { at: Some(at) }),
        Some(_) if at < layout.dynamic.end && layout.dynamic.start < at + len => {
            Err(Problem::Relocation { offset: at, why: "it writes to the dynamic section" })
        }
        Some(_) => Ok(()),
    }
}
