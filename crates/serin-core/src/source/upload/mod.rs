//! Data sent as an archive: `data-source.zip`, with `inputData.json` (which rows to train on), `hyperparameters.json`
//! (settings of `[train]`), and the files of rows that the first one names.
//!
//! The archive is read strictly and never extracted: only expected names are taken, each entry is read within its
//! declared size into content named by digest, and whatever two readers could understand differently is refused. A
//! refused upload leaves nothing behind.

mod archive;
mod inputs;

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::archive::{Archive, Entry};
use crate::artifacts::{ArtifactError, Artifacts, Staged};
use crate::digest::Digest;

/// The file that says which rows are which.
pub const INPUTS_FILE: &str = "inputData.json";

/// The file with settings of `[train]`.
pub const HYPERPARAMETERS_FILE: &str = "hyperparameters.json";

/// What may end the name of a file of rows.
pub const DATA_ENDINGS: [&str; 3] = [".csv", ".csv.gz", ".parquet"];

/// Most bytes of an archive.
pub const ARCHIVE_LIMIT_BYTES: u64 = 2 << 30;

/// Most bytes of all entries together, unpacked.
pub const TOTAL_LIMIT_BYTES: u64 = 2 << 30;

/// Most entries.
pub const ENTRIES_LIMIT: u64 = 100;

/// Most bytes that one packed byte may become, in entries of more than [`RATIO_FREE_BYTES`].
pub const RATIO_LIMIT: u64 = 100;

/// Entries up to this size may be packed as tightly as they are.
pub const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Largest of the two JSON files.
pub const DOCUMENT_LIMIT_BYTES: u64 = 1 << 20;

/// What an upload may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadRules {
    /// Whether rows may be named by paths on this machine, as well as by files in the archive.
    pub allow_paths: bool,
}

/// An upload that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// Of the archive, which is an artifact too: the same archive is the same upload.
    pub digest: Digest,
    pub train: RowSource,
    pub test: Option<RowSource>,
    pub baseline: Option<RowSource>,
    /// Keys of `[train]` with their values as text, each accepted by the settings.
    pub hyperparameters: BTreeMap<String, String>,
}

/// Where rows of an upload are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RowSource {
    /// A file of the archive, now an artifact. Its name tells its format.
    File { name: String, digest: Digest, bytes: u64 },
    /// A path on this machine: absolute, or below the project's folder.
    Path { path: String },
}

/// Why an upload was refused.
#[derive(Debug, Error)]
pub enum UploadError {
    #[error("this is not a ZIP archive")]
    MediaType,
    #[error(
        "{name:?} is not expected: a ZIP archive here holds {INPUTS_FILE}, {HYPERPARAMETERS_FILE} and files *.csv, *.csv.gz or *.parquet at its top, named with ASCII letters, digits, spaces, `.`, `_` and `-`"
    )]
    Name { name: String },
    #[error("{name:?} is not a regular file")]
    Kind { name: String },
    #[error("{name:?} is there twice; names that differ by case alone are one name")]
    Duplicate { name: String },
    #[error("{name:?} shares bytes with another file of the archive")]
    Overlap { name: String },
    #[error("{what}")]
    TooLarge { what: TooLarge },
    #[error("there are more than {ENTRIES_LIMIT} files in the archive, which is the limit")]
    Entries,
    #[error("the archive contradicts itself, so that others may read it differently: {problem}")]
    Inconsistent { problem: String },
    #[error("{name:?} is encrypted, or packed by another method than `stored` and `deflate`")]
    Method { name: String },
    #[error("the archive is damaged: {problem}")]
    Corrupt { problem: String },
    #[error("{INPUTS_FILE}: {problem}")]
    Inputs { problem: String },
    #[error("{HYPERPARAMETERS_FILE}: {key}: {problem}; write {allowed}")]
    Hyperparameter { key: String, problem: String, allowed: String },
    #[error("the upload cannot be stored")]
    Storage(#[source] ArtifactError),
}

/// Which size is beyond its limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TooLarge {
    #[error("the archive has more than {ARCHIVE_LIMIT_BYTES} bytes, which is the limit")]
    Archive,
    #[error("its files have more than {TOTAL_LIMIT_BYTES} bytes in all, which is the limit")]
    Total,
    #[error("{name:?} has more than {DOCUMENT_LIMIT_BYTES} bytes, which is the limit")]
    Document { name: String },
    #[error("{name:?} grows more than {RATIO_LIMIT} times when it is unpacked")]
    Ratio { name: String },
    #[error("{name:?} is larger than it says")]
    Declared { name: String },
}

impl UploadError {
    /// A name that programs can rely on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MediaType => "unsupported_media_type",
            Self::Name { .. } => "archive_entry_name",
            Self::Kind { .. } => "archive_entry_type",
            Self::Duplicate { .. } => "archive_duplicate",
            Self::Overlap { .. } => "archive_overlap",
            Self::TooLarge { .. } => "archive_too_large",
            Self::Entries => "archive_entries",
            Self::Inconsistent { .. } => "archive_inconsistent",
            Self::Method { .. } => "archive_method",
            Self::Corrupt { .. } => "archive_corrupt",
            Self::Inputs { .. } => "archive_inputs",
            Self::Hyperparameter { .. } => "hyperparameter",
            Self::Storage(ArtifactError::StorageFull { .. }) => "storage_full",
            Self::Storage(_) => "storage",
        }
    }

    /// The status of the answer to whoever sent it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::MediaType => 415,
            Self::TooLarge { .. } | Self::Entries => 413,
            Self::Storage(ArtifactError::StorageFull { .. }) => 507,
            Self::Storage(_) => 503,
            _ => 422,
        }
    }
}

/// A file of rows that was unpacked and is not kept yet.
struct Unpacked {
    name: String,
    staged: Staged,
}

impl Upload {
    /// Reads an archive to its end, checks all of it, and stores it with its files of rows.
    ///
    /// # Errors
    /// When it is refused or cannot be stored; nothing of it is kept then.
    pub fn receive(
        archive: impl Read,
        artifacts: &Artifacts,
        rules: UploadRules,
    ) -> Result<Self, UploadError> {
        let received = artifacts.stage(archive, ARCHIVE_LIMIT_BYTES).map_err(|error| match error {
            ArtifactError::TooLarge { .. } => UploadError::TooLarge { what: TooLarge::Archive },
            ArtifactError::Source(error) => {
                UploadError::Corrupt { problem: format!("it breaks off: {error}") }
            }
            other => UploadError::Storage(other),
        })?;
        let archive = Archive::open(received.file(), received.bytes())?;
        let mut documents = BTreeMap::new();
        let mut unpacked = Vec::new();
        for entry in archive.entries() {
            if matches!(entry.name.as_str(), INPUTS_FILE | HYPERPARAMETERS_FILE) {
                documents.insert(entry.name.as_str(), document(&archive, entry)?);
            } else {
                unpacked.push(unpack(&archive, entry, artifacts)?);
            }
        }
        let hyperparameters =
            inputs::hyperparameters(documents.get(HYPERPARAMETERS_FILE).map(Vec::as_slice))?;
        let named = inputs::named_rows(documents.get(INPUTS_FILE).map(Vec::as_slice))?;
        let [train, test, baseline] = named.resolve(&unpacked, rules)?;
        // Everything is known to be good: from here on only the disk can refuse.
        let digest = artifacts.keep(received).map_err(UploadError::Storage)?;
        for Unpacked { staged, .. } in unpacked {
            artifacts.keep(staged).map_err(UploadError::Storage)?;
        }
        let missing = || UploadError::Inputs { problem: "TrainingUri is missing".into() };
        Ok(Self { digest, train: train.ok_or_else(missing)?, test, baseline, hyperparameters })
    }
}

/// A JSON file, whole.
fn document(archive: &Archive, entry: &Entry) -> Result<Vec<u8>, UploadError> {
    if entry.bytes > DOCUMENT_LIMIT_BYTES {
        let what = TooLarge::Document { name: entry.name.clone() };
        return Err(UploadError::TooLarge { what });
    }
    let mut bytes = Vec::new();
    let mut content = archive.content(entry)?;
    match content.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(content.refusal(&error)),
    }
}

/// A file of rows, on disk.
fn unpack(archive: &Archive, entry: &Entry, artifacts: &Artifacts) -> Result<Unpacked, UploadError> {
    let mut content = archive.content(entry)?;
    match artifacts.stage(&mut content, entry.bytes) {
        Ok(staged) => Ok(Unpacked { name: entry.name.clone(), staged }),
        Err(ArtifactError::Source(error)) => Err(content.refusal(&error)),
        Err(other) => Err(UploadError::Storage(other)),
    }
}

/// What a failed reading of the archive means.
fn unreadable(error: &io::Error) -> UploadError {
    UploadError::Corrupt { problem: error.to_string() }
}
