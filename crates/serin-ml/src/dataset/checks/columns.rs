//! One column at a time: constant, empty, an identifier, missing where the class says so.

use super::{CheckOptions, Finding, Severity, finding};
use crate::dataset::table::{ColumnKind, Dataset};

/// Rows from which on rising whole numbers look like an identifier and not like chance.
const FEWEST_ID_ROWS: usize = 20;

/// Largest chance, over all columns together, of calling missing values dependent on the class when they are not.
const MISSINGNESS_ALPHA: f64 = 0.01;

pub(super) fn check(data: &Dataset, options: &CheckOptions, findings: &mut Vec<Finding>) {
    for (field, values) in data.schema.fields.iter().zip(&data.columns) {
        let name = [field.name.as_str()];
        let missing = values.iter().filter(|value| value.is_nan()).count();
        let share = missing as f64 / data.n_rows.max(1) as f64;
        match field.range {
            None => {
                let text = format!("column '{}' has no value at all; it is dropped", field.name);
                findings.push(finding("all_missing", Severity::Warning, &name, text, Some(1.0)));
                continue;
            }
            Some((low, high)) if low == high => {
                let text = if missing == 0 {
                    format!("column '{}' is {low} in every row; it is dropped", field.name)
                } else {
                    format!("column '{}' is {low} wherever it has a value", field.name)
                };
                findings.push(finding("constant", Severity::Warning, &name, text, Some(low)));
            }
            Some(_) => {}
        }
        if share > options.missing_share {
            let text = format!("column '{}' lacks {:.1} % of its values", field.name, share * 100.0);
            findings.push(finding("missing", Severity::Warning, &name, text, Some(share)));
        } else if missing > 0 {
            let text = format!("column '{}' lacks {missing} values", field.name);
            findings.push(finding("missing", Severity::Info, &name, text, Some(share)));
        }
        if field.kind == ColumnKind::Integer && looks_like_id(values) {
            let text =
                format!("column '{}' rises with every row, like an identifier; leave it out", field.name);
            findings.push(finding("id_like", Severity::Warning, &name, text, None));
        }
        if missing > 0
            && let Some(text) = missing_by_class(data, &field.name, values)
        {
            findings.push(finding("missing_by_class", Severity::Info, &name, text, None));
        }
    }
}

/// Whole numbers that rise, or fall, with every row.
fn looks_like_id(values: &[f64]) -> bool {
    values.len() >= FEWEST_ID_ROWS
        && (values.windows(2).all(|pair| pair[0] < pair[1])
            || values.windows(2).all(|pair| pair[0] > pair[1]))
}

/// Pearson's chi-squared test of "missing" against class, corrected for the number of columns (Bonferroni).
fn missing_by_class(data: &Dataset, name: &str, values: &[f64]) -> Option<String> {
    use statrs::distribution::{ChiSquared, ContinuousCDF as _};

    let labels = data.labels.as_ref()?;
    let totals = labels.counts();
    let mut missing = vec![0_usize; totals.len()];
    for (value, &code) in values.iter().zip(&labels.codes) {
        missing[code as usize] += usize::from(value.is_nan());
    }
    let share = missing.iter().sum::<usize>() as f64 / data.n_rows as f64;
    if share >= 1.0 || totals.len() < 2 {
        return None;
    }
    let mut statistic = 0.0;
    for (&total, &missing) in totals.iter().zip(&missing) {
        let expected = total as f64 * share;
        let present = total as f64 * (1.0 - share);
        // The approximation needs about five expected rows in each cell.
        if expected < 5.0 || present < 5.0 {
            return None;
        }
        let difference = (missing as f64 - expected).powi(2);
        statistic += difference / expected + difference / present;
    }
    let chance = ChiSquared::new((totals.len() - 1) as f64).ok()?.sf(statistic);
    let threshold = MISSINGNESS_ALPHA / data.columns.len() as f64;
    (chance < threshold).then(|| {
        let shares: Vec<String> = labels
            .classes
            .iter()
            .zip(missing.iter().zip(&totals))
            .map(|(class, (missing, total))| {
                format!("'{class}' {:.1} %", *missing as f64 / *total as f64 * 100.0)
            })
            .collect();
        format!("whether column '{name}' is missing depends on the class: {}", shares.join(", "))
    })
}
