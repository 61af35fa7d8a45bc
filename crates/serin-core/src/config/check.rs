//! From what was written to what can be used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_ml::evaluate::{CheckedGates, Gates, InvalidGates, Metric};
use serin_ml::prepare::Recipe;
use serin_ml::seed::Seed;
use serin_ml::train::{Budget, FamilyName, FamilyParameters, Scope, SelectSettings};

use super::origin::Origins;
use super::raw::{OneOrMany, RawConfig, RawTrain};
use super::{
    AlarmSettings, CaptureSettings, ConfigError, MonitorSettings, NotifySettings, Origin, PipelineSettings,
    ServeSettings, TriggerSettings, alarms, capture, monitor, notify, pipeline, serve, triggers,
};
use crate::causes::in_one_line;
use crate::clock::parse_duration;

/// Checked settings of a project.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the endpoint and everything made for it.
    pub project: String,
    /// Where rows come from and which columns are what.
    pub data: DataSettings,
    /// How models are searched.
    pub train: SelectSettings,
    /// Threads to use; `None`: all cores.
    pub threads: Option<usize>,
    /// What is reported about data.
    pub checks: CheckSettings,
    /// What a model must satisfy.
    pub gates: CheckedGates,
    /// The same as it was written, for who judges later.
    pub gates_as_written: Gates,
    /// How it is served.
    pub serve: ServeSettings,
    /// What is promised about captured answers.
    pub capture: CaptureSettings,
    /// How it gets from source to production.
    pub pipeline: PipelineSettings,
    /// What asks for runs.
    pub triggers: TriggerSettings,
    /// How live rows are watched.
    pub monitor: MonitorSettings,
    /// What must not be, each behind those that it names.
    pub alarms: Vec<AlarmSettings>,
    /// Who is told.
    pub notify: NotifySettings,
    /// Where the control API listens.
    pub control_listen: SocketAddr,
}

/// `[data]`, checked.
#[derive(Debug, Clone)]
pub struct DataSettings {
    /// Files or patterns, relative ones already joined to the folder of the file that named them.
    pub train: Vec<PathBuf>,
    /// The frozen hold-out; empty when none is given.
    pub test: Vec<PathBuf>,
    /// The column to predict; `None` when not said yet.
    pub target: Option<String>,
    /// Share held out when `test` is empty; 0 evaluates out of fold.
    pub holdout: f64,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Texts that mean "missing".
    pub missing: Vec<String>,
    /// Column carried through.
    pub id: Option<String>,
    /// Column of sample weights.
    pub weight: Option<String>,
    /// Column of groups.
    pub group: Option<String>,
    /// Column of time.
    pub time: Option<String>,
}

/// `[checks]`, checked.
#[derive(Debug, Clone, Copy)]
pub struct CheckSettings {
    /// Pairs of columns at least this correlated are reported.
    pub correlation: f64,
}

/// Longest budget that can be asked for.
const LONGEST_BUDGET: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest time that rows or labels can count for: counts of them are kept for so long.
const LONGEST_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

pub(super) fn check(raw: &RawConfig, folder: &Path, origins: &Origins) -> Result<Settings, ConfigError> {
    let at = Place { origins };
    let data = &raw.data;
    let pipeline = pipeline::check(raw, folder, &at)?;
    let settings = Settings {
        project: at.name("project.name", raw.project.name.clone().unwrap_or_default())?,
        data: DataSettings {
            train: at.paths("data.train", data.train.clone(), folder),
            test: at.paths("data.test", data.test.clone(), folder),
            target: non_empty(data.target.clone()),
            holdout: at.within("data.holdout", data.holdout.unwrap_or(0.2), 0.0, 0.9)?,
            ignore: data.ignore.clone().unwrap_or_default(),
            missing: data.missing.clone().unwrap_or_default(),
            id: non_empty(data.id.clone()),
            weight: non_empty(data.weight.clone()),
            group: non_empty(data.group.clone()),
            time: non_empty(data.time.clone()),
        },
        threads: Some(at.within("train.threads", raw.train.threads.unwrap_or(0), 0, 1024)?)
            .filter(|&n| n > 0),
        train: train(&raw.train, &at)?,
        checks: CheckSettings {
            correlation: at.within("checks.correlation", raw.checks.correlation.unwrap_or(0.95), 0.1, 1.0)?,
        },
        gates: raw.gates.check().map_err(|error| at.gates_error(&error))?,
        gates_as_written: raw.gates.clone(),
        serve: serve::check(raw.serve.clone(), folder, &at)?,
        capture: capture::check(&raw.capture, &at)?,
        triggers: triggers::check(&raw.triggers, folder, &at)?,
        monitor: monitor::check(&raw.monitor, &raw.labels, folder, &at)?,
        alarms: alarms::check(&raw.alarms, &pipeline.stages, &at)?,
        pipeline,
        notify: notify::check(raw, folder, &at)?,
        control_listen: at.listen("control.listen", raw.control.listen.as_deref().unwrap_or_default())?,
    };
    Ok(settings)
}

fn train(raw: &RawTrain, at: &Place<'_>) -> Result<SelectSettings, ConfigError> {
    let trials = raw.trials.unwrap_or(0);
    let budget = if trials > 0 {
        Budget::Trials(at.within("train.trials", trials, 1, 10_000)?)
    } else {
        Budget::Until(at.duration("train.budget", raw.budget.as_deref().unwrap_or_default())?)
    };
    let metric: Metric = at.parsed("train.metric", raw.metric.as_deref().unwrap_or_default())?;
    let mut families = Vec::new();
    for name in raw.families.iter().flatten() {
        let family: FamilyName = at.parsed("train.families", name)?;
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        return Err(at.error("train.families", "is empty", "name at least one family"));
    }
    let recipe: Option<Recipe> = match &raw.recipe {
        None => None,
        Some(steps) => Some(at.deserialised("train.recipe", &toml::toml! { steps = [] }, "steps", steps)?),
    };
    if let Some(recipe) = &recipe {
        recipe
            .check()
            .map_err(|error| at.error("train.recipe", &in_one_line(&error), "correct that step"))?;
    }
    let model: Option<FamilyParameters> = match &raw.model {
        None => None,
        Some(model) => Some(model.clone().try_into().map_err(|error: toml::de::Error| {
            at.error(
                "train.model",
                error.message(),
                "see docs/data-and-models.md for the parameters of a family",
            )
        })?),
    };
    if let Some(model) = &model {
        model
            .check()
            .map_err(|error| at.error("train.model", &in_one_line(&error), "correct that parameter"))?;
    }
    let preset = raw.preset.as_deref().unwrap_or("auto");
    let scope = match (preset, recipe.is_some() || model.is_some()) {
        ("auto", false) => Scope::Everything,
        ("auto", true) => Scope::Fixed { recipe, model },
        ("reference", false) => Scope::Reference,
        ("reference", true) => {
            let problem = "\"reference\" does not go with [train.recipe] or [train.model]";
            return Err(at.error("train.preset", problem, "remove one of them"));
        }
        _ => return Err(at.error("train.preset", "is unknown", "write \"auto\" or \"reference\"")),
    };
    Ok(SelectSettings {
        metric,
        budget,
        folds: at.within("train.folds", raw.folds.unwrap_or(5), 2, 50)?,
        seed: Seed(raw.seed.unwrap_or_default()),
        families,
        scope,
        ensemble: raw.ensemble.unwrap_or(true),
        calibrate: raw.calibrate.unwrap_or(true),
    })
}

pub(super) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Makes errors that point at the place a key was written.
pub(super) struct Place<'a> {
    origins: &'a Origins,
}

impl Place<'_> {
    pub(super) fn error(&self, key: &str, problem: &str, fix: &str) -> ConfigError {
        ConfigError::Value {
            origin: self.origins.of(key),
            key: key.to_owned(),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }

    /// The same for a key of tables whose names are the user's own; points at the nearest that was written.
    pub(super) fn error_in(&self, parts: &[&str], problem: &str, fix: &str) -> ConfigError {
        let is_bare = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        let shown = |part: &&str| if is_bare(part) { (*part).to_owned() } else { format!("{part:?}") };
        ConfigError::Value {
            origin: self.origins.nearest(parts),
            key: parts.iter().map(shown).collect::<Vec<_>>().join("."),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }

    /// Points at the gate, or at the nearest table around it that was written.
    fn gates_error(&self, error: &InvalidGates) -> ConfigError {
        let path = match error {
            InvalidGates::UnknownMetric { key: key @ "champion_metric", .. } => format!("gates.{key}"),
            InvalidGates::UnknownMetric { key, source } => format!("gates.{key}.{}", source.name),
            InvalidGates::WrongSide { key, metric } => format!("gates.{key}.{metric}"),
            InvalidGates::OutOfRange { key, .. } => format!("gates.{}", key.replace('"', "")),
        };
        let mut key = path.as_str();
        while self.origins.of(key) == Origin::Default
            && let Some((table, _)) = key.rsplit_once('.')
        {
            key = table;
        }
        let fix = "see `serin config show` for what gates may say";
        ConfigError::Value {
            origin: self.origins.of(key),
            key: "gates".to_owned(),
            problem: in_one_line(error),
            fix: fix.to_owned(),
        }
    }

    pub(super) fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &str,
        value: T,
        low: T,
        high: T,
    ) -> Result<T, ConfigError> {
        if value >= low && value <= high {
            return Ok(value);
        }
        Err(self.error(key, &format!("is {value}"), &format!("give a value from {low} to {high}")))
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str, text: &str) -> Result<T, ConfigError>
    where
        T::Err: std::error::Error,
    {
        text.parse().map_err(|error: T::Err| self.error(key, &in_one_line(&error), "correct the name"))
    }

    fn deserialised<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
        frame: &toml::Table,
        slot: &str,
        value: &toml::Value,
    ) -> Result<T, ConfigError> {
        let mut table = frame.clone();
        table.insert(slot.to_owned(), value.clone());
        toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| {
            self.error(key, error.message(), "see docs/data-and-models.md for the steps of a recipe")
        })
    }

    pub(super) fn name(&self, key: &str, name: String) -> Result<String, ConfigError> {
        let is_fine = !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if is_fine {
            return Ok(name);
        }
        Err(self.error(
            key,
            "is not a name",
            "use 1 to 63 letters, digits and hyphens, no hyphen at either end",
        ))
    }

    pub(super) fn duration(&self, key: &str, text: &str) -> Result<Duration, ConfigError> {
        let duration =
            parse_duration(text).filter(|duration| !duration.is_zero() && *duration <= LONGEST_BUDGET);
        duration.ok_or_else(|| {
            self.error(
                key,
                &format!("is \"{text}\""),
                "write a time such as \"500ms\", \"60s\", \"5m\" or \"2h\", at most 168h",
            )
        })
    }

    /// A time for which something that is kept counts: days rather than seconds.
    pub(super) fn days(&self, key: &str, text: &str) -> Result<Duration, ConfigError> {
        let duration =
            parse_duration(text).filter(|duration| !duration.is_zero() && *duration <= LONGEST_KEPT);
        duration.ok_or_else(|| {
            self.error(
                key,
                &format!("is \"{text}\""),
                "write a time such as \"12h\" or \"30d\", at most 400d",
            )
        })
    }

    pub(super) fn listen(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        text.parse().map_err(|_| {
            self.error(
                key,
                &format!("is \"{text}\""),
                "write an address and a port, as in \"127.0.0.1:8080\"",
            )
        })
    }

    /// A path from the file is relative to the file; one from an option or a variable, to the current folder.
    pub(super) fn path(&self, key: &str, text: &str, folder: &Path) -> PathBuf {
        match self.origins.of(key) {
            Origin::File { .. } => folder.join(text),
            _ => PathBuf::from(text),
        }
    }

    pub(super) fn paths(&self, key: &str, entries: Option<OneOrMany>, folder: &Path) -> Vec<PathBuf> {
        let entries = entries.map(OneOrMany::into_vec).unwrap_or_default();
        entries.iter().map(|entry| self.path(key, entry, folder)).collect()
    }
}
