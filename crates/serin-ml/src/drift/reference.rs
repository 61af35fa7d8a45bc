//! A baseline made ready: counted in its bins once, for every window that is put beside it.

use rayon::prelude::*;

use super::bins::Bins;
use super::compare::DriftError;
use crate::profile::{ColumnProfile, ColumnSummary, DatasetProfile};

/// A baseline counted in bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub(super) bins: Bins,
    /// Rows of the baseline.
    pub(super) rows: u64,
    /// One entry a feature of the bins.
    pub(super) columns: Vec<ReferenceColumn>,
}

/// One feature of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReferenceColumn {
    /// Finite values in each bin.
    pub counts: Vec<u64>,
    pub summary: ColumnSummary,
    /// Values that were seen once, where each is counted.
    pub singles: u64,
}

impl Reference {
    /// Counts a baseline in bins, which may be those of another baseline of the same features.
    ///
    /// # Errors
    /// When the baseline lacks a feature of the bins.
    pub fn of(bins: &Bins, baseline: &DatasetProfile) -> Result<Self, DriftError> {
        let column = |bins: &super::ColumnBins| {
            let found = baseline.columns.iter().find(|column| column.name() == bins.name);
            let found = found.ok_or_else(|| DriftError::UnknownFeature(bins.name.clone()))?;
            Ok(ReferenceColumn {
                counts: bins.count(found),
                summary: found.finish(),
                singles: singles(found),
            })
        };
        let columns = bins.columns.par_iter().map(column).collect::<Result<_, DriftError>>()?;
        Ok(Self { bins: bins.clone(), rows: baseline.rows, columns })
    }

    /// Where rows are counted.
    #[must_use]
    pub fn bins(&self) -> &Bins {
        &self.bins
    }
}

fn singles(column: &ColumnProfile) -> u64 {
    let counted = column.frequent_values().unwrap_or_default();
    counted.iter().filter(|(_, count)| *count == 1).count() as u64
}
