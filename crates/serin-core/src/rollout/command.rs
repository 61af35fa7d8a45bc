//! What a person may say to a rollout, and what it does in each phase.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::state::{Blame, Condition, Phase, Rollout, Why};
use crate::clock::Steady;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Stay where it is; what is found bad still goes back.
    Pause,
    /// Go on, also after it was held.
    Resume,
    /// Give the new version all requests and promote it, whatever is known of it.
    Promote,
    /// Give the version before all requests again.
    Abort,
}

/// Why it cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a rollout that is {phase} cannot be {what}")]
pub struct Unacceptable {
    pub phase: &'static str,
    pub what: &'static str,
}

impl Command {
    /// Its name as typed and stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

impl Rollout {
    /// Does what `by` says; false: it was so already.
    ///
    /// Aborting always wins and may be repeated; what has ended stays as it ended.
    ///
    /// # Errors
    /// When the phase does not allow it.
    pub fn command(
        &mut self,
        command: Command,
        by: &str,
        reason: &str,
        now: Steady,
    ) -> Result<bool, Unacceptable> {
        let refuse = |what| Err(Unacceptable { phase: self.phase.name(), what });
        match (command, &self.phase) {
            (Command::Abort, Phase::Returning { .. } | Phase::Ended { .. }) => Ok(false),
            (Command::Abort, _) => {
                let why = Why {
                    code: "aborted".to_owned(),
                    reason: format!("{by}: {reason}"),
                    blame: Blame::Nobody,
                    by: Some(by.to_owned()),
                    was_promoted: self.is_promoted(),
                };
                self.return_for(why, now);
                Ok(true)
            }
            (Command::Promote, Phase::Mirroring | Phase::Shifting { .. }) => {
                self.enter(Phase::AfterTraffic { hook: 0 }, now);
                self.promoted_by = Some(by.to_owned());
                Ok(true)
            }
            (Command::Promote, Phase::AfterTraffic { .. } | Phase::Probation) => Ok(false),
            // Nobody knows yet whether it answers at all.
            (Command::Promote, _) => refuse("promoted"),
            (
                Command::Pause,
                Phase::Loading
                | Phase::BeforeTraffic { .. }
                | Phase::Mirroring
                | Phase::Shifting { .. }
                | Phase::AfterTraffic { .. },
            ) => {
                if matches!(self.condition, Condition::Paused { .. }) {
                    return Ok(false);
                }
                self.condition = Condition::Paused { by: by.to_owned(), reason: reason.to_owned() };
                Ok(true)
            }
            (Command::Pause, _) => refuse("paused"),
            (Command::Resume, Phase::Returning { .. } | Phase::Ended { .. }) => refuse("resumed"),
            (Command::Resume, _) => {
                let is_new = self.condition != Condition::Going;
                self.condition = Condition::Going;
                Ok(is_new)
            }
        }
    }
}
