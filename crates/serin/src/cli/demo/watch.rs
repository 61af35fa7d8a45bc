//! Rows change, an alarm goes on and says why, and a run learns from what is true of them.

use std::collections::BTreeSet;

use serin_core::domain::{EventKind, Run, RunNumber, RunState};
use serin_core::monitor::MonitorReport;
use serin_ml::dataset::Dataset;

use super::Story;
use super::plant::Plant;
use crate::cli::drift;

/// Of so many features one changes, by so many standard deviations.
const EVERY: usize = 3;
const SHIFT: f64 = 2.0;
/// With fewer rows of training nothing can be said: `min_rows` of the demonstration's settings, with the hold-out apart.
const LEAST_ROWS: usize = 150;
/// Findings that are told.
const FINDINGS: usize = 3;

/// Tells it; one line for the summary.
pub(super) fn tell(
    story: &mut Story<'_>,
    plant: &Plant,
    rows: &Dataset,
    train_rows: usize,
    last: RunNumber,
) -> anyhow::Result<Option<String>> {
    story.step("Something upstream changes: rows arrive the like of which the model has not seen");
    if train_rows < LEAST_ROWS {
        story.tell(&format!(
            "{train_rows} rows to compare with are too few to say anything: {LEAST_ROWS} are needed"
        ));
        return Ok(None);
    }
    let changed = shifted(rows);
    story.tell(&format!(
        "one in {EVERY} features arrives {SHIFT} standard deviations higher; what was true of the rows is told a moment later"
    ));
    let after = plant.last_event()?;
    let traffic = plant.labelled_traffic(&changed)?;
    let kinds = [EventKind::DriftFound, EventKind::AlarmRaised];
    let heard =
        plant.wait_for_event(after, |event| kinds.contains(&event.kind) && is_of_prod(&event.text))?;
    let Some(heard) = heard else {
        traffic.stop();
        story.tell("no alarm went on in time");
        return Ok(None);
    };
    if let Some(report) = plant.last_look("prod")? {
        story.tell(&explained(&report));
    }
    story.tell(&heard.text);
    let decided = plant.wait_for_event(after, |event| {
        [EventKind::RetrainRefused, EventKind::RetrainStarted].contains(&event.kind)
            || (event.kind == EventKind::AlarmRaised
                && event.number > heard.number
                && event.text.starts_with("alarm prod-"))
    })?;
    if let Some(decided) = decided.filter(|decided| decided.number != heard.number) {
        story.tell(&decided.text);
    }
    let Some(run) = plant.next_run(last)? else {
        traffic.stop();
        story.tell("no run was asked for in time");
        return Ok(None);
    };
    story.tell(&plant.retrain_reason()?);
    let mut told = BTreeSet::new();
    let run = plant.follow(run, &mut told, &|line| story.tell(line))?;
    let (requests, failed) = traffic.stop();
    story.tell(&format!("\n{requests} requests meanwhile, {failed} of them failed"));
    let approval = plant.open_approval()?;
    if let Some(approval) = &approval {
        story.tell(&plant.sheet(approval)?);
    }
    Ok(Some(line(&run, approval.is_some())))
}

fn line(run: &Run, waits: bool) -> String {
    match &run.state {
        _ if waits => {
            format!("drift raised an alarm, which retrained: run {} waits for a person", run.number)
        }
        RunState::Failed { failure, .. } => {
            format!("drift raised an alarm, which retrained: run {} ended, {}", run.number, failure.reason)
        }
        other => format!("drift raised an alarm, which retrained: run {} is {}", run.number, other.name()),
    }
}

fn is_of_prod(text: &str) -> bool {
    text.starts_with("prod: ") || text.starts_with("alarm prod-drift")
}

fn explained(report: &MonitorReport) -> String {
    let Some(comparison) = &report.comparison else { return report.reason.clone() };
    let mut lines = vec![drift::verdict_line(comparison)];
    lines.extend(report.confirmed.iter().take(FINDINGS).map(|entry| {
        let name = entry.finding.column.as_deref().unwrap_or("(rows)");
        format!("  {name}: {}", entry.finding.text)
    }));
    if let Some(predictions) = &comparison.predictions
        && let Some(estimated) = &predictions.estimated
    {
        let before = estimated
            .accuracy_before
            .map_or_else(String::new, |value| format!(", {value:.2} on the hold-out"));
        lines.push(format!("  accuracy to be expected without labels: {:.2}{before}", estimated.accuracy));
    }
    if let Some(quality) = report.quality.iter().find(|quality| quality.model_version == report.model_version)
        && let Some(accuracy) = quality.accuracy
    {
        lines.push(format!("  accuracy on {} labelled rows: {accuracy:.2}", quality.labelled));
    }
    lines.join("\n")
}

/// The rows with some features moved.
fn shifted(rows: &Dataset) -> Dataset {
    let mut changed = rows.clone();
    for column in changed.columns.iter_mut().step_by(EVERY) {
        let present: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
        let count = present.len().max(1) as f64;
        let mean = present.iter().sum::<f64>() / count;
        let deviation = (present.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        column.iter_mut().for_each(|value| *value += SHIFT * deviation);
    }
    changed
}
