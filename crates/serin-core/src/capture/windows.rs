//! What live rows looked like: counted while they are loaded, so that looking at an hour or a month needs no rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction, params};
use serin_ml::drift::{Bins, Window};

use super::read::{RowRange, TableReader};
use super::record::{Outcome, Record};
use super::table::{InferenceTable, TableError};
use crate::clock::Timestamp;
use crate::digest::Digest;

/// The spans of counts, seconds, and for how long each is kept: what is older becomes part of the next, or goes. New
/// counts are of the first.
const SPANS: [(i64, i64); 3] = [(10, 1_800), (60, 26 * 3_600), (3_600, 400 * 24 * 3_600)];
/// The shortest window that can be asked for, and what every window is a multiple of.
pub const SHORTEST_WINDOW_SECONDS: u64 = SPANS[0].0.unsigned_abs();
/// Spans put together in one go, so that loading hardly waits.
const ROLLED_AT_ONCE: u32 = 8;
/// The caller of rows that a rollout asks again: the gateway says so of requests that know the rollout's word.
pub const REPLAY_CALLER: &str = "replay";
/// The clock is believed so far beyond the newest counts: a pause in traffic ages what is there no further.
const CLOCK_MARGIN_SECONDS: i64 = 2 * 3_600;
const MICROSECONDS: i64 = 1_000_000;

/// Bins by endpoint and model version.
pub(super) type Watched = BTreeMap<(String, String), Arc<WatchedBins>>;

/// Where the rows of a model version are counted.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedBins {
    /// Of the bins.
    pub digest: String,
    pub bins: Bins,
}

/// What was counted of a model version's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct CountedWindow {
    pub endpoint: String,
    pub model_version: String,
    /// What the counts mean.
    pub bins: Arc<WatchedBins>,
    pub window: Window,
    /// The beginning of the first span with rows.
    pub first: Timestamp,
    /// The end of the last.
    pub last: Timestamp,
}

/// Rows of one segment that are not written yet, by endpoint, model version and the beginning of their span.
#[derive(Debug, Default)]
pub(super) struct Counting(BTreeMap<(String, String, i64), (Arc<WatchedBins>, Window)>);

impl WatchedBins {
    /// The bins with their digest.
    #[must_use]
    pub fn of(bins: Bins) -> Self {
        // Numbers and names always serialise.
        let digest = Digest::of(&serde_json::to_vec(&bins).unwrap_or_default()).to_string();
        Self { digest, bins }
    }
}

impl Counting {
    /// Counts one row of an answered record, if its model version is watched.
    pub(super) fn add(&mut self, watched: &Watched, record: &Record<'_>, row: usize) {
        let Outcome::Answered { predicted, probabilities, features } = &record.outcome else { return };
        // Captured rows that a rollout asks again were live once, and are not counted twice.
        if record.caller == Some(REPLAY_CALLER) {
            return;
        }
        // Looked up by borrowed names would need another map; names are short.
        let key = (record.endpoint.to_owned(), record.model_version.to_owned());
        let Some(bins) = watched.get(&key) else { return };
        let span = SPANS[0].0 * MICROSECONDS;
        let start = record.time.0.div_euclid(span) * span;
        let (bins, window) =
            self.0.entry((key.0, key.1, start)).or_insert_with(|| (bins.clone(), Window::empty(&bins.bins)));
        let (classes, width) = (probabilities.len() / predicted.len(), features.len() / predicted.len());
        let class =
            predicted.get(row).and_then(|name| bins.bins.classes.iter().position(|class| class == name));
        let probabilities = probabilities.get(row * classes..(row + 1) * classes);
        let features = features.get(row * width..(row + 1) * width).unwrap_or_default();
        window.add(&bins.bins, features, class.zip(probabilities));
    }

    /// Adds everything to what is there.
    pub(super) fn write(self, transaction: &Transaction<'_>) -> Result<(), TableError> {
        for ((endpoint, version, start), (bins, window)) in self.0 {
            let key = Key { endpoint: &endpoint, version: &version, bins: &bins.digest };
            add_counts(transaction, &key, SPANS[0].0, start, window)?;
        }
        Ok(())
    }
}

struct Key<'a> {
    endpoint: &'a str,
    version: &'a str,
    bins: &'a str,
}

/// Merges a window into the counts of a span. Counts that cannot be read are replaced: they would never be readable.
fn add_counts(
    transaction: &Transaction<'_>,
    key: &Key<'_>,
    span: i64,
    start: i64,
    mut window: Window,
) -> Result<(), TableError> {
    let known: Option<Vec<u8>> = transaction
        .prepare_cached(
            "SELECT counts FROM windows
             WHERE endpoint = ?1 AND model_version = ?2 AND bins = ?3 AND span = ?4 AND start = ?5",
        )?
        .query_row(params![key.endpoint, key.version, key.bins, span, start], |row| row.get(0))
        .optional()?;
    if let Some(known) = known.and_then(|counts| decoded(&counts))
        && window.merge(&known).is_err()
    {
        tracing::warn!(capture.endpoint = key.endpoint, "counts of other bins are replaced");
    }
    let counts = postcard::to_allocvec(&window).unwrap_or_default();
    transaction
        .prepare_cached(
            "INSERT INTO windows (endpoint, model_version, bins, span, start, rows, counts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET rows = excluded.rows, counts = excluded.counts",
        )?
        .execute(params![key.endpoint, key.version, key.bins, span, start, window.rows as i64, counts])?;
    Ok(())
}

fn decoded(counts: &[u8]) -> Option<Window> {
    postcard::from_bytes(counts).ok()
}

impl InferenceTable {
    /// From now on rows of a model version are counted in these bins.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn watch(
        &mut self,
        endpoint: &str,
        model_version: &str,
        bins: &Arc<WatchedBins>,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let key = (endpoint.to_owned(), model_version.to_owned());
        if self.watched.get(&key).is_some_and(|known| known.digest == bins.digest) {
            return Ok(());
        }
        let text = serde_json::to_string(&bins.bins).unwrap_or_default();
        let transaction = self.durable_transaction()?;
        transaction.execute(
            // The last told has the latest time, also when the clock was set back.
            "INSERT INTO window_bins (endpoint, model_version, digest, bins, time)
             SELECT ?1, ?2, ?3, ?4, max(?5, coalesce(max(time) + 1, ?5)) FROM window_bins
             WHERE endpoint = ?1 AND model_version = ?2
             ON CONFLICT DO UPDATE SET time = excluded.time",
            params![endpoint, model_version, bins.digest, text, now.0],
        )?;
        transaction.commit()?;
        self.watched.insert(key, bins.clone());
        Ok(())
    }

    /// Puts counts that are old together into those of longer spans, and drops the oldest; some of them, so that nobody
    /// waits for long. Says whether there was anything.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn roll_up(&mut self, now: Timestamp) -> Result<bool, TableError> {
        // A clock that runs ahead must not age what was counted by the right one: nothing is older than the newest says.
        let newest: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(start) FROM windows WHERE span IN (10, 60, 3600)")?
            .query_row([], |row| row.get(0))?;
        let Some(newest) = newest else { return Ok(false) };
        let now = Timestamp(now.0.min(newest.saturating_add(CLOCK_MARGIN_SECONDS * MICROSECONDS)));
        let old = |kept: i64| now.0.saturating_sub(kept * MICROSECONDS);
        let due = SPANS.iter().enumerate().find_map(|(place, &(span, kept))| {
            let found = self
                .connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM windows WHERE span = ?1 AND start < ?2)")
                .and_then(|mut statement| {
                    statement.query_row((span, old(kept)), |row| row.get::<_, bool>(0))
                });
            match found {
                Ok(false) => None,
                found => Some(found.map(|_| (place, span, old(kept)))),
            }
        });
        let Some((place, span, before)) = due.transpose()? else { return Ok(false) };
        let transaction = self.durable_transaction()?;
        let Some(&(longer, _)) = SPANS.get(place + 1) else {
            transaction.execute("DELETE FROM windows WHERE span = ?1 AND start < ?2", (span, before))?;
            transaction.commit()?;
            return Ok(true);
        };
        let width = longer * MICROSECONDS;
        // Whole longer spans, once the first part of one is old: what is counted in it later is added to it in its turn.
        let due: Vec<(String, String, String, i64)> = transaction
            .prepare_cached(
                // Rounded down, also before 1970.
                "SELECT DISTINCT endpoint, model_version, bins, start - (start % ?1 + ?1) % ?1 FROM windows
                 WHERE span = ?2 AND start < ?3 LIMIT ?4",
            )?
            .query_map((width, span, before, ROLLED_AT_ONCE), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<_, _>>()?;
        for (endpoint, version, bins, start) in due {
            let key = Key { endpoint: &endpoint, version: &version, bins: &bins };
            let parts: Vec<Vec<u8>> = transaction
                .prepare_cached(
                    "SELECT counts FROM windows WHERE endpoint = ?1 AND model_version = ?2 AND bins = ?3
                       AND span = ?4 AND start >= ?5 AND start < ?6",
                )?
                .query_map((&endpoint, &version, &bins, span, start, start + width), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            if let Some(window) = merged(parts.iter().filter_map(|counts| decoded(counts))) {
                add_counts(&transaction, &key, longer, start, window)?;
            }
            transaction.execute(
                "DELETE FROM windows WHERE endpoint = ?1 AND model_version = ?2 AND bins = ?3
                   AND span = ?4 AND start >= ?5 AND start < ?6",
                (&endpoint, &version, &bins, span, start, start + width),
            )?;
        }
        transaction.commit()?;
        Ok(true)
    }
}

/// All bins that the table knows of, the last told of each model version.
pub(super) fn watched(connection: &rusqlite::Connection) -> Result<Watched, TableError> {
    let mut statement =
        connection.prepare("SELECT endpoint, model_version, digest, bins FROM window_bins ORDER BY time")?;
    let mut rows = statement.query([])?;
    let mut watched = Watched::new();
    while let Some(row) = rows.next()? {
        let Ok(bins) = serde_json::from_str(row.get_ref(3)?.as_str().unwrap_or_default()) else { continue };
        let bins = WatchedBins { digest: row.get(2)?, bins };
        watched.insert((row.get(0)?, row.get(1)?), Arc::new(bins));
    }
    Ok(watched)
}

fn merged(windows: impl Iterator<Item = Window>) -> Option<Window> {
    windows.reduce(|mut all, window| {
        // They are of one key, and so of one shape.
        let _ = all.merge(&window);
        all
    })
}

impl TableReader {
    /// What was counted of rows that arrived in a range, for each model version with any: spans that begin in the range, of
    /// ten seconds, of a minute once they are half an hour old, of an hour once they are a day old.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn counted(&self, range: &RowRange) -> Result<Vec<CountedWindow>, TableError> {
        let all = watched_by_digest(self.connection())?;
        let mut statement = self.connection().prepare_cached(
            "SELECT endpoint, model_version, bins, span, start, counts FROM windows
             WHERE span IN (10, 60, 3600) AND start >= ?1 AND start < ?2 AND (?3 IS NULL OR endpoint = ?3)
             ORDER BY endpoint, model_version, bins, start",
        )?;
        let mut rows = statement.query(params![range.from.0, range.to.0, range.endpoint])?;
        let mut counted: Vec<CountedWindow> = Vec::new();
        while let Some(row) = rows.next()? {
            let (endpoint, version, digest): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let (span, start): (i64, i64) = (row.get(3)?, row.get(4)?);
            let Some(bins) = all.get(&digest) else { continue };
            let Some(window) = row.get_ref(5)?.as_blob().ok().and_then(decoded) else { continue };
            if !window.fits(&bins.bins) {
                continue;
            }
            let end = Timestamp(start + span * MICROSECONDS);
            let same = counted.last_mut().filter(|last| {
                last.endpoint == endpoint && last.model_version == version && last.bins.digest == digest
            });
            match same {
                Some(last) => {
                    // Both fit the same bins.
                    let _ = last.window.merge(&window);
                    last.last = last.last.max(end);
                }
                None => counted.push(CountedWindow {
                    endpoint,
                    model_version: version,
                    bins: bins.clone(),
                    window,
                    first: Timestamp(start),
                    last: end,
                }),
            }
        }
        Ok(counted)
    }

    /// The spans of a range with how many rows each has, for all model versions of an endpoint together.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn rows_over_time(&self, range: &RowRange) -> Result<Vec<(Timestamp, u64)>, TableError> {
        let mut statement = self.connection().prepare_cached(
            "SELECT start, sum(rows) FROM windows
             WHERE span IN (10, 60, 3600) AND start >= ?1 AND start < ?2 AND (?3 IS NULL OR endpoint = ?3)
             GROUP BY start ORDER BY start",
        )?;
        let rows = statement.query_map(params![range.from.0, range.to.0, range.endpoint], |row| {
            Ok((Timestamp(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn watched_by_digest(
    connection: &rusqlite::Connection,
) -> Result<BTreeMap<String, Arc<WatchedBins>>, TableError> {
    let mut statement = connection.prepare("SELECT DISTINCT digest, bins FROM window_bins")?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let digest: String = row.get(0)?;
        let Ok(bins) = serde_json::from_str(row.get_ref(1)?.as_str().unwrap_or_default()) else { continue };
        all.insert(digest.clone(), Arc::new(WatchedBins { digest, bins }));
    }
    Ok(all)
}
