//! Alarms: those that every project has, what they watch, and their evaluation.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alarms::{Point, Verdict, combine, evaluate, evaluation_range};
use crate::clock::Timestamp;
use crate::config::{
    AlarmSettings, Comparison, MissingData, MonitorSettings, Rule, UncheckedRule, WatchedMetric, Watches,
};
use crate::domain::AlarmState;
use crate::metrics::{MetricsError, MetricsReader, MetricsStore, Sample, Selector, Statistic};

/// An endpoint that a project serves a stage by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageEndpoint {
    pub stage: String,
    pub endpoint: String,
    /// Whether nothing comes behind it: what callers use.
    pub is_last: bool,
    /// Whether replicas answer for it, and not the gateway itself.
    pub has_replicas: bool,
}

/// Where samples are read.
pub trait Samples {
    /// Samples of whole periods.
    ///
    /// # Errors
    /// When they cannot be read.
    fn points(
        &self,
        selector: &Selector,
        from: Timestamp,
        to: Timestamp,
        period: Duration,
    ) -> Result<Vec<(Timestamp, Sample)>, MetricsError>;

    /// Upper bounds of the histograms of a metric.
    ///
    /// # Errors
    /// When they cannot be read.
    fn bounds(&self, name: &str) -> Result<Option<Vec<f64>>, MetricsError>;
}

macro_rules! samples {
    ($($source:ty),+) => {$(
        impl Samples for $source {
            fn points(
                &self,
                selector: &Selector,
                from: Timestamp,
                to: Timestamp,
                period: Duration,
            ) -> Result<Vec<(Timestamp, Sample)>, MetricsError> {
                self.points(selector, from, to, period)
            }

            fn bounds(&self, name: &str) -> Result<Option<Vec<f64>>, MetricsError> {
                self.bounds(name)
            }
        }
    )+};
}

samples!(MetricsStore, MetricsReader);

/// The alarms of a project: those that each has, then those of its settings, which take the place of others of their
/// name.
#[must_use]
pub fn of_project(
    written: &[AlarmSettings],
    endpoints: &[StageEndpoint],
    monitor: &MonitorSettings,
) -> Vec<AlarmSettings> {
    let mut alarms: BTreeMap<String, AlarmSettings> =
        usual(endpoints, monitor).into_iter().map(|alarm| (alarm.name.clone(), alarm)).collect();
    alarms.extend(written.iter().map(|alarm| (alarm.name.clone(), alarm.clone())));
    alarms.into_values().filter(|alarm| alarm.is_enabled).collect()
}

/// What is said to whoever is told.
struct Usual<'a> {
    name: String,
    metric: &'a str,
    labels: BTreeMap<String, String>,
    statistic: Statistic,
    minimum_samples: u64,
    comparison: Comparison,
    threshold: f64,
    period: Duration,
    /// Of how many periods how many.
    periods: (u32, u32),
    missing: MissingData,
    retrain: bool,
    description: &'a str,
}

impl Usual<'_> {
    fn alarm(self) -> Option<AlarmSettings> {
        let rule = UncheckedRule {
            comparison: self.comparison,
            threshold: self.threshold,
            datapoints_to_alarm: self.periods.0,
            evaluation_periods: self.periods.1,
            period: self.period,
            missing: self.missing,
        };
        Some(AlarmSettings {
            name: self.name,
            watches: Watches::Metric(WatchedMetric {
                metric: self.metric.to_owned(),
                labels: self.labels,
                stage: None,
                statistic: self.statistic,
                minimum_samples: self.minimum_samples,
                rule: rule.check().ok()?,
            }),
            description: self.description.to_owned(),
            retrain: self.retrain,
            is_enabled: true,
        })
    }
}

/// The shortest period of an alarm in which a window ends.
fn period_of(window: Duration) -> Duration {
    let seconds = window.as_secs();
    let short = [10, 20, 30].into_iter().find(|period| seconds <= *period);
    Duration::from_secs(short.unwrap_or_else(|| seconds.div_ceil(60) * 60))
}

/// The alarms that every project has.
fn usual(endpoints: &[StageEndpoint], monitor: &MonitorSettings) -> Vec<AlarmSettings> {
    const MINUTE: Duration = Duration::from_secs(60);
    let mut alarms = Vec::new();
    for StageEndpoint { stage, endpoint, is_last, has_replicas } in endpoints {
        let labels = BTreeMap::from([("endpoint".to_owned(), endpoint.clone())]);
        let base = |name: &str| Usual {
            name: format!("{stage}-{name}"),
            metric: "",
            labels: labels.clone(),
            statistic: Statistic::Maximum,
            minimum_samples: 0,
            comparison: Comparison::GreaterThanThreshold,
            threshold: 0.0,
            period: MINUTE,
            periods: (1, 1),
            missing: MissingData::NotBreaching,
            retrain: false,
            description: "",
        };
        // A look says how a window was; until the next one, that stands.
        let of_look = |name: &str| Usual {
            period: period_of(monitor.window),
            missing: MissingData::Ignore,
            ..base(name)
        };
        alarms.push(Usual {
            metric: "drift_findings",
            retrain: *is_last,
            description: "live rows are not like the training rows: see `serin drift`; check what feeds the endpoint, \
                          then retrain",
            ..of_look("drift")
        });
        alarms.push(Usual {
            metric: "data_quality_findings",
            description: "live rows have another form than the training rows: see `serin monitor show`; mend what \
                          feeds the endpoint",
            ..of_look("data-quality")
        });
        alarms.push(Usual {
            metric: "monitor_failed",
            description: "live rows could not be looked at: see `serin monitor list`; nothing is known about drift",
            ..of_look("monitor-failed")
        });
        alarms.push(Usual {
            metric: "quality_drop",
            threshold: monitor.quality_drop,
            retrain: *is_last,
            description: "answers are worse than on the hold-out: see `serin quality`; retrain on new labels",
            ..of_look("quality")
        });
        alarms.push(Usual {
            metric: "invocation_5xx_errors",
            statistic: Statistic::Average,
            threshold: 0.01,
            periods: (2, 3),
            description: "more than 1 of 100 requests fails: see `serin metrics query 'Sum(errors[1h])'` and the log; \
                          `serin rollback` goes back",
            ..base("errors")
        });
        alarms.push(Usual {
            metric: "latency",
            statistic: Statistic::Percentile(99.0),
            minimum_samples: 100,
            threshold: 0.5,
            periods: (3, 3),
            description: "1 of 100 answers takes longer than half a second: see processor and memory in `serin metrics`",
            ..base("latency")
        });
        if *has_replicas {
            // As long as a replica may take to start, and never complete in between.
            alarms.push(Usual {
                metric: "replicas_missing",
                statistic: Statistic::Minimum,
                periods: (5, 5),
                description: "fewer replicas answer than are to be there: `serin replicas` says why none comes",
                ..base("replicas")
            });
        }
        if *is_last {
            alarms.push(Usual {
                metric: "idle_seconds",
                threshold: 3_600.0,
                missing: MissingData::Ignore,
                description: "nobody has asked for an hour: do callers reach the endpoint?",
                ..base("no-traffic")
            });
        }
    }
    let of_machine = |name: &str, metric, threshold, comparison, description| Usual {
        name: name.to_owned(),
        metric,
        labels: BTreeMap::new(),
        statistic: if comparison == Comparison::LessThanThreshold {
            Statistic::Minimum
        } else {
            Statistic::Maximum
        },
        minimum_samples: 0,
        comparison,
        threshold,
        period: MINUTE,
        periods: (3, 3),
        missing: MissingData::Missing,
        retrain: false,
        description,
    };
    alarms.push(of_machine(
        "capture-lag",
        "capture_lag_seconds",
        60.0,
        Comparison::GreaterThanThreshold,
        "answers take more than a minute to become rows: see `serin capture status`",
    ));
    alarms.push(of_machine(
        "disk",
        "disk_free_share",
        0.1,
        Comparison::LessThanThreshold,
        "less than a tenth of the disk is free: make room, or lower capture.keep_age",
    ));
    alarms.push(of_machine(
        "gateway",
        "gateway_up",
        1.0,
        Comparison::LessThanThreshold,
        "the gateway does not answer: start it, and see its log",
    ));
    alarms.into_iter().filter_map(Usual::alarm).collect()
}

/// The selector of what an alarm watches; a stage that nothing serves has no series.
#[must_use]
pub fn selector(watched: &WatchedMetric, endpoints: &[StageEndpoint]) -> Option<Selector> {
    let mut labels = watched.labels.clone();
    if let Some(stage) = &watched.stage {
        let endpoint = endpoints.iter().find(|known| known.stage == *stage)?;
        labels.insert("endpoint".to_owned(), endpoint.endpoint.clone());
    }
    Some(Selector { name: watched.metric.clone(), labels })
}

/// The datapoints of whole periods before `now`, the oldest first, each with the beginning of its period.
pub fn datapoints(
    samples: &dyn Samples,
    watched: &WatchedMetric,
    selector: &Selector,
    periods: usize,
    now: Timestamp,
) -> Vec<(Timestamp, Point)> {
    let period = watched.rule.period();
    let width = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
    let end = now.0.div_euclid(width) * width;
    let begin = end.saturating_sub(width.saturating_mul(i64::try_from(periods).unwrap_or(i64::MAX)));
    let starts = (0..periods as i64).map(|n| Timestamp(begin.saturating_add(n * width)));
    let read = samples.points(selector, Timestamp(begin), Timestamp(end), period);
    let bounds = samples.bounds(&selector.name);
    let (Ok(read), Ok(bounds)) = (read, bounds) else {
        return starts.map(|start| (start, Point::Unreadable)).collect();
    };
    let bounds = bounds.unwrap_or_default();
    let value = |sample: &Sample| match watched.statistic.value(sample, &bounds) {
        _ if sample.count < watched.minimum_samples => Point::Missing,
        Some(value) => Point::Value(value),
        None => Point::Missing,
    };
    let read: BTreeMap<Timestamp, Sample> = read.into_iter().collect();
    starts.map(|start| (start, read.get(&start).map_or(Point::Missing, value))).collect()
}

/// What an alarm over a metric says.
#[must_use]
pub fn judge_metric(
    samples: &dyn Samples,
    watched: &WatchedMetric,
    endpoints: &[StageEndpoint],
    before: AlarmState,
    now: Timestamp,
) -> (AlarmState, String) {
    let Some(selector) = selector(watched, endpoints) else {
        return (AlarmState::InsufficientData, "nothing serves the stage".to_owned());
    };
    let points = datapoints(samples, watched, &selector, evaluation_range(&watched.rule), now);
    let points: Vec<Point> = points.into_iter().map(|(_, point)| point).collect();
    let Verdict { state, reason, .. } = evaluate(&watched.rule, &points, before);
    (state, reason)
}

/// What an alarm over others says.
#[must_use]
pub fn judge_composite(
    expression: &crate::config::Expression,
    states: &BTreeMap<String, AlarmState>,
) -> (AlarmState, String) {
    let combined = combine(expression, |name| states.get(name).copied());
    (combined.state, combined.reason)
}

/// When an alarm would have been on: the periods in which it went on and off, from the past on.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Backtest {
    /// Times it would have gone on.
    pub alarms: usize,
    /// Seconds of a period.
    pub period_seconds: u64,
    /// Periods of all with a datapoint.
    pub measured: usize,
    pub periods: usize,
    /// Periods in which it would have been on.
    pub on: usize,
    /// When it would have gone on and off.
    pub changes: Vec<(String, AlarmState)>,
}

/// Evaluates the past, period by period.
#[must_use]
pub fn backtest(
    samples: &dyn Samples,
    watched: &WatchedMetric,
    endpoints: &[StageEndpoint],
    days: u32,
    now: Timestamp,
) -> Option<Backtest> {
    const PERIODS_AT_ONCE: usize = 10_000;
    const CHANGES: usize = 500;
    let selector = selector(watched, endpoints)?;
    let range = evaluation_range(&watched.rule);
    let wanted = u64::from(days) * 86_400 / watched.rule.period().as_secs().max(1);
    let periods = usize::try_from(wanted).unwrap_or(usize::MAX).min(PERIODS_AT_ONCE);
    let points = datapoints(samples, watched, &selector, periods + range, now);
    let mut state = AlarmState::InsufficientData;
    let mut result = Backtest {
        alarms: 0,
        period_seconds: watched.rule.period().as_secs(),
        measured: 0,
        periods,
        on: 0,
        changes: Vec::new(),
    };
    for window in points.windows(range).skip(1) {
        let Some((start, last)) = window.last() else { continue };
        let values: Vec<Point> = window.iter().map(|(_, point)| *point).collect();
        let next = evaluate(&watched.rule, &values, state).state;
        result.measured += usize::from(matches!(last, Point::Value(_)));
        result.on += usize::from(next == AlarmState::Alarm);
        if next != state {
            result.alarms += usize::from(next == AlarmState::Alarm);
            if result.changes.len() < CHANGES {
                result.changes.push((start.to_rfc3339(), next));
            }
        }
        state = next;
    }
    Some(result)
}

/// Whether an alarm is due: those with periods below a minute are evaluated every ten seconds, others every minute.
#[must_use]
pub fn evaluation_interval(rule: &Rule) -> Duration {
    Duration::from_secs(if rule.period() < Duration::from_secs(60) { 10 } else { 60 })
}
