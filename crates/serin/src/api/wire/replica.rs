//! Replicas as they travel, and how many there are to be.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::clock::Steady;
use serin_core::scale::{FleetPage, Policy, ReplicaPage, ScaleMetric, ScalerStatus, StepSide};
use serin_core::store::ScalingRecord;
use utoipa::ToSchema;

/// The replicas of one version at one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Fleet {
    pub endpoint: String,
    /// `null`: it is not routed any more.
    pub project: Option<String>,
    pub stage: Option<String>,
    pub version: String,
    /// `process` or `container`.
    pub runtime: String,
    /// It is routed no longer, and ends.
    pub is_retired: bool,
    pub desired: u32,
    /// Those that answer.
    pub ready: usize,
    pub min: u32,
    pub max: u32,
    /// Whether the bounds are those of the schedule.
    pub is_scheduled: bool,
    /// What a rollout needs; 0 without one.
    pub floor: u32,
    /// Requests that wait for a first replica, and all that are being worked on.
    pub waiting: u32,
    pub in_flight: u32,
    /// Since the version was routed: these and those that follow.
    pub requests: u64,
    /// Requests that were given to a second replica.
    pub retries: u64,
    /// Times that a replica was left alone for a while.
    pub ejections: u64,
    pub starts: u64,
    /// Replicas that ended without being asked to.
    pub ends: u64,
    /// Attempts that failed, by kind: `gone`, `hang`, `garbage`.
    pub failures: BTreeMap<String, u64>,
    /// Why no replica comes, when none does.
    pub failure: Option<String>,
    pub hold: Option<Hold>,
    pub replicas: Vec<Replica>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Replica {
    pub name: String,
    /// `starting`, `ready`, `ejected` or `draining`.
    pub state: &'static str,
    pub address: String,
    pub in_flight: u32,
    pub answered: u64,
    /// Of answers lately.
    pub latency_milliseconds: Option<f64>,
    /// Since it was ready, or since it was started.
    pub age_seconds: f64,
    pub memory_bytes: Option<u64>,
    /// Percent of one processor, lately.
    pub cpu_percent: Option<f64>,
    /// What went wrong last.
    pub last_trouble: Option<String>,
}

/// Why it stays although something speaks for another number.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Hold {
    /// `not-measured`, `no-replica-ready`, `no-spare-processor` or `at-the-maximum`.
    pub code: String,
    pub reason: String,
    pub for_seconds: f64,
}

/// How many replicas of a version there are to be, and what that rests on.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Autoscale {
    pub endpoint: String,
    pub project: String,
    pub stage: String,
    pub version: String,
    pub desired: u32,
    /// `null`: it was not seen lately.
    pub ready: Option<u32>,
    pub min: u32,
    pub max: u32,
    /// Whether the bounds are those of the schedule.
    pub is_scheduled: bool,
    /// What a rollout needs; 0 without one.
    pub floor: u32,
    /// Every metric for each replica in the minute that was over last, by its unit; `null`: it could not be measured.
    pub last_minute: BTreeMap<&'static str, Option<f64>>,
    /// Empty: by hand, and by schedule.
    pub rules: Vec<AutoscaleRule>,
    /// Requests in flight for each replica beyond which replicas are added within seconds; `null`: off.
    pub fast_limit: Option<f64>,
    pub cooldowns: Cooldowns,
    pub hold: Option<Hold>,
    /// Why no replica comes, when none does.
    pub failure: Option<String>,
}

/// A target, or a step.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AutoscaleRule {
    /// `target` or `step`.
    pub kind: &'static str,
    /// Such as `in flight per replica`.
    pub unit: &'static str,
    pub threshold: f64,
    /// As it is written in settings.
    pub written: String,
    /// In the minute that was over last; `null`: it could not be measured.
    pub last_minute: Option<f64>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`: whether it speaks for more replicas; `null`: it never does.
    pub more: Option<&'static str>,
    /// Whether it speaks for fewer.
    pub fewer: Option<&'static str>,
}

/// Seconds left; `null`: none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Cooldowns {
    /// In which what was added counts as part of a larger step.
    pub scale_out_seconds: Option<f64>,
    /// In which replicas become no fewer.
    pub scale_in_seconds: Option<f64>,
    /// The same after a restart or other settings.
    pub resumed_seconds: Option<f64>,
}

/// What was decided about the replicas of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scaling {
    /// Its number among all decisions.
    pub decision: u64,
    pub time: String,
    pub endpoint: String,
    pub version: String,
    pub from: u32,
    pub to: u32,
    /// `target-tracking-out`, `step-out`, `fast-out`, `from-zero`, `scale-in`, `schedule`, `bounds`, `floor`, `by-hand`
    /// or `hold`.
    pub rule: String,
    pub reason: String,
}

/// The number of replicas that a person asked for is wanted from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scaled {
    pub endpoint: String,
    pub version: String,
    pub before: u32,
    pub desired: u32,
}

/// A replica that answers what it has, and ends when another is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Drained {
    pub replica: String,
    pub endpoint: String,
    pub version: String,
}

impl Fleet {
    /// As the gateway tells it; `place` is the project and the stage of its endpoint.
    #[must_use]
    pub fn of(page: FleetPage, place: Option<(String, String)>) -> Self {
        let hold = hold(&page.scaler, page.now);
        let (project, stage) = place.unzip();
        let replicas: Vec<Replica> = page.replicas.into_iter().map(Replica::from).collect();
        Self {
            endpoint: page.endpoint,
            project,
            stage,
            version: page.version,
            runtime: page.runtime,
            is_retired: page.is_retired,
            desired: page.scaler.desired,
            ready: replicas.iter().filter(|replica| ["ready", "ejected"].contains(&replica.state)).count(),
            min: page.scaler.min,
            max: page.scaler.max,
            is_scheduled: page.scaler.is_scheduled,
            floor: page.scaler.floor,
            waiting: page.waiting,
            in_flight: page.in_flight,
            requests: page.requests,
            retries: page.retries,
            ejections: page.ejections,
            starts: page.starts,
            ends: page.ends,
            failures: page.troubles,
            failure: page.failure,
            hold,
            replicas,
        }
    }
}

impl Autoscale {
    /// A scaler as it stood at `now`.
    #[must_use]
    pub fn of(
        (project, stage): (String, String),
        (endpoint, version): (String, String),
        scaler: &ScalerStatus,
        now: Steady,
        failure: Option<String>,
    ) -> Self {
        let last = |wanted: ScaleMetric| {
            let found = scaler.metrics.iter().find(|known| known.metric == wanted);
            found.and_then(|known| known.last_minute)
        };
        let left = |until: Option<Steady>| until.map(|until| (until - now).as_secs_f64());
        let rules = scaler.policies.iter().flat_map(|status| match &status.policy {
            Policy::TargetTracking { metric, target } => vec![AutoscaleRule {
                kind: "target",
                unit: metric.unit(),
                threshold: *target,
                written: metric.words(*target),
                last_minute: last(*metric),
                more: Some(status.high.name()),
                fewer: Some(status.low.name()),
            }],
            Policy::Steps { steps } => steps
                .iter()
                .map(|step| {
                    let is_above = step.side == StepSide::Above;
                    let threshold = step.metric.words(step.threshold);
                    let (side, change) = if is_above { ("above", "more") } else { ("below", "fewer") };
                    AutoscaleRule {
                        kind: "step",
                        unit: step.metric.unit(),
                        threshold: step.threshold,
                        written: format!(
                            "{side} {threshold} for {} min: {} {change}",
                            step.minutes, step.change
                        ),
                        last_minute: last(step.metric),
                        more: is_above.then(|| status.high.name()),
                        fewer: (!is_above).then(|| status.low.name()),
                    }
                })
                .collect(),
        });
        Self {
            endpoint,
            project,
            stage,
            version,
            desired: scaler.desired,
            ready: scaler.ready,
            min: scaler.min,
            max: scaler.max,
            is_scheduled: scaler.is_scheduled,
            floor: scaler.floor,
            last_minute: ScaleMetric::ALL.iter().map(|metric| (metric.unit(), last(*metric))).collect(),
            rules: rules.collect(),
            fast_limit: scaler.fast_limit,
            cooldowns: Cooldowns {
                scale_out_seconds: left(scaler.scale_out_cooldown_until),
                scale_in_seconds: left(scaler.scale_in_cooldown_until),
                resumed_seconds: left(scaler.resumed_until),
            },
            hold: hold(scaler, now),
            failure,
        }
    }
}

fn hold(scaler: &ScalerStatus, now: Steady) -> Option<Hold> {
    scaler.hold.as_ref().map(|hold| Hold {
        code: hold.code.clone(),
        reason: hold.reason.clone(),
        for_seconds: (now - hold.since).as_secs_f64(),
    })
}

impl From<ReplicaPage> for Replica {
    fn from(page: ReplicaPage) -> Self {
        Self {
            name: page.name,
            state: page.state.name(),
            address: page.address,
            in_flight: page.in_flight,
            answered: page.answered,
            latency_milliseconds: page.latency_milliseconds,
            age_seconds: page.age_seconds,
            memory_bytes: page.memory_bytes,
            cpu_percent: page.cpu_percent,
            last_trouble: page.last_trouble,
        }
    }
}

impl From<ScalingRecord> for Scaling {
    fn from(record: ScalingRecord) -> Self {
        Self {
            decision: record.decision.0,
            time: record.time.to_rfc3339(),
            endpoint: record.endpoint,
            version: record.version,
            from: record.from,
            to: record.to,
            rule: record.rule,
            reason: record.reason,
        }
    }
}
