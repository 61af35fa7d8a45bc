//! Reading the inference table, beside a server that writes it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::table::TableError;
use crate::clock::Timestamp;

/// How long a reader waits while a database is being recovered or made.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The table, open for reading only.
#[derive(Debug)]
pub struct TableReader {
    connection: Connection,
}

/// Which rows to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRange {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment that is not meant any more.
    pub to: Timestamp,
    /// One endpoint only.
    pub endpoint: Option<String>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedRow {
    /// Where the row stands, to go on after it.
    pub position: RowPosition,
    pub id: String,
    pub endpoint: String,
    pub variant: String,
    pub model_version: String,
    pub run: Option<String>,
    pub predicted: Option<String>,
    /// In the class order of the model; empty when there was no answer.
    pub probabilities: Vec<f64>,
    /// In the feature order of the model, NaN where missing; empty when there was no answer.
    pub features: Vec<f64>,
    pub latency_microseconds: i64,
    pub status: i64,
    pub error_code: Option<String>,
    pub error_detail: Option<String>,
    pub rollout_step: Option<String>,
    pub caller: Option<String>,
    pub client_gone: bool,
    pub label: Option<String>,
    pub label_time: Option<Timestamp>,
}

/// The order of reading: by arrival, and rows of one moment in the order they were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPosition {
    /// Arrival.
    pub time: Timestamp,
    rowid: i64,
}

/// What the arrays of a model version's rows mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelNames {
    pub endpoint: String,
    pub model_version: String,
    pub classes: Vec<String>,
    pub features: Vec<String>,
}

/// The table in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    pub rows: u64,
    /// Arrival of the first row.
    pub oldest: Option<Timestamp>,
    /// Arrival of the last row.
    pub newest: Option<Timestamp>,
    pub labelled: u64,
    /// Labels whose rows are not there.
    pub waiting_labels: u64,
}

impl TableReader {
    /// Opens the database file for reading; a server may be writing it.
    ///
    /// # Errors
    /// When the file is not there, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let connection = open_to_read(path)?;
        Ok(Self { connection })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The model versions that have rows in this range, as far as their names are known.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn models(&self, range: &RowRange) -> Result<Vec<ModelNames>, TableError> {
        let mut statement = self.connection.prepare(
            "SELECT endpoint, model_version, classes, features FROM models
             WHERE (?3 IS NULL OR endpoint = ?3) AND EXISTS (
               SELECT 1 FROM inferences WHERE inferences.model_version = models.model_version
                 AND time >= ?1 AND time < ?2 AND inferences.endpoint = models.endpoint)
             ORDER BY time, endpoint, model_version",
        )?;
        let models = statement.query_map(params![range.from.0, range.to.0, range.endpoint], |row| {
            Ok(ModelNames {
                endpoint: row.get(0)?,
                model_version: row.get(1)?,
                classes: names(row, 2)?,
                features: names(row, 3)?,
            })
        })?;
        Ok(models.collect::<Result<_, _>>()?)
    }

    /// The next rows of a range after a position, at most `limit`. Each call is a read of its own, so that reading a long
    /// range does not hold up the server's write-ahead log.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn rows(
        &self,
        range: &RowRange,
        after: Option<RowPosition>,
        limit: usize,
    ) -> Result<Vec<CapturedRow>, TableError> {
        let after = after.unwrap_or(RowPosition { time: range.from, rowid: i64::MIN });
        let mut statement = self.connection.prepare_cached(
            "SELECT time, rowid, id, endpoint, variant, model_version, run, predicted, probabilities, features,
               latency_us, status, error_code, error_detail, rollout_step, caller, client_gone, label, label_time
             FROM inferences
             WHERE (time, rowid) > (?1, ?2) AND time < ?3 AND (?4 IS NULL OR endpoint = ?4)
             ORDER BY time, rowid LIMIT ?5",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![after.time.0, after.rowid, range.to.0, range.endpoint, limit], captured)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The table in numbers; it looks at an index of every row.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn summary(&self) -> Result<TableSummary, TableError> {
        Ok(self.connection.query_row(
            "SELECT (SELECT count(*) FROM inferences), (SELECT min(time) FROM inferences),
               (SELECT max(time) FROM inferences), (SELECT count(DISTINCT id) FROM label_history),
               (SELECT count(*) FROM waiting_labels)",
            [],
            |row| {
                Ok(TableSummary {
                    rows: row.get::<_, i64>(0)?.unsigned_abs(),
                    oldest: row.get::<_, Option<i64>>(1)?.map(Timestamp),
                    newest: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                    labelled: row.get::<_, i64>(3)?.unsigned_abs(),
                    waiting_labels: row.get::<_, i64>(4)?.unsigned_abs(),
                })
            },
        )?)
    }
}

/// Opens a database file so that nothing done with it can change it.
///
/// # Errors
/// When the file is not there, or cannot be read.
pub fn open_to_read(path: &Path) -> Result<Connection, TableError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

pub(super) fn captured(row: &Row<'_>) -> rusqlite::Result<CapturedRow> {
    Ok(CapturedRow {
        position: RowPosition { time: Timestamp(row.get(0)?), rowid: row.get(1)? },
        id: row.get(2)?,
        endpoint: row.get(3)?,
        variant: row.get(4)?,
        model_version: row.get(5)?,
        run: row.get(6)?,
        predicted: row.get(7)?,
        probabilities: numbers(row, 8)?,
        features: numbers(row, 9)?,
        latency_microseconds: row.get(10)?,
        status: row.get(11)?,
        error_code: row.get(12)?,
        error_detail: row.get(13)?,
        rollout_step: row.get(14)?,
        caller: row.get(15)?,
        client_gone: row.get(16)?,
        label: row.get(17)?,
        label_time: row.get::<_, Option<i64>>(18)?.map(Timestamp),
    })
}

fn numbers(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<f64>> {
    let Some(text) = row.get_ref(index)?.as_str_or_null()? else { return Ok(Vec::new()) };
    let values: Vec<Option<f64>> = serde_json::from_str(text).map_err(|error| not_json(index, error))?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

fn names(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| not_json(index, error))
}

fn not_json(index: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}
