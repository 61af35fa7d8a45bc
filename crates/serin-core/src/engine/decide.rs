//! What happens next, from what is. Rules only: nothing here reads a clock or writes anything.

use std::collections::BTreeSet;
use std::time::Duration;

use super::work::WorkError;
use crate::clock::Steady;
use crate::domain::{Failure, Lease, Run, RunKind, RunNumber, RunState, Step, StepPlan, StepState};
use crate::store::StepEnd;

/// How long an attempt that was asked to stop may take to do so. Then it is left to itself, and its end is written
/// without it.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// A step in which the engine died so often is not tried again without a person: it may be what kills it.
pub const ABANDONED_LIMIT: u32 = 50;

/// Everything that is decided from.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Every run that is not over, by number.
    pub runs: &'a [Run],
    /// The attempts that this engine is making, as they were before `runs` was read: what ended in between is seen as
    /// ended, and what began in between does not exist, because beginning is an action.
    pub held: &'a [Held],
    pub at: Steady,
    /// Most attempts at one time.
    pub steps_limit: usize,
    /// Whether this program has the work of a kind in a version.
    pub knows: &'a dyn Fn(&str, u32) -> bool,
}

/// An attempt that a thread of this engine is making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub run: RunNumber,
    pub step: String,
    pub lease: Lease,
    /// That it was asked to stop.
    pub asked: Option<Asked>,
}

/// That an attempt was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub why: StopReason,
    pub since: Steady,
}

/// Why an attempt is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The run was cancelled.
    Cancelled,
    /// The run is over, or will be because another step failed.
    RunOver,
    /// It took too long.
    TimeLimit,
    /// The step is no longer ours, or we no longer reign: nothing more is written.
    Lost,
    /// The engine stops. What has not succeeded by then is begun anew by the next one.
    Leaving,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A waiting run begins.
    Begin { run: RunNumber },
    /// An attempt at a step begins.
    Claim { run: RunNumber, step: String },
    /// An attempt is asked to stop.
    Stop { lease: Lease, why: StopReason },
    /// An attempt does not stop: its end is written without it.
    Leave { lease: Lease },
    /// The store says that we are making an attempt, and nobody is: its thread could not begin, or its end could not be
    /// written.
    Abandon { run: RunNumber, step: String, lease: Lease },
    /// A run is over.
    End { run: RunNumber, state: RunState },
}

/// What is to be done about a run that has begun.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    /// These steps may begin; none: what is under way has to end first, or a person to answer.
    Go(Vec<String>),
    /// It is over.
    End(RunState),
}

/// The actions that follow, in the order in which they should be tried. Deciding again after carrying them out gives
/// other actions or none.
#[must_use]
pub fn decide(view: &View<'_>) -> Vec<Action> {
    let mut actions: Vec<_> = view.held.iter().filter_map(|held| stopping(view, held)).collect();
    actions.extend(view.runs.iter().flat_map(|run| orphans(view, run)));

    let works = |held: &&Held| held_step(view, held).is_none_or(|(_, _, plan)| !plan.only_waits);
    let mut free = view.steps_limit.saturating_sub(view.held.iter().filter(works).count());
    let has_begun = |run: &&Run| run.state != RunState::Waiting;
    let works = |run: &&Run| has_begun(run) && !only_waits(run);
    let mut taken: BTreeSet<_> = view.runs.iter().filter(works).map(lane).collect();
    for run in view.runs {
        let number = run.number;
        if run.state == RunState::Waiting {
            if taken.insert(lane(run)) {
                actions.push(Action::Begin { run: number });
            }
            continue;
        }
        match course(run, view) {
            Course::End(state) => actions.push(Action::End { run: number, state }),
            Course::Go(mut steps) => {
                steps.retain(|step| {
                    let waits = run.pipeline.step(step).is_some_and(|plan| plan.only_waits);
                    let has_place = waits || free > 0;
                    free -= usize::from(has_place && !waits);
                    has_place
                });
                actions.extend(steps.into_iter().map(|step| Action::Claim { run: number, step }));
            }
        }
    }
    actions
}

/// How long nothing can follow from time alone; `None`: for ever.
#[must_use]
pub fn next_wake(view: &View<'_>) -> Option<Duration> {
    let retries = view.runs.iter().flat_map(|run| &run.steps).filter_map(|step| match step.state {
        StepState::Retrying { until, .. } => Some(until),
        _ => None,
    });
    let stops = view.held.iter().filter_map(|held| match held.asked {
        Some(asked) => Some(asked.since + STOP_GRACE),
        None => {
            let (_, step, plan) = held_step(view, held)?;
            Some(began(step)? + Duration::from_secs(plan.time_limit_seconds))
        }
    });
    // What is due already waits for something else than time.
    retries.chain(stops).filter(|&due| due > view.at).min().map(|due| due - view.at)
}

/// When a step whose attempt failed in passing is tried again; `None`: never. The step is as it was during the attempt:
/// this failure is not counted yet.
#[must_use]
pub fn retry_at(plan: &StepPlan, step: &Step, at: Steady) -> Option<Steady> {
    let failures = step.failures + 1;
    let since_first = step.first_began.map_or(Duration::ZERO, |first| at - first);
    plan.retry.wait_after(failures, since_first).map(|wait| at + wait)
}

/// What is written of an attempt that ended, having been `asked` to stop or not; `None`: nothing.
#[must_use]
pub fn end_of(
    result: Result<StepEnd, WorkError>,
    asked: Option<StopReason>,
    plan: &StepPlan,
    step: &Step,
    at: Steady,
) -> Option<StepEnd> {
    let failed = |failure, retry_at| Some(StepEnd::Failed { failure, retry_at });
    match (result, asked) {
        (Err(WorkError::Lost), _) | (_, Some(StopReason::Lost)) => None,
        // Done is done, even if nobody wanted it any more.
        (Ok(end), _) => Some(end),
        (Err(_), Some(StopReason::Leaving)) => None,
        (Err(_), Some(StopReason::Cancelled | StopReason::RunOver)) => Some(StepEnd::Cancelled),
        (Err(_), Some(StopReason::TimeLimit)) => {
            let reason = format!("it took longer than {} s", plan.time_limit_seconds);
            failed(Failure::new("time_limit", reason), None)
        }
        (Err(WorkError::Stopped), None) => {
            failed(Failure::new("internal", "it stopped without having been asked to"), None)
        }
        (Err(WorkError::Failed { failure, is_passing }), None) => {
            failed(failure, is_passing.then(|| retry_at(plan, step, at)).flatten())
        }
    }
}

/// Runs of a project that stand in one line: one of them is under way at a time. Going back to an earlier version must not
/// wait for the training run whose outcome nobody has approved yet, so these are two lines.
fn lane(run: &Run) -> (&str, bool) {
    (&run.project, run.kind == RunKind::Train)
}

/// Whether nothing happens in a run before a person answered, or something else went on that takes its time: days may pass,
/// and others need not wait for that.
fn only_waits(run: &Run) -> bool {
    let is_asking = |step: &Step| matches!(step.state, StepState::Asking { .. });
    let is_busy = |step: &Step| matches!(step.state, StepState::Running { .. } | StepState::Retrying { .. });
    let waits = |step: &Step| run.pipeline.step(&step.name).is_some_and(|plan| plan.only_waits);
    let is_waiting = |step: &Step| is_asking(step) || (is_busy(step) && waits(step));
    run.steps.iter().any(is_waiting) && !run.steps.iter().any(|step| is_busy(step) && !waits(step))
}

fn stopping(view: &View<'_>, held: &Held) -> Option<Action> {
    let lease = held.lease;
    match held.asked {
        Some(asked) => (view.at - asked.since >= STOP_GRACE).then_some(Action::Leave { lease }),
        None => stop_reason(view, held).map(|why| Action::Stop { lease, why }),
    }
}

fn stop_reason(view: &View<'_>, held: &Held) -> Option<StopReason> {
    if !view.runs.iter().any(|run| run.number == held.run) {
        return Some(StopReason::RunOver);
    }
    let Some((run, step, plan)) = held_step(view, held) else {
        return Some(StopReason::Lost);
    };
    let limit = Duration::from_secs(plan.time_limit_seconds);
    match began(step) {
        _ if matches!(run.state, RunState::Cancelling { .. }) => Some(StopReason::Cancelled),
        _ if first_failure(run).is_some() => Some(StopReason::RunOver),
        Some(began) if view.at - began >= limit => Some(StopReason::TimeLimit),
        _ => None,
    }
}

/// The step that an attempt is being made at, if the store agrees that it is this attempt.
fn held_step<'a>(view: &View<'a>, held: &Held) -> Option<(&'a Run, &'a Step, &'a StepPlan)> {
    let run = view.runs.iter().find(|run| run.number == held.run)?;
    let step = run.step(&held.step).filter(|step| lease(step) == Some(held.lease))?;
    Some((run, step, run.pipeline.step(&held.step)?))
}

fn orphans(view: &View<'_>, run: &Run) -> Vec<Action> {
    let is_held = |lease| view.held.iter().any(|held| held.lease == lease);
    let orphan = |step: &Step| {
        let lease = lease(step).filter(|&lease| !is_held(lease))?;
        Some(Action::Abandon { run: run.number, step: step.name.clone(), lease })
    };
    run.steps.iter().filter_map(orphan).collect()
}

fn course(run: &Run, view: &View<'_>) -> Course {
    if run.steps.iter().any(|step| lease(step).is_some()) {
        // Nothing ends a run under the hands of its steps; and nothing begins in one that is about to end.
        let goes_on =
            run.state == RunState::Running && first_failure(run).is_none() && riddle(run, view).is_none();
        return Course::Go(if goes_on { ready(run, view.at) } else { Vec::new() });
    }
    if let RunState::Cancelling { by, reason } = &run.state {
        return Course::End(RunState::Cancelled { by: by.clone(), reason: reason.clone() });
    }
    if let Some((step, failure)) = first_failure(run) {
        return Course::End(RunState::Failed { step: step.to_owned(), failure: failure.clone() });
    }
    if run.steps.iter().all(is_done) {
        return Course::End(RunState::Succeeded);
    }
    if let Some(reason) = riddle(run, view) {
        return Course::End(RunState::NeedsOperator { reason });
    }
    let steps = ready(run, view.at);
    let waits = |step: &Step| matches!(step.state, StepState::Retrying { .. } | StepState::Asking { .. });
    if steps.is_empty() && !run.steps.iter().any(waits) {
        let reason = "none of its steps can go on".to_owned();
        return Course::End(RunState::NeedsOperator { reason });
    }
    Course::Go(steps)
}

/// Steps that may begin now, in the order of the pipeline.
fn ready(run: &Run, at: Steady) -> Vec<String> {
    let is_done_by_name = |name: &String| run.step(name).is_some_and(is_done);
    let is_ready = |step: &&Step| match step.state {
        StepState::Pending => {
            run.pipeline.step(&step.name).is_some_and(|plan| plan.after.iter().all(is_done_by_name))
        }
        StepState::Retrying { until, .. } => until <= at,
        _ => false,
    };
    run.steps.iter().filter(is_ready).map(|step| step.name.clone()).collect()
}

/// Why a person has to look at a run before it goes on: what is not understood is not guessed.
fn riddle(run: &Run, view: &View<'_>) -> Option<String> {
    let ahead = run.steps.iter().filter(|step| !is_done(step));
    ahead.into_iter().find_map(|step| {
        let name = &step.name;
        let Some(plan) = run.pipeline.step(name) else {
            return Some(format!("step {name} is not in the run's pipeline"));
        };
        let (kind, version) = (&plan.kind, plan.version);
        if !(view.knows)(kind, version) {
            return Some(format!(
                "this program does not know the work {kind} version {version} of step {name}"
            ));
        }
        (step.abandoned >= ABANDONED_LIMIT)
            .then(|| format!("the engine died {} times in step {name}", step.abandoned))
    })
}

fn first_failure(run: &Run) -> Option<(&str, &Failure)> {
    run.steps.iter().find_map(|step| match &step.state {
        StepState::Failed { failure } => Some((step.name.as_str(), failure)),
        _ => None,
    })
}

fn is_done(step: &Step) -> bool {
    matches!(step.state, StepState::Succeeded { .. })
}

fn lease(step: &Step) -> Option<Lease> {
    match step.state {
        StepState::Running { lease, .. } => Some(lease),
        _ => None,
    }
}

fn began(step: &Step) -> Option<Steady> {
    match step.state {
        StepState::Running { began, .. } => Some(began),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
