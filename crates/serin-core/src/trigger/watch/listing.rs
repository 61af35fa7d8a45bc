//! Which files the watched paths name at one moment.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::{WatchError, WatchLimits};

/// How deep folders may stand in each other.
pub(super) const DEPTH_LIMIT: usize = 32;

/// Most files and folders looked at in one look, whether they are wanted or not.
const VISITED_LIMIT: usize = 1_000_000;

/// `*` stays within one folder, and does not match what begins with a dot.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Ends of names that programs give to files that they are still writing.
const UNFINISHED: [&str; 6] = [".tmp", ".part", ".partial", ".filepart", ".crdownload", "~"];

/// What tells that a file is another one than before, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub bytes: u64,
    device: u64,
    number: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files by their names.
type Listed = BTreeMap<String, (PathBuf, Found)>;

impl Found {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            device: metadata.dev(),
            number: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The files of all paths, each of which must have one at least.
pub(super) fn list(paths: &[PathBuf], limits: &WatchLimits) -> Result<Listed, WatchError> {
    let mut listing = Listing { limits, bytes: 0, visited: 0, files: BTreeMap::new() };
    for (number, path) in paths.iter().enumerate() {
        let before = listing.files.len();
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => listing.folder(path, &number.to_string(), 0, &Wanted::All)?,
            Ok(found) => listing.file(path, number.to_string(), &found)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(path, error)),
            Err(_) if is_pattern(path) => listing.pattern(path, number)?,
            Err(_) => {}
        }
        if listing.files.len() == before {
            return Err(WatchError::Nothing { path: path.clone() });
        }
    }
    Ok(listing.files)
}

/// Whether a path that is not there could be a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Which files of a folder are wanted.
enum Wanted {
    All,
    /// Those whose place below the folder matches; nothing deeper can.
    Matching {
        pattern: Pattern,
        depth: usize,
    },
}

struct Listing<'a> {
    limits: &'a WatchLimits,
    bytes: u64,
    visited: usize,
    files: Listed,
}

impl Listing<'_> {
    fn file(&mut self, path: &Path, name: String, metadata: &Metadata) -> Result<(), WatchError> {
        if !metadata.is_file() {
            return Ok(());
        }
        if self.files.len() == self.limits.files {
            return Err(WatchError::TooMany { limit: self.limits.files });
        }
        self.bytes = self.bytes.saturating_add(metadata.len());
        if self.bytes > self.limits.bytes {
            return Err(WatchError::TooLarge { limit_bytes: self.limits.bytes });
        }
        self.files.insert(name, (path.to_owned(), Found::of(metadata)));
        Ok(())
    }

    /// The wanted files of a folder, which is called `name`.
    fn folder(&mut self, folder: &Path, name: &str, depth: usize, wanted: &Wanted) -> Result<(), WatchError> {
        if depth > DEPTH_LIMIT {
            return Err(WatchError::TooDeep { path: folder.to_owned() });
        }
        let entries = match fs::read_dir(folder) {
            // It went, or was replaced, since it was listed: the next look sees what there is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| unreadable(folder, error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(folder, error))?;
            self.visited += 1;
            if self.visited > VISITED_LIMIT {
                return Err(WatchError::TooMany { limit: VISITED_LIMIT });
            }
            let path = entry.path();
            let own_name = entry.file_name();
            let own_name = own_name.to_str().ok_or_else(|| WatchError::Name { path: path.clone() })?;
            if is_passed_over(own_name) {
                continue;
            }
            let name = format!("{name}/{own_name}");
            let kind = entry.file_type().map_err(|error| unreadable(&path, error))?;
            if kind.is_dir() {
                if wanted.may_be_below(depth) {
                    self.folder(&path, &name, depth + 1, wanted)?;
                }
                continue;
            }
            if !wanted.matches(&name) {
                continue;
            }
            // A link to a file is that file; a link to a folder is not followed, so there are no circles.
            match fs::metadata(&path) {
                Ok(found) => self.file(&path, name, &found)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !kind.is_symlink() => {}
                Err(error) => return Err(unreadable(&path, error)),
            }
        }
        Ok(())
    }

    fn pattern(&mut self, path: &Path, number: usize) -> Result<(), WatchError> {
        let fixed = fixed_part(path);
        let moving: PathBuf = path.components().skip(fixed.components().count()).collect();
        let text = moving.to_str().ok_or_else(|| WatchError::Name { path: path.to_owned() })?;
        let pattern = Pattern::new(text)
            .map_err(|error| WatchError::Pattern { path: path.to_owned(), problem: error.msg })?;
        let depth = if text.contains("**") { DEPTH_LIMIT + 1 } else { moving.components().count() - 1 };
        let folder = if fixed.as_os_str().is_empty() { Path::new(".") } else { &fixed };
        self.folder(folder, &number.to_string(), 0, &Wanted::Matching { pattern, depth })
    }
}

impl Wanted {
    /// Whether a folder within one at `depth` can hold wanted files.
    fn may_be_below(&self, depth: usize) -> bool {
        match self {
            Self::All => true,
            Self::Matching { depth: deepest, .. } => depth < *deepest,
        }
    }

    /// Whether a file with the name that the listing gives it is wanted.
    fn matches(&self, name: &str) -> bool {
        match (self, name.split_once('/')) {
            (Self::Matching { pattern, .. }, Some((_, below))) => pattern.matches_with(below, MATCHING),
            (Self::Matching { .. }, None) => false,
            (Self::All, _) => true,
        }
    }
}

/// The folder below which everything that a pattern can match is.
pub(super) fn fixed_part(pattern: &Path) -> PathBuf {
    pattern.components().take_while(|part| !is_pattern(Path::new(part.as_os_str()))).collect()
}

fn is_passed_over(name: &str) -> bool {
    name.starts_with('.') || UNFINISHED.iter().any(|end| name.ends_with(end))
}

fn unreadable(path: &Path, source: io::Error) -> WatchError {
    WatchError::Unreadable { path: path.to_owned(), source }
}
