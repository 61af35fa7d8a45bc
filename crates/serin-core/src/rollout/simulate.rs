//! What a policy would do: whole rollouts in virtual time, against traffic that is made up.
//!
//! The rules are those of a real rollout ([`next`]); only gateway, clock and callers are made up, from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use serin_ml::seed::Seed;
use serin_ml::sequential::{LATENCY_BUCKETS, Tally, bucket_of_latency};

use super::next::{AlarmView, HookAnswer, Inputs, next};
use super::reading::Reading;
use super::state::{Condition, End, Phase, Rollout, Side};
use crate::clock::{Steady, Timestamp};
use crate::config::RolloutSettings;
use crate::domain::{Epoch, RolloutNumber, RunNumber, VersionNumber};

/// What the version that serves was asked before the rollout begins.
const RECORD: Duration = Duration::from_secs(3_600);
/// A virtual second is looked at as a real one, unless so little happens that a longer one holds one request.
const SHORTEST_TICK: Duration = Duration::from_secs(1);
const LONGEST_TICK: Duration = Duration::from_secs(60);
const REQUESTS_A_TICK: f64 = 1.0;
/// No simulated rollout goes on for longer.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);
/// From so many expected events on a normal variate stands for a binomial one.
const MANY: f64 = 50.0;

/// Traffic and both versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub requests_per_second: f64,
    pub canary: Behaviour,
    pub stable: Behaviour,
}

/// How a version behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    /// Share of requests that fail.
    pub error_rate: f64,
    /// Every answer takes about so long.
    pub latency: Duration,
    /// Shares of classes.
    pub classes: Vec<f64>,
}

/// How a simulated rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Simulated {
    pub outcome: SimulatedEnd,
    /// Until it was promoted, went back, or stopped for a person.
    pub took: Duration,
    /// Requests that the new version answered until then, and those that failed.
    pub requests: u64,
    pub failed: u64,
    /// The decision, in words.
    pub reason: String,
}

/// Its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimulatedEnd {
    Promoted,
    RolledBack,
    NotEnoughEvidence,
    /// It waits for a person.
    Held,
}

impl Behaviour {
    /// Four classes of the same size, 2 ms an answer.
    #[must_use]
    pub fn failing(error_rate: f64) -> Self {
        Self { error_rate, latency: Duration::from_millis(2), classes: vec![0.25; 4] }
    }
}

/// One rollout of `settings` in `world`.
#[must_use]
pub fn simulate(settings: &RolloutSettings, world: &World, seed: Seed) -> Simulated {
    let mut rng = seed.rng();
    let mut stable = Tally::default();
    let record = world.requests_per_second * RECORD.as_secs_f64();
    answer(&mut stable, record as u64, &world.stable, &mut rng);
    let mut canary = Tally::default();
    let mut rollout = begin(settings);
    let mut reading = Reading { process: "simulated".to_owned(), epoch: Some(1), ..Reading::default() };
    let mut now = Steady(0);
    let mut reason = String::new();
    let mut carry = 0.0;
    while now.0 < LONGEST.as_micros() as i64 {
        reading.versions =
            BTreeMap::from([("new".to_owned(), canary.clone()), ("old".to_owned(), stable.clone())]);
        let inputs = Inputs {
            now,
            reading: Some(reading.clone()),
            alarms: AlarmView::Quiet,
            hook: Some(HookAnswer::Pass),
            labels: serin_ml::sequential::Labelled::default(),
        };
        let then = next(rollout, &inputs);
        rollout = then.rollout;
        // A published document is followed before the next tick.
        rollout.epoch = Epoch(1);
        if let Some((_, words)) = then.decided {
            reason = words;
        }
        if let Some(outcome) = ended(&rollout) {
            let took = now - Steady(0);
            return Simulated { outcome, took, requests: canary.trials().n, failed: canary.failed, reason };
        }
        let weight = match rollout.phase {
            Phase::Shifting { step } => rollout.weight_of(step) / 100.0,
            Phase::AfterTraffic { .. } | Phase::Probation => 1.0,
            _ => 0.0,
        };
        let rate = world.requests_per_second * if weight > 0.0 { weight } else { 1.0 };
        let tick = Duration::from_secs_f64(
            (REQUESTS_A_TICK / rate.max(1e-9)).clamp(SHORTEST_TICK.as_secs_f64(), LONGEST_TICK.as_secs_f64()),
        );
        carry += world.requests_per_second * tick.as_secs_f64();
        let arrived = carry.floor();
        carry -= arrived;
        let to_canary = binomial(arrived as u64, weight, &mut rng);
        answer(&mut canary, to_canary, &world.canary, &mut rng);
        answer(&mut stable, arrived as u64 - to_canary, &world.stable, &mut rng);
        now = now + tick;
    }
    let requests = canary.trials().n;
    Simulated { outcome: SimulatedEnd::Held, took: LONGEST, requests, failed: canary.failed, reason }
}

fn ended(rollout: &Rollout) -> Option<SimulatedEnd> {
    match (&rollout.phase, &rollout.condition) {
        (Phase::Probation | Phase::Ended { end: End::Completed }, _) => Some(SimulatedEnd::Promoted),
        (Phase::Returning { why } | Phase::Ended { end: End::RolledBack { why } }, _) => {
            Some(match why.code.as_str() {
                "no_evidence" | "max_duration" => SimulatedEnd::NotEnoughEvidence,
                _ => SimulatedEnd::RolledBack,
            })
        }
        (_, Condition::Held { has_deadline: false, .. }) => Some(SimulatedEnd::Held),
        _ => None,
    }
}

fn begin(settings: &RolloutSettings) -> Rollout {
    let side = |version, bundle: &str| Side { version: VersionNumber(version), bundle: bundle.to_owned() };
    Rollout {
        number: RolloutNumber(1),
        project: "simulated".to_owned(),
        stage: "simulated".to_owned(),
        endpoint: "simulated".to_owned(),
        run: RunNumber(1),
        step: "deploy".to_owned(),
        canary: side(2, "new"),
        stable: Some(side(1, "old")),
        // There is no second model here, and no captured row.
        settings: RolloutSettings { mirror: Duration::ZERO, ..settings.clone() },
        by: None,
        reason: String::new(),
        created: Timestamp(0),
        began: Steady(0),
        phase: Phase::Loading,
        since: Steady(0),
        condition: Condition::Going,
        epoch: Epoch(1),
        is_followed: false,
        evidence: serin_ml::sequential::Evidence::default(),
        last: None,
        heard: Steady(0),
        promoted_by: None,
        is_replayed: false,
        watched_before: None,
    }
}

/// Counts `requests` more of a version.
fn answer(tally: &mut Tally, requests: u64, behaviour: &Behaviour, rng: &mut impl Rng) {
    let failed = binomial(requests, behaviour.error_rate, rng);
    let answered = requests - failed;
    tally.begun += requests;
    tally.failed += failed;
    tally.answered += answered;
    tally.latency.resize(LATENCY_BUCKETS, 0);
    let microseconds = u64::try_from(behaviour.latency.as_micros()).unwrap_or(u64::MAX);
    tally.latency[bucket_of_latency(microseconds)] += answered;
    let (mut left, mut share_left) = (answered, 1.0_f64);
    for (class, share) in behaviour.classes.iter().enumerate() {
        let chosen = binomial(left, (share / share_left.max(1e-12)).min(1.0), rng);
        if chosen > 0 {
            *tally.classes.entry(class.to_string()).or_default() += chosen;
        }
        left -= chosen;
        share_left -= share;
    }
}

/// How many of `n` events of probability `p` happen: exact while they are rare, a rounded normal variate beyond.
pub fn binomial(n: u64, p: f64, rng: &mut impl Rng) -> u64 {
    if n == 0 || p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    if p > 0.5 {
        return n - binomial(n, 1.0 - p, rng);
    }
    let mean = n as f64 * p;
    if mean > MANY {
        // Box and Muller 1958.
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        return (mean + z * (mean * (1.0 - p)).sqrt()).round().clamp(0.0, n as f64) as u64;
    }
    // From one event to the next lies a geometric variate.
    let (mut at, mut events) = (0.0, 0);
    loop {
        let u: f64 = 1.0 - rng.random::<f64>();
        at += (u.ln() / (-p).ln_1p()).floor() + 1.0;
        if at > n as f64 {
            return events;
        }
        events += 1;
    }
}
