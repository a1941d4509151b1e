//! The ELF header: is this a file for this machine, of the right kind, and complete?

#![forbid(unsafe_code)]

use super::bytes::{LE, record, slice};
use super::error::{Kind, Problem};
use object::elf;

pub(super) type Header = elf::FileHeader64<object::LittleEndian>;

/// Most program headers. Linkers write about ten; the dynamic linker keeps them on its stack.
const SEGMENTS_MAX: u16 = 64;

/// The header of an ELF file for this machine, with both of its tables inside the file. `e_type` is for the caller.
pub(super) fn read(bytes: &[u8]) -> Result<&Header, Problem> {
    if !bytes.starts_with(&elf::ELFMAG) {
        // A file that ends within the magic number was an ELF file once.
        let start = !bytes.is_empty() && elf::ELFMAG.starts_with(bytes);
        return Err(if start { cut(bytes, "the ELF header", 0, 64) } else { Problem::NotElf });
    }
    let ident = slice(bytes, 0, 16).ok_or_else(|| cut(bytes, "the ELF header", 0, 64))?;
    if ident[4] != elf::ELFCLASS64.0 {
        return Err(Problem::OtherMachine("32-bit code".to_owned()));
    }
    if ident[5] != elf::ELFDATA2LSB.0 {
        return Err(Problem::OtherMachine("a big-endian machine".to_owned()));
    }
    let header: &Header = record(bytes, 0).ok_or_else(|| cut(bytes, "the ELF header", 0, 64))?;
    let machine = header.e_machine.get(LE);
    if machine != elf::EM_X86_64 {
        return Err(Problem::OtherMachine(machine_name(machine.0)));
    }
    if ![elf::ELFOSABI_SYSV.0, elf::ELFOSABI_GNU.0].contains(&ident[7]) || ident[8] != 0 {
        return Err(Problem::OtherMachine(format!("another system (OS ABI {}.{})", ident[7], ident[8])));
    }
    if ident[6] != 1 || ident[9..] != [0; 7] || header.e_version.get(LE) != 1 {
        return Err(Problem::Header("it has an unknown version"));
    }
    tables(bytes, header)?;
    Ok(header)
}

/// The error for an image of the wrong kind.
pub(super) fn shared_object(header: &Header) -> Result<(), Problem> {
    let kind = match header.e_type.get(LE) {
        elf::ET_DYN => return Ok(()),
        elf::ET_REL => Kind::Relocatable,
        elf::ET_EXEC => Kind::StaticExecutable,
        elf::ET_CORE => Kind::Core,
        other => Kind::Other(other.0),
    };
    Err(Problem::NotSharedObject(kind))
}

fn tables(bytes: &[u8], header: &Header) -> Result<(), Problem> {
    let segments = header.e_phnum.get(LE);
    if segments > SEGMENTS_MAX {
        return Err(Problem::Header("it has more than 64 program headers"));
    }
    if segments > 0 && usize::from(header.e_phentsize.get(LE)) != 56 {
        return Err(Problem::Header("its program headers do not have 56 bytes each"));
    }
    inside(bytes, "the program headers", header.e_phoff.get(LE), u64::from(segments) * 56)?;
    let sections = header.e_shnum.get(LE);
    if sections > 0 && header.e_shentsize.get(LE) != 64 {
        return Err(Problem::Header("its section headers do not have 64 bytes each"));
    }
    inside(bytes, "the section headers", header.e_shoff.get(LE), u64::from(sections) * 64)
}

/// An error if `what` does not lie inside the file.
pub(super) fn inside(bytes: &[u8], what: &'static str, offset: u64, len: u64) -> Result<(), Problem> {
    match offset.checked_add(len) {
        Some(end) if end <= bytes.len() as u64 => Ok(()),
        _ => Err(cut(bytes, what, offset, len)),
    }
}

fn cut(bytes: &[u8], what: &'static str, offset: u64, len: u64) -> Problem {
    Problem::Truncated { what, end: offset.saturating_add(len), len: bytes.len() as u64 }
}

/// The architectures that people build Microkit systems for by name, any other by number.
fn machine_name(machine: u16) -> String {
    let name = match elf::Machine(machine) {
        elf::EM_AARCH64 => "AArch64",
        elf::EM_ARM => "32-bit Arm",
        elf::EM_RISCV => "RISC-V",
        elf::EM_386 => "32-bit x86",
        elf::EM_PPC64 => "64-bit PowerPC",
        elf::EM_S390 => "s390",
        elf::EM_LOONGARCH => "LoongArch",
        _ => return format!("another machine (e_machine {machine})"),
    };
    name.to_owned()
}
