//! Centre and spread of columns.

use rayon::prelude::*;

use super::fitted::FittedStep;
use super::power;
use super::recipe::ScaleMethod;
use crate::matrix::Matrix;

/// Learns centre and spread (and the exponent) of each column from its present values. A column without any, or
/// without spread, gets spread 1.
pub(super) fn fit(method: ScaleMethod, x: &Matrix) -> FittedStep {
    let learnt: Vec<Learnt> = (0..x.n_columns())
        .into_par_iter()
        .map(|j| {
            let mut present = x.column(j);
            present.retain(|value| !value.is_nan());
            learn(method, present)
        })
        .collect();
    let centre = learnt.iter().map(|column| column.centre).collect();
    let spread = learnt.iter().map(|column| column.spread).collect();
    if method == ScaleMethod::YeoJohnson {
        let exponent = learnt.iter().map(|column| column.exponent).collect();
        return FittedStep::Power { exponent, centre, spread };
    }
    FittedStep::Scale { centre, spread }
}

struct Learnt {
    exponent: f64,
    centre: f64,
    spread: f64,
}

fn learn(method: ScaleMethod, mut present: Vec<f64>) -> Learnt {
    let mut exponent = 1.0;
    if present.is_empty() {
        return Learnt { exponent, centre: 0.0, spread: 1.0 };
    }
    let (centre, spread) = match method {
        ScaleMethod::ZScore => centre_and_deviation(&present),
        ScaleMethod::YeoJohnson => {
            exponent = power::best_exponent(&present);
            for value in &mut present {
                *value = power::transform(*value, exponent);
            }
            centre_and_deviation(&present)
        }
        ScaleMethod::Robust => {
            present.sort_unstable_by(f64::total_cmp);
            (quantile(&present, 0.5), quantile(&present, 0.75) - quantile(&present, 0.25))
        }
        ScaleMethod::MinMax => {
            let low = present.iter().copied().fold(f64::INFINITY, f64::min);
            let high = present.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (low, high - low)
        }
    };
    Learnt { exponent, centre, spread: usable(spread) }
}

/// Mean of at least one value, without overflow for values within the recipe's bounds.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean and population standard deviation of at least one value. The deviation of values that differ by rounding alone is 0:
/// the bound is that of the corrected two-pass algorithm (Chan, Golub, LeVeque, "Algorithms for computing the sample
/// variance", 1983), which scikit-learn uses too.
pub(super) fn centre_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = mean(values);
    let mut squares = 0.0;
    let mut rest = 0.0;
    for value in values {
        squares += (value - mean) * (value - mean);
        rest += value - mean;
    }
    let variance = (squares - rest * rest / n).max(0.0) / n;
    let rounding = n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2);
    if variance <= rounding { (mean, 0.0) } else { (mean, variance.sqrt()) }
}

/// The quantile `q` of at least one value in ascending order, linear between neighbours (type 7 of Hyndman and Fan).
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// `spread`, or 1 where there is none to divide by.
fn usable(spread: f64) -> f64 {
    if spread > 0.0 && spread.is_finite() { spread } else { 1.0 }
}
