//! From probabilities to a class, in a way that suits the metric.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::evaluate::bootstrap::{Strata, standard_deviation};
use crate::evaluate::{Metric, Tallies};
use crate::matrix::Matrix;
use crate::seed::Seed;

use super::{FOLDS, MINIMUM_ROWS, Sample, select};

/// Of more rows, so many are drawn for fitting, rare classes whole.
const DECISION_ROWS_LIMIT: usize = 8_000;

/// Resamples whose multipliers are averaged.
const BAGS: usize = 15;

/// Rounds over the classes; a later round hardly moves anything.
const ROUNDS: usize = 3;

/// Multipliers are searched in [1/20, 20].
const LARGEST_LOGARITHM: f64 = 2.995_732_273_553_991;

/// How much of the averaged logarithms is taken, decided by cross-fitting; the rest is plain argmax.
const SHARES: [f64; 3] = [0.5, 0.75, 1.0];

/// Resamples behind the standard error of the gain.
const NOISE_RESAMPLES: usize = 200;

/// Decides the class with the largest probability times multiplier. With multipliers of 1 that is plain argmax, the
/// best rule for accuracy; macro-averaged metrics gain from favouring rare classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRule {
    /// One a class, finite and above 0; only their ratios matter.
    pub multipliers: Vec<f64>,
}

impl DecisionRule {
    /// The class with the largest probability.
    #[must_use]
    pub fn argmax(n_classes: usize) -> Self {
        Self { multipliers: vec![1.0; n_classes] }
    }

    /// The rule for `metric`, from out-of-fold `probabilities` (one row for each of `truth`).
    ///
    /// Multipliers are searched class by class over all break points, the values at which a row changes sides, on
    /// bootstrap resamples, and their logarithms averaged: one resample's best multipliers sit on single rows,
    /// their average does not. Cross-fitting over the rows decides how far to go from argmax, and argmax stays
    /// unless the gain is more than its standard error (paired bootstrap). Accuracy and its equals, and metrics of
    /// probabilities, always get argmax.
    #[must_use]
    pub fn fit(probabilities: &Matrix, truth: &[u32], metric: Metric, seed: Seed) -> Self {
        assert_eq!(probabilities.n_rows(), truth.len(), "one row of probabilities for each row");
        let n_classes = probabilities.n_columns();
        let argmax = Self::argmax(n_classes);
        if !profits(metric) || n_classes < 2 {
            return argmax;
        }
        let seed = seed.child("decision");
        let sample = Sample::draw(truth, n_classes, DECISION_ROWS_LIMIT, seed.child("sample"));
        if sample.rows.len() < MINIMUM_ROWS {
            return argmax;
        }
        let search = Search {
            logarithms: probabilities
                .select_rows(&sample.rows)
                .values()
                .iter()
                .map(|&p| logarithm(p))
                .collect(),
            truth: select(truth, &sample.rows),
            n_classes,
            metric,
        };
        let averages = search.bag(&sample, seed.child("bags"));
        let whole = &averages[FOLDS];

        let decide = |share: f64| -> Vec<u32> {
            let decide = |(row, &fold): (usize, &usize)| search.decide(row, &averages[fold], share);
            sample.folds.iter().enumerate().map(decide).collect()
        };
        let weights = vec![1; sample.rows.len()];
        let plain = decide(0.0);
        let score = |decisions: &[u32], times: &[u32]| search.score(decisions, &sample.weights, times);
        let baseline = score(&plain, &weights);
        let mut best: Option<(f64, f64, Vec<u32>)> = None;
        for share in SHARES {
            let decisions = decide(share);
            let gain = score(&decisions, &weights) - baseline;
            if best.as_ref().is_none_or(|(_, most, _)| gain > *most) {
                best = Some((share, gain, decisions));
            }
        }
        let Some((share, gain, decisions)) = best else { return argmax };
        let strata = Strata::of(&search.truth, n_classes);
        let gains = strata.resample(NOISE_RESAMPLES, seed.child("noise"), |times| {
            score(&decisions, times) - score(&plain, times)
        });
        if gain > standard_deviation(&gains) {
            Self { multipliers: whole.iter().map(|logarithm| (share * logarithm).exp()).collect() }
        } else {
            argmax
        }
    }

    /// The class decided for one row; of equally good ones the first.
    #[must_use]
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        let (mut best, mut most) = (0, f64::NEG_INFINITY);
        for (class, (p, multiplier)) in probabilities.iter().zip(&self.multipliers).enumerate() {
            if p * multiplier > most {
                (best, most) = (class, p * multiplier);
            }
        }
        best
    }

    /// The class decided for each row.
    #[must_use]
    pub fn decide_all(&self, probabilities: &Matrix) -> Vec<u32> {
        probabilities.rows().map(|row| self.decide(row) as u32).collect()
    }

    /// Checks what was read from a file, for `n_classes` classes.
    ///
    /// # Errors
    /// When there is not one multiplier a class, finite and above 0.
    pub fn validate(&self, n_classes: usize) -> Result<(), InvalidDecisionRule> {
        if self.multipliers.len() != n_classes {
            return Err(InvalidDecisionRule::Count { multipliers: self.multipliers.len(), n_classes });
        }
        match self.multipliers.iter().enumerate().find(|(_, m)| !(m.is_finite() && **m > 0.0)) {
            Some((class, &multiplier)) => Err(InvalidDecisionRule::Multiplier { class, multiplier }),
            None => Ok(()),
        }
    }
}

/// A rule that decides nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidDecisionRule {
    /// Not one multiplier a class.
    #[error("{multipliers} multipliers for {n_classes} classes")]
    Count {
        /// Multipliers there are.
        multipliers: usize,
        /// Classes there are.
        n_classes: usize,
    },
    /// Not a finite number above 0.
    #[error("the multiplier of class {class} is {multiplier}, but must be finite and above 0")]
    Multiplier {
        /// Position of the class.
        class: usize,
        /// Its multiplier.
        multiplier: f64,
    },
}

/// True when another rule than argmax can be better for the metric.
fn profits(metric: Metric) -> bool {
    let argmax_is_best = matches!(metric, Metric::Accuracy | Metric::MicroF1 | Metric::WeightedRecall);
    !metric.needs_probabilities() && !argmax_is_best
}

/// The rows on which multipliers are searched.
struct Search {
    /// Logarithms of the probabilities, row by row.
    logarithms: Vec<f64>,
    truth: Vec<u32>,
    n_classes: usize,
    metric: Metric,
}

/// A value of one class's multiplier at which a row goes over to the class.
struct BreakPoint {
    at: f64,
    actual: usize,
    from: usize,
    weight: f64,
}

impl Search {
    /// Averaged logarithms of multipliers, centred: for each part those fitted on the other parts, then those fitted
    /// on all.
    fn bag(&self, sample: &Sample, seed: Seed) -> Vec<Vec<f64>> {
        let strata: Vec<(Vec<u32>, Strata)> = (0..=FOLDS)
            .map(|fold| {
                let rows: Vec<u32> =
                    (0..sample.rows.len() as u32).filter(|&row| sample.folds[row as usize] != fold).collect();
                let truth: Vec<u32> = rows.iter().map(|&row| self.truth[row as usize]).collect();
                let strata = Strata::of(&truth, self.n_classes);
                (rows, strata)
            })
            .collect();
        let fitted: Vec<Vec<f64>> = (0..(FOLDS + 1) * BAGS)
            .into_par_iter()
            .map(|number| {
                let (rows, strata) = &strata[number / BAGS];
                let mut times = vec![0; rows.len()];
                strata.draw_into(seed.nth(number), &mut times);
                let drawn = rows.iter().zip(&times).filter(|(_, times)| **times > 0);
                let weighted: Vec<(usize, f64)> = drawn
                    .map(|(&row, &times)| (row as usize, sample.weights[row as usize] * f64::from(times)))
                    .collect();
                self.fit(&weighted)
            })
            .collect();
        fitted
            .chunks_exact(BAGS)
            .map(|bags| {
                (0..self.n_classes)
                    .map(|class| bags.iter().map(|bag| bag[class]).sum::<f64>() / BAGS as f64)
                    .collect()
            })
            .collect()
    }

    /// Centred logarithms of the multipliers that suit these weighted rows.
    fn fit(&self, rows: &[(usize, f64)]) -> Vec<f64> {
        let mut support = vec![0.0; self.n_classes];
        for &(row, weight) in rows {
            support[self.truth[row] as usize] += weight;
        }
        // Rare classes first: they have the most to gain.
        let mut order: Vec<usize> = (0..self.n_classes).filter(|&class| support[class] > 0.0).collect();
        order.sort_by(|&a, &b| support[a].total_cmp(&support[b]));

        let mut logarithms = vec![0.0; self.n_classes];
        for _ in 0..ROUNDS {
            let before = logarithms.clone();
            for &class in &order {
                logarithms[class] = self.best_for(class, rows, &logarithms);
            }
            if logarithms == before {
                break;
            }
        }
        let centre = logarithms.iter().sum::<f64>() / self.n_classes as f64;
        logarithms.iter().map(|logarithm| logarithm - centre).collect()
    }

    /// The best logarithm for the multiplier of `class` while the others stay: the middle of the best interval
    /// between break points; of equally good intervals the one nearest to no change.
    fn best_for(&self, class: usize, rows: &[(usize, f64)], logarithms: &[f64]) -> f64 {
        let mut tallies = Tallies::empty(self.n_classes);
        let mut breaks = Vec::new();
        for &(row, weight) in rows {
            let stated = &self.logarithms[row * self.n_classes..(row + 1) * self.n_classes];
            let (mut from, mut rival) = (0, f64::NEG_INFINITY);
            for (other, (stated, logarithm)) in stated.iter().zip(logarithms).enumerate() {
                if other != class && stated + logarithm > rival {
                    (from, rival) = (other, stated + logarithm);
                }
            }
            let at = rival - stated[class];
            let actual = self.truth[row] as usize;
            tallies.add(actual, if at < -LARGEST_LOGARITHM { class } else { from }, weight);
            if at.abs() <= LARGEST_LOGARITHM {
                breaks.push(BreakPoint { at, actual, from, weight });
            }
        }
        breaks.sort_unstable_by(|a, b| {
            a.at.total_cmp(&b.at).then(a.from.cmp(&b.from)).then(a.actual.cmp(&b.actual))
        });

        let objective = Objective::new(self.metric, &tallies);
        let mut score = objective.score(&tallies);
        let (mut best, mut best_score) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut low = -LARGEST_LOGARITHM;
        for at in 0..=breaks.len() {
            let high = breaks.get(at).map_or(LARGEST_LOGARITHM, |next| next.at);
            if high > low {
                let value = if low < 0.0 && high > 0.0 { 0.0 } else { (low + high) / 2.0 };
                let better = score > best_score + 1e-12;
                if better || (score > best_score - 1e-12 && value.abs() < best.abs()) {
                    (best, best_score) = (value, score.max(best_score));
                }
            }
            let Some(next) = breaks.get(at) else { break };
            score = objective.after_move(score, &mut tallies, next, class);
            low = next.at;
        }
        best
    }

    /// The decision for `row` with multipliers e^(share * logarithm).
    fn decide(&self, row: usize, logarithms: &[f64], share: f64) -> u32 {
        let stated = &self.logarithms[row * self.n_classes..(row + 1) * self.n_classes];
        let (mut best, mut most) = (0, f64::NEG_INFINITY);
        for (class, (stated, logarithm)) in stated.iter().zip(logarithms).enumerate() {
            if stated + share * logarithm > most {
                (best, most) = (class as u32, stated + share * logarithm);
            }
        }
        best
    }

    /// The metric of decisions for all rows, each standing for `weights` x `times` rows.
    fn score(&self, decisions: &[u32], weights: &[f64], times: &[u32]) -> f64 {
        let mut tallies = Tallies::empty(self.n_classes);
        for (row, (&actual, &decided)) in self.truth.iter().zip(decisions).enumerate() {
            tallies.add(actual as usize, decided as usize, weights[row] * f64::from(times[row]));
        }
        self.metric.from_tallies(&tallies)
    }
}

/// A metric, cheap to keep up to date while rows change sides: most are sums of one term a class, of which a move
/// changes two. The macro mean runs over the classes of the truth, so that it cannot jump.
struct Objective {
    metric: Metric,
    n_present: f64,
    total: f64,
}

impl Objective {
    fn new(metric: Metric, tallies: &Tallies) -> Self {
        let n_present = tallies.truth.iter().filter(|&&truth| truth > 0.0).count() as f64;
        Self { metric, n_present, total: tallies.total() }
    }

    fn score(&self, tallies: &Tallies) -> f64 {
        (0..tallies.n_classes())
            .map(|class| self.term(tallies, class))
            .sum::<Option<f64>>()
            .unwrap_or_else(|| self.metric.from_tallies(tallies))
    }

    /// Moves the row of `next` to `class` and answers the score then.
    fn after_move(&self, score: f64, tallies: &mut Tallies, next: &BreakPoint, class: usize) -> f64 {
        let terms = |tallies: &Tallies| Some(self.term(tallies, next.from)? + self.term(tallies, class)?);
        let before = terms(tallies);
        tallies.decided[next.from] -= next.weight;
        tallies.decided[class] += next.weight;
        if next.actual == next.from {
            tallies.hits[next.from] -= next.weight;
        } else if next.actual == class {
            tallies.hits[class] += next.weight;
        }
        if tallies.decided[next.from] < 1e-9 * self.total {
            // What is left of an emptied class is rounding, whose ratios would be anything.
            tallies.decided[next.from] = 0.0;
            tallies.hits[next.from] = 0.0;
        }
        match (before, terms(tallies)) {
            (Some(before), Some(after)) => score + after - before,
            _ => self.metric.from_tallies(tallies),
        }
    }

    /// What `class` adds to the metric; `None` when the metric is no such sum.
    fn term(&self, tallies: &Tallies, class: usize) -> Option<f64> {
        let present = if tallies.truth[class] > 0.0 { 1.0 / self.n_present } else { 0.0 };
        let support = tallies.truth[class] / self.total;
        Some(match self.metric {
            Metric::MacroF1 => present * tallies.f1(class).unwrap_or(0.0),
            Metric::WeightedF1 => support * tallies.f1(class).unwrap_or(0.0),
            Metric::MacroPrecision => present * tallies.precision(class).unwrap_or(0.0),
            Metric::WeightedPrecision => support * tallies.precision(class).unwrap_or(0.0),
            Metric::BalancedAccuracy | Metric::MacroRecall => present * tallies.recall(class).unwrap_or(0.0),
            _ => return None,
        })
    }
}

/// Natural logarithm of a probability; 0 gives the least finite one, which no multiplier can make up for.
fn logarithm(p: f64) -> f64 {
    p.max(f64::MIN_POSITIVE).ln()
}
