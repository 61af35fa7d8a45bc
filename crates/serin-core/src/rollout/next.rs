//! The rules: what follows from what was seen just now.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::{Judged, Labelled, Stratum, Trouble, Verdict, judge};

use super::reading::Reading;
use super::state::{Blame, Condition, End, HookPlace, Phase, Rollout, Why};
use crate::clock::Steady;
use crate::config::WithoutEvidence;

/// How long a gateway may take to follow new routes, and may be silent, before that is trouble.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// Rows that are mirrored before any caller sees the new version, if they come in time.
const MIRRORED_WANTED: u64 = 300;
/// How long captured rows that were asked again may take to be counted.
const REPLAY_LIMIT: Duration = Duration::from_secs(120);

/// Everything that is decided from besides the rollout itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    pub now: Steady,
    /// What the gateway said; `None`: nothing.
    pub reading: Option<Reading>,
    pub alarms: AlarmView,
    /// What the hook said that is to be asked, if it has.
    pub hook: Option<HookAnswer>,
    /// Answers whose true class is known, since the beginning.
    pub labels: Labelled,
}

/// The alarms that the settings name, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alarms", rename_all = "kebab-case")]
pub enum AlarmView {
    Quiet,
    /// This one is in ALARM.
    Alarm {
        name: String,
    },
    /// Nobody knows the state of this one.
    Unreadable {
        name: String,
    },
}

/// What a hook said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum HookAnswer {
    Pass,
    /// For good, and why.
    Fail {
        reason: String,
    },
    /// It is asked again.
    Wait {
        reason: String,
    },
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    pub rollout: Rollout,
    /// The decision, when one was made: a name that does not change between versions, and words.
    pub decided: Option<(&'static str, String)>,
    /// Captured rows are to be asked of the new version now.
    pub replays: bool,
}

/// What follows from `inputs`. The phase moves by one step at most, and each move is a decision.
#[must_use]
pub fn next(mut rollout: Rollout, inputs: &Inputs) -> Next {
    let now = inputs.now;
    let mut replays = false;
    take(&mut rollout, inputs);
    let decided = if rollout.is_open() {
        let judged =
            weighs(&rollout).then(|| judge(&rollout.evidence, &rollout.settings.judge, needed(&rollout)));
        if let Some(judged) = &judged {
            rollout.evidence.looked = judged.looked;
        }
        let case = Case { inputs, now, judged: judged.as_ref(), replays: &mut replays };
        case.decide(&mut rollout)
    } else {
        None
    };
    Next { rollout, decided, replays }
}

/// The same decision from what was recorded: the rollout as it was, and the inputs.
#[must_use]
pub fn replay(rollout: Rollout, inputs: &Inputs) -> Option<(&'static str, String)> {
    next(rollout, inputs).decided
}

/// Adds what was counted since the last reading.
fn take(rollout: &mut Rollout, inputs: &Inputs) {
    rollout.evidence.labels = inputs.labels;
    let Some(reading) = &inputs.reading else { return };
    rollout.heard = inputs.now;
    let last = rollout.last.as_ref();
    let canary = &rollout.canary.bundle;
    let stable = rollout.stable.as_ref().map(|stable| stable.bundle.as_str());
    match last {
        None => {
            // Whatever was counted of the new version before does not count.
            if let Some(stable) = stable {
                rollout.evidence.before = reading.tally_since(stable, None);
            }
            rollout.evidence.strata.push(Stratum::default());
        }
        Some(_) => {
            let (more, other) = (
                reading.tally_since(canary, last),
                stable.map(|stable| reading.tally_since(stable, last)).unwrap_or_default(),
            );
            if let Some(stratum) = rollout.evidence.strata.last_mut() {
                stratum.canary.add(&more);
                stratum.stable.add(&other);
            }
            rollout.evidence.mirrored.add(&reading.mirrored_since(canary, last));
        }
    }
    let mut bundles = vec![canary.as_str()];
    bundles.extend(stable);
    rollout.last = Some(reading.clone().of(&bundles));
    if !rollout.is_followed && reading.epoch.is_some_and(|epoch| epoch >= rollout.epoch.0) {
        rollout.is_followed = true;
        rollout.since = inputs.now;
        // From here on requests are split otherwise.
        if rollout.evidence.strata.last().is_some_and(|stratum| *stratum != Stratum::default()) {
            rollout.evidence.strata.push(Stratum::default());
        }
    }
}

/// Whether evidence is looked at: nobody is judged beside nobody, and who went back is not judged any more.
fn weighs(rollout: &Rollout) -> bool {
    let is_asked = matches!(
        rollout.phase,
        Phase::Mirroring | Phase::Shifting { .. } | Phase::AfterTraffic { .. } | Phase::Probation
    );
    rollout.stable.is_some() && is_asked
}

/// Requests that the new version must have answered in the present step.
fn needed(rollout: &Rollout) -> u64 {
    match rollout.phase {
        Phase::Shifting { step } if bake_of(rollout, step) > Duration::ZERO => rollout.settings.min_requests,
        _ => 0,
    }
}

fn bake_of(rollout: &Rollout, step: usize) -> Duration {
    rollout.settings.steps.get(step).map_or(Duration::ZERO, |step| step.bake)
}

struct Case<'a> {
    inputs: &'a Inputs,
    now: Steady,
    judged: Option<&'a Judged>,
    replays: &'a mut bool,
}

type Decided = Option<(&'static str, String)>;

impl Case<'_> {
    fn decide(self, rollout: &mut Rollout) -> Decided {
        if let Phase::Returning { why } = &rollout.phase {
            // The routes were changed with the decision; this only waits for the gateway, and for one that is not there no
            // longer: it follows when it is there again.
            let is_gone = self.inputs.reading.is_none() && self.now - rollout.since >= FOLLOW_LIMIT;
            let is_back = rollout.is_followed || is_gone;
            if is_back {
                let why = why.clone();
                rollout.enter(Phase::Ended { end: End::RolledBack { why } }, self.now);
                return Some(("rolled-back", format!("{} has all requests again", serving(rollout))));
            }
            return None;
        }
        if let Some(decided) = self.interrupted(rollout) {
            return Some(decided);
        }
        if !self.can_go_on(rollout) {
            return self.waits_no_longer(rollout);
        }
        match rollout.phase.clone() {
            Phase::Loading => self.load(rollout),
            Phase::BeforeTraffic { .. } | Phase::AfterTraffic { .. } => self.hook(rollout),
            Phase::Mirroring => self.mirror(rollout),
            Phase::Shifting { step } => self.shift(rollout, step),
            Phase::Probation => self.end_probation(rollout),
            Phase::Returning { .. } | Phase::Ended { .. } => None,
        }
    }

    /// What stops it whatever it is at: refused routes, alarms, what was found bad, too long a time.
    fn interrupted(&self, rollout: &mut Rollout) -> Option<(&'static str, String)> {
        let reading = self.inputs.reading.as_ref();
        let refused = reading.and_then(|reading| reading.refused.as_ref());
        if let Some(refused) = refused
            && !rollout.is_followed
            && refused.epoch.is_some_and(|epoch| epoch >= rollout.epoch.0)
        {
            let reason =
                format!("the gateway refused version {}: {}", rollout.canary.version, refused.reason);
            return self.go_back(rollout, "gateway_refused", reason, Blame::Version);
        }
        if let AlarmView::Alarm { name } = &self.inputs.alarms
            && has_requests(rollout)
        {
            return self.condemn(rollout, "alarm", format!("the alarm {name} is on"));
        }
        if let Some(judged) = self.judged.filter(|judged| judged.verdict == Verdict::Bad) {
            let reasons: Vec<&str> = judged.findings.iter().map(|finding| finding.text.as_str()).collect();
            return self.condemn(rollout, "bad", reasons.join("; "));
        }
        let is_late = !rollout.is_promoted() && self.now - rollout.began >= rollout.settings.max_duration;
        if is_late {
            let reason = format!("it was not promoted within {}", words(rollout.settings.max_duration));
            return self.go_back(rollout, "max_duration", reason, Blame::Nobody);
        }
        None
    }

    /// What was found bad goes back, or waits for a person when the settings say so.
    fn condemn(&self, rollout: &mut Rollout, code: &'static str, reason: String) -> Decided {
        if rollout.settings.auto_rollback {
            return self.go_back(rollout, code, reason, Blame::Version);
        }
        let is_new = !matches!(&rollout.condition, Condition::Held { code: held, .. } if held == code);
        self.hold(rollout, code, reason, false);
        is_new.then(|| held_words(rollout))
    }

    /// Whether the present can be judged and nobody stopped it.
    fn can_go_on(&self, rollout: &mut Rollout) -> bool {
        if rollout.is_promoted() {
            // It serves: a gateway or an alarm that says nothing is no reason to change that.
            return rollout.condition == Condition::Going;
        }
        let waits_to_be_followed = rollout.phase != Phase::Loading && !rollout.is_followed;
        let trouble = if self.inputs.reading.is_none() && self.now - rollout.heard >= SILENCE_LIMIT {
            Some(("gateway_silent", "the gateway does not say what its callers saw".to_owned(), true))
        } else if waits_to_be_followed && self.now - rollout.since >= FOLLOW_LIMIT {
            Some(("gateway_slow", "the gateway does not follow the new routes".to_owned(), true))
        } else if let AlarmView::Unreadable { name } = &self.inputs.alarms {
            Some(("alarm_unreadable", format!("nobody knows the state of the alarm {name}"), true))
        } else if let AlarmView::Alarm { name } = &self.inputs.alarms {
            // It had no request yet: whatever is wrong, it is not the new one.
            Some(("alarm", format!("the alarm {name} is on already"), true))
        } else {
            let troubled = self.judged.filter(|judged| judged.trouble == Some(Trouble::StableFailsToo));
            troubled.map(|judged| {
                let reasons: Vec<&str> =
                    judged.findings.iter().map(|finding| finding.text.as_str()).collect();
                ("stable_fails_too", reasons.join("; "), false)
            })
        };
        match trouble {
            Some((code, reason, has_deadline)) => self.hold(rollout, code, reason, has_deadline),
            // What was unreadable can be read again; what a person must look at stays.
            None if matches!(rollout.condition, Condition::Held { has_deadline: true, .. })
                && self.inputs.reading.is_some() =>
            {
                rollout.condition = Condition::Going;
            }
            None => {}
        }
        rollout.condition == Condition::Going
    }

    /// Nothing is decided about the new version, but it does not wait for ever.
    fn waits_no_longer(&self, rollout: &mut Rollout) -> Decided {
        let Condition::Held { reason, since, has_deadline, .. } = rollout.condition.clone() else {
            return None;
        };
        if has_deadline && self.now - since >= rollout.settings.hold {
            let reason = format!("{reason}, for {}", words(self.now - since));
            return self.go_back(rollout, "could_not_judge", reason, Blame::Nobody);
        }
        // It was told when it began.
        (since == self.now).then(|| held_words(rollout))
    }

    fn load(self, rollout: &mut Rollout) -> Decided {
        if !rollout.is_followed {
            if self.now - rollout.since >= FOLLOW_LIMIT {
                let reason = "no gateway took up the new routes".to_owned();
                return self.go_back(rollout, "gateway_slow", reason, Blame::Nobody);
            }
            return None;
        }
        if rollout.stable.is_none() {
            let what =
                format!("version {} is the first of {}: all at once", rollout.canary.version, rollout.stage);
            rollout.enter(Phase::Ended { end: End::Completed }, self.now);
            return Some(("first-deployment", what));
        }
        rollout.enter(Phase::BeforeTraffic { hook: 0 }, self.now);
        Some(("loaded", format!("version {} is loaded and gets no requests yet", rollout.canary.version)))
    }

    fn hook(self, rollout: &mut Rollout) -> Decided {
        let place = rollout.hook()?;
        let exists = place == HookPlace::GoldenRows || rollout.hook_settings(place).is_some();
        if !exists {
            return self.after_hooks(rollout, place);
        }
        match &self.inputs.hook {
            Some(HookAnswer::Pass) => {
                let said = format!("{} passed", place.text());
                match &mut rollout.phase {
                    Phase::BeforeTraffic { hook } | Phase::AfterTraffic { hook } => *hook += 1,
                    _ => {}
                }
                rollout.since = self.now;
                Some(("hook-passed", said))
            }
            Some(HookAnswer::Fail { reason }) => {
                let reason = format!("{} failed: {reason}", place.text());
                self.go_back(rollout, "hook_failed", reason, Blame::Version)
            }
            Some(HookAnswer::Wait { .. }) | None => {
                let limit = rollout.hook_limit(place);
                if self.now - rollout.since < limit {
                    return None;
                }
                let last = match &self.inputs.hook {
                    Some(HookAnswer::Wait { reason }) => format!(": {reason}"),
                    _ => String::new(),
                };
                let reason = format!("{} did not say yes within {}{last}", place.text(), words(limit));
                self.go_back(rollout, "hook_failed", reason, Blame::Nobody)
            }
        }
    }

    /// All hooks of the place have passed.
    fn after_hooks(self, rollout: &mut Rollout, place: HookPlace) -> Decided {
        if matches!(place, HookPlace::After(_)) {
            if rollout.settings.probation.is_zero() {
                rollout.enter(Phase::Ended { end: End::Completed }, self.now);
                return Some(("promoted", format!("version {} took over", rollout.canary.version)));
            }
            rollout.enter(Phase::Probation, self.now);
            let kept = words(rollout.settings.probation);
            let stable = rollout.stable.as_ref().map_or(0, |stable| stable.version.0);
            let what = format!(
                "version {} took over; version {stable} stays warm for {kept}",
                rollout.canary.version
            );
            return Some(("promoted", what));
        }
        if rollout.settings.mirror.is_zero() {
            return self.enter_step(rollout, 0, "nothing is mirrored");
        }
        rollout.enter(Phase::Mirroring, self.now);
        let version = rollout.canary.version;
        Some(("mirrored", format!("version {version} answers beside the other one, and nobody sees it")))
    }

    fn mirror(self, rollout: &mut Rollout) -> Decided {
        if !rollout.is_followed {
            return None;
        }
        let rows = rollout.evidence.mirrored.rows();
        let wanted = MIRRORED_WANTED.min(rollout.settings.min_requests.max(1));
        let is_over = self.now - rollout.since >= rollout.settings.mirror;
        if rows < wanted && !is_over {
            return None;
        }
        let disagreed = rollout.evidence.mirrored.disagreed;
        let why = format!("{rows} rows were mirrored, {disagreed} of them got another class");
        self.enter_step(rollout, 0, &why)
    }

    fn shift(self, rollout: &mut Rollout, step: usize) -> Decided {
        if !rollout.is_followed {
            return None;
        }
        let bake = bake_of(rollout, step);
        let (needed, baked) = (needed(rollout), self.now - rollout.since);
        if baked < bake {
            return None;
        }
        let (verdict, why) = match self.judged {
            Some(judged) => {
                let reasons: Vec<&str> =
                    judged.findings.iter().map(|finding| finding.text.as_str()).collect();
                (judged.verdict, reasons.join("; "))
            }
            None => (Verdict::NotEnough, String::new()),
        };
        match verdict {
            Verdict::Good if step + 1 < rollout.settings.steps.len() => {
                self.enter_step(rollout, step + 1, &why)
            }
            Verdict::Good => {
                rollout.enter(Phase::AfterTraffic { hook: 0 }, self.now);
                Some(("baked", format!("all traffic baked {}: {why}", words(bake))))
            }
            Verdict::NotEnough => {
                let waited = baked - bake;
                let patience = rollout.settings.evidence_wait;
                if waited < patience {
                    return None;
                }
                if rollout.settings.without_evidence == WithoutEvidence::Replay {
                    if !rollout.is_replayed {
                        rollout.is_replayed = true;
                        *self.replays = true;
                        return Some(("replayed", format!("{why}: captured rows are asked of it")));
                    }
                    if waited < patience + REPLAY_LIMIT {
                        return None;
                    }
                }
                let reason = format!("{why}, {needed} are needed, and {} were waited", words(baked));
                self.go_back(rollout, "no_evidence", reason, Blame::Nobody)
            }
            // Was dealt with before.
            Verdict::Bad | Verdict::Error => None,
        }
    }

    fn enter_step(self, rollout: &mut Rollout, step: usize, why: &str) -> Decided {
        rollout.enter(Phase::Shifting { step }, self.now);
        rollout.is_replayed = false;
        let (version, weight) = (rollout.canary.version, rollout.weight_of(step));
        Some(("shifted", format!("version {version} gets {weight} % of the requests: {why}")))
    }

    fn end_probation(self, rollout: &mut Rollout) -> Decided {
        if self.now - rollout.since < rollout.settings.probation {
            return None;
        }
        rollout.enter(Phase::Ended { end: End::Completed }, self.now);
        let version = rollout.canary.version;
        Some((
            "completed",
            format!("version {version} passed its probation; the version before is kept no longer"),
        ))
    }

    fn hold(&self, rollout: &mut Rollout, code: &str, reason: String, has_deadline: bool) {
        match &mut rollout.condition {
            Condition::Held { code: held, reason: told, .. } if held == code => *told = reason,
            // What waits for a person is not let go by something that passes, and a person's word stands against that.
            Condition::Held { has_deadline: false, .. } if has_deadline => {}
            Condition::Paused { .. } if has_deadline => {}
            condition => {
                *condition = Condition::Held { code: code.to_owned(), reason, since: self.now, has_deadline };
            }
        }
    }

    fn go_back(&self, rollout: &mut Rollout, code: &'static str, reason: String, blame: Blame) -> Decided {
        let told = format!("back to {}: {reason}", serving(rollout));
        let was_promoted = rollout.is_promoted();
        rollout.return_for(Why { code: code.to_owned(), reason, blame, by: None, was_promoted }, self.now);
        Some(("returned", told))
    }
}

impl Rollout {
    /// The phase begins now; requests are split as it says once the gateway follows.
    pub(super) fn enter(&mut self, phase: Phase, now: Steady) {
        let before = self.split();
        self.phase = phase;
        self.since = now;
        self.condition = Condition::Going;
        // Whoever stores it writes the routes of the new split, and their number here.
        if self.split() != before && self.is_open() {
            self.is_followed = false;
        }
    }

    pub(crate) fn return_for(&mut self, why: Why, now: Steady) {
        self.enter(Phase::Returning { why }, now);
        self.is_followed = false;
    }
}

/// Whether callers see the new version.
fn has_requests(rollout: &Rollout) -> bool {
    matches!(rollout.phase, Phase::Shifting { .. } | Phase::AfterTraffic { .. } | Phase::Probation)
}

/// Who has the requests when the new version has none.
fn serving(rollout: &Rollout) -> String {
    match &rollout.stable {
        Some(stable) => format!("version {}", stable.version),
        None => "nothing".to_owned(),
    }
}

fn held_words(rollout: &Rollout) -> (&'static str, String) {
    match &rollout.condition {
        Condition::Held { reason, .. } => {
            ("held", format!("it stays where it is, a person is needed: {reason}"))
        }
        _ => ("held", String::new()),
    }
}

/// A time for people.
fn words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_secs() {
        0..120 => format!("{} s", (seconds * 10.0).round() / 10.0),
        120..7_200 => format!("{} min", (seconds / 6.0).round() / 10.0),
        _ => format!("{} h", (seconds / 360.0).round() / 10.0),
    }
}
