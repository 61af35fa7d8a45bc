//! Folds: every row once, classes even, groups whole, time forward.

use proptest::prelude::*;
use serin_ml::dataset::splits::{
    Fold, SplitError, forward_folds, grouped_folds, repeated_stratified_folds, stratified_folds,
    stratified_hold_out,
};
use serin_ml::seed::Seed;

fn is_partition(folds: &[Fold], rows: usize) -> bool {
    let mut seen = vec![0; rows];
    for fold in folds {
        for &row in &fold.valid {
            seen[row] += 1;
        }
        let mut both: Vec<usize> = fold.train.iter().chain(&fold.valid).copied().collect();
        both.sort_unstable();
        if both != (0..rows).collect::<Vec<_>>() {
            return false;
        }
    }
    seen.iter().all(|count| *count == 1)
}

#[test]
fn impossible_cuts_are_refused() {
    assert_eq!(stratified_folds(&[0, 1], 5, Seed(1)), Err(SplitError::TooFewRows { rows: 2, parts: 5 }));
    assert_eq!(stratified_folds(&[0, 1], 1, Seed(1)).unwrap_err().code(), "bad_split");
    assert_eq!(grouped_folds(&[0, 1, 0], &[0, 0, 1], 3, Seed(1)).unwrap_err().code(), "too_few_rows");
    assert_eq!(forward_folds(&[1.0, 1.0, 1.0, 2.0], 2).unwrap_err().code(), "too_few_rows");
    assert_eq!(stratified_hold_out(&[0, 1], 1.0, Seed(1)).unwrap_err().code(), "bad_split");
}

#[test]
fn time_moves_forward_and_moments_stay_whole() {
    let times = [5.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 6.0];
    let folds = forward_folds(&times, 3).unwrap();
    assert_eq!(folds.len(), 3);
    for fold in &folds {
        let latest = fold.train.iter().map(|&row| times[row]).fold(f64::MIN, f64::max);
        let earliest = fold.valid.iter().map(|&row| times[row]).fold(f64::MAX, f64::min);
        assert!(latest < earliest, "{fold:?}");
    }
}

#[test]
fn repeats_differ_and_seeds_repeat() {
    let codes: Vec<u32> = (0..60).map(|row| row % 3).collect();
    let folds = repeated_stratified_folds(&codes, 5, 2, Seed(3)).unwrap();
    assert_ne!(folds[..5], folds[5..]);
    assert_eq!(folds, repeated_stratified_folds(&codes, 5, 2, Seed(3)).unwrap());
}

proptest! {
    #[test]
    fn stratified_parts_are_even(codes in prop::collection::vec(0_u32..5, 5..200), folds in 2_usize..6, seed: u64) {
        let cut = stratified_folds(&codes, folds, Seed(seed)).unwrap();
        prop_assert!(is_partition(&cut, codes.len()));
        for class in 0..5 {
            let counts: Vec<usize> =
                cut.iter().map(|fold| fold.valid.iter().filter(|&&row| codes[row] == class).count()).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
        let sizes: Vec<usize> = cut.iter().map(|fold| fold.valid.len()).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }

    #[test]
    fn groups_never_straddle(
        rows in prop::collection::vec((0_u32..3, 0_u32..20), 60..200), folds in 2_usize..5, seed: u64,
    ) {
        let (codes, groups): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
        let Ok(cut) = grouped_folds(&codes, &groups, folds, Seed(seed)) else { return Ok(()) };
        prop_assert!(is_partition(&cut, codes.len()));
        for fold in &cut {
            prop_assert!(!fold.valid.is_empty());
            let held: std::collections::BTreeSet<u32> = fold.valid.iter().map(|&row| groups[row]).collect();
            prop_assert!(fold.train.iter().all(|&row| !held.contains(&groups[row])));
        }
    }

    #[test]
    fn a_hold_out_has_every_class_that_can_be_split(
        codes in prop::collection::vec(0_u32..4, 20..200), share in 0.05..0.95_f64, seed: u64,
    ) {
        let cut = stratified_hold_out(&codes, share, Seed(seed)).unwrap();
        for class in 0..4 {
            let count = |rows: &[usize]| rows.iter().filter(|&&row| codes[row] == class).count();
            let (train, valid) = (count(&cut.train), count(&cut.valid));
            if train + valid >= 2 {
                prop_assert!(train >= 1 && valid >= 1);
                let exact = (train + valid) as f64 * share;
                prop_assert!((valid as f64 - exact).abs() <= 1.0);
            }
        }
    }
}
