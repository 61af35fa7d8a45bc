//! From a row to the combined leaves.
//!
//! A single walk waits for memory at each step: the next node is not known before this one is compared. So eight
//! walks go side by side, through eight trees for one row, or through one tree for eight rows. The leaves are added
//! in the order of the trees either way, so a row has the same result to the last bit alone and in a batch.

use rayon::prelude::*;

use super::structure::{Combination, Forest, LeafKind};
use crate::matrix::Matrix;

/// Walks side by side: enough to hide the latency of the first-level cache, few enough to stay in registers.
const LANES: usize = 8;

/// Rows that pass through one tree before the next: their values and sums stay in the cache.
const BLOCK_ROWS: usize = 64;

impl Forest {
    /// The result for one `row` of `n_features` values (NaN is missing), into `out` of `n_outputs` values.
    ///
    /// # Panics
    /// When a length is wrong: that is a mistake of the calling code, never of data.
    pub fn evaluate_into(&self, row: &[f64], out: &mut [f64]) {
        assert_eq!(row.len(), self.n_features, "a row must have as many values as the forest has features");
        assert_eq!(out.len(), self.n_outputs, "the result needs room for every output");
        out.fill(0.0);
        if row.iter().any(|value| value.is_nan()) {
            self.add_leaves::<true>(row, out);
        } else {
            self.add_leaves::<false>(row, out);
        }
        self.finish(out);
    }

    /// The results for all rows of `x`: rows x `n_outputs`. Rows are shared among threads.
    ///
    /// # Panics
    /// When `x` has not `n_features` columns: that is a mistake of the calling code, never of data.
    #[must_use]
    pub fn evaluate(&self, x: &Matrix) -> Matrix {
        assert_eq!(
            x.n_columns(),
            self.n_features,
            "a row must have as many values as the forest has features"
        );
        let mut values = vec![0.0; x.n_rows() * self.n_outputs];
        values.par_chunks_mut(BLOCK_ROWS * self.n_outputs).enumerate().for_each(|(block, out)| {
            self.evaluate_block(x, block * BLOCK_ROWS, out);
        });
        Matrix::new(x.n_rows(), self.n_outputs, values)
    }

    /// The index of the node, among all nodes, that is the leaf `row` reaches in `tree`.
    pub(super) fn leaf_node(&self, tree: usize, row: &[f64]) -> usize {
        let mut index = self.trees[tree].root as usize;
        loop {
            let next = self.step::<true>(index, row);
            if next == index {
                return index;
            }
            index = next;
        }
    }

    /// The values of the leaf at node `index`.
    pub(super) fn leaf_values_at(&self, index: usize) -> &[f64] {
        let width = self.leaf_width();
        let start = self.leaf_of_node[index] as usize * width;
        &self.leaf_values[start..start + width]
    }

    fn add_leaves<const MISSING: bool>(&self, row: &[f64], out: &mut [f64]) {
        let mut groups = self.trees.chunks_exact(LANES);
        for trees in &mut groups {
            let mut at = [0_usize; LANES];
            let mut steps = 0;
            for (lane, tree) in at.iter_mut().zip(trees) {
                *lane = tree.root as usize;
                steps = steps.max(tree.depth);
            }
            for _ in 0..steps {
                for lane in &mut at {
                    *lane = self.step::<MISSING>(*lane, row);
                }
            }
            for (lane, tree) in at.iter().zip(trees) {
                self.add_leaf(*lane, tree.output as usize, out);
            }
        }
        for tree in groups.remainder() {
            let mut at = tree.root as usize;
            for _ in 0..tree.depth {
                at = self.step::<MISSING>(at, row);
            }
            self.add_leaf(at, tree.output as usize, out);
        }
    }

    /// `out` holds the results of as many rows as it has room for, from row `first` of `x` on.
    fn evaluate_block(&self, x: &Matrix, first: usize, out: &mut [f64]) {
        let rows = out.len() / self.n_outputs;
        let has_missing = (first..first + rows).any(|i| x.row(i).iter().any(|value| value.is_nan()));
        if has_missing {
            self.add_block::<true>(x, first, out);
        } else {
            self.add_block::<false>(x, first, out);
        }
        for out in out.chunks_exact_mut(self.n_outputs) {
            self.finish(out);
        }
    }

    fn add_block<const MISSING: bool>(&self, x: &Matrix, first: usize, out: &mut [f64]) {
        let n_outputs = self.n_outputs;
        let rows = out.len() / n_outputs;
        for tree in &self.trees {
            let output = tree.output as usize;
            for start in (0..rows).step_by(LANES) {
                let count = LANES.min(rows - start);
                // Lanes beyond the last row repeat it; their walks are not added.
                let lanes: [&[f64]; LANES] =
                    std::array::from_fn(|lane| x.row(first + start + lane.min(count - 1)));
                let mut at = [tree.root as usize; LANES];
                for _ in 0..tree.depth {
                    for (at, row) in at.iter_mut().zip(lanes) {
                        *at = self.step::<MISSING>(*at, row);
                    }
                }
                for (lane, at) in at.iter().enumerate().take(count) {
                    let row = start + lane;
                    self.add_leaf(*at, output, &mut out[row * n_outputs..(row + 1) * n_outputs]);
                }
            }
        }
    }

    /// One step of a walk; in a leaf it stays.
    #[inline(always)]
    fn step<const MISSING: bool>(&self, index: usize, row: &[f64]) -> usize {
        let node = self.nodes[index];
        // A forest without features consists of leaves only, and then there is nothing to read.
        let Some(&value) = row.get(node.feature as usize) else { return index };
        let mut right = value >= node.bound;
        if MISSING {
            right |= value.is_nan() & self.missing_right[index];
        }
        node.left as usize + usize::from(right)
    }

    #[inline(always)]
    fn add_leaf(&self, index: usize, output: usize, out: &mut [f64]) {
        match self.leaf_kind {
            LeafKind::Scalar => out[output] += self.leaf_values[self.leaf_of_node[index] as usize],
            LeafKind::Vector => {
                for (out, value) in out.iter_mut().zip(self.leaf_values_at(index)) {
                    *out += value;
                }
            }
        }
    }

    fn finish(&self, out: &mut [f64]) {
        let divisor = match self.combination {
            Combination::Sum => 1.0,
            Combination::Mean => self.trees.len() as f64,
        };
        for (out, base) in out.iter_mut().zip(&self.base) {
            *out = *out / divisor + base;
        }
    }
}
