//! A model as the gateway sees it: what its rows look like, what its classes are called, and who judges.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serin_core::capture::WatchedBins;
use serin_core::clock::Clock;
use serin_core::routes::ModelRef;
use serin_ml::dataset::Schema;
use serin_ml::train::{CannotExplain, Explanation, ScoreUnit};

use super::parked::{Load, Parked};
use super::problem::{Code, Problem};
use super::rows::{RowGuard, Rows};
use crate::fleet::GoldenQuestion;

/// Judges rows.
pub trait Classifier: Send + Sync {
    /// For each of the rows (`chosen.len()` of them, row-major, NaN where a value is missing) fills a row of
    /// `probabilities`, in class order, and chooses a class: the decision rule's, which may differ from the most
    /// probable one.
    fn classify(&self, rows: &[f64], probabilities: &mut [f64], chosen: &mut [usize]);

    /// What each feature of a row contributes to the score of a class.
    ///
    /// # Errors
    /// When the model has no such contributions.
    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain>;
}

/// One version of a model, ready to answer.
pub struct ServedModel {
    version: String,
    reference: Option<ModelRef>,
    run: Option<String>,
    guard: RowGuard,
    classes: Vec<ClassName>,
    class_names: Vec<String>,
    watched: Option<Arc<WatchedBins>>,
    golden: Arc<Vec<GoldenQuestion>>,
    classifier: Box<dyn Classifier>,
    parked: Option<Arc<Parked>>,
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
    /// Rows x classes, row-major; finite. Empty when whoever was asked gives none.
    pub probabilities: Vec<f64>,
}

/// Why one row was answered as it was: the features that moved the score of the chosen class most.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasons {
    /// What the score is measured in.
    pub unit: ScoreUnit,
    /// The score without anything known of the row.
    pub base: f64,
    /// The largest contributions in size, the largest first.
    pub contributions: Vec<Contribution>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contribution {
    /// Which feature.
    pub feature: usize,
    /// Its value in the row; NaN where it is missing.
    pub value: f64,
    /// What it adds to the score.
    pub contribution: f64,
}

impl ServedModel {
    /// A model that takes rows of `schema`, with the texts that mean a missing value, and answers one of `classes`.
    #[must_use]
    pub fn new(
        version: &str,
        schema: &Schema,
        missing: &[String],
        classes: &[String],
        classifier: Box<dyn Classifier>,
    ) -> Self {
        Self {
            version: version.to_owned(),
            reference: None,
            run: None,
            guard: RowGuard::new(schema, missing),
            classes: classes.iter().map(|class| ClassName::new(class)).collect(),
            class_names: classes.to_vec(),
            watched: None,
            golden: Arc::default(),
            classifier,
            parked: None,
        }
    }

    /// The same with bins in which its rows are counted.
    #[must_use]
    pub fn watched_in(self, bins: Option<WatchedBins>) -> Self {
        Self { watched: bins.map(Arc::new), ..self }
    }

    /// The same with rows whose answers are known.
    #[must_use]
    pub fn with_golden(self, golden: Vec<GoldenQuestion>) -> Self {
        Self { golden: Arc::new(golden), ..self }
    }

    /// The same as an entry of the registry: its number there is its version.
    #[must_use]
    pub fn registered(self, reference: ModelRef) -> Self {
        let run = reference.run.map(|run| run.to_string());
        Self { version: reference.number.to_string(), run, reference: Some(reference), ..self }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What its content is called: the bundle's digest where it is known.
    #[must_use]
    pub fn content(&self) -> &str {
        self.reference.as_ref().map_or(self.version.as_str(), |reference| reference.bundle.as_str())
    }

    /// The run that made it, when known.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// Where its rows are counted, when it has a baseline.
    #[must_use]
    pub fn watched(&self) -> Option<&Arc<WatchedBins>> {
        self.watched.as_ref()
    }

    /// The same, out of memory while nobody asks for so long; `load` reads it again.
    #[must_use]
    pub fn parked(self, load: Load, idle: Duration, clock: Arc<dyn Clock>) -> Self {
        let parked = Arc::new(Parked::new(self.classifier, load, idle, clock));
        Self { classifier: Box::new(parked.clone()), parked: Some(parked), ..self }
    }

    /// What lets it leave the memory, when something does.
    #[must_use]
    pub fn parking(&self) -> Option<&Arc<Parked>> {
        self.parked.as_ref()
    }

    /// Just what judges.
    #[must_use]
    pub fn into_classifier(self) -> Box<dyn Classifier> {
        self.classifier
    }

    /// Rows that its replicas must answer as it was registered with.
    #[must_use]
    pub fn golden(&self) -> &Arc<Vec<GoldenQuestion>> {
        &self.golden
    }

    /// Its entry of the registry, when it has one.
    #[must_use]
    pub fn reference(&self) -> Option<&ModelRef> {
        self.reference.as_ref()
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
        self.classify(rows, predictions);
        self.check(predictions)
    }

    /// Judges all rows; what comes out was not looked at.
    pub fn classify(&self, rows: &Rows, predictions: &mut Predictions) {
        let n_classes = self.classes.len();
        let Predictions { chosen, probabilities } = predictions;
        chosen.clear();
        chosen.resize(rows.n_rows(), usize::MAX);
        probabilities.clear();
        probabilities.resize(rows.n_rows() * n_classes, f64::NAN);
        self.classifier.classify(rows.values(), probabilities, chosen);
    }

    /// Whether every answer is a class with probabilities.
    ///
    /// # Errors
    /// When one is not: none of the rows is answered then.
    pub fn check(&self, Predictions { chosen, probabilities }: &Predictions) -> Result<(), Problem> {
        let n_classes = self.classes.len();
        if probabilities.is_empty() && !chosen.is_empty() {
            // Containers that name classes and nothing else.
            return match chosen.iter().position(|class| *class >= n_classes) {
                None => Ok(()),
                Some(i) => {
                    let detail = format!("row {}: the model's answer is not a class", i + 1);
                    Err(Problem::new(Code::ModelOutputInvalid, detail))
                }
            };
        }
        if probabilities.len() != chosen.len() * n_classes {
            let detail = "the model's answer has another number of probabilities than classes";
            return Err(Problem::new(Code::ModelOutputInvalid, detail));
        }
        let answers = chosen.iter().zip(probabilities.chunks_exact(n_classes.max(1)));
        let is_answer =
            |class: usize, row: &[f64]| class < n_classes && row.iter().all(|p| (0.0..=1.0).contains(p));
        match answers.into_iter().position(|(class, row)| !is_answer(*class, row)) {
            None => Ok(()),
            Some(i) => {
                let detail = format!("row {}: the model's answer is not a class with probabilities", i + 1);
                Err(Problem::new(Code::ModelOutputInvalid, detail))
            }
        }
    }
}

impl ServedModel {
    /// The `most` largest reasons for each of the classes chosen.
    ///
    /// # Errors
    /// When the model has none to give, or one is not a number.
    pub fn explain(&self, rows: &Rows, chosen: &[usize], most: usize) -> Result<Vec<Reasons>, Problem> {
        let n_features = self.guard.names().len();
        chosen
            .iter()
            .enumerate()
            .map(|(i, class)| self.reasons(rows.row(i, n_features), *class, most))
            .collect()
    }

    fn reasons(&self, row: &[f64], class: usize, most: usize) -> Result<Reasons, Problem> {
        let unavailable =
            |error: CannotExplain| Problem::new(Code::ExplanationUnavailable, error.to_string());
        let Explanation { base, contributions, unit } =
            self.classifier.explain(row, class).map_err(unavailable)?;
        let each = contributions.into_iter().zip(row).enumerate();
        let mut contributions: Vec<Contribution> = each
            .map(|(feature, (contribution, &value))| Contribution { feature, value, contribution })
            .collect();
        if !base.is_finite() || !contributions.iter().all(|reason| reason.contribution.is_finite()) {
            return Err(Problem::new(Code::ModelOutputInvalid, "a contribution is not a number"));
        }
        // Stable: of equal ones the feature that stands first comes first.
        contributions.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        contributions.truncate(most);
        Ok(Reasons { unit, base, contributions })
    }
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("version", &self.version).finish_non_exhaustive()
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
