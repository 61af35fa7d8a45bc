//! What is wrong with a window of live rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::constraints::{Constraints, FeatureConstraints, MonitoringConfig, Switch};
use super::distance::{Manner, Sample, distance};
use super::jackson::{java_number, to_jackson};
use super::statistics::{InferredType, finite};
use crate::profile::{ColumnProfile, ColumnSummary, DatasetProfile};

/// Something that a constraint does not allow.
#[derive(Debug, Clone, PartialEq)]
pub enum Violation {
    /// Of one column.
    Feature { name: String, finding: Finding },
    /// Columns of the baseline are not there.
    MissingColumns { names: Vec<String>, current: usize, baseline: usize },
    /// Columns are there that the baseline does not have.
    ExtraColumns { names: Vec<String>, current: usize, baseline: usize },
}

/// What is wrong with one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Too few values have the expected type.
    DataType { expected: InferredType, least_share: f64, share: f64 },
    /// Too few rows have a value.
    Completeness { least_share: f64, share: f64 },
    /// Too few values are in the domain.
    CategoricalValues { least_share: f64, share: f64 },
    /// The values are distributed otherwise.
    BaselineDrift { distance: f64, threshold: f64 },
}

/// Compares the rows of a window with what is expected of them. Columns go by name, and a check that has no value to look
/// at finds nothing.
///
/// Missing and extra columns come first, then each feature in the order of the constraints. `baseline` is what the
/// distributions are compared with.
#[must_use]
pub fn violations(
    constraints: &Constraints,
    baseline: &DatasetProfile,
    current: &DatasetProfile,
    manner: Manner,
) -> Vec<Violation> {
    let baseline_columns = by_name(baseline);
    let current_columns = by_name(current);
    let mut found = columns(constraints, current, &current_columns);
    if manner == Manner::SageMaker && !found.is_empty() {
        return found;
    }
    for feature in &constraints.features {
        let config = constraints.monitoring_of(feature);
        let name = feature.name.as_str();
        if config.evaluate_constraints == Switch::Disabled {
            continue;
        }
        if let Some(column) = current_columns.get(name) {
            let findings = findings(feature, &config, baseline_columns.get(name).copied(), column, manner);
            found.extend(findings.map(|finding| Violation::Feature { name: feature.name.clone(), finding }));
        }
    }
    found
}

/// The content of `constraint_violations.json`. SageMaker writes the file only when there are violations.
///
/// # Errors
/// Never in practice: it holds nothing that JSON cannot.
pub fn violations_json(violations: &[Violation]) -> Result<String, serde_json::Error> {
    let violations = violations.iter().map(|violation| ViolationEntry {
        feature_name: violation.feature_name(),
        constraint_check_type: violation.check(),
        description: violation.description(),
    });
    to_jackson(&ViolationsFile { violations: violations.collect() })
}

#[derive(Serialize)]
struct ViolationsFile<'a> {
    violations: Vec<ViolationEntry<'a>>,
}

#[derive(Serialize)]
struct ViolationEntry<'a> {
    feature_name: &'a str,
    constraint_check_type: &'static str,
    description: String,
}

impl Violation {
    /// The column; for missing and extra columns, words that say so.
    #[must_use]
    pub fn feature_name(&self) -> &str {
        match self {
            Self::Feature { name, .. } => name,
            Self::MissingColumns { .. } => "Missing columns",
            Self::ExtraColumns { .. } => "Extra columns",
        }
    }

    /// SageMaker's name of the check.
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Feature { finding: Finding::DataType { .. }, .. } => "data_type_check",
            Self::Feature { finding: Finding::Completeness { .. }, .. } => "completeness_check",
            Self::Feature { finding: Finding::CategoricalValues { .. }, .. } => "categorical_values_check",
            Self::Feature { finding: Finding::BaselineDrift { .. }, .. } => "baseline_drift_check",
            Self::MissingColumns { .. } => "missing_column_check",
            Self::ExtraColumns { .. } => "extra_column_check",
        }
    }

    /// What is wrong, in SageMaker's words: other programs read numbers out of them.
    #[must_use]
    pub fn description(&self) -> String {
        let columns = |what: &str, current: &usize, baseline: &usize| {
            format!(
                "There are {what} columns in current dataset. Number of columns in current dataset: {current}, \
                 Number of columns in baseline constraints: {baseline}"
            )
        };
        match self {
            Self::Feature { finding, .. } => finding.description(),
            Self::MissingColumns { current, baseline, .. } => columns("missing", current, baseline),
            Self::ExtraColumns { current, baseline, .. } => columns("extra", current, baseline),
        }
    }
}

impl Finding {
    fn description(&self) -> String {
        let percent = |share: &f64| java_number(share * 100.0);
        match self {
            Self::DataType { expected, least_share, share } => {
                let expected = expected.name();
                format!(
                    "Data type match requirement is not met. Expected data type: {expected}, Expected match: {}%. \
                     Observed: Only {}% of data is {expected}.",
                    percent(least_share),
                    percent(share)
                )
            }
            Self::Completeness { least_share, share } => format!(
                "Value: {} does not meet the constraint requirement! Expected completeness: at least {}.",
                java_number(*share),
                java_number(*least_share)
            ),
            Self::CategoricalValues { least_share, share } => format!(
                "Value: {} does not meet the constraint requirement! Expected share of values in the domain: at \
                 least {}.",
                java_number(*share),
                java_number(*least_share)
            ),
            Self::BaselineDrift { distance, threshold } => format!(
                "Baseline drift distance: {} exceeds threshold: {}",
                java_number(*distance),
                java_number(*threshold)
            ),
        }
    }
}

fn by_name(profile: &DatasetProfile) -> BTreeMap<&str, &ColumnProfile> {
    profile.columns.iter().map(|column| (column.name(), column)).collect()
}

fn columns(
    constraints: &Constraints,
    current: &DatasetProfile,
    current_columns: &BTreeMap<&str, &ColumnProfile>,
) -> Vec<Violation> {
    let (has, expected) = (current_columns.len(), constraints.features.len());
    let known: BTreeMap<&str, &FeatureConstraints> =
        constraints.features.iter().map(|feature| (feature.name.as_str(), feature)).collect();
    let is_looked_at = |feature: &&FeatureConstraints| {
        constraints.monitoring_of(feature).evaluate_constraints == Switch::Enabled
    };
    let missing = constraints.features.iter().filter(is_looked_at).map(|feature| feature.name.clone());
    let missing: Vec<String> = missing.filter(|name| !current_columns.contains_key(name.as_str())).collect();
    let extra = current.columns.iter().map(|column| column.name().to_owned());
    let extra: Vec<String> = if constraints.monitoring_config.evaluate_constraints == Switch::Enabled {
        extra.filter(|name| !known.contains_key(name.as_str())).collect()
    } else {
        Vec::new()
    };
    let mut found = Vec::new();
    if !missing.is_empty() {
        found.push(Violation::MissingColumns { names: missing, current: has, baseline: expected });
    }
    if !extra.is_empty() {
        found.push(Violation::ExtraColumns { names: extra, current: has, baseline: expected });
    }
    found
}

fn findings(
    feature: &FeatureConstraints,
    config: &MonitoringConfig,
    baseline: Option<&ColumnProfile>,
    current: &ColumnProfile,
    manner: Manner,
) -> impl Iterator<Item = Finding> + use<> {
    let summary = current.finish();
    let found = [
        data_type(feature.inferred_type, config.datatype_check_threshold, &summary, manner),
        completeness(feature.completeness, &summary),
        categorical_values(feature, config.domain_content_threshold, current, &summary),
        baseline.and_then(|baseline| drift(config, baseline, current, manner)),
    ];
    found.into_iter().flatten()
}

fn data_type(
    expected: InferredType,
    least_share: f64,
    summary: &ColumnSummary,
    manner: Manner,
) -> Option<Finding> {
    let fitting = match (expected, manner) {
        (InferredType::Integral, _) => summary.integers,
        (InferredType::Fractional, Manner::Exact) => finite(summary),
        (InferredType::Fractional, Manner::SageMaker) => finite(summary).saturating_sub(summary.integers),
        (InferredType::String, _) => 0,
        // Nothing was there to expect.
        (InferredType::Unknown, _) => return None,
    };
    let share = share(fitting, present(summary))?;
    (share < least_share).then_some(Finding::DataType { expected, least_share, share })
}

fn completeness(least_share: f64, summary: &ColumnSummary) -> Option<Finding> {
    let share = share(present(summary), summary.count)?;
    (share < least_share).then_some(Finding::Completeness { least_share, share })
}

fn categorical_values(
    feature: &FeatureConstraints,
    least_share: f64,
    current: &ColumnProfile,
    summary: &ColumnSummary,
) -> Option<Finding> {
    // A text that is no number is none of the values a number can have.
    let domain = &feature.string_constraints.as_ref()?.domains;
    let mut domain: Vec<f64> = domain.iter().filter_map(|text| text.trim().parse().ok()).collect();
    // 0 and -0 are one value.
    domain.iter_mut().for_each(|value| *value += 0.0);
    domain.sort_by(f64::total_cmp);
    let all = present(summary);
    // Infinite values are in no domain.
    let finite_share = share(finite(summary), all)?;
    let inside = Sample::of(current, Manner::Exact).map_or(0.0, |sample| sample.share_in(&domain));
    let share = inside * finite_share;
    (share < least_share).then_some(Finding::CategoricalValues { least_share, share })
}

fn drift(
    config: &MonitoringConfig,
    baseline: &ColumnProfile,
    current: &ColumnProfile,
    manner: Manner,
) -> Option<Finding> {
    let distribution = &config.distribution_constraints;
    if distribution.perform_comparison == Switch::Disabled {
        return None;
    }
    let threshold = distribution.comparison_threshold;
    let distance = distance(baseline, current, distribution.comparison_method, manner)?;
    (distance > threshold).then_some(Finding::BaselineDrift { distance, threshold })
}

/// Values that are not missing.
fn present(summary: &ColumnSummary) -> u64 {
    summary.count.saturating_sub(summary.missing)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
