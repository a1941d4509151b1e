//! Builds libmicrokit.so, which the binary carries and every PD runs on, and the programs of `mk-sandbox bench`, and turns
//! the numbers of `libmicrokit/abi.h` into Rust constants, so that the layout shared with C has one source.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// libmicrokit: freestanding C11. No stack protector, since its canary would need the C runtime's thread block, and no
/// unwind tables, since nothing unwinds through it.
const C_FLAGS: &[&str] = &[
    "-std=c11",
    "-O2",
    "-fPIC",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fvisibility=hidden",
    "-fcf-protection=none",
    "-g0",
    "-Wall",
    "-Wextra",
    "-Werror",
];

const LINK_FLAGS: &[&str] = &[
    "-shared",
    "-nostdlib",
    "-Wl,-soname,libmicrokit.so",
    "-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code,-z,defs",
    "-Wl,--build-id=none,--hash-style=gnu",
];

/// The bench's programs are images like a user's: built with what `mk-sandbox cc` gives the compiler.
const PROGRAM_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-g0",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-Wl,-z,relro,-z,now",
    "-Wl,-z,noexecstack",
    "-Wl,-z,separate-code",
    "-Wl,-z,defs",
    "-Wl,-s,--build-id=none",
    "-Iinclude",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for dir in ["libmicrokit", "include", "src/bench/programs"] {
        println!("cargo::rerun-if-changed={dir}");
    }
    build_libmicrokit(&out);
    build_programs(&out);
    link_unwinder(&out);
    let abi = fs::read_to_string("libmicrokit/abi.h").expect("libmicrokit/abi.h is part of the source");
    fs::write(out.join("abi_numbers.rs"), numbers_of(&abi)).expect("OUT_DIR is writable");
}

fn build_libmicrokit(out: &Path) {
    let mut command = compiler();
    command.args(C_FLAGS).args(LINK_FLAGS).args(["-Iinclude", "-Ilibmicrokit"]).args(sources("libmicrokit"));
    command.arg("-o").arg(out.join("libmicrokit.so"));
    finish("libmicrokit.so", command);
}

/// `src/bench/programs/NAME.c` becomes NAME.elf.
fn build_programs(out: &Path) {
    for source in sources("src/bench/programs") {
        let name = Path::new(source.file_name().expect("it is a file")).with_extension("elf");
        let mut command = compiler();
        command.args(PROGRAM_FLAGS).arg(&source).arg("-o").arg(out.join(&name));
        command.arg("-L").arg(out).arg("-lmicrokit");
        finish(&name.to_string_lossy(), command);
    }
}

/// The standard library asks for libgcc_s.so, for its unwinder. In every PD that is one more library to load and some KiB of memory
/// of its own; libgcc_eh.a has the same code. So the linker is shown a script of the shared library's name that stands for
/// the static ones. Where the compiler does not come with them, all is as it was.
fn link_unwinder(out: &Path) {
    let mut found = Vec::new();
    for name in ["libgcc_eh.a", "libgcc.a"] {
        let mut command = compiler();
        let answer = command.arg(format!("-print-file-name={name}")).output();
        let Ok(answer) = answer else { return };
        let path = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
        // A name that is not found comes back as it is.
        if !path.is_absolute() || !path.is_file() {
            return;
        }
        found.push(format!("\"{}\"", path.display()));
    }
    let dir = out.join("unwinder");
    fs::create_dir_all(&dir).expect("OUT_DIR is writable");
    fs::write(dir.join("libgcc_s.so"), format!("GROUP({})\n", found.join(" "))).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search=native={}", dir.display());
}

fn sources(dir: &str) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = fs::read_dir(dir)
        .expect("it is part of the source")
        .map(|entry| entry.expect("it is readable").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "c"))
        .collect();
    sources.sort();
    sources
}

fn compiler() -> Command {
    Command::new(cc::Build::new().get_compiler().path())
}

fn finish(what: &str, mut command: Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{what}: the C compiler ended with {status}: {command:?}"),
        Err(error) => panic!("{what}: no C compiler ({error}); install one or set CC"),
    }
}

/// `#define MK_NAME 123` lines as `pub const MK_NAME: u64 = 123;`.
fn numbers_of(header: &str) -> String {
    let mut rust = String::from("// From libmicrokit/abi.h by build.rs.\n");
    for line in header.lines() {
        let mut words = line.split_whitespace();
        if let (Some("#define"), Some(name), Some(value), None) =
            (words.next(), words.next(), words.next(), words.next())
            && value.parse::<u64>().is_ok()
        {
            writeln!(rust, "pub const {name}: u64 = {value};").expect("writing to a String");
        }
    }
    rust
}
