//! Runs, their steps and attempts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serin_core::domain;
use serin_core::engine;
use serin_core::store::Moment;
use utoipa::ToSchema;

use super::seconds;

/// One execution of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Run {
    pub number: u64,
    pub project: String,
    /// `train`, `deploy` or `rollback`.
    pub kind: &'static str,
    pub cause: Cause,
    pub state: RunState,
    /// Earlier outputs are not taken.
    pub fresh: bool,
    pub created: String,
    pub ended: Option<String>,
    /// From being wanted to its end, or until now.
    pub duration_seconds: f64,
    /// Digest of code and data together, once known.
    pub revision: Option<String>,
    pub links: Links,
    /// Left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// In the order of the pipeline; left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// In the order in which they began; left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// Where more is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub this: String,
    pub logs: String,
    pub events: String,
    pub project: String,
}

/// Why there is a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Cause {
    /// `asked`, `commit`, `data`, `upload`, `schedule` or `alarm`.
    pub name: &'static str,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum RunState {
    Waiting,
    Running,
    Cancelling { by: String, reason: String },
    Succeeded,
    Failed { step: String, code: String, reason: String },
    Rejected { approval: u64, by: String, reason: String },
    Cancelled { by: String, reason: String },
    Superseded { run: u64 },
    Skipped { reason: String },
    NeedsOperator { reason: String },
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Step {
    pub name: String,
    /// Which work it is, such as `deploy`.
    pub kind: String,
    pub state: StepState,
    /// The steps it waits for.
    pub after: Vec<String>,
    /// Begun so far.
    pub attempts: u32,
    pub began: Option<String>,
    /// Of the last attempt, unless there will be another.
    pub ended: Option<String>,
    /// Of all attempts together, the present one included.
    pub seconds: Option<f64>,
    pub progress: Option<Progress>,
    /// Digest of what it left behind.
    pub output: Option<String>,
    /// The run that made the output, when it was not this one.
    pub reused_from: Option<u64>,
    pub failure: Option<Failure>,
}

/// A step with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StepDetail {
    #[serde(flatten)]
    pub step: Step,
    pub run: u64,
    /// What it left behind.
    pub document: Option<Value>,
    /// Why the document is not shown.
    pub document_problem: Option<String>,
    pub attempt_list: Vec<Attempt>,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum StepState {
    Pending,
    Running,
    Retrying { code: String, reason: String, in_seconds: f64 },
    Asking { approval: u64 },
    Succeeded,
    Failed { code: String, reason: String },
    Cancelled,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    pub text: String,
    pub done: u64,
    /// 0: not known.
    pub of: u64,
}

/// Why work failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Failure {
    /// Stable.
    pub code: String,
    pub reason: String,
}

/// One try at a step.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    pub step: String,
    /// From 1 within the step.
    pub number: u32,
    pub began: String,
    pub ended: Option<String>,
    pub seconds: f64,
    pub end: Option<AttemptEnd>,
    /// The engine and machine that made it.
    pub worker: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum AttemptEnd {
    Succeeded,
    Asked,
    Failed { code: String, reason: String },
    Cancelled,
    Abandoned,
}

/// What is seen of a run besides itself.
#[derive(Debug, Clone)]
pub struct Seen {
    pub now: Moment,
    pub attempts: Vec<domain::Attempt>,
    pub progress: BTreeMap<String, engine::Progress>,
}

impl Run {
    /// As in listings.
    #[must_use]
    pub fn brief(run: &domain::Run, now: Moment) -> Self {
        let number = run.number.0;
        let this = format!("/api/v1/runs/{number}");
        Self {
            number,
            project: run.project.clone(),
            kind: kind_name(run.kind),
            cause: (&run.cause).into(),
            state: (&run.state).into(),
            fresh: run.is_fresh,
            created: run.created.to_rfc3339(),
            ended: run.ended.map(|ended| ended.to_rfc3339()),
            duration_seconds: seconds(run.created, run.ended.unwrap_or(now.wall)),
            revision: run.revision.map(|revision| revision.to_string()),
            links: Links {
                logs: format!("{this}/logs"),
                events: format!("/api/v1/events?run={number}"),
                project: format!("/api/v1/projects/{}", run.project),
                this,
            },
            request: None,
            steps: None,
            attempts: None,
        }
    }

    /// With its steps and attempts.
    #[must_use]
    pub fn whole(run: &domain::Run, seen: &Seen) -> Self {
        Self {
            request: Some(run.request.clone()),
            steps: Some(run.steps.iter().map(|step| Step::new(run, step, seen)).collect()),
            attempts: Some(seen.attempts.iter().map(|attempt| Attempt::new(attempt, seen.now)).collect()),
            ..Self::brief(run, seen.now)
        }
    }
}

impl Step {
    /// A step of `run`.
    #[must_use]
    pub fn new(run: &domain::Run, step: &domain::Step, seen: &Seen) -> Self {
        use domain::StepState as State;
        let plan = run.pipeline.step(&step.name);
        let mine: Vec<&domain::Attempt> =
            seen.attempts.iter().filter(|attempt| attempt.step == step.name).collect();
        let is_over = matches!(step.state, State::Succeeded { .. } | State::Failed { .. } | State::Cancelled);
        let took =
            |attempt: &&domain::Attempt| seconds(attempt.began, attempt.ended.unwrap_or(seen.now.wall));
        let (output, reused_from) = match &step.state {
            State::Succeeded { output, reused_from } => {
                (Some(output.to_string()), reused_from.map(|run| run.0))
            }
            _ => (None, None),
        };
        let failure = match &step.state {
            State::Retrying { failure, .. } | State::Failed { failure } => Some(failure.into()),
            _ => None,
        };
        Self {
            name: step.name.clone(),
            kind: plan.map_or_else(String::new, |plan| plan.kind.clone()),
            state: StepState::new(&step.state, seen.now),
            after: plan.map_or_else(Vec::new, |plan| plan.after.clone()),
            attempts: step.attempts,
            began: mine.first().map(|attempt| attempt.began.to_rfc3339()),
            ended: mine
                .last()
                .filter(|_| is_over)
                .and_then(|attempt| attempt.ended)
                .map(|ended| ended.to_rfc3339()),
            seconds: (!mine.is_empty()).then(|| mine.iter().map(took).sum()),
            progress: seen.progress.get(&step.name).map(Progress::from),
            output,
            reused_from,
            failure,
        }
    }
}

impl StepState {
    fn new(state: &domain::StepState, now: Moment) -> Self {
        use domain::StepState as State;
        match state {
            State::Pending => Self::Pending,
            State::Running { .. } => Self::Running,
            State::Retrying { until, failure } => {
                let domain::Failure { code, reason } = failure.clone();
                Self::Retrying { code, reason, in_seconds: (*until - now.steady).as_secs_f64() }
            }
            State::Asking { approval } => Self::Asking { approval: approval.0 },
            State::Succeeded { .. } => Self::Succeeded,
            State::Failed { failure } => {
                let domain::Failure { code, reason } = failure.clone();
                Self::Failed { code, reason }
            }
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl Attempt {
    /// An attempt as it stands.
    #[must_use]
    pub fn new(attempt: &domain::Attempt, now: Moment) -> Self {
        Self {
            step: attempt.step.clone(),
            number: attempt.number,
            began: attempt.began.to_rfc3339(),
            ended: attempt.ended.map(|ended| ended.to_rfc3339()),
            seconds: seconds(attempt.began, attempt.ended.unwrap_or(now.wall)),
            end: attempt.end.as_ref().map(AttemptEnd::from),
            worker: attempt.worker.clone(),
        }
    }
}

fn kind_name(kind: domain::RunKind) -> &'static str {
    match kind {
        domain::RunKind::Train => "train",
        domain::RunKind::Deploy => "deploy",
        domain::RunKind::Rollback => "rollback",
    }
}

impl From<&domain::Cause> for Cause {
    fn from(cause: &domain::Cause) -> Self {
        let plain = Self { name: cause.name(), text: cause.to_string(), ..Self::default() };
        match cause.clone() {
            domain::Cause::Asked { by } => Self { by: Some(by), ..plain },
            domain::Cause::Commit { commit } => Self { commit: Some(commit), ..plain },
            domain::Cause::Data { digest } | domain::Cause::Upload { digest } => {
                Self { digest: Some(digest), ..plain }
            }
            domain::Cause::Schedule { instant } => Self { instant: Some(instant), ..plain },
            domain::Cause::Alarm { name } => Self { alarm: Some(name), ..plain },
        }
    }
}

impl From<&domain::RunState> for RunState {
    fn from(state: &domain::RunState) -> Self {
        use domain::RunState as State;
        match state.clone() {
            State::Waiting => Self::Waiting,
            State::Running => Self::Running,
            State::Cancelling { by, reason } => Self::Cancelling { by, reason },
            State::Succeeded => Self::Succeeded,
            State::Failed { step, failure: domain::Failure { code, reason } } => {
                Self::Failed { step, code, reason }
            }
            State::Rejected { approval, by, reason } => Self::Rejected { approval: approval.0, by, reason },
            State::Cancelled { by, reason } => Self::Cancelled { by, reason },
            State::Superseded { by } => Self::Superseded { run: by.0 },
            State::Skipped { reason } => Self::Skipped { reason },
            State::NeedsOperator { reason } => Self::NeedsOperator { reason },
        }
    }
}

impl From<&domain::AttemptEnd> for AttemptEnd {
    fn from(end: &domain::AttemptEnd) -> Self {
        use domain::AttemptEnd as End;
        match end.clone() {
            End::Succeeded => Self::Succeeded,
            End::Asked => Self::Asked,
            End::Failed { failure: domain::Failure { code, reason } } => Self::Failed { code, reason },
            End::Cancelled => Self::Cancelled,
            End::Abandoned => Self::Abandoned,
        }
    }
}

impl From<&domain::Failure> for Failure {
    fn from(failure: &domain::Failure) -> Self {
        Self { code: failure.code.clone(), reason: failure.reason.clone() }
    }
}

impl From<&engine::Progress> for Progress {
    fn from(progress: &engine::Progress) -> Self {
        Self { text: progress.text.clone(), done: progress.done, of: progress.of }
    }
}
