//! What rules decided, from what, and whether they would decide so again.

use axum::extract::State;
use serde::Deserialize;
use serin_core::domain::DecisionNumber;
use serin_core::pipeline::{Judgement, Ruling, judge};
use serin_core::rollout::{Inputs, Rollout, replay};
use serin_core::scale::{self, SCALE_RULE, ScaleFacts};
use serin_core::store::DecisionRecord;

use super::super::ask::{Answer, Plane, Refused, answer, missing};
use super::super::extract::{Filter, Named};
use super::super::problem::{Code, Problem};
use super::super::wire;
use crate::control::Control;

/// The rules that can be made again.
const GATE: &str = "gate";
const ROLLOUT: &str = "rollout";

/// What a decision of a rollout was made from.
#[derive(Deserialize)]
struct RolloutInputs {
    rollout: Rollout,
    inputs: Inputs,
}

/// Decisions, latest first.
#[utoipa::path(get, path = "/api/v1/decisions", tag = "history", params(wire::Page),
    responses((status = 200, body = wire::List<wire::Decision>)))]
pub async fn list_decisions(
    State(control): Plane,
    Filter(page): Filter<wire::Page>,
) -> Answer<wire::List<wire::Decision>> {
    let options = page.options()?;
    answer(&control, move |control| {
        let decisions = control.store.decisions(&options)?;
        Ok(wire::List::of(decisions, &options, |record| record.number.0, wire::Decision::from))
    })
    .await
}

/// A decision with everything it was decided from.
#[utoipa::path(get, path = "/api/v1/decisions/{decision}", tag = "history", params(("decision" = u64, Path)),
    responses((status = 200, body = wire::Decision)))]
pub async fn show_decision(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Decision> {
    answer(&control, move |control| Ok(wire::Decision::whole(found(control, number)?))).await
}

/// The same decision made again from what was recorded.
#[utoipa::path(get, path = "/api/v1/decisions/{decision}/replay", tag = "history",
    params(("decision" = u64, Path)), responses((status = 200, body = wire::Replay)))]
pub async fn replay_decision(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Replay> {
    answer(&control, move |control| {
        let record = found(control, number)?;
        let refused = |why: String| Refused::from(Problem::new(Code::NotReplayable, why));
        let unclear =
            |error: serde_json::Error| refused(format!("what was recorded cannot be understood: {error}"));
        let (verdict, explanation) = match record.rule.as_str() {
            GATE => {
                let judgement: Judgement = serde_json::from_value(record.inputs).map_err(unclear)?;
                let verdict = judge(&judgement).map_err(|error| refused(error.to_string()))?;
                let Ruling { verdict, explanation } = Ruling::from(&verdict);
                (verdict, explanation)
            }
            ROLLOUT => {
                let RolloutInputs { rollout, inputs } =
                    serde_json::from_value(record.inputs).map_err(unclear)?;
                let (verdict, explanation) = replay(rollout, &inputs).unwrap_or(("nothing", String::new()));
                (verdict.to_owned(), explanation)
            }
            SCALE_RULE => {
                let facts: ScaleFacts = serde_json::from_value(record.inputs).map_err(unclear)?;
                match scale::replay(&facts.inputs) {
                    None => ("nothing".to_owned(), String::new()),
                    Some(decision) => {
                        (decision.verdict(), decision.explanation(&facts.endpoint, &facts.version))
                    }
                }
            }
            other => return Err(refused(format!("decisions of the rule {other:?} cannot be made again"))),
        };
        let recorded = wire::Recorded { verdict: record.verdict, explanation: record.explanation };
        Ok(wire::Replay {
            number,
            rule: record.rule,
            same: verdict == recorded.verdict && explanation == recorded.explanation,
            verdict,
            explanation,
            recorded,
        })
    })
    .await
}

fn found(control: &Control, number: u64) -> Result<DecisionRecord, Refused> {
    control.store.decision(DecisionNumber(number))?.ok_or_else(|| missing("decision", number).into())
}
