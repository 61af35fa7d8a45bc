//! What a step does, and what it is given to do it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::log::StepLog;
use super::moments::Moments;
use crate::causes::in_one_line;
use crate::digest::Digest;
use crate::domain::{Failure, Run, RunNumber, StepPlan};
use crate::runtime::Cancel;
use crate::store::{Hold, StepEnd, Store, StoreError};

/// How often a wait looks whether it should end.
const PAUSE_SLICE: Duration = Duration::from_millis(20);

/// The work of a kind of step. It may be done twice: whatever it leaves behind is published whole under the hash of its
/// content, or through a verb of the store with its hold, or carries [`Task::effect_key`].
pub trait Work: fmt::Debug + Send + Sync {
    /// The version of its meaning. A run that was planned with another one does not go on with this.
    fn version(&self) -> u32;

    /// Does it. Looks at [`Task::cancel`] at least every second, and returns soon when it is requested.
    ///
    /// # Errors
    /// When there is no result; the error says whether trying again may help.
    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError>;
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkError {
    /// The step is no longer ours. Not an error of anybody.
    #[error("the step is no longer ours")]
    Lost,
    /// It was asked to stop, and did.
    #[error("it stopped as it was asked to")]
    Stopped,
    #[error("{}", failure.reason)]
    Failed {
        failure: Failure,
        /// The same may succeed later by itself: it is tried again as often as the step's policy says.
        is_passing: bool,
    },
}

/// The works that a program has, by kind and version.
#[derive(Debug, Clone, Default)]
pub struct Works(BTreeMap<String, BTreeMap<u32, Arc<dyn Work>>>);

/// One attempt at a step.
#[derive(Debug)]
pub struct Task<'a> {
    /// As it was when the attempt began: outputs of earlier steps, revision and request are known.
    pub run: &'a Run,
    pub plan: &'a StepPlan,
    /// Proves to the store that the step is ours.
    pub hold: &'a Hold,
    pub store: &'a dyn Store,
    pub cancel: &'a Cancel,
    pub log: &'a StepLog,
    pub moments: &'a Moments,
    pub data_directory: &'a Path,
    pub(super) progress: &'a ProgressCell,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What it is doing.
    pub text: String,
    /// Parts done.
    pub done: u64,
    /// Parts in all; 0: not known.
    pub of: u64,
}

/// The last progress that a step told.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgressCell(Arc<Mutex<Option<Progress>>>);

impl Works {
    /// With the work of a kind; several versions of it may be known.
    #[must_use]
    pub fn with(mut self, kind: &str, work: Arc<dyn Work>) -> Self {
        self.0.entry(kind.to_owned()).or_default().insert(work.version(), work);
        self
    }

    /// Whether a work is there.
    #[must_use]
    pub fn knows(&self, kind: &str, version: u32) -> bool {
        self.get(kind, version).is_some()
    }

    pub(super) fn get(&self, kind: &str, version: u32) -> Option<&Arc<dyn Work>> {
        self.0.get(kind)?.get(&version)
    }
}

impl Task<'_> {
    /// What the step is told besides the outputs of earlier ones.
    #[must_use]
    pub fn argument(&self) -> &str {
        &self.plan.argument
    }

    /// Which attempt at the step it is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.run.step(&self.plan.name).map_or(1, |step| step.attempts)
    }

    /// The output of an earlier step.
    ///
    /// # Errors
    /// When there is no such step, or it did not succeed: the pipeline lacks an `after`.
    pub fn input(&self, step: &str) -> Result<Digest, WorkError> {
        let missing = || WorkError::failed("internal", format!("step {step} has no output"));
        self.run.output(step).ok_or_else(missing)
    }

    /// What an earlier run made of the same inputs, if the step may take it.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub fn earlier_output(&self, key: Digest) -> Result<Option<(RunNumber, Digest)>, WorkError> {
        if self.run.is_fresh || !self.plan.is_reusable {
            return Ok(None);
        }
        Ok(self.store.output_of(key)?)
    }

    /// What effects outside are marked with, so that they count once: it is the same for every attempt at the step.
    #[must_use]
    pub fn effect_key(&self) -> String {
        format!("{}/{}", self.run.number, self.plan.name)
    }

    /// Tells how far it is.
    pub fn progress(&self, text: &str, done: u64, of: u64) {
        self.progress.set(Progress { text: text.to_owned(), done, of });
    }

    /// Goes on unless it was asked to stop.
    ///
    /// # Errors
    /// [`WorkError::Stopped`] when it was.
    pub fn go_on(&self) -> Result<(), WorkError> {
        if self.cancel.requested() { Err(WorkError::Stopped) } else { Ok(()) }
    }

    /// Waits, unless it is asked to stop.
    ///
    /// # Errors
    /// [`WorkError::Stopped`] when it is.
    pub fn pause(&self, wait: Duration) -> Result<(), WorkError> {
        let until = self.moments.monotonic() + wait;
        loop {
            self.go_on()?;
            let left = until.saturating_sub(self.moments.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(PAUSE_SLICE));
        }
    }
}

impl WorkError {
    /// A failure that trying again does not mend.
    #[must_use]
    pub fn failed(code: &str, reason: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::new(code, reason), is_passing: false }
    }

    /// A failure that may pass by itself.
    #[must_use]
    pub fn passing(code: &str, reason: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::new(code, reason), is_passing: true }
    }
}

impl From<StoreError> for WorkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Lost => Self::Lost,
            error if error.is_passing() => Self::passing("store", in_one_line(&error)),
            error => Self::failed("store", in_one_line(&error)),
        }
    }
}

impl ProgressCell {
    pub(super) fn get(&self) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}
