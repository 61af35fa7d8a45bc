//! What a user wrote: every key optional, nothing checked but its type and its name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serin_ml::evaluate::Gates;

/// A `serin.toml` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    #[serde(default)]
    pub project: RawProject,
    #[serde(default)]
    pub data: RawData,
    #[serde(default)]
    pub train: RawTrain,
    #[serde(default)]
    pub checks: RawChecks,
    #[serde(default)]
    pub gates: Gates,
    #[serde(default)]
    pub serve: RawServe,
    #[serde(default)]
    pub capture: RawCapture,
    #[serde(default)]
    pub source: RawSource,
    #[serde(default)]
    pub pipeline: RawPipeline,
    #[serde(default)]
    pub stages: BTreeMap<String, RawStage>,
    #[serde(default)]
    pub steps: RawSteps,
    #[serde(default)]
    pub triggers: RawTriggers,
    #[serde(default)]
    pub monitor: RawMonitor,
    #[serde(default)]
    pub labels: RawLabels,
    #[serde(default)]
    pub alarms: BTreeMap<String, RawAlarm>,
    #[serde(default)]
    pub notify: RawNotify,
    #[serde(default)]
    pub experiments: RawExperiments,
    #[serde(default)]
    pub control: RawControl,
}

/// `[project]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProject {
    pub name: Option<String>,
}

/// `[data]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawData {
    pub train: Option<OneOrMany>,
    pub test: Option<OneOrMany>,
    pub target: Option<String>,
    pub holdout: Option<f64>,
    pub ignore: Option<Vec<String>>,
    pub missing: Option<Vec<String>>,
    pub id: Option<String>,
    pub weight: Option<String>,
    pub group: Option<String>,
    pub time: Option<String>,
}

/// `[train]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrain {
    pub metric: Option<String>,
    pub budget: Option<String>,
    pub trials: Option<usize>,
    pub folds: Option<usize>,
    pub seed: Option<u64>,
    pub threads: Option<usize>,
    pub preset: Option<String>,
    pub families: Option<Vec<String>>,
    pub ensemble: Option<bool>,
    pub calibrate: Option<bool>,
    /// A recipe to use for every trial, as a list of steps.
    pub recipe: Option<toml::Value>,
    /// One family with fixed parameters instead of a search.
    pub model: Option<toml::Value>,
}

/// `[checks]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChecks {
    pub correlation: Option<f64>,
}

/// `[serve]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServe {
    pub listen: Option<String>,
    pub admin_listen: Option<String>,
    pub data_dir: Option<String>,
    pub default: Option<String>,
    pub tls_certificate: Option<String>,
    pub tls_key: Option<String>,
    pub proxies: Option<Vec<String>>,
    pub endpoints: Option<Vec<RawEndpoint>>,
}

/// `[[serve.endpoints]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEndpoint {
    pub name: String,
    pub sticky_header: Option<String>,
    pub model: Option<String>,
    pub variants: Option<Vec<RawVariant>>,
}

/// One entry of `variants`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVariant {
    pub name: String,
    pub model: String,
    pub weight: Option<f64>,
}

/// `[capture]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCapture {
    pub mode: Option<String>,
    pub sample: Option<f64>,
    pub when_full: Option<String>,
    pub spool_limit: Option<String>,
    pub keep_age: Option<String>,
    pub keep_size: Option<String>,
}

/// A list, or a single entry written without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    /// The entries; an empty single entry is none.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(entry) if entry.is_empty() => Vec::new(),
            Self::One(entry) => vec![entry],
            Self::Many(entries) => entries,
        }
    }
}

/// `[source]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSource {
    pub repository: Option<String>,
    pub branch: Option<String>,
    pub folder: Option<String>,
    pub token_file: Option<String>,
}

/// `[pipeline]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPipeline {
    pub stages: Option<Vec<String>>,
    pub newest_wins: Option<bool>,
    pub waiting_limit: Option<u32>,
    pub retrain_unchanged: Option<bool>,
    pub attempts: Option<u32>,
    pub first_wait: Option<String>,
    pub factor: Option<u32>,
}

/// `[stages.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStage {
    pub approval: Option<bool>,
    pub approval_valid: Option<String>,
    pub four_eyes: Option<bool>,
    pub smoke_rows: Option<usize>,
    #[serde(default)]
    pub rollout: RawRollout,
    #[serde(default)]
    pub replicas: RawReplicas,
}

/// `[stages.NAME.replicas]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReplicas {
    pub runtime: Option<String>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub target: Option<RawTargets>,
    pub steps: Option<Vec<RawScaleStep>>,
    pub schedule: Option<Vec<RawScheduledBounds>>,
    pub scale_in: Option<bool>,
    pub scale_in_cooldown: Option<String>,
    pub scale_out_cooldown: Option<String>,
    pub fast: Option<bool>,
    pub answer_limit: Option<String>,
    pub start_limit: Option<String>,
    pub memory_limit: Option<String>,
    pub cpus: Option<f64>,
    pub gpus: Option<String>,
}

/// `target` of replicas: one, or several in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a target or a list of targets")]
pub enum RawTargets {
    One(String),
    Many(Vec<String>),
}

/// One of `steps` of replicas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScaleStep {
    pub above: Option<String>,
    pub below: Option<String>,
    pub add: Option<u32>,
    pub remove: Option<u32>,
    pub minutes: Option<u32>,
}

/// One of `schedule` of replicas.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScheduledBounds {
    pub cron: String,
    pub zone: Option<String>,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

/// `[stages.NAME.rollout]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRollout {
    pub preset: Option<String>,
    pub steps: Option<Vec<RawRolloutStep>>,
    pub deployment_config: Option<toml::Value>,
    pub final_bake: Option<String>,
    pub min_requests: Option<u64>,
    pub evidence_wait: Option<String>,
    pub without_evidence: Option<String>,
    pub max_duration: Option<String>,
    pub mirror: Option<String>,
    pub probation: Option<String>,
    pub hold: Option<String>,
    pub auto_rollback: Option<bool>,
    pub latency_factor: Option<f64>,
    pub latency_floor: Option<String>,
    pub class_mix: Option<f64>,
    pub confidence: Option<f64>,
    pub disagreement: Option<f64>,
    pub alarms: Option<Vec<String>>,
    pub before_traffic: Option<Vec<RawHook>>,
    pub after_traffic: Option<Vec<RawHook>>,
}

/// One of `steps` of a rollout.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRolloutStep {
    pub weight: f64,
    pub bake: Option<String>,
}

/// One of the hooks of a rollout.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHook {
    pub check: Option<String>,
    pub command: Option<Vec<String>>,
    pub url: Option<String>,
    pub secret_file: Option<String>,
    pub allow_hosts: Option<Vec<String>>,
    pub time_limit: Option<String>,
}

/// `[steps]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSteps {
    #[serde(default)]
    pub prepare: RawCommand,
    #[serde(default)]
    pub train: RawCommand,
    #[serde(default)]
    pub evaluate: RawCommand,
    #[serde(default)]
    pub serve: RawCommand,
}

/// `[steps.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCommand {
    pub command: Option<Vec<String>>,
    pub image: Option<String>,
    pub build: Option<String>,
    pub pull: Option<String>,
    pub network: Option<bool>,
    pub writable: Option<Vec<String>>,
    pub cpus: Option<f64>,
    pub gpus: Option<String>,
    pub time_limit: Option<String>,
    pub memory_limit: Option<String>,
    pub processes: Option<u32>,
    pub output_limit: Option<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub hyperparameters: BTreeMap<String, toml::Value>,
}

/// `[triggers]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTriggers {
    pub cooldown: Option<String>,
    pub daily_budget: Option<u32>,
    #[serde(default)]
    pub git: RawGitTrigger,
    #[serde(default)]
    pub data: RawDataTrigger,
    #[serde(default)]
    pub upload: RawUploadTrigger,
    #[serde(default)]
    pub schedule: RawScheduleTrigger,
    #[serde(default)]
    pub alarm: RawAlarmTrigger,
}

/// `[triggers.git]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGitTrigger {
    pub enabled: Option<bool>,
    pub poll: Option<String>,
    pub webhook_secret_file: Option<String>,
}

/// `[triggers.data]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDataTrigger {
    pub enabled: Option<bool>,
    pub watch: Option<OneOrMany>,
    pub poll: Option<String>,
}

/// `[triggers.upload]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawUploadTrigger {
    pub folder: Option<String>,
}

/// `[triggers.schedule]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScheduleTrigger {
    pub enabled: Option<bool>,
    pub cron: Option<String>,
    pub zone: Option<String>,
}

/// `[triggers.alarm]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAlarmTrigger {
    pub enabled: Option<bool>,
}

/// `[monitor]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMonitor {
    pub enabled: Option<bool>,
    pub window: Option<String>,
    pub min_rows: Option<u64>,
    pub false_alarms: Option<f64>,
    pub least_shift: Option<f64>,
    pub confirm: Option<String>,
    pub quality_window: Option<String>,
    pub quality_min_labels: Option<u64>,
    pub quality_drop: Option<f64>,
    #[serde(default)]
    pub retrain: RawRetrain,
}

/// `[labels]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLabels {
    pub database: Option<String>,
    pub sql: Option<String>,
    pub poll: Option<String>,
}

/// `[monitor.retrain]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRetrain {
    pub min_labels: Option<u64>,
    pub window: Option<String>,
    pub max_rows: Option<usize>,
    pub class_quota: Option<usize>,
    pub recent_share: Option<f64>,
    pub dry_run: Option<bool>,
}

/// `[alarms.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAlarm {
    pub metric: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub stage: Option<String>,
    pub statistic: Option<String>,
    pub minimum_samples: Option<u64>,
    pub period: Option<String>,
    pub evaluation_periods: Option<u32>,
    pub datapoints_to_alarm: Option<u32>,
    pub comparison: Option<String>,
    pub threshold: Option<f64>,
    pub missing: Option<String>,
    pub rule: Option<String>,
    pub description: Option<String>,
    pub retrain: Option<bool>,
    pub enabled: Option<bool>,
}

/// `[notify]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNotify {
    pub events: Option<Vec<String>>,
    pub mail: Option<RawMail>,
    pub webhooks: Option<Vec<RawWebhook>>,
    pub alertmanager: Option<RawAlertmanager>,
}

/// `[notify.alertmanager]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAlertmanager {
    pub url: Option<OneOrMany>,
    pub user: Option<String>,
    pub password_file: Option<String>,
    pub token_file: Option<String>,
    pub allow_http: Option<bool>,
    pub allow_hosts: Option<Vec<String>>,
}

/// `[notify.mail]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMail {
    pub server: Option<String>,
    pub port: Option<u16>,
    pub security: Option<String>,
    pub from: Option<String>,
    pub to: Option<OneOrMany>,
    pub user: Option<String>,
    pub password_file: Option<String>,
}

/// One of `[[notify.webhooks]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    pub name: Option<String>,
    pub url: Option<String>,
    pub secret_file: Option<String>,
    pub old_secret_file: Option<String>,
    pub allow_http: Option<bool>,
    pub allow_hosts: Option<Vec<String>>,
}

/// `[experiments]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawExperiments {
    pub mlflow: Option<String>,
    pub token_file: Option<String>,
}

/// `[control]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawControl {
    pub listen: Option<String>,
}
