//! Replicas of the gateway, and how many there are to be.

use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use serin_core::domain::EventKind;
use serin_core::replicas::{self, GatewayError};
use serin_core::routes::RouteDocument;
use serin_core::scale::{FleetCommand, FleetPage, ReplicaState};
use utoipa::{IntoParams, ToSchema};

use super::super::ask::{Answer, Plane, Refused, answer, missing, name_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::stages::stage_settings;
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Whose replicas.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// Of this project only.
    project: Option<String>,
    /// Of this stage only.
    stage: Option<String>,
}

/// Which part of the history of a stage, latest first.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ScalingsPage {
    /// Only decisions with numbers below this one.
    before: Option<u64>,
    /// 1 to 1,000 entries; 100 when it is not said.
    limit: Option<u32>,
}

/// So many replicas, from now on; policies go on from there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedReplicas {
    desired: u32,
    /// Of this version; needed while several have replicas.
    version: Option<u64>,
    by: String,
}

/// One replica is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedDrain {
    by: String,
}

/// The replicas of every version that is served by some.
#[utoipa::path(get, path = "/api/v1/replicas", tag = "replicas", params(Whose),
    responses((status = 200, body = wire::List<wire::Fleet>)))]
pub async fn list_replicas(
    State(control): Plane,
    Filter(whose): Filter<Whose>,
) -> Answer<wire::List<wire::Fleet>> {
    answer(&control, move |control| {
        let routes = control.store.routes()?;
        let page = replicas::read(&control.data_directory).map_err(told)?;
        let fleets = page.fleets.into_iter().map(|fleet| {
            let place = place(routes.as_ref(), &fleet.endpoint);
            wire::Fleet::of(fleet, place)
        });
        let is_meant = |fleet: &wire::Fleet| {
            let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
            is(&whose.project, &fleet.project) && is(&whose.stage, &fleet.stage)
        };
        Ok(wire::List::whole(fleets.filter(is_meant).collect()))
    })
    .await
}

/// Let a replica answer what it has, and end when another is there.
#[utoipa::path(post, path = "/api/v1/replicas/{replica}/drain", tag = "replicas",
    params(("replica" = String, Path)), request_body = WantedDrain, responses((status = 200, body = wire::Drained)))]
pub async fn drain_replica(
    State(control): Plane,
    Named(replica): Named<String>,
    Body(wanted): Body<WantedDrain>,
) -> Answer<wire::Drained> {
    let by = name_of(&wanted.by)?;
    answer(&control, move |control| {
        let page = replicas::read(&control.data_directory).map_err(told)?;
        let found = page.fleets.iter().find_map(|fleet| {
            let found = fleet.replicas.iter().find(|known| known.name == replica)?;
            Some((fleet, found.state))
        });
        let Some((fleet, state)) = found else {
            let mut problem = missing("replica", &replica);
            problem.detail.push_str("; `serin replicas` lists those there are");
            return Err(problem.into());
        };
        let drained = wire::Drained {
            replica: replica.clone(),
            endpoint: fleet.endpoint.clone(),
            version: fleet.version.clone(),
        };
        match state {
            ReplicaState::Starting => {
                let detail = format!("replica {replica} does not answer yet; wait until it does");
                return Err(Problem::new(Code::Conflict, detail).into());
            }
            // It is so already.
            ReplicaState::Draining => return Ok(drained),
            ReplicaState::Ready | ReplicaState::Ejected => {}
        }
        let at = control.moments.now();
        let command = FleetCommand::Drain { replica: replica.clone(), by: by.clone(), at: at.wall };
        replicas::command(&control.data_directory, &control.routes, &command).map_err(told)?;
        let text = format!(
            "replica {replica} of {} version {} is drained by {by}",
            drained.endpoint, drained.version
        );
        let facts =
            json!({ "replica": replica, "endpoint": drained.endpoint, "version": drained.version, "by": by });
        tell(control, EventKind::ReplicaDrained, &drained.endpoint, &text, facts)?;
        Ok(drained)
    })
    .await
}

/// Have so many replicas of a stage from now on.
#[utoipa::path(post, path = "/api/v1/projects/{project}/stages/{stage}/scale", tag = "replicas",
    params(("project" = String, Path), ("stage" = String, Path)), request_body = WantedReplicas,
    responses((status = 200, body = wire::Scaled)))]
pub async fn scale_stage(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Body(wanted): Body<WantedReplicas>,
) -> Answer<wire::Scaled> {
    let by = name_of(&wanted.by)?;
    answer(&control, move |control| {
        let desired = wanted.desired;
        let fleets = of_stage(control, &project, &stage)?;
        let versions = || fleets.iter().map(|fleet| fleet.version.clone()).collect::<Vec<_>>().join(", ");
        let is_meant =
            |fleet: &&FleetPage| wanted.version.is_none_or(|version| fleet.version == version.to_string());
        let meant: Vec<&FleetPage> = fleets.iter().filter(is_meant).collect();
        let fleet = match (meant.as_slice(), wanted.version) {
            ([fleet], _) => *fleet,
            ([], Some(version)) => {
                let mut problem = missing("version with replicas there:", version);
                problem.detail.push_str(&format!("; there is {}", versions()));
                return Err(problem.into());
            }
            _ => {
                let detail = format!("several versions have replicas there; name one: {}", versions());
                return Err(Problem::new(Code::Conflict, detail).into());
            }
        };
        let scaler = &fleet.scaler;
        if !(scaler.min..=scaler.max).contains(&desired) {
            return Err(out_of_range(&stage, fleet, desired).into());
        }
        let (endpoint, version) = (fleet.endpoint.clone(), fleet.version.clone());
        let command = FleetCommand::Scale {
            endpoint: endpoint.clone(),
            version: Some(version.clone()),
            desired,
            by: by.clone(),
            at: control.moments.now().wall,
        };
        replicas::command(&control.data_directory, &control.routes, &command).map_err(told)?;
        let before = scaler.desired;
        let text = format!("{by} wants {desired} replicas of {endpoint} version {version}, after {before}");
        let facts =
            json!({ "endpoint": endpoint, "version": version, "from": before, "to": desired, "by": by });
        tell(control, EventKind::ReplicasScaled, &endpoint, &text, facts)?;
        Ok(wire::Scaled { endpoint, version, before, desired })
    })
    .await
}

/// How many replicas of a stage there are to be, and what that rests on; one entry a version.
#[utoipa::path(get, path = "/api/v1/projects/{project}/stages/{stage}/autoscale", tag = "replicas",
    params(("project" = String, Path), ("stage" = String, Path)),
    responses((status = 200, body = wire::List<wire::Autoscale>)))]
pub async fn show_autoscale(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
) -> Answer<wire::List<wire::Autoscale>> {
    answer(&control, move |control| {
        let fleets = of_stage(control, &project, &stage)?;
        let each = fleets.into_iter().map(|fleet| {
            let (place, who) = ((project.clone(), stage.clone()), (fleet.endpoint, fleet.version));
            let ready = fleet.replicas.iter().filter(|replica| is_ready(replica.state)).count();
            let stands = wire::Autoscale::of(place, who, &fleet.scaler, fleet.now, fleet.failure);
            // That of its last reading may be a second old.
            wire::Autoscale { ready: u32::try_from(ready).ok(), ..stands }
        });
        Ok(wire::List::whole(each.collect()))
    })
    .await
}

/// What was decided about the replicas of a stage, latest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/stages/{stage}/autoscale/history", tag = "replicas",
    params(("project" = String, Path), ("stage" = String, Path), ScalingsPage),
    responses((status = 200, body = wire::List<wire::Scaling>)))]
pub async fn list_scalings(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Filter(page): Filter<ScalingsPage>,
) -> Answer<wire::List<wire::Scaling>> {
    let ScalingsPage { before, limit } = page;
    let options = wire::Page { project: None, before, limit }.options()?;
    answer(&control, move |control| {
        stage_settings(control, &project, &stage)?;
        let scalings = control.store.scalings(&project, &stage, &options)?;
        Ok(wire::List::of(scalings, &options, |scaling| scaling.decision.0, wire::Scaling::from))
    })
    .await
}

/// Whether it answers, and is to stay.
fn is_ready(state: ReplicaState) -> bool {
    matches!(state, ReplicaState::Ready | ReplicaState::Ejected)
}

/// The versions of a stage that have replicas.
fn of_stage(control: &Control, project: &str, stage: &str) -> Result<Vec<FleetPage>, Refused> {
    stage_settings(control, project, stage)?;
    let routes = control.store.routes()?;
    let routed = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let Some(routed) = routed.iter().find(|routed| routed.project == project && routed.stage == stage) else {
        let detail = format!(
            "nothing serves {stage} yet; `serin deploy VERSION --stage {stage}` brings a version there"
        );
        return Err(Problem::new(Code::Conflict, detail).into());
    };
    let mut fleets = replicas::read(&control.data_directory).map_err(told)?.fleets;
    fleets.retain(|fleet| fleet.endpoint == routed.name && !fleet.is_retired);
    if fleets.is_empty() {
        let detail = format!(
            "{stage} is answered in the gateway's own process; write runtime = \"process\" in [stages.{stage}.replicas], \
             and deploy again"
        );
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    Ok(fleets)
}

fn out_of_range(stage: &str, fleet: &FleetPage, desired: u32) -> Problem {
    let scaler = &fleet.scaler;
    let is_for_rollout = scaler.floor > 0 && scaler.floor >= scaler.min;
    let fix = match () {
        () if desired < scaler.min && is_for_rollout => {
            "wait for the end of the rollout, which needs them".to_owned()
        }
        () if scaler.is_scheduled => {
            format!("change the schedule in [stages.{stage}.replicas], and deploy again")
        }
        () => format!("change min or max in [stages.{stage}.replicas], and deploy again"),
    };
    let detail =
        format!("{desired} replicas are not possible, {} to {} are now; {fix}", scaler.min, scaler.max);
    Problem::new(Code::ReplicasOutOfRange, detail)
}

/// The project and the stage of an endpoint.
fn place(routes: Option<&RouteDocument>, endpoint: &str) -> Option<(String, String)> {
    let routed = routes?.endpoints().iter().find(|routed| routed.name == endpoint)?;
    Some((routed.project.clone(), routed.stage.clone()))
}

/// Leaves an event: who did it, and when.
fn tell(
    control: &Control,
    kind: EventKind,
    endpoint: &str,
    text: &str,
    facts: serde_json::Value,
) -> Result<(), Refused> {
    let routes = control.store.routes()?;
    let project = place(routes.as_ref(), endpoint).map(|(project, _)| project).unwrap_or_default();
    Ok(control.store.tell(kind, &project, None, text, facts, control.moments.now())?)
}

/// Why the gateway does not do it, as the caller reads it.
fn told(error: GatewayError) -> Problem {
    match error {
        GatewayError::Refused { status: 404, detail } => Problem::new(GatewayCode::NotFound, detail),
        error => Problem::new(Code::GatewayUnreachable, error.to_string()),
    }
}
