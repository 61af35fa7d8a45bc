//! Rows of runs and steps as nouns.

use rusqlite::{Row, Transaction};

use super::super::{Result, StoreError};
use super::{digest, from_json, unsigned};
use crate::clock::{Steady, Timestamp};
use crate::domain::{Run, RunKind, RunNumber, Step};

/// The columns that [`RunRow`] reads, in its order.
pub(super) const RUN: &str =
    "number, project, kind, cause, request, is_fresh, created, ended, state, revision, pipeline";

/// A row of [`RUN`] as read, before its texts are understood.
pub(super) struct RunRow {
    number: i64,
    project: String,
    kind: String,
    cause: String,
    request: String,
    is_fresh: bool,
    created: i64,
    ended: Option<i64>,
    state: String,
    revision: Option<String>,
    pipeline: String,
}

impl RunRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            project: row.get(1)?,
            kind: row.get(2)?,
            cause: row.get(3)?,
            request: row.get(4)?,
            is_fresh: row.get(5)?,
            created: row.get(6)?,
            ended: row.get(7)?,
            state: row.get(8)?,
            revision: row.get(9)?,
            pipeline: row.get(10)?,
        })
    }

    /// With its steps.
    pub(super) fn into_run(self, tx: &Transaction<'_>) -> Result<Run> {
        let steps = steps_of(tx, self.number)?;
        Ok(Run {
            number: RunNumber(unsigned(self.number)),
            project: self.project,
            kind: kind(&self.kind)?,
            cause: from_json("a run's cause", &self.cause)?,
            request: from_json("a run's request", &self.request)?,
            is_fresh: self.is_fresh,
            created: Timestamp(self.created),
            ended: self.ended.map(Timestamp),
            state: from_json("a run's state", &self.state)?,
            revision: self.revision.map(|text| digest("a run's revision", &text)).transpose()?,
            pipeline: from_json("a run's pipeline", &self.pipeline)?,
            steps,
        })
    }
}

fn kind(name: &str) -> Result<RunKind> {
    serde_json::from_value(name.into()).map_err(|source| StoreError::Damaged { what: "a run's kind", source })
}

fn steps_of(tx: &Transaction<'_>, run: i64) -> Result<Vec<Step>> {
    let mut statement = tx.prepare_cached(
        "SELECT name, state, attempts, failures, abandoned, first_began, key FROM steps WHERE run = ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([run])?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        let key: Option<String> = row.get(6)?;
        steps.push(Step {
            name: row.get(0)?,
            state: from_json("a step's state", row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            attempts: row.get(2)?,
            failures: row.get(3)?,
            abandoned: row.get(4)?,
            first_began: row.get::<_, Option<i64>>(5)?.map(Steady),
            key: key.map(|text| digest("a step's key", &text)).transpose()?,
        });
    }
    Ok(steps)
}
