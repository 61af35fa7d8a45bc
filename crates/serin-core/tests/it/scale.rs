//! Scaling: the published rules second by second, and a thousand services in virtual time.

mod rules;
mod simulated;

use std::time::Duration;

use serin_core::clock::{Steady, Timestamp};
use serin_core::scale::{Policy, Reading, ScaleDecision, ScaleMetric, Scaler, ScalingSettings, replay};

pub const INVOCATIONS: ScaleMetric = ScaleMetric::InvocationsPerReplicaPerMinute;

pub fn tracking(metric: ScaleMetric, target: f64) -> Policy {
    Policy::TargetTracking { metric, target }
}

/// One policy for 750 invocations, the cooldowns of the system before, without the fast layer.
pub fn settings(min: u32, max: u32) -> ScalingSettings {
    ScalingSettings {
        min,
        max,
        policies: vec![tracking(INVOCATIONS, 750.0)],
        fast: false,
        ..ScalingSettings::default()
    }
}

/// A scaler whose replicas are ready at once, and what it decided.
pub struct Bench {
    pub scaler: Scaler,
    pub second: i64,
    pub decided: Vec<ScaleDecision>,
    /// The rest of each reading.
    pub reading: Reading,
}

impl Bench {
    pub fn new(settings: ScalingSettings, desired: u32) -> Self {
        let mut scaler = Scaler::new(settings, Steady(0));
        scaler.set_desired(desired, Steady(0), "a test");
        let reading = Reading {
            at: Steady(0),
            begun: Some(0),
            in_flight: Some(0.0),
            cpu: Some(0.0),
            ready: 0,
            host_idle: Some(1.0),
        };
        Self { scaler, second: 0, decided: Vec::new(), reading }
    }

    pub fn now(&self) -> Steady {
        Steady(self.second * 1_000_000)
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000 + self.now().0)
    }

    /// One second, changed by `spoil` before it is told.
    pub fn second(&mut self, spoil: impl FnOnce(&mut Reading)) -> u32 {
        self.second += 1;
        let mut reading = Reading { at: self.now(), ready: self.scaler.desired(), ..self.reading };
        spoil(&mut reading);
        self.scaler.observe(reading);
        let (now, wall) = (self.now(), self.wall());
        if let Some(decision) = self.scaler.decide(now, wall) {
            assert_eq!(replay(&decision.inputs).as_ref(), Some(&decision));
            assert_eq!(decision.to, self.scaler.desired());
            self.decided.push(decision);
        }
        self.scaler.desired()
    }

    /// Minutes in which each replica that there is at their beginning gets so many requests.
    pub fn minutes_each(&mut self, minutes: u32, each: u64) -> u32 {
        for _ in 0..minutes {
            let total = each * u64::from(self.scaler.desired());
            self.minutes(1, total);
        }
        self.scaler.desired()
    }

    /// Minutes in which all replicas together get so many requests.
    pub fn minutes(&mut self, minutes: u32, total: u64) -> u32 {
        for second in 0..u64::from(60 * minutes) {
            let nth = second % 60;
            let begun = total * (nth + 1) / 60 - total * nth / 60;
            self.second(|reading| reading.begun = Some(begun));
        }
        self.scaler.desired()
    }

    pub fn rules(&self) -> Vec<&str> {
        self.decided.iter().map(|decision| decision.rule.as_str()).collect()
    }
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
