//! What the table does without: old rows by policy, single rows by request; and whether its file is sound.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::Retention;
use super::table::{InferenceTable, TableError};
use crate::clock::Timestamp;

/// Rows deleted in one transaction: short enough that loading hardly waits.
const ROWS_AT_ONCE: i64 = 4_000;
/// A check is given up, and begun again later, when the write-ahead log has grown to this: it cannot be emptied while a
/// check reads.
const CHECK_LOG_LIMIT_BYTES: u64 = 1 << 30;
/// How long to wait before a check that was given up is begun again.
const CHECK_PAUSE: Duration = Duration::from_secs(60);
/// How many steps of SQLite's machine pass between two looks at whether to go on.
const CHECK_STEPS: i32 = 100_000;

/// What is known about the soundness of the table's file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Integrity {
    /// The last process ended in order: no check is needed.
    #[default]
    NotChecked,
    /// The last process did not end in order, and the check has not ended yet.
    Checking,
    /// Nothing is wrong.
    Sound,
    /// What SQLite found, or why it could not look.
    Damaged(String),
}

impl InferenceTable {
    /// Deletes some of the rows that `retention` gives up, the oldest first. Says how many; fewer than there are to
    /// delete, so that nobody waits for long: call it again until it says none.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn prune(&mut self, retention: &Retention, now: Timestamp) -> Result<u64, TableError> {
        let mut before = i64::MIN;
        if let Some(age) = retention.age {
            before = now.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        }
        if retention.size_bytes.is_some_and(|limit| self.used_bytes().is_ok_and(|used| used > limit)) {
            before = i64::MAX;
        }
        if before == i64::MIN {
            return Ok(0);
        }
        let transaction = self.durable_transaction()?;
        let rows = transaction
            .prepare_cached(
                "DELETE FROM inferences WHERE rowid IN
                   (SELECT rowid FROM inferences WHERE time < ?1 ORDER BY time LIMIT ?2)",
            )?
            .execute(params![before, ROWS_AT_ONCE])?;
        if retention.age.is_some() && before != i64::MAX {
            transaction
                .prepare_cached("DELETE FROM waiting_labels WHERE received < ?1")?
                .execute([before])?;
        }
        transaction.commit()?;
        Ok(rows as u64)
    }

    /// Deletes rows, with their labels, by id; the id of a batch deletes all of its rows. What they held is overwritten
    /// in the database file. Says how many rows went.
    ///
    /// # Errors
    /// When the database refuses; nothing was deleted then.
    pub fn delete_rows(&mut self, ids: &[String]) -> Result<u64, TableError> {
        self.connection.pragma_update(None, "secure_delete", "on")?;
        let transaction = self.durable_transaction()?;
        let mut rows = 0;
        {
            // The rows of a batch are `<id>/<digits>`, and `0` is the character after `/`.
            let mut delete = transaction.prepare(
                "DELETE FROM inferences WHERE id = ?1 OR
                   (id > ?1 || '/' AND id < ?1 || '0' AND substr(id, length(?1) + 2) NOT GLOB '*[^0-9]*')",
            )?;
            let mut forget = transaction.prepare("DELETE FROM waiting_labels WHERE id = ?1")?;
            for id in ids {
                rows += delete.execute([id])?;
                forget.execute([id])?;
            }
        }
        transaction.commit()?;
        // The log still has what the rows held until it is emptied; a reader may prevent that for now.
        self.empty_log()?;
        Ok(rows as u64)
    }

    /// Copies the write-ahead log into the database and cuts it, as far as readers allow.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn empty_log(&mut self) -> Result<(), TableError> {
        Ok(self.connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))?)
    }

    /// Bytes of the file that hold something; what deleted rows left is used again.
    fn used_bytes(&self) -> Result<u64, TableError> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let counts: f64 =
            self.connection.query_row("SELECT total(length(counts)) FROM windows", [], |row| row.get(0))?;
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        let used = pages.saturating_mul(number("page_size")?).unsigned_abs();
        // Counts go by their age: rows that are given up make no room for them.
        Ok(used.saturating_sub(counts as u64))
    }
}

/// A check of the whole file, beside everything else.
pub struct IntegrityCheck {
    shared: Arc<CheckState>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct CheckState {
    found: Mutex<Integrity>,
    stop: AtomicBool,
}

impl IntegrityCheck {
    /// Nothing to check.
    pub fn not_needed() -> Self {
        Self { shared: Arc::default(), thread: None }
    }

    /// Begins to check the database file.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(database: &Path) -> std::io::Result<Self> {
        let shared = Arc::new(CheckState::default());
        shared.set(Integrity::Checking);
        let (state, database) = (shared.clone(), database.to_owned());
        let thread =
            thread::Builder::new().name("capture-check".into()).spawn(move || state.run(&database))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is known so far.
    pub fn found(&self) -> Integrity {
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for IntegrityCheck {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was printed by its thread; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for IntegrityCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntegrityCheck").field(&self.found()).finish()
    }
}

impl CheckState {
    fn run(self: Arc<Self>, database: &Path) {
        tracing::info!("the last process did not end in order: checking the inference table");
        while !self.stop.load(Ordering::Relaxed) {
            match self.clone().check(database) {
                Ok(problems) if problems == "ok" => {
                    tracing::info!("the inference table is sound");
                    return self.set(Integrity::Sound);
                }
                Err(error)
                    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) =>
                {
                    thread::park_timeout(CHECK_PAUSE);
                }
                problems => {
                    let problems = problems.unwrap_or_else(|error| error.to_string());
                    tracing::error!(problems, "the inference table is damaged: restore it from a backup");
                    return self.set(Integrity::Damaged(problems));
                }
            }
        }
    }

    fn check(self: Arc<Self>, database: &Path) -> rusqlite::Result<String> {
        let mut connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let log = PathBuf::from(format!("{}-wal", database.display()));
        let gives_up = move || {
            self.stop.load(Ordering::Relaxed)
                || std::fs::metadata(&log).is_ok_and(|log| log.len() > CHECK_LOG_LIMIT_BYTES)
        };
        connection.progress_handler(CHECK_STEPS, Some(gives_up))?;
        connection.query_row("PRAGMA integrity_check(10)", [], |row| row.get(0))
    }

    fn set(&self, found: Integrity) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
