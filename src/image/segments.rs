//! The program headers: what of the file lies where in memory, with which rights.
//!
//! Everything the dynamic linker later follows is an address; [`Layout`] answers whether an address lies inside of
//! the image, whether bytes of the file stand behind it, and where they are. The layout is held to what linkers
//! write: ascending, no page and no byte of the file used twice. So a byte that was checked is the byte that is
//! mapped, and a byte that is patched is mapped once.

#![forbid(unsafe_code)]

use super::bytes::{LE, table};
use super::error::Problem;
use super::header::{Header, inside};
use object::elf;
use std::ops::Range;

/// The kernel's page size on x86-64.
const PAGE: u64 = 4096;

/// Largest distance from the first to the last byte in memory: 1 GiB.
const SPAN_MAX: u64 = 1 << 30;

/// Largest alignment of a segment: that of a huge page.
const ALIGN_MAX: u64 = 2 << 20;

/// Most bytes of thread-local variables. The C library's default reserve for objects loaded at run time has 1664
/// bytes in all (its tunable `rtld.optional_static_tls`).
const TLS_MAX: u64 = 1024;

/// Strictest alignment of thread-local variables that every version of the C library has room for.
const TLS_ALIGN_MAX: u64 = 64;

/// Most entries of the dynamic section. Linkers write about thirty.
const DYNAMIC_MAX: u64 = 512;

type ProgramHeader = elf::ProgramHeader64<object::LittleEndian>;

/// One PT_LOAD.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its addresses, relative to where the image is loaded.
    pub memory: Range<u64>,
    /// Its bytes in the file: the first of `memory`, the rest is zero.
    pub file: Range<u64>,
    pub write: bool,
    pub execute: bool,
}

impl Segment {
    fn backed(&self) -> Range<u64> {
        self.memory.start..self.memory.start + (self.file.end - self.file.start)
    }
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Ascending, on separate pages.
    pub loads: Vec<Segment>,
    /// Addresses of the dynamic section, in a writable segment, and where its bytes are in the file.
    pub dynamic: Range<u64>,
    pub dynamic_offset: u64,
    /// Whole pages that become read-only after relocation.
    pub relro: Range<u64>,
    /// There are thread-local variables.
    pub tls: bool,
    /// The program header table in the file.
    pub headers: Range<u64>,
    /// Entries of the program header table that the dynamic linker must not see: notes, which it parses without
    /// bounds, and types it does not need.
    pub hidden: Vec<u64>,
}

impl Layout {
    /// The segment that has all of the `len` bytes at `vaddr` in its memory.
    pub fn load(&self, vaddr: u64, len: u64) -> Option<&Segment> {
        let end = vaddr.checked_add(len)?;
        self.loads.iter().find(|load| load.memory.start <= vaddr && end <= load.memory.end)
    }

    /// Where the `len` bytes at `vaddr` are in the file, if the file has all of them.
    pub fn offset(&self, vaddr: u64, len: u64) -> Option<u64> {
        let load = self.load(vaddr, len)?;
        (vaddr + len <= load.backed().end).then(|| load.file.start + (vaddr - load.memory.start))
    }

    /// The same for a table that the dynamic linker reads: in a segment that is not writable, so that no relocation
    /// changes it after it was checked.
    pub fn table(&self, vaddr: u64, len: u64) -> Option<u64> {
        self.load(vaddr, len).filter(|load| !load.write)?;
        self.offset(vaddr, len)
    }

    /// Whether `vaddr` lies in an executable segment.
    pub fn executable(&self, vaddr: u64) -> bool {
        self.load(vaddr, 1).is_some_and(|load| load.execute)
    }
}

/// Reads the program headers.
pub(super) fn read(bytes: &[u8], header: &Header) -> Result<Layout, Problem> {
    let start = header.e_phoff.get(LE);
    let count = u64::from(header.e_phnum.get(LE));
    let headers: &[ProgramHeader] = table(bytes, start, count).unwrap_or_default();
    let mut found = Found::default();
    for (index, header) in headers.iter().enumerate() {
        found.take(bytes, index, header)?;
    }
    found.finish(headers, start..start + count * 56)
}

/// What the headers said, each type that may come only once.
#[derive(Default)]
struct Found {
    loads: Vec<Segment>,
    dynamic: Option<usize>,
    stack: Option<usize>,
    relro: Option<usize>,
    tls: Option<usize>,
    unwind: Option<usize>,
    hidden: Vec<usize>,
}

impl Found {
    fn take(&mut self, bytes: &[u8], index: usize, header: &ProgramHeader) -> Result<(), Problem> {
        let (kind, slot) = match header.p_type.get(LE) {
            elf::PT_LOAD => return self.load(bytes, index, header),
            elf::PT_NULL => return Ok(()),
            elf::PT_DYNAMIC => ("PT_DYNAMIC", &mut self.dynamic),
            elf::PT_GNU_STACK => ("PT_GNU_STACK", &mut self.stack),
            elf::PT_GNU_RELRO => ("PT_GNU_RELRO", &mut self.relro),
            elf::PT_TLS => ("PT_TLS", &mut self.tls),
            elf::PT_GNU_EH_FRAME => ("PT_GNU_EH_FRAME", &mut self.unwind),
            _ => {
                self.hidden.push(index);
                return Ok(());
            }
        };
        match slot.replace(index) {
            None => Ok(()),
            Some(_) => Err(Problem::Segment { index, kind, why: "there is more than one" }),
        }
    }

    fn load(&mut self, bytes: &[u8], index: usize, header: &ProgramHeader) -> Result<(), Problem> {
        let fault = |why| Err(Problem::Segment { index, kind: "PT_LOAD", why });
        let (offset, vaddr) = (header.p_offset.get(LE), header.p_vaddr.get(LE));
        let (filesz, memsz) = (header.p_filesz.get(LE), header.p_memsz.get(LE));
        let (align, flags) = (header.p_align.get(LE), header.p_flags.get(LE).0);
        let [execute, write, read] = [elf::PF_X, elf::PF_W, elf::PF_R].map(|flag| flags & flag.0 != 0);
        if write && execute {
            return Err(Problem::WritableAndExecutable { index });
        }
        if !read {
            return fault("it is not readable");
        }
        inside(bytes, "a segment", offset, filesz)?;
        if !align.is_power_of_two() || !(PAGE..=ALIGN_MAX).contains(&align) {
            return fault("its alignment is not a power of two from 4 KiB to 2 MiB");
        }
        if vaddr % align != offset % align {
            return fault("its address and its place in the file are not aligned alike");
        }
        if filesz > memsz {
            return fault("it has more bytes in the file than in memory");
        }
        if filesz < memsz && !write {
            // The dynamic linker would make the page writable for a moment, executable or not.
            return fault("it is not writable, but has zeroed memory behind the file's bytes");
        }
        let Some(end) = vaddr.checked_add(memsz).filter(|&end| end <= SPAN_MAX) else {
            return fault("it ends above 1 GiB");
        };
        if self.loads.is_empty() && vaddr >= PAGE {
            return fault("the first segment does not begin at address 0");
        }
        if filesz == 0 && vaddr % PAGE != 0 && page_down(offset) >= bytes.len() as u64 {
            // Its first page would be mapped from behind the file's end, where there is nothing to clear.
            return fault("its first page lies behind the end of the file");
        }
        if let Some(last) = self.loads.last() {
            if page_down(vaddr) < page_up(last.memory.end) {
                return fault("it shares a page with the segment before, or lies before it");
            }
            if filesz > 0 && offset < last.file.end {
                return fault("it shares bytes of the file with the segment before");
            }
        }
        let file_end = self.loads.last().map_or(0, |last| last.file.end);
        // An empty range keeps the file's ranges ascending, whatever its offset says.
        let file = if filesz > 0 { offset..offset + filesz } else { file_end..file_end };
        self.loads.push(Segment { memory: vaddr..end, file, write, execute });
        Ok(())
    }

    fn finish(self, headers: &[ProgramHeader], table: Range<u64>) -> Result<Layout, Problem> {
        let Some(dynamic) = self.dynamic else {
            return Err(Problem::NoDynamicSection);
        };
        let stack = self.stack.map(|index| headers[index].p_flags.get(LE).0 & elf::PF_X.0 != 0);
        if stack != Some(false) {
            return Err(Problem::ExecutableStack { missing: stack.is_none() });
        }
        let mut layout = Layout {
            loads: self.loads,
            dynamic: range(&headers[dynamic]),
            dynamic_offset: 0,
            relro: 0..0,
            tls: false,
            headers: table.clone(),
            hidden: self.hidden.iter().map(|&index| table.start + index as u64 * 56).collect(),
        };
        let mapped = layout.loads.first().is_some_and(|first| {
            !first.write && first.file.start == 0 && table.start >= 64 && table.end <= first.file.end
        });
        if !mapped {
            // The dynamic linker keeps reading them there; elsewhere a relocation could change them.
            return Err(Problem::Header("the first segment is writable or does not hold both headers"));
        }
        layout.dynamic_offset = dynamic_section(&layout, dynamic, &headers[dynamic])?;
        if let Some(index) = self.relro {
            layout.relro = relro(&layout, index, &headers[index])?;
        }
        if let Some(index) = self.tls {
            layout.tls = thread_local(&layout, index, &headers[index])?;
        }
        if let Some(index) = self.unwind {
            let at = &headers[index];
            if layout.load(at.p_vaddr.get(LE), at.p_memsz.get(LE)).is_none() {
                layout.hidden.push(table.start + index as u64 * 56);
            }
        }
        Ok(layout)
    }
}

/// Addresses from p_vaddr on, p_memsz bytes; empty at the top where that overflows.
fn range(header: &ProgramHeader) -> Range<u64> {
    let start = header.p_vaddr.get(LE);
    start..start.saturating_add(header.p_memsz.get(LE))
}

fn dynamic_section(layout: &Layout, index: usize, header: &ProgramHeader) -> Result<u64, Problem> {
    let fault = |why| Problem::Segment { index, kind: "PT_DYNAMIC", why };
    let len = header.p_memsz.get(LE);
    if header.p_filesz.get(LE) != len || !len.is_multiple_of(16) || !header.p_vaddr.get(LE).is_multiple_of(8)
    {
        return Err(fault("it is not a table of 16-byte entries in the file"));
    }
    if len == 0 {
        return Err(Problem::NoDynamicSection);
    }
    if len > DYNAMIC_MAX * 16 {
        return Err(fault("it has more than 512 entries"));
    }
    let vaddr = header.p_vaddr.get(LE);
    if !layout.load(vaddr, len).is_some_and(|load| load.write) {
        // The dynamic linker adds the load address to entries in place.
        return Err(fault("it is not inside a writable segment"));
    }
    layout.offset(vaddr, len).ok_or(fault("it is not inside the file's part of a segment"))
}

fn relro(layout: &Layout, index: usize, header: &ProgramHeader) -> Result<Range<u64>, Problem> {
    let why = "it is not inside a writable segment";
    let fault = Problem::Segment { index, kind: "PT_GNU_RELRO", why };
    let (start, len) = (header.p_vaddr.get(LE), header.p_memsz.get(LE));
    // Wrapped around, it would be a page before the image.
    let Some(end) = start.checked_add(len) else {
        return Err(fault);
    };
    let pages = page_down(start)..page_down(end);
    let inside = layout.loads.iter().any(|load| {
        load.write && page_down(load.memory.start) <= pages.start && pages.end <= page_up(load.memory.end)
    });
    if !inside && !pages.is_empty() {
        return Err(fault);
    }
    Ok(pages)
}

fn thread_local(layout: &Layout, index: usize, header: &ProgramHeader) -> Result<bool, Problem> {
    let fault = |why| Problem::Segment { index, kind: "PT_TLS", why };
    let (filesz, memsz) = (header.p_filesz.get(LE), header.p_memsz.get(LE));
    let align = header.p_align.get(LE);
    if filesz > memsz {
        return Err(fault("it has more bytes in the file than in memory"));
    }
    if memsz > TLS_MAX {
        let words = format!("{memsz} bytes of them, a PD has room for {TLS_MAX}");
        return Err(Problem::ThreadLocal(words));
    }
    if !align.is_power_of_two() || align > TLS_ALIGN_MAX {
        let words = format!("aligned to {align}; a PD can align them to 64 bytes at most");
        return Err(Problem::ThreadLocal(words));
    }
    let vaddr = header.p_vaddr.get(LE);
    // The dynamic linker takes address 0 for none, and then does not add the load address to it.
    if filesz > 0 && (vaddr == 0 || layout.offset(vaddr, filesz).is_none()) {
        return Err(fault("it is not inside the file's part of a segment"));
    }
    Ok(memsz > 0)
}

fn page_down(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// `address` rounded up; addresses are below [`SPAN_MAX`].
fn page_up(address: u64) -> u64 {
    page_down(address.saturating_add(PAGE - 1))
}
