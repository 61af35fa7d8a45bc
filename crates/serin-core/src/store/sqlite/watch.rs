//! Looks at live windows, alarms and silences.

use rusqlite::{OptionalExtension as _, Row, Transaction};
use serde_json::json as object;

use super::super::{
    AlarmNews, AlarmRecord, AlarmState, ListOptions, Moment, MonitorRunRecord, NewMonitorRun, Result, Silence,
};
use super::history::tell;
use super::{from_json, json, signed, unsigned};
use crate::clock::{Steady, Timestamp};
use crate::domain::{EventKind, MonitorNumber};

/// Looks kept of an endpoint, of those by themselves and of the others.
const LOOKS_KEPT: i64 = 2_000;

pub(super) fn put_monitor_run(
    tx: &Transaction<'_>,
    new: &NewMonitorRun,
    at: Moment,
) -> Result<MonitorNumber> {
    if new.asked_by.is_none() {
        // A look that was made by a clock ahead of its time saw nothing: it gives way.
        tx.prepare_cached(
            "DELETE FROM monitor_runs WHERE endpoint = ?1 AND window_from = ?2 AND window_to = ?3 AND asked_by IS NULL \
             AND time > ?4",
        )?
        .execute((&new.endpoint, new.from.0, new.to.0, at.wall.0))?;
        let known: Option<i64> = tx
            .prepare_cached(
                "SELECT number FROM monitor_runs \
                 WHERE endpoint = ?1 AND window_from = ?2 AND window_to = ?3 AND asked_by IS NULL",
            )?
            .query_row((&new.endpoint, new.from.0, new.to.0), |row| row.get(0))
            .optional()?;
        if let Some(number) = known {
            return Ok(MonitorNumber(unsigned(number)));
        }
    }
    tx.prepare_cached(
        "INSERT INTO monitor_runs (project, stage, endpoint, model_version, window_from, window_to, time, asked_by, \
         state, reason, rows, findings, confirmed, report) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute((
        &new.project,
        &new.stage,
        &new.endpoint,
        &new.model_version,
        new.from.0,
        new.to.0,
        at.wall.0,
        &new.asked_by,
        &new.state,
        &new.reason,
        signed(new.rows),
        new.findings,
        new.confirmed,
        new.report.to_string(),
    ))?;
    let number = tx.last_insert_rowid();
    tx.prepare_cached(
        "DELETE FROM monitor_runs WHERE endpoint = ?1 AND (asked_by IS NULL) = ?3 AND number <= \
         (SELECT number FROM monitor_runs WHERE endpoint = ?1 AND (asked_by IS NULL) = ?3 \
          ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute((&new.endpoint, LOOKS_KEPT, new.asked_by.is_none()))?;
    Ok(MonitorNumber(unsigned(number)))
}

const COLUMNS: &str = "number, project, stage, endpoint, model_version, window_from, window_to, time, asked_by, state, \
                       reason, rows, findings, confirmed";

pub(super) fn monitor_runs(
    tx: &Transaction<'_>,
    endpoint: Option<&str>,
    list: &ListOptions,
) -> Result<Vec<MonitorRunRecord>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {COLUMNS}, NULL FROM monitor_runs WHERE (?1 IS NULL OR endpoint = ?1) \
         AND (?2 IS NULL OR project = ?2) AND (?3 IS NULL OR number < ?3) ORDER BY number DESC LIMIT ?4"
    ))?;
    let mut rows = statement.query((endpoint, &list.project, list.before.map(signed), list.rows()))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(monitor_run_of(row)?);
    }
    Ok(runs)
}

pub(super) fn monitor_run(tx: &Transaction<'_>, number: MonitorNumber) -> Result<Option<MonitorRunRecord>> {
    let mut statement =
        tx.prepare_cached(&format!("SELECT {COLUMNS}, report FROM monitor_runs WHERE number = ?1"))?;
    let mut rows = statement.query([signed(number.0)])?;
    rows.next()?.map(monitor_run_of).transpose()
}

/// The end of the last window of an endpoint that was looked at by itself, before a moment.
pub(super) fn last_window(
    tx: &Transaction<'_>,
    endpoint: &str,
    before: Timestamp,
) -> Result<Option<Timestamp>> {
    let last: Option<i64> = tx
        .prepare_cached(
            "SELECT max(window_to) FROM monitor_runs WHERE endpoint = ?1 AND window_to <= ?2 AND asked_by IS NULL \
             AND time <= ?2",
        )?
        .query_row((endpoint, before.0), |row| row.get(0))?;
    Ok(last.map(Timestamp))
}

/// The reports of the looks at an endpoint by itself, the last first, before a window.
pub(super) fn reports_before(
    tx: &Transaction<'_>,
    endpoint: &str,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<MonitorRunRecord>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {COLUMNS}, report FROM monitor_runs \
         WHERE endpoint = ?1 AND window_to <= ?2 AND asked_by IS NULL ORDER BY window_to DESC LIMIT ?3"
    ))?;
    let mut rows = statement.query((endpoint, before.0, limit))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(monitor_run_of(row)?);
    }
    Ok(runs)
}

fn monitor_run_of(row: &Row<'_>) -> Result<MonitorRunRecord> {
    let report: Option<String> = row.get(14)?;
    Ok(MonitorRunRecord {
        number: MonitorNumber(unsigned(row.get(0)?)),
        project: row.get(1)?,
        stage: row.get(2)?,
        endpoint: row.get(3)?,
        model_version: row.get(4)?,
        from: Timestamp(row.get(5)?),
        to: Timestamp(row.get(6)?),
        time: Timestamp(row.get(7)?),
        asked_by: row.get(8)?,
        state: row.get(9)?,
        reason: row.get(10)?,
        rows: unsigned(row.get(11)?),
        findings: row.get(12)?,
        confirmed: row.get(13)?,
        // One that cannot be read must not keep the others from being found.
        report: report.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// Keeps the state of an alarm. A change leaves an event, and notices unless the alarm is silenced; whether it was one.
pub(super) fn set_alarm(tx: &Transaction<'_>, project: &str, news: &AlarmNews, at: Moment) -> Result<bool> {
    let before: Option<String> = tx
        .prepare_cached("SELECT state FROM alarms WHERE project = ?1 AND name = ?2")?
        .query_row((project, &news.name), |row| row.get(0))
        .optional()?;
    let state = json("an alarm's state", &news.state)?;
    let has_changed = before.as_ref() != Some(&state);
    tx.prepare_cached(
        "INSERT INTO alarms (project, name, state, reason, time, steady, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5) \
         ON CONFLICT (project, name) DO UPDATE SET state = excluded.state, reason = excluded.reason, \
         time = excluded.time, steady = excluded.steady, \
         since = CASE WHEN alarms.state = excluded.state THEN alarms.since ELSE excluded.time END",
    )?
    .execute((project, &news.name, &state, &news.reason, at.wall.0, at.steady.0))?;
    // What is quiet from the beginning is no news.
    let is_news = has_changed && (before.is_some() || news.state == AlarmState::Alarm);
    if is_news {
        let silence = silence(tx, project, &news.name, at)?;
        let was = before.map(|text| from_json::<AlarmState>("an alarm's state", &text)).transpose()?;
        let kind = match (&silence, news.state, was) {
            (Some(_), ..) => EventKind::AlarmMuted,
            (None, AlarmState::Alarm, _) => EventKind::AlarmRaised,
            (None, AlarmState::Ok, Some(AlarmState::Alarm)) => EventKind::AlarmCleared,
            (None, AlarmState::Ok, _) => EventKind::AlarmKnown,
            (None, AlarmState::InsufficientData, _) => EventKind::AlarmUnknown,
        };
        let word = match news.state {
            AlarmState::Alarm => "is on",
            AlarmState::Ok => "is off",
            AlarmState::InsufficientData => "knows nothing",
        };
        let text = format!("alarm {} {word}: {}", news.name, news.reason);
        let facts = object!({
            "alarm": news.name,
            "state": news.state,
            "was": was,
            "reason": news.reason,
            "advice": news.advice,
            "silence": silence,
        });
        tell(tx, kind, project, None, &text, &facts, at)?;
    }
    Ok(has_changed)
}

pub(super) fn alarms(tx: &Transaction<'_>, project: &str, at: Option<Moment>) -> Result<Vec<AlarmRecord>> {
    let mut statement = tx.prepare_cached(
        "SELECT name, state, reason, time, steady, since FROM alarms WHERE project = ?1 ORDER BY name",
    )?;
    let mut rows = statement.query([project])?;
    let mut alarms = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let silence = at.map(|at| silence(tx, project, &name, at)).transpose()?.flatten();
        alarms.push(AlarmRecord {
            project: project.to_owned(),
            name,
            state: from_json("an alarm's state", &row.get::<_, String>(1)?)?,
            reason: row.get(2)?,
            time: Timestamp(row.get(3)?),
            steady: Steady(row.get(4)?),
            since: Timestamp(row.get(5)?),
            silence,
        });
    }
    Ok(alarms)
}

/// The last word about alarms that are not watched any more goes.
pub(super) fn forget_alarm(tx: &Transaction<'_>, project: &str, name: &str) -> Result<()> {
    tx.execute("DELETE FROM alarms WHERE project = ?1 AND name = ?2", (project, name))?;
    tx.execute("DELETE FROM silences WHERE project = ?1 AND alarm = ?2", (project, name))?;
    Ok(())
}

pub(super) fn silence_alarm(
    tx: &Transaction<'_>,
    project: &str,
    name: &str,
    silence: Option<&Silence>,
    by: &str,
    at: Moment,
) -> Result<()> {
    match silence {
        Some(silence) => tx.execute(
            "INSERT OR REPLACE INTO silences (project, alarm, until, until_steady, by, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (project, name, silence.until.0, silence.until_steady.0, &silence.by, &silence.reason),
        )?,
        None => tx.execute("DELETE FROM silences WHERE project = ?1 AND alarm = ?2", (project, name))?,
    };
    let text = match silence {
        Some(Silence { until, by, reason, .. }) => {
            format!("{by} silenced the alarm {name} until {}: {reason}", until.to_rfc3339())
        }
        None => format!("{by} ended the silence of the alarm {name}"),
    };
    let facts = object!({ "alarm": name, "silence": silence, "by": by });
    tell(tx, EventKind::AlarmSilenced, project, None, &text, &facts, at)
}

fn silence(tx: &Transaction<'_>, project: &str, name: &str, at: Moment) -> Result<Option<Silence>> {
    let found = tx
        .prepare_cached(
            "SELECT until, until_steady, by, reason FROM silences \
             WHERE project = ?1 AND alarm = ?2 AND until_steady > ?3",
        )?
        .query_row((project, name, at.steady.0), |row| {
            Ok(Silence {
                until: Timestamp(row.get(0)?),
                until_steady: Steady(row.get(1)?),
                by: row.get(2)?,
                reason: row.get(3)?,
            })
        })
        .optional()?;
    Ok(found)
}
