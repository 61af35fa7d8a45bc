//! Runs: asked for, looked at, stopped, begun anew.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serin_core::artifacts::ArtifactError;
use serin_core::config::Settings;
use serin_core::digest::Digest;
use serin_core::domain::{Cause, Run, RunNumber, RunState, StepState};
use serin_core::pipeline::{Asked, repository};
use serin_core::store::{ListOptions, Project};
use utoipa::ToSchema;

use super::super::ask::{Answer, Plane, Refused, answer, ask, missing, name_of, reason_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::{triggers, with_settings};
use crate::control::Control;

/// Largest document of a step that is shown.
const DOCUMENT_SHOWN_BYTES: u64 = 8 << 20;

/// A run that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Who asks.
    by: String,
    /// Earlier outputs are not taken.
    fresh: Option<bool>,
    /// Only say what would become of it.
    dry_run: Option<bool>,
}

/// An end that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    by: String,
    reason: Option<String>,
}

/// A run that is to go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Again {
    by: String,
    /// This step begins anew too, and what waits for it.
    from: Option<String>,
}

/// What became of a wish, or would.
#[derive(Debug, serde::Serialize, ToSchema)]
#[serde(untagged)]
pub enum Told {
    Done(wire::Outcome),
    Planned(Box<wire::Planned>),
}

/// Ask for a training run.
#[utoipa::path(post, path = "/api/v1/projects/{project}/runs", tag = "runs", params(("project" = String, Path)),
    request_body = Wanted, responses((status = 201, body = wire::Outcome), (status = 200, body = Told)))]
pub async fn ask_for_run(
    State(control): Plane,
    Named(name): Named<String>,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Told>), Problem> {
    let by = name_of(&wanted.by)?;
    let told = ask(&control, move |control| {
        let (project, settings) = with_settings(control, &name)?;
        let asked = Asked {
            is_fresh: wanted.fresh.unwrap_or(false),
            ..Asked::plain(&project.name, Cause::Asked { by })
        };
        if wanted.dry_run.unwrap_or(false) {
            return plan(control, &project, &settings, asked).map(Box::new).map(Told::Planned);
        }
        Ok(Told::Done(leave(control, &settings, asked)?))
    })
    .await?;
    let status = match &told {
        Told::Done(outcome) => status_of(outcome),
        Told::Planned(_) => StatusCode::OK,
    };
    Ok((status, Json(told)))
}

/// Leaves a wish, and lets the engine see it.
pub fn leave(control: &Control, settings: &Settings, asked: Asked) -> Result<wire::Outcome, Refused> {
    let outcome = asked.leave(control.store.as_ref(), settings, control.moments.now())?;
    control.engine.waker().wake();
    Ok(outcome.into())
}

/// A run that was made is something new.
pub fn status_of(outcome: &wire::Outcome) -> StatusCode {
    if outcome.outcome == "run" { StatusCode::CREATED } else { StatusCode::OK }
}

fn plan(
    control: &Control,
    project: &Project,
    settings: &Settings,
    asked: Asked,
) -> Result<wire::Planned, Refused> {
    let folder = Path::new(&project.folder);
    let source = &settings.pipeline.source;
    let head = match repository(source, folder, &control.data_directory, &project.name) {
        Ok(Some(repository)) => Some(repository.head().map_err(|error| error.to_string())),
        Ok(None) => None,
        Err(error) => Some(Err(error.to_string())),
    };
    let (commit, commit_problem) = match head {
        Some(Ok(commit)) => (Some(commit.as_str().to_owned()), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let shown = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    let last = control.store.last_revision(&project.name)?;
    let outcome = asked.would(control.store.as_ref(), settings, control.moments.now())?;
    Ok(wire::Planned {
        outcome: outcome.into(),
        revision: wire::PlannedRevision {
            commit,
            branch: source.repository.is_some().then(|| source.branch.clone()),
            commit_problem,
            settings: std::fs::read(folder.join("serin.toml"))
                .ok()
                .map(|bytes| Digest::of(&bytes).to_string()),
            data: shown(&settings.data.train),
            test: shown(&settings.data.test),
            last: last
                .map(|(run, revision)| wire::LastRevision { run: run.0, revision: revision.to_string() }),
        },
        triggers: triggers::of(control, &project.name, Some(settings))?,
    })
}

/// Runs, latest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(wire::OpenPage),
    responses((status = 200, body = wire::List<wire::Run>)))]
pub async fn list_runs(
    State(control): Plane,
    Filter(page): Filter<wire::OpenPage>,
) -> Answer<wire::List<wire::Run>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let now = control.moments.now();
        let runs = control.store.runs(&options)?;
        Ok(wire::List::of(runs, &options, |run| run.number.0, |run| wire::Run::brief(&run, now)))
    })
    .await
}

/// A run with its steps and attempts.
#[utoipa::path(get, path = "/api/v1/runs/{run}", tag = "runs", params(("run" = u64, Path)),
    responses((status = 200, body = wire::Run)))]
pub async fn show_run(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Run> {
    answer(&control, move |control| {
        let run = found(control, number)?;
        whole(control, &run)
    })
    .await
}

/// A step with what it left behind.
#[utoipa::path(get, path = "/api/v1/runs/{run}/steps/{step}", tag = "runs",
    params(("run" = u64, Path), ("step" = String, Path)), responses((status = 200, body = wire::StepDetail)))]
pub async fn show_step(
    State(control): Plane,
    Named((number, name)): Named<(u64, String)>,
) -> Answer<wire::StepDetail> {
    answer(&control, move |control| {
        let run = found(control, number)?;
        let step = run.step(&name).ok_or_else(|| missing("step", &name))?;
        let seen = seen(control, &run)?;
        let (document, document_problem) = match &step.state {
            StepState::Succeeded { output, .. } => match document(control, output) {
                Ok(document) => (Some(document), None),
                Err(problem) => (None, Some(problem)),
            },
            _ => (None, None),
        };
        let attempts = seen.attempts.iter().filter(|attempt| attempt.step == name);
        Ok(wire::StepDetail {
            step: wire::Step::new(&run, step, &seen),
            run: number,
            document,
            document_problem,
            attempt_list: attempts.map(|attempt| wire::Attempt::new(attempt, seen.now)).collect(),
        })
    })
    .await
}

/// A document as it is stored: it is known by its digest, and shown as it is.
pub fn document(control: &Control, digest: &Digest) -> Result<serde_json::Value, String> {
    let bytes = control.artifacts.read(digest, DOCUMENT_SHOWN_BYTES).map_err(|error| match error {
        ArtifactError::TooLarge { .. } => format!("it has more than {DOCUMENT_SHOWN_BYTES} bytes"),
        other => other.to_string(),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| format!("it cannot be understood: {error}"))
}

/// Ask a run to stop. One that stops already is left to it.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = u64, Path)),
    request_body = Stop, responses((status = 200, body = wire::Run)))]
pub async fn cancel_run(
    State(control): Plane,
    Named(number): Named<u64>,
    Body(stop): Body<Stop>,
) -> Answer<wire::Run> {
    let by = name_of(&stop.by)?;
    let reason = reason_of(stop.reason.as_deref(), Some("no reason was given"))?;
    answer(&control, move |control| {
        let now = control.moments.now();
        let is_taken = control.store.cancel_run(RunNumber(number), &by, &reason, now)?;
        control.engine.waker().wake();
        let run = found(control, number)?;
        if is_taken {
            return Ok(wire::Run::brief(&run, now));
        }
        let detail = format!("run {number} is {} already", run.state.name());
        Err(Problem::new(Code::Conflict, detail).into())
    })
    .await
}

/// Let an ended run go on: what did not succeed begins anew.
#[utoipa::path(post, path = "/api/v1/runs/{run}/retry", tag = "runs", params(("run" = u64, Path)),
    request_body = Again, responses((status = 200, body = wire::Outcome)))]
pub async fn retry_run(
    State(control): Plane,
    Named(number): Named<u64>,
    Body(again): Body<Again>,
) -> Answer<wire::Outcome> {
    let by = name_of(&again.by)?;
    answer(&control, move |control| {
        let (run, now) = (RunNumber(number), control.moments.now());
        if again.from.is_none() && found(control, number)?.state == RunState::Succeeded {
            let detail = format!("run {number} succeeded: name the step to begin anew with in `from`");
            return Err(Problem::new(Code::Conflict, detail).into());
        }
        if control.store.retry_run(run, again.from.as_deref(), &by, now)? {
            control.engine.waker().wake();
            return Ok(wire::Outcome {
                outcome: "run",
                run: Some(number),
                rollout: None,
                rule: None,
                reason: None,
            });
        }
        let detail = match found(control, number)?.state {
            state if !state.is_final() => format!("run {number} is {}: it goes on by itself", state.name()),
            state => format!("run {number} is {}: it cannot go on", state.name()),
        };
        Err(Problem::new(Code::Conflict, detail).into())
    })
    .await
}

/// The run of this number.
pub fn found(control: &Control, number: u64) -> Result<Run, Refused> {
    control.store.run(RunNumber(number))?.ok_or_else(|| missing("run", number).into())
}

/// What is seen of a run now.
pub fn seen(control: &Control, run: &Run) -> Result<wire::Seen, Refused> {
    let attempts = control.store.attempts(run.number)?;
    Ok(wire::Seen { now: control.moments.now(), attempts, progress: control.engine.progress(run.number) })
}

/// A run with its steps and attempts.
pub fn whole(control: &Control, run: &Run) -> Result<wire::Run, Refused> {
    Ok(wire::Run::whole(run, &seen(control, run)?))
}

/// The latest run of a project.
pub fn last(control: &Control, name: &str) -> Result<Option<Run>, Refused> {
    let options = ListOptions { project: Some(name.to_owned()), limit: 1, ..ListOptions::default() };
    Ok(control.store.runs(&options)?.pop())
}
