//! Images that are refused, each with its reason. What linkers can be made to write comes from linkers, the rest from
//! single edits of an ordinary image.

use crate::support::*;
use mk_sandbox::image::{Kind, Missing, Problem};
use object::elf;

/// `plain.c` with one value of the dynamic section changed.
#[track_caller]
fn value(tag: elf::DynamicTag, value: u64) -> Problem {
    problem(&with_value(plain(), tag, value))
}

#[track_caller]
fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Problem {
    let mut bytes = plain().to_vec();
    edit(&mut bytes);
    assert_ne!(bytes, plain(), "the edit changes nothing");
    problem(&bytes)
}

macro_rules! refused {
    ($problem:expr, $pattern:pat $(if $guard:expr)?) => {
        let problem = $problem;
        assert!(matches!(&problem, $pattern $(if $guard)?), "{problem:?}");
    };
}

#[test]
fn files_of_another_kind() {
    assert_eq!(problem(b""), Problem::NotElf);
    assert_eq!(problem(b"#include <microkit.h>\n"), Problem::NotElf);
    refused!(problem(b"\x7fEL"), Problem::Truncated { .. });
    let words = |edit: fn(&mut Vec<u8>)| match edited(edit) {
        Problem::OtherMachine(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words(|b| b[4] = 1), "32-bit code");
    assert_eq!(words(|b| b[5] = 2), "a big-endian machine");
    assert_eq!(words(|b| set(b, 18, &183u16.to_le_bytes())), "AArch64");
    assert_eq!(words(|b| set(b, 18, &243u16.to_le_bytes())), "RISC-V");
    assert_eq!(
        words(|b| set(b, 18, &9999u16.to_le_bytes())),
        "another machine (e_machine 9999)"
    );
    assert_eq!(words(|b| b[7] = 9), "another system (OS ABI 9.0)");
    refused!(edited(|b| b[6] = 0), Problem::Header(_));
    refused!(edited(|b| b[20] = 2), Problem::Header(_));
}

#[test]
fn elf_files_that_are_no_shared_objects() {
    for (number, kind) in [
        (1u16, Kind::Relocatable),
        (2, Kind::StaticExecutable),
        (4, Kind::Core),
        (0xfe00, Kind::Other(0xfe00)),
    ] {
        let found = edited(|b| set(b, 16, &number.to_le_bytes()));
        assert_eq!(found, Problem::NotSharedObject(kind));
    }
    let source = format!("{ENTRY}int main(void) {{ return 0; }}\n");
    let executable = compile_with(&source, &["-fPIC", "-O1", "-rdynamic", "-pie"]);
    let found = problem(&executable);
    assert_eq!(
        found,
        Problem::NotSharedObject(Kind::PositionIndependentExecutable)
    );
    let fixed = compile_with(&source, &["-static", "-no-pie"]);
    assert_eq!(
        problem(&fixed),
        Problem::NotSharedObject(Kind::StaticExecutable)
    );
    let hint = read(&fixed).unwrap_err().hint();
    assert!(hint.contains("mk-sandbox cc"), "{hint}");
}

#[test]
fn a_file_cut_short_at_any_place_is_refused() {
    let bytes = plain();
    for len in 0..bytes.len() {
        assert!(
            read(&bytes[..len]).is_err(),
            "{len} of {} bytes",
            bytes.len()
        );
    }
    // The usual case, half a copy, in so many words.
    refused!(
        problem(&bytes[..bytes.len() / 2]),
        Problem::Truncated { .. }
    );
    refused!(
        problem(&bytes[..bytes.len() - 1]),
        Problem::Truncated {
            what: "the section headers",
            ..
        }
    );
}

#[test]
fn headers_that_would_mislead() {
    refused!(
        edited(|b| set(b, 54, &55u16.to_le_bytes())),
        Problem::Header(_)
    );
    refused!(
        edited(|b| set(b, 56, &65u16.to_le_bytes())),
        Problem::Header(_)
    );
    refused!(
        edited(|b| set64(b, 32, u64::MAX - 8)),
        Problem::Truncated { .. }
    );
    refused!(
        edited(|b| set64(b, 40, u64::MAX - 8)),
        Problem::Truncated { .. }
    );
    // The table behind all segments, where nothing would hold it in memory.
    let mut bytes = plain().to_vec();
    let table = bytes[64..64 + program_headers(&bytes).len() * 56].to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let end = bytes.len() as u64;
    bytes.extend_from_slice(&table);
    set64(&mut bytes, 32, end);
    refused!(problem(&bytes), Problem::Header(_));
}

#[test]
fn segments() {
    let why = |edit: &dyn Fn(&mut Vec<u8>, &[usize])| match edited(|bytes| {
        let places: Vec<usize> = loads(bytes).iter().map(|(place, _)| *place).collect();
        edit(bytes, &places);
    }) {
        Problem::Segment { why, .. } => why,
        other => panic!("{other:?}"),
    };
    // Fields of a program header: flags 4, offset 8, vaddr 16, filesz 32, memsz 40, align 48.
    assert_eq!(why(&|b, at| set32(b, at[0] + 4, 0)), "it is not readable");
    let aligned = "its alignment is not a power of two from 4 KiB to 2 MiB";
    for align in [0, 1, 8, 0x1800, 4 << 20, u64::MAX] {
        assert_eq!(why(&|b, at| set64(b, at[0] + 48, align)), aligned);
    }
    let last = |b: &[u8]| loads(b).last().unwrap().0;
    assert_eq!(
        why(&|b, _| {
            let at = last(b);
            let vaddr = loads(b).last().unwrap().1.p_vaddr.get(LE);
            set64(b, at + 16, vaddr + 8)
        }),
        "its address and its place in the file are not aligned alike"
    );
    assert_eq!(
        why(&|b, at| set64(b, at[0] + 40, 1)),
        "it has more bytes in the file than in memory"
    );
    assert_eq!(
        why(&|b, at| {
            let size = loads(b)[0].1.p_filesz.get(LE);
            set64(b, at[0] + 40, size + 1)
        }),
        "it is not writable, but has zeroed memory behind the file's bytes"
    );
    assert_eq!(
        why(&|b, _| {
            let at = last(b);
            set64(b, at + 40, 2 << 30)
        }),
        "it ends above 1 GiB"
    );
    assert_eq!(
        why(&|b, _| {
            let at = last(b);
            set64(b, at + 40, u64::MAX)
        }),
        "it ends above 1 GiB"
    );
    let shares = "it shares a page with the segment before, or lies before it";
    assert_eq!(
        why(&|b, at| {
            let size = loads(b)[0].1.p_filesz.get(LE);
            set64(b, at[1] + 16, 0);
            set64(b, at[1] + 8, size / 4096 * 4096);
        }),
        shares
    );
    let first = edited(|b| {
        for (place, load) in loads(b) {
            set64(b, place + 16, load.p_vaddr.get(LE) + 4096);
        }
    });
    refused!(
        first,
        Problem::Segment {
            why: "the first segment does not begin at address 0",
            ..
        }
    );
}

#[test]
fn a_segment_twice_in_memory_or_file() {
    // Two segments that map the same bytes: a patch of one would change the other.
    let twice = edited(|b| {
        let loads = loads(b);
        let (place, second) = &loads[1];
        let len = loads[0].1.p_filesz.get(LE).min(64);
        set64(b, place + 8, 0);
        set64(b, place + 16, second.p_vaddr.get(LE) / 4096 * 4096);
        set64(b, place + 32, len);
        set64(b, place + 40, len);
    });
    refused!(
        twice,
        Problem::Segment {
            why: "it shares bytes of the file with the segment before",
            ..
        }
    );
}

#[test]
fn rights_that_no_pd_has() {
    let both = edited(|b| {
        let at = loads(b)[1].0;
        set32(b, at + 4, 7)
    });
    refused!(both, Problem::WritableAndExecutable { .. });
    let stack = compile(ENTRY, &["-Wl,-z,execstack"]);
    assert_eq!(problem(&stack), Problem::ExecutableStack { missing: false });
    let none = edited(|b| {
        let at = program_header(b, elf::PT_GNU_STACK);
        set32(b, at, 0)
    });
    assert_eq!(none, Problem::ExecutableStack { missing: true });
}

#[test]
fn special_segments() {
    let segment = |kind: elf::ProgramType, field: usize, value: u64| {
        edited(|b| {
            let at = program_header(b, kind);
            set64(b, at + field, value)
        })
    };
    refused!(
        segment(elf::PT_GNU_RELRO, 16, 0),
        Problem::Segment {
            kind: "PT_GNU_RELRO",
            ..
        }
    );
    refused!(
        segment(elf::PT_GNU_RELRO, 40, 1 << 40),
        Problem::Segment {
            kind: "PT_GNU_RELRO",
            ..
        }
    );
    refused!(
        segment(elf::PT_GNU_RELRO, 16, u64::MAX),
        Problem::Segment {
            kind: "PT_GNU_RELRO",
            ..
        }
    );
    let read_only = entry(plain(), elf::DT_STRTAB).1 / 8 * 8;
    refused!(
        segment(elf::PT_DYNAMIC, 16, read_only),
        Problem::Segment {
            kind: "PT_DYNAMIC",
            ..
        }
    );
    refused!(
        segment(elf::PT_DYNAMIC, 40, 1 << 20),
        Problem::Segment {
            kind: "PT_DYNAMIC",
            ..
        }
    );
    refused!(
        segment(elf::PT_DYNAMIC, 16, u64::MAX - 7),
        Problem::Segment {
            kind: "PT_DYNAMIC",
            ..
        }
    );
    let gone = edited(|b| {
        let at = program_header(b, elf::PT_DYNAMIC);
        set32(b, at, 0)
    });
    assert_eq!(gone, Problem::NoDynamicSection);
    let second = edited(|b| {
        let at = program_header(b, elf::PT_GNU_RELRO);
        set32(b, at, elf::PT_DYNAMIC.0)
    });
    refused!(
        second,
        Problem::Segment {
            why: "there is more than one",
            ..
        }
    );
}

#[test]
fn what_would_open_other_files() {
    for (flag, tag) in [
        ("--disable-new-dtags", "DT_RPATH"),
        ("--enable-new-dtags", "DT_RUNPATH"),
    ] {
        let bytes = compile(ENTRY, &[&format!("-Wl,{flag},-rpath,$ORIGIN")]);
        assert_eq!(problem(&bytes), Problem::SearchPath { tag });
    }
    for (flag, tag) in [
        ("--audit=x.so", "DT_AUDIT"),
        ("--depaudit=x.so", "DT_DEPAUDIT"),
        ("--filter=x.so", "DT_FILTER"),
        ("--auxiliary=x.so", "DT_AUXILIARY"),
    ] {
        assert_eq!(
            problem(&compile(ENTRY, &[&format!("-Wl,{flag}")])),
            Problem::LoadsOthers(tag)
        );
    }
    let path = fresh("libother.so");
    std::fs::write(
        &path,
        compile("int other;", &["-Wl,-soname,lib\x1bother.so"]),
    )
    .unwrap();
    let bytes = compile(ENTRY, &["-Wl,--no-as-needed", path.to_str().unwrap()]);
    assert_eq!(
        problem(&bytes),
        Problem::ForeignLibrary("lib\\u{1b}other.so".to_owned())
    );
    // A path to an allowed name is another file.
    let path = fresh("libc.so.6");
    std::fs::write(&path, compile("int other;", &["-Wl,-soname,./libc.so.6"])).unwrap();
    let bytes = compile(ENTRY, &["-Wl,--no-as-needed", path.to_str().unwrap()]);
    assert_eq!(
        problem(&bytes),
        Problem::ForeignLibrary("./libc.so.6".to_owned())
    );
}

#[test]
fn what_would_run_code() {
    let source = format!(
        "{ENTRY}static void a(void) {{}}\nstatic void *resolve(void) {{ return a; }}\n\
         void chosen(void) __attribute__((ifunc(\"resolve\")));\n\
         static void inner(void) __attribute__((ifunc(\"resolve\")));\n\
         void use(void) {{ inner(); }}\n"
    );
    let exported = problem(&compile(&source, &[]));
    assert_eq!(
        exported,
        Problem::IndirectFunction {
            symbol: Some("chosen".to_owned())
        }
    );
    let inner = problem(&compile(
        &source,
        &[
            "-fvisibility=hidden",
            "-DKEEP",
            "-include",
            export().as_str(),
        ],
    ));
    assert_eq!(inner, Problem::IndirectFunction { symbol: None });
}

/// A header that keeps the entry points visible under -fvisibility=hidden.
fn export() -> String {
    let path = fresh("export.h");
    let text = "#pragma GCC visibility push(default)\nvoid init(void);\nvoid notified(unsigned);\n#pragma GCC visibility pop\n";
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn text_relocations() {
    let source = format!(
        "{ENTRY}extern int elsewhere;\nint *const volatile p __attribute__((section(\".text\"))) = &elsewhere;\n"
    );
    let bytes = compile(&source, &["-Wl,-z,notext", "-w"]);
    assert_eq!(problem(&bytes), Problem::TextRelocations { at: None });
    // Without the flag that admits it.
    let at = table_at(plain(), elf::DT_RELA);
    let code = loads(plain())[1].1.p_vaddr.get(LE);
    assert_eq!(
        edited(|b| set64(b, at, code)),
        Problem::TextRelocations { at: Some(code) }
    );
    let flags = with_entry(
        plain(),
        elf::DT_FINI_ARRAY,
        elf::DT_FLAGS,
        elf::DF_TEXTREL.0,
    );
    assert_eq!(problem(&flags), Problem::TextRelocations { at: None });
}

#[test]
fn entry_points() {
    let missing = |source: &str, flags: &[&str]| match problem(&compile(source, flags)) {
        Problem::EntryMissing { symbol, why } => (symbol, why),
        other => panic!("{other:?}"),
    };
    let notified = "void notified(unsigned ch) { (void)ch; }\n";
    assert_eq!(missing(notified, &[]), ("init", Missing::Nowhere));
    assert_eq!(
        missing("void init(void) {}\n", &[]),
        ("notified", Missing::Nowhere)
    );
    assert_eq!(
        missing(ENTRY, &["-fvisibility=hidden"]),
        ("init", Missing::NotExported)
    );
    let local = format!("{notified}__attribute__((used)) static void init(void) {{}}\n");
    assert_eq!(missing(&local, &[]), ("init", Missing::NotExported));
    let called = format!("{notified}void init(void);\nvoid call(void) {{ init(); }}\n");
    assert_eq!(missing(&called, &[]), ("init", Missing::Undefined));
    let mangled =
        format!("{notified}void init(void) __asm__(\"_Z4initv\");\nvoid init(void) {{}}\n");
    assert_eq!(missing(&mangled, &[]), ("init", Missing::Mangled));
    let error = read(&compile(notified, &[])).unwrap_err();
    assert_eq!(error.to_string(), "test.elf: no symbol `init`");
    assert_eq!(error.hint(), "every image defines void init(void)");

    let data = problem(&compile(&format!("{notified}int init;\n"), &[]));
    assert_eq!(
        data,
        Problem::Entry {
            symbol: "init",
            why: "is not a function"
        }
    );
    let source =
        "void protected(void) __attribute__((section(\".data\")));\nvoid protected(void) {}\n";
    let data = problem(&compile(&format!("{ENTRY}{source}"), &["-w"]));
    assert_eq!(
        data,
        Problem::Entry {
            symbol: "protected",
            why: "is not inside an executable segment"
        }
    );
}

#[test]
fn constructors_outside_of_the_image() {
    refused!(
        value(elf::DT_INIT_ARRAYSZ, 1 << 40),
        Problem::Dynamic {
            tag: "DT_INIT_ARRAY",
            ..
        }
    );
    refused!(
        value(elf::DT_INIT_ARRAYSZ, 9),
        Problem::Dynamic {
            tag: "DT_INIT_ARRAY",
            ..
        }
    );
    refused!(
        value(elf::DT_INIT_ARRAY, u64::MAX - 7),
        Problem::Dynamic {
            tag: "DT_INIT_ARRAY",
            ..
        }
    );
    let init = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_PREINIT_ARRAY, 0);
    refused!(
        problem(&init),
        Problem::Dynamic {
            tag: "DT_PREINIT_ARRAY",
            ..
        }
    );
    let data = entry(plain(), elf::DT_INIT_ARRAY).1;
    let init = if has_entry(plain(), elf::DT_INIT) {
        with_value(plain(), elf::DT_INIT, data)
    } else {
        with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_INIT, data)
    };
    refused!(problem(&init), Problem::Dynamic { tag: "DT_INIT", .. });
}

#[test]
fn a_dynamic_section_that_contradicts_itself() {
    let without = |tag| problem(&with_entry(plain(), tag, elf::DT_DEBUG, 0));
    for tag in [
        elf::DT_STRTAB,
        elf::DT_STRSZ,
        elf::DT_SYMTAB,
        elf::DT_SYMENT,
        elf::DT_RELA,
        elf::DT_RELASZ,
        elf::DT_RELAENT,
        elf::DT_JMPREL,
        elf::DT_PLTRELSZ,
        elf::DT_PLTREL,
        elf::DT_GNU_HASH,
    ] {
        if has_entry(plain(), tag) {
            refused!(without(tag), Problem::Dynamic { .. });
        }
    }
    // Any table moved out of its segment, to its very end, or into the writable one.
    let writable = entry(plain(), elf::DT_INIT_ARRAY).1;
    let end = loads(plain())[0].1.p_filesz.get(LE) / 8 * 8;
    for tag in [
        elf::DT_STRTAB,
        elf::DT_SYMTAB,
        elf::DT_RELA,
        elf::DT_JMPREL,
        elf::DT_GNU_HASH,
        elf::DT_VERSYM,
        elf::DT_VERNEED,
    ] {
        for vaddr in [1 << 40, u64::MAX - 7, end, writable] {
            if has_entry(plain(), tag) {
                problem(&with_value(plain(), tag, vaddr));
            }
        }
    }
    for tag in [
        elf::DT_STRSZ,
        elf::DT_RELASZ,
        elf::DT_PLTRELSZ,
        elf::DT_RELACOUNT,
        elf::DT_NEEDED,
    ] {
        for size in [1 << 40, u64::MAX, u64::MAX / 24 * 24] {
            if has_entry(plain(), tag) {
                problem(&with_value(plain(), tag, size));
            }
        }
    }
    let twice = with_entry(
        plain(),
        elf::DT_FINI_ARRAY,
        elf::DT_STRTAB,
        entry(plain(), elf::DT_STRTAB).1,
    );
    refused!(
        problem(&twice),
        Problem::Dynamic {
            tag: "DT_STRTAB",
            why: "comes more than once"
        }
    );
    let endless = edited(|b| {
        for (place, tag, _) in dynamic(b) {
            if tag == 0 {
                set64(b, place, elf::DT_DEBUG.0 as u64);
            }
        }
    });
    refused!(endless, Problem::Dynamic { tag: "DT_NULL", .. });
    let old = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_REL, 0);
    refused!(problem(&old), Problem::Dynamic { tag: "DT_REL", .. });
    let underflow = with_entry(plain(), elf::DT_RELACOUNT, elf::DT_DEBUG, 0);
    let (rela, size) = (
        entry(&underflow, elf::DT_RELA).1,
        entry(&underflow, elf::DT_RELASZ).1,
    );
    let underflow = with_value(&underflow, elf::DT_RELASZ, 0);
    let underflow = with_value(&underflow, elf::DT_RELA, rela + size);
    let underflow = if has_entry(plain(), elf::DT_JMPREL) {
        with_value(
            &with_value(&underflow, elf::DT_JMPREL, rela),
            elf::DT_PLTRELSZ,
            size,
        )
    } else {
        return;
    };
    refused!(
        problem(&underflow),
        Problem::Dynamic {
            tag: "DT_JMPREL",
            ..
        }
    );
}

#[test]
fn symbols_and_their_names() {
    let strings = table_at(plain(), elf::DT_STRTAB);
    let len = entry(plain(), elf::DT_STRSZ).1 as usize;
    refused!(
        edited(|b| b[strings + len - 1] = b'x'),
        Problem::Table {
            table: ".dynstr",
            ..
        }
    );
    let symbols = table_at(plain(), elf::DT_SYMTAB);
    refused!(
        edited(|b| set32(b, symbols + 24, len as u32)),
        Problem::Table {
            table: ".dynsym",
            ..
        }
    );
    refused!(
        edited(|b| set32(b, symbols + 24, u32::MAX)),
        Problem::Table {
            table: ".dynsym",
            ..
        }
    );
    refused!(
        value(elf::DT_SYMENT, 25),
        Problem::Dynamic {
            tag: "DT_SYMENT",
            ..
        }
    );
    let long = format!("{ENTRY}void {}(void) {{}}\n", "x".repeat(5000));
    refused!(
        problem(&compile(&long, &[])),
        Problem::Table {
            table: ".dynsym",
            ..
        }
    );
}

#[test]
fn hash_tables_of_the_new_kind() {
    let at = table_at(plain(), elf::DT_GNU_HASH);
    let word = |index: usize| {
        object::pod::from_bytes::<[u8; 4]>(&plain()[at + index * 4..])
            .unwrap()
            .0
    };
    let blooms = u32::from_le_bytes(*word(2)) as usize;
    let buckets = u32::from_le_bytes(*word(0)) as usize;
    let bucket = at + 16 + blooms * 8;
    let chain = bucket + buckets * 4;
    for (index, values) in [
        (0, &[0, u32::MAX, 1 << 20][..]),
        (1, &[u32::MAX][..]),
        (2, &[0, 3, 1 << 31, u32::MAX][..]),
        (3, &[32, u32::MAX][..]),
    ] {
        for value in values {
            let found = edited(|b| set32(b, at + index * 4, *value));
            refused!(
                found,
                Problem::Table {
                    table: ".gnu.hash",
                    ..
                }
            );
        }
    }
    let used = (0..buckets)
        .map(|i| bucket + i * 4)
        .find(|at| plain()[*at] != 0)
        .unwrap();
    // A bucket far behind the chains, and one before the first symbol.
    refused!(
        edited(|b| set32(b, used, u32::MAX)),
        Problem::Table {
            table: ".gnu.hash",
            ..
        }
    );
    refused!(
        edited(|b| {
            set32(b, at + 4, 5);
            set32(b, used, 1)
        }),
        Problem::Table {
            table: ".gnu.hash",
            ..
        }
    );
    // No chain ends: the walk leaves the segment, or reaches symbols that are none.
    let end = loads(plain())[0].1.p_filesz.get(LE) as usize;
    problem(&{
        let mut b = plain().to_vec();
        for at in (chain..end / 4 * 4).step_by(4) {
            b[at] &= !1;
        }
        b
    });
}

#[test]
fn hash_tables_of_the_old_kind() {
    let good = compile_file(&fixture("plain.c"), &["-Wl,--hash-style=sysv"]);
    read(&good).unwrap();
    let at = table_at(&good, elf::DT_HASH);
    let word = |index: usize| u32::from_le_bytes(good[at + index * 4..][..4].try_into().unwrap());
    let buckets = word(0) as usize;
    let used = (2..2 + buckets).find(|index| word(*index) != 0).unwrap();
    let symbol = word(used);
    let link = 2 + buckets + symbol as usize;
    for (index, value) in [
        (0, 0),
        (0, u32::MAX),
        (1, u32::MAX),
        (1, 1 << 16),
        (used, u32::MAX),
        (used, word(1)),
        (link, symbol),
        (link, u32::MAX),
    ] {
        let mut bad = good.clone();
        set32(&mut bad, at + index * 4, value);
        problem(&bad);
    }
}

#[test]
fn relocations() {
    let rela = table_at(plain(), elf::DT_RELA);
    let relative = with_entry(plain(), elf::DT_RELACOUNT, elf::DT_DEBUG, 0);
    let kind = |kind: u64, symbol: u64| {
        let mut bytes = relative.clone();
        set64(&mut bytes, rela + 8, symbol << 32 | kind);
        problem(&bytes)
    };
    refused!(kind(5, 1), Problem::CopyRelocation { .. });
    refused!(kind(37, 0), Problem::IndirectFunction { symbol: None });
    for unknown in [2, 10, 32, 33, 38, 39, 0xffff_ffff] {
        refused!(kind(unknown, 0), Problem::RelocationType { kind, .. } if u64::from(*kind) == unknown);
    }
    for symbol in [10_000, u64::from(u32::MAX)] {
        for known in [0, 1, 6, 7, 8] {
            refused!(
                kind(known, symbol),
                Problem::Relocation {
                    why: "its symbol is not in the symbol table",
                    ..
                }
            );
        }
    }
    for thread_local in [16, 17, 18, 36] {
        refused!(kind(thread_local, 0), Problem::Relocation { .. });
    }
    let target = |vaddr: u64| edited(|b| set64(b, rela, vaddr));
    let last = loads(plain()).last().unwrap().1;
    let end = last.p_vaddr.get(LE) + last.p_memsz.get(LE);
    for vaddr in [
        end,
        end - 7,
        last.p_vaddr.get(LE) - 1,
        1 << 40,
        u64::MAX,
        u64::MAX - 7,
    ] {
        refused!(
            target(vaddr),
            Problem::Relocation {
                why: "it writes outside of the image",
                ..
            }
        );
    }
    let section: ProgramHeader = at(plain(), program_header(plain(), elf::PT_DYNAMIC));
    let (start, size) = (section.p_vaddr.get(LE), section.p_memsz.get(LE));
    for vaddr in [start - 7, start, start + size - 1] {
        refused!(
            target(vaddr),
            Problem::Relocation {
                why: "it writes to the dynamic section",
                ..
            }
        );
    }
    // DT_RELACOUNT is believed by an assertion.
    refused!(
        edited(|b| set64(b, rela + 8, 1 << 32 | 6)),
        Problem::Dynamic {
            tag: "DT_RELACOUNT",
            ..
        }
    );
}

#[test]
fn relative_relocations_in_bitmaps() {
    let space = "const unsigned long bitmaps[3] __attribute__((used)) = {1, 1, 1};\nunsigned long data[200] = {1};\n";
    let base = compile(
        &format!("{ENTRY}{space}"),
        &["-nostdlib", "-Wl,--build-id=none"],
    );
    let place = read(&base).unwrap();
    let data = place.variable("data").unwrap().vaddr;
    let bitmaps = place.variable("bitmaps").unwrap().vaddr;
    // The section has spare entries at its end.
    let crafted = |words: [u64; 3], size: u64, entry_size: u64| {
        let mut bytes = base.clone();
        let spare: Vec<usize> = dynamic(&bytes)
            .iter()
            .filter(|(_, tag, _)| *tag == 0)
            .map(|(at, ..)| *at)
            .collect();
        for (at, (tag, value)) in spare.iter().zip([
            (elf::DT_RELR, bitmaps),
            (elf::DT_RELRSZ, size),
            (elf::DT_RELRENT, entry_size),
        ]) {
            set64(&mut bytes, *at, tag.0 as u64);
            set64(&mut bytes, *at + 8, value);
        }
        assert!(spare.len() > 3);
        let at = offset_of(&bytes, bitmaps);
        for (index, word) in words.iter().enumerate() {
            set64(&mut bytes, at + index * 8, *word);
        }
        bytes
    };
    read(&crafted([data, 0b111, u64::MAX], 24, 8)).unwrap();
    refused!(
        problem(&crafted([data, 0b111, 3], 24, 9)),
        Problem::Dynamic {
            tag: "DT_RELRENT",
            ..
        }
    );
    refused!(
        problem(&crafted([data, 0b111, 3], 23, 8)),
        Problem::Dynamic {
            tag: "DT_RELRSZ",
            ..
        }
    );
    refused!(
        problem(&crafted([0b111, data, data], 24, 8)),
        Problem::Table {
            table: ".relr.dyn",
            ..
        }
    );
    refused!(
        problem(&crafted([bitmaps, 1, 1], 24, 8)),
        Problem::TextRelocations { at: Some(_) }
    );
    refused!(
        problem(&crafted([1 << 40, 1, 1], 24, 8)),
        Problem::Relocation { .. }
    );
    refused!(
        problem(&crafted([u64::MAX - 1, 3, u64::MAX], 24, 8)),
        Problem::Relocation { .. }
    );
    // The array ends within the reach of the last word's bits.
    refused!(
        problem(&crafted([data + 199 * 8, 1, u64::MAX], 24, 8)),
        Problem::Relocation { .. }
    );
}

#[test]
fn thread_local_variables() {
    let source = |what: &str| format!("{ENTRY}{what}\n");
    let model = |model: &str| format!("-ftls-model={model}");
    let own = source("static __thread int v; int *p(void) { return &v; }");
    for tls in ["global-dynamic", "local-dynamic", "initial-exec"] {
        let image = read(&compile(&own, &[&model(tls)])).unwrap();
        assert!(image.has_thread_locals());
    }
    let large = source("__thread char v[2000]; char *p(void) { return v; }");
    refused!(problem(&compile(&large, &[])), Problem::ThreadLocal(_));
    let aligned =
        source("__thread char v __attribute__((aligned(128))); char *p(void) { return &v; }");
    refused!(problem(&compile(&aligned, &[])), Problem::ThreadLocal(_));
    let shared = source("__thread int v; int *p(void) { return &v; }");
    read(&compile(&shared, &[])).unwrap();
    refused!(
        problem(&compile(&shared, &[&model("initial-exec")])),
        Problem::ThreadLocal(_)
    );
    let foreign = source("extern __thread int v; int *p(void) { return &v; }");
    refused!(problem(&compile(&foreign, &[])), Problem::Relocation { .. });
    let mut bytes = compile(
        &source("static __thread int v = 5; int *p(void) { return &v; }"),
        &[],
    );
    let at = program_header(&bytes, elf::PT_TLS);
    set64(&mut bytes, at + 16, 1 << 40);
    refused!(problem(&bytes), Problem::Segment { kind: "PT_TLS", .. });
}

#[test]
fn symbol_versions() {
    let needed = table_at(plain(), elf::DT_VERNEED);
    let indexes = table_at(plain(), elf::DT_VERSYM);
    // A record of needed versions: version 0, count 2, file 4, first 8, next 12; a version: hash 0, index 6, name 8,
    // next 12.
    let table = |edit: &dyn Fn(&mut [u8])| edited(|b| edit(b));
    let far = 0x7fff_fff0u32;
    refused!(
        table(&|b| b[needed] = 2),
        Problem::Table {
            table: ".gnu.version_r",
            ..
        }
    );
    for field in [4, 8, 12] {
        refused!(
            table(&|b| set32(b, needed + field, far)),
            Problem::Table {
                table: ".gnu.version_r",
                ..
            }
        );
    }
    refused!(
        table(&|b| set32(b, needed + 8, 3)),
        Problem::Table {
            table: ".gnu.version_r",
            ..
        }
    );
    let version = needed + at::<[u8; 4]>(plain(), needed + 8)[0] as usize;
    for field in [8, 12] {
        refused!(
            table(&|b| set32(b, version + field, far)),
            Problem::Table {
                table: ".gnu.version_r",
                ..
            }
        );
    }
    // A library that is not needed: the dynamic linker asserts that it is loaded.
    let name = entry(plain(), elf::DT_STRSZ).1 as u32 - 1;
    refused!(
        table(&|b| set32(b, needed + 4, name)),
        Problem::Table {
            table: ".gnu.version_r",
            ..
        }
    );
    refused!(
        table(&|b| set(b, indexes + 2, &0x7fffu16.to_le_bytes())),
        Problem::Table {
            table: ".gnu.version",
            ..
        }
    );
    let without = with_entry(plain(), elf::DT_VERSYM, elf::DT_DEBUG, 0);
    refused!(
        problem(&without),
        Problem::Table {
            table: ".gnu.version",
            ..
        }
    );
    let without = with_entry(plain(), elf::DT_VERNEED, elf::DT_DEBUG, 0);
    refused!(
        problem(&without),
        Problem::Table {
            table: ".gnu.version",
            ..
        }
    );
}
