//! From options to checked settings.

use std::path::Path;

use serin_core::config::{ConfigError, Layers, Settings};
use toml::Value;

use super::args::ColumnArgs;

/// Collects what the command line says about settings.
pub struct Overrides {
    options: Vec<(&'static str, Value, &'static str)>,
}

impl Overrides {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { options: Vec::new() }
    }

    /// Sets `key` when `value` was given.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: Option<impl Into<Value>>, option: &'static str) -> Self {
        if let Some(value) = value {
            self.options.push((key, value.into(), option));
        }
        self
    }

    /// Sets `key` when the list is not empty.
    #[must_use]
    pub fn list(self, key: &'static str, values: &[String], option: &'static str) -> Self {
        let values = (!values.is_empty()).then(|| values.to_vec());
        self.set(key, values, option)
    }

    /// Sets what the column options say.
    #[must_use]
    pub fn columns(self, columns: &ColumnArgs) -> Self {
        self.set("data.target", columns.target.clone(), "--target")
            .list("data.ignore", &columns.ignore, "--ignore")
            .set("data.id", columns.id.clone(), "--id-column")
            .set("data.weight", columns.weight.clone(), "--weight-column")
            .set("data.group", columns.group.clone(), "--group-column")
            .set("data.time", columns.time.clone(), "--time-column")
    }

    /// Defaults, file, environment and these options together, checked.
    ///
    /// # Errors
    /// The first problem, with its place.
    pub fn load(self, file: Option<&Path>) -> Result<Settings, ConfigError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("SERIN_"));
        Settings::load(&Layers {
            file: file.map(Path::to_owned),
            environment: environment.collect(),
            options: self.options,
        })
    }
}
