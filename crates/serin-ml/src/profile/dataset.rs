//! The profiles of all columns of a data set.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::column::{ColumnProfile, MergeError, ProfileOptions};
use super::stored::Stored;
use crate::dataset::Dataset;

/// What a data set looked like, column by column and, where asked for, class by class. Stored with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct DatasetProfile {
    /// Rows seen.
    pub rows: u64,
    /// One profile a feature, in column order.
    pub columns: Vec<ColumnProfile>,
    /// The same for the rows of each class, in class order; empty when it was not asked for.
    pub by_class: Vec<ClassProfile>,
}

/// The rows of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassProfile {
    /// Name of the class.
    pub class: String,
    /// Its rows.
    pub rows: u64,
    /// One profile a feature, in column order.
    pub columns: Vec<ColumnProfile>,
}

impl DatasetProfile {
    /// No row seen of columns with these names.
    #[must_use]
    pub fn empty<'a>(names: impl IntoIterator<Item = &'a str>, options: &ProfileOptions) -> Self {
        let columns = names.into_iter().map(|name| ColumnProfile::empty(name, options)).collect();
        Self { rows: 0, columns, by_class: Vec::new() }
    }

    /// The profile of every feature of `dataset`. Threads share columns, so their number does not matter.
    #[must_use]
    pub fn of(dataset: &Dataset, options: &ProfileOptions) -> Self {
        let names: Vec<&str> = dataset.schema.names().collect();
        let columns = names.par_iter().zip(&dataset.columns).map(|(name, values)| {
            let mut column = ColumnProfile::empty(name, options);
            column.add_all(values);
            column
        });
        Self { rows: dataset.n_rows as u64, columns: columns.collect(), by_class: Vec::new() }
    }

    /// The same, and the profiles of the rows of each class (none where the data set has no target).
    #[must_use]
    pub fn of_classes(dataset: &Dataset, options: &ProfileOptions) -> Self {
        let mut profile = Self::of(dataset, options);
        let Some(labels) = &dataset.labels else { return profile };
        let names: Vec<&str> = dataset.schema.names().collect();
        for ((code, class), rows) in (0u32..).zip(&labels.classes).zip(labels.counts()) {
            let columns = names.par_iter().zip(&dataset.columns).map(|(name, values)| {
                let of_class = values.iter().zip(&labels.codes).filter(|(_, other)| **other == code);
                let values: Vec<f64> = of_class.map(|(value, _)| *value).collect();
                let mut column = ColumnProfile::empty(name, options);
                column.add_all(&values);
                column
            });
            let columns = columns.collect();
            profile.by_class.push(ClassProfile { class: class.clone(), rows: rows as u64, columns });
        }
        profile
    }

    /// Takes in one row of a live window, in column order; values that are too few count as missing. Rows added so
    /// belong to no class.
    pub fn add_row(&mut self, row: &[f64]) {
        self.rows += 1;
        for (j, column) in self.columns.iter_mut().enumerate() {
            column.add(row.get(j).copied().unwrap_or(f64::NAN));
        }
    }

    /// Takes in the rows that `other` has seen.
    ///
    /// # Errors
    /// When columns, classes or histogram edges differ; nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        let classes =
            |profile: &Self| profile.by_class.iter().map(|class| class.class.clone()).collect::<Vec<_>>();
        if classes(self) != classes(other) {
            return Err(MergeError::Shape { what: "classes" });
        }
        let mut merged = self.clone();
        merge_columns(&mut merged.columns, &other.columns)?;
        for (here, there) in merged.by_class.iter_mut().zip(&other.by_class) {
            merge_columns(&mut here.columns, &there.columns)?;
            here.rows += there.rows;
        }
        merged.rows += other.rows;
        *self = merged;
        Ok(())
    }
}

fn merge_columns(here: &mut [ColumnProfile], there: &[ColumnProfile]) -> Result<(), MergeError> {
    if here.len() != there.len() {
        return Err(MergeError::Shape { what: "numbers of columns" });
    }
    here.iter_mut().zip(there).try_for_each(|(here, there)| here.merge(there))
}
