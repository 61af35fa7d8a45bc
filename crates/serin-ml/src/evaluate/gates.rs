//! What a user demands of a classifier before it may be used: unchecked and checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::seed::Seed;

use super::champion::ComparisonOptions;
use super::metric::{Metric, UnknownMetric};

/// The gates as a user writes them; [`Gates::check`] makes them usable.
///
/// ```toml
/// [gates]
/// min = { macro-f1 = 0.7, accuracy = 0.8 }
/// max = { log-loss = 0.9 }
/// per_class_floor = { recall = 0.3, f1 = { "*" = 0.2, rare = 0.1 } }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// Least value of scores, by metric name.
    pub min: BTreeMap<String, f64>,
    /// Greatest value of losses, by metric name.
    pub max: BTreeMap<String, f64>,
    /// Least precision, recall or F1 of classes.
    pub per_class_floor: BTreeMap<ClassMeasure, ClassFloor>,
    /// Macro-F1 must be above the majority dummy's, with the whole of its interval where there is one.
    pub beat_majority: bool,
    /// Greatest share of test rows that also occur in training, 0 to 1.
    pub max_overlap: f64,
    /// Columns that may look like the target.
    pub allow_leakage: Vec<String>,
    /// By how much a challenger must be better than the champion, in units of the metric; negative allows it to be
    /// worse by so much.
    pub challenger_margin: f64,
    /// Share of paired bootstrap resamples in which it must be, above 0 and below 1.
    pub champion_confidence: f64,
    /// The metric on which champion and challenger are compared.
    pub champion_metric: String,
}

/// A measure of one class against the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassMeasure {
    /// Share of decisions for the class that are right.
    Precision,
    /// Share of its rows found.
    Recall,
    /// Their harmonic mean.
    F1,
}

/// A floor for all classes, or by class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassFloor {
    /// The same for every class.
    Every(f64),
    /// By class label; `*` stands for the classes not named.
    ByClass(BTreeMap<String, f64>),
}

/// Gates that make sense. Made by [`Gates::check`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedGates {
    pub(super) limits: Vec<(Metric, f64)>,
    pub(super) floors: Vec<(ClassMeasure, ClassFloor)>,
    pub(super) beat_majority: bool,
    pub(super) max_overlap: f64,
    pub(super) allow_leakage: Vec<String>,
    pub(super) challenger_margin: f64,
    pub(super) champion_confidence: f64,
    pub(super) champion_metric: Metric,
}

/// Why gates make no sense; each names the key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidGates {
    /// A metric name that is none.
    #[error("gates.{key}")]
    UnknownMetric {
        /// `min`, `max` or `champion_metric`.
        key: &'static str,
        /// The name and what was probably meant.
        source: UnknownMetric,
    },
    /// A loss with a minimum, or a score with a maximum.
    #[error("gates.{key}.{metric} is the wrong way round: put it under gates.{} instead", other_side(.key))]
    WrongSide {
        /// `min` or `max`.
        key: &'static str,
        /// The metric.
        metric: Metric,
    },
    /// A number that no measurement could lie on both sides of.
    #[error("gates.{key} is {value}, but must be from {low} to {high}")]
    OutOfRange {
        /// The key.
        key: String,
        /// What was written.
        value: f64,
        /// Least possible value.
        low: f64,
        /// Greatest possible value.
        high: f64,
    },
}

impl Default for Gates {
    /// Better than the dummy, no overlap above 1 %, no leak, and a challenger better than its champion in 95 % of
    /// resamples.
    fn default() -> Self {
        Self {
            min: BTreeMap::new(),
            max: BTreeMap::new(),
            per_class_floor: BTreeMap::new(),
            beat_majority: true,
            max_overlap: 0.01,
            allow_leakage: Vec::new(),
            challenger_margin: 0.0,
            champion_confidence: 0.95,
            champion_metric: Metric::MacroF1.name().to_owned(),
        }
    }
}

impl Gates {
    /// Checks names and numbers.
    ///
    /// # Errors
    /// The first key that makes no sense, and why.
    pub fn check(&self) -> Result<CheckedGates, InvalidGates> {
        let mut limits = Vec::new();
        for (key, side, wants_greater) in [("min", &self.min, true), ("max", &self.max, false)] {
            for (name, &limit) in side {
                let metric: Metric =
                    name.parse().map_err(|source| InvalidGates::UnknownMetric { key, source })?;
                if metric.greater_is_better() != wants_greater {
                    return Err(InvalidGates::WrongSide { key, metric });
                }
                in_range(&format!("{key}.{metric}"), limit, metric.range())?;
                limits.push((metric, limit));
            }
        }
        limits.sort_by_key(|(metric, _)| *metric);
        for (measure, floor) in &self.per_class_floor {
            match floor {
                ClassFloor::Every(least) => {
                    in_range(&format!("per_class_floor.{measure}"), *least, (0.0, 1.0))?;
                }
                ClassFloor::ByClass(classes) => {
                    for (class, least) in classes {
                        in_range(&format!("per_class_floor.{measure}.\"{class}\""), *least, (0.0, 1.0))?;
                    }
                }
            }
        }
        in_range("max_overlap", self.max_overlap, (0.0, 1.0))?;
        let champion_metric: Metric = self
            .champion_metric
            .parse()
            .map_err(|source| InvalidGates::UnknownMetric { key: "champion_metric", source })?;
        let (low, high) = champion_metric.range();
        in_range("challenger_margin", self.challenger_margin, (low - high, high - low))?;
        in_range("champion_confidence", self.champion_confidence, (0.0, 1.0))?;
        if self.champion_confidence == 0.0 || self.champion_confidence == 1.0 {
            // No finite number of resamples can show either.
            let (key, value) = ("champion_confidence".to_owned(), self.champion_confidence);
            return Err(InvalidGates::OutOfRange { key, value, low: 0.001, high: 0.999 });
        }
        Ok(CheckedGates {
            limits,
            floors: self.per_class_floor.iter().map(|(measure, floor)| (*measure, floor.clone())).collect(),
            beat_majority: self.beat_majority,
            max_overlap: self.max_overlap,
            allow_leakage: self.allow_leakage.clone(),
            challenger_margin: self.challenger_margin,
            champion_confidence: self.champion_confidence,
            champion_metric,
        })
    }
}

impl CheckedGates {
    /// Columns that may look like the target.
    #[must_use]
    pub fn allow_leakage(&self) -> &[String] {
        &self.allow_leakage
    }

    /// Greatest share of test rows that may also occur in training.
    #[must_use]
    pub fn max_overlap(&self) -> f64 {
        self.max_overlap
    }

    /// The options with which champion and challenger must be compared to be judged by these gates.
    #[must_use]
    pub fn comparison(&self, seed: Seed) -> ComparisonOptions {
        ComparisonOptions {
            metric: self.champion_metric,
            margin: self.challenger_margin,
            seed,
            ..ComparisonOptions::default()
        }
    }
}

impl fmt::Display for ClassMeasure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::F1 => "f1",
        })
    }
}

fn in_range(key: &str, value: f64, (low, high): (f64, f64)) -> Result<(), InvalidGates> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    Err(InvalidGates::OutOfRange { key: key.to_owned(), value, low, high })
}

fn other_side(key: &str) -> &'static str {
    if key == "min" { "max" } else { "min" }
}
