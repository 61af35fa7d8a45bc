//! The signed file that carries a document from the control plane to gateways.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::document::{RouteDocument, Unreadable};
use super::key::{Key, KeyError};
use crate::digest::Digest;
use crate::domain::Epoch;
use crate::files;

/// Largest file read. The most endpoints with the most variants take less.
pub const FILE_LIMIT_BYTES: u64 = 8 << 20;

/// How often, and with which pause between, the lock is asked for. Whoever holds it writes two small files.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The route documents of a data directory: `routes/current.json` and the one before it, `routes/previous.json`, signed
/// with `keys/routes.key`.
///
/// Any process may read while one publishes: a file is replaced whole. Publishers take turns, so that one that was
/// stopped and wakes cannot put the document of a past reign in place of a newer one.
pub struct RoutesFile {
    folder: PathBuf,
    key: Key,
}

/// Why routes could not be read or published.
#[derive(Debug, Error)]
pub enum RoutesError {
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{} is in use by another process for {} s", path.display(), (LOCK_PAUSE * LOCK_TRIES).as_secs())]
    Busy { path: PathBuf },
    #[error("{} is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: &'static str },
    /// Somebody changed it, or it is from another data directory.
    #[error("{} was not signed by this data directory's key, or changed since", path.display())]
    Forged { path: PathBuf },
    #[error("{} cannot be followed", path.display())]
    Unusable { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// Whoever made the document no longer reigns.
    #[error("a route document of epoch {epoch} cannot replace one of epoch {current}")]
    Superseded { epoch: Epoch, current: Epoch },
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    /// The document as JSON: a text, because a signature is over bytes.
    document: String,
    /// HMAC-SHA256 of these bytes in hexadecimal.
    signature: String,
}

impl RoutesFile {
    /// The routes of `data_directory`. Folders and key are made when they are not there.
    ///
    /// # Errors
    /// When they cannot be made, or the key can be read by others.
    pub fn open(data_directory: &Path) -> Result<Self, RoutesError> {
        let folder = data_directory.join("routes");
        let keys = data_directory.join("keys");
        for folder in [&folder, &keys] {
            make_private(folder).map_err(|source| RoutesError::Io { path: folder.clone(), source })?;
        }
        let lock = hold(&folder)?;
        let key = Key::open(&keys.join("routes.key"))?;
        drop(lock);
        Ok(Self { folder, key })
    }

    /// Where the document in force is: replaced whole whenever there is a new one.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.folder.join("current.json")
    }

    /// Puts `document` in force, durably; the one before it is kept beside. Publishing the one in force again changes
    /// nothing. Says what the document is called.
    ///
    /// # Errors
    /// When one of a later epoch is in force, or the files cannot be written: nothing has changed for readers then.
    pub fn publish(&self, document: &RouteDocument) -> Result<Digest, RoutesError> {
        let lock = hold(&self.folder)?;
        let (path, previous) = (self.current(), self.previous());
        let digest = document.digest();
        let in_force = self.read_file(&path);
        // What cannot be read is replaced, but by nothing older than what was there before it.
        let last = in_force.as_ref().ok().and_then(Option::as_ref);
        let last = last.map(|(document, _)| document.clone()).or_else(|| self.read_previous().ok().flatten());
        if let Some(last) = last.filter(|last| last.epoch() > document.epoch()) {
            return Err(RoutesError::Superseded { epoch: document.epoch(), current: last.epoch() });
        }
        if let Ok(Some((current, bytes))) = in_force {
            if current.digest() == digest {
                return Ok(digest);
            }
            write(&previous, &bytes)?;
        }
        let text = document.to_json();
        let envelope = Envelope { signature: self.key.sign(&text), document: text };
        // Texts always serialise.
        write(&path, &serde_json::to_vec(&envelope).unwrap_or_default())?;
        drop(lock);
        Ok(digest)
    }

    /// The document in force; `None` before the first was published.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was not signed here.
    pub fn read(&self) -> Result<Option<RouteDocument>, RoutesError> {
        Ok(self.read_file(&self.current())?.map(|(document, _)| document))
    }

    /// The document that was in force before, for whoever cannot use the one in force.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_previous(&self) -> Result<Option<RouteDocument>, RoutesError> {
        Ok(self.read_file(&self.previous())?.map(|(document, _)| document))
    }

    /// What shows that a text is of somebody who may publish here, in hexadecimal.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        self.key.sign(text)
    }

    /// Whether a text is of somebody who may publish here.
    #[must_use]
    pub fn is_signed(&self, text: &str, signature: &str) -> bool {
        self.key.signed(text, signature)
    }

    fn previous(&self) -> PathBuf {
        self.folder.join("previous.json")
    }

    /// A file's document, and the bytes of the file.
    fn read_file(&self, path: &Path) -> Result<Option<(RouteDocument, Vec<u8>)>, RoutesError> {
        let damaged = |problem| RoutesError::Damaged { path: path.to_owned(), problem };
        let io = |source| RoutesError::Io { path: path.to_owned(), source };
        let file = match files::open_regular(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io)?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > FILE_LIMIT_BYTES {
            return Err(damaged("it is too large"));
        }
        let Envelope { document, signature } =
            serde_json::from_slice(&bytes).map_err(|_| damaged("it is not a signed document"))?;
        if !self.key.signed(&document, &signature) {
            return Err(RoutesError::Forged { path: path.to_owned() });
        }
        let document = RouteDocument::from_json(&document);
        let unusable =
            |error: Unreadable| RoutesError::Unusable { path: path.to_owned(), source: error.into() };
        Ok(Some((document.map_err(unusable)?, bytes)))
    }
}

impl std::fmt::Debug for RoutesFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoutesFile").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RoutesError> {
    files::publish(path, bytes).map_err(|source| RoutesError::Io { path: path.to_owned(), source })
}

/// A folder that only its owner looks into.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// The lock of whoever writes in `folder`, for as long as the file is open.
fn hold(folder: &Path) -> Result<File, RoutesError> {
    let path = folder.join("lock");
    let io = |source| RoutesError::Io { path: path.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    Err(RoutesError::Busy { path })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::document::tests::{document, endpoint};
    use super::*;

    fn epochs(routes: &RoutesFile) -> [Option<u64>; 2] {
        [routes.read(), routes.read_previous()].map(|read| read.unwrap().map(|found| found.epoch().0))
    }

    #[test]
    fn a_published_document_is_what_every_process_reads() {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        assert_eq!(epochs(&routes), [None, None]);
        let first = document(1, vec![endpoint("only", "dev", &[1.0])]);
        assert_eq!(routes.publish(&first).unwrap(), first.digest());
        assert_eq!(epochs(&routes), [Some(1), None]);
        routes.publish(&document(2, Vec::new())).unwrap();
        let other = RoutesFile::open(folder.path()).unwrap();
        assert_eq!(epochs(&other), [Some(2), Some(1)]);
        assert_eq!(other.read_previous().unwrap(), Some(first));
    }

    #[test]
    fn a_step_that_runs_twice_publishes_once() {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        routes.publish(&document(1, Vec::new())).unwrap();
        let second = document(1, vec![endpoint("only", "dev", &[1.0])]);
        for _ in 0..2 {
            routes.publish(&second).unwrap();
            assert_eq!(routes.read_previous().unwrap(), Some(document(1, Vec::new())));
        }
    }

    #[test]
    fn the_document_of_a_past_reign_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        for epoch in [3, 4] {
            routes.publish(&document(epoch, Vec::new())).unwrap();
        }
        let refused = routes.publish(&document(3, vec![endpoint("only", "dev", &[1.0])])).unwrap_err();
        assert_eq!(refused.to_string(), "a route document of epoch 3 cannot replace one of epoch 4");
        assert_eq!(epochs(&routes), [Some(4), Some(3)]);
        // Also when only the one before can be read.
        fs::write(routes.current(), "half a docu").unwrap();
        assert!(routes.publish(&document(2, Vec::new())).is_err());
        routes.publish(&document(4, Vec::new())).unwrap();
        assert_eq!(epochs(&routes), [Some(4), Some(3)], "what could not be read is not kept");
    }

    #[test]
    fn every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        routes.publish(&document(1, vec![endpoint("only", "prod", &[1.0])])).unwrap();
        let good = fs::read(routes.current()).unwrap();
        for length in 0..good.len() {
            fs::write(routes.current(), &good[..length]).unwrap();
            assert!(routes.read().is_err(), "cut to {length} of {}", good.len());
        }
        for position in 0..good.len() {
            let mut bytes = good.clone();
            bytes[position] ^= 1;
            fs::write(routes.current(), &bytes).unwrap();
            assert!(routes.read().is_err(), "bit of byte {position}");
        }
        fs::remove_file(routes.current()).unwrap();
        fs::create_dir(routes.current()).unwrap();
        assert!(routes.read().is_err());
    }

    #[test]
    fn a_document_of_another_data_directory_is_forged_here() {
        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [routes, others] = [&folder, &other].map(|folder| RoutesFile::open(folder.path()).unwrap());
        others.publish(&document(1, Vec::new())).unwrap();
        fs::copy(others.current(), routes.current()).unwrap();
        assert!(matches!(routes.read(), Err(RoutesError::Forged { .. })));
    }

    #[test]
    fn the_largest_document_fits() {
        let folder = tempfile::tempdir().unwrap();
        let routes = RoutesFile::open(folder.path()).unwrap();
        let name = |i: usize| format!("{i:0>63}");
        let endpoints = (0..super::super::ENDPOINTS_LIMIT).map(|i| {
            let mut endpoint =
                endpoint("only", "prod", &[0.123_456_789_012_345_67; super::super::VARIANTS_LIMIT]);
            endpoint.name = name(i);
            endpoint.variants.iter_mut().enumerate().for_each(|(i, variant)| variant.name = name(i));
            endpoint
        });
        let document = document(u64::MAX, endpoints.collect());
        routes.publish(&document).unwrap();
        assert_eq!(routes.read().unwrap(), Some(document));
    }

    #[test]
    fn publishers_take_turns_and_readers_never_see_a_part() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let routes = RoutesFile::open(folder.path()).unwrap();
                    for epoch in 1..=10 {
                        // Another may be further.
                        let _ = routes.publish(&document(epoch, Vec::new()));
                        assert!(routes.read().unwrap().unwrap().epoch() >= Epoch(epoch));
                    }
                });
            }
        });
        assert_eq!(epochs(&RoutesFile::open(folder.path()).unwrap()), [Some(10), Some(9)]);
    }
}
