//! The table, in Markdown, so that it can be quoted as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use mk_sandbox::bench::Summary;

/// What is compared with which of ours.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "mk-sandbox: call and reply",
        &[
            "shared memory, both spin (the floor)",
            "mk-sandbox: call and reply",
            "iceoryx2: request and response, polling",
            "iceoryx2: publish and subscribe, polling",
            "unix socket, there and back",
            "pipe and epoll, there and back",
            "ipc-channel, there and back",
        ],
    ),
    ("mk-sandbox: 1 PD, to init", &["mk-sandbox: 1 PD, to init", "bubblewrap: 1 start of true"]),
    (
        "mk-sandbox: 63 PDs, to the last init",
        &["mk-sandbox: 63 PDs, to the last init", "bubblewrap: 63 starts, two at a time"],
    ),
];

/// Nanoseconds of each repetition.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<&'static str, Vec<f64>>);

impl Table {
    pub fn add(&mut self, what: &'static str, nanoseconds: f64) {
        self.0.entry(what).or_default().push(nanoseconds);
    }

    pub fn markdown(&self, repetitions: usize) -> String {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut text = format!(
            "{}, {cpus} CPUs, Linux {}, load {}; medians of {repetitions} repetitions, their spread, and how many times ours, \
             the median of the repetitions' ratios.\n\n| what | time | least to most | times ours |\n|---|---:|---:|---:|\n",
            model.map_or("unknown CPU", |(_, model)| model),
            read("/proc/sys/kernel/osrelease").trim(),
            read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        );
        let nothing = Vec::new();
        for (ours, rows) in GROUPS {
            let ours = self.0.get(ours).unwrap_or(&nothing);
            for row in rows {
                let values = self.0.get(row).unwrap_or(&nothing);
                if let (Some(time), Some(ratio)) = (Summary::of(values), Summary::of_ratios(values, ours)) {
                    let _ = writeln!(
                        text,
                        "| {row} | {} | {} to {} | {:.2} |",
                        duration(time.median),
                        duration(time.least),
                        duration(time.most),
                        ratio.median
                    );
                }
            }
        }
        text
    }
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        short if short < 1e4 => format!("{short:.0} ns"),
        middle if middle < 1e6 => format!("{:.1} µs", middle / 1e3),
        long => format!("{:.1} ms", long / 1e6),
    }
}
