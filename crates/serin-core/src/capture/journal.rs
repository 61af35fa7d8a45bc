//! The capture journal: segments on disk that records are appended to, bounded in bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use super::OpenCaptureError;
use super::record::Record;
use super::segment::{self, MAGIC};
use crate::ids::InferenceIds;

/// How often what was written is synced. Half of the promised 100 ms, so that the sync itself has the other half.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// A thread that once encoded a large batch gives the memory back above this size.
const FRAME_BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Limits of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// A segment is sealed once it is this long.
    pub segment_bytes: u64,
    /// All segments together; beyond it appending fails with [`AppendError::Full`].
    pub spool_limit_bytes: u64,
}

/// The journal: one segment being written, and sealed ones waiting for the loader.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    options: JournalOptions,
    ids: InferenceIds,
    writing: Mutex<Writing>,
    sealed: Mutex<VecDeque<Sealed>>,
    spooled_bytes: AtomicU64,
    /// Held as long as the journal lives: one process per data directory.
    _lock: File,
}

/// A segment that is not written to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Name of the file without its extension; unique for ever.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Why a record was not kept.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The spool limit is reached: the inference table has not kept up.
    #[error("the capture journal is full ({spooled_bytes} of {limit_bytes} bytes)")]
    Full { spooled_bytes: u64, limit_bytes: u64 },
    /// The disk refused.
    #[error("cannot write the capture journal")]
    Io(#[from] io::Error),
    /// The record is beyond what a frame can hold.
    #[error("the record is too long for the capture journal")]
    TooLong,
}

#[derive(Debug, Default)]
struct Writing {
    segment: Option<OpenSegment>,
    /// Files with bytes that no sync has covered yet.
    unsynced: Vec<Arc<File>>,
    /// A file was made since the folder was last synced.
    folder_unsynced: bool,
}

#[derive(Debug)]
struct OpenSegment {
    name: String,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    in_unsynced: bool,
}

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, spool_limit_bytes: 1 << 30 }
    }
}

impl Journal {
    /// Opens the journal in the folder `capture` of a data directory; segments of an earlier process are sealed.
    ///
    /// # Errors
    /// When another process holds it, or the folder cannot be used.
    pub fn open(
        data_directory: &Path,
        options: JournalOptions,
        ids: InferenceIds,
    ) -> Result<Self, OpenCaptureError> {
        let folder = data_directory.join("capture");
        let io = |source| OpenCaptureError::Io { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenCaptureError::InUse { path: data_directory.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let sealed = left_behind(&folder).map_err(io)?;
        let spooled_bytes = sealed.iter().map(|segment| segment.bytes).sum();
        Ok(Self {
            folder,
            options,
            ids,
            writing: Mutex::default(),
            sealed: Mutex::new(sealed.into()),
            spooled_bytes: AtomicU64::new(spooled_bytes),
            _lock: lock,
        })
    }

    /// Appends one record with one `write()`. It may wait for the disk when the kernel's write-back is saturated:
    /// that is the back-pressure wanted.
    ///
    /// # Errors
    /// When the spool is full or the disk refuses; the journal is then as it was before.
    pub fn append(&self, record: &Record<'_>) -> Result<(), AppendError> {
        FRAME.with_borrow_mut(|frame| {
            segment::begin_frame(frame);
            *frame = record.encode_into(std::mem::take(frame)).map_err(|_| AppendError::TooLong)?;
            segment::finish_frame(frame).ok_or(AppendError::TooLong)?;
            let appended = self.append_frame(frame);
            if frame.capacity() > FRAME_BUFFER_KEPT_BYTES {
                *frame = Vec::new();
            }
            appended
        })
    }

    /// Seals the segment being written, so that the loader can take it.
    pub fn seal(&self) {
        let mut writing = self.writing();
        if let Some(segment) = writing.segment.take() {
            self.push_sealed(segment);
        }
    }

    /// The oldest sealed segment; it stays until it is [discarded](Self::discard).
    #[must_use]
    pub fn oldest_sealed(&self) -> Option<Sealed> {
        self.sealed().front().cloned()
    }

    /// Names of all sealed segments.
    #[must_use]
    pub fn sealed_names(&self) -> Vec<String> {
        self.sealed().iter().map(|segment| segment.name.clone()).collect()
    }

    /// Deletes a segment whose rows are safe in the table.
    ///
    /// # Errors
    /// When the file cannot be deleted; it is offered again then.
    pub fn discard(&self, segment: &Sealed) -> io::Result<()> {
        match std::fs::remove_file(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.forget(segment);
        Ok(())
    }

    /// Renames a segment with damage inside, for a person to look at, and forgets it.
    ///
    /// # Errors
    /// When the file cannot be renamed; it is offered again then.
    pub fn set_aside(&self, segment: &Sealed) -> io::Result<PathBuf> {
        let kept = segment.path.with_extension("damaged");
        std::fs::rename(&segment.path, &kept)?;
        self.forget(segment);
        Ok(kept)
    }

    /// Syncs what was written since the last call. Writers are not held up meanwhile.
    ///
    /// # Errors
    /// The first error; the kernel may have dropped the pages, so the caller must say so and not try again.
    pub fn sync(&self) -> io::Result<()> {
        let (files, folder_unsynced) = {
            let mut writing = self.writing();
            if let Some(segment) = &mut writing.segment {
                segment.in_unsynced = false;
            }
            (std::mem::take(&mut writing.unsynced), std::mem::take(&mut writing.folder_unsynced))
        };
        let mut outcome = Ok(());
        for file in files {
            outcome = outcome.and(file.sync_data());
        }
        if folder_unsynced {
            outcome = outcome.and(File::open(&self.folder).and_then(|folder| folder.sync_all()));
        }
        outcome
    }

    /// Bytes in all segments.
    #[must_use]
    pub fn spooled_bytes(&self) -> u64 {
        self.spooled_bytes.load(Ordering::Relaxed)
    }

    fn append_frame(&self, frame: &[u8]) -> Result<(), AppendError> {
        let mut writing = self.writing();
        let limit_bytes = self.options.spool_limit_bytes;
        let spooled_bytes = self.spooled_bytes();
        if spooled_bytes + frame.len() as u64 > limit_bytes {
            return Err(AppendError::Full { spooled_bytes, limit_bytes });
        }
        let mut segment = match writing.segment.take() {
            Some(segment) => segment,
            None => {
                let segment = self.create_segment()?;
                writing.folder_unsynced = true;
                segment
            }
        };
        if let Err(error) = segment.file.as_ref().write_all(frame) {
            // Part of the frame may be there; take it away, and leave the file alone if even that fails: a torn
            // frame at the end of a sealed segment is the end of its log.
            let _ = segment.file.set_len(segment.bytes);
            self.push_sealed(segment);
            return Err(error.into());
        }
        segment.bytes += frame.len() as u64;
        self.spooled_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        if !segment.in_unsynced {
            segment.in_unsynced = true;
            writing.unsynced.push(segment.file.clone());
        }
        if segment.bytes >= self.options.segment_bytes {
            self.push_sealed(segment);
        } else {
            writing.segment = Some(segment);
        }
        Ok(())
    }

    fn create_segment(&self) -> io::Result<OpenSegment> {
        // The name is unique for ever, because the table remembers by name which segments it has taken.
        let name = self.ids.next_uuid().simple().to_string();
        let path = self.folder.join(&name).with_extension("journal");
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        if let Err(error) = (&file).write_all(MAGIC) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.spooled_bytes.fetch_add(MAGIC.len() as u64, Ordering::Relaxed);
        Ok(OpenSegment { name, path, file: Arc::new(file), bytes: MAGIC.len() as u64, in_unsynced: false })
    }

    fn push_sealed(&self, segment: OpenSegment) {
        let OpenSegment { name, path, bytes, .. } = segment;
        self.sealed().push_back(Sealed { name, path, bytes });
    }

    fn forget(&self, segment: &Sealed) {
        self.sealed().retain(|other| other.name != segment.name);
        self.spooled_bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
    }

    // A panic while one of these is held leaves counts at worst, never half a frame in use: go on.
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sealed(&self) -> MutexGuard<'_, VecDeque<Sealed>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segments that an earlier process left, oldest first (their names begin with the time).
fn left_behind(folder: &Path) -> io::Result<Vec<Sealed>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "journal")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            segments.push(Sealed {
                name: name.to_owned(),
                bytes: entry.metadata()?.len(),
                path: path.clone(),
            });
        }
    }
    segments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(segments)
}
