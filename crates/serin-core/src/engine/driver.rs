//! The engine: carries out what [`decide`](super::decide()) says, and holds the reign meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use super::decide::{Action, Asked, Held, StopReason, View, decide, next_wake};
use super::moments::Moments;
use super::reign::Succession;
use super::work::{Progress, ProgressCell, Works};
use crate::causes::in_one_line;
use crate::clock::Clock;
use crate::domain::{Epoch, Lease, Run, RunNumber};
use crate::runtime::Cancel;
use crate::store::{Hold, Store, StoreError};

/// Without any wake-up, the runs are looked at this often.
const FULL_LOOK: Duration = Duration::from_secs(1);
/// Wait after the store refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Beats within a lease.
const BEATS_A_LEASE: u32 = 4;

/// What an engine is made of.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    pub store: Arc<dyn Store>,
    pub works: Works,
    pub clock: Arc<dyn Clock>,
    pub data_directory: PathBuf,
    /// Engine and machine, for people.
    pub owner: String,
    /// An engine that gave no sign of life for so long is replaced.
    pub lease: Duration,
    /// Most steps at one time, over all runs.
    pub steps_limit: usize,
}

/// Carries runs on until it is stopped or dropped.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Makes an engine look at once: for whoever wrote something that it should see.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineStatus {
    /// Its reign; `None`: it watches another engine's.
    pub epoch: Option<Epoch>,
    /// Attempts being made.
    pub steps: usize,
    /// Attempts that did not stop when they were asked to, and still run.
    pub left_behind: usize,
    /// What the store last refused, until it takes something again.
    pub problem: Option<String>,
}

/// Why an engine does not start.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error("the store does not say who reigns")]
    Store(#[from] StoreError),
    #[error("the operating system gives no thread")]
    Thread(#[source] io::Error),
}

/// What the threads of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: EngineOptions,
    pub(super) moments: Arc<Moments>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_woken: bool,
    /// Until when attempts may end, by the monotonic clock, once the engine was told to stop.
    stops_by: Option<Duration>,
    status: EngineStatus,
    /// The attempts being made. Those that were left behind are not among them.
    hands: BTreeMap<Lease, Hand>,
}

/// An attempt that a thread is making.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) hold: Hold,
    pub(super) run: Arc<Run>,
    pub(super) cancel: Cancel,
    pub(super) progress: ProgressCell,
    pub(super) asked: Option<Asked>,
}

impl EngineOptions {
    /// The usual lease.
    pub const LEASE: Duration = Duration::from_secs(10);

    /// The usual limit of steps at one time: many wait for something else than a processor.
    #[must_use]
    pub fn usual_steps_limit() -> usize {
        2 * thread::available_parallelism().map_or(1, usize::from)
    }
}

impl Engine {
    /// Starts an engine. It reigns as soon as no other does.
    ///
    /// # Errors
    /// When the store cannot be read, or there are no threads.
    pub fn start(options: EngineOptions) -> Result<Self, EngineError> {
        let seen = options.store.reign()?;
        let moments = Arc::new(Moments::resumed(options.clock.clone(), &seen));
        let succession = Succession::new(
            &options.data_directory,
            &options.owner,
            options.lease,
            seen,
            moments.monotonic(),
        );
        let shared = Arc::new(Shared { options, moments, state: Mutex::default(), changed: Condvar::new() });
        let driving = shared.clone();
        let thread = thread::Builder::new()
            .name("engine".into())
            .spawn(move || driving.drive(succession))
            .map_err(EngineError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The time of this data directory, for everything that calls verbs beside the engine.
    #[must_use]
    pub fn moments(&self) -> Arc<Moments> {
        self.shared.moments.clone()
    }

    /// Something that others can wake the engine with.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(self.shared.clone())
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        let state = self.shared.state();
        EngineStatus { steps: state.hands.len(), ..state.status.clone() }
    }

    /// How far the steps of a run are that are being done now, by name.
    #[must_use]
    pub fn progress(&self, run: RunNumber) -> BTreeMap<String, Progress> {
        let state = self.shared.state();
        let hands = state.hands.values().filter(|hand| hand.hold.run == run);
        hands.filter_map(|hand| Some((hand.hold.step.clone(), hand.progress.get()?))).collect()
    }

    /// Stops: no step begins any more, those being done are asked to stop, and those that did not succeed within `limit`
    /// are begun anew by the next engine. False: some still run.
    pub fn stop(mut self, limit: Duration) -> bool {
        self.join(limit);
        let state = self.shared.state();
        state.hands.is_empty() && state.status.left_behind == 0
    }

    fn join(&mut self, limit: Duration) {
        if let Some(thread) = self.thread.take() {
            self.shared.state().stops_by = Some(self.shared.moments.monotonic() + limit);
            self.shared.wake();
            // It does not panic; if it did, it has stopped too.
            _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.join(Duration::ZERO);
    }
}

impl Waker {
    /// The reign of the engine, while it reigns.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.0.state().status.epoch
    }

    /// Wakes it.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl Shared {
    /// Watches, reigns, and watches again when the reign is lost.
    fn drive(self: &Arc<Self>, mut succession: Succession) {
        while !self.is_stopping() {
            match succession.take(&*self.options.store, &self.moments) {
                Ok(Some(reign)) => {
                    tracing::info!(epoch = reign.epoch.0, "this engine reigns");
                    self.state().status.epoch = Some(reign.epoch);
                    self.reign(reign.epoch, &mut succession);
                    self.state().status.epoch = None;
                }
                Ok(None) => self.rest(self.options.lease / BEATS_A_LEASE),
                Err(error) => {
                    self.note(&error);
                    self.rest(RETRY_INTERVAL);
                }
            }
        }
        // What a lost reign left has been asked to stop as well.
        while !self.has_stopped() {
            self.rest(RETRY_INTERVAL);
        }
    }

    /// Does the work until the engine is to stop or another one reigns. Whether one does is what the beat says and nothing
    /// else; a beat that could not be written for a whole lease is taken for a loss.
    fn reign(self: &Arc<Self>, epoch: Epoch, succession: &mut Succession) {
        let lease = self.options.lease;
        let mut alive = self.moments.monotonic();
        let mut beat_due = alive;
        loop {
            let now = self.moments.monotonic();
            if now >= beat_due {
                beat_due = now + lease / BEATS_A_LEASE;
                match self.options.store.beat(epoch, self.moments.now()) {
                    Ok(()) => {
                        alive = now;
                        succession.hold_lock(now);
                        self.expire(epoch);
                    }
                    Err(StoreError::Lost) => break,
                    Err(error) => self.note(&error),
                }
            }
            if now.saturating_sub(alive) >= lease {
                break;
            }
            if self.is_stopping() {
                self.ask_all(StopReason::Leaving);
                if self.has_stopped() {
                    return;
                }
                self.rest(beat_due.saturating_sub(now).min(RETRY_INTERVAL));
                continue;
            }
            let wait = self.look(epoch).unwrap_or_else(|error| {
                match error {
                    StoreError::Lost => beat_due = now,
                    error => self.note(&error),
                }
                RETRY_INTERVAL
            });
            self.rest(wait.min(beat_due.saturating_sub(now)));
        }
        tracing::warn!(epoch = epoch.0, "this engine no longer reigns");
        self.ask_all(StopReason::Lost);
        succession.lost(self.moments.monotonic());
    }

    /// Closes the questions that nobody answered in time.
    fn expire(&self, epoch: Epoch) {
        if let Err(error) = self.options.store.expire_approvals(epoch, self.moments.now()) {
            self.note(&error);
        }
    }

    /// Looks at every open run and does what follows; how long nothing else will.
    fn look(self: &Arc<Self>, epoch: Epoch) -> Result<Duration, StoreError> {
        let held = self.held();
        let runs = self.options.store.open_runs()?;
        let view = View {
            runs: &runs,
            held: &held,
            at: self.moments.steady(),
            steps_limit: self.options.steps_limit,
            knows: &|kind, version| self.options.works.knows(kind, version),
        };
        let mut is_settled = true;
        let mut refusal = None;
        let until = self.moments.monotonic() + FULL_LOOK;
        for action in decide(&view) {
            // A thousand actions must not hold up the beat; the next look decides them again.
            if self.moments.monotonic() >= until {
                is_settled = false;
                break;
            }
            match self.act(epoch, &runs, &action) {
                Ok(has_acted) => is_settled &= !has_acted,
                // One run that cannot go on does not hold up the others.
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if is_settled => {
                self.state().status.problem = None;
                Ok(next_wake(&view).map_or(FULL_LOOK, |wait| wait.min(FULL_LOOK)))
            }
            None => Ok(Duration::ZERO),
        }
    }

    /// Carries an action out; false: there was nothing to do any more.
    fn act(self: &Arc<Self>, epoch: Epoch, runs: &[Run], action: &Action) -> Result<bool, StoreError> {
        let (store, now) = (&self.options.store, self.moments.now());
        match action {
            Action::Begin { run } => store.begin_run(epoch, *run, now)?,
            Action::End { run, state } => store.end_run(epoch, *run, state, now)?,
            Action::Claim { run, step } => {
                let Some(lease) = store.claim_step(epoch, *run, step, &self.options.owner, now)? else {
                    return Ok(false);
                };
                let hold = Hold { epoch, run: *run, step: step.clone(), lease };
                // As it is now: with this attempt counted.
                if let Some(run) = store.run(*run)? {
                    self.begin(hold, run);
                }
            }
            Action::Stop { lease, why } => self.ask(*lease, *why),
            Action::Leave { lease } => {
                if let Some(hand) = self.leave_behind(*lease) {
                    self.leave(&hand)?;
                }
            }
            Action::Abandon { run, step, lease } => {
                let hold = Hold { epoch, run: *run, step: step.clone(), lease: *lease };
                if let Some(run) = runs.iter().find(|run| run.number == hold.run) {
                    self.abandon(&hold, run)?;
                }
            }
        }
        Ok(true)
    }

    fn held(&self) -> Vec<Held> {
        let held = |hand: &Hand| Held {
            run: hand.hold.run,
            step: hand.hold.step.clone(),
            lease: hand.hold.lease,
            asked: hand.asked,
        };
        self.state().hands.values().map(held).collect()
    }

    /// Asks an attempt to stop.
    fn ask(&self, lease: Lease, why: StopReason) {
        let since = self.moments.steady();
        if let Some(hand) = self.state().hands.get_mut(&lease) {
            tracing::info!(run = hand.hold.run.0, step = hand.hold.step, ?why, "a step is asked to stop");
            hand.asked = Some(Asked { why, since });
            hand.cancel.request();
        }
    }

    /// Asks every attempt to stop that was not asked for this reason already.
    fn ask_all(&self, why: StopReason) {
        for held in self.held().iter().filter(|held| held.asked.is_none_or(|asked| asked.why != why)) {
            self.ask(held.lease, why);
        }
    }

    pub(super) fn take_in_hand(&self, hand: Hand) {
        self.state().hands.insert(hand.hold.lease, hand);
    }

    /// The thread of an attempt has ended.
    pub(super) fn let_go(&self, lease: Lease) {
        let mut state = self.state();
        if state.hands.remove(&lease).is_none() {
            state.status.left_behind -= 1;
        }
    }

    /// An attempt goes on by itself, and nobody waits for it.
    fn leave_behind(&self, lease: Lease) -> Option<Hand> {
        let mut state = self.state();
        let hand = state.hands.remove(&lease)?;
        state.status.left_behind += 1;
        Some(hand)
    }

    /// Why an attempt was asked to stop. One that is not in hand any more was left behind, and is not ours.
    pub(super) fn asked(&self, lease: Lease) -> Option<StopReason> {
        match self.state().hands.get(&lease) {
            Some(hand) => hand.asked.map(|asked| asked.why),
            None => Some(StopReason::Lost),
        }
    }

    pub(super) fn wake(&self) {
        self.state().is_woken = true;
        self.changed.notify_all();
    }

    /// Waits, unless something happens.
    fn rest(&self, wait: Duration) {
        let is_still = |state: &mut State| !state.is_woken;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), wait, is_still)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_woken = false;
    }

    /// Keeps what the store refused, and logs it when it is new.
    fn note(&self, error: &StoreError) {
        let problem = in_one_line(error);
        let mut state = self.state();
        if state.status.problem.as_ref() != Some(&problem) {
            tracing::error!(error = error as &dyn std::error::Error, "the store refused the engine");
            state.status.problem = Some(problem);
        }
    }

    fn is_stopping(&self) -> bool {
        self.state().stops_by.is_some()
    }

    /// Whether every attempt has ended, or need not be waited for any longer.
    fn has_stopped(&self) -> bool {
        let now = self.moments.monotonic();
        let state = self.state();
        state.hands.is_empty() || state.stops_by.is_some_and(|by| now >= by)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
