//! The registry: versions, what is said of them, and who may serve.

use axum::extract::State;
use serde::Deserialize;
use serin_core::domain::{Cause, ModelVersion, RunKind, RunNumber, VersionNumber, VersionState};
use serin_core::pipeline::DeployRequest;
use serin_core::routes::RouteDocument;
use serin_core::store::ListOptions;
use utoipa::{IntoParams, ToSchema};

use super::super::ask::{Answer, Plane, Refused, answer, missing, name_of, reason_of};
use super::super::extract::{Body, Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use super::approvals::Verdict;
use super::{project, rollouts, stages, with_settings};
use crate::control::Control;

/// Longest alias or key of a tag, characters.
const WORD_CHARACTERS: usize = 100;
/// Longest value of a tag, characters.
const VALUE_CHARACTERS: usize = 1_000;
/// Most tags of a version.
const TAGS_LIMIT: usize = 50;

/// A person's word on a version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Word {
    verdict: Verdict,
    by: String,
    reason: String,
}

/// The value of a tag.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagValue {
    value: String,
    by: String,
}

/// What an alias points to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasTarget {
    version: u64,
    by: String,
}

/// Who removes something.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct By {
    /// Who asks.
    pub by: String,
}

/// Versions, latest first.
#[utoipa::path(get, path = "/api/v1/versions", tag = "versions", params(wire::Page),
    responses((status = 200, body = wire::List<wire::Version>)))]
pub async fn list_versions(
    State(control): Plane,
    Filter(page): Filter<wire::Page>,
) -> Answer<wire::List<wire::Version>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let versions = control.store.versions(&options)?;
        Ok(wire::List::of(versions, &options, |version| version.number.0, |version| (&version).into()))
    })
    .await
}

/// A version, and where it served.
#[utoipa::path(get, path = "/api/v1/versions/{version}", tag = "versions", params(("version" = u64, Path)),
    responses((status = 200, body = wire::Version)))]
pub async fn show_version(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Version> {
    answer(&control, move |control| {
        let version = found(control, number)?;
        let periods = control.store.served_periods(version.number)?;
        let served = periods.into_iter().map(wire::Period::from).collect();
        Ok(wire::Version { served: Some(served), ..(&version).into() })
    })
    .await
}

/// The version of this number.
pub fn found(control: &Control, number: u64) -> Result<ModelVersion, Refused> {
    control.store.version(VersionNumber(number))?.ok_or_else(|| missing("version", number).into())
}

/// Approve or reject a version. When a rejected one serves a stage that asks for approval, the latest approved other one
/// is brought back there.
#[utoipa::path(post, path = "/api/v1/versions/{version}/decision", tag = "versions",
    params(("version" = u64, Path)), request_body = Word, responses((status = 200, body = wire::Decided)))]
pub async fn decide_version(
    State(control): Plane,
    Named(number): Named<u64>,
    Body(word): Body<Word>,
) -> Answer<wire::Decided> {
    let (by, reason) = (name_of(&word.by)?, reason_of(Some(&word.reason), None)?);
    answer(&control, move |control| {
        let version = found(control, number)?;
        let now = control.moments.now();
        let state = match word.verdict {
            Verdict::Approve => {
                check_approval(control, &version, &by)?;
                VersionState::Approved { by: by.clone(), reason: reason.clone(), time: now.wall }
            }
            Verdict::Reject => {
                VersionState::Rejected { by: by.clone(), reason: reason.clone(), time: now.wall }
            }
        };
        let set = control.store.set_version_state(version.number, &state, now)?;
        set.ok_or_else(|| missing("version", number))?;
        let rollbacks = match word.verdict {
            Verdict::Approve => Vec::new(),
            Verdict::Reject => bring_back(control, &version, &by, &reason)?,
        };
        Ok(wire::Decided { version: (&found(control, number)?).into(), rollbacks })
    })
    .await
}

/// An approval here is held to the rule of four eyes as one that a run asks for.
fn check_approval(control: &Control, version: &ModelVersion, by: &str) -> Result<(), Refused> {
    let number = version.number;
    if matches!(version.state, VersionState::Approved { .. }) {
        let detail = format!("version {number} is approved already");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let (_, settings) = with_settings(control, &version.project)?;
    let needs_four_eyes = settings.pipeline.stages.iter().any(|stage| stage.approval && stage.four_eyes);
    let asked_by = match control.store.run(version.run)?.map(|run| run.cause) {
        Some(Cause::Asked { by }) => Some(by),
        _ => None,
    };
    if needs_four_eyes && asked_by.as_deref() == Some(by) {
        let detail = format!("{by} asked for the run of version {number}: another person must approve it");
        return Err(Problem::new(Code::FourEyes, detail).into());
    }
    Ok(())
}

/// Asks for the latest approved version wherever the rejected one serves and a person is asked before.
fn bring_back(
    control: &Control,
    rejected: &ModelVersion,
    by: &str,
    reason: &str,
) -> Result<Vec<wire::Rollback>, Refused> {
    let name = &rejected.project;
    let routes = control.store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    let mut rollbacks = Vec::new();
    for stage in endpoints.iter().filter(|endpoint| endpoint.project == *name).map(|endpoint| &endpoint.stage)
    {
        // On its way to take over, or just there: the version before is warm.
        if let Some(rollout) = rollouts::of_stage(control, name, stage)?
            && rollout.rollout.canary.version == rejected.number
            && rollouts::return_at_once(control, &rollout, None, by, reason)?
        {
            rollbacks.push(wire::Rollback {
                stage: stage.clone(),
                version: rollout.rollout.stable.as_ref().map(|stable| stable.version.0),
                outcome: wire::Outcome::returned(rollout.rollout.number.0),
            });
        }
    }
    let is_back = |stage: &str| rollbacks.iter().any(|rollback| rollback.stage == stage);
    let serves = endpoints.iter().filter(|endpoint| {
        let mut serving = endpoint.variants.iter().filter(|variant| variant.weight > 0.0);
        endpoint.project == *name
            && !is_back(&endpoint.stage)
            && serving.any(|variant| variant.model.number == rejected.number)
    });
    // While the settings cannot be read, every stage is taken for one that asks.
    let settings = with_settings(control, name).ok().map(|(_, settings)| settings);
    let asks = |stage: &str| {
        let stages = settings.as_ref().map(|settings| &settings.pipeline.stages);
        stages.is_none_or(|stages| stages.iter().any(|known| known.name == stage && known.approval))
    };
    let stages: Vec<&str> =
        serves.map(|endpoint| endpoint.stage.as_str()).filter(|stage| asks(stage)).collect();
    if stages.is_empty() {
        return Ok(rollbacks);
    }
    let other = latest_approved(control, name, rejected.number)?;
    for stage in stages {
        let outcome = match other {
            Some(version) => {
                let reason = format!("version {} was rejected: {reason}", rejected.number);
                let request = DeployRequest { stage: stage.to_owned(), version, reason };
                match open_rollback(control, name, &request)? {
                    Some(run) => wire::Outcome {
                        outcome: "same",
                        run: Some(run.0),
                        rollout: None,
                        rule: None,
                        reason: None,
                    },
                    None => stages::leave(control, name, RunKind::Rollback, &request, by)?,
                }
            }
            None => wire::Outcome::refused("nothing-approved", "no other version is approved"),
        };
        rollbacks.push(wire::Rollback {
            stage: stage.to_owned(),
            version: other.map(|version| version.0),
            outcome,
        });
    }
    Ok(rollbacks)
}

/// The approved version of the highest number besides `not`.
fn latest_approved(
    control: &Control,
    project: &str,
    not: VersionNumber,
) -> Result<Option<VersionNumber>, Refused> {
    let mut options = ListOptions {
        project: Some(project.to_owned()),
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    loop {
        let versions = control.store.versions(&options)?;
        let is_approved = |version: &&ModelVersion| {
            version.number != not && matches!(version.state, VersionState::Approved { .. })
        };
        if let Some(version) = versions.iter().find(is_approved) {
            return Ok(Some(version.number));
        }
        match versions.last() {
            Some(last) => options.before = Some(last.number.0),
            None => return Ok(None),
        }
    }
}

/// A rollback to the same version that is on its way.
fn open_rollback(
    control: &Control,
    project: &str,
    wanted: &DeployRequest,
) -> Result<Option<RunNumber>, Refused> {
    let is_same = |request: DeployRequest| request.stage == wanted.stage && request.version == wanted.version;
    let runs = control.store.open_runs()?;
    let found = runs.iter().find(|run| {
        run.project == project
            && run.kind == RunKind::Rollback
            && serde_json::from_value(run.request.clone()).is_ok_and(is_same)
    });
    Ok(found.map(|run| run.number))
}

/// Set a tag of a version.
#[utoipa::path(put, path = "/api/v1/versions/{version}/tags/{key}", tag = "versions",
    params(("version" = u64, Path), ("key" = String, Path)), request_body = TagValue,
    responses((status = 200, body = wire::Version)))]
pub async fn set_tag(
    State(control): Plane,
    Named((number, key)): Named<(u64, String)>,
    Body(tag): Body<TagValue>,
) -> Answer<wire::Version> {
    check_word("a tag's key", &key)?;
    if tag.value.chars().count() > VALUE_CHARACTERS || tag.value.chars().any(char::is_control) {
        let detail = format!("a tag's value is one line of at most {VALUE_CHARACTERS} characters");
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    let by = name_of(&tag.by)?;
    answer(&control, move |control| {
        let version = found(control, number)?;
        if !version.tags.contains_key(&key) && version.tags.len() >= TAGS_LIMIT {
            let detail = format!("version {number} has {TAGS_LIMIT} tags, which is the limit");
            return Err(Problem::new(Code::Conflict, detail).into());
        }
        write_tag(control, number, &key, Some(&tag.value), &by)
    })
    .await
}

/// Remove a tag of a version.
#[utoipa::path(delete, path = "/api/v1/versions/{version}/tags/{key}", tag = "versions",
    params(("version" = u64, Path), ("key" = String, Path), By), responses((status = 200, body = wire::Version)))]
pub async fn remove_tag(
    State(control): Plane,
    Named((number, key)): Named<(u64, String)>,
    Filter(who): Filter<By>,
) -> Answer<wire::Version> {
    let by = name_of(&who.by)?;
    answer(&control, move |control| {
        if !found(control, number)?.tags.contains_key(&key) {
            return Err(missing("tag", key).into());
        }
        write_tag(control, number, &key, None, &by)
    })
    .await
}

fn write_tag(
    control: &Control,
    number: u64,
    key: &str,
    value: Option<&str>,
    by: &str,
) -> Result<wire::Version, Refused> {
    let set = control.store.set_tag(VersionNumber(number), key, value, by, control.moments.now())?;
    set.ok_or_else(|| missing("version", number))?;
    Ok((&found(control, number)?).into())
}

/// Point an alias of a project to one of its versions.
#[utoipa::path(put, path = "/api/v1/projects/{project}/aliases/{alias}", tag = "versions",
    params(("project" = String, Path), ("alias" = String, Path)), request_body = AliasTarget,
    responses((status = 200, body = wire::Version)))]
pub async fn set_alias(
    State(control): Plane,
    Named((name, alias)): Named<(String, String)>,
    Body(target): Body<AliasTarget>,
) -> Answer<wire::Version> {
    check_word("an alias", &alias)?;
    let by = name_of(&target.by)?;
    answer(&control, move |control| {
        project(control, &name)?;
        let number = VersionNumber(target.version);
        control.store.set_alias(&name, &alias, Some(number), &by, control.moments.now())?;
        Ok((&found(control, target.version)?).into())
    })
    .await
}

/// Remove an alias; the answer is the version it pointed to.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/aliases/{alias}", tag = "versions",
    params(("project" = String, Path), ("alias" = String, Path), By),
    responses((status = 200, body = wire::Version)))]
pub async fn remove_alias(
    State(control): Plane,
    Named((name, alias)): Named<(String, String)>,
    Filter(who): Filter<By>,
) -> Answer<wire::Version> {
    let by = name_of(&who.by)?;
    answer(&control, move |control| {
        project(control, &name)?;
        let version = control.store.aliased(&name, &alias)?;
        let version = version.ok_or_else(|| missing("alias", &alias))?;
        control.store.set_alias(&name, &alias, None, &by, control.moments.now())?;
        Ok((&found(control, version.number.0)?).into())
    })
    .await
}

/// A word that people type, and that stands in addresses.
fn check_word(what: &str, word: &str) -> Result<(), Problem> {
    let is_typed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
    if (1..=WORD_CHARACTERS).contains(&word.chars().count()) && word.chars().all(is_typed) {
        return Ok(());
    }
    let detail = format!("{what} is 1 to {WORD_CHARACTERS} letters, digits, and - _ . : @");
    Err(Problem::new(Code::InvalidBody, detail))
}
