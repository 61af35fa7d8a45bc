//! What happens to samples as they age: shorter periods become longer ones, and the oldest go.

use std::time::Duration;

use rusqlite::{Transaction, TransactionBehavior, params};

use super::store::{MetricsError, MetricsStore, Resolution, merge_row, take_oldest, used_bytes};
use crate::clock::Timestamp;

/// Rows that one transaction of upkeep moves or drops: short enough that recording hardly waits.
pub const MOVED_AT_ONCE: usize = 4_000;

/// Age after which 10 seconds become part of a minute.
const MINUTES_AFTER: Duration = Duration::from_secs(6 * 3_600);
/// Age after which minutes become part of an hour.
const HOURS_AFTER: Duration = Duration::from_secs(15 * 24 * 3_600);
/// Age after which hours go.
const GONE_AFTER: Duration = Duration::from_secs(455 * 24 * 3_600);
/// Series that one call looks at, to see whether any sample is left.
const SERIES_LOOKED_AT: usize = 1_000;

/// What a call of upkeep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// Rows that became part of a longer period.
    pub moved: u64,
    /// Rows that went because of their age.
    pub dropped: u64,
    /// Rows that went because the file was nearly as large as it may be.
    pub dropped_for_room: u64,
    /// Series that went because no sample of them was left.
    pub forgotten_series: u64,
    /// There is more to do now.
    pub more: bool,
}

impl MetricsStore {
    /// Some of what is due: 10 seconds become minutes after 6 hours, minutes become hours after 15 days, hours go after
    /// 455 days, and the oldest go when the file is nearly full. No more than [`MOVED_AT_ONCE`] rows of each kind, so that
    /// nobody waits for long: call it again while it says that there is more.
    ///
    /// Each step is one transaction that takes rows out and merges them in elsewhere, so a process may die at any moment.
    ///
    /// # Errors
    /// When the database refuses; steps before that are done.
    pub fn upkeep(&mut self, now: Timestamp) -> Result<Upkeep, MetricsError> {
        let second = now.0.div_euclid(1_000_000);
        let age = |age: Duration| second.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let mut done = Upkeep::default();
        for (short, long, after) in [
            (Resolution::TEN_SECONDS, Resolution::MINUTE, MINUTES_AFTER),
            (Resolution::MINUTE, Resolution::HOUR, HOURS_AFTER),
        ] {
            let rows = self.step(|transaction| roll(transaction, short, long, long.floor(age(after))))?;
            done.moved += rows as u64;
            done.more |= rows == MOVED_AT_ONCE;
        }
        let before = age(GONE_AFTER);
        let rows = self.step(|transaction| drop_oldest(transaction, Resolution::HOUR, before))?;
        done.dropped = rows as u64;
        done.more |= rows == MOVED_AT_ONCE;
        let enough = self.limits.bytes - self.limits.bytes / 16;
        let rows = self.step(|transaction| make_room(transaction, enough))?;
        done.dropped_for_room = rows as u64;
        done.more |= rows > 0;
        done.forgotten_series = self.forget_series()?;
        Ok(done)
    }

    fn step(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<usize, MetricsError>,
    ) -> Result<usize, MetricsError> {
        let transaction = self.reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let rows = work(&transaction)?;
        transaction.commit()?;
        Ok(rows)
    }

    /// Looks at some series, in turn over the calls, and forgets those without any sample.
    fn forget_series(&mut self) -> Result<u64, MetricsError> {
        let Self { reader, known, series_looked_at, .. } = self;
        let transaction = reader.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        known.refresh(&transaction)?;
        let looked_at: Vec<(i64, bool)> = transaction
            .prepare_cached(
                "SELECT id, EXISTS (SELECT 1 FROM points WHERE resolution = 10 AND series = id)
                   OR EXISTS (SELECT 1 FROM points WHERE resolution = 60 AND series = id)
                   OR EXISTS (SELECT 1 FROM points WHERE resolution = 3600 AND series = id)
                 FROM series WHERE id > ?1 ORDER BY id LIMIT ?2",
            )?
            .query_map(params![*series_looked_at, SERIES_LOOKED_AT as i64], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let empty: Vec<i64> =
            looked_at.iter().filter(|(_, has_samples)| !has_samples).map(|(id, _)| *id).collect();
        for id in &empty {
            transaction.prepare_cached("DELETE FROM series WHERE id = ?1")?.execute([id])?;
        }
        transaction.commit()?;
        if !empty.is_empty() {
            known.ids.retain(|_, id| empty.binary_search(id).is_err());
        }
        let is_last = looked_at.len() < SERIES_LOOKED_AT;
        *series_looked_at = looked_at.last().filter(|_| !is_last).map_or(0, |(id, _)| *id);
        Ok(empty.len() as u64)
    }
}

/// Rows of short periods that began before become parts of long ones. Says how many.
fn roll(
    transaction: &Transaction<'_>,
    short: Resolution,
    long: Resolution,
    before: i64,
) -> Result<usize, MetricsError> {
    let rows = take_oldest(transaction, short, before, MOVED_AT_ONCE)?;
    for row in &rows {
        merge_row(transaction, long, row.series, long.floor(row.time), &row.sample)?;
    }
    Ok(rows.len())
}

fn drop_oldest(
    transaction: &Transaction<'_>,
    resolution: Resolution,
    before: i64,
) -> Result<usize, MetricsError> {
    Ok(take_oldest(transaction, resolution, before, MOVED_AT_ONCE)?.len())
}

/// Drops rows of the longest periods that there are, which are the oldest, when the file holds more than enough.
fn make_room(transaction: &Transaction<'_>, enough_bytes: u64) -> Result<usize, MetricsError> {
    if used_bytes(transaction)? < enough_bytes {
        return Ok(0);
    }
    for resolution in Resolution::ALL.into_iter().rev() {
        let rows = drop_oldest(transaction, resolution, i64::MAX)?;
        if rows > 0 {
            return Ok(rows);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::metrics::{Sample, Selector, Series};

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_move_that_fails_at_its_commit_changes_nothing_and_is_done_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = MetricsStore::open(&folder.path().join("metrics.db")).unwrap();
        let points: Vec<_> = (0..600)
            .map(|n| (Series::new("a", &[]), Timestamp(NOW.0 - n * 7_000_000_000), Sample::of(n as f64)))
            .collect();
        store.record(&points).unwrap();
        let whole = |store: &MetricsStore| {
            let hour = Duration::from_secs(3_600);
            let points =
                store.points(&Selector::new("a", &[]), Timestamp(NOW.0 - 60 * DAY), NOW, hour * 24).unwrap();
            points.iter().fold((0, 0.0), |(count, sum), (_, sample)| (count + sample.count, sum + sample.sum))
        };
        let expected = whole(&store);
        assert_eq!(expected.0, 600 - 1, "the end is not meant");
        // Commits fail from the n-th on; each later try gets further.
        for n in 0..5 {
            let commits = Arc::new(AtomicUsize::new(0));
            let counter = commits.clone();
            store
                .reader
                .connection
                .commit_hook(Some(move || counter.fetch_add(1, Ordering::SeqCst) >= n))
                .unwrap();
            let done = store.upkeep(NOW);
            assert!(n > 1 || done.is_err(), "{n}");
            assert_eq!(whole(&store), expected, "{n}: {done:?}");
        }
        store.reader.connection.commit_hook(None::<fn() -> bool>).unwrap();
        while store.upkeep(NOW).unwrap().more {}
        assert_eq!(whole(&store), expected);
    }
}
