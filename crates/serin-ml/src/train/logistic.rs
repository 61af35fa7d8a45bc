//! Multinomial logistic regression with a quadratic penalty.
//!
//! Minimises `sum_i w_i * -ln p(y_i | x_i) + penalty / 2 * sum coefficients^2` over coefficients and unpenalised
//! intercepts, as scikit-learn's `LogisticRegression(C = 1 / penalty)` does. With two classes the penalty counts twice
//! here: that makes the pair of coefficient rows (which are each other's negative) equal to the usual single-row form.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

use super::arithmetic::{add_scaled, dot, limited, present_or, shares, softmax, spread};
use super::family::{Family, FitError, LARGEST_MAGNITUDE, MAXIMUM_CLASSES, MAXIMUM_FEATURES, TrainingSet};
use super::fitted::{InvalidModel, Model};
use super::minimise::{Limits, Stopped, minimise};
use super::parameters::{InvalidParameter, within};
use super::summary::{Columns, weighted_rows};

pub(super) const NAME: &str = "logistic";

/// Blocks of rows whose gradients are computed side by side and added up in order.
const MAXIMUM_BLOCKS: usize = 32;

/// Fewest rows that are worth a block of their own.
const LEAST_ROWS_A_BLOCK: usize = 128;

/// What a user writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticParameters {
    /// Strength of the quadratic penalty, 1 / C; above 0, so that a minimum exists on separable rows too.
    pub penalty: f64,
    /// Whether classes count by their rows or all the same.
    pub class_weights: ClassWeights,
    /// Largest component of the gradient (of the mean loss, by features scaled to about one) that ends the fit.
    pub tolerance: f64,
    /// Iterations after which the coefficients reached are taken.
    pub maximum_iterations: usize,
}

/// What a class counts, beside the weights of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// As much as its rows.
    Rows,
    /// All classes the same.
    Balanced,
}

impl Default for LogisticParameters {
    fn default() -> Self {
        Self { penalty: 1.0, class_weights: ClassWeights::Rows, tolerance: 1e-5, maximum_iterations: 500 }
    }
}

impl LogisticParameters {
    /// The family with these parameters.
    pub(super) fn check(&self) -> Result<Logistic, InvalidParameter> {
        Ok(Logistic {
            penalty: within(
                NAME,
                "penalty",
                self.penalty,
                1e-9..=1e9,
                "1.0 is the default, smaller fits closer",
            )?,
            class_weights: self.class_weights,
            limits: Limits {
                tolerance: within(
                    NAME,
                    "tolerance",
                    self.tolerance,
                    1e-12..=0.1,
                    "leave it out for 0.00001",
                )?,
                maximum_iterations: within(
                    NAME,
                    "maximum_iterations",
                    self.maximum_iterations,
                    1..=100_000,
                    "leave it out for 500",
                )?,
            },
        })
    }
}

/// The family with checked parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logistic {
    penalty: f64,
    class_weights: ClassWeights,
    limits: Limits,
}

/// Fitted coefficients. A missing value counts as the training mean of its feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticModel {
    n_classes: usize,
    /// The classes that had training rows, ascending; the others have probability 0.
    classes: Vec<u32>,
    /// Training mean of each feature.
    means: Vec<f64>,
    /// Standard deviation of each feature in training.
    deviations: Vec<f64>,
    /// Feature by feature, one coefficient for each of `classes`.
    coefficients: Vec<f64>,
    /// Scores at the training means, one for each of `classes`.
    intercepts: Vec<f64>,
    iterations: u32,
    is_converged: bool,
}

impl Family for Logistic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, set: &TrainingSet<'_>, _seed: Seed, observer: &dyn Observer) -> Result<Model, FitError> {
        set.check()?;
        let totals = set.class_totals();
        let classes: Vec<u32> =
            (0..).zip(&totals).filter(|(_, total)| **total > 0.0).map(|(class, _)| class).collect();
        let columns = Columns::of(set);
        let problem = Problem::new(self, set, &totals, &classes, &columns);
        let minimum = minimise(
            problem.start(),
            |point, gradient| problem.evaluate(point, gradient),
            self.limits,
            || observer.stop_requested(),
        )
        .map_err(|Stopped| FitError::Stopped { family: NAME })?;
        let (coefficients, intercepts) = problem.unscale(&minimum.point);
        Ok(Model::Logistic(LogisticModel {
            n_classes: set.n_classes,
            classes,
            means: columns.means,
            deviations: columns.variances.iter().map(|variance| variance.sqrt()).collect(),
            coefficients,
            intercepts,
            iterations: u32::try_from(minimum.iterations).unwrap_or(u32::MAX),
            is_converged: minimum.is_converged,
        }))
    }
}

impl LogisticModel {
    /// Coefficients of `class`, one a feature; `None` for a class without training rows.
    #[must_use]
    pub fn coefficients(&self, class: u32) -> Option<Vec<f64>> {
        let place = self.classes.iter().position(|present| *present == class)?;
        Some(self.coefficients.iter().skip(place).step_by(self.classes.len()).copied().collect())
    }

    /// Score of `class` where all features are 0; `None` for a class without training rows.
    #[must_use]
    pub fn intercept(&self, class: u32) -> Option<f64> {
        let place = self.classes.iter().position(|present| *present == class)?;
        Some(self.intercepts[place] - dot(&self.coefficients(class)?, &self.means))
    }

    /// Whether the fit ended at its tolerance and not at its limit of iterations.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        self.is_converged
    }

    /// Iterations that the fit took.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn n_features(&self) -> usize {
        self.means.len()
    }

    pub(super) fn n_classes(&self) -> usize {
        self.n_classes
    }

    pub(super) fn probabilities_into(&self, row: &[f64], out: &mut [f64]) {
        let present = self.classes.len();
        out.fill(0.0);
        let scores = &mut out[..present];
        scores.copy_from_slice(&self.intercepts);
        for ((value, mean), coefficients) in
            row.iter().zip(&self.means).zip(self.coefficients.chunks_exact(present))
        {
            add_scaled(scores, present_or(*value, *mean) - mean, coefficients);
        }
        softmax(scores);
        spread(out, &self.classes);
    }

    /// The classes that had training rows, ascending.
    pub(super) fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// The score of the class at `place` at the training means, and what each value adds to it.
    pub(super) fn contributions(&self, row: &[f64], place: usize) -> (f64, Vec<f64>) {
        let terms = row.iter().zip(&self.means).zip(self.coefficients.chunks_exact(self.classes.len()));
        let terms = terms
            .map(|((value, mean), coefficients)| (present_or(*value, *mean) - mean) * coefficients[place]);
        (self.intercepts[place], terms.collect())
    }

    /// Mean absolute coefficient over the classes, times the standard deviation of the feature.
    pub(super) fn importances(&self) -> Vec<f64> {
        let present = self.classes.len();
        let effects: Vec<f64> = self
            .coefficients
            .chunks_exact(present)
            .zip(&self.deviations)
            .map(|(coefficients, deviation)| coefficients.iter().map(|c| c.abs()).sum::<f64>() * deviation)
            .collect();
        if effects.iter().any(|effect| *effect > 0.0) { shares(&effects) } else { effects }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        let (features, present) = (self.means.len(), self.classes.len());
        InvalidModel::check_count("features", features, 0..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes, 1..=MAXIMUM_CLASSES)?;
        InvalidModel::check_present(&self.classes, self.n_classes)?;
        InvalidModel::check_length("deviations", self.deviations.len(), Some(features))?;
        InvalidModel::check_length("coefficients", self.coefficients.len(), features.checked_mul(present))?;
        InvalidModel::check_length("intercepts", self.intercepts.len(), Some(present))?;
        for (part, values) in
            [("means", &self.means), ("coefficients", &self.coefficients), ("intercepts", &self.intercepts)]
        {
            InvalidModel::check_values(part, values, "a magnitude up to 1e100", |v| {
                v.abs() <= LARGEST_MAGNITUDE
            })?;
        }
        InvalidModel::check_values("deviations", &self.deviations, "0 to 1e101", |deviation| {
            (0.0..=10.0 * LARGEST_MAGNITUDE).contains(&deviation)
        })
    }
}

/// The objective in coordinates where its curvature is about 1 in every direction, which is what makes few steps do,
/// whatever the units of the features: `score_c = sum_j u_cj * z_j` with `z_j = (x_j - mean_j) / scale_j`, and a last
/// coordinate of constant `z` for the intercept.
struct Problem {
    /// Rows of positive weight, scaled, with the constant at the end.
    z: Matrix,
    /// Place of each row's class among those present.
    targets: Vec<usize>,
    /// Weights of the rows, sum 1.
    weights: Vec<f64>,
    /// Penalty on the square of each coordinate; 0 at the end.
    penalties: Vec<f64>,
    /// What a coefficient is multiplied by to give its coordinate.
    scales: Vec<f64>,
    /// Shares of the classes present.
    shares: Vec<f64>,
}

impl Problem {
    fn new(
        family: &Logistic,
        set: &TrainingSet<'_>,
        totals: &[f64],
        classes: &[u32],
        columns: &Columns,
    ) -> Self {
        let total: f64 = totals.iter().sum();
        let rows = weighted_rows(set);
        let targets = rows.iter().map(|&i| classes.partition_point(|class| *class < set.y[i])).collect();
        // Balancing keeps the total weight, so the penalty keeps its strength beside the loss. A row is never heavier than
        // its class, so no quotient overflows, however light the class.
        let weight = |i: usize| match family.class_weights {
            ClassWeights::Rows => set.weight(i) / total,
            ClassWeights::Balanced => set.weight(i) / totals[set.y[i] as usize] / classes.len() as f64,
        };
        let weights: Vec<f64> = rows.iter().map(|&i| weight(i)).collect();
        let mut present_shares = vec![0.0; classes.len()];
        for (target, weight) in std::iter::zip::<&Vec<usize>, _>(&targets, &weights) {
            present_shares[*target] += weight;
        }

        let halves = if classes.len() == 2 { 2.0 } else { 1.0 };
        let penalty = halves * family.penalty / total;
        let curvature =
            present_shares.iter().map(|share| share * (1.0 - share)).sum::<f64>() / classes.len() as f64;
        let curvature = curvature.max(1e-6);
        let mut scales: Vec<f64> =
            columns.variances.iter().map(|variance| (curvature * variance + penalty).sqrt()).collect();
        let mut penalties: Vec<f64> = scales.iter().map(|scale| penalty / (scale * scale)).collect();
        scales.push(curvature.sqrt());
        penalties.push(0.0);

        let mut z = Matrix::zeros(rows.len(), scales.len());
        for (place, &i) in rows.iter().enumerate() {
            let target = z.row_mut(place);
            for (j, value) in set.x.row(i).iter().enumerate() {
                // A constant column must be exactly 0: what rounding leaves of it is no signal.
                let is_constant = columns.variances[j] == 0.0;
                target[j] =
                    if is_constant { 0.0 } else { present_or(*value, columns.means[j]) - columns.means[j] };
            }
            target[scales.len() - 1] = 1.0;
            target.iter_mut().zip(&scales).for_each(|(value, scale)| *value /= scale);
        }
        Self { z, targets, weights, penalties, scales, shares: present_shares }
    }

    /// Coefficients of 0, and intercepts that give every row the class shares.
    fn start(&self) -> Vec<f64> {
        let width = self.scales.len();
        let logarithms: Vec<f64> =
            self.shares.iter().map(|share| share.max(f64::MIN_POSITIVE).ln()).collect();
        let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
        let mut point = vec![0.0; self.shares.len() * width];
        for (coordinates, logarithm) in point.chunks_exact_mut(width).zip(&logarithms) {
            coordinates[width - 1] = (logarithm - mean) * self.scales[width - 1];
        }
        point
    }

    /// Mean loss and penalty at `point` (class by class), and their gradient.
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let rows = self.z.n_rows();
        // Blocks depend on the number of rows alone, so the sums do not depend on the number of threads.
        let rows_a_block = rows.div_ceil(MAXIMUM_BLOCKS).max(LEAST_ROWS_A_BLOCK);
        let parts: Vec<(f64, Vec<f64>)> = (0..rows.div_ceil(rows_a_block))
            .into_par_iter()
            .map(|block| {
                self.evaluate_rows(point, block * rows_a_block..rows.min((block + 1) * rows_a_block))
            })
            .collect();
        gradient.fill(0.0);
        let mut value = 0.0;
        for (part_value, part_gradient) in &parts {
            value += part_value;
            add_scaled(gradient, 1.0, part_gradient);
        }
        let width = self.scales.len();
        for (coordinates, slopes) in point.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            for ((coordinate, slope), penalty) in coordinates.iter().zip(slopes).zip(&self.penalties) {
                value += 0.5 * penalty * coordinate * coordinate;
                *slope += penalty * coordinate;
            }
        }
        value
    }

    fn evaluate_rows(&self, point: &[f64], rows: std::ops::Range<usize>) -> (f64, Vec<f64>) {
        let width = self.scales.len();
        let mut value = 0.0;
        let mut gradient = vec![0.0; point.len()];
        let mut scores = vec![0.0; self.shares.len()];
        for i in rows {
            let (z, target, weight) = (self.z.row(i), self.targets[i], self.weights[i]);
            for (score, coordinates) in scores.iter_mut().zip(point.chunks_exact(width)) {
                *score = dot(coordinates, z);
            }
            let target_score = scores[target];
            value += weight * (softmax(&mut scores) - target_score);
            scores[target] -= 1.0;
            for (residual, slopes) in scores.iter().zip(gradient.chunks_exact_mut(width)) {
                add_scaled(slopes, weight * residual, z);
            }
        }
        (value, gradient)
    }

    /// Coefficients feature by feature, and intercepts at the means.
    fn unscale(&self, point: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let width = self.scales.len();
        let at = |class: usize, j: usize| limited(point[class * width + j] / self.scales[j]);
        let present = self.shares.len();
        let coefficients =
            (0..width - 1).flat_map(|j| (0..present).map(move |c| (c, j))).map(|(c, j)| at(c, j));
        (coefficients.collect(), (0..present).map(|c| at(c, width - 1)).collect())
    }
}
