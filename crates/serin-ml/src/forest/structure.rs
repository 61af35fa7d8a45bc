//! The usable form of a forest, and the checks between it and its parts.

use serde::{Deserialize, Serialize};

use super::categories::{self, CategorySet};
use super::compiled::Compiled;
use super::parts::{
    Addition, Combination, DecisionRule, ForestParts, InvalidForest, LeafKind, Node, TreeParts, ZERO_LIMIT,
    check_sizes, is_threshold, leaf_width,
};
use super::threshold;

/// A checked ensemble of decision trees, laid out for evaluation.
///
/// Every index in it is in range, every tree is a tree (no cycle, no shared node), and every number is finite: it can
/// only be made from [`ForestParts`], by [`Forest::new`] or by decoding, and both check.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "ForestParts", into = "ForestParts")]
pub struct Forest {
    pub(super) n_features: usize,
    pub(super) n_outputs: usize,
    pub(super) rule: DecisionRule,
    pub(super) combination: Combination,
    pub(super) addition: Addition,
    pub(super) leaf_kind: LeafKind,
    pub(super) base: Vec<f64>,
    pub(super) trees: Vec<FlatTree>,
    /// The nodes of all trees; the two children of a node are neighbours.
    pub(super) nodes: Vec<FlatNode>,
    /// For each node, its [`flags`].
    pub(super) flags: Vec<u8>,
    /// Whether any node needs more than a comparison.
    pub(super) has_special_nodes: bool,
    /// For each node, its row of `leaf_values` (leaves) or zero (splits).
    pub(super) leaf_of_node: Vec<u32>,
    pub(super) leaf_values: Vec<f64>,
    pub(super) category_sets: Vec<CategorySet>,
    /// For each node, its cover; empty when unknown.
    pub(super) covers: Vec<f32>,
    /// The same trees in a faster form, where they are small enough; follows from the rest and is never stored.
    pub(super) compiled: Option<Box<Compiled>>,
}

/// What a node needs beside its comparison.
pub(super) mod flags {
    /// A missing value goes right.
    pub const MISSING_RIGHT: u8 = 1;
    /// Zero is missing.
    pub const ZERO_IS_MISSING: u8 = 2;
    /// The bound is the number of a category set.
    pub const CATEGORY: u8 = 4;
    /// The members of the set go left.
    pub const LISTED_LEFT: u8 = 8;
    /// The node is a leaf.
    pub const LEAF: u8 = 16;
    /// The node is more than a comparison.
    pub const SPECIAL: u8 = ZERO_IS_MISSING | CATEGORY;
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
            addition: parts.addition,
            leaf_kind: parts.leaf_kind,
            base: parts.base.clone(),
            trees: Vec::with_capacity(parts.trees.len()),
            nodes: Vec::new(),
            flags: Vec::new(),
            has_special_nodes: false,
            leaf_of_node: Vec::new(),
            leaf_values: parts.leaf_values.clone(),
            category_sets: parts.category_sets.clone(),
            covers: Vec::new(),
            compiled: None,
        };
        let has_covers = parts.trees.iter().all(|tree| !tree.covers.is_empty());
        for (index, tree) in parts.trees.iter().enumerate() {
            forest.add(index, tree, leaf_rows, has_covers)?;
        }
        forest.has_special_nodes = forest.flags.iter().any(|flags| flags & flags::SPECIAL != 0);
        forest.compiled = Compiled::new(&forest).map(Box::new);
        Ok(forest)
    }

    /// The open form, equal to the one this forest was made from up to the numbering of nodes.
    #[must_use]
    pub fn to_parts(&self) -> ForestParts {
        let ends = self.trees.iter().skip(1).map(|tree| tree.root).chain([self.nodes.len() as u32]);
        let trees = self.trees.iter().zip(ends).map(|(tree, end)| TreeParts {
            output: tree.output,
            nodes: (tree.root..end).map(|index| self.node(tree.root, index)).collect(),
            covers: self
                .covers
                .get(tree.root as usize..end as usize)
                .map(<[f32]>::to_vec)
                .unwrap_or_default(),
        });
        ForestParts {
            n_features: self.n_features,
            n_outputs: self.n_outputs,
            rule: self.rule,
            combination: self.combination,
            addition: self.addition,
            leaf_kind: self.leaf_kind,
            base: self.base.clone(),
            trees: trees.collect(),
            leaf_values: self.leaf_values.clone(),
            category_sets: self.category_sets.clone(),
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

    /// Where the row of a walk goes from node `index`, and `index` itself in a leaf: the rule in full, for every node.
    pub(super) fn next(&self, index: usize, row: &[f64]) -> usize {
        let (node, flags) = (self.nodes[index], self.flags[index]);
        // A forest without features consists of leaves only, and then there is nothing to read.
        let Some(&value) = row.get(node.feature as usize).filter(|_| flags & flags::LEAF == 0) else {
            return index;
        };
        let is_missing = value.is_nan() || flags & flags::ZERO_IS_MISSING != 0 && value.abs() <= ZERO_LIMIT;
        let right = if is_missing {
            flags & flags::MISSING_RIGHT != 0
        } else if flags & flags::CATEGORY != 0 {
            self.is_listed(node.bound as usize, value) != (flags & flags::LISTED_LEFT != 0)
        } else {
            value >= node.bound
        };
        node.left as usize + usize::from(right)
    }

    /// Whether category set `set` has `value`.
    pub(super) fn is_listed(&self, set: usize, value: f64) -> bool {
        categories::category(self.rule, value)
            .is_some_and(|category| self.category_sets[set].contains(category))
    }

    /// Whether node `index` is a leaf.
    pub(super) fn is_leaf(&self, index: usize) -> bool {
        self.flags[index] & flags::LEAF != 0
    }

    /// Checks one tree and appends its nodes, children side by side.
    fn add(
        &mut self,
        index: usize,
        tree: &TreeParts,
        leaf_rows: usize,
        has_covers: bool,
    ) -> Result<(), InvalidForest> {
        let n_nodes = tree.nodes.len();
        check_tree(index, tree)?;
        let root = self.nodes.len();
        if u32::try_from(root + n_nodes).is_err() {
            return Err(InvalidForest::TooLarge { what: "nodes" });
        }
        self.reserve_nodes(1);
        if has_covers {
            self.covers.resize(root + n_nodes, 0.0);
        }
        let mut reached = vec![false; n_nodes];
        let mut depth = 0;
        // (index in the parts, index in the layout, depth)
        let mut pending = vec![(0_usize, root, 0_u32)];
        reached[0] = true;
        while let Some((from, to, level)) = pending.pop() {
            depth = depth.max(level);
            if has_covers {
                self.covers[to] = tree.covers[from];
            }
            let (left, right) = match tree.nodes[from] {
                Node::Leaf { row } => {
                    if row as usize >= leaf_rows {
                        return Err(InvalidForest::LeafRow { tree: index, node: from, row, rows: leaf_rows });
                    }
                    self.leaf_of_node[to] = row;
                    (self.nodes[to], self.flags[to]) = flat(self.rule, tree.nodes[from], to as u32, 0);
                    continue;
                }
                Node::Split { left, right, .. } | Node::Category { left, right, .. } => (left, right),
            };
            self.check_question(tree.nodes[from], index, from)?;
            for child in [left, right] {
                match reached.get_mut(child as usize) {
                    None => return Err(InvalidForest::Child { tree: index, node: from, child, n_nodes }),
                    Some(true) => {
                        return Err(InvalidForest::ReachedTwice { tree: index, node: child as usize });
                    }
                    Some(seen) => *seen = true,
                }
            }
            let children = self.nodes.len();
            self.reserve_nodes(2);
            (self.nodes[to], self.flags[to]) = flat(self.rule, tree.nodes[from], to as u32, children as u32);
            pending.push((right as usize, children + 1, level + 1));
            pending.push((left as usize, children, level + 1));
        }
        if let Some(node) = reached.iter().position(|seen| !seen) {
            return Err(InvalidForest::Unreached { tree: index, node });
        }
        self.trees.push(FlatTree { root: root as u32, output: tree.output, depth });
        Ok(())
    }

    /// Checks what a node asks for.
    fn check_question(&self, question: Node, tree: usize, node: usize) -> Result<(), InvalidForest> {
        let n_features = self.n_features;
        match question {
            Node::Split { feature, .. } | Node::Category { feature, .. }
                if feature as usize >= n_features =>
            {
                Err(InvalidForest::Feature { tree, node, feature, n_features })
            }
            Node::Split { threshold, .. } if !is_threshold(self.rule, threshold) => {
                Err(InvalidForest::Threshold { tree, node, threshold })
            }
            Node::Category { set, .. } if set as usize >= self.category_sets.len() => {
                Err(InvalidForest::Set { tree, node, set, sets: self.category_sets.len() })
            }
            _ => Ok(()),
        }
    }

    fn reserve_nodes(&mut self, count: usize) {
        let length = self.nodes.len() + count;
        self.nodes.resize(length, FlatNode::leaf(0));
        self.flags.resize(length, 0);
        self.leaf_of_node.resize(length, 0);
    }

    fn node(&self, root: u32, index: u32) -> Node {
        let (node, flags) = (self.nodes[index as usize], self.flags[index as usize]);
        if flags & flags::LEAF != 0 {
            return Node::Leaf { row: self.leaf_of_node[index as usize] };
        }
        let (feature, left, right) = (node.feature, node.left - root, node.left + 1 - root);
        let missing_left = flags & flags::MISSING_RIGHT == 0;
        if flags & flags::CATEGORY != 0 {
            let listed_left = flags & flags::LISTED_LEFT != 0;
            return Node::Category {
                feature,
                set: node.bound as u32,
                listed_left,
                missing_left,
                left,
                right,
            };
        }
        let threshold = threshold::threshold(self.rule, node.bound);
        let zero_is_missing = flags & flags::ZERO_IS_MISSING != 0;
        Node::Split { feature, threshold, missing_left, zero_is_missing, left, right }
    }
}

impl PartialEq for Forest {
    /// Equal in all that is stored.
    fn eq(&self, other: &Self) -> bool {
        self.to_parts() == other.to_parts()
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
#[derive(Debug, Clone, Copy)]
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
    /// A value goes right when it is at or above this; none does when it is NaN.
    pub(super) bound: f64,
    pub(super) feature: u32,
    /// The left child; the right one follows it.
    pub(super) left: u32,
}

impl FlatNode {
    fn leaf(index: u32) -> Self {
        Self { bound: f64::NAN, feature: 0, left: index }
    }
}

/// Checks what can be said of a tree before it is walked.
fn check_tree(index: usize, tree: &TreeParts) -> Result<(), InvalidForest> {
    let n_nodes = tree.nodes.len();
    if n_nodes == 0 {
        return Err(InvalidForest::EmptyTree { tree: index });
    }
    if !tree.covers.is_empty() && tree.covers.len() != n_nodes {
        return Err(InvalidForest::Covers { tree: index, found: tree.covers.len(), n_nodes });
    }
    match tree.covers.iter().position(|cover| !(cover.is_finite() && *cover >= 0.0)) {
        Some(node) => Err(InvalidForest::Cover { tree: index, node, cover: tree.covers[node] }),
        None => Ok(()),
    }
}

/// The layout of `node` at place `to`, whose children begin at `left`.
fn flat(rule: DecisionRule, node: Node, to: u32, left: u32) -> (FlatNode, u8) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    match node {
        Node::Leaf { .. } => (FlatNode::leaf(to), flags::LEAF),
        Node::Split { feature, threshold, missing_left, zero_is_missing, .. } => (
            FlatNode { bound: threshold::bound(rule, threshold), feature, left },
            flag(!missing_left, flags::MISSING_RIGHT) | flag(zero_is_missing, flags::ZERO_IS_MISSING),
        ),
        Node::Category { feature, set, listed_left, missing_left, .. } => (
            FlatNode { bound: f64::from(set), feature, left },
            flags::CATEGORY
                | flag(!missing_left, flags::MISSING_RIGHT)
                | flag(listed_left, flags::LISTED_LEFT),
        ),
    }
}
