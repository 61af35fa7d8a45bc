//! Trials: what each run was given, and what came of it.

use axum::extract::State;
use serde::Deserialize;
use serin_core::domain::RunNumber;
use serin_core::store::{ListOptions, TrialRecord};
use utoipa::IntoParams;

use super::super::ask::{Answer, Plane, Refused, answer, missing};
use super::super::extract::Filter;
use super::super::problem::Problem;
use super::super::wire;
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// Most trials side by side.
const COMPARED_LIMIT: usize = 20;

/// Which trials.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Compared {
    /// Numbers of runs with commas between them, such as `1,2,3`.
    runs: String,
}

/// Trials, latest first.
#[utoipa::path(get, path = "/api/v1/experiments", tag = "experiments", params(wire::Page),
    responses((status = 200, body = wire::List<wire::Trial>)))]
pub async fn list_trials(
    State(control): Plane,
    Filter(page): Filter<wire::Page>,
) -> Answer<wire::List<wire::Trial>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let trials = control.store.trials(&options)?;
        Ok(wire::List::of(trials, &options, |trial| trial.run.0, wire::Trial::from))
    })
    .await
}

/// Trials side by side.
#[utoipa::path(get, path = "/api/v1/experiments/compare", tag = "experiments", params(Compared),
    responses((status = 200, body = wire::TrialComparison)))]
pub async fn compare_trials(
    State(control): Plane,
    Filter(compared): Filter<Compared>,
) -> Answer<wire::TrialComparison> {
    let numbers: Vec<u64> =
        compared.runs.split(',').map(|text| text.trim().parse()).collect::<Result<_, _>>().map_err(|_| {
            Problem::new(GatewayCode::InvalidQuery, "`runs` is numbers of runs, such as `1,2,3`")
        })?;
    if numbers.len() > COMPARED_LIMIT {
        let detail = format!("at most {COMPARED_LIMIT} runs are compared");
        return Err(Problem::new(GatewayCode::InvalidQuery, detail));
    }
    answer(&control, move |control| {
        let trials: Vec<TrialRecord> = numbers
            .iter()
            .map(|&number| {
                trial(control, RunNumber(number))?.ok_or_else(|| missing("trial of run", number).into())
            })
            .collect::<Result<_, Refused>>()?;
        Ok(wire::TrialComparison::new(&trials))
    })
    .await
}

/// What is known of a run as a trial.
pub fn trial(control: &Control, run: RunNumber) -> Result<Option<TrialRecord>, Refused> {
    let options = ListOptions { before: run.0.checked_add(1), limit: 1, ..ListOptions::default() };
    Ok(control.store.trials(&options)?.into_iter().find(|trial| trial.run == run))
}
