//! Images damaged at random, where the dynamic linker looks. Each is refused, or the dynamic linker gets on with it:
//! it comes to an end without a signal, runs nothing of the image, and leaves all other memory as it was.
//!
//! The seed is printed; `MK_IMAGE_SEED` sets it and `MK_IMAGE_MUTANTS` the number of mutants, for longer runs.

use crate::random::Random;
use crate::support::*;
use object::elf;
use std::ops::Range;

impl Random {
    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")),
        Err(_) => otherwise,
    }
}

/// The fixture in every shape that the compiler and the linker have for it.
fn bases() -> Vec<Vec<u8>> {
    let plain = std::fs::read_to_string(fixture("plain.c")).unwrap();
    // All models of access: by call, by offset, and by descriptor, for which compilers have different flags.
    let thread_local = "static __thread int t __attribute__((used)) = 3; int *tp(void) { return &t; }\n\
                        static __thread int u __attribute__((tls_model(\"initial-exec\")));\n\
                        int *up(void) { return &u; }\n\
                        __thread int w; int *wp(void) { return &w; }\n\
                        __asm__(\".text\\n.type td, @function\\n\
                        td: leaq t@tlsdesc(%rip), %rax\\n\
                        call *t@tlscall(%rax)\\nret\");\n";
    let everything =
        format!("{plain}{thread_local}extern double sin(double);\ndouble s(double x) {{ return sin(x); }}\n");
    let script = fresh("versions");
    std::fs::write(&script, "OWN_1 { global: init; notified; constant; local: *; };\n").unwrap();
    let script = format!("-Wl,--version-script={}", script.display());
    let build = |source: &str, flags: &[&str]| compile(source, flags);
    vec![
        build(&plain, &[]),
        build(&plain, &["-Wl,--hash-style=sysv"]),
        build(&plain, &["-Wl,--hash-style=both,-z,now,-z,relro", "-s"]),
        build(&everything, &["-lm", "-Wl,--no-as-needed", "-Wl,-z,noseparate-code"]),
        build(&everything, &["-lm", &script]),
        build(&plain, &["-Wl,-z,pack-relative-relocs"]),
        build(&format!("{ENTRY}const unsigned long constant = 7;"), &["-nostdlib"]),
    ]
}

/// The parts of the file that the dynamic linker reads, each as often as it should be hit.
fn targets(bytes: &[u8]) -> Vec<Range<usize>> {
    let value = |tag| has_entry(bytes, tag).then(|| entry(bytes, tag).1 as usize);
    let from = |tag, len: usize| {
        let start = has_entry(bytes, tag).then(|| table_at(bytes, tag))?;
        Some(start..(start + len).min(bytes.len()))
    };
    let headers = program_headers(bytes);
    let section: ProgramHeader = at(bytes, program_header(bytes, elf::PT_DYNAMIC));
    let start = section.p_offset.get(LE) as usize;
    // Not the entry point's name and the like, which only lead to dull refusals.
    let file_header = 16..64;
    let segments = headers[0].0..headers[0].0 + headers.len() * 56;
    let dynamic = start..start + section.p_filesz.get(LE) as usize;
    let symbols = value(elf::DT_STRTAB).unwrap().saturating_sub(value(elf::DT_SYMTAB).unwrap());
    let mut all = vec![file_header, segments.clone(), segments, dynamic.clone(), dynamic];
    all.extend(
        [
            from(elf::DT_SYMTAB, symbols.clamp(48, 480)),
            from(elf::DT_STRTAB, value(elf::DT_STRSZ).unwrap()),
            from(elf::DT_GNU_HASH, 96),
            from(elf::DT_HASH, 96),
            from(elf::DT_VERSYM, 24),
            from(elf::DT_VERNEED, 64),
            from(elf::DT_VERDEF, 64),
            from(elf::DT_RELA, value(elf::DT_RELASZ).unwrap_or(0)),
            from(elf::DT_JMPREL, value(elf::DT_PLTRELSZ).unwrap_or(0)),
            from(elf::DT_RELR, value(elf::DT_RELRSZ).unwrap_or(0)),
        ]
        .into_iter()
        .flatten()
        .filter(|range| range.len() >= 8),
    );
    all
}

/// One edit inside a target: a field becomes a number that hurts, moves a little, or is copied from elsewhere.
fn damage(bytes: &mut [u8], targets: &[Range<usize>], numbers: &[u64], random: &mut Random) {
    let target = random.one_of(targets);
    let width = random.one_of(&[1, 2, 4, 8, 8, 8]);
    let at = target.start + random.below(target.len() / width) * width;
    let field: [u8; 8] = {
        let mut field = [0; 8];
        field[..width].copy_from_slice(&bytes[at..at + width]);
        field
    };
    let old = u64::from_le_bytes(field);
    let new = match random.below(6) {
        0 => random.next(),
        1 => old ^ 1 << random.below(width * 8),
        2 => old.wrapping_add(random.one_of(&[1, 8, 16, 24, 56, 4096])),
        3 => old.wrapping_sub(random.one_of(&[1, 8, 16, 24, 56, 4096])),
        4 => {
            let other = random.one_of(targets);
            let from = other.start + random.below(other.len() / 8) * 8;
            u64::from_le_bytes(object::pod::from_bytes::<[u8; 8]>(&bytes[from..]).unwrap().0.to_owned())
        }
        _ => random.one_of(numbers),
    };
    set(bytes, at, &new.to_le_bytes()[..width]);
}

/// Numbers worth trying in any field: limits, tags, and the addresses and sizes of the image.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let mut numbers = vec![0, 1, 2, 3, 7, 8, 24, 0xffff, 0x7fff_ffff, 1 << 31, u64::from(u32::MAX)];
    numbers.extend([1 << 32, i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 7, u64::MAX - 4095]);
    for (_, header) in program_headers(bytes) {
        let (start, len) = (header.p_vaddr.get(LE), header.p_memsz.get(LE));
        numbers.extend([start, start + len, start.wrapping_sub(8), start + len / 2, len]);
        numbers.push(u64::from(header.p_type.get(LE).0));
    }
    for (_, tag, value) in dynamic(bytes) {
        numbers.extend([tag as u64, value]);
    }
    // Relocation types with a symbol, and symbol types with a binding.
    numbers.extend((0..40).map(|kind| 1 << 32 | kind));
    numbers.extend([0x06, 0x16, 0x1a, 0x12, 0xa1]);
    numbers
}

#[test]
fn what_is_accepted_does_not_hurt_the_dynamic_linker() {
    let seed = number("MK_IMAGE_SEED", 0x6d6b_5f69_6d61_6765).max(1);
    let wanted = number("MK_IMAGE_MUTANTS", 7_000) as usize;
    println!("MK_IMAGE_SEED={seed}");
    let mut random = Random(seed);
    let bases = bases();
    let shapes: Vec<_> = bases.iter().map(|base| (base, targets(base), numbers(base))).collect();
    let mut accepted = Vec::new();
    for index in 0..wanted {
        let (base, targets, numbers) = &shapes[index % shapes.len()];
        let mut mutant = base.to_vec();
        for _ in 0..1 + random.below(3) {
            damage(&mut mutant, targets, numbers, &mut random);
        }
        if let Ok(image) = read(&mutant) {
            let prepared = image.prepared(&[]);
            // What nothing remained of is not worth loading again.
            if shapes.iter().all(|(base, ..)| **base != mutant) {
                accepted.push((index, prepared));
            }
        }
    }
    for chunk in accepted.chunks(256) {
        let images: Vec<_> = chunk.iter().map(|(_, bytes)| bytes.clone()).collect();
        for ((index, bytes), line) in chunk.iter().zip(load(&images, "")) {
            if !line.starts_with("loaded ") && !line.starts_with("refused ") {
                let path = directory().join(format!("mutant-{index}.so"));
                std::fs::write(&path, bytes).unwrap();
                panic!("mutant {index} of seed {seed}: {line}; kept as {}", path.display());
            }
        }
    }
    println!("{} of {wanted} mutants were accepted and loaded", accepted.len());
    assert!(accepted.len() >= wanted / 50, "too few mutants are accepted to show anything");
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let seed = number("MK_IMAGE_SEED", 0x7265_6164_6572).max(1);
    println!("MK_IMAGE_SEED={seed}");
    let mut random = Random(seed);
    for base in bases() {
        for _ in 0..300 {
            let mut bytes = base.clone();
            // Anywhere, sections and code too, and the file cut or grown.
            for _ in 0..1 + random.below(40) {
                let at = random.below(bytes.len() - 8);
                let value = random.next() >> random.below(64);
                set64(&mut bytes, at, value);
            }
            bytes.resize(random.below(bytes.len() * 9 / 8), 0);
            exercise(&bytes);
        }
        for _ in 0..300 {
            // The headers survive, the rest is moved: every offset points at something else.
            let mut bytes = base.clone();
            let len = bytes.len();
            bytes[1024..].rotate_left(random.below(len - 1024) / 8 * 8);
            exercise(&bytes);
        }
    }
}

/// Every operation on an image.
fn exercise(bytes: &[u8]) {
    let Ok(mut image) = read(bytes) else { return };
    image.imports().for_each(drop);
    image.symbolize(image.entry_points().init);
    image.symbolize(u64::MAX);
    for name in ["buffer", "constant", "pointer", "_DYNAMIC", ""] {
        if let Ok(variable) = image.variable(name) {
            let patch = variable.patch(&vec![0xff; variable.size.min(64) as usize]);
            image.prepared(patch.as_slice());
        }
    }
    let _ = image.use_symbols_of("test.symbols", bytes.to_vec());
    let _ = image.variable("buffer");
    image.symbolize(image.entry_points().notified);
}
