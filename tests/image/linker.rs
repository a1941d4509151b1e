//! Why images are judged at all: what the dynamic linker does with those that the reader refuses.

use crate::support::*;
use mk_sandbox::image::Problem;
use object::elf;

/// What becomes of a file that is loaded as it is.
fn unjudged(bytes: &[u8]) -> String {
    load(&[bytes.to_vec()], "").remove(0)
}

/// An image without constructors or libraries, with a pointer for a relocation.
fn simple() -> Vec<u8> {
    let source = format!("{ENTRY}static int target; int *pointer = &target;\n");
    compile(&source, &["-nostdlib", "-Wl,-z,relro"])
}

#[test]
fn it_runs_code_of_the_image() {
    assert_eq!(unjudged(plain()), "ran 42");
    // By the system call itself: the resolver runs before its calls are bound.
    let source = format!(
        "{ENTRY}static void *resolve(void) {{\n\
         __asm__ volatile(\"syscall\" : : \"a\"(231), \"D\"(42)); return 0; }}\n\
         void chosen(void) __attribute__((ifunc(\"resolve\")));\nvoid (*volatile use)(void) = chosen;\n"
    );
    let bytes = compile(&source, &[]);
    assert_eq!(unjudged(&bytes), "ran 42");
    refused!(problem(&bytes), Problem::IndirectFunction { .. });
}

#[test]
fn it_writes_wherever_a_relocation_says() {
    let mut bytes = simple();
    assert_eq!(unjudged(&bytes), "loaded 0");
    let rela = table_at(&bytes, elf::DT_RELA);
    // Far behind the image: here nothing is mapped, elsewhere it would be another's memory.
    set64(&mut bytes, rela, 1 << 44);
    assert_eq!(unjudged(&bytes), "signal 11");
    refused!(problem(&bytes), Problem::Relocation { .. });
}

#[test]
fn it_changes_the_rights_of_other_memory() {
    let mut bytes = simple();
    let relro = program_header(&bytes, elf::PT_GNU_RELRO);
    let end = read(&bytes).unwrap().memory_size().next_multiple_of(4096);
    // Behind the image lies the library that was loaded before it.
    let changed = [16, 18, 20, 22].into_iter().any(|power| {
        set64(&mut bytes, relro + 16, end);
        set64(&mut bytes, relro + 40, 1 << power);
        assert_eq!(place(problem(&bytes)), "PT_GNU_RELRO");
        unjudged(&bytes) != "loaded 0"
    });
    assert!(changed);
}
