//! What a live window looked like: an accumulator that merges by addition.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::{Bins, ColumnBins};
use super::predictions::Predictions;
use crate::profile::DistinctSketch;

/// Rows counted in the bins of a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Window {
    /// Rows seen.
    pub rows: u64,
    /// One entry a feature, in the order of the bins.
    pub columns: Vec<ColumnWindow>,
    /// How many different rows there were, about.
    pub distinct_rows: DistinctSketch,
    /// What the model said of them.
    pub predictions: Predictions,
}

/// What was seen of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnWindow {
    /// Missing values (NaN).
    pub missing: u64,
    /// Infinite values.
    pub non_finite: u64,
    /// Values without a fraction.
    pub integers: u64,
    /// Values below 0.
    pub negatives: u64,
    /// Sum of the differences to the center of the bins.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Smallest and largest finite value.
    pub range: Option<(f64, f64)>,
    /// How far all values below the first edge are from it, together; and those above the last edge.
    pub outside: (f64, f64),
    /// Finite values in each bin.
    pub counts: Vec<u64>,
}

/// Why two windows, or a window and bins, do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// They count other things.
    #[error("windows of different bins do not merge")]
    Shape,
    /// Numbers that cannot have been counted.
    #[error("the stored window contradicts itself: {what}")]
    Contradiction { what: &'static str },
}

/// Differences beyond this count as this in sums, so that none can overflow.
const LARGEST_DIFFERENCE: f64 = 1e100;

/// More than were ever counted: a window that says so was not counted, and could overflow sums.
const MOST_ROWS: u64 = 1 << 48;

/// Every version that can be read. Append only.
#[derive(Serialize, Deserialize)]
enum Stored {
    V1 { rows: u64, columns: Vec<ColumnWindow>, distinct_rows: DistinctSketch, predictions: Predictions },
}

impl Window {
    /// No row seen.
    #[must_use]
    pub fn empty(bins: &Bins) -> Self {
        Self {
            rows: 0,
            columns: bins.columns.iter().map(ColumnWindow::empty).collect(),
            distinct_rows: DistinctSketch::empty(),
            predictions: Predictions::empty(bins.classes.len()),
        }
    }

    /// Takes in one row in the order of the bins; values that are too few count as missing. Prediction and
    /// probabilities are taken in where there are any.
    pub fn add(&mut self, bins: &Bins, features: &[f64], answer: Option<(usize, &[f64])>) {
        self.rows += 1;
        let mut mixed = 0_u64;
        for (j, (column, bins)) in self.columns.iter_mut().zip(&bins.columns).enumerate() {
            let value = features.get(j).copied().unwrap_or(f64::NAN);
            column.add(bins, value);
            mix(&mut mixed, value);
        }
        self.add_distinct(mixed);
        if let Some((class, probabilities)) = answer {
            self.predictions.add(class, probabilities);
        }
    }

    /// Takes in rows by columns, one entry a feature of the bins; a feature that is not there is missing in every row.
    /// Threads share features, so their number does not matter.
    pub fn add_columns(&mut self, bins: &Bins, columns: &[Option<&[f64]>], rows: usize) {
        self.rows += rows as u64;
        let pairs = self.columns.par_iter_mut().zip(&bins.columns).enumerate();
        pairs.for_each(|(j, (window, bins))| match columns.get(j).copied().flatten() {
            Some(values) => values.iter().take(rows).for_each(|&value| window.add(bins, value)),
            None => window.missing += rows as u64,
        });
        let mut hashes = vec![0_u64; rows];
        for j in 0..bins.columns.len() {
            match columns.get(j).copied().flatten() {
                Some(values) => hashes.iter_mut().zip(values).for_each(|(hash, &value)| mix(hash, value)),
                None => hashes.iter_mut().for_each(|hash| mix(hash, f64::NAN)),
            }
        }
        hashes.into_iter().for_each(|hash| self.add_distinct(hash));
    }

    /// The sketch takes numbers: 52 bits of the row's hash are one.
    fn add_distinct(&mut self, mixed: u64) {
        self.distinct_rows.add((mixed >> 12) as f64);
    }

    /// Takes in the rows that `other` has seen.
    ///
    /// # Errors
    /// When they were counted in other bins; nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), WindowError> {
        let same = self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(|(a, b)| a.counts.len() == b.counts.len())
            && self.predictions.has_shape_of(&other.predictions);
        if !same {
            return Err(WindowError::Shape);
        }
        self.rows += other.rows;
        for (here, there) in self.columns.iter_mut().zip(&other.columns) {
            here.merge(there);
        }
        self.distinct_rows.merge(&other.distinct_rows);
        self.predictions.merge(&other.predictions);
        Ok(())
    }

    /// Whether it was counted in bins of this shape.
    #[must_use]
    pub fn fits(&self, bins: &Bins) -> bool {
        self.columns.len() == bins.columns.len()
            && self.columns.iter().zip(&bins.columns).all(|(column, bins)| column.counts.len() == bins.len())
            && self.predictions.classes() == bins.classes.len()
    }
}

/// Takes a value into the hash of a row.
#[inline]
fn mix(hash: &mut u64, value: f64) {
    // 0 and -0 are one value, and so are all kinds of missing.
    let bits = if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() };
    *hash = (hash.rotate_left(5) ^ bits).wrapping_mul(0x517c_c1b7_2722_0a95);
}

impl ColumnWindow {
    /// No value seen.
    #[must_use]
    pub fn empty(bins: &ColumnBins) -> Self {
        Self {
            missing: 0,
            non_finite: 0,
            integers: 0,
            negatives: 0,
            sum: 0.0,
            squares: 0.0,
            range: None,
            outside: (0.0, 0.0),
            counts: vec![0; bins.len()],
        }
    }

    /// Takes in one value; NaN is a missing one.
    #[inline]
    pub fn add(&mut self, bins: &ColumnBins, value: f64) {
        if !value.is_finite() {
            self.missing += u64::from(value.is_nan());
            self.non_finite += u64::from(value.is_infinite());
            return;
        }
        let difference = (value - bins.center).clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE);
        self.sum += difference;
        self.squares += difference * difference;
        self.integers += u64::from(value.trunc() == value);
        self.negatives += u64::from(value < 0.0);
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        let place = bins.place(value);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        let edges = bins.edges.as_slice();
        if place == 0 {
            self.outside.0 += edges.first().map_or(0.0, |edge| (edge - value).min(LARGEST_DIFFERENCE));
        } else if place == edges.len() {
            self.outside.1 += edges.last().map_or(0.0, |edge| (value - edge).min(LARGEST_DIFFERENCE));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        self.non_finite += other.non_finite;
        self.integers += other.integers;
        self.negatives += other.negatives;
        self.sum += other.sum;
        self.squares += other.squares;
        self.range = match (self.range, other.range) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (range, None) | (None, range) => range,
        };
        self.outside.0 += other.outside.0;
        self.outside.1 += other.outside.1;
        for (here, there) in self.counts.iter_mut().zip(&other.counts) {
            *here += there;
        }
    }

    /// Finite values.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their mean; `None` without any.
    #[must_use]
    pub fn mean(&self, bins: &ColumnBins) -> Option<f64> {
        let n = self.present();
        (n > 0).then(|| bins.center + self.sum / n as f64)
    }

    /// Their standard deviation (divided by n); `None` without any.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        let n = self.present() as f64;
        (n > 0.0).then(|| (self.squares / n - (self.sum / n).powi(2)).max(0.0).sqrt())
    }
}

impl From<Window> for Stored {
    fn from(window: Window) -> Self {
        let Window { rows, columns, distinct_rows, predictions } = window;
        Self::V1 { rows, columns, distinct_rows, predictions }
    }
}

impl TryFrom<Stored> for Window {
    type Error = WindowError;

    fn try_from(stored: Stored) -> Result<Self, WindowError> {
        let Stored::V1 { rows, columns, distinct_rows, predictions } = stored;
        if rows > MOST_ROWS {
            return Err(WindowError::Contradiction { what: "more rows than can be counted" });
        }
        for column in &columns {
            let parts = column.counts.iter().chain([&column.missing, &column.non_finite]);
            let total = parts.copied().try_fold(0_u64, u64::checked_add);
            if total != Some(rows) {
                return Err(WindowError::Contradiction { what: "values do not add up to rows" });
            }
            if column.integers.max(column.negatives) > column.present() {
                return Err(WindowError::Contradiction { what: "more values of a kind than values" });
            }
            let sums = [column.sum, column.squares, column.outside.0, column.outside.1];
            let sums = sums.iter().all(|sum| sum.is_finite());
            let is_ordered =
                column.range.is_none_or(|(low, high)| low.is_finite() && high.is_finite() && low <= high);
            if !sums || !is_ordered || column.squares < 0.0 {
                return Err(WindowError::Contradiction { what: "a sum or range is no number of this kind" });
            }
        }
        if !predictions.is_of_rows(rows) {
            return Err(WindowError::Contradiction { what: "predictions are not of the rows" });
        }
        Ok(Self { rows, columns, distinct_rows, predictions })
    }
}
