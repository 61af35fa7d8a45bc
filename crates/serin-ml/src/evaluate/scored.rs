//! Rows made ready to be scored many times with different weights: what a bootstrap resamples.

use crate::matrix::Matrix;

use super::confusion::Tallies;
use super::metric::{Metric, mean_defined};
use super::ranking::{Areas, Ranking};

/// Truth, decisions and everything of the probabilities that can be computed once.
#[derive(Debug, Clone)]
pub(super) struct ScoredRows<'a> {
    truth: &'a [u32],
    decisions: &'a [u32],
    n_classes: usize,
    /// What the probabilities say; `None` when one of them is not finite.
    probable: Option<Probable>,
}

#[derive(Debug, Clone)]
struct Probable {
    log_losses: Vec<f64>,
    briers: Vec<f64>,
    rankings: Vec<Ranking>,
}

impl<'a> ScoredRows<'a> {
    /// Rows of equal number; classes below `n_classes`, one column of probabilities a class.
    pub(super) fn new(
        truth: &'a [u32],
        decisions: &'a [u32],
        probabilities: &Matrix,
        n_classes: usize,
    ) -> Self {
        assert_eq!(truth.len(), decisions.len(), "one decision for each row");
        assert_eq!(truth.len(), probabilities.n_rows(), "one row of probabilities for each row");
        assert_eq!(probabilities.n_columns(), n_classes, "one probability for each class");
        assert!(
            truth.iter().chain(decisions).all(|&class| (class as usize) < n_classes),
            "classes are below the number of classes"
        );
        let rows = || truth.iter().zip(probabilities.rows());
        let probable = probabilities_are_finite(probabilities).then(|| Probable {
            log_losses: rows().map(|(&actual, row)| log_loss(row, actual)).collect(),
            briers: rows().map(|(&actual, row)| brier(row, actual)).collect(),
            rankings: (0..n_classes).map(|class| Ranking::of_column(probabilities, class)).collect(),
        });
        Self { truth, decisions, n_classes, probable }
    }

    /// The ranking of the rows by the probability of `class`.
    pub(super) fn ranking(&self, class: usize) -> Option<&Ranking> {
        self.probable.as_ref().map(|probable| &probable.rankings[class])
    }

    /// The diagonal and margins of the weighted confusion matrix.
    pub(super) fn tallies(&self, weights: &[u32]) -> Tallies {
        let mut tallies = Tallies::empty(self.n_classes);
        for ((&actual, &decided), &weight) in self.truth.iter().zip(self.decisions).zip(weights) {
            tallies.add(actual as usize, decided as usize, f64::from(weight));
        }
        tallies
    }

    /// Areas under the curves of each class; `None` where there are no finite probabilities.
    pub(super) fn areas(&self, weights: &[u32]) -> Vec<Areas> {
        (0..self.n_classes)
            .map(|class| match self.ranking(class) {
                Some(ranking) => {
                    ranking.areas(|row| self.truth[row] as usize == class, |row| f64::from(weights[row]))
                }
                None => Areas { roc: None, precision: None },
            })
            .collect()
    }

    /// One metric of the weighted rows; NaN where undefined, and for [`Metric::CalibrationError`], which is no mean
    /// over rows and is not resampled.
    pub(super) fn score(&self, metric: Metric, weights: &[u32]) -> f64 {
        match metric {
            Metric::RocAuc => mean_defined(self.areas(weights).iter().map(|areas| areas.roc)),
            Metric::PrAuc => mean_defined(self.areas(weights).iter().map(|areas| areas.precision)),
            Metric::LogLoss => self.mean(weights, |probable| &probable.log_losses),
            Metric::Brier => self.mean(weights, |probable| &probable.briers),
            _ => metric.from_tallies(&self.tallies(weights)),
        }
    }

    /// Every metric of [`Metric::ALL`], as [`Self::score`] but from one pass.
    pub(super) fn scores(&self, tallies: &Tallies, areas: &[Areas], weights: &[u32]) -> Vec<f64> {
        let score = |metric| match metric {
            Metric::RocAuc => mean_defined(areas.iter().map(|areas| areas.roc)),
            Metric::PrAuc => mean_defined(areas.iter().map(|areas| areas.precision)),
            Metric::LogLoss | Metric::Brier => self.score(metric, weights),
            _ => metric.from_tallies(tallies),
        };
        Metric::ALL.into_iter().map(score).collect()
    }

    fn mean(&self, weights: &[u32], losses: impl Fn(&Probable) -> &[f64]) -> f64 {
        let Some(probable) = &self.probable else { return f64::NAN };
        let (sum, total) = losses(probable)
            .iter()
            .zip(weights)
            .fold((0.0, 0.0), |(sum, total), (loss, &w)| (sum + f64::from(w) * loss, total + f64::from(w)));
        sum / total
    }
}

/// True when no probability is NaN or infinite.
pub(super) fn probabilities_are_finite(probabilities: &Matrix) -> bool {
    probabilities.values().iter().all(|p| p.is_finite())
}

/// -ln of the probability of the true class, clipped to [2^-52, 1 - 2^-52] as scikit-learn does.
pub(crate) fn log_loss(probabilities: &[f64], truth: u32) -> f64 {
    -probabilities[truth as usize].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

/// Squared distance between probabilities and the indicator of the true class, summed over classes.
pub(crate) fn brier(probabilities: &[f64], truth: u32) -> f64 {
    probabilities
        .iter()
        .enumerate()
        .map(|(class, p)| (p - f64::from(u8::from(class == truth as usize))).powi(2))
        .sum()
}
