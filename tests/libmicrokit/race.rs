//! libmicrokit under a race detector, and the proof that the detector would notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::STRATEGIES;

/// As build.rs has them, but for what the detector needs: its own calls, none of them in the function that has no frame.
const FLAGS: [&str; 12] = [
    "-std=c11",
    "-O2",
    "-g",
    "-fPIC",
    "-shared",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fvisibility=hidden",
    "-fsanitize=thread",
    "--param=tsan-instrument-func-entry-exit=0",
    "-Wl,-Bsymbolic",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compile(command: &mut Command) {
    let output = command.output().expect("gcc runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two libraries of the sources in `library`, one for each PD, and the program that runs them.
fn build(name: &str, library: &Path) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("race-{name}"));
    fs::create_dir_all(&directory).expect("the directory can be made");
    let mut sources: Vec<PathBuf> =
        library.read_dir().expect("there are sources").map(|entry| entry.expect("readable").path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    let include = root().join("include");
    for pd in ["caller.so", "server.so"] {
        let mut command = Command::new("gcc");
        command.args(FLAGS).arg("-Wall").arg("-Werror").arg("-I").arg(&include).arg("-I").arg(library);
        compile(command.args(&sources).arg("-o").arg(directory.join(pd)));
    }
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=thread", "-pthread"]);
    command.arg("-I").arg(include).arg("-I").arg(root().join("libmicrokit"));
    compile(command.arg(root().join("tests/libmicrokit/race/race.c")).arg("-o").arg(directory.join("race")));
    directory
}

fn run(directory: &Path, strategy: &str, rounds: &str) -> Output {
    // The detector's memory has its place, which is another's where the kernel scatters mappings widely.
    let mut command = Command::new("setarch");
    command.arg("-R").arg(directory.join("race"));
    command.arg(directory.join("caller.so")).arg(directory.join("server.so")).args([strategy, rounds]);
    command.output().expect("setarch of util-linux runs")
}

pub fn no_race_is_found() {
    let directory = build("none", &root().join("libmicrokit"));
    for strategy in STRATEGIES {
        let output = run(&directory, strategy, "20000");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{strategy}: {said}");
    }
}

/// Every store that publishes a message, without its order: what the detector is there to notice. What is announced has an order of its
/// own, so there both are taken.
pub fn a_message_published_without_order_is_noticed() {
    let relaxed = |store: &'static str| {
        (store, store.replace("SEQ_CST", "RELAXED").replace("store_release", "store_relaxed"))
    };
    let announced = || relaxed("++end->events, __ATOMIC_SEQ_CST");
    let mutants = [
        (
            "notification",
            "channel.c",
            vec![announced(), relaxed("store_release(&end->out->notified, ++end->notified)")],
        ),
        ("call", "channel.c", vec![announced(), relaxed("store_release(&end->out->seq, number)")]),
        ("reply", "loop.c", vec![relaxed("&end->out->seq, call, __ATOMIC_SEQ_CST")]),
    ];
    for (name, file, stores) in mutants {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("race-source-{name}"));
        fs::create_dir_all(&library).expect("the directory can be made");
        for entry in root().join("libmicrokit").read_dir().expect("there are sources") {
            let path = entry.expect("readable").path();
            let mut text = fs::read_to_string(&path).expect("sources are text");
            let file_name = path.file_name().expect("it is a file");
            if file_name == file {
                for (store, without_order) in &stores {
                    assert_eq!(text.matches(store).count(), 1, "{store}");
                    text = text.replace(store, without_order);
                }
            }
            fs::write(library.join(file_name), text).expect("it can be written");
        }
        let output = run(&build(name, &library), "auto", "2000");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("data race"), "{name}: {said}");
    }
}
