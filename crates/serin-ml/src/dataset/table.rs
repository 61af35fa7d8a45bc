//! The data set itself and the small types it is made of.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// What the values of a column are, from all rows read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Any finite number.
    Number,
    /// Whole numbers only.
    Integer,
    /// 0 and 1 only (`true` and `false` are read as 1 and 0).
    Boolean,
}

/// One feature: its name, its kind, and the range seen in training (`None` when every value was missing).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The name in the header; a column named `7` is a name like any other.
    pub name: String,
    /// The narrowest kind that holds all its values.
    pub kind: ColumnKind,
    /// Smallest and largest value seen.
    pub range: Option<(f64, f64)>,
    /// Whether a missing value was seen.
    pub has_missing: bool,
}

/// The features in the order a row has them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Schema {
    /// The features, in column order. Names are unique.
    pub fields: Vec<Field>,
}

impl Schema {
    /// Position of the feature called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The names in column order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

/// The target column: class names and one class index a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Distinct classes: in numeric order when all are whole numbers, else in byte order.
    pub classes: Vec<String>,
    /// For each row, an index into `classes`.
    pub codes: Vec<u32>,
}

impl Labels {
    /// Rows of each class, in class order.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &code in &self.codes {
            counts[code as usize] += 1;
        }
        counts
    }
}

/// Content hash of a data set: SHA-256 in hex, the same for the same rows in the same order however they were stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that rows came from, for error positions and lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The path as given.
    pub path: String,
    /// Rows it held.
    pub rows: usize,
}

/// A data set as read: numeric columns, and what else was asked for by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The feature columns in file order (without target, weight, group, time, id and ignored columns).
    pub schema: Schema,
    /// One vector a feature, `n_rows` long; NaN marks a missing value.
    pub columns: Vec<Vec<f64>>,
    /// Number of rows.
    pub n_rows: usize,
    /// The target, when one was named.
    pub labels: Option<Labels>,
    /// Sample weights (finite, >= 0), when a weight column was named.
    pub weights: Option<Vec<f64>>,
    /// Group of each row (rows of a group never straddle a split), when a group column was named.
    pub groups: Option<Vec<u32>>,
    /// Sort key of each row, when a time column was named.
    pub times: Option<Vec<f64>>,
    /// Identifier of each row as text, when an id column was named.
    pub ids: Option<Vec<String>>,
    /// The files read, in order.
    pub sources: Vec<Source>,
    /// Content hash over features, target and weights.
    pub fingerprint: Fingerprint,
}

impl Dataset {
    /// A copy of the rows named by `rows`, in that order. Schema, sources and fingerprint stay those of the whole.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        fn pick<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row].clone()).collect()
        }
        Self {
            schema: self.schema.clone(),
            columns: self.columns.iter().map(|column| pick(column, rows)).collect(),
            n_rows: rows.len(),
            labels: self
                .labels
                .as_ref()
                .map(|labels| Labels { classes: labels.classes.clone(), codes: pick(&labels.codes, rows) }),
            weights: self.weights.as_deref().map(|weights| pick(weights, rows)),
            groups: self.groups.as_deref().map(|groups| pick(groups, rows)),
            times: self.times.as_deref().map(|times| pick(times, rows)),
            ids: self.ids.as_deref().map(|ids| pick(ids, rows)),
            sources: self.sources.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// A row-major copy of the features.
    #[must_use]
    pub fn features(&self) -> Matrix {
        if self.columns.is_empty() {
            Matrix::zeros(self.n_rows, 0)
        } else {
            Matrix::from_columns(&self.columns)
        }
    }
}
