//! What a run is asked for besides its cause.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifacts::Artifacts;
use crate::digest::Digest;
use crate::domain::VersionNumber;
use crate::source::upload::{RowSource, Upload};

/// Largest file of rows.
pub(super) const ROWS_LIMIT_BYTES: u64 = 64 << 30;

/// What a training run is asked for: data in place of what the settings name, and other parameters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainRequest {
    /// Uploaded files; empty: what the settings name.
    pub data: Vec<DataFile>,
    /// Keys of `[train]` and their values.
    pub hyperparameters: BTreeMap<String, serde_json::Value>,
}

/// What a deployment is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    pub stage: String,
    pub version: VersionNumber,
    pub reason: String,
}

/// A frozen file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    pub role: DataRole,
    /// As its owner called it, for people.
    pub name: String,
    pub digest: Digest,
    pub bytes: u64,
}

/// What rows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataRole {
    Train,
    /// The frozen hold-out.
    Test,
    /// What the baseline is made of, when that is not the training rows.
    Baseline,
    /// Labelled live rows that are kept out of training: the new model must not be worse than the champion on them.
    Recent,
}

impl DataFile {
    /// The file's name in a work folder: made by us but for its format.
    #[must_use]
    pub fn work_name(&self, position: usize) -> String {
        let name = self.name.to_ascii_lowercase();
        let format =
            [".csv.gz", ".parquet"].into_iter().find(|format| name.ends_with(format)).unwrap_or(".csv");
        let role = match self.role {
            DataRole::Train => "train",
            DataRole::Test => "test",
            DataRole::Baseline => "baseline",
            DataRole::Recent => "recent",
        };
        format!("{role}-{position}{format}")
    }
}

impl TrainRequest {
    /// What an upload asks for. Rows that it names by path are frozen now.
    ///
    /// # Errors
    /// When such a path cannot be read; in words, for who uploaded it.
    pub fn of_upload(upload: &Upload, folder: &Path, artifacts: &Artifacts) -> Result<Self, String> {
        let sources = [
            (DataRole::Train, Some(&upload.train)),
            (DataRole::Test, upload.test.as_ref()),
            (DataRole::Baseline, upload.baseline.as_ref()),
        ];
        let mut data = Vec::new();
        for (role, source) in sources.into_iter().filter_map(|(role, source)| Some((role, source?))) {
            data.push(match source {
                RowSource::File { name, digest, bytes } => {
                    DataFile { role, name: name.clone(), digest: *digest, bytes: *bytes }
                }
                RowSource::Path { path } => {
                    let file = folder.join(path);
                    let put = artifacts.put_file(&file, ROWS_LIMIT_BYTES);
                    let (digest, bytes) = put.map_err(|error| format!("{path}: {error}"))?;
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    DataFile { role, name, digest, bytes }
                }
            });
        }
        let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
        let hyperparameters =
            upload.hyperparameters.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        Ok(Self { data, hyperparameters })
    }
}
