//! From judged candidates to one predictor: which members, what calibration, which decision rule.
//!
//! Everything here is fitted on out-of-fold probabilities, and judged by fitting it anew on part of those rows and
//! asking about the rest, so that the score reported for the assembled predictor is honest too.

use super::calibration::{self, Calibration, DecisionRule};
use super::cross_validation::most_probable;
use super::ensemble::{self, RowShares, Weights};
use crate::dataset::splits::{Fold, stratified_folds};
use crate::evaluate::Metric;
use crate::matrix::Matrix;
use crate::seed::Seed;

/// Parts that the out-of-fold rows are cut into for judging an assembly.
const PARTS: usize = 5;
/// Times the rows are cut anew; scores are averaged over them.
const REPEATS: usize = 3;
/// Most candidates an ensemble chooses from: the best by score.
const CANDIDATE_LIMIT: usize = 40;

/// What may be assembled.
#[derive(Debug, Clone, Copy)]
pub struct AssemblySettings {
    /// What decides.
    pub metric: Metric,
    /// Whether an ensemble is offered.
    pub ensemble: bool,
    /// Whether probabilities are calibrated where it helps.
    pub calibrate: bool,
}

/// The candidates to assemble from.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// Out-of-fold probabilities of each, rows x classes, all for the same rows.
    pub probabilities: &'a [&'a Matrix],
    /// What each is a variant of: a blend takes the best of each kind.
    pub kinds: &'a [&'a str],
    /// The class of each row.
    pub truth: &'a [u32],
    /// Number of classes.
    pub n_classes: usize,
}

/// How candidates are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The best one alone.
    Single,
    /// The best of each kind, equally weighted.
    Blend,
    /// Weights found greedily.
    Greedy,
}

/// A predictor in terms of candidates.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// Which candidates are pooled.
    pub weights: Weights,
    /// Fitted on the averaged out-of-fold probabilities.
    pub calibration: Calibration,
    /// Fitted on the calibrated ones.
    pub decision: DecisionRule,
}

/// An assembly with what is known of it.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Fitted on all out-of-fold rows.
    pub assembly: Assembly,
    /// Cross-fitted probabilities: each row by an assembly that did not see it.
    pub probabilities: Matrix,
    /// Cross-fitted decisions.
    pub decisions: Vec<u32>,
    /// Cross-fitted metric of the best single candidate, as assembled alone.
    pub single_score: f64,
    /// Cross-fitted metric of the ensemble, when one was tried.
    pub ensemble_score: Option<f64>,
    /// Standard error of the difference between the two.
    pub difference_error: Option<f64>,
}

/// Assembles the best predictor from the candidates.
///
/// Returns `None` without candidates.
#[must_use]
pub fn assemble(candidates: &Candidates<'_>, settings: AssemblySettings, seed: Seed) -> Option<Assembled> {
    if candidates.probabilities.is_empty() {
        return None;
    }
    let single = CrossFitted::new(candidates, settings, Shape::Single, seed);
    let offered = settings.ensemble && candidates.probabilities.len() > 1;
    let shapes = [Shape::Blend, Shape::Greedy].into_iter().filter(|_| offered);
    let sign = if settings.metric.greater_is_better() { 1.0 } else { -1.0 };
    let ensemble = shapes.map(|shape| (shape, CrossFitted::new(candidates, settings, shape, seed))).fold(
        None,
        |best: Option<(Shape, CrossFitted)>, next| match best {
            Some(best) if sign * best.1.mean_score() >= sign * next.1.mean_score() => Some(best),
            _ => Some(next),
        },
    );
    let comparison = ensemble.as_ref().map(|(_, ensemble)| compare(&single, ensemble, settings.metric));
    let (shape, chosen) = match (&ensemble, comparison) {
        (Some((shape, ensemble)), Some(comparison)) if comparison.is_win => (*shape, ensemble),
        _ => (Shape::Single, &single),
    };
    Some(Assembled {
        assembly: fit(candidates, settings, shape, seed),
        probabilities: chosen.probabilities.clone(),
        decisions: chosen.decisions.clone(),
        single_score: single.mean_score(),
        ensemble_score: ensemble.as_ref().map(|(_, ensemble)| ensemble.mean_score()),
        difference_error: comparison.map(|comparison| comparison.standard_error),
    })
}

/// Fits weights, calibration and decision rule on the rows given.
fn fit(candidates: &Candidates<'_>, settings: AssemblySettings, shape: Shape, seed: Seed) -> Assembly {
    let Candidates { probabilities, kinds, truth, n_classes } = *candidates;
    let merits: Vec<f64> = probabilities
        .iter()
        .map(|matrix| merit(settings.metric, truth, &most_probable(matrix), matrix, n_classes))
        .collect();
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| merits[b].total_cmp(&merits[a]).then(a.cmp(&b)));
    let weights = match shape {
        Shape::Single => vec![(order[0], 1.0)],
        Shape::Blend => ensemble::blend(kinds, &merits),
        Shape::Greedy => {
            order.truncate(CANDIDATE_LIMIT);
            let matrices: Vec<&Matrix> = order.iter().map(|&candidate| probabilities[candidate]).collect();
            let chosen = ensemble::greedy(&matrices, truth, 0, row_shares(settings.metric));
            let mut weights: Weights = chosen.into_iter().map(|(i, weight)| (order[i], weight)).collect();
            weights.sort_by_key(|(candidate, _)| *candidate);
            weights
        }
    };
    let mut pooled = ensemble::pool(probabilities, &weights);
    let calibration = if settings.calibrate {
        calibration::choose(&pooled, truth, seed.child("calibration"))
    } else {
        Calibration::None
    };
    for i in 0..pooled.n_rows() {
        calibration.apply_into(pooled.row_mut(i));
    }
    let decision = DecisionRule::fit(&pooled, truth, settings.metric, seed.child("decision"));
    Assembly { weights, calibration, decision }
}

fn merit(metric: Metric, truth: &[u32], decisions: &[u32], probabilities: &Matrix, n_classes: usize) -> f64 {
    let score = metric.score(truth, decisions, probabilities, n_classes);
    match (score.is_finite(), metric.greater_is_better()) {
        (false, _) => f64::NEG_INFINITY,
        (true, true) => score,
        (true, false) => -score,
    }
}

fn row_shares(metric: Metric) -> RowShares {
    if metric.weighs_classes_equally() { RowShares::ByClass } else { RowShares::Equal }
}

/// What an assembly says of rows it was not fitted on.
struct CrossFitted {
    /// From the first repeat.
    probabilities: Matrix,
    /// From the first repeat.
    decisions: Vec<u32>,
    /// The metric of each repeat over all rows.
    scores: Vec<f64>,
    /// Mean over the repeats of each row's log loss, weighed as the metric weighs rows.
    row_losses: Vec<f64>,
    /// All repeats' decisions, for paired resampling.
    all_decisions: Vec<Vec<u32>>,
    truth: Vec<u32>,
    n_classes: usize,
}

impl CrossFitted {
    fn new(candidates: &Candidates<'_>, settings: AssemblySettings, shape: Shape, seed: Seed) -> Self {
        use rayon::prelude::*;
        let Candidates { probabilities, kinds, truth, n_classes } = *candidates;
        let tasks: Vec<(usize, Fold)> = (0..REPEATS)
            .flat_map(|repeat| {
                // Fewer rows than parts leave nothing to cross-fit on.
                let folds =
                    stratified_folds(truth, PARTS, seed.child("parts").nth(repeat)).unwrap_or_default();
                folds.into_iter().map(move |fold| (repeat, fold))
            })
            .collect();
        let answers: Vec<(Matrix, Vec<u32>)> = tasks
            .par_iter()
            .map(|(_, fold)| {
                let pick = |rows: &[usize]| -> Vec<Matrix> {
                    probabilities.iter().map(|matrix| matrix.select_rows(rows)).collect()
                };
                let (fitting, asked) = (pick(&fold.train), pick(&fold.valid));
                let known: Vec<u32> = fold.train.iter().map(|&row| truth[row]).collect();
                let part = Candidates {
                    probabilities: &fitting.iter().collect::<Vec<_>>(),
                    kinds,
                    truth: &known,
                    n_classes,
                };
                fit(&part, settings, shape, seed).answer(&asked.iter().collect::<Vec<_>>())
            })
            .collect();
        let mut repeats = vec![(vec![0.0; truth.len() * n_classes], vec![0_u32; truth.len()]); REPEATS];
        for ((repeat, fold), (probabilities, decisions)) in tasks.iter().zip(&answers) {
            let (values, codes) = &mut repeats[*repeat];
            for ((&row, answer), decision) in fold.valid.iter().zip(probabilities.rows()).zip(decisions) {
                values[row * n_classes..(row + 1) * n_classes].copy_from_slice(answer);
                codes[row] = *decision;
            }
        }
        let mut scores = Vec::with_capacity(REPEATS);
        let mut row_losses = vec![0.0; truth.len()];
        let mut all_decisions = Vec::with_capacity(REPEATS);
        let mut first = None;
        for (values, decisions) in repeats {
            let probabilities = Matrix::new(truth.len(), n_classes, values);
            scores.push(settings.metric.score(truth, &decisions, &probabilities, n_classes));
            for (loss, (row, &class)) in row_losses.iter_mut().zip(probabilities.rows().zip(truth)) {
                *loss -= row[class as usize].max(1e-6).ln() / REPEATS as f64;
            }
            all_decisions.push(decisions.clone());
            first.get_or_insert((probabilities, decisions));
        }
        let (probabilities, decisions) = first.unwrap_or((Matrix::zeros(0, n_classes), Vec::new()));
        Self { probabilities, decisions, scores, row_losses, all_decisions, truth: truth.to_vec(), n_classes }
    }

    fn mean_score(&self) -> f64 {
        self.scores.iter().sum::<f64>() / self.scores.len() as f64
    }
}

impl Assembly {
    /// Probabilities and decisions for rows whose candidate probabilities are given.
    #[must_use]
    pub fn answer(&self, candidates: &[&Matrix]) -> (Matrix, Vec<u32>) {
        let mut probabilities = ensemble::pool(candidates, &self.weights);
        let decisions = (0..probabilities.n_rows())
            .map(|i| {
                let row = probabilities.row_mut(i);
                self.calibration.apply_into(row);
                u32::try_from(self.decision.decide(row)).unwrap_or(u32::MAX)
            })
            .collect();
        (probabilities, decisions)
    }
}

/// Whether the ensemble wins, and how uncertain the difference is.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    is_win: bool,
    standard_error: f64,
}

/// The ensemble wins when it is better by more than noise on either of two measures, and the other does not object.
///
/// Either its metric is higher by more than one standard error (jackknife over row groups); or its log loss is lower by
/// more than two (paired by row) while its metric is not lower by more than one. The log loss is there because a
/// macro-F1 over small classes is so noisy that it could hardly ever tell a better model from an equal one.
fn compare(single: &CrossFitted, ensemble: &CrossFitted, metric: Metric) -> Comparison {
    let sign = if metric.greater_is_better() { 1.0 } else { -1.0 };
    let difference = sign * (ensemble.mean_score() - single.mean_score());
    let standard_error = jackknife_error(single, ensemble, metric);
    let gains: Vec<f64> = single.row_losses.iter().zip(&ensemble.row_losses).map(|(a, b)| a - b).collect();
    let mean_gain = gains.iter().sum::<f64>() / gains.len().max(1) as f64;
    let variance = gains.iter().map(|gain| (gain - mean_gain).powi(2)).sum::<f64>()
        / (gains.len() as f64 - 1.0).max(1.0);
    let gain_error = (variance / gains.len().max(1) as f64).sqrt();
    let is_win = difference > standard_error || difference > -standard_error && mean_gain > 2.0 * gain_error;
    Comparison { is_win, standard_error }
}

/// Delete-a-group jackknife of the difference in the metric (Efron and Tibshirani, "An Introduction to the Bootstrap",
/// chapter 11), with rows dealt to 20 groups in turn.
fn jackknife_error(single: &CrossFitted, ensemble: &CrossFitted, metric: Metric) -> f64 {
    const GROUPS: usize = 20;
    let rows = single.truth.len();
    let differences: Vec<f64> = (0..GROUPS)
        .map(|group| {
            let kept: Vec<usize> = (0..rows).filter(|row| row % GROUPS != group).collect();
            let truth: Vec<u32> = kept.iter().map(|&row| single.truth[row]).collect();
            let score = |side: &CrossFitted| {
                let probabilities = side.probabilities.select_rows(&kept);
                let scores = side.all_decisions.iter().map(|decisions| {
                    let decisions: Vec<u32> = kept.iter().map(|&row| decisions[row]).collect();
                    metric.score(&truth, &decisions, &probabilities, side.n_classes)
                });
                scores.sum::<f64>() / side.all_decisions.len() as f64
            };
            score(ensemble) - score(single)
        })
        .collect();
    let mean = differences.iter().sum::<f64>() / GROUPS as f64;
    let spread: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    (spread * (GROUPS as f64 - 1.0) / GROUPS as f64).sqrt()
}
