//! Golden rows: a few rows with the answers given when the bundle was made.
//!
//! Whoever loads a bundle asks it these rows first; one that answers differently was damaged, or is evaluated
//! differently than where it was made, and is never routed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::matrix::Matrix;
use crate::train::Predictor;

/// Largest difference of a probability that still counts as the same answer.
pub const GOLDEN_TOLERANCE: f64 = 1e-6;
/// Most rows kept.
pub(super) const ROW_LIMIT: usize = 100;

/// Rows and the answers to them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The rows, at most 100.
    pub rows: Vec<GoldenRow>,
}

/// One row and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// Raw values in schema order; `null` where missing.
    pub values: Vec<Option<f64>>,
    /// Probabilities in class order.
    pub probabilities: Vec<f64>,
    /// Index of the class decided.
    pub class: usize,
}

/// A golden row that is not reproduced.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GoldenError {
    #[error("golden row {row} has {found} values or probabilities where {expected} belong")]
    Width { row: usize, expected: usize, found: usize },
    #[error(
        "golden row {row} is answered differently: a probability differs by {difference:e}, more than {GOLDEN_TOLERANCE:e}"
    )]
    Probability { row: usize, difference: f64 },
    #[error("golden row {row} is decided as class {found} instead of {expected}")]
    Class { row: usize, expected: usize, found: usize },
}

impl Golden {
    /// Asks `predictor` about up to 100 of the rows of `x`, evenly spread, and keeps its answers.
    #[must_use]
    pub fn ask(predictor: &Predictor, x: &Matrix) -> Self {
        Self::of(predictor, x, None, ROW_LIMIT)
    }

    /// Keeps up to `limit` of the rows of `x` with the probabilities (one row for each) that are expected of `predictor`.
    pub(super) fn expect(predictor: &Predictor, x: &Matrix, expected: &Matrix, limit: usize) -> Self {
        Self::of(predictor, x, Some(expected), limit)
    }

    fn of(predictor: &Predictor, x: &Matrix, expected: Option<&Matrix>, limit: usize) -> Self {
        let kept = x.n_rows().min(limit);
        let rows = (0..kept).map(|i| {
            let i = i * x.n_rows() / kept;
            let row = x.row(i);
            let mut probabilities = vec![0.0; predictor.n_classes];
            let mut class = predictor.predict_into(row, &mut probabilities);
            if let Some(expected) = expected {
                probabilities.copy_from_slice(expected.row(i));
                class = predictor.decision.decide(&probabilities);
            }
            let values = row.iter().map(|&value| (!value.is_nan()).then_some(value)).collect();
            GoldenRow { values, probabilities, class }
        });
        Self { rows: rows.collect() }
    }

    /// Asks again and compares.
    ///
    /// # Errors
    /// The first row whose answer differs by more than [`GOLDEN_TOLERANCE`].
    pub fn verify(&self, predictor: &Predictor) -> Result<(), GoldenError> {
        let mut probabilities = vec![0.0; predictor.n_classes];
        for (row, golden) in self.rows.iter().enumerate() {
            for (found, expected) in [
                (golden.values.len(), predictor.n_features),
                (golden.probabilities.len(), predictor.n_classes),
            ] {
                if found != expected {
                    return Err(GoldenError::Width { row, expected, found });
                }
            }
            if predictor.apart().is_some() {
                // Its replicas are asked instead, before anybody else asks them.
                continue;
            }
            let values: Vec<f64> = golden.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
            let class = predictor.predict_into(&values, &mut probabilities);
            for (now, then) in probabilities.iter().zip(&golden.probabilities) {
                let difference = (now - then).abs();
                if difference.is_nan() || difference > GOLDEN_TOLERANCE {
                    return Err(GoldenError::Probability { row, difference });
                }
            }
            // Two classes may be level within the tolerance; then either decision is the same answer.
            if class != golden.class && !is_level(predictor, &probabilities, class, golden.class) {
                return Err(GoldenError::Class { row, expected: golden.class, found: class });
            }
        }
        Ok(())
    }
}

/// Whether the decision rule hardly prefers one class to the other.
fn is_level(predictor: &Predictor, probabilities: &[f64], a: usize, b: usize) -> bool {
    let multipliers = &predictor.decision.multipliers;
    let weighed = |class: usize| Some(probabilities.get(class)? * multipliers.get(class)?);
    match (weighed(a), weighed(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= 4.0 * GOLDEN_TOLERANCE * a.abs().max(b.abs()),
        _ => false,
    }
}
