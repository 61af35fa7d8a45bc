//! How profiles are stored: with a version, and believed only after a check.

use serde::{Deserialize, Serialize};

use super::column::{ColumnProfile, FREQUENT_VALUE_LIMIT, Histogram};
use super::dataset::{ClassProfile, DatasetProfile};
use super::distinct::DistinctSketch;
use super::moments::Moments;
use super::quantiles::QuantileSketch;

/// The version that is written.
pub const PROFILE_VERSION: u32 = 1;

/// Every version that can be read; the name of the variant is in JSON, its place in binary forms. Append only.
#[derive(Serialize, Deserialize)]
pub(super) enum Stored {
    #[serde(rename = "profile-1")]
    V1(DatasetV1),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetV1 {
    rows: u64,
    columns: Vec<ColumnV1>,
    by_class: Vec<ClassV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassV1 {
    class: String,
    rows: u64,
    columns: Vec<ColumnV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnV1 {
    name: String,
    missing: u64,
    non_finite: u64,
    zeros: u64,
    negatives: u64,
    integers: u64,
    moments: Moments,
    distinct: DistinctSketch,
    frequent: Option<Vec<(f64, u64)>>,
    quantiles: QuantileSketch,
    histogram: Option<Histogram>,
}

/// Why stored numbers are no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the profile of column {column:?} contradicts itself: {what}")]
pub struct InvalidProfile {
    /// Name of the column.
    pub column: String,
    /// What does not fit.
    pub what: &'static str,
}

impl From<DatasetProfile> for Stored {
    fn from(profile: DatasetProfile) -> Self {
        let by_class = profile.by_class.into_iter().map(|class| ClassV1 {
            class: class.class,
            rows: class.rows,
            columns: class.columns.into_iter().map(ColumnV1::from).collect(),
        });
        Self::V1(DatasetV1 {
            rows: profile.rows,
            by_class: by_class.collect(),
            columns: profile.columns.into_iter().map(ColumnV1::from).collect(),
        })
    }
}

impl TryFrom<Stored> for DatasetProfile {
    type Error = InvalidProfile;

    fn try_from(stored: Stored) -> Result<Self, InvalidProfile> {
        let Stored::V1(stored) = stored;
        let by_class = stored.by_class.into_iter().map(|class| {
            Ok(ClassProfile {
                class: class.class,
                rows: class.rows,
                columns: columns(class.columns, class.rows)?,
            })
        });
        Ok(Self {
            rows: stored.rows,
            by_class: by_class.collect::<Result<_, InvalidProfile>>()?,
            columns: columns(stored.columns, stored.rows)?,
        })
    }
}

impl From<ColumnProfile> for ColumnV1 {
    fn from(column: ColumnProfile) -> Self {
        let ColumnProfile { name, missing, non_finite, zeros, negatives, integers, .. } = column;
        let ColumnProfile { moments, distinct, frequent, quantiles, histogram, .. } = column;
        Self {
            name,
            missing,
            non_finite,
            zeros,
            negatives,
            integers,
            moments,
            distinct,
            frequent,
            quantiles,
            histogram,
        }
    }
}

fn columns(stored: Vec<ColumnV1>, rows: u64) -> Result<Vec<ColumnProfile>, InvalidProfile> {
    stored.into_iter().map(|column| checked(column, rows)).collect()
}

fn checked(stored: ColumnV1, rows: u64) -> Result<ColumnProfile, InvalidProfile> {
    match contradiction(&stored, rows) {
        Some(what) => Err(InvalidProfile { column: stored.name, what }),
        None => {
            let ColumnV1 { name, missing, non_finite, zeros, negatives, integers, .. } = stored;
            let ColumnV1 { moments, distinct, frequent, quantiles, histogram, .. } = stored;
            Ok(ColumnProfile {
                name,
                missing,
                non_finite,
                zeros,
                negatives,
                integers,
                moments,
                distinct,
                frequent,
                quantiles,
                histogram,
            })
        }
    }
}

fn contradiction(column: &ColumnV1, rows: u64) -> Option<&'static str> {
    let Moments { count, mean, squares, sum, range } = column.moments;
    let total = count.checked_add(column.missing).and_then(|sum| sum.checked_add(column.non_finite));
    if total != Some(rows) {
        return Some("values do not add up to rows");
    }
    if column.quantiles.count() != count {
        return Some("quantiles are of another number of values");
    }
    if [column.zeros, column.negatives, column.integers].iter().any(|&part| part > count) {
        return Some("more values of a kind than values");
    }
    if range.is_some() != (count > 0) {
        return Some("a range goes with values, and only with them");
    }
    let (low, high) = range.unwrap_or((0.0, 0.0));
    if ![mean, squares, sum, low, high].iter().all(|value| value.is_finite()) || low > high || squares < 0.0 {
        return Some("range, mean, variance or sum is not a number of this kind");
    }
    if column.quantiles.levels().flatten().any(|&value| value < low || value > high) {
        return Some("a quantile lies outside the range");
    }
    if let Some(values) = &column.frequent {
        let ascend = values.is_sorted_by(|a, b| a.0 < b.0) && values.iter().all(|value| value.0.is_finite());
        let sum = values.iter().try_fold(0u64, |sum, value| sum.checked_add(value.1));
        if !ascend || sum != Some(count) || values.len() > FREQUENT_VALUE_LIMIT {
            return Some("frequent values do not add up or are out of order");
        }
    }
    if let Some(histogram) = &column.histogram {
        let sum = histogram.counts.iter().try_fold(0u64, |sum, &part| sum.checked_add(part));
        if histogram.counts.len() != histogram.edges.as_slice().len() + 1 || sum != Some(count) {
            return Some("the histogram does not add up");
        }
    }
    None
}
