//! Where the endpoints come from, and what is known of those that could not be had.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serin_core::domain::Epoch;
use thiserror::Error;

use super::endpoint::Snapshot;
use crate::fleet::Fleets;

/// How often a watched file is looked at. A look costs microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Asked at the start, and again for every reload: what to serve instead of what is in force.
pub struct Endpoints {
    read: Box<ReadEndpoints>,
    watched: Option<PathBuf>,
    fleets: Option<Arc<Fleets>>,
}

type ReadEndpoints = dyn Fn(&Snapshot) -> anyhow::Result<Supply> + Send + Sync;

/// What there is to serve.
#[derive(Debug, Default)]
pub struct Supply {
    pub snapshot: Snapshot,
    /// What should be served instead, and cannot.
    pub refused: Option<Refused>,
}

/// Endpoints that cannot be put in force, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Of the route document that names them, when it could be read.
    pub epoch: Option<Epoch>,
    /// In words, for an operator.
    pub reason: String,
}

/// Replicas of a version that do not come to answer.
#[derive(Debug, Error)]
#[error("no replica answers: {reason}")]
pub struct Unready {
    pub epoch: Option<Epoch>,
    pub reason: String,
}

/// Tells when a file was replaced.
#[derive(Debug)]
pub struct Watch {
    path: Option<PathBuf>,
    seen: Option<Stamp>,
}

/// What differs between two files of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Endpoints {
    /// Endpoints that `read` gives, when it is given those in force.
    pub fn new<S: Into<Supply>>(
        read: impl Fn(&Snapshot) -> anyhow::Result<S> + Send + Sync + 'static,
    ) -> Self {
        Self { read: Box::new(move |in_force| Ok(read(in_force)?.into())), watched: None, fleets: None }
    }

    /// The same, and a new file at `path` is a reason to read again.
    #[must_use]
    pub fn watching(self, path: PathBuf) -> Self {
        Self { watched: Some(path), ..self }
    }

    /// The same, and some of them are answered by these replicas.
    #[must_use]
    pub fn with_fleets(self, fleets: Arc<Fleets>) -> Self {
        Self { fleets: Some(fleets), ..self }
    }

    /// The replicas that may answer for them.
    #[must_use]
    pub fn fleets(&self) -> Option<Arc<Fleets>> {
        self.fleets.clone()
    }

    /// What to serve instead of `in_force`.
    ///
    /// # Errors
    /// When there is nothing better than what is in force; if nothing is, there is nothing to serve.
    pub fn read(&self, in_force: &Snapshot) -> anyhow::Result<Supply> {
        (self.read)(in_force)
    }

    /// A watch that tells of changes from now on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let path = self.watched.clone();
        Watch { seen: path.as_deref().and_then(Stamp::of), path }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl From<Snapshot> for Supply {
    fn from(snapshot: Snapshot) -> Self {
        Self { snapshot, refused: None }
    }
}

impl Watch {
    /// Whether there is a file to watch.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.path.is_some()
    }

    /// Waits until there is another file than when it was last asked; for ever without one to watch. Nothing is lost
    /// when the waiting is given up.
    pub async fn changed(&mut self) {
        let Some(path) = self.path.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let path = path.clone();
            // A file system may take its time.
            let Ok(found) = tokio::task::spawn_blocking(move || Stamp::of(&path)).await else { continue };
            if found != self.seen {
                self.seen = found;
                return;
            }
        }
    }
}

impl Stamp {
    /// `None` when there is no file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { modified: metadata.modified().ok(), bytes: metadata.len(), inode })
    }
}
