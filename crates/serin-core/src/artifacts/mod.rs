//! What steps hand to each other: immutable files, each named by the digest of its content.
//!
//! A file is written under a name that nobody reads, synced, and then renamed to its digest, so an artifact is there
//! whole or not at all, whoever dies when. Its name says what it must hold, so every reading checks it, and writing the
//! same content twice is one artifact. No text from outside is ever part of a path.

mod listing;

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use self::listing::{StoredArtifact, Usage};
use crate::clock::Timestamp;
use crate::digest::{Digest, Hasher};
use crate::files::{self, Draft};

/// How long the draft of a writer that died is kept: nobody writes one artifact for longer.
pub const DRAFT_KEPT: Duration = Duration::from_secs(3_600);

/// Bytes read at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// The artifacts of a data directory. Any number of processes and threads may use one.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// `artifacts/sha256`, with a folder for each first byte of a digest.
    published: PathBuf,
    /// `artifacts/tmp`, in the same file system.
    drafts: PathBuf,
}

/// Content that is on disk and not an artifact yet: for what must be looked at before it is kept. It goes when it is
/// dropped.
#[derive(Debug)]
pub struct Staged {
    draft: Draft,
    digest: Digest,
    bytes: u64,
}

/// Why an artifact could not be written or read.
#[derive(Debug, Error)]
pub enum ArtifactError {
    #[error("there is no artifact {digest}")]
    Missing { digest: Digest },
    /// Its bytes are not those that it is named after. Putting the right ones again repairs it.
    #[error("the artifact {digest} is damaged: its bytes have another digest")]
    Damaged { digest: Digest },
    #[error("more than {limit_bytes} bytes, which is the limit")]
    TooLarge { limit_bytes: u64 },
    /// Nothing of it is left behind.
    #[error("no space is left for {}", path.display())]
    StorageFull { path: PathBuf, source: io::Error },
    /// What was to become an artifact could not be read to its end. Nothing of it is left behind.
    #[error("what was to be stored cannot be read")]
    Source(#[source] io::Error),
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Staged {
    /// What it would be named.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file, whose position is wherever it was left.
    #[must_use]
    pub fn file(&self) -> &File {
        self.draft.file()
    }
}

impl Artifacts {
    /// The artifacts below `data_directory`, whose folders are made when missing. Drafts of writers that died more than
    /// [`DRAFT_KEPT`] before `now` are removed.
    ///
    /// # Errors
    /// When a folder cannot be made or read.
    pub fn open(data_directory: &Path, now: Timestamp) -> Result<Self, ArtifactError> {
        let folder = data_directory.join("artifacts");
        let artifacts = Self { published: folder.join("sha256"), drafts: folder.join("tmp") };
        for folder in [&artifacts.published, &artifacts.drafts] {
            fs::create_dir_all(folder).map_err(|source| failure(folder, source))?;
        }
        artifacts.remove_old_drafts(now)?;
        Ok(artifacts)
    }

    /// Where the content of `digest` is, or would be. Whoever opens it there checks it alone.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.published.join(&name[..2]).join(name)
    }

    /// Whether there is a file for `digest`; not whether it is intact.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|found| found.is_file())
    }

    /// Stores `bytes`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = Digest::of(bytes);
        if self.is_intact(&digest) {
            return self.confirmed(digest);
        }
        let mut draft = self.draft()?;
        draft.write_all(bytes).map_err(|source| failure(&self.drafts, source))?;
        self.publish(draft, digest)
    }

    /// Stores what `reader` gives, at most `limit_bytes`, and says how many bytes that were.
    ///
    /// # Errors
    /// When there are more bytes, the reader fails, or they cannot be written.
    pub fn put_reader(&self, reader: impl Read, limit_bytes: u64) -> Result<(Digest, u64), ArtifactError> {
        let staged = self.stage(reader, limit_bytes)?;
        let bytes = staged.bytes;
        Ok((self.keep(staged)?, bytes))
    }

    /// Writes what `reader` gives, at most `limit_bytes`, without making it an artifact yet.
    ///
    /// # Errors
    /// As for [`Artifacts::put_reader`].
    pub fn stage(&self, reader: impl Read, limit_bytes: u64) -> Result<Staged, ArtifactError> {
        let mut draft = self.draft()?;
        let mut hasher = Hasher::default();
        let bytes = each_chunk(reader, limit_bytes, ArtifactError::Source, |chunk| {
            hasher.update(chunk);
            draft.write_all(chunk).map_err(|source| failure(&self.drafts, source))
        })?;
        Ok(Staged { draft, digest: hasher.finish(), bytes })
    }

    /// Makes staged content an artifact.
    ///
    /// # Errors
    /// When it cannot be given its name.
    pub fn keep(&self, staged: Staged) -> Result<Digest, ArtifactError> {
        let Staged { draft, digest, .. } = staged;
        match self.is_intact(&digest) {
            true => self.confirmed(digest),
            false => self.publish(draft, digest),
        }
    }

    /// Stores a copy of the file at `path`, at most `limit_bytes`.
    ///
    /// # Errors
    /// When it is larger or no regular file, or cannot be read or written.
    pub fn put_file(&self, path: &Path, limit_bytes: u64) -> Result<(Digest, u64), ArtifactError> {
        let file = files::open_regular(path).map_err(ArtifactError::Source)?;
        self.put_reader(file, limit_bytes)
    }

    /// The whole content, checked.
    ///
    /// # Errors
    /// When it is missing, damaged, larger than `limit_bytes`, or cannot be read.
    pub fn read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
        let (file, path) = self.open_unchecked(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| failure(&path, source))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(ArtifactError::TooLarge { limit_bytes });
        }
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(ArtifactError::Damaged { digest: *digest }),
        }
    }

    /// The file, read once to check it, and then at its beginning.
    ///
    /// # Errors
    /// When it is missing, damaged, or cannot be read.
    pub fn open_verified(&self, digest: &Digest) -> Result<File, ArtifactError> {
        let mut file = self.verify(digest, |_| Ok(()))?;
        file.rewind().map_err(|source| failure(&self.path(digest), source))?;
        Ok(file)
    }

    /// Writes a copy, checked, to `path`, in place of what is there. It is an ordinary file and not synced.
    ///
    /// # Errors
    /// When the artifact is missing or damaged, or the copy cannot be written; nothing is at `path` then that was not
    /// before.
    pub fn copy_to(&self, digest: &Digest, path: &Path) -> Result<(), ArtifactError> {
        let io = |source| failure(path, source);
        let mut draft = Draft::create(files::folder_of(path)).map_err(io)?;
        self.verify(digest, |chunk| draft.write_all(chunk).map_err(io))?;
        draft.place(path).map_err(io)
    }

    /// Removes an artifact; says whether there was one. Whether anything still needs it is for the caller to know.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(failure(&path, source)),
        }
    }

    fn draft(&self) -> Result<Draft, ArtifactError> {
        Draft::create(&self.drafts).map_err(|source| failure(&self.drafts, source))
    }

    fn publish(&self, draft: Draft, digest: Digest) -> Result<Digest, ArtifactError> {
        let path = self.path(&digest);
        let io = |source| failure(&path, source);
        if let Some(folder) = path.parent()
            && !folder.is_dir()
        {
            fs::create_dir_all(folder).and_then(|()| files::sync_folder(&self.published)).map_err(io)?;
        }
        let mut permissions = draft.file().metadata().map_err(io)?.permissions();
        permissions.set_readonly(true);
        draft.file().set_permissions(permissions).map_err(io)?;
        draft.publish(&path).map_err(io)?;
        Ok(digest)
    }

    /// An artifact that was there: another writer may have renamed it and not synced the folder yet.
    fn confirmed(&self, digest: Digest) -> Result<Digest, ArtifactError> {
        let path = self.path(&digest);
        let folder = files::folder_of(&path);
        files::sync_folder(folder).map_err(|source| failure(folder, source))?;
        Ok(digest)
    }

    fn is_intact(&self, digest: &Digest) -> bool {
        self.open_verified(digest).is_ok()
    }

    /// Reads a stored file to its end, gives its bytes to `take` on the way, and checks them.
    fn verify(
        &self,
        digest: &Digest,
        mut take: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<File, ArtifactError> {
        let (file, path) = self.open_unchecked(digest)?;
        let mut hasher = Hasher::default();
        let unreadable = |source| failure(&path, source);
        each_chunk(&file, u64::MAX, unreadable, |chunk| {
            hasher.update(chunk);
            take(chunk)
        })?;
        match hasher.finish() == *digest {
            true => Ok(file),
            false => Err(ArtifactError::Damaged { digest: *digest }),
        }
    }

    fn open_unchecked(&self, digest: &Digest) -> Result<(File, PathBuf), ArtifactError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArtifactError::Missing { digest: *digest })
            }
            Err(source) => Err(failure(&path, source)),
        }
    }
}

/// Gives the bytes of `reader` to `take` piece by piece, and says how many they were.
fn each_chunk(
    mut reader: impl Read,
    limit_bytes: u64,
    unreadable: impl Fn(io::Error) -> ArtifactError,
    mut take: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
) -> Result<u64, ArtifactError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total_bytes = 0_u64;
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => return Ok(total_bytes),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        total_bytes += read as u64;
        if total_bytes > limit_bytes {
            return Err(ArtifactError::TooLarge { limit_bytes });
        }
        take(&chunk[..read])?;
    }
}

/// What a failed operation on `path` means.
fn failure(path: &Path, source: io::Error) -> ArtifactError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ArtifactError::StorageFull { path, source }
        }
        _ => ArtifactError::Io { path, source },
    }
}
