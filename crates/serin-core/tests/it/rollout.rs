//! Rollouts: their rules in virtual time, their store, and what they find.

#![expect(clippy::panic, reason = "tests")]

mod power;
mod rules;
mod stored;

use std::collections::BTreeMap;
use std::time::Duration;

use serin_core::clock::{Steady, Timestamp};
use serin_core::config::{RolloutSettings, RolloutStep};
use serin_core::domain::{Epoch, RolloutNumber, RunNumber, VersionNumber};
use serin_core::rollout::{
    AlarmView, Condition, HookAnswer, Inputs, Next, Phase, Reading, Rollout, Side, next,
};
use serin_ml::sequential::{Evidence, JudgeSettings, Labelled, Tally};

/// Ten percent for a minute, then all of it for a minute.
pub fn settings() -> RolloutSettings {
    let step = |weight, seconds| RolloutStep { weight, bake: Duration::from_secs(seconds) };
    RolloutSettings {
        plan: "a plan".to_owned(),
        steps: vec![step(10.0, 60), step(100.0, 60)],
        min_requests: 300,
        evidence_wait: Duration::from_secs(600),
        max_duration: Duration::from_secs(8 * 3_600),
        probation: Duration::from_secs(24 * 3_600),
        judge: JudgeSettings::default(),
        ..RolloutSettings::default()
    }
}

pub fn rollout(settings: RolloutSettings) -> Rollout {
    let side = |version, bundle: &str| Side { version: VersionNumber(version), bundle: bundle.to_owned() };
    Rollout {
        number: RolloutNumber(1),
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: "prod".into(),
        run: RunNumber(1),
        step: "deploy-prod".into(),
        canary: side(2, "new"),
        stable: Some(side(1, "old")),
        settings,
        by: None,
        reason: "better".into(),
        created: Timestamp(0),
        began: Steady(0),
        phase: Phase::Loading,
        since: Steady(0),
        condition: Condition::Going,
        epoch: Epoch(1),
        is_followed: false,
        evidence: Evidence::default(),
        last: None,
        heard: Steady(0),
        promoted_by: None,
        is_replayed: false,
        watched_before: None,
    }
}

/// A gateway and its callers, second by second.
pub struct World {
    pub now: i64,
    pub process: String,
    pub canary: Tally,
    pub stable: Tally,
    /// Each second, to both together.
    pub requests: u64,
    /// Of a hundred.
    pub canary_fails: u64,
    pub stable_fails: u64,
    pub alarms: AlarmView,
    pub hook: Option<HookAnswer>,
    pub is_silent: bool,
    pub decided: Vec<&'static str>,
}

impl World {
    pub fn new(requests: u64) -> Self {
        let mut world = Self {
            now: 0,
            process: "one".into(),
            canary: Tally::default(),
            stable: Tally::default(),
            requests,
            canary_fails: 0,
            stable_fails: 0,
            alarms: AlarmView::Quiet,
            hook: Some(HookAnswer::Pass),
            is_silent: false,
            decided: Vec::new(),
        };
        answer(&mut world.stable, 5_000, 0);
        world
    }

    pub fn inputs(&self) -> Inputs {
        let versions = BTreeMap::from([
            ("new".to_owned(), self.canary.clone()),
            ("old".to_owned(), self.stable.clone()),
        ]);
        let reading =
            Reading { process: self.process.clone(), epoch: Some(1), versions, ..Reading::default() };
        Inputs {
            now: Steady(self.now * 1_000_000),
            reading: (!self.is_silent).then_some(reading),
            alarms: self.alarms.clone(),
            hook: self.hook.clone(),
            labels: Labelled::default(),
        }
    }

    /// One second.
    pub fn tick(&mut self, rollout: Rollout) -> Rollout {
        let Next { mut rollout, decided, .. } = next(rollout, &self.inputs());
        rollout.epoch = Epoch(1);
        self.decided.extend(decided.map(|(name, _)| name));
        let weight = match &rollout.phase {
            Phase::Shifting { step } => rollout.weight_of(*step) as u64,
            Phase::AfterTraffic { .. } | Phase::Probation => 100,
            _ => 0,
        };
        let to_canary = self.requests * weight / 100;
        answer(&mut self.canary, to_canary, self.canary_fails);
        answer(&mut self.stable, self.requests - to_canary, self.stable_fails);
        self.now += 1;
        rollout
    }

    /// Until it is somewhere, or an hour has passed.
    pub fn until(&mut self, mut rollout: Rollout, is_there: impl Fn(&Rollout) -> bool) -> Rollout {
        for _ in 0..3_600 {
            if is_there(&rollout) {
                return rollout;
            }
            rollout = self.tick(rollout);
        }
        panic!("it did not get there: {:?} {:?} {:?}", rollout.phase, rollout.condition, self.decided);
    }
}

/// Of every hundred requests the first few fail.
pub fn answer(tally: &mut Tally, requests: u64, percent: u64) {
    for _ in 0..requests {
        tally.begun += 1;
        if tally.begun % 100 < percent { tally.failed += 1 } else { tally.answered += 1 }
    }
}

pub fn is_phase(name: &'static str) -> impl Fn(&Rollout) -> bool {
    move |rollout| rollout.phase.name() == name
}
