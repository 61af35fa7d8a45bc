//! What verbs take and give besides the nouns.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::Expected;

use crate::clock::{Steady, Timestamp};
use crate::config::RolloutSettings;
use crate::digest::Digest;
use crate::domain::{
    AlarmState, ApprovalSubject, DecisionNumber, Epoch, Failure, Lease, MonitorNumber, RunNumber, RunState,
    StepPlan, VersionNumber,
};

use crate::rollout::Rollout;
use crate::scale::NumberedDecision;

/// When something happens: for people, and for waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub wall: Timestamp,
    pub steady: Steady,
}

/// Who does the work of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    pub epoch: Epoch,
    pub owner: String,
    /// Grows with every sign of life.
    pub beat: u64,
    /// The age of the data directory at the last sign of life, and the time of day then.
    pub steady: Steady,
    pub wall: Timestamp,
}

/// An attempt's hold on its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub epoch: Epoch,
    pub run: RunNumber,
    pub step: String,
    pub lease: Lease,
}

/// How an attempt ended, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEnd {
    /// Its output is this artifact. `key` makes it findable for later runs; `further` steps come behind.
    Succeeded { output: Digest, key: Option<Digest>, reused_from: Option<RunNumber>, further: Vec<StepPlan> },
    /// The run is over with this, without a failure.
    Skipped { output: Digest, reason: String },
    /// A person is asked.
    Asked(Box<ApprovalRequest>),
    /// It failed; `retry_at`: not for good.
    Failed { failure: Failure, retry_at: Option<Steady> },
    /// It was stopped because the run was cancelled.
    Cancelled,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRequest {
    pub subject: ApprovalSubject,
    /// How long an answer is taken.
    pub valid: Duration,
    pub needs_four_eyes: bool,
    pub asked_by: Option<String>,
}

/// A project under this control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: String,
    /// Its folder, absolute.
    pub folder: String,
}

/// When a run may be wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishRules {
    /// No automatic run sooner than this after the last one of its cause's kind began.
    pub cooldown: Duration,
    /// Automatic runs within 24 hours.
    pub daily_budget: u32,
    /// A newer wish takes the place of waiting ones; else all are done in order.
    pub newest_wins: bool,
    /// Most runs that wait.
    pub waiting_limit: u32,
}

/// A bundle to be registered.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    pub project: String,
    pub bundle: String,
    pub artifact: Digest,
    pub revision: Digest,
}

/// A change of one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteChange {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    /// What serves from now on, whole: variant name, weight, version.
    pub variants: Vec<(String, f64, VersionNumber)>,
    /// Whether this goes back to what served before.
    pub is_return: bool,
    /// Who answers for it: the approver, or who asked.
    pub by: Option<String>,
    pub reason: String,
    /// Tells one change of a step from another: a step that changes twice.
    pub part: &'static str,
}

/// A version that is to take over a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRollout {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub version: VersionNumber,
    pub settings: RolloutSettings,
    /// What it differs in from the version that serves, as far as is known.
    pub expected: Expected,
    /// Who answers for it: the approver, or who asked.
    pub by: Option<String>,
    pub reason: String,
}

/// A rollout as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRollout {
    pub rollout: Rollout,
    /// Who changes it must have seen this.
    pub revision: u64,
    pub ended: Option<Timestamp>,
    pub ended_steady: Option<Steady>,
}

/// A rollout that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutAdvance {
    pub rollout: Rollout,
    pub seen: u64,
    /// The decision with everything it was made from.
    pub decision: Option<RolloutDecision>,
}

/// Why a rollout goes on so.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutDecision {
    pub verdict: &'static str,
    pub explanation: String,
    pub inputs: serde_json::Value,
}

/// The last word about an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlarmRecord {
    pub project: String,
    pub name: String,
    pub state: AlarmState,
    pub reason: String,
    /// When it was last told.
    pub time: Timestamp,
    pub steady: Steady,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Nobody is told of its changes while this holds.
    pub silence: Option<Silence>,
}

/// What an alarm says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmNews {
    pub name: String,
    pub state: AlarmState,
    /// One sentence without a full stop.
    pub reason: String,
    /// What to do about it, when it is known.
    pub advice: Option<String>,
}

/// Nobody is told of an alarm for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silence {
    pub until: Timestamp,
    #[serde(skip)]
    pub until_steady: Steady,
    pub by: String,
    pub reason: String,
}

/// What a look at a window found.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMonitorRun {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub model_version: String,
    pub from: Timestamp,
    pub to: Timestamp,
    /// `None`: by itself.
    pub asked_by: Option<String>,
    pub state: String,
    pub reason: String,
    pub rows: u64,
    pub findings: u32,
    pub confirmed: u32,
    pub report: serde_json::Value,
}

/// A look at a window.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorRunRecord {
    pub number: MonitorNumber,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub model_version: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub time: Timestamp,
    pub asked_by: Option<String>,
    pub state: String,
    pub reason: String,
    pub rows: u64,
    pub findings: u32,
    pub confirmed: u32,
    /// Not in lists.
    pub report: Option<serde_json::Value>,
}

/// One change of an endpoint, as it was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeploymentRecord {
    pub epoch: u64,
    pub time: Timestamp,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub run: Option<RunNumber>,
    pub versions: Vec<VersionNumber>,
    pub is_return: bool,
    pub by: Option<String>,
    pub reason: String,
}

/// A version behind an endpoint from one moment to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedPeriod {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub variant: String,
    pub version: VersionNumber,
    pub weight: f64,
    pub from: Timestamp,
    /// `None`: still.
    pub until: Option<Timestamp>,
    pub run: Option<RunNumber>,
    /// Who answers for it.
    pub by: Option<String>,
}

/// What a stage is watched against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorRecord {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub version: VersionNumber,
    /// Artifact of the baseline profile.
    pub baseline: Digest,
    pub since: Timestamp,
}

/// What is known of a run as an experiment's trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewTrial {
    pub parameters: BTreeMap<String, String>,
    pub metrics: BTreeMap<String, f64>,
    pub artifacts: BTreeMap<String, Digest>,
}

/// A trial. The experiment is the project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialRecord {
    pub experiment: String,
    pub run: RunNumber,
    pub created: Timestamp,
    pub parameters: BTreeMap<String, String>,
    pub metrics: BTreeMap<String, f64>,
    pub artifacts: BTreeMap<String, Digest>,
}

/// A decision to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDecision {
    pub project: String,
    pub run: Option<RunNumber>,
    /// Which rule decided, such as `gate`.
    pub rule: String,
    /// Everything it was decided from.
    pub inputs: serde_json::Value,
    pub verdict: String,
    /// The verdict in plain words.
    pub explanation: String,
}

/// A decision as kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionRecord {
    pub number: DecisionNumber,
    pub time: Timestamp,
    pub project: String,
    pub run: Option<RunNumber>,
    pub rule: String,
    pub inputs: serde_json::Value,
    pub verdict: String,
    pub explanation: String,
}

/// What a gateway decided about replicas, to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewScaling {
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    /// The model version whose replicas these are.
    pub version: String,
    pub decision: NumberedDecision,
}

/// What a gateway decided about replicas, without what it was decided from: that is in the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScalingRecord {
    pub decision: DecisionNumber,
    /// When it was made.
    pub time: Timestamp,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub version: String,
    pub from: u32,
    pub to: u32,
    pub rule: String,
    pub reason: String,
}

/// What is remembered of a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerRecord {
    pub project: String,
    pub name: String,
    pub is_paused: bool,
    pub state: Option<TriggerState>,
}

/// What a trigger last acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerState {
    /// Where it stands: a commit, a digest of data, an instant.
    pub position: String,
    pub time: Timestamp,
    /// What became of it, in words.
    pub outcome: String,
}

/// Which rows of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOptions {
    pub project: Option<String>,
    /// Only those that are still open.
    pub is_open: bool,
    /// Only those with smaller numbers.
    pub before: Option<u64>,
    /// At most so many; 0: the default of 100.
    pub limit: u32,
}

impl ListOptions {
    /// Most rows of one listing.
    pub const LIMIT: u32 = 1_000;

    /// The number of rows to give.
    #[must_use]
    pub fn rows(&self) -> u32 {
        if self.limit == 0 { 100 } else { self.limit.min(Self::LIMIT) }
    }
}

impl StepEnd {
    /// The state the run has after it, when that is over with it.
    #[must_use]
    pub fn ends_run(&self) -> Option<RunState> {
        match self {
            Self::Skipped { reason, .. } => Some(RunState::Skipped { reason: reason.clone() }),
            _ => None,
        }
    }
}
