//! Everything about runs, versions, approvals, deployments and their history that must survive the process.
//!
//! [`Store`] is verbs, and a verb is one transaction: what it writes stands or falls together, events and notices
//! included. Whoever does the work of steps holds a reign ([`Reign`]): its [`Epoch`] is in every verb that only the
//! engine may use, and a verb of an epoch that has passed fails with [`StoreError::Lost`], which is control flow. No
//! transaction spans a step's work.

mod error;
mod sqlite;
mod types;

pub use error::StoreError;
pub use sqlite::SqliteStore;
pub use types::{
    AlarmNews, AlarmRecord, ApprovalRequest, DecisionRecord, DeploymentRecord, Hold, ListOptions, Moment,
    MonitorRecord, MonitorRunRecord, NewDecision, NewMonitorRun, NewRollout, NewScaling, NewTrial,
    NewVersion, Project, Reign, RolloutAdvance, RolloutDecision, RouteChange, ScalingRecord, ServedPeriod,
    Silence, StepEnd, StoredRollout, TrialRecord, TriggerRecord, TriggerState, WishRules,
};

pub use crate::domain::AlarmState;

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::domain::{
    Approval, ApprovalNumber, Attempt, Decided, DecisionNumber, Epoch, Event, EventKind, Lease, ModelVersion,
    MonitorNumber, Notice, Pipeline, Refusal, RolloutNumber, Run, RunNumber, RunState, VersionNumber,
    VersionState, Wish, WishOutcome,
};
use crate::rollout::{Command, Rollout, Unacceptable};
use crate::routes::{Faults, RouteDocument, RoutedServing};

type Result<T> = std::result::Result<T, StoreError>;

/// The verbs. Each is one transaction, and may be repeated after an error: what was done is not done twice.
pub trait Store: fmt::Debug + Send + Sync {
    // The reign of an engine

    /// Who reigns.
    fn reign(&self) -> Result<Reign>;

    /// Takes the reign over, if it is still as `seen`: no beat since, no other successor. Attempts of earlier reigns
    /// are abandoned, and their steps may begin anew. `None`: it is not as seen.
    fn take_reign(&self, seen: &Reign, owner: &str, at: Moment) -> Result<Option<Reign>>;

    /// Says that the reign goes on, and how old the data directory is.
    fn beat(&self, epoch: Epoch, at: Moment) -> Result<()>;

    // Projects

    /// Adds a project, or says that it changed.
    fn put_project(&self, project: &Project, at: Moment) -> Result<()>;

    /// All projects, by name.
    fn projects(&self) -> Result<Vec<Project>>;

    /// Forgets a project and what is stored about it; how many runs went with it. Its history of events stays.
    fn remove_project(&self, name: &str, at: Moment) -> Result<u64>;

    // Runs

    /// A run is wanted: `rules` say whether it may be, `pipeline` is what it begins with. An automatic wish that is
    /// refused is told once an hour and rule, not every time.
    fn wish(&self, wish: &Wish, rules: &WishRules, pipeline: &Pipeline, at: Moment) -> Result<WishOutcome>;

    /// What [`Store::wish`] would answer; nothing changes.
    fn would(&self, wish: &Wish, rules: &WishRules, at: Moment) -> Result<WishOutcome>;

    /// Every run that is not over, by number.
    fn open_runs(&self) -> Result<Vec<Run>>;

    /// Runs, latest first.
    fn runs(&self, list: &ListOptions) -> Result<Vec<Run>>;

    /// How many runs each project has in each state, by name.
    fn count_runs(&self) -> Result<Vec<(String, String, u64)>>;

    /// One run.
    fn run(&self, number: RunNumber) -> Result<Option<Run>>;

    /// The attempts of a run, in order.
    fn attempts(&self, number: RunNumber) -> Result<Vec<Attempt>>;

    /// A waiting run begins.
    fn begin_run(&self, epoch: Epoch, run: RunNumber, at: Moment) -> Result<()>;

    /// An attempt at a step begins, if the step may begin. `None`: it may not (any more).
    fn claim_step(
        &self,
        epoch: Epoch,
        run: RunNumber,
        step: &str,
        worker: &str,
        at: Moment,
    ) -> Result<Option<Lease>>;

    /// The attempt ended so. [`StoreError::Lost`]: it is no longer the step's.
    fn end_attempt(&self, hold: &Hold, end: &StepEnd, at: Moment) -> Result<()>;

    /// The run is over. Open approvals of it are withdrawn.
    fn end_run(&self, epoch: Epoch, run: RunNumber, state: &RunState, at: Moment) -> Result<()>;

    /// Asks a run to stop. False: it is over already.
    fn cancel_run(&self, run: RunNumber, by: &str, reason: &str, at: Moment) -> Result<bool>;

    /// Makes an ended run go on: every step that did not succeed begins anew, and so do `from` and what waits for it.
    /// Deployments and questions among them are made and asked again; what succeeded before them stays. False: the run is not of a state that can go on.
    fn retry_run(&self, run: RunNumber, from: Option<&str>, by: &str, at: Moment) -> Result<bool>;

    /// The revision of a run, once code and data are known.
    fn set_revision(&self, hold: &Hold, revision: Digest) -> Result<()>;

    /// The output that a step of this key had before, and in which run.
    fn output_of(&self, key: Digest) -> Result<Option<(RunNumber, Digest)>>;

    /// The last succeeded training run of a project that has a revision.
    fn last_revision(&self, project: &str) -> Result<Option<(RunNumber, Digest)>>;

    // Model versions

    /// Registers what a run made; the same bundle of a run once.
    fn register_version(&self, hold: &Hold, version: &NewVersion, at: Moment) -> Result<VersionNumber>;

    /// Versions, latest first.
    fn versions(&self, list: &ListOptions) -> Result<Vec<ModelVersion>>;

    /// One version.
    fn version(&self, number: VersionNumber) -> Result<Option<ModelVersion>>;

    /// The version that an alias of a project points to.
    fn aliased(&self, project: &str, alias: &str) -> Result<Option<ModelVersion>>;

    /// Metrics of a version, once evaluated.
    fn set_metrics(&self, hold: &Hold, version: VersionNumber, metrics: &[(String, f64)]) -> Result<()>;

    /// Approves or rejects a version. `None`: there is no such version.
    fn set_version_state(
        &self,
        version: VersionNumber,
        state: &VersionState,
        at: Moment,
    ) -> Result<Option<()>>;

    /// Points an alias to a version, or to none.
    fn set_alias(
        &self,
        project: &str,
        alias: &str,
        version: Option<VersionNumber>,
        by: &str,
        at: Moment,
    ) -> Result<()>;

    /// Sets or removes a tag. `None`: there is no such version.
    fn set_tag(
        &self,
        version: VersionNumber,
        key: &str,
        value: Option<&str>,
        by: &str,
        at: Moment,
    ) -> Result<Option<()>>;

    // Approvals

    /// Approvals, latest first.
    fn approvals(&self, list: &ListOptions) -> Result<Vec<Approval>>;

    /// One approval.
    fn approval(&self, number: ApprovalNumber) -> Result<Option<Approval>>;

    /// Takes a person's answer, at most once: approval, step, run and version change together. Every answer that is
    /// refused leaves an event too.
    fn decide_approval(
        &self,
        number: ApprovalNumber,
        decided: &Decided,
        at: Moment,
    ) -> Result<std::result::Result<Approval, Refusal>>;

    /// Closes what nobody answered in time; how many.
    fn expire_approvals(&self, epoch: Epoch, at: Moment) -> Result<u64>;

    // Deployments

    /// Who answers for a version at an endpoint besides the gateway itself, from the next document on that routes it there.
    fn set_serving(
        &self,
        hold: &Hold,
        endpoint: &str,
        version: VersionNumber,
        serving: Option<&RoutedServing>,
    ) -> Result<()>;

    /// Changes one endpoint: the whole document that results, with its epoch. Nothing changes when the same step of the
    /// run made the same change last. Without variants the endpoint goes.
    fn change_routes(&self, hold: &Hold, change: &RouteChange, at: Moment) -> Result<RouteDocument>;

    /// What an endpoint served before a run first changed it: variants with their weights and versions.
    fn served_before(&self, run: RunNumber, endpoint: &str) -> Result<Vec<(String, f64, VersionNumber)>>;

    /// What should be served now; `None` before the first deployment.
    fn routes(&self) -> Result<Option<RouteDocument>>;

    /// Makes the numbers of documents go on behind that of `known`, which gateways have: what should be served is numbered
    /// anew if its number is smaller. For a store that was restored, or made anew: one that knows of no deployment takes
    /// over what is served.
    fn continue_routes(&self, known: &RouteDocument, at: Moment) -> Result<Option<RouteDocument>>;

    /// Removes endpoints of a project (one stage of it, or all): what is served then.
    fn remove_routes(
        &self,
        project: &str,
        stage: Option<&str>,
        by: &str,
        at: Moment,
    ) -> Result<Option<RouteDocument>>;

    // Rollouts

    /// A version begins to take over an endpoint, with the routes that need it to be loaded. A rollout of the endpoint
    /// that was under way ends: this one starts from nothing. The same step of the run gets the one it began.
    fn begin_rollout(&self, hold: &Hold, new: &NewRollout, at: Moment) -> Result<StoredRollout>;

    /// Stores a rollout as it goes on, with the routes, the decision and whatever else follows, unless it was changed since
    /// it was seen: `None` then.
    fn advance_rollout(
        &self,
        epoch: Epoch,
        advance: &RolloutAdvance,
        at: Moment,
    ) -> Result<Option<StoredRollout>>;

    /// Does what a person says. `None`: there is no such rollout.
    fn command_rollout(
        &self,
        number: RolloutNumber,
        command: Command,
        by: &str,
        reason: &str,
        at: Moment,
    ) -> Result<Option<std::result::Result<Rollout, Unacceptable>>>;

    /// Rollouts, latest first.
    fn rollouts(&self, list: &ListOptions) -> Result<Vec<StoredRollout>>;

    /// One rollout.
    fn rollout(&self, number: RolloutNumber) -> Result<Option<StoredRollout>>;

    /// The last rollout that a step of a run began.
    fn rollout_of(&self, run: RunNumber, step: &str) -> Result<Option<StoredRollout>>;

    /// Injects faults into a version of an endpoint; what is served then. `None` ends the drill.
    fn set_drill(
        &self,
        endpoint: &str,
        version: VersionNumber,
        faults: Option<&Faults>,
        by: &str,
        at: Moment,
    ) -> Result<RouteDocument>;

    /// Deployments, latest first.
    fn deployments(&self, list: &ListOptions) -> Result<Vec<DeploymentRecord>>;

    /// What was served at a moment: one row an endpoint and variant.
    fn served_at(&self, time: Timestamp) -> Result<Vec<ServedPeriod>>;

    /// Where and when a version was served.
    fn served_periods(&self, version: VersionNumber) -> Result<Vec<ServedPeriod>>;

    /// From now on a stage is watched against this baseline.
    fn switch_monitor(&self, hold: &Hold, monitor: &MonitorRecord, at: Moment) -> Result<()>;

    /// What each stage is watched against.
    fn monitors(&self) -> Result<Vec<MonitorRecord>>;

    // Watching

    /// Keeps the state of an alarm. A change leaves an event, and notices unless the alarm is silenced; whether it was a
    /// change.
    fn set_alarm(&self, project: &str, news: &AlarmNews, at: Moment) -> Result<bool>;

    /// The last word about every alarm of a project, and the silences that hold at a moment.
    fn alarms(&self, project: &str, at: Option<Moment>) -> Result<Vec<AlarmRecord>>;

    /// Forgets an alarm that is not watched any more.
    fn forget_alarm(&self, project: &str, name: &str) -> Result<()>;

    /// Silences an alarm for some time, or ends its silence: it is watched as before, and nobody is told.
    fn silence_alarm(
        &self,
        project: &str,
        name: &str,
        silence: Option<&Silence>,
        by: &str,
        at: Moment,
    ) -> Result<()>;

    /// Keeps what a look at a window found. A window is looked at by itself once: the number of the first look is given
    /// again.
    fn put_monitor_run(&self, run: &NewMonitorRun, at: Moment) -> Result<MonitorNumber>;

    /// Looks, latest first, without their reports.
    fn monitor_runs(&self, endpoint: Option<&str>, list: &ListOptions) -> Result<Vec<MonitorRunRecord>>;

    /// One look with its report.
    fn monitor_run(&self, number: MonitorNumber) -> Result<Option<MonitorRunRecord>>;

    /// The end of the last window of an endpoint that was looked at by itself, as of a moment.
    fn last_window(&self, endpoint: &str, before: Timestamp) -> Result<Option<Timestamp>>;

    /// The looks at an endpoint by itself whose windows ended by then, the last first, with their reports.
    fn reports_before(&self, endpoint: &str, before: Timestamp, limit: u32) -> Result<Vec<MonitorRunRecord>>;

    // Experiments

    /// Writes what is known of a run's trial: parameters, metrics and artifacts; later calls add and replace.
    fn put_trial(&self, hold: &Hold, trial: &NewTrial, at: Moment) -> Result<()>;

    /// Trials, latest first.
    fn trials(&self, list: &ListOptions) -> Result<Vec<TrialRecord>>;

    // Decisions

    /// Keeps inputs, rule and verdict of a decision; the same of a step once.
    fn record_decision(
        &self,
        hold: Option<&Hold>,
        decision: &NewDecision,
        at: Moment,
    ) -> Result<DecisionNumber>;

    /// One decision.
    fn decision(&self, number: DecisionNumber) -> Result<Option<DecisionRecord>>;

    /// Decisions, latest first.
    fn decisions(&self, list: &ListOptions) -> Result<Vec<DecisionRecord>>;

    // Replicas

    /// Keeps what a gateway decided about replicas, as a decision of the rule `scale`. Number and time tell decisions of a
    /// version at an endpoint apart: `None` when this one was kept before.
    fn record_scaling(&self, new: &NewScaling, at: Moment) -> Result<Option<DecisionNumber>>;

    /// What was decided about the replicas of a stage, latest first; `before` is the number of a decision.
    fn scalings(&self, project: &str, stage: &str, list: &ListOptions) -> Result<Vec<ScalingRecord>>;

    // Triggers

    /// What is remembered of a trigger of a project, such as the last instant or commit it acted on.
    fn trigger(&self, project: &str, name: &str) -> Result<Option<TriggerRecord>>;

    /// All triggers that were seen.
    fn triggers(&self) -> Result<Vec<TriggerRecord>>;

    /// Remembers what a trigger acted on, unless it moved on meanwhile (`before` is what it was). False: it did.
    fn advance_trigger(
        &self,
        project: &str,
        name: &str,
        before: Option<&str>,
        state: &TriggerState,
        at: Moment,
    ) -> Result<bool>;

    /// Pauses or resumes a trigger.
    fn pause_trigger(&self, project: &str, name: &str, is_paused: bool, by: &str, at: Moment) -> Result<()>;

    // History

    /// Events after a number, oldest first, at most `limit`.
    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>>;

    /// Events of a run, oldest first.
    fn events_of(&self, run: RunNumber) -> Result<Vec<Event>>;

    /// The number of the last event.
    fn last_event(&self) -> Result<u64>;

    /// Writes an event that is not part of another verb, with its notices.
    fn tell(
        &self,
        kind: EventKind,
        project: &str,
        run: Option<RunNumber>,
        text: &str,
        facts: serde_json::Value,
        at: Moment,
    ) -> Result<()>;

    // Notices

    /// Which channels get which events from now on; each event written afterwards leaves a notice a channel.
    fn set_channels(&self, channels: &[(String, Vec<EventKind>)]) -> Result<()>;

    /// Notices that are due, oldest first.
    fn due_notices(&self, at: Moment, limit: u32) -> Result<Vec<Notice>>;

    /// A notice was taken.
    fn notice_sent(&self, id: &str, at: Moment) -> Result<()>;

    /// A notice was not taken: try again after `wait`, or never.
    fn notice_failed(&self, id: &str, wait: Option<Duration>, error: &str, at: Moment) -> Result<()>;
}
