//! What a fit gives: one enum over all families, safe to decode from bytes that nobody vouches for.

use std::ops::RangeInclusive;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::forest::Scratch;
use crate::matrix::Matrix;

use super::apart::ApartModel;
use super::imported::ImportedModel;
use super::logistic::LogisticModel;
use super::majority::PriorModel;
use super::naive_bayes::NaiveBayesModel;
use super::neighbours::NeighboursModel;
use super::trees::{BoostedModel, ForestModel};

/// Rows that one thread answers for at a time.
pub(super) const ROWS_A_BLOCK: usize = 64;

/// A fitted classifier over `n_features` numbers (as prepared by a recipe) and `n_classes` classes.
///
/// A model that a fit returned is valid; one that was decoded must pass [`Self::validate`] before any other use. The
/// order of the variants is part of the bundle's format: new ones are added at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Model {
    /// Gradient-boosted trees.
    Boosted(BoostedModel),
    /// A random forest or extra trees.
    Forest(ForestModel),
    /// Multinomial logistic regression.
    Logistic(LogisticModel),
    /// Nearest neighbours.
    Neighbours(NeighboursModel),
    /// Gaussian naive Bayes.
    NaiveBayes(NaiveBayesModel),
    /// Class shares.
    Prior(PriorModel),
    /// Trees that were trained elsewhere.
    Imported(ImportedModel),
    /// A program of its own.
    Apart(ApartModel),
}

impl Model {
    /// Number of values a row must have.
    #[must_use]
    pub fn n_features(&self) -> usize {
        match self {
            Self::Boosted(model) => model.n_features(),
            Self::Forest(model) => model.n_features(),
            Self::Logistic(model) => model.n_features(),
            Self::Neighbours(model) => model.n_features(),
            Self::NaiveBayes(model) => model.n_features(),
            Self::Prior(model) => model.n_features(),
            Self::Imported(model) => model.n_features(),
            Self::Apart(model) => model.n_features(),
        }
    }

    /// Number of probabilities a row gets.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        match self {
            Self::Boosted(model) => model.n_classes(),
            Self::Forest(model) => model.n_classes(),
            Self::Logistic(model) => model.n_classes(),
            Self::Neighbours(model) => model.n_classes(),
            Self::NaiveBayes(model) => model.n_classes(),
            Self::Prior(model) => model.n_classes(),
            Self::Imported(model) => model.n_classes(),
            Self::Apart(model) => model.n_classes(),
        }
    }

    /// Writes the probability of each class for one `row` of [`Self::n_features`] finite or missing values into
    /// `out`, which is [`Self::n_classes`] long. They are finite, not negative, and sum to 1 within 1e-12 (but see
    /// [`ImportedModel`]).
    ///
    /// # Panics
    /// When a length is wrong: that is a mistake of the calling code, never of data.
    pub fn probabilities_into(&self, row: &[f64], out: &mut [f64]) {
        assert_eq!(row.len(), self.n_features(), "a row must have as many values as the model has features");
        assert_eq!(out.len(), self.n_classes(), "the result needs room for every class");
        self.rows_into(row, &mut ModelScratch::default(), out);
    }

    /// The same for rows that stand one after the other, into `out`: rows x classes. On this thread. The answers of a row
    /// do not depend on the rows around it.
    pub(super) fn rows_into(&self, rows: &[f64], scratch: &mut ModelScratch, out: &mut [f64]) {
        match self {
            // Trees are asked by many rows together.
            Self::Boosted(model) => model.rows_into(rows, &mut scratch.forest, &mut scratch.scores, out),
            Self::Forest(model) => model.rows_into(rows, &mut scratch.forest, out),
            Self::Imported(model) => model.rows_into(rows, &mut scratch.forest, &mut scratch.scores, out),
            _ => {
                let width = self.n_features();
                for (i, out) in out.chunks_exact_mut(self.n_classes()).enumerate() {
                    self.row_into(&rows[i * width..(i + 1) * width], out);
                }
            }
        }
    }

    fn row_into(&self, row: &[f64], out: &mut [f64]) {
        match self {
            Self::Logistic(model) => model.probabilities_into(row, out),
            Self::Neighbours(model) => model.probabilities_into(row, out),
            Self::NaiveBayes(model) => model.probabilities_into(row, out),
            Self::Prior(model) => model.probabilities_into(out),
            // Whoever asks here asks the wrong one; that it is no answer is seen.
            Self::Apart(_) => out.fill(f64::NAN),
            Self::Boosted(_) | Self::Forest(_) | Self::Imported(_) => {
                self.rows_into(row, &mut ModelScratch::default(), out);
            }
        }
    }

    /// Whether rows are only compared with thresholds, so that no value is too large.
    pub(super) fn is_trees(&self) -> bool {
        matches!(self, Self::Boosted(_) | Self::Forest(_) | Self::Imported(_))
    }

    /// Probabilities for every row of `x`: rows x classes. Rows are shared among the threads; as each is answered by
    /// itself, their number changes nothing.
    ///
    /// # Panics
    /// When `x` has not [`Self::n_features`] columns: that is a mistake of the calling code, never of data.
    #[must_use]
    pub fn probabilities(&self, x: &Matrix) -> Matrix {
        assert_eq!(
            x.n_columns(),
            self.n_features(),
            "a row must have as many values as the model has features"
        );
        let (classes, width) = (self.n_classes(), self.n_features());
        let mut values = vec![0.0; x.n_rows() * classes];
        let blocks = values.par_chunks_mut((ROWS_A_BLOCK * classes).max(1)).enumerate();
        blocks.for_each_init(ModelScratch::default, |scratch, (block, out)| {
            let first = block * ROWS_A_BLOCK * width;
            let rows = &x.values()[first..first + out.len() / classes * width];
            self.rows_into(rows, scratch, out);
        });
        Matrix::new(x.n_rows(), classes, values)
    }

    /// How much each feature contributes, as shares that sum to 1 (or are all 0, when no feature is used); `None` for
    /// families where features have no such number of their own.
    #[must_use]
    pub fn importances(&self) -> Option<Vec<f64>> {
        match self {
            Self::Boosted(model) => Some(model.importances()),
            Self::Forest(model) => Some(model.importances()),
            Self::Logistic(model) => Some(model.importances()),
            Self::Neighbours(_)
            | Self::NaiveBayes(_)
            | Self::Prior(_)
            | Self::Imported(_)
            | Self::Apart(_) => None,
        }
    }

    /// Checks a decoded model: dimensions agree, numbers are finite and in range, nothing exceeds a limit.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), InvalidModel> {
        match self {
            Self::Boosted(model) => model.validate(),
            Self::Forest(model) => model.validate(),
            Self::Logistic(model) => model.validate(),
            Self::Neighbours(model) => model.validate(),
            Self::NaiveBayes(model) => model.validate(),
            Self::Prior(model) => model.validate(),
            Self::Imported(model) => model.validate(),
            Self::Apart(model) => model.validate(),
        }
    }
}

/// Buffers that models reuse from call to call.
#[derive(Debug, Default)]
pub(super) struct ModelScratch {
    forest: Scratch,
    scores: Vec<f64>,
}

/// Why a decoded model is refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidModel {
    /// A count or index beyond its limits.
    #[error("the model has {found} for {part}; allowed is {least} to {most}")]
    Count { part: &'static str, found: usize, least: usize, most: usize },
    /// Two parts that do not go together.
    #[error("the model has {found} {part} where {expected} belong")]
    Length { part: &'static str, found: usize, expected: usize },
    /// A number that cannot be.
    #[error("the model has the value {value} at position {position} of its {part}; allowed is {allowed}")]
    Value { part: &'static str, position: usize, value: f64, allowed: &'static str },
    /// Trees that do not fit together, or not with the family.
    #[error("the trees of the model are not valid: {problem}")]
    Trees { problem: String },
    /// Shares that are not parts of one whole.
    #[error("the {part} of the model sum to {sum}, not to 1")]
    Sum { part: &'static str, sum: f64 },
}

impl InvalidModel {
    pub(super) fn check_count(
        part: &'static str,
        found: usize,
        allowed: RangeInclusive<usize>,
    ) -> Result<(), Self> {
        if allowed.contains(&found) {
            return Ok(());
        }
        Err(Self::Count { part, found, least: *allowed.start(), most: *allowed.end() })
    }

    /// `expected` is `None` when it is itself too large to be a number.
    pub(super) fn check_length(
        part: &'static str,
        found: usize,
        expected: Option<usize>,
    ) -> Result<(), Self> {
        match expected {
            Some(expected) if expected == found => Ok(()),
            _ => Err(Self::Length { part, found, expected: expected.unwrap_or(usize::MAX) }),
        }
    }

    pub(super) fn check_values(
        part: &'static str,
        values: &[f64],
        allowed: &'static str,
        is_allowed: impl Fn(f64) -> bool,
    ) -> Result<(), Self> {
        match values.iter().position(|value| !is_allowed(*value)) {
            None => Ok(()),
            Some(position) => Err(Self::Value { part, position, value: values[position], allowed }),
        }
    }

    /// Class numbers that name some of `n_classes` classes, ascending, at least one.
    pub(super) fn check_present(classes: &[u32], n_classes: usize) -> Result<(), Self> {
        Self::check_count("classes with rows", classes.len(), 1..=n_classes)?;
        let mut least = 0;
        for class in classes {
            Self::check_count("class numbers", *class as usize, least..=n_classes - 1)?;
            least = *class as usize + 1;
        }
        Ok(())
    }

    pub(super) fn check_shares(part: &'static str, shares: &[f64]) -> Result<(), Self> {
        Self::check_values(part, shares, "0 to 1", |share| (0.0..=1.0).contains(&share))?;
        let sum: f64 = shares.iter().sum();
        // A sum of `MAXIMUM_CLASSES` rounded quotients is nearer to 1 than this; what answers sum to is promised as well.
        if (sum - 1.0).abs() <= 1e-12 { Ok(()) } else { Err(Self::Sum { part, sum }) }
    }
}
