//! Faults that a drill injects into a version.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What a version does wrong on purpose, until a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// From then on it behaves again, by the gateway's own clock.
    pub until: Timestamp,
    /// Share of requests that fail.
    #[serde(default)]
    pub error_rate: f64,
    /// So much later than usual, milliseconds.
    #[serde(default)]
    pub latency_milliseconds: u64,
    /// Requests are not answered at all.
    #[serde(default)]
    pub hang: bool,
    /// Probabilities that are no numbers.
    #[serde(default)]
    pub nan_output: bool,
    /// One probability too few.
    #[serde(default)]
    pub wrong_shape: bool,
    /// Each class is called by the next one's name.
    #[serde(default)]
    pub class_flip: bool,
    /// The first class for every row.
    #[serde(default)]
    pub one_class: bool,
    /// Every request fails once so many were answered.
    #[serde(default)]
    pub fails_after: Option<u64>,
    /// Rows arrive changed, for the model and for the record of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// A feature whose values are others than those that callers sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Name of the feature.
    pub feature: String,
    /// Added to each of its values.
    pub shift: f64,
}

/// Longest delay, milliseconds, and longest drill.
pub const LATENCY_LIMIT_MILLISECONDS: u64 = 60_000;

impl Faults {
    /// No fault yet.
    #[must_use]
    pub fn until(until: Timestamp) -> Self {
        Self {
            until,
            error_rate: 0.0,
            latency_milliseconds: 0,
            hang: false,
            nan_output: false,
            wrong_shape: false,
            class_flip: false,
            one_class: false,
            fails_after: None,
            drift: None,
        }
    }

    /// Whether numbers are in their ranges, and there is any fault at all.
    #[must_use]
    pub fn is_acceptable(&self) -> bool {
        let is_any = self.error_rate > 0.0
            || self.latency_milliseconds > 0
            || self.hang
            || self.nan_output
            || self.wrong_shape
            || self.class_flip
            || self.one_class
            || self.fails_after.is_some()
            || self.drift.is_some();
        self.drift.as_ref().is_none_or(|drift| drift.shift.is_finite())
            && (0.0..=1.0).contains(&self.error_rate)
            && self.latency_milliseconds <= LATENCY_LIMIT_MILLISECONDS
            && is_any
    }
}
