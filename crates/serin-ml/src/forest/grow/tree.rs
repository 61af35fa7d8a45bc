//! One tree, grown depth first.

use super::columns::Columns;
use super::split::{NodeRows, Search};
use super::{GrowParameters, Node};
use crate::seed::Seed;

/// A grown tree; its leaves name rows of `leaves`.
pub(super) struct GrownTree {
    pub(super) nodes: Vec<Node>,
    /// For each node, the weight of the rows that reached it.
    pub(super) covers: Vec<f32>,
    /// Leaves x classes: weighted shares.
    pub(super) leaves: Vec<f64>,
    /// For each feature, by how much its splits decreased the weighted Gini impurity.
    pub(super) decreases: Vec<f64>,
}

/// The rows of a tree's sample, reordered as it grows so that each node owns a contiguous range.
#[derive(Default)]
pub(super) struct TreeRows {
    rows: Vec<u32>,
    classes: Vec<u32>,
    weights: Vec<f64>,
}

impl TreeRows {
    pub(super) fn push(&mut self, row: u32, class: u32, weight: f64) {
        self.rows.push(row);
        self.classes.push(class);
        self.weights.push(weight);
    }

    /// The rows from `start` to `end`, with the weight of each class among them.
    fn node<'a>(&'a self, start: usize, end: usize, totals: &'a [f64]) -> NodeRows<'a> {
        let (rows, classes, weights) =
            (&self.rows[start..end], &self.classes[start..end], &self.weights[start..end]);
        NodeRows { rows, classes, weights, totals }
    }

    fn totals(&self, start: usize, end: usize, totals: &mut [f64]) {
        totals.fill(0.0);
        for (class, weight) in self.classes[start..end].iter().zip(&self.weights[start..end]) {
            totals[*class as usize] += weight;
        }
    }

    /// Moves the rows for which `goes_left` to the front of the range, keeping the order on both sides; answers where
    /// the right side begins.
    fn part(&mut self, start: usize, end: usize, aside: &mut Self, goes_left: impl Fn(u32) -> bool) -> usize {
        aside.rows.clear();
        aside.classes.clear();
        aside.weights.clear();
        let mut middle = start;
        for from in start..end {
            let (row, class, weight) = (self.rows[from], self.classes[from], self.weights[from]);
            if goes_left(row) {
                self.rows[middle] = row;
                self.classes[middle] = class;
                self.weights[middle] = weight;
                middle += 1;
            } else {
                aside.push(row, class, weight);
            }
        }
        self.rows[middle..end].copy_from_slice(&aside.rows);
        self.classes[middle..end].copy_from_slice(&aside.classes);
        self.weights[middle..end].copy_from_slice(&aside.weights);
        middle
    }
}

/// Work still to do: a range of rows that becomes `node`.
struct Pending {
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
}

/// Grows a tree on `rows`.
pub(super) fn grow(
    columns: &Columns,
    mut rows: TreeRows,
    n_classes: usize,
    parameters: &GrowParameters,
    seed: Seed,
) -> GrownTree {
    let mut search = Search::new(columns, n_classes, parameters, seed.rng());
    let mut tree = GrownTree {
        nodes: vec![Node::Leaf { row: 0 }],
        covers: vec![0.0],
        leaves: Vec::new(),
        decreases: vec![0.0; columns.len()],
    };
    let mut aside = TreeRows::default();
    let mut totals = vec![0.0; n_classes];
    let mut pending = vec![Pending { node: 0, start: 0, end: rows.rows.len(), depth: 0 }];
    while let Some(Pending { node, start, end, depth }) = pending.pop() {
        rows.totals(start, end, &mut totals);
        let sum: f64 = totals.iter().sum();
        tree.covers[node] = sum as f32;
        let may_split = end - start >= parameters.min_samples_split
            && parameters.max_depth.is_none_or(|limit| depth < limit)
            && totals.iter().filter(|total| **total > 0.0).count() > 1;
        let split = if may_split { search.best(&rows.node(start, end, &totals)) } else { None };
        let Some(split) = split else {
            tree.nodes[node] = Node::Leaf { row: (tree.leaves.len() / n_classes) as u32 };
            tree.leaves.extend(totals.iter().map(|total| if sum > 0.0 { total / sum } else { 0.0 }));
            continue;
        };
        let values = &columns.column(split.feature).values;
        let middle = rows.part(start, end, &mut aside, |row| {
            let value = values[row as usize];
            value < split.threshold || (split.missing_left && value.is_nan())
        });
        debug_assert!(start < middle && middle < end, "a split leaves no side empty");
        tree.decreases[split.feature] += split.decrease;
        let left = tree.nodes.len();
        tree.nodes[node] = Node::Split {
            feature: split.feature as u32,
            threshold: f64::from(split.threshold),
            missing_left: split.missing_left,
            zero_is_missing: false,
            left: left as u32,
            right: left as u32 + 1,
        };
        tree.nodes.extend([Node::Leaf { row: 0 }; 2]);
        tree.covers.extend([0.0; 2]);
        pending.push(Pending { node: left + 1, start: middle, end, depth: depth + 1 });
        pending.push(Pending { node: left, start, end: middle, depth: depth + 1 });
    }
    tree
}
