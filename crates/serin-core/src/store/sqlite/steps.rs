//! Attempts at steps: begun under a lease, ended by whoever holds it.

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json as object;

use super::super::{Hold, Moment, Result, StepEnd, StoreError};
use super::{approvals, digest, fence, from_json, history, json, runs, signed, unsigned};
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::domain::{
    Attempt, AttemptEnd, Epoch, EventKind, Lease, Pipeline, RunNumber, RunState, StepPlan, StepState,
};

pub(super) fn claim(
    tx: &Transaction<'_>,
    epoch: Epoch,
    run: RunNumber,
    step: &str,
    worker: &str,
    at: Moment,
) -> Result<Option<Lease>> {
    fence(tx, epoch)?;
    let may = tx
        .prepare_cached(
            "SELECT (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE attempts.run = steps.run AND step = steps.name), \
             runs.project FROM steps JOIN runs ON runs.number = steps.run \
             WHERE run = ?1 AND name = ?2 AND steps.state_name IN ('pending', 'retrying') AND runs.state_name = 'running'",
        )?
        .query_row((signed(run.0), step), |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    let Some((attempt, project)) = may else { return Ok(None) };
    let lease: i64 = tx
        .prepare_cached("UPDATE reign SET lease = lease + 1 RETURNING lease")?
        .query_row([], |row| row.get(0))?;
    let state = StepState::Running { lease: Lease(unsigned(lease)), began: at.steady };
    tx.prepare_cached(
        "UPDATE steps SET state = ?3, state_name = 'running', lease = ?4, attempts = ?5, \
         first_began = coalesce(first_began, ?6) WHERE run = ?1 AND name = ?2",
    )?
    .execute((signed(run.0), step, json("a step's state", &state)?, lease, attempt, at.steady.0))?;
    tx.prepare_cached(
        "INSERT INTO attempts (run, step, number, lease, epoch, began, worker) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((signed(run.0), step, attempt, lease, signed(epoch.0), at.wall.0, worker))?;
    let facts = object!({ "step": step, "attempt": attempt });
    history::tell(tx, EventKind::StepStarted, &project, Some(run), &format!("{step} began"), &facts, at)?;
    Ok(Some(Lease(unsigned(lease))))
}

pub(super) fn end(tx: &Transaction<'_>, hold: &Hold, end: &StepEnd, at: Moment) -> Result<()> {
    fence(tx, hold.epoch)?;
    let (run, step) = (hold.run, hold.step.as_str());
    let held = tx
        .prepare_cached(
            "SELECT runs.project, runs.pipeline FROM steps JOIN runs ON runs.number = steps.run \
             WHERE run = ?1 AND name = ?2 AND lease = ?3 AND steps.state_name = 'running' AND runs.is_open = 1",
        )?
        .query_row((signed(run.0), step, signed(hold.lease.0)), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let Some((project, pipeline)) = held else { return Err(StoreError::Lost) };
    let mut failures = 0;
    let tell = |kind, text: &str, facts: serde_json::Value| {
        history::tell(tx, kind, &project, Some(run), text, &facts, at)
    };
    let (state, attempt_end) = match end {
        StepEnd::Succeeded { output, key, reused_from, further } => {
            if !further.is_empty() {
                extend(tx, run, &from_json("a run's pipeline", &pipeline)?, step, further)?;
            }
            if let Some(key) = key {
                remember(tx, hold, *key, *output)?;
            }
            let text = match reused_from {
                Some(earlier) => format!("{step} took the output of run {earlier}: its inputs are the same"),
                None => format!("{step} succeeded"),
            };
            tell(
                EventKind::StepSucceeded,
                &text,
                object!({ "step": step, "output": output, "reused_from": reused_from }),
            )?;
            (StepState::Succeeded { output: *output, reused_from: *reused_from }, AttemptEnd::Succeeded)
        }
        StepEnd::Skipped { output, .. } => {
            tell(
                EventKind::StepSucceeded,
                &format!("{step} succeeded"),
                object!({ "step": step, "output": output }),
            )?;
            (StepState::Succeeded { output: *output, reused_from: None }, AttemptEnd::Succeeded)
        }
        StepEnd::Asked(request) => {
            let approval = approvals::ask(tx, hold, request, at)?;
            (StepState::Asking { approval }, AttemptEnd::Asked)
        }
        StepEnd::Failed { failure, retry_at } => {
            failures = 1;
            let facts = object!({ "step": step, "failure": failure });
            let state = match retry_at {
                Some(until) => {
                    let wait = (*until - at.steady).as_secs_f64();
                    let text = format!(
                        "{step} failed ({}): {}; once more in {wait:.0} s",
                        failure.code, failure.reason
                    );
                    tell(EventKind::StepRetried, &text, facts)?;
                    StepState::Retrying { until: *until, failure: failure.clone() }
                }
                None => {
                    tell(
                        EventKind::StepFailed,
                        &format!("{step} failed ({}): {}", failure.code, failure.reason),
                        facts,
                    )?;
                    StepState::Failed { failure: failure.clone() }
                }
            };
            (state, AttemptEnd::Failed { failure: failure.clone() })
        }
        StepEnd::Cancelled => (StepState::Cancelled, AttemptEnd::Cancelled),
    };
    tx.prepare_cached(
        "UPDATE steps SET state = ?3, state_name = ?4, lease = NULL, failures = failures + ?5 WHERE run = ?1 AND name = ?2",
    )?
    .execute((signed(run.0), step, json("a step's state", &state)?, state.name(), failures))?;
    tx.prepare_cached(
        "UPDATE attempts SET ended = ?2, end = ?3 WHERE run = ?4 AND step = ?5 AND lease = ?1",
    )?
    .execute((
        signed(hold.lease.0),
        at.wall.0,
        json("an attempt's end", &attempt_end)?,
        signed(run.0),
        step,
    ))?;
    if let Some(over) = end.ends_run() {
        let is_running = RunState::Running.name();
        let goes_on = tx
            .prepare_cached("SELECT 1 FROM runs WHERE number = ?1 AND state_name = ?2")?
            .exists((signed(run.0), is_running))?;
        if goes_on {
            runs::end(tx, run, &over, at)?;
        }
    }
    Ok(())
}

/// Steps that a step brings stand behind it in place of all that stood there: a retry may have brought others.
fn extend(
    tx: &Transaction<'_>,
    run: RunNumber,
    pipeline: &Pipeline,
    step: &str,
    further: &[StepPlan],
) -> Result<()> {
    let mut behind = pipeline.from(step);
    behind.remove(step);
    for name in &behind {
        tx.execute("DELETE FROM steps WHERE run = ?1 AND name = ?2", (signed(run.0), name))?;
    }
    let kept: Vec<StepPlan> =
        pipeline.steps.iter().filter(|step| !behind.contains(&step.name)).cloned().collect();
    let first = kept.len();
    let extended = Pipeline::new(kept).and_then(|kept| kept.extended(further));
    let extended = extended.map_err(|error| StoreError::Invalid(error.to_string()))?;
    tx.execute(
        "UPDATE runs SET pipeline = ?2 WHERE number = ?1",
        (signed(run.0), json("a run's pipeline", &extended)?),
    )?;
    runs::add_steps(tx, run, first, further.iter().map(|step| step.name.as_str()))
}

fn remember(tx: &Transaction<'_>, hold: &Hold, key: Digest, output: Digest) -> Result<()> {
    let run = signed(hold.run.0);
    tx.execute("UPDATE steps SET key = ?3 WHERE run = ?1 AND name = ?2", (run, &hold.step, key.to_string()))?;
    tx.execute(
        "INSERT INTO outputs VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET output = excluded.output, run = excluded.run \
         WHERE output <> excluded.output",
        (key.to_string(), output.to_string(), run),
    )?;
    Ok(())
}

pub(super) fn output_of(tx: &Transaction<'_>, key: Digest) -> Result<Option<(RunNumber, Digest)>> {
    let found = tx
        .prepare_cached("SELECT run, output FROM outputs WHERE key = ?1")?
        .query_row([key.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    found.map(|(run, output)| Ok((RunNumber(unsigned(run)), digest("an output", &output)?))).transpose()
}

pub(super) fn attempts(tx: &Transaction<'_>, run: RunNumber) -> Result<Vec<Attempt>> {
    let mut statement = tx.prepare_cached(
        "SELECT step, number, lease, began, ended, end, worker FROM attempts WHERE run = ?1 ORDER BY lease",
    )?;
    let mut rows = statement.query([signed(run.0)])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let end: Option<String> = row.get(5)?;
        attempts.push(Attempt {
            run,
            step: row.get(0)?,
            number: row.get(1)?,
            lease: Lease(unsigned(row.get(2)?)),
            began: Timestamp(row.get(3)?),
            ended: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            end: end.map(|text| from_json("an attempt's end", &text)).transpose()?,
            worker: row.get(6)?,
        });
    }
    Ok(attempts)
}
