//! Two more versions: one that is as good, and one that its gate lets through and production does not.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Context as _;
use serin_core::domain::{Run, RunNumber, RunState};
use serin_ml::dataset::Dataset;

use super::plant::Plant;
use super::project::Project;
use super::{PERSON, Story};

/// Settings of what follows, put in place of the first version's `[train]`.
const QUICK: &str = "trials = 3\nfamilies = [\"logistic\", \"naive-bayes\"]\n";

/// What became of both.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) lines: Vec<String>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// The last run.
    pub(super) last: Option<RunNumber>,
}

/// Tells both stories, with traffic all along.
pub(super) fn tell(
    story: &mut Story<'_>,
    plant: &Plant,
    project: &Project,
    first: RunNumber,
    train: &Dataset,
    rows: &Dataset,
) -> anyhow::Result<Outcome> {
    let traffic = plant.traffic(rows, 1)?;
    let mut outcome = Outcome::default();

    story.step("A new version takes over, step by step, judged by what its callers see");
    story.tell("commit: quicker families; the steps are shortened for this demonstration, to 20 % for 4 s");
    project.change("Quicker families", |text| quicker(&text, None))?;
    let good = version(story, plant, project, first)?;
    outcome.lines.push(ended(plant, &good)?);

    story.step("A version that is broken in a way no test on its own rows can see");
    story.tell(
        "commit: somebody trains on rows in thousandths of the unit, and so is its hold-out: the gate finds nothing wrong",
    );
    project.write_rows("thousandths.csv", train, 1_000.0)?;
    project.change("Rows from the new export", |text| quicker(&text, Some("thousandths.csv")))?;
    let bad = version(story, plant, project, good.number)?;
    outcome.lines.push(ended(plant, &bad)?);
    outcome.last = Some(bad.number);
    if !matches!(bad.state, RunState::Succeeded) {
        story.tell("\nwhat serves:");
        story.tell(&plant.serving()?);
    }

    let (requests, failed) = traffic.stop();
    (outcome.requests, outcome.failed) = (requests, failed);
    story.tell(&format!("\n{requests} requests meanwhile, {failed} of them failed"));
    Ok(outcome)
}

/// The settings with a quick search, and other rows.
fn quicker(text: &str, rows: Option<&str>) -> anyhow::Result<String> {
    let mut table: toml::Table = text.parse().context("the project's settings")?;
    let quick: toml::Table = QUICK.parse().context("the demonstration's settings")?;
    if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
        train.remove("budget");
        train.extend(quick);
    }
    // What was trained in a container is trained as it is usual from here on: quicker.
    if let Some(steps) = table.get_mut("steps").and_then(toml::Value::as_table_mut) {
        steps.remove("train");
    }
    if let (Some(rows), Some(data)) = (rows, table.get_mut("data").and_then(toml::Value::as_table_mut)) {
        data.insert("train".to_owned(), rows.into());
        data.remove("test");
    }
    Ok(toml::to_string(&table)?)
}

/// The run of the last commit to its end, approved, and what its rollout decided as it decides.
fn version(story: &Story<'_>, plant: &Plant, project: &Project, after: RunNumber) -> anyhow::Result<Run> {
    let run = plant.run_after(after, project.is_repository)?;
    let mut told = BTreeSet::new();
    let mut heard = 0;
    let mut run = plant.follow(run, &mut told, &|_| {})?;
    if let Some(approval) = plant.open_approval()? {
        story.tell(&plant.sheet(&approval)?);
        plant.approve(&approval, PERSON)?;
        story.tell(&format!("approved by {PERSON}"));
        loop {
            let events = plant.rollout_events(run.number, heard)?;
            for (number, text) in &events {
                story.tell(text);
                heard = *number;
            }
            run = plant.run(run.number)?;
            if run.state.is_final() && events.is_empty() {
                break;
            }
            std::thread::sleep(super::plant::LOOK_INTERVAL);
        }
    }
    Ok(run)
}

fn ended(plant: &Plant, run: &Run) -> anyhow::Result<String> {
    let version = plant.version_of(run.number)?.map_or(0, |version| version.number.0);
    let mut line = format!("version {version} ");
    let _ = match &run.state {
        RunState::Succeeded => write!(line, "took over"),
        RunState::Failed { failure, .. } => write!(line, "was sent back: {}", failure.reason),
        other => write!(line, "is {}", other.name()),
    };
    Ok(line)
}
