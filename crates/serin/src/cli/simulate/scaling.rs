//! `serin simulate scaling`: a trace of requests under a stage's policy, and under the rules of others.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueHint};
use serde_json::{Value, json};
use serin_core::clock::{Timestamp, parse_duration};
use serin_core::scale::compare::Rules;
use serin_core::scale::simulate::{Service, Simulated, SimulatedSecond, simulate};
use serin_core::scale::{Policy, ScaleMetric, ScalingSettings, parse_target};
use serin_ml::seed::Seed;

use super::super::control::words::span;
use super::super::exit::Exit;
use super::super::printer;
use super::super::settings::Overrides;
use super::trace;

/// Rows of the table of replicas over time, and of decisions.
const TABLE_ROWS: usize = 30;
const DECISION_ROWS: usize = 40;
/// Callers wait too long beyond so many times the mean answer.
const SLOW_FACTOR: f64 = 10.0;
/// When a trace of counts begins, for schedules: a Monday.
const USUAL_BEGIN: &str = "2027-01-04T00:00:00Z";
const DEFAULT_MAX: u32 = 10;

#[derive(Debug, Args)]
pub struct SimulateScalingArgs {
    /// Requests: lines `second,requests` below that head, or the head `time` and the time of one request a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub trace: PathBuf,
    /// How long a replica takes for an answer, on average
    #[arg(long, value_name = "TIME", default_value = "20ms")]
    pub service_time: String,
    /// Requests that a replica answers at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub concurrency: u32,
    /// From a decision until the replica answers
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub start_time: String,
    /// A request that waited for so long is shed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub wait_limit: String,
    /// Processors of the host, one for each request that is answered [default: always enough]
    #[arg(long, value_name = "N")]
    pub processors: Option<f64>,
    /// Instead of the stage's: such as "750 invocations per replica per minute"; again for several
    #[arg(long, value_name = "TARGET")]
    pub target: Vec<String>,
    /// Fewest replicas, instead of the stage's
    #[arg(long, value_name = "N")]
    pub min: Option<u32>,
    /// Most replicas, instead of the stage's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max: Option<u32>,
    /// When the trace begins, for schedules [default: the first time in it, else 2027-01-04]
    #[arg(long, value_name = "TIME")]
    pub begins: Option<Timestamp>,
    /// The same trace under target tracking alone, the HPA and KEDA: models of their published rules
    #[arg(long)]
    pub compare: bool,
    /// Where all randomness comes from
    #[arg(long, value_name = "N", default_value_t = 17)]
    pub seed: u64,
    /// The stage whose policy it is [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Settings of the project [default: serin.toml, when it is here]
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print all seconds and decisions as JSON
    #[arg(long)]
    pub json: bool,
}

/// Simulates.
pub fn run(args: &SimulateScalingArgs) -> anyhow::Result<Exit> {
    let service = service(args)?;
    let (from, settings) = settings(args)?;
    let trace = trace::read(&args.trace)?;
    let usual = USUAL_BEGIN.parse().unwrap_or(Timestamp(0));
    let begins = args.begins.or(trace.begins).unwrap_or(usual);
    let rules = if args.compare { &Rules::ALL[..] } else { &Rules::ALL[..1] };
    let simulated: Vec<(Rules, Simulated)> = rules
        .iter()
        .map(|&rules| {
            let seed = Seed(args.seed);
            (rules, simulate(rules, &settings, &service, &trace.requests, begins, seed))
        })
        .collect();
    let limit = SLOW_FACTOR * service.answer.as_secs_f64();
    let text = if args.json {
        as_json(&from, &settings, limit, &simulated)?
    } else {
        words(&from, &settings, limit, &simulated)
    };
    printer::data(&text)?;
    Ok(Exit::Done)
}

fn service(args: &SimulateScalingArgs) -> anyhow::Result<Service> {
    let time = |option: &str, text: &str, least: Duration| match parse_duration(text) {
        Some(time) if time >= least && time <= Duration::from_secs(3_600) => Ok(time),
        _ => bail!("{option} {text:?} is no time from {} ms to 1h; write such as 20ms", least.as_millis()),
    };
    if let Some(processors) = args.processors
        && !(processors > 0.0 && processors <= 1e6)
    {
        bail!("--processors takes a number above 0, such as 2");
    }
    Ok(Service {
        answer: time("--service-time", &args.service_time, Duration::from_millis(1))?,
        concurrency: args.concurrency,
        start: time("--start-time", &args.start_time, Duration::ZERO)?,
        wait_limit: time("--wait-limit", &args.wait_limit, Duration::from_millis(1))?,
        processors: args.processors,
    })
}

/// The stage's settings, changed by the options; and whose they are.
fn settings(args: &SimulateScalingArgs) -> anyhow::Result<(String, ScalingSettings)> {
    let here = PathBuf::from("serin.toml");
    let file = args.config.clone().or_else(|| here.exists().then_some(here));
    let stages = Overrides::new().load(file.as_deref())?.pipeline.stages;
    let found = match &args.stage {
        Some(name) => stages.iter().find(|stage| stage.name == *name),
        None => stages.last(),
    };
    let Some(stage) = found else {
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        bail!("there is no stage {:?}; there is: {}", args.stage.as_deref().unwrap_or(""), names.join(", "));
    };
    let mut settings = stage.replicas.scaling.clone();
    let has_target = !args.target.is_empty();
    if has_target {
        settings.policies = args.target.iter().map(|text| policy(text)).collect::<anyhow::Result<_>>()?;
        if settings.max == 1 {
            settings.max = DEFAULT_MAX.max(settings.min);
        }
    }
    settings.min = args.min.unwrap_or(settings.min);
    settings.max = args.max.unwrap_or(settings.max);
    if settings.min > settings.max {
        bail!("--min {} is more than --max {}", settings.min, settings.max);
    }
    if settings.policies.is_empty() && settings.schedules.is_empty() {
        bail!(
            "stage {} has nothing that changes its number of replicas; give --target \"750 invocations per replica per minute\", or write it into [stages.{}.replicas]",
            stage.name,
            stage.name
        );
    }
    let from = if has_target { "as given".to_owned() } else { stage.name.clone() };
    Ok((from, settings))
}

fn policy(text: &str) -> anyhow::Result<Policy> {
    match parse_target(text) {
        Some((metric, target)) if target > 0.0 && (metric != ScaleMetric::Cpu || target <= 100.0) => {
            Ok(Policy::TargetTracking { metric, target })
        }
        _ => bail!(
            "--target {text:?} is none; write such as \"750 invocations per replica per minute\", \"4 in flight per replica\" or \"70% cpu\""
        ),
    }
}

/// Seconds in which callers waited too long.
fn slow(simulated: &Simulated, limit: f64) -> usize {
    simulated.seconds.iter().filter(|second| second.p99.is_some_and(|p99| p99 > limit)).count()
}

fn most(simulated: &Simulated) -> u32 {
    simulated.seconds.iter().map(|second| second.desired).max().unwrap_or(0)
}

fn words(from: &str, settings: &ScalingSettings, limit: f64, simulated: &[(Rules, Simulated)]) -> String {
    let policies: Vec<String> = settings.policies.iter().map(ToString::to_string).collect();
    let mut out = format!(
        "{from}: {} to {} replicas{}{}\n",
        settings.min,
        settings.max,
        if policies.is_empty() { "" } else { ", " },
        policies.join(", ")
    );
    if let Some((_, ours)) = simulated.first() {
        out.push_str(&over_time(ours));
        out.push_str("\n\n");
        out.push_str(&decisions(ours));
        out.push('\n');
    }
    let rows = simulated.iter().map(|(rules, one)| {
        vec![
            rules.name().to_owned(),
            one.requests.to_string(),
            latency(one.p50),
            latency(one.p99),
            one.shed.to_string(),
            span(slow(one, limit) as f64),
            format!("{:.2}", one.replica_hours),
            most(one).to_string(),
            one.direction_changes.to_string(),
        ]
    });
    let slow = format!("p99 above {}", latency(Some(limit)));
    let head =
        ["", "requests", "p50", "p99", "shed", slow.as_str(), "replica-hours", "most replicas", "turns"];
    out.push_str(&printer::table(&head, rows));
    out.push('\n');
    if simulated.len() > 1 {
        out.push_str("\nThe others are models of their published rules, with the same replicas and without delay of metrics.\n");
    }
    out
}

fn over_time(simulated: &Simulated) -> String {
    let each = simulated.seconds.len().div_ceil(TABLE_ROWS).max(1);
    let rows = simulated.seconds.chunks(each).enumerate().map(|(i, chunk)| row(i * each, chunk));
    let head = ["from", "requests/s", "in flight", "ready", "desired", "p50", "p99", "shed"];
    printer::table(&head, rows)
}

/// Some seconds: means of the load, the last of the replicas, the worst of the rest.
fn row(first: usize, chunk: &[SimulatedSecond]) -> Vec<String> {
    let mean = |value: fn(&SimulatedSecond) -> f64| {
        let sum: f64 = chunk.iter().map(value).sum();
        printer::number((10.0 * sum / chunk.len() as f64).round() / 10.0)
    };
    let worst = |value: fn(&SimulatedSecond) -> Option<f64>| {
        latency(chunk.iter().filter_map(value).max_by(f64::total_cmp))
    };
    let last = chunk.last();
    vec![
        span(first as f64),
        mean(|second| f64::from(second.arrived)),
        mean(|second| second.in_flight),
        last.map_or(0, |second| second.ready).to_string(),
        last.map_or(0, |second| second.desired).to_string(),
        worst(|second| second.p50),
        worst(|second| second.p99),
        chunk.iter().map(|second| second.shed).sum::<u64>().to_string(),
    ]
}

fn decisions(simulated: &Simulated) -> String {
    let rows = simulated.decisions.iter().take(DECISION_ROWS).map(|one| {
        let (after, change) = (span(one.second as f64), format!("{} -> {}", one.from, one.to));
        vec![after, change, one.rule.clone(), one.reason.clone()]
    });
    let mut out = printer::table(&["after", "replicas", "rule", "reason"], rows);
    if let more @ 1.. = simulated.decisions.len().saturating_sub(DECISION_ROWS) {
        out.push_str(&format!("\nand {more} more: --json has all"));
    }
    out.push('\n');
    out
}

/// `12 ms`, `1.4 s`.
fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", 1_000.0 * seconds),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

fn as_json(
    from: &str,
    settings: &ScalingSettings,
    limit: f64,
    simulated: &[(Rules, Simulated)],
) -> anyhow::Result<String> {
    let rules: Vec<Value> = simulated
        .iter()
        .map(|(rules, one)| {
            Ok(json!({
                "rules": rules.name(),
                "slow_seconds": slow(one, limit),
                "most_replicas": most(one),
                "result": serde_json::to_value(one)?,
            }))
        })
        .collect::<serde_json::Result<_>>()?;
    Ok(serde_json::to_string_pretty(&json!({
        "stage": from,
        "settings": serde_json::to_value(settings)?,
        "slow_beyond_seconds": limit,
        "simulated": rules,
    }))?)
}
