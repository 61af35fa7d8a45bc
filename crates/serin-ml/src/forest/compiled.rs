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

use std::collections::BTreeMap;
use std::hint::select_unpredictable;

use super::parts::{LeafKind, ZERO_LIMIT};
use super::structure::{Forest, flags};

/// Leaves of the largest tree that has this form: the bits of a word.
const LEAF_LIMIT: usize = 64;
/// Sets of categories beyond this number are not asked one and all for every row.
const SET_LIMIT: usize = 4096;
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

/// What the splits of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ColumnKey {
    feature: u32,
    kind: ColumnKind,
    /// Where missing values go, when the feature needs a column for each side.
    missing_right: Option<bool>,
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

/// A rank of one row, shifted so that signed comparison (which every x86-64 has for vectors) compares ranks.
///
/// What is taken from a split is its right side where the rank is above the cut, else its left side; leaves to the right
/// have higher numbers, so that is a maximum. These are functions of their own, not inlined, because only then does the
/// compiler know that the arrays are apart and make vector instructions of the loops.
trait Lane: Copy + PartialOrd + Default {
    type Answer: Copy + Ord + Default + Into<u16>;
    fn of_rank(rank: usize) -> Self;
    fn answer(leaf: u8) -> Self::Answer;
    /// `answer` where `self` is above `cut`, else 0.
    fn above(self, cut: Self, answer: Self::Answer) -> Self::Answer;

    #[inline(never)]
    fn take_leaves(
        ranks: &[Self; BLOCK_ROWS],
        cut: Self,
        left: Self::Answer,
        right: Self::Answer,
        out: &mut [Self::Answer; BLOCK_ROWS],
    ) {
        for i in 0..BLOCK_ROWS {
            out[i] = left.max(ranks[i].above(cut, right));
        }
    }

    #[inline(never)]
    fn take_right_leaf(
        ranks: &[Self; BLOCK_ROWS],
        cut: Self,
        right: Self::Answer,
        out: &mut [Self::Answer; BLOCK_ROWS],
    ) {
        for i in 0..BLOCK_ROWS {
            out[i] = out[i].max(ranks[i].above(cut, right));
        }
    }

    #[inline(never)]
    fn take_left_leaf(
        ranks: &[Self; BLOCK_ROWS],
        cut: Self,
        left: Self::Answer,
        right: &[Self::Answer; BLOCK_ROWS],
        out: &mut [Self::Answer; BLOCK_ROWS],
    ) {
        for i in 0..BLOCK_ROWS {
            out[i] = left.max(ranks[i].above(cut, right[i]));
        }
    }

    #[inline(never)]
    fn take_splits(
        ranks: &[Self; BLOCK_ROWS],
        cut: Self,
        right: &[Self::Answer; BLOCK_ROWS],
        out: &mut [Self::Answer; BLOCK_ROWS],
    ) {
        for i in 0..BLOCK_ROWS {
            out[i] = out[i].max(ranks[i].above(cut, right[i]));
        }
    }
}

impl Lane for i8 {
    type Answer = u8;
    fn of_rank(rank: usize) -> Self {
        (rank as u8 ^ 0x80) as Self
    }
    fn answer(leaf: u8) -> u8 {
        leaf
    }
    #[inline(always)]
    fn above(self, cut: Self, answer: u8) -> u8 {
        u8::from(self > cut).wrapping_neg() & answer
    }
}

impl Lane for i16 {
    type Answer = u16;
    fn of_rank(rank: usize) -> Self {
        (rank as u16 ^ 0x8000) as Self
    }
    fn answer(leaf: u8) -> u16 {
        u16::from(leaf)
    }
    #[inline(always)]
    fn above(self, cut: Self, answer: u16) -> u16 {
        u16::from(self > cut).wrapping_neg() & answer
    }
}

/// A word with a bit for every leaf of a tree.
trait Word: Copy + std::ops::BitAndAssign {
    const ALL: Self;
    fn lowest(self) -> usize;
}

impl Word for u32 {
    const ALL: Self = Self::MAX;
    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
}

impl Word for u64 {
    const ALL: Self = Self::MAX;
    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
}

impl Compiled {
    /// The form of `forest`, unless a tree or a column is too large for it.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        let ends = forest.trees.iter().skip(1).map(|tree| tree.root).chain([forest.nodes.len() as u32]);
        let n_leaves: Vec<usize> =
            forest.trees.iter().zip(ends).map(|(tree, end)| (end - tree.root) as usize / 2 + 1).collect();
        let most_leaves = n_leaves.iter().copied().max().unwrap_or(0);
        if most_leaves > LEAF_LIMIT {
            return None;
        }
        let (columns, cuts) = columns(forest)?;
        let mut compiler = Compiler {
            forest,
            position: columns.iter().enumerate().map(|(i, (key, _))| (*key, i)).collect(),
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            cuts: &cuts,
            splits: Vec::new(),
            steps: Vec::new(),
            leaf_rows: Vec::new(),
            first_leaf: 0,
        };
        let mut trees = Vec::with_capacity(forest.trees.len());
        for (number, tree) in (0..).zip(&forest.trees) {
            compiler.first_leaf = compiler.leaf_rows.len();
            let (first_leaf, first_step) = (compiler.first_leaf as u32, compiler.steps.len() as u32);
            trees.push(Tree { first_leaf, first_step, output: tree.output });
            compiler.subtree(number, tree.root as usize)?;
        }
        let Compiler { mut columns, mut splits, steps, leaf_rows, .. } = compiler;
        splits.sort_by_key(|split| (split.column, split.cut));
        let mask_ends = mask_ends(&mut columns, &splits);
        let masks = if most_leaves <= 32 {
            Masks::Narrow(splits.iter().map(|s| Mask { word: s.leaves_kept as u32, tree: s.tree }).collect())
        } else {
            Masks::Wide(splits.iter().map(|s| Mask { word: s.leaves_kept, tree: s.tree }).collect())
        };
        let is_scalar = forest.leaf_kind == LeafKind::Scalar;
        let leaf_values =
            leaf_rows.iter().filter(|_| is_scalar).map(|row| forest.leaf_values[*row as usize]).collect();
        let is_narrow = columns.iter().all(|column| column.n_cuts <= u32::from(u8::MAX));
        Some(Self { columns, cuts, mask_ends, masks, steps, trees, leaf_rows, leaf_values, is_narrow })
    }

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
            Masks::Narrow(masks) => {
                self.add_words(forest, row, masks, &mut scratch.ends, &mut scratch.narrow_words, add, out);
            }
            Masks::Wide(masks) => {
                self.add_words(forest, row, masks, &mut scratch.ends, &mut scratch.wide_words, add, out);
            }
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
        ends: &mut Vec<u32>,
        words: &mut Vec<W>,
        add: impl Fn(&mut f64, f64),
        out: &mut [f64],
    ) {
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

/// Puts the answers of a split in the place of those of its left side.
#[inline(always)]
fn take<L: Lane>(step: Step, ranks: &[[L; BLOCK_ROWS]], answers: &mut [[L::Answer; BLOCK_ROWS]]) {
    let ranks = &ranks[step.column as usize];
    let cut = L::of_rank(usize::from(step.cut));
    let (left, right) = (L::answer(step.left), L::answer(step.right));
    if step.sides == Sides::Leaves {
        return L::take_leaves(ranks, cut, left, right, &mut answers[step.left as usize]);
    }
    // The right side begins with a higher leaf than the left one.
    let (before, after) = answers.split_at_mut(step.right as usize);
    let answers = &mut before[step.left as usize];
    match step.sides {
        Sides::RightLeaf => L::take_right_leaf(ranks, cut, right, answers),
        Sides::LeftLeaf => L::take_left_leaf(ranks, cut, left, &after[0], answers),
        Sides::Splits | Sides::Leaves => L::take_splits(ranks, cut, &after[0], answers),
    }
}

/// A split on its way into masks.
struct Split {
    column: u32,
    cut: u32,
    tree: u32,
    leaves_kept: u64,
}

struct Compiler<'a> {
    forest: &'a Forest,
    position: BTreeMap<ColumnKey, usize>,
    columns: Vec<Column>,
    cuts: &'a [f64],
    splits: Vec<Split>,
    steps: Vec<Step>,
    leaf_rows: Vec<u32>,
    /// Leaves of the trees before this one.
    first_leaf: usize,
}

impl Compiler<'_> {
    /// Adds the subtree at `node`, depth first from left to right; answers the leaf that it begins with. A tree of 64
    /// leaves is at most 63 deep.
    fn subtree(&mut self, tree: u32, node: usize) -> Option<u8> {
        let FlatSplit { feature, left, kind, missing_right } = match FlatSplit::of(self.forest, node) {
            Some(split) => split,
            None => {
                self.leaf_rows.push(self.forest.leaf_of_node[node]);
                return u8::try_from(self.leaf_rows.len() - 1 - self.first_leaf).ok();
            }
        };
        let first = self.subtree(tree, left)?;
        let second = self.subtree(tree, left + 1)?;
        let sides = match (self.forest.is_leaf(left), self.forest.is_leaf(left + 1)) {
            (true, true) => Sides::Leaves,
            (true, false) => Sides::LeftLeaf,
            (false, true) => Sides::RightLeaf,
            (false, false) => Sides::Splits,
        };
        let shared = ColumnKey { feature, kind, missing_right: None };
        let own = ColumnKey { missing_right: Some(missing_right), ..shared };
        let column = *self.position.get(&shared).or_else(|| self.position.get(&own))?;
        let Column { first_cut, n_cuts, .. } = self.columns[column];
        let cut = match kind {
            ColumnKind::Category { .. } => 0,
            ColumnKind::Number | ColumnKind::ZeroIsMissing => {
                let bound = self.forest.nodes[node].bound;
                let cuts = &self.cuts[first_cut as usize..][..n_cuts as usize];
                cuts.partition_point(|cut| cut.total_cmp(&bound).is_lt())
            }
        };
        let left_leaves = (1_u64 << (second - first)) - 1;
        let column = column as u32;
        self.splits.push(Split { column, cut: cut as u32, tree, leaves_kept: !(left_leaves << first) });
        self.steps.push(Step { column, cut: u16::try_from(cut).ok()?, left: first, right: second, sides });
        Some(first)
    }
}

/// A split of the forest's layout as a question to a column.
struct FlatSplit {
    feature: u32,
    left: usize,
    kind: ColumnKind,
    missing_right: bool,
}

impl FlatSplit {
    /// `None` for a leaf.
    fn of(forest: &Forest, node: usize) -> Option<Self> {
        let (flat, flags) = (forest.nodes[node], forest.flags[node]);
        if forest.is_leaf(node) {
            return None;
        }
        let kind = if flags & flags::CATEGORY != 0 {
            ColumnKind::Category { set: flat.bound as u32, listed_left: flags & flags::LISTED_LEFT != 0 }
        } else if flags & flags::ZERO_IS_MISSING != 0 {
            ColumnKind::ZeroIsMissing
        } else {
            ColumnKind::Number
        };
        let missing_right = flags & flags::MISSING_RIGHT != 0;
        Some(Self { feature: flat.feature, left: flat.left as usize, kind, missing_right })
    }
}

/// The columns that the splits of `forest` ask, and their cuts; `None` when they are too many.
fn columns(forest: &Forest) -> Option<(Vec<(ColumnKey, Column)>, Vec<f64>)> {
    let mut asked: BTreeMap<(u32, ColumnKind), Vec<(f64, bool)>> = BTreeMap::new();
    let mut sets = 0;
    for node in 0..forest.nodes.len() {
        if let Some(FlatSplit { feature, kind, missing_right, .. }) = FlatSplit::of(forest, node) {
            let bounds = asked.entry((feature, kind)).or_default();
            sets += usize::from(bounds.is_empty() && matches!(kind, ColumnKind::Category { .. }));
            bounds.push((forest.nodes[node].bound, missing_right));
        }
    }
    if sets > SET_LIMIT {
        return None;
    }
    let (mut columns, mut cuts) = (Vec::new(), Vec::new());
    for ((feature, kind), mut bounds) in asked {
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest_right = bounds.iter().rev().find(|(_, right)| *right).map(|(bound, _)| *bound);
        let lowest_left = bounds.iter().find(|(_, right)| !right).map(|(bound, _)| *bound);
        // One column does when a missing value can stand between the splits that send it right and those that do not.
        let is_shared = match (highest_right, lowest_left) {
            (Some(right), Some(left)) => right.total_cmp(&left).is_lt(),
            _ => true,
        };
        let sides: &[Option<bool>] = if is_shared { &[None] } else { &[Some(false), Some(true)] };
        for &missing_right in sides {
            let first_cut = cuts.len();
            let of_side = bounds.iter().filter(|(_, right)| missing_right.is_none_or(|side| side == *right));
            let mut own: Vec<f64> = of_side.map(|(bound, _)| *bound).collect();
            own.dedup_by(|a, b| a.total_cmp(b).is_eq());
            let missing_rank = match (missing_right, highest_right) {
                (Some(false), _) | (None, None) => 0,
                (Some(true), _) => own.len(),
                (None, Some(right)) => own.partition_point(|bound| bound.total_cmp(&right).is_le()),
            };
            if own.len() > usize::from(u16::MAX) {
                return None;
            }
            let column = Column {
                feature,
                kind,
                first_cut: first_cut as u32,
                n_cuts: own.len() as u32,
                missing_rank: missing_rank as u32,
                first_mask: 0,
                first_end: 0,
            };
            columns.push((ColumnKey { feature, kind, missing_right }, column));
            cuts.append(&mut own);
        }
    }
    Some((columns, cuts))
}

/// Where the masks of each column and rank end, in `splits` sorted by column and cut.
fn mask_ends(columns: &mut [Column], splits: &[Split]) -> Vec<u32> {
    let mut ends = Vec::new();
    let mut next = 0;
    for (number, column) in (0..).zip(columns) {
        column.first_mask = next as u32;
        column.first_end = ends.len() as u32;
        for rank in 0..=column.n_cuts {
            while splits.get(next).is_some_and(|split| split.column == number && split.cut < rank) {
                next += 1;
            }
            ends.push(next as u32);
        }
    }
    ends
}
