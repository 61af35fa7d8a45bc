//! `smoke`: the golden rows of the version through its endpoint, as a caller would ask. A version that answers otherwise
//! than when it was made goes, and what served before comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serin_ml::model::{Bundle, GOLDEN_TOLERANCE, GoldenRow};

use super::deploy::{Blame, go_back};
use super::documents::{BuildOutput, DeployOutput, SmokeOutput};
use super::http;
use super::shape::WORK_VERSION;
use super::workshop::{Workshop, is_last_attempt, overtaken};
use crate::domain::ModelVersion;
use crate::engine::{Task, Work, WorkError};
use crate::store::StepEnd;

/// Times that the gateway is asked when it cannot be reached.
const ASKED_AGAIN: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Statuses that say nothing about the version.
pub(crate) const BUSY: [u16; 3] = [408, 429, 503];
/// Golden rows asked in a run that has no plan of its own.
const ROWS: usize = 100;

#[derive(Debug)]
pub(super) struct Smoke(pub(super) Arc<Workshop>);

/// The part of an answer that is compared.
#[derive(Debug, Deserialize)]
struct Answer {
    predictions: Vec<Prediction>,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    class: String,
    /// Not given by all containers.
    #[serde(default)]
    probabilities: BTreeMap<String, f64>,
}

impl Work for Smoke {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let deployed: DeployOutput = shop.input(task, &format!("deploy-{}", task.argument()))?;
        let version = shop.version(task)?;
        let bundle = shop.bundle(version.artifact)?;
        let rows = match task.run.output("build") {
            Some(output) => {
                let build: BuildOutput = shop.get(output)?;
                let stage = build.stages.into_iter().find(|stage| stage.name == deployed.stage);
                stage.map_or(ROWS, |stage| stage.smoke_rows)
            }
            None => ROWS,
        };
        let asked = ask(shop, task, &deployed, &version, &bundle, rows);
        if !Workshop::is_routed(task, &deployed.endpoint, version.number)? {
            return Err(overtaken(&deployed.endpoint));
        }
        match asked {
            Ok(Ok(smoke)) => {
                task.log.line(&format!(
                    "{} golden rows answered as when the model was made (largest difference {:.1e})",
                    smoke.rows, smoke.largest_difference
                ));
                let output = shop.put(smoke)?;
                Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
            }
            Ok(Err(reason)) => {
                let reason = format!("version {} failed on {}: {reason}", version.number, deployed.endpoint);
                go_back(shop, task, &deployed, &reason, Blame::Version)?;
                Err(WorkError::failed("smoke_failed", reason))
            }
            // Nobody could ask it: it is not known to be bad, and what nobody asked does not stay.
            Err(error) => {
                let stops = error == WorkError::Stopped;
                if stops || is_last_attempt(task) {
                    let why = if stops { "the run was stopped".to_owned() } else { error.to_string() };
                    let reason = format!("version {} was not asked: {why}", version.number);
                    go_back(shop, task, &deployed, &reason, Blame::Nobody)?;
                }
                Err(error)
            }
        }
    }
}

/// Asks and compares. The inner error is what is wrong with the version.
fn ask(
    shop: &Workshop,
    task: &Task<'_>,
    deployed: &DeployOutput,
    version: &ModelVersion,
    bundle: &Bundle,
    rows: usize,
) -> Result<Result<SmokeOutput, String>, WorkError> {
    let golden = &bundle.golden.rows[..bundle.golden.rows.len().min(rows)];
    let body = csv(golden);
    let id = format!("smoke-{}-{}", task.run.number, task.hold.lease);
    let mut problem = WorkError::passing("gateway_unreachable", "the gateway was not asked");
    for _ in 0..ASKED_AGAIN {
        let asked = shop.gateway().and_then(|gateway| {
            let url = format!("{}/endpoints/{}/invocations", gateway.url, deployed.endpoint);
            http::post(&url, "text/csv", &id, body.as_bytes())
                .map_err(|error| WorkError::passing("gateway_unreachable", error))
        });
        match asked {
            // It is busy, or not there yet.
            Ok(reply) if BUSY.contains(&reply.status) => {
                let said = format!("it answers {}: {}", reply.status, http::beginning(&reply.body));
                problem = WorkError::passing("gateway_busy", said);
            }
            Ok(reply) => {
                let compared = compare(&reply, version, bundle, golden);
                let smoke = |largest_difference| SmokeOutput {
                    endpoint: deployed.endpoint.clone(),
                    rows: golden.len(),
                    largest_difference,
                };
                return Ok(compared.map(smoke));
            }
            Err(error) => problem = error,
        }
        task.pause(PAUSE)?;
    }
    Err(problem)
}

/// The largest difference of a probability; the error is what is wrong with the answers.
pub(crate) fn compare(
    reply: &http::Reply,
    version: &ModelVersion,
    bundle: &Bundle,
    golden: &[GoldenRow],
) -> Result<f64, String> {
    if reply.status != 200 {
        return Err(format!("it answers {}: {}", reply.status, http::beginning(&reply.body)));
    }
    let expected = version.number.to_string();
    if reply.model_version.as_deref() != Some(&expected) {
        let found = reply.model_version.as_deref().unwrap_or("none");
        return Err(format!("version {found} answered instead of version {expected}"));
    }
    let answer: Answer =
        serde_json::from_str(&reply.body).map_err(|error| format!("its answer cannot be read: {error}"))?;
    if answer.predictions.len() != golden.len() {
        return Err(format!("{} answers to {} rows", answer.predictions.len(), golden.len()));
    }
    let mut largest_difference: f64 = 0.0;
    for (row, (prediction, golden)) in answer.predictions.iter().zip(golden).enumerate() {
        // Some containers name classes and nothing else.
        let compared = if prediction.probabilities.is_empty() { &[][..] } else { &golden.probabilities };
        for (class, expected) in bundle.card.classes.iter().zip(compared) {
            let found = prediction.probabilities.get(class).copied().unwrap_or(f64::NAN);
            let difference = (found - expected).abs();
            if difference.is_nan() || difference > GOLDEN_TOLERANCE {
                return Err(format!(
                    "golden row {row}: the probability of {class} is {found} instead of {expected}"
                ));
            }
            largest_difference = largest_difference.max(difference);
        }
        if bundle.card.classes.get(golden.class) != Some(&prediction.class) {
            return Err(format!("golden row {row} is decided as {}", prediction.class));
        }
    }
    Ok(largest_difference)
}

/// Rows as a caller would send them; a missing value is an empty cell.
pub(crate) fn csv(rows: &[GoldenRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .values
            .iter()
            .map(|value| value.map_or_else(String::new, |value| value.to_string()))
            .collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}
