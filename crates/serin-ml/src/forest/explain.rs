//! Contributions of features to a result: exact Shapley values of the trees, path-dependent.
//!
//! Lundberg, Erion and Lee, "Consistent Individualized Feature Attribution for Tree Ensembles" (2018), algorithm 2. A
//! feature that is not known sends a row both ways, in the shares of the training rows that went there: the covers.

use thiserror::Error;

use super::parts::LeafKind;
use super::structure::Forest;

/// Trees deeper than this are not explained: the work grows with the square of the depth.
const DEPTH_LIMIT: u32 = 256;

/// Why trees cannot be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoContributions {
    #[error("its trees do not say how many training rows reached each node")]
    Covers,
    #[error("a tree is {depth} splits deep, more than {DEPTH_LIMIT}")]
    Depth { depth: u32 },
}

/// One feature on the way from the root, with what is known of the subsets of features that could be known there.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// `None` for the root, where nothing is asked.
    feature: Option<u32>,
    /// The share of rows that take this way while the feature is not known.
    unknown: f64,
    /// 1 where the row takes this way once the feature is known, else 0.
    known: f64,
    /// Weight of the subsets with as many known features as this step has before it.
    weight: f64,
}

impl Forest {
    /// The mean result of `output` over the training rows, and what each feature of `row` adds to it: their sum is the
    /// result for `row`, up to rounding.
    ///
    /// # Errors
    /// When covers are not known, or a tree is too deep.
    ///
    /// # Panics
    /// When `row` has not `n_features` values: that is a mistake of the calling code, never of data.
    pub fn contributions(&self, row: &[f64], output: usize) -> Result<(f64, Vec<f64>), NoContributions> {
        assert_eq!(row.len(), self.n_features, "a row must have as many values as the forest has features");
        if self.covers.is_empty() {
            return Err(NoContributions::Covers);
        }
        let trees = self
            .trees
            .iter()
            .filter(|tree| self.leaf_kind == LeafKind::Vector || tree.output as usize == output);
        let mut walk =
            Walk { forest: self, row, output, mean: 0.0, contributions: vec![0.0; self.n_features] };
        for tree in trees {
            if tree.depth > DEPTH_LIMIT {
                return Err(NoContributions::Depth { depth: tree.depth });
            }
            let root = Step { feature: None, unknown: 1.0, known: 1.0, weight: 1.0 };
            walk.descend(tree.root as usize, 1.0, &[], root);
        }
        let Walk { mean, mut contributions, .. } = walk;
        let divisor = self.divisor();
        contributions.iter_mut().for_each(|contribution| *contribution /= divisor);
        Ok((mean / divisor + self.base[output], contributions))
    }
}

struct Walk<'a> {
    forest: &'a Forest,
    row: &'a [f64],
    output: usize,
    mean: f64,
    contributions: Vec<f64>,
}

impl Walk<'_> {
    /// Goes to `node`, which `share` of all rows reach, by the steps of `path` and then `step`. Recurses as deep as a tree
    /// is, which is limited.
    fn descend(&mut self, node: usize, share: f64, path: &[Step], step: Step) {
        let mut path: Vec<Step> = path.to_vec();
        extend(&mut path, step);
        let flat = self.forest.nodes[node];
        if self.forest.is_leaf(node) {
            let values = self.forest.leaf_values_at(node);
            let value = values[if self.forest.leaf_kind == LeafKind::Vector { self.output } else { 0 }];
            self.mean += share * value;
            for (place, step) in path.iter().enumerate() {
                if let Some(feature) = step.feature {
                    let weight = unwound_weight(&path, place);
                    self.contributions[feature as usize] += weight * (step.known - step.unknown) * value;
                }
            }
            return;
        }
        let taken = self.forest.next(node, self.row);
        let (left, right) = (flat.left as usize, flat.left as usize + 1);
        let covers = [left, right].map(|child| f64::from(self.forest.covers[child]));
        let total = covers[0] + covers[1];
        // A feature that was asked before counts once, with the shares of both questions.
        let before = path.iter().position(|step| step.feature == Some(flat.feature));
        let earlier = before.map_or((1.0, 1.0), |place| (path[place].unknown, path[place].known));
        if let Some(place) = before {
            unwind(&mut path, place);
        }
        for (child, cover) in [left, right].into_iter().zip(covers) {
            // Nodes that no row reached share alike.
            let part = if total > 0.0 { cover / total } else { 0.5 };
            let known = if child == taken { earlier.1 } else { 0.0 };
            let step = Step { feature: Some(flat.feature), unknown: earlier.0 * part, known, weight: 0.0 };
            self.descend(child, share * part, &path, step);
        }
    }
}

/// Adds a step to a path and its weight to the weights of all subsets.
fn extend(path: &mut Vec<Step>, step: Step) {
    let before = path.len();
    let length = (before + 1) as f64;
    path.push(Step { weight: if before == 0 { 1.0 } else { 0.0 }, ..step });
    for i in (0..before).rev() {
        path[i + 1].weight += step.known * path[i].weight * (i + 1) as f64 / length;
        path[i].weight *= step.unknown * (before - i) as f64 / length;
    }
}

/// Takes a step out of a path, as if it had never been added.
fn unwind(path: &mut Vec<Step>, place: usize) {
    let last = path.len() - 1;
    let length = path.len() as f64;
    let Step { unknown, known, .. } = path[place];
    let mut next = path[last].weight;
    for i in (0..last).rev() {
        if known != 0.0 {
            let weight = path[i].weight;
            path[i].weight = next * length / ((i + 1) as f64 * known);
            next = weight - path[i].weight * unknown * (last - i) as f64 / length;
        } else if unknown != 0.0 {
            path[i].weight *= length / (unknown * (last - i) as f64);
        }
    }
    for i in place..last {
        path[i] = Step { weight: path[i].weight, ..path[i + 1] };
    }
    path.pop();
}

/// The sum of the weights of a path without the step at `place`.
fn unwound_weight(path: &[Step], place: usize) -> f64 {
    let last = path.len() - 1;
    let length = path.len() as f64;
    let Step { unknown, known, .. } = path[place];
    let mut next = path[last].weight;
    let mut sum = 0.0;
    for i in (0..last).rev() {
        if known != 0.0 {
            let weight = next * length / ((i + 1) as f64 * known);
            sum += weight;
            next = path[i].weight - weight * unknown * (last - i) as f64 / length;
        } else if unknown != 0.0 {
            sum += path[i].weight * length / (unknown * (last - i) as f64);
        }
    }
    sum
}
