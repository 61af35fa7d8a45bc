//! Learning a checked recipe from training rows.

use super::fitted::{FittedRecipe, bounded, map_rows};
use super::pca::{self, NoComponents, PCA_ORDER_LIMIT};
use super::recipe::{CheckedRecipe, ClassWeights, Step};
use super::resample::{self, NEIGHBOUR_SEARCH_ROW_LIMIT, Resampled, Rows};
use super::{impute, scale, select};
use crate::forest::grow::{GrowError, GrowParameters, grow};
use crate::matrix::Matrix;
use crate::observer::Silent;
use crate::seed::Seed;

/// What fitting a recipe answers: the rows to train a model on, and the recipe to apply to every row the model will see.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The steps learnt.
    pub recipe: FittedRecipe,
    /// Training rows after every step.
    pub x: Matrix,
    /// Their classes.
    pub y: Vec<u32>,
    /// Their weights: those given, times those of `class-weights`; `None` when there were neither.
    pub weights: Option<Vec<f64>>,
    /// What resampling did, in order.
    pub resampled: Vec<Resampled>,
}

/// Why a recipe cannot be fitted to these rows. `position` counts steps from 1.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No row or no column to learn from.
    #[error("a recipe needs rows and columns, got {rows} rows of {columns} columns")]
    Empty { rows: usize, columns: usize },
    /// Rows, classes and weights differ in number.
    #[error("{rows} rows with {length} {what}")]
    Length { rows: usize, what: &'static str, length: usize },
    /// A class index is not below the number of classes.
    #[error("row {row} is of class {class}, but there are {n_classes} classes")]
    Class { row: usize, class: u32, n_classes: usize },
    /// A weight is negative or not finite.
    #[error("row {row} has weight {weight}, weights must be finite and not negative")]
    Weight { row: usize, weight: f64 },
    /// A step kept no column: the columns given to it are all the same value in every row.
    #[error("step {position} ({step}) leaves no column: no column differs between the training rows")]
    NoColumnsLeft { position: usize, step: &'static str },
    /// `class-weights` has another number of classes.
    #[error("step {position} (class-weights) has {given} weights for {n_classes} classes")]
    ClassWeights { position: usize, given: usize, n_classes: usize },
    /// A method that compares each row with each other was given too many.
    #[error(
        "step {position} (resample) would search neighbours among {rows} rows, at most {limit} are allowed: \
         use random-over or random-under",
        limit = NEIGHBOUR_SEARCH_ROW_LIMIT
    )]
    TooManyRows { position: usize, rows: usize },
    /// The eigenvalue problem is too large.
    #[error(
        "step {position} (pca) would solve for {order} components, at most {limit} are allowed: \
         put select-importance with max_count before it",
        limit = PCA_ORDER_LIMIT
    )]
    TooManyComponents { position: usize, order: usize },
    /// The eigenvalue iteration did not end.
    #[error("step {position} (pca) did not converge")]
    NotConverged { position: usize },
    /// The trees that measure importance could not be grown.
    #[error("step {position} (select-importance) could not grow its trees")]
    Importance {
        position: usize,
        #[source]
        source: GrowError,
    },
}

impl CheckedRecipe {
    /// Learns each step from what the steps before it made of the training rows `x`, their classes `y` (below
    /// `n_classes`, not all need occur) and their weights.
    ///
    /// # Errors
    /// When lengths, classes or weights do not fit, or a step meets rows it cannot learn from.
    pub fn fit(
        &self,
        x: &Matrix,
        y: &[u32],
        n_classes: usize,
        weights: Option<&[f64]>,
        seed: Seed,
    ) -> Result<Prepared, PrepareError> {
        check_rows(x, y, n_classes, weights)?;
        let x = map_rows(x, x.n_columns(), |row, out| {
            out.clear();
            out.extend(row.iter().map(|&value| bounded(value)));
        });
        let n_inputs = x.n_columns();
        let mut rows = Rows { x, y: y.to_vec(), weights: weights.map(<[f64]>::to_vec) };
        let mut steps = Vec::new();
        let mut resampled = Vec::new();
        for (i, step) in self.recipe.steps.iter().enumerate() {
            let position = i + 1;
            let seed = seed.child(step.name()).nth(position);
            let fitted = match step {
                Step::Impute(parameters) => impute::fit(parameters, &rows.x),
                Step::Scale(parameters) => scale::fit(parameters.method, &rows.x),
                Step::DropConstants(_) => select::not_constant(&rows.x),
                Step::DropCorrelated(step) => {
                    select::not_correlated(step.threshold, &rows.x, &rows.y, n_classes)
                }
                Step::SelectImportance(parameters) => {
                    let importances = importances(&rows, n_classes, seed)
                        .map_err(|source| PrepareError::Importance { position, source })?;
                    select::important(parameters, &rows.x, &importances)
                }
                Step::Pca(parameters) => match pca::fit(parameters, &rows.x) {
                    Ok(fitted) => fitted,
                    Err(NoComponents::NoVariance) => {
                        return Err(PrepareError::NoColumnsLeft { position, step: step.name() });
                    }
                    Err(NoComponents::TooLarge { order }) => {
                        return Err(PrepareError::TooManyComponents { position, order });
                    }
                    Err(NoComponents::NotConverged) => return Err(PrepareError::NotConverged { position }),
                },
                Step::ClassWeights(parameters) => {
                    weigh(parameters, &mut rows, n_classes, position)?;
                    continue;
                }
                Step::Resample(parameters) => {
                    resample::resample(parameters, &mut rows, n_classes, seed, &mut resampled)
                        .map_err(|error| PrepareError::TooManyRows { position, rows: error.rows })?;
                    continue;
                }
            };
            if fitted.n_outputs() == 0 {
                return Err(PrepareError::NoColumnsLeft { position, step: step.name() });
            }
            rows.x = fitted.apply_all(&rows.x);
            steps.push(fitted);
        }
        let Rows { x, y, weights } = rows;
        Ok(Prepared { recipe: FittedRecipe { n_inputs, steps }, x, y, weights, resampled })
    }
}

fn check_rows(x: &Matrix, y: &[u32], n_classes: usize, weights: Option<&[f64]>) -> Result<(), PrepareError> {
    let rows = x.n_rows();
    if rows == 0 || x.n_columns() == 0 {
        return Err(PrepareError::Empty { rows, columns: x.n_columns() });
    }
    if y.len() != rows {
        return Err(PrepareError::Length { rows, what: "classes", length: y.len() });
    }
    if let Some((row, &class)) = y.iter().enumerate().find(|(_, class)| **class as usize >= n_classes) {
        return Err(PrepareError::Class { row, class, n_classes });
    }
    let weights = weights.unwrap_or_default();
    if !weights.is_empty() && weights.len() != rows {
        return Err(PrepareError::Length { rows, what: "weights", length: weights.len() });
    }
    let wrong = weights.iter().enumerate().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0));
    wrong.map_or(Ok(()), |(row, &weight)| Err(PrepareError::Weight { row, weight }))
}

/// Multiplies weights by the weight of the class: given, or (rows / (classes present * rows of the class))^power.
fn weigh(
    parameters: &ClassWeights,
    rows: &mut Rows,
    n_classes: usize,
    position: usize,
) -> Result<(), PrepareError> {
    let of_class = match &parameters.per_class {
        Some(given) if given.len() != n_classes => {
            return Err(PrepareError::ClassWeights { position, given: given.len(), n_classes });
        }
        Some(given) => given.clone(),
        None => {
            let mut counts = vec![0usize; n_classes];
            for &class in &rows.y {
                counts[class as usize] += 1;
            }
            let present = counts.iter().filter(|&&count| count > 0).count();
            let even = rows.y.len() as f64 / present as f64;
            counts.iter().map(|&count| (even / count.max(1) as f64).powf(parameters.power)).collect()
        }
    };
    let weights = rows.weights.get_or_insert_with(|| vec![1.0; rows.y.len()]);
    for (weight, &class) in weights.iter_mut().zip(&rows.y) {
        *weight *= of_class[class as usize];
    }
    Ok(())
}

/// Share of each column in the impurity gain of a random forest.
fn importances(rows: &Rows, n_classes: usize, seed: Seed) -> Result<Vec<f64>, GrowError> {
    let parameters = GrowParameters::default();
    let grown = grow(&rows.x, &rows.y, n_classes, rows.weights.as_deref(), &parameters, seed, &Silent)?;
    Ok(grown.importances)
}
