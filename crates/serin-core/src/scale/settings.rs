//! What is asked of the number of replicas.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::schedule::Schedule;

/// Cooldowns when none is written: those of the system that Serin replaces.
pub const DEFAULT_COOLDOWN: Duration = Duration::from_secs(60);

/// How many replicas there may be, and what makes them more or fewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScalingSettings {
    /// Fewest replicas; 0 lets them go while nobody asks.
    pub min: u32,
    /// Most replicas, at least 1.
    pub max: u32,
    /// More replicas when any of them says so, fewer when all that can say so do. Empty: by hand, and by schedule.
    pub policies: Vec<Policy>,
    /// False: never fewer by a policy.
    pub scale_in: bool,
    pub scale_in_cooldown: Duration,
    pub scale_out_cooldown: Duration,
    /// Bounds that hold from a time of day on instead of `min` and `max`.
    pub schedules: Vec<ScheduledBounds>,
    /// Whether requests in flight add replicas within seconds.
    pub fast: bool,
}

/// What makes replicas more or fewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case")]
pub enum Policy {
    /// As many as keep the metric at its target.
    TargetTracking { metric: ScaleMetric, target: f64 },
    /// So many more or fewer beyond a threshold.
    Steps { steps: Vec<ScaleStep> },
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleMetric {
    /// Requests begun in a minute, for each replica: `SageMakerVariantInvocationsPerInstance`.
    InvocationsPerReplicaPerMinute,
    /// Requests begun and not answered, waiting ones too, for each replica.
    InFlightPerReplica,
    /// Percent of what a replica may use of the processor, the mean of all.
    Cpu,
}

/// One step of [`Policy::Steps`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScaleStep {
    pub metric: ScaleMetric,
    pub side: StepSide,
    pub threshold: f64,
    /// One-minute points that must all be beyond the threshold.
    pub minutes: u32,
    /// How many more (above) or fewer (below).
    pub change: u32,
}

/// On which side of its threshold a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepSide {
    /// More replicas.
    Above,
    /// Fewer.
    Below,
}

/// Bounds from a time of day on, until those of another entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledBounds {
    /// Minute, hour, day of month, month, day of week.
    pub cron: String,
    /// An IANA name.
    pub zone: String,
    pub min: u32,
    pub max: u32,
}

impl Default for ScalingSettings {
    /// One replica, always: what there was before replicas could be counted.
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            policies: Vec::new(),
            scale_in: true,
            scale_in_cooldown: DEFAULT_COOLDOWN,
            scale_out_cooldown: DEFAULT_COOLDOWN,
            schedules: Vec::new(),
            fast: true,
        }
    }
}

impl ScalingSettings {
    /// The bounds that hold at `wall`, and from when until when they surely do: those of the entry whose time came last;
    /// of entries of the same time the later one. Without entries, or before the first of them, `min` and `max`.
    #[must_use]
    pub(super) fn bounds(&self, wall: Timestamp) -> BoundsInForce {
        let mut found = BoundsInForce {
            min: self.min,
            max: self.max,
            from: wall,
            until: Timestamp(i64::MAX),
            is_scheduled: false,
        };
        let mut last = None;
        for entry in &self.schedules {
            // What cannot be read was refused when the settings were checked.
            let Ok(schedule) = Schedule::parse(&entry.cron, &entry.zone) else { continue };
            if let Some(next) = schedule.next_after(wall) {
                found.until = found.until.min(next);
            }
            let begun = schedule.last_until(wall);
            if begun.is_some() && begun >= last {
                last = begun;
                (found.min, found.max, found.is_scheduled) = (entry.min, entry.max, true);
            }
        }
        found.max = found.max.max(1);
        found.min = found.min.min(found.max);
        found
    }
}

/// Bounds, and the time in which they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BoundsInForce {
    pub min: u32,
    pub max: u32,
    pub from: Timestamp,
    pub until: Timestamp,
    pub is_scheduled: bool,
}

impl BoundsInForce {
    pub(super) fn holds_at(&self, wall: Timestamp) -> bool {
        (self.from..self.until).contains(&wall)
    }
}

impl ScaleMetric {
    /// All of them, in the order of a minute's values.
    pub const ALL: [Self; 3] = [Self::InvocationsPerReplicaPerMinute, Self::InFlightPerReplica, Self::Cpu];

    /// How it is written in settings, after the number.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::InvocationsPerReplicaPerMinute => "invocations per replica per minute",
            Self::InFlightPerReplica => "in flight per replica",
            Self::Cpu => "% cpu",
        }
    }

    /// A number with its unit in words, as settings have it.
    #[must_use]
    pub fn words(self, value: f64) -> String {
        let value = rounded(value);
        match self {
            Self::Cpu => format!("{value}% cpu"),
            _ => format!("{value} {}", self.unit()),
        }
    }
}

/// `750 invocations per replica per minute`, `4 in flight per replica` or `70% cpu`.
#[must_use]
pub fn parse_target(text: &str) -> Option<(ScaleMetric, f64)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.split_whitespace().collect::<Vec<_>>().join(" ");
    let unit = unit.strip_prefix('%').map_or_else(|| unit.clone(), |rest| format!("% {}", rest.trim_start()));
    let metric = ScaleMetric::ALL.into_iter().find(|metric| metric.unit() == unit)?;
    number.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| (metric, value))
}

/// At most two decimals, fewer for large numbers.
pub(super) fn rounded(value: f64) -> f64 {
    if value.abs() >= 100.0 { value.round() } else { (value * 100.0).round() / 100.0 }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetTracking { metric, target } => f.write_str(&metric.words(*target)),
            Self::Steps { steps } => write!(f, "{} steps", steps.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_with_their_unit() {
        for (text, metric, value) in [
            ("750 invocations per replica per minute", ScaleMetric::InvocationsPerReplicaPerMinute, 750.0),
            (" 4  in flight  per replica ", ScaleMetric::InFlightPerReplica, 4.0),
            ("0.5 in flight per replica", ScaleMetric::InFlightPerReplica, 0.5),
            ("70% cpu", ScaleMetric::Cpu, 70.0),
            ("70 % cpu", ScaleMetric::Cpu, 70.0),
            ("70%cpu", ScaleMetric::Cpu, 70.0),
        ] {
            assert_eq!(parse_target(text), Some((metric, value)), "{text}");
            assert_eq!(parse_target(&metric.words(value)), Some((metric, value)), "{text}");
        }
        for wrong in ["", "750", "cpu", "70 cpu", "-4 in flight per replica", "nan% cpu", "1.2.3% cpu"] {
            assert_eq!(parse_target(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_entry_whose_time_came_last_holds() {
        let entry = |cron: &str, min, max| ScheduledBounds {
            cron: cron.to_owned(),
            zone: "Europe/Berlin".to_owned(),
            min,
            max,
        };
        let settings = ScalingSettings {
            min: 1,
            max: 3,
            schedules: vec![
                entry("0 8 * * 1-5", 4, 10),
                entry("0 20 * * 1-5", 2, 10),
                entry("0 20 * * 5", 0, 1),
            ],
            ..ScalingSettings::default()
        };
        // In winter Berlin is an hour ahead; the 20th is a Friday.
        for (wall, min, max, until) in [
            ("2026-11-20T06:59:59Z", 2, 10, "2026-11-20T07:00:00Z"),
            ("2026-11-20T07:00:00Z", 4, 10, "2026-11-20T19:00:00Z"),
            ("2026-11-20T19:00:00Z", 0, 1, "2026-11-23T07:00:00Z"),
            ("2026-11-22T12:00:00Z", 0, 1, "2026-11-23T07:00:00Z"),
            ("2026-11-23T19:00:00Z", 2, 10, "2026-11-24T07:00:00Z"),
        ] {
            let bounds = settings.bounds(wall.parse().unwrap());
            assert_eq!((bounds.min, bounds.max), (min, max), "{wall}");
            assert_eq!(bounds.until.to_rfc3339(), until, "{wall}");
            assert!(bounds.holds_at(wall.parse().unwrap()) && !bounds.holds_at(bounds.until));
        }
        let plain = ScalingSettings { min: 2, max: 5, ..ScalingSettings::default() };
        let bounds = plain.bounds(Timestamp(0));
        assert_eq!((bounds.min, bounds.max, bounds.is_scheduled), (2, 5, false));
    }
}
