//! From rows to a judged bundle: check, hold out, select, evaluate, gate, pack.

use std::borrow::Cow;

use serin_ml::dataset::splits::{self, Fold, SplitError};
use serin_ml::dataset::{DataCheck, Dataset, Labels, Severity};
use serin_ml::evaluate::{ChampionComparison, DataFinding, Evaluation, GateVerdict, Overlap};
use serin_ml::matrix::Matrix;
use serin_ml::model::{Bundle, BundleError, Card, Contents, Golden, Lineage, Note};
use serin_ml::observer::Observer;
use serin_ml::profile::{DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;
use serin_ml::train::{
    CurvePoint, FeatureImportance, SelectError, Selected, TrainingRows, importances, learning_curve, select,
};
use thiserror::Error;

use super::data;
use super::evaluate::{Answers, Terms, judge};
use super::stopwatch::{FromNow, Phases};
use crate::config::Settings;

/// Folds of a learning curve cost about as much as two trials; it is left out when the trials took longer than this.
const CURVE_LIMIT_SECONDS: f64 = 20.0;

/// What a training takes.
#[derive(Debug, Clone, Copy)]
pub struct TrainInput<'a> {
    /// Checked settings.
    pub settings: &'a Settings,
    /// The settings as they are kept in the lineage.
    pub recorded_settings: &'a serde_json::Value,
    /// Training rows with labels.
    pub train: &'a Dataset,
    /// The frozen hold-out, read with the training rows' schema and classes.
    pub test: Option<&'a Dataset>,
    /// The bundle that serves today, and the hold-out as its schema reads it.
    pub champion: Option<&'a Bundle>,
    /// When this is, RFC 3339, for the note.
    pub created: &'a str,
}

/// What a training gives.
#[derive(Debug)]
pub struct Trained {
    /// The bundle, whether or not the gates let it pass.
    pub bundle: Bundle,
    /// What was found in the data.
    pub data_check: DataCheck,
    /// How it did on rows it was not trained on.
    pub evaluation: Evaluation,
    /// Whether those rows were held out (or given), rather than judged out of fold.
    pub is_held_out: bool,
    /// Share of them that also stand in the training rows.
    pub overlap: Option<f64>,
    /// Set beside the champion.
    pub champion: Option<ChampionComparison>,
    /// Digest of the champion.
    pub champion_digest: Option<String>,
    /// What the gates say.
    pub verdict: GateVerdict,
    /// Features by importance.
    pub importances: Vec<FeatureImportance>,
    /// Score by number of training rows; empty when it was left out.
    pub learning_curve: Vec<CurvePoint>,
    /// Where the time went.
    pub phases: Phases,
    /// Time of each trial, in trial order, in seconds.
    pub trial_seconds: Vec<f64>,
}

/// Why there is no bundle.
#[derive(Debug, Error)]
pub enum TrainError {
    #[error("the training rows have no target column")]
    NoLabels,
    #[error("the test rows have no target column")]
    NoTestLabels,
    #[error("rows cannot be held out")]
    HoldOut(#[from] SplitError),
    #[error(
        "the class {class:?} has {rows} training rows, fewer than the {folds} folds: give it more rows, use fewer folds, \
         or leave it out"
    )]
    TooFewRows { class: String, rows: usize, folds: usize },
    #[error(transparent)]
    Select(SelectError),
    #[error("the bundle cannot be put together")]
    Bundle(#[from] BundleError),
}

/// Trains on `input`.
///
/// # Errors
/// When rows lack labels, nothing could be fitted, or the work was stopped before there was anything to keep.
pub fn train(input: &TrainInput<'_>, observer: &dyn Observer) -> Result<Trained, TrainError> {
    let mut phases = Phases::default();
    let settings = input.settings;
    let seed = settings.train.seed;
    let parts = Parts::new(input)?;
    let train = parts.train.as_ref();
    let labels = train.labels.as_ref().ok_or(TrainError::NoLabels)?;
    let data_check = phases.time("check", observer, || data::check(settings, train, parts.test.as_deref()));
    let x = train.features();
    let rows = TrainingRows {
        x: &x,
        y: &labels.codes,
        n_classes: labels.classes.len(),
        weights: train.weights.as_deref(),
        groups: train.groups.as_deref(),
        times: train.times.as_deref(),
    };
    let selected = phases
        .time("select", observer, || select(&rows, &settings.train, &FromNow::new(observer)))
        .map_err(|error| named(error, labels))?;
    let judging = parts.judging(&x, &selected)?;
    let old = input.champion.map(|champion| champion.predictor.predict(&judging.x));
    let overlap = data_check.overlap.as_ref().map(|overlap| overlap.share);
    let findings = error_findings(&data_check);
    let judged = phases.time("evaluate", observer, || {
        judge(
            Answers {
                truth: &judging.truth,
                decisions: &judging.decisions,
                probabilities: &judging.probabilities,
            },
            old.as_ref().map(|(probabilities, decisions)| (probabilities, decisions.as_slice())),
            &Terms {
                classes: &labels.classes,
                training_priors: Some(shares(labels)),
                overlap: match (&parts.test, overlap) {
                    (None, _) => Overlap::NoTestSet,
                    (Some(_), None) => Overlap::NotMeasured,
                    (Some(_), Some(share)) => Overlap::Share(share),
                },
                findings: &findings,
                gates: &settings.gates,
                seed,
            },
        )
    });
    let names: Vec<String> = train.schema.names().map(str::to_owned).collect();
    let metric = settings.train.metric;
    let importances = phases.time("explain", observer, || {
        importances(&selected.predictor, &names, &judging.x, &judging.truth, metric, seed.child("importance"))
    });
    let trial_seconds: Vec<f64> =
        selected.trial_durations.iter().map(std::time::Duration::as_secs_f64).collect();
    let longest = trial_seconds.iter().copied().fold(0.0, f64::max);
    let learning_curve = if longest > CURVE_LIMIT_SECONDS || observer.stop_requested() {
        Vec::new()
    } else {
        phases.time("learning curve", observer, || {
            learning_curve(&selected.best, &rows, &selected.folds, metric, seed.child("curve"), observer)
        })
    };
    let baseline = phases.time("profile", observer, || DatasetProfile::of(train, &ProfileOptions::default()));
    let golden = Golden::ask(&selected.predictor, &judging.x);
    let card = card(input, train, labels, judging.truth.len(), &selected);
    let sources = input.train.sources.iter().chain(input.test.iter().flat_map(|test| &test.sources));
    let note = Note {
        created: Some(input.created.to_owned()),
        sources: sources.map(|source| source.path.clone()).collect(),
        seconds: phases.seconds().to_vec(),
    };
    let contents = Contents {
        card,
        predictor: selected.predictor,
        leaderboard: selected.leaderboard,
        evaluation: Some(judged.evaluation.clone()),
        baseline: Some(baseline),
        golden,
        note,
    };
    Ok(Trained {
        bundle: Bundle::new(contents)?,
        data_check,
        evaluation: judged.evaluation,
        is_held_out: parts.test.is_some(),
        overlap,
        champion: judged.champion,
        champion_digest: input.champion.map(|champion| champion.digest().to_owned()),
        verdict: judged.verdict,
        importances,
        learning_curve,
        phases,
        trial_seconds,
    })
}

/// Selection knows classes by number, people by name.
fn named(error: SelectError, labels: &Labels) -> TrainError {
    match error {
        SelectError::TooFewRows { class, rows, folds } if class < labels.classes.len() => {
            TrainError::TooFewRows { class: labels.classes[class].clone(), rows, folds }
        }
        other => TrainError::Select(other),
    }
}

/// Which rows are learnt from, and which are judged: `None` judges the training rows themselves, each by a predictor
/// that did not see it.
struct Parts<'a> {
    train: Cow<'a, Dataset>,
    test: Option<Cow<'a, Dataset>>,
}

/// Answers to be judged, with the rows they answer.
struct Judging {
    x: Matrix,
    truth: Vec<u32>,
    decisions: Vec<u32>,
    probabilities: Matrix,
}

/// The rows that are learnt from and those that are judged, as [`train`] divides them: the same settings and rows give
/// the same halves. Without a second half the rows learnt from are judged out of fold.
///
/// # Errors
/// When rows lack labels or cannot be held out.
pub fn divide<'a>(
    settings: &Settings,
    train: &'a Dataset,
    test: Option<&'a Dataset>,
) -> Result<(Cow<'a, Dataset>, Option<Cow<'a, Dataset>>), TrainError> {
    let labels = train.labels.as_ref().ok_or(TrainError::NoLabels)?;
    if let Some(test) = test {
        return Ok((Cow::Borrowed(train), Some(Cow::Borrowed(test))));
    }
    let share = settings.data.holdout;
    if share <= 0.0 {
        return Ok((Cow::Borrowed(train), None));
    }
    let fold = hold_out(train, labels, share, settings.train.seed.child("holdout"))?;
    Ok((Cow::Owned(train.select_rows(&fold.train)), Some(Cow::Owned(train.select_rows(&fold.valid)))))
}

impl<'a> Parts<'a> {
    fn new(input: &TrainInput<'a>) -> Result<Self, TrainError> {
        let (train, test) = divide(input.settings, input.train, input.test)?;
        Ok(Self { train, test })
    }

    fn judging(&self, x: &Matrix, selected: &Selected) -> Result<Judging, TrainError> {
        let Some(test) = &self.test else {
            let answers = &selected.out_of_fold;
            return Ok(Judging {
                x: x.select_rows(&answers.rows),
                truth: answers.truth.clone(),
                decisions: answers.decisions.clone(),
                probabilities: answers.probabilities.clone(),
            });
        };
        let truth = test.labels.as_ref().ok_or(TrainError::NoTestLabels)?.codes.clone();
        let x = test.features();
        let (probabilities, decisions) = selected.predictor.predict(&x);
        Ok(Judging { x, truth, decisions, probabilities })
    }
}

/// Holds rows out: the latest with a time column, whole groups with a group column, else class by class.
fn hold_out(dataset: &Dataset, labels: &Labels, share: f64, seed: Seed) -> Result<Fold, SplitError> {
    let parts = (1.0 / share).round().max(2.0) as usize;
    if let Some(times) = &dataset.times {
        // One block more than folds: the last block is the hold-out.
        let mut folds = splits::forward_folds(times, parts - 1)?;
        return folds.pop().ok_or(SplitError::TooFewRows { rows: times.len(), parts });
    }
    if let Some(groups) = &dataset.groups {
        let folds = splits::grouped_folds(&labels.codes, groups, parts, seed)?;
        return folds.into_iter().next().ok_or(SplitError::TooFewRows { rows: groups.len(), parts });
    }
    splits::stratified_hold_out(&labels.codes, share, seed)
}

fn card(
    input: &TrainInput<'_>,
    train: &Dataset,
    labels: &Labels,
    judged_rows: usize,
    selected: &Selected,
) -> Card {
    Card {
        name: input.settings.project.clone(),
        target: input.settings.data.target.clone().unwrap_or_default(),
        schema: train.schema.clone(),
        missing: input.settings.data.missing.clone(),
        classes: labels.classes.clone(),
        metric: input.settings.train.metric,
        summary: selected.summary.clone(),
        lineage: Lineage {
            train: input.train.fingerprint.clone(),
            train_rows: train.n_rows,
            test: input.test.unwrap_or(input.train).fingerprint.clone(),
            test_rows: judged_rows,
            seed: input.settings.train.seed.0,
            settings: input.recorded_settings.clone(),
            serin: env!("CARGO_PKG_VERSION").to_owned(),
            imported: None,
        },
    }
}

/// What the data checks call an error, as the gates take it.
#[must_use]
pub fn error_findings(check: &DataCheck) -> Vec<DataFinding> {
    let errors = check.findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| DataFinding {
            code: finding.code.to_string(),
            column: finding.columns.first().cloned(),
            text: finding.text.clone(),
        })
        .collect()
}

fn shares(labels: &Labels) -> Vec<f64> {
    let rows = labels.codes.len().max(1) as f64;
    labels.counts().into_iter().map(|count| count as f64 / rows).collect()
}
