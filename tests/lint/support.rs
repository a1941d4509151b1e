//! The binary, the fixtures, and the images that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint")
}

pub fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mk-sandbox"))
        .current_dir(fixtures())
        .env_remove("CC")
        .args(arguments)
        .output()
        .expect("the binary runs")
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// An empty directory for one test; what an earlier run left there is gone.
pub fn scratch(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lint-{test}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The directory with the image of every fixture, built once.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let directory = scratch("images");
        let image = |name: &str| directory.join(name);
        for (source, name) in [
            ("plain.c", "plain.elf"),
            ("silent.c", "silent.elf"),
            ("complete.c", "complete.elf"),
            ("denied.c", "image-imports-denied.elf"),
        ] {
            ours(&[source], &image(name));
        }
        ours(&["-DWRITABLE_EXECUTABLE", "odd.c"], &image("image-writable-executable.elf"));
        ours(&["-DTEXT_RELOCATIONS", "odd.c", "-Wl,-z,notext"], &image("image-text-relocations.elf"));
        ours(&["-DINDIRECT_FUNCTION", "odd.c"], &image("image-indirect-function.elf"));
        ours(&["odd.c", "-Wl,-rpath,/opt"], &image("image-search-path.elf"));
        let foreign = directory.join("libforeign.so");
        fs::write(directory.join("foreign.c"), "int foreign(void) { return 1; }\n").expect("writable");
        let soname = "-Wl,-soname,libforeign.so";
        let library = directory.join("foreign.c");
        run(Command::new("cc").args(["-shared", "-fPIC", soname, "-o"]).arg(&foreign).arg(library));
        let foreign = foreign.to_str().expect("UTF-8");
        ours(&["-DFOREIGN_LIBRARY", "odd.c", foreign], &image("image-foreign-library.elf"));
        // What `mk-sandbox cc` would never leave out.
        let sdk = directory.join("sdk");
        assert_eq!(code(&program(&["sdk", sdk.to_str().expect("UTF-8")])), 0);
        for (flag, name) in [
            ("-Wl,-z,now,-z,norelro", "image-without-relro.elf"),
            ("-Wl,-z,relro,-z,lazy", "image-without-bind-now.elf"),
            ("-Wl,-z,relro,-z,now,-z,execstack", "image-executable-stack.elf"),
        ] {
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", flag, "-I"]).arg(sdk.join("include")).arg("-o").arg(image(name));
            run(cc.arg(fixtures().join("plain.c")).arg("-L").arg(sdk.join("lib")).arg("-lmicrokit"));
        }
        fs::write(image("image-refused.elf"), "a text, not an image").expect("writable");
        directory
    })
}

/// Compiles with `mk-sandbox cc`.
fn ours(arguments: &[&str], image: &Path) {
    let mut all = vec!["cc", "-o", image.to_str().expect("UTF-8")];
    all.extend(arguments);
    let output = program(&all);
    assert_eq!(code(&output), 0, "{all:?}: {}", err(&output));
}

/// `check --format json` with the images.
pub fn check(arguments: &[&str]) -> (i32, Value) {
    let images = images().to_str().expect("UTF-8");
    let mut all = vec!["check", "--format", "json", "--search-path", images];
    all.extend(arguments);
    let output = program(&all);
    let json =
        serde_json::from_str(&out(&output)).unwrap_or_else(|error| panic!("{error}: {}", err(&output)));
    (code(&output), json)
}

/// `ID line:column`, or `ID line:column (suppressed)`.
pub fn found(json: &Value) -> Vec<String> {
    let findings = json["findings"].as_array().expect("a list");
    let words = |finding: &Value| {
        let suppressed = if finding["suppressed"].is_string() { " (suppressed)" } else { "" };
        let id = finding["id"].as_str().expect("an id");
        format!("{id} {}:{}{suppressed}", finding["line"], finding["column"])
    };
    findings.iter().map(words).collect()
}
