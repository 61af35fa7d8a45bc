//! The seam that every family stands behind: rows with classes in, a model out.

use std::fmt;

use thiserror::Error;

use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

use super::fitted::Model;

/// Most classes a model may tell apart.
pub const MAXIMUM_CLASSES: usize = 4_096;

/// Most features a model may read.
pub const MAXIMUM_FEATURES: usize = 65_536;

/// Largest weight of one row.
pub const LARGEST_WEIGHT: f64 = 1e12;

/// Values beyond this count as this by families that multiply or square them, so that their sums stay finite.
pub const LARGEST_MAGNITUDE: f64 = 1e100;

/// A family with checked parameters, ready to fit.
///
/// Semantics that every implementation keeps, and that `tests/it/families.rs` checks for each:
/// - equal arguments give equal models, whatever the number of threads;
/// - a row of weight zero is as good as absent;
/// - a class without rows (of positive weight) gets probability 0;
/// - work that takes long looks at [`Observer::stop_requested`] and ends in [`FitError::Stopped`] when it has nothing
///   that deserves to be called a model.
pub trait Family: fmt::Debug + Send + Sync {
    /// The name users write, as in `family = "random-forest"`.
    fn name(&self) -> &'static str;

    /// Learns a model.
    ///
    /// # Errors
    /// When the set is not usable, has more rows than the family can bear, or the observer asked to stop.
    fn fit(&self, set: &TrainingSet<'_>, seed: Seed, observer: &dyn Observer) -> Result<Model, FitError>;
}

/// Rows to learn from.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSet<'a> {
    /// One row an example; NaN marks a missing value.
    pub x: &'a Matrix,
    /// The class of each row, below `n_classes`.
    pub y: &'a [u32],
    /// Number of classes that the model answers for, whether or not each has rows here.
    pub n_classes: usize,
    /// Weight of each row, finite and at least 0; `None` weighs all rows 1.
    pub weights: Option<&'a [f64]>,
}

impl TrainingSet<'_> {
    /// Weight of row `i`.
    #[must_use]
    pub fn weight(&self, i: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[i])
    }

    /// Sum of the weights of each class, `n_classes` long.
    #[must_use]
    pub fn class_totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.n_classes];
        for (i, &class) in self.y.iter().enumerate() {
            totals[class as usize] += self.weight(i);
        }
        totals
    }

    /// Checks what every family relies on; families call it first.
    ///
    /// # Errors
    /// The first thing found wrong, with its position.
    pub fn check(&self) -> Result<(), InvalidTrainingSet> {
        let rows = self.x.n_rows();
        if rows == 0 {
            return Err(InvalidTrainingSet::NoRows);
        }
        if self.x.n_columns() > MAXIMUM_FEATURES {
            return Err(InvalidTrainingSet::TooManyFeatures { features: self.x.n_columns() });
        }
        if !(1..=MAXIMUM_CLASSES).contains(&self.n_classes) {
            return Err(InvalidTrainingSet::ClassCount { classes: self.n_classes });
        }
        if self.y.len() != rows {
            return Err(InvalidTrainingSet::Length { part: "classes", found: self.y.len(), rows });
        }
        if let Some(row) = self.y.iter().position(|&class| class as usize >= self.n_classes) {
            return Err(InvalidTrainingSet::Class { row, class: self.y[row], classes: self.n_classes });
        }
        for (row, values) in self.x.rows().enumerate() {
            if let Some(column) = values.iter().position(|value| value.is_infinite()) {
                return Err(InvalidTrainingSet::Infinite { row, column });
            }
        }
        let Some(weights) = self.weights else { return Ok(()) };
        if weights.len() != rows {
            return Err(InvalidTrainingSet::Length { part: "weights", found: weights.len(), rows });
        }
        if let Some(row) = weights.iter().position(|weight| !(0.0..=LARGEST_WEIGHT).contains(weight)) {
            return Err(InvalidTrainingSet::Weight { row, weight: weights[row] });
        }
        // The bound keeps quotients by the total finite.
        if weights.iter().sum::<f64>() < 1.0 / LARGEST_WEIGHT {
            return Err(InvalidTrainingSet::NoWeight);
        }
        Ok(())
    }
}

/// Why a training set cannot be learnt from.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidTrainingSet {
    /// Nothing to learn from.
    #[error("there are no training rows")]
    NoRows,
    /// More features than [`MAXIMUM_FEATURES`].
    #[error(
        "{features} features are more than the {MAXIMUM_FEATURES} a model may have; select fewer in the recipe"
    )]
    TooManyFeatures { features: usize },
    /// No class, or more than [`MAXIMUM_CLASSES`].
    #[error("{classes} classes; a model may have 1 to {MAXIMUM_CLASSES}")]
    ClassCount { classes: usize },
    /// Labels or weights that do not go with the rows.
    #[error("{found} {part} for {rows} rows")]
    Length { part: &'static str, found: usize, rows: usize },
    /// A class number that does not exist.
    #[error("row {row} has class number {class}, but there are {classes} classes")]
    Class { row: usize, class: u32, classes: usize },
    /// An infinite value.
    #[error("row {row}, column {column} is infinite; values must be finite or missing")]
    Infinite { row: usize, column: usize },
    /// A weight out of range.
    #[error("row {row} has weight {weight}; weights must be from 0 to {LARGEST_WEIGHT:e}")]
    Weight { row: usize, weight: f64 },
    /// All weights are zero.
    #[error("the weights of the training rows are all zero, or next to it")]
    NoWeight,
}

/// Why a fit gave no model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FitError {
    /// The rows are not usable; another family would not do better.
    #[error("the training rows cannot be used")]
    TrainingSet(#[from] InvalidTrainingSet),
    /// The parameters do not go with this set (a list with one entry a class, for example).
    #[error("`{key}` of {family} does not fit the training rows: {problem}")]
    Parameter { family: &'static str, key: &'static str, problem: String },
    /// The family cannot bear so many rows; a search leaves it out.
    #[error(
        "{family} takes at most {limit} rows, and there are {rows}: choose another family or sample the rows"
    )]
    TooManyRows { family: &'static str, rows: usize, limit: usize },
    /// The observer asked to stop before there was a model.
    #[error("stopped before {family} had a model")]
    Stopped { family: &'static str },
    /// The library under the family failed.
    #[error("{family} could not be fitted")]
    Failed {
        family: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
