//! Rollouts in the store: one transaction a change, whoever dies in between.

use std::time::Duration;

use serde_json::json;
use serin_core::clock::{Steady, Timestamp};
use serin_core::digest::Digest;
use serin_core::domain::{
    Cause, EventKind, Pipeline, RetryPolicy, RunKind, StepPlan, VersionNumber, VersionState, Wish,
    WishOutcome,
};
use serin_core::rollout::{Command, End, Inputs, Next, Phase, Rollout, next};
use serin_core::routes::Faults;
use serin_core::store::{
    AlarmNews, AlarmState, Hold, ListOptions, Moment, NewRollout, NewVersion, Project, Reign, RolloutAdvance,
    RolloutDecision, RouteChange, SqliteStore, Store, StoreError, StoredRollout, WishRules,
};
use serin_ml::sequential::Expected;

use super::{World, settings};

fn at(seconds: i64) -> Moment {
    Moment { wall: Timestamp((1_790_000_000 + seconds) * 1_000_000), steady: Steady(seconds * 1_000_000) }
}

/// A store in which a run deploys, and version 1 serves.
struct Plane {
    store: SqliteStore,
    reign: Reign,
    hold: Hold,
}

impl Plane {
    fn new() -> Self {
        let store = SqliteStore::in_memory().unwrap();
        store.put_project(&Project { name: "wine".into(), folder: "/wine".into() }, at(0)).unwrap();
        let reign = store.take_reign(&store.reign().unwrap(), "first", at(0)).unwrap().unwrap();
        let hold = begin(&store, &reign);
        for content in ["old", "new", "newer"] {
            let artifact = Digest::of(content.as_bytes());
            let new =
                NewVersion { project: "wine".into(), bundle: content.into(), artifact, revision: artifact };
            store.register_version(&hold, &new, at(0)).unwrap();
        }
        store.change_routes(&hold, &change(1, false), at(0)).unwrap();
        Self { store, reign, hold }
    }

    fn begin(&self, version: u64) -> StoredRollout {
        let new = NewRollout {
            project: "wine".into(),
            stage: "prod".into(),
            endpoint: "prod".into(),
            version: VersionNumber(version),
            settings: settings(),
            expected: Expected::default(),
            by: Some("ann".into()),
            reason: "better".into(),
        };
        self.store.begin_rollout(&self.hold, &new, at(0)).unwrap()
    }

    fn weights(&self) -> Vec<(u64, f64)> {
        let routes = self.store.routes().unwrap().unwrap();
        let variants = routes.endpoints().iter().flat_map(|endpoint| &endpoint.variants);
        variants.map(|variant| (variant.model.number.0, 100.0 * variant.weight)).collect()
    }

    fn advance(&self, stored: &StoredRollout, inputs: &Inputs, second: i64) -> Option<StoredRollout> {
        let Next { rollout, decided, .. } = next(stored.rollout.clone(), inputs);
        let decision = decided.map(|(verdict, explanation)| RolloutDecision {
            verdict,
            explanation,
            inputs: json!({ "rollout": stored.rollout, "inputs": inputs }),
        });
        let advance = RolloutAdvance { rollout, seen: stored.revision, decision };
        self.store.advance_rollout(self.reign.epoch, &advance, at(second)).unwrap()
    }
}

fn begin(store: &SqliteStore, reign: &Reign) -> Hold {
    let step = StepPlan {
        name: "deploy-prod".into(),
        kind: "deploy".into(),
        version: 1,
        argument: "prod".into(),
        after: Vec::new(),
        retry: RetryPolicy::default(),
        time_limit_seconds: 60,
        is_reusable: false,
        only_waits: true,
    };
    let wish = Wish {
        project: "wine".into(),
        kind: RunKind::Train,
        cause: Cause::Asked { by: "ann".into() },
        key: None,
        request: json!({}),
        is_fresh: false,
    };
    let rules =
        WishRules { cooldown: Duration::ZERO, daily_budget: 100, newest_wins: false, waiting_limit: 10 };
    let pipeline = Pipeline::new(vec![step]).unwrap();
    let WishOutcome::Run { run } = store.wish(&wish, &rules, &pipeline, at(0)).unwrap() else { panic!() };
    store.begin_run(reign.epoch, run, at(0)).unwrap();
    let lease = store.claim_step(reign.epoch, run, "deploy-prod", "worker", at(0)).unwrap().unwrap();
    Hold { epoch: reign.epoch, run, step: "deploy-prod".into(), lease }
}

fn change(version: u64, is_return: bool) -> RouteChange {
    RouteChange {
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: "prod".into(),
        variants: vec![("AllTraffic".into(), 1.0, VersionNumber(version))],
        is_return,
        by: Some("bob".into()),
        reason: "because".into(),
        part: "deploy",
    }
}

/// The rollout to its end, against a world of `fails` failures in a hundred from the second `from` on. Between two verbs
/// the process dies as often as `dies` says: everything in memory is gone.
fn run(fails: u64, from: i64, dies: &dyn Fn(usize) -> bool) -> (Plane, StoredRollout, Vec<String>) {
    let plane = Plane::new();
    let mut world = World::new(100);
    let mut stored = plane.begin(2);
    let mut working = stored.rollout.clone();
    let mut told = Vec::new();
    let mut verbs = 0;
    while stored.rollout.is_open() {
        if world.now == from {
            world.canary_fails = fails;
        }
        let mut inputs = world.inputs();
        // The gateway follows whatever was written last.
        if let Some(reading) = &mut inputs.reading {
            reading.epoch = Some(plane.store.routes().unwrap().unwrap().epoch().0);
        }
        let before = working.clone();
        let Next { rollout, decided, .. } = next(before.clone(), &inputs);
        working = rollout.clone();
        if let Some((verdict, explanation)) = decided {
            let decision = RolloutDecision {
                verdict,
                explanation,
                inputs: json!({ "rollout": before, "inputs": inputs }),
            };
            let advance = RolloutAdvance { rollout, seen: stored.revision, decision: Some(decision) };
            verbs += 1;
            // Killed before it was written.
            if dies(2 * verbs) {
                working = plane.store.rollout(stored.rollout.number).unwrap().unwrap().rollout;
                continue;
            }
            stored =
                plane.store.advance_rollout(plane.reign.epoch, &advance, at(world.now)).unwrap().unwrap();
            working = stored.rollout.clone();
            told.push(verdict.to_owned());
            // Killed after it.
            if dies(2 * verbs + 1) {
                stored = plane.store.rollout(stored.rollout.number).unwrap().unwrap();
                working = stored.rollout.clone();
            }
            // What is routed is what the stored phase says, at every moment.
            let shares: Vec<(u64, f64)> =
                stored.rollout.split().shares.iter().map(|share| (share.version.0, share.weight)).collect();
            assert_eq!(plane.weights(), shares);
        }
        let to_canary = match &working.phase {
            Phase::Shifting { step } => working.weight_of(*step) as u64,
            Phase::AfterTraffic { .. } | Phase::Probation => 100,
            _ => 0,
        };
        super::answer(&mut world.canary, to_canary, world.canary_fails);
        super::answer(&mut world.stable, 100 - to_canary, 0);
        world.now += if matches!(working.phase, Phase::Probation) { 3_600 } else { 1 };
        assert!(world.now < 200_000 && verbs < 100, "{told:?}");
    }
    (plane, stored, told)
}

#[test]
fn r14_killed_at_any_change_it_ends_as_it_would_have() {
    for (fails, from) in [(0, 0), (100, 5), (8, 5), (100, 80)] {
        let (_, ended, told) = run(fails, from, &|_| false);
        let changes = 2 * told.len() + 2;
        assert!(changes > 8, "{told:?}");
        for kill in 2..changes {
            let (plane, again, retold) = run(fails, from, &|at| at == kill);
            assert_eq!(again.rollout.phase.name(), ended.rollout.phase.name(), "killed at {kill}");
            // What was looked at and not written is looked at again, perhaps sooner than it would have been.
            assert_eq!(retold.last(), told.last(), "killed at {kill}");
            // A rollback that began never turns back into a shift.
            let back = retold.iter().position(|name| name == "returned");
            assert!(
                back.is_none_or(|back| !retold[back..].iter().any(|name| name == "shifted")),
                "{retold:?}"
            );
            let decisions = plane.store.decisions(&ListOptions::default()).unwrap();
            assert_eq!(decisions.len(), retold.len());
        }
    }
}

#[test]
fn a_rollout_begins_warm_and_once_and_who_changes_it_must_have_seen_it() {
    let plane = Plane::new();
    let stored = plane.begin(2);
    assert_eq!(plane.weights(), [(1, 100.0), (2, 0.0)]);
    assert_eq!(plane.begin(2), stored, "the same step gets the one it began");
    let world = World::new(100);
    let moved = plane.advance(&stored, &world.inputs(), 1).unwrap();
    assert_eq!(plane.advance(&stored, &world.inputs(), 1), None, "it was changed since");
    assert!(moved.revision > stored.revision);
    // D7: of a reign that has passed, nothing is written.
    let second = plane.store.take_reign(&plane.store.reign().unwrap(), "second", at(9)).unwrap().unwrap();
    assert!(second.epoch > plane.reign.epoch);
    let advance = RolloutAdvance { rollout: moved.rollout.clone(), seen: moved.revision, decision: None };
    let lost = plane.store.advance_rollout(plane.reign.epoch, &advance, at(9));
    assert!(matches!(lost, Err(StoreError::Lost)), "{lost:?}");
}

#[test]
fn d5_a_new_version_takes_the_place_of_the_rollout_under_way_and_begins_with_nothing() {
    let plane = Plane::new();
    let first = plane.begin(2);
    let (other, second) = {
        let hold = begin(&plane.store, &plane.reign);
        let plane = Plane { hold, ..plane };
        let second = plane.begin(3);
        (plane, second)
    };
    let first = other.store.rollout(first.rollout.number).unwrap().unwrap();
    assert!(matches!(first.rollout.phase, Phase::Ended { end: End::Superseded { .. } }), "{first:?}");
    assert_eq!(second.rollout.stable.as_ref().unwrap().version, VersionNumber(1));
    assert_eq!(second.rollout.evidence, Default::default());
    assert_eq!(other.weights(), [(1, 100.0), (3, 0.0)]);
    // In probation, the promoted one is what the next takes over from.
    let mut promoted: Rollout = second.rollout.clone();
    promoted.phase = Phase::Probation;
    let advance = RolloutAdvance { rollout: promoted, seen: second.revision, decision: None };
    other.store.advance_rollout(other.reign.epoch, &advance, at(2)).unwrap().unwrap();
    assert_eq!(other.weights(), [(3, 100.0), (1, 0.0)]);
    let hold = begin(&other.store, &other.reign);
    let third = Plane { hold, ..other }.begin(2);
    assert_eq!(third.rollout.stable.unwrap().version, VersionNumber(3));
}

#[test]
fn d3_a_version_that_was_found_bad_is_rejected_in_the_same_breath() {
    let (plane, ended, told) = run(100, 5, &|_| false);
    assert!(told.contains(&"returned".to_owned()), "{told:?}");
    let version = plane.store.version(VersionNumber(2)).unwrap().unwrap();
    let VersionState::Rejected { by, reason, .. } = version.state else { panic!("{:?}", version.state) };
    assert_eq!(by, "the rollout");
    assert!(reason.contains("failed"), "{reason}");
    assert_eq!(plane.weights(), [(1, 100.0)]);
    let events = plane.store.events(0, 1_000).unwrap();
    let count = |kind| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(
        [EventKind::RolloutStarted, EventKind::RolledBack, EventKind::RolloutEnded].map(count),
        [1, 1, 1]
    );
    assert!(ended.ended.is_some());
}

#[test]
fn d3_a_rejected_version_begins_nothing_and_goes_back_wherever_it_is() {
    let plane = Plane::new();
    let stored = plane.begin(2);
    let reason = "wrong".to_owned();
    let rejected = VersionState::Rejected { by: "bob".into(), reason, time: at(1).wall };
    plane.store.set_version_state(VersionNumber(3), &rejected, at(1)).unwrap();
    let hold = begin(&plane.store, &plane.reign);
    let new = NewRollout {
        project: "wine".into(),
        stage: "dev".into(),
        endpoint: "dev".into(),
        version: VersionNumber(3),
        settings: settings(),
        expected: Expected::default(),
        by: None,
        reason: String::new(),
    };
    assert!(matches!(plane.store.begin_rollout(&hold, &new, at(1)), Err(StoreError::Invalid(_))));
    // Version 2 is on its way at another stage, too, and is found bad there.
    let elsewhere = RouteChange { endpoint: "dev".into(), stage: "dev".into(), ..change(1, false) };
    plane.store.change_routes(&hold, &elsewhere, at(1)).unwrap();
    let new = NewRollout { version: VersionNumber(2), ..new };
    let other = plane.store.begin_rollout(&hold, &new, at(2)).unwrap();
    let mut bad = other.rollout.clone();
    bad.phase = Phase::Shifting { step: 0 };
    let mut world = World::new(100);
    world.canary.failed = 100;
    bad.last = Some(World::new(100).inputs().reading.unwrap());
    bad.is_followed = true;
    bad.evidence.strata.push(Default::default());
    let Next { rollout, .. } = next(bad, &world.inputs());
    assert!(matches!(rollout.phase, Phase::Returning { .. }), "{:?}", rollout.phase);
    let advance = RolloutAdvance { rollout, seen: other.revision, decision: None };
    plane.store.advance_rollout(plane.reign.epoch, &advance, at(3)).unwrap().unwrap();
    let prod = plane.store.rollout(stored.rollout.number).unwrap().unwrap();
    assert!(matches!(prod.rollout.phase, Phase::Returning { .. }), "{:?}", prod.rollout.phase);
    assert_eq!(plane.weights(), [(1, 100.0), (1, 100.0)]);
}

#[test]
fn a_person_aborts_at_once_and_aliases_and_monitors_go_back_after_a_promotion() {
    let plane = Plane::new();
    plane.store.set_alias("wine", "champion", Some(VersionNumber(1)), "bob", at(0)).unwrap();
    let stored = plane.begin(2);
    let mut promoted = stored.rollout.clone();
    promoted.phase = Phase::Probation;
    let advance = RolloutAdvance { rollout: promoted, seen: stored.revision, decision: None };
    let stored = plane.store.advance_rollout(plane.reign.epoch, &advance, at(2)).unwrap().unwrap();
    plane.store.set_alias("wine", "champion", Some(VersionNumber(2)), "the pipeline", at(3)).unwrap();
    let number = stored.rollout.number;
    let said = plane.store.command_rollout(number, Command::Abort, "ann", "wrong since noon", at(4)).unwrap();
    assert!(matches!(said.unwrap().unwrap().phase, Phase::Returning { .. }));
    assert_eq!(plane.weights(), [(1, 100.0)]);
    assert_eq!(plane.store.aliased("wine", "champion").unwrap().unwrap().number, VersionNumber(1));
    // Nobody found it bad: it may be deployed again.
    assert_eq!(plane.store.version(VersionNumber(2)).unwrap().unwrap().state, VersionState::Pending);
    assert!(
        plane.store.command_rollout(number, Command::Promote, "ann", "", at(5)).unwrap().unwrap().is_err()
    );
    let none = serin_core::domain::RolloutNumber(99);
    assert_eq!(plane.store.command_rollout(none, Command::Abort, "ann", "", at(5)).unwrap(), None);
}

#[test]
fn another_change_of_the_endpoint_ends_the_rollout() {
    let plane = Plane::new();
    let stored = plane.begin(2);
    plane.store.change_routes(&plane.hold, &RouteChange { part: "x", ..change(3, true) }, at(2)).unwrap();
    let ended = plane.store.rollout(stored.rollout.number).unwrap().unwrap();
    let Phase::Ended { end: End::RolledBack { why } } = ended.rollout.phase else { panic!("{ended:?}") };
    assert_eq!(why.by.as_deref(), Some("bob"));
    assert_eq!(plane.weights(), [(3, 100.0)]);
    assert!(
        plane.store.rollouts(&ListOptions { is_open: true, ..ListOptions::default() }).unwrap().is_empty()
    );
    plane.store.remove_routes("wine", None, "ann", at(3)).unwrap();
}

#[test]
fn drills_and_alarms_are_kept_and_a_drill_lasts_over_a_change_of_weights() {
    let plane = Plane::new();
    let stored = plane.begin(2);
    let faults = Faults { error_rate: 0.5, ..Faults::until(at(100).wall) };
    plane.store.set_drill("prod", VersionNumber(2), Some(&faults), "ann", at(1)).unwrap();
    let mut shifting = stored.rollout.clone();
    shifting.phase = Phase::Shifting { step: 0 };
    let advance = RolloutAdvance { rollout: shifting, seen: stored.revision, decision: None };
    plane.store.advance_rollout(plane.reign.epoch, &advance, at(2)).unwrap().unwrap();
    let drilled = || {
        let routes = plane.store.routes().unwrap().unwrap();
        let variants = &routes.endpoints()[0].variants;
        variants.iter().map(|variant| variant.faults.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(drilled(), [false, true]);
    plane.store.set_drill("prod", VersionNumber(2), None, "ann", at(3)).unwrap();
    assert_eq!(drilled(), [false, false]);
    assert!(plane.store.set_drill("prod", VersionNumber(9), Some(&faults), "ann", at(3)).is_err());
    assert!(plane.store.set_drill("nowhere", VersionNumber(2), Some(&faults), "ann", at(3)).is_err());

    let news = |state, reason: &str| AlarmNews {
        name: "errors".to_owned(),
        state,
        reason: reason.to_owned(),
        advice: None,
    };
    plane.store.set_alarm("wine", &news(AlarmState::Alarm, "too many"), at(4)).unwrap();
    plane.store.set_alarm("wine", &news(AlarmState::Ok, "fine"), at(5)).unwrap();
    let alarms = plane.store.alarms("wine", None).unwrap();
    assert_eq!((alarms.len(), alarms[0].state, alarms[0].reason.as_str()), (1, AlarmState::Ok, "fine"));
}
