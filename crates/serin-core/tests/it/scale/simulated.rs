//! R36 and R37: a thousand services in virtual time.

use proptest::prelude::*;
use rand::Rng;
use serin_core::clock::{Steady, Timestamp};
use serin_core::scale::compare::Rules;
use serin_core::scale::simulate::{Service, direction_changes, queue, simulate};
use serin_core::scale::{Reading, ScaleMetric, Scaler, ScalingSettings, replay};
use serin_ml::seed::Seed;

use super::{INVOCATIONS, seconds, tracking};

const SEEDS: usize = 1_000;
const WALL: Timestamp = Timestamp(1_800_000_000_000_000);

/// A service, a policy that suits it, and the requests a second that so many of its replicas are for.
struct Case {
    settings: ScalingSettings,
    service: Service,
    replicas: u32,
    requests: f64,
}

/// Replicas with one or two slots, answers of 20 to 200 ms, used to 40 to 70 percent; starts of half a second to four.
fn case(rng: &mut impl Rng) -> Case {
    let answer = rng.random_range(0.02..0.2);
    let concurrency = rng.random_range(1..=2);
    let used = rng.random_range(0.4..0.7);
    let replicas = rng.random_range(1..=3);
    let each = used * f64::from(concurrency) / answer;
    let policy = match rng.random_range(0..3) {
        0 => tracking(INVOCATIONS, 60.0 * each),
        1 => tracking(ScaleMetric::InFlightPerReplica, f64::from(concurrency)),
        _ => tracking(ScaleMetric::Cpu, 100.0 * used),
    };
    let settings = ScalingSettings {
        min: replicas,
        max: 10 * replicas,
        policies: vec![policy],
        ..ScalingSettings::default()
    };
    let service = Service {
        answer: seconds(1).mul_f64(answer),
        concurrency,
        start: seconds(1).mul_f64(rng.random_range(0.5..4.0)),
        wait_limit: seconds(60),
        processors: None,
    };
    Case { settings, service, replicas, requests: 0.9 * each * f64::from(replicas) }
}

/// Poisson, for small means.
fn poisson(mean: f64, rng: &mut impl Rng) -> u32 {
    let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0);
    loop {
        product *= rng.random::<f64>();
        if product <= limit {
            return count;
        }
        count += 1;
    }
}

/// The load becomes five times what it was: within 20 s callers wait no longer than ten answers take, and it stays so.
#[test]
fn five_times_the_load_is_served_within_twenty_seconds() {
    const BEFORE: usize = 90;
    const AFTER: usize = 20;
    const SEEN: usize = 30;
    let mut late = Vec::new();
    for i in 0..SEEDS {
        let seed = Seed(36).nth(i);
        let mut rng = seed.rng();
        let case = case(&mut rng);
        let arrivals: Vec<u32> = (0..BEFORE + AFTER + SEEN)
            .map(|second| {
                let factor = if second < BEFORE { 1.0 } else { 5.0 };
                poisson(factor * case.requests, &mut rng)
            })
            .collect();
        let simulated =
            simulate(Rules::Serin, &case.settings, &case.service, &arrivals, WALL, seed.child("queue"));
        let (min, max) = (case.settings.min, case.settings.max);
        assert!(simulated.seconds.iter().all(|second| (min..=max).contains(&second.desired)), "seed {i}");
        assert!(simulated.direction_changes == 0, "seed {i}");
        let limit = 10.0 * case.service.answer.as_secs_f64();
        // Percentiles are over five seconds: those of the last second of them.
        let after = &simulated.seconds[BEFORE + AFTER + 4..];
        let slow = after.iter().filter(|second| second.p99.is_some_and(|p99| p99 > limit)).count();
        if slow > 0 {
            let steps: Vec<(usize, u32)> =
                simulated.decisions.iter().map(|one| (one.second.saturating_sub(BEFORE), one.to)).collect();
            late.push(format!(
                "seed {i}: {slow} s slow, {:?} {steps:?} {:?}",
                case.settings.policies, case.service
            ));
        }
        assert_eq!(simulated.shed, 0, "seed {i}");
    }
    assert!(late.is_empty(), "{} of {SEEDS}:\n{}", late.len(), late.join("\n"));
}

/// A noisy constant load for half an hour: at most two turns in any ten minutes, and hardly any replica too many.
#[test]
fn a_noisy_constant_load_makes_no_one_run_to_and_fro() {
    const SECONDS: usize = 1_800;
    let mut turns = 0;
    for i in 0..SEEDS {
        let seed = Seed(37).nth(i);
        let mut rng = seed.rng();
        let case = case(&mut rng);
        // So slow that a thousand half hours are simulated in time.
        let scale = (6.0 / case.requests).min(1.0);
        let service = Service { answer: case.service.answer.div_f64(scale), ..case.service };
        let policies = case.settings.policies.iter().map(|policy| match policy {
            serin_core::scale::Policy::TargetTracking { metric: INVOCATIONS, target } => {
                tracking(INVOCATIONS, target * scale)
            }
            other => other.clone(),
        });
        let settings = ScalingSettings { min: 1, policies: policies.collect(), ..case.settings };
        let mut level = case.requests * scale;
        let arrivals: Vec<u32> = (0..SECONDS)
            .map(|second| {
                // Every ten seconds somewhat more or less, besides Poisson's noise.
                if second % 10 == 0 {
                    level = case.requests * scale * rng.random_range(0.8..1.2);
                }
                poisson(level, &mut rng)
            })
            .collect();
        let simulated = simulate(Rules::Serin, &settings, &service, &arrivals, WALL, seed.child("queue"));
        let desired: Vec<u32> = simulated.seconds.iter().map(|second| second.desired).collect();
        let most = desired.windows(600).step_by(30).map(|ten| direction_changes(ten.iter().copied())).max();
        assert!(most <= Some(2), "seed {i}: {:?}", simulated.decisions);
        assert!(desired.iter().all(|desired| (1..=settings.max).contains(desired)), "seed {i}");
        let most = desired.iter().copied().max().unwrap();
        assert!(
            most <= 3 * case.replicas + 2,
            "seed {i}: {most} of {} {:?}",
            case.replicas,
            simulated.decisions
        );
        turns += simulated.direction_changes;
    }
    // About one each: back from what the beginning took.
    assert!(turns <= 3 * SEEDS / 2, "{turns}");
}

/// Faults of all kinds in a load that is worth six replicas and seems to vanish: nothing that was not measured makes them
/// fewer, whatever else happens, and every decision can be made again. Restarts at random moments change nothing else.
#[test]
fn a_scaler_that_is_blinded_and_restarted_holds() {
    for i in 0..SEEDS / 10 {
        let seed = Seed(38).nth(i);
        let mut rng = seed.rng();
        let policies = vec![tracking(INVOCATIONS, 600.0), tracking(ScaleMetric::InFlightPerReplica, 3.0)];
        let settings = ScalingSettings { min: 1, max: 12, policies, ..ScalingSettings::default() };
        let mut scaler = Scaler::new(settings.clone(), Steady(0));
        scaler.set_desired(6, Steady(0), "a test");
        let mut second = 0_i64;
        let blind_from = rng.random_range(60..1_200);
        let mut restarted = None;
        while second < 3_600 {
            second += 1;
            let is_blind = second > blind_from && rng.random::<f64>() < 0.3;
            let (begun, in_flight) = if is_blind {
                match rng.random_range(0..4) {
                    0 => (None, Some(1.0)),
                    1 => (Some(30), None),
                    2 => (Some(30), Some(f64::NAN)),
                    _ => (None, Some(f64::NEG_INFINITY)),
                }
            } else {
                (Some(2), Some(0.1))
            };
            let (now, wall) = (Steady(second * 1_000_000), Timestamp(WALL.0 + second * 1_000_000));
            let reading = Reading {
                at: now,
                begun,
                in_flight,
                cpu: None,
                ready: scaler.desired(),
                host_idle: Some(1.0),
            };
            if rng.random::<f64>() < 0.95 {
                scaler.observe(reading);
            }
            if rng.random::<f64>() < 0.002 {
                let stored: Scaler = serde_json::from_str(&serde_json::to_string(&scaler).unwrap()).unwrap();
                assert_eq!(stored, scaler);
                scaler = stored.resumed(settings.clone(), now);
                restarted = Some(second);
            }
            if let Some(decision) = scaler.decide(now, wall) {
                assert_eq!(replay(&decision.inputs).as_ref(), Some(&decision), "seed {i}");
                if decision.to < decision.from {
                    assert!(second < blind_from + 60, "seed {i}: {second} {}", decision.reason);
                    assert!(restarted.is_none_or(|restarted| second - restarted >= 900), "seed {i}");
                }
            }
        }
    }
}

/// Cut at any second, stored and read again without a pause: the same decisions, but for scale-ins that wait.
#[test]
fn the_window_survives_a_restart_at_any_second() {
    let settings = super::settings(1, 10);
    let load = |second: i64| if second < 400 { 60 } else { 90 };
    let run = |cut: Option<i64>| {
        let mut scaler = Scaler::new(settings.clone(), Steady(0));
        scaler.set_desired(4, Steady(0), "a test");
        let mut decided = Vec::new();
        for second in 1..1_000 {
            let now = Steady(second * 1_000_000);
            let begun = Some(load(second));
            let ready = scaler.desired();
            scaler.observe(Reading {
                at: now,
                begun,
                in_flight: Some(4.0),
                cpu: None,
                ready,
                host_idle: None,
            });
            if let Some(decision) = scaler.decide(now, WALL) {
                decided.push((second, decision.from, decision.to));
            }
            if cut == Some(second) {
                let text = serde_json::to_string(&scaler).unwrap();
                scaler = serde_json::from_str::<Scaler>(&text).unwrap().resumed(settings.clone(), now);
            }
        }
        decided
    };
    let whole = run(None);
    assert!(whole.len() >= 2, "{whole:?}");
    for cut in 1..1_000 {
        assert_eq!(run(Some(cut)), whole, "{cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is read, ordered or asked: within the bounds, and not below a floor that they allow.
    #[test]
    fn bounds_and_floors_are_kept(
        min in 0_u32..4,
        room in 0_u32..8,
        steps in proptest::collection::vec((0_u8..12, any::<u32>(), any::<f64>()), 1..400),
    ) {
        let max = (min + room).max(1);
        let policies = vec![tracking(INVOCATIONS, 100.0), tracking(ScaleMetric::Cpu, 50.0)];
        let settings = ScalingSettings { min, max, policies, ..ScalingSettings::default() };
        let mut scaler = Scaler::new(settings, Steady(0));
        let (mut now, mut floor) = (0_i64, 0_u32);
        for (kind, number, odd) in steps {
            now += match kind {
                0 => -1_000_000,
                1 => 61_000_000,
                2 => i64::from(number),
                _ => 1_000_000,
            };
            match kind {
                3 => { floor = number % 16; scaler.set_floor(floor); }
                4 => { scaler.set_desired(number, Steady(now), "x"); }
                _ => scaler.observe(Reading {
                    at: Steady(now),
                    begun: (kind != 5).then_some(u64::from(number % 1_000)),
                    in_flight: (kind != 6).then_some(odd),
                    cpu: (kind != 7).then_some(f64::from(number % 200)),
                    ready: if kind == 8 { number } else { scaler.desired() },
                    host_idle: (kind != 9).then_some(odd.fract().abs()),
                }),
            }
            if let Some(decision) = scaler.decide(Steady(now), Timestamp(now)) {
                prop_assert_eq!(replay(&decision.inputs), Some(decision));
            }
            let low = min.max(floor).min(max);
            prop_assert!((low..=max).contains(&scaler.desired()));
            let text = serde_json::to_string(&scaler).unwrap();
            prop_assert_eq!(serde_json::from_str::<Scaler>(&text).unwrap(), scaler.clone());
        }
    }
}

/// R37: two releases with scalers of their own and random traffic. The rollout asks for floors, moves its weight when they are
/// ready, and may go back at any time: the replicas that a weight needs are always there.
#[test]
fn a_rollout_and_two_scalers_do_not_fight() {
    const SECONDS: usize = 1_800;
    let steps: [f64; 5] = [0.0, 0.1, 0.3, 0.6, 1.0];
    for i in 0..SEEDS / 10 {
        let seed = Seed(39).nth(i);
        let mut rng = seed.rng();
        let settings = |min| ScalingSettings {
            min,
            max: 12,
            policies: vec![tracking(INVOCATIONS, 300.0)],
            ..ScalingSettings::default()
        };
        let service = Service { answer: seconds(1).div_f64(10.0), start: seconds(2), ..Service::default() };
        let mut scalers = [Scaler::new(settings(2), Steady(0)), Scaler::new(settings(0), Steady(0))];
        let mut queues = [queue(service.clone(), 2, seed.child("a")), queue(service, 0, seed.child("b"))];
        let begins = rng.random_range(100..400);
        let (mut step, mut weight, mut needed, mut scale_ins) = (0, 0.0_f64, 0.0_f64, 0);
        let mut level = rng.random_range(5.0..30.0);
        for second in 1..=SECONDS {
            if second % 120 == 0 {
                level = rng.random_range(1.0..30.0);
            }
            let ready = [queues[0].ready(), queues[1].ready()];
            if second == begins {
                // What serves now is needed until the rollout is over: it may go back at once.
                needed = f64::from(ready[0].min(scalers[0].desired()));
                scalers[0].set_floor(needed as u32);
            }
            if second > begins && second % 150 == 0 {
                step = if rng.random::<f64>() < 0.15 { 0 } else { (step + 1).min(steps.len() - 1) };
            }
            let asked = steps[step].max(weight);
            scalers[1].set_floor((asked * needed).ceil() as u32);
            if f64::from(ready[1]) >= steps[step] * needed || steps[step] < weight {
                weight = steps[step];
            }
            assert!(f64::from(ready[1]) >= weight * needed, "seed {i}: {second} {weight} {needed} {ready:?}");
            assert!(
                f64::from(ready[0]) >= (1.0 - weight) * needed,
                "seed {i}: {second} {weight} {needed} {ready:?}"
            );
            let arrivals = poisson(level, &mut rng);
            let to_new = (0..arrivals).filter(|_| rng.random::<f64>() < weight).count() as u32;
            let now = Timestamp(WALL.0 + second as i64 * 1_000_000);
            for (side, count) in [(0, arrivals - to_new), (1, to_new)] {
                let reading = queues[side].second(count);
                scalers[side].observe(reading);
                let decided = scalers[side].decide(reading.at, now);
                scale_ins += usize::from(decided.is_some_and(|decision| decision.to < decision.from));
                queues[side].set_replicas(scalers[side].desired());
            }
        }
        assert!(scale_ins <= 8, "seed {i}: {scale_ins}");
    }
}
