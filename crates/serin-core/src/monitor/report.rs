//! A look at a window, whole.

use serde::{Deserialize, Serialize};
use serin_ml::drift::{Comparison, Finding, Verdict};

use super::confirm::{Confirmation, confirmed};
use super::quality::QualityReport;
use crate::clock::Timestamp;
use crate::config::MonitorSettings;

/// What a look said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorReport {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    /// The version whose rows were looked at, as answers name it.
    pub model_version: String,
    /// The first moment of the window.
    pub from: Timestamp,
    /// The first that is not of it any more.
    pub to: Timestamp,
    pub state: MonitorState,
    /// One sentence without a full stop.
    pub reason: String,
    /// Rows answered in the window.
    pub rows: u64,
    /// Beside the baseline; `None` without one.
    pub comparison: Option<Comparison>,
    /// What was found often enough to be told.
    pub confirmed: Vec<Confirmation>,
    /// Quality on rows whose truth is known, over the time that the settings say, one entry a model version.
    pub quality: Vec<QualityReport>,
    /// On the hold-out: accuracy and macro-F1.
    pub expected: (Option<f64>, Option<f64>),
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorState {
    /// Nothing was found.
    Stable,
    /// Something was found.
    Changed,
    /// There is too little to say anything.
    Insufficient,
    /// It could not be looked.
    Error,
}

/// What a look is made of.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub model_version: String,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Rows answered by the version.
    pub rows: u64,
    /// The window beside the baseline, or in words why not.
    pub comparison: Result<Comparison, Unmeasured>,
    /// Findings of the windows before, the last first.
    pub before: Vec<Vec<Finding>>,
    pub quality: Vec<QualityReport>,
    pub expected: (Option<f64>, Option<f64>),
}

/// Why there is no comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmeasured {
    /// Something that belongs to it is not there.
    Insufficient(String),
    /// Something is broken.
    Error(String),
}

impl MonitorState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stable, Self::Changed, Self::Insufficient, Self::Error];

    /// Its name as stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Changed => "changed",
            Self::Insufficient => "insufficient",
            Self::Error => "error",
        }
    }
}

impl MonitorReport {
    /// What was found in this window.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.comparison.as_ref().map(|comparison| comparison.findings.as_slice()).unwrap_or_default()
    }

    /// How far the macro-F1 of the version fell below the hold-out's, when enough labels are known.
    #[must_use]
    pub fn quality_drop(&self, settings: &MonitorSettings) -> Option<f64> {
        let mine = self.quality.iter().find(|quality| quality.model_version == self.model_version)?;
        (mine.labelled >= settings.quality_min_labels).then_some(())?;
        Some(self.expected.1? - mine.macro_f1?)
    }
}

/// What a look says.
#[must_use]
pub fn judge(inputs: Inputs, settings: &MonitorSettings) -> MonitorReport {
    let (state, reason, comparison) = match inputs.comparison {
        Err(Unmeasured::Insufficient(reason)) => (MonitorState::Insufficient, reason, None),
        Err(Unmeasured::Error(reason)) => (MonitorState::Error, reason, None),
        Ok(comparison) => {
            let (state, reason) = match &comparison.verdict {
                Verdict::Insufficient { reason } => (MonitorState::Insufficient, reason.clone()),
                Verdict::Stable => {
                    (MonitorState::Stable, format!("{} features as they were", comparison.columns.len()))
                }
                Verdict::Changed => (MonitorState::Changed, worst(&comparison)),
            };
            (state, reason, Some(comparison))
        }
    };
    let now = comparison.as_ref().map(|comparison| comparison.findings.as_slice()).unwrap_or_default();
    let windows: Vec<&[Finding]> = [now]
        .into_iter()
        .chain(inputs.before.iter().map(Vec::as_slice))
        .take(settings.confirm.1 as usize)
        .collect();
    // What is not seen in this window is not told now, whatever was before.
    let mut told = confirmed(&windows, settings.confirm.0);
    told.retain(|entry| now.iter().any(|finding| same(finding, &entry.finding)));
    MonitorReport {
        project: inputs.project,
        stage: inputs.stage,
        endpoint: inputs.endpoint,
        model_version: inputs.model_version,
        from: inputs.from,
        to: inputs.to,
        state,
        reason,
        rows: inputs.rows,
        comparison,
        confirmed: told,
        quality: inputs.quality,
        expected: inputs.expected,
    }
}

fn same(a: &Finding, b: &Finding) -> bool {
    a.column == b.column && (a.column.is_some() || a.kind == b.kind)
}

fn worst(comparison: &Comparison) -> String {
    let features = comparison.changed_columns();
    let Some(first) = comparison.findings.first() else { return String::new() };
    let name = first.column.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    match features {
        0 | 1 => format!("{name}{}", first.text),
        _ => format!("{features} features changed, first of all {name}{}", first.text),
    }
}

/// The numbers of a look as metrics: name without labels, value. Those that could not be measured are not there.
#[must_use]
pub fn metrics(report: &MonitorReport, settings: &MonitorSettings) -> Vec<(String, f64)> {
    let mut metrics = vec![
        ("monitor_failed".to_owned(), f64::from(u8::from(report.state == MonitorState::Error))),
        ("window_rows".to_owned(), report.rows as f64),
    ];
    let is_measured = matches!(report.state, MonitorState::Stable | MonitorState::Changed);
    if is_measured && let Some(comparison) = &report.comparison {
        let (quality, drift): (Vec<_>, Vec<_>) =
            report.confirmed.iter().partition(|entry| entry.is_quality());
        metrics.push(("drift_findings".to_owned(), drift.len() as f64));
        metrics.push(("data_quality_findings".to_owned(), quality.len() as f64));
        if let Some(predictions) = &comparison.predictions {
            metrics.push(("class_mix_shift".to_owned(), predictions.class_mix_shift));
            metrics.extend(predictions.confidence_now.map(|value| ("mean_confidence".to_owned(), value)));
            let estimated = predictions.estimated.as_ref().filter(|estimated| estimated.doubt.is_none());
            metrics.extend(estimated.map(|estimated| ("estimated_accuracy".to_owned(), estimated.accuracy)));
        }
    }
    if let Some(mine) = report.quality.iter().find(|quality| quality.model_version == report.model_version) {
        metrics.push(("labelled_rows".to_owned(), mine.labelled as f64));
        metrics.extend(mine.accuracy.map(|value| ("accuracy".to_owned(), value)));
        metrics.extend(mine.macro_f1.map(|value| ("macro_f1".to_owned(), value)));
    }
    metrics.extend(report.quality_drop(settings).map(|value| ("quality_drop".to_owned(), value)));
    // The last: of very many features some may find no room, and nothing else.
    if is_measured && let Some(comparison) = &report.comparison {
        for column in &comparison.columns {
            metrics.push((format!("feature_baseline_drift_{}", column.name), column.distances.ks));
            metrics.push((format!("feature_non_null_{}", column.name), 1.0 - column.missing.1));
        }
    }
    metrics
}
