//! Rows that occur more than once, within a set and across training and test.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{Finding, Overlap, OverlapPair, Severity, finding};
use crate::dataset::table::{ColumnKind, Dataset};

/// Two values are nearly equal when they differ by at most this share of their column's scale.
const TOLERANCE: f64 = 1e-6;

/// Values are rounded to this share of the scale before they are hashed: so much coarser than the tolerance that nearly
/// equal values seldom fall on two sides of a rounding border.
const GRAIN: f64 = 1e-4;

/// One column in so many may differ between nearly equal rows.
const COLUMNS_PER_DIFFERENCE: usize = 40;

/// Nearly equal rows share at least this many values that are neither missing nor zero and come from columns of
/// fractions: agreement in flags and counts is often chance.
const FEWEST_TELLING_COLUMNS: usize = 5;

/// More training rows than this behind one hash say that it tells nothing.
const LARGEST_BUCKET: usize = 64;

/// Rows hashed at a time by one thread.
const CHUNK_ROWS: usize = 1024;

/// Rows of one set with equal features: with the same class (repeated) or with different classes (contradicting).
pub(super) fn check_duplicates(data: &Dataset, findings: &mut Vec<Finding>) {
    let hashes = hashes(data, &(0..data.columns.len()).collect::<Vec<_>>(), |_, value| exact_bits(value));
    let mut order: Vec<usize> = (0..data.n_rows).collect();
    order.par_sort_unstable_by_key(|&row| (hashes[row], row));
    let class = |row: usize| data.labels.as_ref().map(|labels| labels.codes[row]);
    let (mut repeated, mut contradicting) = (0_usize, 0_usize);
    for run in order.chunk_by(|&a, &b| hashes[a] == hashes[b]).filter(|run| run.len() > 1) {
        // Different rows almost never share a hash; those that do are kept apart here.
        let mut kinds: Vec<(usize, Vec<Option<u32>>)> = Vec::new();
        for &row in run {
            match kinds.iter_mut().find(|(first, _)| equal_rows(data, *first, data, row)) {
                None => kinds.push((row, vec![class(row)])),
                Some((_, classes)) => {
                    if classes.contains(&class(row)) {
                        repeated += 1;
                    } else {
                        classes.push(class(row));
                        contradicting += 1;
                    }
                }
            }
        }
    }
    let rows = data.n_rows.max(1) as f64;
    if repeated > 0 {
        let text = format!("{repeated} rows repeat an earlier row; folds that share them flatter the score");
        findings.push(finding("duplicate_rows", Severity::Warning, &[], text, Some(repeated as f64 / rows)));
    }
    if contradicting > 0 {
        let text = format!("{contradicting} rows have the features of an earlier row and another class");
        findings.push(finding(
            "conflicting_rows",
            Severity::Warning,
            &[],
            text,
            Some(contradicting as f64 / rows),
        ));
    }
}

/// Test rows with an equal or nearly equal training row. Both sets have the same features.
///
/// Exact repeats are found by a hash of the whole row. For near ones the columns are dealt into bands, more than columns may
/// differ, so at least one band of a nearly equal row has no difference and its hash leads to the row, which is then
/// compared value by value.
pub(super) fn overlap(train: &Dataset, test: &Dataset) -> Overlap {
    let all: Vec<usize> = (0..train.columns.len()).collect();
    let exact_index = index(&hashes(train, &all, |_, value| exact_bits(value)));
    let test_hashes = hashes(test, &all, |_, value| exact_bits(value));
    let mut found: Vec<Option<(usize, bool)>> = (0..test.n_rows)
        .into_par_iter()
        .map(|row| {
            let candidates = exact_index.get(&test_hashes[row])?;
            candidates.iter().find(|&&other| equal_rows(train, other, test, row)).map(|&other| (other, true))
        })
        .collect();

    let near = Near::new(train);
    for band in near.bands() {
        let rounded = |column: usize, value: f64| near.rounded(column, value);
        let band_index = index(&hashes(train, &band, rounded));
        let band_hashes = hashes(test, &band, rounded);
        found.par_iter_mut().enumerate().for_each(|(row, found)| {
            if matches!(found, Some((_, true))) {
                return;
            }
            let candidates = band_index.get(&band_hashes[row]).filter(|rows| rows.len() <= LARGEST_BUCKET);
            for &other in candidates.into_iter().flatten() {
                let is_earlier = found.is_none_or(|(best, _)| other < best);
                if is_earlier && near.are_near(train, other, test, row) {
                    *found = Some((other, false));
                }
            }
        });
    }

    let pairs: Vec<OverlapPair> = found
        .iter()
        .enumerate()
        .filter_map(|(test_row, found)| {
            let (train_row, is_exact) = (*found)?;
            let same_class = class_name(train, train_row)
                .zip(class_name(test, test_row))
                .is_none_or(|(train, test)| train == test);
            Some(OverlapPair { test_row, train_row, is_exact, same_class })
        })
        .collect();
    let exact_rows = pairs.iter().filter(|pair| pair.is_exact).count();
    let share = pairs.len() as f64 / test.n_rows.max(1) as f64;
    Overlap { exact_rows, near_rows: pairs.len() - exact_rows, share, pairs }
}

/// What makes two rows nearly equal.
struct Near {
    /// Typical spread of each column in training.
    scales: Vec<f64>,
    /// Columns of fractions.
    telling: Vec<bool>,
    /// Columns that may differ.
    differences: usize,
}

impl Near {
    fn new(train: &Dataset) -> Self {
        Self {
            scales: train.columns.par_iter().map(|values| scale(values)).collect(),
            telling: train.schema.fields.iter().map(|field| field.kind == ColumnKind::Number).collect(),
            differences: train.columns.len() / COLUMNS_PER_DIFFERENCE,
        }
    }

    /// Twice as many bands as the differences need, dealt in turn, so that a rounding border in one is no loss.
    fn bands(&self) -> Vec<Vec<usize>> {
        let n_columns = self.scales.len();
        if self.telling.iter().filter(|telling| **telling).count() < FEWEST_TELLING_COLUMNS {
            return Vec::new();
        }
        let n_bands = (2 * (self.differences + 1)).min(n_columns);
        (0..n_bands).map(|band| (band..n_columns).step_by(n_bands).collect()).collect()
    }

    fn rounded(&self, column: usize, value: f64) -> u64 {
        exact_bits((value / (self.scales[column] * GRAIN)).round())
    }

    fn are_near(&self, train: &Dataset, train_row: usize, test: &Dataset, test_row: usize) -> bool {
        let (mut differences, mut telling) = (0, 0);
        for (column, (a, b)) in train.columns.iter().zip(&test.columns).enumerate() {
            let (a, b) = (a[train_row], b[test_row]);
            let is_equal = (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * self.scales[column];
            if is_equal {
                telling += usize::from(self.telling[column] && !a.is_nan() && a != 0.0);
            } else {
                differences += 1;
                if differences > self.differences {
                    return false;
                }
            }
        }
        telling >= FEWEST_TELLING_COLUMNS
    }
}

/// The distance between the quartiles, or where that is 0 a wider one; never 0. Large outliers do not move it.
fn scale(values: &[f64]) -> f64 {
    let stride = values.len().div_ceil(10_000).max(1);
    let mut sorted: Vec<f64> =
        values.iter().step_by(stride).copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at =
        |share: f64| sorted.get((share * sorted.len().saturating_sub(1) as f64).round() as usize).copied();
    for (low, high) in [(0.25, 0.75), (0.05, 0.95), (0.0, 1.0)] {
        if let (Some(low), Some(high)) = (at(low), at(high))
            && high > low
            && (high - low).is_finite()
        {
            return high - low;
        }
    }
    sorted.last().map_or(1.0, |value| value.abs()).max(f64::MIN_POSITIVE)
}

/// Bits by which equal values are equal: one NaN, one zero.
fn exact_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// A hash of the given columns of each row.
fn hashes(data: &Dataset, columns: &[usize], bits: impl Fn(usize, f64) -> u64 + Sync) -> Vec<u64> {
    let mut hashes = vec![0_u64; data.n_rows];
    hashes.par_chunks_mut(CHUNK_ROWS).enumerate().for_each(|(chunk, hashes)| {
        for &column in columns {
            let values = &data.columns[column][chunk * CHUNK_ROWS..];
            for (hash, &value) in hashes.iter_mut().zip(values) {
                *hash = mixed(*hash ^ bits(column, value));
            }
        }
    });
    hashes
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the input moves each bit of the output.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Rows by hash, ascending.
fn index(hashes: &[u64]) -> HashMap<u64, Vec<usize>> {
    let mut index: HashMap<u64, Vec<usize>> = HashMap::with_capacity(hashes.len());
    for (row, &hash) in hashes.iter().enumerate() {
        index.entry(hash).or_default().push(row);
    }
    index
}

fn equal_rows(a: &Dataset, row_of_a: usize, b: &Dataset, row_of_b: usize) -> bool {
    a.columns.iter().zip(&b.columns).all(|(a, b)| exact_bits(a[row_of_a]) == exact_bits(b[row_of_b]))
}

fn class_name(data: &Dataset, row: usize) -> Option<&str> {
    let labels = data.labels.as_ref()?;
    labels.classes.get(labels.codes[row] as usize).map(String::as_str)
}
