//! `statistics.json`: what the columns of a baseline look like.

use serde::Serialize;

use super::jackson::to_jackson;
use crate::profile::{Bucket, ColumnProfile, ColumnSummary, DatasetProfile, SHRINKING_FACTOR};

/// The content of `statistics.json`, key by key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// The version of the format.
    pub version: f64,
    pub dataset: DatasetSize,
    /// One entry a feature, in column order.
    pub features: Vec<FeatureStatistics>,
}

/// How many rows there were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetSize {
    pub item_count: u64,
}

/// What one column looks like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureStatistics {
    pub name: String,
    pub inferred_type: InferredType,
    pub numerical_statistics: NumberStatistics,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum InferredType {
    /// Whole numbers only.
    Integral,
    /// Numbers.
    Fractional,
    /// Texts. No profile says so, but edited constraints may.
    String,
    /// There was no value to tell from.
    Unknown,
}

/// The numbers of a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberStatistics {
    pub common: Counts,
    /// Left out of the file when no value was finite: there is no mean of nothing.
    #[serde(flatten)]
    pub numbers: Option<Numbers>,
}

/// How many values are there and how many are not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counts {
    /// Infinite values are present, though no other number here counts them.
    pub num_present: u64,
    pub num_missing: u64,
}

/// The numbers that need a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    pub mean: f64,
    pub sum: f64,
    /// The population form: divided by the number of values.
    pub std_dev: f64,
    pub min: f64,
    pub max: f64,
    pub distribution: Distribution,
}

/// How the values are spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    pub kll: Kll,
}

/// Ten buckets, and the quantile sketch they were counted in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kll {
    pub buckets: Vec<Bucket>,
    pub sketch: Sketch,
}

/// The quantile sketch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sketch {
    pub parameters: SketchParameters,
    /// Values level by level; those of level i count 2^i times.
    pub data: Vec<Vec<f64>>,
}

/// How the sketch was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SketchParameters {
    pub c: f64,
    pub k: f64,
}

impl Statistics {
    /// The statistics of a data set.
    #[must_use]
    pub fn of(profile: &DatasetProfile) -> Self {
        Self {
            version: 0.0,
            dataset: DatasetSize { item_count: profile.rows },
            features: profile.columns.iter().map(FeatureStatistics::of).collect(),
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// Never in practice: it holds nothing that JSON cannot.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        to_jackson(self)
    }
}

impl FeatureStatistics {
    /// The statistics of a column.
    #[must_use]
    pub fn of(column: &ColumnProfile) -> Self {
        let summary = column.finish();
        Self {
            name: column.name().to_owned(),
            inferred_type: InferredType::of(&summary),
            numerical_statistics: NumberStatistics {
                common: Counts {
                    num_present: summary.count.saturating_sub(summary.missing),
                    num_missing: summary.missing,
                },
                numbers: numbers(column, &summary),
            },
        }
    }
}

impl InferredType {
    /// Whole when every finite value is, unknown when there is none.
    #[must_use]
    pub fn of(summary: &ColumnSummary) -> Self {
        match finite(summary) {
            0 => Self::Unknown,
            values if summary.integers == values => Self::Integral,
            _ => Self::Fractional,
        }
    }

    /// As the files write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Integral => "Integral",
            Self::Fractional => "Fractional",
            Self::String => "String",
            Self::Unknown => "Unknown",
        }
    }
}

/// The share of rows in which a column has a value; 1 without rows, as nothing is missing then.
#[must_use]
pub fn completeness(summary: &ColumnSummary) -> f64 {
    if summary.count == 0 {
        return 1.0;
    }
    summary.count.saturating_sub(summary.missing) as f64 / summary.count as f64
}

/// Values that are numbers like any other.
pub(super) fn finite(summary: &ColumnSummary) -> u64 {
    summary.count.saturating_sub(summary.missing).saturating_sub(summary.non_finite)
}

fn numbers(column: &ColumnProfile, summary: &ColumnSummary) -> Option<Numbers> {
    let (mean, variance) = (summary.mean?, summary.variance?);
    let (min, max) = (summary.min?, summary.max?);
    let sketch = column.quantile_sketch();
    Some(Numbers {
        mean,
        sum: summary.sum,
        std_dev: variance.sqrt(),
        min,
        max,
        distribution: Distribution {
            kll: Kll {
                buckets: column.ranks().buckets(min, max),
                sketch: Sketch {
                    parameters: SketchParameters { c: SHRINKING_FACTOR, k: f64::from(sketch.k()) },
                    data: sketch.levels().map(<[f64]>::to_vec).collect(),
                },
            },
        },
    })
}
