//! What steps leave behind. Each document is one JSON artifact with its format's version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_ml::evaluate::{ChampionComparison, DataFinding, Evaluation, GateFinding, Gates, Overlap};

pub use super::request::{DataFile, DataRole};
use crate::clock::Timestamp;
use crate::config::{CommandSettings, StageSettings};
use crate::digest::Digest;
use crate::domain::{DecisionNumber, VersionNumber};

/// The version of every document below.
pub const FORMAT: u32 = 1;

/// A document with its version in front.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// Not called `version` in the file: documents have versions of models in them.
    #[serde(rename = "format")]
    pub version: u32,
    #[serde(flatten)]
    pub document: T,
}

/// Of `source`: the files that are built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceOutput {
    /// Artifact of the tree: every file of the commit, or of the folder.
    pub tree: Digest,
    /// `None`: the folder as it was.
    pub commit: Option<Commit>,
    /// Where in the tree the project is.
    pub folder: String,
    pub files: usize,
    pub bytes: u64,
}

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: String,
    pub branch: String,
    pub author: String,
    pub time: String,
    pub subject: String,
}

/// Of `build`: the plan, frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildOutput {
    /// Artifact of the settings that train: a `serin.toml` that names its data as a work folder has it.
    pub settings: Digest,
    /// Digest of everything that decides the model: settings, code of the user's own steps, this program's version.
    pub recipe: Digest,
    /// Code and data together.
    pub revision: Digest,
    pub data: Vec<DataFile>,
    pub target: String,
    pub seed: u64,
    pub metric: String,
    pub stages: Vec<StageSettings>,
    pub gates: Gates,
    pub prepare: Option<CommandSettings>,
    pub train: Option<CommandSettings>,
    pub evaluate: Option<CommandSettings>,
    /// What serves the version instead of Serin. Plans that were frozen before there was such a thing have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<CommandSettings>,
    /// The version of this program.
    pub serin: String,
}

/// Of `prepare`: the data that the user's own preparation made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrepareOutput {
    pub data: Vec<DataFile>,
    pub message: Option<String>,
}

/// Of `baseline`: what the data is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineOutput {
    /// Artifact of the profile of the training rows.
    pub profile: Digest,
    pub rows: usize,
    pub features: usize,
    pub class_rows: BTreeMap<String, usize>,
    /// Errors and warnings of the data checks.
    pub findings: Vec<DataNote>,
}

/// A finding of the data checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNote {
    pub severity: String,
    pub code: String,
    pub text: String,
}

/// Of `train`: the model and what was written about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOutput {
    /// Artifact of the bundle's file.
    pub artifact: Digest,
    /// Digest of the bundle's content.
    pub bundle: String,
    pub classes: Vec<String>,
    pub features: usize,
    /// Other files, such as `report.html`, by name.
    pub files: BTreeMap<String, Digest>,
    /// What the model consists of, in words.
    pub summary: String,
}

/// Of `experiment`: the parameters that were recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentOutput {
    pub parameters: BTreeMap<String, String>,
}

/// Of `register`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterOutput {
    pub number: VersionNumber,
    pub artifact: Digest,
    pub bundle: String,
}

/// Of `evaluate`: numbers on the frozen hold-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateOutput {
    pub evaluation: Evaluation,
    /// Whether the rows were held out, rather than judged out of fold.
    pub is_held_out: bool,
    pub overlap: Overlap,
    pub findings: Vec<DataFinding>,
    pub champion: Option<ChampionOutput>,
    /// Both on labelled live rows that were kept out of training, when the run was asked for with some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<ChampionComparison>,
    /// What the user's own evaluation said.
    pub message: Option<String>,
    /// Files that it left, by name.
    pub files: BTreeMap<String, Digest>,
}

/// The version that served, beside the new one on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChampionOutput {
    pub number: VersionNumber,
    pub bundle: String,
    pub comparison: Option<ChampionComparison>,
    /// The champion's own numbers on these rows.
    pub evaluation: Option<Evaluation>,
    /// Why there is no comparison.
    pub incomparable: Option<String>,
}

/// Of `gate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateOutput {
    pub decision: DecisionNumber,
    pub findings: Vec<GateFinding>,
}

/// What an approver is shown; its digest is part of the approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalSheet {
    pub stage: String,
    pub project: String,
    pub version: VersionNumber,
    pub bundle: String,
    pub revision: Digest,
    pub commit: Option<Commit>,
    pub data: Vec<DataFile>,
    /// Metric: challenger, and champion where there is one.
    pub metrics: BTreeMap<String, Compared>,
    /// Class: recall of challenger and champion.
    pub recall: BTreeMap<String, Compared>,
    pub champion: Option<VersionNumber>,
    /// Share of paired resamples in which the challenger is better.
    pub better_share: Option<f64>,
    pub incomparable: Option<String>,
    /// Rows by class in the training data: now, and of the champion.
    pub class_rows: BTreeMap<String, Compared>,
    pub findings: Vec<DataNote>,
    pub gates: Vec<GateFinding>,
}

/// Two numbers side by side; what is not known is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Compared {
    pub challenger: Option<f64>,
    pub champion: Option<f64>,
}

/// Of `deploy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployOutput {
    pub stage: String,
    pub endpoint: String,
    pub epoch: u64,
    pub versions: Vec<VersionNumber>,
    /// What served before; empty: nothing.
    pub previous: Vec<ServedVariant>,
    pub applied: Timestamp,
}

/// A variant as it served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedVariant {
    pub name: String,
    pub weight: f64,
    pub version: VersionNumber,
}

/// Of `smoke`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeOutput {
    pub endpoint: String,
    pub rows: usize,
    /// Greatest difference of a probability.
    pub largest_difference: f64,
}

/// Of `monitor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorOutput {
    pub endpoint: String,
    pub version: VersionNumber,
    pub baseline: Option<Digest>,
}
