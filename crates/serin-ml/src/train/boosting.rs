//! Gradient-boosted trees with the softmax loss.
//!
//! The trees are grown by `hessboost`, an implementation of XGBoost's algorithm (Chen and Guestrin, "XGBoost: A
//! Scalable Tree Boosting System", KDD 2016). Its types stay in this file: a fitted model is a [`Forest`] of scalar
//! leaves, whose sums are margins, and probabilities are their softmax. It grows the same trees on any number of
//! threads; it uses those of the rayon pool that the call is made in.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use hessboost::config::{ExtraTrees, GrowPolicy as TreeOrder};
use hessboost::model::BoostedModel;
use hessboost::objective::Multiclass;
use hessboost::prelude::Objective;
use hessboost::prelude::{DMatrix, HessboostError, Trainer, TrainingParams, TreeMethod};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::forest::{
    Addition, Combination, DecisionRule, Forest, ForestParts, InvalidForest, LeafKind, Node, TreeParts,
};
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

/// What a user writes; [`BoostingParameters::check`] makes it usable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoostingParameters {
    /// Rounds at most; each grows one tree a class.
    pub rounds: usize,
    /// What each tree's leaves are multiplied by, in (0, 1].
    pub learning_rate: f64,
    /// The order in which nodes are split.
    pub grow_policy: GrowPolicy,
    /// Longest path, 0 for no limit.
    pub max_depth: usize,
    /// Leaves of a tree at most, 0 for no limit; needs `grow_policy = "leafwise"`.
    pub max_leaves: usize,
    /// Smallest sum of second derivatives in a leaf.
    pub min_child_weight: f64,
    /// L2 penalty on leaf values.
    pub lambda: f64,
    /// L1 penalty on leaf values.
    pub alpha: f64,
    /// Smallest decrease of the loss that is worth a split.
    pub gamma: f64,
    /// Share of the rows drawn for each tree, in (0, 1].
    pub subsample: f64,
    /// Share of the features drawn for each tree, in (0, 1].
    pub colsample_bytree: f64,
    /// Share of those drawn for each level, in (0, 1].
    pub colsample_bylevel: f64,
    /// Share of those drawn for each node, in (0, 1].
    pub colsample_bynode: f64,
    /// Bins of a feature's histogram at most, 2 to 65535.
    pub max_bin: usize,
    /// Thresholds drawn at random rather than searched.
    pub extra_trees: bool,
    /// How strongly a leaf is drawn towards its parent, 0 for not at all.
    pub path_smooth: f64,
    /// With validation rows: how many rounds may pass without a lower log loss there.
    /// Not something users write: a search has no validation rows to spare.
    #[serde(skip)]
    pub early_stopping_rounds: Option<usize>,
}

/// The order in which the nodes of a tree are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrowPolicy {
    /// Level by level (XGBoost's `depthwise`).
    Depthwise,
    /// The node with the largest gain first (XGBoost's `lossguide`, LightGBM's way).
    Leafwise,
}

/// Checked parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Boosting {
    parameters: BoostingParameters,
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boosted {
    forest: Forest,
    importances: Vec<f64>,
    rounds: usize,
}

/// Rows to learn from or to be judged by: features, classes and optional weights.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub x: &'a Matrix,
    pub y: &'a [u32],
    pub weights: Option<&'a [f64]>,
}

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{key} is {value}: expected {expected}")]
pub struct BoostingParameterError {
    /// The parameter.
    pub key: &'static str,
    /// What it was.
    pub value: String,
    /// What is allowed.
    pub expected: &'static str,
}

/// Why no model was fitted.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BoostingError {
    #[error("stopped before all rounds were done")]
    Stopped,
    #[error("there are no rows or no features to learn from")]
    Empty,
    #[error("boosting needs at least 2 classes, not {n_classes}")]
    Classes { n_classes: usize },
    #[error("{rows} rows, but {found} {what}")]
    Length { what: &'static str, rows: usize, found: usize },
    #[error("row {row} has class {class} of {n_classes}")]
    Class { row: usize, class: u32, n_classes: usize },
    #[error("row {row} weighs {weight}: a weight must be finite and not negative")]
    Weight { row: usize, weight: f64 },
    #[error("there are {found} features in the validation rows, and {expected} in the training rows")]
    Features { found: usize, expected: usize },
    #[error("the trainer refused: {message}")]
    Trainer { message: String },
    #[error("the trees do not fit together")]
    Invalid(#[source] InvalidForest),
}

/// Why a decoded model cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidBoosted {
    #[error("the trees do not fit together")]
    Forest(#[source] InvalidForest),
    #[error("the trees are not summed with one number in a leaf, as boosted trees are")]
    Kind,
    #[error("{found} importances for {features} features")]
    Importances { found: usize, features: usize },
    #[error("the importance of feature {feature} is not a finite, non-negative number")]
    Importance { feature: usize },
}

impl Default for BoostingParameters {
    fn default() -> Self {
        Self {
            rounds: 100,
            learning_rate: 0.1,
            grow_policy: GrowPolicy::Depthwise,
            max_depth: 6,
            max_leaves: 0,
            min_child_weight: 1.0,
            lambda: 1.0,
            alpha: 0.0,
            gamma: 0.0,
            subsample: 1.0,
            colsample_bytree: 1.0,
            colsample_bylevel: 1.0,
            colsample_bynode: 1.0,
            max_bin: 256,
            extra_trees: false,
            path_smooth: 0.0,
            early_stopping_rounds: None,
        }
    }
}

impl BoostingParameters {
    /// Checks every parameter.
    ///
    /// # Errors
    /// Names the first key that is out of range and what is allowed.
    pub fn check(self) -> Result<Boosting, BoostingParameterError> {
        let refuse = |key, value: String, expected| Err(BoostingParameterError { key, value, expected });
        if self.rounds == 0 || self.rounds > 100_000 {
            return refuse("rounds", self.rounds.to_string(), "1 to 100000");
        }
        let shares = [
            ("learning_rate", self.learning_rate),
            ("subsample", self.subsample),
            ("colsample_bytree", self.colsample_bytree),
            ("colsample_bylevel", self.colsample_bylevel),
            ("colsample_bynode", self.colsample_bynode),
        ];
        for (key, value) in shares {
            if !(value > 0.0 && value <= 1.0) {
                return refuse(key, value.to_string(), "above 0 and at most 1");
            }
        }
        let penalties = [
            ("min_child_weight", self.min_child_weight),
            ("lambda", self.lambda),
            ("alpha", self.alpha),
            ("gamma", self.gamma),
            ("path_smooth", self.path_smooth),
        ];
        for (key, value) in penalties {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(key, value.to_string(), "0 or more");
            }
        }
        if !(2..=65_535).contains(&self.max_bin) {
            return refuse("max_bin", self.max_bin.to_string(), "2 to 65535");
        }
        match self.grow_policy {
            GrowPolicy::Depthwise if self.max_leaves != 0 => {
                return refuse("max_leaves", self.max_leaves.to_string(), "0, or grow_policy = \"leafwise\"");
            }
            GrowPolicy::Depthwise if !(1..=30).contains(&self.max_depth) => {
                return refuse(
                    "max_depth",
                    self.max_depth.to_string(),
                    "1 to 30, or grow_policy = \"leafwise\"",
                );
            }
            GrowPolicy::Leafwise if self.max_leaves == 0 && self.max_depth == 0 => {
                return refuse("max_leaves", "0".to_owned(), "2 or more, or a max_depth");
            }
            GrowPolicy::Leafwise if self.max_leaves == 1 => {
                return refuse("max_leaves", "1".to_owned(), "2 or more, or 0 for no limit");
            }
            _ => {}
        }
        if self.early_stopping_rounds == Some(0) {
            return refuse("early_stopping_rounds", "0".to_owned(), "1 or more, or nothing");
        }
        Ok(Boosting { parameters: self })
    }
}

impl Boosting {
    /// The parameters, as checked.
    #[must_use]
    pub fn parameters(&self) -> &BoostingParameters {
        &self.parameters
    }

    /// Fits on all rows for all rounds.
    ///
    /// `observer` is asked after each round whether to stop.
    ///
    /// # Errors
    /// [`BoostingError::Stopped`] when the observer asked to stop; else what is wrong with the data.
    pub fn fit(
        &self,
        rows: Rows<'_>,
        n_classes: usize,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<Boosted, BoostingError> {
        let model = self.train(rows, None, n_classes, seed, observer)?;
        boosted(&model)
    }

    /// Fits on `rows` and keeps the rounds up to the one with the lowest log loss on `validation`; gives up once
    /// `early_stopping_rounds` rounds (50, where the parameter is absent) brought no lower one.
    ///
    /// # Errors
    /// As [`Boosting::fit`].
    pub fn fit_with_validation(
        &self,
        rows: Rows<'_>,
        validation: Rows<'_>,
        n_classes: usize,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<Boosted, BoostingError> {
        let model = self.train(rows, Some(validation), n_classes, seed, observer)?;
        boosted(&model)
    }

    fn train(
        &self,
        rows: Rows<'_>,
        validation: Option<Rows<'_>>,
        n_classes: usize,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<BoostedModel, BoostingError> {
        let training = matrix(rows, n_classes)?;
        if let Some(validation) = validation
            && validation.x.n_columns() != rows.x.n_columns()
        {
            let (found, expected) = (validation.x.n_columns(), rows.x.n_columns());
            return Err(BoostingError::Features { found, expected });
        }
        let validation = validation.map(|rows| matrix(rows, n_classes)).transpose()?;
        let mut parameters = self.trainer_parameters(n_classes, seed)?;

        let mut stopped = observer.stop_requested();
        if stopped {
            return Err(BoostingError::Stopped);
        }
        if rows.x.n_rows() * rows.x.n_columns() < SHARED_VALUES {
            parameters.nthread = Some(NonZeroUsize::MIN);
        }
        let mut trainer = Trainer::new(&parameters, &training, self.parameters.rounds);
        if let Some(validation) = &validation {
            let patience = self.parameters.early_stopping_rounds.unwrap_or(DEFAULT_PATIENCE_ROUNDS);
            trainer = trainer
                .eval(validation, "validation")
                .early_stopping_rounds(NonZeroUsize::new(patience).unwrap_or(NonZeroUsize::MIN));
        }
        let result = trainer
            .on_round(|_| {
                stopped = observer.stop_requested();
                if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .train()
            .map_err(|error| refused(&error))?;
        if stopped { Err(BoostingError::Stopped) } else { Ok(result.model) }
    }

    fn trainer_parameters(&self, n_classes: usize, seed: Seed) -> Result<TrainingParams, BoostingError> {
        let ours = &self.parameters;
        let mut theirs = TrainingParams::default();
        let classes = Multiclass::new(n_classes).map_err(|error| refused(&error))?;
        theirs.objective = Objective::Softprob(classes);
        theirs.seed = seed.child("sampling").0;
        theirs.tree_method = TreeMethod::Hist;
        theirs.grow_policy = match ours.grow_policy {
            GrowPolicy::Depthwise => TreeOrder::DepthWise,
            GrowPolicy::Leafwise => TreeOrder::LossGuide,
        };
        theirs.eta = ours.learning_rate;
        theirs.max_depth = NonZeroUsize::new(ours.max_depth);
        theirs.max_leaves = NonZeroUsize::new(ours.max_leaves);
        theirs.min_child_weight = ours.min_child_weight;
        theirs.lambda = ours.lambda;
        theirs.alpha = ours.alpha;
        theirs.gamma = ours.gamma;
        theirs.subsample = ours.subsample;
        theirs.colsample_bytree = ours.colsample_bytree;
        theirs.colsample_bylevel = ours.colsample_bylevel;
        theirs.colsample_bynode = ours.colsample_bynode;
        theirs.max_bin = ours.max_bin;
        theirs.extra_trees = ours.extra_trees.then(|| ExtraTrees::with_seed(seed.child("thresholds").0));
        theirs.path_smooth = ours.path_smooth;
        Ok(theirs)
    }
}

impl Boosted {
    /// Values in a row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.forest.n_features()
    }

    /// Classes told apart.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.forest.n_outputs()
    }

    /// Rounds kept: the best number where there were validation rows.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// The trees; their sums are margins.
    #[must_use]
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// For each feature its share of the total gain; sums to 1, or is all zero when no tree has a split.
    #[must_use]
    pub fn importances(&self) -> &[f64] {
        &self.importances
    }

    /// The class probabilities of one `row` of `n_features` values, into `out` of `n_classes` values.
    pub fn probabilities_into(&self, row: &[f64], out: &mut [f64]) {
        self.forest.evaluate_into(row, out);
        softmax(out);
    }

    /// The class probabilities of all rows of `x`: rows x `n_classes`.
    #[must_use]
    pub fn probabilities(&self, x: &Matrix) -> Matrix {
        let mut margins = self.forest.evaluate(x);
        for i in 0..margins.n_rows() {
            softmax(margins.row_mut(i));
        }
        margins
    }

    /// The model as XGBoost's JSON format has it, readable by `xgboost.Booster.load_model`.
    ///
    /// # Errors
    /// Never for a fitted model.
    pub fn to_xgboost_json(&self) -> Result<String, crate::forest::NotXgboost> {
        crate::forest::to_xgboost_json(&self.forest)
    }

    /// Checks a decoded model.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn validate(&self) -> Result<(), InvalidBoosted> {
        self.forest.validate().map_err(InvalidBoosted::Forest)?;
        if self.forest.combination() != Combination::Sum || self.forest.leaf_kind() != LeafKind::Scalar {
            return Err(InvalidBoosted::Kind);
        }
        let (found, features) = (self.importances.len(), self.forest.n_features());
        if found != features {
            return Err(InvalidBoosted::Importances { found, features });
        }
        match self.importances.iter().position(|value| !(value.is_finite() && *value >= 0.0)) {
            Some(feature) => Err(InvalidBoosted::Importance { feature }),
            None => Ok(()),
        }
    }
}

/// Rounds without a lower validation loss after which to give up, where the parameters do not say.
const DEFAULT_PATIENCE_ROUNDS: usize = 50;

/// Tables with fewer values are fitted on one thread: sharing out so little costs more than it saves, and a search has
/// other folds for the other threads.
const SHARED_VALUES: usize = 500_000;

/// Larger values are learned from as this one. The trainer puts a feature's last threshold at twice its largest value,
/// which must be a finite single.
const LARGEST_VALUE: f32 = 1e38;

/// exp(m_k) / sum(exp(m_j)), shifted by the largest margin so that nothing overflows.
fn softmax(margins: &mut [f64]) {
    let largest = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for margin in margins.iter_mut() {
        *margin = (*margin - largest).exp();
        sum += *margin;
    }
    margins.iter_mut().for_each(|margin| *margin /= sum);
}

/// Checks `rows` and copies them into the trainer's form.
fn matrix(rows: Rows<'_>, n_classes: usize) -> Result<DMatrix, BoostingError> {
    let Rows { x, y, weights } = rows;
    let n = x.n_rows();
    if n_classes < 2 {
        return Err(BoostingError::Classes { n_classes });
    }
    if n == 0 || x.n_columns() == 0 {
        return Err(BoostingError::Empty);
    }
    if y.len() != n {
        return Err(BoostingError::Length { what: "classes", rows: n, found: y.len() });
    }
    if let Some((row, &class)) = y.iter().enumerate().find(|(_, class)| **class as usize >= n_classes) {
        return Err(BoostingError::Class { row, class, n_classes });
    }
    let values =
        x.values().iter().map(|value| (*value as f32).clamp(-LARGEST_VALUE, LARGEST_VALUE)).collect();
    let labels: Vec<f32> = y.iter().map(|class| *class as f32).collect();
    let mut matrix = DMatrix::from_dense_vec(values, n, x.n_columns())
        .and_then(|matrix| matrix.with_labels(&labels))
        .map_err(|error| refused(&error))?;
    if let Some(weights) = weights {
        if weights.len() != n {
            return Err(BoostingError::Length { what: "weights", rows: n, found: weights.len() });
        }
        if let Some((row, &weight)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0))
        {
            return Err(BoostingError::Weight { row, weight });
        }
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        matrix = matrix.with_weights(&weights).map_err(|error| refused(&error))?;
    }
    Ok(matrix)
}

fn refused(error: &HessboostError) -> BoostingError {
    BoostingError::Trainer { message: error.to_string() }
}

/// A threshold above all values that the trainer saw parts present values from missing ones; then it shall also lie
/// above those that were brought down to [`LARGEST_VALUE`].
fn threshold(theirs: f32) -> f32 {
    if theirs > LARGEST_VALUE { f32::MAX } else { theirs }
}

/// Takes over the trees of the rounds up to the best one.
fn boosted(model: &BoostedModel) -> Result<Boosted, BoostingError> {
    let n_features = model.n_features();
    let rounds = model.best_iteration().map_or(model.num_boost_rounds(), |best| best + 1);
    let kept = rounds * model.trees_per_iteration();
    let mut trees = Vec::with_capacity(kept);
    let mut leaf_values = Vec::new();
    let mut gains = vec![0.0; n_features];
    for (tree, output) in model.trees().iter().zip(model.tree_outputs()).take(kept) {
        let nodes = tree.nodes().iter().map(|node| {
            if node.is_leaf() {
                leaf_values.push(f64::from(node.leaf_value));
                return Node::Leaf { row: leaf_values.len() as u32 - 1 };
            }
            if let Some(gain) = gains.get_mut(node.split_feature as usize) {
                *gain += f64::from(node.split_gain.max(0.0));
            }
            Node::Split {
                feature: node.split_feature,
                threshold: f64::from(threshold(node.split_cond)),
                missing_left: node.default_left,
                zero_is_missing: false,
                // A negative index, which only a leaf has, becomes one that no tree contains.
                left: u32::try_from(node.left).unwrap_or(u32::MAX),
                right: u32::try_from(node.right).unwrap_or(u32::MAX),
            }
        });
        let nodes = nodes.collect();
        let covers = tree.nodes().iter().map(|node| node.sum_hess.max(0.0)).collect();
        trees.push(TreeParts { output: output.start as u32, nodes, covers });
    }
    let total: f64 = gains.iter().sum();
    if total > 0.0 {
        gains.iter_mut().for_each(|gain| *gain /= total);
    }
    let forest = Forest::new(&ForestParts {
        n_features,
        n_outputs: model.n_outputs(),
        rule: DecisionRule::SingleLess,
        combination: Combination::Sum,
        addition: Addition::Double,
        leaf_kind: LeafKind::Scalar,
        base: model.base_scores().iter().map(|score| f64::from(*score)).collect(),
        trees,
        leaf_values,
        category_sets: Vec::new(),
    })
    .map_err(BoostingError::Invalid)?;
    Ok(Boosted { forest, importances: gains, rounds })
}

#[cfg(test)]
mod tests;
