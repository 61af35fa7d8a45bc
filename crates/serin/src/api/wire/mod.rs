//! What travels: types of its own, each made from what is inside by an explicit conversion. What is not known is `null`.
//! A time is RFC 3339 text in UTC, a digest 64 hexadecimal digits, a state an object with its `name` and its facts.

mod approval;
mod history;
mod place;
mod project;
mod replica;
mod rollout;
mod run;
mod version;
mod watch;

pub use approval::{Approval, ApprovalState};
pub use history::{Decision, Event, Recorded, Replay, Trial, TrialComparison};
pub use place::{Deployment, Endpoint, Monitor, Period, Served, ServedVariant};
pub use project::{
    Engine, LastRevision, Outcome, Planned, PlannedRevision, Project, ProjectStatus, Removed, Stage, Status,
    Trigger, TriggerLast,
};
pub use replica::{Autoscale, AutoscaleRule, Cooldowns, Drained, Fleet, Hold, Replica, Scaled, Scaling};
pub use rollout::{Condition, Rollout, RolloutEvent, RolloutStep, VersionEvidence};
pub use run::{
    Attempt, AttemptEnd, Cause, Failure, Links, Progress, Run, RunState, Seen, Step, StepDetail, StepState,
};
pub use version::{
    Commit, Comparison, DataFile, Decided, Lineage, LineageDecision, Rollback, Sides, Version, VersionState,
    differences, sides,
};

pub use watch::{Alarm, AlarmDetail, AlarmPoint, Look, MetricAnswer, Quality, SeriesName, Silence};

use serde::{Deserialize, Serialize};
use serin_core::clock::Timestamp;
use serin_core::store::ListOptions;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::gateway::problem::Code as GatewayCode;

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// What to ask on with; `null`: there is no more.
    pub next: Option<u64>,
}

/// Which part of a listing, latest first.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Of this project only.
    pub project: Option<String>,
    /// Only numbers below this one.
    pub before: Option<u64>,
    /// 1 to 1,000 entries; 100 when it is not said.
    pub limit: Option<u32>,
}

/// Which part of a listing of what can be open, latest first.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct OpenPage {
    /// Of this project only.
    pub project: Option<String>,
    /// Only what is still open.
    pub open: Option<bool>,
    /// Only numbers below this one.
    pub before: Option<u64>,
    /// 1 to 1,000 entries; 100 when it is not said.
    pub limit: Option<u32>,
}

impl<T> List<T> {
    /// What was listed, with the number of each; more is asked for below the last one when the part is full.
    pub fn of<U>(
        found: Vec<U>,
        options: &ListOptions,
        number: impl Fn(&U) -> u64,
        wire: impl FnMut(U) -> T,
    ) -> Self {
        let is_full = found.len() >= options.rows() as usize;
        let next = found.last().map(number).filter(|_| is_full);
        Self { items: found.into_iter().map(wire).collect(), next }
    }

    /// Everything there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

impl OpenPage {
    /// As the store takes it.
    ///
    /// # Errors
    /// When the limit is none.
    pub fn options(self) -> Result<ListOptions, Problem> {
        let Self { project, open, before, limit } = self;
        if limit.is_some_and(|limit| !(1..=ListOptions::LIMIT).contains(&limit)) {
            let detail = format!("`limit` is from 1 to {}", ListOptions::LIMIT);
            return Err(Problem::new(GatewayCode::InvalidQuery, detail));
        }
        Ok(ListOptions { project, is_open: open.unwrap_or(false), before, limit: limit.unwrap_or(0) })
    }
}

impl Page {
    /// As the store takes it.
    ///
    /// # Errors
    /// When the limit is none.
    pub fn options(self) -> Result<ListOptions, Problem> {
        let Self { project, before, limit } = self;
        OpenPage { project, open: None, before, limit }.options()
    }
}

/// Seconds from one moment to a later one.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1e6
}
