//! One attempt at a step: the thread that makes it, and what is written of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::decide::{StopReason, end_of, retry_at};
use super::driver::{Hand, Shared};
use super::log::StepLog;
use super::work::{ProgressCell, Task, WorkError};
use crate::causes::in_one_line;
use crate::clock::Steady;
use crate::domain::{Failure, Run, Step, StepPlan};
use crate::runtime::Cancel;
use crate::store::{Hold, StepEnd, StoreError};

/// Wait before an end that the store refused in passing is written again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

impl Shared {
    /// Begins an attempt in a thread of its own. When there is none to be had, nobody holds the attempt, which
    /// [`Action::Abandon`](super::Action::Abandon) is for.
    pub(super) fn begin(self: &Arc<Self>, hold: Hold, run: Run) {
        let (cancel, progress) = (Cancel::default(), ProgressCell::default());
        let hand = Hand { hold, run: Arc::new(run), cancel, progress, asked: None };
        let (shared, making) = (self.clone(), hand.clone());
        let name = format!("step {}", hand.hold.step);
        let lease = hand.hold.lease;
        self.take_in_hand(hand);
        if let Err(error) = thread::Builder::new().name(name).spawn(move || shared.make(&making)) {
            tracing::error!(error = &error as &dyn std::error::Error, "a step gets no thread");
            self.let_go(lease);
        }
    }

    /// Makes the attempt, and writes how it ended.
    fn make(&self, hand: &Hand) {
        let lease = hand.hold.lease;
        if let Some((step, plan)) = planned(&hand.run, &hand.hold) {
            let (run, moments) = (hand.run.number, self.moments.clone());
            let log = StepLog::open(&self.options.data_directory, run, &step.name, step.attempts, moments);
            let result = self.perform(hand, plan, &log);
            let end = end_of(result, self.asked(lease), plan, step, self.moments.steady());
            log.line(&described(end.as_ref(), self.moments.steady()));
            if let Some(end) = end {
                self.write(&hand.hold, end);
            }
        }
        self.let_go(lease);
        self.wake();
    }

    /// Writes the end of an attempt that does not stop.
    pub(super) fn leave(&self, hand: &Hand) -> Result<(), StoreError> {
        let Some((step, plan)) = planned(&hand.run, &hand.hold) else { return Ok(()) };
        let why = hand.asked.map(|asked| asked.why);
        tracing::warn!(
            run = hand.hold.run.0,
            step = step.name,
            ?why,
            "a step does not stop and is left behind"
        );
        let now = self.moments.now();
        match end_of(Err(WorkError::Stopped), why, plan, step, now.steady) {
            Some(end) => unless_lost(self.options.store.end_attempt(&hand.hold, &end, now)),
            None => Ok(()),
        }
    }

    /// Ends an attempt that nobody makes.
    pub(super) fn abandon(&self, hold: &Hold, run: &Run) -> Result<(), StoreError> {
        let Some((step, plan)) = planned(run, hold) else { return Ok(()) };
        let now = self.moments.now();
        let failure = Failure::new("abandoned", "it could not begin, or its end could not be written");
        let end = StepEnd::Failed { failure, retry_at: retry_at(plan, step, now.steady) };
        unless_lost(self.options.store.end_attempt(hold, &end, now))
    }

    fn perform(&self, hand: &Hand, plan: &StepPlan, log: &StepLog) -> Result<StepEnd, WorkError> {
        let work = self.options.works.get(&plan.kind, plan.version);
        let work = work.ok_or_else(|| WorkError::failed("internal", "its work is not known"))?;
        let task = Task {
            run: &hand.run,
            plan,
            hold: &hand.hold,
            store: &*self.options.store,
            cancel: &hand.cancel,
            log,
            moments: &self.moments,
            data_directory: &self.options.data_directory,
            progress: &hand.progress,
        };
        // What a work shares with others it shares through files and the store, which hold only whole things.
        catch_unwind(AssertUnwindSafe(|| work.perform(&task)))
            .unwrap_or_else(|panic| Err(WorkError::failed("internal", panicked(&*panic))))
    }

    /// Writes an end, again and again while the store cannot take it and the step is ours.
    fn write(&self, hold: &Hold, mut end: StepEnd) {
        loop {
            match self.options.store.end_attempt(hold, &end, self.moments.now()) {
                Ok(()) => return,
                Err(StoreError::Lost) => {
                    tracing::info!(run = hold.run.0, step = hold.step, "a step that was lost has ended");
                    return;
                }
                Err(error) if error.is_passing() && self.asked(hold.lease) != Some(StopReason::Lost) => {
                    thread::sleep(RETRY_INTERVAL);
                }
                // The work said what cannot be, such as further steps that do not fit.
                Err(StoreError::Invalid(reason)) if !matches!(end, StepEnd::Failed { .. }) => {
                    end = StepEnd::Failed { failure: Failure::new("internal", reason), retry_at: None };
                }
                Err(error) => {
                    let (run, step) = (hold.run.0, &hold.step);
                    tracing::error!(
                        run,
                        step,
                        error = in_one_line(&error),
                        "the end of a step cannot be written"
                    );
                    return;
                }
            }
        }
    }
}

fn planned<'a>(run: &'a Run, hold: &Hold) -> Option<(&'a Step, &'a StepPlan)> {
    Some((run.step(&hold.step)?, run.pipeline.step(&hold.step)?))
}

/// That an attempt is not the step's any more means that it has ended.
fn unless_lost(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(StoreError::Lost) => Ok(()),
        other => other,
    }
}

/// The last line of a log.
fn described(end: Option<&StepEnd>, at: Steady) -> String {
    match end {
        None => "it was stopped, and will begin anew".to_owned(),
        Some(StepEnd::Succeeded { output, reused_from: Some(run), .. }) => {
            format!("succeeded with the output {} of run {run}", output.short())
        }
        Some(StepEnd::Succeeded { output, .. }) => format!("succeeded with the output {}", output.short()),
        Some(StepEnd::Skipped { reason, .. }) => format!("the run is over: {reason}"),
        Some(StepEnd::Asked(_)) => "waits for a person".to_owned(),
        Some(StepEnd::Cancelled) => "cancelled".to_owned(),
        Some(StepEnd::Failed { failure, retry_at }) => {
            let Failure { code, reason } = failure;
            let next = retry_at.map(|until| format!("; tries again in {:.2} s", (until - at).as_secs_f64()));
            format!("failed: {code}: {reason}{}", next.unwrap_or_default())
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("its work panicked: {}", text.unwrap_or("without words"))
}
