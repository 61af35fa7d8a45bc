//! What is seen each second, and what one-minute points become of it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::ScaleMetric;
use crate::clock::Steady;

/// The period of a point, as of the alarms of target tracking.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Points that are kept: the 15 of the low alarm, and a few to tell what was before.
const MINUTES_KEPT: usize = 18;
/// A minute of which less was measured has no point.
const MINUTE_LEAST_SECONDS: f64 = 50.0;
/// Seconds that are kept for the fast layer.
const SECONDS_KEPT: usize = 15;
/// Readings further apart leave a hole: what happened when in it is not known.
pub(super) const LONGEST_GAP: Duration = Duration::from_secs(5);
/// A load beyond this is a mistake of whoever counted.
const LARGEST: f64 = 1e12;

/// What one second looked like. `None`: could not be measured; then nothing is decided that makes replicas fewer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub at: Steady,
    /// Requests begun since the reading before (not a running total), of all replicas together.
    pub begun: Option<u64>,
    /// Requests begun and not answered: the mean since the reading before, of all replicas together. Those that wait
    /// for a replica count.
    pub in_flight: Option<f64>,
    /// Percent of the processor that a replica may use: the mean of all replicas since the reading before.
    pub cpu: Option<f64>,
    /// Replicas that answered their golden rows and are not draining: only they are capacity.
    pub ready: u32,
    /// The share of the host's processors that is idle, from 0 to 1.
    pub host_idle: Option<f64>,
}

/// A reading after checking: what makes no sense is not known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Second {
    pub at: Steady,
    /// Seconds that it stands for.
    pub length: f64,
    pub begun: Option<f64>,
    pub in_flight: Option<f64>,
    pub cpu: Option<f64>,
    pub ready: u32,
    pub host_idle: Option<f64>,
}

impl Second {
    /// `None` for one that is not later than the one before.
    pub(super) fn of(reading: &Reading, before: Option<Steady>) -> Option<Self> {
        if before.is_some_and(|before| reading.at <= before) {
            return None;
        }
        let since = before.map_or(Duration::from_secs(1), |before| reading.at - before);
        let is_whole = since <= LONGEST_GAP;
        let sane = |value: f64| (0.0..=LARGEST).contains(&value).then_some(value);
        Some(Self {
            at: reading.at,
            length: since.min(LONGEST_GAP).as_secs_f64(),
            begun: reading.begun.map(|begun| begun as f64).filter(|_| is_whole).and_then(sane),
            in_flight: reading.in_flight.and_then(sane),
            cpu: reading.cpu.and_then(sane),
            ready: reading.ready,
            host_idle: reading.host_idle.filter(|idle| (0.0..=1.0).contains(idle)),
        })
    }

    pub(super) fn in_flight_per_replica(&self) -> Option<f64> {
        self.in_flight.filter(|_| self.ready > 0).map(|in_flight| in_flight / f64::from(self.ready))
    }
}

/// A mean over a minute.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Sum {
    /// For one replica, times seconds.
    per_replica: f64,
    /// Of all, times seconds.
    total: f64,
    /// Seconds in which it was measured.
    seconds: f64,
}

/// One minute: the sums of it so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Minute {
    /// Minutes since the data directory began to live.
    pub index: i64,
    invocations: Sum,
    in_flight: Sum,
    cpu: Sum,
    /// Whether something was asked, or might have been.
    pub is_idle: bool,
}

/// The value of a metric for a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub per_replica: f64,
    /// The load that it stands for: what as many replicas as were ready had together.
    pub total: f64,
}

impl Minute {
    fn new(index: i64) -> Self {
        let none = Sum::default();
        Self { index, invocations: none, in_flight: none, cpu: none, is_idle: true }
    }

    fn add(&mut self, second: &Second) {
        let ready = f64::from(second.ready);
        let is_asked = |load: Option<f64>| load != Some(0.0);
        self.is_idle &= !is_asked(second.begun) && !is_asked(second.in_flight);
        // A load for each of no replicas is not known, unless there is no load.
        let share = |load: f64| match () {
            () if second.ready > 0 => Some(load / ready),
            () if load == 0.0 => Some(0.0),
            () => None,
        };
        let mut add = |metric: ScaleMetric, per_replica: Option<f64>, total: f64, weight: f64| {
            if let Some(per_replica) = per_replica {
                let sum = self.sum_mut(metric);
                sum.per_replica += per_replica * weight;
                sum.total += total * weight;
                sum.seconds += second.length;
            }
        };
        if let Some(begun) = second.begun {
            add(ScaleMetric::InvocationsPerReplicaPerMinute, share(begun), begun, 1.0);
        }
        if let Some(in_flight) = second.in_flight {
            add(ScaleMetric::InFlightPerReplica, share(in_flight), in_flight, second.length);
        }
        if let Some(cpu) = second.cpu.filter(|_| second.ready > 0) {
            add(ScaleMetric::Cpu, Some(cpu), cpu * ready, second.length);
        }
    }

    /// `None`: too little of it was measured.
    pub(super) fn value(&self, metric: ScaleMetric) -> Option<Value> {
        let sum = self.sum(metric);
        if sum.seconds < MINUTE_LEAST_SECONDS {
            return None;
        }
        let scale = match metric {
            // Counts of what was measured, as if all of the minute had been.
            ScaleMetric::InvocationsPerReplicaPerMinute => MINUTE.as_secs_f64() / sum.seconds,
            _ => 1.0 / sum.seconds,
        };
        Some(Value { per_replica: sum.per_replica * scale, total: sum.total * scale })
    }

    fn sum(&self, metric: ScaleMetric) -> &Sum {
        match metric {
            ScaleMetric::InvocationsPerReplicaPerMinute => &self.invocations,
            ScaleMetric::InFlightPerReplica => &self.in_flight,
            ScaleMetric::Cpu => &self.cpu,
        }
    }

    fn sum_mut(&mut self, metric: ScaleMetric) -> &mut Sum {
        match metric {
            ScaleMetric::InvocationsPerReplicaPerMinute => &mut self.invocations,
            ScaleMetric::InFlightPerReplica => &mut self.in_flight,
            ScaleMetric::Cpu => &mut self.cpu,
        }
    }
}

/// The last seconds and minutes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Window {
    seconds: VecDeque<Second>,
    minutes: VecDeque<Minute>,
}

impl Window {
    pub(super) fn observe(&mut self, reading: &Reading) {
        let before = self.seconds.back().map(|second| second.at);
        let Some(second) = Second::of(reading, before) else { return };
        // A minute is what follows its beginning, up to and with its end.
        let index = (second.at.0 - 1).div_euclid(MINUTE.as_micros() as i64);
        if self.minutes.back().is_none_or(|minute| minute.index < index) {
            self.minutes.push_back(Minute::new(index));
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.add(&second);
        }
        self.seconds.push_back(second);
        while self.seconds.len() > SECONDS_KEPT {
            self.seconds.pop_front();
        }
        while self.minutes.len() > MINUTES_KEPT {
            self.minutes.pop_front();
        }
    }

    /// The minute that was over last at `now`.
    pub(super) fn last_minute(now: Steady) -> i64 {
        now.0.div_euclid(MINUTE.as_micros() as i64) - 1
    }

    pub(super) fn minute(&self, index: i64) -> Option<&Minute> {
        self.minutes.iter().rev().find(|minute| minute.index == index)
    }

    /// Minutes that were over at `now`, the newest first.
    pub(super) fn whole_minutes(&self, now: Steady) -> impl Iterator<Item = &Minute> {
        let last = Self::last_minute(now);
        self.minutes.iter().rev().filter(move |minute| minute.index <= last)
    }

    /// The newest second, when it is no older than a gap may be.
    pub(super) fn newest(&self, now: Steady) -> Option<&Second> {
        self.seconds.back().filter(|second| now - second.at <= LONGEST_GAP)
    }

    /// Seconds after `from`, the oldest first.
    pub(super) fn since(&self, from: Steady) -> impl Iterator<Item = &Second> {
        self.seconds.iter().filter(move |second| second.at > from)
    }
}
