//! The registry: what a version is never changes, what is said of it does.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Row, Transaction};
use serde_json::json as object;

use super::super::{Hold, ListOptions, Moment, NewVersion, Result, StoreError};
use super::{digest, from_json, held, history, json, signed, unsigned};
use crate::clock::Timestamp;
use crate::domain::{EventKind, ModelVersion, RunNumber, VersionNumber, VersionState};

const VERSION: &str = "number, project, run, bundle, artifact, revision, created, state, metrics";

pub(super) fn register(
    tx: &Transaction<'_>,
    hold: &Hold,
    version: &NewVersion,
    at: Moment,
) -> Result<VersionNumber> {
    held(tx, hold)?;
    let run = signed(hold.run.0);
    let NewVersion { project, bundle, artifact, revision } = version;
    let found: Option<i64> = tx
        .query_row(
            "SELECT number FROM versions WHERE run = ?1 AND artifact = ?2",
            (run, artifact.to_string()),
            |row| row.get(0),
        )
        .optional()?;
    if let Some(number) = found {
        return Ok(VersionNumber(unsigned(number)));
    }
    tx.execute(
        "INSERT INTO versions (project, run, bundle, artifact, revision, created, state, metrics) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '{}')",
        (
            project,
            run,
            bundle,
            artifact.to_string(),
            revision.to_string(),
            at.wall.0,
            json("a version's state", &VersionState::Pending)?,
        ),
    )?;
    let number = VersionNumber(unsigned(tx.last_insert_rowid()));
    let facts = object!({ "version": number, "bundle": bundle });
    let text = format!("version {number} registered");
    history::tell(tx, EventKind::VersionRegistered, project, Some(hold.run), &text, &facts, at)?;
    Ok(number)
}

pub(super) fn list(tx: &Transaction<'_>, list: &ListOptions) -> Result<Vec<ModelVersion>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {VERSION} FROM versions WHERE (?1 IS NULL OR project = ?1) AND number < ?2 ORDER BY number DESC LIMIT ?3"
    ))?;
    let before = list.before.map_or(i64::MAX, signed);
    let mut rows = statement.query((&list.project, before, list.rows()))?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        versions.push(version(tx, row)?);
    }
    Ok(versions)
}

pub(super) fn one(tx: &Transaction<'_>, number: VersionNumber) -> Result<Option<ModelVersion>> {
    let mut statement = tx.prepare_cached(&format!("SELECT {VERSION} FROM versions WHERE number = ?1"))?;
    let mut rows = statement.query([signed(number.0)])?;
    rows.next()?.map(|row| version(tx, row)).transpose()
}

pub(super) fn aliased(tx: &Transaction<'_>, project: &str, alias: &str) -> Result<Option<ModelVersion>> {
    let number: Option<i64> = tx
        .query_row("SELECT version FROM aliases WHERE project = ?1 AND alias = ?2", (project, alias), |row| {
            row.get(0)
        })
        .optional()?;
    match number {
        Some(number) => one(tx, VersionNumber(unsigned(number))),
        None => Ok(None),
    }
}

fn version(tx: &Transaction<'_>, row: &Row<'_>) -> Result<ModelVersion> {
    let number: i64 = row.get(0)?;
    let text = |column: usize| row.get::<_, String>(column);
    let mut aliases = tx.prepare_cached("SELECT alias FROM aliases WHERE version = ?1 ORDER BY alias")?;
    let mut tags = tx.prepare_cached("SELECT key, value FROM tags WHERE version = ?1")?;
    Ok(ModelVersion {
        number: VersionNumber(unsigned(number)),
        project: text(1)?,
        run: RunNumber(unsigned(row.get(2)?)),
        bundle: text(3)?,
        artifact: digest("a version's artifact", &text(4)?)?,
        revision: digest("a version's revision", &text(5)?)?,
        created: Timestamp(row.get(6)?),
        state: from_json("a version's state", &text(7)?)?,
        metrics: from_json("a version's metrics", &text(8)?)?,
        aliases: aliases.query_map([number], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
        tags: tags
            .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?,
    })
}

pub(super) fn set_metrics(
    tx: &Transaction<'_>,
    hold: &Hold,
    version: VersionNumber,
    metrics: &[(String, f64)],
) -> Result<()> {
    held(tx, hold)?;
    let metrics: BTreeMap<&str, f64> = metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    tx.execute(
        "UPDATE versions SET metrics = ?2 WHERE number = ?1",
        (signed(version.0), json("a version's metrics", &metrics)?),
    )?;
    Ok(())
}

pub(super) fn set_state(
    tx: &Transaction<'_>,
    number: VersionNumber,
    state: &VersionState,
    at: Moment,
) -> Result<Option<()>> {
    let Some(version) = one(tx, number)? else { return Ok(None) };
    tx.execute(
        "UPDATE versions SET state = ?2 WHERE number = ?1",
        (signed(number.0), json("a version's state", state)?),
    )?;
    let (by, reason) = match state {
        VersionState::Pending => ("", ""),
        VersionState::Approved { by, reason, .. } | VersionState::Rejected { by, reason, .. } => {
            (by.as_str(), reason.as_str())
        }
    };
    let text = format!("version {number} is {} by {by}: {reason}", state.name());
    tell(tx, &version, &text, &object!({ "version": number, "state": state }), at)?;
    Ok(Some(()))
}

pub(super) fn set_alias(
    tx: &Transaction<'_>,
    project: &str,
    alias: &str,
    version: Option<VersionNumber>,
    by: &str,
    at: Moment,
) -> Result<()> {
    let Some(number) = version else {
        tx.execute("DELETE FROM aliases WHERE project = ?1 AND alias = ?2", (project, alias))?;
        let text = format!("alias {alias} removed by {by}");
        return history::tell(
            tx,
            EventKind::VersionChanged,
            project,
            None,
            &text,
            &object!({ "alias": alias }),
            at,
        );
    };
    if aliased(tx, project, alias)?.is_some_and(|version| version.number == number) {
        return Ok(());
    }
    let Some(version) = one(tx, number)?.filter(|version| version.project == project) else {
        return Err(StoreError::Missing { what: "version", name: number.to_string() });
    };
    tx.execute(
        "INSERT INTO aliases VALUES (?1, ?2, ?3) ON CONFLICT (project, alias) DO UPDATE SET version = excluded.version",
        (project, alias, signed(number.0)),
    )?;
    let text = format!("alias {alias} points to version {number}, set by {by}");
    tell(tx, &version, &text, &object!({ "version": number, "alias": alias }), at)
}

pub(super) fn set_tag(
    tx: &Transaction<'_>,
    number: VersionNumber,
    key: &str,
    value: Option<&str>,
    by: &str,
    at: Moment,
) -> Result<Option<()>> {
    let Some(version) = one(tx, number)? else { return Ok(None) };
    match value {
        Some(value) => tx.execute(
            "INSERT INTO tags VALUES (?1, ?2, ?3) ON CONFLICT (version, key) DO UPDATE SET value = excluded.value",
            (signed(number.0), key, value),
        )?,
        None => tx.execute("DELETE FROM tags WHERE version = ?1 AND key = ?2", (signed(number.0), key))?,
    };
    let text = format!("tag {key} of version {number} changed by {by}");
    tell(tx, &version, &text, &object!({ "version": number, "tag": key, "value": value }), at)?;
    Ok(Some(()))
}

fn tell(
    tx: &Transaction<'_>,
    version: &ModelVersion,
    text: &str,
    facts: &serde_json::Value,
    at: Moment,
) -> Result<()> {
    history::tell(tx, EventKind::VersionChanged, &version.project, Some(version.run), text, facts, at)
}
