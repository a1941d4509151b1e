//! The dynamic section and the tables it points at: every way in which the dynamic linker could be led astray by them.

use crate::support::*;
use mk_sandbox::image::Problem;
use object::elf;

#[test]
fn constructors_outside_of_the_image() {
    assert_eq!(place(value(elf::DT_INIT_ARRAYSZ, 1 << 40)), "DT_INIT_ARRAY");
    assert_eq!(place(value(elf::DT_INIT_ARRAYSZ, 9)), "DT_INIT_ARRAY");
    assert_eq!(place(value(elf::DT_INIT_ARRAY, u64::MAX - 7)), "DT_INIT_ARRAY");
    let init = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_PREINIT_ARRAY, 0);
    assert_eq!(place(problem(&init)), "DT_PREINIT_ARRAY");
    let data = entry(plain(), elf::DT_INIT_ARRAY).1;
    let init = if has_entry(plain(), elf::DT_INIT) {
        with_value(plain(), elf::DT_INIT, data)
    } else {
        with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_INIT, data)
    };
    assert_eq!(place(problem(&init)), "DT_INIT");
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
    for tag in [elf::DT_STRSZ, elf::DT_RELASZ, elf::DT_PLTRELSZ, elf::DT_RELACOUNT, elf::DT_NEEDED] {
        for size in [1 << 40, u64::MAX, u64::MAX / 24 * 24] {
            if has_entry(plain(), tag) {
                problem(&with_value(plain(), tag, size));
            }
        }
    }
    let twice = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_STRTAB, entry(plain(), elf::DT_STRTAB).1);
    refused!(problem(&twice), Problem::Dynamic { tag: "DT_STRTAB", why: "comes more than once" });
    let endless = edited(|b| {
        for (place, tag, _) in dynamic(b) {
            if tag == 0 {
                set64(b, place, elf::DT_DEBUG.0 as u64);
            }
        }
    });
    assert_eq!(place(endless), "DT_NULL");
    let old = with_entry(plain(), elf::DT_FINI_ARRAY, elf::DT_REL, 0);
    assert_eq!(place(problem(&old)), "DT_REL");
    let underflow = with_entry(plain(), elf::DT_RELACOUNT, elf::DT_DEBUG, 0);
    let (rela, size) = (entry(&underflow, elf::DT_RELA).1, entry(&underflow, elf::DT_RELASZ).1);
    let underflow = with_value(&underflow, elf::DT_RELASZ, 0);
    let underflow = with_value(&underflow, elf::DT_RELA, rela + size);
    let underflow = if has_entry(plain(), elf::DT_JMPREL) {
        with_value(&with_value(&underflow, elf::DT_JMPREL, rela), elf::DT_PLTRELSZ, size)
    } else {
        return;
    };
    assert_eq!(place(problem(&underflow)), "DT_JMPREL");
}

#[test]
fn symbols_and_their_names() {
    let strings = table_at(plain(), elf::DT_STRTAB);
    let len = entry(plain(), elf::DT_STRSZ).1 as usize;
    assert_eq!(place(edited(|b| b[strings + len - 1] = b'x')), ".dynstr");
    let symbols = table_at(plain(), elf::DT_SYMTAB);
    assert_eq!(place(edited(|b| set32(b, symbols + 24, len as u32))), ".dynsym");
    assert_eq!(place(edited(|b| set32(b, symbols + 24, u32::MAX))), ".dynsym");
    assert_eq!(place(value(elf::DT_SYMENT, 25)), "DT_SYMENT");
    let long = format!("{ENTRY}void {}(void) {{}}\n", "x".repeat(5000));
    assert_eq!(place(problem(&compile(&long, &[]))), ".dynsym");
}

#[test]
fn hash_tables_of_the_new_kind() {
    let at = table_at(plain(), elf::DT_GNU_HASH);
    let word = |index: usize| object::pod::from_bytes::<[u8; 4]>(&plain()[at + index * 4..]).unwrap().0;
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
            assert_eq!(place(found), ".gnu.hash");
        }
    }
    let used = (0..buckets).map(|i| bucket + i * 4).find(|at| plain()[*at] != 0).unwrap();
    // A bucket far behind the chains, and one before the first symbol.
    assert_eq!(place(edited(|b| set32(b, used, u32::MAX))), ".gnu.hash");
    assert_eq!(
        place(edited(|b| {
            set32(b, at + 4, 5);
            set32(b, used, 1)
        })),
        ".gnu.hash"
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
fn chains_that_would_take_long() {
    let many: String = (0..600).map(|i| format!("void f{i}(void) {{}}\n")).collect();
    let source = format!("{ENTRY}{many}");
    let mut bytes = compile(&source, &["-Wl,--hash-style=gnu"]);
    read(&bytes).unwrap();
    // Only the last mark stays: the chains become one.
    let at = table_at(&bytes, elf::DT_GNU_HASH);
    let word = |b: &[u8], i: usize| u32::from_le_bytes(b[at + i * 4..][..4].try_into().unwrap());
    let chain = 4 + word(&bytes, 2) as usize * 2 + word(&bytes, 0) as usize;
    for index in 0..600 {
        bytes[at + (chain + index) * 4] &= !1;
    }
    let found = problem(&bytes);
    refused!(found, Problem::Table { table: ".gnu.hash", why: "a chain has more than 256 symbols" });

    let mut bytes = compile(&source, &["-Wl,--hash-style=sysv"]);
    let at = table_at(&bytes, elf::DT_HASH);
    let word = |b: &[u8], i: usize| u32::from_le_bytes(b[at + i * 4..][..4].try_into().unwrap());
    let (buckets, symbols) = (word(&bytes, 0) as usize, word(&bytes, 1));
    set32(&mut bytes, at + 8, 1);
    (1..buckets).for_each(|bucket| set32(&mut bytes, at + 8 + bucket * 4, 0));
    for symbol in 1..symbols {
        let next = if symbol + 1 < symbols { symbol + 1 } else { 0 };
        set32(&mut bytes, at + (2 + buckets + symbol as usize) * 4, next);
    }
    let found = problem(&bytes);
    refused!(found, Problem::Table { table: ".hash", why: "a chain has more than 256 symbols" });
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
                Problem::Relocation { why: "its symbol is not in the symbol table", .. }
            );
        }
    }
    for thread_local in [16, 17, 18, 36] {
        refused!(kind(thread_local, 0), Problem::Relocation { .. });
    }
    let target = |vaddr: u64| edited(|b| set64(b, rela, vaddr));
    let last = loads(plain()).last().unwrap().1;
    let end = last.p_vaddr.get(LE) + last.p_memsz.get(LE);
    for vaddr in [end, end - 7, last.p_vaddr.get(LE) - 1, 1 << 40, u64::MAX, u64::MAX - 7] {
        refused!(target(vaddr), Problem::Relocation { why: "it writes outside of the image", .. });
    }
    let section: ProgramHeader = at(plain(), program_header(plain(), elf::PT_DYNAMIC));
    let (start, size) = (section.p_vaddr.get(LE), section.p_memsz.get(LE));
    for vaddr in [start - 7, start, start + size - 1] {
        refused!(target(vaddr), Problem::Relocation { why: "it writes to the dynamic section", .. });
    }
    // DT_RELACOUNT is believed by an assertion.
    assert_eq!(place(edited(|b| set64(b, rela + 8, 1 << 32 | 6))), "DT_RELACOUNT");
}

#[test]
fn relative_relocations_in_bitmaps() {
    let space =
        "const unsigned long bitmaps[3] __attribute__((used)) = {1, 1, 1};\nunsigned long data[200] = {1};\n";
    let base = compile(&format!("{ENTRY}{space}"), &["-nostdlib", "-Wl,--build-id=none"]);
    let image = read(&base).unwrap();
    let data = image.variable("data").unwrap().vaddr;
    let bitmaps = image.variable("bitmaps").unwrap().vaddr;
    // The section has spare entries at its end.
    let crafted = |words: [u64; 3], size: u64, entry_size: u64| {
        let mut bytes = base.clone();
        let spare: Vec<usize> =
            dynamic(&bytes).iter().filter(|(_, tag, _)| *tag == 0).map(|(at, ..)| *at).collect();
        for (at, (tag, value)) in
            spare.iter().zip([(elf::DT_RELR, bitmaps), (elf::DT_RELRSZ, size), (elf::DT_RELRENT, entry_size)])
        {
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
    assert_eq!(place(problem(&crafted([data, 0b111, 3], 24, 9))), "DT_RELRENT");
    assert_eq!(place(problem(&crafted([data, 0b111, 3], 23, 8))), "DT_RELRSZ");
    assert_eq!(place(problem(&crafted([0b111, data, data], 24, 8))), ".relr.dyn");
    refused!(problem(&crafted([bitmaps, 1, 1], 24, 8)), Problem::TextRelocations { at: Some(_) });
    refused!(problem(&crafted([1 << 40, 1, 1], 24, 8)), Problem::Relocation { .. });
    refused!(problem(&crafted([u64::MAX - 1, 3, u64::MAX], 24, 8)), Problem::Relocation { .. });
    // The array ends within the reach of the last word's bits.
    refused!(problem(&crafted([data + 199 * 8, 1, u64::MAX], 24, 8)), Problem::Relocation { .. });
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
    let aligned = source("__thread char v __attribute__((aligned(128))); char *p(void) { return &v; }");
    refused!(problem(&compile(&aligned, &[])), Problem::ThreadLocal(_));
    let shared = source("__thread int v; int *p(void) { return &v; }");
    read(&compile(&shared, &[])).unwrap();
    refused!(problem(&compile(&shared, &[&model("initial-exec")])), Problem::ThreadLocal(_));
    let foreign = source("extern __thread int v; int *p(void) { return &v; }");
    refused!(problem(&compile(&foreign, &[])), Problem::Relocation { .. });
    let mut bytes = compile(&source("static __thread int v = 5; int *p(void) { return &v; }"), &[]);
    let at = program_header(&bytes, elf::PT_TLS);
    for vaddr in [0, 1 << 40, u64::MAX] {
        set64(&mut bytes, at + 16, vaddr);
        assert_eq!(place(problem(&bytes)), "PT_TLS");
    }
}

#[test]
fn symbol_versions() {
    let needed = table_at(plain(), elf::DT_VERNEED);
    let indexes = table_at(plain(), elf::DT_VERSYM);
    // A record of needed versions: version 0, count 2, file 4, first 8, next 12; a version: hash 0, index 6, name 8,
    // next 12.
    let table = |edit: &dyn Fn(&mut [u8])| edited(|b| edit(b));
    let far = 0x7fff_fff0u32;
    assert_eq!(place(table(&|b| b[needed] = 2)), ".gnu.version_r");
    for field in [4, 8, 12] {
        assert_eq!(place(table(&|b| set32(b, needed + field, far))), ".gnu.version_r");
    }
    assert_eq!(place(table(&|b| set32(b, needed + 8, 3))), ".gnu.version_r");
    let version = needed + at::<[u8; 4]>(plain(), needed + 8)[0] as usize;
    for field in [8, 12] {
        assert_eq!(place(table(&|b| set32(b, version + field, far))), ".gnu.version_r");
    }
    // A library that is not needed: the dynamic linker asserts that it is loaded.
    let name = entry(plain(), elf::DT_STRSZ).1 as u32 - 1;
    assert_eq!(place(table(&|b| set32(b, needed + 4, name))), ".gnu.version_r");
    assert_eq!(place(table(&|b| set(b, indexes + 2, &0x7fffu16.to_le_bytes()))), ".gnu.version");
    let without = with_entry(plain(), elf::DT_VERSYM, elf::DT_DEBUG, 0);
    assert_eq!(place(problem(&without)), ".gnu.version");
    let without = with_entry(plain(), elf::DT_VERNEED, elf::DT_DEBUG, 0);
    assert_eq!(place(problem(&without)), ".gnu.version");
}

#[test]
fn version_lists_that_share_records() {
    let space = "const unsigned records[20000] __attribute__((used)) = {1};\n";
    let source = std::fs::read_to_string(fixture("plain.c")).unwrap() + space;
    let mut bytes = compile(&source, &[]);
    let records = read(&bytes).unwrap().variable("records").unwrap().vaddr;
    let needed = table_at(&bytes, elf::DT_VERNEED);
    let first: [u8; 16] = at(&bytes, needed);
    let version: [u8; 16] = at(&bytes, needed + first[8] as usize);
    // Two thousand libraries, each with the same two thousand versions behind them.
    let start = offset_of(&bytes, records);
    for index in 0..2000u32 {
        let library = start + index as usize * 16;
        set(&mut bytes, library, &first);
        set32(&mut bytes, library + 8, (2000 - index) * 16);
        set32(&mut bytes, library + 12, if index < 1999 { 16 } else { 0 });
        set(&mut bytes, library + 32000, &version);
        set32(&mut bytes, library + 32000 + 12, if index < 1999 { 16 } else { 0 });
    }
    let found = problem(&with_value(&bytes, elf::DT_VERNEED, records));
    refused!(found, Problem::Table { table: ".gnu.version_r", why: "there are more than 4096 records" });
}
