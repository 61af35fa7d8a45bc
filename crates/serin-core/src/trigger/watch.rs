//! Data that changes: files, folders and patterns that are looked at again and again.
//!
//! A version of the data is the set of its files' names and contents. It counts once it stood still for a while, so a copy
//! in progress is no version. Looking is all that progress needs; the file system's own notices ([`Waker`]) only make the
//! next look come sooner.

mod listing;
mod waker;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::waker::Waker;

use self::listing::Found;
use crate::clock::Clock;
use crate::digest::{Digest, Hasher};
use crate::files;

/// What data there may be, and how long it must stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    pub files: usize,
    pub bytes: u64,
    /// How long a version must be unchanged before it counts.
    pub settle_time: Duration,
    /// How often contents are read again although nothing seems to have changed: some ways of writing leave no trace in a
    /// file's time and size.
    pub reread_interval: Duration,
}

/// The data as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataVersion {
    /// Of all names and contents.
    pub digest: Digest,
    /// Sorted by name.
    pub files: Vec<WatchedFile>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedFile {
    /// The watched path's number, and the file's place below it: what it is called does not depend on where the data is.
    pub name: String,
    pub path: PathBuf,
    pub digest: Digest,
    pub bytes: u64,
}

/// Why the data cannot be told.
#[derive(Debug, Error)]
pub enum WatchError {
    #[error("{}: there is no such file or folder, or no file in it", path.display())]
    Nothing { path: PathBuf },
    #[error("{}: cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: not a pattern: {problem}", path.display())]
    Pattern { path: PathBuf, problem: &'static str },
    #[error("{}: the name is not UTF-8", path.display())]
    Name { path: PathBuf },
    #[error("{}: folders more than {} deep", path.display(), listing::DEPTH_LIMIT)]
    TooDeep { path: PathBuf },
    #[error("more than {limit} files, which is the limit")]
    TooMany { limit: usize },
    #[error("more than {limit_bytes} bytes in all, which is the limit")]
    TooLarge { limit_bytes: u64 },
}

/// Looks at some paths, and tells a version that has settled once.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    limits: WatchLimits,
    clock: Arc<dyn Clock>,
    /// The version that was told last, or was known before.
    told: Option<Digest>,
    /// The version of the last look, and since when it is unchanged.
    seen: Option<(Digest, Duration)>,
    /// Contents by path, as long as the file seems unchanged.
    contents: BTreeMap<PathBuf, (Found, Digest)>,
    /// When all contents were read last.
    read_all: Option<Duration>,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            files: 10_000,
            bytes: 100 << 30,
            settle_time: Duration::from_secs(2),
            reread_interval: Duration::from_secs(3_600),
        }
    }
}

impl Watcher {
    /// Watches files, folders (with all below them, but nothing that begins with a dot) and patterns. `known` is the version
    /// that is no news.
    #[must_use]
    pub fn new(
        paths: Vec<PathBuf>,
        known: Option<Digest>,
        limits: WatchLimits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { paths, limits, clock, told: known, seen: None, contents: BTreeMap::new(), read_all: None }
    }

    /// Looks once. A version is given when it is another one than was told last and has been the same in every look for the
    /// settle time, of which there must be two at least.
    ///
    /// # Errors
    /// When a path has no data, cannot be read, or a limit is passed. What was seen before counts no more.
    pub fn look(&mut self) -> Result<Option<DataVersion>, WatchError> {
        let seen = self.seen.take();
        let Some(version) = self.version()? else { return Ok(None) };
        let now = self.clock.monotonic();
        let since = seen.filter(|(digest, _)| *digest == version.digest).map_or(now, |(_, since)| since);
        self.seen = Some((version.digest, since));
        let is_settled = seen.is_some() && now.saturating_sub(since) >= self.limits.settle_time;
        if !is_settled || self.told == Some(version.digest) {
            return Ok(None);
        }
        // Two writes within one tick of the file system's clock look like one: what is told was read after it stood still.
        self.contents.clear();
        let Some(read_again) = self.version()? else { return Ok(None) };
        if read_again.digest != version.digest {
            self.seen = Some((read_again.digest, now));
            return Ok(None);
        }
        self.told = Some(version.digest);
        Ok(Some(version))
    }

    /// The version that was told last.
    #[must_use]
    pub fn told(&self) -> Option<Digest> {
        self.told
    }

    /// The data as it is now; `None` when it changed while it was read.
    fn version(&mut self) -> Result<Option<DataVersion>, WatchError> {
        let listed = listing::list(&self.paths, &self.limits)?;
        let now = self.clock.monotonic();
        let is_due = self.read_all.is_none_or(|last| now.saturating_sub(last) >= self.limits.reread_interval);
        if is_due {
            self.contents.clear();
            self.read_all = Some(now);
        }
        let mut contents = BTreeMap::new();
        let mut files = Vec::with_capacity(listed.len());
        for (name, (path, found)) in listed {
            let known = self.contents.get(&path).filter(|(before, _)| *before == found);
            let digest = match known {
                Some((_, digest)) => *digest,
                None => match content(&path, &found)? {
                    Some(digest) => digest,
                    None => return Ok(None),
                },
            };
            contents.insert(path.clone(), (found, digest));
            files.push(WatchedFile { name, path, digest, bytes: found.bytes });
        }
        self.contents = contents;
        let mut whole = Hasher::default();
        for file in &files {
            // A name has no NUL, and a digest one length: no two lists give the same bytes.
            whole.update(file.name.as_bytes());
            whole.update(&[0]);
            whole.update(file.digest.as_bytes());
        }
        Ok(Some(DataVersion { digest: whole.finish(), files }))
    }
}

/// The digest of a file; `None` when it is not the one that was found any more.
fn content(path: &Path, found: &Found) -> Result<Option<Digest>, WatchError> {
    let unreadable = |source| WatchError::Unreadable { path: path.to_owned(), source };
    let mut file = match files::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(unreadable)?,
    };
    let mut hasher = Hasher::default();
    let read_bytes =
        io::copy(&mut io::Read::take(&mut file, found.bytes + 1), &mut hasher).map_err(unreadable)?;
    let after = Found::of(&file.metadata().map_err(unreadable)?);
    Ok((read_bytes == found.bytes && after == *found).then(|| hasher.finish()))
}
