//! How far the values of a window are from those of a baseline.

use super::constraints::ComparisonMethod;
use crate::profile::ColumnProfile;

/// The factor of the robust distance, Deequ's default: a significance of about 0.003.
const ROBUST_FACTOR: f64 = 1.8;

/// How closely SageMaker's analyzer is followed where it does something odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// What the words mean. Distances are between all values, a whole number is a `Fractional` value like any other, and
    /// missing or extra columns keep no other column from being looked at.
    #[default]
    Exact,
    /// What the analyzer does. Distances are between the *distinct* values of each side, a whole number does not count as
    /// `Fractional`, and with missing or extra columns nothing else is looked at.
    SageMaker,
}

/// The largest difference between two distribution functions, from 0 to 1; `None` when one side has no finite value.
///
/// The robust form takes off what two samples of the same distribution differ by at most, for their sizes. Columns of
/// more than about 2,000 values are compared by their sketches, whose ranks are within 1 %.
#[must_use]
pub fn distance(
    baseline: &ColumnProfile,
    current: &ColumnProfile,
    method: ComparisonMethod,
    manner: Manner,
) -> Option<f64> {
    let here = Sample::of(baseline, manner)?;
    let there = Sample::of(current, manner)?;
    let simple = here.largest_difference(&there);
    let (n, m) = (here.weight, there.weight);
    Some(match method {
        ComparisonMethod::Simple => simple,
        ComparisonMethod::Robust => (simple - ROBUST_FACTOR * ((n + m) / (n * m)).sqrt()).max(0.0),
    })
}

/// Distinct values in ascending order, each with its weight.
pub(super) struct Sample {
    values: Vec<(f64, f64)>,
    weight: f64,
}

impl Sample {
    /// The finite values of a column; `None` when there is none.
    pub(super) fn of(column: &ColumnProfile, manner: Manner) -> Option<Self> {
        let mut values: Vec<(f64, f64)> = match (manner, column.frequent_values()) {
            (Manner::Exact, Some(counts)) => {
                counts.iter().map(|&(value, count)| (value, count as f64)).collect()
            }
            _ => {
                let levels = column.quantile_sketch().levels().enumerate();
                let weight = |level: usize| 2.0_f64.powi(level.min(63) as i32);
                levels
                    .flat_map(|(h, level)| level.iter().map(move |&value| (value + 0.0, weight(h))))
                    .collect()
            }
        };
        // Stable: of equal values the one of the highest level stands last.
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = match manner {
                    Manner::Exact => kept.1 + later.1,
                    // Deequ keeps a map by value, so the last one found is the one that counts.
                    Manner::SageMaker => later.1,
                };
            }
            same
        });
        let weight: f64 = values.iter().map(|value| value.1).sum();
        (weight > 0.0).then_some(Self { values, weight })
    }

    /// The share of values that are one of `domain`, which is in ascending order.
    pub(super) fn share_in(&self, domain: &[f64]) -> f64 {
        let is_inside = |value: &f64| domain.binary_search_by(|other| other.total_cmp(value)).is_ok();
        let inside = self.values.iter().filter(|(value, _)| is_inside(value));
        inside.map(|value| value.1).sum::<f64>() / self.weight
    }

    fn largest_difference(&self, other: &Self) -> f64 {
        let (mut here, mut there) = (self.values.iter().peekable(), other.values.iter().peekable());
        let (mut up_to_here, mut up_to_there) = (0.0, 0.0);
        let mut largest: f64 = 0.0;
        loop {
            let next = match (here.peek(), there.peek()) {
                (Some(a), Some(b)) => a.0.min(b.0),
                (Some(a), None) => a.0,
                (None, Some(b)) => b.0,
                (None, None) => return largest,
            };
            while let Some(value) = here.next_if(|value| value.0 <= next) {
                up_to_here += value.1;
            }
            while let Some(value) = there.next_if(|value| value.0 <= next) {
                up_to_there += value.1;
            }
            largest = largest.max((up_to_here / self.weight - up_to_there / other.weight).abs());
        }
    }
}
