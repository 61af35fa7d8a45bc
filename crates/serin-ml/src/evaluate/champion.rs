//! Champion against challenger: the difference of a metric on the same rows, and how sure it is.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::matrix::Matrix;
use crate::seed::Seed;

use super::bootstrap::{Strata, interval};
use super::evaluation::Estimate;
use super::metric::Metric;
use super::scored::ScoredRows;

/// What one of the two says about each row.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Decided classes.
    pub decisions: &'a [u32],
    /// One row each, one column a class.
    pub probabilities: &'a Matrix,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparisonOptions {
    /// What decides.
    pub metric: Metric,
    /// By how much the challenger must be better, in units of the metric; negative allows it to be worse.
    pub margin: f64,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Share of the bootstrap distribution that the interval covers.
    pub confidence: f64,
    /// What the resamples are drawn from.
    pub seed: Seed,
}

/// A paired comparison: each bootstrap resample draws the same rows for both (stratified by class), so what makes a
/// row hard for both cancels out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChampionComparison {
    /// What was compared.
    pub metric: Metric,
    /// Rows judged by both.
    pub rows: u64,
    /// The champion's value.
    pub champion: Option<f64>,
    /// The challenger's value.
    pub challenger: Option<f64>,
    /// The improvement, positive when the challenger is better (for a loss: champion - challenger).
    pub improvement: Estimate,
    /// Share of the interval.
    pub confidence: f64,
    /// Bootstrap resamples.
    pub resamples: u64,
    /// Share of resamples in which the challenger is better; equal ones count half.
    pub probability_better: Option<f64>,
    /// The margin asked about.
    pub margin: f64,
    /// Share of resamples in which the improvement is more than `margin`.
    pub probability_beyond_margin: Option<f64>,
    /// Rows that the challenger alone decides right.
    pub gained: u64,
    /// Rows that the champion alone decides right.
    pub lost: u64,
    /// Two-sided p-value of McNemar's exact test that both are equally accurate.
    pub mcnemar_p: f64,
}

impl Default for ComparisonOptions {
    fn default() -> Self {
        Self { metric: Metric::MacroF1, margin: 0.0, resamples: 2_000, confidence: 0.95, seed: Seed(17) }
    }
}

/// Compares two classifiers over the same `n_classes` on the same rows. Deterministic on any number of threads.
///
/// # Panics
/// When lengths differ or a class is not below `n_classes`: mistakes of the calling code.
#[must_use]
pub fn compare(
    truth: &[u32],
    champion: Side<'_>,
    challenger: Side<'_>,
    n_classes: usize,
    options: &ComparisonOptions,
) -> ChampionComparison {
    let metric = options.metric;
    let champion_rows = ScoredRows::new(truth, champion.decisions, champion.probabilities, n_classes);
    let challenger_rows = ScoredRows::new(truth, challenger.decisions, challenger.probabilities, n_classes);
    let whole = |side: &Side<'_>| metric.score(truth, side.decisions, side.probabilities, n_classes);
    let sign = if metric.greater_is_better() { 1.0 } else { -1.0 };
    let (old, new) = (whole(&champion), whole(&challenger));

    let strata = Strata::of(truth, n_classes);
    let resamples = strata.affordable(options.resamples);
    let improvements = strata.resample(resamples, options.seed.child("champion"), |weights| {
        sign * (challenger_rows.score(metric, weights) - champion_rows.score(metric, weights))
    });
    let measurable = !improvements.is_empty() && improvements.iter().all(|value| value.is_finite());
    let share = |weight: &dyn Fn(f64) -> f64| {
        measurable.then(|| improvements.iter().map(|&value| weight(value)).sum::<f64>() / resamples as f64)
    };
    let probability_better = share(&|value| match value {
        v if v > 0.0 => 1.0,
        v if v < 0.0 => 0.0,
        _ => 0.5,
    });
    let probability_beyond_margin = share(&|value| f64::from(u8::from(value > options.margin)));

    let right = |side: &Side<'_>, row: usize| side.decisions[row] == truth[row];
    let only = |one: &Side<'_>, other: &Side<'_>| {
        (0..truth.len()).filter(|&row| right(one, row) && !right(other, row)).count() as u64
    };
    let (gained, lost) = (only(&challenger, &champion), only(&champion, &challenger));
    let improvement = sign * (new - old);
    ChampionComparison {
        metric,
        rows: truth.len() as u64,
        champion: old.is_finite().then_some(old),
        challenger: new.is_finite().then_some(new),
        improvement: Estimate {
            value: improvement.is_finite().then_some(improvement),
            interval: interval(improvements, options.confidence),
        },
        confidence: options.confidence,
        resamples: resamples as u64,
        probability_better,
        margin: options.margin,
        probability_beyond_margin,
        gained,
        lost,
        mcnemar_p: mcnemar_exact(gained, lost),
    }
}

/// Two-sided exact p-value of McNemar's test: of `gained + lost` rows on which exactly one is right, a fair coin
/// would split at least as unevenly. 1 without such rows.
#[must_use]
pub fn mcnemar_exact(gained: u64, lost: u64) -> f64 {
    match Binomial::new(0.5, gained + lost) {
        Ok(coin) if gained + lost > 0 => (2.0 * coin.cdf(gained.min(lost))).min(1.0),
        _ => 1.0,
    }
}
