//! Models that were trained elsewhere: their trees and what makes probabilities of scores.

use serde::{Deserialize, Serialize};

use super::arithmetic::softmax;
use super::family::{LARGEST_MAGNITUDE, MAXIMUM_CLASSES, MAXIMUM_FEATURES};
use super::fitted::InvalidModel;
use crate::forest::{ForeignModel, Forest, Link, Scratch};

/// A model of LightGBM or XGBoost. It answers as its trainer does, so where that trained one classifier a class, the
/// probabilities do not sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedModel {
    forest: Forest,
    link: Link,
}

impl ImportedModel {
    /// Takes the trees and the link of `model`.
    #[must_use]
    pub fn new(model: ForeignModel) -> Self {
        Self { forest: model.forest, link: model.link }
    }

    /// The trees; their results are scores.
    #[must_use]
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// How scores become probabilities.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link
    }

    pub(super) fn n_features(&self) -> usize {
        self.forest.n_features()
    }

    pub(super) fn n_classes(&self) -> usize {
        self.link.n_classes(self.forest.n_outputs())
    }

    /// Probabilities of rows, one after the other; `scores` is a buffer.
    pub(super) fn rows_into(
        &self,
        rows: &[f64],
        scratch: &mut Scratch,
        scores: &mut Vec<f64>,
        out: &mut [f64],
    ) {
        let n_rows = out.len() / self.n_classes();
        match self.link {
            Link::Softmax => {
                self.forest.evaluate_rows_into(rows, scratch, out);
                for row in out.chunks_exact_mut(self.forest.n_outputs()) {
                    softmax(row);
                }
            }
            Link::SigmoidEach { scale } => {
                self.forest.evaluate_rows_into(rows, scratch, out);
                out.iter_mut().for_each(|score| *score = sigmoid(scale * *score));
            }
            Link::Sigmoid { scale } => {
                scores.clear();
                scores.resize(n_rows, 0.0);
                self.forest.evaluate_rows_into(rows, scratch, scores);
                for (out, score) in out.chunks_exact_mut(2).zip(scores) {
                    let probability = sigmoid(scale * *score);
                    (out[0], out[1]) = (1.0 - probability, probability);
                }
            }
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        InvalidModel::check_count("features", self.n_features(), 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes(), 2..=MAXIMUM_CLASSES)?;
        if !self.link.fits(self.forest.n_outputs()) {
            return Err(InvalidModel::Trees {
                problem: "their outputs do not go with their link".to_owned(),
            });
        }
        // A decoded forest has been checked; what is left is that sums stay finite.
        let parts = self.forest.to_parts();
        for (part, values) in [("base values", &parts.base), ("leaf values", &parts.leaf_values)] {
            InvalidModel::check_values(part, values, "a magnitude up to 1e100", |v| {
                v.abs() <= LARGEST_MAGNITUDE
            })?;
        }
        Ok(())
    }
}

/// 1 / (1 + exp(-x)).
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
