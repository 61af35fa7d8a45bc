//! Pushes that a forge tells of. What is built is what the repository says itself, so a call only makes us look.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serin_core::secret;
use serin_core::trigger::hook::{self, HOOK_LIMIT_BYTES, Hook, HookError, HookSecret};
use utoipa::ToSchema;

use super::super::ask::{Plane, Refused, ask, missing};
use super::super::extract::Named;
use super::super::problem::{Code, Problem};
use super::with_settings;
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// For the body of a call to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What a call led to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Heard {
    /// Whether the repository is looked at now.
    looks: bool,
    /// Why not.
    reason: Option<String>,
}

/// Told by GitHub or GitLab, signed with the project's secret: look at the repository now.
#[utoipa::path(post, path = "/api/v1/projects/{project}/hooks/push", tag = "triggers",
    params(("project" = String, Path)), request_body(content = Vec<u8>, content_type = "application/json"),
    responses((status = 202, body = Heard), (status = 200, body = Heard)))]
pub async fn hear_push(
    State(control): Plane,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<(StatusCode, Json<Heard>), Problem> {
    let body = tokio::time::timeout(BODY_TIME, to_bytes(body, HOOK_LIMIT_BYTES)).await.map_err(|_| {
        let detail = format!("the body took more than {} s", BODY_TIME.as_secs());
        Problem::new(GatewayCode::RequestTimeout, detail)
    })?;
    let body = body.map_err(|_| refusal(&HookError::TooLarge))?;
    let heard = ask(&control, move |control| hear(control, &name, &headers, &body)).await?;
    let status = if heard.looks { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(heard)))
}

fn hear(control: &Control, name: &str, headers: &HeaderMap, body: &Bytes) -> Result<Heard, Refused> {
    let (project, settings) = with_settings(control, name)?;
    let Some(file) = &settings.triggers.webhook_secret_file else {
        return Err(missing("webhook of project", name).into());
    };
    let secret = hook_secret(file)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = hook::read(header, body, &secret).map_err(|error| refusal(&error))?;
    let ignored = |reason: String| Ok(Heard { looks: false, reason: Some(reason) });
    let branch = &settings.pipeline.source.branch;
    match told {
        Hook::Nothing { event } => ignored(format!("{event} means nothing here")),
        Hook::Push(push) if push.branch.as_str() != branch => {
            ignored(format!("branch {} is not built", push.branch.as_str()))
        }
        Hook::Push(_) if settings.pipeline.source.repository.is_none() || !settings.triggers.git => {
            ignored("the git trigger is off".to_owned())
        }
        Hook::Push(push) => {
            tracing::info!(project = project.name, repository = push.repository, "a push was told");
            if let Some(poker) = control.triggers.poker() {
                poker.repository_changed(&project.name);
            }
            Ok(Heard { looks: true, reason: None })
        }
    }
}

/// The secret in the file. What is wrong with it is not the caller's to know.
fn hook_secret(file: &Path) -> Result<HookSecret, Problem> {
    let unusable = |error: &dyn std::error::Error| {
        tracing::error!(error = %error, "the secret of a webhook cannot be used");
        Problem::new(GatewayCode::Internal, "the webhook's secret cannot be used; the log says why")
    };
    let secret = secret::read_text(file).map_err(|error| unusable(&error))?;
    HookSecret::new(secret.text().unwrap_or_default()).map_err(|error| unusable(&error))
}

fn refusal(error: &HookError) -> Problem {
    let detail = error.to_string();
    match error {
        HookError::Unsigned | HookError::Forged => Problem::new(Code::HookForged, detail),
        HookError::TooLarge => Problem::new(GatewayCode::BodyTooLarge, detail),
        HookError::Body { .. } => Problem::new(Code::InvalidBody, detail),
        HookError::WeakSecret => Problem::new(GatewayCode::Internal, detail),
    }
}
