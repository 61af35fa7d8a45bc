//! Looks at live rows, their quality, metrics and alarms.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use serin_core::alarms::{Point, evaluation_range};
use serin_core::capture::{RowRange, SHORTEST_WINDOW_SECONDS};
use serin_core::clock::Timestamp;
use serin_core::config::{AlarmSettings, Settings, Watches, parse_duration};
use serin_core::domain::{AlarmState, MonitorNumber};
use serin_core::metrics::{MetricsReader, MetricsStore, Query, RECENT_SECONDS};
use serin_core::monitor::MonitorReport;
use serin_core::store::{AlarmNews, ListOptions, MonitorRecord, Silence};
use serin_core::watch::{
    LookAt, StageEndpoint, backtest, datapoints, metrics_file, of_project, record, selector, stage_endpoints,
};
use utoipa::{IntoParams, ToSchema};

use super::super::ask::{Answer, Plane, Refused, answer, missing, name_of, reason_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::with_settings;
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Longest window of a look, and longest time whose labels are judged.
const LONGEST_LOOK: Duration = Duration::from_secs(400 * 24 * 3_600);
/// Longest silence.
const LONGEST_SILENCE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Look now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedLook {
    by: String,
    /// How far back, such as `1h`; the window of the settings when it is not said.
    window: Option<String>,
}

/// Which time is judged.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// Rows of the last so long, such as `7d`; quality_window of the settings when it is not said.
    since: Option<String>,
}

/// Which looks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LooksPage {
    /// Of this project only.
    project: Option<String>,
    /// At this endpoint only.
    endpoint: Option<String>,
    /// Only numbers below this one.
    before: Option<u64>,
    /// 1 to 1,000 entries; 100 when it is not said.
    limit: Option<u32>,
}

/// Tell nobody for some time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedSilence {
    by: String,
    /// Why; needed but to end a silence.
    reason: Option<String>,
    /// How long; 0 ends the silence.
    seconds: f64,
}

/// Try an alarm.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedTest {
    by: String,
}

/// How far back.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Days {
    /// 1 to 455; 30 when it is not said.
    days: Option<u32>,
}

/// A question about metrics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MetricQuestion {
    /// `STATISTIC(NAME{label="value"}[TIME])`, or a name alone.
    q: String,
}

/// Every alarm of a project and how it stands.
#[utoipa::path(get, path = "/api/v1/projects/{project}/alarms", tag = "watch", params(("project" = String, Path)),
    responses((status = 200, body = wire::List<wire::Alarm>)))]
pub async fn list_alarms(
    State(control): Plane,
    Named(name): Named<String>,
) -> Answer<wire::List<wire::Alarm>> {
    answer(&control, move |control| {
        let project = super::project(control, &name)?;
        // An alarm can be looked at while the settings are wrong.
        let watched = watched_alarms(control, &name).unwrap_or_default();
        let stored = control.store.alarms(&project.name, Some(control.moments.now()))?;
        let mut alarms: Vec<wire::Alarm> = stored.into_iter().map(wire::Alarm::from).collect();
        for alarm in &mut alarms {
            if let Some(found) = watched.0.iter().find(|found| found.name == alarm.name) {
                describe(alarm, found);
            }
        }
        Ok(wire::List::whole(alarms))
    })
    .await
}

/// An alarm with its datapoints.
#[utoipa::path(get, path = "/api/v1/projects/{project}/alarms/{alarm}", tag = "watch",
    params(("project" = String, Path), ("alarm" = String, Path)), responses((status = 200, body = wire::AlarmDetail)))]
pub async fn show_alarm(
    State(control): Plane,
    Named((project, name)): Named<(String, String)>,
) -> Answer<wire::AlarmDetail> {
    answer(&control, move |control| {
        let mut alarm = stored(control, &project, &name)?;
        let (alarms, endpoints) = watched_alarms(control, &project).unwrap_or_default();
        let mut points = Vec::new();
        if let Some(found) = alarms.iter().find(|found| found.name == name) {
            describe(&mut alarm, found);
            if let Watches::Metric(metric) = &found.watches
                && let (Some(reader), Some(selector)) = (reader(control)?, selector(metric, &endpoints))
            {
                let range = evaluation_range(&metric.rule);
                points = datapoints(&reader, metric, &selector, range, control.moments.wall());
            }
        }
        let datapoints = points.into_iter().map(|(time, point)| wire::AlarmPoint {
            time: time.to_rfc3339(),
            value: match point {
                Point::Value(value) => Some(value),
                Point::Missing | Point::Unreadable => None,
            },
            unreadable: point == Point::Unreadable,
        });
        Ok(wire::AlarmDetail { alarm, datapoints: datapoints.collect() })
    })
    .await
}

/// Tell nobody of an alarm for some time.
#[utoipa::path(post, path = "/api/v1/projects/{project}/alarms/{alarm}/silence", tag = "watch",
    params(("project" = String, Path), ("alarm" = String, Path)), request_body = WantedSilence,
    responses((status = 200, body = wire::Alarm)))]
pub async fn silence_alarm(
    State(control): Plane,
    Named((project, name)): Named<(String, String)>,
    Body(wanted): Body<WantedSilence>,
) -> Answer<wire::Alarm> {
    let by = name_of(&wanted.by)?;
    let seconds = Duration::try_from_secs_f64(wanted.seconds)
        .ok()
        .filter(|seconds| *seconds <= LONGEST_SILENCE)
        .ok_or_else(|| Problem::new(Code::InvalidBody, "a silence takes 0 to 2592000 seconds"))?;
    let reason = reason_of(wanted.reason.as_deref(), seconds.is_zero().then_some("it is over"))?;
    answer(&control, move |control| {
        stored(control, &project, &name)?;
        let now = control.moments.now();
        let microseconds = i64::try_from(seconds.as_micros()).unwrap_or(i64::MAX);
        let silence = (!seconds.is_zero()).then(|| Silence {
            until: Timestamp(now.wall.0.saturating_add(microseconds)),
            until_steady: now.steady + seconds,
            by: by.clone(),
            reason,
        });
        control.store.silence_alarm(&project, &name, silence.as_ref(), &by, now)?;
        stored(control, &project, &name)
    })
    .await
}

/// Set an alarm on until it is evaluated next, so that everybody is told as if it were. No run is asked for.
#[utoipa::path(post, path = "/api/v1/projects/{project}/alarms/{alarm}/test", tag = "watch",
    params(("project" = String, Path), ("alarm" = String, Path)), request_body = WantedTest,
    responses((status = 200, body = wire::Alarm)))]
pub async fn test_alarm(
    State(control): Plane,
    Named((project, name)): Named<(String, String)>,
    Body(wanted): Body<WantedTest>,
) -> Answer<wire::Alarm> {
    let by = name_of(&wanted.by)?;
    answer(&control, move |control| {
        let before = stored(control, &project, &name)?;
        let now = control.moments.now();
        let told = |state, reason: String| AlarmNews { name: name.clone(), state, reason, advice: None };
        let test = told(AlarmState::Alarm, format!("this is a test by {by}; nothing is wrong"));
        control.store.set_alarm(&project, &test, now)?;
        let shown = stored(control, &project, &name)?;
        // The eyes remember the state from before: it is told again at once, as after any alarm.
        let was = match before.state {
            "ALARM" => AlarmState::Alarm,
            "OK" => AlarmState::Ok,
            _ => AlarmState::InsufficientData,
        };
        control.store.set_alarm(&project, &told(was, format!("the test by {by} is over")), now)?;
        Ok(shown)
    })
    .await
}

/// How often an alarm would have been on.
#[utoipa::path(get, path = "/api/v1/projects/{project}/alarms/{alarm}/backtest", tag = "watch",
    params(("project" = String, Path), ("alarm" = String, Path), Days),
    responses((status = 200, description = "Times on, periods measured and changes", body = Object)))]
pub async fn backtest_alarm(
    State(control): Plane,
    Named((project, name)): Named<(String, String)>,
    Filter(days): Filter<Days>,
) -> Answer<serde_json::Value> {
    let days = days.days.unwrap_or(30);
    if !(1..=455).contains(&days) {
        return Err(Problem::new(GatewayCode::InvalidQuery, "`days` is from 1 to 455"));
    }
    answer(&control, move |control| {
        let (alarms, endpoints) = watched_alarms(control, &project)?;
        let found = alarms.into_iter().find(|alarm| alarm.name == name);
        let alarm = found.ok_or_else(|| missing("alarm in the settings", &name))?;
        let Watches::Metric(metric) = &alarm.watches else {
            let detail = "an alarm over others has no past of its own: look at those it depends on";
            return Err(Problem::new(Code::Conflict, detail).into());
        };
        let Some(reader) = reader(control)? else {
            return Err(Problem::new(Code::Conflict, "no metrics were recorded yet").into());
        };
        let result = backtest(&reader, metric, &endpoints, days, control.moments.wall());
        let result = result.ok_or_else(|| missing("stage that serves for the alarm", &name))?;
        Ok(serde_json::to_value(result).unwrap_or_default())
    })
    .await
}

/// Look at the last rows of a stage now.
#[utoipa::path(post, path = "/api/v1/projects/{project}/stages/{stage}/looks", tag = "watch",
    params(("project" = String, Path), ("stage" = String, Path)), request_body = WantedLook,
    responses((status = 200, body = wire::Look)))]
pub async fn look_now(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Body(wanted): Body<WantedLook>,
) -> Answer<wire::Look> {
    let by = name_of(&wanted.by)?;
    let window = span(wanted.window.as_deref(), "window")?;
    answer(&control, move |control| {
        let (_, settings) = with_settings(control, &project)?;
        let monitor = monitor(control, &project, &stage)?;
        let window = window.unwrap_or(settings.monitor.window);
        let now = control.moments.now();
        let least = i64::try_from(SHORTEST_WINDOW_SECONDS * 1_000_000).unwrap_or(i64::MAX);
        // Whole spans, with the one that is not over: what is there is meant.
        let to = (now.wall.0.div_euclid(least) + 1) * least;
        let from = to.saturating_sub(i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        let asked_by = Some(by);
        let look = LookAt { monitor, from: Timestamp(from), to: Timestamp(to), asked_by: asked_by.clone() };
        let report = control.watch.looker.look(&look, &settings.monitor)?;
        let number = control.store.put_monitor_run(&record(&report, asked_by), now)?;
        whole(control, number)
    })
    .await
}

/// Looks, latest first.
#[utoipa::path(get, path = "/api/v1/looks", tag = "watch", params(LooksPage),
    responses((status = 200, body = wire::List<wire::Look>)))]
pub async fn list_looks(
    State(control): Plane,
    Filter(page): Filter<LooksPage>,
) -> Answer<wire::List<wire::Look>> {
    let LooksPage { project, endpoint, before, limit } = page;
    let options: ListOptions = wire::Page { project, before, limit }.options()?;
    answer(&control, move |control| {
        let looks = control.store.monitor_runs(endpoint.as_deref(), &options)?;
        Ok(wire::List::of(looks, &options, |look| look.number.0, wire::Look::from))
    })
    .await
}

/// A look with its report.
#[utoipa::path(get, path = "/api/v1/looks/{look}", tag = "watch", params(("look" = u64, Path)),
    responses((status = 200, body = wire::Look)))]
pub async fn show_look(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Look> {
    answer(&control, move |control| whole(control, MonitorNumber(number))).await
}

fn whole(control: &Control, number: MonitorNumber) -> Result<wire::Look, Refused> {
    let found = control.store.monitor_run(number)?.ok_or_else(|| missing("look", number.0))?;
    Ok(wire::Look::from(found))
}

/// How good answers are whose truth is known, and what can be said without.
#[utoipa::path(get, path = "/api/v1/projects/{project}/stages/{stage}/quality", tag = "watch",
    params(("project" = String, Path), ("stage" = String, Path), Since), responses((status = 200, body = wire::Quality)))]
pub async fn show_quality(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Filter(since): Filter<Since>,
) -> Answer<wire::Quality> {
    let since = span(since.since.as_deref(), "since")?;
    answer(&control, move |control| {
        let (_, settings) = with_settings(control, &project)?;
        let monitor = monitor(control, &project, &stage)?;
        let now = control.moments.now();
        let length = since.unwrap_or(settings.monitor.quality_window);
        let to = Timestamp(now.wall.0.saturating_add(1));
        let from = Timestamp(to.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)));
        let look = LookAt { monitor: monitor.clone(), from, to, asked_by: None };
        let report = control.watch.looker.look(&look, &settings.monitor)?;
        let range = RowRange { from, to, endpoint: Some(monitor.endpoint.clone()) };
        let versions = control.watch.looker.quality(&monitor, &range).map_err(|problem| {
            tracing::error!(problem, "quality cannot be said");
            Problem::new(GatewayCode::Internal, "quality cannot be said; the log says why")
        })?;
        Ok(wire::Quality {
            endpoint: monitor.endpoint,
            from: from.to_rfc3339(),
            to: to.to_rfc3339(),
            expected_accuracy: report.expected.0,
            expected_macro_f1: report.expected.1,
            versions,
            estimated: estimated(&report),
        })
    })
    .await
}

fn estimated(report: &MonitorReport) -> Option<serde_json::Value> {
    let predictions = report.comparison.as_ref()?.predictions.as_ref()?;
    predictions.estimated.as_ref().and_then(|estimated| serde_json::to_value(estimated).ok())
}

/// Every series that was recorded.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "watch", responses((status = 200, body = wire::List<wire::SeriesName>)))]
pub async fn list_metrics(State(control): Plane) -> Answer<wire::List<wire::SeriesName>> {
    answer(&control, move |control| {
        let series = match reader(control)? {
            None => Vec::new(),
            Some(reader) => reader.series().map_err(unreadable)?,
        };
        Ok(wire::List::whole(series.into_iter().map(wire::SeriesName::from).collect()))
    })
    .await
}

/// One number with its line.
#[utoipa::path(get, path = "/api/v1/metrics/query", tag = "watch", params(MetricQuestion),
    responses((status = 200, body = wire::MetricAnswer)))]
pub async fn query_metrics(
    State(control): Plane,
    Filter(question): Filter<MetricQuestion>,
) -> Answer<wire::MetricAnswer> {
    let query: Query = question
        .q
        .parse()
        .map_err(|error| Problem::new(GatewayCode::InvalidQuery, format!("`q`: {error}")))?;
    answer(&control, move |control| {
        let now = control.moments.wall();
        let (from, to) = query.range(now);
        let is_recent = query.window.as_secs() <= RECENT_SECONDS.unsigned_abs() / 2;
        let (points, bounds) = if is_recent {
            let recent = control.watch.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let points = recent.points(&query.selector, from, to, query.period());
            (points, recent.bounds(&query.selector.name).map(<[f64]>::to_vec))
        } else if let Some(reader) = reader(control)? {
            let points = reader.points(&query.selector, from, to, query.period()).map_err(unreadable)?;
            (points, reader.bounds(&query.selector.name).map_err(unreadable)?)
        } else {
            (Vec::new(), None)
        };
        let bounds = bounds.unwrap_or_default();
        Ok(wire::MetricAnswer {
            query: question.q,
            value: query.value(&points, &bounds),
            from: from.to_rfc3339(),
            period_seconds: query.period().as_secs(),
            line: query.line(&points, now, &bounds),
        })
    })
    .await
}

#[expect(clippy::needless_pass_by_value, reason = "it is what errors are mapped by")]
fn unreadable(error: serin_core::metrics::MetricsError) -> Refused {
    use serin_core::metrics::MetricsError as Error;
    match &error {
        Error::Period(_) | Error::TooManyPeriods { .. } | Error::TooManySeries { .. } => {
            Problem::new(GatewayCode::InvalidQuery, error.to_string()).into()
        }
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics cannot be read");
            Problem::new(GatewayCode::Internal, "metrics cannot be read; the log says why").into()
        }
    }
}

/// The metrics on disk; `None` while there are none.
fn reader(control: &Control) -> Result<Option<MetricsReader>, Refused> {
    let path = metrics_file(&control.data_directory);
    if !path.exists() {
        return Ok(None);
    }
    MetricsStore::open_to_read(&path).map(Some).map_err(unreadable)
}

/// The alarms of a project's settings, and its endpoints.
fn watched_alarms(
    control: &Control,
    name: &str,
) -> Result<(Vec<AlarmSettings>, Vec<StageEndpoint>), Refused> {
    let (_, settings): (_, Settings) = with_settings(control, name)?;
    let routes = control.store.routes()?;
    let endpoints = routes.as_ref().map_or_else(Vec::new, |routes| stage_endpoints(&settings, routes));
    Ok((of_project(&settings.alarms, &endpoints, &settings.monitor), endpoints))
}

fn stored(control: &Control, project: &str, name: &str) -> Result<wire::Alarm, Refused> {
    let project = super::project(control, project)?;
    let alarms = control.store.alarms(&project.name, Some(control.moments.now()))?;
    let found = alarms.into_iter().find(|alarm| alarm.name == name);
    found.map(wire::Alarm::from).ok_or_else(|| missing("alarm", name).into())
}

fn describe(alarm: &mut wire::Alarm, found: &AlarmSettings) {
    alarm.advice = (!found.description.is_empty()).then(|| found.description.clone());
    alarm.retrain = found.retrain;
    alarm.watches = Some(match &found.watches {
        Watches::Composite(expression) => expression.to_string(),
        Watches::Metric(metric) => {
            let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
            let labels = labels.chain(metric.stage.iter().map(|stage| format!("stage={stage:?}")));
            let labels = labels.collect::<Vec<_>>().join(",");
            let rule = &metric.rule;
            format!(
                "{}({}{{{labels}}}[{}s]) {} {} in {} of {} periods, missing: {}",
                metric.statistic,
                metric.metric,
                rule.period().as_secs(),
                rule.comparison().sign(),
                rule.threshold(),
                rule.datapoints_to_alarm(),
                rule.evaluation_periods(),
                rule.missing().name(),
            )
        }
    });
}

fn monitor(control: &Control, project: &str, stage: &str) -> Result<MonitorRecord, Refused> {
    super::project(control, project)?;
    let found = control.store.monitors()?.into_iter();
    let mut found = found.filter(|monitor| monitor.project == project && monitor.stage == stage);
    found.next().ok_or_else(|| missing("watched stage", stage).into())
}

fn span(text: Option<&str>, key: &str) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let span = parse_duration(text)
        .filter(|span| *span <= LONGEST_LOOK && span.as_secs() >= SHORTEST_WINDOW_SECONDS);
    let wrong =
        || Problem::new(GatewayCode::InvalidQuery, format!("`{key}` is a time from 10s to 400d, such as 1h"));
    span.map(Some).ok_or_else(wrong)
}
