//! Live rows, metrics and alarms as they travel.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::metrics::Series;
use serin_core::monitor::QualityReport;
use serin_core::store::{AlarmRecord, MonitorRunRecord};
use utoipa::ToSchema;

/// How an alarm stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Alarm {
    pub name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: &'static str,
    pub reason: String,
    /// Since when.
    pub since: String,
    /// When it was last told.
    pub time: String,
    pub silence: Option<Silence>,
    /// What it watches in words; `null` for one that others told.
    pub watches: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Whether it asks for a training run when it goes on.
    pub retrain: bool,
}

/// Nobody is told of an alarm for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Silence {
    pub until: String,
    pub by: String,
    pub reason: String,
}

/// An alarm with the datapoints that it is evaluated on, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AlarmDetail {
    #[serde(flatten)]
    pub alarm: Alarm,
    pub datapoints: Vec<AlarmPoint>,
}

/// A datapoint: the beginning of its period, and its value; `null`: nothing was measured.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AlarmPoint {
    pub time: String,
    pub value: Option<f64>,
    /// It could not be read.
    pub unreadable: bool,
}

/// A look at a window of live rows.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Look {
    pub number: u64,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub model_version: String,
    pub from: String,
    pub to: String,
    pub time: String,
    /// `null`: by itself.
    pub asked_by: Option<String>,
    /// `stable`, `changed`, `insufficient` or `error`.
    pub state: String,
    pub reason: String,
    pub rows: u64,
    pub findings: u32,
    /// Found in enough windows to be told.
    pub confirmed: u32,
    /// Everything, in what is asked for by number: docs/monitoring.md explains it.
    #[schema(value_type = Option<Object>)]
    pub report: Option<serde_json::Value>,
}

/// Answers of a model version beside the truth.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Quality {
    pub endpoint: String,
    pub from: String,
    pub to: String,
    /// On the hold-out: accuracy and macro-F1 of the version that is watched.
    pub expected_accuracy: Option<f64>,
    pub expected_macro_f1: Option<f64>,
    /// One entry a model version: see docs/monitoring.md.
    #[schema(value_type = Vec<Object>)]
    pub versions: Vec<QualityReport>,
    /// What can be said without labels, of the last look; `null`: nothing.
    #[schema(value_type = Option<Object>)]
    pub estimated: Option<serde_json::Value>,
}

/// The answer to a question about metrics.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MetricAnswer {
    pub query: String,
    /// Of the whole time; `null`: nothing was measured.
    pub value: Option<f64>,
    pub from: String,
    pub period_seconds: u64,
    /// One value a period, the oldest first; `null`: nothing was measured.
    pub line: Vec<Option<f64>>,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SeriesName {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl From<AlarmRecord> for Alarm {
    fn from(alarm: AlarmRecord) -> Self {
        let silence = alarm.silence.map(|silence| Silence {
            until: silence.until.to_rfc3339(),
            by: silence.by,
            reason: silence.reason,
        });
        Self {
            name: alarm.name,
            state: alarm.state.name(),
            reason: alarm.reason,
            since: alarm.since.to_rfc3339(),
            time: alarm.time.to_rfc3339(),
            silence,
            watches: None,
            advice: None,
            retrain: false,
        }
    }
}

impl From<MonitorRunRecord> for Look {
    fn from(look: MonitorRunRecord) -> Self {
        Self {
            number: look.number.0,
            project: look.project,
            stage: look.stage,
            endpoint: look.endpoint,
            model_version: look.model_version,
            from: look.from.to_rfc3339(),
            to: look.to.to_rfc3339(),
            time: look.time.to_rfc3339(),
            asked_by: look.asked_by,
            state: look.state,
            reason: look.reason,
            rows: look.rows,
            findings: look.findings,
            confirmed: look.confirmed,
            report: look.report,
        }
    }
}

impl From<Series> for SeriesName {
    fn from(series: Series) -> Self {
        Self { name: series.name, labels: series.labels }
    }
}
