//! The inference table: a SQLite file of its own.
//!
//! Features and probabilities are JSON arrays in two columns, and a view for each endpoint shows them as columns.
//! Real columns were the other choice: they would tie the table to one schema and to SQLite's 2,000 columns, and a
//! retrained model with another feature would need a migration of all history. SQLite parses a row's array once for
//! all columns of the view.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};
use thiserror::Error;

use super::record::{Outcome, Record};
use super::windows::{Counting, Watched, watched};
use crate::clock::Timestamp;

/// The oldest SQLite whose write-ahead log is trusted: earlier ones can corrupt a database that is checkpointed
/// and written at the same moment.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Step n brings a file of version n to version n + 1; a new file is of version 0.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];
/// How long a writer waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Measured best for rows of 151 features (docs/adr/0006); a file keeps the size it was made with.
const PAGE_BYTES: i64 = 16 << 10;
/// The write-ahead log is copied into the database about when it is this long: pages of the indexes that changed in
/// several loads are then copied once.
const CHECKPOINT_BYTES: i64 = 64 << 20;
/// Holds the pages that one segment changes.
const CACHE_KIBIBYTES: i64 = 16 << 10;
/// The table, open for writing.
#[derive(Debug)]
pub struct InferenceTable {
    pub(super) connection: Connection,
    /// Where the rows of each model version are counted.
    pub(super) watched: Watched,
    synchronous: Option<Sync>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Nothing: the journal still has the rows.
    Later,
    /// The disk has these rows and all those before.
    Now,
}

/// Why the table could not be used.
#[derive(Debug, Error)]
pub enum TableError {
    /// SQLite said no.
    #[error("database error")]
    Database(#[from] rusqlite::Error),
    /// The file was made by a later version of this program.
    #[error("the database has version {found}, this program knows versions up to {known}")]
    NewerSchema { found: i64, known: i64 },
    /// The SQLite linked is one that is known to lose data.
    #[error("SQLite {found} is too old, at least 3.51.3 is needed")]
    OldSqlite { found: &'static str },
}

/// A segment being loaded: nothing is visible before [`Load::commit`].
#[derive(Debug)]
pub struct Load<'a> {
    transaction: Transaction<'a>,
    watched: &'a Watched,
    counting: Counting,
    /// Rows of this load have greater ones.
    last_rowid: i64,
    segment: String,
    time: Timestamp,
    already_loaded: bool,
    loaded: Loaded,
    buffers: Buffers,
}

/// What a load did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// New rows.
    pub rows: u64,
    /// Rows whose id was there already.
    pub duplicates: u64,
    /// Payloads that are no record.
    pub unreadable: u64,
}

/// Text under construction, kept from row to row.
#[derive(Debug, Default)]
struct Buffers {
    id: String,
    probabilities: Vec<u8>,
    features: Vec<u8>,
}

impl InferenceTable {
    /// Opens the database file, making it or bringing it to the present version.
    ///
    /// # Errors
    /// When the file is not such a database, is newer than this program, or SQLite is too old.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(TableError::OldSqlite { found: rusqlite::version() });
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
        connection.pragma_update(None, "journal_size_limit", CHECKPOINT_BYTES)?;
        let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BYTES / page_bytes.max(1))?;
        migrate(&mut connection)?;
        let watched = watched(&connection)?;
        Ok(Self { connection, watched, synchronous: None })
    }

    /// Begins loading the segment called `segment`, and forgets the segments in `finished`, whose files are gone.
    ///
    /// # Errors
    /// When the database refuses or is held by another process for too long.
    pub fn begin_load(
        &mut self,
        segment: &str,
        finished: &[String],
        time: Timestamp,
        sync: Sync,
    ) -> Result<Load<'_>, TableError> {
        self.set_synchronous(sync)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for name in finished {
            transaction.execute("DELETE FROM capture_segments WHERE name = ?1", [name])?;
        }
        let already_loaded = transaction
            .prepare_cached("SELECT 1 FROM capture_segments WHERE name = ?1")?
            .exists([segment])?;
        let last_rowid =
            transaction.query_row("SELECT coalesce(max(rowid), 0) FROM inferences", [], |row| row.get(0))?;
        Ok(Load {
            transaction,
            watched: &self.watched,
            counting: Counting::default(),
            last_rowid,
            segment: segment.to_owned(),
            time,
            already_loaded,
            loaded: Loaded::default(),
            buffers: Buffers::default(),
        })
    }

    fn set_synchronous(&mut self, sync: Sync) -> Result<(), TableError> {
        if self.synchronous != Some(sync) {
            let value = match sync {
                Sync::Later => "normal",
                Sync::Now => "full",
            };
            self.connection.pragma_update(None, "synchronous", value)?;
            self.synchronous = Some(sync);
        }
        Ok(())
    }

    /// Begins a transaction whose commit waits for the disk.
    pub(super) fn durable_transaction(&mut self) -> Result<Transaction<'_>, TableError> {
        self.set_synchronous(Sync::Now)?;
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Forgets all segments but those in `present`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_segments_except(&mut self, present: &[String]) -> Result<(), TableError> {
        let transaction = self.durable_transaction()?;
        let known: Vec<String> = transaction
            .prepare("SELECT name FROM capture_segments")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in known.iter().filter(|name| !present.contains(name)) {
            transaction.execute("DELETE FROM capture_segments WHERE name = ?1", [name])?;
        }
        Ok(transaction.commit()?)
    }
}

impl Load<'_> {
    /// Inserts the rows of one encoded record. Bytes that are no record are counted and skipped.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn insert(&mut self, payload: &[u8]) -> Result<(), TableError> {
        if self.already_loaded {
            return Ok(());
        }
        let Ok(record) = Record::decode(payload) else {
            self.loaded.unreadable += 1;
            return Ok(());
        };
        match self.insert_record(&record) {
            // No later try would end otherwise, and the records behind this one must not wait for it.
            Err(TableError::Database(error)) if is_about_the_row(&error) => {
                self.loaded.unreadable += 1;
                Ok(())
            }
            inserted => inserted,
        }
    }

    fn insert_record(&mut self, record: &Record<'_>) -> Result<(), TableError> {
        let mut statement = self.transaction.prepare_cached(
            // An id has one row: the first answer to it, or until there is one the first refusal.
            "INSERT INTO inferences
               (id, time, endpoint, variant, model_version, run, predicted, probabilities, features,
                latency_us, status, error_code, rollout_step, caller, error_detail, body, client_gone)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (id) DO UPDATE SET
               time = excluded.time, endpoint = excluded.endpoint, variant = excluded.variant,
               model_version = excluded.model_version, run = excluded.run, predicted = excluded.predicted,
               probabilities = excluded.probabilities, features = excluded.features,
               latency_us = excluded.latency_us, status = excluded.status, error_code = NULL,
               rollout_step = excluded.rollout_step, caller = excluded.caller, error_detail = NULL,
               body = NULL, client_gone = excluded.client_gone
             WHERE inferences.predicted IS NULL AND excluded.predicted IS NOT NULL",
        )?;
        let buffers = &mut self.buffers;
        match &record.outcome {
            Outcome::Refused { error_code, detail, body } => {
                let refusal = Refusal {
                    error_code,
                    detail: (!detail.is_empty()).then_some(detail),
                    body: (!body.is_empty()).then_some(body),
                };
                self.loaded.count(insert_row(&mut statement, record, record.id, &Row::Refused(refusal))?);
            }
            Outcome::Answered { predicted, probabilities, features } => {
                let rows = predicted.len();
                let (n_classes, n_features) = (probabilities.len() / rows, features.len() / rows);
                for (n, class) in predicted.iter().enumerate() {
                    let id = row_id(&mut buffers.id, record.id, n, predicted.len());
                    json_array(
                        &mut buffers.probabilities,
                        &probabilities[n * n_classes..(n + 1) * n_classes],
                    );
                    json_array(&mut buffers.features, &features[n * n_features..(n + 1) * n_features]);
                    let answer = Answer {
                        predicted: class,
                        probabilities: utf8(&buffers.probabilities),
                        features: utf8(&buffers.features),
                    };
                    let inserted = insert_row(&mut statement, record, id, &Row::Answered(answer))?;
                    self.loaded.count(inserted);
                    if inserted == 1 {
                        self.counting.add(self.watched, record, n);
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the rows and the segment's entry durable together.
    ///
    /// # Errors
    /// When the database refuses; nothing was kept then.
    pub fn commit(self) -> Result<Loaded, TableError> {
        if !self.already_loaded {
            self.counting.write(&self.transaction)?;
            super::labels::attach_waiting(&self.transaction, self.last_rowid)?;
            self.transaction.execute(
                "INSERT INTO capture_segments (name, rows, time) VALUES (?1, ?2, ?3)",
                params![self.segment, self.loaded.rows as i64, self.time.0],
            )?;
        }
        self.transaction.commit()?;
        Ok(self.loaded)
    }
}

impl Loaded {
    fn count(&mut self, inserted: usize) {
        if inserted == 1 { self.rows += 1 } else { self.duplicates += 1 }
    }
}

/// What is of one row, besides what is of the whole record.
enum Row<'a> {
    Answered(Answer<'a>),
    Refused(Refusal<'a>),
}

struct Answer<'a> {
    predicted: &'a str,
    probabilities: &'a str,
    features: &'a str,
}

struct Refusal<'a> {
    error_code: &'a str,
    detail: Option<&'a str>,
    body: Option<&'a [u8]>,
}

fn insert_row(
    statement: &mut Statement<'_>,
    record: &Record<'_>,
    id: &str,
    row: &Row<'_>,
) -> Result<usize, TableError> {
    let (answer, refusal) = match row {
        Row::Answered(answer) => (Some(answer), None),
        Row::Refused(refusal) => (None, Some(refusal)),
    };
    Ok(statement.execute(params![
        id,
        record.time.0,
        record.endpoint,
        record.variant,
        record.model_version,
        record.run,
        answer.map(|answer| answer.predicted),
        answer.map(|answer| answer.probabilities),
        answer.map(|answer| answer.features),
        i64::try_from(record.latency_microseconds).unwrap_or(i64::MAX),
        record.status,
        refusal.map(|refusal| refusal.error_code),
        record.rollout_step,
        record.caller,
        refusal.and_then(|refusal| refusal.detail),
        refusal.and_then(|refusal| refusal.body),
        record.client_gone,
    ])?)
}

fn is_about_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    error.sqlite_error_code().is_some_and(|code| matches!(code, ConstraintViolation | TooBig | TypeMismatch))
}

fn row_id<'b>(buffer: &'b mut String, id: &'b str, n: usize, rows: usize) -> &'b str {
    if rows == 1 {
        return id;
    }
    buffer.clear();
    // Writing to a String cannot fail.
    let _ = write!(buffer, "{id}/{n}");
    buffer
}

/// NaN, a missing value, becomes `null`.
fn json_array(buffer: &mut Vec<u8>, values: &[f64]) {
    buffer.clear();
    // Writing numbers to a Vec cannot fail.
    let _ = serde_json::to_writer(buffer, values);
}

/// serde_json writes ASCII for numbers; the empty array stands for the impossible.
fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("[]")
}

/// Brings the file to the present version, each step in a transaction of its own, so that it can die at any moment.
fn migrate(connection: &mut Connection) -> Result<(), TableError> {
    let known = MIGRATIONS.len() as i64;
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let step = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found));
        match step {
            Some(step) => {
                transaction.execute_batch(step)?;
                transaction.pragma_update(None, "user_version", found + 1)?;
                transaction.commit()?;
            }
            None if found == known => return Ok(()),
            None => return Err(TableError::NewerSchema { found, known }),
        }
    }
}
