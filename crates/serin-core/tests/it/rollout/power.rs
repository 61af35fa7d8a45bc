//! False alarms and power, in fewer rollouts than `examples/rollout_power.rs` makes for docs/rollouts.md. The bounds leave
//! room for the luck of so few.

use std::time::Duration;

use serin_core::config::{RolloutSettings, RolloutStep};
use serin_core::rollout::simulate::{Behaviour, SimulatedEnd, World, simulate};
use serin_ml::seed::Seed;

const ROLLOUTS: usize = 150;

fn share_back(weight: f64, rate: f64, canary: Behaviour, stable: f64, within: Option<u64>) -> f64 {
    let seconds = within.map_or(300.0, |within| 1.2 * within as f64 / (rate * weight / 100.0)).max(2.0);
    let step = |weight, bake| RolloutStep { weight, bake };
    let settings = RolloutSettings {
        steps: vec![step(weight, Duration::from_secs_f64(seconds)), step(100.0, Duration::ZERO)],
        evidence_wait: Duration::from_secs(7 * 24 * 3_600),
        max_duration: Duration::from_secs(20 * 24 * 3_600),
        ..super::settings()
    };
    let world = World { requests_per_second: rate, canary, stable: Behaviour::failing(stable) };
    let second = (rate * weight / 100.0).max(1.0);
    let back = (0..ROLLOUTS).filter(|i| {
        let one = simulate(&settings, &world, Seed(3).nth(*i));
        let limit = within.map_or(f64::MAX, |within| within as f64 + second + 3.0 * second.sqrt());
        one.outcome == SimulatedEnd::RolledBack && one.requests as f64 <= limit
    });
    back.count() as f64 / ROLLOUTS as f64
}

#[test]
fn healthy_versions_are_seldom_condemned() {
    for (base, rate, weight) in
        [(0.0, 100.0, 10.0), (0.001, 100.0, 10.0), (0.01, 100.0, 50.0), (0.01, 10.0, 5.0)]
    {
        let back = share_back(weight, rate, Behaviour::failing(base), base, None);
        // 1 % is promised; six of 150 would be as rare as one in three hundred.
        assert!(back <= 0.04, "{base} {rate} {weight}: {back}");
    }
}

#[test]
fn faults_are_found_within_the_requests_that_are_promised() {
    // Base, extra, within, promised, and what 150 rollouts show all but surely.
    for (base, extra, within, at_least) in [
        (0.0, 0.04, 300, 0.96),
        (0.001, 0.04, 300, 0.96),
        (0.01, 0.04, 300, 0.90),
        (0.001, 0.01, 3_000, 0.90),
        (0.01, 0.01, 6_000, 0.90),
    ] {
        for (rate, weight) in [(100.0, 10.0), (10.0, 50.0)] {
            let found = share_back(weight, rate, Behaviour::failing(base + extra), base, Some(within));
            assert!(found >= at_least, "{base} + {extra}, {rate}/s at {weight} %: {found}");
        }
    }
}

#[test]
fn one_class_and_slow_answers_are_found_within_three_hundred() {
    let one_class = Behaviour { classes: vec![1.0], ..Behaviour::failing(0.001) };
    assert!(share_back(10.0, 100.0, one_class, 0.001, Some(300)) >= 0.96);
    let slow = Behaviour { latency: Duration::from_millis(20), ..Behaviour::failing(0.001) };
    assert!(share_back(10.0, 100.0, slow, 0.001, Some(300)) >= 0.96);
}
