//! Projects and runs: wished, begun, ended, cancelled, begun anew.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json as object;

use super::super::{ListOptions, Moment, Project, Result, StoreError, WishRules};
use super::rows::{RUN, RunRow};
use super::{approvals, digest, fence, from_json, history, json, signed, unsigned};
use crate::clock::Steady;
use crate::digest::Digest;
use crate::domain::{
    AttemptEnd, Epoch, EventKind, Pipeline, Run, RunKind, RunNumber, RunState, Step, StepState, Wish,
    WishOutcome,
};

const DAY_MICROSECONDS: i64 = 24 * 3_600 * 1_000_000;
/// A rule that keeps refusing is told this often.
const REFUSALS_TOLD_EVERY_MICROSECONDS: i64 = 3_600 * 1_000_000;

pub(super) fn put_project(tx: &Transaction<'_>, project: &Project, at: Moment) -> Result<()> {
    let Project { name, folder } = project;
    let is_new = !tx.prepare_cached("SELECT 1 FROM projects WHERE name = ?1")?.exists([name])?;
    tx.execute(
        "INSERT INTO projects VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET folder = excluded.folder",
        (name, folder),
    )?;
    if is_new {
        let text = format!("project {name} in {folder}");
        history::tell(tx, EventKind::ProjectAdded, name, None, &text, &object!({ "folder": folder }), at)?;
    }
    Ok(())
}

pub(super) fn projects(tx: &Transaction<'_>) -> Result<Vec<Project>> {
    let mut statement = tx.prepare_cached("SELECT name, folder FROM projects ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok(Project { name: row.get(0)?, folder: row.get(1)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn remove_project(tx: &Transaction<'_>, name: &str, at: Moment) -> Result<u64> {
    let tables = [
        "projects",
        "versions",
        "approvals",
        "monitors",
        "trials",
        "decisions",
        "scalings",
        "triggers",
        "rollouts",
        "alarms",
        "silences",
        "monitor_runs",
    ];
    for table in tables {
        let column = if table == "projects" { "name" } else { "project" };
        tx.execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), [name])?;
    }
    tx.execute("DELETE FROM outputs WHERE run IN (SELECT number FROM runs WHERE project = ?1)", [name])?;
    let runs = tx.execute("DELETE FROM runs WHERE project = ?1", [name])?;
    let text = format!("project {name} removed with {runs} runs");
    history::tell(tx, EventKind::Destroyed, name, None, &text, &object!({ "runs": runs }), at)?;
    Ok(runs as u64)
}

pub(super) fn wish(
    tx: &Transaction<'_>,
    wish: &Wish,
    rules: &WishRules,
    pipeline: &Pipeline,
    at: Moment,
) -> Result<WishOutcome> {
    match judge(tx, wish, rules, at)? {
        Some(WishOutcome::Refused { rule, reason }) => {
            tell_refusal(tx, wish, &rule, &reason, at)?;
            return Ok(WishOutcome::Refused { rule, reason });
        }
        Some(outcome) => return Ok(outcome),
        None => {}
    }
    tx.prepare_cached(
        "INSERT INTO runs (project, kind, cause_name, is_automatic, cause, key, request, is_fresh, created, \
         created_steady, is_open, state_name, state, pipeline) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, 'waiting', ?11, ?12)",
    )?
    .execute((
        &wish.project,
        kind_name(wish.kind),
        wish.cause.name(),
        wish.cause.is_automatic(),
        json("a run's cause", &wish.cause)?,
        &wish.key,
        wish.request.to_string(),
        wish.is_fresh,
        at.wall.0,
        at.steady.0,
        json("a run's state", &RunState::Waiting)?,
        json("a run's pipeline", pipeline)?,
    ))?;
    let run = RunNumber(unsigned(tx.last_insert_rowid()));
    add_steps(tx, run, 0, pipeline.steps.iter().map(|step| step.name.as_str()))?;
    let facts = object!({ "cause": wish.cause, "kind": wish.kind });
    let text = format!("run {run} wanted: {}", wish.cause);
    history::tell(tx, EventKind::RunWanted, &wish.project, Some(run), &text, &facts, at)?;
    if wish.kind == RunKind::Train && rules.newest_wins {
        supersede_waiting(tx, wish, run, at)?;
    }
    Ok(WishOutcome::Run { run })
}

pub(super) fn would(tx: &Transaction<'_>, wish: &Wish, rules: &WishRules, at: Moment) -> Result<WishOutcome> {
    let next = || -> Result<RunNumber> {
        let last: Option<i64> = tx
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'runs'", [], |row| row.get(0))
            .optional()?;
        Ok(RunNumber(unsigned(last.unwrap_or(0)) + 1))
    };
    match judge(tx, wish, rules, at)? {
        Some(outcome) => Ok(outcome),
        None => Ok(WishOutcome::Run { run: next()? }),
    }
}

/// What becomes of a wish without a run being made for it.
fn judge(tx: &Transaction<'_>, wish: &Wish, rules: &WishRules, at: Moment) -> Result<Option<WishOutcome>> {
    let project = &wish.project;
    if !tx.prepare_cached("SELECT 1 FROM projects WHERE name = ?1")?.exists([project])? {
        return Err(StoreError::Missing { what: "project", name: project.clone() });
    }
    if let Some(key) = &wish.key {
        let mut same = tx.prepare_cached("SELECT number FROM runs WHERE project = ?1 AND key = ?2")?;
        if let Some(run) = same.query_row((project, key), |row| row.get(0)).optional()? {
            return Ok(Some(WishOutcome::Same { run: RunNumber(unsigned(run)) }));
        }
    }
    let refused = |rule: &str, reason| Ok(Some(WishOutcome::Refused { rule: rule.to_owned(), reason }));
    let waiting: u32 = tx
        .prepare_cached(
            "SELECT count(*) FROM runs WHERE is_open = 1 AND project = ?1 AND state_name = 'waiting'",
        )?
        .query_row([project], |row| row.get(0))?;
    if waiting >= rules.waiting_limit && !(rules.newest_wins && wish.kind == RunKind::Train) {
        return refused("waiting-limit", format!("{waiting} runs wait already"));
    }
    if !wish.cause.is_automatic() {
        return Ok(None);
    }
    let last: Option<i64> = tx
        .prepare_cached("SELECT max(created_steady) FROM runs WHERE project = ?1 AND is_automatic = 1 AND cause_name = ?2")?
        .query_row((project, wish.cause.name()), |row| row.get(0))?;
    if let Some(last) = last {
        let since = at.steady - Steady(last);
        if since < rules.cooldown {
            let left = (rules.cooldown - since).as_secs() + 1;
            return refused(
                "cooldown",
                format!("the last such run was wanted {} s ago, {left} s remain", since.as_secs()),
            );
        }
    }
    let today: u32 = tx
        .prepare_cached(
            "SELECT count(*) FROM runs WHERE project = ?1 AND is_automatic = 1 AND created_steady > ?2",
        )?
        .query_row((project, at.steady.0 - DAY_MICROSECONDS), |row| row.get(0))?;
    if today >= rules.daily_budget {
        return refused("daily-budget", format!("{today} automatic runs within 24 hours are the budget"));
    }
    Ok(None)
}

fn tell_refusal(tx: &Transaction<'_>, wish: &Wish, rule: &str, reason: &str, at: Moment) -> Result<()> {
    let mut told = tx.prepare_cached(
        "SELECT 1 FROM events WHERE kind = 'run-refused' AND project = ?1 AND facts ->> '$.rule' = ?2 AND time > ?3",
    )?;
    if wish.cause.is_automatic()
        && told.exists((&wish.project, rule, at.wall.0 - REFUSALS_TOLD_EVERY_MICROSECONDS))?
    {
        return Ok(());
    }
    let facts = object!({ "rule": rule, "cause": wish.cause });
    let text = format!("no run for {}: {reason}", wish.cause);
    history::tell(tx, EventKind::RunRefused, &wish.project, None, &text, &facts, at)
}

fn supersede_waiting(tx: &Transaction<'_>, wish: &Wish, by: RunNumber, at: Moment) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "SELECT number FROM runs WHERE is_open = 1 AND project = ?1 AND state_name = 'waiting' AND kind = ?2 AND number < ?3 AND is_automatic = 1",
    )?;
    let older: Vec<i64> = statement
        .query_map((&wish.project, kind_name(wish.kind), signed(by.0)), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in older {
        // Its reason may come again, and is then another one.
        tx.execute("UPDATE runs SET key = NULL WHERE number = ?1", [number])?;
        end(tx, RunNumber(unsigned(number)), &RunState::Superseded { by }, at)?;
    }
    Ok(())
}

pub(super) fn add_steps<'a>(
    tx: &Transaction<'_>,
    run: RunNumber,
    first: usize,
    names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let pending = json("a step's state", &StepState::Pending)?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO steps (run, position, name, state, state_name) VALUES (?1, ?2, ?3, ?4, 'pending')",
    )?;
    for (position, name) in (first..).zip(names) {
        statement.execute((signed(run.0), position as i64, name, &pending))?;
    }
    Ok(())
}

pub(super) fn open(tx: &Transaction<'_>) -> Result<Vec<Run>> {
    collect(tx, &format!("SELECT {RUN} FROM runs WHERE is_open = 1 ORDER BY number"), [])
}

pub(super) fn list(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<Run>> {
    let sql = format!(
        "SELECT {RUN} FROM runs WHERE (?1 IS NULL OR project = ?1) AND (?2 = 0 OR is_open = 1) AND number < ?3 \
         ORDER BY number DESC LIMIT ?4"
    );
    let before = list.before.map_or(i64::MAX, signed);
    collect(tx, &sql, (&list.project, list.is_open, before, list.rows()))
}

pub(super) fn count(tx: &Transaction<'_>) -> Result<Vec<(String, String, u64)>> {
    let sql = "SELECT project, state_name, count(*) FROM runs GROUP BY project, state_name ORDER BY 1, 2";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, unsigned(row.get(2)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn one(tx: &Transaction<'_>, number: RunNumber) -> Result<Option<Run>> {
    let found = collect(tx, &format!("SELECT {RUN} FROM runs WHERE number = ?1"), [signed(number.0)])?;
    Ok(found.into_iter().next())
}

fn collect(tx: &Transaction<'_>, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Run>> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows: Vec<RunRow> =
        statement.query_map(parameters, RunRow::read)?.collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(|row| row.into_run(tx)).collect()
}

pub(super) fn begin(tx: &Transaction<'_>, epoch: Epoch, run: RunNumber, at: Moment) -> Result<()> {
    fence(tx, epoch)?;
    let changed = set_state(tx, run, &RunState::Running, "state_name = 'waiting'", None)?;
    if !changed {
        return Ok(());
    }
    let (project, cause) =
        tx.query_row("SELECT project, cause FROM runs WHERE number = ?1", [signed(run.0)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
    let cause: crate::domain::Cause = from_json("a run's cause", &cause)?;
    let facts = object!({ "cause": cause });
    history::tell(tx, EventKind::RunStarted, &project, Some(run), &format!("run {run} began"), &facts, at)?;
    if cause.is_automatic() {
        let text = format!("run {run} began by itself: {cause}");
        history::tell(tx, EventKind::RetrainStarted, &project, Some(run), &text, &facts, at)?;
    }
    Ok(())
}

pub(super) fn end(tx: &Transaction<'_>, run: RunNumber, state: &RunState, at: Moment) -> Result<()> {
    if !set_state(tx, run, state, "is_open = 1", Some(at))? {
        return Ok(());
    }
    // What was in hand is nobody's now: its end will find no lease.
    tx.execute(
        "UPDATE steps SET state = ?2, state_name = 'cancelled', lease = NULL \
         WHERE run = ?1 AND state_name IN ('running', 'retrying', 'asking')",
        (signed(run.0), json("a step's state", &StepState::Cancelled)?),
    )?;
    tx.execute(
        "UPDATE attempts SET ended = ?2, end = ?3 WHERE run = ?1 AND end IS NULL",
        (signed(run.0), at.wall.0, json("an attempt's end", &AttemptEnd::Cancelled)?),
    )?;
    approvals::withdraw_of(tx, run, at)?;
    let project: String =
        tx.query_row("SELECT project FROM runs WHERE number = ?1", [signed(run.0)], |row| row.get(0))?;
    let (kind, text) = match state {
        RunState::Succeeded => (EventKind::RunSucceeded, format!("run {run} succeeded")),
        RunState::Failed { step, failure } => (
            EventKind::RunFailed,
            format!("run {run} failed in {step} ({}): {}", failure.code, failure.reason),
        ),
        RunState::Rejected { by, reason, .. } => {
            (EventKind::RunFailed, format!("run {run} was rejected by {by}: {reason}"))
        }
        RunState::NeedsOperator { reason } => {
            (EventKind::RunFailed, format!("run {run} needs an operator: {reason}"))
        }
        RunState::Cancelled { by, reason } => {
            (EventKind::RunCancelled, format!("run {run} was cancelled by {by}: {reason}"))
        }
        RunState::Superseded { by } => (EventKind::RunCancelled, format!("run {run} gave way to run {by}")),
        RunState::Skipped { reason } => {
            (EventKind::RunSkipped, format!("run {run} had nothing to do: {reason}"))
        }
        RunState::Waiting | RunState::Running | RunState::Cancelling { .. } => {
            return Err(StoreError::Invalid(format!("{} is no end of a run", state.name())));
        }
    };
    history::tell(tx, kind, &project, Some(run), &text, &object!({ "state": state }), at)
}

pub(super) fn cancel(
    tx: &Transaction<'_>,
    run: RunNumber,
    by: &str,
    reason: &str,
    at: Moment,
) -> Result<bool> {
    let (by, reason) = (by.to_owned(), reason.to_owned());
    if set_state(
        tx,
        run,
        &RunState::Cancelling { by: by.clone(), reason: reason.clone() },
        "state_name = 'running'",
        None,
    )? {
        return Ok(true);
    }
    let state: Option<String> = tx
        .query_row("SELECT state_name FROM runs WHERE number = ?1", [signed(run.0)], |row| row.get(0))
        .optional()?;
    match state.as_deref() {
        None => Err(StoreError::Missing { what: "run", name: run.to_string() }),
        Some("waiting") => end(tx, run, &RunState::Cancelled { by, reason }, at).map(|()| true),
        Some("cancelling") => Ok(true),
        Some(_) => Ok(false),
    }
}

pub(super) fn retry(
    tx: &Transaction<'_>,
    run: RunNumber,
    from: Option<&str>,
    by: &str,
    at: Moment,
) -> Result<bool> {
    let Some(found) = one(tx, run)? else {
        return Err(StoreError::Missing { what: "run", name: run.to_string() });
    };
    if !found.state.is_final() || matches!(found.state, RunState::Superseded { .. }) {
        return Ok(false);
    }
    let reached = match from {
        Some(name) if found.pipeline.step(name).is_none() => {
            return Err(StoreError::Missing { what: "step", name: name.to_owned() });
        }
        Some(name) => found.pipeline.from(name),
        None => BTreeSet::new(),
    };
    // What did not succeed begins anew in any case: a step that waits for it could not begin.
    let is_done = |step: &&Step| matches!(step.state, StepState::Succeeded { .. });
    let again = found.steps.iter().filter(|step| !is_done(step) || reached.contains(&step.name));
    let again: Vec<&str> = again.map(|step| step.name.as_str()).collect();
    if again.is_empty() {
        return Ok(false);
    }
    let pending = json("a step's state", &StepState::Pending)?;
    for name in &again {
        tx.execute(
            "UPDATE steps SET state = ?3, state_name = 'pending', lease = NULL, failures = 0, abandoned = 0, \
             first_began = NULL WHERE run = ?1 AND name = ?2",
            (signed(run.0), name, &pending),
        )?;
    }
    tx.execute(
        "UPDATE runs SET state = ?2, state_name = 'waiting', is_open = 1, ended = NULL WHERE number = ?1",
        (signed(run.0), json("a run's state", &RunState::Waiting)?),
    )?;
    let text = format!("run {run} goes on, asked by {by}: {}", again.join(", "));
    history::tell(
        tx,
        EventKind::RunWanted,
        &found.project,
        Some(run),
        &text,
        &object!({ "by": by, "steps": again }),
        at,
    )?;
    Ok(true)
}

pub(super) fn last_revision(tx: &Transaction<'_>, project: &str) -> Result<Option<(RunNumber, Digest)>> {
    let found = tx
        .query_row(
            "SELECT number, revision FROM runs WHERE project = ?1 AND state_name = 'succeeded' AND kind = 'train' \
             AND revision IS NOT NULL ORDER BY number DESC LIMIT 1",
            [project],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    found.map(|(run, text)| Ok((RunNumber(unsigned(run)), digest("a run's revision", &text)?))).transpose()
}

/// Sets the state where `condition` holds; whether it did.
fn set_state(
    tx: &Transaction<'_>,
    run: RunNumber,
    state: &RunState,
    condition: &str,
    ended: Option<Moment>,
) -> Result<bool> {
    let changed = tx.execute(
        &format!(
            "UPDATE runs SET state = ?2, state_name = ?3, is_open = ?4, ended = ?5 WHERE number = ?1 AND {condition}"
        ),
        (
            signed(run.0),
            json("a run's state", state)?,
            state.name(),
            !state.is_final(),
            ended.map(|at| at.wall.0),
        ),
    )?;
    Ok(changed > 0)
}

fn kind_name(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Train => "train",
        RunKind::Deploy => "deploy",
        RunKind::Rollback => "rollback",
    }
}
