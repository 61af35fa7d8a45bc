//! One look at a window of an endpoint: the inference table, the baseline and the labels, read and judged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serin_ml::drift::{Damage, DriftError, Finding, PredictionBaseline, Reference, compare};
use serin_ml::evaluate::Metric;
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle};
use serin_ml::profile::DatasetProfile;
use serin_ml::train::model_importances;

use crate::artifacts::Artifacts;
use crate::capture::{RowRange, TableReader, WatchedBins, database};
use crate::causes::in_one_line;
use crate::clock::Timestamp;
use crate::config::MonitorSettings;
use crate::digest::Digest;
use crate::domain::VersionNumber;
use crate::monitor::{Inputs, MonitorReport, MonitorState, QualityReport, Unmeasured, judge, quality};
use crate::store::{MonitorRecord, NewMonitorRun, Store, StoreError};

/// Largest profile read.
const PROFILE_LIMIT_BYTES: u64 = 1 << 30;
/// Versions whose baselines are kept in memory.
const FACTS_KEPT: usize = 8;

/// A version and the baseline it is watched against.
type Watched = (VersionNumber, Digest);

/// Reads what a look needs.
#[derive(Debug)]
pub struct Looker {
    store: Arc<dyn Store>,
    artifacts: Arc<Artifacts>,
    data_directory: PathBuf,
    facts: Mutex<Vec<(Watched, Arc<VersionFacts>)>>,
}

/// What is known of a version from its making.
#[derive(Debug)]
struct VersionFacts {
    baseline: DatasetProfile,
    /// The baseline in the bins of this digest, as it was counted last.
    counted: Mutex<Option<(String, Arc<Reference>)>>,
    predictions: Option<PredictionBaseline>,
    damage: Damage,
    classes: Vec<String>,
    expected: (Option<f64>, Option<f64>),
}

impl VersionFacts {
    /// The baseline in these bins: counted once.
    fn reference(&self, bins: &WatchedBins) -> Result<Arc<Reference>, DriftError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, reference)) = &*counted
            && *digest == bins.digest
        {
            return Ok(reference.clone());
        }
        let reference = Arc::new(Reference::of(&bins.bins, &self.baseline)?);
        *counted = Some((bins.digest.clone(), reference.clone()));
        Ok(reference)
    }
}

/// What is looked at.
#[derive(Debug, Clone)]
pub struct LookAt {
    pub monitor: MonitorRecord,
    pub from: Timestamp,
    pub to: Timestamp,
    /// `None`: by itself.
    pub asked_by: Option<String>,
}

impl Looker {
    /// Looks at the windows of a data directory.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, artifacts: Arc<Artifacts>, data_directory: PathBuf) -> Self {
        Self { store, artifacts, data_directory, facts: Mutex::default() }
    }

    /// Looks. What cannot be read is part of what the look says.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn look(&self, at: &LookAt, settings: &MonitorSettings) -> Result<MonitorReport, StoreError> {
        let monitor = &at.monitor;
        let model_version = monitor.version.to_string();
        let before = self.before(at, &model_version, settings)?;
        let facts = self.facts(monitor);
        let table = self.table();
        let range = |from| RowRange { from, to: at.to, endpoint: Some(monitor.endpoint.clone()) };
        let (mut rows, mut comparison) = (0, Err(Unmeasured::Insufficient("there are no rows".to_owned())));
        match (&table, &facts) {
            (Err(problem), _) => comparison = Err(problem.clone()),
            (_, Err(problem)) => comparison = Err(Unmeasured::Error(problem.clone())),
            (Ok(None), _) => {}
            (Ok(Some(table)), Ok(facts)) => match table.counted(&range(at.from)) {
                Err(error) => {
                    comparison = Err(Unmeasured::Error(format!("the table: {}", in_one_line(&error))));
                }
                Ok(counted) => {
                    let mine = counted.iter().filter(|counted| counted.model_version == model_version);
                    // With another baseline of the same version meanwhile: the last is meant.
                    if let Some(counted) = mine.max_by_key(|counted| counted.last) {
                        rows = counted.window.rows;
                        let compared = facts.reference(&counted.bins).and_then(|reference| {
                            compare(
                                &reference,
                                &counted.window,
                                facts.predictions.as_ref(),
                                &facts.damage,
                                &settings.compare_options(),
                            )
                        });
                        comparison = compared.map_err(|error| Unmeasured::Error(error.to_string()));
                    }
                }
            },
        }
        let since =
            at.to.0.saturating_sub(i64::try_from(settings.quality_window.as_micros()).unwrap_or(i64::MAX));
        let quality = match (&table, &facts) {
            (Ok(Some(table)), Ok(facts)) => qualities(table, &range(Timestamp(since)), &facts.classes),
            _ => Ok(Vec::new()),
        };
        let quality = quality.unwrap_or_else(|problem| {
            if !matches!(comparison, Err(Unmeasured::Error(_))) {
                comparison = Err(Unmeasured::Error(problem));
            }
            Vec::new()
        });
        let expected = facts.as_ref().map(|facts| facts.expected).unwrap_or_default();
        Ok(judge(
            Inputs {
                project: monitor.project.clone(),
                stage: monitor.stage.clone(),
                endpoint: monitor.endpoint.clone(),
                model_version,
                from: at.from,
                to: at.to,
                rows,
                comparison,
                before,
                quality,
                expected,
            },
            settings,
        ))
    }

    /// Quality of every version that answered at an endpoint in a range.
    ///
    /// # Errors
    /// In words, why it cannot be said.
    pub fn quality(&self, monitor: &MonitorRecord, range: &RowRange) -> Result<Vec<QualityReport>, String> {
        let facts = self.facts(monitor)?;
        match self.table() {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(table)) => qualities(&table, range, &facts.classes),
            Err(Unmeasured::Insufficient(problem) | Unmeasured::Error(problem)) => Err(problem),
        }
    }

    /// Findings of the windows before, of the same version and of looks that saw something; as many as confirm.
    fn before(
        &self,
        at: &LookAt,
        model_version: &str,
        settings: &MonitorSettings,
    ) -> Result<Vec<Vec<Finding>>, StoreError> {
        let limit = settings.confirm.1.saturating_sub(1);
        let records = self.store.reports_before(&at.monitor.endpoint, at.from, limit)?;
        let reports = records.into_iter().filter_map(|record| {
            let report: MonitorReport = serde_json::from_value(record.report?).ok()?;
            (report.model_version == model_version).then(|| report.findings().to_vec())
        });
        Ok(reports.collect())
    }

    /// The table; `None` while there is none.
    fn table(&self) -> Result<Option<TableReader>, Unmeasured> {
        let path = database(&self.data_directory);
        if !path.exists() {
            return Ok(None);
        }
        let table = TableReader::open(&path);
        table
            .map(Some)
            .map_err(|error| Unmeasured::Error(format!("the inference table: {}", in_one_line(&error))))
    }

    fn facts(&self, monitor: &MonitorRecord) -> Result<Arc<VersionFacts>, String> {
        let mut known = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        // A version can be watched against another baseline than before.
        let key = (monitor.version, monitor.baseline);
        if let Some((_, facts)) = known.iter().find(|(known, _)| *known == key) {
            return Ok(facts.clone());
        }
        let facts = Arc::new(self.read_facts(monitor)?);
        known.truncate(FACTS_KEPT - 1);
        known.insert(0, (key, facts.clone()));
        Ok(facts)
    }

    fn read_facts(&self, monitor: &MonitorRecord) -> Result<VersionFacts, String> {
        let version = self.store.version(monitor.version).map_err(|error| in_one_line(&error))?;
        let version = version.ok_or_else(|| format!("there is no version {}", monitor.version))?;
        let bytes = self.artifacts.read(&version.artifact, BUNDLE_LIMIT_BYTES);
        let bytes = bytes.map_err(|error| format!("the bundle: {}", in_one_line(&error)))?;
        let bundle =
            Bundle::decode(&bytes).map_err(|error| format!("the bundle: {}", in_one_line(&error)))?;
        let bytes = self.artifacts.read(&monitor.baseline, PROFILE_LIMIT_BYTES);
        let bytes = bytes.map_err(|error| format!("the baseline: {}", in_one_line(&error)))?;
        let baseline: DatasetProfile =
            serde_json::from_slice(&bytes).map_err(|error| format!("the baseline: {error}"))?;
        let metric = |metric| {
            let evaluation = bundle.evaluation.as_ref()?;
            evaluation.metrics.get(&metric).and_then(|result| result.value)
        };
        let names: Vec<String> = bundle.card.schema.names().map(str::to_owned).collect();
        Ok(VersionFacts {
            baseline,
            counted: Mutex::default(),
            predictions: bundle.evaluation.as_ref().map(PredictionBaseline::of),
            damage: Damage::of(model_importances(&bundle.predictor, &names)),
            expected: (metric(Metric::Accuracy), metric(Metric::MacroF1)),
            classes: bundle.card.classes.clone(),
        })
    }
}

/// Quality of every version on rows of a range; in words why it cannot be said.
fn qualities(
    table: &TableReader,
    range: &RowRange,
    classes: &[String],
) -> Result<Vec<QualityReport>, String> {
    let labelled = table.labelled(range).map_err(|error| format!("labels: {}", in_one_line(&error)))?;
    Ok(labelled.iter().map(|labelled| quality(labelled, classes)).collect())
}

/// A report as it is kept.
#[must_use]
pub fn record(report: &MonitorReport, asked_by: Option<String>) -> NewMonitorRun {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    NewMonitorRun {
        project: report.project.clone(),
        stage: report.stage.clone(),
        endpoint: report.endpoint.clone(),
        model_version: report.model_version.clone(),
        from: report.from,
        to: report.to,
        asked_by,
        state: report.state.name().to_owned(),
        reason: report.reason.clone(),
        rows: report.rows,
        findings: count(report.findings().len()),
        confirmed: count(report.confirmed.len()),
        // Numbers and texts always serialise; what is not finite becomes null.
        report: serde_json::to_value(report).unwrap_or_default(),
    }
}

impl MonitorReport {
    /// What a report would say that could not be made at all.
    #[must_use]
    pub fn failed(at: &LookAt, reason: &str) -> Self {
        Self {
            project: at.monitor.project.clone(),
            stage: at.monitor.stage.clone(),
            endpoint: at.monitor.endpoint.clone(),
            model_version: at.monitor.version.to_string(),
            from: at.from,
            to: at.to,
            state: MonitorState::Error,
            reason: reason.to_owned(),
            rows: 0,
            comparison: None,
            confirmed: Vec::new(),
            quality: Vec::new(),
            expected: (None, None),
        }
    }
}
