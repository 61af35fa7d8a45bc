//! Where the control interface of a data directory can be asked: the commands find it so.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serin_core::files;

/// The file `control.json` of a data directory, there while a control plane runs. One that was killed leaves it behind:
/// who reads it must be ready to find nobody there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlNote {
    /// The address of the control interface, such as `http://127.0.0.1:8090`.
    pub url: String,
}

impl ControlNote {
    /// The file of a data directory.
    #[must_use]
    pub fn path(data_directory: &Path) -> PathBuf {
        data_directory.join("control.json")
    }

    /// Writes the file whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, data_directory: &Path) -> io::Result<()> {
        files::publish(&Self::path(data_directory), &serde_json::to_vec(self)?)
    }

    /// The note; `None` when there is none, or nothing that can be understood.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_directory: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(Self::path(data_directory)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(data_directory: &Path) -> io::Result<()> {
        match std::fs::remove_file(Self::path(data_directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_there_until_it_is_removed_and_nonsense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert_eq!(ControlNote::read(at).unwrap(), None);
        let note = ControlNote { url: "http://127.0.0.1:8090".into() };
        note.write(at).unwrap();
        assert_eq!(ControlNote::read(at).unwrap(), Some(note));
        std::fs::write(ControlNote::path(at), "{").unwrap();
        assert_eq!(ControlNote::read(at).unwrap(), None);
        ControlNote::remove(at).unwrap();
        ControlNote::remove(at).unwrap();
        assert!(!ControlNote::path(at).exists());
    }
}
