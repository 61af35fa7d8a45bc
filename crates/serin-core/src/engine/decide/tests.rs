use super::*;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::domain::{ApprovalNumber, Cause, Pipeline, RetryPolicy};

const SECOND: i64 = 1_000_000;
const NOW: Steady = Steady(1_000 * SECOND);

fn plan(name: &str, after: &[&str]) -> StepPlan {
    StepPlan {
        name: name.into(),
        kind: name.into(),
        version: 1,
        argument: String::new(),
        after: after.iter().map(|&name| name.into()).collect(),
        retry: RetryPolicy::default(),
        time_limit_seconds: 60,
        is_reusable: false,
        only_waits: false,
    }
}

fn step(name: &str, state: StepState) -> Step {
    let (attempts, failures, abandoned) = (1, 0, 0);
    Step { name: name.into(), state, attempts, failures, abandoned, first_began: Some(NOW), key: None }
}

/// `a`, then `b` and `c` beside each other, then `d`.
fn diamond(number: u64, state: RunState, steps: [StepState; 4]) -> Run {
    let plans = [plan("a", &[]), plan("b", &["a"]), plan("c", &["a"]), plan("d", &["b", "c"])];
    let steps = plans.iter().zip(steps).map(|(plan, state)| step(&plan.name, state)).collect();
    Run {
        number: RunNumber(number),
        project: "canary".into(),
        kind: RunKind::Train,
        cause: Cause::Asked { by: "ada".into() },
        request: serde_json::Value::Null,
        is_fresh: false,
        created: Timestamp(0),
        ended: None,
        state,
        revision: None,
        pipeline: Pipeline::new(plans.into()).unwrap(),
        steps,
    }
}

fn done() -> StepState {
    StepState::Succeeded { output: Digest::of(b""), reused_from: None }
}

fn failure() -> Failure {
    Failure::new("disk", "full")
}

fn running(lease: u64, seconds: i64) -> StepState {
    StepState::Running { lease: Lease(lease), began: Steady(NOW.0 - seconds * SECOND) }
}

fn retrying(in_seconds: i64) -> StepState {
    StepState::Retrying { until: Steady(NOW.0 + in_seconds * SECOND), failure: failure() }
}

fn asking() -> StepState {
    StepState::Asking { approval: ApprovalNumber(1) }
}

fn held(step: &str, lease: u64, asked: Option<(StopReason, i64)>) -> Held {
    let asked = asked.map(|(why, seconds)| Asked { why, since: Steady(NOW.0 - seconds * SECOND) });
    Held { run: RunNumber(1), step: step.into(), lease: Lease(lease), asked }
}

fn view<'a>(runs: &'a [Run], held: &'a [Held], knows: &'a dyn Fn(&str, u32) -> bool) -> View<'a> {
    View { runs, held, at: NOW, steps_limit: 4, knows }
}

#[track_caller]
fn check(runs: &[Run], held: &[Held], expected: &[Action]) {
    assert_eq!(decide(&view(runs, held, &|_, _| true)), expected);
}

fn claim(run: u64, step: &str) -> Action {
    Action::Claim { run: RunNumber(run), step: step.into() }
}

fn end(state: RunState) -> Action {
    Action::End { run: RunNumber(1), state }
}

fn stop(lease: u64, why: StopReason) -> Action {
    Action::Stop { lease: Lease(lease), why }
}

fn cancelling() -> RunState {
    RunState::Cancelling { by: "ada".into(), reason: "wrong data".into() }
}

use RunState::{Running, Waiting};
use StepState::{Cancelled, Pending};

#[test]
fn a_run_goes_from_its_first_step_to_its_last() {
    let go = |steps, held: &[Held], expected: &[Action]| check(&[diamond(1, Running, steps)], held, expected);
    go([Pending, Pending, Pending, Pending], &[], &[claim(1, "a")]);
    go([running(1, 0), Pending, Pending, Pending], &[held("a", 1, None)], &[]);
    go([done(), Pending, Pending, Pending], &[], &[claim(1, "b"), claim(1, "c")]);
    go([done(), running(2, 0), Pending, Pending], &[held("b", 2, None)], &[claim(1, "c")]);
    go([done(), done(), asking(), Pending], &[], &[]);
    go([done(), done(), retrying(1), Pending], &[], &[]);
    go([done(), done(), retrying(0), Pending], &[], &[claim(1, "c")]);
    go([done(), done(), done(), Pending], &[], &[claim(1, "d")]);
    go([done(), done(), done(), done()], &[], &[end(RunState::Succeeded)]);
}

#[test]
fn one_failure_stops_the_other_steps_and_then_ends_the_run() {
    let failed = StepState::Failed { failure: failure() };
    let runs = |beside| [diamond(1, Running, [done(), failed.clone(), beside, Pending])];
    check(&runs(running(2, 0)), &[held("c", 2, None)], &[stop(2, StopReason::RunOver)]);
    check(&runs(running(2, 0)), &[held("c", 2, Some((StopReason::RunOver, 1)))], &[]);
    let over = end(RunState::Failed { step: "b".into(), failure: failure() });
    for beside in [Cancelled, Pending, retrying(-1), asking(), done()] {
        check(&runs(beside), &[], std::slice::from_ref(&over));
    }
}

#[test]
fn cancelling_stops_what_runs_and_begins_nothing() {
    let run = |beside| [diamond(1, cancelling(), [done(), beside, retrying(-1), Pending])];
    check(&run(running(2, 0)), &[held("b", 2, None)], &[stop(2, StopReason::Cancelled)]);
    let over = end(RunState::Cancelled { by: "ada".into(), reason: "wrong data".into() });
    check(&run(Cancelled), &[], std::slice::from_ref(&over));
    check(&run(done()), &[], &[over]);
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_then_left() {
    let runs = |seconds| [diamond(1, Running, [running(1, seconds), Pending, Pending, Pending])];
    check(&runs(59), &[held("a", 1, None)], &[]);
    check(&runs(60), &[held("a", 1, None)], &[stop(1, StopReason::TimeLimit)]);
    check(&runs(64), &[held("a", 1, Some((StopReason::TimeLimit, 4)))], &[]);
    let leave = Action::Leave { lease: Lease(1) };
    check(&runs(65), &[held("a", 1, Some((StopReason::TimeLimit, 5)))], &[leave]);
}

#[test]
fn what_the_store_and_the_engine_hold_is_brought_together() {
    let runs = [diamond(1, Running, [running(7, 0), Pending, Pending, Pending])];
    let orphan = Action::Abandon { run: RunNumber(1), step: "a".into(), lease: Lease(7) };
    check(&runs, &[], std::slice::from_ref(&orphan));
    check(&runs, &[held("a", 6, None)], &[stop(6, StopReason::Lost), orphan]);
    check(&[], &[held("a", 6, None)], &[stop(6, StopReason::RunOver)]);
}

#[test]
fn runs_of_a_project_wait_for_each_other_and_going_back_does_not() {
    let pending = [Pending, Pending, Pending, Pending];
    let waiting = |number| diamond(number, Waiting, pending.clone());
    let begin = |run| Action::Begin { run: RunNumber(run) };
    check(&[waiting(1), waiting(2)], &[], &[begin(1)]);
    let asks = diamond(1, Running, [done(), done(), asking(), Pending]);
    let elsewhere = Run { project: "finch".into(), ..waiting(3) };
    let back = Run { kind: RunKind::Rollback, ..waiting(4) };
    let deploy = Run { kind: RunKind::Deploy, ..waiting(5) };
    // Whoever asks a person holds nobody up.
    check(&[asks, waiting(2), elsewhere, back, deploy], &[], &[begin(2), begin(3), begin(4)]);
    let works = diamond(1, Running, [running(1, 0), Pending, Pending, Pending]);
    check(&[works, waiting(2)], &[held("a", 1, None)], &[]);
    let stopping = diamond(1, cancelling(), [running(1, 0), Pending, Pending, Pending]);
    check(&[stopping, waiting(2)], &[held("a", 1, Some((StopReason::Cancelled, 0)))], &[]);
}

#[test]
fn no_more_steps_begin_than_the_limit_allows() {
    let ready = [done(), Pending, Pending, Pending];
    let runs: Vec<_> = (1..=3).map(|number| diamond(number, Running, ready.clone())).collect();
    let expected = [claim(1, "b"), claim(1, "c"), claim(2, "b"), claim(2, "c")];
    check(&runs, &[], &expected);
    let mut busy = runs;
    busy[2].steps[0].state = running(9, 0);
    let hand = [Held { run: RunNumber(3), ..held("a", 9, None) }];
    check(&busy, &hand, &expected[..3]);
}

#[test]
fn what_is_not_understood_waits_for_a_person() {
    let knows = |kind: &str, version| kind != "d" && version == 1;
    let decided = |run: &Run, held: &[Held]| decide(&view(std::slice::from_ref(run), held, &knows));
    let reason = |run: &Run| match decided(run, &[]).as_slice() {
        [Action::End { state: RunState::NeedsOperator { reason }, .. }] => reason.clone(),
        other => panic!("{other:?}"),
    };

    // The unknown step is the last one: the run stops before it does anything more.
    let unknown = diamond(1, Running, [done(), Pending, Pending, Pending]);
    assert_eq!(reason(&unknown), "this program does not know the work d version 1 of step d");
    let busy = diamond(1, Running, [done(), running(1, 0), Pending, Pending]);
    assert_eq!(decided(&busy, &[held("b", 1, None)]), []);

    let mut newer = diamond(1, Running, [done(), Pending, Pending, done()]);
    newer.pipeline.steps[1].version = 2;
    assert_eq!(reason(&newer), "this program does not know the work b version 2 of step b");

    let mut deadly = diamond(1, Running, [Pending, Pending, Pending, done()]);
    deadly.steps[0].abandoned = ABANDONED_LIMIT;
    assert_eq!(reason(&deadly), "the engine died 50 times in step a");

    let mut stranger = diamond(1, Running, [done(), Pending, done(), done()]);
    stranger.steps[1].name = "e".into();
    assert_eq!(reason(&stranger), "step e is not in the run's pipeline");

    // A reordered step: it waits for one that comes after it.
    let mut reordered = diamond(1, Running, [Pending, Pending, Pending, done()]);
    reordered.pipeline.steps[0].after = vec!["b".into()];
    assert_eq!(reason(&reordered), "none of its steps can go on");

    let known = diamond(1, Running, [done(), done(), done(), done()]);
    assert_eq!(decided(&known, &[]), [end(RunState::Succeeded)], "what is done need not be known");
}

#[test]
fn the_next_look_is_when_something_can_follow_from_time() {
    let wake = |steps, hands: &[Held]| {
        next_wake(&view(&[diamond(1, Running, steps)], hands, &|_, _| true)).map(|wait| wait.as_secs())
    };
    assert_eq!(wake([done(), asking(), Pending, Pending], &[]), None);
    assert_eq!(wake([done(), retrying(30), retrying(20), Pending], &[]), Some(20));
    let (a, b) = (retrying(-1), running(2, 50));
    assert_eq!(wake([done(), a.clone(), b.clone(), Pending], &[held("c", 2, None)]), Some(10));
    let asked = [held("c", 2, Some((StopReason::TimeLimit, 3)))];
    assert_eq!(wake([done(), a, b, Pending], &asked), Some(2));
}

#[test]
fn what_is_written_of_an_attempt_depends_on_how_it_ended_and_on_what_was_asked() {
    let (plan, step) = (plan("a", &[]), step("a", running(1, 0)));
    let end = |result: Result<StepEnd, WorkError>, asked| end_of(result, asked, &plan, &step, NOW);
    let ok =
        || StepEnd::Succeeded { output: Digest::of(b""), key: None, reused_from: None, further: Vec::new() };
    let failed = |code: &str, reason: &str, retry_at| {
        Some(StepEnd::Failed { failure: Failure::new(code, reason), retry_at })
    };
    let passing = || WorkError::passing("net", "refused");
    assert_eq!(end(Ok(ok()), None), Some(ok()));
    assert_eq!(end(Err(passing()), None), failed("net", "refused", Some(Steady(NOW.0 + SECOND))));
    assert_eq!(end(Err(WorkError::failed("gate", "poor")), None), failed("gate", "poor", None));
    let unasked = "it stopped without having been asked to";
    assert_eq!(end(Err(WorkError::Stopped), None), failed("internal", unasked, None));
    let late = failed("time_limit", "it took longer than 60 s", None);
    for (why, expected) in [
        (StopReason::Cancelled, Some(StepEnd::Cancelled)),
        (StopReason::RunOver, Some(StepEnd::Cancelled)),
        (StopReason::TimeLimit, late),
        (StopReason::Leaving, None),
        (StopReason::Lost, None),
    ] {
        let is_lost = why == StopReason::Lost;
        assert_eq!(end(Ok(ok()), Some(why)), (!is_lost).then(ok), "done is done");
        assert_eq!(end(Err(WorkError::Stopped), Some(why)), expected);
        assert_eq!(end(Err(passing()), Some(why)), expected);
        assert_eq!(end(Err(WorkError::Lost), Some(why)), None);
    }

    let fifth = Step { failures: 4, ..step.clone() };
    assert_eq!(end_of(Err(passing()), None, &plan, &fifth, NOW), failed("net", "refused", None));
}
