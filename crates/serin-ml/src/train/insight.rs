//! What a report tells beyond scores: which features matter, and whether more rows would help.

use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::cross_validation::{Material, fit_on, most_probable};
use super::{Predictor, TrainingRows};
use crate::dataset::splits::Fold;
use crate::evaluate::Metric;
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

/// Features that are permuted, at most: those the model's own importances put first.
const PERMUTED_FEATURE_LIMIT: usize = 40;
/// Rows that are asked again for every permutation, at most.
const PERMUTED_ROW_LIMIT: usize = 500;
/// Permutations of each feature.
const PERMUTATIONS: usize = 3;
/// Shares of the training rows at which a learning curve is measured.
const CURVE_SHARES: [f64; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];
/// Folds used for a learning curve, at most.
const CURVE_FOLD_LIMIT: usize = 5;

/// How much a feature matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureImportance {
    /// Name of the raw column.
    pub feature: String,
    /// Share of what the members say of themselves (gain of trees, weight of coefficients); 0 when they say nothing.
    pub gain: f64,
    /// Loss of the metric when the column is shuffled (Breiman, "Random Forests", 2001), mean over permutations;
    /// `None` when it was not among the columns permuted.
    pub permutation: Option<f64>,
    /// Standard deviation over the permutations.
    pub permutation_deviation: Option<f64>,
}

/// One point of a learning curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Training rows, mean over folds.
    pub rows: f64,
    /// Mean of the metric over folds, by the most probable class.
    pub score: f64,
    /// Standard error of that mean.
    pub standard_error: f64,
}

/// The importance of every raw feature, most important first.
///
/// `x` and `truth` are rows that the predictor was not trained on.
#[must_use]
pub fn importances(
    predictor: &Predictor,
    names: &[String],
    x: &Matrix,
    truth: &[u32],
    metric: Metric,
    seed: Seed,
) -> Vec<FeatureImportance> {
    let gains = gains(predictor, names);
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| gains[b].total_cmp(&gains[a]).then(a.cmp(&b)));
    let rows = spread(x.n_rows(), PERMUTED_ROW_LIMIT);
    let x = x.select_rows(&rows);
    let truth: Vec<u32> = rows.iter().map(|&row| truth[row]).collect();
    let baseline = score(predictor, &x, &truth, metric);
    let permuted: Vec<Option<(f64, f64)>> = order
        .par_iter()
        .enumerate()
        .map(|(rank, &feature)| {
            let asked = rank < PERMUTED_FEATURE_LIMIT && !truth.is_empty();
            asked.then(|| {
                let losses: Vec<f64> = (0..PERMUTATIONS)
                    .map(|time| {
                        let mut column = x.column(feature);
                        column.shuffle(&mut seed.nth(feature).nth(time).rng());
                        let mut shuffled = x.clone();
                        for (i, value) in column.into_iter().enumerate() {
                            shuffled.row_mut(i)[feature] = value;
                        }
                        baseline - score(predictor, &shuffled, &truth, metric)
                    })
                    .collect();
                mean_and_deviation(&losses)
            })
        })
        .collect();
    order
        .into_iter()
        .zip(permuted)
        .map(|(feature, permuted)| FeatureImportance {
            feature: names[feature].clone(),
            gain: gains[feature],
            permutation: permuted.map(|(mean, _)| mean).filter(|mean| mean.is_finite()),
            permutation_deviation: permuted.map(|(_, deviation)| deviation).filter(|value| value.is_finite()),
        })
        .collect()
}

/// How the candidate would do with fewer rows: the metric of held-out rows at growing shares of the training rows.
///
/// Shares are drawn class by class, so that small classes keep theirs. Points that cannot be fitted are left out.
#[must_use]
pub fn learning_curve(
    candidate: &Candidate,
    rows: &TrainingRows<'_>,
    folds: &[Fold],
    metric: Metric,
    seed: Seed,
    observer: &dyn Observer,
) -> Vec<CurvePoint> {
    let material = Material { x: rows.x, y: rows.y, n_classes: rows.n_classes, weights: rows.weights, folds };
    let folds = &folds[..folds.len().min(CURVE_FOLD_LIMIT)];
    let mut curve = Vec::new();
    for share in CURVE_SHARES {
        let outcomes: Vec<Option<(usize, f64)>> = folds
            .par_iter()
            .enumerate()
            .map(|(number, fold)| {
                let kept = share_of_each_class(&fold.train, rows, share, seed.nth(number));
                let member = fit_on(candidate, &material, &kept, seed.nth(number), observer).ok()?;
                let probabilities = member.probabilities(&rows.x.select_rows(&fold.valid));
                let truth: Vec<u32> = fold.valid.iter().map(|&row| rows.y[row]).collect();
                let decisions = most_probable(&probabilities);
                Some((kept.len(), metric.score(&truth, &decisions, &probabilities, rows.n_classes)))
            })
            .collect();
        let outcomes: Vec<(usize, f64)> =
            outcomes.into_iter().flatten().filter(|(_, s)| s.is_finite()).collect();
        if outcomes.is_empty() {
            continue;
        }
        let count = outcomes.len() as f64;
        let scores: Vec<f64> = outcomes.iter().map(|(_, score)| *score).collect();
        let (mean, deviation) = mean_and_deviation(&scores);
        curve.push(CurvePoint {
            rows: outcomes.iter().map(|(rows, _)| *rows as f64).sum::<f64>() / count,
            score: mean,
            standard_error: deviation / count.sqrt(),
        });
    }
    curve
}

/// How much each raw feature matters to the model, by its own account (the gain of trees, the size of weights); they sum
/// to 1. Empty when no member of it can say.
#[must_use]
pub fn model_importances(predictor: &Predictor, names: &[String]) -> Vec<(String, f64)> {
    let gains = gains(predictor, names);
    if gains.iter().all(|gain| *gain <= 0.0) {
        return Vec::new();
    }
    names.iter().cloned().zip(gains).collect()
}

/// Each member's importances, mapped to raw columns by name and weighed by its share. Columns that a recipe made of
/// several others (principal components) belong to none and are left out.
fn gains(predictor: &Predictor, names: &[String]) -> Vec<f64> {
    let mut gains = vec![0.0; names.len()];
    let position: std::collections::BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    for member in &predictor.members {
        let Some(importances) = member.model.importances() else { continue };
        for (name, importance) in member.recipe.output_names(names).iter().zip(&importances) {
            if let Some(&feature) = position.get(name.as_str()) {
                gains[feature] += member.weight * importance;
            }
        }
    }
    let total: f64 = gains.iter().sum();
    if total > 0.0 {
        gains.iter_mut().for_each(|gain| *gain /= total);
    }
    gains
}

/// The metric as "greater is better".
fn score(predictor: &Predictor, x: &Matrix, truth: &[u32], metric: Metric) -> f64 {
    let (probabilities, decisions) = predictor.predict(x);
    let value = metric.score(truth, &decisions, &probabilities, predictor.n_classes);
    if metric.greater_is_better() { value } else { -value }
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, variance.sqrt())
}

/// At most `limit` of `total` positions, evenly spread.
fn spread(total: usize, limit: usize) -> Vec<usize> {
    let kept = total.min(limit);
    (0..kept).map(|i| i * total / kept).collect()
}

fn share_of_each_class(train: &[usize], rows: &TrainingRows<'_>, share: f64, seed: Seed) -> Vec<usize> {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); rows.n_classes];
    for &row in train {
        by_class[rows.y[row] as usize].push(row);
    }
    let mut kept = Vec::new();
    for (class, mut members) in by_class.into_iter().enumerate() {
        members.shuffle(&mut seed.nth(class).rng());
        let count =
            ((members.len() as f64 * share).round() as usize).clamp(2.min(members.len()), members.len());
        kept.extend_from_slice(&members[..count]);
    }
    kept.sort_unstable();
    kept
}
