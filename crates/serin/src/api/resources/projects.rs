//! Projects: added, looked at, removed.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serin_core::domain::{Run, RunKind, RunNumber};
use serin_core::engine::remove_logs;
use serin_core::pipeline::{DeployRequest, project_settings};
use serin_core::routes::{RouteDocument, RoutesError};
use serin_core::store::{ListOptions, Project, StoreError};
use utoipa::{IntoParams, ToSchema};

use super::super::ask::{Answer, Plane, Refused, answer, ask, missing, name_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::{project, triggers};
use crate::control::Control;

/// How long runs may take to stop before their project is removed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often it is looked whether they did.
const STOP_PAUSE: Duration = Duration::from_millis(50);

/// Where a project is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Absolute.
    folder: String,
}

/// What to remove.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Removal {
    /// Only what serves this stage; else the project.
    stage: Option<String>,
    /// Only say what would go.
    dry_run: Option<bool>,
    /// Who asks; not needed to be told what would go.
    by: Option<String>,
}

/// Projects by name.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects",
    responses((status = 200, body = wire::List<wire::Project>)))]
pub async fn list_projects(State(control): Plane) -> Answer<wire::List<wire::Project>> {
    answer(&control, |control| {
        let projects = control.store.projects()?;
        let told = projects.iter().map(|project| told(control, project)).collect::<Result<_, _>>()?;
        Ok(wire::List::whole(told))
    })
    .await
}

/// A project, its stages and triggers.
#[utoipa::path(get, path = "/api/v1/projects/{project}", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = wire::Project)))]
pub async fn show_project(State(control): Plane, Named(name): Named<String>) -> Answer<wire::Project> {
    answer(&control, move |control| told(control, &project(control, &name)?)).await
}

fn told(control: &Control, project: &Project) -> Result<wire::Project, Refused> {
    let settings = project_settings(Path::new(&project.folder));
    let stages = settings.as_ref().map(|settings| settings.pipeline.stages.as_slice()).unwrap_or_default();
    Ok(wire::Project {
        name: project.name.clone(),
        folder: project.folder.clone(),
        stages: stages.iter().map(wire::Stage::from).collect(),
        triggers: triggers::of(control, &project.name, settings.as_ref().ok())?,
        error: settings.err().map(|error| error.to_string()),
    })
}

/// Add the project in a folder, or say where it is now.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = Place,
    responses((status = 201, body = wire::Project)))]
pub async fn add_project(
    State(control): Plane,
    Body(place): Body<Place>,
) -> Result<(StatusCode, Json<wire::Project>), Problem> {
    if !Path::new(&place.folder).is_absolute() || place.folder.contains('\0') {
        return Err(Problem::new(Code::InvalidBody, "`folder` is an absolute path"));
    }
    let added = ask(&control, move |control| {
        let added = control.add_project(Path::new(&place.folder));
        let settings = added.map_err(|error| Problem::new(Code::SettingsInvalid, format!("{error:#}")))?;
        control.engine.waker().wake();
        told(control, &project(control, &settings.project)?)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Remove what serves a stage, or a project with its runs and versions. Open runs are cancelled first.
#[utoipa::path(delete, path = "/api/v1/projects/{project}", tag = "projects",
    params(("project" = String, Path), Removal), responses((status = 200, body = wire::Removed)))]
pub async fn remove_project(
    State(control): Plane,
    Named(name): Named<String>,
    Filter(removal): Filter<Removal>,
) -> Answer<wire::Removed> {
    let is_dry = removal.dry_run.unwrap_or(false);
    let by = match &removal.by {
        Some(by) => name_of(by)?,
        None if is_dry => String::new(),
        None => return Err(Problem::new(Code::Incomplete, "`by` says who asks, and is missing")),
    };
    let stage = removal.stage;
    let (name, stage, plan) = ask(&control, move |control| {
        let plan = plan(control, &name, stage.as_deref(), is_dry)?;
        Ok((name, stage, plan))
    })
    .await?;
    if is_dry {
        return Ok(Json(plan));
    }
    let cancelled = plan.cancelled.clone();
    let asked_by = by.clone();
    ask(&control, move |control| cancel(control, &cancelled, &asked_by)).await?;
    let until = control.moments.monotonic() + STOP_LIMIT;
    loop {
        let wanted = plan.cancelled.clone();
        let left = ask(&control, move |control| Ok(still_open(control, &wanted)?)).await?;
        if left.is_empty() {
            break;
        }
        if control.moments.monotonic() >= until {
            let detail = format!("run {} has not stopped yet; nothing was removed: ask again", left[0]);
            return Err(Problem::new(Code::Conflict, detail));
        }
        tokio::time::sleep(STOP_PAUSE).await;
    }
    answer(&control, move |control| {
        let now = control.moments.now();
        let after = control.store.remove_routes(&name, stage.as_deref(), &by, now)?;
        if stage.is_none() {
            let runs = all_runs(control, &name)?;
            control.store.remove_project(&name, now)?;
            runs.into_iter().for_each(|run| remove_logs_of(control, run));
        }
        if let Some(document) = after {
            match control.routes.publish(&document) {
                // Another change came behind, and has this one in it.
                Ok(_) | Err(RoutesError::Superseded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        control.engine.waker().wake();
        Ok(plan)
    })
    .await
}

/// What goes.
fn plan(control: &Control, name: &str, stage: Option<&str>, is_dry: bool) -> Result<wire::Removed, Refused> {
    let project = project(control, name)?;
    let routes = control.store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let goes = endpoints
        .iter()
        .filter(|endpoint| endpoint.project == name && stage.is_none_or(|stage| endpoint.stage == stage));
    let endpoints: Vec<String> = goes.map(|endpoint| endpoint.name.clone()).collect();
    if let Some(stage) = stage
        && endpoints.is_empty()
        && !is_stage(&project, stage)
    {
        return Err(missing("stage", stage).into());
    }
    let open = control.store.open_runs()?;
    let stops = open.iter().filter(|run| run.project == name && may_deploy(run, stage));
    let (runs, versions) = match stage {
        Some(_) => (0, 0),
        None => (all_runs(control, name)?.len() as u64, count_versions(control, name)?),
    };
    Ok(wire::Removed {
        dry_run: is_dry,
        project: name.to_owned(),
        stage: stage.map(str::to_owned),
        endpoints,
        runs,
        versions,
        cancelled: stops.map(|run| run.number.0).collect(),
        kept: kept(&project, stage),
    })
}

fn kept(project: &Project, stage: Option<&str>) -> Vec<String> {
    let mut kept = Vec::new();
    if stage.is_some() {
        kept.push("the project with its runs, versions and other stages".to_owned());
    }
    kept.push(format!("the folder {}", project.folder));
    kept.push("the inference rows and the journal of requests".to_owned());
    kept.push("artifacts (bundles, data, documents) in the data directory".to_owned());
    kept.push("the history of events and of what served when".to_owned());
    kept
}

fn is_stage(project: &Project, stage: &str) -> bool {
    let settings = project_settings(Path::new(&project.folder));
    settings.is_ok_and(|settings| settings.pipeline.stages.iter().any(|known| known.name == stage))
}

/// Whether a run may still change a stage, or any.
fn may_deploy(run: &Run, stage: Option<&str>) -> bool {
    let Some(stage) = stage else { return true };
    match run.kind {
        RunKind::Train => true,
        RunKind::Deploy | RunKind::Rollback => {
            let request = serde_json::from_value::<DeployRequest>(run.request.clone());
            request.is_ok_and(|request| request.stage == stage)
        }
    }
}

fn cancel(control: &Control, runs: &[u64], by: &str) -> Result<(), Refused> {
    for &run in runs {
        let now = control.moments.now();
        control.store.cancel_run(RunNumber(run), by, "what it deploys to is removed", now)?;
    }
    control.engine.waker().wake();
    Ok(())
}

fn still_open(control: &Control, runs: &[u64]) -> Result<Vec<u64>, StoreError> {
    let open = control.store.open_runs()?;
    Ok(open.iter().map(|run| run.number.0).filter(|number| runs.contains(number)).collect())
}

/// Logs are for people: what is left of them hinders nobody.
fn remove_logs_of(control: &Control, run: RunNumber) {
    if let Err(error) = remove_logs(&control.data_directory, run) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, run = run.0, "logs of a run remain");
    }
}

/// Every run of a project.
fn all_runs(control: &Control, name: &str) -> Result<Vec<RunNumber>, Refused> {
    let numbers = numbers(name, |options| {
        Ok(control.store.runs(options)?.into_iter().map(|run| run.number.0).collect())
    })?;
    Ok(numbers.into_iter().map(RunNumber).collect())
}

fn count_versions(control: &Control, name: &str) -> Result<u64, Refused> {
    let numbers = numbers(name, |options| {
        Ok(control.store.versions(options)?.into_iter().map(|version| version.number.0).collect())
    })?;
    Ok(numbers.len() as u64)
}

/// The numbers of everything of a project that is listed part by part, latest first.
fn numbers(
    name: &str,
    part: impl Fn(&ListOptions) -> Result<Vec<u64>, Refused>,
) -> Result<Vec<u64>, Refused> {
    let mut options =
        ListOptions { project: Some(name.to_owned()), limit: ListOptions::LIMIT, ..ListOptions::default() };
    let mut numbers = Vec::new();
    loop {
        let more = part(&options)?;
        let Some(&last) = more.last() else { return Ok(numbers) };
        options.before = Some(last);
        numbers.extend(more);
    }
}
