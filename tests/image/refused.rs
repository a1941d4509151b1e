//! Files, segments and needs that are refused, each with its reason. What linkers can be made to write comes from
//! linkers, the rest from single edits of an ordinary image.

use crate::support::*;
use mk_sandbox::image::{Kind, Missing, Problem};
use object::elf;

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
    assert_eq!(words(|b| set(b, 18, &9999u16.to_le_bytes())), "another machine (e_machine 9999)");
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
    assert_eq!(found, Problem::NotSharedObject(Kind::PositionIndependentExecutable));
    let fixed = compile_with(&source, &["-static", "-no-pie"]);
    assert_eq!(problem(&fixed), Problem::NotSharedObject(Kind::StaticExecutable));
    let hint = read(&fixed).unwrap_err().hint();
    assert!(hint.contains("mk-sandbox cc"), "{hint}");
}

#[test]
fn a_file_cut_short_at_any_place_is_refused() {
    let bytes = plain();
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    // The usual case, half a copy, in so many words.
    refused!(problem(&bytes[..bytes.len() / 2]), Problem::Truncated { .. });
    refused!(problem(&bytes[..bytes.len() - 1]), Problem::Truncated { what: "the section headers", .. });
}

#[test]
fn headers_that_would_mislead() {
    refused!(edited(|b| set(b, 54, &55u16.to_le_bytes())), Problem::Header(_));
    refused!(edited(|b| set(b, 56, &65u16.to_le_bytes())), Problem::Header(_));
    refused!(edited(|b| set64(b, 32, u64::MAX - 8)), Problem::Truncated { .. });
    refused!(edited(|b| set64(b, 40, u64::MAX - 8)), Problem::Truncated { .. });
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
    assert_eq!(why(&|b, at| set64(b, at[0] + 40, 1)), "it has more bytes in the file than in memory");
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
    refused!(first, Problem::Segment { why: "the first segment does not begin at address 0", .. });
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
    refused!(twice, Problem::Segment { why: "it shares bytes of the file with the segment before", .. });
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
    assert_eq!(place(segment(elf::PT_GNU_RELRO, 40, 1 << 40)), "PT_GNU_RELRO");
    assert_eq!(place(segment(elf::PT_GNU_RELRO, 16, u64::MAX)), "PT_GNU_RELRO");
    let read_only = entry(plain(), elf::DT_STRTAB).1 / 8 * 8;
    assert_eq!(place(segment(elf::PT_DYNAMIC, 16, read_only)), "PT_DYNAMIC");
    assert_eq!(place(segment(elf::PT_DYNAMIC, 40, 1 << 20)), "PT_DYNAMIC");
    assert_eq!(place(segment(elf::PT_DYNAMIC, 16, u64::MAX - 7)), "PT_DYNAMIC");
    let gone = edited(|b| {
        let at = program_header(b, elf::PT_DYNAMIC);
        set32(b, at, 0)
    });
    assert_eq!(gone, Problem::NoDynamicSection);
    let second = edited(|b| {
        let at = program_header(b, elf::PT_GNU_RELRO);
        set32(b, at, elf::PT_DYNAMIC.0)
    });
    refused!(second, Problem::Segment { why: "there is more than one", .. });
}

#[test]
fn what_would_open_other_files() {
    for (flag, tag) in [("--disable-new-dtags", "DT_RPATH"), ("--enable-new-dtags", "DT_RUNPATH")] {
        let bytes = compile(ENTRY, &[&format!("-Wl,{flag},-rpath,$ORIGIN")]);
        assert_eq!(problem(&bytes), Problem::SearchPath { tag });
    }
    for (flag, tag) in [
        ("--audit=x.so", "DT_AUDIT"),
        ("--depaudit=x.so", "DT_DEPAUDIT"),
        ("--filter=x.so", "DT_FILTER"),
        ("--auxiliary=x.so", "DT_AUXILIARY"),
    ] {
        assert_eq!(problem(&compile(ENTRY, &[&format!("-Wl,{flag}")])), Problem::LoadsOthers(tag));
    }
    let path = fresh("libother.so");
    std::fs::write(&path, compile("int other;", &["-Wl,-soname,lib\x1bother.so"])).unwrap();
    let bytes = compile(ENTRY, &["-Wl,--no-as-needed", path.to_str().unwrap()]);
    assert_eq!(problem(&bytes), Problem::ForeignLibrary("lib\\u{1b}other.so".to_owned()));
    // A path to an allowed name is another file.
    let path = fresh("libc.so.6");
    std::fs::write(&path, compile("int other;", &["-Wl,-soname,./libc.so.6"])).unwrap();
    let bytes = compile(ENTRY, &["-Wl,--no-as-needed", path.to_str().unwrap()]);
    assert_eq!(problem(&bytes), Problem::ForeignLibrary("./libc.so.6".to_owned()));
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
    assert_eq!(exported, Problem::IndirectFunction { symbol: Some("chosen".to_owned()) });
    let inner = problem(&compile(&source, &["-fvisibility=hidden", "-include", export().as_str()]));
    // By a relocation alone or a local symbol, as the compiler likes.
    refused!(inner, Problem::IndirectFunction { .. });
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
    assert_eq!(edited(|b| set64(b, at, code)), Problem::TextRelocations { at: Some(code) });
    let flags = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_FLAGS, elf::DF_TEXTREL.0);
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
    assert_eq!(missing("void init(void) {}\n", &[]), ("notified", Missing::Nowhere));
    assert_eq!(missing(ENTRY, &["-fvisibility=hidden"]), ("init", Missing::NotExported));
    let local = format!("{notified}__attribute__((used)) static void init(void) {{}}\n");
    assert_eq!(missing(&local, &[]), ("init", Missing::NotExported));
    let called = format!("{notified}void init(void);\nvoid call(void) {{ init(); }}\n");
    assert_eq!(missing(&called, &[]), ("init", Missing::Undefined));
    let mangled = format!("{notified}void init(void) __asm__(\"_Z4initv\");\nvoid init(void) {{}}\n");
    assert_eq!(missing(&mangled, &[]), ("init", Missing::Mangled));
    let error = read(&compile(notified, &[])).unwrap_err();
    assert_eq!(error.to_string(), "test.elf: no symbol `init`");
    assert_eq!(error.hint(), "every image defines void init(void)");

    let data = problem(&compile(&format!("{notified}int init;\n"), &[]));
    assert_eq!(data, Problem::Entry { symbol: "init", why: "is not a function" });
    let source = "__asm__(\".data\\n.globl protected\\n.type protected, @function\\n\
                  protected: .byte 0\\n.text\");\n";
    let data = problem(&compile(&format!("{ENTRY}{source}"), &[]));
    assert_eq!(data, Problem::Entry { symbol: "protected", why: "is not inside an executable segment" });
}
