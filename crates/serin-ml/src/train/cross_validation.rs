//! Judging a candidate on rows it was not fitted on.
//!
//! The recipe and the model are fitted inside each fold, on its training rows only, and asked about its held-out
//! rows. Those out-of-fold probabilities are all that selection, calibration and the decision rule ever see.

use rayon::prelude::*;
use thiserror::Error;

use super::candidate::Candidate;
use super::{FitError, InvalidParameter, Member, TrainingSet};
use crate::dataset::splits::Fold;
use crate::evaluate::Metric;
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::prepare::{PrepareError, RecipeError};
use crate::seed::Seed;

/// The rows a search learns from, and how they are split.
#[derive(Debug)]
pub struct Material<'a> {
    /// Raw rows.
    pub x: &'a Matrix,
    /// Class of each row.
    pub y: &'a [u32],
    /// Number of classes.
    pub n_classes: usize,
    /// Weight of each row.
    pub weights: Option<&'a [f64]>,
    /// The splits, the same for every candidate; repeats follow one another.
    pub folds: &'a [Fold],
}

/// A candidate's probabilities for rows it was not fitted on.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfFold {
    /// The rows that were held out at least once, ascending.
    pub rows: Vec<usize>,
    /// `rows.len()` x classes: the mean over the times a row was held out.
    pub probabilities: Matrix,
    /// The metric of each fold's held-out rows, by the most probable class, in fold order.
    pub fold_scores: Vec<f64>,
}

/// How judging a candidate ended.
#[derive(Debug)]
pub enum Judged {
    /// Every fold was fitted.
    Done(OutOfFold),
    /// Given up after some folds, whose scores these are.
    GivenUp(Vec<f64>),
    /// Stopped by the observer.
    Stopped,
    /// It could not be fitted.
    Failed(CandidateError),
}

/// Why a candidate could not be fitted.
#[derive(Debug, Error)]
pub enum CandidateError {
    #[error("the recipe cannot be used")]
    Recipe(#[from] RecipeError),
    #[error("the rows cannot be prepared")]
    Prepare(#[from] PrepareError),
    #[error("a parameter cannot be used")]
    Parameter(#[from] InvalidParameter),
    #[error("the model cannot be fitted")]
    Fit(#[from] FitError),
}

/// Fits `candidate` on every fold and gathers what it says of the held-out rows.
///
/// Folds run in parallel, in two waves: after the first, `give_up` sees the scores so far. The waves do not depend on
/// the number of threads, so neither does the answer.
pub fn judge(
    candidate: &Candidate,
    material: &Material<'_>,
    metric: Metric,
    seed: Seed,
    observer: &dyn Observer,
    give_up: &(dyn Fn(&[f64]) -> bool + Sync),
) -> Judged {
    let first_wave = (material.folds.len() / 3).max(2).min(material.folds.len());
    let mut answers: Vec<Matrix> = Vec::with_capacity(material.folds.len());
    let mut scores: Vec<f64> = Vec::with_capacity(material.folds.len());
    for wave in [0..first_wave, first_wave..material.folds.len()] {
        let outcomes: Vec<Result<Matrix, CandidateError>> = wave
            .clone()
            .into_par_iter()
            .map(|number| {
                let fold = &material.folds[number];
                let member = fit_on(candidate, material, &fold.train, seed.nth(number), observer)?;
                Ok(member.probabilities(&material.x.select_rows(&fold.valid)))
            })
            .collect();
        for (number, outcome) in wave.zip(outcomes) {
            match outcome {
                Ok(probabilities) => {
                    scores.push(score_by_argmax(&material.folds[number], material, metric, &probabilities));
                    answers.push(probabilities);
                }
                Err(CandidateError::Fit(FitError::Stopped { .. })) => return Judged::Stopped,
                Err(error) => return Judged::Failed(error),
            }
        }
        if answers.len() < material.folds.len() && give_up(&scores) {
            return Judged::GivenUp(scores);
        }
    }
    Judged::Done(gather(material, &answers, scores))
}

/// Fits `candidate` on the rows named.
///
/// # Errors
/// When the recipe or the model cannot be fitted, or the observer asked to stop.
pub fn fit_on(
    candidate: &Candidate,
    material: &Material<'_>,
    rows: &[usize],
    seed: Seed,
    observer: &dyn Observer,
) -> Result<Member, CandidateError> {
    let recipe = candidate.recipe.check()?;
    let family = candidate.model.check()?;
    let y: Vec<u32> = rows.iter().map(|&row| material.y[row]).collect();
    let weights: Option<Vec<f64>> = material.weights.map(|all| rows.iter().map(|&row| all[row]).collect());
    let x = material.x.select_rows(rows);
    let prepared = recipe.fit(&x, &y, material.n_classes, weights.as_deref(), seed.child("recipe"))?;
    let set = TrainingSet {
        x: &prepared.x,
        y: &prepared.y,
        n_classes: material.n_classes,
        weights: prepared.weights.as_deref(),
    };
    let model = family.fit(&set, seed.child("model"), observer)?;
    Ok(Member { label: candidate.label.clone(), weight: 1.0, recipe: prepared.recipe, model })
}

fn score_by_argmax(fold: &Fold, material: &Material<'_>, metric: Metric, probabilities: &Matrix) -> f64 {
    let truth: Vec<u32> = fold.valid.iter().map(|&row| material.y[row]).collect();
    let decisions = most_probable(probabilities);
    metric.score(&truth, &decisions, probabilities, material.n_classes)
}

/// The index of the largest probability of each row; the first on ties.
#[must_use]
pub fn most_probable(probabilities: &Matrix) -> Vec<u32> {
    probabilities
        .rows()
        .map(|row| {
            let best =
                row.iter().enumerate().fold(0, |best, (k, value)| if *value > row[best] { k } else { best });
            u32::try_from(best).unwrap_or(u32::MAX)
        })
        .collect()
}

/// Averages, row by row, what the folds said; in fold order, so that sums are the same on any number of threads.
fn gather(material: &Material<'_>, answers: &[Matrix], fold_scores: Vec<f64>) -> OutOfFold {
    let k = material.n_classes;
    let mut sums = vec![0.0; material.y.len() * k];
    let mut times = vec![0_u32; material.y.len()];
    for (fold, answer) in material.folds.iter().zip(answers) {
        for (&row, probabilities) in fold.valid.iter().zip(answer.rows()) {
            times[row] += 1;
            for (sum, probability) in sums[row * k..(row + 1) * k].iter_mut().zip(probabilities) {
                *sum += probability;
            }
        }
    }
    let rows: Vec<usize> = (0..times.len()).filter(|&row| times[row] > 0).collect();
    let mut values = Vec::with_capacity(rows.len() * k);
    for &row in &rows {
        let count = f64::from(times[row]);
        values.extend(sums[row * k..(row + 1) * k].iter().map(|sum| sum / count));
    }
    OutOfFold { probabilities: Matrix::new(rows.len(), k, values), rows, fold_scores }
}
