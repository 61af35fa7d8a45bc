//! Pairs of columns that say the same.

use rayon::prelude::*;

use super::{CheckOptions, Finding, Severity, finding};
use crate::dataset::table::Dataset;

/// Multiplications spent on all pairs together; more rows than that allows are sampled evenly.
const MOST_PRODUCTS: usize = 2_000_000_000;

/// Fewest rows that make a correlation worth telling.
const FEWEST_ROWS: usize = 10;

/// Pairs told one by one, the strongest first.
const MOST_PAIRS: usize = 50;

/// Pearson's r over all pairs of columns; a missing value counts as the mean of its column.
pub(super) fn check(data: &Dataset, options: &CheckOptions, findings: &mut Vec<Finding>) {
    let n_columns = data.columns.len();
    let pairs = n_columns * n_columns.saturating_sub(1) / 2;
    if data.n_rows < FEWEST_ROWS || pairs == 0 {
        return;
    }
    let most_rows = (MOST_PRODUCTS / pairs).max(FEWEST_ROWS);
    let stride = data.n_rows.div_ceil(most_rows);
    let standard: Vec<Option<Vec<f64>>> =
        data.columns.par_iter().map(|values| standardised(values, stride)).collect();
    let mut strong: Vec<(usize, usize, f64)> = (0..n_columns)
        .into_par_iter()
        .flat_map_iter(|i| {
            let standard = &standard;
            (i + 1..n_columns).filter_map(move |j| {
                let (a, b) = (standard[i].as_ref()?, standard[j].as_ref()?);
                let r: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                (r.abs() >= options.correlation).then_some((i, j, r))
            })
        })
        .collect();
    strong.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()).then((a.0, a.1).cmp(&(b.0, b.1))));
    let name = |column: usize| data.schema.fields[column].name.as_str();
    for &(i, j, r) in strong.iter().take(MOST_PAIRS) {
        let text = format!("columns '{}' and '{}' are correlated, r = {r:.4}", name(i), name(j));
        findings.push(finding("correlated", Severity::Info, &[name(i), name(j)], text, Some(r)));
    }
    if strong.len() > MOST_PAIRS {
        let text = format!("{} further pairs of columns are correlated", strong.len() - MOST_PAIRS);
        findings.push(finding(
            "correlated",
            Severity::Info,
            &[],
            text,
            Some((strong.len() - MOST_PAIRS) as f64),
        ));
    }
}

/// Pearson's r of every pair of `columns` (equally long), square and symmetric; a missing value counts as the mean of its
/// column, and a constant column gives NaN. Rows beyond a limit of work are sampled evenly.
#[must_use]
pub fn correlations(columns: &[&[f64]]) -> Vec<Vec<f64>> {
    let rows = columns.first().map_or(0, |column| column.len());
    let most_rows = (MOST_PRODUCTS / (columns.len() * columns.len()).max(1)).max(FEWEST_ROWS);
    let stride = rows.div_ceil(most_rows).max(1);
    let standard: Vec<Option<Vec<f64>>> =
        columns.par_iter().map(|values| standardised(values, stride)).collect();
    let r = |a: &Option<Vec<f64>>, b: &Option<Vec<f64>>| match (a, b) {
        (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0),
        _ => f64::NAN,
    };
    standard.par_iter().map(|a| standard.iter().map(|b| r(a, b)).collect()).collect()
}

/// Every `stride`-th value, centred and of unit length; `None` for a constant column.
fn standardised(values: &[f64], stride: usize) -> Option<Vec<f64>> {
    let taken = || values.iter().step_by(stride).copied();
    let (sum, count) = taken()
        .filter(|value| !value.is_nan())
        .fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    let mean = sum / f64::from(u32::try_from(count).ok().filter(|count| *count > 0)?);
    let centred: Vec<f64> = taken().map(|value| if value.is_nan() { 0.0 } else { value - mean }).collect();
    // Scaled first, so that squares of large values stay finite.
    let largest = centred.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if !(largest > 0.0 && largest.is_finite()) {
        return None;
    }
    let length = centred.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt() * largest;
    Some(centred.into_iter().map(|value| value / length).collect())
}
