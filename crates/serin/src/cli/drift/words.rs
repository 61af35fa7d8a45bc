//! A comparison in words.

use serin_ml::drift::{ColumnReport, Comparison, Finding, Verdict};

use crate::cli::printer;

/// Features with findings shown before the list is cut.
const SHOWN: usize = 20;

/// The verdict in one line.
#[must_use]
pub fn verdict_line(comparison: &Comparison) -> String {
    let sizes = format!("{} rows beside {} of the baseline", comparison.rows, comparison.baseline_rows);
    match &comparison.verdict {
        Verdict::Stable => format!("no drift: {} features, {sizes}", comparison.columns.len()),
        Verdict::Changed => {
            let changed = comparison.changed_columns();
            let features = if changed == 1 { "feature" } else { "features" };
            format!("drift: {changed} of {} {features}, {sizes}", comparison.columns.len())
        }
        Verdict::Insufficient { reason } => format!("cannot say: {reason}"),
    }
}

/// All of it: verdict, findings, and the features that changed or all of them.
#[must_use]
pub fn told(comparison: &Comparison, all: bool) -> String {
    let mut parts = vec![verdict_line(comparison)];
    let things = things(&comparison.findings);
    if !things.is_empty() {
        let shown = things.iter().take(SHOWN).map(|findings| row(findings));
        parts.push(printer::table(&["what", "kinds", "rows", "by chance", "in words"], shown));
        if things.len() > SHOWN {
            parts.push(format!("and {} more", things.len() - SHOWN));
        }
    }
    let columns: Vec<&ColumnReport> =
        comparison.columns.iter().filter(|column| all || column.is_changed).collect();
    if !columns.is_empty() {
        let heads =
            ["feature", "KS", "PSI", "Jensen-Shannon", "Wasserstein", "mean", "was", "missing", "was"];
        parts.push(printer::table(&heads, columns.into_iter().map(column_row)));
    }
    parts.join("\n\n")
}

/// Findings by what they are about, in the order of the first of each.
fn things(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut things: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let same = things.iter_mut().find(|known| {
            finding.column.is_some() && known.first().is_some_and(|first| first.column == finding.column)
        });
        match same {
            Some(known) => known.push(finding),
            None => things.push(vec![finding]),
        }
    }
    things
}

fn row(findings: &[&Finding]) -> Vec<String> {
    let Some(first) = findings.first() else { return Vec::new() };
    let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind.name()).collect();
    let shift = findings.iter().map(|finding| finding.shift).fold(0.0, f64::max);
    let p = match findings.iter().map(|finding| finding.p).fold(1.0, f64::min) {
        p if p < 1e-15 => "< 1e-15".to_owned(),
        p => format!("{p:.1e}"),
    };
    vec![
        first.column.as_deref().map_or_else(|| "(rows)".to_owned(), printer::visible),
        kinds.join(" "),
        format!("{:.1} %", 100.0 * shift),
        p,
        printer::visible(&first.text),
    ]
}

fn column_row(column: &ColumnReport) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let distances = &column.distances;
    vec![
        printer::visible(&column.name),
        format!("{:.4}", distances.ks),
        format!("{:.4}", distances.psi),
        format!("{:.4}", distances.jensen_shannon),
        format!("{:.4}", distances.wasserstein),
        number(column.mean.1),
        number(column.mean.0),
        format!("{:.1} %", 100.0 * column.missing.1),
        format!("{:.1} %", 100.0 * column.missing.0),
    ]
}
