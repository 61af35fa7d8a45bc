//! A stage is to serve another version.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serin_core::config::StageSettings;
use serin_core::domain::{ModelVersion, RunKind, VersionNumber, VersionState};
use serin_core::pipeline::{DeployRequest, ask_to_deploy};
use serin_core::rollout::{End, Phase};
use serin_core::routes::{RouteDocument, RoutedVariant};
use serin_core::store::{DeploymentRecord, ListOptions};
use utoipa::ToSchema;

use super::super::ask::{Plane, Refused, ask, missing, name_of, reason_of};
use super::super::extract::{Body, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::runs::status_of;
use super::{rollouts, versions, with_settings};
use crate::control::Control;

/// A version that is to serve.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    version: u64,
    by: String,
    reason: Option<String>,
}

/// What served before is to serve again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    by: String,
    reason: Option<String>,
    /// The version to go back to; the one that served before when it is not said.
    to: Option<u64>,
}

/// Ask for a version to be brought to a stage.
#[utoipa::path(post, path = "/api/v1/projects/{project}/stages/{stage}/deploy", tag = "endpoints",
    params(("project" = String, Path), ("stage" = String, Path)), request_body = Deployment,
    responses((status = 201, body = wire::Outcome), (status = 200, body = wire::Outcome)))]
pub async fn deploy(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Body(wanted): Body<Deployment>,
) -> Result<(StatusCode, Json<wire::Outcome>), Problem> {
    let by = name_of(&wanted.by)?;
    let reason = reason_of(wanted.reason.as_deref(), Some("no reason was given"))?;
    let outcome = ask(&control, move |control| {
        let settings = stage_settings(control, &project, &stage)?;
        let version = of_project(control, &project, wanted.version)?;
        check(&settings, &version)?;
        let request = DeployRequest { stage, version: version.number, reason };
        leave(control, &project, RunKind::Deploy, &request, &by)
    })
    .await?;
    Ok((status_of(&outcome), Json(outcome)))
}

/// Ask for what served a stage before.
#[utoipa::path(post, path = "/api/v1/projects/{project}/stages/{stage}/rollback", tag = "endpoints",
    params(("project" = String, Path), ("stage" = String, Path)), request_body = Return,
    responses((status = 201, body = wire::Outcome), (status = 200, body = wire::Outcome)))]
pub async fn roll_back(
    State(control): Plane,
    Named((project, stage)): Named<(String, String)>,
    Body(wanted): Body<Return>,
) -> Result<(StatusCode, Json<wire::Outcome>), Problem> {
    let by = name_of(&wanted.by)?;
    let reason = reason_of(wanted.reason.as_deref(), Some("no reason was given"))?;
    let outcome = ask(&control, move |control| {
        let settings = stage_settings(control, &project, &stage)?;
        // The version before is warm while a rollout is under way, and in its probation.
        if let Some(rollout) = rollouts::of_stage(control, &project, &stage)?
            && rollouts::return_at_once(control, &rollout, wanted.to.map(VersionNumber), &by, &reason)?
        {
            return Ok(wire::Outcome::returned(rollout.rollout.number.0));
        }
        let version = match wanted.to {
            Some(number) => {
                let version = of_project(control, &project, number)?;
                check(&settings, &version)?;
                version.number
            }
            None => before(control, &project, &settings)?,
        };
        let request = DeployRequest { stage, version, reason };
        leave(control, &project, RunKind::Rollback, &request, &by)
    })
    .await?;
    Ok((status_of(&outcome), Json(outcome)))
}

/// Leaves a wish for a deployment, and lets the engine see it.
pub fn leave(
    control: &Control,
    project: &str,
    kind: RunKind,
    request: &DeployRequest,
    by: &str,
) -> Result<wire::Outcome, Refused> {
    let outcome = ask_to_deploy(control.store.as_ref(), project, kind, request, by, control.moments.now())?;
    control.engine.waker().wake();
    Ok(outcome.into())
}

pub fn stage_settings(control: &Control, project: &str, stage: &str) -> Result<StageSettings, Refused> {
    let (_, settings) = with_settings(control, project)?;
    let found = settings.pipeline.stages.into_iter().find(|known| known.name == stage);
    found.ok_or_else(|| missing("stage", stage).into())
}

fn of_project(control: &Control, project: &str, number: u64) -> Result<ModelVersion, Refused> {
    let version = versions::found(control, number)?;
    if version.project == project { Ok(version) } else { Err(missing("version", number).into()) }
}

/// Whether a version may serve a stage.
fn check(stage: &StageSettings, version: &ModelVersion) -> Result<(), Problem> {
    let (name, number) = (&stage.name, version.number);
    match &version.state {
        VersionState::Rejected { by, reason, .. } => {
            let detail = format!("version {number} was rejected by {by}: {reason}");
            Err(Problem::new(Code::VersionRejected, detail))
        }
        VersionState::Pending if stage.approval => {
            let detail = format!("{name} asks for approval, and version {number} is not approved");
            Err(Problem::new(Code::VersionNotApproved, detail))
        }
        VersionState::Pending | VersionState::Approved { .. } => Ok(()),
    }
}

/// Whether the last rollout of the version there ended with going back.
fn was_sent_back(
    control: &Control,
    project: &str,
    stage: &StageSettings,
    version: VersionNumber,
) -> Result<bool, Refused> {
    let all = ListOptions {
        project: Some(project.to_owned()),
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    let rollouts = control.store.rollouts(&all)?;
    let last = rollouts
        .iter()
        .find(|stored| stored.rollout.stage == stage.name && stored.rollout.canary.version == version);
    Ok(last
        .is_some_and(|stored| matches!(stored.rollout.phase, Phase::Ended { end: End::RolledBack { .. } })))
}

/// The version that served a stage before the present one, and may serve again.
fn before(control: &Control, project: &str, stage: &StageSettings) -> Result<VersionNumber, Refused> {
    let routes = control.store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let present = endpoints.iter().filter(|found| found.project == project && found.stage == stage.name);
    let serves = |variant: &&RoutedVariant| variant.weight > 0.0;
    let mut passed: BTreeSet<VersionNumber> = present
        .flat_map(|endpoint| &endpoint.variants)
        .filter(serves)
        .map(|variant| variant.model.number)
        .collect();
    let mut options = ListOptions {
        project: Some(project.to_owned()),
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    loop {
        let deployments = control.store.deployments(&options)?;
        // With a share of the requests alone, a version did not serve the stage yet.
        let served =
            |deployment: &&DeploymentRecord| deployment.stage == stage.name && deployment.versions.len() == 1;
        let here = deployments.iter().filter(served);
        for number in here.flat_map(|deployment| &deployment.versions) {
            if !passed.insert(*number) {
                continue;
            }
            if was_sent_back(control, project, stage, *number)? {
                continue;
            }
            let version = control.store.version(*number)?;
            if version.is_some_and(|version| check(stage, &version).is_ok()) {
                return Ok(*number);
            }
        }
        match deployments.last() {
            Some(last) => options.before = Some(last.epoch),
            None => {
                let detail = format!("no other version that may serve {} served it before", stage.name);
                return Err(Problem::new(Code::NothingBefore, detail).into());
            }
        }
    }
}
