//! `[alarms.NAME]`: what must not be, checked.

pub mod expression;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use rule::{Comparison, InvalidRule, LONGEST_LOOK_BACK, MissingData, Rule, UncheckedRule, UnknownText};

use super::check::Place;
use super::raw::RawAlarm;
use super::{ConfigError, StageSettings};
use crate::causes::in_one_line;
use crate::clock::parse_duration;
use crate::metrics::Statistic;
use expression::Expression;

/// Most alarms of a project.
const ALARMS_LIMIT: usize = 200;
/// Most characters of an alarm's name, of a metric's, and of a label's name or value.
pub(super) const NAME_LIMIT: usize = 255;
/// Most labels of a metric, as in CloudWatch.
const LABELS_LIMIT: usize = 30;
/// Most characters of a description.
const DESCRIPTION_LIMIT: usize = 1_024;
/// Most samples that a period can be asked to have.
const SAMPLES_LIMIT: u64 = 10_000_000;

/// An alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmSettings {
    /// Unique among the alarms of the project.
    pub name: String,
    pub watches: Watches,
    /// For whoever is told.
    pub description: String,
    /// Whether it asks for a training run when it goes on.
    pub retrain: bool,
    pub is_enabled: bool,
}

/// What an alarm depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watches {
    Metric(WatchedMetric),
    /// The states of other alarms.
    Composite(Expression),
}

/// A metric, which part of it, and how it must not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedMetric {
    pub metric: String,
    /// Only what has these labels.
    pub labels: BTreeMap<String, String>,
    /// Only what this stage serves.
    pub stage: Option<String>,
    pub statistic: Statistic,
    /// With fewer samples a period has no datapoint.
    pub minimum_samples: u64,
    pub rule: Rule,
}

impl AlarmSettings {
    /// The alarms that it depends on, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let expression = match &self.watches {
            Watches::Metric(_) => None,
            Watches::Composite(expression) => Some(expression),
        };
        expression.into_iter().flat_map(Expression::names)
    }
}

pub(super) fn check(
    raw: &BTreeMap<String, RawAlarm>,
    stages: &[StageSettings],
    at: &Place<'_>,
) -> Result<Vec<AlarmSettings>, ConfigError> {
    if raw.len() > ALARMS_LIMIT {
        let fix = format!("keep at most {ALARMS_LIMIT}");
        return Err(at.error("alarms", &format!("has {} alarms", raw.len()), &fix));
    }
    let checked = raw.iter().map(|(name, raw)| {
        let table = Table { name, at };
        if !is_name(name) {
            let fix =
                format!("give it a name of 1 to {NAME_LIMIT} characters, none of them a control character");
            return Err(at.error_in(&["alarms", name], "is not a name", &fix));
        }
        let description = raw.description.clone().unwrap_or_default();
        if description.chars().count() > DESCRIPTION_LIMIT {
            let fix = format!("write at most {DESCRIPTION_LIMIT} characters");
            return Err(table.error("description", "is too long", &fix));
        }
        Ok(AlarmSettings {
            name: name.clone(),
            watches: watches(raw, stages, &table)?,
            description,
            retrain: raw.retrain.unwrap_or(false),
            is_enabled: raw.enabled.unwrap_or(true),
        })
    });
    in_order(checked.collect::<Result<_, _>>()?, at)
}

/// One alarm's table, for errors.
struct Table<'a> {
    name: &'a str,
    at: &'a Place<'a>,
}

impl Table<'_> {
    fn error(&self, key: &str, problem: &str, fix: &str) -> ConfigError {
        self.at.error_in(&["alarms", self.name, key], problem, fix)
    }

    fn parsed<T: std::str::FromStr<Err = UnknownText>>(
        &self,
        key: &str,
        text: &str,
    ) -> Result<T, ConfigError> {
        text.parse().map_err(|error: UnknownText| {
            self.error(key, &format!("is \"{}\"", error.text), &format!("write {}", error.known))
        })
    }
}

fn watches(raw: &RawAlarm, stages: &[StageSettings], table: &Table<'_>) -> Result<Watches, ConfigError> {
    let Some(text) = &raw.rule else { return Ok(Watches::Metric(metric(raw, stages, table)?)) };
    let of_metrics = [
        ("metric", raw.metric.is_some()),
        ("labels", raw.labels.is_some()),
        ("stage", raw.stage.is_some()),
        ("statistic", raw.statistic.is_some()),
        ("minimum_samples", raw.minimum_samples.is_some()),
        ("period", raw.period.is_some()),
        ("evaluation_periods", raw.evaluation_periods.is_some()),
        ("datapoints_to_alarm", raw.datapoints_to_alarm.is_some()),
        ("comparison", raw.comparison.is_some()),
        ("threshold", raw.threshold.is_some()),
        ("missing", raw.missing.is_some()),
    ];
    if let Some((key, _)) = of_metrics.into_iter().find(|(_, is_written)| *is_written) {
        return Err(table.error(key, "stands beside a rule over other alarms", "remove one of the two"));
    }
    let expression = text.parse::<Expression>().map_err(|error| {
        let fix = "write such as 'ALARM(\"a\") AND NOT (OK(b) OR INSUFFICIENT_DATA(b))'";
        table.error("rule", &in_one_line(&error), fix)
    })?;
    Ok(Watches::Composite(expression))
}

fn metric(raw: &RawAlarm, stages: &[StageSettings], table: &Table<'_>) -> Result<WatchedMetric, ConfigError> {
    let Some(metric) = raw.metric.clone() else {
        let fix = "name the metric to watch, or give a rule over other alarms";
        return Err(table.error("metric", "is absent", fix));
    };
    if !is_name(&metric) {
        let fix = "write the name of a metric, such as \"invocation_5xx_errors\"";
        return Err(table.error("metric", "is not a name", fix));
    }
    let labels = raw.labels.clone().unwrap_or_default();
    if labels.len() > LABELS_LIMIT || labels.iter().any(|(name, value)| !is_name(name) || !is_name(value)) {
        let fix = format!("give at most {LABELS_LIMIT}, names and values of 1 to {NAME_LIMIT} characters");
        return Err(table.error("labels", "cannot be looked for", &fix));
    }
    if let Some(stage) = &raw.stage
        && !stages.iter().any(|known| known.name == *stage)
    {
        let names = stages.iter().map(|stage| format!("\"{}\"", stage.name)).collect::<Vec<_>>();
        let fix = format!("name one of {}", names.join(", "));
        return Err(table.error(
            "stage",
            &format!("is \"{stage}\", which is no stage of the pipeline"),
            &fix,
        ));
    }
    let statistic = raw.statistic.as_deref().unwrap_or("Average").parse::<Statistic>().map_err(|error| {
        let fix = "write Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p99.9";
        table.error("statistic", &in_one_line(&error), fix)
    })?;
    let minimum_samples = raw.minimum_samples.unwrap_or(0);
    if minimum_samples > 0 && !matches!(statistic, Statistic::Percentile(_)) {
        let fix = "remove it, or write a statistic such as \"p99\"";
        return Err(table.error("minimum_samples", "is only for percentiles", fix));
    }
    if minimum_samples > SAMPLES_LIMIT {
        let fix = format!("give a value from 0 to {SAMPLES_LIMIT}");
        return Err(table.error("minimum_samples", &format!("is {minimum_samples}"), &fix));
    }
    let rule = rule(raw, table)?;
    Ok(WatchedMetric { metric, labels, stage: raw.stage.clone(), statistic, minimum_samples, rule })
}

fn rule(raw: &RawAlarm, table: &Table<'_>) -> Result<Rule, ConfigError> {
    let Some(missing) = &raw.missing else {
        let fix = "say what a period without a datapoint means: \"missing\" (without any: insufficient data), \
                   \"ignore\" (it stays as it is), \"breaching\" or \"not-breaching\"";
        return Err(table.error("missing", "is absent, and has no default", fix));
    };
    let Some(threshold) = raw.threshold else {
        let fix = "give the number that datapoints are compared with";
        return Err(table.error("threshold", "is absent, and has no default", fix));
    };
    let text = raw.period.as_deref().unwrap_or("60s");
    let evaluation_periods = raw.evaluation_periods.unwrap_or(1);
    let unchecked = UncheckedRule {
        comparison: table.parsed("comparison", raw.comparison.as_deref().unwrap_or(">"))?,
        threshold,
        period: parse_duration(text).unwrap_or(Duration::ZERO),
        evaluation_periods,
        datapoints_to_alarm: raw.datapoints_to_alarm.unwrap_or(evaluation_periods),
        missing: table.parsed("missing", missing)?,
    };
    unchecked.check().map_err(|invalid| match invalid {
        InvalidRule::Threshold(threshold) => {
            table.error("threshold", &format!("is {threshold}"), "give a number to compare with")
        }
        InvalidRule::Period(_) => {
            let fix = "write \"10s\", \"20s\", \"30s\" or whole minutes such as \"5m\", at most a day";
            table.error("period", &format!("is \"{text}\""), fix)
        }
        InvalidRule::EvaluationPeriods(periods, period) => {
            let most = LONGEST_LOOK_BACK.as_secs() / period.as_secs().max(1);
            let fix = format!(
                "give a value from 1 to {most}: with this period that is a day, the longest look back"
            );
            table.error("evaluation_periods", &format!("is {periods}"), &fix)
        }
        InvalidRule::Datapoints(datapoints, periods) => {
            let fix = format!("give a value from 1 to {periods}, which are the evaluation periods");
            table.error("datapoints_to_alarm", &format!("is {datapoints}"), &fix)
        }
    })
}

fn is_name(text: &str) -> bool {
    (1..=NAME_LIMIT).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Each alarm behind those that it names, so that one pass evaluates all. Names that are no alarm here may be told from
/// outside.
fn in_order(mut waiting: Vec<AlarmSettings>, at: &Place<'_>) -> Result<Vec<AlarmSettings>, ConfigError> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let open: BTreeSet<String> = waiting.iter().map(|alarm| alarm.name.clone()).collect();
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|alarm| !alarm.names().any(|name| open.contains(name)));
        if ready.is_empty() {
            let circle = circle(&rest);
            let problem = format!("depends on itself: {}", circle.join(" -> "));
            let parts = ["alarms", circle.first().map_or("", String::as_str), "rule"];
            return Err(at.error_in(&parts, &problem, "let no alarm depend on itself through others"));
        }
        ordered.extend(ready);
        waiting = rest;
    }
    Ok(ordered)
}

/// A way from an alarm back to itself. Each of `alarms` names another of them.
fn circle(alarms: &[AlarmSettings]) -> Vec<String> {
    let next = |name: &str| {
        let alarm = alarms.iter().find(|alarm| alarm.name == name)?;
        alarm.names().find(|name| alarms.iter().any(|other| other.name == *name))
    };
    let mut way: Vec<String> = Vec::new();
    let mut here = alarms.first().map(|alarm| alarm.name.as_str());
    while let Some(name) = here {
        let begin = way.iter().position(|passed| passed == name);
        way.push(name.to_owned());
        if let Some(begin) = begin {
            return way.split_off(begin);
        }
        here = next(name);
    }
    way
}
