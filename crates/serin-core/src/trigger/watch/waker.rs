//! The file system's notices that something changed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::listing::{fixed_part, is_pattern};

/// Calls back when something near the watched paths changes, as long as it lives. What it misses, or cannot watch, the next
/// look finds: it is never more than a reason to look now.
pub struct Waker {
    watcher: Option<RecommendedWatcher>,
    unwatched: Vec<PathBuf>,
}

impl Waker {
    /// Starts. `wake` is called from a thread of its own, often in bursts, and should only set a flag.
    #[must_use]
    pub fn start(paths: &[PathBuf], wake: impl Fn() + Send + 'static) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            // Reading is what we do ourselves. After an error anything may have happened.
            let is_reading = |kind: EventKind| match kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                EventKind::Access(_) => true,
                _ => false,
            };
            if !event.is_ok_and(|event| is_reading(event.kind)) {
                wake();
            }
        };
        let mut waker = Self { watcher: notify::recommended_watcher(told).ok(), unwatched: Vec::new() };
        let places: BTreeSet<(PathBuf, bool)> = paths.iter().map(|path| place(path)).collect();
        for (folder, with_all_below) in places {
            let mode = if with_all_below { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            let watched = waker.watcher.as_mut().map(|watcher| watcher.watch(&folder, mode));
            if !matches!(watched, Some(Ok(()))) {
                waker.unwatched.push(folder);
            }
        }
        waker
    }

    /// Folders of which no notice comes, such as those that are not there yet.
    #[must_use]
    pub fn unwatched(&self) -> &[PathBuf] {
        &self.unwatched
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("unwatched", &self.unwatched).finish_non_exhaustive()
    }
}

/// The folder to watch for a path, and whether with all below it. A file is watched through its folder, because replacing
/// it makes another file.
fn place(path: &Path) -> (PathBuf, bool) {
    if path.is_dir() {
        return (path.to_owned(), true);
    }
    if is_pattern(path) && !path.exists() {
        return (or_here(&fixed_part(path)), path.to_string_lossy().contains("**"));
    }
    (or_here(path.parent().unwrap_or(Path::new(""))), false)
}

fn or_here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}
