//! A model that only a program of its trainer's own can ask.

use serde::{Deserialize, Serialize};

use super::family::{MAXIMUM_CLASSES, MAXIMUM_FEATURES};
use super::fitted::InvalidModel;

/// Longest name of files.
const FILES_BYTES: usize = 128;

/// The place of a model whose answers come from elsewhere: a server that its trainer brings, with files that are kept beside the
/// bundle. Asked here it gives no numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApartModel {
    n_features: usize,
    n_classes: usize,
    files: String,
}

impl ApartModel {
    /// For rows of `n_features` values and `n_classes` classes, with files that are kept under a name.
    #[must_use]
    pub fn new(n_features: usize, n_classes: usize, files: String) -> Self {
        Self { n_features, n_classes, files }
    }

    /// What its files are kept under.
    #[must_use]
    pub fn files(&self) -> &str {
        &self.files
    }

    pub(super) fn n_features(&self) -> usize {
        self.n_features
    }

    pub(super) fn n_classes(&self) -> usize {
        self.n_classes
    }

    pub(super) fn validate(&self) -> Result<(), InvalidModel> {
        InvalidModel::check_count("features", self.n_features, 1..=MAXIMUM_FEATURES)?;
        InvalidModel::check_count("classes", self.n_classes, 2..=MAXIMUM_CLASSES)?;
        InvalidModel::check_count("bytes of its files' name", self.files.len(), 1..=FILES_BYTES)
    }
}
