//! What the gateway says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::{Mirrored, Tally};

/// The counters of an endpoint at one moment. They only grow while the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Another one: the counters began anew.
    pub process: String,
    /// The document of routes that is followed.
    pub epoch: Option<u64>,
    /// The one that is not, and why.
    pub refused: Option<Refused>,
    /// By digest of the bundle's content.
    pub versions: BTreeMap<String, Tally>,
    /// Versions that answer beside others.
    pub mirrored: BTreeMap<String, Mirrored>,
}

/// A document that the gateway does not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub epoch: Option<u64>,
    pub reason: String,
}

impl Reading {
    /// What was counted of a version since an earlier reading; of all that was counted without one.
    #[must_use]
    pub fn tally_since(&self, bundle: &str, earlier: Option<&Self>) -> Tally {
        let now = self.versions.get(bundle).cloned().unwrap_or_default();
        match self.continues(earlier).and_then(|earlier| earlier.versions.get(bundle)) {
            Some(then) => now.since(then),
            None => now,
        }
    }

    /// The same of a version that answers beside others.
    #[must_use]
    pub fn mirrored_since(&self, bundle: &str, earlier: Option<&Self>) -> Mirrored {
        let now = self.mirrored.get(bundle).cloned().unwrap_or_default();
        match self.continues(earlier).and_then(|earlier| earlier.mirrored.get(bundle)) {
            Some(then) => now.since(then),
            None => now,
        }
    }

    /// The parts about these versions alone.
    #[must_use]
    pub fn of(mut self, bundles: &[&str]) -> Self {
        self.versions.retain(|bundle, _| bundles.contains(&bundle.as_str()));
        self.mirrored.retain(|bundle, _| bundles.contains(&bundle.as_str()));
        self
    }

    fn continues<'a>(&self, earlier: Option<&'a Self>) -> Option<&'a Self> {
        earlier.filter(|earlier| earlier.process == self.process)
    }
}
