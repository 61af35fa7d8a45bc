//! What serves now, what served before, and who answers for it.

use axum::extract::State;
use serde::Deserialize;
use serin_core::routes::RouteDocument;
use serin_core::store::ListOptions;
use utoipa::IntoParams;

use super::super::ask::{Answer, Plane, Refused, answer, time_of};
use super::super::extract::Filter;
use super::super::wire;
use crate::control::Control;

/// Of which project.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct OfProject {
    /// Of this project only.
    pub project: Option<String>,
}

/// A moment.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct At {
    /// RFC 3339, or a date alone; now when it is not said.
    at: Option<String>,
    /// Of this project only.
    project: Option<String>,
}

/// What serves now, by name.
#[utoipa::path(get, path = "/api/v1/endpoints", tag = "endpoints", params(OfProject),
    responses((status = 200, body = wire::List<wire::Endpoint>)))]
pub async fn list_endpoints(
    State(control): Plane,
    Filter(of): Filter<OfProject>,
) -> Answer<wire::List<wire::Endpoint>> {
    answer(&control, move |control| {
        let mut endpoints = now(control)?;
        endpoints.retain(|endpoint| of.project.as_ref().is_none_or(|name| endpoint.project == *name));
        Ok(wire::List::whole(endpoints))
    })
    .await
}

/// Every endpoint there is.
pub fn now(control: &Control) -> Result<Vec<wire::Endpoint>, Refused> {
    let store = control.store.as_ref();
    let routes = store.routes()?;
    let monitors = store.monitors()?;
    let periods = store.served_at(control.moments.wall())?;
    let routed = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let endpoints = routed.iter().map(|endpoint| {
        let since = periods.iter().filter(|period| period.endpoint == endpoint.name);
        let since = since.max_by_key(|period| period.from);
        let monitor = monitors.iter().find(|monitor| monitor.endpoint == endpoint.name);
        let variants = endpoint.variants.iter().map(|variant| wire::ServedVariant {
            name: variant.name.clone(),
            version: variant.model.number.0,
            weight: variant.weight,
        });
        wire::Endpoint {
            name: endpoint.name.clone(),
            project: endpoint.project.clone(),
            stage: endpoint.stage.clone(),
            variants: variants.collect(),
            since: since.map(|period| period.from.to_rfc3339()),
            by: since.and_then(|period| period.by.clone()),
            run: since.and_then(|period| period.run).map(|run| run.0),
            monitor: monitor.map(wire::Monitor::from),
        }
    });
    Ok(endpoints.collect())
}

/// Every change of what serves, latest first.
#[utoipa::path(get, path = "/api/v1/deployments", tag = "endpoints", params(wire::Page),
    responses((status = 200, body = wire::List<wire::Deployment>)))]
pub async fn list_deployments(
    State(control): Plane,
    Filter(page): Filter<wire::Page>,
) -> Answer<wire::List<wire::Deployment>> {
    let options: ListOptions = page.options()?;
    answer(&control, move |control| {
        let deployments = control.store.deployments(&options)?;
        Ok(wire::List::of(deployments, &options, |record| record.epoch, wire::Deployment::from))
    })
    .await
}

/// What was served at a moment, and who answers for it.
#[utoipa::path(get, path = "/api/v1/served", tag = "endpoints", params(At),
    responses((status = 200, body = wire::Served)))]
pub async fn show_served(State(control): Plane, Filter(wanted): Filter<At>) -> Answer<wire::Served> {
    let at = wanted.at.as_deref().map(time_of).transpose()?;
    answer(&control, move |control| {
        let at = at.unwrap_or_else(|| control.moments.wall());
        let mut periods = control.store.served_at(at)?;
        periods.retain(|period| wanted.project.as_ref().is_none_or(|name| period.project == *name));
        let items = periods.into_iter().map(wire::Period::from).collect();
        Ok(wire::Served { at: at.to_rfc3339(), items })
    })
    .await
}
