//! The threads behind the journal: one syncs it, one moves its segments into the inference table.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::journal::{Journal, SYNC_INTERVAL, Sealed};
use super::segment::{self, End};
use super::table::{InferenceTable, TableError};
use crate::clock::Clock;

/// How long a record waits at most before its segment is sealed and loaded, when the table keeps up.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait after the table refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What the loader did since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoaderCounts {
    /// Rows that are new in the table.
    pub rows: u64,
    /// Rows whose id was there already.
    pub duplicates: u64,
    /// Segments moved.
    pub segments: u64,
    /// Frames or records that could not be read.
    pub damaged: u64,
    /// Times the table or a file refused.
    pub failures: u64,
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
    clock: Arc<dyn Clock>,
    requests: Mutex<Requests>,
    changed: Condvar,
    counts: Counts,
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
    damaged: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("cannot read or delete the segment")]
    Io(#[from] io::Error),
    #[error("the inference table refused")]
    Table(#[from] TableError),
}

impl Loader {
    /// Starts both threads.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(journal: Arc<Journal>, table: InferenceTable, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            journal,
            table: Mutex::new(table),
            clock,
            requests: Mutex::default(),
            changed: Condvar::new(),
            counts: Counts::default(),
        });
        let mut loader = Self { shared: shared.clone(), threads: Vec::new() };
        let syncing = shared.clone();
        loader
            .threads
            .push(thread::Builder::new().name("capture-sync".into()).spawn(move || syncing.sync_loop())?);
        loader
            .threads
            .push(thread::Builder::new().name("capture-load".into()).spawn(move || shared.load_loop())?);
        Ok(loader)
    }

    /// Runs `act` on the table, between two segments.
    pub fn with_table<T>(&self, act: impl FnOnce(&mut InferenceTable) -> T) -> T {
        act(&mut self.shared.table())
    }

    /// What was done so far.
    pub fn counts(&self) -> LoaderCounts {
        let counts = &self.shared.counts;
        LoaderCounts {
            rows: counts.rows.load(Ordering::Relaxed),
            duplicates: counts.duplicates.load(Ordering::Relaxed),
            segments: counts.segments.load(Ordering::Relaxed),
            damaged: counts.damaged.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
        }
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
        for handle in self.threads.drain(..) {
            // A panic there was printed by its thread; there is nothing to add here.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn sync_loop(&self) {
        let mut stop = false;
        while !stop {
            stop = self.wait(SYNC_INTERVAL, |requests| requests.stop).stop;
            if let Err(error) = self.journal.sync() {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot sync the capture journal: records of the last moments may not survive a power failure"
                );
            }
        }
    }

    fn load_loop(&self) {
        // Bookkeeping of segments whose deletion an earlier process finished is not needed any more.
        if let Err(error) = self.table().forget_segments_except(&self.journal.sealed_names()) {
            self.failed(&error.into(), true);
        }
        let mut finished = Vec::new();
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
            match self.empty_journal(&mut finished) {
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
    fn empty_journal(&self, finished: &mut Vec<String>) -> Result<(), LoadError> {
        while let Some(segment) = self.journal.oldest_sealed() {
            self.load(&segment, finished)?;
            finished.clear();
            finished.push(segment.name);
            if self.requests().stop {
                break;
            }
        }
        Ok(())
    }

    /// Moves one segment: rows and bookkeeping in one durable transaction, then the file goes.
    fn load(&self, segment: &Sealed, finished: &[String]) -> Result<(), LoadError> {
        let bytes = std::fs::read(&segment.path)?;
        let mut table = self.table();
        let mut load = table.begin_load(&segment.name, finished, self.clock.now())?;
        let end = segment::for_each_payload(&bytes, |payload| load.insert(payload))?;
        let loaded = load.commit()?;
        drop(table);

        self.counts.rows.fetch_add(loaded.rows, Ordering::Relaxed);
        self.counts.duplicates.fetch_add(loaded.duplicates, Ordering::Relaxed);
        self.counts.segments.fetch_add(1, Ordering::Relaxed);
        if let End::Torn { offset } = end {
            let lost_bytes = bytes.len() - offset;
            tracing::warn!(
                capture.segment = segment.name,
                capture.torn_bytes = lost_bytes,
                "journal segment ends in an unfinished record"
            );
        }
        if matches!(end, End::Damaged { .. }) || loaded.unreadable > 0 {
            let damaged = loaded.unreadable + u64::from(matches!(end, End::Damaged { .. }));
            self.counts.damaged.fetch_add(damaged, Ordering::Relaxed);
            let kept = self.journal.set_aside(segment)?;
            tracing::error!(capture.kept = %kept.display(), capture.loaded_rows = loaded.rows, "journal segment is damaged: what could be read is loaded, the file is kept");
        } else {
            self.journal.discard(segment)?;
        }
        Ok(())
    }

    fn failed(&self, error: &LoadError, is_news: bool) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        if is_news {
            tracing::error!(
                error = error as &dyn std::error::Error,
                capture.spooled_bytes = self.journal.spooled_bytes(),
                "cannot load captured rows: they wait in the journal"
            );
        }
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
