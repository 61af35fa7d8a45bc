//! What the model said in a window, and what that lets expect of its quality while no label is known.

use serde::{Deserialize, Serialize};

use super::distance::{Distances, Shares};
use super::tests_of_change::{Groups, homogeneity};
use crate::evaluate::Evaluation;

/// Bars of the histogram of confidences, of equal width from 0 to 1: those of the reliability diagram.
const CONFIDENCE_BINS: usize = 10;
/// With more classes only the probability of the predicted class is summed.
const CLASSES_LIMIT: usize = 64;
/// Below this calibration error on the hold-out, estimates of quality are believed.
const CALIBRATED: f64 = 0.05;
/// Rows of the hold-out below which calibration is not known.
const CALIBRATION_ROWS: u64 = 100;

/// Predictions and confidences, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predictions {
    /// Rows predicted as each class.
    by_class: Vec<u64>,
    /// Rows by their largest probability.
    confidence: Vec<u64>,
    /// Sum of the largest probabilities.
    confidence_sum: f64,
    /// Sums of probabilities, by predicted class and class, row by row; empty with too many classes.
    expected: Vec<f64>,
}

/// What the hold-out lets expect.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionBaseline {
    by_class: Vec<u64>,
    confidence: Vec<u64>,
    mean_confidence: Option<f64>,
    calibration_error: Option<f64>,
    rows: u64,
    accuracy: Option<f64>,
    macro_f1: Option<f64>,
}

/// Predictions of a window beside those on the hold-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionReport {
    /// Rows predicted.
    pub rows: u64,
    /// One entry a class: its name, its share on the hold-out, its share now.
    pub classes: Vec<(String, f64, f64)>,
    /// The probability of such a difference in the class mix by chance.
    pub class_mix_p: f64,
    /// Share of predictions that would have to be of another class.
    pub class_mix_shift: f64,
    /// Mean of the largest probability on the hold-out.
    pub confidence_before: Option<f64>,
    /// The same now.
    pub confidence_now: Option<f64>,
    /// The probability of such a difference in confidences by chance.
    pub confidence_p: f64,
    /// Largest difference of the distribution functions of confidence.
    pub confidence_shift: f64,
    /// What can be said of quality without labels.
    pub estimated: Option<EstimatedQuality>,
}

/// Quality as the model's own calibrated probabilities let expect it (confidence-based estimation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EstimatedQuality {
    /// Mean probability of the predicted class: the share of right answers, if probabilities hold.
    pub accuracy: f64,
    /// Mean over classes of F1 from expected counts; `None` with too many classes.
    pub macro_f1: Option<f64>,
    /// Accuracy on the hold-out.
    pub accuracy_before: Option<f64>,
    /// Macro-F1 on the hold-out.
    pub macro_f1_before: Option<f64>,
    /// Why it should not be believed; `None`: nothing speaks against it.
    pub doubt: Option<String>,
}

impl Predictions {
    pub(super) fn empty(classes: usize) -> Self {
        let expected = if classes <= CLASSES_LIMIT { vec![0.0; classes * classes] } else { Vec::new() };
        Self {
            by_class: vec![0; classes],
            confidence: vec![0; CONFIDENCE_BINS],
            confidence_sum: 0.0,
            expected,
        }
    }

    /// Takes in one answer: the predicted class and the probabilities, in class order. Others than finite
    /// probabilities of every class are left out.
    pub(super) fn add(&mut self, class: usize, probabilities: &[f64]) {
        let classes = self.by_class.len();
        if class >= classes || probabilities.len() != classes || !probabilities.iter().all(|p| p.is_finite())
        {
            return;
        }
        self.by_class[class] += 1;
        let confidence = probabilities.iter().copied().fold(0.0, f64::max).clamp(0.0, 1.0);
        self.confidence_sum += confidence;
        let bin = ((confidence * CONFIDENCE_BINS as f64).ceil() as usize).clamp(1, CONFIDENCE_BINS) - 1;
        self.confidence[bin] += 1;
        if let Some(sums) = self.expected.get_mut(class * classes..(class + 1) * classes) {
            for (sum, probability) in sums.iter_mut().zip(probabilities) {
                *sum += probability;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.confidence_sum += other.confidence_sum;
        add_each(&mut self.by_class, &other.by_class);
        add_each(&mut self.confidence, &other.confidence);
        add_each(&mut self.expected, &other.expected);
    }

    pub(super) fn has_shape_of(&self, other: &Self) -> bool {
        self.by_class.len() == other.by_class.len()
            && self.confidence.len() == other.confidence.len()
            && self.expected.len() == other.expected.len()
    }

    /// Whether this can have been counted of so many rows, and has a shape that something counts in.
    pub(super) fn is_of_rows(&self, rows: u64) -> bool {
        let total = |counts: &[u64]| counts.iter().copied().try_fold(0_u64, u64::checked_add);
        let has_shape = self.has_shape_of(&Self::empty(self.by_class.len()));
        let predicted = total(&self.by_class);
        let are_numbers = self.confidence_sum.is_finite() && self.expected.iter().all(|sum| sum.is_finite());
        has_shape
            && predicted.is_some_and(|predicted| predicted <= rows)
            && predicted == total(&self.confidence)
            && are_numbers
    }

    pub(super) fn classes(&self) -> usize {
        self.by_class.len()
    }

    /// Rows predicted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Mean of the largest probability.
    #[must_use]
    pub fn mean_confidence(&self) -> Option<f64> {
        (self.rows() > 0).then(|| self.confidence_sum / self.rows() as f64)
    }

    /// Compares with what the hold-out lets expect. `worth` is how much of a row each row is worth as evidence.
    #[must_use]
    pub(super) fn report(
        &self,
        before: &PredictionBaseline,
        classes: &[String],
        worth: f64,
    ) -> PredictionReport {
        let shares = |counts: &[u64]| Shares::of(counts);
        let (was, is) = (shares(&before.by_class), shares(&self.by_class));
        let less = |counts: &[u64]| -> Vec<u64> {
            counts.iter().map(|&count| (count as f64 * worth).round() as u64).collect()
        };
        let mix = Groups::of(&before.by_class, &less(&self.by_class), false);
        let confidence = Groups::of(&before.confidence, &less(&self.confidence), true);
        let names = classes.iter().enumerate();
        PredictionReport {
            rows: self.rows(),
            classes: names.map(|(c, name)| (name.clone(), was.at(c), is.at(c))).collect(),
            class_mix_p: homogeneity(&mix),
            class_mix_shift: was.total_variation(&is),
            confidence_before: before.mean_confidence,
            confidence_now: self.mean_confidence(),
            confidence_p: homogeneity(&confidence),
            confidence_shift: Distances::largest_cdf_difference(&before.confidence, &self.confidence),
            estimated: self.estimated(before),
        }
    }

    fn estimated(&self, before: &PredictionBaseline) -> Option<EstimatedQuality> {
        let rows = self.rows();
        if rows == 0 {
            return None;
        }
        let classes = self.by_class.len();
        let at = |predicted: usize, class: usize| self.expected.get(predicted * classes + class).copied();
        let accuracy = if self.expected.is_empty() {
            self.mean_confidence()?
        } else {
            (0..classes).filter_map(|c| at(c, c)).sum::<f64>() / rows as f64
        };
        let f1 = |class: usize| -> Option<f64> {
            let hits = at(class, class)?;
            let actual: f64 = (0..classes).filter_map(|predicted| at(predicted, class)).sum();
            let whole = actual + self.by_class.get(class).copied()? as f64;
            (whole > 1e-9).then(|| 2.0 * hits / whole)
        };
        // A class that is neither predicted nor expected says nothing.
        let each: Vec<f64> = (0..classes).filter_map(f1).collect();
        let macro_f1 = (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64);
        let doubt = match before.calibration_error {
            _ if before.rows < CALIBRATION_ROWS => {
                Some(format!("calibration was tried on {} rows only", before.rows))
            }
            None => Some("calibration was not measured".to_owned()),
            Some(error) if error > CALIBRATED => {
                Some(format!("probabilities were off by {:.1} points on the hold-out", 100.0 * error))
            }
            Some(_) => None,
        };
        Some(EstimatedQuality {
            accuracy,
            macro_f1,
            accuracy_before: before.accuracy,
            macro_f1_before: before.macro_f1,
            doubt,
        })
    }
}

impl PredictionBaseline {
    /// What an evaluation on the hold-out says.
    #[must_use]
    pub fn of(evaluation: &Evaluation) -> Self {
        use crate::evaluate::Metric;
        let classes = evaluation.classes.len();
        let decided =
            |class: usize| evaluation.confusion_matrix.iter().filter_map(|row| row.get(class)).sum();
        let bins = &evaluation.reliability.bins;
        let confidence: Vec<u64> = bins.iter().map(|bin| bin.rows).collect();
        let sum: f64 = bins.iter().filter_map(|bin| bin.confidence.map(|c| c * bin.rows as f64)).sum();
        let rows: u64 = confidence.iter().sum();
        let metric = |metric| evaluation.metrics.get(&metric).and_then(|result| result.value);
        Self {
            by_class: (0..classes).map(decided).collect(),
            confidence: if bins.len() == CONFIDENCE_BINS { confidence } else { vec![0; CONFIDENCE_BINS] },
            mean_confidence: (rows > 0).then(|| sum / rows as f64),
            calibration_error: evaluation.reliability.error,
            rows: evaluation.rows,
            accuracy: metric(Metric::Accuracy),
            macro_f1: metric(Metric::MacroF1),
        }
    }
}

fn add_each<T: Copy + std::ops::AddAssign>(here: &mut [T], there: &[T]) {
    for (here, there) in here.iter_mut().zip(there) {
        *here += *there;
    }
}
