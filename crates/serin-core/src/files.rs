//! Publishing files: a reader sees the old one or the new one, never a part, and so does whoever comes after a power
//! cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

/// Names tried before a folder is believed to refuse new files.
const NAMES_TRIED: usize = 1_000;

/// A file that is being written and has no name yet that anyone reads. It goes when it is dropped.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    is_published: bool,
}

/// Replaces the file at `path`: a draft beside it, synced, then renamed over it, and the folder synced.
///
/// # Errors
/// When it cannot be written; the old file is untouched then.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::create(folder_of(path))?;
    draft.write_all(bytes)?;
    draft.publish(path)
}

/// Opens a regular file to read it. A link is followed; a pipe or a device, which may never end, is refused and never
/// waited for.
///
/// # Errors
/// When there is no regular file, or it cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// The whole of a regular file of at most `limit_bytes`.
///
/// # Errors
/// As [`open_regular`], and when it is longer.
pub fn read_limited(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit_bytes {
        true => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit_bytes} bytes")))
        }
        false => Ok(bytes),
    }
}

/// Makes the names of a folder survive a power cut: those created, renamed and removed in it so far.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder in which `path` is a name.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Draft {
    /// An empty file in `folder`, which must be in the file system where it will be published.
    ///
    /// # Errors
    /// When the folder takes no new file.
    pub fn create(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut refusal = None;
        // The process number tells processes apart, but not those of different containers that share a volume.
        for _ in 0..NAMES_TRIED {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".{}-{number}.tmp", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, is_published: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    /// The file itself, to read what was written or to set its permissions.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in place of what had it, durably.
    ///
    /// # Errors
    /// When it cannot be synced or renamed; what had the name is untouched then.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        self.place(path)?;
        sync_folder(folder_of(path))
    }

    /// Gives the file its name, in place of what had it. After a power cut it may be gone: for what can be made again.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn place(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_published = true;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        publish(&path, b"old").unwrap();
        let mut draft = Draft::create(folder.path()).unwrap();
        draft.write_all(b"half of the n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(draft);
        assert_eq!(names(folder.path()), ["note.json"]);
        publish(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // A folder cannot be replaced by a file.
        assert!(publish(folder.path(), b"new").is_err());
        assert!(publish(&folder.path().join("nowhere/note.json"), b"new").is_err());
        assert_eq!(names(folder.path()), ["note.json"]);
    }
}
