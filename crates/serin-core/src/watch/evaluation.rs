//! Alarms that are due: evaluated, stored when they change, and heard when they ask for a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::alarms::{evaluation_interval, judge_composite, judge_metric, of_project, selector};
use super::retrain::{Reason, Retrained};
use super::{Watched, Watcher};
use crate::clock::{Steady, Timestamp};
use crate::config::{AlarmSettings, Watches};
use crate::domain::{AlarmState, EventKind, WishOutcome};
use crate::store::{AlarmNews, Moment, StoreError};

/// An alarm that does not change is stored so often: whoever listens knows that it is watched.
const KEEP_ALARM_EVERY: Duration = Duration::from_secs(600);
/// A wish to retrain that was refused is left again after so long, while its alarm is on.
const RETRAIN_EVERY: Duration = Duration::from_secs(600);

/// What is remembered of an alarm between evaluations.
pub(super) struct AlarmInHand {
    state: AlarmState,
    since: Timestamp,
    pub(super) due: Duration,
    kept: Steady,
    asked: Option<Steady>,
    /// The rule that refused last: the same is not told again.
    refused: Option<String>,
}

impl Watcher {
    /// Evaluates alarms that are due.
    pub(super) fn alarms(&mut self, now: Moment, monotonic: Duration) -> Result<(), StoreError> {
        let projects = std::mem::take(&mut self.projects);
        // A project that was removed took its alarms with it.
        let is_there = |project: &String| projects.iter().any(|watched| watched.settings.project == *project);
        self.evaluated.retain(|(project, _), _| is_there(project));
        let mut evaluated = Ok(());
        for watched in &projects {
            evaluated = evaluated.and(self.alarms_of(watched, now, monotonic));
        }
        self.projects = projects;
        evaluated
    }

    fn alarms_of(&mut self, watched: &Watched, now: Moment, monotonic: Duration) -> Result<(), StoreError> {
        let Watched { settings, endpoints, .. } = watched;
        let project = &settings.project;
        let alarms = of_project(&settings.alarms, endpoints, &settings.monitor);
        self.forget(project, &alarms)?;
        self.remember(project, &alarms, monotonic)?;
        // Those over metrics first: others look at them.
        let (of_metrics, composite): (Vec<_>, Vec<_>) =
            alarms.iter().partition(|alarm| matches!(alarm.watches, Watches::Metric(_)));
        for alarm in of_metrics.into_iter().chain(composite) {
            let key = (project.clone(), alarm.name.clone());
            let Some(in_hand) = self.evaluated.get(&key) else { continue };
            if monotonic < in_hand.due {
                continue;
            }
            let before = in_hand.state;
            let (state, reason, interval) = match &alarm.watches {
                Watches::Metric(metric) => {
                    let (state, reason) = judge_metric(&self.metrics, metric, endpoints, before, now.wall);
                    (state, reason, evaluation_interval(&metric.rule))
                }
                Watches::Composite(expression) => {
                    let states = self.states(project)?;
                    let (state, reason) = judge_composite(expression, &states);
                    (state, reason, Duration::from_secs(10))
                }
            };
            self.tell_alarm(watched, alarm, state, &reason, now)?;
            if let Some(in_hand) = self.evaluated.get_mut(&key) {
                in_hand.due = monotonic + interval;
            }
        }
        Ok(())
    }

    /// Drops alarms that are not watched any more, such as one that was taken out of the settings: its last word would stand
    /// for ever.
    fn forget(&mut self, project: &str, alarms: &[AlarmSettings]) -> Result<(), StoreError> {
        let is_watched = |name: &str| alarms.iter().any(|alarm| alarm.name == name);
        let mine = self.evaluated.keys().filter(|(of, name)| of == project && !is_watched(name));
        for key in mine.cloned().collect::<Vec<_>>() {
            self.options.store.forget_alarm(project, &key.1)?;
            self.evaluated.remove(&key);
        }
        Ok(())
    }

    /// Takes up alarms that are new to this process with the state that the store has.
    fn remember(
        &mut self,
        project: &str,
        alarms: &[AlarmSettings],
        monotonic: Duration,
    ) -> Result<(), StoreError> {
        let is_known =
            |alarm: &AlarmSettings| self.evaluated.contains_key(&(project.to_owned(), alarm.name.clone()));
        if alarms.iter().all(is_known) {
            return Ok(());
        }
        let stored = self.options.store.alarms(project, None)?;
        for alarm in alarms {
            let known = stored.iter().find(|stored| stored.name == alarm.name);
            let in_hand = AlarmInHand {
                state: known.map_or(AlarmState::InsufficientData, |known| known.state),
                since: known.map_or(Timestamp(0), |known| known.since),
                due: monotonic,
                kept: known.map_or(Steady(i64::MIN), |known| known.steady),
                asked: None,
                refused: None,
            };
            self.evaluated.entry((project.to_owned(), alarm.name.clone())).or_insert(in_hand);
        }
        Ok(())
    }

    /// The states of all alarms of a project, also of those that others told.
    fn states(&self, project: &str) -> Result<BTreeMap<String, AlarmState>, StoreError> {
        let alarms = self.options.store.alarms(project, None)?;
        Ok(alarms.into_iter().map(|alarm| (alarm.name, alarm.state)).collect())
    }

    /// Stores a change, and what does not change now and then; asks for retraining while an alarm is on that does.
    fn tell_alarm(
        &mut self,
        watched: &Watched,
        alarm: &AlarmSettings,
        state: AlarmState,
        reason: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        let project = &watched.settings.project;
        let key = (project.clone(), alarm.name.clone());
        let Some(in_hand) = self.evaluated.get_mut(&key) else { return Ok(()) };
        let has_changed = in_hand.state != state;
        if has_changed || now.steady - in_hand.kept >= KEEP_ALARM_EVERY || in_hand.kept.0 == i64::MIN {
            let advice = (!alarm.description.is_empty()).then(|| alarm.description.clone());
            let news = AlarmNews { name: alarm.name.clone(), state, reason: reason.to_owned(), advice };
            self.options.store.set_alarm(project, &news, now)?;
            in_hand.kept = now.steady;
            if has_changed {
                (in_hand.state, in_hand.since, in_hand.asked, in_hand.refused) =
                    (state, now.wall, None, None);
                tracing::info!(alarm = alarm.name, state = ?state, because = reason, "an alarm changed");
            }
        }
        if state != AlarmState::Alarm || !alarm.retrain {
            return Ok(());
        }
        if in_hand.asked.is_some_and(|asked| now.steady - asked < RETRAIN_EVERY) {
            return Ok(());
        }
        in_hand.asked = Some(now.steady);
        let (since, told) = (in_hand.since, in_hand.refused.clone());
        let refused = self.ask(watched, alarm, since, told.as_deref(), now)?;
        if let Some(in_hand) = self.evaluated.get_mut(&key) {
            in_hand.refused = refused;
        }
        Ok(())
    }

    /// Asks for a run because of an alarm; the rule that refused it. What was told before is not told again.
    fn ask(
        &self,
        watched: &Watched,
        alarm: &AlarmSettings,
        since: Timestamp,
        told: Option<&str>,
        now: Moment,
    ) -> Result<Option<String>, StoreError> {
        let settings = &watched.settings;
        let store = &self.options.store;
        let is_paused =
            store.trigger(&settings.project, crate::trigger::ALARM)?.is_some_and(|record| record.is_paused);
        let of_alarm = match &alarm.watches {
            Watches::Metric(metric) => selector(metric, &watched.endpoints)
                .and_then(|selector| selector.labels.get("endpoint").cloned()),
            Watches::Composite(_) => None,
        };
        let last = watched.endpoints.iter().find(|endpoint| endpoint.is_last);
        let Some(endpoint) = of_alarm.or_else(|| last.map(|endpoint| endpoint.endpoint.clone())) else {
            return Ok(None);
        };
        let retrained = if !settings.triggers.alarm || is_paused {
            Retrained::Refused { rule: "trigger", reason: "the alarm trigger is off or paused".to_owned() }
        } else {
            let reason = Reason { alarm: &alarm.name, since, endpoint: &endpoint };
            self.retrainer.retrain(settings, &reason, told, now)?
        };
        let refusal = retrained.refusal().map(str::to_owned);
        let (Some(rule), false) = (&refusal, refusal.as_deref() == told) else {
            // That a run begins is told when it does.
            self.options.engine.wake();
            return Ok(refusal);
        };
        let why = match &retrained {
            Retrained::Asked(WishOutcome::Refused { reason, .. }, _) | Retrained::Refused { reason, .. } => {
                reason.clone()
            }
            Retrained::DryRun(plan) => format!("a dry run: {} captured rows to learn from", plan.learned),
            Retrained::Asked(..) => String::new(),
        };
        let text = format!("alarm {} starts no run: {why}", alarm.name);
        let facts = json!({ "alarm": alarm.name, "rule": rule, "reason": why });
        store.tell(EventKind::RetrainRefused, &settings.project, None, &text, facts, now)?;
        Ok(refusal)
    }
}
