//! What rollout policies find, and what they condemn by mistake: every cell is so many whole rollouts in virtual time.
//!
//!     cargo run --release -p serin-core --example rollout_power -- [ROLLOUTS]
//!
//! Prints Markdown for docs/rollouts.md.

use std::time::Duration;

use rand::Rng;
use serin_core::config::{RolloutSettings, RolloutStep};
use serin_core::rollout::simulate::{Behaviour, SimulatedEnd, World, binomial, simulate};
use serin_ml::seed::Seed;
use serin_ml::sequential::JudgeSettings;
use serin_ml::sequential::exact::{Trials, at_least};

const WEIGHTS: [f64; 4] = [1.0, 5.0, 10.0, 50.0];
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];
const BASES: [f64; 3] = [0.0, 0.001, 0.01];

fn settings(weight: f64, bake: Duration) -> RolloutSettings {
    let step = |weight, bake| RolloutStep { weight, bake };
    RolloutSettings {
        plan: "measured".to_owned(),
        steps: vec![step(weight, bake), step(100.0, Duration::ZERO)],
        min_requests: 300,
        evidence_wait: Duration::from_secs(7 * 24 * 3_600),
        max_duration: Duration::from_secs(20 * 24 * 3_600),
        judge: JudgeSettings::default(),
        ..RolloutSettings::default()
    }
}

/// The share of `rollouts` that were rolled back, and of those the share that were within `limit` requests.
fn rolled_back(rollouts: usize, settings: &RolloutSettings, world: &World, limit: u64) -> (f64, f64) {
    let (mut back, mut in_time) = (0, 0);
    for i in 0..rollouts {
        let simulated = simulate(settings, world, Seed(17).nth(i));
        if simulated.outcome == SimulatedEnd::RolledBack {
            back += 1;
            // The first look at so many requests is at the end of the second in which they came.
            let a_second = (world.requests_per_second * settings.steps[0].weight / 100.0).max(1.0);
            let until_then = limit as f64 + a_second + 3.0 * a_second.sqrt();
            in_time += usize::from(simulated.requests as f64 <= until_then);
        }
    }
    (back as f64 / rollouts as f64, in_time as f64 / rollouts as f64)
}

/// The best a test of a fixed size can do that knows the base rate and errs in 1 of 100 healthy rollouts.
fn best_fixed(n: u64, base: f64, extra: f64) -> f64 {
    let critical = (0..=n).find(|&failures| at_least(Trials { n, failures }, base) <= 0.01).unwrap_or(n);
    // With a base rate of nothing one failure proves it; a careful test asks for two.
    let critical = critical.max(1);
    at_least(Trials { n, failures: critical }, base + extra)
}

/// More than no errors in each of two periods of a minute, as the original's alarms.
fn original(rng: &mut impl Rng, rate: f64, error: f64, minutes: usize) -> bool {
    let mut last = false;
    (0..minutes).any(|_| {
        let now = binomial((60.0 * rate) as u64, error, rng) > 0;
        let both = now && last;
        last = now;
        both
    })
}

/// A check a minute of the last minute: at least 99 % must succeed, one failed check goes back (Flagger's example).
fn flagger(rng: &mut impl Rng, rate: f64, error: f64, minutes: usize) -> bool {
    (0..minutes).any(|_| {
        let n = (60.0 * rate) as u64;
        // No requests are a failed check.
        n == 0 || binomial(n, error, rng) as f64 > 0.01 * n as f64
    })
}

/// A measurement a minute with success condition `>= 0.95` and failure limit 0, as in Argo's documentation; nothing
/// measured is no failure.
fn argo(rng: &mut impl Rng, rate: f64, error: f64, minutes: usize) -> bool {
    (0..minutes).any(|_| {
        let n = (60.0 * rate) as u64;
        n > 0 && binomial(n, error, rng) as f64 > 0.05 * n as f64
    })
}

fn main() {
    let rollouts: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let world = |rate: f64, stable: f64, canary: f64| World {
        requests_per_second: rate,
        canary: Behaviour::failing(canary),
        stable: Behaviour::failing(stable),
    };
    let five_minutes = Duration::from_secs(300);
    println!("{rollouts} rollouts a cell.\n\nHealthy versions rolled back, percent (limit 1):\n");
    println!("| base error | requests/s | 1 % | 5 % | 10 % | 50 % |\n| --- | --- | --- | --- | --- | --- |");
    for base in BASES {
        for rate in RATES {
            let cells = WEIGHTS.map(|weight| {
                let (back, _) =
                    rolled_back(rollouts, &settings(weight, five_minutes), &world(rate, base, base), 0);
                format!("{:.2}", 100.0 * back)
            });
            println!("| {} % | {rate} | {} |", 100.0 * base, cells.join(" | "));
        }
    }
    for (extra, limits, goals) in
        [(0.04, [300, 300, 300], [99, 99, 95]), (0.01, [3_000, 3_000, 6_000], [95, 95, 95])]
    {
        println!(
            "\n+{} points, percent rolled back within so many requests of the new version:\n",
            100.0 * extra
        );
        println!(
            "| base error | requests/s | within | 1 % | 5 % | 10 % | 50 % | goal | best fixed-size test |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for ((base, limit), goal) in BASES.into_iter().zip(limits).zip(goals) {
            for rate in RATES {
                let cells = WEIGHTS.map(|weight| {
                    // Long enough that the requests come.
                    let seconds = 1.2 * limit as f64 / (rate * weight / 100.0);
                    let plan = settings(weight, Duration::from_secs_f64(seconds.max(2.0)));
                    let (_, found) = rolled_back(rollouts, &plan, &world(rate, base, base + extra), limit);
                    format!("{:.1}", 100.0 * found)
                });
                let best = 100.0 * best_fixed(limit, base, extra);
                println!(
                    "| {} % | {rate} | {limit} | {} | {goal} | {best:.1} |",
                    100.0 * base,
                    cells.join(" | ")
                );
            }
        }
    }
    println!(
        "\nA version that answers one class, where four classes are as frequent; percent rolled back within 300:\n"
    );
    println!("| requests/s | 1 % | 5 % | 10 % | 50 % |\n| --- | --- | --- | --- | --- |");
    for rate in RATES {
        let cells = WEIGHTS.map(|weight| {
            let mut world = world(rate, 0.001, 0.001);
            world.canary.classes = vec![1.0];
            let plan = settings(weight, Duration::from_secs_f64((400.0 / (rate * weight / 100.0)).max(2.0)));
            let (_, found) = rolled_back(rollouts, &plan, &world, 300);
            format!("{:.1}", 100.0 * found)
        });
        println!("| {rate} | {} |", cells.join(" | "));
    }
    println!(
        "\nThe rules of others at 10 % for 5 minutes: healthy rolled back / +1 point found / +4 points found, percent:\n"
    );
    println!(
        "| base error | requests/s | original | Flagger's example | Argo's example | Serin |\n| --- | --- | --- | --- | --- | --- |"
    );
    for base in BASES {
        for rate in RATES {
            let share = |rule: &dyn Fn(&mut rand_chacha::ChaCha8Rng, f64) -> bool| {
                let cells = [0.0, 0.01, 0.04].map(|extra| {
                    let found =
                        (0..rollouts).filter(|i| rule(&mut Seed(5).nth(*i).rng(), base + extra)).count();
                    format!("{:.1}", 100.0 * found as f64 / rollouts as f64)
                });
                cells.join(" / ")
            };
            let canary = rate / 10.0;
            let serin = [0.0, 0.01, 0.04].map(|extra| {
                let (back, _) =
                    rolled_back(rollouts, &settings(10.0, five_minutes), &world(rate, base, base + extra), 0);
                format!("{:.1}", 100.0 * back)
            });
            println!(
                "| {} % | {rate} | {} | {} | {} | {} |",
                100.0 * base,
                // Its alarms watch all requests of the alias, and those of the new version.
                share(&|rng, error| original(rng, canary, error, 5)),
                share(&|rng, error| flagger(rng, canary, error, 5)),
                share(&|rng, error| argo(rng, canary, error, 5)),
                serin.join(" / ")
            );
        }
    }
}
