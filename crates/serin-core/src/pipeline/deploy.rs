//! `deploy`: a stage serves another version. A new one takes over by a rollout, which the step begins and waits for; going
//! back, or bringing what serves already, is one document of routes. A gateway that refuses leaves the stage as it was.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::apart;
use super::documents::{BuildOutput, DeployOutput, ServedVariant, SourceOutput};
use super::http;
use super::rollout;
use super::shape::WORK_VERSION;
use super::workshop::{Workshop, deploy_request, is_last_attempt};
use crate::causes::in_one_line;
use crate::config::{ONLY_VARIANT, ReplicaRuntimeKind};
use crate::domain::{
    Approval, ApprovalState, Cause, Epoch, ModelVersion, RunKind, VersionNumber, VersionState,
};
use crate::engine::{Task, Work, WorkError};
use crate::rollout::CANARY_VARIANT;
use crate::routes::{RouteDocument, RoutedServing, RoutesError};
use crate::store::{ListOptions, RouteChange, StepEnd, Store};

/// How long a gateway may take to follow.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked whether it did.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Deploy(pub(super) Arc<Workshop>);

/// What a gateway says of the routes it follows.
#[derive(Debug, Deserialize)]
struct Followed {
    epoch: Option<u64>,
    refused: Option<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    epoch: Option<u64>,
    reason: String,
}

impl Work for Deploy {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let stage = task.argument();
        let version = shop.version(task)?;
        check(shop, &version)?;
        let endpoint = endpoint(task.store, &task.run.project, stage)?;
        let (by, reason) = answers_for(shop, task, stage, &version)?;
        let change = RouteChange {
            project: task.run.project.clone(),
            stage: stage.to_owned(),
            endpoint,
            variants: vec![(ONLY_VARIANT.to_owned(), 1.0, version.number)],
            is_return: task.run.kind == RunKind::Rollback,
            by,
            reason,
            part: "deploy",
        };
        let answers = answering(shop, task, stage, &version)?;
        task.store.set_serving(task.hold, &change.endpoint, version.number, answers.as_ref())?;
        let serving = rollout::serving(task, &change.endpoint)?;
        let is_same = serving.as_ref().is_some_and(|model| model.bundle == version.bundle);
        // What an earlier attempt of this round began goes on, however its version serves by now.
        let is_begun = !change.is_return && rollout::of_this_round(task)?.is_some();
        let is_return = change.is_return || rollout::returns(task, &change.endpoint, version.number)?;
        let deployed = match !is_begun && (is_return || is_same) {
            true => at_once(shop, task, &version, &change)?,
            false => rollout::roll_out(shop, task, &version, &change, serving.as_ref())?,
        };
        let output = shop.put(deployed)?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}

/// Who answers for the version at the stage: as many replicas as the stage wants, of what the version was made with.
fn answering(
    shop: &Workshop,
    task: &Task<'_>,
    stage: &str,
    version: &ModelVersion,
) -> Result<Option<RoutedServing>, WorkError> {
    let mut replicas =
        rollout::stage_settings(shop, task, stage)?.map(|stage| stage.replicas).unwrap_or_default();
    let made = task.store.run(version.run)?;
    let output = |step: &str| made.as_ref().and_then(|run| run.output(step));
    let program = match output("build") {
        Some(build) => shop.get::<BuildOutput>(build)?.serve,
        None => None,
    };
    let is_image = program.as_ref().is_some_and(|program| program.image.is_some());
    if let Some(program) = &program {
        replicas.memory_limit_bytes = program.memory_limit_bytes;
        replicas.start_limit = program.time_limit;
        // Whatever is not Serin's own cannot answer within the gateway.
        replicas.runtime = if is_image { ReplicaRuntimeKind::Container } else { ReplicaRuntimeKind::Process };
    }
    let is_plain = replicas.runtime == ReplicaRuntimeKind::InProcess && replicas.scaling.min > 0;
    let code = match output("source").filter(|_| program.is_some() && !is_image) {
        Some(source) => Some(shop.get::<SourceOutput>(source)?.tree),
        None => None,
    };
    let files = if program.is_some() { apart::files(shop, version.artifact)? } else { None };
    Ok((!is_plain).then_some(RoutedServing { replicas, program, code, files }))
}

/// All requests go to the version as soon as the gateway follows.
fn at_once(
    shop: &Workshop,
    task: &Task<'_>,
    version: &ModelVersion,
    change: &RouteChange,
) -> Result<DeployOutput, WorkError> {
    let document = task.store.change_routes(task.hold, change, task.moments.now())?;
    let deployed = deployed(task, change, document.epoch(), version.number)?;
    task.log.line(&format!(
        "routes {} say: {} serves version {}",
        document.epoch(),
        deployed.endpoint,
        version.number
    ));
    shop.routes.publish(&document)?;
    match follow(shop, task, document.epoch()) {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => {
            let said = format!("the gateway refused version {}: {reason}", version.number);
            go_back(shop, task, &deployed, &said, Blame::Version)?;
            return Err(WorkError::failed("gateway_refused", reason));
        }
        Err(error) => {
            // What no gateway took up is not left for one that comes later.
            if error == WorkError::Stopped || is_last_attempt(task) {
                let said = format!("version {} did not come to serve: {error}", version.number);
                go_back(shop, task, &deployed, &said, Blame::Nobody)?;
            }
            return Err(error);
        }
    }
    Ok(DeployOutput { applied: task.moments.now().wall, ..deployed })
}

/// What the step leaves behind once `version` serves.
pub(super) fn deployed(
    task: &Task<'_>,
    change: &RouteChange,
    epoch: Epoch,
    version: VersionNumber,
) -> Result<DeployOutput, WorkError> {
    let mut previous = task.store.served_before(task.run.number, &change.endpoint)?;
    // A version that was still on trial is nothing to go back to.
    if previous.iter().any(|(name, _, _)| name != CANARY_VARIANT) {
        previous.retain(|(name, _, _)| name != CANARY_VARIANT);
        previous.iter_mut().for_each(|(_, weight, _)| *weight = 1.0);
    }
    Ok(DeployOutput {
        stage: change.stage.clone(),
        endpoint: change.endpoint.clone(),
        epoch: epoch.0,
        versions: vec![version],
        previous: previous
            .into_iter()
            .map(|(name, weight, version)| ServedVariant { name, weight, version })
            .collect(),
        applied: task.moments.now().wall,
    })
}

/// The version is what was registered, answers its golden rows, and nobody rejected it.
fn check(shop: &Workshop, version: &ModelVersion) -> Result<(), WorkError> {
    if let VersionState::Rejected { by, reason, .. } = &version.state {
        let reason = format!("version {} was rejected by {by}: {reason}", version.number);
        return Err(WorkError::failed("rejected", reason));
    }
    let bundle = shop.bundle(version.artifact)?;
    if bundle.digest() != version.bundle {
        let reason = format!("the bundle of version {} is not the one that was registered", version.number);
        return Err(WorkError::failed("digest_mismatch", reason));
    }
    Ok(())
}

/// The name of a stage's endpoint: what it is called already; else the stage's name for an only project, and
/// `<project>-<stage>` for one of several.
///
/// # Errors
/// When the store cannot be asked.
pub fn endpoint(store: &dyn Store, project: &str, stage: &str) -> Result<String, WorkError> {
    let routes = store.routes()?;
    let endpoints = routes.as_ref().map(RouteDocument::endpoints).unwrap_or_default();
    if let Some(found) = endpoints.iter().find(|found| found.project == project && found.stage == stage) {
        return Ok(found.name.clone());
    }
    let is_only = store.projects()?.len() <= 1 && !endpoints.iter().any(|other| other.name == stage);
    Ok(if is_only { stage.to_owned() } else { format!("{project}-{stage}") })
}

/// Who answers for a deployment, and why it is made.
fn answers_for(
    shop: &Workshop,
    task: &Task<'_>,
    stage: &str,
    version: &ModelVersion,
) -> Result<(Option<String>, String), WorkError> {
    let asked_by = match &task.run.cause {
        Cause::Asked { by } => Some(by.clone()),
        _ => None,
    };
    if task.run.kind != RunKind::Train {
        return Ok((asked_by, deploy_request(task.run)?.reason));
    }
    let approve = format!("approve-{stage}");
    if task.run.pipeline.step(&approve).is_none() && !asks(shop, task, stage)? {
        return Ok((asked_by, format!("run {}: {}", task.run.number, task.run.cause)));
    }
    // The step waited for it; that the answer is about this very bundle is looked at once more.
    let list = ListOptions {
        project: Some(task.run.project.clone()),
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    let approvals = task.store.approvals(&list)?;
    let of_this = |approval: &&Approval| {
        approval.run == task.run.number
            && approval.subject.stage == stage
            && approval.subject.bundle == version.artifact
    };
    match approvals.iter().find(of_this).map(|approval| &approval.state) {
        Some(ApprovalState::Approved { by, reason, .. }) => Ok((Some(by.clone()), reason.clone())),
        _ => {
            let reason = format!("nobody approved version {} for {stage} in this run", version.number);
            Err(WorkError::failed("not_approved", reason))
        }
    }
}

/// Whether the plan's stage asks a person.
fn asks(shop: &Workshop, task: &Task<'_>, stage: &str) -> Result<bool, WorkError> {
    let build: BuildOutput = shop.input(task, "build")?;
    Ok(build.stages.iter().any(|planned| planned.name == stage && planned.approval))
}

/// Waits until the gateway serves routes of `epoch` or later. The inner error is the gateway's reason not to.
fn follow(shop: &Workshop, task: &Task<'_>, epoch: Epoch) -> Result<Result<(), String>, WorkError> {
    let until = task.moments.monotonic() + FOLLOW_LIMIT;
    loop {
        let asked = shop.gateway().and_then(|gateway| {
            let said = http::get(&format!("{}/routes", gateway.admin));
            said.map_err(|error| WorkError::passing("gateway_unreachable", error))
        });
        let problem = match asked {
            Ok(text) => match serde_json::from_str::<Followed>(&text) {
                Ok(Followed { epoch: Some(now), .. }) if now >= epoch.0 => return Ok(Ok(())),
                Ok(Followed { refused: Some(Refused { epoch: Some(now), reason }), .. })
                    if now >= epoch.0 =>
                {
                    return Ok(Err(reason));
                }
                Ok(_) => WorkError::passing("gateway_slow", "the gateway does not follow the new routes"),
                Err(error) => {
                    WorkError::failed("gateway", format!("the gateway's answer cannot be read: {error}"))
                }
            },
            Err(error) => error,
        };
        if task.moments.monotonic() >= until {
            return Err(problem);
        }
        task.pause(FOLLOW_PAUSE)?;
    }
}

/// Whether the version is to blame for going back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Version,
    /// It is not known to be bad.
    Nobody,
}

/// What served before serves again. A version that is to blame is rejected: it gets no request without a new approval.
pub(super) fn go_back(
    shop: &Workshop,
    task: &Task<'_>,
    deployed: &DeployOutput,
    reason: &str,
    blame: Blame,
) -> Result<(), WorkError> {
    let variants: Vec<(String, f64, VersionNumber)> = deployed
        .previous
        .iter()
        .map(|variant| (variant.name.clone(), variant.weight, variant.version))
        .collect();
    let change = RouteChange {
        project: task.run.project.clone(),
        stage: deployed.stage.clone(),
        endpoint: deployed.endpoint.clone(),
        variants,
        is_return: true,
        by: Some("the pipeline".to_owned()),
        reason: reason.to_owned(),
        part: "return",
    };
    let now = task.moments.now();
    let document = task.store.change_routes(task.hold, &change, now)?;
    shop.routes.publish(&document)?;
    // Going back to a version is not a judgement of it.
    let rejected = blame == Blame::Version && task.run.kind != RunKind::Rollback;
    for number in deployed.versions.iter().filter(|_| rejected) {
        let state = VersionState::Rejected {
            by: "the pipeline".to_owned(),
            reason: reason.to_owned(),
            time: now.wall,
        };
        task.store.set_version_state(*number, &state, now)?;
    }
    let now_serves = match deployed.previous.first() {
        Some(variant) => format!("version {} serves again", variant.version),
        None => "nothing serves there now".to_owned(),
    };
    task.log.line(&format!("{reason}; {now_serves}"));
    Ok(())
}

impl From<RoutesError> for WorkError {
    fn from(error: RoutesError) -> Self {
        Self::passing("routes", in_one_line(&error))
    }
}
