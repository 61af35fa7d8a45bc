//! Who does the work, when several engines are started on one data directory.
//!
//! A reigning engine holds a lock that the kernel frees when it dies: whoever gets the lock may reign at once. An engine
//! that hangs or was stopped keeps its lock, but its beat falls silent, and after `lease` by the watcher's own monotonic
//! clock it is replaced all the same. It may wake and not know: its epoch has passed, so that nothing it writes counts.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::moments::Moments;
use crate::store::{Reign, Store, StoreError};

/// What an engine that does not reign knows of the one that does.
#[derive(Debug)]
pub(super) struct Succession {
    owner: String,
    lease: Duration,
    lock_path: PathBuf,
    lock: Option<File>,
    /// The lock is not asked for earlier, by the monotonic clock.
    lock_from: Duration,
    seen: Reign,
    /// When it was first seen so, by the monotonic clock.
    since: Duration,
}

impl Succession {
    pub(super) fn new(
        data_directory: &Path,
        owner: &str,
        lease: Duration,
        seen: Reign,
        now: Duration,
    ) -> Self {
        let lock_path = data_directory.join("engine.lock");
        Self { owner: owner.to_owned(), lease, lock_path, lock: None, lock_from: now, seen, since: now }
    }

    /// Takes the reign, if nobody alive has it.
    pub(super) fn take(&mut self, store: &dyn Store, moments: &Moments) -> Result<Option<Reign>, StoreError> {
        let now = moments.monotonic();
        let reign = store.reign()?;
        if reign != self.seen {
            moments.advance_to(reign.steady);
            (self.seen, self.since) = (reign, now);
        }
        let is_silent = now.saturating_sub(self.since) >= self.lease;
        if self.hold_lock(now) || is_silent {
            return store.take_reign(&self.seen, &self.owner, moments.now());
        }
        Ok(None)
    }

    /// Another one reigns. It gets the time to take the lock too, else the two would take turns.
    pub(super) fn lost(&mut self, now: Duration) {
        self.lock = None;
        self.lock_from = now + self.lease;
    }

    /// Holds the lock from now on, if nobody else does.
    pub(super) fn hold_lock(&mut self, now: Duration) -> bool {
        if self.lock.is_none() && now >= self.lock_from {
            self.lock = self.free_lock();
        }
        self.lock.is_some()
    }

    /// The lock, when it is free. A file system without locks leaves the beat to decide.
    fn free_lock(&self) -> Option<File> {
        let file = File::options().write(true).create(true).truncate(false).open(&self.lock_path);
        let locked = file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        match locked {
            Ok(file) => Some(file),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the engine's lock cannot be had");
                None
            }
        }
    }
}
