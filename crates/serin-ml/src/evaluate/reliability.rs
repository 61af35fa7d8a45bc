//! Does a stated probability come true that often? Reliability diagram and expected calibration error.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// Bins when nothing else is asked for.
pub(super) const DEFAULT_BINS: usize = 10;

/// The reliability diagram of the most probable class.
///
/// Rows are binned by confidence, the largest probability; bin `b` of `B` holds confidences in (b/B, (b+1)/B], the
/// first also 0. The error is the mean over rows of |share right - mean confidence| of their bin (Naeini et al.
/// 2015; Guo et al. 2017). "Right" means that the most probable class is the truth, whatever a decision rule chose;
/// of equally probable classes the first counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Expected calibration error, 0 to 1; `None` without rows or with a probability that is not finite.
    pub error: Option<f64>,
    /// All bins in ascending order of confidence, empty ones included.
    pub bins: Vec<ReliabilityBin>,
}

/// One bar of the diagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Confidences above this.
    pub low: f64,
    /// Confidences up to and including this.
    pub high: f64,
    /// Rows in the bin.
    pub rows: u64,
    /// Mean confidence; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Share of rows whose most probable class is the truth; `None` in an empty bin.
    pub accuracy: Option<f64>,
}

/// The reliability diagram of `probabilities`, one row for each of `truth`, in `n_bins` (at least 1) bins.
#[must_use]
pub fn reliability(truth: &[u32], probabilities: &Matrix, n_bins: usize) -> Reliability {
    let n_bins = n_bins.max(1);
    let mut sums = vec![(0_u64, 0.0, 0_u64); n_bins];
    let mut measurable = !truth.is_empty();
    for (&actual, row) in truth.iter().zip(probabilities.rows()) {
        let Some((class, confidence)) = most_probable(row) else {
            measurable = false;
            continue;
        };
        let bin = ((confidence * n_bins as f64).ceil() as usize).clamp(1, n_bins) - 1;
        sums[bin].0 += 1;
        sums[bin].1 += confidence;
        sums[bin].2 += u64::from(class == actual as usize);
    }
    let error: f64 = sums
        .iter()
        .map(|(_, confidence, right)| (confidence - *right as f64).abs() / truth.len().max(1) as f64)
        .sum();
    let bins = sums.iter().enumerate().map(|(bin, &(rows, confidence, right))| ReliabilityBin {
        low: bin as f64 / n_bins as f64,
        high: (bin + 1) as f64 / n_bins as f64,
        rows,
        confidence: (rows > 0).then(|| confidence / rows as f64),
        accuracy: (rows > 0).then(|| right as f64 / rows as f64),
    });
    Reliability { error: measurable.then_some(error), bins: bins.collect() }
}

/// The first class with the largest probability, and that; `None` when a probability is not finite.
fn most_probable(row: &[f64]) -> Option<(usize, f64)> {
    if row.iter().any(|p| !p.is_finite()) {
        return None;
    }
    let first = (0, *row.first()?);
    Some(row.iter().enumerate().fold(first, |best, (class, &p)| if p > best.1 { (class, p) } else { best }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed() {
        let probabilities = Matrix::new(3, 2, vec![0.8, 0.2, 0.75, 0.25, 0.4, 0.6]);
        let diagram = reliability(&[0, 1, 1], &probabilities, 2);
        // All three confidences lie in (0.5, 1]: mean 2.15 / 3, two of three right.
        assert!((diagram.error.unwrap() - (2.15 - 2.0) / 3.0).abs() < 1e-12);
        assert_eq!(diagram.bins[0].rows, 0);
        assert_eq!(diagram.bins[0].confidence, None);
        assert_eq!(diagram.bins[1].rows, 3);
    }

    #[test]
    fn an_unmeasurable_row_is_no_good_news() {
        let probabilities = Matrix::new(2, 2, vec![1.0, 0.0, f64::NAN, 0.0]);
        assert_eq!(reliability(&[0, 0], &probabilities, 10).error, None);
        assert_eq!(reliability(&[], &Matrix::zeros(0, 2), 10).error, None);
    }
}
