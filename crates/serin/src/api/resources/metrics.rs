//! `GET /metrics`: what scrapers take.

use std::path::Path;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use serin_core::clock::Timestamp;
use serin_core::pipeline::project_settings;
use serin_core::store::ListOptions;

use super::super::ask::{Plane, Refused, ask};
use super::super::metrics::{Facts, Watched, text};
use super::super::problem::Problem;
use crate::control::Control;
use crate::gateway::metrics::as_accepted;

/// Runs, approvals, alarms and the last look at each endpoint, as OpenMetrics text; as Prometheus' older text format for
/// whoever accepts `text/plain` alone.
#[utoipa::path(get, path = "/metrics", tag = "watch",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics_text(
    State(control): Plane,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let text = ask(&control, |control| {
        let now = control.moments.wall();
        Ok(text(&facts(control, now)?, now))
    });
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let (content_type, text) = as_accepted(accept, text.await?);
    Ok(([(CONTENT_TYPE, content_type)], text))
}

fn facts(control: &Control, now: Timestamp) -> Result<Facts, Refused> {
    let store = &control.store;
    let open = ListOptions { is_open: true, limit: ListOptions::LIMIT, ..ListOptions::default() };
    let status = control.engine.status();
    let mut facts = Facts {
        is_ready: status.epoch.is_some() && status.problem.is_none(),
        runs: store.count_runs()?,
        open_approvals: store
            .approvals(&open)?
            .into_iter()
            .map(|approval| approval.subject.project)
            .collect(),
        open_rollouts: store.rollouts(&open)?.into_iter().map(|stored| stored.rollout.project).collect(),
        ..Facts::default()
    };
    let monitors = store.monitors()?;
    for project in store.projects()? {
        facts.alarms.extend(store.alarms(&project.name, Some(control.moments.now()))?);
        // While settings are wrong, those from before are in force, which may well look.
        let settings = project_settings(Path::new(&project.folder)).ok().map(|settings| settings.monitor);
        let is_watched = settings.as_ref().is_none_or(|monitor| monitor.is_enabled);
        for monitor in monitors.iter().filter(|one| is_watched && one.project == project.name) {
            let last = store.reports_before(&monitor.endpoint, now, 1)?.into_iter().next();
            facts.watched.push(Watched {
                endpoint: monitor.endpoint.clone(),
                window: settings.as_ref().map(|monitor| monitor.window.as_secs_f64()),
                since: monitor.since,
                // A report of another program's version may not be readable; its time is.
                last: last.map(|look| {
                    (look.to, look.report.and_then(|report| serde_json::from_value(report).ok()))
                }),
            });
        }
        facts.projects.push(project.name);
    }
    Ok(facts)
}
