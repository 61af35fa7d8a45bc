//! The slow layer: target tracking and steps as Application Auto Scaling publishes them, on one-minute points.
//!
//! Sources: "How target tracking scaling for Application Auto Scaling works" and "How step scaling works" of its user guide;
//! three and fifteen points and nine tenths as its alarms are seen to be made. What is not published is chosen so that
//! capacity is never too small: a scale-in keeps what the busiest of the fifteen minutes needed.

use std::time::Duration;

use super::reading::{MINUTE, Minute, Value, Window};
use super::scaler::Scaler;
use super::settings::{Policy, ScaleMetric, ScaleStep, StepSide, rounded};
use crate::clock::Steady;

/// One-minute points that must all be above the target before replicas become more.
pub const HIGH_MINUTES: u32 = 3;
/// One-minute points that must all be below [`LOW_SHARE`] of the target before they become fewer.
pub const LOW_MINUTES: u32 = 15;
/// See [`LOW_MINUTES`].
pub const LOW_SHARE: f64 = 0.9;

/// What a policy says at the end of a minute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Vote {
    Out {
        to: u32,
        rule: &'static str,
        why: String,
    },
    In {
        to: u32,
        why: String,
    },
    Stay,
    /// It can only add, and does not.
    Abstain,
    /// Its metric could not be measured.
    Unknown {
        why: String,
    },
}

impl Scaler {
    /// What `policy` says about the minute that was over last.
    pub(super) fn vote(&self, policy: &Policy, now: Steady) -> Vote {
        match policy {
            Policy::TargetTracking { metric, target } => self.track(*metric, *target, now),
            Policy::Steps { steps } => self.step(steps, now),
        }
    }

    /// Whether the points of the last minutes are all there and on one side of a threshold.
    pub(super) fn are_beyond(
        &self,
        metric: ScaleMetric,
        side: StepSide,
        threshold: f64,
        minutes: u32,
        now: Steady,
    ) -> bool {
        let last = Window::last_minute(now);
        (0..i64::from(minutes)).all(|back| {
            let value = self.window.minute(last - back).and_then(|minute| minute.value(metric));
            value.is_some_and(|value| match side {
                StepSide::Above => value.per_replica > threshold,
                StepSide::Below => value.per_replica < threshold,
            })
        })
    }

    /// The last `minutes` minutes, when all of them were measured and came after the last time that replicas became more:
    /// points of fewer replicas say nothing about so many.
    fn calm_minutes(&self, minutes: u32, now: Steady) -> Option<Vec<&Minute>> {
        let last = Window::last_minute(now);
        let first = last - i64::from(minutes) + 1;
        let begins = Steady(first.saturating_mul(MINUTE.as_micros() as i64));
        if self.last_out.is_some_and(|out| out > begins) {
            return None;
        }
        (first..=last).map(|index| self.window.minute(index)).collect()
    }

    /// Whether nobody asked anything for as long as a scale-in takes.
    pub(super) fn is_idle(&self, now: Steady) -> bool {
        let measured = |minute: &Minute| {
            minute.is_idle && minute.value(ScaleMetric::InvocationsPerReplicaPerMinute).is_some()
        };
        self.calm_minutes(LOW_MINUTES, now)
            .is_some_and(|minutes| minutes.iter().all(|minute| measured(minute)))
    }

    fn track(&self, metric: ScaleMetric, target: f64, now: Steady) -> Vote {
        let Some(value) = self.last_value(metric, now) else { return self.unknown(metric, now) };
        if self.are_beyond(metric, StepSide::Above, target, HIGH_MINUTES, now) {
            let to = replicas_for(value.total, target);
            if to <= self.desired {
                return Vote::Stay;
            }
            let why = format!(
                "{} for {HIGH_MINUTES} minutes, above {}: {} together need {to} replicas",
                metric.words(value.per_replica),
                rounded(target),
                rounded(value.total),
            );
            return Vote::Out { to, rule: "target-tracking-out", why };
        }
        let low = LOW_SHARE * target;
        if !self.are_beyond(metric, StepSide::Below, low, LOW_MINUTES, now) {
            return Vote::Stay;
        }
        let Some(minutes) = self.calm_minutes(LOW_MINUTES, now) else { return Vote::Stay };
        // Processors are never quite idle; who is not asked needs none.
        let totals =
            minutes.iter().filter(|minute| !minute.is_idle).filter_map(|minute| minute.value(metric));
        let busiest = totals
            .map(|value| value.total)
            .fold(None, |most: Option<f64>, total| Some(most.map_or(total, |most| most.max(total))));
        let to = busiest.map_or(0, |busiest| replicas_for(busiest, target).max(1));
        if to >= self.desired {
            return Vote::Stay;
        }
        let why = format!(
            "{} and less for {LOW_MINUTES} minutes below {}: at most {} together need {to} replicas",
            metric.words(value.per_replica),
            rounded(low),
            rounded(busiest.unwrap_or(0.0)),
        );
        Vote::In { to, why }
    }

    fn step(&self, steps: &[ScaleStep], now: Steady) -> Vote {
        if let Some(unknown) = steps.iter().find(|step| self.last_value(step.metric, now).is_none()) {
            return self.unknown(unknown.metric, now);
        }
        let taken = |side| {
            let beyond = steps.iter().filter(move |step| {
                step.side == side && self.are_beyond(step.metric, side, step.threshold, step.minutes, now)
            });
            beyond.max_by_key(|step| step.change)
        };
        let words = |step: &ScaleStep, side: &str| {
            let value = self.last_value(step.metric, now).map_or(0.0, |value| value.per_replica);
            let (minutes, limit) = (step.minutes, rounded(step.threshold));
            format!("{} for {minutes} minutes, {side} {limit}", step.metric.words(value))
        };
        if let Some(step) = taken(StepSide::Above) {
            // What was added within the cooldown is part of what a larger step adds.
            let base = self.out.filter(|out| now < out.until).map_or(self.desired, |out| out.base);
            let to = base.saturating_add(step.change);
            if to > self.desired {
                let why = format!("{}: {} more than {base}", words(step, "above"), step.change);
                return Vote::Out { to, rule: "step-out", why };
            }
            return Vote::Stay;
        }
        if steps.iter().all(|step| step.side == StepSide::Above) {
            return Vote::Abstain;
        }
        let Some(step) = taken(StepSide::Below) else { return Vote::Stay };
        let Some(minutes) = self.calm_minutes(step.minutes, now) else { return Vote::Stay };
        let least = u32::from(!minutes.iter().all(|minute| minute.is_idle));
        let to = self.desired.saturating_sub(step.change).max(least);
        if to >= self.desired {
            return Vote::Stay;
        }
        Vote::In { to, why: format!("{}: {} fewer", words(step, "below"), step.change) }
    }

    pub(super) fn last_value(&self, metric: ScaleMetric, now: Steady) -> Option<Value> {
        self.window.minute(Window::last_minute(now)).and_then(|minute| minute.value(metric))
    }

    /// In the minute in which it began nothing can have been measured yet.
    fn unknown(&self, metric: ScaleMetric, now: Steady) -> Vote {
        let minute = Window::last_minute(now);
        let begins = Steady(minute.saturating_mul(MINUTE.as_micros() as i64));
        if begins <= self.began {
            return Vote::Stay;
        }
        Vote::Unknown { why: format!("{} was not measured for a minute", metric.unit()) }
    }
}

/// Replicas for a load; rounded up, but not because a float is a little above a whole number.
pub(super) fn replicas_for(total: f64, target: f64) -> u32 {
    let exact = total / target;
    if !exact.is_finite() {
        return 0;
    }
    // A cast to an integer takes the nearest that there is.
    (exact * (1.0 - 1e-9)).ceil() as u32
}

/// How long a scale-in looks back, which is also how long there is none after a restart.
pub(super) const LOW_WINDOW: Duration = Duration::from_secs(60 * LOW_MINUTES as u64);
