//! A fitted recipe: numbers only, applied row by row.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::power;
use super::recipe::STEP_LIMIT;
use crate::matrix::Matrix;

/// Values beyond this magnitude are read as this magnitude, before the first step and after each: its square, summed
/// over any table that fits in memory, is still a finite number.
pub const LARGEST_MAGNITUDE: f64 = 1e100;

/// Most columns before, between or after the steps of a recipe that is decoded.
const COLUMN_LIMIT: usize = 1 << 24;

/// Steps learnt from training rows. Applying needs nothing else, and one row and a batch go through the same code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedRecipe {
    pub(super) n_inputs: usize,
    pub(super) steps: Vec<FittedStep>,
}

/// What one step learnt. Per-column vectors are as long as the step's input is wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum FittedStep {
    /// Missing values become `fill`; then one 0/1 column for each column in `indicators` (ascending).
    Impute { fill: Vec<f64>, indicators: Vec<u32> },
    /// (value - centre) / spread.
    Scale { centre: Vec<f64>, spread: Vec<f64> },
    /// Yeo-Johnson with `exponent`, then (value - centre) / spread.
    Power { exponent: Vec<f64>, centre: Vec<f64>, spread: Vec<f64> },
    /// Of `inputs` columns only `kept` (ascending).
    Keep { inputs: u32, kept: Vec<u32> },
    /// (row - centre) times each component. `components` holds one row of loadings a component; `explained` its share of
    /// the variance.
    Project { centre: Vec<f64>, components: Vec<f64>, explained: Vec<f64> },
}

/// Why decoded bytes are not a fitted recipe. `position` counts steps from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecipe {
    /// A step does not take what the one before it makes.
    #[error("step {position} takes {takes} columns but is given {given}")]
    Width { position: usize, takes: usize, given: usize },
    /// The vectors of a step do not belong together.
    #[error("step {position}: {what} has {length} values instead of {expected}")]
    Length { position: usize, what: &'static str, length: usize, expected: usize },
    /// A column index is out of range, repeated or out of order.
    #[error("step {position}: column indices must ascend and stay below {columns}")]
    Columns { position: usize, columns: usize },
    /// A number is not finite or out of its range.
    #[error("step {position}: {what} is not finite or out of range")]
    Value { position: usize, what: &'static str },
    /// More steps or columns than a recipe may have.
    #[error("{what} are more than a recipe may have")]
    Limit { what: &'static str },
}

impl FittedRecipe {
    /// Values in a row that goes in.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Values in a row that comes out.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        self.steps.last().map_or(self.n_inputs, FittedStep::n_outputs)
    }

    /// Whether rows come out as they go in, but for values beyond [`LARGEST_MAGNITUDE`].
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// The recipe that does nothing to rows of `n_inputs` values.
    #[must_use]
    pub fn identity(n_inputs: usize) -> Self {
        Self { n_inputs, steps: Vec::new() }
    }

    /// For each column that comes out, the raw column that it is made of; `None` when one is made of several.
    #[must_use]
    pub fn sources(&self) -> Option<Vec<usize>> {
        let mut sources: Vec<usize> = (0..self.n_inputs).collect();
        for step in &self.steps {
            match step {
                FittedStep::Impute { indicators, .. } => {
                    let missing: Vec<usize> =
                        indicators.iter().filter_map(|&j| sources.get(j as usize).copied()).collect();
                    sources.extend(missing);
                }
                FittedStep::Scale { .. } | FittedStep::Power { .. } => {}
                FittedStep::Keep { kept, .. } => {
                    sources = kept.iter().filter_map(|&j| sources.get(j as usize).copied()).collect();
                }
                FittedStep::Project { .. } => return None,
            }
        }
        Some(sources)
    }

    /// Replaces the content of `out` by the prepared row, [`Self::n_outputs`] values. Allocates only while `out` grows.
    ///
    /// Values that `row` has too few count as missing, values that it has too many are not read: a caller refuses such
    /// rows before, and nothing here can fail.
    pub fn apply_into(&self, row: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend(row.iter().take(self.n_inputs).map(|&value| bounded(value)));
        out.resize(self.n_inputs, f64::NAN);
        for step in &self.steps {
            step.apply(out);
        }
    }

    /// Every row of `x` prepared, in order.
    #[must_use]
    pub fn apply(&self, x: &Matrix) -> Matrix {
        map_rows(x, self.n_outputs(), |row, out| self.apply_into(row, out))
    }

    /// Names of the columns that come out, given those that go in: a missing indicator is `NAME is missing`, a
    /// principal component `component N`.
    #[must_use]
    pub fn output_names(&self, inputs: &[String]) -> Vec<String> {
        let mut names = inputs.to_vec();
        names.resize_with(self.n_inputs, String::new);
        for step in &self.steps {
            match step {
                FittedStep::Impute { indicators, .. } => {
                    let missing: Vec<String> = indicators
                        .iter()
                        .filter_map(|&j| Some(format!("{} is missing", names.get(j as usize)?)))
                        .collect();
                    names.extend(missing);
                }
                FittedStep::Scale { .. } | FittedStep::Power { .. } => {}
                FittedStep::Keep { kept, .. } => {
                    names = kept.iter().filter_map(|&j| names.get(j as usize).cloned()).collect();
                }
                FittedStep::Project { explained, .. } => {
                    names = (1..=explained.len()).map(|n| format!("component {n}")).collect();
                }
            }
        }
        names
    }

    /// Checks what decoding cannot: that indices, lengths and widths fit and every number is in its range, so that
    /// finite rows give finite rows.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self) -> Result<(), InvalidRecipe> {
        if self.steps.len() > STEP_LIMIT {
            return Err(InvalidRecipe::Limit { what: "steps" });
        }
        if self.n_inputs > COLUMN_LIMIT {
            return Err(InvalidRecipe::Limit { what: "columns" });
        }
        let mut given = self.n_inputs;
        for (i, step) in self.steps.iter().enumerate() {
            let takes = step.n_inputs();
            if takes != given {
                return Err(InvalidRecipe::Width { position: i + 1, takes, given });
            }
            step.validate(i + 1)?;
            given = step.n_outputs();
            if given > COLUMN_LIMIT {
                return Err(InvalidRecipe::Limit { what: "columns" });
            }
        }
        Ok(())
    }
}

impl FittedStep {
    fn n_inputs(&self) -> usize {
        match self {
            Self::Impute { fill, .. } => fill.len(),
            Self::Scale { centre, .. } | Self::Power { centre, .. } | Self::Project { centre, .. } => {
                centre.len()
            }
            Self::Keep { inputs, .. } => *inputs as usize,
        }
    }

    pub(super) fn n_outputs(&self) -> usize {
        match self {
            Self::Impute { fill, indicators } => fill.len() + indicators.len(),
            Self::Scale { centre, .. } | Self::Power { centre, .. } => centre.len(),
            Self::Keep { kept, .. } => kept.len(),
            Self::Project { explained, .. } => explained.len(),
        }
    }

    /// Turns the row in `values` into what this step makes of it, in place.
    pub(super) fn apply(&self, values: &mut Vec<f64>) {
        match self {
            Self::Impute { fill, indicators } => {
                for &j in indicators {
                    let missing = values.get(j as usize).is_none_or(|value| value.is_nan());
                    values.push(f64::from(u8::from(missing)));
                }
                for (value, fill) in values.iter_mut().zip(fill) {
                    if value.is_nan() {
                        *value = *fill;
                    }
                }
            }
            Self::Scale { centre, spread } => {
                for ((value, centre), spread) in values.iter_mut().zip(centre).zip(spread) {
                    *value = bounded((*value - centre) / spread);
                }
            }
            Self::Power { exponent, centre, spread } => {
                for (((value, exponent), centre), spread) in
                    values.iter_mut().zip(exponent).zip(centre).zip(spread)
                {
                    // An overflow of the transform is an infinity here, and the bound after it.
                    *value = bounded((power::transform(*value, *exponent) - centre) / spread);
                }
            }
            Self::Keep { kept, .. } => {
                // The kept indices ascend, so no value is overwritten before it has moved.
                for (to, &from) in kept.iter().enumerate() {
                    let value = values.get(from as usize).copied().unwrap_or(f64::NAN);
                    if let Some(place) = values.get_mut(to) {
                        *place = value;
                    }
                }
                values.truncate(kept.len());
            }
            Self::Project { centre, components, .. } => {
                let n_inputs = values.len();
                for (value, centre) in values.iter_mut().zip(centre) {
                    *value -= centre;
                }
                for loadings in components.chunks_exact(centre.len().max(1)) {
                    let score: f64 = values
                        .iter()
                        .take(n_inputs)
                        .zip(loadings)
                        .map(|(value, loading)| value * loading)
                        .sum();
                    values.push(bounded(score));
                }
                values.drain(..n_inputs);
            }
        }
    }

    /// This step applied to every row of `x`.
    pub(super) fn apply_all(&self, x: &Matrix) -> Matrix {
        map_rows(x, self.n_outputs(), |row, out| {
            out.clear();
            out.extend_from_slice(row);
            self.apply(out);
        })
    }

    fn validate(&self, position: usize) -> Result<(), InvalidRecipe> {
        let length = |what, length, expected| {
            if length == expected {
                Ok(())
            } else {
                Err(InvalidRecipe::Length { position, what, length, expected })
            }
        };
        let values = |what, values: &[f64], fine: fn(f64) -> bool| {
            if values.iter().all(|&value| fine(value)) {
                Ok(())
            } else {
                Err(InvalidRecipe::Value { position, what })
            }
        };
        let columns = |indices: &[u32], columns: usize| {
            let ascend = indices.windows(2).all(|pair| pair[0] < pair[1]);
            let within = indices.last().is_none_or(|&last| (last as usize) < columns);
            if ascend && within { Ok(()) } else { Err(InvalidRecipe::Columns { position, columns }) }
        };
        match self {
            Self::Impute { fill, indicators } => {
                values("fill", fill, is_within_bounds)?;
                columns(indicators, fill.len())
            }
            Self::Scale { centre, spread } => {
                length("spread", spread.len(), centre.len())?;
                values("centre", centre, is_within_bounds)?;
                values("spread", spread, is_spread)
            }
            Self::Power { exponent, centre, spread } => {
                length("exponent", exponent.len(), centre.len())?;
                length("spread", spread.len(), centre.len())?;
                values("exponent", exponent, |value| value.abs() <= power::LARGEST_EXPONENT)?;
                values("centre", centre, f64::is_finite)?;
                values("spread", spread, is_spread)
            }
            Self::Keep { inputs, kept } => columns(kept, *inputs as usize),
            Self::Project { centre, components, explained } => {
                let expected = explained.len().checked_mul(centre.len());
                let expected = expected.ok_or(InvalidRecipe::Limit { what: "components" })?;
                length("components", components.len(), expected)?;
                if centre.is_empty() {
                    length("explained", explained.len(), 0)?;
                }
                values("centre", centre, is_within_bounds)?;
                values("components", components, |value| value.abs() <= 1.0 + 1e-6)?;
                values("explained", explained, |value| (0.0..=1.0 + 1e-6).contains(&value))
            }
        }
    }
}

/// `value` within ±[`LARGEST_MAGNITUDE`]; a missing value stays missing.
pub(super) fn bounded(value: f64) -> f64 {
    value.clamp(-LARGEST_MAGNITUDE, LARGEST_MAGNITUDE)
}

fn is_within_bounds(value: f64) -> bool {
    value.abs() <= LARGEST_MAGNITUDE
}

fn is_spread(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

/// A matrix of `n_outputs` columns, each row made from the row of `x` at its place. Rows are independent, so threads
/// cannot change the result.
pub(super) fn map_rows(x: &Matrix, n_outputs: usize, make: impl Fn(&[f64], &mut Vec<f64>) + Sync) -> Matrix {
    const ROWS_PER_TASK: usize = 256;
    let tasks = x.n_rows().div_ceil(ROWS_PER_TASK);
    let parts: Vec<Vec<f64>> = (0..tasks)
        .into_par_iter()
        .map(|task| {
            let rows = task * ROWS_PER_TASK..((task + 1) * ROWS_PER_TASK).min(x.n_rows());
            let mut part = Vec::with_capacity(rows.len() * n_outputs);
            let mut out = Vec::with_capacity(n_outputs.max(x.n_columns()));
            for i in rows {
                make(x.row(i), &mut out);
                part.extend_from_slice(&out);
            }
            part
        })
        .collect();
    Matrix::new(x.n_rows(), n_outputs, parts.concat())
}
