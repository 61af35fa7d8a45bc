//! `[stages.NAME.replicas]`: where the model of a stage runs, how often, and what makes that more or less, checked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::capture::bytes;
use super::check::Place;
use super::raw::{RawReplicas, RawScaleStep, RawScheduledBounds, RawTargets};
use crate::causes::in_one_line;
use crate::clock::parse_duration;
use crate::scale::{
    DEFAULT_COOLDOWN, HIGH_MINUTES, LOW_MINUTES, Policy, ScaleMetric, ScaleStep, ScalingSettings,
    ScheduledBounds, StepSide, parse_target,
};
use crate::schedule::Schedule;

/// Most replicas of a stage, and how many there may be when it is not said.
const REPLICAS_LIMIT: u32 = 1_000;
const DEFAULT_MAX: u32 = 10;
/// Most targets, steps and entries of a schedule.
const TARGETS_LIMIT: usize = 10;
const STEPS_LIMIT: usize = 20;
const SCHEDULE_LIMIT: usize = 50;
/// Largest target besides percents.
const LARGEST_TARGET: f64 = 1e9;
/// The longest that one replica may take for one answer, and for its start.
const ANSWER_LIMIT_LONGEST: Duration = Duration::from_secs(60);
const START_LIMIT_LONGEST: Duration = Duration::from_secs(3_600);
const COOLDOWN_LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// What holds when it is not written.
const DEFAULT_ANSWER_LIMIT: Duration = Duration::from_secs(1);
const DEFAULT_START_LIMIT: Duration = Duration::from_secs(240);
const DEFAULT_MEMORY_LIMIT: u64 = 2 << 30;
const LEAST_MEMORY_LIMIT: u64 = 16 << 20;
/// Longest request for devices.
const GPUS_LONGEST_BYTES: usize = 200;

/// Where the model of a stage runs, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaSettings {
    pub runtime: ReplicaRuntimeKind,
    /// How long one replica may take for one answer before another is asked.
    pub answer_limit: Duration,
    /// From its start until it answered its golden rows.
    pub start_limit: Duration,
    /// Of one replica.
    pub memory_limit_bytes: u64,
    /// Processors of one replica; `None`: as many as there are.
    pub cpus: Option<f64>,
    /// Devices of one container, as Docker's `--gpus` takes them; `None`: none.
    pub gpus: Option<String>,
    pub scaling: ScalingSettings,
}

/// What a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaRuntimeKind {
    /// The model in the gateway's own process, on as many threads as it needs.
    #[default]
    InProcess,
    /// A process of this machine.
    Process,
    /// A container of this machine.
    Container,
}

impl ReplicaRuntimeKind {
    /// As it is written in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Process => "process",
            Self::Container => "container",
        }
    }
}

impl Default for ReplicaSettings {
    /// One, in the gateway's process: what stages of plans had before there were replicas.
    fn default() -> Self {
        Self {
            runtime: ReplicaRuntimeKind::InProcess,
            answer_limit: DEFAULT_ANSWER_LIMIT,
            start_limit: DEFAULT_START_LIMIT,
            memory_limit_bytes: DEFAULT_MEMORY_LIMIT,
            cpus: None,
            gpus: None,
            scaling: ScalingSettings::default(),
        }
    }
}

/// `served`: where a program of the user's own has to run that answers instead of Serin; it cannot in the gateway's process.
pub(super) fn check(
    stage: &str,
    raw: &RawReplicas,
    served: Option<ReplicaRuntimeKind>,
    at: &Place<'_>,
) -> Result<ReplicaSettings, ConfigError> {
    let key = |key: &str| format!("stages.{stage}.replicas.{key}");
    let written = match raw.runtime.as_deref().unwrap_or("in-process") {
        "in-process" => ReplicaRuntimeKind::InProcess,
        "process" => ReplicaRuntimeKind::Process,
        "container" => ReplicaRuntimeKind::Container,
        other => {
            let fix = "write \"in-process\", \"process\" or \"container\"";
            return Err(at.error(&key("runtime"), &format!("is \"{other}\""), fix));
        }
    };
    let runtime = served.unwrap_or(written);
    let time = |name: &str, text: &Option<String>, usual: Duration, longest: Duration| match text {
        None => Ok(usual),
        Some(text) => {
            parse_duration(text).filter(|time| !time.is_zero() && *time <= longest).ok_or_else(|| {
                let fix =
                    format!("write a time such as \"500ms\" or \"30s\", at most {} s", longest.as_secs());
                at.error(&key(name), &format!("is \"{text}\""), &fix)
            })
        }
    };
    let cpus = raw.cpus.map(|cpus| at.within(&key("cpus"), cpus, 0.01, 1_024.0)).transpose()?;
    Ok(ReplicaSettings {
        runtime,
        answer_limit: time("answer_limit", &raw.answer_limit, DEFAULT_ANSWER_LIMIT, ANSWER_LIMIT_LONGEST)?,
        start_limit: time("start_limit", &raw.start_limit, DEFAULT_START_LIMIT, START_LIMIT_LONGEST)?,
        memory_limit_bytes: bytes(&key("memory_limit"), raw.memory_limit.as_deref(), LEAST_MEMORY_LIMIT, at)?
            .unwrap_or(DEFAULT_MEMORY_LIMIT),
        cpus: only_outside(&key("cpus"), cpus, runtime, at)?,
        gpus: gpus(&key("gpus"), raw.gpus.as_deref(), runtime, at)?,
        scaling: scaling(stage, raw, runtime, at)?,
    })
}

fn scaling(
    stage: &str,
    raw: &RawReplicas,
    runtime: ReplicaRuntimeKind,
    at: &Place<'_>,
) -> Result<ScalingSettings, ConfigError> {
    let key = |key: &str| format!("stages.{stage}.replicas.{key}");
    let is_inside = runtime == ReplicaRuntimeKind::InProcess;
    let usual_max = if is_inside { 1 } else { DEFAULT_MAX };
    let min = at.within(&key("min"), raw.min.unwrap_or(1), 0, REPLICAS_LIMIT)?;
    let max = at.within(&key("max"), raw.max.unwrap_or(usual_max.max(min)), 1, REPLICAS_LIMIT)?;
    if is_inside && max > 1 {
        let written = if raw.max.is_some() { "max" } else { "min" };
        let fix = "write 1, or runtime = \"process\": in the gateway's process one model answers on as many threads as it needs";
        return Err(at.error(&key(written), &format!("is {max}, in-process"), fix));
    }
    if min > max {
        return Err(at.error(&key("min"), &format!("is {min}, and max is {max}"), "let min be at most max"));
    }
    let steps = steps(&key("steps"), raw.steps.as_deref(), at)?;
    let mut policies = targets(&key("target"), raw.target.as_ref(), at)?;
    let has_target = !policies.is_empty();
    policies.extend((!steps.is_empty()).then_some(Policy::Steps { steps }));
    if is_inside && !policies.is_empty() {
        let written = if has_target { "target" } else { "steps" };
        let fix = "write runtime = \"process\" or \"container\", or remove it";
        return Err(at.error(&key(written), "counts replicas, and in-process there is one", fix));
    }
    let schedules = schedule(&key("schedule"), raw.schedule.as_deref(), (min, max), is_inside, at)?;
    let cooldown = |name: &str, text: &Option<String>| match text {
        None => Ok(DEFAULT_COOLDOWN),
        Some(text) => parse_duration(text).filter(|time| *time <= COOLDOWN_LONGEST).ok_or_else(|| {
            let fix = "write a time such as \"0s\", \"60s\" or \"5m\", at most 24h";
            at.error(&key(name), &format!("is \"{text}\""), fix)
        }),
    };
    Ok(ScalingSettings {
        min,
        max,
        policies,
        scale_in: raw.scale_in.unwrap_or(true),
        scale_in_cooldown: cooldown("scale_in_cooldown", &raw.scale_in_cooldown)?,
        scale_out_cooldown: cooldown("scale_out_cooldown", &raw.scale_out_cooldown)?,
        schedules,
        fast: raw.fast.unwrap_or(true),
    })
}

fn targets(key: &str, raw: Option<&RawTargets>, at: &Place<'_>) -> Result<Vec<Policy>, ConfigError> {
    let texts = match raw {
        None => &[],
        Some(RawTargets::One(text)) => std::slice::from_ref(text),
        Some(RawTargets::Many(texts)) => texts.as_slice(),
    };
    if texts.len() > TARGETS_LIMIT {
        return Err(at.error(key, "are too many", &format!("give at most {TARGETS_LIMIT}")));
    }
    let mut policies: Vec<Policy> = Vec::new();
    for text in texts {
        let (metric, target) = measured(key, text, at)?;
        let is_same = |policy: &Policy| matches!(policy, Policy::TargetTracking { metric: other, .. } if *other == metric);
        if policies.iter().any(is_same) {
            let problem = format!("has two targets for {}", metric.unit());
            return Err(at.error(key, &problem, "give each metric one target"));
        }
        policies.push(Policy::TargetTracking { metric, target });
    }
    Ok(policies)
}

/// A number above zero with its unit.
fn measured(key: &str, text: &str, at: &Place<'_>) -> Result<(ScaleMetric, f64), ConfigError> {
    let most = |metric| if metric == ScaleMetric::Cpu { 100.0 } else { LARGEST_TARGET };
    parse_target(text).filter(|(metric, value)| *value > 0.0 && *value <= most(*metric)).ok_or_else(|| {
        let fix = "write such as \"750 invocations per replica per minute\", \"4 in flight per replica\" or \"70% cpu\"";
        at.error(key, &format!("is \"{text}\""), fix)
    })
}

fn steps(key: &str, raw: Option<&[RawScaleStep]>, at: &Place<'_>) -> Result<Vec<ScaleStep>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.len() > STEPS_LIMIT {
        return Err(at.error(key, "are too many", &format!("give at most {STEPS_LIMIT}")));
    }
    raw.iter().map(|step| self::step(key, step, at)).collect()
}

fn step(key: &str, raw: &RawScaleStep, at: &Place<'_>) -> Result<ScaleStep, ConfigError> {
    let (side, text, change, usual) = match (&raw.above, &raw.below, raw.add, raw.remove) {
        (Some(text), None, Some(add), None) => (StepSide::Above, text, add, HIGH_MINUTES),
        (None, Some(text), None, Some(remove)) => (StepSide::Below, text, remove, LOW_MINUTES),
        _ => {
            let fix = "write such as { above = \"70% cpu\", add = 2 } or { below = \"20% cpu\", remove = 1 }";
            return Err(at.error(key, "have one that is none", fix));
        }
    };
    let (metric, threshold) = measured(key, text, at)?;
    let minutes = raw.minutes.unwrap_or(usual);
    let is_fine = (1..=REPLICAS_LIMIT).contains(&change) && (1..=LOW_MINUTES).contains(&minutes);
    if !is_fine {
        let problem = format!("change by {change} after {minutes} minutes");
        let fix = format!("change by 1 to {REPLICAS_LIMIT} after 1 to {LOW_MINUTES} minutes");
        return Err(at.error(key, &problem, &fix));
    }
    Ok(ScaleStep { metric, side, threshold, minutes, change })
}

fn schedule(
    key: &str,
    raw: Option<&[RawScheduledBounds]>,
    (min, max): (u32, u32),
    is_inside: bool,
    at: &Place<'_>,
) -> Result<Vec<ScheduledBounds>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.len() == 1 {
        let fix = "give a second one that ends it, or write min and max";
        return Err(at.error(key, "has one entry, which would hold for ever", fix));
    }
    if raw.len() > SCHEDULE_LIMIT {
        return Err(at.error(key, "has too many entries", &format!("give at most {SCHEDULE_LIMIT}")));
    }
    let mut entries = Vec::with_capacity(raw.len());
    for entry in raw {
        let zone = entry.zone.clone().unwrap_or_else(|| "UTC".to_owned());
        let refused = |error| at.error(key, &in_one_line(&error), "correct that entry");
        Schedule::parse(&entry.cron, &zone).map_err(refused)?;
        let most = if is_inside { 1 } else { REPLICAS_LIMIT };
        let (low, high) = (entry.min.unwrap_or(min), entry.max.unwrap_or(max));
        if low > high || !(1..=most).contains(&high) {
            let fix = format!("let min be at most max, and max from 1 to {most}");
            return Err(at.error(key, &format!("has an entry from {low} to {high} replicas"), &fix));
        }
        entries.push(ScheduledBounds { cron: entry.cron.clone(), zone, min: low, max: high });
    }
    Ok(entries)
}

/// What a replica in the gateway's process cannot have.
fn only_outside<T>(
    key: &str,
    value: Option<T>,
    runtime: ReplicaRuntimeKind,
    at: &Place<'_>,
) -> Result<Option<T>, ConfigError> {
    if value.is_some() && runtime == ReplicaRuntimeKind::InProcess {
        let fix = "write runtime = \"process\" or \"container\", or remove it";
        return Err(at.error(key, "limits a replica, and in-process there is none of its own", fix));
    }
    Ok(value)
}

fn gpus(
    key: &str,
    text: Option<&str>,
    runtime: ReplicaRuntimeKind,
    at: &Place<'_>,
) -> Result<Option<String>, ConfigError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let is_request = text.len() <= GPUS_LONGEST_BYTES
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=,-_:\"".contains(&byte));
    if !is_request {
        return Err(at.error(
            key,
            "is no request for devices",
            "write such as \"all\", \"1\" or \"device=0\"",
        ));
    }
    if runtime != ReplicaRuntimeKind::Container {
        return Err(at.error(key, "is for containers", "write runtime = \"container\", or remove it"));
    }
    Ok(Some(text.to_owned()))
}
