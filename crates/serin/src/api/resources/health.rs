//! Whether the control plane lives and works.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::ask::{Answer, Plane, answer};
use super::super::problem::{Code, Problem};

/// It is there.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Live {
    live: bool,
    /// Of this program.
    version: &'static str,
}

/// It works.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
}

/// Whether anything answers.
#[utoipa::path(get, path = "/api/v1/health/live", tag = "health", responses((status = 200, body = Live)))]
pub async fn live() -> Json<Live> {
    Json(Live { live: true, version: env!("CARGO_PKG_VERSION") })
}

/// Whether the database can be read and an engine carries runs on.
#[utoipa::path(get, path = "/api/v1/health/ready", tag = "health", responses((status = 200, body = Ready)))]
pub async fn ready(State(control): Plane) -> Answer<Ready> {
    answer(&control, |control| {
        control.store.reign()?;
        let status = control.engine.status();
        match (status.epoch, status.problem) {
            (Some(_), None) => Ok(Ready { ready: true }),
            (Some(_), Some(problem)) => Err(Problem::new(Code::NotReady, problem).into()),
            (None, _) => Err(Problem::new(Code::NotReady, "the engine does not reign yet").into()),
        }
    })
    .await
}
