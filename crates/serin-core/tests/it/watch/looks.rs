//! What a look at a window says: of rows and a baseline that are really there, or are not.

use std::fs;
use std::sync::Arc;

use rand::RngExt as _;
use serin_core::artifacts::Artifacts;
use serin_core::capture::{Capture, CaptureOptions, Label, Outcome, Record, WatchedBins};
use serin_core::clock::{ManualClock, Timestamp};
use serin_core::config::{Layers, MonitorSettings, Settings};
use serin_core::digest::Digest;
use serin_core::monitor::{Inputs, MonitorReport, MonitorState, Unmeasured, judge, metrics};
use serin_core::stages::{TrainInput, train};
use serin_core::store::{MonitorRecord, NewVersion, SqliteStore, Store};
use serin_core::watch::{LookAt, Looker, record};
use serin_ml::dataset::{self, ReadOptions};
use serin_ml::drift::{Bins, ChangeKind};
use serin_ml::matrix::Matrix;
use serin_ml::model::Bundle;
use serin_ml::observer::Silent;
use serin_ml::profile::DatasetProfile;
use serin_ml::seed::Seed;

use super::{at, ever, reader, rows, time};
use crate::capture::{PATIENCE, answered, keep};

const HOUR: i64 = 3_600;
const ENDPOINT: &str = "wine";

/// A version that serves, and rows that it answers.
struct World {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    artifacts: Arc<Artifacts>,
    looker: Looker,
    bundle: Bundle,
    monitor: MonitorRecord,
    settings: MonitorSettings,
    capture: Option<Capture>,
    asked: usize,
}

/// Two features; the class is where the first is, with some noise.
fn table(n: usize, seed: u64, shift: f64) -> Vec<([f64; 2], &'static str)> {
    let mut rng = Seed(seed).rng();
    let row = |_| {
        let features = [0.0; 2].map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>());
        let class = if features[0] + rng.random_range(-1.0..1.0) < 0.0 { "a" } else { "b" };
        ([features[0] + shift, features[1]], class)
    };
    (0..n).map(row).collect()
}

fn trained(settings: &Settings) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, n, seed| {
        let mut text = "x,y,class\n".to_owned();
        for (features, class) in table(n, seed, 0.0) {
            text += &format!("{},{},{class}\n", features[0], features[1]);
        }
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let options = ReadOptions { target: Some("class".into()), ..ReadOptions::default() };
        dataset::read(&[path], &options, &Silent).unwrap().dataset
    };
    let (rows, test) = (read("train.csv", 1_500, 1), read("test.csv", 800, 2));
    let input = TrainInput {
        settings,
        recorded_settings: &serde_json::Value::Null,
        train: &rows,
        test: Some(&test),
        champion: None,
        created: "2026-09-22T00:00:00Z",
    };
    train(&input, &Silent).unwrap().bundle
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serin.toml");
        let text =
            "[data]\ntarget = \"class\"\n[train]\ntrials = 3\nfolds = 2\nfamilies = [\"naive-bayes\"]\n";
        fs::write(&path, text).unwrap();
        let settings = Settings::load(&Layers { file: Some(path), ..Layers::default() }).unwrap();
        let bundle = trained(&settings);
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let artifacts = Arc::new(Artifacts::open(folder.path(), time(0)).unwrap());
        let profile = serde_json::to_vec(bundle.baseline.as_ref().unwrap()).unwrap();
        let baseline = artifacts.put(&profile).unwrap();
        let artifact = artifacts.put(&bundle.encode().unwrap()).unwrap();
        let hold = super::begun(store.as_ref(), "register", at(0));
        let new = NewVersion {
            project: "wine".into(),
            bundle: bundle.digest().into(),
            artifact,
            revision: Digest::of(b"revision"),
        };
        let version = store.register_version(&hold, &new, at(0)).unwrap();
        let monitor = MonitorRecord {
            project: "wine".into(),
            stage: "prod".into(),
            endpoint: ENDPOINT.into(),
            version,
            baseline,
            since: time(0),
        };
        let looker = Looker::new(store.clone(), artifacts.clone(), folder.path().to_owned());
        let settings = settings.monitor;
        Self { folder, store, artifacts, looker, bundle, monitor, settings, capture: None, asked: 0 }
    }

    fn options(&self) -> CaptureOptions {
        CaptureOptions::new(self.folder.path())
    }

    fn bins(&self, baseline: &DatasetProfile) -> Arc<WatchedBins> {
        Arc::new(WatchedBins::of(Bins::of(baseline, &self.bundle.card.classes)))
    }

    /// The gateway comes up.
    fn serve(&mut self) {
        let clock = Arc::new(ManualClock::at(time(0)));
        let capture = Capture::open(&self.options(), clock).unwrap();
        let bins = self.bins(self.bundle.baseline.as_ref().unwrap());
        capture.watch(ENDPOINT, &self.monitor.version.to_string(), &bins).unwrap();
        self.capture = Some(capture);
    }

    /// Rows in an hour, answered by the model; their ids.
    fn ask(&mut self, hour: i64, n: usize, shift: f64) -> Vec<(String, &'static str)> {
        self.ask_as(&self.monitor.version.to_string(), hour, &table(n, 1_000 + hour as u64, shift))
    }

    fn ask_as(
        &mut self,
        version: &str,
        hour: i64,
        rows: &[([f64; 2], &'static str)],
    ) -> Vec<(String, &'static str)> {
        let capture = self.capture.as_ref().unwrap();
        let mut ids = Vec::new();
        for (features, class) in rows {
            let (probabilities, predicted) =
                self.bundle.predictor.predict(&Matrix::new(1, 2, features.to_vec()));
            let predicted = self.bundle.card.classes[predicted[0] as usize].as_str();
            self.asked += 1;
            let id = format!("r-{}", self.asked);
            let moment = Timestamp(time(hour * HOUR).0 + 1_000 * self.asked as i64);
            let outcome = Outcome::Answered {
                predicted: vec![predicted],
                probabilities: probabilities.values().to_vec().into(),
                features: features.to_vec().into(),
            };
            let record = Record {
                time: moment,
                endpoint: ENDPOINT,
                model_version: version,
                outcome,
                ..answered(&id, &[])
            };
            keep(capture, &record);
            ids.push((id, *class));
        }
        assert!(capture.settle(PATIENCE));
        ids
    }

    fn label(&self, ids: &[(String, &'static str)], at: Timestamp) {
        let label = |(id, class): &(String, &str)| Label {
            id: id.clone(),
            label: (*class).to_owned(),
            time: Some(at),
        };
        let labels: Vec<Label> = ids.iter().map(label).collect();
        self.capture.as_ref().unwrap().attach_labels(&labels, at).unwrap();
    }

    fn look_by(&self, hour: i64, asked_by: Option<&str>) -> MonitorReport {
        let (from, to) = (time(hour * HOUR), time((hour + 1) * HOUR));
        let asked_by = asked_by.map(str::to_owned);
        let look = LookAt { monitor: self.monitor.clone(), from, to, asked_by: asked_by.clone() };
        let report = self.looker.look(&look, &self.settings).unwrap();
        self.store.put_monitor_run(&record(&report, asked_by), at((hour + 1) * HOUR + 3)).unwrap();
        // What is stored is what was said.
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<MonitorReport>(&text).unwrap(), report);
        report
    }

    /// Looks by itself.
    fn look(&self, hour: i64) -> MonitorReport {
        self.look_by(hour, None)
    }

    fn numbers(&self, report: &MonitorReport) -> std::collections::BTreeMap<String, f64> {
        let numbers = metrics(report, &self.settings);
        let n = numbers.len();
        let numbers: std::collections::BTreeMap<String, f64> = numbers.into_iter().collect();
        assert_eq!(numbers.len(), n, "no metric is there twice");
        numbers
    }
}

#[test]
fn without_enough_rows_nothing_is_said_and_nothing_is_measured() {
    let mut world = World::new();
    let report = world.look(0);
    assert_eq!(
        (report.state, report.reason.as_str(), report.rows),
        (MonitorState::Insufficient, "there are no rows", 0)
    );
    world.serve();
    assert_eq!(world.look(0).state, MonitorState::Insufficient);
    world.ask(1, 199, 0.0);
    let few = world.look(1);
    assert_eq!((few.state, few.rows), (MonitorState::Insufficient, 199));
    assert_eq!(few.reason, "199 rows, at least 200 are needed");
    assert!(few.findings().is_empty() && few.confirmed.is_empty());
    let numbers = world.numbers(&few);
    let expected = [("labelled_rows", 0.0), ("monitor_failed", 0.0), ("window_rows", 199.0)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(numbers, expected.into_iter().collect());
    // Of the same rows, and another version's do not count.
    world.ask_as("77", 1, &table(300, 5, 0.0));
    assert_eq!(world.look_by(1, Some("ann")).rows, 199);

    world.ask(2, 600, 0.0);
    let enough = world.look(2);
    assert_eq!((enough.state, enough.rows), (MonitorState::Stable, 600), "{}", enough.reason);
    let numbers = world.numbers(&enough);
    assert_eq!((numbers["drift_findings"], numbers["data_quality_findings"]), (0.0, 0.0));
    assert!(numbers["feature_baseline_drift_x"] < 0.15 && numbers["feature_non_null_y"] == 1.0);
    assert!(numbers.contains_key("mean_confidence"), "{numbers:?}");
    assert!(!numbers.contains_key("quality_drop") && !numbers.contains_key("accuracy"));
}

#[test]
fn what_is_broken_is_an_error_and_never_fine() {
    let mut world = World::new();
    world.serve();
    world.ask(0, 400, 0.0);
    let is_error = |world: &World, what: &str| {
        let report = world.look_by(0, Some("ann"));
        assert_eq!(report.state, MonitorState::Error, "{what}: {}", report.reason);
        let numbers = world.numbers(&report);
        assert_eq!(numbers["monitor_failed"], 1.0);
        assert!(!numbers.contains_key("drift_findings"), "{what}");
        report.reason
    };
    let baseline = world.artifacts.path(&world.monitor.baseline);
    let whole = fs::read(&baseline).unwrap();
    let write = |bytes: &[u8]| {
        let _ = fs::remove_file(&baseline);
        fs::write(&baseline, bytes).unwrap();
    };
    fs::remove_file(&baseline).unwrap();
    assert!(is_error(&world, "gone").starts_with("the baseline: "));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    write(&flipped);
    is_error(&world, "changed");
    write(&whole[..whole.len() / 2]);
    is_error(&world, "cut");
    // Sound, and something else.
    let other = world.artifacts.put(b"{\"rows\": \"many\"}").unwrap();
    let right = std::mem::replace(&mut world.monitor.baseline, other);
    assert!(is_error(&world, "no profile").starts_with("the baseline: "));
    world.monitor.baseline = right;
    let version = std::mem::replace(&mut world.monitor.version, serin_core::domain::VersionNumber(99));
    assert_eq!(is_error(&world, "no version"), "there is no version 99");
    world.monitor.version = version;
    // Once it is mended, it is looked at again.
    write(&whole);
    assert_eq!(world.look_by(0, Some("ann")).state, MonitorState::Stable);

    world.capture = None;
    let database = world.options().database();
    let table = rusqlite::Connection::open(&database).unwrap();
    table.execute_batch("DROP TABLE windows").unwrap();
    drop(table);
    assert!(is_error(&world, "a table of an older version").starts_with("the table: "));
    fs::write(&database, "this is no database ".repeat(1_000)).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(database.with_file_name(format!("inferences.db{suffix}")));
    }
    is_error(&world, "no database");
}

#[test]
fn what_changed_is_told_once_it_was_seen_in_two_windows_of_three() {
    let mut world = World::new();
    world.serve();
    // Shift by hour, and in how many windows the first feature is confirmed then; 0: not told.
    let story = [(0.0, 0), (3.0, 0), (3.0, 2), (3.0, 3), (0.0, 0), (3.0, 2), (0.0, 0), (0.0, 0), (3.0, 0)];
    for (hour, (shift, windows)) in (0..).zip(story) {
        world.ask(hour, 300, shift);
        let report = world.look(hour);
        let expected = if shift > 0.0 { MonitorState::Changed } else { MonitorState::Stable };
        assert_eq!(report.state, expected, "{hour}: {}", report.reason);
        let told = report.confirmed.iter().find(|told| told.finding.column.as_deref() == Some("x"));
        assert_eq!(told.map_or(0, |told| told.windows), windows, "{hour}");
        assert!(!report.confirmed.iter().any(|told| told.finding.column.as_deref() == Some("y")));
        let numbers = world.numbers(&report);
        assert_eq!(numbers["drift_findings"] > 0.0, windows > 0, "{hour}");
    }
    // What was looked at because somebody asked confirms nothing.
    let (hour, quiet) = (20, 21);
    world.ask(hour, 300, 3.0);
    for _ in 0..3 {
        assert_eq!(world.look_by(hour, Some("ann")).state, MonitorState::Changed);
    }
    world.ask(quiet, 300, 3.0);
    let report = world.look(quiet);
    let told = report.confirmed.iter().map(|told| told.windows).max();
    assert_eq!(told, Some(2), "that of hour 8 was the last before");
    // A window about which nothing can be said is one of the three.
    assert_eq!(world.look(22).state, MonitorState::Insufficient);
    assert_eq!(world.look(23).state, MonitorState::Insufficient);
    world.ask(24, 300, 3.0);
    assert!(world.look(24).confirmed.is_empty());
}

#[test]
fn what_was_seen_of_another_version_confirms_nothing() {
    let mut world = World::new();
    world.serve();
    for hour in 0..2 {
        world.ask(hour, 300, 3.0);
        world.look(hour);
    }
    let hold = super::begun(world.store.as_ref(), "register", at(0));
    let artifact = world.store.version(world.monitor.version).unwrap().unwrap().artifact;
    let new = NewVersion {
        project: "wine".into(),
        bundle: world.bundle.digest().into(),
        artifact,
        revision: Digest::of(b"other"),
    };
    let second = world.store.register_version(&hold, &new, at(1)).unwrap();
    assert_ne!(second, world.monitor.version);
    world.monitor.version = second;
    let bins = world.bins(world.bundle.baseline.as_ref().unwrap());
    world.capture.as_ref().unwrap().watch(ENDPOINT, &second.to_string(), &bins).unwrap();
    world.ask(2, 300, 3.0);
    let report = world.look(2);
    assert_eq!((report.state, report.confirmed.len()), (MonitorState::Changed, 0));
    world.ask(3, 300, 3.0);
    assert!(!world.look(3).confirmed.is_empty());
}

#[test]
fn a_version_that_is_watched_against_another_baseline_is_compared_with_that() {
    let mut world = World::new();
    world.serve();
    world.ask(0, 400, 0.0);
    assert_eq!(world.look_by(0, Some("ann")).state, MonitorState::Stable);
    let shifted = table(1_500, 9, 3.0);
    let column = |j: usize| shifted.iter().map(|(features, _)| features[j]).collect::<Vec<f64>>();
    let baseline = super::profile(&[("x", &column(0)), ("y", &column(1))]);
    world.monitor.baseline = world.artifacts.put(&serde_json::to_vec(&baseline).unwrap()).unwrap();
    let bins = world.bins(&baseline);
    world.capture.as_ref().unwrap().watch(ENDPOINT, &world.monitor.version.to_string(), &bins).unwrap();
    world.ask(1, 400, 3.0);
    let report = world.look(1);
    let x = report.comparison.as_ref().unwrap().columns[0].clone();
    assert!(!x.is_changed && x.distances.ks < 0.1, "{}: {x:?}", report.reason);
    // Predictions are still beside the hold-out's.
    assert!(report.findings().iter().all(|finding| finding.column.is_none()), "{:?}", report.findings());
}

#[test]
fn odd_windows_are_reports_that_are_read_back() {
    let mut world = World::new();
    world.serve();
    let odd = [
        [f64::NAN, f64::NAN],
        [f64::INFINITY, f64::NEG_INFINITY],
        [f64::MAX, f64::MIN],
        [f64::MIN_POSITIVE, -0.0],
        [1e-300, 1e300],
    ];
    for (hour, row) in (0..).zip(odd) {
        world.ask_as(&world.monitor.version.to_string(), hour, &vec![(row, "a"); 250]);
        let report = world.look(hour);
        assert_eq!(report.state, MonitorState::Changed, "{row:?}");
        world.numbers(&report).iter().for_each(|(name, value)| assert!(value.is_finite(), "{name} {row:?}"));
        let kept = world.store.reports_before(ENDPOINT, report.to, 1).unwrap().remove(0).report.unwrap();
        assert_eq!(serde_json::from_value::<MonitorReport>(kept).unwrap(), report, "{row:?}");
    }
    assert_eq!(rows(&reader(&world.options()).counted(&ever()).unwrap()), 250 * odd.len() as u64);
}

#[test]
fn quality_is_said_of_enough_labels_of_the_version_that_serves() {
    let mut world = World::new();
    world.serve();
    let ids = world.ask(0, 300, 0.0);
    let wrong: Vec<(String, &'static str)> =
        ids.iter().map(|(id, class)| (id.clone(), if *class == "a" { "b" } else { "a" })).collect();
    world.label(&wrong[..99], time(HOUR));
    let report = world.look_by(0, Some("ann"));
    assert_eq!(report.quality[0].labelled, 99);
    assert_eq!(report.quality_drop(&world.settings), None, "99 labels are too few");
    let numbers = world.numbers(&report);
    assert!(numbers["accuracy"] < 0.5 && !numbers.contains_key("quality_drop"));
    world.label(&wrong[99..100], time(HOUR));
    let report = world.look_by(0, Some("ann"));
    let expected = report.expected.1.unwrap();
    assert!(expected > 0.7, "{expected}");
    let drop = report.quality_drop(&world.settings).unwrap();
    assert!((drop - (expected - report.quality[0].macro_f1.unwrap())).abs() < 1e-12);
    assert_eq!(world.numbers(&report)["quality_drop"], drop);
    assert!(drop > world.settings.quality_drop, "{drop} below {expected}: {:?}", report.quality[0]);
    // The truth turns out to be another: what was right is no drop.
    world.label(&ids, time(2 * HOUR));
    let report = world.look_by(0, Some("ann"));
    assert_eq!((report.quality[0].labelled, report.quality[0].answered), (300, 300));
    assert!(report.quality_drop(&world.settings).unwrap() < world.settings.quality_drop);
    // Another version's labels are another entry and no drop of this one; too old ones are none.
    let others = world.ask_as("77", 0, &table(150, 3, 0.0));
    world.label(&others, time(HOUR));
    let report = world.look_by(0, Some("ann"));
    let versions: Vec<&str> = report.quality.iter().map(|quality| quality.model_version.as_str()).collect();
    assert_eq!(versions, [world.monitor.version.to_string().as_str(), "77"]);
    assert_eq!(report.quality[0].labelled, 300);
    let late = world.look_by(10 * 24, Some("ann"));
    assert_eq!((late.quality.len(), late.quality_drop(&world.settings)), (0, None));
}

#[test]
fn what_cannot_be_compared_tells_nothing_whatever_was_before() {
    let mut world = World::new();
    world.serve();
    world.ask(0, 300, 3.0);
    let found = world.look(0).findings().to_vec();
    assert!(found.iter().any(|finding| finding.kind == ChangeKind::Distribution));
    let inputs = |comparison| Inputs {
        project: "wine".into(),
        stage: "prod".into(),
        endpoint: ENDPOINT.into(),
        model_version: "1".into(),
        from: time(0),
        to: time(HOUR),
        rows: 7,
        comparison: Err(comparison),
        before: vec![found.clone(), found.clone()],
        quality: Vec::new(),
        expected: (None, None),
    };
    for (why, state) in [
        (Unmeasured::Error("broken".into()), MonitorState::Error),
        (Unmeasured::Insufficient("broken".into()), MonitorState::Insufficient),
    ] {
        let report = judge(inputs(why), &world.settings);
        assert_eq!((report.state, report.confirmed.len(), report.reason.as_str()), (state, 0, "broken"));
        assert_eq!((report.rows, report.comparison), (7, None));
    }
}
