//! Everything that is known of a classifier from one set of rows with known truth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;
use crate::seed::Seed;

use super::bootstrap::{Strata, interval};
use super::confusion::{ConfusionMatrix, Tallies};
use super::metric::Metric;
use super::ranking::{Areas, CurvePoint};
use super::reliability::{DEFAULT_BINS, Reliability, reliability};
use super::scored::ScoredRows;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationOptions {
    /// Bootstrap resamples for the intervals; 0 for none. Very many rows get fewer (see
    /// [`Evaluation::resamples`]).
    pub resamples: usize,
    /// Share of the bootstrap distribution that an interval covers, between 0 and 1.
    pub confidence: f64,
    /// What the resamples are drawn from.
    pub seed: Seed,
    /// Bars of the reliability diagram (the metric `calibration-error` always has ten).
    pub calibration_bins: usize,
    /// Class shares in training, which the majority dummy knows; without them it takes those of the rows judged,
    /// which makes it slightly better than it could be.
    pub training_priors: Option<Vec<f64>>,
}

/// The result of [`evaluate`]. Serialises without NaN: what is undefined is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Format of this record: [`Evaluation::VERSION`].
    pub version: u32,
    /// Rows judged.
    pub rows: u64,
    /// Class labels; positions are what all tables below are indexed by.
    pub classes: Vec<String>,
    /// Bootstrap resamples behind each interval.
    pub resamples: u64,
    /// Share of the bootstrap distribution that each interval covers.
    pub confidence: f64,
    /// Seed of the resamples.
    pub seed: Seed,
    /// Every metric beside the majority dummy's.
    pub metrics: BTreeMap<Metric, MetricResult>,
    /// What the dummy does.
    pub majority: Majority,
    /// One entry a class.
    pub per_class: Vec<ClassResult>,
    /// Counts as `[actual][decided]`.
    pub confusion_matrix: Vec<Vec<u64>>,
    /// Reliability diagram of the most probable class.
    pub reliability: Reliability,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    /// Its value; `None` where it is undefined.
    pub value: Option<f64>,
    /// Its interval; `None` without resamples, where one of them was undefined, and for
    /// [`Metric::CalibrationError`], which resampling inflates.
    pub interval: Option<Interval>,
    /// The value of the majority dummy on the same rows.
    pub majority: Option<f64>,
}

/// A value with its bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value on the rows; `None` where it is undefined.
    pub value: Option<f64>,
    /// Its interval; `None` without resamples or where one of them was undefined.
    pub interval: Option<Interval>,
}

/// A percentile interval of a stratified bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Standard deviation of the resampled values.
    pub standard_error: f64,
}

/// The majority-class dummy: always decides the class most frequent in training, and states the training shares as
/// its probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Majority {
    /// Position of the class it decides; of equally frequent ones the first.
    pub class: usize,
    /// Its probabilities, one a class.
    pub priors: Vec<f64>,
    /// True when the shares are those of training, false when those of the rows judged.
    pub from_training: bool,
}

/// One row of the per-class table; each class against the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    /// The class label.
    pub class: String,
    /// Rows of the class.
    pub support: u64,
    /// Rows decided as the class.
    pub decided: u64,
    /// Share of decisions for the class that are right; undefined when there are none (metrics count that as 0).
    pub precision: Estimate,
    /// Share of its rows found; undefined without rows.
    pub recall: Estimate,
    /// 2 hits / (support + decided); undefined when both are 0.
    pub f1: Estimate,
    /// Area under the ROC curve.
    pub roc_auc: Estimate,
    /// Average precision.
    pub pr_auc: Estimate,
    /// False-positive rate (x) against recall (y), at most 200 points.
    pub roc_curve: Curve,
    /// Recall (x) against precision (y), at most 200 points.
    pub precision_recall_curve: Curve,
}

/// Points of a curve in ascending x.
pub type Curve = Vec<CurvePoint>;

/// A stored evaluation that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEvaluation {
    /// Not JSON, or not of this shape.
    #[error("not an evaluation")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version.
    #[error("evaluation has format version {found}, this program reads {}", Evaluation::VERSION)]
    Version {
        /// The version it says.
        found: u32,
    },
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            resamples: 1_000,
            confidence: 0.95,
            seed: Seed(17),
            calibration_bins: DEFAULT_BINS,
            training_priors: None,
        }
    }
}

/// Judges `decisions` and `probabilities` (one row each, one column a class) against the `truth`; all classes are
/// positions in `classes`.
///
/// Deterministic: the same input gives the same bits on any number of threads.
///
/// # Panics
/// When lengths differ or a class is not below the number of classes: mistakes of the calling code, never of data.
#[must_use]
pub fn evaluate(
    truth: &[u32],
    decisions: &[u32],
    probabilities: &Matrix,
    classes: &[String],
    options: &EvaluationOptions,
) -> Evaluation {
    let n_classes = classes.len();
    let rows = ScoredRows::new(truth, decisions, probabilities, n_classes);
    let strata = Strata::of(truth, n_classes);
    let resamples = strata.affordable(options.resamples);
    let seed = options.seed.child("evaluation");
    let resampled = strata.resample(resamples, seed, |weights| Measured::of(&rows, weights));
    let measured = Measured::of(&rows, &vec![1; truth.len()]);
    let estimate = |read: &dyn Fn(&Measured) -> f64| Estimate {
        value: finite(read(&measured)),
        interval: interval(resampled.iter().map(read).collect(), options.confidence),
    };

    let majority = Majority::of(truth, n_classes, options.training_priors.as_deref());
    let dummy = majority.scores(truth, n_classes);
    let calibration_error = Metric::CalibrationError.score(truth, decisions, probabilities, n_classes);
    let metrics = Metric::ALL.into_iter().enumerate().map(|(at, metric)| {
        let estimate = match metric {
            Metric::CalibrationError => Estimate { value: finite(calibration_error), interval: None },
            _ => estimate(&|measured| measured.metrics[at]),
        };
        let Estimate { value, interval } = estimate;
        (metric, MetricResult { value, interval, majority: finite(dummy[at]) })
    });
    let per_class = classes.iter().enumerate().map(|(class, label)| {
        let positive = |row: usize| truth[row] as usize == class;
        let ranking = rows.ranking(class);
        ClassResult {
            class: label.clone(),
            support: measured.tallies.truth[class] as u64,
            decided: measured.tallies.decided[class] as u64,
            precision: estimate(&|measured| measured.tallies.precision(class).unwrap_or(f64::NAN)),
            recall: estimate(&|measured| measured.tallies.recall(class).unwrap_or(f64::NAN)),
            f1: estimate(&|measured| measured.tallies.f1(class).unwrap_or(f64::NAN)),
            roc_auc: estimate(&|measured| measured.areas[class].roc.unwrap_or(f64::NAN)),
            pr_auc: estimate(&|measured| measured.areas[class].precision.unwrap_or(f64::NAN)),
            roc_curve: ranking.map_or_else(Vec::new, |ranking| ranking.roc_curve(positive)),
            precision_recall_curve: ranking
                .map_or_else(Vec::new, |ranking| ranking.precision_recall_curve(positive)),
        }
    });
    Evaluation {
        version: Evaluation::VERSION,
        rows: truth.len() as u64,
        classes: classes.to_vec(),
        resamples: resamples as u64,
        confidence: options.confidence,
        seed: options.seed,
        metrics: metrics.collect(),
        per_class: per_class.collect(),
        confusion_matrix: ConfusionMatrix::of(truth, decisions, n_classes).to_counts(),
        reliability: reliability(truth, probabilities, options.calibration_bins),
        majority,
    }
}

impl Evaluation {
    /// The format that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// The value of a metric; `None` where it is undefined.
    #[must_use]
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(&metric).and_then(|result| result.value)
    }

    /// Reads what serde_json wrote, refusing other versions.
    ///
    /// # Errors
    /// When the text is no evaluation or of another version.
    pub fn from_json(json: &str) -> Result<Self, UnreadableEvaluation> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version: found } = serde_json::from_str(json)?;
        if found != Self::VERSION {
            return Err(UnreadableEvaluation::Version { found });
        }
        Ok(serde_json::from_str(json)?)
    }
}

impl Majority {
    fn of(truth: &[u32], n_classes: usize, training_priors: Option<&[f64]>) -> Self {
        let priors = match training_priors {
            Some(priors) => {
                assert_eq!(priors.len(), n_classes, "one share for each class");
                priors.to_vec()
            }
            None => {
                let mut priors = vec![0.0; n_classes];
                for &class in truth {
                    priors[class as usize] += 1.0 / truth.len() as f64;
                }
                priors
            }
        };
        let class =
            (1..n_classes).fold(0, |best, class| if priors[class] > priors[best] { class } else { best });
        Self { class, priors, from_training: training_priors.is_some() }
    }

    /// Every metric of the dummy, in the order of [`Metric::ALL`].
    fn scores(&self, truth: &[u32], n_classes: usize) -> Vec<f64> {
        let decisions = vec![self.class as u32; truth.len()];
        let probabilities = Matrix::new(truth.len(), n_classes, self.priors.repeat(truth.len()));
        Metric::ALL.map(|metric| metric.score(truth, &decisions, &probabilities, n_classes)).to_vec()
    }
}

/// All that is measured of one weighting of the rows.
struct Measured {
    tallies: Tallies,
    areas: Vec<Areas>,
    metrics: Vec<f64>,
}

impl Measured {
    fn of(rows: &ScoredRows<'_>, weights: &[u32]) -> Self {
        let tallies = rows.tallies(weights);
        let areas = rows.areas(weights);
        let metrics = rows.scores(&tallies, &areas, weights);
        Self { tallies, areas, metrics }
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
