//! The store on SQLite: one file, one connection, one transaction a verb.
//!
//! Commits wait for the disk (`synchronous = FULL`, write-ahead log). There is one connection: verbs are short, and the
//! process that holds the file open is the only one that writes it.

mod approvals;
mod deployments;
mod history;
mod reign;
mod rollouts;
mod rows;
mod runs;
mod scalings;
mod steps;
mod versions;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AlarmNews, AlarmRecord, DecisionRecord, DeploymentRecord, Hold, ListOptions, Moment, MonitorRecord,
    MonitorRunRecord, NewDecision, NewMonitorRun, NewRollout, NewScaling, NewTrial, NewVersion, Project,
    Reign, Result, RolloutAdvance, RouteChange, ScalingRecord, ServedPeriod, Silence, StepEnd, Store,
    StoreError, StoredRollout, TrialRecord, TriggerRecord, TriggerState, WishRules,
};
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::domain::{
    Approval, ApprovalNumber, Attempt, Decided, DecisionNumber, Epoch, Event, EventKind, Lease, ModelVersion,
    MonitorNumber, Notice, Pipeline, Refusal, RolloutNumber, Run, RunNumber, RunState, VersionNumber,
    VersionState, Wish, WishOutcome,
};
use crate::rollout::{Command, Rollout, Unacceptable};
use crate::routes::{Faults, RouteDocument, RoutedServing};

/// The oldest SQLite whose write-ahead log is trusted: earlier ones can corrupt a database that is checkpointed and
/// written at the same moment.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Step n brings a file of version n to version n + 1; a new file is of version 0.
const MIGRATIONS: [&str; 5] = [
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
];
/// How long a verb waits for another process that holds the database, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store on one SQLite file.
pub struct SqliteStore {
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the database file, making it or bringing it to the present version.
    ///
    /// # Errors
    /// When the file is no such database, is newer than this program, or SQLite is too old.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |source| StoreError::Open { path: path.display().to_string(), source };
        Self::with(Connection::open(path).map_err(open)?)
    }

    /// A store that lives as long as the value.
    ///
    /// # Errors
    /// When SQLite is too old.
    pub fn in_memory() -> Result<Self> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(mut connection: Connection) -> Result<Self> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(StoreError::OldSqlite { found: rusqlite::version().to_owned() });
        }
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in a verb dropped its transaction, which rolled it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction, committed if `work` succeeds.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// One consistent look.
    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        work(&transaction)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// SQLite's integers have a sign; numbers of ours never reach it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Damaged { what, source })
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Damaged { what, source })
}

fn digest(what: &'static str, text: &str) -> Result<Digest> {
    use serde::de::Error as _;
    text.parse().map_err(|error| StoreError::Damaged { what, source: serde_json::Error::custom(error) })
}

/// Fails unless the reign of `epoch` goes on.
fn fence(tx: &Transaction<'_>, epoch: Epoch) -> Result<()> {
    let now: i64 = tx.prepare_cached("SELECT epoch FROM reign")?.query_row([], |row| row.get(0))?;
    if unsigned(now) == epoch.0 { Ok(()) } else { Err(StoreError::Lost) }
}

/// Fails unless the attempt is still its step's, in a run that goes on.
fn held(tx: &Transaction<'_>, hold: &Hold) -> Result<()> {
    fence(tx, hold.epoch)?;
    let mut statement = tx.prepare_cached(
        "SELECT 1 FROM steps JOIN runs ON runs.number = steps.run \
         WHERE steps.run = ?1 AND steps.name = ?2 AND steps.lease = ?3 AND runs.state_name = 'running'",
    )?;
    let is_held = statement.exists((signed(hold.run.0), &hold.step, signed(hold.lease.0)))?;
    if is_held { Ok(()) } else { Err(StoreError::Lost) }
}

impl Store for SqliteStore {
    fn reign(&self) -> Result<Reign> {
        self.read(reign::read)
    }
    fn take_reign(&self, seen: &Reign, owner: &str, at: Moment) -> Result<Option<Reign>> {
        self.write(|tx| reign::take(tx, seen, owner, at))
    }
    fn beat(&self, epoch: Epoch, at: Moment) -> Result<()> {
        self.write(|tx| reign::beat(tx, epoch, at))
    }

    fn put_project(&self, project: &Project, at: Moment) -> Result<()> {
        self.write(|tx| runs::put_project(tx, project, at))
    }
    fn projects(&self) -> Result<Vec<Project>> {
        self.read(runs::projects)
    }
    fn remove_project(&self, name: &str, at: Moment) -> Result<u64> {
        self.write(|tx| runs::remove_project(tx, name, at))
    }

    fn wish(&self, wish: &Wish, rules: &WishRules, pipeline: &Pipeline, at: Moment) -> Result<WishOutcome> {
        self.write(|tx| runs::wish(tx, wish, rules, pipeline, at))
    }
    fn would(&self, wish: &Wish, rules: &WishRules, at: Moment) -> Result<WishOutcome> {
        self.read(|tx| runs::would(tx, wish, rules, at))
    }
    fn open_runs(&self) -> Result<Vec<Run>> {
        self.read(runs::open)
    }
    fn runs(&self, list: &ListOptions) -> Result<Vec<Run>> {
        self.read(|tx| runs::list(tx, list))
    }
    fn count_runs(&self) -> Result<Vec<(String, String, u64)>> {
        self.read(runs::count)
    }
    fn run(&self, number: RunNumber) -> Result<Option<Run>> {
        self.read(|tx| runs::one(tx, number))
    }
    fn attempts(&self, number: RunNumber) -> Result<Vec<Attempt>> {
        self.read(|tx| steps::attempts(tx, number))
    }
    fn begin_run(&self, epoch: Epoch, run: RunNumber, at: Moment) -> Result<()> {
        self.write(|tx| runs::begin(tx, epoch, run, at))
    }
    fn claim_step(
        &self,
        epoch: Epoch,
        run: RunNumber,
        step: &str,
        worker: &str,
        at: Moment,
    ) -> Result<Option<Lease>> {
        self.write(|tx| steps::claim(tx, epoch, run, step, worker, at))
    }
    fn end_attempt(&self, hold: &Hold, end: &StepEnd, at: Moment) -> Result<()> {
        self.write(|tx| steps::end(tx, hold, end, at))
    }
    fn end_run(&self, epoch: Epoch, run: RunNumber, state: &RunState, at: Moment) -> Result<()> {
        self.write(|tx| {
            fence(tx, epoch)?;
            runs::end(tx, run, state, at)
        })
    }
    fn cancel_run(&self, run: RunNumber, by: &str, reason: &str, at: Moment) -> Result<bool> {
        self.write(|tx| runs::cancel(tx, run, by, reason, at))
    }
    fn retry_run(&self, run: RunNumber, from: Option<&str>, by: &str, at: Moment) -> Result<bool> {
        self.write(|tx| runs::retry(tx, run, from, by, at))
    }
    fn set_revision(&self, hold: &Hold, revision: Digest) -> Result<()> {
        self.write(|tx| {
            held(tx, hold)?;
            tx.execute(
                "UPDATE runs SET revision = ?2 WHERE number = ?1",
                (signed(hold.run.0), revision.to_string()),
            )?;
            Ok(())
        })
    }
    fn output_of(&self, key: Digest) -> Result<Option<(RunNumber, Digest)>> {
        self.read(|tx| steps::output_of(tx, key))
    }
    fn last_revision(&self, project: &str) -> Result<Option<(RunNumber, Digest)>> {
        self.read(|tx| runs::last_revision(tx, project))
    }

    fn register_version(&self, hold: &Hold, version: &NewVersion, at: Moment) -> Result<VersionNumber> {
        self.write(|tx| versions::register(tx, hold, version, at))
    }
    fn versions(&self, list: &ListOptions) -> Result<Vec<ModelVersion>> {
        self.read(|tx| versions::list(tx, list))
    }
    fn version(&self, number: VersionNumber) -> Result<Option<ModelVersion>> {
        self.read(|tx| versions::one(tx, number))
    }
    fn aliased(&self, project: &str, alias: &str) -> Result<Option<ModelVersion>> {
        self.read(|tx| versions::aliased(tx, project, alias))
    }
    fn set_metrics(&self, hold: &Hold, version: VersionNumber, metrics: &[(String, f64)]) -> Result<()> {
        self.write(|tx| versions::set_metrics(tx, hold, version, metrics))
    }
    fn set_version_state(
        &self,
        version: VersionNumber,
        state: &VersionState,
        at: Moment,
    ) -> Result<Option<()>> {
        self.write(|tx| versions::set_state(tx, version, state, at))
    }
    fn set_alias(
        &self,
        project: &str,
        alias: &str,
        version: Option<VersionNumber>,
        by: &str,
        at: Moment,
    ) -> Result<()> {
        self.write(|tx| versions::set_alias(tx, project, alias, version, by, at))
    }
    fn set_tag(
        &self,
        version: VersionNumber,
        key: &str,
        value: Option<&str>,
        by: &str,
        at: Moment,
    ) -> Result<Option<()>> {
        self.write(|tx| versions::set_tag(tx, version, key, value, by, at))
    }

    fn approvals(&self, list: &ListOptions) -> Result<Vec<Approval>> {
        self.read(|tx| approvals::list(tx, list))
    }
    fn approval(&self, number: ApprovalNumber) -> Result<Option<Approval>> {
        self.read(|tx| approvals::one(tx, number))
    }
    fn decide_approval(
        &self,
        number: ApprovalNumber,
        decided: &Decided,
        at: Moment,
    ) -> Result<std::result::Result<Approval, Refusal>> {
        self.write(|tx| approvals::decide(tx, number, decided, at))
    }
    fn expire_approvals(&self, epoch: Epoch, at: Moment) -> Result<u64> {
        self.write(|tx| approvals::expire(tx, epoch, at))
    }

    fn set_serving(
        &self,
        hold: &Hold,
        endpoint: &str,
        version: VersionNumber,
        serving: Option<&RoutedServing>,
    ) -> Result<()> {
        self.write(|tx| deployments::set_serving(tx, hold, endpoint, version, serving))
    }
    fn change_routes(&self, hold: &Hold, change: &RouteChange, at: Moment) -> Result<RouteDocument> {
        self.write(|tx| deployments::change(tx, hold, change, at))
    }
    fn served_before(&self, run: RunNumber, endpoint: &str) -> Result<Vec<(String, f64, VersionNumber)>> {
        self.read(|tx| deployments::served_before(tx, run, endpoint))
    }
    fn routes(&self) -> Result<Option<RouteDocument>> {
        self.read(deployments::routes)
    }
    fn continue_routes(&self, known: &RouteDocument, at: Moment) -> Result<Option<RouteDocument>> {
        self.write(|tx| deployments::continue_behind(tx, known, at))
    }
    fn remove_routes(
        &self,
        project: &str,
        stage: Option<&str>,
        by: &str,
        at: Moment,
    ) -> Result<Option<RouteDocument>> {
        self.write(|tx| deployments::remove(tx, project, stage, by, at))
    }
    fn begin_rollout(&self, hold: &Hold, new: &NewRollout, at: Moment) -> Result<StoredRollout> {
        self.write(|tx| rollouts::begin(tx, hold, new, at))
    }
    fn advance_rollout(
        &self,
        epoch: Epoch,
        advance: &RolloutAdvance,
        at: Moment,
    ) -> Result<Option<StoredRollout>> {
        self.write(|tx| rollouts::advance(tx, epoch, advance, at))
    }
    fn command_rollout(
        &self,
        number: RolloutNumber,
        command: Command,
        by: &str,
        reason: &str,
        at: Moment,
    ) -> Result<Option<std::result::Result<Rollout, Unacceptable>>> {
        self.write(|tx| rollouts::command(tx, number, command, by, reason, at))
    }
    fn rollouts(&self, list: &ListOptions) -> Result<Vec<StoredRollout>> {
        self.read(|tx| rollouts::list(tx, list))
    }
    fn rollout(&self, number: RolloutNumber) -> Result<Option<StoredRollout>> {
        self.read(|tx| rollouts::one(tx, number))
    }
    fn rollout_of(&self, run: RunNumber, step: &str) -> Result<Option<StoredRollout>> {
        self.read(|tx| rollouts::of_step(tx, run, step))
    }
    fn set_drill(
        &self,
        endpoint: &str,
        version: VersionNumber,
        faults: Option<&Faults>,
        by: &str,
        at: Moment,
    ) -> Result<RouteDocument> {
        self.write(|tx| rollouts::set_drill(tx, endpoint, version, faults, by, at))
    }
    fn set_alarm(&self, project: &str, news: &AlarmNews, at: Moment) -> Result<bool> {
        self.write(|tx| watch::set_alarm(tx, project, news, at))
    }

    fn alarms(&self, project: &str, at: Option<Moment>) -> Result<Vec<AlarmRecord>> {
        self.read(|tx| watch::alarms(tx, project, at))
    }

    fn forget_alarm(&self, project: &str, name: &str) -> Result<()> {
        self.write(|tx| watch::forget_alarm(tx, project, name))
    }

    fn silence_alarm(
        &self,
        project: &str,
        name: &str,
        silence: Option<&Silence>,
        by: &str,
        at: Moment,
    ) -> Result<()> {
        self.write(|tx| watch::silence_alarm(tx, project, name, silence, by, at))
    }

    fn put_monitor_run(&self, run: &NewMonitorRun, at: Moment) -> Result<MonitorNumber> {
        self.write(|tx| watch::put_monitor_run(tx, run, at))
    }

    fn monitor_runs(&self, endpoint: Option<&str>, list: &ListOptions) -> Result<Vec<MonitorRunRecord>> {
        self.read(|tx| watch::monitor_runs(tx, endpoint, list))
    }

    fn monitor_run(&self, number: MonitorNumber) -> Result<Option<MonitorRunRecord>> {
        self.read(|tx| watch::monitor_run(tx, number))
    }

    fn last_window(&self, endpoint: &str, before: Timestamp) -> Result<Option<Timestamp>> {
        self.read(|tx| watch::last_window(tx, endpoint, before))
    }

    fn reports_before(&self, endpoint: &str, before: Timestamp, limit: u32) -> Result<Vec<MonitorRunRecord>> {
        self.read(|tx| watch::reports_before(tx, endpoint, before, limit))
    }
    fn deployments(&self, list: &ListOptions) -> Result<Vec<DeploymentRecord>> {
        self.read(|tx| deployments::list(tx, list))
    }
    fn served_at(&self, time: Timestamp) -> Result<Vec<ServedPeriod>> {
        self.read(|tx| deployments::served_at(tx, time))
    }
    fn served_periods(&self, version: VersionNumber) -> Result<Vec<ServedPeriod>> {
        self.read(|tx| deployments::served_periods(tx, version))
    }
    fn switch_monitor(&self, hold: &Hold, monitor: &MonitorRecord, at: Moment) -> Result<()> {
        self.write(|tx| deployments::switch_monitor(tx, hold, monitor, at))
    }
    fn monitors(&self) -> Result<Vec<MonitorRecord>> {
        self.read(deployments::monitors)
    }

    fn put_trial(&self, hold: &Hold, trial: &NewTrial, at: Moment) -> Result<()> {
        self.write(|tx| history::put_trial(tx, hold, trial, at))
    }
    fn trials(&self, list: &ListOptions) -> Result<Vec<TrialRecord>> {
        self.read(|tx| history::trials(tx, list))
    }
    fn record_decision(
        &self,
        hold: Option<&Hold>,
        decision: &NewDecision,
        at: Moment,
    ) -> Result<DecisionNumber> {
        self.write(|tx| history::record_decision(tx, hold, decision, at))
    }
    fn decision(&self, number: DecisionNumber) -> Result<Option<DecisionRecord>> {
        self.read(|tx| history::decision(tx, number))
    }
    fn decisions(&self, list: &ListOptions) -> Result<Vec<DecisionRecord>> {
        self.read(|tx| history::decisions(tx, list))
    }

    fn record_scaling(&self, new: &NewScaling, at: Moment) -> Result<Option<DecisionNumber>> {
        self.write(|tx| scalings::record(tx, new, at))
    }
    fn scalings(&self, project: &str, stage: &str, list: &ListOptions) -> Result<Vec<ScalingRecord>> {
        self.read(|tx| scalings::list(tx, project, stage, list))
    }

    fn trigger(&self, project: &str, name: &str) -> Result<Option<TriggerRecord>> {
        self.read(|tx| history::trigger(tx, project, name))
    }
    fn triggers(&self) -> Result<Vec<TriggerRecord>> {
        self.read(history::triggers)
    }
    fn advance_trigger(
        &self,
        project: &str,
        name: &str,
        before: Option<&str>,
        state: &TriggerState,
        _at: Moment,
    ) -> Result<bool> {
        self.write(|tx| history::advance_trigger(tx, project, name, before, state))
    }
    fn pause_trigger(&self, project: &str, name: &str, is_paused: bool, by: &str, at: Moment) -> Result<()> {
        self.write(|tx| history::pause_trigger(tx, project, name, is_paused, by, at))
    }

    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>> {
        self.read(|tx| history::events(tx, after, limit))
    }
    fn events_of(&self, run: RunNumber) -> Result<Vec<Event>> {
        self.read(|tx| history::events_of(tx, run))
    }
    fn last_event(&self) -> Result<u64> {
        self.read(history::last_event)
    }
    fn tell(
        &self,
        kind: EventKind,
        project: &str,
        run: Option<RunNumber>,
        text: &str,
        facts: serde_json::Value,
        at: Moment,
    ) -> Result<()> {
        self.write(|tx| history::tell(tx, kind, project, run, text, &facts, at))
    }

    fn set_channels(&self, channels: &[(String, Vec<EventKind>)]) -> Result<()> {
        self.write(|tx| history::set_channels(tx, channels))
    }
    fn due_notices(&self, at: Moment, limit: u32) -> Result<Vec<Notice>> {
        self.read(|tx| history::due_notices(tx, at, limit))
    }
    fn notice_sent(&self, id: &str, at: Moment) -> Result<()> {
        self.write(|tx| history::notice_sent(tx, id, at))
    }
    fn notice_failed(&self, id: &str, wait: Option<Duration>, error: &str, at: Moment) -> Result<()> {
        self.write(|tx| history::notice_failed(tx, id, wait, error, at))
    }
}
