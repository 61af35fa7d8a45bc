//! Experiments mirrored to an MLflow tracking server, by its REST interface (2.0).
//!
//! The truth is in the store; the mirror is for those who look at MLflow. A trial is found again by a tag, so mirroring it twice
//! makes one run there.

mod channel;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;
use ureq::Agent;
use ureq::http::{Response, Uri};

pub use channel::{MIRRORED, MirrorChannel};

use crate::clock::Timestamp;
use crate::notify::{Reach, SendError, SystemLookup, TlsUnusable, agent, unanswered};
use crate::secret::{self, SecretError};

/// For each of the few requests that a trial takes.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const ANSWER_LIMIT_BYTES: u64 = 4 << 20;
/// Limits of one `log-batch`.
const METRICS_A_BATCH: usize = 1_000;
const PARAMETERS_A_BATCH: usize = 100;
const TAGS_A_BATCH: usize = 100;
/// Limits of MLflow's columns, characters.
const KEY_LIMIT: usize = 250;
const PARAMETER_LIMIT: usize = 6_000;
const TAG_LIMIT: usize = 5_000;
/// The tag that holds the name of a trial.
const TRIAL_TAG: &str = "serin.trial";

/// A tracking server as written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowSettings {
    /// Such as `http://mlflow.lan:5000`; wherever an operator points it.
    pub url: String,
    /// A user, when the secret is a password; without one it is a token.
    pub user: Option<String>,
    pub secret_file: Option<PathBuf>,
}

/// A trial to mirror.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRecord {
    /// The experiment's name, made there if it is not.
    pub experiment: String,
    /// What makes a repeat recognisable, such as `digits-run-7`.
    pub trial: String,
    pub status: TrialStatus,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub parameters: BTreeMap<String, String>,
    pub metrics: Vec<TrialMetric>,
    pub tags: BTreeMap<String, String>,
    pub artifacts: Vec<TrialArtifact>,
}

/// How a trial ended, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialStatus {
    Finished,
    Failed,
    Killed,
}

/// A number measured in a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialMetric {
    pub key: String,
    pub value: f64,
    pub step: u64,
    pub time: Timestamp,
}

/// A small file of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialArtifact {
    /// One plain name, such as `evaluation.json`.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Where a trial is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    pub experiment: String,
    pub run: String,
    /// What MLflow has no place for: numbers that are not finite, and artifacts when the server does not take them.
    pub left_out: Vec<String>,
}

/// Why a trial was not mirrored. No message holds the secret or what the server said but for its code.
#[derive(Debug, Error)]
pub enum MirrorError {
    #[error("the URL of a tracking server is http(s)://host[:port][/path], without a user")]
    Url,
    #[error(transparent)]
    Tls(#[from] TlsUnusable),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("MLflow does not answer {what}")]
    Unanswered { what: &'static str, source: SendError },
    #[error("MLflow refused {what} with {status} {code}")]
    Refused { what: &'static str, status: u16, code: String },
    #[error("MLflow's answer to {what} cannot be understood")]
    Answer { what: &'static str },
}

/// Mirrors trials to one server.
pub struct Mirror {
    settings: MlflowSettings,
    base: String,
    agent: Agent,
}

/// An answer in JSON.
struct Answered {
    status: u16,
    body: Value,
}

impl MirrorError {
    /// Whether a later attempt may go better.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Url | Self::Tls(_) | Self::Answer { .. } => false,
            Self::Secret(_) => true,
            Self::Unanswered { source, .. } => source.may_retry(),
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        }
    }
}

impl TrialStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

impl Mirror {
    /// A mirror by these settings.
    ///
    /// # Errors
    /// When the URL cannot be one.
    pub fn new(settings: MlflowSettings) -> Result<Self, MirrorError> {
        let uri: Uri = settings.url.parse().map_err(|_| MirrorError::Url)?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_plain = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        if !is_web || !is_plain || uri.query().is_some() {
            return Err(MirrorError::Url);
        }
        let base = format!("{}/api/2.0", settings.url.trim_end_matches('/'));
        let agent = agent(Reach::Anywhere, Arc::new(SystemLookup), TIME_LIMIT)?;
        Ok(Self { settings, base, agent })
    }

    /// Makes the server know a trial: once, however often it is called.
    ///
    /// # Errors
    /// When the server does not take it; parts may be there already, and are completed by another call.
    pub fn record(&self, trial: &TrialRecord) -> Result<Mirrored, MirrorError> {
        let authorization = self.authorization()?;
        let server = Server { mirror: self, authorization: authorization.as_deref() };
        let experiment = server.experiment(&trial.experiment)?;
        let (run, artifacts_at) = server.run(&experiment, trial)?;
        let mut left_out = server.log(&run, trial)?;
        left_out.extend(server.upload(artifacts_at.as_deref(), &trial.artifacts)?);
        // Last, so that a run that looks finished is whole.
        let end = json!({
            "run_id": run,
            "status": trial.status.name(),
            "end_time": milliseconds(trial.ended),
        });
        server.post("the end of a run", "mlflow/runs/update", &end)?;
        Ok(Mirrored { experiment, run, left_out })
    }

    /// The header that lets us in. Read for every trial: tokens are changed without a restart.
    fn authorization(&self) -> Result<Option<String>, MirrorError> {
        let Some(path) = &self.settings.secret_file else { return Ok(None) };
        let secret = secret::read_text(path)?;
        let secret = secret.text().unwrap_or_default();
        Ok(Some(match &self.settings.user {
            Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))),
            None => format!("Bearer {secret}"),
        }))
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The server, for one trial.
struct Server<'a> {
    mirror: &'a Mirror,
    authorization: Option<&'a str>,
}

impl Server<'_> {
    /// The id of the experiment called `name`, which is made if it is not there.
    fn experiment(&self, name: &str) -> Result<String, MirrorError> {
        let what = "an experiment";
        // Who makes it at the same moment is as good as we are: then it is there at the second look.
        for _ in 0..2 {
            if let Some(id) = self.find_experiment(name)? {
                return Ok(id);
            }
            let made = self.send(what, "mlflow/experiments/create", &json!({ "name": name }))?;
            if made.status < 300 {
                return text(&made.body, "/experiment_id").ok_or(MirrorError::Answer { what });
            }
            if code(&made.body) != "RESOURCE_ALREADY_EXISTS" {
                return Err(refused(what, &made));
            }
        }
        Err(MirrorError::Answer { what })
    }

    fn find_experiment(&self, name: &str) -> Result<Option<String>, MirrorError> {
        let what = "the look for an experiment";
        let request = self.mirror.agent.get(format!("{}/mlflow/experiments/get-by-name", self.mirror.base));
        let mut request = request.query("experiment_name", name);
        if let Some(authorization) = self.authorization {
            request = request.header("authorization", authorization);
        }
        let found = answered(what, request.call())?;
        if found.status == 404 && code(&found.body) == "RESOURCE_DOES_NOT_EXIST" {
            return Ok(None);
        }
        if found.status >= 300 {
            return Err(refused(what, &found));
        }
        text(&found.body, "/experiment/experiment_id").map(Some).ok_or(MirrorError::Answer { what })
    }

    /// The id of the trial's run and where its artifacts go: the run that an earlier call made, else a new one.
    fn run(&self, experiment: &str, trial: &TrialRecord) -> Result<(String, Option<String>), MirrorError> {
        let what = "a run";
        // A quote would end the text of the filter.
        let name: String =
            trial.trial.chars().map(|c| if matches!(c, '\'' | '\\') { '-' } else { c }).collect();
        let filter = format!("tags.`{TRIAL_TAG}` = '{name}'");
        let search = json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 });
        let found = self.post("the look for a run", "mlflow/runs/search", &search)?;
        let info = match found.pointer("/runs/0/info") {
            Some(info) => info.clone(),
            None => {
                let new = json!({
                    "experiment_id": experiment,
                    "run_name": name,
                    "start_time": milliseconds(trial.began),
                    "tags": [{ "key": TRIAL_TAG, "value": name }],
                });
                let made = self.post(what, "mlflow/runs/create", &new)?;
                made.pointer("/run/info").cloned().ok_or(MirrorError::Answer { what })?
            }
        };
        let run = text(&info, "/run_id").ok_or(MirrorError::Answer { what })?;
        Ok((run, text(&info, "/artifact_uri")))
    }

    /// Logs parameters, metrics and tags in as many batches as it takes; returns the metrics that are not finite.
    fn log(&self, run: &str, trial: &TrialRecord) -> Result<Vec<String>, MirrorError> {
        let pairs = |map: &BTreeMap<String, String>, limit: usize| -> Vec<Value> {
            let pair = |(key, value): (&String, &String)| json!({ "key": plain_key(key), "value": cut(value, limit) });
            map.iter().map(pair).collect()
        };
        let parameters = pairs(&trial.parameters, PARAMETER_LIMIT);
        let tags = pairs(&trial.tags, TAG_LIMIT);
        let (finite, odd): (Vec<_>, Vec<_>) =
            trial.metrics.iter().partition(|metric| metric.value.is_finite());
        let metric = |metric: &&TrialMetric| {
            json!({
                "key": plain_key(&metric.key),
                "value": metric.value,
                "timestamp": milliseconds(metric.time),
                "step": metric.step,
            })
        };
        let metrics: Vec<Value> = finite.iter().map(metric).collect();
        let batches = [
            ("params", batches(&parameters, PARAMETERS_A_BATCH)),
            ("tags", batches(&tags, TAGS_A_BATCH)),
            ("metrics", batches(&metrics, METRICS_A_BATCH)),
        ];
        for (kind, batch) in batches.iter().flat_map(|(kind, all)| all.iter().map(move |batch| (kind, batch)))
        {
            let mut body = json!({ "run_id": run });
            body[*kind] = (*batch).into();
            self.post("a batch of numbers", "mlflow/runs/log-batch", &body)?;
        }
        Ok(odd.into_iter().map(|metric| format!("{} is {}", metric.key, metric.value)).collect())
    }

    /// Uploads artifacts through the server; returns the names of those for which it has no place.
    fn upload(&self, at: Option<&str>, artifacts: &[TrialArtifact]) -> Result<Vec<String>, MirrorError> {
        let what = "an artifact";
        // `mlflow-artifacts:/1/<run>/artifacts`; with a host in front when the server is told its own.
        let path = at.and_then(|uri| uri.strip_prefix("mlflow-artifacts:"));
        let path = path.map(|path| match path.strip_prefix("//") {
            Some(behind) => behind.split_once('/').map_or("", |(_, path)| path),
            None => path.trim_start_matches('/'),
        });
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        let path = path.filter(|path| path.chars().all(is_plain));
        let mut left_out = Vec::new();
        for artifact in artifacts {
            let is_name = artifact.name.chars().all(|c| is_plain(c) && c != '/') && !artifact.name.is_empty();
            let (Some(path), true) = (path, is_name) else {
                left_out.push(artifact.name.clone());
                continue;
            };
            let url = format!("{}/mlflow-artifacts/artifacts/{path}/{}", self.mirror.base, artifact.name);
            let mut request = self.mirror.agent.put(url);
            if let Some(authorization) = self.authorization {
                request = request.header("authorization", authorization);
            }
            let stored = answered(what, request.send(&artifact.bytes[..]))?;
            if stored.status >= 300 {
                return Err(refused(what, &stored));
            }
        }
        Ok(left_out)
    }

    /// The answer to a request that must succeed.
    fn post(&self, what: &'static str, path: &str, body: &Value) -> Result<Value, MirrorError> {
        let answer = self.send(what, path, body)?;
        if answer.status < 300 { Ok(answer.body) } else { Err(refused(what, &answer)) }
    }

    fn send(&self, what: &'static str, path: &str, body: &Value) -> Result<Answered, MirrorError> {
        let request = self.mirror.agent.post(format!("{}/{path}", self.mirror.base));
        let mut request = request.header("content-type", "application/json");
        if let Some(authorization) = self.authorization {
            request = request.header("authorization", authorization);
        }
        answered(what, request.send(body.to_string()))
    }
}

/// The answer, whatever its status; nothing where it is no JSON.
fn answered(
    what: &'static str,
    answer: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<Answered, MirrorError> {
    let failed = |error| MirrorError::Unanswered { what, source: unanswered(error, TIME_LIMIT) };
    let mut answer = answer.map_err(failed)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_vec().map_err(failed)?;
    Ok(Answered { status, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn refused(what: &'static str, answer: &Answered) -> MirrorError {
    MirrorError::Refused { what, status: answer.status, code: code(&answer.body) }
}

/// MLflow's name for what is wrong; nothing else that it says.
fn code(body: &Value) -> String {
    let code = body.get("error_code").and_then(Value::as_str).unwrap_or_default();
    code.chars().filter(|c| c.is_ascii_uppercase() || *c == '_').take(64).collect()
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_str().map(str::to_owned)
}

fn batches(all: &[Value], size: usize) -> Vec<&[Value]> {
    all.chunks(size).collect()
}

fn milliseconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000)
}

/// A key with the characters that MLflow takes, in any version.
fn plain_key(key: &str) -> String {
    let is_plain = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/');
    key.chars().map(|c| if is_plain(&c) { c } else { '_' }).take(KEY_LIMIT).collect()
}

fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}
