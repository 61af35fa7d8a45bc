//! What a missing value becomes.

use rayon::prelude::*;

use super::fitted::FittedStep;
use super::recipe::{Impute, ImputeStrategy};
use super::scale::{mean, quantile};
use crate::matrix::Matrix;

/// Learns the fill value of each column and which columns had missing values.
pub(super) fn fit(parameters: &Impute, x: &Matrix) -> FittedStep {
    let learnt: Vec<(f64, bool)> = (0..x.n_columns())
        .into_par_iter()
        .map(|j| {
            let column = x.column(j);
            let mut present: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
            present.sort_unstable_by(f64::total_cmp);
            (fill(parameters, &present), present.len() < column.len())
        })
        .collect();
    let indicators = if parameters.indicators {
        (0u32..).zip(&learnt).filter(|(_, (_, has_missing))| *has_missing).map(|(j, _)| j).collect()
    } else {
        Vec::new()
    };
    FittedStep::Impute { fill: learnt.into_iter().map(|(fill, _)| fill).collect(), indicators }
}

/// The fill value from the present values in ascending order.
fn fill(parameters: &Impute, present: &[f64]) -> f64 {
    if parameters.strategy == ImputeStrategy::Constant {
        return parameters.value.unwrap_or(0.0);
    }
    if present.is_empty() {
        return 0.0;
    }
    match parameters.strategy {
        ImputeStrategy::Mean => mean(present),
        ImputeStrategy::MostFrequent => most_frequent(present),
        ImputeStrategy::Median | ImputeStrategy::Constant => quantile(present, 0.5),
    }
}

/// The longest run of equal values; the first of equally long ones, so the smallest value.
fn most_frequent(sorted: &[f64]) -> f64 {
    let mut best = (0, 0.0);
    for run in sorted.chunk_by(|a, b| a == b) {
        if run.len() > best.0 {
            best = (run.len(), run[0]);
        }
    }
    best.1
}
