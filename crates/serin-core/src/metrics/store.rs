//! Samples on disk: a SQLite file of its own.
//!
//! New samples are kept for periods of [`RESOLUTION`]; [`MetricsStore::upkeep`] moves them to coarser periods as they
//! age. An observation is in one row at any moment, so a reader merges rows of all lengths and counts nothing twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use thiserror::Error;

use super::bounds::{BoundsError, KnownBounds};
use super::sample::Sample;
use super::series::{Selector, Series};
use super::{Point, Recorded};
use crate::clock::Timestamp;

/// The period that a new sample is kept for.
pub const RESOLUTION: Duration = Duration::from_secs(10);
/// A question that means more series is refused.
pub const SERIES_AT_ONCE: usize = 2_000;
/// A question whose answer could have more periods is refused.
pub const PERIODS_AT_ONCE: i64 = 20_000;

/// The oldest SQLite whose write-ahead log is trusted: earlier ones can corrupt a database that is checkpointed and
/// written at the same moment.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Step n brings a file of version n to version n + 1; a new file is of version 0.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];
/// How long one process waits for another that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut to this when it has been copied into the database.
const LOG_KEPT_BYTES: i64 = 16 << 20;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A further series is refused.
    pub series: usize,
    /// Nothing is recorded while the file holds as much; upkeep gives up the oldest samples before that.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series: 20_000, bytes: 4 << 30 }
    }
}

/// Samples of all series, open for writing. One process writes.
#[derive(Debug)]
pub struct MetricsStore {
    pub(super) reader: MetricsReader,
    pub(super) known: Known,
    pub(super) limits: Limits,
    /// Upkeep has looked at the series up to this one.
    pub(super) series_looked_at: i64,
}

/// Samples of all series, open for reading only.
#[derive(Debug)]
pub struct MetricsReader {
    pub(super) connection: Connection,
}

/// Why samples could not be kept or read.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// SQLite said no.
    #[error("database error")]
    Database(#[from] rusqlite::Error),
    /// The file was made by a later version of this program.
    #[error("the metrics have version {found}, this program knows versions up to {known}")]
    NewerSchema { found: i64, known: i64 },
    /// The file has to be opened for writing by this program first.
    #[error("the metrics have version {found} and are not brought to version {known} yet")]
    OlderSchema { found: i64, known: i64 },
    /// The SQLite linked is one that is known to lose data.
    #[error("SQLite {found} is too old, at least 3.51.3 is needed")]
    OldSqlite { found: &'static str },
    /// A row is not what this program writes.
    #[error("the file of metrics is damaged: {what}")]
    Damaged { what: &'static str },
    /// Buckets that the metric cannot have.
    #[error(transparent)]
    Bounds(#[from] BoundsError),
    /// Samples are kept for tens of seconds.
    #[error("a period of {0:?} is not a multiple of 10 seconds")]
    Period(Duration),
    /// The answer would be too long.
    #[error("the range has {periods} periods, at most {PERIODS_AT_ONCE} are read at once")]
    TooManyPeriods { periods: i64 },
    /// The answer would take too long.
    #[error("{selector} means {series} series, at most {SERIES_AT_ONCE} are read at once")]
    TooManySeries { selector: Selector, series: usize },
}

/// The length of the period that a row is about, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolution(pub i64);

impl Resolution {
    pub(super) const TEN_SECONDS: Self = Self(10);
    pub(super) const MINUTE: Self = Self(60);
    pub(super) const HOUR: Self = Self(3_600);
    pub(super) const ALL: [Self; 3] = [Self::TEN_SECONDS, Self::MINUTE, Self::HOUR];

    /// The first second of the period with this second.
    pub(super) fn floor(self, second: i64) -> i64 {
        second.div_euclid(self.0).saturating_mul(self.0)
    }
}

/// What the file says about series and bounds, at hand.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) ids: BTreeMap<Series, i64>,
    bounds: KnownBounds,
    /// SQLite's number of the state that was read.
    data_version: Option<i64>,
}

impl MetricsStore {
    /// Opens the database file, making it or bringing it to the present version.
    ///
    /// # Errors
    /// When the file is not such a database, is newer than this program, or SQLite is too old.
    pub fn open(path: &Path) -> Result<Self, MetricsError> {
        Self::open_within(path, Limits::default())
    }

    /// As [`MetricsStore::open`], with other limits.
    ///
    /// # Errors
    /// As [`MetricsStore::open`].
    pub fn open_within(path: &Path, limits: Limits) -> Result<Self, MetricsError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(MetricsError::OldSqlite { found: rusqlite::version() });
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // A machine that dies may lose the last moments, never what was before.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)?;
        migrate(&mut connection)?;
        let reader = MetricsReader { connection };
        Ok(Self { reader, known: Known::default(), limits, series_looked_at: 0 })
    }

    /// Opens the database file so that nothing done with it can change it; a server may be writing it.
    ///
    /// # Errors
    /// When the file is not there, is not of the present version, or cannot be read.
    pub fn open_to_read(path: &Path) -> Result<MetricsReader, MetricsError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match (found, MIGRATIONS.len() as i64) {
            (found, known) if found > known => Err(MetricsError::NewerSchema { found, known }),
            (found, known) if found < known => Err(MetricsError::OlderSchema { found, known }),
            _ => Ok(MetricsReader { connection }),
        }
    }

    /// Says which upper bounds the histograms of a metric have, before the first is recorded. They never change. What a
    /// file was told is there when it is opened again.
    ///
    /// # Errors
    /// When the metric has others, with [`MetricsError::Bounds`]; its histograms are refused from then on. When the
    /// database refuses.
    pub fn set_bounds(&mut self, name: &str, bounds: &[f64]) -> Result<(), MetricsError> {
        let Self { reader, known, .. } = self;
        let transaction = reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        known.refresh(&transaction)?;
        if known.bounds.check(name, bounds)? {
            let text = serde_json::to_string(bounds).map_err(|error| not_text(1, error))?;
            transaction.execute("INSERT INTO bounds (name, bounds) VALUES (?1, ?2)", params![name, text])?;
            transaction.commit()?;
            known.bounds.insert(name.to_owned(), bounds.to_vec());
        }
        Ok(())
    }

    /// Adds samples to those of their periods. What may not be kept is counted by reason.
    ///
    /// # Errors
    /// When the database refuses; nothing was kept then.
    pub fn record(&mut self, points: &[Point]) -> Result<Recorded, MetricsError> {
        let Self { reader, known, limits, .. } = self;
        let transaction = reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        known.refresh(&transaction)?;
        let is_full = used_bytes(&transaction)? >= limits.bytes;
        let mut recorded = Recorded::default();
        let mut new = BTreeMap::new();
        let mut rows: BTreeMap<(i64, i64), Sample> = BTreeMap::new();
        for (series, time, sample) in points {
            if !known.bounds.admits(series, sample, &mut recorded.refused) {
                continue;
            }
            if is_full {
                recorded.refused.too_large += 1;
                continue;
            }
            let id = match known.ids.get(series).or_else(|| new.get(series)) {
                Some(id) => *id,
                None if known.ids.len() + new.len() >= limits.series => {
                    recorded.refused.too_many_series += 1;
                    continue;
                }
                None => {
                    let id = insert_series(&transaction, series)?;
                    new.insert(series.clone(), id);
                    id
                }
            };
            let second = Resolution::TEN_SECONDS.floor(time.0.div_euclid(1_000_000));
            rows.entry((id, second)).or_default().merge(sample);
            recorded.kept += 1;
        }
        for ((series, time), sample) in rows {
            merge_row(&transaction, Resolution::TEN_SECONDS, series, time, &sample)?;
        }
        transaction.commit()?;
        known.ids.append(&mut new);
        Ok(recorded)
    }

    /// As [`MetricsReader::points`].
    ///
    /// # Errors
    /// As [`MetricsReader::points`].
    pub fn points(
        &self,
        selector: &Selector,
        from: Timestamp,
        to: Timestamp,
        period: Duration,
    ) -> Result<Vec<(Timestamp, Sample)>, MetricsError> {
        self.reader.points(selector, from, to, period)
    }

    /// As [`MetricsReader::series`].
    ///
    /// # Errors
    /// As [`MetricsReader::series`].
    pub fn series(&self) -> Result<Vec<Series>, MetricsError> {
        self.reader.series()
    }

    /// As [`MetricsReader::bounds`].
    ///
    /// # Errors
    /// As [`MetricsReader::bounds`].
    pub fn bounds(&self, name: &str) -> Result<Option<Vec<f64>>, MetricsError> {
        self.reader.bounds(name)
    }
}

impl MetricsReader {
    /// What was observed of all series that are meant, by period. Periods without observations are absent.
    ///
    /// Periods begin at multiples of `period` since 1970; the first is the one with `from` in it, and what began at `to`
    /// or later is left out. Old samples are kept for a minute, then for an hour: they are in the period that their
    /// minute or hour began in.
    ///
    /// # Errors
    /// When `period` is no multiple of [`RESOLUTION`], the answer would pass a limit, or the database refuses.
    pub fn points(
        &self,
        selector: &Selector,
        from: Timestamp,
        to: Timestamp,
        period: Duration,
    ) -> Result<Vec<(Timestamp, Sample)>, MetricsError> {
        let length = whole_periods(period)?;
        let first = length.floor(from.0.div_euclid(1_000_000));
        // A row that began in the last second began before `to`.
        let end = to.0.saturating_add(999_999).div_euclid(1_000_000);
        let periods = end.saturating_sub(first) / length.0;
        if periods > PERIODS_AT_ONCE {
            return Err(MetricsError::TooManyPeriods { periods });
        }
        // All is read from one state of the file, or what moves between the statements would be missed.
        let look = self.connection.unchecked_transaction()?;
        let ids = meant(&look, selector)?;
        if ids.len() > SERIES_AT_ONCE {
            return Err(MetricsError::TooManySeries { selector: selector.clone(), series: ids.len() });
        }
        let mut statement = look.prepare_cached(
            "SELECT time, count, sum, min, max, histogram FROM points
             WHERE resolution = ?1 AND series = ?2 AND time >= ?3 AND time < ?4 ORDER BY time",
        )?;
        let mut merged: BTreeMap<i64, Sample> = BTreeMap::new();
        for id in ids {
            for resolution in Resolution::ALL {
                let mut rows = statement.query(params![resolution.0, id, first, end])?;
                while let Some(row) = rows.next()? {
                    merged.entry(length.floor(row.get(0)?)).or_default().merge(&sample_of(row, 1)?);
                }
            }
        }
        Ok(merged
            .into_iter()
            .map(|(second, sample)| (Timestamp(second.saturating_mul(1_000_000)), sample))
            .collect())
    }

    /// Every series there is, in order.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn series(&self) -> Result<Vec<Series>, MetricsError> {
        Ok(series_ids(&self.connection)?.into_keys().collect())
    }

    /// The upper bounds of a metric's histograms.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn bounds(&self, name: &str) -> Result<Option<Vec<f64>>, MetricsError> {
        let mut statement = self.connection.prepare_cached("SELECT bounds FROM bounds WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| numbers(row, 0)).optional()?)
    }
}

impl Known {
    /// Reads series and bounds again if another process may have changed them.
    pub(super) fn refresh(&mut self, transaction: &Transaction<'_>) -> Result<(), MetricsError> {
        let version = transaction.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.data_version == Some(version) {
            return Ok(());
        }
        self.ids = series_ids(transaction)?;
        let mut statement = transaction.prepare("SELECT name, bounds FROM bounds")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.bounds.insert(row.get(0)?, numbers(row, 1)?);
        }
        self.data_version = Some(version);
        Ok(())
    }
}

/// A row of the table of points.
pub(super) struct StoredPoint {
    pub series: i64,
    pub time: i64,
    pub sample: Sample,
}

/// Takes rows out, the oldest first, at most `limit`.
pub(super) fn take_oldest(
    transaction: &Transaction<'_>,
    resolution: Resolution,
    before: i64,
    limit: usize,
) -> Result<Vec<StoredPoint>, MetricsError> {
    let rows: Vec<StoredPoint> = transaction
        .prepare_cached(
            "SELECT series, time, count, sum, min, max, histogram FROM points
             WHERE resolution = ?1 AND time < ?2 ORDER BY time, series LIMIT ?3",
        )?
        .query_map(params![resolution.0, before, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(StoredPoint { series: row.get(0)?, time: row.get(1)?, sample: sample_of(row, 2)? })
        })?
        .collect::<Result<_, _>>()?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM points WHERE resolution = ?1 AND series = ?2 AND time = ?3")?;
    for row in &rows {
        if delete.execute(params![resolution.0, row.series, row.time])? != 1 {
            return Err(MetricsError::Damaged { what: "a row is in an index and not in its table" });
        }
    }
    Ok(rows)
}

/// Adds a sample to what a row has.
pub(super) fn merge_row(
    transaction: &Transaction<'_>,
    resolution: Resolution,
    series: i64,
    time: i64,
    sample: &Sample,
) -> Result<(), MetricsError> {
    let mut merged = transaction
        .prepare_cached(
            "SELECT count, sum, min, max, histogram FROM points
             WHERE resolution = ?1 AND series = ?2 AND time = ?3",
        )?
        .query_row(params![resolution.0, series, time], |row| sample_of(row, 0))
        .optional()?
        .unwrap_or_default();
    merged.merge(sample);
    let histogram = match &merged.histogram {
        Some(counts) => Some(
            postcard::to_stdvec(counts)
                .map_err(|_| MetricsError::Damaged { what: "a histogram cannot be written" })?,
        ),
        None => None,
    };
    let count = i64::try_from(merged.count).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO points (resolution, series, time, count, sum, min, max, histogram)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![resolution.0, series, time, count, merged.sum, merged.min, merged.max, histogram])?;
    Ok(())
}

/// Bytes of the file that hold something; what deleted rows left is used again.
pub(super) fn used_bytes(connection: &Connection) -> Result<u64, MetricsError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(pages.saturating_mul(number("page_size")?).unsigned_abs())
}

fn whole_periods(period: Duration) -> Result<Resolution, MetricsError> {
    let seconds = i64::try_from(period.as_secs()).unwrap_or(0);
    if seconds < 1 || period.subsec_nanos() != 0 || seconds % Resolution::TEN_SECONDS.0 != 0 {
        return Err(MetricsError::Period(period));
    }
    Ok(Resolution(seconds))
}

fn meant(connection: &Connection, selector: &Selector) -> Result<Vec<i64>, MetricsError> {
    let mut statement =
        connection.prepare_cached("SELECT id, labels FROM series WHERE name = ?1 ORDER BY id")?;
    let mut rows = statement.query([&selector.name])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if selector.matches_labels(&labels(row, 1)?) {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

fn series_ids(connection: &Connection) -> Result<BTreeMap<Series, i64>, MetricsError> {
    let mut statement = connection.prepare_cached("SELECT name, labels, id FROM series")?;
    let ids = statement
        .query_map([], |row| Ok((Series { name: row.get(0)?, labels: labels(row, 1)? }, row.get(2)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn insert_series(transaction: &Transaction<'_>, series: &Series) -> Result<i64, MetricsError> {
    let labels = serde_json::to_string(&series.labels).map_err(|error| not_text(1, error))?;
    transaction
        .prepare_cached("INSERT INTO series (name, labels) VALUES (?1, ?2)")?
        .execute(params![series.name, labels])?;
    Ok(transaction.last_insert_rowid())
}

/// The sample in five columns from `first` on.
fn sample_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Sample> {
    let count = row.get::<_, i64>(first)?;
    let count = u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(first, count))?;
    let histogram = match row.get_ref(first + 4)?.as_blob_or_null()? {
        Some(bytes) => Some(postcard::from_bytes::<Vec<u64>>(bytes).map_err(|error| {
            let kind = rusqlite::types::Type::Blob;
            rusqlite::Error::FromSqlConversionFailure(first + 4, kind, Box::new(error))
        })?),
        None => None,
    };
    Ok(Sample {
        count,
        sum: row.get(first + 1)?,
        min: row.get(first + 2)?,
        max: row.get(first + 3)?,
        histogram,
    })
}

fn labels(row: &Row<'_>, index: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| not_text(index, error))
}

fn numbers(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<f64>> {
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| not_text(index, error))
}

fn not_text(index: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

/// Brings the file to the present version, each step in a transaction of its own, so that it can die at any moment.
fn migrate(connection: &mut Connection) -> Result<(), MetricsError> {
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
            None => return Err(MetricsError::NewerSchema { found, known }),
        }
    }
}
