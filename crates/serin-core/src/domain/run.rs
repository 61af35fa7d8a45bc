//! A run, its steps and their attempts.

use serde::{Deserialize, Serialize};

use super::numbers::{ApprovalNumber, Lease, RunNumber};
use super::pipeline::Pipeline;
use super::wish::Cause;
use crate::clock::{Steady, Timestamp};
use crate::digest::Digest;

/// One execution of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pub number: RunNumber,
    pub project: String,
    pub kind: RunKind,
    pub cause: Cause,
    /// What each step is told besides: what a deployment deploys, what an upload brought.
    pub request: serde_json::Value,
    /// Earlier outputs are not taken.
    pub is_fresh: bool,
    pub created: Timestamp,
    pub ended: Option<Timestamp>,
    pub state: RunState,
    /// Digest of code and data together, once resolved.
    pub revision: Option<Digest>,
    pub pipeline: Pipeline,
    /// In the order of the pipeline.
    pub steps: Vec<Step>,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// From source to production.
    Train,
    /// A version that is there already, to one stage.
    Deploy,
    /// Back to the version that served before.
    Rollback,
}

/// How a run stands. The last seven are final, but for what `retry` begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunState {
    /// Behind another run of its project.
    Waiting,
    /// Its steps are being done, or it waits for a person.
    Running,
    /// Asked to stop; its steps are being stopped.
    Cancelling {
        by: String,
        reason: String,
    },
    Succeeded,
    /// A step failed for good, by name, or the run could not go on.
    Failed {
        step: String,
        failure: Failure,
    },
    /// A person said no.
    Rejected {
        approval: ApprovalNumber,
        by: String,
        reason: String,
    },
    Cancelled {
        by: String,
        reason: String,
    },
    /// A newer wish took its place before it began.
    Superseded {
        by: RunNumber,
    },
    /// There was nothing to do.
    Skipped {
        reason: String,
    },
    /// This program does not know how to go on with what another one began.
    NeedsOperator {
        reason: String,
    },
}

/// Why work failed: a code that does not change between versions, and words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub reason: String,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub name: String,
    pub state: StepState,
    /// Attempts begun, abandoned ones included.
    pub attempts: u32,
    /// Attempts of this round that failed; a retry of the run begins a new round.
    pub failures: u32,
    /// Attempts of this round that ended because the engine died in them.
    pub abandoned: u32,
    /// When the first attempt of this round began.
    pub first_began: Option<Steady>,
    /// Digest of everything its output depends on, once known.
    pub key: Option<Digest>,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// An attempt is being made.
    Running {
        lease: Lease,
        began: Steady,
    },
    /// The last attempt failed; the next is made from `until` on.
    Retrying {
        until: Steady,
        failure: Failure,
    },
    /// It asked a person, and holds nobody's time meanwhile.
    Asking {
        approval: ApprovalNumber,
    },
    /// Its output is the artifact of this digest.
    Succeeded {
        output: Digest,
        reused_from: Option<RunNumber>,
    },
    Failed {
        failure: Failure,
    },
    Cancelled,
}

/// One try at a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    pub run: RunNumber,
    pub step: String,
    /// From 1 within the step.
    pub number: u32,
    pub lease: Lease,
    pub began: Timestamp,
    pub ended: Option<Timestamp>,
    pub end: Option<AttemptEnd>,
    /// The engine and machine that made it.
    pub worker: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum AttemptEnd {
    Succeeded,
    /// It asked a person.
    Asked,
    Failed {
        failure: Failure,
    },
    Cancelled,
    /// The engine that made it is gone.
    Abandoned,
}

impl RunState {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running | Self::Cancelling { .. })
    }

    /// Every name that a state has.
    pub const NAMES: [&'static str; 10] = [
        "waiting",
        "running",
        "cancelling",
        "succeeded",
        "failed",
        "rejected",
        "cancelled",
        "superseded",
        "skipped",
        "needs-operator",
    ];

    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Cancelling { .. } => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Rejected { .. } => "rejected",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
            Self::Skipped { .. } => "skipped",
            Self::NeedsOperator { .. } => "needs-operator",
        }
    }
}

impl StepState {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { .. } => "running",
            Self::Retrying { .. } => "retrying",
            Self::Asking { .. } => "asking",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Failure {
    /// Longest reason kept, bytes.
    pub const LONGEST_REASON_BYTES: usize = 4 << 10;

    /// A failure of this code; of the reason the beginning is kept.
    #[must_use]
    pub fn new(code: &str, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > Self::LONGEST_REASON_BYTES {
            let end = (0..=Self::LONGEST_REASON_BYTES).rev().find(|&i| reason.is_char_boundary(i));
            reason.truncate(end.unwrap_or(0));
        }
        Self { code: code.to_owned(), reason }
    }
}

impl Run {
    /// The step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The output of the step called `name`, once it succeeded.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<Digest> {
        match self.step(name)?.state {
            StepState::Succeeded { output, .. } => Some(output),
            _ => None,
        }
    }
}
