//! The fast layer: requests in flight over three seconds, and only ever more replicas.
//!
//! It acts when every second of the last three had more in flight for each replica than a limit. With a target in flight the
//! limit is a tenth above it. Without one it is derived: twice the most that a minute had in which every target was kept, and
//! at least [`LEAST_IN_FLIGHT`]; then requests must also pile up. How many replicas it wants:
//!
//! - what the policies' own formula gives for the last seconds instead of the last minute;
//! - while requests pile up: what answers them at the rate at which the replicas now answer, at four fifths of that, and in
//!   [`DRAIN`] those that wait as well. Where a queue grows, its length says nothing about how many replicas are needed.
//!
//! Where it neither grows nor shrinks, a target in flight at most doubles the replicas: how much of what is in flight waits is
//! not known. Where it is over within [`SOON`], nothing is needed.
//!
//! A step adds at most four times the replicas that there are. While less than half of the host's processors is idle they come one at
//! a time, and with less than a tenth not at all: a model that loads would take from those that answer.

use std::time::Duration;

use super::reading::Second;
use super::scaler::Scaler;
use super::settings::{Policy, ScaleMetric, rounded};
use super::slow::replicas_for;
use crate::clock::Steady;

/// What is looked at, and the seconds in it that there must be.
const FAST_WINDOW: Duration = Duration::from_millis(2_900);
const FAST_SECONDS: usize = 3;
/// A derived limit is at least so many in flight for each replica.
const LEAST_IN_FLIGHT: f64 = 2.0;
/// A derived limit is so many times the most that a calm minute had.
const CALM_FACTOR: f64 = 2.0;
/// A target in flight may be exceeded by so much.
const TOLERANCE: f64 = 1.1;
/// Requests pile up when at least this share of those in flight was not there at the beginning of the window, and one each.
const PILE_SHARE: f64 = 0.1;
/// A line that gets shorter is left alone when it is over so soon.
const SOON: Duration = Duration::from_secs(8);
/// How much of what a replica manages is planned with.
const PLANNED_SHARE: f64 = 0.8;
/// How soon what waits is to be answered. It goes on growing until the new replicas have started.
const DRAIN: Duration = Duration::from_secs(5);
/// A step adds at most so many, or so many times those that there are when that is more.
const STEP_LEAST: u32 = 4;
const STEP_FACTOR: u32 = 4;
/// After a step the replicas are waited for, at most so long.
const SETTLE: Duration = Duration::from_secs(10);
/// Share of the host's processors that must be idle for another replica, and for several at once.
pub(super) const HOST_IDLE_LEAST: f64 = 0.1;
const HOST_IDLE_MANY: f64 = 0.5;

/// What the fast layer finds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fast {
    Calm,
    /// Too many are in flight, and it waits for what it began.
    Busy,
    Out {
        to: u32,
        why: String,
    },
    /// More would be good, and it must not be.
    Hold {
        code: &'static str,
        why: String,
    },
}

impl Scaler {
    pub(super) fn fast(&self, max: u32, now: Steady) -> Fast {
        if !self.settings.fast || self.settings.policies.is_empty() {
            return Fast::Calm;
        }
        let from = Steady(now.0.saturating_sub(FAST_WINDOW.as_micros() as i64));
        let seconds: Vec<&Second> = self.window.since(from).collect();
        let (limit, is_stated) = self.in_flight_limit(now);
        let is_over = |second: &&Second| second.in_flight_per_replica().is_some_and(|each| each > limit);
        if seconds.len() < FAST_SECONDS || !seconds.iter().all(is_over) {
            return Fast::Calm;
        }
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { return Fast::Calm };
        let in_flight = mean(&seconds, |second| second.in_flight);
        let grown = last.in_flight.unwrap_or(0.0) - first.in_flight.unwrap_or(0.0);
        let piles_up = grown >= 1.0 && grown > PILE_SHARE * in_flight;
        let ready = last.ready;
        let is_shorter = -grown > PILE_SHARE * in_flight;
        // From the middle of the first second to the middle of the last.
        let between = length(&seconds) * (seconds.len() as f64 - 1.0) / seconds.len() as f64;
        let is_soon_over = is_shorter && in_flight * between <= -grown * SOON.as_secs_f64();
        // Who shortens it too slowly has as much to do as it can.
        let is_too_long = piles_up || is_shorter;
        if is_soon_over || self.is_settling(ready, &seconds, now) {
            return Fast::Busy;
        }
        let demand = self.demand(&seconds, in_flight);
        let manages = if is_too_long { manages(&seconds, grown / between, in_flight) } else { None };
        let wanted = match (is_stated, manages) {
            // The target's formula counts those that pile up, and would ask for far too many.
            (true, Some(manages)) => demand.min(manages),
            (true, None) if ready >= self.desired => demand.min(self.desired.saturating_mul(2)),
            // What crashes and starts again is waited for.
            (true, None) => self.desired,
            (_, manages) => demand.max(manages.unwrap_or(0)),
        };
        let one_more = self.desired.saturating_add(1);
        let wanted =
            if (is_stated || piles_up) && ready >= self.desired { wanted.max(one_more) } else { wanted };
        if wanted <= self.desired {
            return Fast::Busy;
        }
        let words = format!(
            "{} in flight for each of {ready} replicas over 3 s, above {}",
            rounded(in_flight / f64::from(ready.max(1))),
            rounded(limit)
        );
        if self.desired >= max {
            return Fast::Hold { code: "at-the-maximum", why: format!("{words}, and {max} is the most") };
        }
        match self.spare(now) {
            None => Fast::Hold {
                code: "no-spare-processor",
                why: format!("{words}, and whether a processor is idle could not be measured"),
            },
            Some(idle) if idle < HOST_IDLE_LEAST => Fast::Hold {
                code: "no-spare-processor",
                why: format!("{words}, and no spare processor: {} % idle", rounded(100.0 * idle)),
            },
            Some(idle) => {
                let step = if idle < HOST_IDLE_MANY {
                    u32::from(ready >= self.desired)
                } else {
                    STEP_LEAST.max(self.desired.saturating_mul(STEP_FACTOR))
                };
                let to = wanted.min(self.desired.saturating_add(step)).min(max);
                if to <= self.desired {
                    return Fast::Busy;
                }
                Fast::Out { to, why: format!("{words}: {wanted} are needed") }
            }
        }
    }

    /// The limit of requests in flight for each replica, and whether a policy states it.
    pub(super) fn in_flight_limit(&self, now: Steady) -> (f64, bool) {
        let stated = self.settings.policies.iter().filter_map(|policy| match policy {
            Policy::TargetTracking { metric: ScaleMetric::InFlightPerReplica, target } => Some(*target),
            _ => None,
        });
        if let Some(target) = stated.reduce(f64::min) {
            return (TOLERANCE * target, true);
        }
        let calm = self.window.whole_minutes(now).filter(|minute| {
            self.settings.policies.iter().all(|policy| match policy {
                Policy::TargetTracking { metric, target } => {
                    minute.value(*metric).is_some_and(|value| value.per_replica <= *target)
                }
                Policy::Steps { .. } => true,
            })
        });
        let most = calm
            .filter_map(|minute| minute.value(ScaleMetric::InFlightPerReplica))
            .map(|value| value.per_replica)
            .fold(0.0, f64::max);
        (LEAST_IN_FLIGHT.max(CALM_FACTOR * most), false)
    }

    /// Whether what was begun shortly ago has yet to show.
    fn is_settling(&self, ready: u32, seconds: &[&Second], now: Steady) -> bool {
        let Some(began) = self.last_fast else { return false };
        if now - began >= SETTLE {
            return false;
        }
        ready < self.desired || seconds.iter().any(|second| second.ready < self.desired)
    }

    /// What the policies' formulas give for these seconds.
    fn demand(&self, seconds: &[&Second], in_flight: f64) -> u32 {
        let needed = self.settings.policies.iter().map(|policy| match policy {
            Policy::TargetTracking { metric, target } => {
                let total = match metric {
                    ScaleMetric::InvocationsPerReplicaPerMinute => 60.0 * rate(seconds),
                    ScaleMetric::InFlightPerReplica => in_flight,
                    ScaleMetric::Cpu => {
                        mean(seconds, |second| second.cpu.map(|cpu| cpu * f64::from(second.ready)))
                    }
                };
                replicas_for(total, *target)
            }
            Policy::Steps { .. } => 0,
        });
        needed.max().unwrap_or(0)
    }

    /// The share of the host that is idle, when it was measured in the last seconds.
    pub(super) fn spare(&self, now: Steady) -> Option<f64> {
        let from = Steady(now.0.saturating_sub(FAST_WINDOW.as_micros() as i64));
        let idle: Vec<f64> = self.window.since(from).filter_map(|second| second.host_idle).collect();
        (!idle.is_empty()).then(|| idle.iter().sum::<f64>() / idle.len() as f64)
    }
}

/// Replicas that answer what comes, and what waits within [`DRAIN`], when each answers as many as it does now. `grown`: how
/// many more are in flight each second.
fn manages(seconds: &[&Second], grown: f64, in_flight: f64) -> Option<u32> {
    let rate = rate(seconds);
    let each = (rate - grown) / mean(seconds, |second| Some(f64::from(second.ready)));
    // A line as long as one likes asks for no more than twice what comes.
    let waiting = (in_flight / DRAIN.as_secs_f64()).min(rate);
    (each > 0.0 && each.is_finite()).then(|| replicas_for(rate + waiting, PLANNED_SHARE * each))
}

fn length(seconds: &[&Second]) -> f64 {
    seconds.iter().map(|second| second.length).sum()
}

/// Requests begun in a second.
fn rate(seconds: &[&Second]) -> f64 {
    let measured = seconds.iter().filter_map(|second| Some((second.begun?, second.length)));
    let (begun, length) = measured.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if length > 0.0 { begun / length } else { 0.0 }
}

fn mean(seconds: &[&Second], value: impl Fn(&Second) -> Option<f64>) -> f64 {
    let measured: Vec<f64> = seconds.iter().filter_map(|second| value(second)).collect();
    if measured.is_empty() { 0.0 } else { measured.iter().sum::<f64>() / measured.len() as f64 }
}
