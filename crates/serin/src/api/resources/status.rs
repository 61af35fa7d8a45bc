//! How everything stands, in one look.

use std::path::Path;

use axum::extract::State;
use serin_core::capture::Serving;
use serin_core::domain::{Approval, Run};
use serin_core::pipeline::project_settings;
use serin_core::store::{ListOptions, Project};

use super::super::ask::{Answer, Plane, Refused, answer};
use super::super::wire;
use super::{endpoints, runs};
use crate::control::Control;

/// Engine, projects with what is open, and what to worry about.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses((status = 200, body = wire::Status)))]
pub async fn status(State(control): Plane) -> Answer<wire::Status> {
    answer(&control, look).await
}

fn look(control: &Control) -> Result<wire::Status, Refused> {
    let store = control.store.as_ref();
    let engine = control.engine.status();
    let open = store.open_runs()?;
    let asked = ListOptions { is_open: true, limit: ListOptions::LIMIT, ..ListOptions::default() };
    let approvals = store.approvals(&asked)?;
    let endpoints = endpoints::now(control)?;
    let mut projects = Vec::new();
    for project in store.projects()? {
        projects.push(of_project(control, &project, &open, &approvals, &endpoints)?);
    }
    let gateway = Serving::read(&control.data_directory).ok().flatten().map(|serving| serving.url);
    let mut warnings = Vec::new();
    warnings.extend(engine.problem.map(|problem| format!("the engine cannot go on: {problem}")));
    if engine.epoch.is_none() {
        warnings.push("another engine reigns, or this one does not reign yet".to_owned());
    }
    if gateway.is_none() {
        warnings.push("no gateway serves this data directory: start one with `serin gateway`".to_owned());
    }
    warnings.extend(projects.iter().filter_map(|project| {
        let error = project.error.as_ref()?;
        Some(format!("project {}: {error}", project.name))
    }));
    let left = engine.left_behind;
    Ok(wire::Status {
        engine: wire::Engine {
            reigning: engine.epoch.is_some(),
            owner: store.reign()?.owner,
            steps: engine.steps,
            left_behind: (left > 0)
                .then(|| format!("{left} attempts that did not stop"))
                .into_iter()
                .collect(),
        },
        gateway,
        projects,
        warnings,
    })
}

fn of_project(
    control: &Control,
    project: &Project,
    open: &[Run],
    approvals: &[Approval],
    endpoints: &[wire::Endpoint],
) -> Result<wire::ProjectStatus, Refused> {
    let name = &project.name;
    let now = control.moments.now();
    let open_runs = open.iter().filter(|run| run.project == *name);
    Ok(wire::ProjectStatus {
        name: name.clone(),
        folder: project.folder.clone(),
        error: project_settings(Path::new(&project.folder)).err().map(|error| error.to_string()),
        last_run: runs::last(control, name)?.map(|run| wire::Run::brief(&run, now)),
        open_runs: open_runs.map(|run| runs::whole(control, run)).collect::<Result<_, _>>()?,
        approvals: approvals
            .iter()
            .filter(|approval| approval.subject.project == *name)
            .map(wire::Approval::from)
            .collect(),
        endpoints: endpoints.iter().filter(|endpoint| endpoint.project == *name).cloned().collect(),
    })
}
