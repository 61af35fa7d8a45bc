//! The metrics: their names, their directions, their values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

use super::confusion::{ConfusionMatrix, Tallies};
use super::ranking::Ranking;
use super::reliability::{DEFAULT_BINS, reliability};
use super::scored::{brier, log_loss, probabilities_are_finite};

/// A number that says how good a classifier is.
///
/// Label metrics compare decisions with the truth and follow scikit-learn with `zero_division=0`: a ratio with an
/// empty denominator counts 0, and a macro mean runs over the classes that occur in the truth or among the
/// decisions (a class of the model that occurs in neither is left out, as in `f1_score(average="macro")`).
/// Probability metrics need the probabilities, one column a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Metric {
    /// Plain mean over classes of F1: rare classes count as much as common ones.
    MacroF1,
    /// Mean over classes of F1, weighted by support.
    WeightedF1,
    /// F1 of all decisions together; with one class a row it equals accuracy.
    MicroF1,
    /// Share of rows decided right.
    Accuracy,
    /// Plain mean of recall over the classes of the truth.
    BalancedAccuracy,
    /// Plain mean of precision over classes.
    MacroPrecision,
    /// Plain mean of recall over classes; differs from balanced accuracy only by decided classes absent in truth.
    MacroRecall,
    /// Mean of precision over classes, weighted by support.
    WeightedPrecision,
    /// Mean of recall over classes, weighted by support; equals accuracy.
    WeightedRecall,
    /// Correlation of decisions and truth, -1 to 1 (Gorodkin 2004, R_K); 0 when either is constant.
    Matthews,
    /// Agreement beyond chance, -1 to 1 (Cohen 1960); undefined when truth and decisions are one and the same class.
    CohenKappa,
    /// Area under the one-vs-rest ROC curve, mean over the classes with both rows of it and rows of others.
    RocAuc,
    /// Average precision (area under the one-vs-rest precision-recall curve, by steps), mean over classes of the
    /// truth.
    PrAuc,
    /// Mean of -ln(probability of the true class), natural logarithm, probabilities clipped to [2^-52, 1 - 2^-52].
    LogLoss,
    /// Mean over rows of the sum over classes of squared (probability - indicator), 0 to 2 (Brier 1950); for two
    /// classes it is twice the one-column form.
    Brier,
    /// Expected calibration error of the most probable class over ten equally wide bins (Guo et al. 2017).
    CalibrationError,
}

/// A name that is no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{name}`: {}", hint(.suggestion))]
pub struct UnknownMetric {
    /// What was written.
    pub name: String,
    /// The metric that was probably meant.
    pub suggestion: Option<Metric>,
}

impl Metric {
    /// Every metric, in the order of reports.
    pub const ALL: [Self; 16] = [
        Self::MacroF1,
        Self::WeightedF1,
        Self::MicroF1,
        Self::Accuracy,
        Self::BalancedAccuracy,
        Self::MacroPrecision,
        Self::MacroRecall,
        Self::WeightedPrecision,
        Self::WeightedRecall,
        Self::Matthews,
        Self::CohenKappa,
        Self::RocAuc,
        Self::PrAuc,
        Self::LogLoss,
        Self::Brier,
        Self::CalibrationError,
    ];

    /// The name in configuration, reports and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MacroF1 => "macro-f1",
            Self::WeightedF1 => "weighted-f1",
            Self::MicroF1 => "micro-f1",
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced-accuracy",
            Self::MacroPrecision => "macro-precision",
            Self::MacroRecall => "macro-recall",
            Self::WeightedPrecision => "weighted-precision",
            Self::WeightedRecall => "weighted-recall",
            Self::Matthews => "mcc",
            Self::CohenKappa => "cohen-kappa",
            Self::RocAuc => "roc-auc",
            Self::PrAuc => "pr-auc",
            Self::LogLoss => "log-loss",
            Self::Brier => "brier",
            Self::CalibrationError => "calibration-error",
        }
    }

    /// One sentence for a reader of a report.
    #[must_use]
    pub fn definition(self) -> &'static str {
        match self {
            Self::MacroF1 => "mean over classes of F1; every class counts the same",
            Self::WeightedF1 => "mean over classes of F1, weighted by the rows of the class",
            Self::MicroF1 => "F1 over all decisions together; equals accuracy",
            Self::Accuracy => "share of rows decided right",
            Self::BalancedAccuracy => "mean over classes of the share of their rows decided right",
            Self::MacroPrecision => {
                "mean over classes of the share of decisions for the class that are right"
            }
            Self::MacroRecall => "mean over classes of the share of their rows found",
            Self::WeightedPrecision => "mean over classes of precision, weighted by the rows of the class",
            Self::WeightedRecall => {
                "mean over classes of recall, weighted by the rows of the class; equals accuracy"
            }
            Self::Matthews => "correlation between decisions and truth, from -1 to 1; 0 is chance",
            Self::CohenKappa => "agreement with the truth beyond chance; 1 is perfect, 0 is chance",
            Self::RocAuc => {
                "chance that a row of a class is ranked above a row of another; mean over classes"
            }
            Self::PrAuc => {
                "precision averaged over all thresholds on a class's probability; mean over classes"
            }
            Self::LogLoss => "mean of minus the natural logarithm of the true class's probability",
            Self::Brier => {
                "mean squared distance between probabilities and truth, summed over classes (0 to 2)"
            }
            Self::CalibrationError => {
                "mean distance between stated confidence and share right, over ten equally wide bins of confidence"
            }
        }
    }

    /// Whether every class counts alike, however many rows it has.
    #[must_use]
    pub fn weighs_classes_equally(self) -> bool {
        matches!(
            self,
            Self::MacroF1
                | Self::BalancedAccuracy
                | Self::MacroPrecision
                | Self::MacroRecall
                | Self::RocAuc
                | Self::PrAuc
                | Self::Matthews
                | Self::CohenKappa
        )
    }

    /// True for scores, false for losses.
    #[must_use]
    pub fn greater_is_better(self) -> bool {
        !matches!(self, Self::LogLoss | Self::Brier | Self::CalibrationError)
    }

    /// True when the metric reads probabilities rather than decisions.
    #[must_use]
    pub fn needs_probabilities(self) -> bool {
        matches!(self, Self::RocAuc | Self::PrAuc | Self::LogLoss | Self::Brier | Self::CalibrationError)
    }

    /// The smallest and the largest value it can take.
    #[must_use]
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Matthews | Self::CohenKappa => (-1.0, 1.0),
            Self::LogLoss => (0.0, f64::INFINITY),
            Self::Brier => (0.0, 2.0),
            _ => (0.0, 1.0),
        }
    }

    /// True when `candidate` is a better value than `incumbent`; false when either is NaN.
    #[must_use]
    pub fn is_better(self, candidate: f64, incumbent: f64) -> bool {
        if self.greater_is_better() { candidate > incumbent } else { candidate < incumbent }
    }

    /// The metric on these rows: `truth` and `decisions` below `n_classes`, `probabilities` one row each and one
    /// column a class (read by probability metrics only). NaN where it is undefined: no rows, a probability that is
    /// not finite, no class to rank.
    #[must_use]
    pub fn score(self, truth: &[u32], decisions: &[u32], probabilities: &Matrix, n_classes: usize) -> f64 {
        if !self.needs_probabilities() {
            return self.from_tallies(&ConfusionMatrix::of(truth, decisions, n_classes).finish());
        }
        assert_eq!(probabilities.n_rows(), truth.len(), "one row of probabilities for each row");
        assert_eq!(probabilities.n_columns(), n_classes, "one probability for each class");
        if truth.is_empty() || !probabilities_are_finite(probabilities) {
            return f64::NAN;
        }
        let rows = || truth.iter().zip(probabilities.rows());
        match self {
            Self::LogLoss => rows().map(|(&t, p)| log_loss(p, t)).sum::<f64>() / truth.len() as f64,
            Self::Brier => rows().map(|(&t, p)| brier(p, t)).sum::<f64>() / truth.len() as f64,
            Self::CalibrationError => {
                reliability(truth, probabilities, DEFAULT_BINS).error.unwrap_or(f64::NAN)
            }
            _ => {
                let areas = (0..n_classes).map(|class| {
                    Ranking::of_column(probabilities, class)
                        .areas(|row| truth[row] as usize == class, |_| 1.0)
                });
                mean_defined(
                    areas.map(|areas| if self == Self::RocAuc { areas.roc } else { areas.precision }),
                )
            }
        }
    }

    /// A label metric from its tallies; NaN where undefined, and for metrics that need probabilities.
    #[must_use]
    pub fn from_tallies(self, tallies: &Tallies) -> f64 {
        match self {
            Self::MacroF1 => tallies.macro_mean(Tallies::f1),
            Self::WeightedF1 => tallies.support_mean(Tallies::f1),
            Self::Accuracy | Self::MicroF1 | Self::WeightedRecall => {
                tallies.hits.iter().sum::<f64>() / tallies.total()
            }
            Self::BalancedAccuracy => mean_defined((0..tallies.n_classes()).map(|c| tallies.recall(c))),
            Self::MacroPrecision => tallies.macro_mean(Tallies::precision),
            Self::MacroRecall => tallies.macro_mean(Tallies::recall),
            Self::WeightedPrecision => tallies.support_mean(Tallies::precision),
            Self::Matthews => matthews(tallies),
            Self::CohenKappa => cohen_kappa(tallies),
            Self::RocAuc | Self::PrAuc | Self::LogLoss | Self::Brier | Self::CalibrationError => f64::NAN,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name() == name)
            .ok_or_else(|| UnknownMetric { name: name.to_owned(), suggestion: suggest(name) })
    }
}

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;

    fn try_from(name: String) -> Result<Self, UnknownMetric> {
        name.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name().to_owned()
    }
}

/// Multiclass Matthews correlation from the diagonal and margins (Gorodkin 2004, equation 8).
fn matthews(tallies: &Tallies) -> f64 {
    let total = tallies.total();
    if total == 0.0 {
        return f64::NAN;
    }
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
    let hits: f64 = tallies.hits.iter().sum();
    let between = hits * total - dot(&tallies.truth, &tallies.decided);
    let truth = total * total - dot(&tallies.truth, &tallies.truth);
    let decided = total * total - dot(&tallies.decided, &tallies.decided);
    let spread = truth * decided;
    if spread > 0.0 { (between / spread.sqrt()).clamp(-1.0, 1.0) } else { 0.0 }
}

/// Cohen's kappa, (observed - chance) / (1 - chance) agreement.
fn cohen_kappa(tallies: &Tallies) -> f64 {
    let total = tallies.total();
    let observed = tallies.hits.iter().sum::<f64>() / total;
    let chance: f64 =
        tallies.truth.iter().zip(&tallies.decided).map(|(a, b)| (a / total) * (b / total)).sum();
    if chance < 1.0 { (observed - chance) / (1.0 - chance) } else { f64::NAN }
}

/// Mean of the values that are defined; NaN when none is.
pub(super) fn mean_defined(values: impl Iterator<Item = Option<f64>>) -> f64 {
    let (sum, n) = values.flatten().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / n
}

/// Names that other tools use, and what they mean here.
const KNOWN_ELSEWHERE: [(&str, Metric); 10] = [
    ("f1", Metric::MacroF1),
    ("f1-macro", Metric::MacroF1),
    ("f1-weighted", Metric::WeightedF1),
    ("f1-micro", Metric::MicroF1),
    ("auc", Metric::RocAuc),
    ("average-precision", Metric::PrAuc),
    ("neg-log-loss", Metric::LogLoss),
    ("cross-entropy", Metric::LogLoss),
    ("matthews", Metric::Matthews),
    ("ece", Metric::CalibrationError),
];

/// The metric nearest to `name` in spelling, when one is near enough to be a slip.
fn suggest(name: &str) -> Option<Metric> {
    let name = name.trim().to_lowercase().replace(['_', ' '], "-");
    let known = KNOWN_ELSEWHERE.into_iter();
    let own = Metric::ALL.into_iter().map(|metric| (metric.name(), metric));
    own.chain(known)
        .map(|(candidate, metric)| (edit_distance(&name, candidate), metric))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .map(|(_, metric)| metric)
}

fn hint(suggestion: &Option<Metric>) -> String {
    match suggestion {
        Some(metric) => format!("did you mean `{metric}`?"),
        None => format!("choose one of {}", Metric::ALL.map(Metric::name).join(", ")),
    }
}

/// Levenshtein distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut distances: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        distances[0] = i + 1;
        for (j, &b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = distances[j + 1];
            distances[j + 1] = replaced.min(diagonal + 1).min(distances[j] + 1);
        }
    }
    distances[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_slips_are_understood() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
            let json = serde_json::to_string(&metric).unwrap();
            assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), metric);
        }
        let suggestion = |name: &str| name.parse::<Metric>().unwrap_err().suggestion;
        assert_eq!(suggestion("macro_f1"), Some(Metric::MacroF1));
        assert_eq!(suggestion("f1_macro"), Some(Metric::MacroF1));
        assert_eq!(suggestion("acuracy"), Some(Metric::Accuracy));
        assert_eq!(suggestion("logloss"), Some(Metric::LogLoss));
        assert_eq!(suggestion("temperature"), None);
        let told = "temperature".parse::<Metric>().unwrap_err().to_string();
        assert!(told.contains("choose one of macro-f1, "), "{told}");
    }

    #[test]
    fn all_lists_every_metric_in_order_once() {
        assert!(Metric::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
