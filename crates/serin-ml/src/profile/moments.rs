//! Mean, variance and range, mergeable.

use serde::{Deserialize, Serialize};

/// Count, mean, sum of squared deviations, sum, smallest and largest of finite values.
///
/// T. F. Chan, G. H. Golub, R. J. LeVeque: Updating formulae and a pairwise algorithm for computing sample variances
/// (1979); for one value at a time this is Welford's method. Values beyond ±1e100 count as that in mean, sum and variance, so that
/// none of them can overflow; the range is exact.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) squares: f64,
    pub(super) sum: f64,
    pub(super) range: Option<(f64, f64)>,
}

/// The magnitude beyond which values count as this.
const LARGEST_MAGNITUDE: f64 = 1e100;

impl Moments {
    /// Those of `values`, all finite, in two passes.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        fn bounded(value: &f64) -> f64 {
            value.clamp(-LARGEST_MAGNITUDE, LARGEST_MAGNITUDE)
        }
        let count = values.len() as f64;
        let sum = lanes(values, bounded);
        let mean = sum / count;
        let squares = lanes(values, |value| {
            let deviation = bounded(value) - mean;
            deviation * deviation
        });
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { count: values.len() as u64, mean, squares, sum, range: Some((low, high)) }
    }

    /// Takes in the values that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let difference = other.mean - self.mean;
        let both = here + there;
        self.count += other.count;
        self.mean += difference * (there / both);
        self.squares += other.squares + difference * difference * (here * there / both);
        self.sum += other.sum;
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; 0 without values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Their mean; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Their population variance (divided by n); 0 for one value, `None` without values.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }

    /// Smallest and largest; `None` without values.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }
}

/// The sum of a term of each value, in four lanes that the processor can add at once; always in the same order.
fn lanes(values: &[f64], term: impl Fn(&f64) -> f64) -> f64 {
    let (quads, rest) = values.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for quad in quads {
        for lane in 0..4 {
            sums[lane] += term(&quad[lane]);
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest.iter().map(term).sum::<f64>()
}
