//! The fuzzer's corpora without a fuzzer: what was once interesting holds.

#[path = "../fuzz/src/judge.rs"]
#[allow(dead_code)]
mod judge;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Bytes of all corpora together.
const MOST: u64 = 300_000;

#[test]
fn every_input_of_every_corpus_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut bytes = 0;
    for (name, target) in targets::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(root.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            bytes += input.len() as u64;
            count += 1;
            // Shown only when the test fails.
            eprintln!("{}", path.display());
            target(&input);
        }
        assert!(count > 0, "{name} has no corpus");
    }
    let known: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(&root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "a corpus of no target: {name}");
    }
    assert!(bytes < MOST, "{bytes} bytes");
}
