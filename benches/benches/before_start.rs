//! What is done before a system starts: reading its file, planning it, compiling the filters.
//!
//! cargo bench --manifest-path benches/Cargo.toml

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use mk_sandbox::bench::largest_system;
use mk_sandbox::diagnostic::Source;
use mk_sandbox::plan::{self, Plan};
use mk_sandbox::policy::{Filters, PlanValues, Policy};
use mk_sandbox::sdf::{self, System};

/// PDs and regions; every two PDs share a channel. The last is the largest a file may describe.
const SIZES: [(usize, usize); 4] = [(2, 2), (8, 32), (32, 512), (63, 2000)];

fn main() {
    divan::main();
}

fn source((pds, regions): (usize, usize)) -> Source {
    Source { path: "bench.system".into(), text: largest_system(pds, regions) }
}

fn read(source: &Source) -> System {
    let options = sdf::Options { search_path: Vec::new(), arch: sdf::Arch::default(), cpus: 1 };
    match sdf::load(source, &options) {
        Ok((system, _)) => system,
        Err(errors) => panic!("the system is legal: {errors:?}"),
    }
}

#[divan::bench(args = SIZES)]
fn parse_and_judge(bencher: Bencher, size: (usize, usize)) {
    let source = source(size);
    bencher.counter(BytesCount::of_str(&source.text)).bench(|| read(black_box(&source)));
}

#[divan::bench(args = SIZES)]
fn plan(bencher: Bencher, size: (usize, usize)) {
    let system = read(&source(size));
    let options = plan::Options { heap_size: plan::DEFAULT_HEAP_SIZE, cpus: 2, allow_wx: false };
    bencher.bench(|| Plan::of(black_box(&system), &options));
}

#[divan::bench]
fn read_policy() -> bool {
    Policy::loading().is_ok() && Policy::running().is_ok()
}

#[divan::bench]
fn compile_filters() -> bool {
    Filters::compile(std::env::consts::ARCH, &PlanValues::new()).is_ok()
}
