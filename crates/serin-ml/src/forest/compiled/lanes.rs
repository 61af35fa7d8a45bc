//! Splits taken for a block of rows at once.

use super::{BLOCK_ROWS, Sides, Step};

/// Puts the answers of a split in the place of those of its left side.
#[inline(always)]
pub(super) fn take<L: Lane>(step: Step, ranks: &[[L; BLOCK_ROWS]], answers: &mut [[L::Answer; BLOCK_ROWS]]) {
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

/// A rank of one row, shifted so that signed comparison (which every x86-64 has for vectors) compares ranks.
///
/// What is taken from a split is its right side where the rank is above the cut, else its left side; leaves to the right
/// have higher numbers, so that is a maximum. These are functions of their own, not inlined, because only then does the
/// compiler know that the arrays are apart and make vector instructions of the loops.
pub(super) trait Lane: Copy + PartialOrd + Default {
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
