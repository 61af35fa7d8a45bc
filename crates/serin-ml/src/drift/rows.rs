//! Two sets of rows, batch by batch, without anything that serves.

use super::bins::Bins;
use super::compare::{ChangeKind, Comparison, Finding, Severity, Verdict};
use super::window::Window;
use crate::dataset::Dataset;
use crate::profile::{DatasetProfile, ProfileOptions};

/// The profile of a baseline that comes in batches.
#[derive(Debug, Default)]
pub struct BaselineRows {
    profile: Option<DatasetProfile>,
}

/// The window of current rows that come in batches.
#[derive(Debug)]
pub struct CurrentRows<'a> {
    bins: &'a Bins,
    window: Window,
    /// Features of the bins that no batch had.
    absent: Vec<String>,
    /// Columns that no bins are for.
    extra: Vec<String>,
}

impl BaselineRows {
    /// Takes in a batch.
    ///
    /// # Errors
    /// When it has other columns than the batches before, in words.
    pub fn add(&mut self, batch: &Dataset) -> Result<(), String> {
        let of_batch = DatasetProfile::of(batch, &ProfileOptions::default());
        match &mut self.profile {
            None => self.profile = Some(of_batch),
            Some(profile) => profile.merge(&of_batch).map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    /// The profile; `None` without rows.
    #[must_use]
    pub fn finish(self) -> Option<DatasetProfile> {
        self.profile
    }
}

impl<'a> CurrentRows<'a> {
    /// No row yet.
    #[must_use]
    pub fn new(bins: &'a Bins) -> Self {
        let absent = bins.columns.iter().map(|column| column.name.clone()).collect();
        Self { bins, window: Window::empty(bins), absent, extra: Vec::new() }
    }

    /// Takes in a batch; columns are found by name.
    pub fn add(&mut self, batch: &Dataset) {
        let names: Vec<&str> = batch.schema.names().collect();
        let of_name = |name: &str| {
            let place = names.iter().position(|other| *other == name)?;
            batch.columns.get(place).map(Vec::as_slice)
        };
        let columns: Vec<Option<&[f64]>> =
            self.bins.columns.iter().map(|column| of_name(&column.name)).collect();
        self.window.add_columns(self.bins, &columns, batch.n_rows);
        self.absent.retain(|name| !names.contains(&name.as_str()));
        for name in names {
            let is_known = self.bins.columns.iter().any(|column| column.name == name);
            if !is_known && !self.extra.iter().any(|known| known == name) {
                self.extra.push(name.to_owned());
            }
        }
    }

    /// What was counted.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Adds what is there too much or too little to what a comparison found.
    pub fn note_columns(&self, comparison: &mut Comparison) {
        let finding = |name: &String, kind, text: &str| Finding {
            column: Some(name.clone()),
            kind,
            severity: Severity::Quality,
            p: 0.0,
            shift: 1.0,
            damage: 1.0,
            text: text.to_owned(),
        };
        let absent =
            self.absent.iter().map(|name| finding(name, ChangeKind::AbsentColumn, "the column is not there"));
        let extra = self.extra.iter().map(|name| Finding {
            damage: 0.0,
            shift: 0.0,
            ..finding(name, ChangeKind::ExtraColumn, "the baseline has no such column")
        });
        // An absent column is that, and not a column of missing values.
        comparison
            .findings
            .retain(|finding| finding.column.as_ref().is_none_or(|name| !self.absent.contains(name)));
        let mut findings: Vec<Finding> = absent.collect();
        findings.append(&mut comparison.findings);
        findings.extend(extra);
        comparison.findings = findings;
        if !comparison.findings.is_empty() && comparison.verdict == Verdict::Stable {
            comparison.verdict = Verdict::Changed;
        }
    }
}
