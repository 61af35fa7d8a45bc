//! From a forest to its compiled form.

use std::collections::BTreeMap;

use super::{Column, ColumnKind, Compiled, LEAF_LIMIT, Mask, Masks, Sides, Step, Tree};
use crate::forest::parts::LeafKind;
use crate::forest::structure::{Forest, flags};

/// Sets of categories beyond this number are not asked one and all for every row.
const SET_LIMIT: usize = 4096;

impl Compiled {
    /// The form of `forest`, unless a tree or a column is too large for it.
    pub(in crate::forest) fn new(forest: &Forest) -> Option<Self> {
        let ends = forest.trees.iter().skip(1).map(|tree| tree.root).chain([forest.nodes.len() as u32]);
        let n_leaves: Vec<usize> =
            forest.trees.iter().zip(ends).map(|(tree, end)| (end - tree.root) as usize / 2 + 1).collect();
        let most_leaves = n_leaves.iter().copied().max().unwrap_or(0);
        if most_leaves > LEAF_LIMIT {
            return None;
        }
        let mut compiler = Compiler {
            forest,
            asked: columns(forest)?,
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
        let Compiler { asked: Columns { mut columns, cuts, .. }, mut splits, steps, leaf_rows, .. } =
            compiler;
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
}

/// What the splits of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ColumnKey {
    feature: u32,
    kind: ColumnKind,
    /// Where missing values go, when the feature needs a column for each side.
    missing_right: Option<bool>,
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
    asked: Columns,
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
        let column = *self.asked.position.get(&shared).or_else(|| self.asked.position.get(&own))?;
        let Column { first_cut, n_cuts, .. } = self.asked.columns[column];
        let cut = match kind {
            ColumnKind::Category { .. } => 0,
            ColumnKind::Number | ColumnKind::ZeroIsMissing => {
                let bound = self.forest.nodes[node].bound;
                let cuts = &self.asked.cuts[first_cut as usize..][..n_cuts as usize];
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

/// The columns that the splits of a forest ask.
#[derive(Default)]
struct Columns {
    position: BTreeMap<ColumnKey, usize>,
    columns: Vec<Column>,
    cuts: Vec<f64>,
}

/// The columns that the splits of `forest` ask; `None` when they are too many.
fn columns(forest: &Forest) -> Option<Columns> {
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
    let mut all = Columns::default();
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
                first_cut: all.cuts.len() as u32,
                n_cuts: own.len() as u32,
                missing_rank: missing_rank as u32,
                first_mask: 0,
                first_end: 0,
            };
            all.position.insert(ColumnKey { feature, kind, missing_right }, all.columns.len());
            all.columns.push(column);
            all.cuts.append(&mut own);
        }
    }
    Some(all)
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
