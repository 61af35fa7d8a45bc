//! Looks for what would spoil learning: leaks, overlap of training and test rows, empty columns, tiny classes.
//!
//! Findings are for people and for gates: each has a stable code, a severity, the columns it is about, a sentence and
//! the number behind it. Nothing here changes the data.

mod columns;
mod correlation;
mod leakage;
mod rows;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use correlation::correlations;

use super::table::Dataset;

/// What is checked how strictly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckOptions {
    /// Folds that the rows are to be cut into.
    pub folds: usize,
    /// A column with a larger share of missing values is told.
    pub missing_share: f64,
    /// Pairs of columns with at least this |r| are told.
    pub correlation: f64,
    /// Share of test rows that may also be training rows.
    pub overlap_share: f64,
    /// Columns that may determine the class: a person has looked at them.
    pub leakage_waived: Vec<String>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            folds: 5,
            missing_share: 0.5,
            correlation: 0.95,
            overlap_share: 0.01,
            leakage_waived: Vec::new(),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Probably not what was meant.
    Warning,
    /// A model from this data would be judged wrongly or cannot be trained.
    Error,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the kind of finding.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// The columns it is about, in column order.
    pub columns: Vec<String>,
    /// A sentence for people.
    pub text: String,
    /// The number behind it: a share, a count or a correlation, as the text says.
    pub value: Option<f64>,
}

/// Rows of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The class.
    pub class: String,
    /// Its training rows.
    pub rows: usize,
    /// Its test rows, when there is a test set.
    pub test_rows: Option<usize>,
}

/// Test rows that are training rows too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Test rows with an equal training row, all features and the class.
    pub exact_rows: usize,
    /// Further test rows with a nearly equal training row.
    pub near_rows: usize,
    /// Both as a share of the test rows.
    pub share: f64,
    /// The pairs, in order of the test row.
    pub pairs: Vec<OverlapPair>,
}

/// A test row and the training row it repeats; rows count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlapPair {
    /// Row of the test set.
    pub test_row: usize,
    /// The first such row of the training set.
    pub train_row: usize,
    /// Whether all features are equal.
    pub is_exact: bool,
    /// Whether the class is the same (true when one side has no classes).
    pub same_class: bool,
}

/// What the checks found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataCheck {
    /// Training rows.
    pub rows: usize,
    /// Features.
    pub features: usize,
    /// Rows of each class, in class order.
    pub classes: Vec<ClassCount>,
    /// Overlap with the test set, when there is one.
    pub overlap: Option<Overlap>,
    /// All findings, the worst first, then by code and column.
    pub findings: Vec<Finding>,
}

impl DataCheck {
    /// The worst severity among the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether a finding has this code.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }
}

/// Checks a training set and, when there is one, the test set it will be judged by.
///
/// Both must have the same features in the same order, as [`super::read`] with `expected_schema` makes them. Cost is linear
/// in the number of values, apart from sorting and a bounded sample for correlations.
#[must_use]
pub fn check(train: &Dataset, test: Option<&Dataset>, options: &CheckOptions) -> DataCheck {
    let mut findings = Vec::new();
    class_findings(train, test, options, &mut findings);
    columns::check(train, options, &mut findings);
    leakage::check(train, options, &mut findings);
    correlation::check(train, options, &mut findings);
    rows::check_duplicates(train, &mut findings);
    let overlap = test.filter(|test| same_features(train, test, &mut findings)).map(|test| {
        let overlap = rows::overlap(train, test);
        overlap_findings(&overlap, options, &mut findings);
        overlap
    });
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| a.code.cmp(&b.code)).then_with(|| a.columns.cmp(&b.columns))
    });
    DataCheck {
        rows: train.n_rows,
        features: train.columns.len(),
        classes: class_counts(train, test),
        overlap,
        findings,
    }
}

fn class_counts(train: &Dataset, test: Option<&Dataset>) -> Vec<ClassCount> {
    let Some(labels) = &train.labels else { return Vec::new() };
    let test_labels = test.and_then(|test| test.labels.as_ref());
    let test_counts = test_labels.map(|labels| labels.counts());
    labels
        .classes
        .iter()
        .zip(labels.counts())
        .map(|(class, rows)| {
            let in_test = test_labels.zip(test_counts.as_ref()).map(|(labels, counts)| {
                labels.classes.iter().position(|other| other == class).map_or(0, |at| counts[at])
            });
            ClassCount { class: class.clone(), rows, test_rows: in_test }
        })
        .collect()
}

fn class_findings(
    train: &Dataset,
    test: Option<&Dataset>,
    options: &CheckOptions,
    findings: &mut Vec<Finding>,
) {
    if train.n_rows < options.folds {
        findings.push(finding(
            "too_few_rows",
            Severity::Error,
            &[],
            format!("{} rows cannot be cut into {} folds", train.n_rows, options.folds),
            Some(train.n_rows as f64),
        ));
    }
    let Some(labels) = &train.labels else { return };
    let counts = labels.counts();
    let named = |wanted: &dyn Fn(usize) -> bool| -> Vec<String> {
        let pairs = labels.classes.iter().zip(&counts).filter(|(_, rows)| wanted(**rows));
        pairs.map(|(class, rows)| format!("'{class}' ({rows})")).collect()
    };
    let single = named(&|rows| rows == 1);
    if !single.is_empty() {
        let text = format!(
            "classes with a single row, which no fold can both learn and judge: {}",
            single.join(", ")
        );
        findings.push(finding("bad_target", Severity::Error, &[], text, Some(single.len() as f64)));
    }
    let small = named(&|rows| rows > 1 && rows < options.folds);
    if !small.is_empty() {
        let text = format!("classes with fewer rows than the {} folds: {}", options.folds, small.join(", "));
        findings.push(finding("small_class", Severity::Warning, &[], text, Some(small.len() as f64)));
    }
    let (most, least) =
        (counts.iter().max().copied().unwrap_or(0), counts.iter().min().copied().unwrap_or(0));
    if least > 0 && most >= 10 * least {
        let text = format!("the largest class has {most} rows and the smallest {least}");
        findings.push(finding("imbalance", Severity::Info, &[], text, Some(most as f64 / least as f64)));
    }
    if let Some(test_labels) = test.and_then(|test| test.labels.as_ref()) {
        let known: BTreeSet<&String> = labels.classes.iter().collect();
        let new: Vec<String> = test_labels
            .classes
            .iter()
            .filter(|class| !known.contains(class))
            .map(|class| format!("'{class}'"))
            .collect();
        if !new.is_empty() {
            let text = format!("classes of the test set that no training row has: {}", new.join(", "));
            findings.push(finding("bad_target", Severity::Error, &[], text, Some(new.len() as f64)));
        }
    }
}

fn same_features(train: &Dataset, test: &Dataset, findings: &mut Vec<Finding>) -> bool {
    let is_same = train.schema.names().eq(test.schema.names());
    if !is_same {
        let text = "the test set has other features, or has them in another order, so rows were not compared";
        findings.push(finding("schema", Severity::Error, &[], text.to_owned(), None));
    }
    is_same
}

fn overlap_findings(overlap: &Overlap, options: &CheckOptions, findings: &mut Vec<Finding>) {
    if overlap.pairs.is_empty() {
        return;
    }
    let severity = if overlap.share > options.overlap_share { Severity::Error } else { Severity::Warning };
    let text = format!(
        "{} test rows are also training rows and {} nearly so ({:.1} % of the test rows); a score on them says nothing",
        overlap.exact_rows,
        overlap.near_rows,
        overlap.share * 100.0
    );
    findings.push(finding("overlap", severity, &[], text, Some(overlap.share)));
}

fn finding(code: &str, severity: Severity, columns: &[&str], text: String, value: Option<f64>) -> Finding {
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    Finding { code: code.to_owned(), severity, columns, text, value }
}
