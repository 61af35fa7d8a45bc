//! Which columns are kept.

use rayon::prelude::*;

use super::fitted::FittedStep;
use super::recipe::SelectImportance;
use crate::matrix::Matrix;

/// Keeps the columns with at least two distinct values, where missing counts as a value.
pub(super) fn not_constant(x: &Matrix) -> FittedStep {
    let varies: Vec<bool> = (0..x.n_columns())
        .into_par_iter()
        .map(|j| {
            let first = x.at(0, j);
            (1..x.n_rows()).any(|i| {
                let value = x.at(i, j);
                value != first && !(value.is_nan() && first.is_nan())
            })
        })
        .collect();
    keep(x, |j| varies[j])
}

/// Keeps columns, from the nearest to the target to the farthest, whose |r| with every kept one is below `threshold`.
pub(super) fn not_correlated(threshold: f64, x: &Matrix, y: &[u32], n_classes: usize) -> FittedStep {
    let columns: Vec<Column> = (0..x.n_columns()).into_par_iter().map(|j| Column::new(x.column(j))).collect();
    let nearness: Vec<f64> =
        columns.par_iter().map(|column| correlation_ratio(&column.values, y, n_classes)).collect();
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|&a, &b| nearness[b].total_cmp(&nearness[a]).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    for j in order {
        let repeats = kept.par_iter().any(|&k| columns[j].correlation(&columns[k]).abs() >= threshold);
        if !repeats {
            kept.push(j);
        }
    }
    keep(x, |j| kept.contains(&j))
}

/// Keeps the most important columns: the fewest that reach the share, at most the count, and none of importance 0. Where
/// no column has any importance there is nothing to choose by, and all stay.
pub(super) fn important(parameters: &SelectImportance, x: &Matrix, importances: &[f64]) -> FittedStep {
    let total: f64 = importances.iter().sum();
    if total <= 0.0 || !total.is_finite() {
        return keep(x, |_| true);
    }
    let mut order: Vec<usize> = (0..importances.len()).filter(|&j| importances[j] > 0.0).collect();
    order.sort_by(|&a, &b| importances[b].total_cmp(&importances[a]).then(a.cmp(&b)));
    if let Some(share) = parameters.share {
        let mut sum = 0.0;
        let before = order.iter().take_while(|&&j| {
            sum += importances[j] / total;
            sum < share - 1e-12
        });
        let count = before.count() + 1;
        order.truncate(count);
    }
    order.truncate(parameters.max_count.unwrap_or(usize::MAX));
    keep(x, |j| order.contains(&j))
}

fn keep(x: &Matrix, is_kept: impl Fn(usize) -> bool) -> FittedStep {
    let kept = (0u32..).zip(0..x.n_columns()).filter(|&(_, j)| is_kept(j)).map(|(index, _)| index).collect();
    FittedStep::Keep { inputs: x.n_columns() as u32, kept }
}

/// A column, and the same brought to mean 0 and length 1 where nothing is missing.
struct Column {
    values: Vec<f64>,
    unit: Option<Vec<f64>>,
}

impl Column {
    fn new(values: Vec<f64>) -> Self {
        let unit = if values.iter().any(|value| value.is_nan()) { None } else { Some(unit(&values)) };
        Self { values, unit }
    }

    /// Pearson's r over the rows that have both values; 0 where one of the two does not vary in them.
    fn correlation(&self, other: &Self) -> f64 {
        if let (Some(a), Some(b)) = (&self.unit, &other.unit) {
            return a.iter().zip(b).map(|(a, b)| a * b).sum();
        }
        let both = self.values.iter().zip(&other.values).filter(|(a, b)| !a.is_nan() && !b.is_nan());
        let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
        unit(&a).iter().zip(&unit(&b)).map(|(a, b)| a * b).sum()
    }
}

/// The values minus their mean, divided by their length; zeros where they do not vary.
fn unit(values: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    let (mean, deviation) = super::scale::centre_and_deviation(values);
    if deviation == 0.0 {
        return vec![0.0; values.len()];
    }
    let length = deviation * (values.len() as f64).sqrt();
    values.iter().map(|value| (value - mean) / length).collect()
}

/// Between-class over total sum of squares of the present values, 0 to 1; 0 where they do not vary.
fn correlation_ratio(values: &[f64], y: &[u32], n_classes: usize) -> f64 {
    let present = values.iter().filter(|value| !value.is_nan());
    let present: Vec<f64> = present.copied().collect();
    if present.is_empty() {
        return 0.0;
    }
    let (mean, deviation) = super::scale::centre_and_deviation(&present);
    if deviation == 0.0 {
        return 0.0;
    }
    let mut sums = vec![(0.0, 0.0); n_classes];
    for (value, class) in values.iter().zip(y).filter(|(value, _)| !value.is_nan()) {
        let (count, sum) = &mut sums[*class as usize];
        *count += 1.0;
        *sum += (value - mean) / deviation;
    }
    sums.iter().filter(|(count, _)| *count > 0.0).map(|(count, sum)| sum * sum / count).sum::<f64>()
        / present.len() as f64
}
