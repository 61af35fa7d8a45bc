//! Every answer kept as a row that SQL can read.
//!
//! A record is appended to the [`Journal`] with one `write()` before the answer leaves, so it survives the death of
//! the process; at most [`SYNC_INTERVAL`] later it is synced, so it survives the death of the machine. A loader
//! thread moves whole segments of the journal into the inference table, exactly once by id, and deletes them.
//! The journal is bounded: when the table cannot keep up for long, appending fails and says so.

mod journal;
mod loader;
mod record;
mod segment;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::journal::{AppendError, Journal, JournalOptions, SYNC_INTERVAL};
pub use self::loader::LoaderCounts;
pub use self::record::{Outcome, Record};
pub use self::table::{EndpointColumns, InferenceTable, TableError};

use self::loader::Loader;
use crate::clock::Clock;
use crate::ids::InferenceIds;

/// Where answers are kept.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Holds `inferences.db` and the folder `capture` of journal segments.
    pub data_directory: PathBuf,
    /// Limits of the journal.
    pub journal: JournalOptions,
}

/// The journal and the loader behind it.
#[derive(Debug)]
pub struct Capture {
    journal: Arc<Journal>,
    loader: Loader,
}

/// Why capture could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenCaptureError {
    /// Another process has this data directory.
    #[error("the data directory {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    /// A folder or file could not be made or read.
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The inference table could not be opened.
    #[error("cannot open the inference table {}", path.display())]
    Table { path: PathBuf, source: TableError },
}

impl CaptureOptions {
    /// The defaults for `data_directory`.
    #[must_use]
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        Self { data_directory: data_directory.into(), journal: JournalOptions::default() }
    }

    /// The database file of the inference table.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        database(&self.data_directory)
    }
}

/// The database file of the inference table in a data directory.
#[must_use]
pub fn database(data_directory: &Path) -> PathBuf {
    data_directory.join("inferences.db")
}

impl Capture {
    /// Opens the table and the journal, and starts the loader, which first takes what an earlier process left.
    ///
    /// # Errors
    /// When another process holds the data directory, or a file cannot be used.
    pub fn open(options: &CaptureOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenCaptureError> {
        let database = options.database();
        let ids = InferenceIds::from_entropy(clock.clone());
        let journal = Arc::new(Journal::open(&options.data_directory, options.journal, ids)?);
        let table = InferenceTable::open(&database)
            .map_err(|source| OpenCaptureError::Table { path: database, source })?;
        let loader = Loader::start(journal.clone(), table, clock)
            .map_err(|source| OpenCaptureError::Io { path: options.data_directory.clone(), source })?;
        Ok(Self { journal, loader })
    }

    /// Appends one record; when this returns, the record survives the death of this process.
    ///
    /// # Errors
    /// When the journal is full or cannot be written. Nothing of the record is kept then.
    pub fn append(&self, record: &Record<'_>) -> Result<(), AppendError> {
        self.journal.append(record)
    }

    /// Makes (or replaces) the view that shows the rows of one endpoint with a column for each feature.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn create_view(&self, columns: &EndpointColumns<'_>) -> Result<(), TableError> {
        self.loader.with_table(|table| table.create_view(columns))
    }

    /// What the loader did so far.
    #[must_use]
    pub fn counts(&self) -> LoaderCounts {
        self.loader.counts()
    }

    /// Bytes in the journal that are not in the table yet.
    #[must_use]
    pub fn spooled_bytes(&self) -> u64 {
        self.journal.spooled_bytes()
    }

    /// Waits until all that was appended before this call is in the table; false when `limit` passed first.
    #[must_use]
    pub fn settle(&self, limit: Duration) -> bool {
        self.loader.settle(limit)
    }
}
