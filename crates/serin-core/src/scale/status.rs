//! How a scaler stands, for people.

use serde::{Deserialize, Serialize};

use super::scaler::Scaler;
use super::settings::{Policy, ScaleMetric, StepSide};
use super::slow::{HIGH_MINUTES, LOW_MINUTES, LOW_SHARE};
use crate::clock::{Steady, Timestamp};
use crate::domain::AlarmState;

/// What `serin autoscale status` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalerStatus {
    pub desired: u32,
    /// Of the newest second; `None` when that is too old.
    pub ready: Option<u32>,
    pub min: u32,
    pub max: u32,
    /// Whether the bounds are those of the schedule.
    pub is_scheduled: bool,
    /// What a rollout needs; 0 without one.
    pub floor: u32,
    pub metrics: Vec<MetricStatus>,
    pub policies: Vec<PolicyStatus>,
    /// Requests in flight for each replica beyond which the fast layer looks closer; `None` when it is off.
    pub fast_limit: Option<f64>,
    /// Until when, if that is to come: what was added counts as part of a larger step,
    pub scale_out_cooldown_until: Option<Steady>,
    /// replicas become no fewer,
    pub scale_in_cooldown_until: Option<Steady>,
    /// nor because of a restart or of other settings.
    pub resumed_until: Option<Steady>,
    pub hold: Option<HoldStatus>,
}

/// A metric, for each replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricStatus {
    pub metric: ScaleMetric,
    /// Of the minute that was over last; `None`: it could not be measured.
    pub last_minute: Option<f64>,
}

/// A policy, and its alarms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyStatus {
    pub policy: Policy,
    /// Whether it speaks for more replicas, and for fewer.
    pub high: AlarmState,
    pub low: AlarmState,
}

/// Why it stays although something speaks for another number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// `not-measured`, `no-replica-ready`, `no-spare-processor` or `at-the-maximum`.
    pub code: String,
    pub reason: String,
    pub since: Steady,
}

impl Scaler {
    /// How it stands.
    #[must_use]
    pub fn status(&self, now: Steady, wall: Timestamp) -> ScalerStatus {
        let (min, max) = self.bounds(wall);
        let to_come = |until: Option<Steady>| until.filter(|until| now < *until);
        let has_fast = self.settings.fast && !self.settings.policies.is_empty();
        ScalerStatus {
            desired: self.desired,
            ready: self.window.newest(now).map(|second| second.ready),
            min,
            max,
            is_scheduled: self.in_force(wall).is_scheduled,
            floor: self.floor,
            metrics: ScaleMetric::ALL
                .map(|metric| MetricStatus {
                    metric,
                    last_minute: self.last_value(metric, now).map(|value| value.per_replica),
                })
                .to_vec(),
            policies: self.settings.policies.iter().map(|policy| self.policy_status(policy, now)).collect(),
            fast_limit: has_fast.then(|| self.in_flight_limit(now).0),
            scale_out_cooldown_until: to_come(self.out.map(|out| out.until)),
            scale_in_cooldown_until: to_come(self.in_until),
            resumed_until: to_come(self.resumed_until),
            hold: self.holds.last().map(|hold| HoldStatus {
                code: hold.code.clone(),
                reason: hold.reason.clone(),
                since: hold.since,
            }),
        }
    }

    fn policy_status(&self, policy: &Policy, now: Steady) -> PolicyStatus {
        let of = |metric, side, threshold, minutes| {
            if self.last_value(metric, now).is_none() {
                AlarmState::InsufficientData
            } else if self.are_beyond(metric, side, threshold, minutes, now) {
                AlarmState::Alarm
            } else {
                AlarmState::Ok
            }
        };
        let alarm = |side| match policy {
            Policy::TargetTracking { metric, target } => match side {
                StepSide::Above => of(*metric, side, *target, HIGH_MINUTES),
                StepSide::Below => of(*metric, side, LOW_SHARE * target, LOW_MINUTES),
            },
            Policy::Steps { steps } => {
                let states: Vec<AlarmState> = steps
                    .iter()
                    .filter(|step| step.side == side)
                    .map(|step| of(step.metric, side, step.threshold, step.minutes))
                    .collect();
                let is_any = |state| states.contains(&state);
                if is_any(AlarmState::Alarm) {
                    AlarmState::Alarm
                } else if is_any(AlarmState::InsufficientData) {
                    AlarmState::InsufficientData
                } else {
                    AlarmState::Ok
                }
            }
        };
        PolicyStatus { policy: policy.clone(), high: alarm(StepSide::Above), low: alarm(StepSide::Below) }
    }
}
