//! Pools of candidates: how their probabilities are joined, and which of them are worth joining.
//!
//! Probabilities are joined by a logarithmic opinion pool (Genest and Zidek, "Combining Probability Distributions",
//! Statistical Science 1, 1986): the weighted geometric mean, normalised. Against the arithmetic mean it lets a member
//! that is sure carry more, and it did better on every table this was tried on.

use std::collections::BTreeMap;

use crate::matrix::Matrix;

/// Added to every probability before its logarithm is taken, so that a member's zero is a strong no but not a veto.
const FLOOR: f64 = 1e-3;
/// Most additions of a greedy selection, so the smallest possible weight is one part in this many.
const ADDITION_LIMIT: usize = 16;
/// Most rows that a greedy selection looks at.
const GREEDY_ROW_LIMIT: usize = 5_000;
/// Kinds whose best lies further behind than this share of the lift over the dummy are left out of a blend.
const BLEND_TOLERANCE: f64 = 0.12;

/// `(candidate, weight)`, ascending by candidate; weights sum to 1.
pub type Weights = Vec<(usize, f64)>;

/// How rows count in a log loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowShares {
    /// Every row alike: for accuracy, weighted metrics and log loss itself.
    Equal,
    /// Every class alike: for macro-averaged metrics.
    ByClass,
}

/// Joins probabilities of several members for one row; call [`Self::add`] for each, then [`Self::finish`].
#[derive(Debug)]
pub struct Pool<'a> {
    sums: &'a mut [f64],
}

impl<'a> Pool<'a> {
    /// An empty pool that writes into `sums`, one value a class.
    pub fn new(sums: &'a mut [f64]) -> Self {
        sums.fill(0.0);
        Self { sums }
    }

    /// Adds a member's probabilities with its weight.
    pub fn add(&mut self, probabilities: &[f64], weight: f64) {
        for (sum, probability) in self.sums.iter_mut().zip(probabilities) {
            *sum += weight * pool_logarithm(*probability);
        }
    }

    /// Turns the sums into probabilities that add up to 1.
    pub fn finish(self) {
        let largest = self.sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        for sum in self.sums.iter_mut() {
            *sum = (*sum - largest).exp();
            total += *sum;
        }
        self.sums.iter_mut().for_each(|sum| *sum /= total);
    }
}

/// What a pool adds of a probability.
pub(super) fn pool_logarithm(probability: f64) -> f64 {
    (probability + FLOOR).ln()
}

/// The pooled probabilities of candidates, each rows x classes for the same rows. One candidate alone is left as it is.
#[must_use]
pub fn pool(candidates: &[&Matrix], weights: &[(usize, f64)]) -> Matrix {
    if let [(only, _)] = weights {
        return candidates[*only].clone();
    }
    let shape = candidates.first().map_or((0, 0), |first| (first.n_rows(), first.n_columns()));
    let mut pooled = Matrix::zeros(shape.0, shape.1);
    for i in 0..shape.0 {
        let mut row = Pool::new(pooled.row_mut(i));
        for &(candidate, weight) in weights {
            row.add(candidates[candidate].row(i), weight);
        }
        row.finish();
    }
    pooled
}

/// Greedy ensemble selection (Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models",
/// ICML 2004): from the candidate `start`, add with replacement whichever lowers the log loss of the pool most.
///
/// A log loss decides, not the metric itself: a macro-F1 over a few dozen rows of a small class jumps with single
/// rows, and a greedy search on it learns those rows by heart.
#[must_use]
pub fn greedy(candidates: &[&Matrix], truth: &[u32], start: usize, shares: RowShares) -> Weights {
    let step = truth.len().div_ceil(GREEDY_ROW_LIMIT).max(1);
    let rows: Vec<usize> = (0..truth.len()).step_by(step).collect();
    let truth: Vec<u32> = rows.iter().map(|&row| truth[row]).collect();
    let logs: Vec<Matrix> = candidates
        .iter()
        .map(|matrix| {
            let picked = matrix.select_rows(&rows);
            let values = picked.values().iter().map(|probability| (probability + FLOOR).ln()).collect();
            Matrix::new(picked.n_rows(), picked.n_columns(), values)
        })
        .collect();
    let Some(first) = logs.get(start) else { return Vec::new() };
    let row_weights = row_weights(&truth, first.n_columns(), shares);
    let mut sums = first.clone();
    let mut times = vec![0_usize; candidates.len()];
    times[start] = 1;
    let mut current = pooled_loss(&sums, None, 1.0, &truth, &row_weights);
    for added in 1..ADDITION_LIMIT {
        let parts = added as f64 + 1.0;
        let best = logs
            .iter()
            .enumerate()
            .map(|(candidate, log)| (pooled_loss(&sums, Some(log), parts, &truth, &row_weights), candidate))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some((next, candidate)) = best.filter(|(next, _)| *next < current - 1e-9) else { break };
        for i in 0..sums.n_rows() {
            for (sum, log) in sums.row_mut(i).iter_mut().zip(logs[candidate].row(i)) {
                *sum += log;
            }
        }
        times[candidate] += 1;
        current = next;
    }
    let total: usize = times.iter().sum();
    let counted = times.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.map(|(candidate, &count)| (candidate, count as f64 / total as f64)).collect()
}

/// The best candidate of each kind, all with the same weight; kinds that trail far behind are left out.
///
/// `merits` are "greater is better". Nothing is fitted here but the choice within a kind, so there is little to
/// over-fit: on small tables this beats weights learnt from few rows.
#[must_use]
pub fn blend(kinds: &[&str], merits: &[f64]) -> Weights {
    let mut best: BTreeMap<&str, usize> = BTreeMap::new();
    for (candidate, kind) in kinds.iter().enumerate().filter(|(candidate, _)| merits[*candidate].is_finite())
    {
        let leader = best.entry(kind).or_insert(candidate);
        if merits[candidate] > merits[*leader] {
            *leader = candidate;
        }
    }
    let finite = || merits.iter().copied().filter(|merit| merit.is_finite());
    let highest = finite().fold(f64::NEG_INFINITY, f64::max);
    let lowest = finite().fold(f64::INFINITY, f64::min);
    let needed = highest - BLEND_TOLERANCE * (highest - lowest);
    let mut chosen: Vec<usize> =
        best.into_values().filter(|&candidate| merits[candidate] >= needed).collect();
    chosen.sort_unstable();
    let weight = 1.0 / chosen.len().max(1) as f64;
    chosen.into_iter().map(|candidate| (candidate, weight)).collect()
}

/// Log loss of the pool with these sums of logarithms (and `more`), of `parts` members in all.
fn pooled_loss(sums: &Matrix, more: Option<&Matrix>, parts: f64, truth: &[u32], row_weights: &[f64]) -> f64 {
    let mut loss = 0.0;
    let mut logits = vec![0.0; sums.n_columns()];
    for (i, (&class, weight)) in truth.iter().zip(row_weights).enumerate() {
        for (k, logit) in logits.iter_mut().enumerate() {
            *logit = (sums.at(i, k) + more.map_or(0.0, |more| more.at(i, k))) / parts;
        }
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        loss += weight * (largest + total.ln() - logits[class as usize]);
    }
    loss
}

/// Weights of rows that sum to 1.
fn row_weights(truth: &[u32], n_classes: usize, shares: RowShares) -> Vec<f64> {
    let mut counts = vec![0.0; n_classes];
    for &class in truth {
        counts[class as usize] += 1.0;
    }
    let present = counts.iter().filter(|count| **count > 0.0).count().max(1) as f64;
    let rows = truth.len().max(1) as f64;
    let weight = |&class: &u32| match shares {
        RowShares::Equal => 1.0 / rows,
        RowShares::ByClass => 1.0 / (present * counts[class as usize]),
    };
    truth.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_that_err_in_different_places_are_joined() {
        let truth = [0, 0, 1, 1];
        let left = Matrix::new(4, 2, vec![0.9, 0.1, 0.4, 0.6, 0.1, 0.9, 0.4, 0.6]);
        let right = Matrix::new(4, 2, vec![0.4, 0.6, 0.9, 0.1, 0.4, 0.6, 0.1, 0.9]);
        let weights = greedy(&[&left, &right], &truth, 0, RowShares::Equal);
        assert_eq!(weights, [(0, 0.5), (1, 0.5)]);
        let pooled = pool(&[&left, &right], &weights);
        // Every row is decided right by the pool, while each member errs on one.
        assert!(pooled.at(1, 0) > 0.5 && pooled.at(0, 0) > 0.5 && pooled.at(2, 1) > 0.5);
        for row in pooled.rows() {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_useless_candidate_is_left_out() {
        let truth = [0, 1];
        let good = Matrix::new(2, 2, vec![0.99, 0.01, 0.01, 0.99]);
        let useless = Matrix::new(2, 2, vec![0.5; 4]);
        assert_eq!(greedy(&[&useless, &good], &truth, 1, RowShares::ByClass), [(1, 1.0)]);
    }

    #[test]
    fn the_pool_of_one_is_that_one() {
        let only = Matrix::new(1, 3, vec![0.0, 0.25, 0.75]);
        assert_eq!(pool(&[&only], &[(0, 1.0)]), only);
    }

    #[test]
    fn a_blend_takes_the_best_of_each_kind_that_keeps_up() {
        let kinds = ["trees", "boosting", "trees", "line", "dummy"];
        let merits = [0.80, 0.82, 0.79, 0.60, 0.20];
        assert_eq!(blend(&kinds, &merits), [(0, 0.5), (1, 0.5)]);
    }

    #[test]
    fn by_class_every_class_counts_alike() {
        assert_eq!(row_weights(&[0, 0, 0, 1], 2, RowShares::Equal), [0.25; 4]);
        let by_class = row_weights(&[0, 0, 0, 1], 2, RowShares::ByClass);
        assert_eq!(by_class[3], 0.5);
        assert!((by_class[0] - 1.0 / 6.0).abs() < 1e-15);
    }
}
