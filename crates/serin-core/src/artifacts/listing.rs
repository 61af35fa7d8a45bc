//! Which artifacts there are, and what is left of writers that died.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{ArtifactError, Artifacts, DRAFT_KEPT, failure};
use crate::clock::Timestamp;
use crate::digest::Digest;

/// An artifact as found on disk; its content was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredArtifact {
    pub digest: Digest,
    pub bytes: u64,
}

/// What all artifacts take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub artifacts: u64,
    pub bytes: u64,
}

impl Artifacts {
    /// Every artifact, sorted by digest. Files with other names are not ours and are passed over.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> Result<Vec<StoredArtifact>, ArtifactError> {
        let mut found = Vec::new();
        self.each(|artifact| found.push(artifact))?;
        found.sort_unstable();
        Ok(found)
    }

    /// How many artifacts there are, and their bytes.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn usage(&self) -> Result<Usage, ArtifactError> {
        let mut usage = Usage::default();
        self.each(|artifact| {
            usage.artifacts += 1;
            usage.bytes += artifact.bytes;
        })?;
        Ok(usage)
    }

    fn each(&self, mut found: impl FnMut(StoredArtifact)) -> Result<(), ArtifactError> {
        for folder in entries(&self.published)? {
            if !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in entries(&folder.path())? {
                let name = entry.file_name();
                let Some(digest) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else {
                    continue;
                };
                // It may be removed while we look.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_file() && self.path(&digest) == entry.path() {
                    found(StoredArtifact { digest, bytes: metadata.len() });
                }
            }
        }
        Ok(())
    }

    pub(super) fn remove_old_drafts(&self, now: Timestamp) -> Result<(), ArtifactError> {
        let kept = i128::try_from(DRAFT_KEPT.as_micros()).unwrap_or(i128::MAX);
        for draft in entries(&self.drafts)? {
            let written = draft.metadata().and_then(|metadata| metadata.modified());
            let written = written.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let Some(written) = written.and_then(|time| i128::try_from(time.as_micros()).ok()) else {
                continue;
            };
            if i128::from(now.0) - written > kept {
                // It is in nobody's way: the next start tries again.
                let _ = fs::remove_file(draft.path());
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, ArtifactError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<_>>);
    match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(|source| failure(folder, source)),
    }
}
