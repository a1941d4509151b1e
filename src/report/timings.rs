//! `run --timings`: how long each step of a start took, from the command line to the barrier.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::time::Instant;

use crate::launch::RunningPd;
use crate::pd::{Step, StepTimes};
use crate::sys::floor;

/// The launcher's clock. It always runs, since reading it costs a few nanoseconds.
#[derive(Debug)]
pub struct Timings {
    /// Two clocks at one moment: the counter's rate follows from both at the end.
    start: (Instant, u64),
    phases: Vec<(&'static str, u64)>,
}

impl Timings {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: (Instant::now(), floor::cycles()), phases: Vec::new() }
    }

    /// Names what has been done since the last call.
    pub fn done(&mut self, what: &'static str) {
        self.phases.push((what, floor::cycles()));
    }

    /// What has been named so far, each with its milliseconds.
    pub fn phases(&self) -> Vec<(&'static str, f64)> {
        let (end, elapsed) = (floor::cycles(), self.start.0.elapsed());
        let cycles = end.saturating_sub(self.start.1).max(1);
        let milliseconds = elapsed.as_secs_f64() * 1e3 / cycles as f64;
        let mut last = self.start.1;
        let took = |(what, at): &(&'static str, u64)| {
            let cycles = at.saturating_sub(std::mem::replace(&mut last, *at));
            (*what, cycles as f64 * milliseconds)
        };
        self.phases.iter().map(took).collect()
    }

    /// The table, when every PD is ready.
    pub fn table(&self, pds: &[RunningPd]) -> String {
        let (end, elapsed) = (floor::cycles(), self.start.0.elapsed());
        let cycles = end.saturating_sub(self.start.1).max(1);
        let milliseconds = elapsed.as_secs_f64() * 1e3 / cycles as f64;
        let times: Vec<StepTimes> = pds.iter().map(|pd| pd.times).collect();
        words(self.start.1, &self.phases, end, &times, milliseconds)
    }
}

/// `milliseconds` is the length of a cycle.
fn words(
    start: u64,
    phases: &[(&'static str, u64)],
    end: u64,
    pds: &[StepTimes],
    milliseconds: f64,
) -> String {
    let in_ms = |cycles: u64| cycles as f64 * milliseconds;
    let mut text = format!("{:<40} {:>10}\n", "the launcher", "ms");
    let mut last = start;
    for (what, at) in phases {
        let _ = writeln!(text, "  {what:<38} {:>10.3}", in_ms(at.saturating_sub(last)));
        last = *at;
    }
    let _ = writeln!(text, "  {:<38} {:>10.3}", "together", in_ms(end.saturating_sub(start)));
    let _ = writeln!(text, "{:<40} {:>10} {:>10} {:>10}", "a PD", "least", "median", "most");
    for (step, mut took) in steps(pds, end) {
        took.sort_unstable();
        let (Some(least), Some(most)) = (took.first(), took.last()) else { continue };
        let shown = [*least, took[took.len() / 2], *most].map(|cycles| format!("{:>10.3}", in_ms(cycles)));
        let _ = writeln!(text, "  {:<38} {}", step.doing(), shown.join(" "));
    }
    text
}

/// Per step, how long each PD was in it: until the next one that was seen. What the bare child does before exec is part of the
/// step before, and the last step ends when all are ready.
fn steps(pds: &[StepTimes], end: u64) -> Vec<(Step, Vec<u64>)> {
    let took = |times: &StepTimes, step: Step| {
        let began = times[step as usize];
        let next = times[step as usize + 1..].iter().find(|time| **time != 0).copied().unwrap_or(end);
        (began != 0).then(|| next.saturating_sub(began))
    };
    Step::ALL
        .into_iter()
        .map(|step| (step, pds.iter().filter_map(|times| took(times, step)).collect::<Vec<_>>()))
        .filter(|(_, took)| !took.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(of: &[(Step, u64)]) -> StepTimes {
        let mut times = [0; Step::ALL.len()];
        of.iter().for_each(|(step, time)| times[*step as usize] = *time);
        times
    }

    #[test]
    fn a_step_lasts_until_the_next_that_was_seen() {
        let one = times(&[(Step::Clone, 10), (Step::IdMaps, 30), (Step::Handoff, 100), (Step::Ready, 150)]);
        let two = times(&[(Step::Clone, 40), (Step::IdMaps, 45), (Step::Handoff, 60), (Step::Ready, 90)]);
        let expected = [
            (Step::Clone, vec![20, 5]),
            (Step::IdMaps, vec![70, 15]),
            (Step::Handoff, vec![50, 30]),
            (Step::Ready, vec![50, 110]),
        ];
        assert_eq!(steps(&[one, two], 200), expected);
    }

    #[test]
    fn the_table_has_both_parts() {
        let pd = times(&[(Step::Clone, 1_000), (Step::Ready, 3_000)]);
        let text = words(500, &[("reading", 900), ("starting", 4_000)], 4_500, &[pd], 0.001);
        let line = |of: &str| text.lines().find(|line| line.contains(of)).unwrap().split_whitespace().last();
        assert_eq!(line("reading"), Some("0.400"));
        assert_eq!(line("starting"), Some("3.100"));
        assert_eq!(line("together"), Some("4.000"));
        assert_eq!(line(Step::Clone.doing()), Some("2.000"));
        assert_eq!(line(Step::Ready.doing()), Some("1.500"));
    }
}
