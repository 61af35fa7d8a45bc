//! Bundles around models that a program of their trainer's own answers for.

use serde_json::json;

use super::bundle::{Bundle, BundleError, Card, Contents, Lineage, Note};
use super::foreign::nothing_selected;
use super::golden::{Golden, GoldenRow};
use crate::dataset::{Dataset, Fingerprint};
use crate::evaluate::Metric;
use crate::matrix::Matrix;
use crate::prepare::FittedRecipe;
use crate::profile::{DatasetProfile, ProfileOptions};
use crate::train::calibration::{Calibration, DecisionRule};
use crate::train::{ApartModel, Leaderboard, Member, Model, Predictor};

/// Most golden rows kept.
const GOLDEN_ROWS: usize = 100;

/// What is known of such a model.
#[derive(Debug)]
pub struct Apart<'a> {
    /// Of the project.
    pub name: &'a str,
    /// The target's column.
    pub target: &'a str,
    /// The rows that it was trained on, with their labels.
    pub train: &'a Dataset,
    /// Texts that mean a missing value.
    pub missing: &'a [String],
    /// The classes in the order of answers.
    pub classes: &'a [String],
    /// What its files are kept under.
    pub files: &'a str,
    /// Rows that it was asked, and what it answered.
    pub asked: (&'a Matrix, &'a Matrix, &'a [u32]),
    pub seed: u64,
}

impl Bundle {
    /// A bundle around a model that another program answers for.
    ///
    /// # Errors
    /// When the parts contradict each other.
    pub fn from_apart(apart: &Apart<'_>) -> Result<Self, BundleError> {
        let Apart { name, target, train, missing, classes, files, asked, seed } = apart;
        let (n_features, n_classes) = (train.schema.fields.len(), classes.len());
        let predictor = Predictor {
            n_features,
            n_classes,
            members: vec![Member {
                label: "a program of its own".to_owned(),
                weight: 1.0,
                recipe: FittedRecipe::identity(n_features),
                model: Model::Apart(ApartModel::new(n_features, n_classes, (*files).to_owned())),
            }],
            calibration: Calibration::None,
            decision: DecisionRule::argmax(n_classes),
        };
        let (x, probabilities, decisions) = asked;
        let kept = x.n_rows().min(GOLDEN_ROWS);
        let golden = (0..kept).map(|i| {
            let i = i * x.n_rows() / kept;
            GoldenRow {
                values: x.row(i).iter().map(|value| (!value.is_nan()).then_some(*value)).collect(),
                probabilities: probabilities.row(i).to_vec(),
                class: decisions[i] as usize,
            }
        });
        let golden = Golden { rows: golden.collect() };
        let metric = Metric::LogLoss;
        Self::new(Contents {
            card: Card {
                name: (*name).to_owned(),
                target: (*target).to_owned(),
                schema: train.schema.clone(),
                missing: missing.to_vec(),
                classes: classes.to_vec(),
                metric,
                summary: nothing_selected(&predictor),
                lineage: Lineage {
                    train: train.fingerprint.clone(),
                    train_rows: train.n_rows,
                    test: Fingerprint(String::new()),
                    test_rows: 0,
                    seed: *seed,
                    settings: json!({}),
                    serin: env!("CARGO_PKG_VERSION").to_owned(),
                    imported: None,
                },
            },
            predictor,
            leaderboard: Leaderboard { metric, rows: Vec::new() },
            evaluation: None,
            baseline: Some(DatasetProfile::of(train, &ProfileOptions::default())),
            golden,
            note: Note::default(),
        })
    }
}
