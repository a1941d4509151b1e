//! The rows: what is compared with what, and what must be reached.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::statistics::Summary;

/// Per measurement, the value of each repetition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results(BTreeMap<&'static str, Vec<f64>>);

impl Results {
    /// Adds a repetition's value.
    pub fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// Values by repetition; none for what was not measured.
    pub fn values(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Median and spread.
    pub fn summary(&self, name: &str) -> Option<Summary> {
        Summary::of(self.values(name))
    }
}

/// The unit of a row's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nanoseconds, shown in the unit that fits.
    Time,
    /// Milliseconds.
    Milliseconds,
    /// GB/s
    Rate,
    /// A second.
    PerSecond,
    /// KiB
    Memory,
    /// A plain number.
    Number,
}

/// What must be reached: of the ratio where there is a floor, of the value where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Nothing is promised.
    None,
}

/// How a row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to compare with.
    Open,
    /// The target is reached.
    Reached,
    /// It is not, but this host does not reach it with nothing of ours either, and ours is as good as that.
    Host,
    /// It is not, but by less than the slack.
    Missed,
    /// It is missed by more.
    Failed,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Short and without spaces: how `--only` and other programs name it.
    pub id: &'static str,
    /// For people.
    pub what: &'static str,
    /// Result that is ours.
    pub ours: &'static str,
    /// Result it is compared with.
    pub floor: Option<&'static str>,
    /// Unit of both.
    pub kind: Kind,
    /// What must be reached.
    pub target: Target,
    /// Results whose ratio is what the host makes of the same without anything of ours.
    pub bare: Option<(&'static str, &'static str)>,
}

/// What is within so much of the bare host is as good.
const AS_GOOD: f64 = 1.2;

impl Row {
    const fn beside_bare(mut self, ours: &'static str, floor: &'static str) -> Self {
        self.bare = Some((ours, floor));
        self
    }

    /// Every result it needs.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let bare = self.bare.map(<[_; 2]>::from).into_iter().flatten();
        [Some(self.ours), self.floor].into_iter().flatten().chain(bare)
    }

    /// The ratio of the host without anything of ours.
    pub fn bare_ratio(&self, results: &Results) -> Option<Summary> {
        let (ours, floor) = self.bare?;
        Summary::of_ratios(results.values(ours), results.values(floor))
    }

    /// Ratio to the floor, repetition by repetition.
    pub fn ratio(&self, results: &Results) -> Option<Summary> {
        Summary::of_ratios(results.values(self.ours), results.values(self.floor?))
    }

    /// What the target is about.
    pub fn judged(&self, results: &Results) -> Option<Summary> {
        match self.floor {
            Some(_) => self.ratio(results),
            None => results.summary(self.ours),
        }
    }

    /// `slack` is the factor by which a target may be missed before that counts as failed.
    pub fn verdict(&self, results: &Results, slack: f64) -> Verdict {
        let Some(judged) = self.judged(results) else { return Verdict::Open };
        // By which factor a value is worse than a limit, where 1 and less is not worse.
        let (limit, worse): (f64, fn(f64, f64) -> f64) = match self.target {
            Target::None => return Verdict::Open,
            Target::AtMost(most) => (most, |value, most| if value <= most { 1.0 } else { value / most }),
            Target::AtLeast(least) => {
                (least, |value, least| if value >= least { 1.0 } else { least / value })
            }
        };
        let bare = self.bare_ratio(results).map(|bare| bare.median);
        let missed_by = worse(judged.median, limit);
        // Where the bare host misses the target too, it is the limit.
        let bare = bare.filter(|bare| worse(*bare, limit) > 1.0).map(|bare| worse(judged.median, bare));
        match (missed_by, bare) {
            (by, _) if by <= 1.0 => Verdict::Reached,
            (_, Some(by)) if by <= AS_GOOD => Verdict::Host,
            (by, bare) if bare.map_or(by, |bare| bare.min(by)) <= slack => Verdict::Missed,
            _ => Verdict::Failed,
        }
    }
}

const fn row(
    id: &'static str,
    what: &'static str,
    ours: &'static str,
    floor: Option<&'static str>,
    kind: Kind,
    target: Target,
) -> Row {
    Row { id, what, ours, floor, kind, target, bare: None }
}

/// Every row, in the order they are shown.
pub const fn rows() -> &'static [Row] {
    use Kind::{Memory, Milliseconds, Number, PerSecond, Rate, Time};
    use Target::{AtLeast, AtMost};
    const ROWS: &[Row] = &[
        row(
            "call",
            "call + reply, 4 registers, two CPUs",
            "call 4",
            Some("spin, two CPUs"),
            Time,
            AtMost(3.0),
        ),
        row("call-pipe", "the same, beside a pipe", "call 4", Some("pipe, unpinned"), Time, AtMost(0.05))
            .beside_bare("spin, two CPUs", "pipe, unpinned"),
        row(
            "call-one-cpu",
            "call + reply, 4 registers, one CPU",
            "call 4, one CPU",
            Some("futex, one CPU"),
            Time,
            AtMost(1.3),
        ),
        row("call-120", "call + reply, 120 registers", "call 120", Some("call 4"), Time, AtMost(1.5))
            .beside_bare("spin, 120 words", "spin, two CPUs"),
        row("notify-busy", "notify, receiver busy", "notify busy", None, Time, AtMost(25.0)),
        row(
            "notify-sleeper",
            "notify, receiver asleep, to its handler",
            "notify sleeper",
            Some("futex wake-up"),
            Time,
            AtMost(1.3),
        ),
        row(
            "notify-one-cpu",
            "notify there and back, one CPU",
            "notify, one CPU",
            Some("futex, one CPU"),
            Time,
            AtMost(1.3),
        ),
        row(
            "call-62",
            "call of a PD with 62 channels",
            "call 4, 62 channels",
            Some("call 4"),
            Time,
            AtMost(1.2),
        ),
        row(
            "notify-62",
            "notify there and back, 62 channels",
            "notify, 62 channels",
            Some("notify"),
            Time,
            AtMost(1.2),
        ),
        row("ring", "64 KiB messages through a ring", "ring", Some("copy"), Rate, AtLeast(0.9)),
        row("crowd", "63 PDs at random, turns a CPU", "crowd", Some("pair"), PerSecond, AtLeast(0.8))
            .beside_bare("pipes, 63", "pipes, 2"),
        row(
            "crowd-pipes",
            "the same, beside bare pipes",
            "crowd",
            Some("pipes, 63"),
            PerSecond,
            AtLeast(0.8),
        ),
        row("crowd-least", "of them, least turns over mean", "crowd, least", None, Number, AtLeast(0.1)),
        row("start-1", "start, 1 PD, to init", "start 1", Some("bubblewrap 1"), Milliseconds, AtMost(1.0)),
        row(
            "start-63",
            "start, 63 PDs, to the last init",
            "start 63",
            Some("bubblewrap 63"),
            Milliseconds,
            AtMost(0.5),
        ),
        row(
            "restart",
            "restart, a child's fault to its init",
            "restart",
            Some("start of a PD"),
            Milliseconds,
            AtMost(2.0),
        ),
        row("memory-pd", "memory of one of 63 PDs (Pss)", "memory PD", None, Memory, AtMost(400.0)),
        row(
            "memory-launcher",
            "memory of their launcher (Rss)",
            "memory launcher",
            None,
            Memory,
            AtMost(8192.0),
        ),
        row("idle-switches", "63 idle PDs: context switches", "idle switches", None, Number, AtMost(0.0)),
        row("idle-ticks", "63 idle PDs: CPU ticks", "idle ticks", None, Number, AtMost(0.0)),
        row("largest", "read and plan the largest system", "largest", None, Milliseconds, AtMost(20.0)),
        row(
            "largest-growth",
            "a byte of it, over one of a quarter",
            "largest, growth",
            None,
            Number,
            AtMost(1.5),
        ),
        row("filter", "the filter, a system call", "filter", None, Time, AtMost(60.0)),
    ];
    ROWS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{FLOORS, measure};
    use super::*;

    #[test]
    fn every_row_is_measured_by_something() {
        let mut measured: BTreeSet<&str> = FLOORS.iter().map(|(name, ..)| *name).collect();
        measured.extend(measure::STEPS.iter().flat_map(|step| step.results));
        measured.extend(measure::LONG.results);
        let mut ids = BTreeSet::new();
        for row in rows() {
            assert!(ids.insert(row.id), "{} twice", row.id);
            for name in row.names() {
                assert!(measured.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn verdicts_have_slack() {
        let mut results = Results::default();
        let at_most = row("a", "", "ours", Some("floor"), Kind::Time, Target::AtMost(2.0));
        assert_eq!(at_most.verdict(&results, 1.5), Verdict::Open);
        results.add("floor", 100.0);
        for (ours, verdict) in [(200.0, Verdict::Reached), (290.0, Verdict::Missed), (310.0, Verdict::Failed)]
        {
            let mut results = results.clone();
            results.add("ours", ours);
            assert_eq!(at_most.verdict(&results, 1.5), verdict);
        }
        // The host itself is at 3.2: ours may be that, and a little more.
        results.add("bare", 320.0);
        let bare = at_most.beside_bare("bare", "floor");
        for (ours, verdict) in [
            (200.0, Verdict::Reached),
            (330.0, Verdict::Host),
            (400.0, Verdict::Missed),
            (500.0, Verdict::Failed),
        ] {
            let mut results = results.clone();
            results.add("ours", ours);
            assert_eq!(bare.verdict(&results, 1.5), verdict, "{ours}");
        }
        let at_least = row("b", "", "floor", None, Kind::Rate, Target::AtLeast(120.0));
        assert_eq!(at_least.verdict(&results, 1.5), Verdict::Missed);
        assert_eq!(at_least.verdict(&results, 1.1), Verdict::Failed);
        let zero = row("c", "", "none", None, Kind::Number, Target::AtMost(0.0));
        results.add("none", 0.0);
        assert_eq!(zero.verdict(&results, 1.5), Verdict::Reached);
    }
}
