//! How good a classifier is, how sure that is, and whether it is good enough.
//!
//! [`ConfusionMatrix`] accumulates decisions and every label [`Metric`] derives from it; [`evaluate`] gathers all
//! metrics, their bootstrap intervals, curves and the majority dummy into one [`Evaluation`]; [`compare`] sets a
//! challenger against a champion on the same rows; [`Gates`] turn all of this into a [`GateVerdict`].

pub(crate) mod bootstrap;
mod champion;
mod confusion;
mod evaluation;
mod gates;
mod metric;
mod ranking;
mod reliability;
mod sagemaker;
pub(crate) mod scored;
mod verdict;

pub use champion::{ChampionComparison, ComparisonOptions, Side, compare, mcnemar_exact};
pub use confusion::{ConfusionMatrix, Tallies};
pub use evaluation::{
    ClassResult, Curve, Estimate, Evaluation, EvaluationOptions, Interval, Majority, MetricResult,
    UnreadableEvaluation, evaluate,
};
pub use gates::{CheckedGates, ClassFloor, ClassMeasure, Gates, InvalidGates};
pub use metric::{Metric, UnknownMetric};
pub use ranking::{CurvePoint, average_precision, roc_auc};
pub use reliability::{Reliability, ReliabilityBin, reliability};
pub use sagemaker::{to_document, to_sagemaker};
pub use verdict::{DataFinding, GateFinding, GateInput, GateVerdict, Overlap};
