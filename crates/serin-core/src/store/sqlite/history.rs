//! What is told, decided and remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, Transaction};
use serde_json::Value;
use uuid::Uuid;

use super::super::{
    DecisionRecord, Hold, ListOptions, Moment, NewDecision, NewTrial, Result, StoreError, TrialRecord,
    TriggerRecord, TriggerState,
};
use super::{from_json, held, json, signed, unsigned};
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::domain::{DecisionNumber, Event, EventKind, Notice, RunNumber};

/// Writes an event, and a notice for every channel that wants to be told of its kind.
pub(super) fn tell(
    tx: &Transaction<'_>,
    kind: EventKind,
    project: &str,
    run: Option<RunNumber>,
    text: &str,
    facts: &Value,
    at: Moment,
) -> Result<()> {
    let name = kind.name();
    tx.prepare_cached(
        "INSERT INTO events (time, kind, project, run, text, facts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((at.wall.0, &name, project, run.map(|run| signed(run.0)), text, facts.to_string()))?;
    let event = tx.last_insert_rowid();
    let mut channels = tx.prepare_cached("SELECT channel FROM channels WHERE kind = ?1")?;
    let channels: Vec<String> =
        channels.query_map([&name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for channel in channels {
        // The same event and channel give the same id; another data directory gives another.
        let seed = Digest::of(format!("{event}/{channel}/{}/{text}", at.wall.0).as_bytes());
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&seed.as_bytes()[..10]);
        let milliseconds = unsigned(at.wall.0 / 1_000);
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid();
        tx.prepare_cached("INSERT INTO notices (id, channel, event, due_steady) VALUES (?1, ?2, ?3, ?4)")?
            .execute((Uuid::hyphenated(id).to_string(), channel, event, at.steady.0))?;
    }
    Ok(())
}

pub(super) fn events(tx: &Transaction<'_>, after: u64, limit: u32) -> Result<Vec<Event>> {
    let limit = limit.min(ListOptions::LIMIT);
    let mut statement = tx.prepare_cached(
        "SELECT number, time, kind, project, run, text, facts FROM events WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query((signed(after), limit))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    Ok(events)
}

pub(super) fn events_of(tx: &Transaction<'_>, run: RunNumber) -> Result<Vec<Event>> {
    let mut statement = tx.prepare_cached(
        "SELECT number, time, kind, project, run, text, facts FROM events WHERE run = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([signed(run.0)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    Ok(events)
}

pub(super) fn last_event(tx: &Transaction<'_>) -> Result<u64> {
    let last: Option<i64> = tx.query_row("SELECT max(number) FROM events", [], |row| row.get(0))?;
    Ok(unsigned(last.unwrap_or(0)))
}

fn event(row: &Row<'_>) -> Result<Event> {
    let kind: String = row.get(2)?;
    Ok(Event {
        number: unsigned(row.get(0)?),
        time: Timestamp(row.get(1)?),
        kind: serde_json::from_value(kind.into())
            .map_err(|source| StoreError::Damaged { what: "an event's kind", source })?,
        project: row.get(3)?,
        run: row.get::<_, Option<i64>>(4)?.map(|run| RunNumber(unsigned(run))),
        text: row.get(5)?,
        facts: from_json("an event's facts", &row.get::<_, String>(6)?)?,
    })
}

pub(super) fn set_channels(tx: &Transaction<'_>, channels: &[(String, Vec<EventKind>)]) -> Result<()> {
    tx.execute("DELETE FROM channels", [])?;
    for (channel, kinds) in channels {
        for kind in kinds {
            tx.execute("INSERT OR IGNORE INTO channels VALUES (?1, ?2)", (channel, kind.name()))?;
        }
    }
    Ok(())
}

pub(super) fn due_notices(tx: &Transaction<'_>, at: Moment, limit: u32) -> Result<Vec<Notice>> {
    let mut statement = tx.prepare_cached(
        "SELECT events.number, time, kind, project, run, text, facts, id, channel, attempts FROM notices \
         JOIN events ON events.number = notices.event WHERE due_steady <= ?1 ORDER BY due_steady, events.number, id LIMIT ?2",
    )?;
    let mut rows = statement.query((at.steady.0, limit))?;
    let mut notices = Vec::new();
    while let Some(row) = rows.next()? {
        notices.push(Notice {
            id: row.get(7)?,
            channel: row.get(8)?,
            event: event(row)?,
            attempts: row.get(9)?,
        });
    }
    Ok(notices)
}

pub(super) fn notice_sent(tx: &Transaction<'_>, id: &str, at: Moment) -> Result<()> {
    tx.execute(
        "UPDATE notices SET due_steady = NULL, sent = ?2, attempts = attempts + 1, error = NULL WHERE id = ?1",
        (id, at.wall.0),
    )?;
    Ok(())
}

pub(super) fn notice_failed(
    tx: &Transaction<'_>,
    id: &str,
    wait: Option<Duration>,
    error: &str,
    at: Moment,
) -> Result<()> {
    let due = wait.map(|wait| (at.steady + wait).0);
    tx.execute(
        "UPDATE notices SET due_steady = ?2, attempts = attempts + 1, error = ?3 WHERE id = ?1",
        (id, due, error),
    )?;
    Ok(())
}

pub(super) fn put_trial(tx: &Transaction<'_>, hold: &Hold, trial: &NewTrial, at: Moment) -> Result<()> {
    held(tx, hold)?;
    let project: String =
        tx.query_row("SELECT project FROM runs WHERE number = ?1", [signed(hold.run.0)], |row| row.get(0))?;
    let finite: BTreeMap<&String, f64> = trial
        .metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name, *value))
        .collect();
    tx.execute(
        "INSERT INTO trials VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (run) DO UPDATE SET \
         parameters = json_patch(parameters, excluded.parameters), metrics = json_patch(metrics, excluded.metrics), \
         artifacts = json_patch(artifacts, excluded.artifacts)",
        (
            signed(hold.run.0),
            project,
            at.wall.0,
            json("a trial's parameters", &trial.parameters)?,
            json("a trial's metrics", &finite)?,
            json("a trial's artifacts", &trial.artifacts)?,
        ),
    )?;
    Ok(())
}

pub(super) fn trials(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<TrialRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT project, run, created, parameters, metrics, artifacts FROM trials \
         WHERE (?1 IS NULL OR project = ?1) AND run < ?2 ORDER BY run DESC LIMIT ?3",
    )?;
    let mut rows = statement.query((&list.project, list.before.map_or(i64::MAX, signed), list.rows()))?;
    let mut trials = Vec::new();
    while let Some(row) = rows.next()? {
        trials.push(TrialRecord {
            experiment: row.get(0)?,
            run: RunNumber(unsigned(row.get(1)?)),
            created: Timestamp(row.get(2)?),
            parameters: from_json("a trial's parameters", &row.get::<_, String>(3)?)?,
            metrics: from_json("a trial's metrics", &row.get::<_, String>(4)?)?,
            artifacts: from_json("a trial's artifacts", &row.get::<_, String>(5)?)?,
        });
    }
    Ok(trials)
}

pub(super) fn record_decision(
    tx: &Transaction<'_>,
    hold: Option<&Hold>,
    decision: &NewDecision,
    at: Moment,
) -> Result<DecisionNumber> {
    if let Some(hold) = hold {
        held(tx, hold)?;
        // An attempt that was abandoned may have recorded it.
        let made = tx
            .query_row(
                "SELECT decisions.number FROM decisions JOIN attempts ON attempts.lease = decisions.lease \
                 WHERE attempts.run = ?1 AND attempts.step = ?2 AND rule = ?3 AND inputs = ?4 AND verdict = ?5",
                (
                    signed(hold.run.0),
                    &hold.step,
                    &decision.rule,
                    decision.inputs.to_string(),
                    &decision.verdict,
                ),
                |row| row.get(0),
            )
            .optional()?;
        if let Some(number) = made {
            return Ok(DecisionNumber(unsigned(number)));
        }
    }
    insert_decision(tx, hold, at.wall, decision, at)
}

/// Keeps a decision that was made elsewhere, at another time than it is heard of.
pub(super) fn record_decision_of(
    tx: &Transaction<'_>,
    made: Timestamp,
    decision: &NewDecision,
    at: Moment,
) -> Result<DecisionNumber> {
    insert_decision(tx, None, made, decision, at)
}

fn insert_decision(
    tx: &Transaction<'_>,
    hold: Option<&Hold>,
    made: Timestamp,
    decision: &NewDecision,
    at: Moment,
) -> Result<DecisionNumber> {
    let NewDecision { project, run, rule, inputs, verdict, explanation } = decision;
    tx.execute(
        "INSERT INTO decisions (time, project, run, lease, rule, inputs, verdict, explanation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            made.0,
            project,
            run.map(|run| signed(run.0)),
            hold.map(|hold| signed(hold.lease.0)),
            rule,
            inputs.to_string(),
            verdict,
            explanation,
        ),
    )?;
    let number = DecisionNumber(unsigned(tx.last_insert_rowid()));
    let text = format!("decision {number}: {rule} says {verdict}");
    let facts = serde_json::json!({ "decision": number, "rule": rule, "verdict": verdict });
    tell(tx, EventKind::DecisionMade, project, *run, &text, &facts, at)?;
    Ok(number)
}

pub(super) fn decision(tx: &Transaction<'_>, number: DecisionNumber) -> Result<Option<DecisionRecord>> {
    let list = ListOptions { before: Some(number.0.saturating_add(1)), limit: 1, ..ListOptions::default() };
    Ok(decisions(tx, &list)?.into_iter().find(|decision| decision.number == number))
}

pub(super) fn decisions(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<DecisionRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT number, time, project, run, rule, inputs, verdict, explanation FROM decisions \
         WHERE (?1 IS NULL OR project = ?1) AND number < ?2 ORDER BY number DESC LIMIT ?3",
    )?;
    let mut rows = statement.query((&list.project, list.before.map_or(i64::MAX, signed), list.rows()))?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        decisions.push(DecisionRecord {
            number: DecisionNumber(unsigned(row.get(0)?)),
            time: Timestamp(row.get(1)?),
            project: row.get(2)?,
            run: row.get::<_, Option<i64>>(3)?.map(|run| RunNumber(unsigned(run))),
            rule: row.get(4)?,
            inputs: from_json("a decision's inputs", &row.get::<_, String>(5)?)?,
            verdict: row.get(6)?,
            explanation: row.get(7)?,
        });
    }
    Ok(decisions)
}

pub(super) fn trigger(tx: &Transaction<'_>, project: &str, name: &str) -> Result<Option<TriggerRecord>> {
    Ok(triggers(tx)?.into_iter().find(|trigger| trigger.project == project && trigger.name == name))
}

pub(super) fn triggers(tx: &Transaction<'_>) -> Result<Vec<TriggerRecord>> {
    let mut statement =
        tx.prepare_cached("SELECT project, name, is_paused, state FROM triggers ORDER BY project, name")?;
    let mut rows = statement.query([])?;
    let mut triggers = Vec::new();
    while let Some(row) = rows.next()? {
        let state: Option<String> = row.get(3)?;
        triggers.push(TriggerRecord {
            project: row.get(0)?,
            name: row.get(1)?,
            is_paused: row.get(2)?,
            state: state.map(|text| from_json("a trigger's state", &text)).transpose()?,
        });
    }
    Ok(triggers)
}

pub(super) fn advance_trigger(
    tx: &Transaction<'_>,
    project: &str,
    name: &str,
    before: Option<&str>,
    state: &TriggerState,
) -> Result<bool> {
    let now = trigger(tx, project, name)?.and_then(|trigger| trigger.state);
    if now.as_ref().map(|state| state.position.as_str()) != before {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO triggers (project, name, state) VALUES (?1, ?2, ?3) \
         ON CONFLICT (project, name) DO UPDATE SET state = excluded.state",
        (project, name, json("a trigger's state", state)?),
    )?;
    Ok(true)
}

pub(super) fn pause_trigger(
    tx: &Transaction<'_>,
    project: &str,
    name: &str,
    is_paused: bool,
    by: &str,
    at: Moment,
) -> Result<()> {
    tx.execute(
        "INSERT INTO triggers (project, name, is_paused) VALUES (?1, ?2, ?3) \
         ON CONFLICT (project, name) DO UPDATE SET is_paused = excluded.is_paused",
        (project, name, is_paused),
    )?;
    let what = if is_paused { "paused" } else { "resumed" };
    let facts = serde_json::json!({ "trigger": name, "is_paused": is_paused, "by": by });
    tell(tx, EventKind::TriggerChanged, project, None, &format!("trigger {name} {what} by {by}"), &facts, at)
}
