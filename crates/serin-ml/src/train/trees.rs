//! The families of trees behind the common seam: what they have in common with all others, and what [`boosting`] and
//! [`forests`] leave to their caller.
//!
//! A row of weight zero is left out before a tree could take a threshold from it. Boosting is fitted over the classes
//! that have rows. Where there is nothing to ask (no features) or nothing to tell apart (one class), the answer is the
//! class shares, [`Model::Prior`].
//!
//! [`boosting`]: super::boosting
//! [`forests`]: super::forests

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::forest::grow::{GrowError, Grown};
use crate::forest::{Combination, Forest, LeafKind, Scratch};
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

use super::arithmetic::softmax;
use super::boosting::{Boosted, Boosting, BoostingError, Rows};
use super::family::{Family, FitError, LARGEST_MAGNITUDE, MAXIMUM_CLASSES, MAXIMUM_FEATURES, TrainingSet};
use super::fitted::{InvalidModel, Model};
use super::forests::{ExtraTrees, RandomForest};
use super::majority::Majority;
use super::summary::weighted_rows;

pub(super) const BOOSTING: &str = "boosting";
pub(super) const RANDOM_FOREST: &str = "random-forest";
pub(super) const EXTRA_TREES: &str = "extra-trees";

/// Boosted trees over the classes that had rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostedModel {
    n_classes: usize,
    /// The classes that had training rows, ascending; the others have probability 0.
    classes: Vec<u32>,
    boosted: Boosted,
}

/// A random forest or extra trees: the mean of the class distributions in the leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForestModel {
    forest: Forest,
    /// For each feature its share of the decrease of impurity.
    importances: Vec<f64>,
}

impl Family for Boosting {
    fn name(&self) -> &'static str {
        BOOSTING
    }

    fn fit(&self, set: &TrainingSet<'_>, seed: Seed, observer: &dyn Observer) -> Result<Model, FitError> {
        set.check()?;
        let totals = set.class_totals();
        let classes: Vec<u32> =
            (0..).zip(&totals).filter(|(_, total)| **total > 0.0).map(|(class, _)| class).collect();
        if classes.len() == 1 || set.x.n_columns() == 0 {
            return Majority.fit(set, seed, observer);
        }
        let (x, y, weights) = positive(set);
        let y: Vec<u32> =
            y.iter().map(|class| classes.partition_point(|present| present < class) as u32).collect();
        let rows = Rows { x: &x, y: &y, weights: weights.as_deref() };
        let boosted = self.fit(rows, classes.len(), seed, observer).map_err(|error| match error {
            BoostingError::Stopped => FitError::Stopped { family: BOOSTING },
            error => FitError::Failed { family: BOOSTING, source: Box::new(error) },
        })?;
        Ok(Model::Boosted(BoostedModel { n_classes: set.n_classes, classes, boosted }))
    }
}

impl Family for RandomForest {
    fn name(&self) -> &'static str {
        RANDOM_FOREST
    }

    fn fit(&self, set: &TrainingSet<'_>, seed: Seed, observer: &dyn Observer) -> Result<Model, FitError> {
        forest(RANDOM_FOREST, set, seed, observer, |x, y, weights| {
            self.fit(x, y, set.n_classes, weights, seed, observer)
        })
    }
}

impl Family for ExtraTrees {
    fn name(&self) -> &'static str {
        EXTRA_TREES
    }

    fn fit(&self, set: &TrainingSet<'_>, seed: Seed, observer: &dyn Observer) -> Result<Model, FitError> {
        forest(EXTRA_TREES, set, seed, observer, |x, y, weights| {
            self.fit(x, y, set.n_classes, weights, seed, observer)
        })
    }
}

impl BoostedModel {
    /// The trees with their rounds and importances; over the classes that had rows.
    #[must_use]
    pub fn boosted(&self) -> &Boosted {
        &self.boosted
    }

    pub(super) fn n_features(&self) -> usize {
        self.boosted.n_features()
    }

    pub(super) fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The classes that had rows, ascending: those that the trees tell apart.
    #[must_use]
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Probabilities of rows, one after the other; `margins` is a buffer.
    pub(super) fn rows_into(
        &self,
        rows: &[f64],
        scratch: &mut Scratch,
        margins: &mut Vec<f64>,
        out: &mut [f64],
    ) {
        let present = self.classes.len();
        if present == self.n_classes {
            self.boosted.forest().evaluate_rows_into(rows, scratch, out);
            for row in out.chunks_exact_mut(present) {
                softmax(row);
            }
            return;
        }
        margins.clear();
        margins.resize(out.len() / self.n_classes * present, 0.0);
        self.boosted.forest().evaluate_rows_into(rows, scratch, margins);
        out.fill(0.0);
        for (margins, out) in margins.chunks_exact(present).zip(out.chunks_exact_mut(self.n_classes)) {
            out[..present].copy_from_slice(margins);
            softmax(&mut out[..present]);
            super::arithmetic::spread(out, &self.classes);
        }
    }

    pub(super) fn importances(&self) -> Vec<f64> {
        self.boosted.importances().to_vec()
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        InvalidModel::check_count("features", self.n_features(), 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes, 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_present(&self.classes, self.n_classes)?;
        InvalidModel::check_length(
            "outputs of its trees",
            self.boosted.n_classes(),
            Some(self.classes.len()),
        )?;
        self.boosted.validate().map_err(|error| InvalidModel::Trees { problem: error.to_string() })?;
        let parts = self.boosted.forest().to_parts();
        for (part, values) in [("base values", &parts.base), ("leaf values", &parts.leaf_values)] {
            InvalidModel::check_values(part, values, "a magnitude up to 1e100", |v| {
                v.abs() <= LARGEST_MAGNITUDE
            })?;
        }
        Ok(())
    }
}

impl ForestModel {
    /// The trees.
    #[must_use]
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    pub(super) fn n_features(&self) -> usize {
        self.forest.n_features()
    }

    pub(super) fn n_classes(&self) -> usize {
        self.forest.n_outputs()
    }

    /// Probabilities of rows, one after the other.
    pub(super) fn rows_into(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) {
        self.forest.evaluate_rows_into(rows, scratch, out);
        out.chunks_exact_mut(self.n_classes()).for_each(normalise);
    }

    pub(super) fn importances(&self) -> Vec<f64> {
        self.importances.clone()
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        let refuse = |problem: &str| Err(InvalidModel::Trees { problem: problem.to_owned() });
        InvalidModel::check_count("features", self.n_features(), 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes(), 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_length("importances", self.importances.len(), Some(self.n_features()))?;
        InvalidModel::check_values("importances", &self.importances, "0 to 1", |v| {
            (0.0..=1.0 + 1e-9).contains(&v)
        })?;
        self.forest.validate().map_err(|error| InvalidModel::Trees { problem: error.to_string() })?;
        if (self.forest.combination(), self.forest.leaf_kind()) != (Combination::Mean, LeafKind::Vector) {
            return refuse("a random forest is the mean of class distributions");
        }
        let parts = self.forest.to_parts();
        if parts.base.iter().any(|value| *value != 0.0) {
            return refuse("a random forest has no base values");
        }
        for leaf in parts.leaf_values.chunks_exact(self.n_classes()) {
            InvalidModel::check_shares("leaf", leaf)?;
        }
        Ok(())
    }
}

fn forest(
    family: &'static str,
    set: &TrainingSet<'_>,
    seed: Seed,
    observer: &dyn Observer,
    grow: impl FnOnce(&Matrix, &[u32], Option<&[f64]>) -> Result<Grown, GrowError>,
) -> Result<Model, FitError> {
    set.check()?;
    if set.x.n_columns() == 0 {
        return Majority.fit(set, seed, observer);
    }
    let (x, y, weights) = positive(set);
    let grown = grow(&x, &y, weights.as_deref()).map_err(|error| match error {
        GrowError::Stopped => FitError::Stopped { family },
        error => FitError::Failed { family, source: Box::new(error) },
    })?;
    Ok(Model::Forest(ForestModel { forest: grown.forest, importances: grown.importances }))
}

/// Rows, their classes and weights: those of the set, or copies of some.
type PositiveRows<'a> = (Cow<'a, Matrix>, Cow<'a, [u32]>, Option<Cow<'a, [f64]>>);

/// The rows of positive weight.
fn positive<'a>(set: &TrainingSet<'a>) -> PositiveRows<'a> {
    let rows = weighted_rows(set);
    if rows.len() == set.x.n_rows() {
        return (Cow::Borrowed(set.x), Cow::Borrowed(set.y), set.weights.map(Cow::Borrowed));
    }
    (
        Cow::Owned(set.x.select_rows(&rows)),
        rows.iter().map(|&i| set.y[i]).collect(),
        set.weights.map(|weights| rows.iter().map(|&i| weights[i]).collect()),
    )
}

/// Takes away what rounding of the mean has added to a sum of 1.
fn normalise(distribution: &mut [f64]) {
    let sum: f64 = distribution.iter().sum();
    distribution.iter_mut().for_each(|probability| *probability /= sum);
}
