//! What serves where, and did.

use serde::Serialize;
use serin_core::store::{DeploymentRecord, MonitorRecord, ServedPeriod};
use utoipa::ToSchema;

/// A place that answers rows.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Endpoint {
    pub name: String,
    pub project: String,
    pub stage: String,
    pub variants: Vec<ServedVariant>,
    /// When it last changed.
    pub since: Option<String>,
    /// Who answers for it.
    pub by: Option<String>,
    /// The run that changed it last.
    pub run: Option<u64>,
    pub monitor: Option<Monitor>,
}

/// A version behind an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ServedVariant {
    pub name: String,
    pub version: u64,
    pub weight: f64,
}

/// What an endpoint is watched against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Monitor {
    pub version: u64,
    /// Digest of the profile.
    pub baseline: String,
    pub since: String,
}

/// One change of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Deployment {
    /// Of the routes that resulted.
    pub epoch: u64,
    pub time: String,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub run: Option<u64>,
    /// Empty: nothing serves from then on.
    pub versions: Vec<u64>,
    /// Whether it went back to what served before.
    pub is_return: bool,
    pub by: Option<String>,
    pub reason: String,
}

/// A version behind an endpoint from one moment to another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Period {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub variant: String,
    pub version: u64,
    pub weight: f64,
    pub from: String,
    /// `null`: still.
    pub until: Option<String>,
    pub run: Option<u64>,
    /// Who answers for it.
    pub by: Option<String>,
}

/// What served at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Served {
    pub at: String,
    pub items: Vec<Period>,
}

impl From<&MonitorRecord> for Monitor {
    fn from(monitor: &MonitorRecord) -> Self {
        Self {
            version: monitor.version.0,
            baseline: monitor.baseline.to_string(),
            since: monitor.since.to_rfc3339(),
        }
    }
}

impl From<DeploymentRecord> for Deployment {
    fn from(record: DeploymentRecord) -> Self {
        Self {
            epoch: record.epoch,
            time: record.time.to_rfc3339(),
            project: record.project,
            stage: record.stage,
            endpoint: record.endpoint,
            run: record.run.map(|run| run.0),
            versions: record.versions.into_iter().map(|version| version.0).collect(),
            is_return: record.is_return,
            by: record.by,
            reason: record.reason,
        }
    }
}

impl From<ServedPeriod> for Period {
    fn from(period: ServedPeriod) -> Self {
        Self {
            project: period.project,
            stage: period.stage,
            endpoint: period.endpoint,
            variant: period.variant,
            version: period.version.0,
            weight: period.weight,
            from: period.from.to_rfc3339(),
            until: period.until.map(|until| until.to_rfc3339()),
            run: period.run.map(|run| run.0),
            by: period.by,
        }
    }
}
