//! What a policy would do: a trace of requests in virtual time, against replicas that are made up.
//!
//! The rules are those of a real scaler; only replicas, callers and clocks are made up, from a seed.

use std::time::Duration;

use serde::Serialize;
use serin_ml::seed::Seed;

use super::compare::{Follower, Rules};
pub use super::queue::{Latencies, Queue, Service, percentile, queue};
use super::settings::ScalingSettings;
use crate::clock::Timestamp;

/// Percentiles of a second are over the requests of so many seconds, so that there are some.
const PERCENTILE_SECONDS: usize = 5;

/// One trace under one set of rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulated {
    pub seconds: Vec<SimulatedSecond>,
    pub decisions: Vec<SimulatedDecision>,
    pub requests: u64,
    pub shed: u64,
    /// Of answered requests, in seconds; `None`: there are none.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Starting and draining ones too.
    pub replica_hours: f64,
    /// How often there were more after there had been fewer, or fewer after more.
    pub direction_changes: usize,
}

/// How it stood at the end of a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SimulatedSecond {
    pub arrived: u32,
    pub in_flight: f64,
    pub desired: u32,
    pub ready: u32,
    /// Of the requests that came in this second and in the four before it, in seconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub shed: u64,
}

/// A decision of the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimulatedDecision {
    pub second: usize,
    pub from: u32,
    pub to: u32,
    pub rule: String,
    pub reason: String,
}

/// Requests second by second, from `wall` on, under the rules of `rules`.
#[must_use]
pub fn simulate(
    rules: Rules,
    settings: &ScalingSettings,
    service: &Service,
    arrivals: &[u32],
    wall: Timestamp,
    seed: Seed,
) -> Simulated {
    let mut follower = Follower::new(rules, settings);
    let mut queue = queue(service.clone(), follower.desired(), seed);
    let mut seconds = Vec::with_capacity(arrivals.len());
    let mut decisions = Vec::new();
    for (second, &arrived) in arrivals.iter().enumerate() {
        let from = follower.desired();
        let reading = queue.second(arrived);
        let now = Timestamp(wall.0.saturating_add(reading.at.0));
        if let Some(followed) = follower.follow(rules, reading, now) {
            let (to, rule, reason) = (followed.to, followed.rule, followed.reason);
            decisions.push(SimulatedDecision { second: second + 1, from, to, rule, reason });
        }
        queue.set_replicas(follower.desired());
        seconds.push(SimulatedSecond {
            arrived,
            in_flight: reading.in_flight.unwrap_or(0.0),
            desired: follower.desired(),
            ready: reading.ready,
            p50: None,
            p99: None,
            shed: 0,
        });
    }
    let replica_hours = queue.replica_hours();
    // What is under way when the trace ends gets its answer.
    for _ in 0..service.wait_limit.saturating_add(Duration::from_secs(1)).as_secs() {
        if queue.second(0).in_flight == Some(0.0) {
            break;
        }
    }
    let latencies = queue.into_latencies();
    for (second, shown) in seconds.iter_mut().enumerate() {
        let sorted = latencies.sorted(second.saturating_sub(PERCENTILE_SECONDS - 1)..second + 1);
        (shown.p50, shown.p99) = (percentile(&sorted, 50.0), percentile(&sorted, 99.0));
        shown.shed = latencies.shed(second..second + 1);
    }
    let all = latencies.sorted(0..arrivals.len());
    Simulated {
        requests: arrivals.iter().map(|&arrived| u64::from(arrived)).sum(),
        shed: latencies.shed(0..arrivals.len()),
        p50: percentile(&all, 50.0),
        p99: percentile(&all, 99.0),
        replica_hours,
        direction_changes: direction_changes(seconds.iter().map(|second| second.desired)),
        seconds,
        decisions,
    }
}

/// How often a number grows after it had shrunk, or shrinks after it had grown.
#[must_use]
pub fn direction_changes(numbers: impl Iterator<Item = u32>) -> usize {
    let (mut before, mut last, mut changes) = (None, std::cmp::Ordering::Equal, 0);
    for number in numbers {
        let direction = before.map_or(std::cmp::Ordering::Equal, |before| number.cmp(&before));
        if direction.is_ne() {
            changes += usize::from(last.is_ne() && last != direction);
            last = direction;
        }
        before = Some(number);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted() {
        for (numbers, turns) in
            [(&[][..], 0), (&[1, 2, 3], 0), (&[1, 2, 2, 1], 1), (&[3, 1, 2, 2, 3, 1], 2), (&[5, 5], 0)]
        {
            assert_eq!(direction_changes(numbers.iter().copied()), turns, "{numbers:?}");
        }
    }
}
