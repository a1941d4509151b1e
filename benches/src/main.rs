//! mk-sandbox beside what one would pick instead: one command, one table.
//!
//! cargo run --release --manifest-path benches/Cargo.toml [-- --quick | --plot]
//!
//! Every repetition measures all peers and ours in turn. Both ends of a peer run unconfined, with all CPUs free to them;
//! ours is a call between two protection domains in the full sandbox.

#![forbid(unsafe_code)]

mod peer;
mod plot;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mk_sandbox::bench::{Cpus, Harness, Size, bubblewrap};
use mk_sandbox::sys::floor::{self, Placement, Via};
use peer::Peer;
use table::Table;

/// Everything that can go wrong ends the run and is printed.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => compare(Size::Full),
        ["--quick"] => compare(Size::Quick),
        ["--plot"] => plot::costs(),
        // How this program starts the other end of a peer.
        ["--serve", peer, name] => peer::serve(peer, name),
        _ => {
            eprintln!("usage: peers [--quick | --plot]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(size: Size) -> Result<()> {
    iceoryx2::prelude::set_log_level(iceoryx2::prelude::LogLevel::Error);
    let (repetitions, rounds) = match size {
        Size::Quick => (5, 2_000),
        Size::Full => (9, 10_000),
    };
    let directory = TemporaryDirectory::new()?;
    let harness = Harness::new(product()?, directory.0.clone())?;
    let mut table = Table::default();
    for repetition in 1..=repetitions {
        eprintln!("{repetition} of {repetitions}");
        let spin = floor::round_trip(Via::Spin, Placement::TwoCpus, 10 * rounds)?;
        table.add("shared memory, both spin (the floor)", harness.nanoseconds(spin));
        table.add("mk-sandbox: call and reply", harness.calls(Cpus::Free, 1, size)?.few);
        for peer in Peer::ALL {
            table.add(peer.name(), peer.round_trip(rounds)?);
        }
        table.add("mk-sandbox: 1 PD, to init", harness.start_time(1)? * 1e6);
        table.add("bubblewrap: 1 start of true", bubblewrapped(1)?);
        table.add("mk-sandbox: 63 PDs, to the last init", harness.start_time(63)? * 1e6);
        table.add("bubblewrap: 63 starts, two at a time", bubblewrapped(63)?);
    }
    print!("{}", table.markdown(repetitions));
    Ok(())
}

/// Nanoseconds.
fn bubblewrapped(count: u32) -> Result<f64> {
    let time = bubblewrap(count).ok_or("bwrap (Debian package bubblewrap) does not run")?;
    Ok(time.as_nanos() as f64)
}

/// Builds the product and says where it is: what is measured is the binary that users have.
fn product() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this package stands in the project")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--quiet"]).current_dir(root).status()?;
    if !built.success() {
        return Err("mk-sandbox does not build".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/mk-sandbox"))
}

struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mk-sandbox-benches-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
