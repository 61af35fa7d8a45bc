//! Rollouts as they travel.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::clock::Timestamp;
use serin_core::domain::Event;
use serin_core::rollout::{self, End, Phase};
use serin_core::store::StoredRollout;
use serin_ml::sequential::{Tally, latency_quantile, requests_to_see};
use utoipa::ToSchema;

/// A version on its way to take over from another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Rollout {
    pub number: u64,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    pub run: u64,
    /// The new version, and the one that it takes over from.
    pub version: u64,
    pub stable_version: Option<u64>,
    /// The preset, or how the steps were written.
    pub plan: String,
    pub steps: Vec<RolloutStep>,
    /// `loading`, `before-traffic`, `mirroring`, `shifting`, `after-traffic`, `probation`, `returning`, `completed`,
    /// `rolled-back` or `superseded`.
    pub phase: &'static str,
    /// Which step traffic is at, from 1.
    pub step: Option<usize>,
    /// The new version's share of the requests, percent.
    pub weight: f64,
    /// How long the phase has lasted.
    pub phase_seconds: f64,
    pub condition: Condition,
    /// Why it went back, or what took its place.
    pub because: Option<String>,
    /// A name for that which does not change.
    pub code: Option<String>,
    pub by: Option<String>,
    pub reason: String,
    pub created: String,
    pub ended: Option<String>,
    /// Requests that the present step has, and those that it needs.
    pub step_requests: u64,
    pub needed_requests: u64,
    /// Of both versions together, since the beginning.
    pub requests_per_second: Option<f64>,
    /// How long it takes at this rate and weight until one more failure in a hundred requests is seen.
    pub seconds_to_see_a_point: Option<f64>,
    pub canary: VersionEvidence,
    /// In the same seconds.
    pub stable: VersionEvidence,
    /// Of the version that serves, before the rollout.
    pub before: VersionEvidence,
    pub mirrored: VersionEvidence,
    pub mirrored_disagreed: u64,
    pub mirrored_dropped: u64,
    /// What happened, oldest first; only when one rollout is asked for.
    pub history: Vec<RolloutEvent>,
}

/// A step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolloutStep {
    /// Percent.
    pub weight: f64,
    pub bake_seconds: f64,
}

/// Whether it goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Condition {
    /// `going`, `paused` or `held`.
    pub name: &'static str,
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// What was counted of a version.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VersionEvidence {
    pub requests: u64,
    /// As their callers saw it: 5xx, invalid output, no answer within two seconds.
    pub failed: u64,
    pub invalid: u64,
    pub late: u64,
    /// Refused because their rows do not fit the version.
    pub misfits: u64,
    /// The caller's fault, which says nothing about the version.
    pub excused: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub classes: BTreeMap<String, u64>,
}

/// Something that happened in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RolloutEvent {
    pub time: String,
    pub event: String,
    pub text: String,
}

impl Rollout {
    /// As it is at the age `now` of the data directory.
    #[must_use]
    pub fn at(stored: &StoredRollout, now: serin_core::clock::Steady) -> Self {
        let StoredRollout { rollout, ended, ended_steady, .. } = stored;
        let (canary, stable) = (rollout.evidence.canary(), rollout.evidence.stable());
        let (step, weight) = match &rollout.phase {
            Phase::Shifting { step } => (Some(step + 1), rollout.weight_of(*step)),
            Phase::AfterTraffic { .. } | Phase::Probation | Phase::Ended { end: End::Completed } => {
                (None, 100.0)
            }
            _ => (None, 0.0),
        };
        let until = ended_steady.unwrap_or(now);
        let seconds = (until - rollout.began).as_secs_f64();
        let asked = canary.trials().n + stable.trials().n;
        let rate = (asked > 0 && seconds >= 1.0).then(|| asked as f64 / seconds);
        let base = rollout.evidence.before.plus(&stable).trials().rate();
        let weights = rollout.settings.steps.first().map_or(100.0, |step| step.weight);
        let share = if weight > 0.0 { weight } else { weights } / 100.0;
        let needed = requests_to_see(0.01, base, rollout.settings.judge.min_requests);
        let in_step = rollout.evidence.strata.last().map_or(0, |stratum| stratum.canary.trials().n);
        let (because, code) = match &rollout.phase {
            Phase::Returning { why } | Phase::Ended { end: End::RolledBack { why } } => {
                (Some(why.reason.clone()), Some(why.code.clone()))
            }
            Phase::Ended { end: End::Superseded { by } } => (Some(by.clone()), Some("superseded".to_owned())),
            _ => (None, None),
        };
        Self {
            number: rollout.number.0,
            project: rollout.project.clone(),
            stage: rollout.stage.clone(),
            endpoint: rollout.endpoint.clone(),
            run: rollout.run.0,
            version: rollout.canary.version.0,
            stable_version: rollout.stable.as_ref().map(|stable| stable.version.0),
            plan: rollout.settings.plan.clone(),
            steps: rollout
                .settings
                .steps
                .iter()
                .map(|step| RolloutStep { weight: step.weight, bake_seconds: step.bake.as_secs_f64() })
                .collect(),
            phase: rollout.phase.name(),
            step,
            weight,
            phase_seconds: (until - rollout.since).as_secs_f64(),
            condition: Condition::from(&rollout.condition),
            because,
            code,
            by: rollout.by.clone(),
            reason: rollout.reason.clone(),
            created: rollout.created.to_rfc3339(),
            ended: ended.map(Timestamp::to_rfc3339),
            step_requests: in_step,
            needed_requests: rollout.settings.min_requests,
            requests_per_second: rate,
            seconds_to_see_a_point: rate.zip(needed).map(|(rate, needed)| needed as f64 / (rate * share)),
            canary: VersionEvidence::from(&canary),
            stable: VersionEvidence::from(&stable),
            before: VersionEvidence::from(&rollout.evidence.before),
            mirrored: VersionEvidence::from(&rollout.evidence.mirrored.tally),
            mirrored_disagreed: rollout.evidence.mirrored.disagreed,
            mirrored_dropped: rollout.evidence.mirrored.dropped,
            history: Vec::new(),
        }
    }
}

impl From<&rollout::Condition> for Condition {
    fn from(condition: &rollout::Condition) -> Self {
        match condition {
            rollout::Condition::Going => Self { name: "going", by: None, reason: None },
            rollout::Condition::Paused { by, reason } => {
                Self { name: "paused", by: Some(by.clone()), reason: Some(reason.clone()) }
            }
            rollout::Condition::Held { reason, .. } => {
                Self { name: "held", by: None, reason: Some(reason.clone()) }
            }
        }
    }
}

impl From<&Tally> for VersionEvidence {
    fn from(tally: &Tally) -> Self {
        let trials = tally.trials();
        let quantile = |quantile| {
            latency_quantile(&tally.latency, quantile)
                .filter(|value| value.is_finite())
                .map(|value| value / 1e3)
        };
        Self {
            requests: trials.n,
            failed: trials.failures,
            invalid: tally.invalid,
            late: tally.late,
            misfits: tally.misfits,
            excused: tally.excused,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            classes: tally.classes.clone(),
        }
    }
}

impl From<Event> for RolloutEvent {
    fn from(event: Event) -> Self {
        Self { time: event.time.to_rfc3339(), event: event.kind.name(), text: event.text }
    }
}
