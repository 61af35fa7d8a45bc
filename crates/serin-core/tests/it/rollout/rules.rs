//! The rules, and the failures of other tools that each of them avoids (C and D numbers of the design).

use std::time::Duration;

use serin_core::config::{RolloutSettings, WithoutEvidence};
use serin_core::rollout::{
    AlarmView, Blame, Command, Condition, End, HookAnswer, Phase, Rollout, Why, next, replay,
};

use super::{World, answer, is_phase, rollout, settings};

fn why(rollout: &Rollout) -> Why {
    match &rollout.phase {
        Phase::Returning { why } | Phase::Ended { end: End::RolledBack { why } } => why.clone(),
        other => panic!("{other:?}"),
    }
}

fn shifting(world: &mut World) -> Rollout {
    world.until(rollout(settings()), is_phase("shifting"))
}

#[test]
fn a_good_version_goes_step_by_step_and_the_one_before_stays_warm() {
    let mut world = World::new(100);
    let mut weights = Vec::new();
    let mut one = rollout(settings());
    while !one.is_promoted() {
        one = world.tick(one);
        let shares: Vec<f64> = one.split().shares.iter().map(|share| share.weight).collect();
        if weights.last() != Some(&shares) {
            weights.push(shares);
        }
        assert!(world.now < 400, "{:?}", world.decided);
    }
    assert_eq!(weights, [[100.0, 0.0], [90.0, 10.0], [0.0, 100.0], [100.0, 0.0]]);
    assert_eq!(one.split().shares[1].version.0, 1, "the old one is warm");
    assert_eq!(world.decided, ["loaded", "hook-passed", "shifted", "shifted", "baked", "promoted"]);
    // A day later it is kept no longer.
    let one = world.tick(one);
    world.now += 24 * 3_600;
    let one = world.tick(one);
    assert_eq!(one.phase, Phase::Ended { end: End::Completed });
    assert_eq!(one.split().shares.len(), 1);
}

#[test]
fn c1_no_traffic_promotes_nothing_in_any_step() {
    // Never any, only until the second step, and only to the other version.
    for last_step in [0, 1] {
        let mut world = World::new(if last_step == 0 { 0 } else { 100 });
        let mut one = rollout(settings());
        for _ in 0..3_000 {
            if one.phase == (Phase::Shifting { step: last_step }) {
                world.requests = 0;
            }
            one = world.tick(one);
            assert!(!one.is_promoted());
        }
        assert_eq!((why(&one).code.as_str(), why(&one).blame), ("no_evidence", Blame::Nobody));
    }
}

#[test]
fn c1_captured_rows_are_asked_only_when_the_settings_say_so_and_once_a_step() {
    let replaying = RolloutSettings { without_evidence: WithoutEvidence::Replay, ..settings() };
    let mut world = World::new(0);
    let mut one = world.until(rollout(replaying), is_phase("shifting"));
    let mut replays = 0;
    for _ in 0..2_000 {
        let then = next(one, &world.inputs());
        replays += usize::from(then.replays);
        one = then.rollout;
        world.now += 1;
    }
    assert_eq!(replays, 1);
    assert_eq!(why(&one).code, "no_evidence");
}

#[test]
fn c2_c3_c8_what_cannot_be_read_holds_and_then_goes_back() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    world.is_silent = true;
    let one = world.until(one, |one| matches!(one.condition, Condition::Held { .. }));
    assert!(matches!(one.phase, Phase::Shifting { step: 0 }), "the weight stays");
    // Heard again in time, it goes on.
    world.is_silent = false;
    let one = world.tick(one);
    assert_eq!(one.condition, Condition::Going);
    world.is_silent = true;
    let one = world.until(one, is_phase("returning"));
    assert_eq!((why(&one).code.as_str(), why(&one).blame), ("could_not_judge", Blame::Nobody));
}

#[test]
fn c4_c5_bad_interrupts_at_once_and_a_verdict_is_newer_than_its_step() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    let began = world.now;
    world.canary_fails = 100;
    let one = world.until(one, is_phase("returning"));
    assert!(world.now - began <= 5, "half of twenty requests failed, {} s", world.now - began);
    assert_eq!((why(&one).code.as_str(), why(&one).blame), ("bad", Blame::Version));
    let shares = one.split().shares;
    assert_eq!((shares.len(), shares[0].version.0, shares[0].weight), (1, 1, 100.0));

    // What the first step had does not count for the second.
    let mut world = World::new(1_000);
    let one = shifting(&mut world);
    let mut one = world.until(one, |one| one.phase == Phase::Shifting { step: 1 });
    world.requests = 0;
    for _ in 0..120 {
        one = world.tick(one);
    }
    assert_eq!(one.phase, Phase::Shifting { step: 1 });
}

#[test]
fn c6_c7_evidence_is_of_this_version_and_begins_at_nothing() {
    let mut world = World::new(100);
    // An earlier life of the same bundle, full of failures.
    answer(&mut world.canary, 5_000, 100);
    let one = world.until(rollout(settings()), is_phase("probation"));
    assert_eq!(one.evidence.canary().failed, 0);
}

#[test]
fn c9_when_the_other_version_fails_too_nobody_is_blamed() {
    let mut world = World::new(1_000);
    let one = shifting(&mut world);
    (world.canary_fails, world.stable_fails) = (20, 20);
    let one = world.until(one, |one| matches!(one.condition, Condition::Held { .. }));
    let Condition::Held { code, .. } = &one.condition else { panic!() };
    assert_eq!(code, "stable_fails_too");
    assert!(matches!(one.phase, Phase::Shifting { .. }));
    // It stays so for a person; D6: who may roll forward all the same.
    let mut one = world.tick(one);
    assert!(one.command(Command::Promote, "ann", "the fault is upstream", one.heard).unwrap());
    assert!(matches!(one.phase, Phase::AfterTraffic { .. }));
}

#[test]
fn c10_a_few_errors_at_a_high_rate_condemn_nobody() {
    let mut world = World::new(1_000);
    (world.canary_fails, world.stable_fails) = (1, 1);
    let one = world.until(rollout(settings()), is_phase("probation"));
    assert!(one.evidence.canary().failed > 20);
}

#[test]
fn c12_counters_that_began_anew_are_counted_from_there() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    let mut one = world.until(one, |one| one.evidence.canary().answered >= 200);
    // The gateway was started again: all of what it counts now is new.
    (world.canary, world.stable) = Default::default();
    world.process = "two".into();
    for _ in 0..20 {
        one = world.tick(one);
    }
    let counted = one.evidence.canary().answered;
    assert!((380..=420).contains(&counted), "{counted}");
}

#[test]
fn c13_one_class_for_every_row_is_found_though_nothing_fails() {
    let mut world = World::new(1_000);
    let one = shifting(&mut world);
    for (i, class) in ["a", "b", "c"].into_iter().enumerate() {
        world.stable.classes.insert(class.into(), 1_000 + i as u64);
    }
    world.canary.classes.insert("a".into(), 400);
    let one = world.until(one, is_phase("returning"));
    assert!(why(&one).reason.contains("class"), "{}", why(&one).reason);
}

#[test]
fn a_version_that_no_row_fits_goes_back_though_it_answers_nothing() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    world.requests = 0;
    let one = world.tick(one);
    world.canary.misfits += 40;
    world.canary.begun += 40;
    let one = world.until(one, is_phase("returning"));
    assert!(why(&one).reason.contains("do not fit"), "{}", why(&one).reason);
    // Callers who send nonsense to both are nobody's fault.
    let mut world = World::new(100);
    let mut one = shifting(&mut world);
    for _ in 0..60 {
        (world.canary.misfits, world.stable.misfits) = (world.canary.misfits + 5, world.stable.misfits + 45);
        one = world.tick(one);
    }
    assert!(!matches!(one.phase, Phase::Returning { .. }), "{:?}", one.phase);
}

#[test]
fn d1_d2_no_request_before_it_is_loaded_and_its_golden_rows_are_answered() {
    let mut world = World::new(100);
    world.hook = None;
    let mut one = rollout(settings());
    one.epoch.0 = 2;
    // The gateway follows an earlier document.
    let then = next(one, &world.inputs());
    assert_eq!(then.rollout.phase, Phase::Loading);
    let mut one = world.until(rollout(settings()), is_phase("before-traffic"));
    for _ in 0..50 {
        one = world.tick(one);
        assert_eq!(one.split().shares[1].weight, 0.0);
    }
    world.hook = Some(HookAnswer::Fail { reason: "another class".into() });
    let one = world.tick(one);
    assert_eq!((why(&one).code.as_str(), why(&one).blame), ("hook_failed", Blame::Version));
    assert_eq!(world.canary.begun, 0);
}

#[test]
fn d3_what_has_ended_stays_as_it_ended() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    world.canary_fails = 100;
    let one = world.until(one, is_phase("rolled-back"));
    world.canary_fails = 0;
    for _ in 0..100 {
        assert_eq!(world.tick(one.clone()).phase, one.phase);
    }
    for command in [Command::Promote, Command::Pause, Command::Resume] {
        assert!(one.clone().command(command, "ann", "", one.heard).is_err(), "{command:?}");
    }
    assert_eq!(one.clone().command(Command::Abort, "ann", "", one.heard), Ok(false));
}

#[test]
fn d4_every_command_in_every_phase() {
    let why = Why {
        code: "bad".into(),
        reason: "bad".into(),
        blame: Blame::Version,
        by: None,
        was_promoted: false,
    };
    let phases = [
        Phase::Loading,
        Phase::BeforeTraffic { hook: 0 },
        Phase::Mirroring,
        Phase::Shifting { step: 0 },
        Phase::AfterTraffic { hook: 0 },
        Phase::Probation,
        Phase::Returning { why: why.clone() },
        Phase::Ended { end: End::Completed },
        Phase::Ended { end: End::RolledBack { why } },
        Phase::Ended { end: End::Superseded { by: "version 3".into() } },
    ];
    // p: it is paused, r: resumed, P: all requests, A: goes back, -: nothing changes, x: refused.
    let expected = [
        (Command::Pause, "pppppxxxxx"),
        (Command::Resume, "------xxxx"),
        (Command::Promote, "xxPP--xxxx"),
        (Command::Abort, "AAAAAA----"),
    ];
    for (command, row) in expected {
        for (phase, cell) in phases.iter().zip(row.chars()) {
            let before = Rollout { phase: phase.clone(), ..rollout(settings()) };
            let mut after = before.clone();
            let said = after.command(command, "ann", "because", before.since);
            let place = format!("{command:?} in {phase:?}");
            match cell {
                'x' => assert!(said.is_err() && after == before, "{place}"),
                '-' => assert!(said == Ok(false) && after == before, "{place}"),
                'p' => assert!(matches!(after.condition, Condition::Paused { .. }), "{place}"),
                'P' => assert!(matches!(after.phase, Phase::AfterTraffic { .. }), "{place}"),
                'A' => assert!(matches!(after.phase, Phase::Returning { .. }), "{place}"),
                _ => unreachable!(),
            }
            // Said twice, it is the same.
            if cell != 'x' {
                let once = after.clone();
                assert_eq!(after.command(command, "ann", "because", before.since), Ok(false), "{place}");
                assert_eq!(after, once, "{place}");
            }
        }
    }
}

#[test]
fn d4_bad_goes_back_also_while_paused_and_a_pause_does_not_last_for_ever() {
    let mut world = World::new(100);
    let mut one = shifting(&mut world);
    one.command(Command::Pause, "ann", "lunch", one.heard).unwrap();
    for _ in 0..300 {
        one = world.tick(one);
    }
    assert_eq!(one.phase, Phase::Shifting { step: 0 });
    let paused = one.clone();
    world.canary_fails = 50;
    let one = world.until(one, is_phase("returning"));
    assert_eq!(why(&one).code, "bad");

    let mut world = World { now: world.now + 9 * 3_600, ..World::new(100) };
    let one = world.tick(paused);
    assert_eq!((why(&one).code.as_str(), why(&one).blame), ("max_duration", Blame::Nobody));
}

#[test]
fn d8_every_phase_that_waits_has_a_deadline() {
    // Nothing ever happens: no gateway, no hook, no requests.
    type Spoil = fn(&mut World);
    let cases: [(&str, Spoil, &str); 3] = [
        ("loading", |world| world.is_silent = true, "gateway"),
        ("before-traffic", |world| world.hook = None, "did not say yes"),
        ("shifting", |world| world.requests = 0, "requests in this step"),
    ];
    for (phase, spoil, said) in cases {
        let mut world = World::new(100);
        let one = world.until(rollout(settings()), is_phase(phase));
        spoil(&mut world);
        let one = world.until(one, is_phase("returning"));
        assert!(why(&one).reason.contains(said), "{phase}: {}", why(&one).reason);
    }
    // Hooks that say "wait" get their hour and no more.
    let mut world = World::new(100);
    let one = world.until(rollout(settings()), is_phase("before-traffic"));
    world.hook = Some(HookAnswer::Wait { reason: "busy".into() });
    let one = world.until(one, is_phase("returning"));
    assert!(why(&one).reason.contains("busy"), "{}", why(&one).reason);
}

#[test]
fn named_alarms_send_it_back_also_in_probation_and_one_that_nobody_knows_holds() {
    for phase in ["shifting", "probation"] {
        let mut world = World::new(100);
        let one = world.until(rollout(settings()), is_phase(phase));
        world.alarms = AlarmView::Alarm { name: "errors".into() };
        let one = world.tick(one);
        assert_eq!((why(&one).code.as_str(), why(&one).was_promoted), ("alarm", phase == "probation"));
    }
    let mut world = World::new(100);
    let one = shifting(&mut world);
    world.alarms = AlarmView::Unreadable { name: "errors".into() };
    let one = world.tick(one);
    assert!(matches!(one.condition, Condition::Held { .. }));
    let held = world.now;
    let one = world.until(one, is_phase("returning"));
    assert!((295..=305).contains(&(world.now - held)), "{}", world.now - held);
    assert_eq!(why(&one).code, "could_not_judge");
}

#[test]
fn an_alarm_that_was_on_before_the_first_request_blames_nobody() {
    let mut world = World::new(100);
    world.alarms = AlarmView::Alarm { name: "errors".into() };
    let one = world.until(rollout(settings()), is_phase("returning"));
    assert_eq!((why(&one).code.as_str(), why(&one).blame), ("could_not_judge", Blame::Nobody));
    assert_eq!(world.canary.begun, 0);
}

#[test]
fn what_waits_for_a_person_is_not_let_go_by_something_that_passes() {
    let mut world = World::new(1_000);
    let one = shifting(&mut world);
    (world.canary_fails, world.stable_fails) = (20, 20);
    let one = world.until(one, |one| matches!(one.condition, Condition::Held { .. }));
    (world.canary_fails, world.stable_fails) = (0, 0);
    world.is_silent = true;
    let mut one = (0..30).fold(one, |one, _| world.tick(one));
    world.is_silent = false;
    one = (0..30).fold(one, |one, _| world.tick(one));
    let Condition::Held { code, .. } = &one.condition else { panic!("{:?}", one.condition) };
    assert_eq!(code, "stable_fails_too");
}

#[test]
fn a_gateway_that_answers_and_does_not_follow_holds_once_and_then_it_goes_back() {
    let mut world = World::new(100);
    let mut one = shifting(&mut world);
    one.is_followed = false;
    one.epoch.0 = 9;
    let mut held = 0;
    for _ in 0..500 {
        let then = next(one, &world.inputs());
        held += usize::from(then.decided.as_ref().is_some_and(|(name, _)| *name == "held"));
        one = then.rollout;
        world.now += 1;
    }
    assert_eq!((why(&one).code.as_str(), held), ("could_not_judge", 1));
}

#[test]
fn a_version_that_serves_is_not_sent_back_by_silence() {
    let mut world = World::new(100);
    let one = world.until(rollout(settings()), is_phase("probation"));
    world.is_silent = true;
    let one = (0..2_000).fold(one, |one, _| world.tick(one));
    assert_eq!(one.phase, Phase::Probation);
}

#[test]
fn without_automatic_rollback_what_is_bad_waits_for_a_person() {
    let mut world = World::new(100);
    let careful = RolloutSettings { auto_rollback: false, ..settings() };
    let one = world.until(rollout(careful), is_phase("shifting"));
    world.canary_fails = 100;
    let mut one = world.until(one, |one| matches!(one.condition, Condition::Held { .. }));
    for _ in 0..600 {
        one = world.tick(one);
    }
    assert!(matches!(one.phase, Phase::Shifting { step: 0 }), "{:?}", one.phase);
    assert_eq!(world.decided.iter().filter(|name| **name == "held").count(), 1, "told once");
    assert!(one.command(Command::Abort, "ann", "it is bad", one.heard).unwrap());
}

#[test]
fn requests_that_hang_are_failures_before_anybody_gave_up() {
    let mut world = World::new(100);
    let one = shifting(&mut world);
    world.requests = 0;
    world.canary.hanging = 25;
    world.canary.begun += 25;
    let one = world.until(one, is_phase("returning"));
    assert_eq!(why(&one).code, "bad");
}

#[test]
fn every_decision_is_made_again_from_what_was_recorded() {
    let mut world = World::new(100);
    let mut one = rollout(settings());
    let mut decisions = 0;
    for second in 0..200 {
        if second == 90 {
            world.canary_fails = 60;
        }
        let (before, inputs) = (one.clone(), world.inputs());
        let then = next(one, &inputs);
        if let Some(decided) = &then.decided {
            let text = serde_json::to_string(&(&before, &inputs)).unwrap();
            let (before, inputs) = serde_json::from_str(&text).unwrap();
            assert_eq!(replay(before, &inputs).as_ref(), Some(decided));
            decisions += 1;
        }
        one = world.tick(before);
    }
    assert!(decisions >= 5, "{decisions}");
    assert_eq!(one.phase.name(), "rolled-back");
}

#[test]
fn a_week_of_rollouts_takes_no_time() {
    // One after the other, healthy and broken, each with its hours of probation, a look every ten seconds.
    let started = serin_core::clock::SystemClock::new();
    let mut world = World::new(500);
    let probation = Duration::from_secs(4 * 3_600);
    let (mut promoted, mut back) = (0, 0);
    while world.now < 7 * 24 * 3_600 {
        let is_broken = (promoted + back) % 3 == 2;
        (world.canary, world.canary_fails) = Default::default();
        let mut one = rollout(RolloutSettings { probation, ..settings() });
        one.began.0 = world.now * 1_000_000;
        one.since = one.began;
        one.heard = one.began;
        while one.is_open() {
            if is_broken && matches!(one.phase, Phase::Shifting { .. }) {
                world.canary_fails = 30;
            }
            one = world.tick(one);
            world.now += 9;
        }
        match one.phase {
            Phase::Ended { end: End::Completed } => promoted += 1,
            _ => back += 1,
        }
    }
    assert!(promoted > 20 && back > 10, "{promoted} {back}");
    let took = serin_core::clock::Clock::monotonic(&started);
    assert!(took < Duration::from_secs(2), "{took:?}");
}
