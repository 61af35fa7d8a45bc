//! The load rises: replicas follow it, one of them is killed, and no caller sees anything of that.

use std::fmt::Write as _;
use std::time::Duration;

use serin_core::scale::{FleetPage, ReplicaState};
use serin_ml::dataset::Dataset;

use super::Story;
use super::plant::{LOOK_INTERVAL, Plant};
use crate::cli::printer;

/// Callers while the load is high, each as often as the one before it.
const CALLERS: usize = 8;
/// How long replicas may take to follow.
const FOLLOW_LIMIT: Duration = Duration::from_secs(12);
/// Between the kill and the end of the load.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Tells it; one line for the summary.
pub(super) fn tell(story: &mut Story<'_>, plant: &Plant, rows: &Dataset) -> anyhow::Result<Option<String>> {
    let Some(before) = plant.fleet() else { return Ok(None) };
    story.step("The load rises, and one of the replicas is killed");
    story.tell(&described(&before));
    let traffic = plant.traffic(rows, CALLERS)?;
    let began = plant.now();
    let mut told = before.decisions.last().map_or(0, |decision| decision.number);
    let mut most = before.scaler.desired;
    while plant.now().saturating_sub(began) < FOLLOW_LIMIT {
        std::thread::sleep(LOOK_INTERVAL);
        let Some(fleet) = plant.fleet() else { continue };
        for decision in fleet.decisions.iter().filter(|decision| decision.number > told) {
            story.tell(&format!("{}: {}", decision.decision.rule, decision.decision.reason));
        }
        told = fleet.decisions.last().map_or(told, |decision| decision.number);
        let ready = fleet.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count();
        let is_there = ready >= fleet.scaler.desired as usize;
        most = most.max(fleet.scaler.desired);
        if is_there && fleet.scaler.desired > before.scaler.desired {
            break;
        }
    }
    let killed = plant.fleet().and_then(|fleet| plant.kill_one(&fleet));
    if let Some(name) = &killed {
        story.tell(&format!("kill -9 of {name}"));
    }
    std::thread::sleep(AFTERWARDS);
    let (requests, failed) = traffic.stop();
    if let Some(fleet) = plant.fleet() {
        story.tell(&table(&fleet));
        story.tell(&format!(
            "\n{requests} requests from {CALLERS} callers, {failed} of them failed; {} were asked again of another replica",
            fleet.retries.saturating_sub(before.retries)
        ));
    }
    let killed = if killed.is_some() { ", one killed" } else { "" };
    Ok(Some(format!(
        "{} to {most} replicas{killed}: {failed} of {requests} requests failed",
        before.scaler.desired
    )))
}

fn described(fleet: &FleetPage) -> String {
    let scaler = &fleet.scaler;
    let mut text = format!(
        "version {} is served by {} replicas, each a {}; from {} to {} of them",
        fleet.version, scaler.desired, fleet.runtime, scaler.min, scaler.max
    );
    for policy in &scaler.policies {
        let _ = write!(text, ", {}", policy.policy);
    }
    text
}

fn table(fleet: &FleetPage) -> String {
    let rows = fleet.replicas.iter().map(|replica| {
        let latency =
            replica.latency_milliseconds.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        vec![
            replica.name.clone(),
            replica.state.name().to_owned(),
            replica.answered.to_string(),
            latency,
            format!("{:.1} s", replica.age_seconds),
        ]
    });
    printer::table(&["replica", "state", "answered", "latency_ms", "age"], rows)
}
