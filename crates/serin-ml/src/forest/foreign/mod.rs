//! Models that other programs trained: LightGBM's text files and XGBoost's JSON and UBJSON files.
//!
//! A file becomes a [`Forest`] with the same decisions, sums and links, or it is refused by the name of what is not
//! understood: nothing is guessed, for a model that answers a little differently is worse than none. The readers are
//! our own, take bytes that may be anything, and allocate at most ten times as much as they were given.

mod document;
mod json;
mod lightgbm;
mod ubjson;
mod xgboost;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Forest, ForestParts, InvalidForest};

/// A classifier read from a file of another program.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignModel {
    /// What file it was.
    pub format: ForeignFormat,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// The features in the order of a row, where the file names them.
    pub feature_names: Option<Vec<String>>,
    /// The trees; their results are scores, one for each output.
    pub forest: Forest,
    /// How scores become probabilities.
    pub link: Link,
}

impl ForeignModel {
    /// Values in a row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.forest.n_features()
    }

    /// Classes told apart.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.link.n_classes(self.forest.n_outputs())
    }
}

/// The files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignFormat {
    /// LightGBM's `save_model`.
    LightgbmText,
    /// XGBoost's `save_model("....json")`.
    XgboostJson,
    /// XGBoost's `save_model("....ubj")`.
    XgboostUbjson,
}

impl std::fmt::Display for ForeignFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LightgbmText => "LightGBM text",
            Self::XgboostJson => "XGBoost JSON",
            Self::XgboostUbjson => "XGBoost UBJSON",
        })
    }
}

/// How scores become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// exp(s_k) / sum of exp(s_j): one score a class.
    Softmax,
    /// One score for two classes: the second has probability 1 / (1 + exp(-scale * s)), the first the rest.
    Sigmoid {
        /// LightGBM's `sigmoid`.
        scale: f64,
    },
    /// One score a class, each with a probability of its own, 1 / (1 + exp(-scale * s)). They do not sum to 1.
    SigmoidEach {
        /// LightGBM's `sigmoid`.
        scale: f64,
    },
}

impl Link {
    /// Classes that `n_outputs` scores tell apart.
    #[must_use]
    pub fn n_classes(self, n_outputs: usize) -> usize {
        if matches!(self, Self::Sigmoid { .. }) { 2 } else { n_outputs }
    }

    /// Whether a forest of `n_outputs` scores can have this link.
    #[must_use]
    pub fn fits(self, n_outputs: usize) -> bool {
        match self {
            Self::Softmax => n_outputs >= 2,
            Self::Sigmoid { scale } => n_outputs == 1 && scale.is_finite() && scale > 0.0,
            Self::SigmoidEach { scale } => n_outputs >= 2 && scale.is_finite() && scale > 0.0,
        }
    }
}

/// Why a file is not a model that can be served.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Another kind of file.
    #[error("{found}, not a model that Serin reads: a LightGBM text model, or XGBoost's JSON or UBJSON")]
    Format { found: &'static str },
    /// A model, with something that is not evaluated here.
    #[error("unsupported: {what}")]
    Unsupported { what: String },
    /// A file that contradicts itself. Trees count from 0.
    #[error("invalid model ({flaw}): {}{problem}", tree_place(*tree))]
    Invalid { flaw: Flaw, tree: Option<usize>, problem: String },
}

/// What is wrong with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The text cannot be taken apart.
    Syntax,
    /// A number points at something that is not there.
    Index,
    /// A list is longer or shorter than it must be.
    Length,
    /// Nodes do not form trees, or parts are missing or twice there.
    Structure,
    /// A number is not finite or out of its range.
    Value,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Syntax => "syntax",
            Self::Index => "index",
            Self::Length => "length",
            Self::Structure => "structure",
            Self::Value => "value",
        })
    }
}

impl ImportError {
    /// A stable code for machines: `unsupported_format`, `unsupported` or `invalid_model`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format { .. } => "unsupported_format",
            Self::Unsupported { .. } => "unsupported",
            Self::Invalid { .. } => "invalid_model",
        }
    }

    fn invalid(flaw: Flaw, tree: Option<usize>, problem: impl Into<String>) -> Self {
        Self::Invalid { flaw, tree, problem: problem.into() }
    }
}

impl From<InvalidForest> for ImportError {
    fn from(error: InvalidForest) -> Self {
        let flaw = match error {
            InvalidForest::Feature { .. }
            | InvalidForest::Child { .. }
            | InvalidForest::LeafRow { .. }
            | InvalidForest::Set { .. }
            | InvalidForest::Output { .. } => Flaw::Index,
            InvalidForest::Length { .. } | InvalidForest::Covers { .. } | InvalidForest::TooLarge { .. } => {
                Flaw::Length
            }
            InvalidForest::ReachedTwice { .. }
            | InvalidForest::Unreached { .. }
            | InvalidForest::EmptyTree { .. } => Flaw::Structure,
            _ => Flaw::Value,
        };
        // The message names the tree itself.
        Self::invalid(flaw, None, error.to_string())
    }
}

/// Reads a model of any format that is known, told apart by content.
///
/// # Errors
/// Says what the file is instead, what in it is not supported, or what is wrong with it and where.
pub fn read_foreign(bytes: &[u8]) -> Result<ForeignModel, ImportError> {
    let format = recognise(bytes)?;
    let ReadModel { parts, link, feature_names } = match format {
        ForeignFormat::LightgbmText => lightgbm::read(bytes)?,
        ForeignFormat::XgboostJson => xgboost::read(json::Json::new(bytes), bytes.len())?,
        ForeignFormat::XgboostUbjson => xgboost::read(ubjson::Ubjson::new(bytes), bytes.len())?,
    };
    let n_nodes = parts.trees.iter().map(|tree| tree.nodes.len()).sum();
    check_expansion(bytes.len(), n_nodes, parts.n_features)?;
    if let Some(names) = &feature_names
        && names.len() != parts.n_features
    {
        let problem = format!("{} feature names for {} features", names.len(), parts.n_features);
        return Err(ImportError::invalid(Flaw::Length, None, problem));
    }
    let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ForeignModel { format, digest, feature_names, forest: Forest::new(&parts)?, link })
}

/// What a reader finds in a file.
struct ReadModel {
    parts: ForestParts,
    link: Link,
    feature_names: Option<Vec<String>>,
}

/// The format that `bytes` begin like.
fn recognise(bytes: &[u8]) -> Result<ForeignFormat, ImportError> {
    let others: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "a gzip file"),
        (b"PK", "a zip file"),
        (b"\x80", "a Python pickle"),
        (b"binf", "an XGBoost model in the old binary format"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x08", "an ONNX file"),
        (b"SERIN\0", "a Serin bundle"),
        (b"<", "a page or an XML file"),
        (b"CONFIG-offset:", "an XGBoost serialisation"),
    ];
    if let Some((_, found)) = others.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(ImportError::Format { found });
    }
    let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first_line.trim_ascii_end() == b"tree" {
        return Ok(ForeignFormat::LightgbmText);
    }
    let mut rest = bytes.trim_ascii_start().iter();
    match (rest.next(), rest.find(|byte| !byte.is_ascii_whitespace())) {
        (Some(b'{'), Some(b'"' | b'}')) => Ok(ForeignFormat::XgboostJson),
        (Some(b'{'), Some(b'i' | b'U' | b'I' | b'l' | b'L' | b'#' | b'$')) => {
            Ok(ForeignFormat::XgboostUbjson)
        }
        (None, _) => Err(ImportError::Format { found: "an empty file" }),
        _ => Err(ImportError::Format { found: "an unknown kind of file" }),
    }
}

/// Bytes that a node takes in a [`Forest`] and on the way there, at most (three arrays of the layout, covers, a compiled
/// split, the node's parts), rounded up.
const BYTES_A_NODE: usize = 100;
/// Bytes that a feature takes in what is made of a model (a field of the schema), rounded up.
const BYTES_A_FEATURE: usize = 80;
/// How many times its size a file may need.
const EXPANSION_LIMIT: usize = 10;
/// What is fine for a file of any size.
const SMALL_BYTES: usize = 1 << 20;

/// Features that a file of so many bytes may have.
fn feature_limit(file_bytes: usize) -> usize {
    file_bytes.saturating_mul(EXPANSION_LIMIT).max(SMALL_BYTES) / BYTES_A_FEATURE
}

/// Refuses files that say too much in too few bytes. No trainer writes such: a node takes it 30 bytes and more.
fn check_expansion(file_bytes: usize, n_nodes: usize, n_features: usize) -> Result<(), ImportError> {
    let needed =
        n_nodes.saturating_mul(BYTES_A_NODE).saturating_add(n_features.saturating_mul(BYTES_A_FEATURE));
    if needed <= file_bytes.saturating_mul(EXPANSION_LIMIT).max(SMALL_BYTES) {
        return Ok(());
    }
    let problem =
        format!("{n_nodes} nodes and {n_features} features are more than {file_bytes} bytes can describe");
    Err(ImportError::invalid(Flaw::Length, None, problem))
}

fn tree_place(tree: Option<usize>) -> String {
    tree.map_or_else(String::new, |tree| format!("tree {tree}: "))
}

/// The beginning of a text from a file, fit for a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let shown: String = text.chars().take(LONGEST).flat_map(char::escape_default).collect();
    if text.chars().nth(LONGEST).is_some() { format!("{shown}...") } else { shown }
}
