//! The inference table: a SQLite file of its own.
//!
//! Features and probabilities are JSON arrays in two columns, and a view for each endpoint shows them as columns.
//! Real columns were the other choice: they would tie the table to one schema and to SQLite's 2,000 columns, and a
//! retrained model with another feature would need a migration of all history. SQLite parses a row's array once for
//! all columns of the view.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};
use thiserror::Error;

use super::record::{Outcome, Record};
use crate::clock::Timestamp;

/// The oldest SQLite whose write-ahead log is trusted: earlier ones can corrupt a database that is checkpointed
/// and written at the same moment.
const OLDEST_SQLITE: i32 = 3_051_003;
/// The version that `inferences.sql` makes.
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = include_str!("inferences.sql");
/// How long a writer waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// A view shows at most so many features: SQLite has room for 2,000 columns.
const VIEW_FEATURES: usize = 1_900;
/// A view shows at most so many class probabilities.
const VIEW_CLASSES: usize = 80;

/// The table, open for writing.
#[derive(Debug)]
pub struct InferenceTable {
    connection: Connection,
}

/// What the view of an endpoint shows.
#[derive(Debug, Clone, Copy)]
pub struct EndpointColumns<'a> {
    /// The endpoint's name; the view is called `endpoint_<name>`.
    pub endpoint: &'a str,
    /// Class names in the model's order: a column `p_<class>` each.
    pub classes: &'a [String],
    /// Feature names in the model's order: a column each.
    pub features: &'a [String],
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
        // Rows of some hundred features need more than half of the default page.
        connection.pragma_update(None, "page_size", 8192)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // A segment is deleted right after its transaction, so that transaction must be durable by itself.
        connection.pragma_update(None, "synchronous", "full")?;
        migrate(&mut connection)?;
        Ok(Self { connection })
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
    ) -> Result<Load<'_>, TableError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for name in finished {
            transaction.execute("DELETE FROM capture_segments WHERE name = ?1", [name])?;
        }
        let already_loaded = transaction
            .prepare_cached("SELECT 1 FROM capture_segments WHERE name = ?1")?
            .exists([segment])?;
        Ok(Load {
            transaction,
            segment: segment.to_owned(),
            time,
            already_loaded,
            loaded: Loaded::default(),
            buffers: Buffers::default(),
        })
    }

    /// Forgets all segments but those in `present`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_segments_except(&mut self, present: &[String]) -> Result<(), TableError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known: Vec<String> = transaction
            .prepare("SELECT name FROM capture_segments")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in known.iter().filter(|name| !present.contains(name)) {
            transaction.execute("DELETE FROM capture_segments WHERE name = ?1", [name])?;
        }
        Ok(transaction.commit()?)
    }

    /// Makes (or replaces) the view `endpoint_<name>`: answered rows of one endpoint, a column for each class
    /// probability and each feature.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn create_view(&mut self, columns: &EndpointColumns<'_>) -> Result<(), TableError> {
        let view = identifier(&format!("endpoint_{}", columns.endpoint));
        let statement = format!("DROP VIEW IF EXISTS {view};\n{}", view_statement(&view, columns));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(&statement)?;
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
        let mut statement = self.transaction.prepare_cached(
            "INSERT OR IGNORE INTO inferences
               (id, time, endpoint, variant, model_version, run, predicted, probabilities, features,
                latency_us, status, error_code, rollout_step, caller)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let buffers = &mut self.buffers;
        match &record.outcome {
            Outcome::Refused { error_code } => {
                self.loaded.count(insert_row(&mut statement, &record, record.id, None, Some(error_code))?);
            }
            Outcome::Answered { predicted, probabilities, features } => {
                let rows = predicted.len().max(1);
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
                    self.loaded.count(insert_row(&mut statement, &record, id, Some(&answer), None)?);
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

struct Answer<'a> {
    predicted: &'a str,
    probabilities: &'a str,
    features: &'a str,
}

fn insert_row(
    statement: &mut Statement<'_>,
    record: &Record<'_>,
    id: &str,
    answer: Option<&Answer<'_>>,
    error_code: Option<&str>,
) -> Result<usize, TableError> {
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
        error_code,
        record.rollout_step,
        record.caller,
    ])?)
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

fn migrate(connection: &mut Connection) -> Result<(), TableError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        SCHEMA_VERSION => {}
        found => return Err(TableError::NewerSchema { found, known: SCHEMA_VERSION }),
    }
    Ok(transaction.commit()?)
}

fn view_statement(view: &str, columns: &EndpointColumns<'_>) -> String {
    const PLAIN: [&str; 9] =
        ["id", "time", "at", "variant", "model_version", "predicted", "latency_us", "label", "label_time"];
    let mut taken: BTreeSet<String> = PLAIN.iter().map(|name| (*name).to_owned()).collect();
    let mut sql = format!(
        "CREATE VIEW {view} AS SELECT id, time,\n  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e6, 'unixepoch') AS at,\n  \
         variant, model_version, predicted, latency_us, label, label_time"
    );
    let classes =
        columns.classes.iter().take(VIEW_CLASSES).map(|class| ("probabilities", format!("p_{class}")));
    let features = columns.features.iter().take(VIEW_FEATURES).map(|name| ("features", name.clone()));
    let mut position = 0;
    let mut previous = "";
    for (array, name) in classes.chain(features) {
        position = if array == previous { position + 1 } else { 0 };
        previous = array;
        let name = identifier(&untaken(name, &mut taken));
        // Writing to a String cannot fail.
        let _ = write!(sql, ",\n  json_extract({array}, '$[{position}]') AS {name}");
    }
    let endpoint = columns.endpoint.replace('\'', "''");
    let _ = write!(sql, "\nFROM inferences WHERE endpoint = '{endpoint}' AND status = 200;");
    sql
}

/// `name`, or `feature_<name>` and so on when a column before it has that name (SQLite ignores case in names).
fn untaken(mut name: String, taken: &mut BTreeSet<String>) -> String {
    while !taken.insert(name.to_lowercase()) {
        name.insert_str(0, "feature_");
    }
    name
}

/// A quoted SQL identifier. A NUL would end the statement, so it is left out.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}
