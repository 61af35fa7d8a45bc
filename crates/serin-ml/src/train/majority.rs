//! The dummy: class shares of the training rows, the same answer for every row.
//!
//! Every report shows it beside the winner. A model that does not beat it has learnt nothing from the features.

use serde::{Deserialize, Serialize};

use crate::observer::Observer;
use crate::seed::Seed;

use super::arithmetic::shares;
use super::family::{Family, FitError, MAXIMUM_CLASSES, MAXIMUM_FEATURES, TrainingSet};
use super::fitted::{InvalidModel, Model};

pub(super) const NAME: &str = "majority";

/// The family; it has no parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Majority;

/// Weighted class shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriorModel {
    n_features: usize,
    shares: Vec<f64>,
}

impl Family for Majority {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, set: &TrainingSet<'_>, _seed: Seed, _observer: &dyn Observer) -> Result<Model, FitError> {
        set.check()?;
        Ok(Model::Prior(PriorModel { n_features: set.x.n_columns(), shares: shares(&set.class_totals()) }))
    }
}

impl PriorModel {
    pub(super) fn n_features(&self) -> usize {
        self.n_features
    }

    pub(super) fn n_classes(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn probabilities_into(&self, out: &mut [f64]) {
        for (probability, share) in out.iter_mut().zip(&self.shares) {
            *probability = *share;
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        InvalidModel::check_count("features", self.n_features, 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.shares.len(), 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_shares("class shares", &self.shares)
    }
}
