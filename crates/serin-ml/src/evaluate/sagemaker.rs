//! The shape in which SageMaker Model Monitor states the quality of a multiclass model.

use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use super::bootstrap::standard_deviation;
use super::confusion::{ConfusionMatrix, Tallies};
use super::evaluation::Evaluation;

/// Below so many rows SageMaker states no standard deviation.
const MINIMUM_ROWS: u64 = 200;

/// Random samples behind a standard deviation, and the share of rows in each.
const SAMPLES: usize = 5;
const SAMPLE_SHARE: f64 = 0.8;

/// The content of `evaluation.json`: SageMaker's statistics (readable by what reads those), and ours under `serin`.
///
/// # Errors
/// Never in practice: an evaluation holds nothing that JSON cannot.
pub fn to_document(evaluation: &Evaluation) -> Result<Value, serde_json::Error> {
    Ok(json!({
        "version": 0.0,
        "dataset": { "item_count": evaluation.rows },
        "multiclass_classification_metrics": to_sagemaker(evaluation),
        "serin": serde_json::to_value(evaluation)?,
    }))
}

/// The object `multiclass_classification_metrics`: the confusion matrix (outer key actual, inner key decided class),
/// six metrics with value and standard deviation, and the same six of the best constant classifier.
///
/// Weighted means weight classes by support. The standard deviation is that of five evaluations on random 80 % of
/// the rows, and the text `"NaN"` below 200 rows. The constant classifier decides the most frequent class; with two
/// classes it decides the second, the positive one, because that is what SageMaker's published figures do.
/// A metric without a value (no rows) is 0, as the shape has no word for it.
#[must_use]
pub fn to_sagemaker(evaluation: &Evaluation) -> Value {
    let pairs = Pairs::of(evaluation);
    let samples = if evaluation.rows < MINIMUM_ROWS { Vec::new() } else { pairs.samples(evaluation) };
    let constant = pairs.constant_class();
    let classes = &evaluation.classes;

    let mut object = Map::new();
    let rows = evaluation.confusion_matrix.iter().zip(classes).map(|(row, actual)| {
        let counts: Map<String, Value> =
            classes.iter().cloned().zip(row.iter().map(|&count| json!(count))).collect();
        (actual.clone(), Value::Object(counts))
    });
    object.insert("confusion_matrix".to_owned(), Value::Object(rows.collect()));
    for (name, measure) in MEASURES {
        let spread = deviation(samples.iter().map(|sample| measure(&sample.tallies())));
        object.insert(name.to_owned(), stated(measure(&pairs.tallies()), &spread));
    }
    for (name, measure) in MEASURES {
        let spread = deviation(samples.iter().map(|sample| measure(&sample.decided_as(constant))));
        let value = measure(&pairs.decided_as(constant));
        object.insert(format!("{name}_best_constant_classifier"), stated(value, &spread));
    }
    Value::Object(object)
}

type Measure = fn(&Tallies) -> f64;

const MEASURES: [(&str, Measure); 6] = [
    ("accuracy", |tallies| tallies.hits.iter().sum::<f64>() / tallies.total()),
    ("weighted_recall", |tallies| tallies.support_mean(Tallies::recall)),
    ("weighted_precision", |tallies| tallies.support_mean(Tallies::precision)),
    ("weighted_f0_5", |tallies| tallies.support_mean(|tallies, class| tallies.f_beta(class, 0.5))),
    ("weighted_f1", |tallies| tallies.support_mean(Tallies::f1)),
    ("weighted_f2", |tallies| tallies.support_mean(|tallies, class| tallies.f_beta(class, 2.0))),
];

/// (truth, decision) of each row, as far as the confusion matrix remembers: in no particular order.
struct Pairs {
    n_classes: usize,
    pairs: Vec<(u32, u32)>,
}

impl Pairs {
    fn of(evaluation: &Evaluation) -> Self {
        let mut pairs = Vec::new();
        for (actual, row) in evaluation.confusion_matrix.iter().enumerate() {
            for (decided, &count) in row.iter().enumerate() {
                pairs.extend((0..count).map(|_| (actual as u32, decided as u32)));
            }
        }
        Self { n_classes: evaluation.classes.len(), pairs }
    }

    fn samples(&self, evaluation: &Evaluation) -> Vec<Self> {
        let seed = evaluation.seed.child("sagemaker");
        let size = (self.pairs.len() as f64 * SAMPLE_SHARE).round() as usize;
        let sample = |number| {
            let mut pairs = self.pairs.clone();
            let (sample, _) = pairs.partial_shuffle(&mut seed.nth(number).rng(), size);
            Self { n_classes: self.n_classes, pairs: sample.to_vec() }
        };
        (0..SAMPLES).map(sample).collect()
    }

    fn tallies(&self) -> Tallies {
        self.count(|decided| decided)
    }

    fn decided_as(&self, class: u32) -> Tallies {
        self.count(|_| class)
    }

    fn count(&self, decide: impl Fn(u32) -> u32) -> Tallies {
        let mut matrix = ConfusionMatrix::empty(self.n_classes);
        for &(actual, decided) in &self.pairs {
            matrix.add(actual, decide(decided));
        }
        matrix.finish()
    }

    fn constant_class(&self) -> u32 {
        if self.n_classes == 2 {
            return 1;
        }
        let support = self.tallies().truth;
        let best = (1..support.len())
            .fold(0, |best, class| if support[class] > support[best] { class } else { best });
        best as u32
    }
}

fn deviation(values: impl Iterator<Item = f64>) -> Value {
    let values: Vec<f64> = values.collect();
    if values.is_empty() { json!("NaN") } else { json!(standard_deviation(&values)) }
}

fn stated(value: f64, standard_deviation: &Value) -> Value {
    json!({ "value": if value.is_finite() { value } else { 0.0 }, "standard_deviation": standard_deviation })
}
