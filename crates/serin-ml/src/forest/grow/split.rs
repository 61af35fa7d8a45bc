//! The choice of a node's split.
//!
//! The weighted Gini impurity of a node, W - sum(w_c^2) / W for class weights w_c with sum W, falls by
//! sum(l_c^2) / L + sum(r_c^2) / R - sum(w_c^2) / W when it is split in a left and a right side: the first two terms
//! are the score of a split here. The best threshold is found over a histogram of bins where the node has many rows,
//! and over its sorted values where it has few: then it lies midway between two values of the node itself.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::columns::{Column, Columns, MISSING, midpoint};
use super::{GrowParameters, Splitter, below};

/// The rows of a node, and the weight of each class among them.
pub(super) struct NodeRows<'a> {
    pub(super) rows: &'a [u32],
    pub(super) classes: &'a [u32],
    pub(super) weights: &'a [f64],
    pub(super) totals: &'a [f64],
}

/// A chosen split: smaller values go left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub(super) feature: usize,
    pub(super) threshold: f32,
    pub(super) missing_left: bool,
    /// By how much the weighted impurity falls.
    pub(super) decrease: f64,
}

/// What a search needs again and again: generator, order of features and room to count.
pub(super) struct Search<'a> {
    columns: &'a Columns,
    n_classes: usize,
    splitter: Splitter,
    max_features: usize,
    min_rows: usize,
    rng: ChaCha8Rng,
    features: Vec<u32>,
    scan: Scan,
    /// Bins x classes, the missing values in the row of their code.
    histogram: Vec<f64>,
    bin_rows: Vec<usize>,
    /// Values as ordered bits, and the position in the node.
    keys: Vec<u64>,
    values: Vec<f32>,
    missing: Vec<f64>,
}

/// What looking at one feature brought.
enum Outcome {
    /// All values are equal: it does not count as having been tried.
    Constant,
    /// The best allowed split, if any.
    Tried(Option<Candidate>),
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    score: f64,
    threshold: f32,
    missing_left: bool,
    rows_left: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        columns: &'a Columns,
        n_classes: usize,
        parameters: &GrowParameters,
        rng: ChaCha8Rng,
    ) -> Self {
        Self {
            columns,
            n_classes,
            splitter: parameters.splitter,
            max_features: parameters.max_features.count(columns.len()),
            min_rows: parameters.min_samples_leaf,
            rng,
            features: (0..columns.len() as u32).collect(),
            scan: Scan::default(),
            histogram: vec![0.0; (usize::from(MISSING) + 1) * n_classes],
            bin_rows: vec![0; usize::from(MISSING) + 1],
            keys: Vec::new(),
            values: Vec::new(),
            missing: vec![0.0; n_classes],
        }
    }

    /// The best split over a random draw of features, or `None` when the node must be a leaf.
    ///
    /// Like scikit-learn's, the draw goes on beyond `max_features` until one feature was not constant in the node.
    pub(super) fn best(&mut self, node: &NodeRows<'_>) -> Option<Split> {
        let parent: f64 =
            node.totals.iter().map(|total| total * total).sum::<f64>() / node.totals.iter().sum::<f64>();
        let mut best: Option<(usize, Candidate)> = None;
        let mut tried = false;
        for drawn in 0..self.features.len() {
            if drawn >= self.max_features && tried {
                break;
            }
            let other = drawn + below(&mut self.rng, self.features.len() - drawn);
            self.features.swap(drawn, other);
            let feature = self.features[drawn] as usize;
            let column = self.columns.column(feature);
            let outcome = match self.splitter {
                Splitter::Best => self.best_threshold(column, node),
                Splitter::Random => self.random_threshold(column, node),
            };
            let Outcome::Tried(candidate) = outcome else { continue };
            tried = true;
            if let Some(candidate) = candidate
                && best.is_none_or(|(_, best)| candidate.score > best.score)
            {
                best = Some((feature, candidate));
            }
        }
        let (feature, candidate) = best?;
        let Candidate { score, threshold, missing_left, .. } = candidate;
        Some(Split { feature, threshold, missing_left, decrease: (score - parent).max(0.0) })
    }

    fn best_threshold(&mut self, column: &Column, node: &NodeRows<'_>) -> Outcome {
        let rows = node.rows.len();
        // Operations of a histogram: clearing and scanning all cells. Of sorting: about rows * log2(rows).
        if column.bins.len() * self.n_classes < rows * rows.ilog2() as usize {
            let outcome = self.best_by_histogram(column, node);
            // Bins hold several values: what is constant by bin may still differ by value.
            if !matches!(outcome, Outcome::Constant) {
                return outcome;
            }
        }
        self.best_by_sorting(column, node)
    }

    fn best_by_histogram(&mut self, column: &Column, node: &NodeRows<'_>) -> Outcome {
        let (classes, bins) = (self.n_classes, column.bins.len());
        let missing_cells = usize::from(MISSING) * classes..(usize::from(MISSING) + 1) * classes;
        self.histogram[..bins * classes].fill(0.0);
        self.histogram[missing_cells.clone()].fill(0.0);
        self.bin_rows[..bins].fill(0);
        self.bin_rows[usize::from(MISSING)] = 0;
        for ((&row, &class), &weight) in node.rows.iter().zip(node.classes).zip(node.weights) {
            let bin = usize::from(column.codes[row as usize]);
            self.histogram[bin * classes + class as usize] += weight;
            self.bin_rows[bin] += 1;
        }
        let rows_missing = self.bin_rows[usize::from(MISSING)];
        let occupied = self.bin_rows[..bins].iter().filter(|rows| **rows > 0).count();
        if occupied == 0 || (occupied == 1 && rows_missing == 0) {
            return Outcome::Constant;
        }
        self.missing.copy_from_slice(&self.histogram[missing_cells]);

        let mut best = Best::new(node.rows.len(), self.min_rows);
        for missing_left in sides(rows_missing) {
            self.scan.start(node.totals, if missing_left { Some(&self.missing) } else { None });
            let mut rows_left = if missing_left { rows_missing } else { 0 };
            let mut below: Option<f32> = None;
            for (bin, &(low, high)) in column.bins.iter().enumerate() {
                if self.bin_rows[bin] == 0 {
                    continue;
                }
                if let Some(below) = below
                    && best.allows(rows_left)
                {
                    best.offer(self.scan.score(), rows_left, missing_left, || midpoint(below, low));
                }
                self.scan.move_all_left(&self.histogram[bin * classes..(bin + 1) * classes]);
                rows_left += self.bin_rows[bin];
                below = Some(high);
            }
            if !missing_left && rows_missing > 0 && best.allows(rows_left) {
                best.offer_present_against_missing(self.scan.score(), rows_left, below);
            }
        }
        Outcome::Tried(best.finish(rows_missing))
    }

    fn best_by_sorting(&mut self, column: &Column, node: &NodeRows<'_>) -> Outcome {
        let rows_missing = self.sort(column, node);
        let (Some(&first), Some(&last)) = (self.keys.first(), self.keys.last()) else {
            return Outcome::Constant;
        };
        if first >> 32 == last >> 32 && rows_missing == 0 {
            return Outcome::Constant;
        }
        let mut best = Best::new(node.rows.len(), self.min_rows);
        for missing_left in sides(rows_missing) {
            self.scan.start(node.totals, if missing_left { Some(&self.missing) } else { None });
            let mut rows_left = if missing_left { rows_missing } else { 0 };
            let mut below = first >> 32;
            for &key in &self.keys {
                let value = key >> 32;
                if value != below {
                    if best.allows(rows_left) {
                        let (low, high) = (below as u32, value as u32);
                        best.offer(self.scan.score(), rows_left, missing_left, || {
                            midpoint(from_ordered_bits(low), from_ordered_bits(high))
                        });
                    }
                    below = value;
                }
                let position = (key & u64::from(u32::MAX)) as usize;
                self.scan.move_left(node.classes[position], node.weights[position]);
                rows_left += 1;
            }
            if !missing_left && rows_missing > 0 && best.allows(rows_left) {
                best.offer_present_against_missing(
                    self.scan.score(),
                    rows_left,
                    Some(from_ordered_bits((last >> 32) as u32)),
                );
            }
        }
        Outcome::Tried(best.finish(rows_missing))
    }

    /// Fills `keys` with the present values in order and `missing` with the class weights of the others; answers how
    /// many rows these are.
    fn sort(&mut self, column: &Column, node: &NodeRows<'_>) -> usize {
        self.keys.clear();
        self.missing.fill(0.0);
        for (position, &row) in node.rows.iter().enumerate() {
            let value = column.values[row as usize];
            if value.is_nan() {
                self.missing[node.classes[position] as usize] += node.weights[position];
            } else {
                self.keys.push(u64::from(ordered_bits(value)) << 32 | position as u64);
            }
        }
        self.keys.sort_unstable();
        node.rows.len() - self.keys.len()
    }

    fn random_threshold(&mut self, column: &Column, node: &NodeRows<'_>) -> Outcome {
        self.values.clear();
        self.values.extend(node.rows.iter().map(|row| column.values[*row as usize]));
        // `min` and `max` pass over NaN.
        let (low, high) =
            self.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            });
        let rows_missing =
            if column.has_missing { self.values.iter().filter(|value| value.is_nan()).count() } else { 0 };
        let all_missing = rows_missing == node.rows.len();
        if all_missing || (low == high && (rows_missing == 0 || high == f32::MAX)) {
            return Outcome::Constant;
        }
        let (threshold, missing_left) = if low == high {
            (high.next_up(), false)
        } else {
            let threshold = between(low, high, self.rng.next_u32());
            (threshold, rows_missing > 0 && self.rng.next_u32() & 1 == 0)
        };
        self.scan.start(node.totals, None);
        let left = &mut self.scan.left;
        let mut rows_left = 0;
        for ((&value, &class), &weight) in self.values.iter().zip(node.classes).zip(node.weights) {
            let goes_left = (value < threshold) | (missing_left & value.is_nan());
            left[class as usize] += if goes_left { weight } else { 0.0 };
            rows_left += usize::from(goes_left);
        }
        let mut best = Best::new(node.rows.len(), self.min_rows);
        if best.allows(rows_left) {
            self.scan.sum_up(node.totals);
            best.offer(self.scan.score(), rows_left, missing_left, || threshold);
        }
        Outcome::Tried(best.finish(rows_missing))
    }
}

/// The best split of one feature so far.
struct Best {
    rows: usize,
    min_rows: usize,
    found: Option<Candidate>,
}

impl Best {
    fn new(rows: usize, min_rows: usize) -> Self {
        Self { rows, min_rows, found: None }
    }

    /// Whether both sides keep enough rows with `rows_left` on the left.
    fn allows(&self, rows_left: usize) -> bool {
        rows_left >= self.min_rows && self.rows - rows_left >= self.min_rows
    }

    fn offer(&mut self, score: f64, rows_left: usize, missing_left: bool, threshold: impl FnOnce() -> f32) {
        if self.found.is_none_or(|found| score > found.score) {
            self.found = Some(Candidate { score, threshold: threshold(), missing_left, rows_left });
        }
    }

    /// The split that sends every present value left, up to `high`, and the missing ones right.
    fn offer_present_against_missing(&mut self, score: f64, rows_left: usize, high: Option<f32>) {
        if let Some(high) = high
            && high < f32::MAX
        {
            self.offer(score, rows_left, false, || high.next_up());
        }
    }

    /// Where the node has no missing value, one that comes later goes where more rows went.
    fn finish(self, rows_missing: usize) -> Option<Candidate> {
        self.found.map(|found| Candidate {
            missing_left: if rows_missing == 0 {
                2 * found.rows_left > self.rows
            } else {
                found.missing_left
            },
            ..found
        })
    }
}

/// Class weights on both sides of a threshold that moves up, with the sums and sums of squares of each.
#[derive(Default)]
struct Scan {
    left: Vec<f64>,
    right: Vec<f64>,
    sum_left: f64,
    sum_right: f64,
    squares_left: f64,
    squares_right: f64,
}

impl Scan {
    /// Everything on the right, except what `already_left` holds.
    fn start(&mut self, totals: &[f64], already_left: Option<&[f64]>) {
        self.left.clear();
        self.left.resize(totals.len(), 0.0);
        if let Some(already_left) = already_left {
            self.left.copy_from_slice(already_left);
        }
        self.sum_up(totals);
    }

    /// Sums anew after `left` was written.
    fn sum_up(&mut self, totals: &[f64]) {
        self.right.clear();
        self.right.extend(totals.iter().zip(&self.left).map(|(total, left)| (total - left).max(0.0)));
        self.sum_left = self.left.iter().sum();
        self.sum_right = self.right.iter().sum();
        self.squares_left = self.left.iter().map(|weight| weight * weight).sum();
        self.squares_right = self.right.iter().map(|weight| weight * weight).sum();
    }

    #[inline]
    fn move_left(&mut self, class: u32, weight: f64) {
        let (left, right) = (&mut self.left[class as usize], &mut self.right[class as usize]);
        self.squares_left += weight * (2.0 * *left + weight);
        self.squares_right -= weight * (2.0 * *right - weight);
        *left += weight;
        *right -= weight;
        self.sum_left += weight;
        self.sum_right -= weight;
    }

    fn move_all_left(&mut self, weights: &[f64]) {
        for (class, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                self.move_left(class as u32, weight);
            }
        }
    }

    fn score(&self) -> f64 {
        // Weights are positive, so a side without weight is a side without rows or one lost to rounding.
        let side = |squares: f64, sum: f64| if sum > 0.0 { squares / sum } else { 0.0 };
        side(self.squares_left, self.sum_left) + side(self.squares_right, self.sum_right)
    }
}

/// Where the missing values of a node may go: both ways are tried if there are any.
fn sides(rows_missing: usize) -> impl Iterator<Item = bool> {
    [false, true].into_iter().take(if rows_missing > 0 { 2 } else { 1 })
}

/// Bits of which the order as integers is the order of the values (no NaN, no -0).
fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn from_ordered_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 0 { !bits } else { bits & !(1 << 31) })
}

/// A threshold above `low` and at most `high`, uniform, from 32 random bits.
fn between(low: f32, high: f32, bits: u32) -> f32 {
    let share = (f64::from(bits) + 1.0) / (2.0_f64.powi(32));
    let (start, end) = (f64::from(low), f64::from(high));
    let threshold = (start + share * (end - start)) as f32;
    if threshold > low { threshold.min(high) } else { low.next_up() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ordered_bits_keep_order(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let (a, b) = (a + 0.0, b + 0.0);
            prop_assert_eq!(a < b, ordered_bits(a) < ordered_bits(b));
            prop_assert_eq!(from_ordered_bits(ordered_bits(a)), a);
        }

        #[test]
        fn a_random_threshold_parts_low_from_high(a in any::<f32>(), b in any::<f32>(), bits in any::<u32>()) {
            prop_assume!(a.is_finite() && b.is_finite() && a != b);
            let (low, high) = (a.min(b), a.max(b));
            let threshold = between(low, high, bits);
            prop_assert!(low < threshold && threshold <= high);
        }
    }
}
