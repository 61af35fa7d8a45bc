//! History, as it happens.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serin_core::domain::RunNumber;
use serin_core::store::ListOptions;
use utoipa::IntoParams;

use super::super::ask::{Answer, Plane, Refused, ask};
use super::super::extract::Filter;
use super::super::problem::Problem;
use super::super::wire;
use super::{FOLLOW_LIMIT, FOLLOW_PAUSE};
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Events of one answer when it is not said.
const USUAL_LIMIT: u32 = 100;

/// Which events, oldest first.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those behind this number.
    after: Option<u64>,
    /// The latest so many, at most 1,000.
    last: Option<u32>,
    /// At most so many, 1 to 1,000; 100 when it is not said.
    limit: Option<u32>,
    /// Of this project only.
    project: Option<String>,
    /// Of this run only.
    run: Option<u64>,
    /// Wait for more when there is none.
    follow: Option<bool>,
}

/// Events, oldest first. `next` is what to give as `after`.
#[utoipa::path(get, path = "/api/v1/events", tag = "history", params(Which),
    responses((status = 200, body = wire::List<wire::Event>)))]
pub async fn list_events(
    State(control): Plane,
    Filter(which): Filter<Which>,
) -> Answer<wire::List<wire::Event>> {
    for (key, given) in [("limit", which.limit), ("last", which.last)] {
        if given.is_some_and(|given| !(1..=ListOptions::LIMIT).contains(&given)) {
            let detail = format!("`{key}` is from 1 to {}", ListOptions::LIMIT);
            return Err(Problem::new(GatewayCode::InvalidQuery, detail));
        }
    }
    if which.last.is_some() && which.after.is_some() {
        return Err(Problem::new(GatewayCode::InvalidQuery, "give `after` or `last`"));
    }
    let until = control.moments.monotonic() + FOLLOW_LIMIT;
    let mut which = which;
    loop {
        let wanted = which.clone();
        let list = ask(&control, move |control| read(control, &wanted)).await?;
        let may_wait = which.follow.unwrap_or(false) && list.items.is_empty();
        if !may_wait || control.moments.monotonic() >= until {
            return Ok(Json(list));
        }
        // What is not wanted is passed over once.
        (which.after, which.last) = (list.next, None);
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

fn read(control: &Control, which: &Which) -> Result<wire::List<wire::Event>, Refused> {
    let store = control.store.as_ref();
    let limit = which.limit.or(which.last).unwrap_or(USUAL_LIMIT);
    let after = match which.last {
        Some(last) => store.last_event()?.saturating_sub(u64::from(last)),
        None => which.after.unwrap_or(0),
    };
    let mut events = match which.run {
        Some(run) => {
            let mut events = store.events_of(RunNumber(run))?;
            events.retain(|event| event.number > after);
            events.truncate(limit as usize);
            events
        }
        None => store.events(after, limit)?,
    };
    let next = events.last().map_or(after, |event| event.number);
    events.retain(|event| which.project.as_ref().is_none_or(|name| event.project == *name));
    Ok(wire::List { items: events.into_iter().map(wire::Event::from).collect(), next: Some(next) })
}
