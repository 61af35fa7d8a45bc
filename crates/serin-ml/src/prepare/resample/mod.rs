//! Training rows added and removed.

mod clean;
mod neighbours;
mod synthesise;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::recipe::{Resample, ResampleMethod};
use crate::matrix::Matrix;
use crate::seed::Seed;

/// Most rows among which neighbours are searched, which takes time with their square. A recipe that would search more
/// is refused when it is fitted.
pub const NEIGHBOUR_SEARCH_ROW_LIMIT: usize = 20_000;

/// What resampling did to one class, in the order in which it was done. Classes that kept their rows are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampled {
    /// What was done: `smote-tomek` shows as `smote` and then `tomek`, `smote-enn` as `smote` and then, for its cleaning,
    /// `smote-enn`. A class of one row that SMOTE was to fill shows as `random-over`, because there is nothing to draw a
    /// line to.
    pub method: ResampleMethod,
    /// Index of the class.
    pub class: u32,
    /// Rows before.
    pub before: usize,
    /// Rows after.
    pub after: usize,
    /// Neighbours used, fewer than asked for in a class of few rows; 0 for methods without.
    pub neighbours: usize,
}

/// Training rows with what belongs to them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    pub x: Matrix,
    pub y: Vec<u32>,
    pub weights: Option<Vec<f64>>,
}

/// Neighbours would have to be searched among more rows than [`NEIGHBOUR_SEARCH_ROW_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyRows {
    pub rows: usize,
}

/// Resamples `rows`, which have no missing values where the method measures distances, and appends what was done to
/// `done`. Original rows keep their values and order, new ones follow them.
pub(super) fn resample(
    parameters: &Resample,
    rows: &mut Rows,
    n_classes: usize,
    seed: Seed,
    done: &mut Vec<Resampled>,
) -> Result<(), TooManyRows> {
    match parameters.method {
        ResampleMethod::RandomOver => fill_by_repeating(parameters.ratio, rows, n_classes, seed, done),
        ResampleMethod::RandomUnder => cut(parameters.ratio, rows, n_classes, seed, done),
        ResampleMethod::Smote => synthesise::fill(parameters, rows, n_classes, seed, done)?,
        ResampleMethod::Tomek => {
            clean::remove_tomek_links(clean::LinkEnds::NotSmallestClass, rows, n_classes, done)?;
        }
        ResampleMethod::SmoteTomek => {
            synthesise::fill(parameters, rows, n_classes, seed, done)?;
            clean::remove_tomek_links(clean::LinkEnds::Both, rows, n_classes, done)?;
        }
        ResampleMethod::SmoteEnn => {
            synthesise::fill(parameters, rows, n_classes, seed, done)?;
            clean::remove_disagreeing(parameters.cleaning_neighbours, rows, n_classes, done)?;
        }
    }
    Ok(())
}

impl Rows {
    /// Indices of the rows of each class.
    fn by_class(&self, n_classes: usize) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); n_classes];
        for (i, class) in self.y.iter().enumerate() {
            rows[*class as usize].push(i);
        }
        rows
    }

    fn select(&mut self, indices: &[usize]) {
        self.x = self.x.select_rows(indices);
        self.y = indices.iter().map(|&i| self.y[i]).collect();
        if let Some(weights) = &mut self.weights {
            *weights = indices.iter().map(|&i| weights[i]).collect();
        }
    }

    fn push(&mut self, row: &[f64], class: u32, weight: impl FnOnce(&[f64]) -> f64) {
        self.x.push_row(row);
        self.y.push(class);
        if let Some(weights) = &mut self.weights {
            let weight = weight(weights);
            weights.push(weight);
        }
    }
}

/// How many rows each class has after over-sampling: `ratio` of the largest class, rounded up, where it has any and has less.
fn filled_counts(ratio: f64, by_class: &[Vec<usize>]) -> Vec<usize> {
    let largest = by_class.iter().map(Vec::len).max().unwrap_or(0);
    let target = (ratio * largest as f64).ceil() as usize;
    by_class.iter().map(|rows| if rows.is_empty() { 0 } else { rows.len().max(target) }).collect()
}

fn fill_by_repeating(ratio: f64, rows: &mut Rows, n_classes: usize, seed: Seed, done: &mut Vec<Resampled>) {
    let by_class = rows.by_class(n_classes);
    for ((class, originals), after) in (0u32..).zip(&by_class).zip(filled_counts(ratio, &by_class)) {
        if after > originals.len() {
            done.push(repeat(rows, class, originals, after, seed));
        }
    }
}

/// Repeats rows of a class until it has `after`: every row equally often, but for the last round.
fn repeat(rows: &mut Rows, class: u32, originals: &[usize], after: usize, seed: Seed) -> Resampled {
    let mut turns = Turns::new(originals.len(), seed.child("repeat").nth(class as usize));
    for _ in originals.len()..after {
        let i = originals[turns.next()];
        let row = rows.x.row(i).to_vec();
        rows.push(&row, class, |weights| weights[i]);
    }
    Resampled { method: ResampleMethod::RandomOver, class, before: originals.len(), after, neighbours: 0 }
}

fn cut(ratio: f64, rows: &mut Rows, n_classes: usize, seed: Seed, done: &mut Vec<Resampled>) {
    let by_class = rows.by_class(n_classes);
    let smallest = by_class.iter().map(Vec::len).filter(|&count| count > 0).min().unwrap_or(0);
    let target = (smallest as f64 / ratio).floor() as usize;
    let mut kept = Vec::with_capacity(rows.y.len());
    for ((class, originals), seed) in
        (0u32..).zip(&by_class).zip((0..).map(|class| seed.child("cut").nth(class)))
    {
        if originals.len() <= target {
            kept.extend_from_slice(originals);
            continue;
        }
        let mut turns = Turns::new(originals.len(), seed);
        kept.extend((0..target).map(|_| originals[turns.next()]));
        let (before, after) = (originals.len(), target);
        done.push(Resampled { method: ResampleMethod::RandomUnder, class, before, after, neighbours: 0 });
    }
    kept.sort_unstable();
    rows.select(&kept);
}

/// Keeps the rows not in `removed`, except that a class which would lose all its rows keeps them all.
fn remove(
    method: ResampleMethod,
    neighbours: usize,
    removed: &[bool],
    rows: &mut Rows,
    n_classes: usize,
    done: &mut Vec<Resampled>,
) {
    let by_class = rows.by_class(n_classes);
    let mut kept = Vec::with_capacity(rows.y.len());
    for (class, originals) in (0u32..).zip(&by_class) {
        let left: Vec<usize> = originals.iter().copied().filter(|&i| !removed[i]).collect();
        if left.is_empty() || left.len() == originals.len() {
            kept.extend_from_slice(originals);
            continue;
        }
        done.push(Resampled { method, class, before: originals.len(), after: left.len(), neighbours });
        kept.extend(left);
    }
    kept.sort_unstable();
    rows.select(&kept);
}

/// Indices below a count in random order, each once, and then again in a new order.
struct Turns {
    order: Vec<usize>,
    position: usize,
    rng: rand_chacha::ChaCha8Rng,
}

impl Turns {
    fn new(count: usize, seed: Seed) -> Self {
        Self { order: (0..count).collect(), position: 0, rng: seed.rng() }
    }

    fn next(&mut self) -> usize {
        // Fisher and Yates, one step at a time.
        let other = self.rng.random_range(self.position..self.order.len());
        self.order.swap(self.position, other);
        let index = self.order[self.position];
        self.position = (self.position + 1) % self.order.len();
        index
    }
}
