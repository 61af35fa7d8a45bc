//! What training ends in: everything needed to turn a raw row into a class and its probabilities.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::calibration::{Calibration, DecisionRule};
use super::ensemble::Pool;
use super::fitted::ModelScratch;
use super::{InvalidModel, Model};
use crate::matrix::Matrix;
use crate::prepare::{FittedRecipe, InvalidRecipe};

/// Rows that are prepared and answered together.
const ROWS_A_BLOCK: usize = 256;

/// Rows that a thread takes at a time.
const ROWS_A_TASK: usize = 64;

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

/// Buffers that a thread reuses from call to call: once they have grown, nothing is allocated.
#[derive(Debug, Default)]
pub struct PredictScratch {
    /// One row on its way through a recipe.
    row: Vec<f64>,
    /// The rows that come out.
    prepared: Vec<f64>,
    /// Members x rows x classes.
    answers: Vec<f64>,
    model: ModelScratch,
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
    /// The name of the files of a model that only a program of its own can ask; `None`: this answers.
    #[must_use]
    pub fn apart(&self) -> Option<&str> {
        self.members.iter().find_map(|member| match &member.model {
            Model::Apart(model) => Some(model.files()),
            _ => None,
        })
    }

    /// Writes the calibrated probabilities of a raw row (`n_features` values, NaN where missing) into `probabilities`
    /// (`n_classes` long) and returns the index of the class chosen.
    pub fn predict_into(&self, row: &[f64], probabilities: &mut [f64]) -> usize {
        let mut class = [0];
        self.predict_rows_into(row, &mut PredictScratch::default(), probabilities, &mut class);
        class[0]
    }

    /// The same for raw `rows` that stand one after the other: `probabilities` is rows x `n_classes`, `classes` has one
    /// place a row. On this thread. The answers of a row do not depend on the rows around it.
    ///
    /// # Panics
    /// When the lengths do not go together: that is a mistake of the calling code, never of data.
    pub fn predict_rows_into(
        &self,
        rows: &[f64],
        scratch: &mut PredictScratch,
        probabilities: &mut [f64],
        classes: &mut [usize],
    ) {
        assert_eq!(rows.len(), classes.len() * self.n_features, "a row must have as many values as features");
        assert_eq!(
            probabilities.len(),
            classes.len() * self.n_classes,
            "the result needs room for every class"
        );
        let blocks =
            probabilities.chunks_mut(ROWS_A_BLOCK * self.n_classes).zip(classes.chunks_mut(ROWS_A_BLOCK));
        for (block, (probabilities, classes)) in blocks.enumerate() {
            let first = block * ROWS_A_BLOCK * self.n_features;
            self.pool_into(&rows[first..first + classes.len() * self.n_features], scratch, probabilities);
            for (probabilities, class) in probabilities.chunks_exact_mut(self.n_classes).zip(classes) {
                self.calibration.apply_into(probabilities);
                *class = self.decision.decide(probabilities);
            }
        }
    }

    /// Probabilities (`rows` x `n_classes`) and chosen classes of many rows.
    #[must_use]
    pub fn predict(&self, x: &Matrix) -> (Matrix, Vec<u32>) {
        use rayon::prelude::*;
        let mut values = vec![0.0; x.n_rows() * self.n_classes];
        let mut classes = vec![0; x.n_rows()];
        let blocks =
            values.par_chunks_mut(ROWS_A_TASK * self.n_classes).zip(classes.par_chunks_mut(ROWS_A_TASK));
        blocks.enumerate().for_each_init(
            PredictScratch::default,
            |scratch, (block, (probabilities, classes))| {
                let first = block * ROWS_A_TASK * self.n_features;
                let rows = &x.values()[first..first + classes.len() * self.n_features];
                self.predict_rows_into(rows, scratch, probabilities, classes);
            },
        );
        (Matrix::new(x.n_rows(), self.n_classes, values), classes.into_iter().map(class_code).collect())
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

    fn pool_into(&self, rows: &[f64], scratch: &mut PredictScratch, probabilities: &mut [f64]) {
        let PredictScratch { row, prepared, answers, model } = scratch;
        if let [only] = self.members.as_slice() {
            let rows = only.prepared(rows, row, prepared);
            return only.model.rows_into(rows, model, probabilities);
        }
        let length = probabilities.len();
        answers.clear();
        answers.resize(self.members.len() * length, 0.0);
        for (member, answers) in self.members.iter().zip(answers.chunks_exact_mut(length.max(1))) {
            member.model.rows_into(member.prepared(rows, row, prepared), model, answers);
        }
        for (place, row) in probabilities.chunks_exact_mut(self.n_classes).enumerate() {
            let place = place * self.n_classes..(place + 1) * self.n_classes;
            let mut pool = Pool::new(row);
            for (member, answers) in self.members.iter().zip(answers.chunks_exact(length)) {
                pool.add(&answers[place.clone()], member.weight);
            }
            pool.finish();
        }
    }
}

/// A class index as the code kept in labels.
fn class_code(class: usize) -> u32 {
    u32::try_from(class).unwrap_or(u32::MAX)
}

impl Member {
    /// The rows that the model takes, for raw `rows` that stand one after the other.
    pub(super) fn prepared<'a>(
        &self,
        rows: &'a [f64],
        row: &mut Vec<f64>,
        prepared: &'a mut Vec<f64>,
    ) -> &'a [f64] {
        // Trees take values of any magnitude: a recipe without steps has nothing to do for them.
        if self.recipe.is_identity() && self.model.is_trees() {
            return rows;
        }
        prepared.clear();
        for raw in rows.chunks_exact(self.recipe.n_inputs().max(1)) {
            self.recipe.apply_into(raw, row);
            prepared.extend_from_slice(row);
        }
        prepared
    }

    /// Probabilities (rows x classes) for raw rows.
    #[must_use]
    pub fn probabilities(&self, x: &Matrix) -> Matrix {
        let n_classes = self.model.n_classes();
        let mut values = vec![0.0; x.n_rows() * n_classes];
        let (mut row, mut prepared, mut scratch) = (Vec::new(), Vec::new(), ModelScratch::default());
        let width = x.n_columns();
        for (block, answers) in values.chunks_mut(ROWS_A_BLOCK * n_classes).enumerate() {
            let first = block * ROWS_A_BLOCK * width;
            let rows = &x.values()[first..first + answers.len() / n_classes * width];
            self.model.rows_into(self.prepared(rows, &mut row, &mut prepared), &mut scratch, answers);
        }
        Matrix::new(x.n_rows(), n_classes, values)
    }
}
