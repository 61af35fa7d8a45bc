//! Model versions, and where they come from.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::domain;
use serin_core::pipeline::documents;
use serin_core::store::DecisionRecord;
use utoipa::ToSchema;

use super::{Approval, Outcome, Period, Step};

/// A registered bundle.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Version {
    pub number: u64,
    pub project: String,
    /// The run that made it.
    pub run: u64,
    /// Digest of the bundle's content.
    pub bundle: String,
    /// Digest of the bundle's file.
    pub artifact: String,
    /// Digest of the code and data it was made of.
    pub revision: String,
    pub created: String,
    pub state: VersionState,
    /// On the frozen hold-out.
    pub metrics: BTreeMap<String, f64>,
    pub aliases: Vec<String>,
    pub tags: BTreeMap<String, String>,
    /// Where and when it served; left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Vec<Period>>,
}

/// Whether a version may serve where approval is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum VersionState {
    Pending,
    Approved { by: String, reason: String, time: String },
    Rejected { by: String, reason: String, time: String },
}

/// A version that was decided about, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Decided {
    #[serde(flatten)]
    pub version: Version,
    /// What becomes of the stages that it serves and that ask for approval.
    pub rollbacks: Vec<Rollback>,
}

/// What becomes of a stage whose version was rejected.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Rollback {
    pub stage: String,
    /// The version that is brought back; `null`: none may serve.
    pub version: Option<u64>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Two versions side by side.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Comparison {
    pub left: Version,
    pub right: Version,
    pub metrics: BTreeMap<String, Sides<f64>>,
    /// By class.
    pub recall: BTreeMap<String, Sides<f64>>,
    /// Those that differ.
    pub parameters: BTreeMap<String, Sides<String>>,
    /// Training rows of the classes of which there are not the same number.
    pub class_rows: BTreeMap<String, Sides<u64>>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// The same of both; what one does not have is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Sides<T> {
    pub left: Option<T>,
    pub right: Option<T>,
}

/// Everything that a version comes from, and everything that came of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Lineage {
    pub version: Version,
    pub run: super::Run,
    /// `null`: a folder was built as it was.
    pub commit: Option<Commit>,
    pub data: Vec<DataFile>,
    /// Digest of all that decides the model besides its data.
    pub recipe: Option<String>,
    pub parameters: BTreeMap<String, String>,
    pub steps: Vec<Step>,
    /// The gate's.
    pub decision: Option<LineageDecision>,
    pub approvals: Vec<Approval>,
    pub served: Vec<Period>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// A decision in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LineageDecision {
    pub number: u64,
    pub verdict: String,
    pub explanation: String,
}

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Commit {
    pub id: String,
    pub branch: String,
    pub author: String,
    pub time: String,
    pub subject: String,
}

/// A frozen file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DataFile {
    /// `train`, `test` or `baseline`.
    pub role: &'static str,
    pub name: String,
    pub digest: String,
    pub bytes: u64,
}

impl From<&domain::ModelVersion> for Version {
    fn from(version: &domain::ModelVersion) -> Self {
        Self {
            number: version.number.0,
            project: version.project.clone(),
            run: version.run.0,
            bundle: version.bundle.clone(),
            artifact: version.artifact.to_string(),
            revision: version.revision.to_string(),
            created: version.created.to_rfc3339(),
            state: (&version.state).into(),
            metrics: version.metrics.clone(),
            aliases: version.aliases.clone(),
            tags: version.tags.clone(),
            served: None,
        }
    }
}

impl From<&domain::VersionState> for VersionState {
    fn from(state: &domain::VersionState) -> Self {
        use domain::VersionState as State;
        match state.clone() {
            State::Pending => Self::Pending,
            State::Approved { by, reason, time } => Self::Approved { by, reason, time: time.to_rfc3339() },
            State::Rejected { by, reason, time } => Self::Rejected { by, reason, time: time.to_rfc3339() },
        }
    }
}

impl From<DecisionRecord> for LineageDecision {
    fn from(decision: DecisionRecord) -> Self {
        let DecisionRecord { number, verdict, explanation, .. } = decision;
        Self { number: number.0, verdict, explanation }
    }
}

impl From<documents::Commit> for Commit {
    fn from(commit: documents::Commit) -> Self {
        let documents::Commit { id, branch, author, time, subject } = commit;
        Self { id, branch, author, time, subject }
    }
}

impl From<documents::DataFile> for DataFile {
    fn from(file: documents::DataFile) -> Self {
        let role = match file.role {
            documents::DataRole::Train => "train",
            documents::DataRole::Test => "test",
            documents::DataRole::Baseline => "baseline",
            documents::DataRole::Recent => "recent",
        };
        Self { role, name: file.name, digest: file.digest.to_string(), bytes: file.bytes }
    }
}

/// Everything that one of two has.
pub fn sides<T: Clone>(
    left: &BTreeMap<String, T>,
    right: &BTreeMap<String, T>,
) -> BTreeMap<String, Sides<T>> {
    let names = left.keys().chain(right.keys());
    let side = |name: &String| Sides { left: left.get(name).cloned(), right: right.get(name).cloned() };
    names.map(|name| (name.clone(), side(name))).collect()
}

/// The same without what both have alike.
pub fn differences<T: Clone + PartialEq>(
    left: &BTreeMap<String, T>,
    right: &BTreeMap<String, T>,
) -> BTreeMap<String, Sides<T>> {
    let mut sides = sides(left, right);
    sides.retain(|_, side| side.left != side.right);
    sides
}
