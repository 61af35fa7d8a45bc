//! The scaler of one release: its windows, its cooldowns, and what follows from them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decision::{Asked, ScaleDecision, ScaleInputs};
use super::fast::{Fast, HOST_IDLE_LEAST};
use super::reading::{LONGEST_GAP, MINUTE, Reading, Window};
use super::settings::{BoundsInForce, ScalingSettings, rounded};
use super::slow::{LOW_WINDOW, Vote};
use crate::clock::{Steady, Timestamp};

/// A reason to hold that was not there for so long is over; should it come back, it is told again.
const HOLD_LASTS: Duration = Duration::from_secs(90);
/// Requests may wait for so long with no replica ready before that is told.
const STARTING: Duration = Duration::from_secs(10);

/// How many replicas one release is to have. It is serialised whole, so that its windows and cooldowns outlive a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    pub(super) settings: ScalingSettings,
    pub(super) desired: u32,
    pub(super) floor: u32,
    pub(super) window: Window,
    pub(super) in_force: Option<BoundsInForce>,
    /// The minute that the slow layer judged last.
    judged: i64,
    /// Since when it looks.
    pub(super) began: Steady,
    /// The last time that a policy made replicas more.
    pub(super) out: Option<OutCooldown>,
    /// No policy makes them fewer before.
    pub(super) in_until: Option<Steady>,
    pub(super) resumed_until: Option<Steady>,
    /// When replicas became more, whoever said so.
    pub(super) last_out: Option<Steady>,
    /// When the fast layer made them more.
    pub(super) last_fast: Option<Steady>,
    /// Since when no replica is ready although somebody waits.
    without_ready: Option<Steady>,
    /// When a person last said how many: what was asked before is no reason to do otherwise.
    #[serde(default)]
    by_hand: Option<Steady>,
    /// Reasons to hold that were there lately, the last one last.
    pub(super) holds: Vec<Hold>,
}

/// Until `until` what was added to `base` is part of what a larger step adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutCooldown {
    pub base: u32,
    pub until: Steady,
}

/// Why it stays although something speaks for another number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub code: String,
    pub reason: String,
    pub since: Steady,
    pub seen: Steady,
}

/// What the rules say, before anything changes.
#[derive(Debug)]
struct Verdict {
    bounds: BoundsInForce,
    change: Option<Change>,
    hold: Option<(&'static str, String)>,
}

#[derive(Debug)]
struct Change {
    to: u32,
    rule: &'static str,
    reason: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Slow,
    Fast,
    /// Cooldowns are neither asked nor begun.
    Bounds,
}

impl Scaler {
    /// As few replicas as there may be, and nothing seen yet.
    #[must_use]
    pub fn new(settings: ScalingSettings, now: Steady) -> Self {
        let desired = settings.min.min(settings.max);
        Self {
            settings,
            desired,
            floor: 0,
            window: Window::default(),
            in_force: None,
            judged: Window::last_minute(now),
            began: now,
            out: None,
            in_until: None,
            resumed_until: None,
            last_out: None,
            last_fast: None,
            without_ready: None,
            by_hand: None,
            holds: Vec::new(),
        }
    }

    /// Goes on after a restart, or with other settings. Replicas become no fewer for as long as a scale-in looks back: what
    /// was missed meanwhile is not known.
    #[must_use]
    pub fn resumed(self, settings: ScalingSettings, now: Steady) -> Self {
        Self {
            settings,
            in_force: None,
            resumed_until: Some(now + LOW_WINDOW),
            judged: self.judged.max(Window::last_minute(now)),
            without_ready: None,
            ..self
        }
    }

    /// Takes what a second looked like. One that is not later than the one before is not looked at.
    pub fn observe(&mut self, reading: Reading) {
        self.window.observe(&reading);
        let waits = reading.ready == 0 && reading.in_flight.is_some_and(|in_flight| in_flight > 0.0);
        self.without_ready = if waits { self.without_ready.or(Some(reading.at)) } else { None };
    }

    /// What the rules say; to be asked every second. Something is returned when the number changes, and when a reason to
    /// hold begins.
    pub fn decide(&mut self, now: Steady, wall: Timestamp) -> Option<ScaleDecision> {
        let verdict = self.judge(now, wall);
        let begins = verdict.hold.as_ref().is_some_and(|(code, _)| {
            !self.holds.iter().any(|hold| hold.code == *code && now - hold.seen < HOLD_LASTS)
        });
        let before = (verdict.change.is_some() || begins).then(|| self.clone());
        let from = self.desired;
        self.in_force = Some(verdict.bounds);
        self.judged = self.judged.max(Window::last_minute(now));
        self.keep_hold(verdict.hold.as_ref(), now);
        let (rule, reason) = match (verdict.change, verdict.hold) {
            (Some(change), _) => {
                self.change(&change, now);
                (change.rule, change.reason)
            }
            (None, Some((_, reason))) => ("hold", reason),
            (None, None) => return None,
        };
        let inputs = ScaleInputs { scaler: before?, asked: Asked::Rules { now, wall } };
        Some(ScaleDecision { from, to: self.desired, rule: rule.to_owned(), reason, inputs })
    }

    /// How many there are to be.
    #[must_use]
    pub fn desired(&self) -> u32 {
        self.desired
    }

    /// The fewest and the most at `wall`: those of the settings or of their schedule, and the floor.
    #[must_use]
    pub fn bounds(&self, wall: Timestamp) -> (u32, u32) {
        self.floored(self.in_force(wall))
    }

    /// A person's number, within the bounds. Policies go on from there.
    pub fn set_desired(&mut self, desired: u32, now: Steady, by: &str) -> ScaleDecision {
        let inputs =
            ScaleInputs { scaler: self.clone(), asked: Asked::Hand { desired, now, by: by.to_owned() } };
        let (low, high) = match self.in_force {
            Some(bounds) => self.floored(bounds),
            None => self.floored(self.settings.bounds(Timestamp(i64::MIN))),
        };
        let from = self.desired;
        let to = desired.clamp(low, high);
        let mut reason = format!("{by} asked for {desired}");
        if to != desired {
            reason.push_str(&format!(", and from {low} to {high} are possible"));
        }
        let change = Change { to, rule: "by-hand", reason: reason.clone(), kind: Kind::Bounds };
        self.change(&change, now);
        self.by_hand = Some(now);
        ScaleDecision { from, to, rule: change.rule.to_owned(), reason, inputs }
    }

    /// Capacity that a rollout's weight needs: there are never fewer, up to the maximum.
    pub fn set_floor(&mut self, floor: u32) {
        self.floor = floor;
    }

    pub(super) fn in_force(&self, wall: Timestamp) -> BoundsInForce {
        self.in_force.filter(|bounds| bounds.holds_at(wall)).unwrap_or_else(|| self.settings.bounds(wall))
    }

    fn floored(&self, bounds: BoundsInForce) -> (u32, u32) {
        (bounds.min.max(self.floor).min(bounds.max), bounds.max)
    }

    fn judge(&self, now: Steady, wall: Timestamp) -> Verdict {
        let bounds = self.in_force(wall);
        let (low, high) = self.floored(bounds);
        let mut verdict = Verdict { bounds, change: None, hold: None };
        if let Some(change) = self.bounded(&bounds, low, high) {
            verdict.change = Some(change);
            return verdict;
        }
        // A reading stands for the second before it.
        let is_after = |at: Steady| self.by_hand.is_none_or(|hand| at - hand >= Duration::from_secs(1));
        let newest = self.window.newest(now).copied();
        let is_asked = |load: Option<f64>| load.is_some_and(|load| load > 0.0);
        if self.desired == 0 {
            if newest.is_some_and(|second| {
                is_after(second.at) && (is_asked(second.in_flight) || is_asked(second.begun))
            }) {
                let reason = "a request waits and there is no replica".to_owned();
                verdict.change = Some(Change { to: 1, rule: "from-zero", reason, kind: Kind::Slow });
            }
            return verdict;
        }
        if newest.is_none() && !self.settings.policies.is_empty() && now - self.began > LONGEST_GAP {
            verdict.hold =
                Some(("not-measured", format!("nothing was measured for {} s", LONGEST_GAP.as_secs())));
        }
        if let Some(since) = self.without_ready.filter(|since| now - *since >= STARTING) {
            let waited = (now - since).as_secs();
            let reason = format!("requests have waited for {waited} s, and no replica is ready");
            verdict.hold = Some(("no-replica-ready", reason));
        }
        let fast = self.fast(high, now);
        if self.judged < Window::last_minute(now) {
            self.judge_minute(&fast, low, high, now, &mut verdict);
        }
        match fast {
            Fast::Out { to, why } if verdict.change.as_ref().is_none_or(|change| change.to < to) => {
                verdict.change = Some(Change { to, rule: "fast-out", reason: why, kind: Kind::Fast });
            }
            Fast::Hold { code, why } if verdict.change.is_none() => verdict.hold = Some((code, why)),
            Fast::Calm | Fast::Busy | Fast::Out { .. } | Fast::Hold { .. } => {}
        }
        verdict
    }

    /// Bounds ignore cooldowns.
    fn bounded(&self, bounds: &BoundsInForce, low: u32, high: u32) -> Option<Change> {
        let to = self.desired.clamp(low, high);
        if to == self.desired {
            return None;
        }
        let (rule, reason) = match () {
            () if to > self.desired && to > bounds.min => {
                ("floor", format!("a rollout needs {} replicas, and {high} is the most", self.floor))
            }
            () if bounds.is_scheduled => {
                ("schedule", format!("by schedule there are {} to {high} replicas", bounds.min))
            }
            () => ("bounds", format!("there are {} to {high} replicas", bounds.min)),
        };
        Some(Change { to, rule, reason, kind: Kind::Bounds })
    }

    /// The slow layer, once for each minute that was over.
    fn judge_minute(&self, fast: &Fast, low: u32, high: u32, now: Steady, verdict: &mut Verdict) {
        let votes: Vec<Vote> = self.settings.policies.iter().map(|policy| self.vote(policy, now)).collect();
        let out = votes.iter().filter_map(|vote| match vote {
            Vote::Out { to, rule, why } => Some((*to, *rule, why)),
            _ => None,
        });
        if let Some((to, rule, why)) = out.max_by_key(|(to, ..)| *to) {
            let to = to.min(high);
            // Where it is not known, the published rule holds.
            match self.spare(now) {
                _ if to <= self.desired => {
                    verdict.hold = Some(("at-the-maximum", format!("{why}, and {high} is the most")));
                }
                Some(idle) if idle < HOST_IDLE_LEAST => {
                    let idle = rounded(100.0 * idle);
                    let reason = format!("{why}, and no spare processor: {idle} % idle");
                    verdict.hold = Some(("no-spare-processor", reason));
                }
                _ => verdict.change = Some(Change { to, rule, reason: why.clone(), kind: Kind::Slow }),
            }
            return;
        }
        if let Some(Vote::Unknown { why }) = votes.iter().find(|vote| matches!(vote, Vote::Unknown { .. })) {
            // That no replica is ready says why.
            verdict.hold.get_or_insert_with(|| ("not-measured", why.clone()));
            return;
        }
        if *fast == Fast::Calm && self.may_scale_in(now) {
            verdict.change = self.fewer(&votes, low, now);
        }
    }

    fn may_scale_in(&self, now: Steady) -> bool {
        let is_over = |until: Option<Steady>| until.is_none_or(|until| now >= until);
        let is_fresh = self.window.newest(now).is_some_and(|second| second.in_flight.is_some());
        self.settings.scale_in && is_over(self.in_until) && is_over(self.resumed_until) && is_fresh
    }

    /// All that can say so must.
    fn fewer(&self, votes: &[Vote], low: u32, now: Steady) -> Option<Change> {
        let voters: Vec<&Vote> = votes.iter().filter(|vote| **vote != Vote::Abstain).collect();
        let slow = |to: u32, reason: String| {
            let change = Change { to: to.max(low), rule: "scale-in", reason, kind: Kind::Slow };
            (change.to < self.desired).then_some(change)
        };
        if voters.is_empty() {
            let minutes = LOW_WINDOW.as_secs() / MINUTE.as_secs();
            return (low == 0 && self.is_idle(now))
                .then(|| slow(0, format!("nobody asked anything for {minutes} minutes")))
                .flatten();
        }
        let mut most: Option<(u32, &String)> = None;
        for vote in voters {
            let Vote::In { to, why } = vote else { return None };
            if most.is_none_or(|(most, _)| *to > most) {
                most = Some((*to, why));
            }
        }
        most.and_then(|(to, why)| slow(to, why.clone()))
    }

    fn change(&mut self, change: &Change, now: Steady) {
        let from = self.desired;
        self.desired = change.to;
        let grows = change.to > from;
        if grows {
            self.last_out = Some(now);
            self.in_until = None;
        }
        match change.kind {
            Kind::Bounds => {}
            Kind::Slow | Kind::Fast if grows => {
                let base = self.out.filter(|out| now < out.until).map_or(from, |out| out.base);
                self.out = Some(OutCooldown { base, until: now + self.settings.scale_out_cooldown });
                if change.kind == Kind::Fast {
                    self.last_fast = Some(now);
                }
            }
            Kind::Slow | Kind::Fast => {
                self.in_until = Some(now + self.settings.scale_in_cooldown);
                self.out = None;
            }
        }
    }

    fn keep_hold(&mut self, hold: Option<&(&'static str, String)>, now: Steady) {
        self.holds.retain(|hold| now - hold.seen < HOLD_LASTS);
        let Some((code, reason)) = hold else { return };
        let kept = self.holds.iter().position(|hold| hold.code == *code);
        let since = kept.map_or(now, |kept| self.holds.remove(kept).since);
        self.holds.push(Hold { code: (*code).to_owned(), reason: reason.clone(), since, seen: now });
    }
}
