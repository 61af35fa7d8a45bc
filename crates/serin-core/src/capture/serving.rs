//! Where the server of a data directory can be asked: commands that would write go through it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;

/// The file `serving.json` of a data directory, there while a server runs. A server that was killed leaves it behind: who
/// reads it must be ready to find nobody there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// The address of the main port, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The address of health, metrics and routes.
    #[serde(default)]
    pub admin: Option<String>,
}

impl Serving {
    /// Writes the file whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, data_directory: &Path) -> io::Result<()> {
        files::publish(&path(data_directory), &serde_json::to_vec(self)?)
    }

    /// The server's note; `None` when there is none, or nothing that can be understood.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_directory: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path(data_directory)) {
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
        match std::fs::remove_file(path(data_directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn path(data_directory: &Path) -> PathBuf {
    data_directory.join("serving.json")
}
