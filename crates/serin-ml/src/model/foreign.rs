//! Bundles of models that were trained elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::bundle::{Bundle, BundleError, Card, Contents, Lineage, Note};
use super::golden::{Golden, GoldenError};
use crate::dataset::{ColumnKind, Field, Fingerprint, ReadOptions, Schema};
use crate::evaluate::Metric;
use crate::forest::{ForeignFormat, ForeignModel};
use crate::matrix::Matrix;
use crate::prepare::FittedRecipe;
use crate::train::calibration::{Calibration, DecisionRule};
use crate::train::{Ended, ImportedModel, Leaderboard, Member, Model, Predictor, SelectionSummary};

/// Where an imported model came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// The kind of file.
    pub format: ForeignFormat,
    /// SHA-256 of the file, in hex.
    pub file: String,
    /// Rows for which the answers were compared with those of the program that trained it.
    pub compared_rows: usize,
}

/// Rows to keep with an imported model.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenRows {
    /// Raw rows, as wide as the model's.
    pub rows: Matrix,
    /// What the program that trained it answers: rows x classes.
    pub expected: Option<Matrix>,
}

/// Why a model that was read cannot become a bundle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FromForeignError {
    #[error("{found} class names for a model of {expected} classes")]
    Classes { expected: usize, found: usize },
    #[error("the class {class:?} is named twice")]
    ClassTwice { class: String },
    #[error("the feature {feature:?} occurs twice in the file")]
    FeatureTwice { feature: String },
    #[error("the golden rows have {found} {what} where {expected} belong")]
    GoldenShape { what: &'static str, expected: usize, found: usize },
    #[error("golden_mismatch: the model does not answer as where it was trained")]
    GoldenMismatch(#[source] GoldenError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl Bundle {
    /// A bundle around a model that was read from a file, called `name`.
    ///
    /// Classes are numbered from 0 where no names are given, features that the file does not name are f0, f1 and so on.
    /// Every feature may be missing, and nothing is known of its range.
    ///
    /// # Errors
    /// When names do not fit the model, or it answers golden rows differently than expected.
    pub fn from_foreign(
        model: ForeignModel,
        classes: Option<Vec<String>>,
        name: &str,
        golden: Option<&GoldenRows>,
    ) -> Result<Self, FromForeignError> {
        let (n_features, n_classes) = (model.n_features(), model.n_classes());
        let classes = classes.unwrap_or_else(|| (0..n_classes).map(|class| class.to_string()).collect());
        if classes.len() != n_classes {
            return Err(FromForeignError::Classes { expected: n_classes, found: classes.len() });
        }
        if let Some(class) = repeated(&classes) {
            return Err(FromForeignError::ClassTwice { class });
        }
        let names = model.feature_names.clone();
        let names = names.unwrap_or_else(|| (0..n_features).map(|feature| format!("f{feature}")).collect());
        if let Some(feature) = repeated(&names) {
            return Err(FromForeignError::FeatureTwice { feature });
        }
        // The target's column is none of the features.
        let mut target = "target".to_owned();
        while names.contains(&target) {
            target.push('_');
        }
        let imported = Imported {
            format: model.format,
            file: model.digest.clone(),
            compared_rows: golden.filter(|golden| golden.expected.is_some()).map_or(0, |g| g.rows.n_rows()),
        };
        let predictor = Predictor {
            n_features,
            n_classes,
            members: vec![Member {
                label: model.format.to_string(),
                weight: 1.0,
                recipe: FittedRecipe::identity(n_features),
                model: Model::Imported(ImportedModel::new(model)),
            }],
            calibration: Calibration::None,
            decision: DecisionRule::argmax(n_classes),
        };
        // Checked before it is asked about golden rows.
        predictor.validate().map_err(BundleError::from)?;
        let golden = golden.map(|golden| kept(&predictor, golden)).transpose()?.unwrap_or_default();
        let fields = names.into_iter().map(|name| Field {
            name,
            kind: ColumnKind::Number,
            range: None,
            has_missing: true,
        });
        let metric = Metric::LogLoss;
        Ok(Self::new(Contents {
            card: Card {
                name: name.to_owned(),
                target,
                schema: Schema { fields: fields.collect() },
                missing: ReadOptions::default().missing,
                classes,
                metric,
                summary: nothing_selected(&predictor),
                lineage: Lineage {
                    train: Fingerprint(String::new()),
                    train_rows: 0,
                    test: Fingerprint(String::new()),
                    test_rows: 0,
                    seed: 0,
                    settings: json!({}),
                    serin: env!("CARGO_PKG_VERSION").to_owned(),
                    imported: Some(imported),
                },
            },
            predictor,
            leaderboard: Leaderboard { metric, rows: Vec::new() },
            evaluation: None,
            baseline: None,
            golden,
            note: Note::default(),
        })?)
    }

    /// Whether this is a model from elsewhere whose answers nobody has compared with those of its trainer.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.card.lineage.imported.as_ref().is_some_and(|imported| imported.compared_rows == 0)
    }
}

/// Compares all rows, and keeps some with the answers that were expected.
fn kept(predictor: &Predictor, golden: &GoldenRows) -> Result<Golden, FromForeignError> {
    let GoldenRows { rows, expected } = golden;
    let shape = |what, found, expected| {
        if found == expected { Ok(()) } else { Err(FromForeignError::GoldenShape { what, expected, found }) }
    };
    shape("columns", rows.n_columns(), predictor.n_features)?;
    let Some(expected) = expected else { return Ok(Golden::ask(predictor, rows)) };
    shape("columns of probabilities", expected.n_columns(), predictor.n_classes)?;
    shape("rows of probabilities", expected.n_rows(), rows.n_rows())?;
    let all = Golden::expect(predictor, rows, expected, rows.n_rows());
    all.verify(predictor).map_err(FromForeignError::GoldenMismatch)?;
    Ok(Golden::expect(predictor, rows, expected, super::golden::ROW_LIMIT))
}

pub(super) fn nothing_selected(predictor: &Predictor) -> SelectionSummary {
    SelectionSummary {
        ended: Ended::Trials,
        trials: 0,
        fits_per_trial: 0,
        search_rows: 0,
        single_score: 0.0,
        ensemble_score: None,
        difference_error: None,
        is_ensemble: false,
        calibration: "none".to_owned(),
        decision_multipliers: predictor.decision.multipliers.clone(),
    }
}

/// A text that occurs more than once.
fn repeated(texts: &[String]) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    texts.iter().find(|text| !seen.insert(text.as_str())).cloned()
}
