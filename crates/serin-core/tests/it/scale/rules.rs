//! The rules one by one.

use serin_core::clock::{Steady, Timestamp};
use serin_core::domain::AlarmState;
use serin_core::scale::{
    Policy, ScaleMetric, ScaleStep, Scaler, ScalingSettings, ScheduledBounds, StepSide, replay,
};

use super::{Bench, INVOCATIONS, seconds, settings, tracking};

/// From the reference: 4 replicas at 1,100 for a target of 750 become 6; 6 at 300 become 3.
#[test]
fn the_worked_examples_come_out() {
    let mut bench = Bench::new(settings(1, 10), 4);
    assert_eq!(bench.minutes_each(2, 1_100), 4);
    assert_eq!(bench.minutes_each(1, 1_100), 6);
    assert_eq!(bench.rules(), ["target-tracking-out"]);
    let reason = &bench.decided[0].reason;
    assert!(
        reason.starts_with("1100 invocations per replica per minute for 3 minutes, above 750"),
        "{reason}"
    );
    assert!(reason.ends_with("4400 together need 6 replicas"), "{reason}");

    let mut bench = Bench::new(settings(1, 10), 6);
    assert_eq!(bench.minutes_each(14, 300), 6);
    assert_eq!(bench.minutes_each(1, 300), 3);
    assert_eq!(bench.rules(), ["scale-in"]);
}

/// Each row: the replicas, then the requests of each minute to all of them together, and the replicas after it.
#[test]
fn minutes_have_their_consequences() {
    type Minutes = &'static [(u32, u64, u32)];
    let cases: [(&str, u32, Minutes); 9] = [
        ("at the target nothing happens", 4, &[(60, 3_000, 4)]),
        ("between nine tenths and the target neither", 4, &[(60, 2_800, 4)]),
        ("two high minutes are not three", 4, &[(2, 4_400, 4), (1, 3_000, 4), (2, 4_400, 4), (1, 4_400, 6)]),
        (
            "fourteen low minutes are not fifteen",
            6,
            &[(14, 1_800, 6), (1, 4_400, 6), (14, 1_800, 6), (1, 1_800, 3)],
        ),
        ("the busiest of the fifteen is kept", 6, &[(5, 1_800, 6), (5, 3_700, 6), (5, 1_800, 5)]),
        ("no more than there may be", 4, &[(3, 60_000, 10), (10, 60_000, 10)]),
        ("no fewer than there may be", 4, &[(40, 0, 2)]),
        ("what was added counts", 4, &[(3, 4_400, 6), (1, 4_500, 6), (1, 4_500, 6)]),
        ("a larger one goes on in the cooldown", 4, &[(3, 4_400, 6), (1, 5_400, 8), (2, 5_400, 8)]),
    ];
    for (what, replicas, minutes) in cases {
        let settings = ScalingSettings { scale_out_cooldown: seconds(300), ..settings(2, 10) };
        let mut bench = Bench::new(settings, replicas);
        for (i, &(count, total, expected)) in minutes.iter().enumerate() {
            assert_eq!(bench.minutes(count, total), expected, "{what}: {i}");
        }
    }
}

fn step(side: StepSide, threshold: f64, minutes: u32, change: u32) -> ScaleStep {
    ScaleStep { metric: INVOCATIONS, side, threshold, minutes, change }
}

fn stepping(steps: Vec<ScaleStep>, cooldown: u64) -> ScalingSettings {
    ScalingSettings {
        policies: vec![Policy::Steps { steps }],
        scale_out_cooldown: seconds(cooldown),
        scale_in_cooldown: seconds(cooldown),
        ..settings(1, 20)
    }
}

/// "How step scaling works": 2 more, then within the cooldown a step of 3, of which the 2 are part.
#[test]
fn of_a_larger_step_in_the_cooldown_only_the_difference_is_added() {
    let steps = vec![step(StepSide::Above, 100.0, 1, 2), step(StepSide::Above, 200.0, 1, 3)];
    let mut bench = Bench::new(stepping(steps, 180), 4);
    assert_eq!(bench.minutes_each(1, 150), 6);
    // The same step again waits for the end of the cooldown.
    assert_eq!(bench.minutes_each(1, 150), 6);
    assert_eq!(bench.minutes_each(1, 250), 7);
    assert_eq!(bench.minutes_each(2, 250), 7);
    // It began anew with the larger step, three minutes before.
    assert_eq!(bench.minutes_each(1, 150), 9);
    assert_eq!(bench.rules(), ["step-out"; 3]);
}

#[test]
fn the_cooldown_of_a_scale_in_ends_with_a_scale_out() {
    let steps = || {
        vec![
            step(StepSide::Above, 200.0, 1, 4),
            step(StepSide::Below, 100.0, 2, 1),
            step(StepSide::Below, 50.0, 2, 3),
        ]
    };
    let mut bench = Bench::new(stepping(steps(), 600), 10);
    assert_eq!(bench.minutes_each(2, 80), 9);
    // Blocked for ten minutes, the larger step too.
    assert_eq!(bench.minutes_each(9, 10), 9);
    assert_eq!(bench.minutes_each(1, 10), 6);
    // A scale-out is not blocked by it, and cancels it.
    assert_eq!(bench.minutes_each(1, 300), 10);
    assert_eq!(bench.minutes_each(1, 80), 10);
    assert_eq!(bench.minutes_each(1, 80), 9);
    assert_eq!(bench.rules(), ["scale-in", "scale-in", "step-out", "scale-in"]);
    // Without requests a step goes to none, where that is allowed.
    let idle = ScalingSettings { min: 0, ..stepping(steps(), 60) };
    let mut bench = Bench::new(idle, 2);
    assert_eq!(bench.minutes_each(2, 1), 1);
    assert_eq!(bench.minutes_each(3, 1), 1);
    assert_eq!(bench.minutes_each(2, 0), 0);
}

#[test]
fn any_policy_adds_and_all_must_agree_to_remove() {
    let both = || ScalingSettings {
        policies: vec![tracking(INVOCATIONS, 750.0), tracking(ScaleMetric::Cpu, 70.0)],
        ..settings(1, 20)
    };
    let mut bench = Bench::new(both(), 4);
    bench.reading.cpu = Some(140.0);
    // 5.9 by requests, 8 by processors: the larger wins.
    assert_eq!(bench.minutes_each(3, 1_100), 8);
    let mut bench = Bench::new(both(), 4);
    bench.reading.cpu = Some(65.0);
    assert_eq!(bench.minutes_each(30, 100), 4);
    assert!(bench.decided.is_empty());
    // Both low: the more careful of the two. Processors say 2.3, requests 0.6.
    bench.reading.cpu = Some(40.0);
    assert_eq!(bench.minutes_each(15, 100), 3);
    // One that is not measured holds, and lets the other add.
    bench.reading.cpu = None;
    assert_eq!(bench.minutes_each(40, 100), 3);
    assert_eq!(bench.decided.last().map(|decision| decision.rule.as_str()), Some("hold"));
    assert_eq!(bench.minutes_each(3, 1_500), 6);
    // Never fewer by a policy.
    let mut bench = Bench::new(ScalingSettings { scale_in: false, ..settings(1, 10) }, 6);
    assert_eq!(bench.minutes_each(40, 10), 6);
    assert_eq!(bench.minutes_each(3, 1_000), 8);
}

/// What cannot be measured, or makes no sense, never makes replicas fewer.
#[test]
fn what_is_not_known_holds() {
    type Spoil = fn(&mut serin_core::scale::Reading);
    let cases: [(&str, Spoil); 5] = [
        ("missing", |reading| reading.begun = None),
        ("no replica ready", |reading| (reading.ready, reading.begun) = (0, Some(1))),
        ("cpu not a number", |reading| reading.cpu = Some(f64::NAN)),
        ("cpu infinite", |reading| reading.cpu = Some(f64::INFINITY)),
        ("cpu negative", |reading| reading.cpu = Some(-1.0)),
    ];
    for (what, spoil) in cases {
        let policies = vec![tracking(INVOCATIONS, 750.0), tracking(ScaleMetric::Cpu, 70.0)];
        let mut bench = Bench::new(ScalingSettings { policies, fast: true, ..settings(1, 10) }, 6);
        for _ in 0..3_600 {
            assert_eq!(bench.second(spoil), 6, "{what}");
        }
        let told: Vec<&str> = bench.rules();
        assert!(told.iter().all(|rule| *rule == "hold") && (1..=2).contains(&told.len()), "{what}: {told:?}");
        let status = bench.scaler.status(bench.now(), bench.wall());
        assert_eq!(status.hold.map(|hold| hold.code).as_deref(), Some("not-measured"), "{what}");
        assert_eq!(status.policies.len(), 2);
        assert!(status.policies.iter().any(|one| one.low == AlarmState::InsufficientData), "{what}");
        // A minute that was measured in part does not make fifteen.
        assert_eq!(bench.minutes(14, 0), 6, "{what}");
        assert_eq!(bench.minutes(2, 0), 1, "{what}");
    }
    // Nobody reads at all: a hole of an hour is no low load, and neither is one of twenty seconds.
    let mut bench = Bench::new(settings(1, 10), 6);
    assert_eq!(bench.minutes(10, 0), 6);
    bench.second += 3_600;
    assert_eq!(bench.minutes(14, 0), 6);
    bench.second += 20;
    assert_eq!(bench.minutes(14, 0), 6);
    bench.second += 20;
    assert!((0..120).all(|_| {
        bench.second += 1;
        let (now, wall) = (bench.now(), bench.wall());
        bench.scaler.decide(now, wall);
        bench.scaler.desired() == 6
    }));
}

#[test]
fn none_where_nobody_asks_and_one_at_once() {
    let mut bench = Bench::new(settings(0, 10), 2);
    assert_eq!(bench.minutes(14, 0), 2);
    assert_eq!(bench.minutes(1, 0), 0);
    assert_eq!(bench.minutes(600, 0), 0);
    assert_eq!(bench.second(|reading| reading.in_flight = Some(0.2)), 1);
    assert_eq!(bench.rules(), ["scale-in", "from-zero"]);
    // One request a minute keeps one.
    assert_eq!(bench.minutes(60, 1), 1);
    // Zeros of a stage that needs one leave it one.
    assert_eq!(Bench::new(settings(1, 10), 1).minutes(60, 0), 1);
    // Without a policy there is nothing to count but idleness: a model that is unloaded.
    let unloaded = ScalingSettings { min: 0, max: 1, ..ScalingSettings::default() };
    let mut bench = Bench::new(unloaded, 1);
    assert_eq!(bench.minutes(30, 10), 1);
    assert_eq!(bench.minutes(15, 0), 0);
    assert_eq!(bench.second(|reading| reading.begun = Some(1)), 1);
}

/// A processor is never quite idle: who is asked nothing needs none all the same.
#[test]
fn an_idle_processor_does_not_keep_a_replica() {
    let policies = vec![tracking(ScaleMetric::Cpu, 70.0)];
    let mut bench = Bench::new(ScalingSettings { policies, ..settings(0, 4) }, 3);
    bench.reading.cpu = Some(0.4);
    assert_eq!(bench.minutes(15, 0), 0);
    let mut bench = Bench::new(
        bench.scaler.status(bench.now(), bench.wall()).policies.pop().map_or_else(
            || settings(0, 4),
            |one| ScalingSettings { policies: vec![one.policy], ..settings(0, 4) },
        ),
        3,
    );
    bench.reading.cpu = Some(0.4);
    assert_eq!(bench.minutes(15, 1), 1);
}

#[test]
fn schedules_move_the_bounds_and_ignore_cooldowns() {
    let entry = |cron: &str, min, max| ScheduledBounds { cron: cron.into(), zone: "UTC".into(), min, max };
    let schedules = vec![entry("10 * * * *", 4, 10), entry("20 * * * *", 0, 3)];
    let settings = ScalingSettings { schedules, scale_in_cooldown: seconds(3_600), ..settings(1, 10) };
    let mut bench = Bench::new(settings, 1);
    // 1,800,000,000 is 08:00 UTC.
    assert_eq!(bench.minutes(9, 100), 1);
    assert_eq!(bench.scaler.bounds(bench.wall()), (0, 3));
    assert_eq!(bench.minutes(1, 100), 4);
    assert_eq!(bench.scaler.bounds(bench.wall()), (4, 10));
    assert_eq!(bench.minutes(2, 4_400), 4);
    assert_eq!(bench.minutes(1, 4_400), 6);
    assert_eq!(bench.minutes(7, 4_400), 3);
    assert_eq!(bench.minutes(5, 4_400), 3);
    assert_eq!(bench.rules(), ["schedule", "target-tracking-out", "schedule", "hold"]);
    let status = bench.scaler.status(bench.now(), bench.wall());
    assert!(status.is_scheduled && (status.min, status.max) == (0, 3));
}

#[test]
fn a_person_is_obeyed_within_the_bounds_and_policies_go_on_from_there() {
    let mut bench = Bench::new(settings(2, 10), 2);
    let decision = bench.scaler.set_desired(50, bench.now(), "ada");
    assert_eq!((decision.from, decision.to, decision.rule.as_str()), (2, 10, "by-hand"));
    assert_eq!(decision.reason, "ada asked for 50, and from 2 to 10 are possible");
    assert_eq!(replay(&decision.inputs), Some(decision));
    assert_eq!(bench.scaler.set_desired(0, bench.now(), "ada").to, 2);
    assert_eq!(bench.scaler.set_desired(5, bench.now(), "ada").reason, "ada asked for 5");
    assert_eq!(bench.minutes(14, 100), 5);
    assert_eq!(bench.minutes(1, 100), 2);
}

#[test]
fn a_rollout_has_its_floor() {
    let mut bench = Bench::new(settings(1, 6), 2);
    bench.scaler.set_floor(4);
    assert_eq!(bench.second(|_| ()), 4);
    assert_eq!(bench.rules(), ["floor"]);
    assert_eq!(bench.minutes(40, 0), 4);
    assert_eq!(bench.scaler.set_desired(1, bench.now(), "ada").to, 4);
    // Not beyond the maximum, which is somebody's word too.
    bench.scaler.set_floor(9);
    assert_eq!(bench.second(|_| ()), 6);
    assert_eq!(bench.scaler.bounds(bench.wall()), (6, 6));
    bench.scaler.set_floor(0);
    assert_eq!(bench.minutes(16, 0), 1);
}

/// E4, and what outlives a restart: everything.
#[test]
fn after_a_restart_there_is_no_scale_in_for_one_window() {
    let mut bench = Bench::new(settings(1, 10), 6);
    bench.minutes_each(10, 300);
    let text = serde_json::to_string(&bench.scaler).unwrap();
    assert!(text.len() < 20_000, "{}", text.len());
    let stored: Scaler = serde_json::from_str(&text).unwrap();
    assert_eq!(stored, bench.scaler);
    bench.scaler = stored.resumed(settings(1, 10), bench.now());
    assert_eq!(bench.minutes_each(14, 300), 6);
    assert_eq!(bench.minutes_each(1, 300), 3);
    // High minutes before and after count together.
    let mut bench = Bench::new(settings(1, 10), 4);
    bench.minutes_each(2, 1_100);
    bench.scaler = bench.scaler.clone().resumed(settings(1, 10), bench.now());
    assert_eq!(bench.minutes_each(1, 1_100), 6);
    // Other settings: other bounds at once, another target from the same minutes.
    bench.scaler = bench.scaler.clone().resumed(settings(1, 5), bench.now());
    bench.second(|_| ());
    assert_eq!((bench.scaler.desired(), bench.rules().pop()), (5, Some("bounds")));
}

/// E6 and the fast layer's own bounds.
#[test]
fn without_a_spare_processor_nothing_is_added() {
    let policies = vec![tracking(ScaleMetric::InFlightPerReplica, 2.0)];
    let quick = || ScalingSettings { policies: policies.clone(), fast: true, ..settings(1, 10) };
    let busy = |in_flight: f64| {
        move |reading: &mut serin_core::scale::Reading| {
            (reading.begun, reading.in_flight) = (Some(100), Some(in_flight));
        }
    };
    let mut bench = Bench::new(quick(), 1);
    bench.reading.host_idle = Some(0.05);
    for _ in 0..600 {
        assert_eq!(bench.second(busy(6.0)), 1);
    }
    assert_eq!(bench.rules(), ["hold"]);
    assert!(bench.decided[0].reason.contains("no spare processor: 5 % idle"), "{}", bench.decided[0].reason);
    let status = bench.scaler.status(bench.now(), bench.wall());
    assert_eq!(status.hold.map(|hold| hold.code).as_deref(), Some("no-spare-processor"));
    // Not known is not spare, for the fast layer; the slow one follows its published rule.
    bench.reading.host_idle = None;
    assert_eq!(bench.second(busy(6.0)), 1);
    // Some: one at a time. Plenty: what is needed.
    bench.reading.host_idle = Some(0.3);
    for _ in 0..3 {
        bench.second(busy(6.0));
    }
    assert_eq!(bench.scaler.desired(), 2);
    let mut bench = Bench::new(quick(), 1);
    assert_eq!((0..3).map(|_| bench.second(busy(6.0))).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(bench.rules(), ["fast-out"]);
    // At the most there are it is told once.
    for _ in 0..300 {
        bench.second(busy(600.0));
    }
    assert_eq!(bench.scaler.desired(), 10);
    assert_eq!(bench.rules().iter().filter(|rule| **rule == "hold").count(), 1);
}

/// E8: what crashes and starts again is no capacity, and more of it would be none.
#[test]
fn replicas_that_never_get_ready_do_not_run_to_the_maximum() {
    for metric in ScaleMetric::ALL {
        let target = if metric == INVOCATIONS { 750.0 } else { 2.0 };
        let policies = vec![tracking(metric, target)];
        let mut bench = Bench::new(ScalingSettings { policies, fast: true, ..settings(1, 10) }, 2);
        for _ in 0..1_800 {
            bench.second(|reading| {
                (reading.ready, reading.in_flight, reading.begun) = (0, Some(500.0), Some(100));
            });
        }
        assert_eq!(bench.scaler.desired(), 2, "{metric:?}");
        let hold = bench.scaler.status(bench.now(), bench.wall()).hold;
        assert_eq!(hold.map(|hold| hold.code).as_deref(), Some("no-replica-ready"), "{metric:?}");
    }
    // Half of them answer: their load is what is counted, once.
    let mut bench = Bench::new(settings(1, 10), 4);
    for _ in 0..1_800 {
        bench.second(|reading| (reading.ready, reading.begun) = (2, Some(50)));
    }
    assert_eq!(bench.scaler.desired(), 4);
}

/// E8 again, for the fast layer: half of the replicas never get ready, and a long line waits.
#[test]
fn half_of_the_replicas_crashing_is_no_reason_for_more_and_more() {
    for grows in [0.0, 20.0] {
        let policies = vec![tracking(ScaleMetric::InFlightPerReplica, 2.0)];
        let mut bench = Bench::new(ScalingSettings { policies, fast: true, ..settings(1, 100) }, 4);
        for second in 0..120 {
            bench.second(|reading| {
                (reading.ready, reading.begun) = (2, Some(50));
                reading.in_flight = Some(60.0 + grows * f64::from(second));
            });
        }
        // Fifteen more are answered each second by one: so many would do, and twice as many with the line.
        let most = if grows > 0.0 { 9 } else { 4 };
        assert!(bench.scaler.desired() <= most, "{}", bench.scaler.desired());
    }
}

#[test]
fn readings_that_come_twice_or_too_late_change_nothing() {
    let mut bench = Bench::new(settings(1, 10), 4);
    for _ in 0..180 {
        bench.second(|reading| reading.begun = Some(60));
        let scaler = bench.scaler.clone();
        for late in [0, 1, 30] {
            let at = Steady(bench.now().0 - late * 1_000_000);
            bench.scaler.observe(serin_core::scale::Reading {
                at,
                begun: Some(u64::MAX),
                ready: 4,
                ..bench.reading
            });
        }
        assert_eq!(bench.scaler, scaler);
    }
    assert_eq!(bench.scaler.desired(), 5);
    assert_eq!(bench.scaler.bounds(Timestamp(i64::MAX)), (1, 10));
}
