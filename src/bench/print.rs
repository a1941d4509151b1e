//! The report, for people and for programs.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::statistics::Summary;
use super::table::{Kind, Results, Row, Target, Verdict};
use super::{FLOORS, Settings};
use crate::sys::floor;

/// The machine, in the words that figures should be quoted with.
#[derive(Clone, Debug)]
struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    load: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned())
            })
            .unwrap_or_else(|| "unknown CPU".into());
        Self {
            cpu,
            cpus: floor::cpus().map_or(0, |cpus| cpus.len()),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or("").into(),
        }
    }
}

/// The rows as a table, then the floors.
pub fn human(rows: &[Row], results: &Results, settings: Settings, slack: f64) -> String {
    let machine = Machine::this();
    let mut text = format!(
        "{}, {} CPUs, Linux {}, load {}; medians of {} repetitions (least to most)\n\n",
        machine.cpu, machine.cpus, machine.kernel, machine.load, settings.repetitions
    );
    let mut table = vec![["", "ours", "beside", "", "ratio", "target", "bare host", ""].map(String::from)];
    for row in rows {
        let Some(ours) = results.summary(row.ours) else { continue };
        let floor = row.floor.and_then(|name| Some((name, results.summary(name)?)));
        table.push([
            row.what.into(),
            with_spread(ours, |value| quantity(value, row.kind)),
            floor.map_or(String::new(), |(name, _)| name.into()),
            floor.map_or(String::new(), |(_, floor)| quantity(floor.median, row.kind)),
            row.ratio(results).map_or(String::new(), |ratio| with_spread(ratio, number)),
            match row.target {
                Target::AtMost(most) => format!("≤ {}", target(row, most)),
                Target::AtLeast(least) => format!("≥ {}", target(row, least)),
                Target::None => String::new(),
            },
            row.bare_ratio(results).map_or(String::new(), |bare| number(bare.median)),
            match row.verdict(results, slack) {
                Verdict::Open if row.target != Target::None => "not judged here",
                Verdict::Open => "",
                Verdict::Reached => "ok",
                Verdict::Host => "the host's limit",
                Verdict::Missed => "missed",
                Verdict::Failed => "FAILED",
            }
            .into(),
        ]);
    }
    text += &aligned(&table);
    text += "\n";
    let mut table = vec![["floor, round trip", "", ""].map(String::from)];
    for (name, ..) in FLOORS {
        if let Some(summary) = results.summary(name) {
            let spread = with_spread(summary, |value| quantity(value, Kind::Time));
            table.push([name.into(), spread, String::new()]);
        }
    }
    text + &aligned(&table)
}

/// Everything, repetition by repetition.
pub fn json(rows: &[Row], results: &Results, settings: Settings, slack: f64) -> String {
    let machine = Machine::this();
    let rows: Vec<Value> = rows
        .iter()
        .filter(|row| !results.values(row.ours).is_empty())
        .map(|row| {
            json!({
                "id": row.id,
                "what": row.what,
                "unit": unit(row.kind),
                "ours": results.values(row.ours),
                "beside": row.floor,
                "floor": row.floor.map(|name| results.values(name)),
                "ratio": row.ratio(results),
                "bare_ratio": row.bare_ratio(results),
                "target": match row.target {
                    Target::AtMost(most) => json!({ "at_most": most }),
                    Target::AtLeast(least) => json!({ "at_least": least }),
                    Target::None => Value::Null,
                },
                "verdict": match row.verdict(results, slack) {
                    Verdict::Open => "open",
                    Verdict::Reached => "reached",
                    Verdict::Host => "host",
                    Verdict::Missed => "missed",
                    Verdict::Failed => "failed",
                },
            })
        })
        .collect();
    let floors: Vec<Value> = FLOORS
        .iter()
        .filter(|(name, ..)| !results.values(name).is_empty())
        .map(|(name, ..)| json!({ "name": name, "unit": unit(Kind::Time), "values": results.values(name) }))
        .collect();
    let report = json!({
        "machine": {
            "cpu": machine.cpu,
            "cpus": machine.cpus,
            "kernel": machine.kernel,
            "load": machine.load,
        },
        "version": env!("CARGO_PKG_VERSION"),
        "repetitions": settings.repetitions,
        "floors": floors,
        "rows": rows,
    });
    // A Value has string keys only, so it can always be written.
    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
}

fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Time => "ns",
        Kind::Milliseconds => "ms",
        Kind::Rate => "GB/s",
        Kind::PerSecond => "1/s",
        Kind::Memory => "KiB",
        Kind::Number => "",
    }
}

/// A value in a unit that keeps it short.
fn quantity(value: f64, kind: Kind) -> String {
    match kind {
        Kind::Time if value >= 1e4 => format!("{} µs", number(value / 1e3)),
        Kind::PerSecond if value >= 1e6 => format!("{} M/s", number(value / 1e6)),
        Kind::PerSecond if value >= 1e3 => format!("{} k/s", number(value / 1e3)),
        kind => format!("{} {}", number(value), unit(kind)).trim_end().to_owned(),
    }
}

fn target(row: &Row, value: f64) -> String {
    match row.floor {
        Some(_) => number(value),
        None => quantity(value, row.kind),
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.4}"),
    }
}

fn with_spread(summary: Summary, show: impl Fn(f64) -> String) -> String {
    if summary.least == summary.most {
        show(summary.median)
    } else {
        format!("{} ({} to {})", show(summary.median), show(summary.least), show(summary.most))
    }
}

/// Columns as wide as their widest cell.
fn aligned<const COLUMNS: usize>(table: &[[String; COLUMNS]]) -> String {
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in
            [(0.0, "0"), (0.01234, "0.0123"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(quantity(61_234.0, Kind::Time), "61.2 µs");
        assert_eq!(quantity(812.3, Kind::Time), "812 ns");
        assert_eq!(quantity(1.5e6, Kind::PerSecond), "1.50 M/s");
        assert_eq!(quantity(3.0, Kind::Number), "3.00");
    }

    #[test]
    fn a_report_has_the_rows_that_were_measured() {
        let mut results = Results::default();
        for value in [300.0, 400.0, 500.0] {
            results.add("call 4", value);
            results.add("spin, two CPUs", 200.0);
        }
        let settings = Settings { repetitions: 3, ..Settings::new(true) };
        let text = human(rows(), &results, settings, 1.5);
        assert!(text.contains("call + reply, 4 registers, two CPUs  400 ns (300 ns to 500 ns)"), "{text}");
        assert!(text.contains("2.00 (1.50 to 2.50)") && text.contains("ok"), "{text}");
        assert!(!text.contains("120 registers"), "{text}");
        let value: Value = serde_json::from_str(&json(rows(), &results, settings, 1.5)).unwrap();
        assert_eq!(value["rows"][0]["ratio"]["median"], 2.0);
        assert_eq!(value["rows"][0]["verdict"], "reached");
    }
}
