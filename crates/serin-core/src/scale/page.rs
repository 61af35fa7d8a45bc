//! What a gateway tells about its replicas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decision::ScaleDecision;
use super::status::ScalerStatus;
use crate::clock::{Steady, Timestamp};

/// The address of the gateway's admin port that tells it.
pub const FLEETS: &str = "/replicas";
/// Where it takes a [`FleetCommand`].
pub const FLEET_COMMANDS: &str = "/replicas/commands";
/// The header with the command's signature: HMAC-SHA256 with the key of the data directory's routes, in hexadecimal.
pub const COMMAND_SIGNATURE: &str = "x-serin-signature";

/// All fleets of a gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FleetsPage {
    /// Tells this process of the gateway from the one before.
    pub process: String,
    pub fleets: Vec<FleetPage>,
}

/// The replicas of one version at one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetPage {
    pub endpoint: String,
    pub version: String,
    /// `process` or `container`.
    pub runtime: String,
    /// The moment of this page, as the times of its scaler are counted.
    pub now: Steady,
    /// It is routed no longer, and ends.
    pub is_retired: bool,
    pub waiting: u32,
    pub in_flight: u32,
    /// Since the fleet began.
    pub requests: u64,
    pub retries: u64,
    pub ejections: u64,
    pub starts: u64,
    /// Replicas that ended without being asked to.
    pub ends: u64,
    /// Attempts that failed, by kind.
    pub troubles: BTreeMap<String, u64>,
    /// Why no replica comes, when none does.
    pub failure: Option<String>,
    pub scaler: ScalerStatus,
    pub replicas: Vec<ReplicaPage>,
    /// The last ones, the oldest first.
    pub decisions: Vec<NumberedDecision>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaPage {
    pub name: String,
    pub state: ReplicaState,
    pub address: String,
    pub in_flight: u32,
    pub answered: u64,
    /// Of answers lately; `None` before the first.
    pub latency_milliseconds: Option<f64>,
    /// Since it was ready, or since it was started.
    pub age_seconds: f64,
    pub memory_bytes: Option<u64>,
    /// Percent of one processor, lately.
    pub cpu_percent: Option<f64>,
    /// What went wrong last.
    pub last_trouble: Option<String>,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    Starting,
    Ready,
    /// Left alone for a while.
    Ejected,
    /// Answers what it has, and ends.
    Draining,
}

/// A decision, and which one of its fleet it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberedDecision {
    /// From 1, over restarts of the gateway.
    pub number: u64,
    pub time: Timestamp,
    pub decision: ScaleDecision,
}

/// What a person wants of the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FleetCommand {
    /// So many, from now on; policies go on from there.
    Scale { endpoint: String, version: Option<String>, desired: u32, by: String, at: Timestamp },
    /// One lets its requests end, and is replaced.
    Drain { replica: String, by: String, at: Timestamp },
}

impl ReplicaState {
    /// In lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}
