//! What answers: a classifier with its names, checked on the way out.

use std::fmt;

use serin_ml::dataset::Schema;
use serin_ml::train::Predictor;

use super::problem::{Code, Problem};
use super::rows::{RowGuard, Rows};

/// The variant that all requests go to while an endpoint has one model. SageMaker's name for it.
pub const ONLY_VARIANT: &str = "AllTraffic";

/// Judges one row: fills `probabilities`, in class order, and gives the class that the decision rule chooses, which
/// may differ from the most probable one.
pub trait Classifier: Send + Sync {
    /// `row` has a value for each feature, NaN where it is missing.
    fn classify(&self, row: &[f64], probabilities: &mut [f64]) -> usize;
}

impl Classifier for Predictor {
    fn classify(&self, row: &[f64], probabilities: &mut [f64]) -> usize {
        self.predict_into(row, probabilities)
    }
}

/// A named place that answers rows.
pub struct Endpoint {
    name: String,
    model_version: String,
    guard: RowGuard,
    classes: Vec<ClassName>,
    class_names: Vec<String>,
    classifier: Box<dyn Classifier>,
}

/// A class name and its encodings, made once.
#[derive(Debug)]
pub struct ClassName {
    /// As trained.
    pub name: String,
    /// A JSON string.
    pub json: Vec<u8>,
    /// A CSV cell.
    pub csv: Vec<u8>,
}

/// The answers to the rows of one request. Kept and reused from request to request.
#[derive(Debug, Default)]
pub struct Predictions {
    /// The class chosen, one a row.
    pub chosen: Vec<usize>,
    /// Rows x classes, row-major; finite.
    pub probabilities: Vec<f64>,
}

/// A name that cannot be part of an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name an endpoint: up to 63 letters, digits and inner hyphens can; call the file so")]
pub struct InvalidEndpointName {
    name: String,
}

impl Endpoint {
    /// An endpoint called `name` whose model takes rows of `schema`, with the texts that mean a missing value, and answers
    /// one of `classes`.
    ///
    /// # Errors
    /// When the name does not fit SageMaker's pattern for endpoint names.
    pub fn new(
        name: &str,
        schema: &Schema,
        missing: &[String],
        classes: &[String],
        model_version: &str,
        classifier: Box<dyn Classifier>,
    ) -> Result<Self, InvalidEndpointName> {
        let bytes = name.as_bytes();
        let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let ends = [bytes.first(), bytes.last()].iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
        if !inner || !ends || bytes.len() > 63 {
            return Err(InvalidEndpointName { name: name.to_owned() });
        }
        Ok(Self {
            name: name.to_owned(),
            model_version: model_version.to_owned(),
            guard: RowGuard::new(schema, missing),
            classes: classes.iter().map(|class| ClassName::new(class)).collect(),
            class_names: classes.to_vec(),
            classifier,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the model that answers.
    #[must_use]
    pub fn model_version(&self) -> &str {
        &self.model_version
    }

    /// What its rows must look like.
    #[must_use]
    pub fn guard(&self) -> &RowGuard {
        &self.guard
    }

    /// Its classes in the model's order.
    #[must_use]
    pub fn classes(&self) -> &[ClassName] {
        &self.classes
    }

    /// The names of its classes in the model's order.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Judges all rows.
    ///
    /// # Errors
    /// When the model answers something that is not a probability or not a class: none of the rows is answered then.
    pub fn predict(&self, rows: &Rows, predictions: &mut Predictions) -> Result<(), Problem> {
        let (n_columns, n_classes) = (self.guard.names().len(), self.classes.len());
        let Predictions { chosen, probabilities } = predictions;
        chosen.clear();
        probabilities.clear();
        probabilities.resize(rows.n_rows() * n_classes, f64::NAN);
        for i in 0..rows.n_rows() {
            let slot = &mut probabilities[i * n_classes..(i + 1) * n_classes];
            let class = self.classifier.classify(rows.row(i, n_columns), slot);
            if class >= n_classes || !slot.iter().all(|p| (0.0..=1.0).contains(p)) {
                let detail = format!("row {}: the model's answer is not a class with probabilities", i + 1);
                return Err(Problem::new(Code::ModelOutputInvalid, detail));
            }
            chosen.push(class);
        }
        Ok(())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("model_version", &self.model_version)
            .finish()
    }
}

impl ClassName {
    fn new(name: &str) -> Self {
        let quoted = name.contains([',', '"', '\n', '\r']) || name.is_empty() || name.trim() != name;
        let csv = if quoted { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() };
        // A string always serialises.
        let json = serde_json::to_vec(name).unwrap_or_default();
        Self { name: name.to_owned(), json, csv: csv.into_bytes() }
    }
}
