//! Rollouts: how they stand, what a person says to them, and faults on purpose.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use serin_core::clock::Timestamp;
use serin_core::domain::{RolloutNumber, VersionNumber};
use serin_core::rollout::{Command, Phase};
use serin_core::routes::{Drift, Faults, RouteDocument, RoutedEndpoint};
use serin_core::store::{ListOptions, StoredRollout};
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle};
use utoipa::ToSchema;

use super::super::ask::{Answer, Plane, Refused, answer, missing, name_of, reason_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use crate::control::Control;

/// Longest drill.
const DRILL_LIMIT: Duration = Duration::from_secs(24 * 3_600);

/// What is said to a rollout.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// `pause`, `resume`, `promote` or `abort`.
    #[schema(value_type = String)]
    command: Command,
    by: String,
    reason: Option<String>,
}

/// Faults to inject into a version that serves a stage.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    by: String,
    /// The new version of a rollout that is under way, else the one that serves, when it is not said.
    version: Option<u64>,
    /// How long; 0 ends the drill.
    seconds: f64,
    /// Share of requests that fail.
    error_rate: Option<f64>,
    latency_milliseconds: Option<u64>,
    hang: Option<bool>,
    nan_output: Option<bool>,
    wrong_shape: Option<bool>,
    class_flip: Option<bool>,
    one_class: Option<bool>,
    /// Every request fails once so many were answered.
    fails_after: Option<u64>,
    /// A feature whose values arrive shifted.
    drift: Option<WantedDrift>,
}

/// A feature whose values arrive shifted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedDrift {
    /// Its name.
    feature: String,
    /// By how much.
    shift: f64,
    /// Whether that is in standard deviations of the baseline.
    #[serde(default)]
    is_relative: bool,
}

/// Rollouts, latest first.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "rollouts", params(wire::OpenPage),
    responses((status = 200, body = wire::List<wire::Rollout>)))]
pub async fn list_rollouts(
    State(control): Plane,
    Filter(page): Filter<wire::OpenPage>,
) -> Answer<wire::List<wire::Rollout>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let now = control.moments.steady();
        let rollouts = control.store.rollouts(&options)?;
        let wire = |stored: StoredRollout| wire::Rollout::at(&stored, now);
        Ok(wire::List::of(rollouts, &options, |stored| stored.rollout.number.0, wire))
    })
    .await
}

/// A rollout with what happened in it.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}", tag = "rollouts", params(("rollout" = u64, Path)),
    responses((status = 200, body = wire::Rollout)))]
pub async fn show_rollout(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Rollout> {
    answer(&control, move |control| whole(control, number)).await
}

fn whole(control: &Control, number: u64) -> Result<wire::Rollout, Refused> {
    let stored = control.store.rollout(RolloutNumber(number))?.ok_or_else(|| missing("rollout", number))?;
    let events = control.store.events_of(stored.rollout.run)?;
    let of_this = events.into_iter().filter(|event| event.facts["rollout"] == number);
    let history = of_this.map(wire::RolloutEvent::from).collect();
    Ok(wire::Rollout { history, ..wire::Rollout::at(&stored, control.moments.steady()) })
}

/// Pause, resume, promote or abort it.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/commands", tag = "rollouts", params(("rollout" = u64, Path)),
    request_body = Said, responses((status = 200, body = wire::Rollout)))]
pub async fn command_rollout(
    State(control): Plane,
    Named(number): Named<u64>,
    Body(said): Body<Said>,
) -> Answer<wire::Rollout> {
    let by = name_of(&said.by)?;
    let reason = reason_of(said.reason.as_deref(), Some("no reason was given"))?;
    answer(&control, move |control| {
        command(control, RolloutNumber(number), said.command, &by, &reason)?;
        whole(control, number)
    })
    .await
}

/// Does it at once, with the routes that follow from it.
pub fn command(
    control: &Control,
    number: RolloutNumber,
    command: Command,
    by: &str,
    reason: &str,
) -> Result<(), Refused> {
    let done = control.store.command_rollout(number, command, by, reason, control.moments.now())?;
    let done = done.ok_or_else(|| missing("rollout", number.0))?;
    done.map_err(|refusal| Problem::new(Code::Conflict, refusal.to_string()))?;
    publish(control)
}

fn publish(control: &Control) -> Result<(), Refused> {
    if let Some(document) = control.store.routes()? {
        control.routes.publish(&document).map_err(Refused::Routes)?;
    }
    Ok(())
}

/// The rollout of a stage that is under way.
pub fn of_stage(control: &Control, project: &str, stage: &str) -> Result<Option<StoredRollout>, Refused> {
    let open = ListOptions {
        project: Some(project.to_owned()),
        is_open: true,
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    Ok(control.store.rollouts(&open)?.into_iter().find(|found| found.rollout.stage == stage))
}

/// Goes back from a rollout at once, when that is to where it is asked to go: whether it did.
pub fn return_at_once(
    control: &Control,
    stored: &StoredRollout,
    to: Option<VersionNumber>,
    by: &str,
    reason: &str,
) -> Result<bool, Refused> {
    let rollout = &stored.rollout;
    let Some(stable) = rollout.stable.as_ref().map(|stable| stable.version) else { return Ok(false) };
    if to.is_some_and(|to| to != stable) {
        return Ok(false);
    }
    // It may be on its way back already: said twice, it is the same.
    command(control, rollout.number, Command::Abort, by, reason)?;
    Ok(true)
}

/// Inject faults into a version, to see what the policy does.
#[utoipa::path(post, path = "/api/v1/projects/{project}/stages/{stage}/drill", tag = "rollouts",
    params(("project" = String, Path), ("stage" = String, Path)), request_body = Drill,
    responses((status = 200, body = wire::Endpoint)))]
pub async fn drill(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Body(wanted): Body<Drill>,
) -> Answer<wire::Endpoint> {
    let by = name_of(&wanted.by)?;
    let invalid = |detail: &str| Problem::new(Code::InvalidBody, detail);
    let seconds = Duration::try_from_secs_f64(wanted.seconds)
        .ok()
        .filter(|seconds| *seconds <= DRILL_LIMIT)
        .ok_or_else(|| invalid("a drill takes 0 to 86400 seconds"))?;
    let ends = seconds.is_zero();
    answer(&control, move |control| {
        let endpoint = endpoint(control, &project, &stage)?;
        let version = match wanted.version {
            Some(number) => VersionNumber(number),
            None => tried(control, &endpoint)?,
        };
        if !endpoint.variants.iter().any(|variant| variant.model.number == version) {
            return Err(missing("version at this stage", version.0).into());
        }
        let now = control.moments.now();
        let microseconds = i64::try_from(seconds.as_micros()).unwrap_or(i64::MAX);
        let faults = Faults {
            error_rate: wanted.error_rate.unwrap_or(0.0),
            latency_milliseconds: wanted.latency_milliseconds.unwrap_or(0),
            hang: wanted.hang.unwrap_or(false),
            nan_output: wanted.nan_output.unwrap_or(false),
            wrong_shape: wanted.wrong_shape.unwrap_or(false),
            class_flip: wanted.class_flip.unwrap_or(false),
            one_class: wanted.one_class.unwrap_or(false),
            fails_after: wanted.fails_after,
            drift: match (ends, &wanted.drift) {
                (false, Some(drift)) => Some(drift_of(control, version, drift)?),
                _ => None,
            },
            ..Faults::until(Timestamp(now.wall.0.saturating_add(microseconds)))
        };
        if !ends && !faults.is_acceptable() {
            let detail = "name a fault: error_rate from 0 to 1, latency_milliseconds up to 60000, hang, nan_output, \
                          wrong_shape, class_flip, one_class, fails_after or drift";
            return Err(Problem::new(Code::InvalidBody, detail).into());
        }
        control.store.set_drill(&endpoint.name, version, (!ends).then_some(&faults), &by, now)?;
        publish(control)?;
        let found = super::endpoints::now(control)?.into_iter().find(|found| found.name == endpoint.name);
        found.ok_or_else(|| missing("endpoint", endpoint.name).into())
    })
    .await
}

/// The shift in the feature's own unit.
fn drift_of(control: &Control, version: VersionNumber, wanted: &WantedDrift) -> Result<Drift, Refused> {
    let version = control.store.version(version)?.ok_or_else(|| missing("version", version.0))?;
    let bytes = control.artifacts.read(&version.artifact, BUNDLE_LIMIT_BYTES);
    let bundle = bytes.ok().and_then(|bytes| Bundle::decode(&bytes).ok());
    let bundle = bundle.ok_or_else(|| missing("readable bundle of version", version.number.0))?;
    let invalid = |detail: String| Refused::from(Problem::new(Code::InvalidBody, detail));
    if !bundle.card.schema.names().any(|name| name == wanted.feature) {
        return Err(invalid(format!("the model has no feature {:?}", wanted.feature)));
    }
    let columns = bundle.baseline.as_ref().map(|baseline| baseline.columns.as_slice()).unwrap_or_default();
    let column = columns.iter().find(|column| column.name() == wanted.feature);
    let deviation = column.and_then(|column| column.finish().variance).map(f64::sqrt);
    let shift = match (wanted.is_relative, deviation) {
        (false, _) => wanted.shift,
        (true, Some(deviation)) => wanted.shift * deviation,
        (true, None) => {
            return Err(invalid(
                "the model has no baseline: give the shift in the feature's unit".to_owned(),
            ));
        }
    };
    Ok(Drift { feature: wanted.feature.clone(), shift })
}

fn endpoint(control: &Control, project: &str, stage: &str) -> Result<RoutedEndpoint, Refused> {
    let routes = control.store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let found = endpoints.iter().find(|found| found.project == project && found.stage == stage);
    found.cloned().ok_or_else(|| missing("stage that serves", stage).into())
}

/// The version that is tried there, or the one that serves.
fn tried(control: &Control, endpoint: &RoutedEndpoint) -> Result<VersionNumber, Refused> {
    let rollout = of_stage(control, &endpoint.project, &endpoint.stage)?;
    if let Some(stored) = rollout.filter(|stored| !matches!(stored.rollout.phase, Phase::Returning { .. })) {
        return Ok(stored.rollout.canary.version);
    }
    let heaviest = endpoint.variants.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
    heaviest.map(|variant| variant.model.number).ok_or_else(|| missing("version", 0).into())
}
