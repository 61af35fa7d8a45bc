//! From a row to the combined leaves.
//!
//! Forests of small trees have a [compiled](super::compiled) form. All others are walked. A single walk waits for
//! memory at each step: the next node is not known before this one is compared. So eight walks go side by side, through
//! eight trees for one row, or through one tree for eight rows. The leaves are added in the order of the trees in every
//! case, so a row has the same result to the last bit alone and in a batch.

use rayon::prelude::*;

use super::compiled::{BLOCK_ROWS, Scratch};
use super::parts::{Addition, Combination, LeafKind};
use super::structure::{Forest, flags};
use crate::matrix::Matrix;

/// Walks side by side: enough to hide the latency of the first-level cache, few enough to stay in registers.
const LANES: usize = 8;

/// Fewer rows than this are answered one by one even where there is a form for blocks: a block costs the same however
/// few of its rows are real.
const LEAST_BLOCK_ROWS: usize = 24;

impl Forest {
    /// The result for one `row` of `n_features` values (NaN is missing), into `out` of `n_outputs` values.
    ///
    /// # Panics
    /// When a length is wrong: that is a mistake of the calling code, never of data.
    pub fn evaluate_into(&self, row: &[f64], out: &mut [f64]) {
        assert_eq!(out.len(), self.n_outputs, "the result needs room for every output");
        self.evaluate_rows_into(row, &mut Scratch::default(), out);
    }

    /// The results for rows of `n_features` values each, one after the other, into `out`: rows x `n_outputs`. On this
    /// thread; allocates only while `scratch` grows.
    ///
    /// # Panics
    /// When a length is wrong: that is a mistake of the calling code, never of data.
    pub fn evaluate_rows_into(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) {
        let n_rows = out.len() / self.n_outputs;
        assert_eq!(out.len(), n_rows * self.n_outputs, "the result needs room for every output");
        assert_eq!(
            rows.len(),
            n_rows * self.n_features,
            "a row must have as many values as the forest has features"
        );
        for (block, out) in out.chunks_mut(BLOCK_ROWS * self.n_outputs).enumerate() {
            let first = block * BLOCK_ROWS * self.n_features;
            let length = out.len() / self.n_outputs * self.n_features;
            self.evaluate_block(&rows[first..first + length], scratch, out);
        }
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
        let blocks = values.par_chunks_mut(BLOCK_ROWS * self.n_outputs).enumerate();
        blocks.for_each_init(Scratch::default, |scratch, (block, out)| {
            let first = block * BLOCK_ROWS * self.n_features;
            let length = out.len() / self.n_outputs * self.n_features;
            self.evaluate_block(&x.values()[first..first + length], scratch, out);
        });
        Matrix::new(x.n_rows(), self.n_outputs, values)
    }

    /// The index of the node, among all nodes, that is the leaf `row` reaches in `tree`.
    pub(super) fn leaf_node(&self, tree: usize, row: &[f64]) -> usize {
        let mut index = self.trees[tree].root as usize;
        loop {
            let next = self.next(index, row);
            if next == index {
                return index;
            }
            index = next;
        }
    }

    /// The values of the leaf at node `index`.
    pub(super) fn leaf_values_at(&self, index: usize) -> &[f64] {
        self.leaf_row(self.leaf_of_node[index])
    }

    /// A row of the leaf values.
    #[inline(always)]
    pub(super) fn leaf_row(&self, row: u32) -> &[f64] {
        let width = self.leaf_width();
        &self.leaf_values[row as usize * width..(row as usize + 1) * width]
    }

    /// Up to [`BLOCK_ROWS`] rows.
    fn evaluate_block(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) {
        match self.addition {
            Addition::Double => {
                out.fill(0.0);
                self.add_leaves(rows, scratch, |sum, leaf| *sum += leaf, out);
                let divisor = self.divisor();
                for out in out.chunks_exact_mut(self.n_outputs) {
                    for (out, base) in out.iter_mut().zip(&self.base) {
                        *out = *out / divisor + base;
                    }
                }
            }
            Addition::SingleFromBase => {
                out.chunks_exact_mut(self.n_outputs).for_each(|out| out.copy_from_slice(&self.base));
                // The sum of two singles, rounded to double and then to single, is their sum in single precision.
                self.add_leaves(rows, scratch, |sum, leaf| *sum = f64::from((*sum + leaf) as f32), out);
            }
        }
    }

    /// What sums are divided by: the number of rounds of a mean.
    pub(super) fn divisor(&self) -> f64 {
        match (self.combination, self.leaf_kind) {
            (Combination::Sum, _) => 1.0,
            (Combination::Mean, LeafKind::Vector) => self.trees.len() as f64,
            (Combination::Mean, LeafKind::Scalar) => (self.trees.len() / self.n_outputs) as f64,
        }
    }

    fn add_leaves(
        &self,
        rows: &[f64],
        scratch: &mut Scratch,
        add: impl Fn(&mut f64, f64) + Copy,
        out: &mut [f64],
    ) {
        let n_rows = out.len() / self.n_outputs;
        // A row without values has no slice of its own to be found by.
        let row = |i: usize| &rows[i * self.n_features..(i + 1) * self.n_features];
        if let Some(compiled) = &self.compiled {
            if n_rows >= LEAST_BLOCK_ROWS && self.n_features > 0 {
                return compiled.add_block(self, rows, scratch, add, out);
            }
            for (i, out) in out.chunks_exact_mut(self.n_outputs).enumerate() {
                compiled.add_row(self, row(i), scratch, add, out);
            }
        } else if self.has_special_nodes {
            self.walk(n_rows, row, |index, row| self.next(index, row), add, out);
        } else if rows.iter().any(|value| value.is_nan()) {
            self.walk(n_rows, row, |index, row| self.step::<true>(index, row), add, out);
        } else {
            self.walk(n_rows, row, |index, row| self.step::<false>(index, row), add, out);
        }
    }

    fn walk<'a>(
        &self,
        n_rows: usize,
        row: impl Fn(usize) -> &'a [f64],
        step: impl Fn(usize, &[f64]) -> usize,
        add: impl Fn(&mut f64, f64) + Copy,
        out: &mut [f64],
    ) {
        if n_rows < LANES {
            for (i, out) in out.chunks_exact_mut(self.n_outputs).enumerate() {
                self.walk_trees(row(i), &step, add, out);
            }
            return;
        }
        let n_outputs = self.n_outputs;
        for tree in &self.trees {
            let output = tree.output as usize;
            for start in (0..n_rows).step_by(LANES) {
                let count = LANES.min(n_rows - start);
                // Lanes beyond the last row repeat it; their walks are not added.
                let lanes: [&[f64]; LANES] = std::array::from_fn(|lane| row(start + lane.min(count - 1)));
                let mut at = [tree.root as usize; LANES];
                for _ in 0..tree.depth {
                    for (at, row) in at.iter_mut().zip(lanes) {
                        *at = step(*at, row);
                    }
                }
                for (lane, at) in at.iter().enumerate().take(count) {
                    let row = start + lane;
                    self.add_leaf(*at, output, add, &mut out[row * n_outputs..(row + 1) * n_outputs]);
                }
            }
        }
    }

    /// One row through the trees, eight at a time.
    fn walk_trees(
        &self,
        row: &[f64],
        step: impl Fn(usize, &[f64]) -> usize,
        add: impl Fn(&mut f64, f64) + Copy,
        out: &mut [f64],
    ) {
        for trees in self.trees.chunks(LANES) {
            let mut at = [0_usize; LANES];
            let mut steps = 0;
            for (lane, tree) in at.iter_mut().zip(trees) {
                *lane = tree.root as usize;
                steps = steps.max(tree.depth);
            }
            let at = &mut at[..trees.len()];
            for _ in 0..steps {
                for lane in at.iter_mut() {
                    *lane = step(*lane, row);
                }
            }
            for (lane, tree) in at.iter().zip(trees) {
                self.add_leaf(*lane, tree.output as usize, add, out);
            }
        }
    }

    /// One step of a walk through nodes that only compare; in a leaf it stays.
    #[inline(always)]
    fn step<const MISSING: bool>(&self, index: usize, row: &[f64]) -> usize {
        let node = self.nodes[index];
        // A forest without features consists of leaves only, and then there is nothing to read.
        let Some(&value) = row.get(node.feature as usize) else { return index };
        let mut right = value >= node.bound;
        if MISSING {
            right |= value.is_nan() & (self.flags[index] & flags::MISSING_RIGHT != 0);
        }
        node.left as usize + usize::from(right)
    }

    #[inline(always)]
    fn add_leaf(&self, index: usize, output: usize, add: impl Fn(&mut f64, f64), out: &mut [f64]) {
        match self.leaf_kind {
            LeafKind::Scalar => add(&mut out[output], self.leaf_values[self.leaf_of_node[index] as usize]),
            LeafKind::Vector => {
                out.iter_mut().zip(self.leaf_values_at(index)).for_each(|(out, value)| add(out, *value));
            }
        }
    }
}
