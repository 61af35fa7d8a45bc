//! A pipeline of twelve short steps, to be killed: the tests of `tests/it/engine.rs` and `scripts/prove-pipeline` start
//! this program again and again until it is done, and compare what is left with a run that nobody disturbed.
//!
//!     toy_engine run DATA OUTSIDE [kill-at=N] [lease=MILLISECONDS] [pace=N] [jumping]
//!     toy_engine judge DATA OUTSIDE
//!
//! `run` goes on until the one run is over and prints how many fault points it passed, and how many verbs were refused
//! because the reign was lost. `kill-at` kills the process with SIGKILL at the N-th point, `pace` makes steps so many
//! times as long, `jumping` sets the time of day at random all the time. `judge` prints the final state without anything
//! that may differ, or says what is wrong with it.

mod faults;
mod judge;
mod works;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serin_core::clock::{Clock, SystemClock, Timestamp};
use serin_core::domain::{
    Cause, Decided, Pipeline, RetryPolicy, RunKind, RunNumber, StepPlan, Verdict, Wish, WishOutcome,
};
use serin_core::engine::{Engine, EngineOptions, Moments};
use serin_core::store::{ListOptions, Project, SqliteStore, Store, WishRules};

use faults::{Faults, FaultyStore};

/// The twelve steps: name, kind, what they wait for.
const STEPS: [(&str, &str, &[&str]); 12] = [
    ("source", "source", &[]),
    ("build", "make", &["source"]),
    ("baseline", "make", &["build"]),
    ("train", "make", &["build"]),
    ("register", "register", &["train"]),
    ("evaluate", "flaky", &["register"]),
    ("gate", "make", &["evaluate"]),
    ("deploy-dev", "deploy", &["baseline", "gate"]),
    ("smoke", "timer", &["deploy-dev"]),
    ("approve", "ask", &["smoke"]),
    ("deploy-prod", "deploy", &["approve"]),
    ("report", "make", &["deploy-prod"]),
];

const PROJECT: &str = "toy";

/// Longer than any run with its recovery.
const PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    data: PathBuf,
    outside: PathBuf,
    kill_at: u64,
    lease: Duration,
    pace: u32,
    is_jumping: bool,
}

fn main() -> ExitCode {
    match try_main() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<String, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, data, outside, settings @ ..] = arguments.as_slice() else {
        return Err("toy_engine run|judge DATA OUTSIDE [setting ...]".into());
    };
    let (data, outside) = (PathBuf::from(data), PathBuf::from(outside));
    if mode == "judge" {
        return judge::judge(&data, &outside);
    }
    let settings: BTreeMap<&str, &str> =
        settings.iter().map(|setting| setting.split_once('=').unwrap_or((setting, "1"))).collect();
    let number = |name, default| settings.get(name).map_or(Ok(default), |text| text.parse());
    run(&Options {
        data,
        outside,
        kill_at: number("kill-at", 0)?,
        lease: Duration::from_millis(number("lease", 10_000)?),
        pace: u32::try_from(number("pace", 1)?)?,
        is_jumping: settings.contains_key("jumping"),
    })
}

fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let clock: Arc<dyn Clock> =
        if options.is_jumping { Arc::new(JumpingClock::default()) } else { Arc::new(SystemClock::new()) };
    let faults = Arc::new(Faults::new(options.kill_at));
    let store: Arc<dyn Store> =
        Arc::new(FaultyStore::new(SqliteStore::open(&options.data.join("serin.db"))?, faults.clone()));
    let works = works::all(&options.outside, options.pace, &clock, &options.data, &faults)?;
    let engine = Engine::start(EngineOptions {
        store: store.clone(),
        works,
        clock: clock.clone(),
        data_directory: options.data.clone(),
        owner: format!("toy {}", std::process::id()),
        lease: options.lease,
        steps_limit: 4,
    })?;
    let moments = engine.moments();
    let run = ask(&*store, &moments)?;
    engine.waker().wake();

    let deadline = clock.monotonic() + PATIENCE;
    while !store.run(run)?.is_some_and(|run| run.state.is_final()) {
        if clock.monotonic() > deadline {
            return Err(format!("the run is not over: {:?}, {:?}", engine.status(), store.run(run)?).into());
        }
        if approve(&*store, &moments)? {
            engine.waker().wake();
        }
        thread::sleep(Duration::from_millis(3));
    }
    if !engine.stop(Duration::from_secs(5)) {
        return Err("a step does not stop".into());
    }
    Ok(format!("points {} refused {}", faults.passed(), faults.refused()))
}

/// Wants the one run, however often it is asked.
fn ask(store: &dyn Store, moments: &Moments) -> Result<RunNumber, Box<dyn Error>> {
    let project = Project { name: PROJECT.to_owned(), folder: "/nowhere".to_owned() };
    store.put_project(&project, moments.now())?;
    let wish = Wish {
        project: PROJECT.to_owned(),
        kind: RunKind::Train,
        cause: Cause::Asked { by: "ada".to_owned() },
        key: Some("the one".to_owned()),
        request: serde_json::Value::Null,
        is_fresh: false,
    };
    let rules = WishRules { cooldown: Duration::ZERO, daily_budget: 1, newest_wins: false, waiting_limit: 9 };
    match store.wish(&wish, &rules, &pipeline()?, moments.now())? {
        WishOutcome::Run { run } | WishOutcome::Same { run } => Ok(run),
        WishOutcome::Refused { reason, .. } => Err(reason.into()),
    }
}

/// Says yes to whatever is asked.
fn approve(store: &dyn Store, moments: &Moments) -> Result<bool, Box<dyn Error>> {
    let open = store.approvals(&ListOptions { is_open: true, ..ListOptions::default() })?;
    for approval in &open {
        let decided = Decided {
            verdict: Verdict::Approve,
            by: "grace".to_owned(),
            reason: "it sings".to_owned(),
            seen: Some(approval.subject.shown),
        };
        // Another engine's program may have been faster.
        _ = store.decide_approval(approval.number, &decided, moments.now())?;
    }
    Ok(!open.is_empty())
}

fn pipeline() -> Result<Pipeline, Box<dyn Error>> {
    let retry = RetryPolicy { first_wait_milliseconds: 20, ..RetryPolicy::default() };
    let plan = |&(name, kind, after): &(&str, &str, &[&str])| StepPlan {
        name: name.to_owned(),
        kind: kind.to_owned(),
        version: 1,
        argument: name.trim_start_matches("deploy-").to_owned(),
        after: after.iter().map(|&name| name.to_owned()).collect(),
        retry,
        time_limit_seconds: 20,
        is_reusable: false,
        only_waits: false,
    };
    Ok(Pipeline::new(STEPS.iter().map(plan).collect())?)
}

/// A clock whose time of day is another one whenever it is asked.
#[derive(Debug, Default)]
struct JumpingClock {
    clock: SystemClock,
    asked: AtomicU64,
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        const HOUR: i64 = 3_600_000_000;
        let jumps = [0, HOUR, -HOUR, 24 * HOUR, -24 * HOUR, -self.clock.now().0, 1];
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        Timestamp(self.clock.now().0 + jumps[asked as usize % jumps.len()])
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// Every file of the outside world is in one folder.
fn ledger(outside: &Path) -> PathBuf {
    outside.join("ledger")
}
