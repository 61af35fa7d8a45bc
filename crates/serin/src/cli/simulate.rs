//! `serin simulate`: what a policy would do, in virtual time.

mod scaling;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueHint};
use serde_json::json;
use serin_core::config::{RolloutSettings, parse_duration};
use serin_core::rollout::simulate::{Behaviour, Simulated, SimulatedEnd, World, simulate};
use serin_ml::seed::Seed;
use serin_ml::sequential::requests_to_see;

use super::control::words::span;
use super::exit::Exit;
use super::printer;
use super::settings::Overrides;
use scaling::SimulateScalingArgs;

/// Most simulated rollouts of one command.
const RUNS_LIMIT: u32 = 100_000;

/// What is simulated.
#[derive(Debug, Subcommand)]
pub enum SimulateCommand {
    /// Whole rollouts of a stage's policy, against traffic that is made up
    #[command(
        after_help = "Examples:\n  serin simulate rollout --requests-per-second 5 --error-rate 0.02\n  \
        serin simulate rollout --requests-per-second 100 --error-rate 0.01 --stable-error-rate 0.01 --runs 5000"
    )]
    Rollout(SimulateRolloutArgs),
    /// The replicas of a stage under a trace of requests, with a queue that is made up
    #[command(after_help = "Examples:\n  serin simulate scaling --trace requests.csv --stage prod\n  \
        serin simulate scaling --trace requests.csv --target \"750 invocations per replica per minute\" --max 20 --compare")]
    Scaling(SimulateScalingArgs),
}

#[derive(Debug, Args)]
pub struct SimulateRolloutArgs {
    /// Requests to the endpoint
    #[arg(long, value_name = "N")]
    pub requests_per_second: f64,
    /// Share of requests that the new version fails
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub error_rate: f64,
    /// Share of requests that the version before fails
    #[arg(long, value_name = "SHARE", default_value_t = 0.001)]
    pub stable_error_rate: f64,
    /// How long the new version takes to answer; the version before takes 2 ms
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    pub latency: String,
    /// The new version answers one class whatever it is asked; the version before four classes as often
    #[arg(long)]
    pub one_class: bool,
    /// How many rollouts
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_LIMIT)))]
    pub runs: u32,
    /// Where all randomness comes from
    #[arg(long, value_name = "N", default_value_t = 17)]
    pub seed: u64,
    /// The stage whose policy it is [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Settings of the project [default: serin.toml, when it is here]
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Simulates.
pub(super) fn run(command: &SimulateCommand) -> anyhow::Result<Exit> {
    match command {
        SimulateCommand::Rollout(args) => rollout(args),
        SimulateCommand::Scaling(args) => scaling::run(args),
    }
}

fn rollout(args: &SimulateRolloutArgs) -> anyhow::Result<Exit> {
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    if !is_share(args.error_rate) || !is_share(args.stable_error_rate) {
        bail!("an error rate is a share from 0 to 1, such as 0.02");
    }
    if !(args.requests_per_second > 0.0 && args.requests_per_second <= 1e6) {
        bail!("--requests-per-second takes a number above 0 and up to 1000000");
    }
    let Some(latency) = parse_duration(&args.latency) else {
        bail!("--latency {:?} is no time; write such as 5ms", args.latency);
    };
    let (stage, settings) = policy(args)?;
    let mut canary = Behaviour { latency, ..Behaviour::failing(args.error_rate) };
    if args.one_class {
        canary.classes = vec![1.0];
    }
    let world = World {
        requests_per_second: args.requests_per_second,
        canary,
        stable: Behaviour::failing(args.stable_error_rate),
    };
    let seed = Seed(args.seed);
    let simulated: Vec<Simulated> =
        (0..args.runs as usize).map(|i| simulate(&settings, &world, seed.nth(i))).collect();
    let text = if args.json {
        as_json(args, &stage, &settings, &simulated)?
    } else {
        words(args, &stage, &settings, &simulated)
    };
    printer::data(&text)?;
    Ok(Exit::Done)
}

/// The policy of the stage that is named, or of the last one.
fn policy(args: &SimulateRolloutArgs) -> anyhow::Result<(String, RolloutSettings)> {
    let here = PathBuf::from("serin.toml");
    let file = args.config.clone().or_else(|| here.exists().then_some(here));
    let stages = Overrides::new().load(file.as_deref())?.pipeline.stages;
    let found = match &args.stage {
        Some(name) => stages.iter().find(|stage| stage.name == *name),
        None => stages.last(),
    };
    match found {
        Some(stage) => Ok((stage.name.clone(), stage.rollout.clone())),
        None => {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
            bail!(
                "there is no stage {:?}; there is: {}",
                args.stage.as_deref().unwrap_or(""),
                names.join(", ")
            )
        }
    }
}

/// How many ended so, and how long the middle one of them took.
fn counts(simulated: &[Simulated]) -> BTreeMap<SimulatedEnd, (usize, Duration, u64)> {
    let mut ends: BTreeMap<SimulatedEnd, Vec<&Simulated>> = BTreeMap::new();
    for one in simulated {
        ends.entry(one.outcome).or_default().push(one);
    }
    ends.into_iter()
        .map(|(end, mut of_end)| {
            of_end.sort_by_key(|one| one.took);
            let middle = of_end[of_end.len() / 2];
            (end, (of_end.len(), middle.took, middle.failed))
        })
        .collect()
}

fn name(end: SimulatedEnd) -> &'static str {
    match end {
        SimulatedEnd::Promoted => "promoted",
        SimulatedEnd::RolledBack => "rolled back",
        SimulatedEnd::NotEnoughEvidence => "not enough evidence",
        SimulatedEnd::Held => "waits for a person",
    }
}

/// How long it takes until so many more failures of all requests are seen, in the first step.
fn time_to_see(args: &SimulateRolloutArgs, settings: &RolloutSettings, extra: f64) -> Option<f64> {
    let needed = requests_to_see(extra, args.stable_error_rate, settings.judge.min_requests)?;
    let weight = settings.steps.first().map_or(100.0, |step| step.weight);
    Some(needed as f64 / (args.requests_per_second * weight / 100.0))
}

fn words(
    args: &SimulateRolloutArgs,
    stage: &str,
    settings: &RolloutSettings,
    simulated: &[Simulated],
) -> String {
    let steps: Vec<String> = settings
        .steps
        .iter()
        .map(|step| format!("{} % for {}", step.weight, span(step.bake.as_secs_f64())))
        .collect();
    let mut out = format!(
        "{stage}: {} ({}), at least {} requests a step\n",
        settings.plan,
        steps.join(", "),
        settings.min_requests
    );
    let rows = counts(simulated).into_iter().map(|(end, (count, took, failed))| {
        let share = 100.0 * count as f64 / simulated.len() as f64;
        let took = span(took.as_secs_f64());
        vec![name(end).to_owned(), count.to_string(), format!("{share:.1} %"), took, failed.to_string()]
    });
    out.push_str(&printer::table(&["", "rollouts", "share", "after", "failed requests"], rows));
    out.push('\n');
    for (extra, what) in
        [(0.04, "four more failures in a hundred are"), (0.01, "one more failure in a hundred is")]
    {
        if let Some(seconds) = time_to_see(args, settings, extra) {
            out.push_str(&format!(
                "\nat {} requests/s {what} seen within {}",
                args.requests_per_second,
                span(seconds)
            ));
        }
    }
    if let Some(back) = simulated.iter().find(|one| one.outcome != SimulatedEnd::Promoted) {
        out.push_str(&format!("\none that did not go through: {}", back.reason));
    }
    out.push('\n');
    out
}

fn as_json(
    args: &SimulateRolloutArgs,
    stage: &str,
    settings: &RolloutSettings,
    simulated: &[Simulated],
) -> anyhow::Result<String> {
    let counts = counts(simulated);
    let of = |end| {
        let (count, took, failed) = counts.get(&end).copied().unwrap_or_default();
        json!({"rollouts": count, "median_seconds": took.as_secs_f64(), "median_failed_requests": failed})
    };
    Ok(serde_json::to_string_pretty(&json!({
        "stage": stage,
        "plan": settings.plan,
        "runs": simulated.len(),
        "promoted": of(SimulatedEnd::Promoted),
        "rolled_back": of(SimulatedEnd::RolledBack),
        "not_enough_evidence": of(SimulatedEnd::NotEnoughEvidence),
        "held": of(SimulatedEnd::Held),
        "seconds_to_see_four_points": time_to_see(args, settings, 0.04),
        "seconds_to_see_one_point": time_to_see(args, settings, 0.01),
    }))?)
}
