//! The buckets of each metric, and which samples may be kept beside others.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::Refused;
use super::sample::Sample;
use super::series::{METRIC_NAME_LONGEST_BYTES, Series, is_metric_name};

/// A metric with more buckets is refused.
pub const BOUNDS_MOST: usize = 200;
/// No more metrics have buckets.
pub const HISTOGRAMS_MOST: usize = 1_000;

/// Bounds that cannot be those of a metric.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BoundsError {
    /// What is kept was counted in other buckets. Until its own bounds are given again, nothing of the metric that has a
    /// histogram is recorded.
    #[error("the histograms of {name} have other upper bounds: {kept:?}")]
    Others { name: String, kept: Vec<f64> },
    /// Bounds are one number or more, in ascending order.
    #[error("the upper bounds of {name} are not 1 to {BOUNDS_MOST} ascending finite numbers")]
    Malformed { name: String },
    /// As many metrics have buckets as may have.
    #[error("{name} would be more than {HISTOGRAMS_MOST} metrics with histograms")]
    TooMany { name: String },
}

/// The bounds of each metric.
#[derive(Debug, Default)]
pub(super) struct KnownBounds {
    by_name: BTreeMap<String, Vec<f64>>,
    /// Metrics that were last said to have other bounds than they have.
    contradicted: BTreeSet<String>,
}

impl KnownBounds {
    pub(super) fn of(&self, name: &str) -> Option<&[f64]> {
        self.by_name.get(name).map(Vec::as_slice)
    }

    /// The metric has these bounds; true: it is not known yet.
    pub(super) fn check(&mut self, name: &str, bounds: &[f64]) -> Result<bool, BoundsError> {
        let name = name.to_owned();
        let is_ascending = bounds.windows(2).all(|two| two[0] < two[1]);
        let is_finite = bounds.iter().all(|bound| bound.is_finite());
        let is_named = is_metric_name(&name) && name.len() <= METRIC_NAME_LONGEST_BYTES;
        if !(1..=BOUNDS_MOST).contains(&bounds.len()) || !is_ascending || !is_finite || !is_named {
            return Err(BoundsError::Malformed { name });
        }
        match self.by_name.get(&name) {
            Some(kept) if kept == bounds => {
                self.contradicted.remove(&name);
                Ok(false)
            }
            Some(kept) => {
                let kept = kept.clone();
                self.contradicted.insert(name.clone());
                Err(BoundsError::Others { name, kept })
            }
            None if self.by_name.len() >= HISTOGRAMS_MOST => Err(BoundsError::TooMany { name }),
            None => Ok(true),
        }
    }

    pub(super) fn insert(&mut self, name: String, bounds: Vec<f64>) {
        self.by_name.insert(name, bounds);
    }

    /// Counts the reason why a sample may not be kept; true: it may.
    pub(super) fn admits(&self, series: &Series, sample: &Sample, refused: &mut Refused) -> bool {
        let has_bounds = |histogram: &Vec<u64>| {
            !self.contradicted.contains(&series.name)
                && self.of(&series.name).is_some_and(|bounds| histogram.len() == bounds.len() + 1)
        };
        let reason = if !sample.is_finite() {
            &mut refused.not_finite
        } else if !series.is_well_formed() || !sample.is_consistent() {
            &mut refused.malformed
        } else if !sample.histogram.as_ref().is_none_or(has_bounds) {
            &mut refused.other_bounds
        } else {
            return true;
        };
        *reason += 1;
        false
    }
}
