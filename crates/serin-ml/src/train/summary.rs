//! Weighted means and variances of the columns of a training set.

use super::arithmetic::limited;
use super::family::TrainingSet;

/// Column by column, over the rows of positive weight where the value is not missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns {
    /// Weighted means; 0 where every value is missing.
    pub(super) means: Vec<f64>,
    /// Weighted mean squared deviations from the mean (divided by the sum of weights, not by one less); exactly 0
    /// where all values are equal.
    pub(super) variances: Vec<f64>,
}

impl Columns {
    /// Means and variances over all rows.
    pub(super) fn of(set: &TrainingSet<'_>) -> Self {
        Self::of_rows(set, &weighted_rows(set), None)
    }

    /// Means and variances over the rows named; a column where they are all missing takes those of `otherwise`.
    pub(super) fn of_rows(set: &TrainingSet<'_>, rows: &[usize], otherwise: Option<&Self>) -> Self {
        let columns = set.x.n_columns();
        let mut means = vec![0.0; columns];
        let mut variances = vec![0.0; columns];
        let mut totals = vec![0.0; columns];
        let mut lowest = vec![f64::INFINITY; columns];
        let mut highest = vec![f64::NEG_INFINITY; columns];
        let each = |visit: &mut dyn FnMut(usize, f64, f64)| {
            for &i in rows {
                let weight = set.weight(i);
                for (j, value) in set.x.row(i).iter().enumerate() {
                    if !value.is_nan() {
                        visit(j, weight, limited(*value));
                    }
                }
            }
        };
        each(&mut |j, weight, value| {
            totals[j] += weight;
            means[j] += weight * value;
            lowest[j] = value.min(lowest[j]);
            highest[j] = value.max(highest[j]);
        });
        for j in 0..columns {
            // Rounding must not push the mean of equal values off them.
            means[j] =
                if totals[j] > 0.0 { (means[j] / totals[j]).clamp(lowest[j], highest[j]) } else { 0.0 };
        }
        each(&mut |j, weight, value| variances[j] += weight * (value - means[j]).powi(2));
        for j in 0..columns {
            if totals[j] > 0.0 {
                variances[j] /= totals[j];
            } else if let Some(otherwise) = otherwise {
                (means[j], variances[j]) = (otherwise.means[j], otherwise.variances[j]);
            }
        }
        Self { means, variances }
    }
}

/// The rows that count: those of positive weight, in order.
pub(super) fn weighted_rows(set: &TrainingSet<'_>) -> Vec<usize> {
    (0..set.x.n_rows()).filter(|&i| set.weight(i) > 0.0).collect()
}
