//! Models for comparison: what the rules of others would do with the same readings. Nothing but simulations uses them.
//!
//! They are written from public documentation, not from code, and are given what favours them: replicas that start as fast,
//! and metrics without delay. Read on 2026-11-29:
//!
//! - Application Auto Scaling, target tracking ("How target tracking scaling for Application Auto Scaling works"). Its alarms
//!   are those that it is seen to make. That is the slow layer of Serin alone; without the rule about spare processors, and
//!   with one replica at least.
//! - Kubernetes' HorizontalPodAutoscaler ("Horizontal Pod Autoscaling", and the `autoscaling/v2` reference): a look every
//!   15 s, a tolerance of a tenth, `ceil(current * metric / target)`, at most four more or twice as many in 15 s, and the
//!   greatest recommendation of 300 s before there are fewer. The metric is the mean of the last 15 s.
//! - KEDA ("ScaledObject specification", "Scaling Deployments"): the same from one replica up, and by its own look every 30 s
//!   from none to one when anything was asked, and back after 300 s without.

use std::collections::VecDeque;

use super::reading::Reading;
use super::scaler::Scaler;
use super::settings::{Policy, ScaleMetric, ScalingSettings};
use super::slow::replicas_for;
use crate::clock::{Steady, Timestamp};

/// Looks and windows of the HorizontalPodAutoscaler, in seconds.
const HPA_SYNC: usize = 15;
const HPA_STABILISATION_LOOKS: usize = 300 / HPA_SYNC;
const HPA_TOLERANCE: f64 = 0.1;
const HPA_PODS: u32 = 4;
/// Those of KEDA.
const KEDA_POLL: usize = 30;
const KEDA_COOLDOWN: usize = 300;

/// Whose rules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rules {
    Serin,
    TargetTracking,
    HorizontalPodAutoscaler,
    Keda,
}

impl Rules {
    /// All, our own first.
    pub const ALL: [Self; 4] = [Self::Serin, Self::TargetTracking, Self::HorizontalPodAutoscaler, Self::Keda];

    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serin => "Serin",
            Self::TargetTracking => "target tracking alone",
            Self::HorizontalPodAutoscaler => "HPA",
            Self::Keda => "KEDA",
        }
    }
}

/// One of them at work.
#[derive(Debug)]
pub(super) enum Follower {
    Scaler(Box<Scaler>),
    Pods(Box<Pods>),
}

/// What it decided.
#[derive(Debug)]
pub(super) struct Followed {
    pub to: u32,
    pub rule: String,
    pub reason: String,
}

impl Follower {
    pub(super) fn new(rules: Rules, settings: &ScalingSettings) -> Self {
        match rules {
            Rules::Serin => Self::Scaler(Box::new(Scaler::new(settings.clone(), Steady(0)))),
            Rules::TargetTracking => {
                let settings = ScalingSettings { fast: false, min: settings.min.max(1), ..settings.clone() };
                Self::Scaler(Box::new(Scaler::new(settings, Steady(0))))
            }
            Rules::HorizontalPodAutoscaler => Self::Pods(Box::new(Pods::new(settings, false))),
            Rules::Keda => Self::Pods(Box::new(Pods::new(settings, true))),
        }
    }

    pub(super) fn desired(&self) -> u32 {
        match self {
            Self::Scaler(scaler) => scaler.desired(),
            Self::Pods(pods) => pods.desired,
        }
    }

    pub(super) fn follow(&mut self, rules: Rules, reading: Reading, wall: Timestamp) -> Option<Followed> {
        match self {
            Self::Scaler(scaler) => {
                let idle = reading.host_idle.filter(|_| rules == Rules::Serin);
                scaler.observe(Reading { host_idle: idle, ..reading });
                let decision = scaler.decide(reading.at, wall)?;
                Some(Followed { to: decision.to, rule: decision.rule, reason: decision.reason })
            }
            Self::Pods(pods) => pods.follow(&reading),
        }
    }
}

/// A HorizontalPodAutoscaler, alone or below KEDA.
#[derive(Debug)]
pub(super) struct Pods {
    min: u32,
    max: u32,
    targets: Vec<(ScaleMetric, f64)>,
    has_keda: bool,
    desired: u32,
    second: usize,
    /// The last seconds, at most [`HPA_SYNC`].
    readings: VecDeque<Reading>,
    recommendations: VecDeque<u32>,
    /// When something was last asked.
    active: usize,
}

impl Pods {
    fn new(settings: &ScalingSettings, has_keda: bool) -> Self {
        let targets = settings.policies.iter().filter_map(|policy| match policy {
            Policy::TargetTracking { metric, target } => Some((*metric, *target)),
            Policy::Steps { .. } => None,
        });
        let min = if has_keda { settings.min } else { settings.min.max(1) };
        Self {
            min,
            max: settings.max,
            targets: targets.collect(),
            has_keda,
            desired: min,
            second: 0,
            readings: VecDeque::new(),
            recommendations: VecDeque::new(),
            active: 0,
        }
    }

    fn follow(&mut self, reading: &Reading) -> Option<Followed> {
        self.second += 1;
        self.readings.push_back(*reading);
        while self.readings.len() > HPA_SYNC {
            self.readings.pop_front();
        }
        if reading.begun.is_some_and(|begun| begun > 0) || reading.in_flight.is_some_and(|load| load > 0.0) {
            self.active = self.second;
        }
        let from = self.desired;
        let reason = if self.has_keda && self.min == 0 && self.second.is_multiple_of(KEDA_POLL) {
            self.activate()
        } else {
            None
        };
        let reason = reason.or_else(|| {
            (self.desired > 0 && self.second.is_multiple_of(HPA_SYNC)).then(|| self.sync()).flatten()
        })?;
        let rule = if self.desired > from { "out" } else { "in" };
        Some(Followed { to: self.desired, rule: rule.to_owned(), reason })
    }

    /// KEDA's own look: from none to one, and back.
    fn activate(&mut self) -> Option<String> {
        let idle = self.second - self.active;
        if self.desired == 0 && idle < KEDA_POLL {
            self.desired = 1;
            return Some("something was asked".to_owned());
        }
        if self.desired > 0 && idle >= KEDA_COOLDOWN {
            self.desired = 0;
            self.recommendations.clear();
            return Some(format!("nothing was asked for {KEDA_COOLDOWN} s"));
        }
        None
    }

    fn sync(&mut self) -> Option<String> {
        let current = self.desired;
        let wanted = self.targets.iter().map(|(metric, target)| {
            let total = self.total(*metric);
            let ready = self.mean(|reading| f64::from(reading.ready));
            // Pods that are not ready count as having nothing to do when there are to be more.
            let ratio = |pods: f64| total / (target * pods.max(1.0));
            let is_out =
                ratio(ready) > 1.0 + HPA_TOLERANCE && ratio(f64::from(current)) > 1.0 + HPA_TOLERANCE;
            let is_in = ratio(ready) < 1.0 - HPA_TOLERANCE;
            if is_out || is_in { replicas_for(total, *target).max(1) } else { current }
        });
        let wanted = wanted.max().unwrap_or(current).clamp(self.min.max(1), self.max);
        self.recommendations.push_back(wanted);
        while self.recommendations.len() > HPA_STABILISATION_LOOKS {
            self.recommendations.pop_front();
        }
        let stable = self.recommendations.iter().copied().max().unwrap_or(wanted);
        let most = current.saturating_add(HPA_PODS).max(current.saturating_mul(2));
        self.desired = if wanted > current { wanted.min(most) } else { stable.min(current) };
        (self.desired != current).then(|| format!("{wanted} recommended, {} within five minutes", stable))
    }

    fn total(&self, metric: ScaleMetric) -> f64 {
        match metric {
            ScaleMetric::InvocationsPerReplicaPerMinute => {
                60.0 * self.mean(|reading| reading.begun.unwrap_or(0) as f64)
            }
            ScaleMetric::InFlightPerReplica => self.mean(|reading| reading.in_flight.unwrap_or(0.0)),
            ScaleMetric::Cpu => self.mean(|reading| reading.cpu.unwrap_or(0.0) * f64::from(reading.ready)),
        }
    }

    fn mean(&self, value: impl Fn(&Reading) -> f64) -> f64 {
        self.readings.iter().map(value).sum::<f64>() / self.readings.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(has_keda: bool, min: u32) -> Pods {
        let policies = vec![Policy::TargetTracking { metric: ScaleMetric::Cpu, target: 50.0 }];
        Pods::new(&ScalingSettings { min, max: 100, policies, ..ScalingSettings::default() }, has_keda)
    }

    /// Seconds of a load in percent of one processor, with as many replicas as are wanted.
    fn run(pods: &mut Pods, seconds: usize, load: f64) -> Vec<u32> {
        (0..seconds)
            .map(|_| {
                let ready = pods.desired;
                let begun = Some(u64::from(load > 0.0));
                let cpu = (ready > 0).then(|| load / f64::from(ready));
                let at = Steady(pods.second as i64 * 1_000_000);
                pods.follow(&Reading { at, begun, in_flight: None, cpu, ready, host_idle: None });
                pods.desired
            })
            .collect()
    }

    /// The figures are those of the documentation.
    #[test]
    fn a_horizontal_pod_autoscaler_grows_in_bounds_and_shrinks_late() {
        let mut one = pods(false, 1);
        assert_eq!(run(&mut one, 14, 1_000.0).last(), Some(&1));
        // Four more are more than twice as many, then eight, then what is needed.
        let grown = run(&mut one, 46, 1_000.0);
        assert_eq!((grown[0], grown[15], grown[30], grown[45]), (5, 10, 20, 20));
        // Within a tenth of the target nothing happens.
        assert_eq!(run(&mut one, 600, 910.0).last(), Some(&20));
        // The greatest recommendation of five minutes holds.
        let shrunk = run(&mut one, 400, 100.0);
        let at = shrunk.iter().position(|&desired| desired < 20).unwrap();
        assert!((285..=330).contains(&at) && shrunk[at] <= 3, "{at} {}", shrunk[at]);
        assert_eq!(run(&mut one, 400, 0.0).last(), Some(&1));
    }

    #[test]
    fn keda_goes_to_none_and_back() {
        let mut one = pods(true, 0);
        assert_eq!(one.desired, 0);
        assert_eq!(run(&mut one, 29, 40.0).last(), Some(&0));
        assert_eq!(run(&mut one, 1, 40.0).last(), Some(&1));
        let idle = run(&mut one, 400, 0.0);
        assert_eq!(idle.iter().position(|&desired| desired == 0), Some(299));
    }
}
