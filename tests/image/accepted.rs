//! Ordinary images, and what is read out of them.

use crate::support::*;
use mk_sandbox::image::{Library, Placement, SymbolProblem};
use object::elf;

#[test]
fn an_ordinary_image_is_read() {
    let image = read(plain()).unwrap();
    assert_eq!(image.name(), "test.elf");
    assert_eq!(image.needed(), [Library::C]);
    let entry = image.entry_points();
    assert_eq!(image.symbolize(entry.init), Some(("init".to_owned(), 0)));
    assert_eq!(image.symbolize(entry.notified + 1), Some(("notified".to_owned(), 1)));
    assert_eq!((entry.protected, entry.fault), (None, None));
    assert!(image.imports().any(|name| name == "puts"));
    assert!(image.has_full_symbols() && !image.has_thread_locals());
}

#[test]
fn constructors_are_found_and_not_told_to_the_dynamic_linker() {
    let bytes = plain();
    let image = read(bytes).unwrap();
    let constructors = image.constructors();
    assert_eq!(constructors.init_array.vaddr, entry(bytes, elf::DT_INIT_ARRAY).1);
    assert_eq!(constructors.init_array.count, entry(bytes, elf::DT_INIT_ARRAYSZ).1 / 8);
    assert_eq!(constructors.init, has_entry(bytes, elf::DT_INIT).then(|| entry(bytes, elf::DT_INIT).1));

    let prepared = image.prepared(&[]);
    assert_eq!(prepared.len(), bytes.len());
    for tag in [
        elf::DT_INIT,
        elf::DT_INIT_ARRAY,
        elf::DT_INIT_ARRAYSZ,
        elf::DT_PREINIT_ARRAY,
        elf::DT_PREINIT_ARRAYSZ,
        elf::DT_FINI,
        elf::DT_FINI_ARRAY,
        elf::DT_FINI_ARRAYSZ,
        elf::DT_SONAME,
    ] {
        assert!(!has_entry(&prepared, tag), "{tag:?}");
    }
    // The first line shows that the fixture would tell.
    assert_eq!(load(&[bytes.to_vec(), prepared], "constant"), ["ran 42", "loaded 0x7"]);
}

#[test]
fn variables_are_placed() {
    let image = read(plain()).unwrap();
    for name in ["buffer", "initialised", "hidden_away"] {
        let variable = image.variable(name).unwrap();
        assert_eq!((variable.size, variable.placement), (8, Placement::Runtime), "{name}");
        assert_eq!(variable.patch(&[0; 8]), None);
    }
    assert_eq!(image.variable("channel_id").unwrap().size, 4);
    let problem = |name| image.variable(name).unwrap_err().problem;
    assert_eq!(problem("nothing"), SymbolProblem::Missing);
    assert_eq!(problem("init"), SymbolProblem::NotData);
    assert_eq!(problem("puts"), SymbolProblem::Undefined);
    assert_eq!(problem("pointer"), SymbolProblem::Relocated);
    assert_eq!(problem("_DYNAMIC"), SymbolProblem::Structure);
}

#[test]
fn a_constant_is_set_in_the_file() {
    let image = read(plain()).unwrap();
    let variable = image.variable("constant").unwrap();
    assert_eq!(variable.patch(&[1; 4]), None, "the value has another size");
    let patch = variable.patch(&0x4000_0000u64.to_le_bytes()).unwrap();
    assert_eq!(load(&[image.prepared(&[patch])], "constant"), ["loaded 0x40000000"]);
}

#[test]
fn symbols_are_found_in_whatever_table_there_is() {
    let image = read(plain()).unwrap();
    let helper = |image: &mk_sandbox::image::Image, bytes: &[u8]| {
        // The pointers to constructors name functions that only the full table knows.
        let array = image.constructors().init_array;
        let pointers = (0..array.count).map(|index| {
            let target = array.vaddr + index * 8;
            let rela = table_at(bytes, elf::DT_RELA);
            let count = entry(bytes, elf::DT_RELASZ).1 as usize / 24;
            let all = (0..count).map(|i| at::<[[u8; 8]; 3]>(bytes, rela + i * 24));
            let mut found = all.filter(|entry| u64::from_le_bytes(entry[0]) == target);
            u64::from_le_bytes(found.next().unwrap()[2])
        });
        pointers.filter_map(|vaddr| image.symbolize(vaddr)).any(|(name, at)| name == "construct" && at == 0)
    };
    assert!(helper(&image, plain()));

    let stripped = compile_file(&fixture("plain.c"), &["-s"]);
    let mut image = read(&stripped).unwrap();
    assert!(!image.has_full_symbols() && !helper(&image, &stripped));
    assert_eq!(image.symbolize(image.entry_points().init), Some(("init".to_owned(), 0)));
    assert_eq!(image.variable("buffer").unwrap().placement, Placement::Runtime);
    assert_eq!(image.variable("hidden_away").unwrap_err().problem, SymbolProblem::Missing);

    // path_for_symbols: the same program with its symbols.
    let expected = read(plain()).unwrap().variable("hidden_away").unwrap();
    image.use_symbols_of("plain.elf", plain().to_vec()).unwrap();
    assert_eq!(image.variable("hidden_away").unwrap(), expected);
    assert!(helper(&image, &stripped));
    let error = image.use_symbols_of("stripped.elf", stripped).unwrap_err();
    assert_eq!(error.to_string(), "stripped.elf: .symtab: there is none: the file is stripped");
    assert!(image.use_symbols_of("text", b"text".to_vec()).is_err());
}

#[test]
fn an_address_between_functions_is_nobodys() {
    let image = read(plain()).unwrap();
    assert_eq!(image.symbolize(0), None);
    assert_eq!(image.symbolize(image.memory_size()), None);
    assert_eq!(image.symbolize(u64::MAX), None);
    let buffer = image.variable("buffer").unwrap().vaddr;
    assert_eq!(image.symbolize(buffer), None);
}

#[test]
fn a_variable_must_be_one_and_be_there() {
    let other = fresh("other.c");
    std::fs::write(&other, "static unsigned long twice __attribute__((used)) = 1;\n").unwrap();
    let source = format!(
        "{ENTRY}static unsigned long twice __attribute__((used)) = 2;\n\
         __thread unsigned long local;\nunsigned long *at(void) {{ return &local; }}\n\
         extern unsigned long elsewhere;\nunsigned long get(void) {{ return elsewhere; }}\n\
         __asm__(\".globl absolute\\n.set absolute, 5\\n.type absolute, @object\\n.size absolute, 8\");\n"
    );
    let bytes = compile(&source, &[other.to_str().unwrap()]);
    let image = read(&bytes).unwrap();
    let problem = |name| image.variable(name).unwrap_err().problem;
    assert_eq!(problem("twice"), SymbolProblem::Duplicate);
    assert_eq!(problem("local"), SymbolProblem::ThreadLocal);
    assert_eq!(problem("elsewhere"), SymbolProblem::Undefined);
    assert_eq!(problem("absolute"), SymbolProblem::NotData);
    assert_eq!(problem(""), SymbolProblem::Missing);
    assert_eq!(problem("twi\0ce"), SymbolProblem::Missing);
    let error = image.variable("no\x1b[2Jthing").unwrap_err();
    assert_eq!(error.to_string(), "test.elf: variable `no\\u{1b}[2Jthing`: no such symbol");
}

#[test]
fn a_variable_cannot_reach_what_was_checked() {
    // A symbol over each table: a value written there would undo the check.
    let base = compile_file(&fixture("plain.c"), &["-Wl,-z,noseparate-code"]);
    let image = read(&base).unwrap();
    let original = image.variable("constant").unwrap().vaddr;
    let symbols = table_at(&base, elf::DT_SYMTAB);
    let place = (0..100)
        .map(|index| symbols + index * 24)
        .find(|place| u64::from_le_bytes(at(&base, place + 8)) == original);
    // Without its section headers a file has the dynamic table alone.
    let mut stripped = base.clone();
    set64(&mut stripped, 40, 0);
    set(&mut stripped, 60, &[0; 2]);
    let with = |vaddr: u64| {
        let mut bytes = stripped.clone();
        set64(&mut bytes, place.unwrap() + 8, vaddr);
        read(&bytes).unwrap().variable("constant").map_err(|error| error.problem)
    };
    assert_eq!(with(original).unwrap(), image.variable("constant").unwrap());
    for tag in
        [elf::DT_STRTAB, elf::DT_SYMTAB, elf::DT_GNU_HASH, elf::DT_RELA, elf::DT_VERSYM, elf::DT_VERNEED]
    {
        let vaddr = entry(&base, tag).1;
        assert_eq!(with(vaddr), Err(SymbolProblem::Structure), "{tag:?}");
        assert_eq!(with(vaddr + 7), Err(SymbolProblem::Structure), "{tag:?}");
    }
    for vaddr in [0, 63, 64, 100] {
        assert_eq!(with(vaddr), Err(SymbolProblem::Structure), "{vaddr}");
    }
    for vaddr in [u64::MAX, u64::MAX - 7, 1 << 40, image.memory_size() - 7] {
        assert_eq!(with(vaddr), Err(SymbolProblem::Outside), "{vaddr:#x}");
    }
    // The last byte of one segment and the first of what follows.
    let end = loads(&base)[0].1.p_memsz.get(LE);
    assert_eq!(with(end - 7), Err(SymbolProblem::Outside));
}

#[test]
fn thread_local_variables_load() {
    let source = format!(
        "{ENTRY}static __thread int a = 3; int *pa(void) {{ return &a; }}\n\
         __thread int b; int *pb(void) {{ return &b; }}\n"
    );
    let build = |flags: &[&str]| read(&compile(&source, flags)).unwrap().prepared(&[]);
    let images = [build(&[]), build(&["-ftls-model=local-dynamic"])];
    assert_eq!(load(&images, ""), ["loaded 0", "loaded 0"]);
    let own = format!("{ENTRY}static __thread int a = 3; int *pa(void) {{ return &a; }}\n");
    let own = read(&compile(&own, &["-ftls-model=initial-exec"])).unwrap().prepared(&[]);
    assert_eq!(load(&[own], ""), ["loaded 0"]);
}
