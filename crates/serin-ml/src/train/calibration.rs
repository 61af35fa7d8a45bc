//! From a model's raw probabilities to ones that come true as often as they say, and from probabilities to a class.
//!
//! Both are fitted on out-of-fold probabilities only, judged by cross-fitting over those rows, and kept only when
//! they help by more than noise: [`choose`] a [`Calibration`], then fit a [`DecisionRule`] on what it gives.

mod decision;
mod isotonic;
mod temperature;

pub use decision::{DecisionRule, InvalidDecisionRule};
pub use isotonic::{InvalidIsotonic, IsotonicCalibration, IsotonicCurve};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::evaluate::bootstrap::standard_deviation;
use crate::evaluate::scored::log_loss;
use crate::matrix::Matrix;
use crate::seed::Seed;

/// Parts for cross-fitting.
const FOLDS: usize = 5;

/// Fewer rows cannot tell a calibration from noise.
const MINIMUM_ROWS: usize = 40;

/// More rows do not change a choice; of more, so many are drawn with the seed, class by class.
const CALIBRATION_ROWS_LIMIT: usize = 100_000;

/// A map from a vector of probabilities to a better calibrated one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Calibration {
    /// Leaves them as they are.
    None,
    /// Probabilities to the power 1 / temperature, normalised (Guo et al. 2017): above 1 softens, below 1 sharpens.
    /// The order of classes within a row never changes.
    Temperature(f64),
    /// One monotone curve a class, normalised (Zadrozny and Elkan 2002).
    Isotonic(IsotonicCalibration),
}

/// A calibration that cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidCalibration {
    /// Not a finite number above 0.
    #[error("temperature is {0}, but must be finite and above 0")]
    Temperature(f64),
    /// A curve that is none.
    #[error("isotonic calibration")]
    Isotonic(#[from] InvalidIsotonic),
}

impl Calibration {
    /// The temperature with the smallest log loss on `probabilities` (one row for each of `truth`), between 1/20 and
    /// 20.
    #[must_use]
    pub fn fit_temperature(probabilities: &Matrix, truth: &[u32]) -> Self {
        Self::Temperature(temperature::fit(probabilities, truth))
    }

    /// One-vs-rest isotonic regression of the truth on `probabilities`.
    #[must_use]
    pub fn fit_isotonic(probabilities: &Matrix, truth: &[u32]) -> Self {
        Self::Isotonic(IsotonicCalibration::fit(probabilities, truth))
    }

    /// Checks what was read from a file, for `n_classes` classes.
    ///
    /// # Errors
    /// When applying it would not give probabilities.
    pub fn validate(&self, n_classes: usize) -> Result<(), InvalidCalibration> {
        match self {
            Self::None => Ok(()),
            Self::Temperature(temperature) if temperature.is_finite() && *temperature > 0.0 => Ok(()),
            Self::Temperature(temperature) => Err(InvalidCalibration::Temperature(*temperature)),
            Self::Isotonic(isotonic) => Ok(isotonic.validate(n_classes)?),
        }
    }

    /// Calibrates one row in place: `probabilities` are finite, not negative and sum to 1, before and after.
    pub fn apply_into(&self, probabilities: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Temperature(temperature) => temperature::apply(*temperature, probabilities),
            Self::Isotonic(isotonic) => isotonic.apply_into(probabilities),
        }
    }

    /// A calibrated copy of every row.
    #[must_use]
    pub fn apply(&self, probabilities: &Matrix) -> Matrix {
        let mut calibrated = probabilities.clone();
        for row in 0..calibrated.n_rows() {
            self.apply_into(calibrated.row_mut(row));
        }
        calibrated
    }
}

/// The calibration for a model with these out-of-fold probabilities, one row for each of `truth`.
///
/// Candidates are fitted on four fifths of the rows and judged by log loss on the rest, in turn. Beginning with none,
/// temperature and then isotonic takes over only if its mean gain over the best so far is more than one standard
/// error of that gain (paired by row). The choice is then fitted on all rows.
#[must_use]
pub fn choose(probabilities: &Matrix, truth: &[u32], seed: Seed) -> Calibration {
    assert_eq!(probabilities.n_rows(), truth.len(), "one row of probabilities for each row");
    let n_classes = probabilities.n_columns();
    let sample = Sample::draw(truth, n_classes, CALIBRATION_ROWS_LIMIT, seed.child("calibration"));
    if sample.rows.len() < MINIMUM_ROWS || n_classes < 2 {
        return Calibration::None;
    }
    let losses: Vec<[f64; 3]> = in_sample_order(&sample, |fold| {
        let (fitting, held_out) = sample.split(fold);
        let (p, y) = (probabilities.select_rows(&fitting), select(truth, &fitting));
        let candidates =
            [Calibration::None, Calibration::fit_temperature(&p, &y), Calibration::fit_isotonic(&p, &y)];
        let loss = |row: usize, candidate: &Calibration| {
            let mut calibrated = probabilities.row(row).to_vec();
            candidate.apply_into(&mut calibrated);
            log_loss(&calibrated, truth[row])
        };
        held_out.iter().map(|&row| candidates.each_ref().map(|candidate| loss(row, candidate))).collect()
    });
    let best = (1..3).fold(0, |best, candidate| {
        let gains: Vec<f64> = losses.iter().map(|row| row[best] - row[candidate]).collect();
        if beyond_noise(&gains) { candidate } else { best }
    });
    let (p, y) = (probabilities.select_rows(&sample.rows), select(truth, &sample.rows));
    match best {
        1 => Calibration::fit_temperature(&p, &y),
        2 => Calibration::fit_isotonic(&p, &y),
        _ => Calibration::None,
    }
}

/// Rows drawn class by class, dealt into [`FOLDS`] parts that are alike in classes.
struct Sample {
    /// Row numbers in ascending order.
    rows: Vec<usize>,
    /// The part of each.
    folds: Vec<usize>,
    /// How many rows each stands for.
    weights: Vec<f64>,
}

impl Sample {
    /// At most about `limit` rows. Rare classes are kept whole: every class may keep as many rows as the others.
    fn draw(truth: &[u32], n_classes: usize, limit: usize, seed: Seed) -> Self {
        let mut by_class = vec![Vec::new(); n_classes];
        for (row, &class) in truth.iter().enumerate() {
            by_class[class as usize].push(row);
        }
        let most = most_rows_each(&by_class, limit);
        let mut rng = seed.rng();
        let mut dealt = Vec::new();
        for rows in &mut by_class {
            rows.shuffle(&mut rng);
            let kept = rows.len().min(most);
            let weight = rows.len() as f64 / kept.max(1) as f64;
            for &row in &rows[..kept] {
                // Dealing on across classes spreads classes smaller than the number of parts.
                dealt.push((row, dealt.len() % FOLDS, weight));
            }
        }
        dealt.sort_unstable_by_key(|(row, _, _)| *row);
        Self {
            rows: dealt.iter().map(|row| row.0).collect(),
            folds: dealt.iter().map(|row| row.1).collect(),
            weights: dealt.iter().map(|row| row.2).collect(),
        }
    }

    /// The rows outside part `fold`, and those in it.
    fn split(&self, fold: usize) -> (Vec<usize>, Vec<usize>) {
        let rows = |inside: bool| {
            let of_side = self.rows.iter().zip(&self.folds).filter(|(_, part)| (**part == fold) == inside);
            of_side.map(|(row, _)| *row).collect()
        };
        (rows(false), rows(true))
    }
}

/// Does `work` for each part, which answers one value for each row held out, and puts the values in sample order.
fn in_sample_order<T: Send + Copy>(sample: &Sample, work: impl Fn(usize) -> Vec<T> + Send + Sync) -> Vec<T> {
    let parts: Vec<Vec<T>> = (0..FOLDS).into_par_iter().map(work).collect();
    let mut next = [0; FOLDS];
    sample
        .folds
        .iter()
        .map(|&fold| {
            next[fold] += 1;
            parts[fold][next[fold] - 1]
        })
        .collect()
}

/// True when the mean of `gains` is more than its standard error above 0.
fn beyond_noise(gains: &[f64]) -> bool {
    let n = gains.len() as f64;
    gains.iter().sum::<f64>() / n > standard_deviation(gains) / n.sqrt()
}

/// The largest number that each class may keep so that together they keep at most `limit` rows.
fn most_rows_each(by_class: &[Vec<usize>], limit: usize) -> usize {
    let mut sizes: Vec<usize> = by_class.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    let mut left = limit;
    for (at, &size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - at);
        if size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

fn select(truth: &[u32], rows: &[usize]) -> Vec<u32> {
    rows.iter().map(|&row| truth[row]).collect()
}
