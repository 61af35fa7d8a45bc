//! `[source]`, `[pipeline]`, `[stages]` and `[steps]`: the way from source to production.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::capture::bytes;
use super::check::{Place, non_empty};
use super::image::{self, ImageSettings};
use super::raw::{RawCommand, RawConfig, RawPipeline, RawStage};
use super::replicas::{self, ReplicaRuntimeKind, ReplicaSettings};
use super::rollout::{self, RolloutSettings};
use crate::domain::RetryPolicy;

/// Most stages of a pipeline.
const STAGES_LIMIT: usize = 8;
/// Most golden rows asked after a deployment.
const SMOKE_ROWS_LIMIT: usize = 1_000;
/// SageMaker's limits for hyperparameters: how many, and how long a value may be.
const HYPERPARAMETERS_LIMIT: usize = 100;
const HYPERPARAMETER_LONGEST: usize = 2_500;

/// How a project gets from source to production.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineSettings {
    pub source: SourceSettings,
    /// In the order of deployment.
    pub stages: Vec<StageSettings>,
    /// A newer run takes the place of those that wait.
    pub newest_wins: bool,
    /// Runs that may wait.
    pub waiting_limit: u32,
    /// Whether a trigger trains again on code and data that were trained on before.
    pub retrain_unchanged: bool,
    /// For steps whose failure may pass.
    pub retry: RetryPolicy,
    /// The user's own steps; `None`: Serin's.
    pub prepare: Option<CommandSettings>,
    pub train: Option<CommandSettings>,
    pub evaluate: Option<CommandSettings>,
    /// What serves versions instead of Serin: a command or an image, answering as SageMaker's serving containers do.
    pub serve: Option<CommandSettings>,
}

/// Where code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// A path or URL of a git repository; `None`: the project's folder as it is.
    pub repository: Option<String>,
    pub branch: String,
    /// Where in the repository the project is.
    pub folder: String,
    pub token_file: Option<PathBuf>,
}

/// A place that is deployed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSettings {
    pub name: String,
    /// A person is asked before.
    pub approval: bool,
    pub approval_valid: Duration,
    /// Not the person who asked for the run.
    pub four_eyes: bool,
    /// Golden rows asked over HTTP after a deployment.
    pub smoke_rows: usize,
    /// How traffic goes over to a new version. Plans that were frozen before there were rollouts have none.
    #[serde(default)]
    pub rollout: RolloutSettings,
    /// Where the model runs, and how often. Plans that were frozen before there were replicas have none.
    #[serde(default)]
    pub replicas: ReplicaSettings,
}

/// A step of the user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSettings {
    /// A program and its arguments; empty only where an image brings them.
    pub command: Vec<String>,
    /// Runs in a container of this image; `None`: as a process of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSettings>,
    /// From start to end; of what serves, from start to the first good answer to `/ping`.
    pub time_limit: Duration,
    pub memory_limit_bytes: u64,
    pub processes: u32,
    pub output_limit_bytes: u64,
    pub environment: BTreeMap<String, String>,
    /// As text, the way SageMaker's clients write them: strings as they are, everything else as JSON.
    pub hyperparameters: BTreeMap<String, String>,
}

pub(super) fn check(raw: &RawConfig, folder: &Path, at: &Place<'_>) -> Result<PipelineSettings, ConfigError> {
    let pipeline = &raw.pipeline;
    let source = &raw.source;
    let path = |key, text: &Option<String>| non_empty(text.clone()).map(|text| at.path(key, &text, folder));
    Ok(PipelineSettings {
        source: SourceSettings {
            repository: non_empty(source.repository.clone()),
            branch: source.branch.clone().unwrap_or_default(),
            folder: source.folder.clone().unwrap_or_default(),
            token_file: path("source.token_file", &source.token_file),
        },
        stages: stages(raw, folder, at)?,
        newest_wins: pipeline.newest_wins.unwrap_or(true),
        waiting_limit: at.within("pipeline.waiting_limit", pipeline.waiting_limit.unwrap_or(20), 1, 1_000)?,
        retrain_unchanged: pipeline.retrain_unchanged.unwrap_or(false),
        retry: retry(pipeline, at)?,
        prepare: command("prepare", &raw.steps.prepare, at)?,
        train: command("train", &raw.steps.train, at)?,
        evaluate: command("evaluate", &raw.steps.evaluate, at)?,
        serve: command("serve", &raw.steps.serve, at)?,
    })
}

fn stages(raw: &RawConfig, folder: &Path, at: &Place<'_>) -> Result<Vec<StageSettings>, ConfigError> {
    const KEY: &str = "pipeline.stages";
    let names = raw.pipeline.stages.clone().unwrap_or_default();
    if names.is_empty() || names.len() > STAGES_LIMIT {
        let fix = format!("name 1 to {STAGES_LIMIT} stages, such as [\"dev\", \"prod\"]");
        return Err(at.error(KEY, &format!("names {}", names.len()), &fix));
    }
    for (i, name) in names.iter().enumerate() {
        at.name(KEY, name.clone())?;
        if names[..i].contains(name) {
            return Err(at.error(KEY, &format!("names \"{name}\" twice"), "name each stage once"));
        }
    }
    // The defaults describe dev and prod, whether or not they are deployed to.
    let is_known = |name: &String| names.contains(name) || name == "dev" || name == "prod";
    if let Some(name) = raw.stages.keys().find(|name| !is_known(name)) {
        let fix = "add it to pipeline.stages, or remove the table";
        return Err(at.error(&format!("stages.{name}"), "is no stage of the pipeline", fix));
    }
    let last = names.len() - 1;
    let serve = &raw.steps.serve;
    let has_command = serve.command.as_ref().is_some_and(|command| !command.is_empty());
    let has_image = serve.image.as_ref().is_some_and(|image| !image.is_empty());
    let served = match (has_image, has_command) {
        (true, _) => Some(ReplicaRuntimeKind::Container),
        (false, true) => Some(ReplicaRuntimeKind::Process),
        (false, false) => None,
    };
    let checked = names.iter().enumerate();
    checked.map(|(i, name)| stage(name, i == last, raw.stages.get(name), served, folder, at)).collect()
}

fn stage(
    name: &str,
    is_last: bool,
    raw: Option<&RawStage>,
    served: Option<ReplicaRuntimeKind>,
    folder: &Path,
    at: &Place<'_>,
) -> Result<StageSettings, ConfigError> {
    let raw = raw.cloned().unwrap_or_default();
    let key = |key: &str| format!("stages.{name}.{key}");
    Ok(StageSettings {
        name: name.to_owned(),
        approval: raw.approval.unwrap_or(false),
        approval_valid: at.duration(&key("approval_valid"), raw.approval_valid.as_deref().unwrap_or("7d"))?,
        four_eyes: raw.four_eyes.unwrap_or(false),
        smoke_rows: at.within(&key("smoke_rows"), raw.smoke_rows.unwrap_or(100), 1, SMOKE_ROWS_LIMIT)?,
        rollout: rollout::check(name, is_last, &raw.rollout, folder, at)?,
        replicas: replicas::check(name, &raw.replicas, served, at)?,
    })
}

/// The ranges are those of SageMaker Pipelines.
fn retry(raw: &RawPipeline, at: &Place<'_>) -> Result<RetryPolicy, ConfigError> {
    let first_wait = at.duration("pipeline.first_wait", raw.first_wait.as_deref().unwrap_or("1s"))?;
    Ok(RetryPolicy {
        attempts: at.within("pipeline.attempts", raw.attempts.unwrap_or(5), 1, 20)?,
        first_wait_milliseconds: u64::try_from(first_wait.as_millis()).unwrap_or(u64::MAX),
        factor: at.within("pipeline.factor", raw.factor.unwrap_or(2), 1, 100)?,
        expire_seconds: 0,
    })
}

fn command(step: &str, raw: &RawCommand, at: &Place<'_>) -> Result<Option<CommandSettings>, ConfigError> {
    let command = raw.command.clone().unwrap_or_default();
    let key = |key: &str| format!("steps.{step}.{key}");
    if command.first().is_some_and(String::is_empty) {
        return Err(at.error(&key("command"), "begins with nothing", "name a program"));
    }
    let settings = CommandSettings {
        time_limit: at.duration(&key("time_limit"), raw.time_limit.as_deref().unwrap_or("1h"))?,
        memory_limit_bytes: bytes(&key("memory_limit"), raw.memory_limit.as_deref(), 16 << 20, at)?
            .unwrap_or(8 << 30),
        processes: at.within(&key("processes"), raw.processes.unwrap_or(256), 1, 100_000)?,
        output_limit_bytes: bytes(&key("output_limit"), raw.output_limit.as_deref(), 1 << 20, at)?
            .unwrap_or(64 << 20),
        environment: environment(&key("environment"), &raw.environment, at)?,
        hyperparameters: hyperparameters(&key("hyperparameters"), &raw.hyperparameters, at)?,
        image: image::check(step, raw, at)?,
        command,
    };
    Ok((!settings.command.is_empty() || settings.image.is_some()).then_some(settings))
}

fn environment(
    key: &str,
    raw: &BTreeMap<String, String>,
    at: &Place<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let is_variable = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match raw.keys().find(|name| !is_variable(name)) {
        Some(name) => Err(at.error(key, &format!("has \"{name}\""), "use letters, digits and underscores")),
        None => Ok(raw.clone()),
    }
}

fn hyperparameters(
    key: &str,
    raw: &BTreeMap<String, toml::Value>,
    at: &Place<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    if raw.len() > HYPERPARAMETERS_LIMIT {
        return Err(at.error(key, "are too many", &format!("give at most {HYPERPARAMETERS_LIMIT}")));
    }
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    let values: BTreeMap<String, String> =
        raw.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    match values.iter().find(|(_, value)| value.len() > HYPERPARAMETER_LONGEST) {
        Some((name, _)) => {
            let fix = format!("use at most {HYPERPARAMETER_LONGEST} bytes");
            Err(at.error(key, &format!("has a long \"{name}\""), &fix))
        }
        None => Ok(values),
    }
}
