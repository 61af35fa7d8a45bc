//! Steps that do not do as they should, in an engine that goes on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serin_core::clock::{Clock, Steady, SystemClock};
use serin_core::digest::Digest;
use serin_core::domain::{
    AttemptEnd, Cause, Failure, Pipeline, RetryPolicy, Run, RunKind, RunNumber, RunState, StepPlan,
    StepState, Wish, WishOutcome,
};
use serin_core::engine::{Engine, EngineOptions, Progress, Task, Work, WorkError, Works, read_log};
use serin_core::store::{Moment, Project, SqliteStore, StepEnd, Store, WishRules};
use tempfile::TempDir;

/// Longer than anything here takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Perform = dyn Fn(&Task<'_>) -> Result<StepEnd, WorkError> + Send + Sync;

/// A work given by what it does.
struct Does(Box<Perform>);

impl fmt::Debug for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Does")
    }
}

impl Work for Does {
    fn version(&self) -> u32 {
        1
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        (self.0)(task)
    }
}

/// An engine on a store in memory.
struct House {
    folder: TempDir,
    store: Arc<SqliteStore>,
    clock: Arc<SystemClock>,
}

impl House {
    fn new() -> Self {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        Self { folder: tempfile::tempdir().unwrap(), store, clock: Arc::new(SystemClock::new()) }
    }

    fn engine(
        &self,
        work: impl Fn(&Task<'_>) -> Result<StepEnd, WorkError> + Send + Sync + 'static,
    ) -> Engine {
        Engine::start(EngineOptions {
            store: self.store.clone(),
            works: Works::default().with("toy", Arc::new(Does(Box::new(work)))),
            clock: self.clock.clone(),
            data_directory: self.folder.path().to_owned(),
            owner: "test".into(),
            lease: Duration::from_millis(500),
            steps_limit: 4,
        })
        .unwrap()
    }

    /// Wants a run of steps beside each other.
    fn wish(&self, engine: &Engine, steps: &[&str]) -> RunNumber {
        let run = self.wish_in("toy", steps, engine.moments().now());
        engine.waker().wake();
        run
    }

    fn wish_in(&self, project: &str, steps: &[&str], now: Moment) -> RunNumber {
        let project = Project { name: project.into(), folder: "/nowhere".into() };
        self.store.put_project(&project, now).unwrap();
        let wish = Wish {
            project: project.name,
            kind: RunKind::Train,
            cause: Cause::Asked { by: "ada".into() },
            key: None,
            request: serde_json::Value::Null,
            is_fresh: false,
        };
        let rules =
            WishRules { cooldown: Duration::ZERO, daily_budget: 9, newest_wins: false, waiting_limit: 9 };
        let pipeline = Pipeline::new(steps.iter().map(|name| plan(name)).collect()).unwrap();
        let outcome = self.store.wish(&wish, &rules, &pipeline, now).unwrap();
        let WishOutcome::Run { run } = outcome else { unreachable!("{outcome:?}") };
        run
    }

    /// The run as soon as it is so.
    fn wait(&self, run: RunNumber, is_so: impl Fn(&Run) -> bool) -> Run {
        let until = self.clock.monotonic() + PATIENCE;
        loop {
            let found = self.store.run(run).unwrap().unwrap();
            if is_so(&found) {
                return found;
            }
            assert!(self.clock.monotonic() < until, "{found:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_end(&self, run: RunNumber) -> Run {
        self.wait(run, |run| run.state.is_final())
    }

    fn log(&self, run: RunNumber, step: &str) -> String {
        read_log(self.folder.path(), run, step, 1, 0, 1 << 20).unwrap().text
    }
}

fn plan(name: &str) -> StepPlan {
    StepPlan {
        name: name.into(),
        kind: "toy".into(),
        version: 1,
        argument: String::new(),
        after: Vec::new(),
        retry: RetryPolicy { attempts: 3, first_wait_milliseconds: 1, factor: 1, expire_seconds: 0 },
        time_limit_seconds: 1,
        is_reusable: true,
        only_waits: false,
    }
}

fn done() -> StepEnd {
    StepEnd::Succeeded { output: Digest::of(b""), key: None, reused_from: None, further: Vec::new() }
}

fn failed(step: &str, code: &str, reason: &str) -> RunState {
    RunState::Failed { step: step.into(), failure: Failure::new(code, reason) }
}

fn is_running(run: &Run, step: &str) -> bool {
    matches!(run.step(step).unwrap().state, StepState::Running { .. })
}

#[test]
fn a_work_that_panics_fails_its_step_and_nothing_else() {
    let house = House::new();
    let engine = house.engine(|task| match task.plan.name.as_str() {
        "bad" => panic!("index out of range"),
        _ => Ok(done()),
    });
    let run = house.wish(&engine, &["bad"]);
    let ended = house.wait_for_end(run);
    assert_eq!(ended.state, failed("bad", "internal", "its work panicked: index out of range"));
    assert!(house.log(run, "bad").contains("failed: internal: its work panicked"));
    let run = house.wish(&engine, &["good"]);
    assert_eq!(house.wait_for_end(run).state, RunState::Succeeded);
    assert!(engine.stop(PATIENCE));
}

#[test]
fn a_passing_failure_is_tried_again_and_then_it_is_not() {
    let house = House::new();
    let engine = house.engine(|task| Err(WorkError::passing("net", format!("try {}", task.attempt()))));
    let ended = house.wait_for_end(house.wish(&engine, &["flaky"]));
    assert_eq!(ended.state, failed("flaky", "net", "try 3"));
    assert_eq!((ended.steps[0].attempts, ended.steps[0].failures), (3, 3));
}

#[test]
fn cancelling_reaches_a_step_at_once() {
    let house = House::new();
    let engine = house.engine(|task| {
        task.progress("rounds", 3, 10);
        task.pause(PATIENCE).map(|()| done())
    });
    let run = house.wish(&engine, &["long", "too"]);
    house.wait(run, |run| is_running(run, "long") && is_running(run, "too"));
    let expected = Progress { text: "rounds".into(), done: 3, of: 10 };
    let until = house.clock.monotonic() + PATIENCE;
    while engine.progress(run).get("long") != Some(&expected) {
        assert!(house.clock.monotonic() < until);
    }

    let asked = house.clock.monotonic();
    assert!(house.store.cancel_run(run, "ada", "wrong data", engine.moments().now()).unwrap());
    engine.waker().wake();
    let ended = house.wait_for_end(run);
    let took = house.clock.monotonic() - asked;
    assert_eq!(ended.state, RunState::Cancelled { by: "ada".into(), reason: "wrong data".into() });
    assert!(took < Duration::from_millis(900), "{took:?}");
    let ends: Vec<_> = house.store.attempts(run).unwrap().into_iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [Some(AttemptEnd::Cancelled), Some(AttemptEnd::Cancelled)]);
}

#[test]
fn a_work_that_never_returns_ends_at_its_time_limit() {
    let house = House::new();
    let engine = house.engine(|task| match task.plan.name.as_str() {
        // Past the limit and the grace, whatever it is told.
        "deaf" => {
            thread::sleep(Duration::from_secs(8));
            Ok(done())
        }
        _ => task.pause(PATIENCE).map(|()| done()),
    });
    let run = house.wish(&engine, &["deaf"]);
    let ended = house.wait_for_end(run);
    assert_eq!(ended.state, failed("deaf", "time_limit", "it took longer than 1 s"));
    assert_eq!(engine.status().left_behind, 1);
    let polite = house.wait_for_end(house.wish(&engine, &["polite"]));
    assert_eq!(polite.state, failed("polite", "time_limit", "it took longer than 1 s"));

    // When it returns at last, nothing becomes of it.
    let until = house.clock.monotonic() + PATIENCE;
    while engine.status().left_behind > 0 {
        assert!(house.clock.monotonic() < until);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(house.store.run(run).unwrap(), Some(ended));
}

#[test]
fn what_an_engine_leaves_the_next_one_begins_anew() {
    let house = House::new();
    let tries = Arc::new(AtomicU32::new(0));
    let work = move |task: &Task<'_>| {
        if tries.fetch_add(1, Ordering::SeqCst) == 0 {
            task.pause(PATIENCE)?;
        }
        Ok(done())
    };
    let work = Arc::new(work);
    let (first, second) = (work.clone(), work);
    let engine = house.engine(move |task| first(task));
    let run = house.wish(&engine, &["long"]);
    house.wait(run, |run| is_running(run, "long"));
    assert!(engine.stop(PATIENCE));
    assert!(is_running(&house.store.run(run).unwrap().unwrap(), "long"));

    // It has the lock that the first one gave back, and need not wait for the lease.
    let engine = house.engine(move |task| second(task));
    let ended = house.wait_for_end(run);
    assert_eq!(ended.state, RunState::Succeeded);
    assert_eq!((ended.steps[0].attempts, ended.steps[0].abandoned), (2, 1));
    assert_eq!(engine.status().epoch.unwrap().0, 2);
}

#[test]
fn what_a_work_says_that_cannot_be_is_its_failure() {
    let house = House::new();
    let engine = house.engine(|_| {
        let strays = vec![StepPlan { after: vec!["nowhere".into()], ..plan("stray") }];
        Ok(StepEnd::Succeeded { output: Digest::of(b""), key: None, reused_from: None, further: strays })
    });
    let ended = house.wait_for_end(house.wish(&engine, &["build"]));
    let reason = r#""stray" waits for "nowhere", which is no step before it"#;
    assert_eq!(ended.state, failed("build", "internal", reason));
}

#[test]
fn the_same_inputs_take_the_output_of_an_earlier_run() {
    let house = House::new();
    let engine = house.engine(|task| {
        let key = Digest::of(b"inputs");
        let (output, reused_from) = match task.earlier_output(key)? {
            Some((run, output)) => (output, Some(run)),
            None => (Digest::of(b"output"), None),
        };
        Ok(StepEnd::Succeeded { output, key: Some(key), reused_from, further: Vec::new() })
    });
    let first = house.wait_for_end(house.wish(&engine, &["make"]));
    let second = house.wait_for_end(house.wish(&engine, &["make"]));
    let output = Digest::of(b"output");
    assert_eq!(first.steps[0].state, StepState::Succeeded { output, reused_from: None });
    assert_eq!(second.steps[0].state, StepState::Succeeded { output, reused_from: Some(first.number) });
}

#[test]
fn a_thousand_open_runs_do_not_keep_the_first_one_waiting() {
    let house = House::new();
    let now = Moment { wall: house.clock.now(), steady: Steady(0) };
    let steps = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let runs: Vec<_> = (0..1_000).map(|n| house.wish_in(&format!("toy-{n}"), &steps, now)).collect();
    let began = house.clock.monotonic();
    let engine = house.engine(|_| Ok(done()));
    house.wait(runs[0], |run| run.state == RunState::Succeeded);
    let took = house.clock.monotonic() - began;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(engine.stop(PATIENCE));
}
