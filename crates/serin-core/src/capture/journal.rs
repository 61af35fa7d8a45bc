//! The capture journal: segments on disk that records are appended to, bounded in bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use super::receipt::Group;
use super::record::Record;
use super::segment::{self, MAGIC};
use super::{OpenCaptureError, Spool};
use crate::clock::Timestamp;
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
    /// There is something to sync, or nothing ever will be.
    written: Condvar,
    sealed: Mutex<VecDeque<Sealed>>,
    spooled_bytes: AtomicU64,
    appended: AtomicU64,
    #[cfg(test)]
    planted_sync_failures: AtomicU64,
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
    /// The disk could not say that it keeps what is written, and nothing is taken before it can again.
    #[error("the disk did not keep the capture journal")]
    Unsynced,
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
    /// The records that the next sync covers.
    group: Arc<Group>,
    /// A sync failed: nothing is taken until a new segment could be synced.
    fenced: bool,
    closed: bool,
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
        if !hold(&lock).map_err(io)? {
            return Err(OpenCaptureError::InUse { path: data_directory.to_owned() });
        }
        let sealed = left_behind(&folder).map_err(io)?;
        let spooled_bytes = sealed.iter().map(|segment| segment.bytes).sum();
        Ok(Self {
            folder,
            options,
            ids,
            writing: Mutex::default(),
            written: Condvar::new(),
            sealed: Mutex::new(sealed.into()),
            spooled_bytes: AtomicU64::new(spooled_bytes),
            appended: AtomicU64::new(0),
            #[cfg(test)]
            planted_sync_failures: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Appends one record with one `write()`. It may wait for the disk when the kernel's write-back is saturated:
    /// that is the back-pressure wanted.
    ///
    /// # Errors
    /// When the spool is full or the disk refuses; the journal is then as it was before.
    pub fn append(&self, record: &Record<'_>) -> Result<(), AppendError> {
        self.append_to_group(record).map(drop)
    }

    /// The same, and the group of records whose sync will cover this one.
    pub(super) fn append_to_group(&self, record: &Record<'_>) -> Result<Arc<Group>, AppendError> {
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
        if let Some(segment) = writing.segment.take_if(|segment| !segment.is_empty()) {
            self.push_sealed(segment);
        }
    }

    /// When the oldest record was appended that is not in the table yet, by the clock that names segments.
    #[must_use]
    pub fn oldest_append(&self) -> Option<Timestamp> {
        let writing = self.writing();
        let sealed = self.sealed();
        let being_written = || writing.segment.as_ref().filter(|segment| !segment.is_empty());
        let name = sealed.front().map(|segment| &segment.name);
        let name = name.or_else(|| being_written().map(|segment| &segment.name))?;
        let (seconds, nanoseconds) = Uuid::try_parse(name).ok()?.get_timestamp()?.to_unix();
        Some(Timestamp(i64::try_from(seconds).ok()? * 1_000_000 + i64::from(nanoseconds / 1_000)))
    }

    /// Records appended since the journal was opened.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// The limits in force.
    #[must_use]
    pub fn options(&self) -> &JournalOptions {
        &self.options
    }

    /// The sealed segment that has `older` ones before it; it stays until it is [discarded](Self::discard).
    #[must_use]
    pub fn sealed_after(&self, older: usize) -> Option<Sealed> {
        self.sealed().get(older).cloned()
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
    pub fn set_aside(&self, segment: &Sealed) -> io::Result<()> {
        match std::fs::rename(&segment.path, segment.path.with_extension("damaged")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.forget(segment);
        Ok(())
    }

    /// Waits until something was written that no sync has covered; false once the journal was
    /// [closed](Self::close) and nothing is left to sync.
    pub fn wait_unsynced(&self) -> bool {
        let idle = |writing: &mut Writing| writing.unsynced.is_empty() && !writing.closed;
        let writing = self.written.wait_while(self.writing(), idle).unwrap_or_else(PoisonError::into_inner);
        !writing.unsynced.is_empty()
    }

    /// Lets go of who waits for something to sync.
    pub fn close(&self) {
        self.writing().closed = true;
        self.written.notify_all();
    }

    /// Syncs what was written since the last call, and tells those who wait for it. Writers are not held up meanwhile.
    ///
    /// # Errors
    /// The first error. The kernel may have dropped the pages, and a second sync of the same files would not tell: the
    /// records that this sync was to cover are told as lost, and nothing is taken until [`Self::lift_fence`].
    pub fn sync(&self) -> io::Result<()> {
        let (files, folder_unsynced, group) = {
            let mut writing = self.writing();
            if let Some(segment) = &mut writing.segment {
                segment.in_unsynced = false;
            }
            let writing = &mut *writing;
            (
                std::mem::take(&mut writing.unsynced),
                std::mem::take(&mut writing.folder_unsynced),
                std::mem::take(&mut writing.group),
            )
        };
        let mut outcome = Ok(());
        for file in files {
            outcome = outcome.and_then(|()| self.sync_file(&file));
        }
        if folder_unsynced {
            outcome = outcome.and_then(|()| self.sync_folder());
        }
        if outcome.is_err() {
            self.raise_fence();
        }
        group.finish(outcome.is_ok());
        outcome
    }

    /// After a failed sync: makes a new segment, and takes records again once that one could be synced.
    ///
    /// # Errors
    /// When the disk still refuses.
    pub fn lift_fence(&self) -> io::Result<()> {
        let segment = self.create_segment()?;
        if let Err(error) = self.sync_file(&segment.file).and_then(|()| self.sync_folder()) {
            let _ = std::fs::remove_file(&segment.path);
            self.spooled_bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
            return Err(error);
        }
        let mut writing = self.writing();
        writing.segment = Some(segment);
        writing.fenced = false;
        Ok(())
    }

    /// Bytes in all segments.
    #[must_use]
    pub fn spooled_bytes(&self) -> u64 {
        self.spooled_bytes.load(Ordering::Relaxed)
    }

    /// From here on nothing of what was written is touched by a sync again; the loader still takes it.
    fn raise_fence(&self) {
        let mut writing = self.writing();
        writing.fenced = true;
        writing.unsynced.clear();
        if let Some(segment) = writing.segment.take() {
            self.push_sealed(segment);
        }
        std::mem::take(&mut writing.group).finish(false);
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if self
            .planted_sync_failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(io::Error::other("planted"));
        }
        file.sync_data()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn append_frame(&self, frame: &[u8]) -> Result<Arc<Group>, AppendError> {
        let mut writing = self.writing();
        if writing.fenced {
            return Err(AppendError::Unsynced);
        }
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
        self.appended.fetch_add(1, Ordering::Relaxed);
        if !segment.in_unsynced {
            segment.in_unsynced = true;
            writing.unsynced.push(segment.file.clone());
            self.written.notify_one();
        }
        if segment.bytes >= self.options.segment_bytes {
            self.push_sealed(segment);
        } else {
            writing.segment = Some(segment);
        }
        Ok(writing.group.clone())
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

    /// Offers a segment no more, wherever its file is.
    pub fn forget(&self, segment: &Sealed) {
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

impl OpenSegment {
    fn is_empty(&self) -> bool {
        self.bytes <= MAGIC.len() as u64
    }
}

/// Locks the file for as long as it is open; false when another process has it. Whoever only looks at the lock
/// (`Spool::of`) lets go of it at once, hence the second try.
fn hold(lock: &File) -> io::Result<bool> {
    for pause in [Duration::from_millis(50), Duration::ZERO] {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// What lies in the folder of a journal.
pub(super) fn spool(folder: &Path) -> io::Result<Spool> {
    let mut spool = Spool::default();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spool),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.path().extension().and_then(|extension| extension.to_str()) {
            Some("journal") => {
                spool.segments += 1;
                // The loader may have deleted it since.
                spool.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            }
            Some("damaged") => spool.damaged += 1,
            _ => {}
        }
    }
    spool.in_use = match File::open(folder.join("lock")) {
        Ok(lock) => matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    };
    Ok(spool)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Context;

    use super::super::record::Outcome;
    use super::*;
    use crate::clock::ManualClock;

    fn journal(folder: &Path) -> Journal {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_123_000)));
        Journal::open(folder, JournalOptions::default(), InferenceIds::from_entropy(clock)).unwrap()
    }

    fn append(journal: &Journal) -> Result<super::super::Receipt, AppendError> {
        let outcome = Outcome::Refused { error_code: "empty_body", detail: "", body: &[] };
        let record = Record {
            id: "r",
            time: Timestamp(0),
            endpoint: "e",
            variant: "v",
            model_version: "m",
            run: None,
            rollout_step: None,
            caller: None,
            latency_microseconds: 0,
            status: 400,
            client_gone: false,
            outcome,
        };
        journal.append_to_group(&record).map(|group| super::super::Receipt::after(group, false))
    }

    fn is_lost(receipt: super::super::Receipt) -> bool {
        let waiting = std::pin::pin!(receipt.durable());
        let polled = waiting.poll(&mut Context::from_waker(std::task::Waker::noop()));
        matches!(polled, std::task::Poll::Ready(Err(AppendError::Unsynced)))
    }

    #[test]
    fn one_sync_makes_the_whole_group_durable_and_nothing_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let (one, two) = (append(&journal).unwrap(), append(&journal).unwrap());
        assert!(!one.is_durable() && !two.is_durable());
        journal.sync().unwrap();
        let three = append(&journal).unwrap();
        assert!(one.is_durable() && two.is_durable() && !three.is_durable());
        assert_eq!(journal.oldest_append(), Some(Timestamp(1_700_000_000_123_000)));
    }

    #[test]
    fn after_a_failed_sync_nothing_is_taken_before_a_new_segment_was_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let before = append(&journal).unwrap();
        journal.planted_sync_failures.store(2, Ordering::SeqCst);
        assert!(journal.sync().is_err());
        assert!(is_lost(before), "what the failed sync was to cover is not acknowledged");
        assert!(matches!(append(&journal), Err(AppendError::Unsynced)));
        assert!(journal.lift_fence().is_err(), "the disk still refuses");
        assert!(matches!(append(&journal), Err(AppendError::Unsynced)));
        journal.lift_fence().unwrap();

        let after = append(&journal).unwrap();
        journal.sync().unwrap();
        assert!(after.is_durable());
        journal.seal();
        assert_eq!(journal.sealed_names().len(), 2, "the records went to different files");
        assert_eq!(journal.appended(), 2);
    }
}
