//! Counting decisions against the truth: an accumulator, and what derives from it.

use serde::{Deserialize, Serialize};

/// Counts of (truth, decision) pairs; row = actual class, column = decided class.
///
/// Empty, add, merge, finish: merging is associative and commutative, and the empty matrix is its identity. So the
/// rows may be counted in parts, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    n_classes: usize,
    counts: Vec<u64>,
}

/// What every label metric needs of a confusion matrix: its diagonal and its margins, one number a class.
///
/// Real numbers, so that weighted rows (a bootstrap resample, a subsample standing for more) count as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Tallies {
    /// Rows of the class decided as the class (true positives).
    pub hits: Vec<f64>,
    /// Rows whose truth is the class (support).
    pub truth: Vec<f64>,
    /// Rows decided as the class.
    pub decided: Vec<f64>,
}

impl ConfusionMatrix {
    /// No rows yet.
    #[must_use]
    pub fn empty(n_classes: usize) -> Self {
        Self { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// The matrix of `truth` against `decisions`, equally long, all below `n_classes`.
    #[must_use]
    pub fn of(truth: &[u32], decisions: &[u32], n_classes: usize) -> Self {
        assert_eq!(truth.len(), decisions.len(), "one decision for each row");
        let mut matrix = Self::empty(n_classes);
        for (&actual, &decided) in truth.iter().zip(decisions) {
            matrix.add(actual, decided);
        }
        matrix
    }

    /// The matrix with these counts, `counts[actual][decided]`; `None` when it is not square.
    #[must_use]
    pub fn from_counts(counts: &[Vec<u64>]) -> Option<Self> {
        let n_classes = counts.len();
        counts.iter().all(|row| row.len() == n_classes).then(|| Self { n_classes, counts: counts.concat() })
    }

    /// Counts one row.
    ///
    /// # Panics
    /// When a class is not below the number of classes: a mistake of the calling code.
    pub fn add(&mut self, actual: u32, decided: u32) {
        let (actual, decided) = (actual as usize, decided as usize);
        assert!(decided < self.n_classes, "a decision is below the number of classes");
        self.counts[actual * self.n_classes + decided] += 1;
    }

    /// Counts the rows of another matrix over the same classes.
    ///
    /// # Panics
    /// When the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.n_classes, other.n_classes, "matrices over the same classes");
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The diagonal and margins, from which [`super::Metric::from_tallies`] reads every label metric.
    #[must_use]
    pub fn finish(&self) -> Tallies {
        let mut tallies = Tallies::empty(self.n_classes);
        for actual in 0..self.n_classes {
            for decided in 0..self.n_classes {
                tallies.add(actual, decided, self.count(actual, decided) as f64);
            }
        }
        tallies
    }

    /// Number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Number of rows counted.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Rows of class `actual` decided as class `decided`.
    #[must_use]
    pub fn count(&self, actual: usize, decided: usize) -> u64 {
        self.counts[actual * self.n_classes + decided]
    }

    /// The counts as `[actual][decided]`.
    #[must_use]
    pub fn to_counts(&self) -> Vec<Vec<u64>> {
        (0..self.n_classes)
            .map(|actual| self.counts[actual * self.n_classes..(actual + 1) * self.n_classes].to_vec())
            .collect()
    }
}

impl Tallies {
    /// No rows yet.
    #[must_use]
    pub fn empty(n_classes: usize) -> Self {
        Self { hits: vec![0.0; n_classes], truth: vec![0.0; n_classes], decided: vec![0.0; n_classes] }
    }

    /// Counts `weight` rows of class `actual` decided as `decided`.
    pub fn add(&mut self, actual: usize, decided: usize, weight: f64) {
        self.truth[actual] += weight;
        self.decided[decided] += weight;
        if actual == decided {
            self.hits[actual] += weight;
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.truth.len()
    }

    /// Total weight of the rows.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.truth.iter().sum()
    }

    /// Share of the rows decided as `class` that are of it; `None` when none was.
    #[must_use]
    pub fn precision(&self, class: usize) -> Option<f64> {
        (self.decided[class] > 0.0).then(|| self.hits[class] / self.decided[class])
    }

    /// Share of the rows of `class` decided as it; `None` when there are none.
    #[must_use]
    pub fn recall(&self, class: usize) -> Option<f64> {
        (self.truth[class] > 0.0).then(|| self.hits[class] / self.truth[class])
    }

    /// Harmonic mean of precision and recall, 2 hits / (truth + decided); `None` when the class occurs in neither.
    #[must_use]
    pub fn f1(&self, class: usize) -> Option<f64> {
        self.f_beta(class, 1.0)
    }

    /// F-beta of `class`: (1 + b^2) hits / (b^2 truth + decided); `None` when the class occurs in neither.
    #[must_use]
    pub fn f_beta(&self, class: usize, beta: f64) -> Option<f64> {
        let squared = beta * beta;
        let denominator = squared * self.truth[class] + self.decided[class];
        (denominator > 0.0).then(|| (1.0 + squared) * self.hits[class] / denominator)
    }

    /// The plain mean over the classes that occur in the truth or among the decisions; a class where `measure` is
    /// undefined counts 0. NaN without rows.
    pub(crate) fn macro_mean(&self, measure: impl Fn(&Self, usize) -> Option<f64>) -> f64 {
        let occurring =
            (0..self.n_classes()).filter(|&class| self.truth[class] > 0.0 || self.decided[class] > 0.0);
        let (sum, n) = occurring
            .fold((0.0, 0.0), |(sum, n), class| (sum + measure(self, class).unwrap_or(0.0), n + 1.0));
        sum / n
    }

    /// The mean over classes weighted by support; a class where `measure` is undefined counts 0. NaN without rows.
    pub(crate) fn support_mean(&self, measure: impl Fn(&Self, usize) -> Option<f64>) -> f64 {
        let sum: f64 =
            (0..self.n_classes()).map(|class| self.truth[class] * measure(self, class).unwrap_or(0.0)).sum();
        sum / self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_matrix_is_the_identity_of_merging() {
        let matrix = ConfusionMatrix::of(&[0, 1, 2, 2], &[0, 2, 2, 1], 3);
        let mut merged = ConfusionMatrix::empty(3);
        merged.merge(&matrix);
        assert_eq!(merged, matrix);
        assert_eq!(matrix.to_counts(), [[1, 0, 0], [0, 0, 1], [0, 1, 1]]);
        assert_eq!(ConfusionMatrix::from_counts(&matrix.to_counts()), Some(matrix));
    }

    #[test]
    fn undefined_ratios_are_none() {
        let tallies = ConfusionMatrix::of(&[0, 0], &[1, 1], 3).finish();
        assert_eq!(tallies.precision(0), None);
        assert_eq!(tallies.recall(1), None);
        assert_eq!(tallies.recall(0), Some(0.0));
        assert_eq!(tallies.f1(0), Some(0.0));
        assert_eq!(tallies.f1(2), None);
    }
}
