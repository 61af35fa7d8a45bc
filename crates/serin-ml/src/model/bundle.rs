//! What a bundle holds, and the way to bytes and back.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::container::{self, ContainerError, Section};
use super::foreign::Imported;
use super::golden::{Golden, GoldenError};
use crate::dataset::{Fingerprint, Schema};
use crate::evaluate::{Evaluation, Metric};
use crate::profile::DatasetProfile;
use crate::train::{InvalidPredictor, Leaderboard, Predictor, SelectionSummary};

pub use super::container::BUNDLE_LIMIT_BYTES;

/// A trained classifier with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What it is and where it came from.
    pub card: Card,
    /// Turns raw rows into classes.
    pub predictor: Predictor,
    /// What else was tried.
    pub leaderboard: Leaderboard,
    /// How it did on rows it was not trained on.
    pub evaluation: Option<Evaluation>,
    /// The training rows in summary: what live rows are compared with.
    pub baseline: Option<DatasetProfile>,
    /// Rows with expected answers.
    pub golden: Golden,
    /// What may differ between two equal bundles.
    pub note: Note,
    digest: String,
}

/// The parts of a bundle before they are sealed by a digest.
#[derive(Debug, Clone)]
pub struct Contents {
    /// See [`Bundle::card`].
    pub card: Card,
    /// See [`Bundle::predictor`].
    pub predictor: Predictor,
    /// See [`Bundle::leaderboard`].
    pub leaderboard: Leaderboard,
    /// See [`Bundle::evaluation`].
    pub evaluation: Option<Evaluation>,
    /// See [`Bundle::baseline`].
    pub baseline: Option<DatasetProfile>,
    /// See [`Bundle::golden`].
    pub golden: Golden,
    /// See [`Bundle::note`].
    pub note: Note,
}

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name of the project.
    pub name: String,
    /// Name of the target column.
    pub target: String,
    /// The features in the order a row has them.
    pub schema: Schema,
    /// Texts that meant "missing" in the training rows, and so mean it in others.
    pub missing: Vec<String>,
    /// The classes in the order of probabilities.
    pub classes: Vec<String>,
    /// What selection maximised.
    pub metric: Metric,
    /// How the predictor was chosen.
    pub summary: SelectionSummary,
    /// What it was made from.
    pub lineage: Lineage,
}

/// What a bundle was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Content hash of the training rows.
    pub train: Fingerprint,
    /// Number of training rows.
    pub train_rows: usize,
    /// Content hash of the rows it was evaluated on; the training rows' own when held out of fold.
    pub test: Fingerprint,
    /// Number of those rows.
    pub test_rows: usize,
    /// The seed everything random came from.
    pub seed: u64,
    /// The resolved settings of the training.
    pub settings: Value,
    /// Version of serin that made it.
    pub serin: String,
    /// Where it came from, when another program trained it: then there are no rows, seed or settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// What may differ between two equal bundles; not covered by the digest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// The files the rows came from.
    pub sources: Vec<String>,
    /// Seconds spent, by phase.
    pub seconds: Vec<(String, f64)>,
}

/// Why a bundle cannot be used.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("larger than {BUNDLE_LIMIT_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("section {0:?} is missing")]
    Missing(&'static str),
    #[error("section {0:?} is not understood")]
    Section(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the predictor is invalid")]
    Predictor(#[from] InvalidPredictor),
    #[error("the {0} of the card and of the predictor differ")]
    Shape(&'static str),
    #[error("it does not give the answers it was made with")]
    Golden(#[from] GoldenError),
}

const CARD: &str = "card";
const PREDICTOR: &str = "predictor";
const LEADERBOARD: &str = "leaderboard";
const EVALUATION: &str = "evaluation";
const BASELINE: &str = "baseline";
const GOLDEN: &str = "golden";
const NOTE: &str = "note";

impl Bundle {
    /// Puts a bundle together.
    ///
    /// # Errors
    /// When the parts contradict each other, or the predictor does not give the golden answers.
    pub fn new(contents: Contents) -> Result<Self, BundleError> {
        let Contents { card, predictor, leaderboard, evaluation, baseline, golden, note } = contents;
        let mut bundle =
            Self { card, predictor, leaderboard, evaluation, baseline, golden, note, digest: String::new() };
        bundle.digest = container::digest(&bundle.sections()?);
        bundle.validate()?;
        Ok(bundle)
    }

    /// The content digest: SHA-256 in hex over everything but the note.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a part cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        Ok(container::pack(&self.sections()?)?)
    }

    /// Reads a bundle from bytes that may be anything: every hash, index, length and value is checked, and the golden
    /// rows are asked, before it is returned.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let (sections, digest) = container::unpack(bytes)?;
        // What the digest covers is not for the file to say: two contents could share one digest otherwise.
        if let Some(odd) = sections.iter().find(|section| section.digested == (section.name == NOTE)) {
            let reason = format!("section {:?} is on the wrong side of the digest", odd.name);
            return Err(ContainerError::Contents { reason }.into());
        }
        let find = |name: &str| sections.iter().find(|section| section.name == name);
        let require = |name: &'static str| find(name).ok_or(BundleError::Missing(name));
        let bundle = Self {
            card: json(CARD, require(CARD)?)?,
            predictor: binary(PREDICTOR, require(PREDICTOR)?)?,
            leaderboard: json(LEADERBOARD, require(LEADERBOARD)?)?,
            evaluation: find(EVALUATION).map(|section| json(EVALUATION, section)).transpose()?,
            baseline: find(BASELINE).map(|section| binary(BASELINE, section)).transpose()?,
            golden: json(GOLDEN, require(GOLDEN)?)?,
            note: json(NOTE, require(NOTE)?)?,
            digest,
        };
        bundle.validate()?;
        Ok(bundle)
    }

    /// Reads a bundle from a file, once and whole: what is verified is what is used.
    ///
    /// # Errors
    /// As [`Self::decode`], or when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        use std::io::Read as _;
        let file = std::fs::File::open(path).map_err(BundleError::Unreadable)?;
        let mut bytes = Vec::new();
        file.take(BUNDLE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(BundleError::Unreadable)?;
        if bytes.len() as u64 > BUNDLE_LIMIT_BYTES {
            return Err(BundleError::TooLarge);
        }
        Self::decode(&bytes)
    }

    fn validate(&self) -> Result<(), BundleError> {
        self.predictor.validate()?;
        if self.card.schema.fields.len() != self.predictor.n_features {
            return Err(BundleError::Shape("features"));
        }
        if self.card.classes.len() != self.predictor.n_classes {
            return Err(BundleError::Shape("classes"));
        }
        Ok(self.golden.verify(&self.predictor)?)
    }

    fn sections(&self) -> Result<Vec<Section>, BundleError> {
        let mut sections = vec![
            json_section(CARD, &self.card, true)?,
            binary_section(PREDICTOR, &self.predictor)?,
            json_section(LEADERBOARD, &self.leaderboard, true)?,
        ];
        if let Some(evaluation) = &self.evaluation {
            sections.push(json_section(EVALUATION, evaluation, true)?);
        }
        if let Some(baseline) = &self.baseline {
            sections.push(binary_section(BASELINE, baseline)?);
        }
        sections.push(json_section(GOLDEN, &self.golden, true)?);
        sections.push(json_section(NOTE, &self.note, false)?);
        Ok(sections)
    }
}

fn json_section<T: Serialize>(name: &'static str, value: &T, digested: bool) -> Result<Section, BundleError> {
    let bytes = serde_json::to_vec(value).map_err(|error| BundleError::Section(name, Box::new(error)))?;
    Ok(Section { name: name.to_owned(), bytes, digested })
}

fn binary_section<T: Serialize>(name: &'static str, value: &T) -> Result<Section, BundleError> {
    let bytes = postcard::to_stdvec(value).map_err(|error| BundleError::Section(name, Box::new(error)))?;
    Ok(Section { name: name.to_owned(), bytes, digested: true })
}

fn json<'a, T: Deserialize<'a>>(name: &'static str, section: &'a Section) -> Result<T, BundleError> {
    serde_json::from_slice(&section.bytes).map_err(|error| BundleError::Section(name, Box::new(error)))
}

fn binary<'a, T: Deserialize<'a>>(name: &'static str, section: &'a Section) -> Result<T, BundleError> {
    let (value, rest) = postcard::take_from_bytes(&section.bytes)
        .map_err(|error| BundleError::Section(name, Box::new(error)))?;
    if rest.is_empty() { Ok(value) } else { Err(BundleError::Section(name, "bytes are left over".into())) }
}
