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
    assert_eq!(
        image.symbolize(entry.notified + 1),
        Some(("notified".to_owned(), 1))
    );
    assert_eq!((entry.protected, entry.fault), (None, None));
    assert!(image.imports().any(|name| name == "puts"));
    assert!(image.has_full_symbols() && !image.has_thread_locals());
}

#[test]
fn constructors_are_found_and_not_told_to_the_dynamic_linker() {
    let bytes = plain();
    let image = read(bytes).unwrap();
    let constructors = image.constructors();
    assert_eq!(
        constructors.init_array.vaddr,
        entry(bytes, elf::DT_INIT_ARRAY).1
    );
    assert_eq!(
        constructors.init_array.count,
        entry(bytes, elf::DT_INIT_ARRAYSZ).1 / 8
    );
    assert_eq!(
        constructors.init,
        has_entry(bytes, elf::DT_INIT).then(|| entry(bytes, elf::DT_INIT).1)
    );

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
    assert_eq!(
        load(&[bytes.to_vec(), prepared], "constant"),
        ["ran 42", "loaded 0x7"]
    );
}

#[test]
fn variables_are_placed() {
    let image = read(plain()).unwrap();
    for name in ["buffer", "initialised", "hidden_away"] {
        let variable = image.variable(name).unwrap();
        assert_eq!(
            (variable.size, variable.placement),
            (8, Placement::Runtime),
            "{name}"
        );
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
    assert_eq!(
        load(&[image.prepared(&[patch])], "constant"),
        ["loaded 0x40000000"]
    );
}
