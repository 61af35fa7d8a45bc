//! What asks for runs by itself.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serin_core::config::Settings;
use serin_core::domain::Cause;
use serin_core::pipeline::{Asked, project_settings};
use serin_core::source::git::Location;
use serin_core::store::{AlarmNews, AlarmState};
use serin_core::trigger::{ALARM, DATA, GIT, SCHEDULE, UPLOAD};
use utoipa::ToSchema;

use super::super::ask::{Answer, Plane, Refused, answer, ask, missing, name_of, reason_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::endpoints::OfProject;
use super::runs::{leave, status_of};
use super::{project, with_settings};
use crate::control::Control;

/// Longest name or key of an alarm, characters.
const ALARM_CHARACTERS: usize = 200;

/// Who pauses or resumes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Who {
    by: String,
}

/// Something that is not as it should be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Such as `drift`.
    name: String,
    /// Two alarms of one name and key are one.
    key: Option<String>,
    /// `ALARM` when it is not said. Any other state asks for no run; rollouts that listen to the alarm go on with `OK`.
    #[schema(value_type = Option<String>)]
    state: Option<AlarmState>,
    reason: Option<String>,
}

/// Triggers of all projects.
#[utoipa::path(get, path = "/api/v1/triggers", tag = "triggers", params(OfProject),
    responses((status = 200, body = wire::List<wire::Trigger>)))]
pub async fn list_triggers(
    State(control): Plane,
    Filter(wanted): Filter<OfProject>,
) -> Answer<wire::List<wire::Trigger>> {
    answer(&control, move |control| {
        let mut triggers = Vec::new();
        for project in control.store.projects()? {
            if wanted.project.as_ref().is_none_or(|name| project.name == *name) {
                let settings = project_settings(Path::new(&project.folder)).ok();
                triggers.extend(of(control, &project.name, settings.as_ref())?);
            }
        }
        Ok(wire::List::whole(triggers))
    })
    .await
}

/// The triggers of a project; without settings none is on.
pub fn of(
    control: &Control,
    project: &str,
    settings: Option<&Settings>,
) -> Result<Vec<wire::Trigger>, Refused> {
    let records = control.store.triggers()?;
    let triggers = [GIT, DATA, UPLOAD, SCHEDULE, ALARM].map(|name| {
        let record = records.iter().find(|record| record.project == project && record.name == name);
        let (enabled, text) = settings.map_or_else(
            || (false, "the settings cannot be read".to_owned()),
            |settings| told(settings, name),
        );
        wire::Trigger {
            project: project.to_owned(),
            name,
            enabled,
            paused: record.is_some_and(|record| record.is_paused),
            text,
            last: record.and_then(|record| record.state.as_ref()).map(wire::TriggerLast::from),
        }
    });
    Ok(triggers.into())
}

/// Whether the settings have a trigger on, and what it looks at.
fn told(settings: &Settings, name: &str) -> (bool, String) {
    let triggers = &settings.triggers;
    let source = &settings.pipeline.source;
    let off = |key: &str| (false, format!("off: {key} is not set"));
    match name {
        GIT => match &source.repository {
            None => off("source.repository"),
            Some(repository) => {
                let every = triggers.git_poll.as_secs_f64();
                let text = format!("branch {} of {}, every {every} s", source.branch, shown(repository));
                (triggers.git, text)
            }
        },
        DATA if triggers.watch.is_empty() => off("triggers.data.watch"),
        DATA => (true, format!("{}, every {} s", paths(&triggers.watch), triggers.watch_poll.as_secs_f64())),
        UPLOAD => match &triggers.upload_folder {
            None => off("triggers.upload.folder"),
            Some(folder) => (true, format!("archives dropped into {}", folder.display())),
        },
        SCHEDULE => match &triggers.schedule {
            None => (false, "off: triggers.schedule.enabled is false".to_owned()),
            Some((cron, zone)) => (true, format!("{cron} ({zone})")),
        },
        _ => (triggers.alarm, "alarms by name".to_owned()),
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where a repository is. A URL that is not acceptable may hold a password.
fn shown(repository: &str) -> &str {
    let is_url = repository.contains("://") || repository.contains('@');
    if is_url && Location::new(repository).is_err() { "a location that cannot be used" } else { repository }
}

/// Do not let a trigger ask for runs.
#[utoipa::path(post, path = "/api/v1/projects/{project}/triggers/{trigger}/pause", tag = "triggers",
    params(("project" = String, Path), ("trigger" = String, Path)), request_body = Who,
    responses((status = 200, body = wire::Trigger)))]
pub async fn pause_trigger(
    State(control): Plane,
    Named((project, trigger)): Named<(String, String)>,
    Body(who): Body<Who>,
) -> Answer<wire::Trigger> {
    let by = name_of(&who.by)?;
    answer(&control, move |control| set_paused(control, &project, &trigger, true, &by)).await
}

/// Let a trigger ask for runs again.
#[utoipa::path(post, path = "/api/v1/projects/{project}/triggers/{trigger}/resume", tag = "triggers",
    params(("project" = String, Path), ("trigger" = String, Path)), request_body = Who,
    responses((status = 200, body = wire::Trigger)))]
pub async fn resume_trigger(
    State(control): Plane,
    Named((project, trigger)): Named<(String, String)>,
    Body(who): Body<Who>,
) -> Answer<wire::Trigger> {
    let by = name_of(&who.by)?;
    answer(&control, move |control| set_paused(control, &project, &trigger, false, &by)).await
}

fn set_paused(
    control: &Control,
    name: &str,
    trigger: &str,
    is_paused: bool,
    by: &str,
) -> Result<wire::Trigger, Refused> {
    let project = project(control, name)?;
    let settings = project_settings(Path::new(&project.folder)).ok();
    let of_project = || of(control, name, settings.as_ref());
    let is_found = |found: &wire::Trigger| found.name == trigger;
    let found = of_project()?.into_iter().find(is_found).ok_or_else(|| missing("trigger", trigger))?;
    if found.paused != is_paused {
        control.store.pause_trigger(name, trigger, is_paused, by, control.moments.now())?;
    }
    of_project()?.into_iter().find(is_found).ok_or_else(|| missing("trigger", trigger).into())
}

/// Raise an alarm: a run is wanted because of it.
#[utoipa::path(post, path = "/api/v1/projects/{project}/alarms", tag = "triggers",
    params(("project" = String, Path)), request_body = Alarm,
    responses((status = 201, body = wire::Outcome), (status = 200, body = wire::Outcome)))]
pub async fn raise_alarm(
    State(control): Plane,
    Named(name): Named<String>,
    Body(alarm): Body<Alarm>,
) -> Result<(StatusCode, Json<wire::Outcome>), Problem> {
    for text in [Some(&alarm.name), alarm.key.as_ref()].into_iter().flatten() {
        let count = text.chars().count();
        if !(1..=ALARM_CHARACTERS).contains(&count) || text.chars().any(char::is_control) {
            let detail =
                format!("name and key of an alarm are one line of 1 to {ALARM_CHARACTERS} characters");
            return Err(Problem::new(Code::InvalidBody, detail));
        }
    }
    let reason = reason_of(alarm.reason.as_deref(), Some("no reason was given"))?;
    let state = alarm.state.unwrap_or(AlarmState::Alarm);
    let outcome = ask(&control, move |control| {
        let (project, settings) = with_settings(control, &name)?;
        let news = AlarmNews { name: alarm.name.clone(), state, reason: reason.clone(), advice: None };
        control.store.set_alarm(&project.name, &news, control.moments.now())?;
        if state != AlarmState::Alarm {
            return Ok(wire::Outcome::refused("state", "the alarm is not on; its state was kept"));
        }
        let is_paused = control.store.trigger(&project.name, ALARM)?.is_some_and(|record| record.is_paused);
        if !settings.triggers.alarm || is_paused {
            let (rule, why) = if is_paused { ("paused", "paused") } else { ("off", "off by the settings") };
            return Ok(wire::Outcome::refused(rule, format!("the alarm trigger is {why}")));
        }
        let key = alarm.key.map(|key| format!("{ALARM}:{}:{key}", alarm.name));
        let cause = Cause::Alarm { name: alarm.name };
        leave(control, &settings, Asked { key, ..Asked::plain(&project.name, cause) })
    })
    .await?;
    Ok((status_of(&outcome), Json(outcome)))
}
