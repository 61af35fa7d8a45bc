//! A question to a person: bound to what it was asked about, answered once, open for a limited time.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::numbers::{ApprovalNumber, RunNumber, VersionNumber};
use crate::clock::{Steady, Timestamp};
use crate::digest::Digest;

/// A question and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approval {
    pub number: ApprovalNumber,
    pub run: RunNumber,
    /// The step that asks.
    pub step: String,
    pub subject: ApprovalSubject,
    pub created: Timestamp,
    /// No answer is taken from here on.
    pub expires: Steady,
    /// The same as people read it, if no clock is set meanwhile.
    pub expires_about: Timestamp,
    /// Whoever asked for the run may not answer.
    pub needs_four_eyes: bool,
    /// Who asked for the run, when a person did.
    pub asked_by: Option<String>,
    pub state: ApprovalState,
}

/// What is approved: these digests and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalSubject {
    pub project: String,
    pub stage: String,
    pub version: VersionNumber,
    /// Code and data.
    pub revision: Digest,
    /// The bundle.
    pub bundle: Digest,
    /// What the approver was shown: the document of numbers, champion beside challenger, differences in the data.
    pub shown: Digest,
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ApprovalState {
    Open,
    Approved {
        by: String,
        reason: String,
        time: Timestamp,
    },
    Rejected {
        by: String,
        reason: String,
        time: Timestamp,
    },
    Expired {
        time: Timestamp,
    },
    /// The run ended without it.
    Withdrawn {
        time: Timestamp,
    },
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Approve,
    Reject,
}

/// An answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub verdict: Verdict,
    pub by: String,
    pub reason: String,
    /// The digest of what the person saw, when the caller says so: another one is refused.
    pub seen: Option<Digest>,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("there is no approval {number}")]
    Unknown { number: ApprovalNumber },
    #[error("approval {number} is {state} already")]
    Closed { number: ApprovalNumber, state: String },
    #[error("approval {number} expired")]
    Expired { number: ApprovalNumber },
    #[error("what approval {number} shows is not what was seen: look again")]
    Changed { number: ApprovalNumber },
    #[error("{by} asked for the run of approval {number}: another person must approve it")]
    FourEyes { number: ApprovalNumber, by: String },
    #[error("an approval needs the name of who decides, and a reason")]
    Incomplete,
}

impl Approval {
    /// The state after an answer.
    ///
    /// # Errors
    /// When it is no longer open, or the answer is not acceptable.
    pub fn decide(
        &self,
        decided: &Decided,
        now: Timestamp,
        steady: Steady,
    ) -> Result<ApprovalState, Refusal> {
        let number = self.number;
        if self.state != ApprovalState::Open {
            return Err(Refusal::Closed { number, state: self.state.name().to_owned() });
        }
        if steady >= self.expires {
            return Err(Refusal::Expired { number });
        }
        if decided.by.trim().is_empty() || decided.reason.trim().is_empty() {
            return Err(Refusal::Incomplete);
        }
        if decided.seen.is_some_and(|seen| seen != self.subject.shown) {
            return Err(Refusal::Changed { number });
        }
        let (by, reason, time) = (decided.by.clone(), decided.reason.clone(), now);
        match decided.verdict {
            Verdict::Reject => Ok(ApprovalState::Rejected { by, reason, time }),
            Verdict::Approve if self.needs_four_eyes && self.asked_by.as_ref() == Some(&by) => {
                Err(Refusal::FourEyes { number, by })
            }
            Verdict::Approve => Ok(ApprovalState::Approved { by, reason, time }),
        }
    }
}

impl ApprovalState {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }
}
