//! True classes, attached to rows by id: late ones wait for their row, corrected ones keep their history.

use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::table::{InferenceTable, TableError};
use crate::clock::Timestamp;

/// Longest id of a row: an inference id, a slash and the number of a row.
pub const LABEL_ID_LONGEST: usize = 96;
/// Longest label, bytes.
pub const LABEL_LONGEST: usize = 256;
/// Most labels of one call.
pub const LABELS_AT_ONCE: usize = 10_000;
/// Most labels that wait for rows which may never come.
const WAITING_LABELS: i64 = 1_000_000;

/// What a row's class really was: the wire type of `POST /labels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The row: `<id>`, or `<id>/<n>` for row n of a batch.
    pub id: String,
    /// The true class.
    pub label: String,
    /// When that was known: microseconds since 1970, or RFC 3339; `None`: when it arrived.
    #[serde(default, deserialize_with = "any_time", skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// What became of labels: the wire type of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelCounts {
    /// The first label of a row.
    pub attached: u64,
    /// No such row yet: kept until it comes.
    pub waiting: u64,
    /// Another label than the row had.
    pub corrected: u64,
    /// Nothing new about the row: the same label, or one that is older than the row's.
    pub unchanged: u64,
}

/// Why labels were not taken; none of them was.
#[derive(Debug, Error)]
pub enum LabelError {
    /// More than [`LABELS_AT_ONCE`].
    #[error("there are {labels} labels, at most {LABELS_AT_ONCE} are taken at once")]
    TooMany { labels: usize },
    /// An id that no row can have.
    #[error("label {index} (from 0): an id has 1 to {LABEL_ID_LONGEST} bytes")]
    InvalidId { index: usize },
    /// A label that cannot be kept.
    #[error("label {index} (from 0): a label has 1 to {LABEL_LONGEST} bytes and no control characters")]
    InvalidLabel { index: usize },
    /// So many labels already wait for rows that do not come.
    #[error("{WAITING_LABELS} labels wait for rows that are not there: are these the right ids?")]
    TooManyWaiting,
    /// The database refused.
    #[error("cannot write the inference table")]
    Table(#[from] TableError),
}

impl From<rusqlite::Error> for LabelError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Table(error.into())
    }
}

impl InferenceTable {
    /// Attaches labels to rows. The label of a row is the one with the latest time; of two with the same time, the one
    /// that came last. All of them are attached, or none.
    ///
    /// # Errors
    /// When a label cannot be kept, or the database refuses.
    pub fn attach_labels(&mut self, labels: &[Label], now: Timestamp) -> Result<LabelCounts, LabelError> {
        check(labels)?;
        let transaction = self.durable_transaction()?;
        let mut counts = LabelCounts::default();
        for label in labels {
            let time = label.time.unwrap_or(now);
            let count = match attach(&transaction, &label.id, &label.label, time, now)? {
                Attached::First => &mut counts.attached,
                Attached::Corrected => &mut counts.corrected,
                Attached::Unchanged => &mut counts.unchanged,
                Attached::NoRow => {
                    wait(&transaction, label, time, now)?;
                    &mut counts.waiting
                }
            };
            *count += 1;
        }
        if counts.waiting > 0 {
            let waiting: i64 =
                transaction.query_row("SELECT count(*) FROM waiting_labels", [], |row| row.get(0))?;
            if waiting > WAITING_LABELS {
                return Err(LabelError::TooManyWaiting);
            }
        }
        transaction.commit()?;
        Ok(counts)
    }
}

/// Gives the rows that came after `last_rowid` the labels that waited for them.
pub(super) fn attach_waiting(transaction: &Transaction<'_>, last_rowid: i64) -> Result<(), TableError> {
    let none_waits = !transaction.prepare_cached("SELECT 1 FROM waiting_labels LIMIT 1")?.exists([])?;
    if none_waits {
        return Ok(());
    }
    // The rows come first in the join: they are few, and those who wait may be many.
    let arrived: Vec<(String, String, i64, i64)> = transaction
        .prepare_cached(
            "SELECT waiting.id, waiting.label, waiting.label_time, waiting.received
             FROM inferences AS row CROSS JOIN waiting_labels AS waiting ON waiting.id = row.id
             WHERE row.rowid > ?1",
        )?
        .query_map([last_rowid], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    for (id, label, time, received) in arrived {
        attach(transaction, &id, &label, Timestamp(time), Timestamp(received))?;
        transaction.prepare_cached("DELETE FROM waiting_labels WHERE id = ?1")?.execute([&id])?;
    }
    Ok(())
}

enum Attached {
    First,
    Corrected,
    Unchanged,
    NoRow,
}

fn attach(
    transaction: &Transaction<'_>,
    id: &str,
    label: &str,
    time: Timestamp,
    received: Timestamp,
) -> rusqlite::Result<Attached> {
    let found: Option<(Option<String>, Option<i64>)> = transaction
        .prepare_cached("SELECT label, label_time FROM inferences WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((known, known_time)) = found else { return Ok(Attached::NoRow) };
    if known.as_deref() == Some(label) {
        return Ok(Attached::Unchanged);
    }
    transaction
        .prepare_cached(
            "INSERT INTO label_history (id, label, label_time, received) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, label, time.0, received.0])?;
    if known.is_some() && known_time.is_some_and(|known_time| known_time > time.0) {
        return Ok(Attached::Unchanged);
    }
    transaction
        .prepare_cached("UPDATE inferences SET label = ?2, label_time = ?3 WHERE id = ?1")?
        .execute(params![id, label, time.0])?;
    Ok(if known.is_some() { Attached::Corrected } else { Attached::First })
}

/// Of several labels that wait for one row, the latest does.
fn wait(
    transaction: &Transaction<'_>,
    label: &Label,
    time: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "INSERT INTO waiting_labels (id, label, label_time, received) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET label = excluded.label, label_time = excluded.label_time,
               received = excluded.received WHERE excluded.label_time >= waiting_labels.label_time",
        )?
        .execute(params![label.id, label.label, time.0, now.0])
}

fn check(labels: &[Label]) -> Result<(), LabelError> {
    if labels.len() > LABELS_AT_ONCE {
        return Err(LabelError::TooMany { labels: labels.len() });
    }
    for (index, Label { id, label, .. }) in labels.iter().enumerate() {
        if id.is_empty() || id.len() > LABEL_ID_LONGEST {
            return Err(LabelError::InvalidId { index });
        }
        if label.is_empty() || label.len() > LABEL_LONGEST || label.chars().any(char::is_control) {
            return Err(LabelError::InvalidLabel { index });
        }
    }
    Ok(())
}

fn any_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a time is microseconds since 1970 or RFC 3339 text")]
    enum Time {
        Microseconds(i64),
        Text(String),
    }
    match Option::<Time>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Time::Microseconds(microseconds)) => Ok(Some(Timestamp(microseconds))),
        Some(Time::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}
