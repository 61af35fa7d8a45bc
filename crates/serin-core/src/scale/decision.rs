//! What was decided, with all that it rests on.

use serde::{Deserialize, Serialize};

use super::scaler::Scaler;
use crate::clock::{Steady, Timestamp};

/// Another number of replicas, or that it stays although something speaks for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaleDecision {
    pub from: u32,
    pub to: u32,
    /// Does not change between versions: `target-tracking-out`, `step-out`, `fast-out`, `from-zero`, `scale-in`,
    /// `schedule`, `bounds`, `floor`, `by-hand` or `hold`.
    pub rule: String,
    /// One sentence with numbers, without a full stop.
    pub reason: String,
    /// Enough to decide it again.
    pub inputs: ScaleInputs,
}

/// A decision with the place it was made for: what the control plane keeps of it, as [`crate::store`]'s decisions have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaleFacts {
    pub endpoint: String,
    pub stage: String,
    /// The model version whose replicas these are.
    pub version: String,
    /// Which one of the gateway's it is.
    pub number: u64,
    pub from: u32,
    pub to: u32,
    pub rule: String,
    pub reason: String,
    pub inputs: ScaleInputs,
}

/// The scaler as it was, and what was asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaleInputs {
    pub scaler: Scaler,
    pub asked: Asked,
}

/// A question to a scaler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "kebab-case")]
pub enum Asked {
    /// What the rules say.
    Rules { now: Steady, wall: Timestamp },
    /// A person said how many.
    Hand { desired: u32, now: Steady, by: String },
}

impl ScaleDecision {
    /// The verdict in a few words: `2 to 3`, or `stay at 2`.
    #[must_use]
    pub fn verdict(&self) -> String {
        if self.from == self.to {
            format!("stay at {}", self.to)
        } else {
            format!("{} to {}", self.from, self.to)
        }
    }

    /// Where, by which rule and why, in one line.
    #[must_use]
    pub fn explanation(&self, endpoint: &str, version: &str) -> String {
        format!("{endpoint} version {version}, {}: {}", self.rule, self.reason)
    }
}

impl ScaleFacts {
    /// What was decided.
    #[must_use]
    pub fn decision(self) -> ScaleDecision {
        let Self { from, to, rule, reason, inputs, .. } = self;
        ScaleDecision { from, to, rule, reason, inputs }
    }
}

/// The same decision again. `None`: these rules decide nothing there.
#[must_use]
pub fn replay(inputs: &ScaleInputs) -> Option<ScaleDecision> {
    let mut scaler = inputs.scaler.clone();
    match &inputs.asked {
        Asked::Rules { now, wall } => scaler.decide(*now, *wall),
        Asked::Hand { desired, now, by } => Some(scaler.set_desired(*desired, *now, by)),
    }
}
