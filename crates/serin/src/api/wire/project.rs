//! Projects, what asks for their runs, and how everything stands.

use serde::Serialize;
use serin_core::config::StageSettings;
use serin_core::domain;
use serin_core::store::TriggerState;
use utoipa::ToSchema;

use super::{Approval, Endpoint, Run};

/// A project.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Project {
    pub name: String,
    pub folder: String,
    /// Why its settings cannot be used.
    pub error: Option<String>,
    /// In the order of deployment; empty while the settings cannot be used.
    pub stages: Vec<Stage>,
    pub triggers: Vec<Trigger>,
}

/// A place that is deployed to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Stage {
    pub name: String,
    /// A person is asked before.
    pub approval: bool,
    pub approval_valid_seconds: u64,
    pub four_eyes: bool,
    pub smoke_rows: usize,
}

/// What asks for runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trigger {
    pub project: String,
    /// `git`, `data`, `upload`, `schedule` or `alarm`.
    pub name: &'static str,
    /// By the settings.
    pub enabled: bool,
    /// By a person.
    pub paused: bool,
    /// What it looks at.
    pub text: String,
    /// What it last acted on.
    pub last: Option<TriggerLast>,
}

/// What a trigger last acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TriggerLast {
    /// A commit, a digest, an instant in microseconds since 1970.
    pub position: String,
    pub time: String,
    pub outcome: String,
}

/// What became of a wish for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outcome {
    /// `run`: this one; `same`: it was wished before; `refused`: not now; `returned`: a rollout went back at once.
    pub outcome: &'static str,
    pub run: Option<u64>,
    /// The rollout that went back.
    pub rollout: Option<u64>,
    /// Which rule refused.
    pub rule: Option<String>,
    pub reason: Option<String>,
}

/// What would become of a wish.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Planned {
    #[serde(flatten)]
    pub outcome: Outcome,
    pub revision: PlannedRevision,
    pub triggers: Vec<Trigger>,
}

/// What would be built, as far as that is known before it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlannedRevision {
    /// The commit that the branch points to now.
    pub commit: Option<String>,
    pub branch: Option<String>,
    /// Why the commit is not known.
    pub commit_problem: Option<String>,
    /// Digest of the settings in the project's folder.
    pub settings: Option<String>,
    /// Files and patterns of training rows.
    pub data: Vec<String>,
    /// Files and patterns of test rows.
    pub test: Vec<String>,
    /// What was trained last.
    pub last: Option<LastRevision>,
}

/// The revision of the last run that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastRevision {
    pub run: u64,
    pub revision: String,
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Status {
    pub engine: Engine,
    /// Where rows are answered.
    pub gateway: Option<String>,
    pub projects: Vec<ProjectStatus>,
    pub warnings: Vec<String>,
}

/// What carries runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Engine {
    /// Whether it is this process's.
    pub reigning: bool,
    pub owner: String,
    /// Attempts being made.
    pub steps: usize,
    /// Attempts that did not stop when they were asked to.
    pub left_behind: Vec<String>,
}

/// How a project stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProjectStatus {
    pub name: String,
    pub folder: String,
    pub error: Option<String>,
    pub last_run: Option<Run>,
    pub open_runs: Vec<Run>,
    /// The open ones.
    pub approvals: Vec<Approval>,
    pub endpoints: Vec<Endpoint>,
}

/// What went, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Removed {
    pub dry_run: bool,
    pub project: String,
    pub stage: Option<String>,
    pub endpoints: Vec<String>,
    pub runs: u64,
    pub versions: u64,
    /// Open runs that are cancelled first.
    pub cancelled: Vec<u64>,
    /// What stays, in words.
    pub kept: Vec<String>,
}

impl From<&StageSettings> for Stage {
    fn from(stage: &StageSettings) -> Self {
        Self {
            name: stage.name.clone(),
            approval: stage.approval,
            approval_valid_seconds: stage.approval_valid.as_secs(),
            four_eyes: stage.four_eyes,
            smoke_rows: stage.smoke_rows,
        }
    }
}

impl From<&TriggerState> for TriggerLast {
    fn from(state: &TriggerState) -> Self {
        let TriggerState { position, time, outcome } = state.clone();
        Self { position, time: time.to_rfc3339(), outcome }
    }
}

impl From<domain::WishOutcome> for Outcome {
    fn from(outcome: domain::WishOutcome) -> Self {
        match outcome {
            domain::WishOutcome::Run { run } => {
                Self { outcome: "run", run: Some(run.0), rollout: None, rule: None, reason: None }
            }
            domain::WishOutcome::Same { run } => {
                Self { outcome: "same", run: Some(run.0), rollout: None, rule: None, reason: None }
            }
            domain::WishOutcome::Refused { rule, reason } => Self::refused(&rule, reason),
        }
    }
}

impl Outcome {
    /// A rollout went back at once.
    #[must_use]
    pub fn returned(rollout: u64) -> Self {
        Self { outcome: "returned", run: None, rollout: Some(rollout), rule: None, reason: None }
    }

    /// Not now.
    #[must_use]
    pub fn refused(rule: &str, reason: impl Into<String>) -> Self {
        Self {
            outcome: "refused",
            run: None,
            rollout: None,
            rule: Some(rule.to_owned()),
            reason: Some(reason.into()),
        }
    }
}
