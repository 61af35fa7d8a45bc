//! When a metric is not as it should be: what is compared with what, and how often it must be so.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An alarm looks back at most so far, as in CloudWatch: the period times the evaluation periods.
pub const LONGEST_LOOK_BACK: Duration = Duration::from_secs(86_400);

/// How a datapoint stands to the threshold when it breaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    GreaterThanThreshold,
    GreaterThanOrEqualToThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
}

/// What a period without a datapoint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingData {
    /// Nothing is known: without any datapoint the alarm has insufficient data.
    Missing,
    /// The alarm stays as it is.
    Ignore,
    /// It is as bad as a datapoint beyond the threshold.
    Breaching,
    /// It is as good as a datapoint within the threshold.
    NotBreaching,
}

/// A rule as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UncheckedRule {
    pub comparison: Comparison,
    pub threshold: f64,
    /// The time that one datapoint stands for.
    pub period: Duration,
    /// How many of the last datapoints are looked at.
    pub evaluation_periods: u32,
    /// How many of them must breach the threshold, in any places.
    pub datapoints_to_alarm: u32,
    pub missing: MissingData,
}

/// A rule that makes sense: the threshold is a number, the period is one of those allowed, and between one and all of the
/// evaluation periods make an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedRule", into = "UncheckedRule")]
pub struct Rule(UncheckedRule);

/// Why a rule makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum InvalidRule {
    #[error("the threshold is {0}, which is not a number to compare with")]
    Threshold(f64),
    #[error("the period is {0:?}, but must be 10 s, 20 s, 30 s or whole minutes, at most a day")]
    Period(Duration),
    #[error(
        "{0} evaluation periods of {1:?} are looked at, but must be at least one and at most a day together"
    )]
    EvaluationPeriods(u32, Duration),
    #[error("{0} datapoints make an alarm, but must be from 1 to the evaluation periods, which are {1}")]
    Datapoints(u32, u32),
}

/// A text that stands for none of what may be written there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{text}\" is not one of {known}")]
pub struct UnknownText {
    pub text: String,
    pub known: &'static str,
}

impl UncheckedRule {
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(self) -> Result<Rule, InvalidRule> {
        let Self { threshold, period, evaluation_periods, datapoints_to_alarm, .. } = self;
        if !threshold.is_finite() {
            return Err(InvalidRule::Threshold(threshold));
        }
        let seconds = period.as_secs();
        let is_allowed = matches!(seconds, 10 | 20 | 30) || (seconds > 0 && seconds.is_multiple_of(60));
        if !is_allowed || period.subsec_nanos() != 0 || period > LONGEST_LOOK_BACK {
            return Err(InvalidRule::Period(period));
        }
        let looked_back = u64::from(evaluation_periods) * seconds;
        if evaluation_periods == 0 || looked_back > LONGEST_LOOK_BACK.as_secs() {
            return Err(InvalidRule::EvaluationPeriods(evaluation_periods, period));
        }
        if datapoints_to_alarm == 0 || datapoints_to_alarm > evaluation_periods {
            return Err(InvalidRule::Datapoints(datapoints_to_alarm, evaluation_periods));
        }
        Ok(Rule(self))
    }
}

impl Rule {
    #[must_use]
    pub fn comparison(&self) -> Comparison {
        self.0.comparison
    }

    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.0.threshold
    }

    #[must_use]
    pub fn period(&self) -> Duration {
        self.0.period
    }

    #[must_use]
    pub fn evaluation_periods(&self) -> u32 {
        self.0.evaluation_periods
    }

    #[must_use]
    pub fn datapoints_to_alarm(&self) -> u32 {
        self.0.datapoints_to_alarm
    }

    #[must_use]
    pub fn missing(&self) -> MissingData {
        self.0.missing
    }

    /// Whether a datapoint is beyond the threshold.
    #[must_use]
    pub fn is_breached_by(&self, value: f64) -> bool {
        self.0.comparison.holds(value, self.0.threshold)
    }
}

impl TryFrom<UncheckedRule> for Rule {
    type Error = InvalidRule;

    fn try_from(rule: UncheckedRule) -> Result<Self, InvalidRule> {
        rule.check()
    }
}

impl From<Rule> for UncheckedRule {
    fn from(rule: Rule) -> Self {
        rule.0
    }
}

impl Comparison {
    /// Whether `value` breaches `threshold`. What is no number breaches nothing.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanThreshold => value > threshold,
            Self::GreaterThanOrEqualToThreshold => value >= threshold,
            Self::LessThanThreshold => value < threshold,
            Self::LessThanOrEqualToThreshold => value <= threshold,
        }
    }

    /// As it is written in settings.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::GreaterThanThreshold => ">",
            Self::GreaterThanOrEqualToThreshold => ">=",
            Self::LessThanThreshold => "<",
            Self::LessThanOrEqualToThreshold => "<=",
        }
    }

    /// As in "10 was greater than 5".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::GreaterThanThreshold => "greater than",
            Self::GreaterThanOrEqualToThreshold => "greater than or equal to",
            Self::LessThanThreshold => "less than",
            Self::LessThanOrEqualToThreshold => "less than or equal to",
        }
    }
}

impl FromStr for Comparison {
    type Err = UnknownText;

    /// A sign, or CloudWatch's name.
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        match text {
            ">" | "GreaterThanThreshold" => Ok(Self::GreaterThanThreshold),
            ">=" | "GreaterThanOrEqualToThreshold" => Ok(Self::GreaterThanOrEqualToThreshold),
            "<" | "LessThanThreshold" => Ok(Self::LessThanThreshold),
            "<=" | "LessThanOrEqualToThreshold" => Ok(Self::LessThanOrEqualToThreshold),
            _ => Err(unknown(text, "\">\", \">=\", \"<\", \"<=\" or CloudWatch's names for them")),
        }
    }
}

impl MissingData {
    /// As it is written in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "not-breaching",
        }
    }
}

impl FromStr for MissingData {
    type Err = UnknownText;

    fn from_str(text: &str) -> Result<Self, UnknownText> {
        match text {
            "missing" => Ok(Self::Missing),
            "ignore" => Ok(Self::Ignore),
            "breaching" => Ok(Self::Breaching),
            "not-breaching" | "notBreaching" => Ok(Self::NotBreaching),
            _ => Err(unknown(text, "\"missing\", \"ignore\", \"breaching\" or \"not-breaching\"")),
        }
    }
}

fn unknown(text: &str, known: &'static str) -> UnknownText {
    let text = text.chars().take(100).collect();
    UnknownText { text, known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> UncheckedRule {
        UncheckedRule {
            comparison: Comparison::GreaterThanThreshold,
            threshold: 5.0,
            period: Duration::from_secs(60),
            evaluation_periods: 3,
            datapoints_to_alarm: 2,
            missing: MissingData::Missing,
        }
    }

    #[test]
    fn a_rule_is_checked_however_it_comes() {
        assert!(rule().check().is_ok());
        let seconds = Duration::from_secs;
        for period in [10, 20, 30, 60, 120, 300, 28_800] {
            assert!(UncheckedRule { period: seconds(period), ..rule() }.check().is_ok(), "{period}");
        }
        for period in [0, 1, 15, 40, 59, 61, 90, 86_401, 172_800] {
            let wrong = UncheckedRule { period: seconds(period), ..rule() };
            assert_eq!(wrong.check(), Err(InvalidRule::Period(seconds(period))));
        }
        let halves = UncheckedRule { period: Duration::from_millis(60_500), ..rule() };
        assert!(halves.check().is_err());
        let day = UncheckedRule { period: seconds(86_400), ..rule() };
        assert!(UncheckedRule { evaluation_periods: 1, datapoints_to_alarm: 1, ..day }.check().is_ok());
        assert_eq!(day.check(), Err(InvalidRule::EvaluationPeriods(3, seconds(86_400))));
        assert!(UncheckedRule { evaluation_periods: 1_440, ..rule() }.check().is_ok());
        for evaluation_periods in [0, 1_441, u32::MAX] {
            assert!(UncheckedRule { evaluation_periods, ..rule() }.check().is_err());
        }
        for datapoints_to_alarm in [0, 4, u32::MAX] {
            let wrong = UncheckedRule { datapoints_to_alarm, ..rule() };
            assert_eq!(wrong.check(), Err(InvalidRule::Datapoints(datapoints_to_alarm, 3)));
        }
        for threshold in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(UncheckedRule { threshold, ..rule() }.check().is_err());
        }
        // Out of storage it is no different.
        let text = serde_json::to_string(&rule().check().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule().check().unwrap());
        let wrong = text.replace("\"datapoints_to_alarm\":2", "\"datapoints_to_alarm\":4");
        assert!(serde_json::from_str::<Rule>(&wrong).is_err());
    }
}
