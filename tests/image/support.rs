//! Compiles fixtures, edits ELF files, and loads them in children of a small C program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use mk_sandbox::image::{Image, ImageError, Problem};
use object::elf;
use object::pod::Pod;

pub const LE: object::LittleEndian = object::LittleEndian;
pub type ProgramHeader = elf::ProgramHeader64<object::LittleEndian>;
pub type Dyn = elf::Dyn64<object::LittleEndian>;

/// A directory of this run's own; those of runs that are over are removed.
pub fn directory() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix("image-"));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another run may be at it, too.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(format!("image-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    DIRECTORY.get_or_init(make).clone()
}

/// A path that no other test uses.
pub fn fresh(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    directory().join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/image").join(name)
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

fn finish(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles a source as an image with these flags added.
pub fn compile_file(source: &Path, flags: &[&str]) -> Vec<u8> {
    let out = fresh("image.so");
    let mut command = compiler();
    command.args(["-shared", "-fPIC", "-O1", "-Wl,-z,noexecstack"]).arg("-o").arg(&out);
    command.arg(source).args(flags);
    finish(command);
    std::fs::read(out).unwrap()
}

/// The same for source text.
pub fn compile(source: &str, flags: &[&str]) -> Vec<u8> {
    let path = fresh("source.c");
    std::fs::write(&path, source).unwrap();
    compile_file(&path, flags)
}

/// Compiles source text with these flags alone.
pub fn compile_with(source: &str, flags: &[&str]) -> Vec<u8> {
    let (path, out) = (fresh("source.c"), fresh("program"));
    std::fs::write(&path, source).unwrap();
    let mut command = compiler();
    command.arg("-o").arg(&out).arg(path).args(flags);
    finish(command);
    std::fs::read(out).unwrap()
}

/// `plain.c` as the compiler builds it by itself, with the hash table that every linker can make.
pub fn plain() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| compile_file(&fixture("plain.c"), &["-Wl,--hash-style=gnu"]))
}

/// The two entry points, for sources that need nothing else of them.
pub const ENTRY: &str = "void init(void) {}\nvoid notified(unsigned ch) { (void)ch; }\n";

pub fn read(bytes: &[u8]) -> Result<Image, ImageError> {
    Image::read("test.elf", bytes.to_vec())
}

/// The reason why an image is refused; every one has a hint.
#[track_caller]
pub fn problem(bytes: &[u8]) -> Problem {
    match read(bytes) {
        Ok(_) => panic!("accepted"),
        Err(error) => {
            assert!(error.to_string().starts_with("test.elf: "), "{error}");
            assert!(error.hint().len() > 10, "{error}");
            error.problem
        }
    }
}

/// What became of each image: one line for each, see `loader.c`.
pub fn load(images: &[Vec<u8>], symbol: &str) -> Vec<String> {
    static LOADER: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let (loader, library) = LOADER.get_or_init(|| {
        let (loader, library) = (directory().join("loader"), directory().join("libmicrokit.so"));
        let mut command = compiler();
        command.arg("-O1").arg("-o").arg(&loader).arg(fixture("loader.c")).arg("-ldl");
        finish(command);
        let mut command = compiler();
        command.args(["-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libmicrokit.so", "-o"]);
        command.arg(&library).arg(fixture("microkit.c"));
        finish(command);
        (loader, library)
    });
    let folder = fresh("images");
    std::fs::create_dir(&folder).unwrap();
    let mut paths = String::new();
    for (index, bytes) in images.iter().enumerate() {
        let path = folder.join(format!("{index}.so"));
        std::fs::write(&path, bytes).unwrap();
        paths += &format!("{}\n", path.display());
    }
    let mut child = Command::new(loader)
        .arg(library)
        .arg(symbol)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(paths.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), images.len());
    std::fs::remove_dir_all(folder).unwrap();
    lines
}

/// The record at this place of a file.
pub fn at<T: Pod>(bytes: &[u8], offset: usize) -> T {
    *object::pod::from_bytes(&bytes[offset..]).unwrap().0
}

pub fn set(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

pub fn set64(bytes: &mut [u8], offset: usize, value: u64) {
    set(bytes, offset, &value.to_le_bytes());
}

pub fn set32(bytes: &mut [u8], offset: usize, value: u32) {
    set(bytes, offset, &value.to_le_bytes());
}

/// Every program header with its place in the file.
pub fn program_headers(bytes: &[u8]) -> Vec<(usize, ProgramHeader)> {
    let header: elf::FileHeader64<object::LittleEndian> = at(bytes, 0);
    let start = header.e_phoff.get(LE) as usize;
    (0..usize::from(header.e_phnum.get(LE)))
        .map(|index| start + index * 56)
        .map(|offset| (offset, at(bytes, offset)))
        .collect()
}

/// The place of the first program header of a type.
#[track_caller]
pub fn program_header(bytes: &[u8], kind: elf::ProgramType) -> usize {
    let headers = program_headers(bytes);
    headers.iter().find(|(_, header)| header.p_type.get(LE) == kind).expect("no such segment").0
}

/// The places in the file of the PT_LOAD segments.
pub fn loads(bytes: &[u8]) -> Vec<(usize, ProgramHeader)> {
    let mut headers = program_headers(bytes);
    headers.retain(|(_, header)| header.p_type.get(LE) == elf::PT_LOAD);
    headers
}

/// The place in the file of an address.
#[track_caller]
pub fn offset_of(bytes: &[u8], vaddr: u64) -> usize {
    let loads = loads(bytes);
    let load = loads.iter().map(|(_, load)| load).find(|load| {
        let start = load.p_vaddr.get(LE);
        (start..start + load.p_filesz.get(LE)).contains(&vaddr)
    });
    let load = load.expect("an address in the file");
    (vaddr - load.p_vaddr.get(LE) + load.p_offset.get(LE)) as usize
}

/// The entries of the dynamic section with their places, DT_NULL ones too.
pub fn dynamic(bytes: &[u8]) -> Vec<(usize, i64, u64)> {
    let header: ProgramHeader = at(bytes, program_header(bytes, elf::PT_DYNAMIC));
    let start = header.p_offset.get(LE) as usize;
    (0..header.p_filesz.get(LE) as usize / 16)
        .map(|index| start + index * 16)
        .map(|offset| {
            let entry: Dyn = at(bytes, offset);
            (offset, entry.d_tag.get(LE).0, entry.d_val.get(LE))
        })
        .collect()
}

/// The place and the value of the first entry of a tag.
#[track_caller]
pub fn entry(bytes: &[u8], tag: elf::DynamicTag) -> (usize, u64) {
    let entries = dynamic(bytes);
    let found = entries.iter().find(|(_, found, _)| *found == tag.0).expect("no such entry");
    (found.0, found.2)
}

pub fn has_entry(bytes: &[u8], tag: elf::DynamicTag) -> bool {
    dynamic(bytes).iter().any(|(_, found, _)| *found == tag.0)
}

/// The place in the file of the table that an entry points at.
#[track_caller]
pub fn table_at(bytes: &[u8], tag: elf::DynamicTag) -> usize {
    offset_of(bytes, entry(bytes, tag).1)
}

/// A copy with the value of an entry changed.
#[track_caller]
pub fn with_value(bytes: &[u8], tag: elf::DynamicTag, value: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (place, _) = entry(&bytes, tag);
    set64(&mut bytes, place + 8, value);
    bytes
}

/// A copy with an entry's tag replaced, and its value.
#[track_caller]
pub fn with_entry(bytes: &[u8], old: elf::DynamicTag, new: elf::DynamicTag, value: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (place, _) = entry(&bytes, old);
    set64(&mut bytes, place, new.0 as u64);
    set64(&mut bytes, place + 8, value);
    bytes
}

/// `plain.c` with one value of the dynamic section changed.
#[track_caller]
pub fn value(tag: elf::DynamicTag, value: u64) -> Problem {
    problem(&with_value(plain(), tag, value))
}

/// Why `plain.c` is refused after an edit.
#[track_caller]
pub fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Problem {
    let mut bytes = plain().to_vec();
    edit(&mut bytes);
    assert_ne!(bytes, plain(), "the edit changes nothing");
    problem(&bytes)
}

/// The program header, entry or table that a refusal is about.
#[track_caller]
pub fn place(problem: Problem) -> &'static str {
    match problem {
        Problem::Segment { kind: place, .. }
        | Problem::Dynamic { tag: place, .. }
        | Problem::Table { table: place, .. } => place,
        other => panic!("{other:?}"),
    }
}

/// Asserts that a problem matches a pattern.
macro_rules! refused {
    ($problem:expr, $pattern:pat $(if $guard:expr)?) => {
        let problem = $problem;
        assert!(matches!(&problem, $pattern $(if $guard)?), "{problem:?}");
    };
}
pub(crate) use refused;
