//! From an alarm to a run: what it may be made of, and how often it may be made.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serin_core::artifacts::Artifacts;
use serin_core::capture::{Capture, CaptureOptions, EndpointColumns, Label, Outcome, Record};
use serin_core::clock::ManualClock;
use serin_core::config::{Layers, Settings};
use serin_core::digest::Digest;
use serin_core::domain::{Cause, Run, RunState, VersionNumber, WishOutcome};
use serin_core::pipeline::documents::{BuildOutput, FORMAT, Versioned};
use serin_core::pipeline::{DataFile, DataRole, TrainRequest};
use serin_core::store::{ListOptions, Moment, NewVersion, SqliteStore, StepEnd, Store};
use serin_core::watch::{Plan, Reason, Retrained, Retrainer};

use super::{at, begun, time};
use crate::capture::{PATIENCE, answered, keep, names};

const DAY: i64 = 86_400;
const ENDPOINT: &str = "wine-prod";
/// Frozen rows to be judged on; its columns stand in another order than the model's features, with one
/// more that is no number, and all are of one class.
const HOLD_OUT: &str = "y,class,note,x\n0.1,a,new,0.30000000000000004\n,a,,2\n-0,a,old,5\n";

/// A registry with a champion, and a gateway that captures.
struct World {
    store: Arc<SqliteStore>,
    artifacts: Arc<Artifacts>,
    retrainer: Retrainer,
    capture: Capture,
    settings: Settings,
    folder: tempfile::TempDir,
    champion: VersionNumber,
}

fn settings(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.toml");
    fs::write(&path, format!("[project]\nname = \"wine\"\n{text}")).unwrap();
    Settings::load(&Layers { file: Some(path), ..Layers::default() }).unwrap()
}

impl World {
    /// The champion was made at the begin of the day.
    fn new(retrain: &str) -> Self {
        let world = Self::without_champion(retrain);
        let data =
            [(DataRole::Train, "wine.csv", "x,y,class\n1,2,a\n"), (DataRole::Test, "test.csv", HOLD_OUT)];
        world.crown(&data);
        world
    }

    fn without_champion(retrain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let artifacts = Arc::new(Artifacts::open(folder.path(), time(0)).unwrap());
        let retrainer = Retrainer {
            store: store.clone(),
            artifacts: artifacts.clone(),
            data_directory: folder.path().to_owned(),
        };
        let clock = Arc::new(ManualClock::at(time(0)));
        let capture = Capture::open(&CaptureOptions::new(folder.path()), clock).unwrap();
        let settings = settings(&format!("[data]\ntarget = \"class\"\n{retrain}"));
        Self { store, artifacts, retrainer, capture, settings, folder, champion: VersionNumber(1) }
    }

    /// A version whose run has an output of `build`, the champion from now on.
    fn crown(&self, data: &[(DataRole, &str, &str)]) -> VersionNumber {
        let file = |(role, name, text): &(DataRole, &str, &str)| DataFile {
            role: *role,
            name: (*name).to_owned(),
            digest: self.artifacts.put(text.as_bytes()).unwrap(),
            bytes: text.len() as u64,
        };
        let some = Digest::of(b"some");
        let document = BuildOutput {
            settings: some,
            recipe: some,
            revision: some,
            data: data.iter().map(file).collect(),
            target: "class".into(),
            seed: 17,
            metric: "macro-f1".into(),
            stages: Vec::new(),
            gates: self.settings.gates_as_written.clone(),
            prepare: None,
            train: None,
            evaluate: None,
            serve: None,
            serin: "0".into(),
        };
        let document = serde_json::to_vec(&Versioned { version: FORMAT, document }).unwrap();
        let output = self.artifacts.put(&document).unwrap();
        let hold = begun(self.store.as_ref(), "build", at(0));
        let new =
            NewVersion { project: "wine".into(), bundle: "bundle".into(), artifact: some, revision: some };
        let version = self.store.register_version(&hold, &new, at(0)).unwrap();
        let end = StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() };
        self.store.end_attempt(&hold, &end, at(0)).unwrap();
        self.store.end_run(hold.epoch, hold.run, &RunState::Succeeded, at(0)).unwrap();
        self.store.set_alias("wine", "champion", Some(version), "the pipeline", at(0)).unwrap();
        self.name(&version.to_string(), &["x", "y"]);
        version
    }

    fn name(&self, version: &str, features: &[&str]) {
        let (classes, features) = (names(&["a", "b"]), names(features));
        let columns = EndpointColumns {
            endpoint: ENDPOINT,
            model_version: version,
            classes: &classes,
            features: &features,
        };
        self.capture.create_view(&columns).unwrap();
    }

    fn row(&self, version: &str, id: &str, second: i64, rows: &[[f64; 2]]) {
        let outcome = Outcome::Answered {
            predicted: vec!["a"; rows.len()],
            probabilities: rows.iter().flat_map(|_| [0.75, 0.25]).collect::<Vec<f64>>().into(),
            features: rows.concat().into(),
        };
        let base = answered(id, &[]);
        let record =
            Record { time: time(second), endpoint: ENDPOINT, model_version: version, outcome, ..base };
        keep(&self.capture, &record);
    }

    fn label(&self, id: &str, class: &str, second: i64) {
        assert!(self.capture.settle(PATIENCE));
        let label = Label { id: id.into(), label: class.into(), time: None };
        self.capture.attach_labels(&[label], time(second)).unwrap();
    }

    /// Rows of the champion with a label each; values and classes follow from the number.
    fn labelled(&self, numbers: std::ops::Range<i64>) {
        let id = |n: i64| format!("r-{n:05}");
        for n in numbers.clone() {
            self.row(&self.champion.to_string(), &id(n), 10 + n, &[[n as f64, 0.5]]);
        }
        assert!(self.capture.settle(PATIENCE));
        let label =
            |n: i64| Label { id: id(n), label: if n % 2 == 0 { "a" } else { "b" }.into(), time: None };
        let labels: Vec<Label> = numbers.map(label).collect();
        self.capture.attach_labels(&labels, time(DAY)).unwrap();
    }

    fn retrain_at(&self, since: i64, now: Moment) -> Retrained {
        let reason = Reason { alarm: "prod-drift", since: time(since), endpoint: ENDPOINT };
        self.retrainer.retrain(&self.settings, &reason, None, now).unwrap()
    }

    fn retrain(&self) -> Retrained {
        self.retrain_at(100, at(DAY))
    }

    /// What a run would be made of.
    fn plan(&self) -> Plan {
        match self.retrain() {
            Retrained::DryRun(plan) | Retrained::Asked(WishOutcome::Run { .. }, Some(plan)) => plan,
            other => unreachable!("{other:?}"),
        }
    }

    fn refusal(&self) -> (String, String) {
        match self.retrain() {
            Retrained::Refused { rule, reason } => (rule.to_owned(), reason),
            Retrained::Asked(WishOutcome::Refused { rule, reason }, _) => (rule, reason),
            other => unreachable!("{other:?}"),
        }
    }

    fn runs(&self) -> Vec<Run> {
        let runs = self.store.runs(&ListOptions { limit: 1_000, ..ListOptions::default() }).unwrap();
        runs.into_iter().filter(|run| matches!(run.cause, Cause::Alarm { .. })).collect()
    }

    fn text(&self, plan: &Plan, role: DataRole) -> Option<String> {
        let found = plan.data.iter().find(|file| file.role == role && file.name != "wine.csv")?;
        let bytes = self.artifacts.read(&found.digest, 1 << 20).unwrap();
        assert_eq!(bytes.len() as u64, found.bytes);
        Some(String::from_utf8(bytes).unwrap())
    }

    /// The first feature of every row of a file.
    fn values(&self, plan: &Plan, role: DataRole) -> Vec<i64> {
        let text = self.text(plan, role).unwrap_or_default();
        let value = |line: &str| line.split(',').nth(1).unwrap().parse().unwrap();
        text.lines().skip(1).map(value).collect()
    }

    fn end(&self, run: &Run, now: Moment) {
        let epoch = self.store.reign().unwrap().epoch;
        self.store.begin_run(epoch, run.number, now).unwrap();
        self.store.end_run(epoch, run.number, &RunState::Succeeded, now).unwrap();
    }
}

/// All rows are learned from.
const ALL: &str = "[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.0\n";

#[test]
fn without_what_it_takes_nothing_is_asked_for_and_the_reason_is_kept() {
    let world = World::without_champion(ALL);
    let moment = at(1);
    let project = serin_core::store::Project { name: "wine".into(), folder: "/wine".into() };
    world.store.put_project(&project, moment).unwrap();
    world.labelled(0..5);
    assert_eq!(world.refusal().0, "champion");
    // A version of which nothing is known.
    let hold = begun(world.store.as_ref(), "other", moment);
    let some = Digest::of(b"some");
    let new = NewVersion { project: "wine".into(), bundle: "b".into(), artifact: some, revision: some };
    let version = world.store.register_version(&hold, &new, moment).unwrap();
    world.store.set_alias("wine", "champion", Some(version), "ann", moment).unwrap();
    assert_eq!(world.refusal().0, "base");
    assert_eq!(world.runs().len(), 0);
    let decisions = world.store.decisions(&ListOptions::default()).unwrap();
    let verdicts: Vec<&str> = decisions.iter().map(|decision| decision.verdict.as_str()).collect();
    assert_eq!(verdicts, ["not now", "not now"]);
    assert_eq!(decisions[0].rule, "retrain");
    assert_eq!(decisions[0].inputs["alarm"], "prod-drift");
}

#[test]
fn too_few_labels_and_columns_that_captured_rows_lack_are_refused() {
    let mut world = World::new("[monitor.retrain]\nmin_labels = 10\n");
    assert_eq!(world.refusal().0, "labels", "nothing was captured");
    world.labelled(0..9);
    // Labels without a row, and a row without a label, do not count.
    world.label("nobody", "a", 50);
    world.row("1", "silent", 60, &[[1.0, 1.0]]);
    assert!(world.capture.settle(PATIENCE));
    let (rule, reason) = world.refusal();
    assert_eq!(rule, "labels");
    assert!(reason.starts_with("9 labelled rows arrived since version 1 was made, at least 10"), "{reason}");
    // What came before the champion was made is none of the new labels.
    world.row("1", "early", -5, &[[1.0, 1.0]]);
    world.label("early", "a", 50);
    assert_eq!(world.refusal().0, "labels");
    let with = |key: &str| settings(&format!("[data]\ntarget = \"class\"\n{key} = \"w\"\n{ALL}"));
    world.labelled(9..10);
    for key in ["weight", "group", "time"] {
        let before = std::mem::replace(&mut world.settings, with(key));
        let (rule, reason) = world.refusal();
        assert_eq!((rule.as_str(), reason.contains("\"w\"")), ("columns", true), "{key}: {reason}");
        world.settings = before;
    }
    assert_eq!(world.runs().len(), 0);
    assert!(matches!(world.retrain(), Retrained::Asked(WishOutcome::Run { .. }, Some(_))));
}

#[test]
fn a_run_gets_the_base_and_the_newest_captured_rows() {
    let world = World::new("[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.0\nmax_rows = 4\n");
    world.labelled(0..10);
    let plan = world.plan();
    assert_eq!((plan.new_labels, plan.learned, plan.recent), (10, 4, 0));
    assert_eq!(plan.by_class, [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
    assert_eq!(
        world.text(&plan, DataRole::Train).unwrap(),
        "class,x,y\nb,9,0.5\na,8,0.5\nb,7,0.5\na,6,0.5\n"
    );
    let roles: Vec<(DataRole, &str)> = plan.data.iter().map(|file| (file.role, file.name.as_str())).collect();
    let train = DataRole::Train;
    assert_eq!(roles, [(train, "wine.csv"), (DataRole::Test, "test.csv"), (train, "captured.csv")]);
    let run = world.runs().remove(0);
    let request: TrainRequest = serde_json::from_value(run.request).unwrap();
    assert_eq!(request.data, plan.data);
    assert_eq!(run.cause, Cause::Alarm { name: "prod-drift".into() });
}

#[test]
fn rows_captured_for_the_champion_are_not_taken_over_from_its_own_captured_rows() {
    let world = World::without_champion(ALL);
    world.crown(&[
        (DataRole::Train, "wine.csv", "x,y,class\n1,2,a\n"),
        (DataRole::Train, "captured.csv", "class,x,y\na,1,1\n"),
        (DataRole::Recent, "recent.csv", "class,x,y\na,2,2\n"),
    ]);
    world.labelled(0..3);
    let plan = world.plan();
    let names: Vec<&str> = plan.data.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["wine.csv", "captured.csv"]);
    assert_eq!(world.values(&plan, DataRole::Train), [2, 1, 0]);
}

#[test]
fn rows_of_the_hold_out_are_never_learned_from() {
    let world = World::new(ALL);
    // As the three rows of the hold-out have them: other forms of the same numbers, missing ones too.
    let held = [[0.1 + 0.2, 0.1], [2.0, f64::NAN], [5.0, 0.0]];
    for (n, row) in (0..).zip(held) {
        world.row("1", &format!("held-{n}"), 20 + n, &[row]);
        world.label(&format!("held-{n}"), "a", 30);
    }
    world.labelled(0..3);
    let plan = world.plan();
    assert_eq!((plan.in_hold_out, plan.learned, plan.new_labels), (3, 3, 6));
    assert_eq!(world.values(&plan, DataRole::Train), [2, 1, 0]);
}

#[test]
fn a_hold_out_that_lacks_a_feature_is_no_hold_out() {
    let world = World::without_champion(ALL);
    world.crown(&[
        (DataRole::Train, "wine.csv", "x,y,class\n1,2,a\n"),
        (DataRole::Test, "test.csv", "x,class\n1,a\n"),
    ]);
    world.labelled(0..3);
    let (rule, reason) = world.refusal();
    assert_eq!((rule.as_str(), reason.contains("'y'")), ("base", true), "{reason}");
}

#[test]
fn a_class_has_no_more_rows_than_its_quota() {
    let world = World::new("[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.0\nclass_quota = 3\n");
    world.labelled(0..10);
    world.row("1", "foreign", 5, &[[1.0, 1.0]]);
    world.label("foreign", "unheard of", 30);
    let plan = world.plan();
    assert_eq!((plan.learned, plan.over_quota, plan.unfit), (6, 4, 1));
    assert_eq!(world.values(&plan, DataRole::Train), [9, 8, 7, 6, 5, 4]);
}

#[test]
fn rows_of_versions_with_other_features_are_left_out() {
    let world = World::new(ALL);
    world.labelled(0..2);
    world.name("8", &["y", "x"]);
    world.name("9", &["x", "y"]);
    for (version, id) in [("8", "eight"), ("9", "nine"), ("10", "ten")] {
        world.row(version, id, 500, &[[77.0, 1.0]]);
        world.label(id, "a", 501);
    }
    let plan = world.plan();
    assert_eq!((plan.learned, plan.unfit, plan.new_labels), (3, 2, 5));
    assert_eq!(world.values(&plan, DataRole::Train), [77, 1, 0], "of version 9");
}

#[test]
fn labels_without_a_row_to_learn_from_start_nothing() {
    let world = World::new(ALL);
    world.row("1", "held", 20, &[[2.0, f64::NAN]]);
    world.label("held", "b", 30);
    world.row("1", "foreign", 20, &[[1.0, 1.0]]);
    world.label("foreign", "unheard of", 30);
    assert_eq!(world.refusal().0, "labels", "the same rows would give the same model");
    assert_eq!(world.runs().len(), 0);
}

#[test]
fn the_same_rows_are_kept_out_whatever_arrives_and_batches_stay_together() {
    let world = World::new("[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.3\ndry_run = true\n");
    let kept_out = |plan: &Plan| -> (usize, usize) { (plan.learned, plan.recent) };
    world.labelled(0..20);
    let (learned, recent) = kept_out(&world.plan());
    assert_eq!((learned, recent), (20, 0), "too few to be judged on: they are learned from");
    world.labelled(20..200);
    let (learned, recent) = kept_out(&world.plan());
    assert!((30..90).contains(&recent) && learned + recent == 200, "{recent}");

    // Not a dry run any more: the files say which.
    let mut world = world;
    world.settings = settings(
        "[data]\ntarget = \"class\"\n[triggers]\ncooldown = \"0s\"\n[monitor.retrain]\n\
         min_labels = 1\nrecent_share = 0.3\n",
    );
    let of = |plan: &Plan, role| world.values(plan, role).into_iter().collect::<BTreeSet<i64>>();
    let first = world.plan();
    let (learned, recent) = (of(&first, DataRole::Train), of(&first, DataRole::Recent));
    assert_eq!((learned.len() + recent.len(), learned.intersection(&recent).count()), (200, 0));
    world.end(&world.runs()[0], at(DAY));
    world.labelled(200..300);
    // A batch of 40 rows, and callers whose ids have a slash.
    let batch: Vec<[f64; 2]> = (1_000..1_040).map(|n| [f64::from(n), 0.5]).collect();
    world.row("1", "batch", 400, &batch);
    for n in 0..40 {
        world.label(&format!("batch/{n}"), "a", 500);
        let id = format!("orders/no-{n}");
        world.row("1", &id, 401, &[[2_000.0 + f64::from(n), 0.5]]);
        world.label(&id, "a", 500);
    }
    let Retrained::Asked(_, Some(second)) = world.retrain_at(200, at(2 * DAY)) else { unreachable!() };
    let (learned_now, recent_now) = (of(&second, DataRole::Train), of(&second, DataRole::Recent));
    assert!(learned.is_subset(&learned_now) && recent.is_subset(&recent_now));
    let count = |rows: &BTreeSet<i64>, from: i64| rows.range(from..from + 1_000).count();
    let of_batch = (count(&learned_now, 1_000), count(&recent_now, 1_000));
    assert!([(40, 0), (0, 40)].contains(&of_batch), "{of_batch:?}");
    let of_orders = (count(&learned_now, 2_000), count(&recent_now, 2_000));
    assert!(of_orders.0 > 10 && of_orders.1 > 3, "requests of one caller are different ones: {of_orders:?}");
}

#[test]
fn a_dry_run_leaves_a_decision_and_neither_a_run_nor_a_file() {
    let world = World::new("[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.0\ndry_run = true\n");
    world.labelled(0..5);
    let before = world.artifacts.usage().unwrap();
    assert!(matches!(world.retrain(), Retrained::DryRun(_)));
    assert_eq!((world.runs().len(), world.artifacts.usage().unwrap()), (0, before));
    let decision = world.store.decisions(&ListOptions::default()).unwrap().remove(0);
    assert_eq!(decision.verdict, "dry run");
    assert_eq!(decision.inputs["plan"]["learned"], 5);
    assert!(decision.inputs["plan"].get("data").is_none());
}

#[test]
fn one_time_on_is_one_run_and_files_are_kept_for_runs_only() {
    let world = World::new(&format!("[triggers]\ncooldown = \"0s\"\n{ALL}"));
    world.labelled(0..5);
    let Retrained::Asked(WishOutcome::Run { run }, _) = world.retrain() else { unreachable!() };
    let before = world.artifacts.usage().unwrap();
    let decisions = world.store.decisions(&ListOptions::default()).unwrap().len();
    for day in 2..5 {
        world.labelled(day * 100..day * 100 + 5);
        let again = world.retrain_at(100, at(day * DAY));
        assert!(matches!(again, Retrained::Asked(WishOutcome::Same { run: same }, _) if same == run));
    }
    // It went off and on again, and the run is not over: another one would learn from the same drift.
    let Retrained::Refused { rule: "open-run", reason } = world.retrain_at(200, at(6 * DAY)) else {
        unreachable!()
    };
    assert!(reason.contains(&run.to_string()), "{reason}");
    assert_eq!(world.artifacts.usage().unwrap(), before, "rows are kept for runs only");
    assert_eq!(world.store.decisions(&ListOptions::default()).unwrap().len(), decisions + 1);
    world.end(&world.runs()[0], at(6 * DAY));
    let again = world.retrain_at(100, at(6 * DAY));
    assert!(matches!(again, Retrained::Asked(WishOutcome::Same { run: same }, _) if same == run), "for ever");
    let another = world.retrain_at(200, at(6 * DAY));
    assert!(matches!(another, Retrained::Asked(WishOutcome::Run { run: other }, _) if other > run));
}

#[test]
fn a_table_that_cannot_be_read_is_a_reason() {
    let world = World::new(ALL);
    world.labelled(0..5);
    let World { store, artifacts, retrainer, capture, settings, folder, .. } = world;
    drop(capture);
    let database = CaptureOptions::new(folder.path()).database();
    fs::write(&database, "this is no database ".repeat(1_000)).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(database.with_file_name(format!("inferences.db{suffix}")));
    }
    let reason = Reason { alarm: "prod-drift", since: time(1), endpoint: ENDPOINT };
    let refused = retrainer.retrain(&settings, &reason, None, at(DAY)).unwrap();
    assert!(matches!(refused, Retrained::Refused { rule: "table", .. }), "{refused:?}");
    assert!(store.open_runs().unwrap().is_empty());
    assert!(artifacts.usage().unwrap().artifacts > 0);
}

/// R35: an alarm that is always on, or goes off and on, is asked for every ten minutes over thirty days, whatever runs
/// take.
#[test]
fn r35_permanent_drift_has_at_most_its_budget_of_runs_and_one_at_a_time() {
    const BUDGET: u32 = 3;
    let minutes = |minutes: i64| minutes * 60;
    // How long the alarm stays on before it is off for a moment, and how long a run takes.
    for (on, takes) in [
        (minutes(100 * 1_440), minutes(60)),
        (minutes(10), minutes(5)),
        (minutes(30), minutes(300)),
        (minutes(50), minutes(3 * 1_440)),
    ] {
        let triggers = format!("[triggers]\ncooldown = \"1h\"\ndaily_budget = {BUDGET}\n");
        let world = World::new(&format!("{triggers}[monitor.retrain]\nmin_labels = 5\nrecent_share = 0.2\n"));
        world.labelled(0..30);
        let (mut made, mut open): (Vec<i64>, Vec<(i64, Run)>) = (Vec::new(), Vec::new());
        for now in (DAY..31 * DAY).step_by(600) {
            let moment = at(now);
            open.retain(|(ends, run)| {
                if *ends <= now {
                    world.end(run, moment);
                }
                *ends > now
            });
            let since = DAY + (now - DAY) / on * on;
            if let Retrained::Asked(WishOutcome::Run { run }, _) = world.retrain_at(since, moment) {
                made.push(now);
                open.push((now + takes, world.store.run(run).unwrap().unwrap()));
            }
            assert!(open.len() <= 1, "two runs for one drift at {now}");
            let of_alarm = |run: &&Run| matches!(run.cause, Cause::Alarm { .. });
            assert!(world.store.open_runs().unwrap().iter().filter(of_alarm).count() <= 1);
        }
        for &first in &made {
            let within = made.iter().filter(|&&other| (first..first + DAY).contains(&other)).count();
            assert!(within <= BUDGET as usize, "{within} runs within a day");
        }
        assert!(made.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(3_600).as_secs() as i64));
        if on > 31 * DAY {
            assert_eq!(made.len(), 1, "one time on is one run");
        } else {
            assert!(made.len() >= 9, "drift that goes on is answered: {}", made.len());
        }
        assert_eq!(world.runs().len(), made.len());
    }
}

#[test]
fn what_came_long_ago_is_not_learned_from() {
    let world = World::new("[monitor.retrain]\nmin_labels = 1\nrecent_share = 0.0\nwindow = \"1d\"\n");
    world.labelled(0..5);
    world.row("1", "late", 3 * DAY, &[[9.0, 0.5]]);
    world.label("late", "a", 3 * DAY);
    let Retrained::Asked(_, Some(plan)) = world.retrain_at(100, at(3 * DAY + 60)) else { unreachable!() };
    assert_eq!((plan.learned, plan.new_labels), (1, 6));
    assert_eq!(world.values(&plan, DataRole::Train), [9]);
}
