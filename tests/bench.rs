//! `mk-sandbox bench`: that it measures for every user, and what its report holds. Not how fast anything is.

#![forbid(unsafe_code)]

mod common;

use common::for_each_user;
use serde_json::Value;

const ROWS: [&str; 6] = ["--only", "call-one-cpu", "--only", "restart", "--only", "filter"];

#[test]
fn the_report_for_programs_has_every_row_that_was_asked_for() {
    for_each_user(|world| {
        let bench = world.run(&[["bench", "--quick", "--format", "json"].as_slice(), &ROWS].concat());
        let report: Value = serde_json::from_str(&bench.expect(0).stdout).unwrap();
        for field in ["cpu", "cpus", "kernel", "load"] {
            assert!(!report["machine"][field].is_null(), "{report}");
        }
        let repetitions = report["repetitions"].as_u64().unwrap() as usize;
        assert!(repetitions >= 5, "{report}");
        let rows = report["rows"].as_array().unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["call-one-cpu", "restart", "filter"]);
        for row in rows {
            let ours = row["ours"].as_array().unwrap();
            assert_eq!(ours.len(), repetitions, "{row}");
            // The filter may cost less than the clock can tell, what runs takes time.
            assert!(row["id"] == "filter" || ours.iter().all(|value| value.as_f64().unwrap() > 0.0), "{row}");
            let verdict = row["verdict"].as_str().unwrap();
            assert!(["reached", "host", "missed", "failed"].contains(&verdict), "{row}");
            assert!(row["target"]["at_most"].is_number(), "{row}");
            assert_eq!(row["ratio"]["median"].is_number(), row["beside"].is_string(), "{row}");
        }
        // Only floors that a row is beside are measured.
        let floors = report["floors"].as_array().unwrap();
        assert!(floors.len() == 1 && floors[0]["name"] == "futex, one CPU", "{report}");
    });
}

#[test]
fn the_report_for_people_is_a_table() {
    for_each_user(|world| {
        let bench = world.run(&["bench", "--quick", "--only", "filter"]);
        let lines: Vec<&str> = bench.expect(0).stdout.lines().collect();
        assert!(
            lines[0].contains("CPUs, Linux ") && lines[0].contains("medians of 5 repetitions"),
            "{lines:?}"
        );
        let columns = lines.iter().find(|line| line.contains("ours")).unwrap();
        assert!(
            ["beside", "ratio", "target", "bare host"].iter().all(|name| columns.contains(name)),
            "{columns}"
        );
        let row = lines.iter().find(|line| line.starts_with("the filter, a system call")).unwrap();
        assert!(row.contains(" ns") && row.contains("≤ 60.0 ns"), "{row}");
    });
}
