//! Medians and spreads.

#![forbid(unsafe_code)]

use serde::Serialize;

/// One measurement's repetitions in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Half of the repetitions are below it.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Summary {
    /// `None` when there is nothing to summarise.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            least: values.iter().copied().reduce(f64::min)?,
            most: values.iter().copied().reduce(f64::max)?,
        })
    }

    /// Each repetition's value over its base of the same repetition.
    pub fn of_ratios(values: &[f64], bases: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = values
            .iter()
            .zip(bases)
            .filter(|(_, base)| **base > 0.0)
            .map(|(value, base)| value / base)
            .collect();
        Self::of(&ratios)
    }
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => None,
        (1, Some(value)) => Some(*value),
        (_, Some(value)) => Some((sorted[middle - 1] + value) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        // The machine was half as fast in the second: the ratio stays.
        let summary = Summary::of_ratios(&[100.0, 200.0, 110.0], &[50.0, 100.0, 50.0]).unwrap();
        assert_eq!(summary, Summary { median: 2.0, least: 2.0, most: 2.2 });
        assert_eq!(Summary::of_ratios(&[1.0], &[0.0]), None);
    }
}
