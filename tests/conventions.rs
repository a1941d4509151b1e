//! What holds for the whole project and is easily broken by one careless line: the direction of the layers, where unsafe code may be,
//! a reason beside each unsafe block and each policy rule, documentation that does what it says.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::for_each_user;
use common::markdown::{blocks, by_pd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory of the project, by its path from the project's root.
fn files_below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(directory) = left.pop() {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // benches/ is a package with a target directory of its own.
                if path.file_name().is_none_or(|name| name != "target") {
                    left.push(path);
                }
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Everything that belongs to the project: what stands in its root, but for what tools make there (.gitignore has the same).
fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if [".git", "target"].contains(&name.as_str()) {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&name)),
            false => found.push(PathBuf::from(name)),
        }
    }
    found.retain(|path| path.starts_with("tests/fixtures") || !has_extension(path, &["elf", "so"]));
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().and_then(|name| name.to_str()).is_some_and(|name| extensions.contains(&name))
}

fn sources(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    files_below(directory).into_iter().filter(|path| has_extension(path, extensions)).collect()
}

/// A line of Rust without its comment. A `//` inside a string literal also ends it, which makes the tests here blind, not wrong.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn failed(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// The modules of lib.rs, in the order that is their direction.
fn layers() -> Vec<String> {
    let lib = text(Path::new("src/lib.rs"));
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// The module path of a source file: `src/sys/probe/attempt.rs` is `[sys, probe, attempt]`, `src/sys/mod.rs` is `[sys]`.
fn module_path(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").unwrap().with_extension("");
    let mut path: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// Names of the crate's top modules that a file's code mentions, with their lines: `crate::x`, `crate::{x, y::z}`, and as many
/// `super::` as lead out of the file's own top module.
fn mentioned(file: &Path) -> Vec<(usize, String)> {
    mentioned_in(&text(file), module_path(file).len())
}

fn mentioned_in(text: &str, depth: usize) -> Vec<(usize, String)> {
    // In the tests at a file's end, `super` is the file's own module.
    let lines = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    let code: String = lines.map(|line| code(line).to_owned() + "\n").collect();
    let out = "super::".repeat(depth);
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut found = Vec::new();
    for start in ["crate::", out.as_str()] {
        for (at, _) in code.match_indices(start) {
            if code[..at].chars().next_back().is_some_and(|before| is_name(before) || before == ':') {
                continue;
            }
            let rest = &code[at + start.len()..];
            let line = code[..at].matches('\n').count() + 1;
            let names: Vec<&str> = match rest.strip_prefix('{') {
                None => vec![rest],
                Some(list) => top_level(list).into_iter().filter(|name| !name.trim().is_empty()).collect(),
            };
            for name in names {
                let name: String =
                    name.trim_start().chars().take_while(|character| is_name(*character)).collect();
                found.push((line, name));
            }
        }
    }
    found
}

/// The parts of a list up to its closing brace, separated by commas that are in no inner braces.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn a_module_names_only_those_above_it() {
    let layers = layers();
    assert_eq!(
        layers.first().map(String::as_str),
        Some("sys"),
        "the list in src/lib.rs begins with the lowest layer"
    );
    assert_eq!(layers.last().map(String::as_str), Some("cli"), "and ends with the highest");
    let level = |name: &str| layers.iter().position(|layer| layer == name);
    let mut findings = Vec::new();
    for file in sources("src", &["rs"]) {
        let own = module_path(&file);
        if own == ["lib"] || own == ["main"] {
            continue;
        }
        let Some(own_level) = level(&own[0]) else {
            findings.push(format!("{}: its module is not in src/lib.rs", file.display()));
            continue;
        };
        for (line, name) in mentioned(&file) {
            match level(&name) {
                Some(other) if other <= own_level => {}
                Some(_) => {
                    findings.push(format!("{}:{line}: `{}` may not name `{name}`", file.display(), own[0]))
                }
                None => {
                    findings.push(format!("{}:{line}: `{name}` is no module of src/lib.rs", file.display()))
                }
            }
        }
    }
    failed(&findings);
}

#[test]
fn the_layering_test_sees_every_way_to_name_a_module() {
    assert_eq!(top_level("a, b::{c, d}, e::f};\nrest, g"), ["a", " b::{c, d}", " e::f"]);
    let source = "use crate::{\n    sdf::{self, System},\n    plan,\n};\nuse super::super::image::Image;\n\
        use super::map;\nfn f() -> crate::exit::Exit {} // crate::cli\nmod tests {\n    use super::super::report;\n}\n";
    let named = mentioned_in(source, 2);
    let mut names: Vec<(usize, &str)> = named.iter().map(|(line, name)| (*line, name.as_str())).collect();
    names.sort_unstable();
    assert_eq!(names, [(1, "plan"), (1, "sdf"), (5, "image"), (7, "exit")]);
}

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Whether the code of a file has the keyword.
fn has_unsafe(file: &Path) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text(file)
        .lines()
        .any(|line| code(line).split(|character| !is_word(character)).any(|word| word == "unsafe"))
}

#[test]
fn unsafe_code_is_forbidden_where_there_is_none() {
    let files = sources("src", &["rs"]);
    let mut findings = Vec::new();
    for file in &files {
        // A module that forbids it forbids it in the modules within.
        let within = module_path(file);
        let around_unsafe = files
            .iter()
            .filter(|other| has_unsafe(other))
            .any(|other| module_path(other).starts_with(&within));
        let is_allowed_here =
            file.starts_with("src/sys") || file == Path::new("src/sys.rs") || file.starts_with("src/pd");
        let forbids = text(file).lines().any(|line| line == FORBID);
        let name = file.display();
        if file == Path::new("src/lib.rs") {
            if !text(file).contains("#![deny(unsafe_code)]") {
                findings.push(format!("{name}: #![deny(unsafe_code)] is missing"));
            }
        } else if has_unsafe(file) && !is_allowed_here {
            findings.push(format!("{name}: unsafe code outside of src/sys and src/pd"));
        } else if !around_unsafe && !forbids {
            findings.push(format!("{name}: {FORBID} is missing"));
        }
    }
    failed(&findings);
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut findings = Vec::new();
    for file in sources("src", &["rs"]) {
        let text = text(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = code(line);
            let missing = |word: &str| !is_explained(&lines, at, word);
            if ["unsafe {", "unsafe impl"].iter().any(|start| code.contains(start)) && missing("SAFETY:") {
                findings.push(format!("{}:{}: `SAFETY:` is missing", file.display(), at + 1));
            }
            if code.contains("pub unsafe fn") && missing("# Safety") {
                findings.push(format!("{}:{}: `# Safety` is missing", file.display(), at + 1));
            }
        }
    }
    failed(&findings);
}

/// Whether the comment before the statement that holds line `at` contains the word, or one inside it before that line.
fn is_explained(lines: &[&str], at: usize, word: &str) -> bool {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let mut line = at;
    while line > 0 {
        line -= 1;
        let before = lines[line].trim();
        if is_comment(before) {
            if before.contains(word) {
                return true;
            }
        } else if before.is_empty() || (before.ends_with([';', '}']) && !is_comment(lines[line + 1])) {
            return false;
        }
    }
    false
}

#[test]
fn every_source_file_says_what_it_is() {
    let mut findings = Vec::new();
    let rust = sources("src", &["rs"])
        .into_iter()
        .chain(sources("tests", &["rs"]))
        .chain([PathBuf::from("build.rs")]);
    for file in rust {
        if !text(&file).starts_with("//! ") {
            findings.push(format!("{}: begins without `//!`", file.display()));
        }
    }
    for directory in ["libmicrokit", "include", "examples"] {
        for file in sources(directory, &["c", "h"]) {
            let text = text(&file);
            if !text.starts_with("/*") || !text.contains("SPDX-License-Identifier: MIT OR Apache-2.0") {
                findings.push(format!("{}: begins without its license", file.display()));
            }
        }
    }
    failed(&findings);
}

/// Lines of a file that is still easy to read as a whole.
const LONGEST_FILE: usize = 700;

#[test]
fn no_file_is_too_long() {
    let mut findings = Vec::new();
    for file in all_files().iter().filter(|path| has_extension(path, &["rs", "c", "h", "md"])) {
        let lines = text(file).lines().count();
        if lines > LONGEST_FILE {
            findings.push(format!("{}: {lines} lines", file.display()));
        }
    }
    failed(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    // In two parts, so that this file has none of them.
    let words = [
        concat!("to", "do!"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("unimple", "mented!"),
        concat!("db", "g!("),
        // Without a reason.
        concat!("#[ig", "nore]"),
    ];
    let mut findings = Vec::new();
    for file in all_files()
        .iter()
        .filter(|path| has_extension(path, &["rs", "c", "h", "md", "toml", "json", "system"]))
    {
        for (at, line) in text(file).lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", file.display(), at + 1));
            }
        }
    }
    failed(&findings);
}

/// A test that `cargo test` leaves out says why, and the checks before every change run it.
#[test]
fn what_is_ignored_is_run_elsewhere() {
    let attribute = concat!("#[ig", "nore");
    let is_one = |path: &PathBuf| text(path).contains(attribute);
    let script = text(Path::new(".ci/run"));
    for path in sources("tests", &["rs"]).iter().chain(&sources("src", &["rs"])).filter(|path| is_one(path)) {
        // By name, since the tests with a main of their own take no `--ignored`: they would all run a second time.
        let program = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let command = format!("cargo test --locked --test {program} -- --ignored\n");
        assert!(script.contains(&command), "{}: .ci/run has no {command}", path.display());
    }
}

/// The project speaks of itself alone: of no machine it was written on, and of no place its dependencies came from.
#[test]
fn no_machine_is_named() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/tmp/", "wt-"),
        concat!("crates", ".io"),
        concat!("index.", "crates"),
        concat!("static.", "crates"),
        concat!("proxy.", "golang"),
        concat!("users.", "noreply"),
        concat!("issues", " show"),
    ];
    let mut findings = Vec::new();
    for file in all_files() {
        // Cargo writes the name of its public index into a lock file.
        if file.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let bytes = fs::read(root().join(&file)).unwrap();
        for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            for word in words.iter().filter(|word| names(line, word)) {
                findings.push(format!("{}:{}: {word}", file.display(), at + 1));
            }
        }
    }
    assert!(!root().join(".cargo").exists(), "a .cargo directory configures one machine");
    failed(&findings);
}

/// A path only where it begins: `/proc/PID/root/` is no home directory.
fn names(line: &str, word: &str) -> bool {
    let goes_on = |character: char| character.is_alphanumeric() || "}_-.".contains(character);
    line.match_indices(word)
        .any(|(at, _)| !word.starts_with('/') || !line[..at].chars().next_back().is_some_and(goes_on))
}

#[test]
fn every_policy_rule_has_a_reason() {
    let mut findings = Vec::new();
    let files = sources("policy", &["json"]);
    assert!(files.len() >= 2);
    for file in files {
        let policy: serde_json::Value = serde_json::from_str(&text(&file)).unwrap();
        let is_sentence = |value: &serde_json::Value| {
            value.as_str().is_some_and(|reason| reason.len() > 20 && reason.ends_with('.'))
        };
        if !is_sentence(&policy["purpose"]) {
            findings.push(format!("{}: no purpose", file.display()));
        }
        let rules = policy["rules"].as_array().unwrap();
        assert!(!rules.is_empty());
        for rule in rules.iter().filter(|rule| !is_sentence(&rule["reason"])) {
            findings.push(format!("{}: {} has no reason", file.display(), rule["syscall"]));
        }
    }
    failed(&findings);
}

#[test]
fn every_example_has_a_description() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let directory = entry.unwrap().path();
        let readme = directory.join("README.md");
        match fs::read_to_string(&readme) {
            Err(error) => findings.push(format!("{}: {error}", readme.display())),
            Ok(text) => {
                let systems: Vec<PathBuf> = fs::read_dir(&directory)
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| has_extension(path, &["system"]))
                    .collect();
                let named =
                    systems.iter().all(|path| text.contains(&*path.file_name().unwrap().to_string_lossy()));
                if systems.is_empty() || !named || !text.contains("Output:") {
                    findings.push(format!("{}: names no command or no output", readme.display()));
                }
            }
        }
    }
    failed(&findings);
}

/// Files that the documentation names exist.
#[test]
fn documents_name_files_that_exist() {
    let is_of_a_path = |character: char| character.is_ascii_alphanumeric() || "_./-".contains(character);
    let directories = ["src/", "tests/", "policy/", "libmicrokit/", "include/", "examples/", "models/"];
    let mut findings = Vec::new();
    for file in all_files().iter().filter(|path| has_extension(path, &["md"])) {
        let place = file.parent().unwrap_or(Path::new(""));
        for (at, line) in text(file).lines().enumerate() {
            for word in line.split(|character| !is_of_a_path(character)) {
                let word = word.trim_end_matches(['.', '/', '-']);
                let built = word.ends_with(".elf") || word.ends_with(".so");
                if built || !directories.iter().any(|directory| word.starts_with(directory)) {
                    continue;
                }
                if !root().join(word).exists() && !root().join(place).join(word).exists() {
                    findings.push(format!("{}:{}: {word}", file.display(), at + 1));
                }
            }
        }
    }
    failed(&findings);
}

/// Every claim of SECURITY.md names what enforces it, and tests that exist.
#[test]
fn every_claim_has_its_tests() {
    let mut findings = Vec::new();
    let mut claims = 0;
    for line in text(Path::new("SECURITY.md")).lines() {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let Some(number) = cells.first().and_then(|first| first.parse::<usize>().ok()) else { continue };
        claims += 1;
        assert_eq!(number, claims, "the numbers are in order");
        let [_, _, enforced_by, tests] = cells[..] else {
            panic!("claim {number} has {} cells", cells.len())
        };
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if enforced_by.is_empty() || tests.is_empty() {
            findings.push(format!("claim {number}: nothing enforces it, or no test shows it"));
        }
        for test in tests {
            // Those of the model lie beside it.
            if !root().join("tests").join(test).exists() && !root().join(test).exists() {
                findings.push(format!("claim {number}: there is no test {test}"));
            }
        }
    }
    assert!(claims >= 24, "{claims} claims");
    failed(&findings);
}

/// The commands in the README's shell blocks, run as they are written; `cargo run` is the binary under test, which cargo has built.
#[test]
fn the_readmes_commands_run_as_written() {
    let readme = text(Path::new("README.md"));
    let blocks = blocks(&readme);
    let commands: Vec<&String> =
        blocks.iter().filter(|block| block.language == "sh").flat_map(|block| &block.lines).collect();
    assert!(commands.iter().any(|line| line.starts_with("cargo run --release -- run --build --until-idle ")));
    for_each_user(|world| {
        for example in fs::read_dir(root().join("examples")).unwrap() {
            let directory = example.unwrap().path();
            let name = directory.file_name().unwrap().to_str().unwrap();
            world.copy(&directory, &format!("examples/{name}"));
        }
        for command in &commands {
            let arguments = ["cargo run --release -- ", "mk-sandbox "]
                .iter()
                .find_map(|start| command.strip_prefix(start));
            match arguments {
                Some(arguments) => {
                    let words: Vec<&str> = arguments.split_whitespace().collect();
                    let outcome = world.run(&words);
                    assert_eq!(outcome.code, Some(0), "{command}\n{outcome}");
                    if command.starts_with("cargo run") {
                        let expected = blocks
                            .iter()
                            .find(|block| block.introduced_by == "Two sandboxed PDs talk to each other:");
                        let expected = expected.expect("the first command's output");
                        assert_eq!(
                            by_pd(outcome.stdout.lines()),
                            by_pd(expected.lines.iter().map(String::as_str))
                        );
                    }
                }
                // That is what is happening here.
                None => assert_eq!(
                    command.as_str(),
                    "cargo test",
                    "a command of the README that this test cannot run"
                ),
            }
        }
    });
}

/// The exit codes that the README lists are those of src/exit.rs.
#[test]
fn the_readme_lists_the_exit_codes() {
    let readme = text(Path::new("README.md")).replace('\n', " ");
    let list = readme
        .split("Exit codes: ")
        .nth(1)
        .expect("a list of exit codes")
        .split(". ")
        .next()
        .unwrap()
        .to_owned();
    let listed: Vec<u8> =
        list.split(" · ").map(|entry| entry.split_whitespace().next().unwrap().parse().unwrap()).collect();
    let source = text(Path::new("src/exit.rs"));
    let defined: BTreeMap<u8, &str> = source
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter_map(|(name, number)| Some((number.parse().ok()?, name)))
        .collect();
    assert_eq!(listed, defined.into_keys().collect::<Vec<u8>>());
}
