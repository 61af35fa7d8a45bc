//! Points at which the process can be told to die.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serin_core::clock::Timestamp;
use serin_core::digest::Digest;
use serin_core::domain::{
    Approval, ApprovalNumber, Attempt, Decided, DecisionNumber, Epoch, Event, EventKind, Lease, ModelVersion,
    MonitorNumber, Notice, Pipeline, Refusal, RolloutNumber, Run, RunNumber, RunState, VersionNumber,
    VersionState, Wish, WishOutcome,
};
use serin_core::rollout::{Command, Rollout, Unacceptable};
use serin_core::routes::{self, RouteDocument};
use serin_core::store::{
    AlarmNews, AlarmRecord, DecisionRecord, DeploymentRecord, Hold, ListOptions, Moment, MonitorRecord,
    MonitorRunRecord, NewDecision, NewMonitorRun, NewRollout, NewScaling, NewTrial, NewVersion, Project,
    Reign, RolloutAdvance, RouteChange, ScalingRecord, ServedPeriod, Silence, SqliteStore, StepEnd, Store,
    StoreError, StoredRollout, TrialRecord, TriggerRecord, TriggerState, WishRules,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Counts the points that are passed, and kills at one of them.
#[derive(Debug)]
pub(crate) struct Faults {
    kill_at: u64,
    passed: AtomicU64,
    refused: AtomicU64,
}

/// A store whose every writing verb has a point before and a point after.
pub(crate) struct FaultyStore {
    store: SqliteStore,
    faults: Arc<Faults>,
}

impl Faults {
    pub(crate) fn new(kill_at: u64) -> Self {
        Self { kill_at, passed: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// Verbs that were refused because they came from an earlier reign.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Passes a point, or does not.
    pub(crate) fn point(&self) {
        if self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.kill_at {
            _ = kill_process(getpid(), Signal::KILL);
            thread::sleep(Duration::from_secs(60));
        }
    }
}

impl FaultyStore {
    pub(crate) fn new(store: SqliteStore, faults: Arc<Faults>) -> Self {
        Self { store, faults }
    }

    fn write<T>(&self, verb: impl FnOnce(&SqliteStore) -> Result<T>) -> Result<T> {
        self.faults.point();
        let done = verb(&self.store);
        self.faults.point();
        if matches!(done, Err(StoreError::Lost)) {
            self.faults.refused.fetch_add(1, Ordering::SeqCst);
        }
        done
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

macro_rules! verbs {
    (
        reads { $(fn $read:ident($($ra:ident: $rt:ty),*) -> $ro:ty;)* }
        writes { $(fn $write:ident($($wa:ident: $wt:ty),*) -> $wo:ty;)* }
    ) => {
        impl Store for FaultyStore {
            $(fn $read(&self, $($ra: $rt),*) -> Result<$ro> {
                self.store.$read($($ra),*)
            })*
            $(fn $write(&self, $($wa: $wt),*) -> Result<$wo> {
                self.write(|store| store.$write($($wa),*))
            })*
        }
    };
}

verbs! {
    reads {
        fn reign() -> Reign;
        fn projects() -> Vec<Project>;
        fn would(wish: &Wish, rules: &WishRules, at: Moment) -> WishOutcome;
        fn open_runs() -> Vec<Run>;
        fn runs(list: &ListOptions) -> Vec<Run>;
        fn count_runs() -> Vec<(String, String, u64)>;
        fn run(number: RunNumber) -> Option<Run>;
        fn attempts(number: RunNumber) -> Vec<Attempt>;
        fn output_of(key: Digest) -> Option<(RunNumber, Digest)>;
        fn last_revision(project: &str) -> Option<(RunNumber, Digest)>;
        fn versions(list: &ListOptions) -> Vec<ModelVersion>;
        fn version(number: VersionNumber) -> Option<ModelVersion>;
        fn aliased(project: &str, alias: &str) -> Option<ModelVersion>;
        fn approvals(list: &ListOptions) -> Vec<Approval>;
        fn approval(number: ApprovalNumber) -> Option<Approval>;
        fn routes() -> Option<RouteDocument>;
        fn deployments(list: &ListOptions) -> Vec<DeploymentRecord>;
        fn served_at(time: Timestamp) -> Vec<ServedPeriod>;
        fn served_periods(version: VersionNumber) -> Vec<ServedPeriod>;
        fn served_before(run: RunNumber, endpoint: &str) -> Vec<(String, f64, VersionNumber)>;
        fn monitors() -> Vec<MonitorRecord>;
        fn rollouts(list: &ListOptions) -> Vec<StoredRollout>;
        fn rollout(number: RolloutNumber) -> Option<StoredRollout>;
        fn rollout_of(run: RunNumber, step: &str) -> Option<StoredRollout>;
        fn alarms(project: &str, at: Option<Moment>) -> Vec<AlarmRecord>;
        fn monitor_runs(endpoint: Option<&str>, list: &ListOptions) -> Vec<MonitorRunRecord>;
        fn monitor_run(number: MonitorNumber) -> Option<MonitorRunRecord>;
        fn last_window(endpoint: &str, before: Timestamp) -> Option<Timestamp>;
        fn reports_before(endpoint: &str, before: Timestamp, limit: u32) -> Vec<MonitorRunRecord>;
        fn trials(list: &ListOptions) -> Vec<TrialRecord>;
        fn decision(number: DecisionNumber) -> Option<DecisionRecord>;
        fn decisions(list: &ListOptions) -> Vec<DecisionRecord>;
        fn scalings(project: &str, stage: &str, list: &ListOptions) -> Vec<ScalingRecord>;
        fn trigger(project: &str, name: &str) -> Option<TriggerRecord>;
        fn triggers() -> Vec<TriggerRecord>;
        fn events(after: u64, limit: u32) -> Vec<Event>;
        fn events_of(run: RunNumber) -> Vec<Event>;
        fn last_event() -> u64;
        fn due_notices(at: Moment, limit: u32) -> Vec<Notice>;
    }
    writes {
        fn take_reign(seen: &Reign, owner: &str, at: Moment) -> Option<Reign>;
        fn beat(epoch: Epoch, at: Moment) -> ();
        fn put_project(project: &Project, at: Moment) -> ();
        fn remove_project(name: &str, at: Moment) -> u64;
        fn wish(wish: &Wish, rules: &WishRules, pipeline: &Pipeline, at: Moment) -> WishOutcome;
        fn begin_run(epoch: Epoch, run: RunNumber, at: Moment) -> ();
        fn claim_step(epoch: Epoch, run: RunNumber, step: &str, worker: &str, at: Moment) -> Option<Lease>;
        fn end_attempt(hold: &Hold, end: &StepEnd, at: Moment) -> ();
        fn end_run(epoch: Epoch, run: RunNumber, state: &RunState, at: Moment) -> ();
        fn cancel_run(run: RunNumber, by: &str, reason: &str, at: Moment) -> bool;
        fn retry_run(run: RunNumber, from: Option<&str>, by: &str, at: Moment) -> bool;
        fn set_revision(hold: &Hold, revision: Digest) -> ();
        fn register_version(hold: &Hold, version: &NewVersion, at: Moment) -> VersionNumber;
        fn set_metrics(hold: &Hold, version: VersionNumber, metrics: &[(String, f64)]) -> ();
        fn set_version_state(version: VersionNumber, state: &VersionState, at: Moment) -> Option<()>;
        fn set_alias(project: &str, alias: &str, version: Option<VersionNumber>, by: &str, at: Moment) -> ();
        fn set_tag(version: VersionNumber, key: &str, value: Option<&str>, by: &str, at: Moment) -> Option<()>;
        fn decide_approval(number: ApprovalNumber, decided: &Decided, at: Moment) -> std::result::Result<Approval, Refusal>;
        fn expire_approvals(epoch: Epoch, at: Moment) -> u64;
        fn set_serving(hold: &Hold, endpoint: &str, version: VersionNumber, serving: Option<&routes::RoutedServing>) -> ();
        fn change_routes(hold: &Hold, change: &RouteChange, at: Moment) -> RouteDocument;
        fn continue_routes(known: &RouteDocument, at: Moment) -> Option<RouteDocument>;
        fn remove_routes(project: &str, stage: Option<&str>, by: &str, at: Moment) -> Option<RouteDocument>;
        fn begin_rollout(hold: &Hold, new: &NewRollout, at: Moment) -> StoredRollout;
        fn advance_rollout(epoch: Epoch, advance: &RolloutAdvance, at: Moment) -> Option<StoredRollout>;
        fn command_rollout(number: RolloutNumber, command: Command, by: &str, reason: &str, at: Moment) -> Option<std::result::Result<Rollout, Unacceptable>>;
        fn set_drill(endpoint: &str, version: VersionNumber, faults: Option<&routes::Faults>, by: &str, at: Moment) -> RouteDocument;
        fn set_alarm(project: &str, news: &AlarmNews, at: Moment) -> bool;
        fn forget_alarm(project: &str, name: &str) -> ();
        fn silence_alarm(project: &str, name: &str, silence: Option<&Silence>, by: &str, at: Moment) -> ();
        fn put_monitor_run(run: &NewMonitorRun, at: Moment) -> MonitorNumber;
        fn switch_monitor(hold: &Hold, monitor: &MonitorRecord, at: Moment) -> ();
        fn put_trial(hold: &Hold, trial: &NewTrial, at: Moment) -> ();
        fn record_decision(hold: Option<&Hold>, decision: &NewDecision, at: Moment) -> DecisionNumber;
        fn record_scaling(new: &NewScaling, at: Moment) -> Option<DecisionNumber>;
        fn advance_trigger(project: &str, name: &str, before: Option<&str>, state: &TriggerState, at: Moment) -> bool;
        fn pause_trigger(project: &str, name: &str, is_paused: bool, by: &str, at: Moment) -> ();
        fn tell(kind: EventKind, project: &str, run: Option<RunNumber>, text: &str, facts: serde_json::Value, at: Moment) -> ();
        fn set_channels(channels: &[(String, Vec<EventKind>)]) -> ();
        fn notice_sent(id: &str, at: Moment) -> ();
        fn notice_failed(id: &str, wait: Option<Duration>, error: &str, at: Moment) -> ();
    }
}
