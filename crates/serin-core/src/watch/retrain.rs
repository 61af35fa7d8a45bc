//! From an alarm to a training run: the base rows of the champion, and captured rows whose truth is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serin_ml::dataset::{self, ColumnKind, Field, ReadOptions, Schema};
use serin_ml::observer::Silent;

use crate::artifacts::Artifacts;
use crate::capture::{CapturedRow, RowRange, TableReader, database};
use crate::causes::in_one_line;
use crate::clock::Timestamp;
use crate::config::{RetrainSettings, Settings};
use crate::digest::Digest;
use crate::domain::{Cause, ModelVersion, Run, RunNumber, WishOutcome};
use crate::hash::hash;
use crate::pipeline::documents::BuildOutput;
use crate::pipeline::{Asked, DataFile, DataRole, TrainRequest, read_document};
use crate::stages::read_options;
use crate::store::{Moment, NewDecision, Store, StoreError};

/// The alias of the version to beat.
const CHAMPION: &str = "champion";
/// What the files of captured rows are called.
const CAPTURED: &str = "captured.csv";
const RECENT: &str = "recent.csv";
/// Labelled rows looked at for each row that is taken: some fall to quotas and the hold-out.
const LOOKED_AT: usize = 2;
/// Most rows in memory at once.
const ROWS_LIMIT: usize = 400_000;
/// With fewer rows kept out nothing could be said about them.
const RECENT_LEAST: usize = 20;

/// What a run would be made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Labelled rows that arrived since the champion was made.
    pub new_labels: u64,
    /// Captured rows to learn from.
    pub learned: usize,
    /// Captured rows kept out, on which the new model must not be worse.
    pub recent: usize,
    /// Rows left out because the hold-out has them.
    pub in_hold_out: usize,
    /// Rows left out because they are there already: of the base, or captured more than once.
    pub repeated: usize,
    /// Rows left out because their class has enough.
    pub over_quota: usize,
    /// Rows left out because their class or their features are none of the model's.
    pub unfit: usize,
    /// Captured rows by class.
    pub by_class: BTreeMap<String, usize>,
    #[serde(skip)]
    pub data: Vec<DataFile>,
}

/// What became of the wish to retrain.
#[derive(Debug, Clone, PartialEq)]
pub enum Retrained {
    /// A run was made, or had been made for the same reason, or may not be made; without a plan when that was clear before
    /// there was one.
    Asked(WishOutcome, Option<Plan>),
    /// It would have been made.
    DryRun(Plan),
    /// Not now.
    Refused { rule: &'static str, reason: String },
}

/// Makes runs of alarms.
#[derive(Debug)]
pub struct Retrainer {
    pub store: Arc<dyn Store>,
    pub artifacts: Arc<Artifacts>,
    pub data_directory: std::path::PathBuf,
}

/// Why a run is wanted.
#[derive(Debug, Clone)]
pub struct Reason<'a> {
    pub alarm: &'a str,
    /// Since when it is on: one time on is one reason.
    pub since: Timestamp,
    /// Whose rows are taken.
    pub endpoint: &'a str,
}

impl Retrainer {
    /// Asks for a run, if the rules of the settings allow it, and records why or why not, unless the rule that refuses is
    /// the one that was told before.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn retrain(
        &self,
        settings: &Settings,
        reason: &Reason<'_>,
        told: Option<&str>,
        at: Moment,
    ) -> Result<Retrained, StoreError> {
        let asked = |data| {
            let cause = Cause::Alarm { name: reason.alarm.to_owned() };
            let key = Some(format!("alarm:{}:{}", reason.alarm, reason.since.0));
            let request = TrainRequest { data, ..TrainRequest::default() };
            Asked { key, request, ..Asked::plain(&settings.project, cause) }
        };
        let store = self.store.as_ref();
        // Rows are read, and files of them kept, only if a run may be made.
        let decided = match asked(Vec::new()).would(store, settings, at)? {
            WishOutcome::Run { .. } => match self.open_run(settings)? {
                Some(run) => Retrained::Refused {
                    rule: "open-run",
                    reason: format!("run {run}, which an alarm asked for, is not over"),
                },
                None => match self.plan(settings, reason, at)? {
                    Err((rule, why)) => Retrained::Refused { rule, reason: why },
                    Ok(plan) if settings.monitor.retrain.is_dry_run => Retrained::DryRun(plan),
                    Ok(plan) => {
                        let outcome = asked(plan.data.clone()).leave(store, settings, at)?;
                        Retrained::Asked(outcome, Some(plan))
                    }
                },
            },
            outcome => Retrained::Asked(outcome, None),
        };
        if decided.refusal().is_some_and(|rule| Some(rule) == told) {
            return Ok(decided);
        }
        let (verdict, explanation, plan) = match &decided {
            Retrained::Refused { reason, .. } => ("not now", reason.clone(), None),
            Retrained::DryRun(plan) => ("dry run", format!("would train on {}", plan.in_words()), Some(plan)),
            Retrained::Asked(WishOutcome::Refused { reason, .. }, plan) => {
                ("not now", reason.clone(), plan.as_ref())
            }
            Retrained::Asked(WishOutcome::Same { .. }, _) => return Ok(decided),
            Retrained::Asked(WishOutcome::Run { run }, plan) => {
                let rows = plan.as_ref().map(Plan::in_words).unwrap_or_default();
                ("retrain", format!("run {run} trains on {rows}"), plan.as_ref())
            }
        };
        let decision = NewDecision {
            project: settings.project.clone(),
            run: None,
            rule: "retrain".to_owned(),
            inputs: serde_json::json!({
                "alarm": reason.alarm,
                "since": reason.since.to_rfc3339(),
                "endpoint": reason.endpoint,
                "plan": plan,
                "settings": {
                    "min_labels": settings.monitor.retrain.min_labels,
                    "max_rows": settings.monitor.retrain.max_rows,
                    "class_quota": settings.monitor.retrain.class_quota,
                    "recent_share": settings.monitor.retrain.recent_share,
                },
            }),
            verdict: verdict.to_owned(),
            explanation,
        };
        self.store.record_decision(None, &decision, at)?;
        Ok(decided)
    }

    /// A run that an alarm asked for and that is not over: another one would be made for the same drift.
    fn open_run(&self, settings: &Settings) -> Result<Option<RunNumber>, StoreError> {
        let open = self.store.open_runs()?;
        let of_alarm =
            |run: &&Run| run.project == settings.project && matches!(run.cause, Cause::Alarm { .. });
        Ok(open.iter().find(of_alarm).map(|run| run.number))
    }

    /// The rows of a run; or the rule and the reason that speak against it.
    fn plan(
        &self,
        settings: &Settings,
        reason: &Reason<'_>,
        at: Moment,
    ) -> Result<Result<Plan, (&'static str, String)>, StoreError> {
        let Some(champion) = self.store.aliased(&settings.project, CHAMPION)? else {
            return Ok(Err(("champion", "no version is the champion yet".to_owned())));
        };
        let Some(build) = self.build_of(&champion)? else {
            let why = format!("what version {} was trained on is not known", champion.number);
            return Ok(Err(("base", why)));
        };
        Ok(self.rows(settings, reason, &champion, &build, at.wall))
    }

    fn build_of(&self, champion: &ModelVersion) -> Result<Option<BuildOutput>, StoreError> {
        let run = self.store.run(champion.run)?;
        let output = run.as_ref().and_then(|run| run.output("build"));
        Ok(output.and_then(|output| read_document(&self.artifacts, output).ok()))
    }

    fn rows(
        &self,
        settings: &Settings,
        reason: &Reason<'_>,
        champion: &ModelVersion,
        build: &BuildOutput,
        now: Timestamp,
    ) -> Result<Plan, (&'static str, String)> {
        let rules = &settings.monitor.retrain;
        let data = &settings.data;
        if let Some(column) = [&data.weight, &data.group, &data.time].into_iter().flatten().next() {
            return Err((
                "columns",
                format!("captured rows have no column {column:?}, which training needs"),
            ));
        }
        let broken =
            |error: &dyn std::error::Error| ("table", format!("the inference table: {}", in_one_line(error)));
        let path = database(&self.data_directory);
        if !path.exists() {
            return Err(("labels", "nothing was captured yet".to_owned()));
        }
        let table = TableReader::open(&path).map_err(|error| broken(&error))?;
        let since = now.0.saturating_sub(i64::try_from(rules.window.as_micros()).unwrap_or(i64::MAX));
        let range = |from| RowRange { from, to: now, endpoint: Some(reason.endpoint.to_owned()) };
        let counts = table.labelled(&range(champion.created)).map_err(|error| broken(&error))?;
        // What is said about classes that the model does not know is no reason to retrain.
        let names = table.models(&range(Timestamp(since))).map_err(|error| broken(&error));
        let is_class = |label: &String| {
            names.as_ref().is_ok_and(|names| names.iter().any(|model| model.classes.contains(label)))
        };
        let counted = counts.iter().flat_map(|version| &version.counts);
        let new_labels: u64 = counted.filter(|(label, ..)| is_class(label)).map(|(_, _, rows)| rows).sum();
        if new_labels < rules.min_labels {
            let why = format!(
                "{new_labels} labelled rows arrived since version {} was made, at least {} are asked for",
                champion.number, rules.min_labels
            );
            return Err(("labels", why));
        }
        let names = names?;
        let looked_at = rules.max_rows.saturating_mul(LOOKED_AT).min(ROWS_LIMIT);
        let rows =
            table.labelled_rows(&range(Timestamp(since)), looked_at).map_err(|error| broken(&error))?;
        let Some(features) = names.iter().find(|model| model.model_version == champion.number.to_string())
        else {
            return Err(("labels", format!("no captured row was answered by version {}", champion.number)));
        };
        let base = |role| self.base(settings, build, role, &features.features).map_err(|why| ("base", why));
        let held_out = base(DataRole::Test)?;
        // A row that is there twice could be learned from and judged on.
        let mut known = base(DataRole::Train)?;
        let mut plan = Plan {
            new_labels,
            learned: 0,
            recent: 0,
            in_hold_out: 0,
            repeated: 0,
            over_quota: 0,
            unfit: 0,
            by_class: BTreeMap::new(),
            data: Vec::new(),
        };
        let fitting: BTreeSet<&str> = names
            .iter()
            .filter(|model| model.features == features.features)
            .map(|model| model.model_version.as_str())
            .collect();
        let (mut learned, mut recent): (Vec<&CapturedRow>, Vec<&CapturedRow>) = (Vec::new(), Vec::new());
        for row in &rows {
            if learned.len() + recent.len() >= rules.max_rows {
                break;
            }
            let label = row.label.as_deref().unwrap_or_default();
            if !fitting.contains(row.model_version.as_str())
                || !features.classes.iter().any(|class| class == label)
            {
                plan.unfit += 1;
            } else if held_out.contains(&content(&row.features)) {
                plan.in_hold_out += 1;
            } else if rules
                .class_quota
                .is_some_and(|quota| plan.by_class.get(label).is_some_and(|n| *n >= quota))
            {
                plan.over_quota += 1;
            } else if !known.insert(content(&row.features)) {
                plan.repeated += 1;
            } else {
                *plan.by_class.entry(label.to_owned()).or_default() += 1;
                // The same rows are kept out every time, whatever else arrives.
                if is_kept_out(&row.id, rules) { recent.push(row) } else { learned.push(row) }
            }
        }
        if recent.len() < RECENT_LEAST {
            learned.append(&mut recent);
        }
        if learned.is_empty() {
            let why = format!("none of {} labelled rows is one to learn from", rows.len());
            return Err(("labels", why));
        }
        (plan.learned, plan.recent) = (learned.len(), recent.len());
        let base = build.data.iter().filter(|file| file.name != CAPTURED && file.name != RECENT);
        plan.data = base.cloned().collect();
        for (role, name, rows) in [(DataRole::Train, CAPTURED, &learned), (DataRole::Recent, RECENT, &recent)]
        {
            if rows.is_empty() {
                continue;
            }
            let text = csv(&build.target, &features.features, rows).map_err(|why| ("base", why))?;
            let digest = match rules.is_dry_run {
                true => Digest::of(&text),
                false => self.artifacts.put(&text).map_err(|error| ("base", in_one_line(&error)))?,
            };
            plan.data.push(DataFile { role, name: name.to_owned(), digest, bytes: text.len() as u64 });
        }
        Ok(plan)
    }

    /// The content of every row of the base that has a role, in the order of the model's features.
    fn base(
        &self,
        settings: &Settings,
        build: &BuildOutput,
        role: DataRole,
        features: &[String],
    ) -> Result<BTreeSet<u64>, String> {
        let is_base = |file: &&DataFile| file.role == role && file.name != CAPTURED && file.name != RECENT;
        let files = build.data.iter().filter(is_base);
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut paths = Vec::new();
        for (i, file) in files.enumerate() {
            let path = folder.path().join(file.work_name(i));
            self.artifacts.copy_to(&file.digest, &path).map_err(|error| in_one_line(&error))?;
            paths.push(path);
        }
        if paths.is_empty() {
            return Ok(BTreeSet::new());
        }
        // By name, as every reader of the hold-out finds them.
        let field = |name: &String| Field {
            name: name.clone(),
            kind: ColumnKind::Number,
            range: None,
            has_missing: true,
        };
        let schema = Schema { fields: features.iter().map(field).collect() };
        let options =
            ReadOptions { target: None, expected_schema: Some(schema), ..read_options(&settings.data) };
        let read = dataset::read(&paths, &options, &Silent).map_err(|error| in_one_line(&error))?;
        let rows = read.dataset;
        let row = |i: usize| rows.columns.iter().map(|column| column[i]).collect::<Vec<f64>>();
        Ok((0..rows.n_rows).map(|i| content(&row(i))).collect())
    }
}

impl Retrained {
    /// The rule that refused, or that it was a dry run.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { rule, .. } => Some(rule),
            Self::Asked(WishOutcome::Refused { rule, .. }, _) => Some(rule),
            Self::DryRun(_) => Some("dry-run"),
            Self::Asked(..) => None,
        }
    }
}

impl Plan {
    fn in_words(&self) -> String {
        format!(
            "the champion's rows and {} captured ones ({} more are kept out to judge on; {} are in the hold-out, {} are known)",
            self.learned, self.recent, self.in_hold_out, self.repeated
        )
    }
}

/// A hash of a row's values; all kinds of missing are one.
fn content(features: &[f64]) -> u64 {
    let bits = features.iter().map(|value| if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() });
    hash(bits.flat_map(u64::to_le_bytes))
}

/// Whether a row is kept out of training: the same answer for a row every time, and for all rows of a batch.
fn is_kept_out(id: &str, rules: &RetrainSettings) -> bool {
    // A caller's own id may have slashes, but does not end in one and digits.
    let is_row = |row: &str| !row.is_empty() && row.bytes().all(|byte| byte.is_ascii_digit());
    let request = id.rsplit_once('/').filter(|(_, row)| is_row(row)).map_or(id, |(request, _)| request);
    // The upper 53 bits are a number in [0, 1) that a float holds exactly.
    ((hash(request.bytes().chain(*b"recent")) >> 11) as f64) < rules.recent_share * (1_u64 << 53) as f64
}

/// The target first, then the features; an empty cell where a value is missing.
fn csv(target: &str, features: &[String], rows: &[&CapturedRow]) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let wrong = |error: csv::Error| error.to_string();
    writer.write_record(std::iter::once(target).chain(features.iter().map(String::as_str))).map_err(wrong)?;
    for row in rows {
        let cells =
            row.features.iter().map(|value| if value.is_nan() { String::new() } else { value.to_string() });
        let label = row.label.clone().unwrap_or_default();
        writer.write_record(std::iter::once(label).chain(cells)).map_err(wrong)?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}
