//! What happened, and who is told.

use serde::{Deserialize, Serialize};

use super::numbers::RunNumber;
use crate::clock::Timestamp;

/// One line of history. Events are written in the transaction of what they tell, and never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one; gaps mean nothing.
    pub number: u64,
    pub time: Timestamp,
    pub kind: EventKind,
    pub project: String,
    pub run: Option<RunNumber>,
    /// One sentence without a full stop.
    pub text: String,
    pub facts: serde_json::Value,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    ProjectAdded,
    RunWanted,
    RunRefused,
    RunStarted,
    RunSucceeded,
    RunFailed,
    RunCancelled,
    RunSkipped,
    StepStarted,
    StepSucceeded,
    StepRetried,
    StepFailed,
    VersionRegistered,
    VersionChanged,
    ApprovalWanted,
    ApprovalDecided,
    ApprovalRefused,
    Deployed,
    RolledBack,
    Undeployed,
    RolloutStarted,
    RolloutAdvanced,
    RolloutHeld,
    RolloutEnded,
    DrillStarted,
    RetrainStarted,
    MonitorSwitched,
    AlarmRaised,
    AlarmCleared,
    AlarmUnknown,
    AlarmKnown,
    AlarmMuted,
    AlarmSilenced,
    DriftFound,
    RetrainRefused,
    TriggerChanged,
    TriggerFailed,
    DecisionMade,
    ReplicasScaled,
    ReplicaDrained,
    Destroyed,
}

/// An event that somebody asked to be told, waiting for one channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// A UUID: the same for every attempt, so that a receiver can tell repeats.
    pub id: String,
    /// The channel's name in the settings.
    pub channel: String,
    pub event: Event,
    /// Attempts made so far.
    pub attempts: u32,
}

impl EventKind {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(self) -> String {
        // A unit variant serialises as its name.
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}
