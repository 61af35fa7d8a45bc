//! What was observed in a period.

/// CloudWatch's statistic set, and how many observations were in each bucket: an accumulator that merges.
///
/// The histogram has one count for each upper bound of its metric and one for what is above the last. Samples that
/// merge keep it only if both have one for as many bounds: what is lost is said to be lost.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Observations. Without any, the sample is empty whatever else it says.
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Observations by bucket, not cumulative.
    pub histogram: Option<Vec<u64>>,
}

impl Sample {
    /// Nothing was observed.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// One observation, without a histogram.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { count: 1, sum: value, min: value, max: value, histogram: None }
    }

    /// One observation, with a histogram of these upper bounds in ascending order.
    #[must_use]
    pub fn of_bounds(value: f64, bounds: &[f64]) -> Self {
        let mut histogram = vec![0; bounds.len() + 1];
        histogram[bounds.partition_point(|bound| *bound < value)] = 1;
        Self { histogram: Some(histogram), ..Self::of(value) }
    }

    /// Nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One more observation, without a histogram.
    pub fn add(&mut self, value: f64) {
        self.merge(&Self::of(value));
    }

    /// All observations of another sample. A sum too large for a number stays the largest number.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = (self.sum + other.sum).clamp(f64::MIN, f64::MAX);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.histogram = match (self.histogram.take(), &other.histogram) {
            (Some(mut mine), Some(theirs)) if mine.len() == theirs.len() => {
                for (count, more) in mine.iter_mut().zip(theirs) {
                    *count = count.saturating_add(*more);
                }
                Some(mine)
            }
            _ => None,
        };
    }

    /// Sum, minimum and maximum are numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.sum.is_finite() && self.min.is_finite() && self.max.is_finite()
    }

    /// It has observations, and its parts do not contradict each other.
    pub(super) fn is_consistent(&self) -> bool {
        let bucketed = |counts: &Vec<u64>| {
            counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)) == Some(self.count)
        };
        (1..=i64::MAX.unsigned_abs()).contains(&self.count)
            && self.min <= self.max
            && self.histogram.as_ref().is_none_or(bucketed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 3] = [1.0, 2.0, 4.0];

    fn merged(a: &Sample, b: &Sample) -> Sample {
        let mut both = a.clone();
        both.merge(b);
        both
    }

    #[test]
    fn observations_add_up() {
        let mut sample = Sample::empty();
        assert!(sample.is_empty());
        for value in [3.0, -1.0, 2.0] {
            sample.add(value);
        }
        assert_eq!(sample, Sample { count: 3, sum: 4.0, min: -1.0, max: 3.0, histogram: None });
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let mut sample = Sample::empty();
        for value in [0.5, 1.0, 1.5, 2.0, 4.0, 4.5] {
            sample.merge(&Sample::of_bounds(value, &BOUNDS));
        }
        assert_eq!(sample.histogram, Some(vec![2, 2, 1, 1]));
    }

    #[test]
    fn a_histogram_is_kept_only_if_all_have_it() {
        let with = Sample::of_bounds(3.0, &BOUNDS);
        assert_eq!(merged(&with, &Sample::empty()), with);
        assert_eq!(merged(&Sample::empty(), &with), with);
        assert_eq!(merged(&with, &Sample::of(1.0)).histogram, None);
        assert_eq!(merged(&with, &Sample::of_bounds(1.0, &BOUNDS[1..])).histogram, None);
    }

    #[test]
    fn sums_stay_numbers() {
        let large = Sample::of(f64::MAX);
        assert_eq!(merged(&large, &large).sum, f64::MAX);
        let most = Sample { count: u64::MAX, ..Sample::of(1.0) };
        assert_eq!(merged(&most, &most).count, u64::MAX);
    }

    /// Whole numbers, whose sums are exact in any order.
    fn sample() -> impl Strategy<Value = Sample> {
        let one = (-100_i32..100, 0_usize..4).prop_map(|(value, bounds)| match bounds {
            0 => Sample::of(f64::from(value)),
            n => Sample::of_bounds(f64::from(value), &BOUNDS[..n]),
        });
        prop_oneof![Just(Sample::empty()), one]
    }

    proptest! {
        #[test]
        fn merging_is_associative_and_commutative(a in sample(), b in sample(), c in sample()) {
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&a, &Sample::empty()), a);
        }
    }
}
