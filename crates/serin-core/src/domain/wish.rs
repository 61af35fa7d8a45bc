//! "A run is wanted, because ...": what triggers leave, and what becomes of it.

use serde::{Deserialize, Serialize};

use super::numbers::RunNumber;
use super::run::RunKind;

/// Why a run is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// A person or a program asked.
    Asked { by: String },
    /// A branch points to another commit.
    Commit { commit: String },
    /// Watched data changed.
    Data { digest: String },
    /// Data was uploaded.
    Upload { digest: String },
    /// A scheduled instant came, RFC 3339.
    Schedule { instant: String },
    /// An alarm or another event.
    Alarm { name: String },
}

/// A run that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub project: String,
    pub kind: RunKind,
    pub cause: Cause,
    /// Two wishes with one key are one wish.
    pub key: Option<String>,
    /// See [`Run::request`](super::Run::request).
    pub request: serde_json::Value,
    /// Earlier outputs are not taken.
    pub is_fresh: bool,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum WishOutcome {
    /// This run was made for it.
    Run { run: RunNumber },
    /// The same was wished before.
    Same { run: RunNumber },
    /// Not now: the reason is a rule's, such as the cooldown.
    Refused { rule: String, reason: String },
}

impl Cause {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Commit { .. } => "commit",
            Self::Data { .. } => "data",
            Self::Upload { .. } => "upload",
            Self::Schedule { .. } => "schedule",
            Self::Alarm { .. } => "alarm",
        }
    }

    /// Whether no person asked just now, so that cooldown and budget apply.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        !matches!(self, Self::Asked { .. } | Self::Upload { .. })
    }
}

/// In words, as in "run 3 wanted: commit 1f2e3d".
impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: &str| text.chars().take(12).collect::<String>();
        match self {
            Self::Asked { by } => write!(f, "{by} asked"),
            Self::Commit { commit } => write!(f, "commit {}", short(commit)),
            Self::Data { digest } => write!(f, "new data {}", short(digest)),
            Self::Upload { digest } => write!(f, "uploaded data {}", short(digest)),
            Self::Schedule { instant } => write!(f, "scheduled for {instant}"),
            Self::Alarm { name } => write!(f, "alarm {name}"),
        }
    }
}
