//! Gaussian naive Bayes: in each class every feature is normal and independent of the others.
//!
//! As scikit-learn's `GaussianNB`, but for two things: a missing value is left out, in training and in answers (it says
//! nothing, so it changes no score), and the variance that the smoothing is a part of is weighted like all others, so
//! that a row of weight zero is as good as absent.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use crate::observer::Observer;
use crate::seed::Seed;

use super::arithmetic::{limited, softmax, spread};
use super::family::{Family, FitError, LARGEST_MAGNITUDE, MAXIMUM_CLASSES, MAXIMUM_FEATURES, TrainingSet};
use super::fitted::{InvalidModel, Model};
use super::parameters::{InvalidParameter, within};
use super::summary::{Columns, weighted_rows};

pub(super) const NAME: &str = "naive-bayes";

/// No variance is smaller: with values within [`LARGEST_MAGNITUDE`] every score stays finite.
const LEAST_VARIANCE: f64 = 1e-100;

/// No variance of values within [`LARGEST_MAGNITUDE`] is larger, even smoothed.
const LARGEST_VARIANCE: f64 = 1e203;

/// What a user writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NaiveBayesParameters {
    /// Part of the largest variance of any feature that is added to all variances.
    pub variance_smoothing: f64,
    /// Probability of each class before looking at the features, in class order; left out, the training shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priors: Option<Vec<f64>>,
}

impl Default for NaiveBayesParameters {
    fn default() -> Self {
        Self { variance_smoothing: 1e-9, priors: None }
    }
}

impl NaiveBayesParameters {
    /// The family with these parameters.
    pub(super) fn check(&self) -> Result<NaiveBayes, InvalidParameter> {
        let fix = "leave it out for 0.000000001, or raise it when classes have tiny variances";
        let smoothing = within(NAME, "variance_smoothing", self.variance_smoothing, 0.0..=100.0, fix)?;
        if let Some(priors) = &self.priors {
            let sum: f64 = priors.iter().sum();
            let is_distribution =
                priors.iter().all(|prior| (0.0..=1.0).contains(prior)) && (sum - 1.0).abs() <= 1e-6;
            if !is_distribution {
                return Err(InvalidParameter {
                    family: NAME,
                    key: "priors",
                    value: format!("{priors:?}"),
                    allowed: "numbers from 0 to 1 that sum to 1".to_owned(),
                    fix: "leave it out to use the class shares of the training rows",
                });
            }
        }
        Ok(NaiveBayes { variance_smoothing: smoothing, priors: self.priors.clone() })
    }
}

/// The family with checked parameters.
#[derive(Debug, Clone)]
pub(super) struct NaiveBayes {
    variance_smoothing: f64,
    priors: Option<Vec<f64>>,
}

/// A normal distribution for each class and feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NaiveBayesModel {
    n_features: usize,
    n_classes: usize,
    /// The classes that can be answered: those with training rows and a positive prior, ascending.
    classes: Vec<u32>,
    /// Logarithm of the prior of each of `classes`.
    log_priors: Vec<f64>,
    /// Class by class, the mean of each feature.
    means: Vec<f64>,
    /// Class by class, the variance of each feature.
    variances: Vec<f64>,
    /// Class by class, the logarithm of the density of each feature at its mean, `-ln(2 pi variance) / 2`.
    log_peaks: Vec<f64>,
}

impl Family for NaiveBayes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, set: &TrainingSet<'_>, _seed: Seed, _observer: &dyn Observer) -> Result<Model, FitError> {
        set.check()?;
        let totals = set.class_totals();
        let priors = self.priors_of(set, &totals)?;
        let columns = Columns::of(set);
        let smoothing = self.variance_smoothing * columns.variances.iter().copied().fold(0.0, f64::max);
        let rows = weighted_rows(set);
        let mut model = NaiveBayesModel {
            n_features: set.x.n_columns(),
            n_classes: set.n_classes,
            classes: Vec::new(),
            log_priors: Vec::new(),
            means: Vec::new(),
            variances: Vec::new(),
            log_peaks: Vec::new(),
        };
        for (class, prior) in (0..).zip(&priors).filter(|(_, prior)| **prior > 0.0) {
            let rows: Vec<usize> = rows.iter().copied().filter(|&i| set.y[i] == class).collect();
            let own = Columns::of_rows(set, &rows, Some(&columns));
            model.classes.push(class);
            model.log_priors.push(prior.ln());
            model.means.extend(own.means);
            for variance in own.variances {
                let variance = (variance + smoothing).max(LEAST_VARIANCE);
                model.variances.push(variance);
                model.log_peaks.push(-0.5 * (TAU * variance).ln());
            }
        }
        Ok(Model::NaiveBayes(model))
    }
}

impl NaiveBayes {
    /// The priors to use: 0 for classes without rows, not necessarily summing to 1.
    fn priors_of(&self, set: &TrainingSet<'_>, totals: &[f64]) -> Result<Vec<f64>, FitError> {
        let Some(given) = &self.priors else { return Ok(super::arithmetic::shares(totals)) };
        let refuse = |problem: String| FitError::Parameter { family: NAME, key: "priors", problem };
        if given.len() != set.n_classes {
            return Err(refuse(format!("{} priors for {} classes", given.len(), set.n_classes)));
        }
        let priors: Vec<f64> =
            given.iter().zip(totals).map(|(p, t)| if *t > 0.0 { *p } else { 0.0 }).collect();
        if priors.iter().all(|prior| *prior == 0.0) {
            return Err(refuse("every class that has rows has prior 0".to_owned()));
        }
        Ok(priors)
    }
}

impl NaiveBayesModel {
    pub(super) fn n_features(&self) -> usize {
        self.n_features
    }

    pub(super) fn n_classes(&self) -> usize {
        self.n_classes
    }

    pub(super) fn probabilities_into(&self, row: &[f64], out: &mut [f64]) {
        let present = self.classes.len();
        out.fill(0.0);
        let scores = &mut out[..present];
        for (place, score) in scores.iter_mut().enumerate() {
            let own = place * self.n_features..(place + 1) * self.n_features;
            let (means, variances) = (&self.means[own.clone()], &self.variances[own.clone()]);
            *score = self.log_priors[place];
            for (((value, mean), variance), log_peak) in
                row.iter().zip(means).zip(variances).zip(&self.log_peaks[own])
            {
                if !value.is_nan() {
                    let deviation = limited(*value) - mean;
                    *score += log_peak - 0.5 * deviation * deviation / variance;
                }
            }
        }
        softmax(scores);
        spread(out, &self.classes);
    }

    /// The classes that can be answered, ascending.
    pub(super) fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// By how much the log prior of the class at `place` is above the mean of the classes, and by how much the log density
    /// of each value is.
    pub(super) fn contributions(&self, row: &[f64], place: usize) -> (f64, Vec<f64>) {
        let present = self.classes.len();
        let density = |place: usize, j: usize, value: f64| {
            let at = place * self.n_features + j;
            let deviation = limited(value) - self.means[at];
            self.log_peaks[at] - 0.5 * deviation * deviation / self.variances[at]
        };
        let mean = |of: &dyn Fn(usize) -> f64| (0..present).map(of).sum::<f64>() / present as f64;
        let term = |(j, value): (usize, &f64)| {
            // A missing value says nothing.
            if value.is_nan() {
                0.0
            } else {
                density(place, j, *value) - mean(&|other| density(other, j, *value))
            }
        };
        let base = self.log_priors[place] - mean(&|other| self.log_priors[other]);
        (base, row.iter().enumerate().map(term).collect())
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        let values = self.n_features.checked_mul(self.classes.len());
        InvalidModel::check_count("features", self.n_features, 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes, 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_present(&self.classes, self.n_classes)?;
        InvalidModel::check_length("log priors", self.log_priors.len(), Some(self.classes.len()))?;
        InvalidModel::check_length("means", self.means.len(), values)?;
        InvalidModel::check_length("variances", self.variances.len(), values)?;
        InvalidModel::check_length("log peaks", self.log_peaks.len(), values)?;
        InvalidModel::check_values("log priors", &self.log_priors, "-1000 to 0", |v| {
            (-1e3..=1e-6).contains(&v)
        })?;
        InvalidModel::check_values("means", &self.means, "a magnitude up to 1e100", |v| {
            v.abs() <= LARGEST_MAGNITUDE
        })?;
        InvalidModel::check_values("variances", &self.variances, "1e-100 to 1e203", |v| {
            (LEAST_VARIANCE..=LARGEST_VARIANCE).contains(&v)
        })?;
        InvalidModel::check_values("log peaks", &self.log_peaks, "-1000 to 1000", |v| v.abs() <= 1e3)
    }
}
