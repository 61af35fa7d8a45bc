//! The open form of a forest: what trainers and importers fill in, what is stored, and what can be wrong with it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::categories::CategorySet;

/// The open form of a forest: what a trainer or importer fills in and what is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForestParts {
    /// Values in a row.
    pub n_features: usize,
    /// Values in a result: classes, as a rule.
    pub n_outputs: usize,
    /// How a value is compared with a threshold.
    pub rule: DecisionRule,
    /// How the leaves that a row reaches become the result.
    pub combination: Combination,
    /// In which precision and order they are added.
    pub addition: Addition,
    /// What a leaf holds.
    pub leaf_kind: LeafKind,
    /// Added to the combined leaves; `n_outputs` values.
    pub base: Vec<f64>,
    /// The trees, in the order in which their leaves are added.
    pub trees: Vec<TreeParts>,
    /// Rows of 1 ([`LeafKind::Scalar`]) or `n_outputs` ([`LeafKind::Vector`]) values; leaves may share a row.
    pub leaf_values: Vec<f64>,
    /// The sets that [`Node::Category`] names; nodes may share one.
    pub category_sets: Vec<CategorySet>,
}

/// One tree; node 0 is its root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeParts {
    /// The output that its scalar leaves are added to; 0 for vector leaves.
    pub output: u32,
    /// The nodes, each reached exactly once from the root.
    pub nodes: Vec<Node>,
    /// For each node, the weight of the training rows that reached it, finite and not negative; empty when unknown.
    /// Only explanations need it.
    pub covers: Vec<f32>,
}

/// A node of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Node {
    /// A question about one feature.
    Split {
        /// Which value of the row is asked for.
        feature: u32,
        /// What it is compared with, under the forest's [`DecisionRule`].
        threshold: f64,
        /// Whether a missing value goes left.
        missing_left: bool,
        /// Whether values within ±[`ZERO_LIMIT`] are missing too.
        zero_is_missing: bool,
        /// Index of the node for smaller values.
        left: u32,
        /// Index of the node for larger values.
        right: u32,
    },
    /// A question whether a category is among some.
    Category {
        /// Which value of the row is asked for: the number of a category.
        feature: u32,
        /// Which of the forest's `category_sets`.
        set: u32,
        /// Whether the categories of the set go left; all other values go to the other side.
        listed_left: bool,
        /// Whether a missing value goes left.
        missing_left: bool,
        /// Index of the left node.
        left: u32,
        /// Index of the right node.
        right: u32,
    },
    /// The end of a path.
    Leaf {
        /// Which row of the forest's `leaf_values` it holds.
        row: u32,
    },
}

/// LightGBM's `kZeroThreshold`, the single nearest to 1e-35: where zero is missing, so is what lies within it.
pub const ZERO_LIMIT: f64 = 1e-35_f32 as f64;

/// When a value goes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionRule {
    /// The value, rounded to single precision, is less than the threshold, itself a single: XGBoost's rule and ours.
    SingleLess,
    /// The value is less than or equal to the threshold, in double precision: LightGBM's rule.
    DoubleAtMost,
}

/// How the trees' leaves are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// Their sum: boosting.
    Sum,
    /// Their mean over the rounds: random forests. A round is one tree of vector leaves, or one tree of scalar leaves for
    /// each output.
    Mean,
}

/// In which precision and order leaves are added. Leaves are always added in the order of their trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addition {
    /// In double precision from 0; the base is added last: LightGBM's way and ours.
    Double,
    /// In single precision from the base: XGBoost's way.
    SingleFromBase,
}

/// What a leaf holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafKind {
    /// One number for the one output of its tree.
    Scalar,
    /// One number for each output.
    Vector,
}

/// Why parts do not make a forest. Trees and nodes count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidForest {
    #[error("the forest has no trees")]
    NoTrees,
    #[error("the forest has no outputs")]
    NoOutputs,
    #[error("{what} has {found} values, expected {expected}")]
    Length { what: &'static str, found: usize, expected: usize },
    #[error("the forest is too large: {what}")]
    TooLarge { what: &'static str },
    #[error("base value {output} is not finite")]
    Base { output: usize },
    #[error("leaf value {index} is not finite")]
    LeafValue { index: usize },
    #[error("{trees} trees are not whole rounds of one tree for each of {n_outputs} outputs")]
    Rounds { trees: usize, n_outputs: usize },
    #[error("a mean is added in double precision only")]
    MeanInSingle,
    #[error("category set {set} is not in ascending order")]
    CategorySet { set: usize },
    #[error("{what} is not a single-precision number, but is added as one")]
    Precision { what: &'static str },
    #[error("tree {tree} adds to output {output}, but there are {n_outputs}")]
    Output { tree: usize, output: u32, n_outputs: usize },
    #[error("tree {tree} has no nodes")]
    EmptyTree { tree: usize },
    #[error("tree {tree} has {found} covers for {n_nodes} nodes")]
    Covers { tree: usize, found: usize, n_nodes: usize },
    #[error("tree {tree}, node {node}: the cover {cover} is negative or not finite")]
    Cover { tree: usize, node: usize, cover: f32 },
    #[error("tree {tree}, node {node}: feature {feature} of {n_features}")]
    Feature { tree: usize, node: usize, feature: u32, n_features: usize },
    #[error(
        "tree {tree}, node {node}: the threshold {threshold} is not a number that its rule compares with"
    )]
    Threshold { tree: usize, node: usize, threshold: f64 },
    #[error("tree {tree}, node {node}: category set {set} of {sets}")]
    Set { tree: usize, node: usize, set: u32, sets: usize },
    #[error("tree {tree}, node {node}: child {child} of {n_nodes} nodes")]
    Child { tree: usize, node: usize, child: u32, n_nodes: usize },
    #[error("tree {tree}, node {node}: leaf row {row} of {rows}")]
    LeafRow { tree: usize, node: usize, row: u32, rows: usize },
    #[error("tree {tree}, node {node}: reached more than once")]
    ReachedTwice { tree: usize, node: usize },
    #[error("tree {tree}, node {node}: never reached from the root")]
    Unreached { tree: usize, node: usize },
}

/// Checks everything that is not inside a tree; answers the number of leaf rows.
pub(super) fn check_sizes(parts: &ForestParts) -> Result<usize, InvalidForest> {
    if parts.n_outputs == 0 {
        return Err(InvalidForest::NoOutputs);
    }
    if parts.trees.is_empty() {
        return Err(InvalidForest::NoTrees);
    }
    if u32::try_from(parts.n_features).is_err() || u32::try_from(parts.n_outputs).is_err() {
        return Err(InvalidForest::TooLarge { what: "features or outputs" });
    }
    if parts.base.len() != parts.n_outputs {
        let (found, expected) = (parts.base.len(), parts.n_outputs);
        return Err(InvalidForest::Length { what: "base", found, expected });
    }
    if let Some(output) = parts.base.iter().position(|value| !value.is_finite()) {
        return Err(InvalidForest::Base { output });
    }
    let width = leaf_width(parts.leaf_kind, parts.n_outputs);
    let rows = parts.leaf_values.len() / width;
    if rows * width != parts.leaf_values.len() {
        let found = parts.leaf_values.len();
        return Err(InvalidForest::Length { what: "leaf values", found, expected: (rows + 1) * width });
    }
    if let Some(index) = parts.leaf_values.iter().position(|value| !value.is_finite()) {
        return Err(InvalidForest::LeafValue { index });
    }
    if parts.addition == Addition::SingleFromBase {
        for (what, values) in [("a base value", &parts.base), ("a leaf value", &parts.leaf_values)] {
            if !values.iter().all(|value| is_single(*value)) {
                return Err(InvalidForest::Precision { what });
            }
        }
    }
    if (parts.addition, parts.combination) == (Addition::SingleFromBase, Combination::Mean) {
        return Err(InvalidForest::MeanInSingle);
    }
    if let Some(set) = parts.category_sets.iter().position(|set| !set.is_ordered()) {
        return Err(InvalidForest::CategorySet { set });
    }
    let n_outputs = if parts.leaf_kind == LeafKind::Vector { 1 } else { parts.n_outputs };
    for (tree, TreeParts { output, .. }) in parts.trees.iter().enumerate() {
        if *output as usize >= n_outputs {
            return Err(InvalidForest::Output { tree, output: *output, n_outputs });
        }
    }
    if parts.combination == Combination::Mean && !parts.trees.len().is_multiple_of(n_outputs) {
        return Err(InvalidForest::Rounds { trees: parts.trees.len(), n_outputs });
    }
    Ok(rows)
}

/// Values in a leaf.
pub(super) fn leaf_width(kind: LeafKind, n_outputs: usize) -> usize {
    match kind {
        LeafKind::Scalar => 1,
        LeafKind::Vector => n_outputs,
    }
}

/// Whether `threshold` can stand in a split under `rule`.
pub(super) fn is_threshold(rule: DecisionRule, threshold: f64) -> bool {
    match rule {
        DecisionRule::SingleLess => threshold.is_finite() && is_single(threshold),
        // LightGBM parts missing values from all others with an infinite one.
        DecisionRule::DoubleAtMost => !threshold.is_nan(),
    }
}

fn is_single(value: f64) -> bool {
    f64::from(value as f32) == value
}
