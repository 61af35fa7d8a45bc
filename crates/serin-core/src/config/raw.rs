//! What a user wrote: every key optional, nothing checked but its type and its name.

use serde::Deserialize;
use serin_ml::evaluate::Gates;

/// A `serin.toml` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    #[serde(default)]
    pub project: RawProject,
    #[serde(default)]
    pub data: RawData,
    #[serde(default)]
    pub train: RawTrain,
    #[serde(default)]
    pub checks: RawChecks,
    #[serde(default)]
    pub gates: Gates,
    #[serde(default)]
    pub serve: RawServe,
    #[serde(default)]
    pub capture: RawCapture,
}

/// `[project]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProject {
    pub name: Option<String>,
}

/// `[data]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawData {
    pub train: Option<OneOrMany>,
    pub test: Option<OneOrMany>,
    pub target: Option<String>,
    pub holdout: Option<f64>,
    pub ignore: Option<Vec<String>>,
    pub missing: Option<Vec<String>>,
    pub id: Option<String>,
    pub weight: Option<String>,
    pub group: Option<String>,
    pub time: Option<String>,
}

/// `[train]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrain {
    pub metric: Option<String>,
    pub budget: Option<String>,
    pub trials: Option<usize>,
    pub folds: Option<usize>,
    pub seed: Option<u64>,
    pub threads: Option<usize>,
    pub preset: Option<String>,
    pub families: Option<Vec<String>>,
    pub ensemble: Option<bool>,
    pub calibrate: Option<bool>,
    /// A recipe to use for every trial, as a list of steps.
    pub recipe: Option<toml::Value>,
    /// One family with fixed parameters instead of a search.
    pub model: Option<toml::Value>,
}

/// `[checks]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChecks {
    pub correlation: Option<f64>,
}

/// `[serve]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServe {
    pub listen: Option<String>,
    pub admin_listen: Option<String>,
    pub data_dir: Option<String>,
    pub default: Option<String>,
    pub tls_certificate: Option<String>,
    pub tls_key: Option<String>,
    pub proxies: Option<Vec<String>>,
    pub endpoints: Option<Vec<RawEndpoint>>,
}

/// `[[serve.endpoints]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEndpoint {
    pub name: String,
    pub sticky_header: Option<String>,
    pub model: Option<String>,
    pub variants: Option<Vec<RawVariant>>,
}

/// One entry of `variants`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVariant {
    pub name: String,
    pub model: String,
    pub weight: Option<f64>,
}

/// `[capture]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCapture {
    pub mode: Option<String>,
    pub sample: Option<f64>,
    pub when_full: Option<String>,
    pub spool_limit: Option<String>,
    pub keep_age: Option<String>,
    pub keep_size: Option<String>,
}

/// A list, or a single entry written without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    /// The entries; an empty single entry is none.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(entry) if entry.is_empty() => Vec::new(),
            Self::One(entry) => vec![entry],
            Self::Many(entries) => entries,
        }
    }
}
