//! What happened, what was decided, and what was tried.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serin_core::domain;
use serin_core::store::{DecisionRecord, TrialRecord};
use utoipa::ToSchema;

/// One line of history.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Event {
    pub number: u64,
    pub time: String,
    /// Such as `run-started`.
    pub kind: String,
    pub project: String,
    pub run: Option<u64>,
    /// One sentence without a full stop.
    pub text: String,
    pub facts: Value,
}

/// A decision as it was made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Decision {
    pub number: u64,
    pub time: String,
    pub project: String,
    pub run: Option<u64>,
    /// Which rule decided, such as `gate`.
    pub rule: String,
    pub verdict: String,
    /// The verdict in plain words.
    pub explanation: String,
    /// Everything it was decided from; left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
}

/// A decision made again from what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Replay {
    pub number: u64,
    pub rule: String,
    /// Whether verdict and explanation are those that were recorded.
    pub same: bool,
    pub verdict: String,
    pub explanation: String,
    pub recorded: Recorded,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Recorded {
    pub verdict: String,
    pub explanation: String,
}

/// What is known of a run as an experiment's trial.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Trial {
    /// The project.
    pub experiment: String,
    pub run: u64,
    pub created: String,
    pub parameters: BTreeMap<String, String>,
    pub metrics: BTreeMap<String, f64>,
    /// Digest by name.
    pub artifacts: BTreeMap<String, String>,
}

/// Trials side by side: by name, then by run.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrialComparison {
    pub runs: Vec<u64>,
    pub parameters: BTreeMap<String, BTreeMap<String, String>>,
    pub metrics: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Decision {
    /// With everything it was decided from.
    #[must_use]
    pub fn whole(record: DecisionRecord) -> Self {
        let inputs = Some(record.inputs.clone());
        Self { inputs, ..record.into() }
    }
}

impl TrialComparison {
    /// These trials, in the order in which they were asked for.
    #[must_use]
    pub fn new(trials: &[TrialRecord]) -> Self {
        let mut comparison = Self {
            runs: trials.iter().map(|trial| trial.run.0).collect(),
            parameters: BTreeMap::new(),
            metrics: BTreeMap::new(),
        };
        for trial in trials {
            let run = trial.run.to_string();
            for (name, value) in &trial.parameters {
                comparison.parameters.entry(name.clone()).or_default().insert(run.clone(), value.clone());
            }
            for (name, value) in &trial.metrics {
                comparison.metrics.entry(name.clone()).or_default().insert(run.clone(), *value);
            }
        }
        comparison
    }
}

impl From<domain::Event> for Event {
    fn from(event: domain::Event) -> Self {
        Self {
            number: event.number,
            time: event.time.to_rfc3339(),
            kind: event.kind.name(),
            project: event.project,
            run: event.run.map(|run| run.0),
            text: event.text,
            facts: event.facts,
        }
    }
}

impl From<DecisionRecord> for Decision {
    fn from(record: DecisionRecord) -> Self {
        Self {
            number: record.number.0,
            time: record.time.to_rfc3339(),
            project: record.project,
            run: record.run.map(|run| run.0),
            rule: record.rule,
            verdict: record.verdict,
            explanation: record.explanation,
            inputs: None,
        }
    }
}

impl From<TrialRecord> for Trial {
    fn from(trial: TrialRecord) -> Self {
        let artifacts = trial.artifacts.into_iter();
        Self {
            experiment: trial.experiment,
            run: trial.run.0,
            created: trial.created.to_rfc3339(),
            parameters: trial.parameters,
            metrics: trial.metrics,
            artifacts: artifacts.map(|(name, digest)| (name, digest.to_string())).collect(),
        }
    }
}
