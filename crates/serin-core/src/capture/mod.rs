//! Every answer kept as a row that SQL can read.
//!
//! A record is appended to the [`Journal`] with one `write()` before the answer leaves, so it survives the death of
//! the process; at most [`SYNC_INTERVAL`] later it is synced, so it survives the death of the machine. In mode
//! [`Strict`](CaptureMode::Strict) the answer waits for that sync, which it shares with all who wait ([`Receipt`]). A
//! loader thread moves whole segments of the journal into the inference table, exactly once by id, and deletes them.
//! The journal is bounded: when the table cannot keep up for long, appending fails or drops, as was chosen
//! ([`FullPolicy`]), and says so.

mod journal;
mod labelled;
mod labels;
mod loader;
mod read;
mod receipt;
mod record;
mod segment;
mod serving;
mod table;
mod upkeep;
mod view;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::journal::{AppendError, Journal, JournalOptions, SYNC_INTERVAL};
pub use self::labelled::LabelledCounts;
pub use self::labels::{LABEL_ID_LONGEST, LABEL_LONGEST, LABELS_AT_ONCE, Label, LabelCounts, LabelError};
pub use self::read::{
    CapturedRow, ModelNames, RowPosition, RowRange, TableReader, TableSummary, open_to_read,
};
pub use self::receipt::Receipt;
pub use self::record::{BODY_KEPT_BYTES, DETAIL_KEPT_BYTES, Outcome, Record};
pub use self::serving::Serving;
pub use self::table::{InferenceTable, TableError};
pub use self::upkeep::Integrity;
pub use self::view::EndpointColumns;
pub use self::windows::{CountedWindow, REPLAY_CALLER, SHORTEST_WINDOW_SECONDS, WatchedBins};
pub use crate::config::{CaptureMode, CaptureSettings, FullPolicy, Retention};

use self::loader::Loader;
use self::upkeep::IntegrityCheck;
use crate::clock::{Clock, Timestamp};
use crate::hash::hash;
use crate::ids::InferenceIds;

/// Where answers are kept, and what is promised about them.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Holds `inferences.db` and the folder `capture` of journal segments.
    pub data_directory: PathBuf,
    /// When an answer may leave.
    pub mode: CaptureMode,
    /// What happens when the journal cannot take a record.
    pub when_full: FullPolicy,
    /// Limits of the journal.
    pub journal: JournalOptions,
    /// Which rows the table gives up by itself.
    pub retention: Retention,
}

/// The journal and the loader behind it.
#[derive(Debug)]
pub struct Capture {
    journal: Arc<Journal>,
    loader: Loader,
    clock: Arc<dyn Clock>,
    mode: CaptureMode,
    when_full: FullPolicy,
    dropped: AtomicU64,
    not_sampled: AtomicU64,
    integrity: IntegrityCheck,
    /// The last field: it goes when all others have ended.
    running: RunningMark,
}

/// A file that is there while a process uses the table: the next one finds it when that process did not end in order.
#[derive(Debug)]
struct RunningMark {
    path: PathBuf,
    stays: bool,
}

/// How capture is doing. Counters begin at zero with the process and only grow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptureStatus {
    /// Bytes in the journal that are not in the table yet.
    pub spooled_bytes: u64,
    /// How many there may be.
    pub spool_limit_bytes: u64,
    /// Records appended to the journal.
    pub appended: u64,
    /// Records left out because the journal could not take them, under [`FullPolicy::Degrade`].
    pub dropped: u64,
    /// Records left out because they are not of the sample, in mode [`CaptureMode::Sampled`].
    pub not_sampled: u64,
    /// Rows that are new in the table.
    pub loaded_rows: u64,
    /// Rows whose id was there already.
    pub duplicate_rows: u64,
    /// Segments moved into the table.
    pub segments: u64,
    /// Rows deleted because of their age or the table's size.
    pub pruned_rows: u64,
    /// Frames, records or segments that could not be read.
    pub damaged: u64,
    /// Times the table or a file refused.
    pub failures: u64,
    /// How long the oldest record has waited that is not in the table; zero when there is none.
    pub lag: Duration,
    /// When a segment was last moved into the table.
    pub last_load: Option<Timestamp>,
    /// The last time the table or a file refused, in words.
    pub last_failure: Option<String>,
    /// What the check after an unclean end found.
    pub integrity: Integrity,
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
        Self {
            data_directory: data_directory.into(),
            mode: CaptureMode::Process,
            when_full: FullPolicy::FailClosed,
            journal: JournalOptions::default(),
            retention: Retention::default(),
        }
    }

    /// What the settings say, for `data_directory`.
    #[must_use]
    pub fn from_settings(data_directory: impl Into<PathBuf>, settings: &CaptureSettings) -> Self {
        let journal =
            JournalOptions { spool_limit_bytes: settings.spool_limit_bytes, ..JournalOptions::default() };
        Self {
            mode: settings.mode,
            when_full: settings.when_full,
            journal,
            retention: settings.retention,
            ..Self::new(data_directory)
        }
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
            .map_err(|source| OpenCaptureError::Table { path: database.clone(), source })?;
        let io = |source| OpenCaptureError::Io { path: options.data_directory.clone(), source };
        let running_mark = options.data_directory.join("capture").join("running");
        let ended_in_order = !running_mark.try_exists().map_err(io)?;
        std::fs::write(&running_mark, []).map_err(io)?;
        let integrity = if ended_in_order {
            IntegrityCheck::not_needed()
        } else {
            IntegrityCheck::start(&database).map_err(io)?
        };
        let is_strict = options.mode == CaptureMode::Strict;
        let loader =
            Loader::start(journal.clone(), table, clock.clone(), is_strict, options.retention).map_err(io)?;
        Ok(Self {
            journal,
            loader,
            clock,
            mode: options.mode,
            when_full: options.when_full,
            dropped: AtomicU64::new(0),
            not_sampled: AtomicU64::new(0),
            integrity,
            running: RunningMark { path: running_mark, stays: false },
        })
    }

    /// Appends one record; when this returns, the record survives the death of this process, unless it was left out
    /// and counted as the mode or the policy says. The receipt says when it survives the death of the machine.
    ///
    /// # Errors
    /// Under [`FullPolicy::FailClosed`], when the journal is full or cannot be written. Nothing of the record is kept
    /// then.
    pub fn append(&self, record: &Record<'_>) -> Result<Receipt, AppendError> {
        if let CaptureMode::Sampled { share } = self.mode
            && !is_sampled(record.id, share)
        {
            self.not_sampled.fetch_add(1, Ordering::Relaxed);
            return Ok(Receipt::at_once());
        }
        if self.mode == CaptureMode::Off {
            return Ok(Receipt::at_once());
        }
        let degrades = self.when_full == FullPolicy::Degrade;
        match self.journal.append_to_group(record) {
            Ok(group) if self.mode == CaptureMode::Strict => Ok(Receipt::after(group, degrades)),
            Ok(_) => Ok(Receipt::at_once()),
            Err(_) if degrades => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(Receipt::at_once())
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers the names that belong to a model version, and makes (or replaces) the view that shows the rows of its
    /// endpoint with a column for each feature. With several variants the view follows the last one told.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn create_view(&self, columns: &EndpointColumns<'_>) -> Result<(), TableError> {
        let now = self.clock.now();
        self.loader.with_table(|table| table.create_view(columns, now))
    }

    /// From now on rows of a model version of an endpoint are counted in these bins while they are loaded.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn watch(
        &self,
        endpoint: &str,
        model_version: &str,
        bins: &Arc<WatchedBins>,
    ) -> Result<(), TableError> {
        let now = self.clock.now();
        self.loader.with_table(|table| table.watch(endpoint, model_version, bins, now))
    }

    /// Attaches true classes to rows by their ids. It waits for the disk: not to be called where requests are answered.
    ///
    /// # Errors
    /// When a label cannot be kept, or the database refuses; none is attached then.
    pub fn attach_labels(&self, labels: &[Label], now: Timestamp) -> Result<LabelCounts, LabelError> {
        self.loader.with_table(|table| table.attach_labels(labels, now))
    }

    /// Deletes rows, with their labels, by id; the id of a batch deletes all of its rows. Says how many went.
    ///
    /// # Errors
    /// When the database refuses; nothing was deleted then.
    pub fn delete_rows(&self, ids: &[String]) -> Result<u64, TableError> {
        self.loader.with_table(|table| table.delete_rows(ids))
    }

    /// How capture is doing; cheap enough to be asked for every scrape.
    #[must_use]
    pub fn status(&self) -> CaptureStatus {
        let loader = self.loader.counts();
        let waited = |since: Timestamp| {
            let microseconds = self.clock.now().0.saturating_sub(since.0);
            Duration::from_micros(u64::try_from(microseconds).unwrap_or_default())
        };
        CaptureStatus {
            spooled_bytes: self.journal.spooled_bytes(),
            spool_limit_bytes: self.journal.options().spool_limit_bytes,
            appended: self.journal.appended(),
            dropped: self.dropped.load(Ordering::Relaxed),
            not_sampled: self.not_sampled.load(Ordering::Relaxed),
            loaded_rows: loader.rows,
            duplicate_rows: loader.duplicates,
            segments: loader.segments,
            pruned_rows: loader.pruned,
            damaged: loader.damaged,
            failures: loader.failures,
            lag: self.journal.oldest_append().map_or(Duration::ZERO, waited),
            last_load: loader.last_load,
            last_failure: self.loader.last_failure(),
            integrity: self.integrity.found(),
        }
    }

    /// Waits until all that was appended before this call is in the table; false when `limit` passed first.
    #[must_use]
    pub fn settle(&self, limit: Duration) -> bool {
        self.loader.settle(limit)
    }
}

/// What waits in the journal of a data directory, whoever holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spool {
    /// Whether a process holds the data directory.
    pub in_use: bool,
    /// Segments on their way into the table.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments kept because of damage inside.
    pub damaged: u64,
}

impl Spool {
    /// Looks at the files of a data directory.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn of(data_directory: &Path) -> std::io::Result<Self> {
        journal::spool(&data_directory.join("capture"))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // A check that was not finished is begun again next time.
        self.running.stays = self.integrity.found() == Integrity::Checking;
    }
}

impl Drop for RunningMark {
    fn drop(&mut self) {
        if !self.stays {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a request is of the sample: a share of all ids, the same in every process and at every time.
fn is_sampled(id: &str, share: f64) -> bool {
    // The upper 53 bits are a number in [0, 1) that a float holds exactly.
    ((hash(id.bytes()) >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::is_sampled;

    #[test]
    fn a_sample_has_its_share_and_never_changes() {
        for share in [0.01, 0.25, 0.9] {
            let n = 40_000;
            let kept = (0..n).filter(|i| is_sampled(&format!("r-{i}"), share)).count() as f64;
            let (expected, deviation) = (share * f64::from(n), (share * (1.0 - share) * f64::from(n)).sqrt());
            assert!((kept - expected).abs() < 4.0 * deviation, "{kept} of {n} at {share}");
        }
        assert!(is_sampled("anything", 1.0));
        // The share is nested: what a small sample has, a larger one has.
        assert!((0..1_000).map(|i| i.to_string()).all(|id| !is_sampled(&id, 0.1) || is_sampled(&id, 0.2)));
        let first: Vec<usize> = (0..60).filter(|i| is_sampled(&format!("r-{i}"), 0.1)).collect();
        assert_eq!(first, FIRST_OF_A_TENTH, "the choice is part of what is promised");
    }

    /// By the same two published functions, written in Python.
    const FIRST_OF_A_TENTH: [usize; 2] = [29, 42];
}
