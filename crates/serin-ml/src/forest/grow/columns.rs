//! The training values by column, in single precision, with bins for the search of the best split.

use rayon::prelude::*;

use crate::matrix::Matrix;

/// The code of a missing value.
pub(super) const MISSING: u8 = u8::MAX;

/// Codes 0 to 254 are bins.
const MAX_BINS: usize = MISSING as usize;

/// All columns.
pub(super) struct Columns {
    columns: Vec<Column>,
}

/// One feature.
pub(super) struct Column {
    /// Values as the decision rule sees them: rounded to single precision, NaN where missing. What lies beyond the
    /// range of singles is brought to its end, where it falls on the same side of every finite threshold.
    pub(super) values: Vec<f32>,
    /// Whether any row lacks it.
    pub(super) has_missing: bool,
    /// For each row its bin, or [`MISSING`]; empty when bins are not wanted.
    pub(super) codes: Vec<u8>,
    /// Smallest and largest training value of each bin, ascending. Up to 255 distinct values have a bin each; more
    /// are gathered in bins of about equal numbers of rows.
    pub(super) bins: Vec<(f32, f32)>,
}

impl Columns {
    pub(super) fn new(x: &Matrix, with_bins: bool) -> Self {
        let column = |j| {
            let values: Vec<f32> = x.rows().map(|row| single(row[j])).collect();
            let has_missing = values.iter().any(|value| value.is_nan());
            let (bins, codes) = if with_bins { bins_and_codes(&values) } else { (Vec::new(), Vec::new()) };
            Column { values, has_missing, codes, bins }
        };
        Self { columns: (0..x.n_columns()).into_par_iter().map(column).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn column(&self, feature: usize) -> &Column {
        &self.columns[feature]
    }
}

/// The middle of `low` < `high` as a threshold: above `low`, at most `high`.
pub(super) fn midpoint(low: f32, high: f32) -> f32 {
    let middle = f64::midpoint(f64::from(low), f64::from(high)) as f32;
    if middle > low { middle } else { high }
}

fn single(value: f64) -> f32 {
    // Adding zero makes -0 an ordinary 0, so that equal values have equal bits.
    (value as f32).clamp(f32::MIN, f32::MAX) + 0.0
}

fn bins_and_codes(values: &[f32]) -> (Vec<(f32, f32)>, Vec<u8>) {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let bins = bins(&sorted);
    let code = |value: &f32| {
        if value.is_nan() { MISSING } else { bins.partition_point(|(_, high)| high < value) as u8 }
    };
    let codes = values.iter().map(code).collect();
    (bins, codes)
}

fn bins(sorted: &[f32]) -> Vec<(f32, f32)> {
    let mut distinct: Vec<(f32, usize)> = Vec::new();
    for &value in sorted {
        match distinct.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => distinct.push((value, 1)),
        }
    }
    if distinct.len() <= MAX_BINS {
        return distinct.into_iter().map(|(value, _)| (value, value)).collect();
    }
    let mut bins = Vec::with_capacity(MAX_BINS);
    let mut rows_left = sorted.len();
    let mut rows_in_bin = 0;
    let mut low = None;
    for (value, count) in distinct {
        let first = *low.get_or_insert(value);
        rows_in_bin += count;
        // A frequent value takes its bin alone; the rest share what is left evenly.
        if bins.len() + 1 < MAX_BINS && rows_in_bin * (MAX_BINS - bins.len()) >= rows_left {
            bins.push((first, value));
            rows_left -= rows_in_bin;
            rows_in_bin = 0;
            low = None;
        }
    }
    if let (Some(first), Some(&last)) = (low, sorted.last()) {
        bins.push((first, last));
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each_and_missing_ones_none() {
        let (bins, codes) = bins_and_codes(&[3.0, f32::NAN, 1.0, 3.0, 2.0]);
        assert_eq!(bins, [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
        assert_eq!(codes, [2, MISSING, 0, 2, 1]);
    }

    #[test]
    fn many_values_share_bins_evenly_and_every_value_lies_in_its_bin() {
        let values: Vec<f32> =
            (0..10_000).map(|i| ((i * 7919) % 10_000) as f32).chain([5.0; 3_000]).collect();
        let (bins, codes) = bins_and_codes(&values);
        assert!((250..=MAX_BINS).contains(&bins.len()), "{} bins", bins.len());
        let mut counts = vec![0; bins.len()];
        for (value, code) in values.iter().zip(&codes) {
            let (low, high) = bins[*code as usize];
            assert!(low <= *value && *value <= high);
            counts[*code as usize] += 1;
        }
        let frequent = codes[values.iter().position(|value| *value == 5.0).unwrap()];
        for (bin, count) in counts.iter().enumerate() {
            assert!(bin == frequent as usize || (20..=60).contains(count), "bin {bin} has {count} rows");
        }
    }

    #[test]
    fn a_midpoint_parts_neighbours() {
        let low = 1.0_f32;
        assert_eq!(midpoint(low, low.next_up()), low.next_up());
        assert_eq!(midpoint(f32::MIN, f32::MAX), 0.0);
        assert_eq!(midpoint(0.0, 16.0), 8.0);
    }
}
