//! The hands of rollouts: one thread that reads what the gateway counted, asks hooks and alarms, and carries out what the
//! rules of [`crate::rollout`] say.
//!
//! Every change is one verb of the store, fenced by the reign of the engine beside it, and the routes are part of it. What
//! the thread holds in memory is only what it saw since; killed at any instant, the next one reads the same counters and
//! goes on with what was stored.

mod gateway;
mod hooks;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use serin_ml::sequential::Labelled;

use self::hooks::Hooks;
use crate::artifacts::Artifacts;
use crate::causes::in_one_line;
use crate::clock::{Clock, Steady};
use crate::domain::{Epoch, RolloutNumber};
use crate::engine::Moments;
use crate::rollout::{AlarmView, Inputs, Next, Phase, Rollout, next};
use crate::routes::RoutesFile;
use crate::runtime::JobRuntime;
use crate::store::{
    AlarmState, ListOptions, RolloutAdvance, RolloutDecision, Store, StoreError, StoredRollout,
};

pub use crate::pipeline::REPLAY;
pub use gateway::{Counted, EVIDENCE, Page as EvidencePage};

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the gateway is asked what it counted.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How often that is stored when nothing else changed, and labels are looked for.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// An alarm about which nothing was heard for so long is not known.
const ALARM_AGE: Duration = Duration::from_secs(24 * 3_600);

/// What the thread needs.
pub struct RolloutsOptions {
    pub store: Arc<dyn Store>,
    pub routes: Arc<RoutesFile>,
    pub artifacts: Arc<Artifacts>,
    pub jobs: Arc<dyn JobRuntime>,
    pub moments: Arc<Moments>,
    pub clock: Arc<dyn Clock>,
    pub data_directory: PathBuf,
    /// The reign of the engine beside it, while it reigns.
    pub epoch: Box<dyn Fn() -> Option<Epoch> + Send>,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Rollouts {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen of one rollout and is not stored yet.
struct InHand {
    stored: StoredRollout,
    /// As it goes on.
    rollout: Rollout,
    kept: Steady,
    labels: Labelled,
    labels_read: Option<Steady>,
}

struct Driver {
    options: RolloutsOptions,
    hooks: Hooks,
    in_hand: BTreeMap<RolloutNumber, InHand>,
    read: Option<Duration>,
    published: Option<Epoch>,
    problem: Option<String>,
}

impl std::fmt::Debug for RolloutsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RolloutsOptions")
            .field("data_directory", &self.data_directory)
            .finish_non_exhaustive()
    }
}

impl Rollouts {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(options: RolloutsOptions) -> io::Result<Self> {
        let stops = Arc::new(AtomicBool::new(false));
        let seen = stops.clone();
        let hooks = Hooks::new(&options);
        let mut driver =
            Driver { options, hooks, in_hand: BTreeMap::new(), read: None, published: None, problem: None };
        let thread = thread::Builder::new().name("rollouts".to_owned()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                driver.look();
                thread::sleep(LOOK);
            }
        })?;
        Ok(Self { stops, thread: Some(thread) })
    }
}

impl Drop for Rollouts {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Driver {
    /// Looks at every open rollout and does what follows.
    fn look(&mut self) {
        let Some(epoch) = (self.options.epoch)() else {
            self.in_hand.clear();
            return;
        };
        let done = self.go_on(epoch);
        let problem = match done {
            Ok(()) | Err(StoreError::Lost) => None,
            Err(error) => Some(in_one_line(&error)),
        };
        if let Some(problem) = problem.as_ref().filter(|problem| self.problem.as_ref() != Some(problem)) {
            tracing::error!(error = problem, "rollouts do not go on");
        }
        self.problem = problem;
    }

    fn go_on(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        let open = ListOptions { is_open: true, limit: ListOptions::LIMIT, ..ListOptions::default() };
        let open = self.options.store.rollouts(&open)?;
        self.in_hand.retain(|number, _| open.iter().any(|stored| stored.rollout.number == *number));
        if open.is_empty() {
            self.hooks.forget();
            // What could not be published is tried again, and a first look tells what was decided before.
            return if self.published.is_none() { self.publish() } else { Ok(()) };
        }
        // What was decided is told even if whoever decided it died before.
        self.publish()?;
        let monotonic = self.options.moments.monotonic();
        let is_time = self.read.is_none_or(|read| monotonic.saturating_sub(read) >= READ_EVERY);
        // While a gateway is to follow, that it does is the next thing to know.
        let waits = self.in_hand.values().any(|in_hand| !in_hand.rollout.is_followed);
        if is_time || waits {
            self.read = Some(monotonic);
        }
        let page = (is_time || waits).then(|| gateway::read(&self.options.data_directory)).flatten();
        for stored in open {
            let number = stored.rollout.number;
            let seen = self.in_hand.get(&number);
            if seen.is_none_or(|seen| seen.stored.revision != stored.revision) {
                let labels = seen.map_or_else(Labelled::default, |seen| seen.labels);
                let in_hand = InHand {
                    rollout: stored.rollout.clone(),
                    kept: self.options.moments.steady(),
                    labels,
                    labels_read: None,
                    stored,
                };
                self.in_hand.insert(number, in_hand);
            }
            let Some(mut in_hand) = self.in_hand.remove(&number) else { continue };
            let is_kept = self.one(epoch, &mut in_hand, page.as_ref(), is_time || waits)?;
            if is_kept {
                self.in_hand.insert(number, in_hand);
            }
        }
        Ok(())
    }

    /// One rollout; false: it was changed meanwhile, and is read anew.
    fn one(
        &mut self,
        epoch: Epoch,
        in_hand: &mut InHand,
        page: Option<&gateway::Page>,
        was_asked: bool,
    ) -> Result<bool, StoreError> {
        let at = self.options.moments.now();
        let hook = in_hand.rollout.hook().and_then(|place| self.hooks.answer(&in_hand.rollout, place));
        if !was_asked && hook.is_none() {
            return Ok(true);
        }
        if in_hand.labels_read.is_none_or(|read| at.steady - read >= KEEP_EVERY) {
            in_hand.labels = table::labels(&self.options.data_directory, &in_hand.rollout);
            in_hand.labels_read = Some(at.steady);
        }
        let inputs = Inputs {
            now: at.steady,
            reading: page.map(|page| page.reading(&in_hand.rollout.endpoint)),
            alarms: self.alarms(&in_hand.rollout, at.steady)?,
            hook,
            labels: in_hand.labels,
        };
        let before = in_hand.rollout.clone();
        let Next { rollout, decided, replays } = next(before.clone(), &inputs);
        let has_moved = rollout.phase != before.phase || rollout.condition != before.condition;
        let is_due = rollout.is_followed != before.is_followed || at.steady - in_hand.kept >= KEEP_EVERY;
        in_hand.rollout = rollout.clone();
        if !has_moved && decided.is_none() && !is_due {
            return Ok(true);
        }
        let decision = decided.map(|(verdict, explanation)| RolloutDecision {
            verdict,
            explanation,
            inputs: json!({ "rollout": before, "inputs": inputs }),
        });
        if let Some(decision) = &decision {
            tracing::info!(
                rollout = rollout.number.0,
                endpoint = rollout.endpoint,
                verdict = decision.verdict,
                because = decision.explanation,
                "a rollout goes on"
            );
        }
        let advance = RolloutAdvance { rollout, seen: in_hand.stored.revision, decision };
        let Some(stored) = self.options.store.advance_rollout(epoch, &advance, at)? else { return Ok(false) };
        self.publish()?;
        if replays {
            let (directory, rollout) = (self.options.data_directory.clone(), stored.rollout.clone());
            // Beside: the gateway counts what it answers.
            let replay = move || table::replay(&directory, &rollout);
            if let Err(error) = thread::Builder::new().name("replay".to_owned()).spawn(replay) {
                tracing::warn!(error = &error as &dyn std::error::Error, "captured rows are not asked again");
            }
        }
        in_hand.rollout = stored.rollout.clone();
        in_hand.kept = at.steady;
        in_hand.stored = stored;
        Ok(true)
    }

    /// The routes that the store has, for gateways.
    fn publish(&mut self) -> Result<(), StoreError> {
        let Some(document) = self.options.store.routes()? else { return Ok(()) };
        if self.published == Some(document.epoch()) {
            return Ok(());
        }
        match self.options.routes.publish(&document) {
            Ok(_) => self.published = Some(document.epoch()),
            Err(error) => {
                self.published = None;
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "routes are not published");
            }
        }
        Ok(())
    }

    fn alarms(&self, rollout: &Rollout, now: Steady) -> Result<AlarmView, StoreError> {
        let watched = &rollout.settings.alarms;
        if watched.is_empty() || matches!(rollout.phase, Phase::Returning { .. }) {
            return Ok(AlarmView::Quiet);
        }
        let known = self.options.store.alarms(&rollout.project, None)?;
        let mut unreadable = None;
        for name in watched {
            let state = known.iter().find(|alarm| alarm.name == *name);
            match state.filter(|alarm| now - alarm.steady < ALARM_AGE).map(|alarm| alarm.state) {
                Some(AlarmState::Alarm) => return Ok(AlarmView::Alarm { name: name.clone() }),
                Some(AlarmState::Ok) => {}
                Some(AlarmState::InsufficientData) | None => unreadable = Some(name.clone()),
            }
        }
        Ok(unreadable.map_or(AlarmView::Quiet, |name| AlarmView::Unreadable { name }))
    }
}
