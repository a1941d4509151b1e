//! Domains: the schedule of the system file, entry by entry; PDs of the other domains do not run.

#![forbid(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use super::{Monitor, OnFault};
use crate::plan::Plan;

/// The schedule and where it stands.
#[derive(Debug)]
pub(super) struct Domains {
    /// Index of a domain, and for how long.
    entries: Vec<(usize, Duration)>,
    current: usize,
    ends: Instant,
}

impl Domains {
    /// `None` for a system without domains.
    pub fn new(plan: &Plan) -> Option<Self> {
        let schedule = plan.domains.as_ref()?;
        let entries: Vec<(usize, Duration)> = schedule
            .entries
            .iter()
            .map(|entry| (entry.domain, Duration::from_micros(entry.microseconds)))
            .collect();
        let ends = Instant::now() + entries.first()?.1;
        Some(Self { entries, current: 0, ends })
    }

    fn domain(&self) -> usize {
        self.entries[self.current].0
    }
}

impl Monitor<'_> {
    /// Sets every PD's hold by the current domain; the caller settles them.
    pub(super) fn hold_for_domain(&mut self) {
        let Some(domains) = &self.domains else { return };
        for pd in &self.launch.plan.pds {
            self.pds[pd.index.0].holds.domain = pd.domain != Some(domains.domain());
        }
    }

    pub(super) fn next_domain(&self) -> Option<Instant> {
        self.domains.as_ref().map(|domains| domains.ends)
    }

    pub(super) fn switch_domain(&mut self, now: Instant, on_fault: OnFault) -> io::Result<()> {
        let Some(domains) = &mut self.domains else { return Ok(()) };
        if domains.ends > now {
            return Ok(());
        }
        while domains.ends <= now {
            domains.current = (domains.current + 1) % domains.entries.len();
            domains.ends += domains.entries[domains.current].1;
        }
        self.hold_for_domain();
        // First everybody stops whose time is over.
        for held in [true, false] {
            for index in
                self.indices().filter(|index| self.pds[index.0].holds.domain == held).collect::<Vec<_>>()
            {
                self.settle(index, on_fault)?;
            }
        }
        self.reschedule(on_fault)
    }
}
