//! The part of `deploy` that begins a rollout and waits for what becomes of it.

use std::path::Path;
use std::time::Duration;

use serin_ml::model::Bundle;
use serin_ml::sequential::Expected;

use super::deploy::deployed;
use super::documents::{BuildOutput, DeployOutput};
use super::source::project_settings;
use super::workshop::{Workshop, overtaken};
use crate::config::StageSettings;
use crate::domain::{ModelVersion, RolloutNumber, RunState, VersionNumber};
use crate::engine::{Task, WorkError};
use crate::rollout::{Command, End, Phase};
use crate::routes::{ModelRef, RouteDocument};
use crate::store::{ListOptions, NewRollout, RouteChange, StoredRollout};

/// How often it is looked how far the rollout is.
const LOOK: Duration = Duration::from_millis(50);

/// Brings `version` to the endpoint step by step, and ends when it was promoted.
pub(super) fn roll_out(
    shop: &Workshop,
    task: &Task<'_>,
    version: &ModelVersion,
    change: &RouteChange,
    serving: Option<&ModelRef>,
) -> Result<DeployOutput, WorkError> {
    let begun = match of_this_round(task)? {
        Some(begun) => begun,
        None => {
            let new = NewRollout {
                project: change.project.clone(),
                stage: change.stage.clone(),
                endpoint: change.endpoint.clone(),
                version: version.number,
                settings: stage_settings(shop, task, &change.stage)?
                    .map(|stage| stage.rollout)
                    .unwrap_or_default(),
                expected: expected(shop, version, serving),
                by: change.by.clone(),
                reason: change.reason.clone(),
            };
            task.store.begin_rollout(task.hold, &new, task.moments.now())?
        }
    };
    if let Some(document) = task.store.routes()? {
        shop.routes.publish(&document)?;
    }
    let number = begun.rollout.number;
    task.log
        .line(&format!("rollout {number} to version {}: {}", version.number, begun.rollout.settings.plan));
    let mut told = String::new();
    loop {
        let missing = || WorkError::failed("not_found", format!("rollout {number} is gone"));
        let StoredRollout { rollout, .. } = task.store.rollout(number)?.ok_or_else(missing)?;
        let mark = rollout.mark();
        if mark != told {
            task.log.line(&format!("rollout {mark}"));
            task.progress(&format!("rollout {mark}"), 0, 0);
            told = mark;
        }
        match rollout.phase {
            Phase::Probation | Phase::Ended { end: End::Completed } => {
                return deployed(task, change, rollout.epoch, version.number);
            }
            Phase::Ended { end: End::RolledBack { why } } => {
                task.log.line(&why.reason);
                return Err(WorkError::failed(&why.code, why.reason));
            }
            Phase::Ended { end: End::Superseded { .. } } => return Err(overtaken(&change.endpoint)),
            _ => {}
        }
        if let Err(stopped) = task.pause(LOOK) {
            return Err(leave(shop, task, number).err().unwrap_or(stopped));
        }
    }
}

/// The attempt is asked to stop. A cancelled run takes its rollout back; an engine that only leaves does not: the next one
/// goes on.
fn leave(shop: &Workshop, task: &Task<'_>, number: RolloutNumber) -> Result<(), WorkError> {
    let run = task.store.run(task.run.number)?;
    let Some(RunState::Cancelling { by, reason }) = run.map(|run| run.state) else { return Ok(()) };
    let now = task.moments.now();
    // What has ended by now ends the same.
    let _ = task.store.command_rollout(number, Command::Abort, &by, &reason, now)?;
    if let Some(document) = task.store.routes()? {
        shop.routes.publish(&document)?;
    }
    Ok(())
}

/// The rollout that an earlier attempt of this round began: an engine that died in between left it to this one.
pub(super) fn of_this_round(task: &Task<'_>) -> Result<Option<StoredRollout>, WorkError> {
    let found = task.store.rollout_of(task.run.number, &task.plan.name)?;
    let first_began = task.run.step(&task.plan.name).and_then(|step| step.first_began);
    Ok(found.filter(|found| match (found.ended_steady, first_began) {
        (Some(ended), Some(began)) => ended >= began,
        _ => true,
    }))
}

/// The plan that was frozen with the run, or that of the project as it is now.
pub(super) fn stage_settings(
    shop: &Workshop,
    task: &Task<'_>,
    stage: &str,
) -> Result<Option<StageSettings>, WorkError> {
    let stages = if task.run.output("build").is_some() {
        shop.input::<BuildOutput>(task, "build")?.stages
    } else {
        let projects = task.store.projects()?;
        let project = projects.into_iter().find(|project| project.name == task.run.project);
        let project = project.ok_or_else(|| WorkError::failed("not_found", "the project is gone"))?;
        project_settings(Path::new(&project.folder))?.pipeline.stages
    };
    Ok(stages.into_iter().find(|planned| planned.name == stage))
}

/// Whether the version is the one that a rollout under way would go back to.
pub(super) fn returns(task: &Task<'_>, endpoint: &str, version: VersionNumber) -> Result<bool, WorkError> {
    let open = ListOptions { is_open: true, limit: ListOptions::LIMIT, ..ListOptions::default() };
    let rollouts = task.store.rollouts(&open)?;
    let here =
        rollouts.into_iter().map(|stored| stored.rollout).filter(|rollout| rollout.endpoint == endpoint);
    let stable = here.filter(|rollout| !rollout.is_promoted()).find_map(|rollout| rollout.stable);
    Ok(stable.is_some_and(|stable| stable.version == version))
}

/// The model that serves an endpoint now.
pub(super) fn serving(task: &Task<'_>, endpoint: &str) -> Result<Option<ModelRef>, WorkError> {
    let routes = task.store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let variants = endpoints.iter().filter(|found| found.name == endpoint).flat_map(|found| &found.variants);
    Ok(variants.max_by(|a, b| a.weight.total_cmp(&b.weight)).map(|variant| variant.model.clone()))
}

/// On how many of the new version's golden rows the version that serves chooses another class. Nothing is expected where
/// they do not take the same rows.
fn expected(shop: &Workshop, version: &ModelVersion, serving: Option<&ModelRef>) -> Expected {
    let bundles = serving
        .and_then(|serving| Some((shop.bundle(version.artifact).ok()?, shop.bundle(serving.artifact).ok()?)));
    bundles.map_or_else(Expected::default, |(new, old)| differences(&new, &old))
}

fn differences(new: &Bundle, old: &Bundle) -> Expected {
    if !new.card.schema.names().eq(old.card.schema.names()) {
        return Expected::default();
    }
    let mut probabilities = vec![0.0; old.predictor.n_classes];
    let disagreed = new.golden.rows.iter().filter(|row| {
        let values: Vec<f64> = row.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let chosen = old.predictor.predict_into(&values, &mut probabilities);
        old.card.classes.get(chosen) != new.card.classes.get(row.class)
    });
    Expected { disagreed: disagreed.count() as u64, rows: new.golden.rows.len() as u64 }
}
