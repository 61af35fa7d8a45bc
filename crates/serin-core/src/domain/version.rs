//! A model version: the registry's entry for a bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::numbers::{RunNumber, VersionNumber};
use crate::clock::Timestamp;
use crate::digest::Digest;

/// A registered bundle. What it is never changes; its state, aliases and tags do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelVersion {
    pub number: VersionNumber,
    pub project: String,
    /// The run that made it.
    pub run: RunNumber,
    /// Digest of the bundle's content, as `serin inspect` shows it.
    pub bundle: String,
    /// Digest of the bundle's file.
    pub artifact: Digest,
    /// Code and data it was made of.
    pub revision: Digest,
    pub created: Timestamp,
    pub state: VersionState,
    /// Metric by name on the frozen hold-out; what could not be measured is absent.
    pub metrics: BTreeMap<String, f64>,
    /// Names that point here, such as `champion`.
    pub aliases: Vec<String>,
    pub tags: BTreeMap<String, String>,
}

/// Whether a version may serve where approval is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum VersionState {
    Pending,
    Approved {
        by: String,
        reason: String,
        time: Timestamp,
    },
    /// By a person, or by the gate.
    Rejected {
        by: String,
        reason: String,
        time: Timestamp,
    },
}

impl VersionState {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
        }
    }
}
