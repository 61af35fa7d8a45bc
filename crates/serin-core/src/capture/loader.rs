//! The threads behind the journal: one syncs it, one moves its segments into the inference table.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Retention;
use super::journal::{Journal, SYNC_INTERVAL, Sealed};
use super::segment::{self, End};
use super::table::{InferenceTable, Sync, TableError};
use crate::clock::{Clock, Timestamp};

/// How long a record waits at most before its segment is sealed and loaded, when the table keeps up.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait after the table refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often rows that the retention gives up are looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);
/// Loaded segments stay on disk until the table has been synced; that happens at the latest when they are this large.
const UNSYNCED_BYTES: u64 = 64 << 20;

/// From so many records a second on, answering has the processors first.
const BUSY_RECORDS_PER_SECOND: f64 = 5_000.0;
/// How many times as long as it worked the loader rests then, while the journal is empty.
const LONGEST_REST: f64 = 9.0;
/// The part of the journal's room at which it does not rest any more.
const RESTS_UP_TO: f64 = 0.25;

/// What the loader did since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoaderCounts {
    /// Rows that are new in the table.
    pub rows: u64,
    /// Rows whose id was there already.
    pub duplicates: u64,
    /// Segments moved.
    pub segments: u64,
    /// Rows deleted because of their age or the table's size.
    pub pruned: u64,
    /// Frames or records that could not be read.
    pub damaged: u64,
    /// Times the table or a file refused.
    pub failures: u64,
    /// When a segment was last moved.
    pub last_load: Option<Timestamp>,
}

/// Handle of the two threads.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    table: Mutex<InferenceTable>,
    /// Others than the loading thread who wait for the table: they come first.
    guests: AtomicU64,
    retention: Retention,
    clock: Arc<dyn Clock>,
    requests: Mutex<Requests>,
    changed: Condvar,
    counts: Counts,
    last_failure: Mutex<Option<String>>,
}

/// A settle request is a number; it is met once a whole pass began after it and emptied the journal.
#[derive(Debug, Default)]
struct Requests {
    asked: u64,
    met: u64,
    stop: bool,
}

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    duplicates: AtomicU64,
    segments: AtomicU64,
    pruned: AtomicU64,
    damaged: AtomicU64,
    failures: AtomicU64,
    /// Microseconds since 1970; zero before the first.
    last_load: AtomicI64,
}

/// Segments on their way out.
#[derive(Debug, Default)]
struct LoadedSegments {
    /// Loaded, and not known to be on disk in the table; true: damage inside.
    unsynced: Vec<(Sealed, bool)>,
    /// The file is gone: the table may forget the name.
    gone: Vec<String>,
}

impl LoadedSegments {
    fn unsynced_bytes(&self) -> u64 {
        self.unsynced.iter().map(|(segment, _)| segment.bytes).sum()
    }
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("cannot read the segment now")]
    Io(#[from] io::Error),
    #[error("the inference table refused")]
    Table(#[from] TableError),
}

impl Loader {
    /// Starts both threads.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        journal: Arc<Journal>,
        table: InferenceTable,
        clock: Arc<dyn Clock>,
        is_strict: bool,
        retention: Retention,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            journal,
            table: Mutex::new(table),
            guests: AtomicU64::new(0),
            retention,
            clock,
            requests: Mutex::default(),
            changed: Condvar::new(),
            counts: Counts::default(),
            last_failure: Mutex::default(),
        });
        let mut loader = Self { shared: shared.clone(), threads: Vec::new() };
        let syncing = shared.clone();
        loader.threads.push(
            thread::Builder::new().name("capture-sync".into()).spawn(move || syncing.sync_loop(is_strict))?,
        );
        loader
            .threads
            .push(thread::Builder::new().name("capture-load".into()).spawn(move || shared.load_loop())?);
        Ok(loader)
    }

    /// Runs `act` on the table, between two segments.
    pub fn with_table<T>(&self, act: impl FnOnce(&mut InferenceTable) -> T) -> T {
        self.shared.guests.fetch_add(1, Ordering::SeqCst);
        let mut table = self.shared.table();
        self.shared.guests.fetch_sub(1, Ordering::SeqCst);
        act(&mut table)
    }

    /// What was done so far.
    pub fn counts(&self) -> LoaderCounts {
        let counts = &self.shared.counts;
        LoaderCounts {
            rows: counts.rows.load(Ordering::Relaxed),
            duplicates: counts.duplicates.load(Ordering::Relaxed),
            segments: counts.segments.load(Ordering::Relaxed),
            pruned: counts.pruned.load(Ordering::Relaxed),
            damaged: counts.damaged.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            last_load: Some(Timestamp(counts.last_load.load(Ordering::Relaxed))).filter(|time| time.0 != 0),
        }
    }

    /// The last time the table or a file refused, in words.
    pub fn last_failure(&self) -> Option<String> {
        self.shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all appended so far is in the table; false when `limit` passed first.
    pub fn settle(&self, limit: Duration) -> bool {
        let mut requests = self.shared.requests();
        requests.asked += 1;
        let mine = requests.asked;
        self.shared.changed.notify_all();
        let (requests, _) = self
            .shared
            .changed
            .wait_timeout_while(requests, limit, |requests| requests.met < mine)
            .unwrap_or_else(PoisonError::into_inner);
        requests.met >= mine
    }
}

/// Ends both threads, after the segment in hand.
impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.requests().stop = true;
        self.shared.changed.notify_all();
        self.shared.journal.close();
        for handle in self.threads.drain(..) {
            // A panic there was printed by its thread; there is nothing to add here.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// In mode `strict` each sync begins as soon as the one before ended and something was written meanwhile: the
    /// records of all who wait are one group. Otherwise syncs keep a distance.
    fn sync_loop(&self, is_strict: bool) {
        while self.journal.wait_unsynced() {
            if !is_strict {
                drop(self.wait(SYNC_INTERVAL, |requests| requests.stop));
            }
            let Err(error) = self.journal.sync() else { continue };
            self.note_failure(&error);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot sync the capture journal: nothing is taken until the disk keeps a new segment"
            );
            while let Err(error) = self.journal.lift_fence() {
                self.note_failure(&error);
                if self.wait(RETRY_INTERVAL, |requests| requests.stop).stop {
                    return;
                }
            }
            tracing::info!("the capture journal takes records again, in a new segment");
        }
    }

    fn load_loop(&self) {
        // Bookkeeping of segments whose deletion an earlier process finished is not needed any more.
        if let Err(error) = self.table().forget_segments_except(&self.journal.sealed_names()) {
            self.failed(&error.into(), true);
        }
        let mut loaded = LoadedSegments::default();
        let mut pruned = self.clock.monotonic();
        let mut failing = false;
        loop {
            let pause = if failing { RETRY_INTERVAL } else { LOAD_INTERVAL };
            let (asked, stop) = {
                let impatient = |requests: &Requests| !failing && requests.asked > requests.met;
                let requests = self.wait(pause, |requests| requests.stop || impatient(requests));
                (requests.asked, requests.stop)
            };
            if stop {
                return;
            }
            self.journal.seal();
            let mut outcome = self.empty_journal(&mut loaded);
            if outcome.is_ok() && self.clock.monotonic().saturating_sub(pruned) >= PRUNE_INTERVAL {
                outcome = self.prune();
                pruned = self.clock.monotonic();
            }
            match outcome {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the inference table takes rows again");
                    }
                    let mut requests = self.requests();
                    requests.met = requests.met.max(asked);
                    self.changed.notify_all();
                }
                Err(error) => {
                    self.failed(&error, !failing);
                    failing = true;
                }
            }
        }
    }

    /// Loads all sealed segments, until told to stop.
    fn empty_journal(&self, loaded: &mut LoadedSegments) -> Result<(), LoadError> {
        while let Some(segment) = self.journal.sealed_after(loaded.unsynced.len()) {
            // The last one's commit is the one that waits for the disk.
            let is_last = self.journal.sealed_after(loaded.unsynced.len() + 1).is_none();
            let stop = self.requests().stop;
            let sync = if is_last || stop || loaded.unsynced_bytes() + segment.bytes >= UNSYNCED_BYTES {
                Sync::Now
            } else {
                Sync::Later
            };
            let (began, appended) = (self.clock.monotonic(), self.journal.appended());
            let is_damaged = self.load(&segment, &loaded.gone, sync)?;
            let took = self.clock.monotonic().saturating_sub(began);
            let came = self.journal.appended().saturating_sub(appended);
            loaded.gone.clear();
            loaded.unsynced.push((segment, is_damaged));
            if sync == Sync::Now {
                self.remove_files(loaded);
            }
            if stop {
                break;
            }
            let filled =
                self.journal.spooled_bytes() as f64 / self.journal.options().spool_limit_bytes as f64;
            let rest = rest_after(took, came, filled);
            if !rest.is_zero() {
                drop(self.wait(rest, |requests| requests.stop || requests.asked > requests.met));
            }
        }
        Ok(())
    }

    /// Moves the rows of one segment into the table, with its name, in one transaction. Says whether the file has
    /// damage inside.
    fn load(&self, segment: &Sealed, gone: &[String], sync: Sync) -> Result<bool, LoadError> {
        let (bytes, broken) = read_as_far_as_possible(&segment.path)?;
        while self.guests.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        let mut table = self.table();
        let mut load = table.begin_load(&segment.name, gone, self.clock.now(), sync)?;
        let end = segment::for_each_payload(&bytes, |payload| load.insert(payload))?;
        let loaded = load.commit()?;
        drop(table);

        self.counts.rows.fetch_add(loaded.rows, Ordering::Relaxed);
        self.counts.duplicates.fetch_add(loaded.duplicates, Ordering::Relaxed);
        self.counts.segments.fetch_add(1, Ordering::Relaxed);
        self.counts.last_load.store(self.clock.now().0, Ordering::Relaxed);
        if let (End::Torn { offset }, None) = (end, &broken) {
            tracing::warn!(
                capture.segment = segment.name,
                capture.torn_bytes = bytes.len() - offset,
                "journal segment ends in an unfinished record"
            );
        }
        let damaged = loaded.unreadable + u64::from(matches!(end, End::Damaged { .. }) || broken.is_some());
        if damaged > 0 {
            self.counts.damaged.fetch_add(damaged, Ordering::Relaxed);
            tracing::error!(
                error = broken.as_ref().map(|error| error as &dyn std::error::Error),
                capture.segment = segment.name,
                capture.loaded_rows = loaded.rows,
                "journal segment is damaged: what could be read is loaded, the file is kept as *.damaged"
            );
        }
        Ok(damaged > 0)
    }

    /// Deletes the files of segments whose rows the disk now has in the table, or renames them when there is damage
    /// inside. A file that cannot be moved does not block those behind it.
    fn remove_files(&self, loaded: &mut LoadedSegments) {
        for (segment, is_damaged) in loaded.unsynced.drain(..) {
            let moved =
                if is_damaged { self.journal.set_aside(&segment) } else { self.journal.discard(&segment) };
            match moved {
                Ok(()) => loaded.gone.push(segment.name),
                Err(error) => {
                    // Its name stays in the table, so that it is not loaded again.
                    self.note_failure(&error);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        capture.segment = segment.name,
                        "a loaded journal segment cannot be deleted or renamed"
                    );
                    self.journal.forget(&segment);
                }
            }
        }
    }

    /// Deletes what the retention gives up, in pieces, until there is something to load.
    fn prune(&self) -> Result<(), LoadError> {
        while self.journal.sealed_after(0).is_none()
            && !self.requests().stop
            && self.table().roll_up(self.clock.now())?
        {
            self.journal.seal();
        }
        if self.retention == Retention::default() {
            return Ok(());
        }
        while self.journal.sealed_after(0).is_none() && !self.requests().stop {
            let rows = self.table().prune(&self.retention, self.clock.now())?;
            self.counts.pruned.fetch_add(rows, Ordering::Relaxed);
            if rows == 0 {
                break;
            }
            self.journal.seal();
        }
        Ok(())
    }

    fn failed(&self, error: &LoadError, is_news: bool) {
        let error = self.note_failure(error);
        if is_news {
            tracing::error!(
                error,
                capture.spooled_bytes = self.journal.spooled_bytes(),
                "cannot load captured rows: they wait in the journal"
            );
        }
        // The log may be what fills the disk: it has pages of the indexes many times.
        if let Err(error) = self.table().empty_log() {
            tracing::debug!(error = &error as &dyn std::error::Error, "the write-ahead log stays");
        }
    }

    /// Counts a failure and keeps its causes in words.
    fn note_failure(&self, error: &dyn std::error::Error) -> String {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        text
    }

    fn wait(&self, limit: Duration, ready: impl Fn(&Requests) -> bool) -> MutexGuard<'_, Requests> {
        self.changed
            .wait_timeout_while(self.requests(), limit, |requests| !ready(requests))
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, InferenceTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to rest after a segment that `took` so long, while `came` records were appended, when the journal is
/// `filled` (0 to 1).
///
/// A burst is what the journal is for: as long as it has room, the loader takes a tenth of a processor from those who
/// answer, and more the fuller it is, so that it finds the pace that keeps up. When it is quiet it does not rest.
fn rest_after(took: Duration, came: u64, filled: f64) -> Duration {
    let room = 1.0 - filled / RESTS_UP_TO;
    let is_busy = came as f64 > BUSY_RECORDS_PER_SECOND * took.as_secs_f64();
    // What is not a number is no room.
    if is_busy && room > 0.0 { took.mul_f64(LONGEST_REST * room.min(1.0)) } else { Duration::ZERO }
}

/// The bytes of a file, and what ended reading before its end.
///
/// # Errors
/// When the process lacks something for the moment that reading needs.
fn read_as_far_as_possible(path: &Path) -> io::Result<(Vec<u8>, Option<io::Error>)> {
    const TOO_MANY_OPEN_FILES: [i32; 2] = [23, 24];
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok((bytes, None)),
        Err(error)
            if error.kind() == io::ErrorKind::OutOfMemory
                || error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code)) =>
        {
            Err(error)
        }
        Err(error) => Ok((bytes, Some(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_rests_in_a_burst_while_there_is_room() {
        let took = Duration::from_millis(100);
        for (came, filled, milliseconds) in [
            (0, 0.0, 0),
            (500, 0.0, 0),
            (4_000, 0.0, 900),
            (4_000, 0.125, 450),
            (4_000, 0.25, 0),
            (4_000, 0.9, 0),
            (4_000, f64::NAN, 0),
        ] {
            assert_eq!(rest_after(took, came, filled).as_millis(), milliseconds, "{came} {filled}");
        }
    }
}
