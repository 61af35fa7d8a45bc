//! Questions to people.

use serde::Serialize;
use serde_json::Value;
use serin_core::domain;
use utoipa::ToSchema;

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Approval {
    pub number: u64,
    pub run: u64,
    pub project: String,
    pub stage: String,
    /// The step that asks.
    pub step: String,
    pub version: u64,
    pub state: ApprovalState,
    pub created: String,
    /// No answer is taken from here on, if no clock is set meanwhile.
    pub expires: String,
    /// Whoever asked for the run may not approve.
    pub four_eyes: bool,
    pub asked_by: Option<String>,
    /// Digest of code and data.
    pub revision: String,
    /// Digest of the bundle's file.
    pub bundle: String,
    /// Digest of the sheet: `seen` of an answer.
    pub shown: String,
    /// What the approver is shown; left out in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<Value>,
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ApprovalState {
    Open,
    Approved { by: String, reason: String, time: String },
    Rejected { by: String, reason: String, time: String },
    Expired { time: String },
    Withdrawn { time: String },
}

impl From<&domain::Approval> for Approval {
    fn from(approval: &domain::Approval) -> Self {
        let subject = &approval.subject;
        Self {
            number: approval.number.0,
            run: approval.run.0,
            project: subject.project.clone(),
            stage: subject.stage.clone(),
            step: approval.step.clone(),
            version: subject.version.0,
            state: (&approval.state).into(),
            created: approval.created.to_rfc3339(),
            expires: approval.expires_about.to_rfc3339(),
            four_eyes: approval.needs_four_eyes,
            asked_by: approval.asked_by.clone(),
            revision: subject.revision.to_string(),
            bundle: subject.bundle.to_string(),
            shown: subject.shown.to_string(),
            sheet: None,
        }
    }
}

impl From<&domain::ApprovalState> for ApprovalState {
    fn from(state: &domain::ApprovalState) -> Self {
        use domain::ApprovalState as State;
        match state.clone() {
            State::Open => Self::Open,
            State::Approved { by, reason, time } => Self::Approved { by, reason, time: time.to_rfc3339() },
            State::Rejected { by, reason, time } => Self::Rejected { by, reason, time: time.to_rfc3339() },
            State::Expired { time } => Self::Expired { time: time.to_rfc3339() },
            State::Withdrawn { time } => Self::Withdrawn { time: time.to_rfc3339() },
        }
    }
}
