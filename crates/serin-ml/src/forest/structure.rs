//! What a forest is made of, and the checks between its stored and its usable form.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::threshold;

/// A checked ensemble of decision trees, laid out for evaluation.
///
/// Every index in it is in range, every tree is a tree (no cycle, no shared node), and every number is finite: it can
/// only be made from [`ForestParts`], by [`Forest::new`] or by decoding, and both check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ForestParts", into = "ForestParts")]
pub struct Forest {
    pub(super) n_features: usize,
    pub(super) n_outputs: usize,
    pub(super) rule: DecisionRule,
    pub(super) combination: Combination,
    pub(super) leaf_kind: LeafKind,
    pub(super) base: Vec<f64>,
    pub(super) trees: Vec<FlatTree>,
    /// The nodes of all trees; the two children of a node are neighbours.
    pub(super) nodes: Vec<FlatNode>,
    /// For each node, whether a missing value goes right; false in leaves.
    pub(super) missing_right: Vec<bool>,
    /// For each node, its row of `leaf_values` (leaves) or zero (splits).
    pub(super) leaf_of_node: Vec<u32>,
    pub(super) leaf_values: Vec<f64>,
}

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
    /// What a leaf holds.
    pub leaf_kind: LeafKind,
    /// Added to the combined leaves; `n_outputs` values.
    pub base: Vec<f64>,
    /// The trees, in the order in which their leaves are added.
    pub trees: Vec<TreeParts>,
    /// Rows of 1 ([`LeafKind::Scalar`]) or `n_outputs` ([`LeafKind::Vector`]) values; leaves may share a row.
    pub leaf_values: Vec<f64>,
}

/// One tree; node 0 is its root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeParts {
    /// The output that its scalar leaves are added to; 0 for vector leaves.
    pub output: u32,
    /// The nodes, each reached exactly once from the root.
    pub nodes: Vec<Node>,
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
        /// Index of the node for smaller values.
        left: u32,
        /// Index of the node for larger values.
        right: u32,
    },
    /// The end of a path.
    Leaf {
        /// Which row of the forest's `leaf_values` it holds.
        row: u32,
    },
}

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
    /// Their mean over the trees: random forests.
    Mean,
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
    #[error("tree {tree} adds to output {output}, but there are {n_outputs}")]
    Output { tree: usize, output: u32, n_outputs: usize },
    #[error("tree {tree} has no nodes")]
    EmptyTree { tree: usize },
    #[error("tree {tree}, node {node}: feature {feature} of {n_features}")]
    Feature { tree: usize, node: usize, feature: u32, n_features: usize },
    #[error(
        "tree {tree}, node {node}: the threshold {threshold} is not a finite number of the rule's precision"
    )]
    Threshold { tree: usize, node: usize, threshold: f64 },
    #[error("tree {tree}, node {node}: child {child} of {n_nodes} nodes")]
    Child { tree: usize, node: usize, child: u32, n_nodes: usize },
    #[error("tree {tree}, node {node}: leaf row {row} of {rows}")]
    LeafRow { tree: usize, node: usize, row: u32, rows: usize },
    #[error("tree {tree}, node {node}: reached more than once")]
    ReachedTwice { tree: usize, node: usize },
    #[error("tree {tree}, node {node}: never reached from the root")]
    Unreached { tree: usize, node: usize },
}

impl Forest {
    /// Checks `parts` and lays them out for evaluation.
    ///
    /// # Errors
    /// Names the first tree and node that is wrong.
    pub fn new(parts: &ForestParts) -> Result<Self, InvalidForest> {
        let leaf_rows = check_sizes(parts)?;
        let mut forest = Self {
            n_features: parts.n_features,
            n_outputs: parts.n_outputs,
            rule: parts.rule,
            combination: parts.combination,
            leaf_kind: parts.leaf_kind,
            base: parts.base.clone(),
            trees: Vec::with_capacity(parts.trees.len()),
            nodes: Vec::new(),
            missing_right: Vec::new(),
            leaf_of_node: Vec::new(),
            leaf_values: parts.leaf_values.clone(),
        };
        for (index, tree) in parts.trees.iter().enumerate() {
            forest.add(index, tree, leaf_rows)?;
        }
        Ok(forest)
    }

    /// The open form, equal to the one this forest was made from up to the numbering of nodes.
    #[must_use]
    pub fn to_parts(&self) -> ForestParts {
        let ends = self.trees.iter().skip(1).map(|tree| tree.root).chain([self.nodes.len() as u32]);
        let trees = self.trees.iter().zip(ends).map(|(tree, end)| TreeParts {
            output: tree.output,
            nodes: (tree.root..end).map(|index| self.node(tree.root, index)).collect(),
        });
        ForestParts {
            n_features: self.n_features,
            n_outputs: self.n_outputs,
            rule: self.rule,
            combination: self.combination,
            leaf_kind: self.leaf_kind,
            base: self.base.clone(),
            trees: trees.collect(),
            leaf_values: self.leaf_values.clone(),
        }
    }

    /// Checks again what [`Forest::new`] checked.
    ///
    /// # Errors
    /// Never for a forest that was made or decoded by this module.
    pub fn validate(&self) -> Result<(), InvalidForest> {
        Self::new(&self.to_parts()).map(|_| ())
    }

    /// Values that a row must have.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Values in a result.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Number of trees.
    #[must_use]
    pub fn n_trees(&self) -> usize {
        self.trees.len()
    }

    /// Number of nodes of all trees, leaves included.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How the trees' leaves are combined.
    #[must_use]
    pub fn combination(&self) -> Combination {
        self.combination
    }

    /// What a leaf holds.
    #[must_use]
    pub fn leaf_kind(&self) -> LeafKind {
        self.leaf_kind
    }

    /// Values in a leaf.
    pub(super) fn leaf_width(&self) -> usize {
        leaf_width(self.leaf_kind, self.n_outputs)
    }

    /// Checks one tree and appends its nodes, children side by side.
    fn add(&mut self, index: usize, tree: &TreeParts, leaf_rows: usize) -> Result<(), InvalidForest> {
        let n_nodes = tree.nodes.len();
        if n_nodes == 0 {
            return Err(InvalidForest::EmptyTree { tree: index });
        }
        let root = self.nodes.len();
        if u32::try_from(root + n_nodes).is_err() {
            return Err(InvalidForest::TooLarge { what: "nodes" });
        }
        self.reserve_nodes(1);
        let mut reached = vec![false; n_nodes];
        let mut depth = 0;
        // (index in the parts, index in the layout, depth)
        let mut pending = vec![(0_usize, root, 0_u32)];
        reached[0] = true;
        while let Some((from, to, level)) = pending.pop() {
            depth = depth.max(level);
            match tree.nodes[from] {
                Node::Leaf { row } => {
                    if row as usize >= leaf_rows {
                        return Err(InvalidForest::LeafRow { tree: index, node: from, row, rows: leaf_rows });
                    }
                    self.leaf_of_node[to] = row;
                    self.nodes[to] = FlatNode::leaf(to as u32);
                }
                Node::Split { feature, threshold, missing_left, left, right } => {
                    if feature as usize >= self.n_features {
                        let n_features = self.n_features;
                        return Err(InvalidForest::Feature { tree: index, node: from, feature, n_features });
                    }
                    if !is_threshold(self.rule, threshold) {
                        return Err(InvalidForest::Threshold { tree: index, node: from, threshold });
                    }
                    for child in [left, right] {
                        match reached.get_mut(child as usize) {
                            None => {
                                return Err(InvalidForest::Child { tree: index, node: from, child, n_nodes });
                            }
                            Some(true) => {
                                return Err(InvalidForest::ReachedTwice {
                                    tree: index,
                                    node: child as usize,
                                });
                            }
                            Some(seen) => *seen = true,
                        }
                    }
                    let children = self.nodes.len();
                    self.reserve_nodes(2);
                    let bound = threshold::bound(self.rule, threshold);
                    self.nodes[to] = FlatNode { bound, feature, left: children as u32 };
                    self.missing_right[to] = !missing_left;
                    pending.push((right as usize, children + 1, level + 1));
                    pending.push((left as usize, children, level + 1));
                }
            }
        }
        if let Some(node) = reached.iter().position(|seen| !seen) {
            return Err(InvalidForest::Unreached { tree: index, node });
        }
        self.trees.push(FlatTree { root: root as u32, output: tree.output, depth });
        Ok(())
    }

    fn reserve_nodes(&mut self, count: usize) {
        let length = self.nodes.len() + count;
        self.nodes.resize(length, FlatNode::leaf(0));
        self.missing_right.resize(length, false);
        self.leaf_of_node.resize(length, 0);
    }

    fn node(&self, root: u32, index: u32) -> Node {
        let node = self.nodes[index as usize];
        if node.is_leaf() {
            return Node::Leaf { row: self.leaf_of_node[index as usize] };
        }
        Node::Split {
            feature: node.feature,
            threshold: threshold::threshold(self.rule, node.bound),
            missing_left: !self.missing_right[index as usize],
            left: node.left - root,
            right: node.left + 1 - root,
        }
    }
}

impl TryFrom<ForestParts> for Forest {
    type Error = InvalidForest;

    fn try_from(parts: ForestParts) -> Result<Self, InvalidForest> {
        Self::new(&parts)
    }
}

impl From<Forest> for ForestParts {
    fn from(forest: Forest) -> Self {
        forest.to_parts()
    }
}

/// Where a tree begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FlatTree {
    pub(super) root: u32,
    /// Where its scalar leaves are added.
    pub(super) output: u32,
    /// Steps from the root to the deepest leaf.
    pub(super) depth: u32,
}

/// Sixteen bytes that a step of the walk reads.
///
/// A leaf is its own left child and its bound is NaN, with which every comparison is false: a walk that has arrived
/// stays, so several walks can go side by side for the steps of the longest without asking who is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlatNode {
    /// A value goes right when it is at or above this.
    pub(super) bound: f64,
    pub(super) feature: u32,
    /// The left child; the right one follows it.
    pub(super) left: u32,
}

impl FlatNode {
    fn leaf(index: u32) -> Self {
        Self { bound: f64::NAN, feature: 0, left: index }
    }

    pub(super) fn is_leaf(self) -> bool {
        self.bound.is_nan()
    }
}

impl PartialEq for FlatNode {
    /// By bits, so that leaves (NaN bounds) are equal.
    fn eq(&self, other: &Self) -> bool {
        (self.bound.to_bits(), self.feature, self.left) == (other.bound.to_bits(), other.feature, other.left)
    }
}

/// Checks everything that is not inside a tree; answers the number of leaf rows.
fn check_sizes(parts: &ForestParts) -> Result<usize, InvalidForest> {
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
        return Err(InvalidForest::Length {
            what: "base",
            found: parts.base.len(),
            expected: parts.n_outputs,
        });
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
    for (tree, TreeParts { output, .. }) in parts.trees.iter().enumerate() {
        let n_outputs = if parts.leaf_kind == LeafKind::Vector { 1 } else { parts.n_outputs };
        if *output as usize >= n_outputs {
            return Err(InvalidForest::Output { tree, output: *output, n_outputs });
        }
    }
    Ok(rows)
}

fn leaf_width(kind: LeafKind, n_outputs: usize) -> usize {
    match kind {
        LeafKind::Scalar => 1,
        LeafKind::Vector => n_outputs,
    }
}

fn is_threshold(rule: DecisionRule, threshold: f64) -> bool {
    threshold.is_finite() && (rule == DecisionRule::DoubleAtMost || f64::from(threshold as f32) == threshold)
}
