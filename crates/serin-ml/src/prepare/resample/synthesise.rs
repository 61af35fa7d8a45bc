//! SMOTE: new rows on the lines between rows of one class.
//!
//! N. V. Chawla, K. W. Bowyer, L. O. Hall, W. P. Kegelmeyer: SMOTE: synthetic minority over-sampling technique. Journal
//! of Artificial Intelligence Research 16 (2002), 321-357.

use rand::RngExt as _;

use super::neighbours::nearest;
use super::{Resampled, Rows, TooManyRows, Turns, filled_counts, repeat};
use crate::prepare::recipe::{Resample, ResampleMethod};
use crate::seed::Seed;

/// Fills every class to the ratio. Each new row lies at a uniform place between a row (each takes its turn) and one of
/// its nearest neighbours of the same class; its weight lies at the same place between theirs.
pub(super) fn fill(
    parameters: &Resample,
    rows: &mut Rows,
    n_classes: usize,
    seed: Seed,
    done: &mut Vec<Resampled>,
) -> Result<(), TooManyRows> {
    let by_class = rows.by_class(n_classes);
    for ((class, originals), after) in (0u32..).zip(&by_class).zip(filled_counts(parameters.ratio, &by_class))
    {
        let before = originals.len();
        if after == before {
            continue;
        }
        if before == 1 {
            done.push(repeat(rows, class, originals, after, seed));
            continue;
        }
        let neighbours = parameters.neighbours.min(before - 1);
        let nearest = nearest(&rows.x, originals, neighbours)?;
        let mut rng = seed.child("smote").nth(class as usize).rng();
        let mut turns = Turns::new(before, seed.child("turns").nth(class as usize));
        for _ in before..after {
            let from = turns.next();
            let to = nearest[from][rng.random_range(0..nearest[from].len())];
            let share: f64 = rng.random();
            let (from, to) = (originals[from], originals[to]);
            let between = |a: f64, b: f64| a + share * (b - a);
            let row: Vec<f64> =
                rows.x.row(from).iter().zip(rows.x.row(to)).map(|(&a, &b)| between(a, b)).collect();
            rows.push(&row, class, |weights| between(weights[from], weights[to]));
        }
        done.push(Resampled { method: ResampleMethod::Smote, class, before, after, neighbours });
    }
    Ok(())
}
