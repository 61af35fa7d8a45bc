//! What is counted of replicas.

use std::sync::atomic::{AtomicU64, Ordering};

use super::health::Trouble;

/// What was counted since it began: of a fleet, and of all fleets of an endpoint since the gateway began.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub troubles: [AtomicU64; 3],
    pub retries: AtomicU64,
    pub ejections: AtomicU64,
    pub starts: AtomicU64,
    pub ends: AtomicU64,
}

/// The replicas of an endpoint in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    pub ready: u64,
    pub desired: u64,
    pub missing: u64,
    pub ejected: u64,
    pub waiting: u64,
    /// By kind: these and those below grow as long as the gateway runs.
    pub troubles: Vec<(&'static str, u64)>,
    pub retries: u64,
    pub ejections: u64,
    pub starts: u64,
    pub ends: u64,
}

impl Counts {
    /// As figures of an endpoint without any replica.
    pub fn figures(&self) -> Figures {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            troubles: Trouble::ALL
                .map(|trouble| (trouble.name(), count(&self.troubles[trouble as usize])))
                .to_vec(),
            retries: count(&self.retries),
            ejections: count(&self.ejections),
            starts: count(&self.starts),
            ends: count(&self.ends),
            ..Figures::default()
        }
    }
}
