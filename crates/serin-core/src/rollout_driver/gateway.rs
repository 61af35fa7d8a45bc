//! What the gateway of a data directory counted.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::{Mirrored, Tally};

use crate::capture::Serving;
use crate::pipeline::http;
use crate::rollout::{Reading, Refused};

/// The page of the admin address that has it.
pub const EVIDENCE: &str = "/evidence";

/// That page.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Another one: the counters began anew.
    pub process: String,
    /// The document of routes that is followed.
    pub epoch: Option<u64>,
    /// The one that is not.
    pub refused: Option<Refused>,
    pub endpoints: BTreeMap<String, Counted>,
}

/// Counters of an endpoint, by digest of the bundle's content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    pub versions: BTreeMap<String, Tally>,
    pub mirrored: BTreeMap<String, Mirrored>,
}

impl Page {
    pub(super) fn reading(&self, endpoint: &str) -> Reading {
        let Counted { versions, mirrored } = self.endpoints.get(endpoint).cloned().unwrap_or_default();
        let (process, refused) = (self.process.clone(), self.refused.clone());
        Reading { process, epoch: self.epoch, refused, versions, mirrored }
    }
}

/// Asks for it; `None` when nobody answers, or nothing that can be understood.
pub(super) fn read(data_directory: &Path) -> Option<Page> {
    let admin = Serving::read(data_directory).ok().flatten()?.admin?;
    serde_json::from_str(&http::get_soon(&format!("{admin}{EVIDENCE}")).ok()?).ok()
}
