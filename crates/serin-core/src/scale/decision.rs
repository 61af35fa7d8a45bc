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

/// The same decision again. `None`: these rules decide nothing there.
#[must_use]
pub fn replay(inputs: &ScaleInputs) -> Option<ScaleDecision> {
    let mut scaler = inputs.scaler.clone();
    match &inputs.asked {
        Asked::Rules { now, wall } => scaler.decide(*now, *wall),
        Asked::Hand { desired, now, by } => Some(scaler.set_desired(*desired, *now, by)),
    }
}
