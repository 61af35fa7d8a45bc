//! Watching live rows: what is counted, what is said of it, what is told, and what is trained because of it.

mod alarms;
mod eyes;
mod labelled;
mod looks;
mod retrain;
mod stored;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use serin_core::capture::{CaptureOptions, CountedWindow, RowRange, TableReader, WatchedBins};
use serin_core::clock::{Steady, Timestamp};
use serin_core::domain::{Cause, Pipeline, RetryPolicy, RunKind, StepPlan, Wish, WishOutcome};
use serin_core::store::{Hold, Moment, Project, Store, WishRules};
use serin_ml::drift::Bins;
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};

/// Microseconds of a second.
const S: i64 = 1_000_000;
/// The begin of a day, long after 1970.
const DAY_BEGIN: i64 = 1_790_035_200 * S;

/// So many seconds after the begin of the day.
fn time(seconds: i64) -> Timestamp {
    Timestamp(DAY_BEGIN + seconds * S)
}

fn at(seconds: i64) -> Moment {
    Moment { wall: time(seconds), steady: Steady(seconds * S) }
}

fn profile(columns: &[(&str, &[f64])]) -> DatasetProfile {
    let rows = columns.first().map_or(0, |(_, values)| values.len() as u64);
    let columns = columns.iter().map(|(name, values)| {
        let mut column = ColumnProfile::empty(name, &ProfileOptions::default());
        column.add_all(values);
        column
    });
    DatasetProfile { rows, columns: columns.collect(), by_class: Vec::new() }
}

/// Bins of one feature with the whole numbers from 0 on, of classes a and b.
fn bins(values: u32) -> Arc<WatchedBins> {
    let values: Vec<f64> = (0..values).map(f64::from).collect();
    let classes = ["a".to_owned(), "b".to_owned()];
    Arc::new(WatchedBins::of(Bins::of(&profile(&[("x", &values)]), &classes)))
}

fn reader(options: &CaptureOptions) -> TableReader {
    TableReader::open(&options.database()).unwrap()
}

/// Of one endpoint, from moment to moment.
fn range(endpoint: &str, from: Timestamp, to: Timestamp) -> RowRange {
    RowRange { from, to, endpoint: Some(endpoint.to_owned()) }
}

fn ever() -> RowRange {
    RowRange { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX), endpoint: None }
}

fn rows(counted: &[CountedWindow]) -> u64 {
    counted.iter().map(|counted| counted.window.rows).sum()
}

/// A step of a new run of the project "wine", in hand.
fn begun(store: &dyn Store, step: &str, now: Moment) -> Hold {
    store.put_project(&Project { name: "wine".into(), folder: "/wine".into() }, now).unwrap();
    let reign = store.reign().unwrap();
    let reign = store.take_reign(&reign, "a test", now).unwrap().unwrap();
    let plan = StepPlan {
        name: step.into(),
        kind: step.into(),
        version: 1,
        argument: String::new(),
        after: Vec::new(),
        retry: RetryPolicy::default(),
        time_limit_seconds: 60,
        is_reusable: false,
        only_waits: false,
    };
    let wish = Wish {
        project: "wine".into(),
        kind: RunKind::Train,
        cause: Cause::Asked { by: "ann".into() },
        key: None,
        request: serde_json::json!({}),
        is_fresh: false,
    };
    let rules =
        WishRules { cooldown: Duration::ZERO, daily_budget: 100, newest_wins: false, waiting_limit: 100 };
    let outcome = store.wish(&wish, &rules, &Pipeline::new(vec![plan]).unwrap(), now).unwrap();
    let run = match outcome {
        WishOutcome::Run { run } | WishOutcome::Same { run } => run,
        WishOutcome::Refused { reason, .. } => unreachable!("{reason}"),
    };
    store.begin_run(reign.epoch, run, now).unwrap();
    let lease = store.claim_step(reign.epoch, run, step, "worker", now).unwrap().unwrap();
    Hold { epoch: reign.epoch, run, step: step.into(), lease }
}
