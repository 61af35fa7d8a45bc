//! A faster form of forests of small trees.
//!
//! Every split of a feature cuts the number line, so all that a row's value says is its *rank*: how many of the
//! feature's cuts lie at or below it. A [`Column`] is a feature with its cuts; whatever is odd about a feature (zero
//! as missing, a set of categories, splits that send missing values to different sides) becomes a column of its own,
//! and after that a split is nothing but "rank above cut". Two ways lead from ranks to leaves:
//!
//! - One row alone: the leaves of a tree, from left to right, are the bits of a word. A split that sends the row right
//!   rules out the leaves on its left. The splits of a column are sorted by cut, so those that do are the first ones:
//!   a single run over masks, without a branch in it. The lowest bit left is the leaf (Lucchese et al., "QuickScorer",
//!   SIGIR 2015).
//! - Many rows: a tree is answered from its leaves to its root, for a block of rows at once. A split's answer is the one
//!   of its right side where the rank is above the cut, else that of its left side; as leaves are numbered from left to
//!   right, that is a maximum, and a compiler makes vector instructions of it.
//!
//! Either way the leaf of every tree is the one that the walk finds, and leaves are added in the same order.

mod build;
mod lanes;

use std::hint::select_unpredictable;

use super::parts::{LeafKind, ZERO_LIMIT};
use super::structure::Forest;
use lanes::{Lane, take};

/// Leaves of the largest tree that has this form: the bits of a word.
const LEAF_LIMIT: usize = 64;
/// Rows answered together.
pub(super) const BLOCK_ROWS: usize = 64;
/// Searches of cuts that go side by side.
const SEARCHES: usize = 8;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    columns: Vec<Column>,
    /// The cuts of all columns, ascending in each; NaN, which no value is above, comes last.
    cuts: Vec<f64>,
    /// For each column, for each rank: how many of its masks belong to cuts below.
    mask_ends: Vec<u32>,
    masks: Masks,
    steps: Vec<Step>,
    trees: Vec<Tree>,
    /// Tree by tree, leaves from left to right: their row of the forest's leaf values.
    leaf_rows: Vec<u32>,
    /// The same, their value, where leaves are scalars.
    leaf_values: Vec<f64>,
    /// Whether all ranks fit in a byte.
    is_narrow: bool,
}

/// Buffers that evaluation reuses.
#[derive(Debug, Default)]
pub struct Scratch {
    ends: Vec<u32>,
    narrow_words: Vec<u32>,
    wide_words: Vec<u64>,
    narrow: Block<i8>,
    wide: Block<i16>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    feature: u32,
    kind: ColumnKind,
    first_cut: u32,
    n_cuts: u32,
    missing_rank: u32,
    first_mask: u32,
    /// Of `mask_ends`; one more than there are cuts belong to the column.
    first_end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ColumnKind {
    /// The rank is the number of cuts at or below the value.
    Number,
    /// So it is, and zeros are missing.
    ZeroIsMissing,
    /// The rank is 1 where the value goes right, else 0.
    Category { set: u32, listed_left: bool },
}

#[derive(Debug, Clone)]
enum Masks {
    Narrow(Vec<Mask<u32>>),
    Wide(Vec<Mask<u64>>),
}

/// What a split that sends a row right leaves of its tree's leaves.
#[derive(Debug, Clone, Copy)]
struct Mask<W> {
    word: W,
    tree: u32,
}

#[derive(Debug, Clone, Copy)]
struct Tree {
    first_leaf: u32,
    first_step: u32,
    output: u32,
}

/// A split whose answers take the place of those of its left side.
#[derive(Debug, Clone, Copy)]
struct Step {
    column: u32,
    /// Ranks above go right.
    cut: u16,
    /// The first leaf on its left side, and so on itself.
    left: u8,
    /// The first leaf on its right side.
    right: u8,
    sides: Sides,
}

/// Which sides of a split are leaves: the answer of a leaf is its number, without a look at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    Leaves,
    LeftLeaf,
    RightLeaf,
    Splits,
}

/// What a block of rows needs.
#[derive(Debug)]
struct Block<L: Lane> {
    /// For each column, the ranks of the rows.
    ranks: Vec<[L; BLOCK_ROWS]>,
    /// For each leaf, the answers of the largest subtree that begins with it and is done.
    answers: Vec<[L::Answer; BLOCK_ROWS]>,
}

impl<L: Lane> Default for Block<L> {
    fn default() -> Self {
        Self { ranks: Vec::new(), answers: Vec::new() }
    }
}

/// A word with a bit for every leaf of a tree.
trait Word: Copy + std::ops::BitAndAssign + Sized {
    const ALL: Self;
    fn lowest(self) -> usize;
    /// The ends of the runs over masks, and the words of the trees.
    fn buffers(scratch: &mut Scratch) -> (&mut Vec<u32>, &mut Vec<Self>);
}

impl Word for u32 {
    const ALL: Self = Self::MAX;
    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
    fn buffers(scratch: &mut Scratch) -> (&mut Vec<u32>, &mut Vec<Self>) {
        (&mut scratch.ends, &mut scratch.narrow_words)
    }
}

impl Word for u64 {
    const ALL: Self = Self::MAX;
    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
    fn buffers(scratch: &mut Scratch) -> (&mut Vec<u32>, &mut Vec<Self>) {
        (&mut scratch.ends, &mut scratch.wide_words)
    }
}

impl Compiled {
    /// Adds the leaves of one row to `out`, tree by tree.
    pub(super) fn add_row(
        &self,
        forest: &Forest,
        row: &[f64],
        scratch: &mut Scratch,
        add: impl Fn(&mut f64, f64),
        out: &mut [f64],
    ) {
        match &self.masks {
            Masks::Narrow(masks) => self.add_words(forest, row, masks, scratch, add, out),
            Masks::Wide(masks) => self.add_words(forest, row, masks, scratch, add, out),
        }
    }

    /// Adds the leaves of up to [`BLOCK_ROWS`] rows to `out`: rows x outputs.
    pub(super) fn add_block(
        &self,
        forest: &Forest,
        rows: &[f64],
        scratch: &mut Scratch,
        add: impl Fn(&mut f64, f64),
        out: &mut [f64],
    ) {
        if self.is_narrow {
            self.add_lanes(forest, rows, &mut scratch.narrow, add, out);
        } else {
            self.add_lanes(forest, rows, &mut scratch.wide, add, out);
        }
    }

    fn add_words<W: Word>(
        &self,
        forest: &Forest,
        row: &[f64],
        masks: &[Mask<W>],
        scratch: &mut Scratch,
        add: impl Fn(&mut f64, f64),
        out: &mut [f64],
    ) {
        let (ends, words) = W::buffers(scratch);
        // All searches first: they go side by side as long as no run over masks, whose end is hard to foresee, is between.
        ends.clear();
        ends.extend(self.columns.iter().map(|column| {
            let rank = self.rank(forest, column, row[column.feature as usize]);
            self.mask_ends[column.first_end as usize + rank]
        }));
        words.clear();
        words.resize(self.trees.len(), W::ALL);
        for (column, end) in self.columns.iter().zip(ends.iter()) {
            for mask in &masks[column.first_mask as usize..*end as usize] {
                words[mask.tree as usize] &= mask.word;
            }
        }
        match forest.leaf_kind {
            LeafKind::Scalar => {
                for (tree, word) in self.trees.iter().zip(words.iter()) {
                    let leaf = tree.first_leaf as usize + word.lowest();
                    add(&mut out[tree.output as usize], self.leaf_values[leaf]);
                }
            }
            LeafKind::Vector => {
                for (tree, word) in self.trees.iter().zip(words.iter()) {
                    let leaf = tree.first_leaf as usize + word.lowest();
                    let values = forest.leaf_row(self.leaf_rows[leaf]);
                    out.iter_mut().zip(values).for_each(|(out, value)| add(out, *value));
                }
            }
        }
    }

    fn add_lanes<L: Lane>(
        &self,
        forest: &Forest,
        rows: &[f64],
        block: &mut Block<L>,
        add: impl Fn(&mut f64, f64),
        out: &mut [f64],
    ) {
        let n_outputs = forest.n_outputs;
        let n_rows = out.len() / n_outputs;
        block.ranks.resize(self.columns.len(), [L::default(); BLOCK_ROWS]);
        block.answers.resize(LEAF_LIMIT, [L::Answer::default(); BLOCK_ROWS]);
        for (column, ranks) in self.columns.iter().zip(&mut block.ranks) {
            self.block_ranks(forest, column, rows, n_rows, ranks);
        }
        let ends = self.trees.iter().skip(1).map(|tree| tree.first_step).chain([self.steps.len() as u32]);
        for (tree, end) in self.trees.iter().zip(ends) {
            block.answers[0] = [L::answer(0); BLOCK_ROWS];
            for step in &self.steps[tree.first_step as usize..end as usize] {
                take(*step, &block.ranks, &mut block.answers);
            }
            let answers = block.answers[0][..n_rows].iter().map(|answer| usize::from((*answer).into()));
            let rows = answers.zip(out.chunks_exact_mut(n_outputs));
            match forest.leaf_kind {
                LeafKind::Scalar => {
                    let values = &self.leaf_values[tree.first_leaf as usize..];
                    let output = tree.output as usize;
                    rows.for_each(|(leaf, out)| add(&mut out[output], values[leaf]));
                }
                LeafKind::Vector => {
                    let leaves = &self.leaf_rows[tree.first_leaf as usize..];
                    rows.for_each(|(leaf, out)| {
                        let values = forest.leaf_row(leaves[leaf]);
                        out.iter_mut().zip(values).for_each(|(out, value)| add(out, *value));
                    });
                }
            }
        }
    }

    /// The rank of `value` in `column`.
    #[inline(always)]
    fn rank(&self, forest: &Forest, column: &Column, value: f64) -> usize {
        if column.is_missing(value) {
            return column.missing_rank as usize;
        }
        match column.kind {
            ColumnKind::Category { set, listed_left } => {
                usize::from(forest.is_listed(set as usize, value) != listed_left)
            }
            ColumnKind::Number | ColumnKind::ZeroIsMissing => {
                let [rank] = ranks(self.cuts(column), [value]);
                rank as usize
            }
        }
    }

    /// The ranks of the first `n_rows` rows of a block.
    fn block_ranks<L: Lane>(
        &self,
        forest: &Forest,
        column: &Column,
        rows: &[f64],
        n_rows: usize,
        out: &mut [L; BLOCK_ROWS],
    ) {
        let feature = column.feature as usize;
        let values = rows.chunks_exact(forest.n_features).map(|row| row[feature]);
        if matches!(column.kind, ColumnKind::Category { .. }) {
            let ranks = values.map(|value| L::of_rank(self.rank(forest, column, value)));
            return out.iter_mut().zip(ranks).for_each(|(out, rank)| *out = rank);
        }
        let mut block = [0.0; BLOCK_ROWS];
        block.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        let cuts = self.cuts(column);
        let groups = block.chunks_exact(SEARCHES).zip(out.chunks_exact_mut(SEARCHES));
        for (values, out) in groups.take(n_rows.div_ceil(SEARCHES)) {
            let mut group = [0.0; SEARCHES];
            group.copy_from_slice(values);
            let ranks = ranks(cuts, group);
            for ((out, rank), value) in out.iter_mut().zip(ranks).zip(group) {
                let rank = if column.is_missing(value) { column.missing_rank } else { rank };
                *out = L::of_rank(rank as usize);
            }
        }
    }

    fn cuts(&self, column: &Column) -> &[f64] {
        &self.cuts[column.first_cut as usize..][..column.n_cuts as usize]
    }
}

impl Column {
    #[inline(always)]
    fn is_missing(&self, value: f64) -> bool {
        value.is_nan() || self.kind == ColumnKind::ZeroIsMissing && value.abs() <= ZERO_LIMIT
    }
}

/// How many of the ascending `cuts` are at or below each value; 0 for NaN. There is at least one cut.
///
/// Searches that go side by side hide each other's waiting; none of their steps is a branch.
#[inline(always)]
fn ranks<const N: usize>(cuts: &[f64], values: [f64; N]) -> [u32; N] {
    let mut first = [0_u32; N];
    let mut length = cuts.len();
    while length > 1 {
        let half = length / 2;
        for (first, value) in first.iter_mut().zip(values) {
            let probe = *first + half as u32;
            *first = select_unpredictable(cuts[probe as usize - 1] <= value, probe, *first);
        }
        length -= half;
    }
    for (first, value) in first.iter_mut().zip(values) {
        *first += u32::from(cuts[*first as usize] <= value);
    }
    first
}
