//! `serin drift --html`: rows beside their baseline on one page, complete without a network or a script.

use askama::Template;
use serin_ml::drift::{ColumnReport, Comparison, Finding, Severity, Verdict};

use super::chart::{Bar, BarColumn, Bars, PAGE_WIDTH, Tone, drawn};

/// Findings shown.
const FINDINGS: usize = 50;
/// Bars shown.
const BARS: usize = 20;
/// Features shown; more would make a page that no browser likes.
const FEATURES: usize = 2_000;
/// Longest name shown in full.
const LONGEST_NAME: usize = 40;

#[derive(Debug, Template)]
#[template(path = "drift.html")]
struct Page<'a> {
    title: &'a str,
    headline: &'a str,
    comparison: &'a Comparison,
    state: &'static str,
    findings: Vec<FindingView>,
    more: usize,
    drawing: Option<String>,
    predictions: Option<Vec<(String, String, String)>>,
    rows: Vec<FeatureView>,
    style: &'static str,
}

#[derive(Debug)]
struct FindingView {
    severity: &'static str,
    name: String,
    short_name: String,
    text: String,
    note: String,
}

#[derive(Debug)]
struct FeatureView {
    name: String,
    short_name: String,
    is_changed: bool,
    cells: Vec<String>,
}

/// The whole page. Its text depends on nothing but what is given.
///
/// # Errors
/// When a template cannot be filled.
pub fn render(title: &str, headline: &str, comparison: &Comparison) -> Result<String, askama::Error> {
    let title: String = title.chars().filter(|c| !c.is_control()).take(200).collect();
    let page = Page {
        title: &title,
        headline,
        comparison,
        state: match comparison.verdict {
            Verdict::Stable => "passed",
            Verdict::Changed => "refused",
            Verdict::Insufficient { .. } => "open",
        },
        findings: comparison.findings.iter().take(FINDINGS).map(finding).collect(),
        more: comparison.findings.len().saturating_sub(FINDINGS),
        drawing: drawing(comparison),
        predictions: comparison.predictions.as_ref().map(|predictions| {
            let each = predictions.classes.iter();
            each.map(|(class, before, now)| (short(class), percent(*before), percent(*now))).collect()
        }),
        rows: comparison.columns.iter().take(FEATURES).map(feature).collect(),
        style: include_str!("report/report.css"),
    };
    page.render()
}

fn finding(finding: &Finding) -> FindingView {
    let name = finding.column.clone().unwrap_or_else(|| "(rows)".to_owned());
    let chance = if finding.p < 1e-15 { "below 1e-15".to_owned() } else { format!("{:.1e}", finding.p) };
    FindingView {
        severity: match finding.severity {
            Severity::Quality => "quality",
            Severity::Drift => "drift",
        },
        short_name: short(&name),
        name,
        text: finding.text.clone(),
        note: format!("{}, {} of rows; by chance {chance}", finding.kind.name(), percent(finding.shift)),
    }
}

fn feature(column: &ColumnReport) -> FeatureView {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
    let distances = &column.distances;
    FeatureView {
        name: column.name.clone(),
        short_name: short(&column.name),
        is_changed: column.is_changed,
        cells: vec![
            format!("{:.1e}", column.p),
            format!("{:.4}", distances.ks),
            format!("{:.4}", distances.psi),
            format!("{:.4}", distances.jensen_shannon),
            format!("{:.4}", distances.wasserstein),
            number(column.mean.1),
            number(column.mean.0),
            percent(column.missing.1),
            percent(column.missing.0),
        ],
    }
}

fn drawing(comparison: &Comparison) -> Option<String> {
    let mut columns: Vec<&ColumnReport> = comparison.columns.iter().collect();
    columns.sort_by(|a, b| b.shift.total_cmp(&a.shift));
    columns.truncate(BARS);
    if columns.is_empty() || comparison.rows == 0 {
        return None;
    }
    let bars = columns.iter().map(|column| Bar {
        value: Some(column.shift),
        interval: None,
        text: percent(column.shift),
        tone: if column.is_changed { Tone::Warning } else { Tone::Plain },
    });
    let column = BarColumn { title: String::new(), full: 1.0, bars: bars.collect() };
    let labels = columns.iter().map(|column| short(&column.name)).collect();
    let bars = Bars { labels, columns: vec![column] };
    let title = "Share of rows that moved, by feature";
    Some(drawn("moved", title, title, PAGE_WIDTH, |width| bars.draw(width)))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn short(name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LONGEST_NAME).collect();
    if kept.chars().count() < name.chars().count() { format!("{kept}…") } else { kept }
}
