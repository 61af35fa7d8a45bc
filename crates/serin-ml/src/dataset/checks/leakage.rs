//! Columns that give the class away.

use rayon::prelude::*;

use super::{CheckOptions, Finding, Severity, finding};
use crate::dataset::table::Dataset;

/// A mapping of values to classes is suspicious only when values repeat: this many rows a distinct value, at least.
const ROWS_PER_VALUE: usize = 5;

/// Rows of the smallest class from which on one threshold a class is no accident.
const FEWEST_CLASS_ROWS: usize = 5;

/// A column is suspected when it determines the class of every row, either because each of its few values belongs to one
/// class, or because cutting its range once between neighbouring classes separates them all.
pub(super) fn check(data: &Dataset, options: &CheckOptions, findings: &mut Vec<Finding>) {
    let Some(labels) = &data.labels else { return };
    if labels.classes.len() < 2 {
        return;
    }
    let verdicts: Vec<Option<Verdict>> =
        data.columns.par_iter().map(|values| judge(values, &labels.codes, labels.classes.len())).collect();
    for (field, verdict) in data.schema.fields.iter().zip(verdicts) {
        let Some(verdict) = verdict else { continue };
        let waived = options.leakage_waived.contains(&field.name);
        let severity = if waived { Severity::Info } else { Severity::Error };
        let how = match verdict {
            Verdict::Mapping { values } => format!("each of its {values} values belongs to one class"),
            Verdict::Intervals => "every class is one interval of it".to_owned(),
        };
        let end =
            if waived { "; waived" } else { "; leave it out, or waive it by name if it is known beforehand" };
        let text = format!("column '{}' alone determines the class: {how}{end}", field.name);
        findings.push(finding("leakage_suspected", severity, &[&field.name], text, None));
    }
}

enum Verdict {
    Mapping { values: usize },
    Intervals,
}

fn judge(values: &[f64], codes: &[u32], n_classes: usize) -> Option<Verdict> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Missing values sort behind all others and count as one value: that a value is missing can give the class away.
    let key = |row: usize| if values[row].is_nan() { f64::INFINITY } else { values[row] + 0.0 };
    // Most columns are ruled out by a few hundred rows, which saves the sorting.
    let sample = values.len().min(500);
    if !determines(&mut (0..sample).collect::<Vec<_>>(), key, codes) {
        return None;
    }
    if !determines(&mut order, key, codes) {
        return None;
    }
    let mut distinct = 0;
    let mut runs = 0;
    let mut class_rows = vec![0_usize; n_classes];
    for (at, &row) in order.iter().enumerate() {
        class_rows[codes[row] as usize] += 1;
        let before = at.checked_sub(1).map(|at| order[at]);
        distinct += usize::from(before.is_none_or(|before| key(before) != key(row)));
        runs += usize::from(before.is_none_or(|before| codes[before] != codes[row]));
    }
    let present = class_rows.iter().filter(|rows| **rows > 0).count();
    let smallest = class_rows.iter().filter(|rows| **rows > 0).min().copied().unwrap_or(0);
    if distinct * ROWS_PER_VALUE <= values.len() {
        return Some(Verdict::Mapping { values: distinct });
    }
    (runs == present && smallest >= FEWEST_CLASS_ROWS).then_some(Verdict::Intervals)
}

/// Whether rows of equal value have equal class; sorts the rows by value, then class.
fn determines(rows: &mut [usize], key: impl Fn(usize) -> f64, codes: &[u32]) -> bool {
    rows.sort_unstable_by(|&a, &b| key(a).total_cmp(&key(b)).then(codes[a].cmp(&codes[b])));
    rows.windows(2).all(|pair| key(pair[0]) != key(pair[1]) || codes[pair[0]] == codes[pair[1]])
}
