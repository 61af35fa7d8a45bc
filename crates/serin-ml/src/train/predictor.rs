//! What training ends in: everything needed to turn a raw row into a class and its probabilities.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::calibration::{Calibration, DecisionRule};
use super::ensemble::Pool;
use super::{InvalidModel, Model};
use crate::matrix::Matrix;
use crate::prepare::{FittedRecipe, InvalidRecipe};

/// Most members an ensemble may have.
pub const MEMBER_LIMIT: usize = 64;

/// One fitted recipe and model, and its share in the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The candidate it came from, for people ("boosting #7").
    pub label: String,
    /// Share in the pool; shares are positive and sum to 1.
    pub weight: f64,
    /// Turns a raw row into the row the model was trained on.
    pub recipe: FittedRecipe,
    /// Turns that row into probabilities.
    pub model: Model,
}

/// A weighted pool of members, calibrated, with the rule that picks the class.
///
/// `probabilities` are always the plain calibrated ones; the class is the decision rule's choice and may differ from
/// the most probable one, because the rule serves the chosen metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predictor {
    /// Width of a raw row.
    pub n_features: usize,
    /// Number of classes.
    pub n_classes: usize,
    /// At least one.
    pub members: Vec<Member>,
    /// Applied to the pooled probabilities.
    pub calibration: Calibration,
    /// Picks the class from the calibrated probabilities.
    pub decision: DecisionRule,
}

/// Why a decoded predictor cannot be used.
#[derive(Debug, Error)]
pub enum InvalidPredictor {
    #[error("a predictor needs 1 to {MEMBER_LIMIT} members, this one has {0}")]
    Members(usize),
    #[error("a predictor needs at least 2 classes, this one has {0}")]
    Classes(usize),
    #[error("the weights of the members are not positive shares of 1")]
    Weights,
    #[error("member {member} takes {found} values where {expected} are given")]
    Width { member: usize, expected: usize, found: usize },
    #[error("member {member} knows {found} classes, the predictor {expected}")]
    MemberClasses { member: usize, expected: usize, found: usize },
    #[error("the recipe of member {member} is invalid")]
    Recipe { member: usize, source: InvalidRecipe },
    #[error("the model of member {member} is invalid")]
    Model { member: usize, source: InvalidModel },
    #[error("the calibration is invalid: {0}")]
    Calibration(String),
    #[error("the decision rule is invalid: {0}")]
    Decision(String),
}

impl Predictor {
    /// Writes the calibrated probabilities of a raw row (`n_features` values, NaN where missing) into `probabilities`
    /// (`n_classes` long) and returns the index of the class chosen.
    pub fn predict_into(&self, row: &[f64], probabilities: &mut [f64]) -> usize {
        let mut prepared = Vec::new();
        self.pool_into(row, &mut prepared, probabilities);
        self.calibration.apply_into(probabilities);
        self.decision.decide(probabilities)
    }

    /// Probabilities (`rows` x `n_classes`) and chosen classes of many rows.
    #[must_use]
    pub fn predict(&self, x: &Matrix) -> (Matrix, Vec<u32>) {
        use rayon::prelude::*;
        let mut values = vec![0.0; x.n_rows() * self.n_classes];
        let classes = values
            .par_chunks_mut(self.n_classes)
            .enumerate()
            .map(|(i, probabilities)| class_code(self.predict_into(x.row(i), probabilities)))
            .collect();
        (Matrix::new(x.n_rows(), self.n_classes, values), classes)
    }

    /// Checks a decoded predictor: afterwards no row can make it panic or answer out of range.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), InvalidPredictor> {
        if self.members.is_empty() || self.members.len() > MEMBER_LIMIT {
            return Err(InvalidPredictor::Members(self.members.len()));
        }
        if self.n_classes < 2 {
            return Err(InvalidPredictor::Classes(self.n_classes));
        }
        let total: f64 = self.members.iter().map(|member| member.weight).sum();
        let all_positive = self.members.iter().all(|member| member.weight > 0.0 && member.weight <= 1.0);
        if !all_positive || (total - 1.0).abs() > 1e-9 {
            return Err(InvalidPredictor::Weights);
        }
        for (number, member) in self.members.iter().enumerate() {
            member.recipe.validate().map_err(|source| InvalidPredictor::Recipe { member: number, source })?;
            member.model.validate().map_err(|source| InvalidPredictor::Model { member: number, source })?;
            let widths = [
                (self.n_features, member.recipe.n_inputs()),
                (member.model.n_features(), member.recipe.n_outputs()),
            ];
            if let Some(&(expected, found)) = widths.iter().find(|(expected, found)| expected != found) {
                return Err(InvalidPredictor::Width { member: number, expected, found });
            }
            let found = member.model.n_classes();
            if found != self.n_classes {
                return Err(InvalidPredictor::MemberClasses {
                    member: number,
                    expected: self.n_classes,
                    found,
                });
            }
        }
        self.calibration
            .validate(self.n_classes)
            .map_err(|error| InvalidPredictor::Calibration(error.to_string()))?;
        self.decision.validate(self.n_classes).map_err(|error| InvalidPredictor::Decision(error.to_string()))
    }

    fn pool_into(&self, row: &[f64], prepared: &mut Vec<f64>, probabilities: &mut [f64]) {
        if let [only] = self.members.as_slice() {
            only.recipe.apply_into(row, prepared);
            only.model.probabilities_into(prepared, probabilities);
            return;
        }
        let mut answer = vec![0.0; self.n_classes];
        let mut pool = Pool::new(probabilities);
        for member in &self.members {
            member.recipe.apply_into(row, prepared);
            member.model.probabilities_into(prepared, &mut answer);
            pool.add(&answer, member.weight);
        }
        pool.finish();
    }
}

/// A class index as the code kept in labels.
fn class_code(class: usize) -> u32 {
    u32::try_from(class).unwrap_or(u32::MAX)
}

impl Member {
    /// Probabilities (rows x classes) for raw rows.
    #[must_use]
    pub fn probabilities(&self, x: &Matrix) -> Matrix {
        let n_classes = self.model.n_classes();
        let mut values = vec![0.0; x.n_rows() * n_classes];
        let mut prepared = Vec::new();
        for (row, answer) in x.rows().zip(values.chunks_exact_mut(n_classes)) {
            self.recipe.apply_into(row, &mut prepared);
            self.model.probabilities_into(&prepared, answer);
        }
        Matrix::new(x.n_rows(), n_classes, values)
    }
}
