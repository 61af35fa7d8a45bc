//! Resampling rows with replacement, class by class.
//!
//! The bootstrap is stratified by the true class (Davison and Hinkley 1997, section 3.2): each resample draws as
//! many rows of a class as there are, so a rare class never vanishes from a resample and macro means keep their
//! meaning. It answers "how would this number vary on other rows with these class counts"; a class with one row
//! shows no variation, so intervals of tiny classes are too narrow. Intervals are percentile intervals (Efron and
//! Tibshirani 1993, chapter 13).

use rand::RngExt;
use rayon::prelude::*;

use crate::seed::Seed;

use super::evaluation::Interval;

/// Rows x classes x resamples that one bootstrap may walk, about two seconds of work.
const MAXIMUM_WORK: usize = 400_000_000;

/// However many rows there are, at least so many resamples (of those asked for) are drawn.
const MINIMUM_RESAMPLES: usize = 100;

/// The rows of each class.
#[derive(Debug, Clone)]
pub(crate) struct Strata {
    n_rows: usize,
    rows: Vec<Vec<u32>>,
}

impl Strata {
    /// The strata of `truth`, whose classes are below `n_classes`.
    pub(crate) fn of(truth: &[u32], n_classes: usize) -> Self {
        let mut rows = vec![Vec::new(); n_classes];
        for (row, &class) in truth.iter().enumerate() {
            rows[class as usize].push(row as u32);
        }
        Self { n_rows: truth.len(), rows }
    }

    /// How many of the `requested` resamples are drawn: fewer where there are very many rows, whose intervals need
    /// fewer to be as good as anyone can see.
    pub(super) fn affordable(&self, requested: usize) -> usize {
        let work = (self.n_rows * self.rows.len()).max(1);
        requested.min((MAXIMUM_WORK / work).max(MINIMUM_RESAMPLES))
    }

    /// `measure` of each resample, in order. It gets how often each row was drawn.
    pub(crate) fn resample<T: Send>(
        &self,
        resamples: usize,
        seed: Seed,
        measure: impl Fn(&[u32]) -> T + Sync,
    ) -> Vec<T> {
        let draw = |weights: &mut Vec<u32>, number: usize| {
            self.draw_into(seed.nth(number), weights);
            measure(weights)
        };
        (0..resamples).into_par_iter().map_init(|| vec![0; self.n_rows], draw).collect()
    }

    /// How often each row occurs in the resample of `seed`.
    pub(crate) fn draw_into(&self, seed: Seed, weights: &mut [u32]) {
        let mut rng = seed.rng();
        weights.fill(0);
        for rows in self.rows.iter().filter(|rows| !rows.is_empty()) {
            for _ in 0..rows.len() {
                weights[rows[rng.random_range(0..rows.len())] as usize] += 1;
            }
        }
    }
}

/// The percentile interval of `confidence` and the standard deviation of resampled values; `None` when there are
/// fewer than two or one is undefined, because leaving undefined ones out would flatter.
pub(super) fn interval(mut values: Vec<f64>, confidence: f64) -> Option<Interval> {
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Some(Interval {
        low: quantile(&values, tail),
        high: quantile(&values, 1.0 - tail),
        standard_error: standard_deviation(&values),
    })
}

/// The quantile of sorted values by linear interpolation (Hyndman and Fan 1996, type 7).
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// Standard deviation with n - 1 in the denominator, of at least two values.
pub(crate) fn standard_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resample_keeps_the_class_counts() {
        let truth = [0, 0, 0, 2, 2];
        let strata = Strata::of(&truth, 3);
        let mut weights = vec![9; 5];
        for number in 0..50 {
            strata.draw_into(Seed(3).nth(number), &mut weights);
            assert_eq!(weights[..3].iter().sum::<u32>(), 3);
            assert_eq!(weights[3..].iter().sum::<u32>(), 2);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let strata = Strata::of(&[0, 1, 1, 0, 1], 2);
        let draws = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| strata.resample(40, Seed(1), <[u32]>::to_vec))
        };
        assert_eq!(draws(1), draws(3));
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[5.0], 0.3), 5.0);
        assert_eq!(interval(vec![1.0, f64::NAN], 0.9), None);
    }
}
