//! `constraints.json`: what live rows are expected to look like.

use serde::Serialize;

use super::jackson::to_jackson;
use super::statistics::{InferredType, completeness};
use crate::profile::{ColumnProfile, DatasetProfile};

/// The content of `constraints.json`, key by key.
///
/// [`Constraints::suggest`] makes them from a baseline, [`Constraints::parse`] reads what a person, or SageMaker's SDK, has
/// edited. Every feature here is a number: the domain of a feature is compared with its numbers, and the two
/// `categorical` keys are kept and used for nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Constraints {
    /// The version of the format.
    pub version: f64,
    /// In the order of the file.
    pub features: Vec<FeatureConstraints>,
    /// What holds for every feature that does not say otherwise.
    pub monitoring_config: MonitoringConfig,
}

/// What one column is expected to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureConstraints {
    pub name: String,
    pub inferred_type: InferredType,
    /// The least share of rows that have a value.
    pub completeness: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_constraints: Option<NumberConstraints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_constraints: Option<TextConstraints>,
    /// Where this feature differs from the rest.
    #[serde(skip_serializing_if = "MonitoringOverrides::is_empty")]
    pub monitoring_config_overrides: MonitoringOverrides,
}

/// What is known of the numbers of a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberConstraints {
    /// For information: SageMaker lists no check of it.
    pub is_non_negative: bool,
}

/// The values a column may have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextConstraints {
    pub domains: Vec<String>,
}

/// Which checks are made and how strictly.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitoringConfig {
    /// Whether violations are looked for.
    pub evaluate_constraints: Switch,
    /// Whether metrics are published.
    pub emit_metrics: Switch,
    /// The least share of values that have the expected type.
    pub datatype_check_threshold: f64,
    /// The least share of values that are in the domain.
    pub domain_content_threshold: f64,
    pub distribution_constraints: DistributionConstraints,
}

/// How distributions are compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistributionConstraints {
    /// Whether they are.
    pub perform_comparison: Switch,
    /// The largest distance that is no drift.
    pub comparison_threshold: f64,
    pub comparison_method: ComparisonMethod,
    /// The same for texts.
    pub categorical_comparison_threshold: f64,
    pub categorical_drift_method: CategoricalDriftMethod,
}

/// What a feature says differently; `None` where it does not.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MonitoringOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_constraints: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit_metrics: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datatype_check_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_content_threshold: Option<f64>,
    #[serde(skip_serializing_if = "DistributionOverrides::is_empty")]
    pub distribution_constraints: DistributionOverrides,
}

/// What a feature says differently about distributions.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DistributionOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perform_comparison: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison_method: Option<ComparisonMethod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categorical_comparison_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categorical_drift_method: Option<CategoricalDriftMethod>,
}

/// On or off, in the words of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Switch {
    Enabled,
    Disabled,
}

/// How the distance of numbers is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ComparisonMethod {
    /// The largest difference between the distribution functions.
    Simple,
    /// The same less what chance explains for samples of these sizes.
    Robust,
}

/// How the distance of texts is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CategoricalDriftMethod {
    LInfinity,
    ChiSquared,
}

impl Constraints {
    /// What SageMaker would suggest for this baseline.
    #[must_use]
    pub fn suggest(baseline: &DatasetProfile) -> Self {
        Self {
            version: 0.0,
            features: baseline.columns.iter().map(FeatureConstraints::suggest).collect(),
            monitoring_config: MonitoringConfig::generated(),
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// Never in practice: it holds nothing that JSON cannot.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        to_jackson(self)
    }

    /// What holds for a feature: the common settings with its own on top.
    #[must_use]
    pub fn monitoring_of(&self, feature: &FeatureConstraints) -> MonitoringConfig {
        self.monitoring_config.with(&feature.monitoring_config_overrides)
    }
}

impl FeatureConstraints {
    fn suggest(column: &ColumnProfile) -> Self {
        let summary = column.finish();
        let inferred_type = InferredType::of(&summary);
        let has_numbers = inferred_type != InferredType::Unknown;
        Self {
            name: column.name().to_owned(),
            inferred_type,
            completeness: completeness(&summary),
            num_constraints: has_numbers
                .then_some(NumberConstraints { is_non_negative: summary.negatives == 0 }),
            string_constraints: None,
            monitoring_config_overrides: MonitoringOverrides::default(),
        }
    }
}

impl MonitoringConfig {
    /// As it stands in files that SageMaker has generated: every value must fit.
    #[must_use]
    pub fn generated() -> Self {
        Self { datatype_check_threshold: 1.0, domain_content_threshold: 1.0, ..Self::documented() }
    }

    /// What SageMaker documents for keys that a file leaves out.
    #[must_use]
    pub fn documented() -> Self {
        Self {
            evaluate_constraints: Switch::Enabled,
            emit_metrics: Switch::Enabled,
            datatype_check_threshold: 0.1,
            domain_content_threshold: 0.1,
            distribution_constraints: DistributionConstraints {
                perform_comparison: Switch::Enabled,
                comparison_threshold: 0.1,
                comparison_method: ComparisonMethod::Robust,
                categorical_comparison_threshold: 0.1,
                categorical_drift_method: CategoricalDriftMethod::LInfinity,
            },
        }
    }

    /// The same with what `overrides` says.
    #[must_use]
    pub fn with(&self, overrides: &MonitoringOverrides) -> Self {
        let (own, other) = (&self.distribution_constraints, &overrides.distribution_constraints);
        Self {
            evaluate_constraints: overrides.evaluate_constraints.unwrap_or(self.evaluate_constraints),
            emit_metrics: overrides.emit_metrics.unwrap_or(self.emit_metrics),
            datatype_check_threshold: overrides
                .datatype_check_threshold
                .unwrap_or(self.datatype_check_threshold),
            domain_content_threshold: overrides
                .domain_content_threshold
                .unwrap_or(self.domain_content_threshold),
            distribution_constraints: DistributionConstraints {
                perform_comparison: other.perform_comparison.unwrap_or(own.perform_comparison),
                comparison_threshold: other.comparison_threshold.unwrap_or(own.comparison_threshold),
                comparison_method: other.comparison_method.unwrap_or(own.comparison_method),
                categorical_comparison_threshold: other
                    .categorical_comparison_threshold
                    .unwrap_or(own.categorical_comparison_threshold),
                categorical_drift_method: other
                    .categorical_drift_method
                    .unwrap_or(own.categorical_drift_method),
            },
        }
    }
}

impl MonitoringOverrides {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DistributionOverrides {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
