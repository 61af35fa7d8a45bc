//! What steps said while they worked, attempt after attempt in the order in which they began.
//!
//! An offset says in which attempt and where in its log: attempts only come behind, and logs only grow, so it stays right
//! while the run goes on.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serin_core::domain::{Attempt, Run, StepState};
use serin_core::engine::read_log;
use utoipa::IntoParams;

use super::super::ask::{Plane, Refused, ask, missing};
use super::super::extract::{Filter, Named};
use super::super::problem::Problem;
use super::runs::found;
use super::{FOLLOW_LIMIT, FOLLOW_PAUSE};
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Where to go on.
const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-serin-next-offset");
/// Nothing more follows.
const LOG_END: HeaderName = HeaderName::from_static("x-serin-log-end");

/// About as much of a log as one answer brings.
const PART_BYTES: usize = 256 << 10;
/// Bits of an offset that say where in the log of one attempt; a log has a few MiB.
const PLACE_BITS: u32 = 32;

/// Which logs.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Of this step only; else each line begins with the name of its step.
    step: Option<String>,
    /// Of this attempt only, from 1; needs `step`.
    attempt: Option<u32>,
    /// As the last answer said in `x-serin-next-offset`.
    offset: Option<u64>,
    /// Wait for more when there is none.
    follow: Option<bool>,
}

/// A part of the logs of a run.
struct Part {
    text: String,
    next_offset: u64,
    is_end: bool,
}

/// What a run's steps said. The header `x-serin-next-offset` says where to go on, `x-serin-log-end` that nothing follows.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", tag = "runs", params(("run" = u64, Path), Which),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn read_logs(
    State(control): Plane,
    Named(number): Named<u64>,
    Filter(which): Filter<Which>,
) -> Result<(HeaderMap, String), Problem> {
    if which.attempt.is_some() && which.step.is_none() {
        return Err(Problem::new(GatewayCode::InvalidQuery, "`attempt` needs `step`"));
    }
    let until = control.moments.monotonic() + FOLLOW_LIMIT;
    loop {
        let wanted = which.clone();
        let part = ask(&control, move |control| read(control, number, &wanted)).await?;
        let may_wait = which.follow.unwrap_or(false) && part.text.is_empty() && !part.is_end;
        if !may_wait || control.moments.monotonic() >= until {
            return Ok((headers(&part), part.text));
        }
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

fn headers(part: &Part) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (NEXT_OFFSET, HeaderValue::from(part.next_offset)),
    ]);
    if part.is_end {
        headers.insert(LOG_END, HeaderValue::from_static("true"));
    }
    headers
}

fn read(control: &Control, number: u64, which: &Which) -> Result<Part, Refused> {
    let run = found(control, number)?;
    if let Some(name) = which.step.as_deref().filter(|name| run.step(name).is_none()) {
        return Err(missing("step", name).into());
    }
    let attempts = control.store.attempts(run.number)?;
    let is_wanted = |attempt: &&Attempt| {
        which.step.as_ref().is_none_or(|step| attempt.step == *step)
            && which.attempt.is_none_or(|number| attempt.number == number)
    };
    let attempts: Vec<&Attempt> = attempts.iter().filter(is_wanted).collect();
    let offset = which.offset.unwrap_or(0);
    let (mut index, mut place) = ((offset >> PLACE_BITS) as usize, offset & ((1 << PLACE_BITS) - 1));
    let mut text = String::new();
    while let Some(attempt) = attempts.get(index).filter(|_| text.len() < PART_BYTES) {
        let (directory, limit) = (&control.data_directory, PART_BYTES - text.len());
        let part = read_log(directory, run.number, &attempt.step, attempt.number, place, limit);
        let part = part.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a log cannot be read");
            Problem::new(GatewayCode::Internal, "the log cannot be read; the log of the server says why")
        })?;
        place = part.next_offset;
        if which.step.is_some() {
            text.push_str(&part.text);
        } else {
            part.text.lines().for_each(|line| text.extend([&attempt.step, " ", line, "\n"]));
        }
        if part.text.is_empty() {
            if attempt.ended.is_none() {
                break;
            }
            (index, place) = (index + 1, 0);
        }
    }
    let is_end = index >= attempts.len() && is_over(&run, which);
    Ok(Part { text, next_offset: ((index as u64) << PLACE_BITS) | place, is_end })
}

/// Whether no attempt comes behind.
fn is_over(run: &Run, which: &Which) -> bool {
    let step = which.step.as_ref().and_then(|name| run.step(name));
    let is_done = step.is_some_and(|step| {
        matches!(step.state, StepState::Succeeded { .. } | StepState::Failed { .. } | StepState::Cancelled)
    });
    let is_begun = which.attempt.is_some_and(|number| step.is_some_and(|step| step.attempts >= number));
    run.state.is_final() || is_done || is_begun
}
