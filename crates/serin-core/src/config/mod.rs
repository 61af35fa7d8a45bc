//! Settings: the commented default file, then the project's file, then the environment, then the command's options.
//!
//! What a user wrote ([`raw`]) is merged key by key and becomes usable only through [`Settings::load`], which names the
//! place, the key and the fix of the first thing it cannot accept.

mod alarms;
mod capture;
mod check;
mod image;
mod monitor;
mod notify;
mod origin;
mod pipeline;
pub mod raw;
mod replicas;
mod rollout;
mod sagemaker;
mod serve;
mod triggers;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::clock::parse_duration;
pub use crate::spelling::closest;
pub use alarms::expression::{self, Expression, InvalidExpression, Node};
pub use alarms::{
    AlarmSettings, Comparison, InvalidRule, LONGEST_LOOK_BACK, MissingData, Rule, UncheckedRule, UnknownText,
    WatchedMetric, Watches,
};
pub use capture::{CaptureMode, CaptureSettings, FullPolicy, Retention, parse_bytes};
pub use check::{CheckSettings, DataSettings, Settings};
pub use image::{Gpus, ImageName, ImageSettings, Pull};
pub use monitor::{LabelSource, MonitorSettings, RetrainSettings};
pub use notify::{
    AlertmanagerLogin, AlertmanagerSettings, ExperimentSettings, MailSecurity, MailSettings, NotifySettings,
    WebhookSettings,
};
pub use origin::Origin;
pub use pipeline::{CommandSettings, PipelineSettings, SourceSettings, StageSettings};
pub use replicas::{ReplicaRuntimeKind, ReplicaSettings};
pub use rollout::{HookSettings, LONGEST_ROLLOUT, RolloutSettings, RolloutStep, WithoutEvidence};
pub use serve::{EndpointSettings, ONLY_VARIANT, ServeSettings, VariantSettings, is_name};
pub use triggers::TriggerSettings;

use raw::RawConfig;

/// The default settings, commented: what `serin config show` prints and every project starts from.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Largest `serin.toml` read.
pub const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Where settings come from besides the defaults; later wins.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The project's file.
    pub file: Option<PathBuf>,
    /// `(name, value)` of environment variables; only `SERIN_SECTION_KEY` of known keys are looked at.
    pub environment: Vec<(String, String)>,
    /// `(key path, value, option)` from the command line, such as `("train.folds", 5, "--folds")`.
    pub options: Vec<(&'static str, toml::Value, &'static str)>,
}

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than {FILE_LIMIT_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}: not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("{}:{line}: {problem}", path.display())]
    Syntax { path: PathBuf, line: usize, problem: String },
    #[error("{origin}: {key}: {problem}; {fix}")]
    Value { origin: Origin, key: String, problem: String, fix: String },
}

impl Settings {
    /// Reads, merges and checks.
    ///
    /// # Errors
    /// The first problem, with its place, its key and what to write instead.
    pub fn load(layers: &Layers) -> Result<Self, ConfigError> {
        let defaults = defaults();
        let mut merged = defaults.clone();
        let mut text = None;
        if let Some(path) = &layers.file {
            let content = read(path)?;
            merge(&mut merged, parse(path, &content)?);
            text = Some((path.clone(), content));
        }
        let mut origins = origin::Origins::new(text);
        for (name, value) in &layers.environment {
            // The default says the type: a file may write a list as one entry, or a number without a fraction.
            if let Some((section, key)) = known_key(&defaults, name) {
                let default = &defaults[&section][&key];
                let typed = typed_like(default, value).ok_or_else(|| ConfigError::Value {
                    origin: Origin::Environment(name.clone()),
                    key: format!("{section}.{key}"),
                    problem: "has the wrong type".into(),
                    fix: format!("give a {}", default.type_str()),
                })?;
                let key = format!("{section}.{key}");
                let origin = Origin::Environment(name.clone());
                origins.set(key.clone(), origin.clone());
                set(&mut merged, &key, typed);
                typed_config(&merged, &origin, &key)?;
            }
        }
        for (key, value, option) in &layers.options {
            origins.set((*key).to_owned(), Origin::Option(option));
            set(&mut merged, key, value.clone());
            typed_config(&merged, &Origin::Option(option), key)?;
        }
        let raw = typed_config(&merged, &Origin::Default, "settings")?;
        let folder = layers.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        check::check(&raw, folder, &origins)
    }
}

/// The settings so far in their types; what does not fit came with the key set last.
fn typed_config(merged: &toml::Table, origin: &Origin, key: &str) -> Result<RawConfig, ConfigError> {
    toml::Value::Table(merged.clone()).try_into().map_err(|error: toml::de::Error| ConfigError::Value {
        origin: origin.clone(),
        key: key.to_owned(),
        problem: error.message().to_owned(),
        fix: "see `serin config show` for every key".into(),
    })
}

fn defaults() -> toml::Table {
    // The embedded file is ours; a test parses it, so an empty table is never what a user meets.
    DEFAULT_TOML.parse().unwrap_or_default()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::NotText { path: path.to_owned() })
}

/// Parses the file twice: as what a user may write, for errors with their line, and as a table to merge.
fn parse(path: &Path, content: &str) -> Result<toml::Table, ConfigError> {
    let syntax = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(content.len()));
        let line = 1 + content.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count();
        ConfigError::Syntax { path: path.to_owned(), line, problem: with_suggestion(error.message()) }
    };
    toml::from_str::<RawConfig>(content).map_err(syntax)?;
    content.parse().map_err(syntax)
}

/// Adds "did you mean" to serde's message about an unknown key, which lists the known ones.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    match closest(unknown, quoted) {
        Some(known) => format!("unknown key `{unknown}`: did you mean `{known}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn set(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// `SERIN_TRAIN_BUDGET` names `train.budget` when such a key with a plain value exists.
fn known_key(table: &toml::Table, variable: &str) -> Option<(String, String)> {
    let name = variable.strip_prefix("SERIN_")?.to_ascii_lowercase();
    let (section, key) = name.split_once('_')?;
    let value = table.get(section)?.as_table()?.get(key)?;
    (!value.is_table()).then(|| (section.to_owned(), key.to_owned()))
}

/// The text of a variable as a value of the default's type; lists are separated by commas.
fn typed_like(default: &toml::Value, text: &str) -> Option<toml::Value> {
    Some(match default {
        toml::Value::Integer(_) => toml::Value::Integer(text.parse().ok()?),
        toml::Value::Float(_) => toml::Value::Float(text.parse().ok()?),
        toml::Value::Boolean(_) => toml::Value::Boolean(text.parse().ok()?),
        toml::Value::Array(_) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            toml::Value::Array(entries.map(|entry| toml::Value::String(entry.to_owned())).collect())
        }
        _ => toml::Value::String(text.to_owned()),
    })
}
