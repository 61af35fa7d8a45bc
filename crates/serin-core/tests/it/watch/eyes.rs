//! The thread that looks: at each window once, whenever it dies, and at the alarms that settings name now.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serin_core::artifacts::Artifacts;
use serin_core::clock::ManualClock;
use serin_core::digest::Digest;
use serin_core::domain::{AlarmState, EventKind, VersionNumber};
use serin_core::engine::{Engine, EngineOptions, Works};
use serin_core::store::{AlarmRecord, ListOptions, MonitorRecord, Project, SqliteStore, Store};
use serin_core::watch::{Watch, WatchOptions};

use super::{S, at, begun, time};

const WINDOWS: &str = "[project]\nname = \"wine\"\n[monitor]\nwindow = \"10s\"\n";
const FAILED: &str = "[alarms.failed]\nmetric = \"monitor_failed\"\nlabels = { endpoint = \"wine-prod\" }\n\
                      statistic = \"Maximum\"\nperiod = \"10s\"\nthreshold = 0\nmissing = \"ignore\"\n";

struct House {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    clock: Arc<ManualClock>,
    engine: Engine,
}

impl House {
    /// An endpoint is watched of whose version nothing is there: each look at it fails.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let hold = begun(store.as_ref(), "monitor", at(0));
        let monitor = MonitorRecord {
            project: "wine".into(),
            stage: "prod".into(),
            endpoint: "wine-prod".into(),
            version: VersionNumber(7),
            baseline: Digest::of(b"gone"),
            since: time(0),
        };
        store.switch_monitor(&hold, &monitor, at(0)).unwrap();
        let project = Project { name: "wine".into(), folder: folder.path().display().to_string() };
        store.put_project(&project, at(0)).unwrap();
        let clock = Arc::new(ManualClock::at(time(0)));
        let engine = Engine::start(EngineOptions {
            store: store.clone(),
            works: Works::default(),
            clock: clock.clone(),
            data_directory: folder.path().to_owned(),
            owner: "test".into(),
            lease: Duration::from_secs(60),
            steps_limit: 1,
        })
        .unwrap();
        Self { folder, store, clock, engine }
    }

    fn write(&self, settings: &str) {
        fs::write(self.folder.path().join("serin.toml"), settings).unwrap();
    }

    fn watch(&self) -> Watch {
        let artifacts = Arc::new(Artifacts::open(self.folder.path(), time(0)).unwrap());
        Watch::start(WatchOptions {
            store: self.store.clone(),
            artifacts,
            moments: self.engine.moments(),
            engine: self.engine.waker(),
            data_directory: self.folder.path().to_owned(),
        })
        .unwrap()
    }

    fn wait(&self, seconds: u64, what: &str, is_so: impl Fn(&Self) -> bool) {
        self.clock.advance(Duration::from_secs(seconds));
        for _ in 0..2_000 {
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_so(self), "{what}");
    }

    /// The seconds of the windows that were looked at, in the order of looking.
    fn windows(&self) -> Vec<i64> {
        let mut runs = self.store.monitor_runs(None, &ListOptions::default()).unwrap();
        runs.reverse();
        runs.iter()
            .for_each(|run| assert_eq!((run.state.as_str(), run.to.0 - run.from.0), ("error", 10 * S)));
        runs.iter().map(|run| (run.from.0 - time(0).0) / S).collect()
    }

    fn alarm(&self) -> Option<AlarmRecord> {
        let alarms = self.store.alarms("wine", None).unwrap();
        alarms.into_iter().find(|alarm| alarm.name == "failed")
    }

    fn raised(&self) -> usize {
        let events = self.store.events(0, 1_000).unwrap();
        events.iter().filter(|event| event.kind == EventKind::AlarmRaised).count()
    }
}

#[test]
fn each_window_is_looked_at_once_and_an_alarm_is_of_the_settings() {
    let house = House::new();
    house.write(&format!("{WINDOWS}{FAILED}"));
    let watch = house.watch();
    house.wait(33, "three windows are over", |house| house.windows().len() >= 3);
    let is_on = |house: &House| house.alarm().is_some_and(|alarm| alarm.state == AlarmState::Alarm);
    house.wait(0, "the alarm is on", is_on);
    drop(watch);

    // It was away for a while, and goes on where it was.
    house.clock.advance(Duration::from_secs(15));
    let watch = house.watch();
    house.wait(15, "six windows are over", |house| house.windows().len() >= 6);
    house.wait(2, "a little later", |_| true);
    assert_eq!(house.windows(), [0, 10, 20, 30, 40, 50]);
    assert_eq!(house.raised(), 1, "it was on before");

    // Taken out of the settings, it is not on for ever; and when it comes back, it is new.
    house.write(WINDOWS);
    house.wait(6, "the alarm is forgotten", |house| house.alarm().is_none());
    house.write(&format!("{WINDOWS}{FAILED}"));
    house.wait(6, "the alarm is on again", is_on);
    assert_eq!(house.raised(), 2);

    // Of many windows that passed unseen, the last ones are looked at.
    drop(watch);
    let seen = house.windows().len();
    house.clock.advance(Duration::from_secs(100_000));
    let _watch = house.watch();
    house.wait(0, "it caught up", |house| house.windows().len() >= seen + 24);
    let windows = house.windows();
    assert_eq!(windows.len(), seen + 24);
    assert!(windows.windows(2).skip(seen).all(|pair| pair[1] - pair[0] == 10));
    assert!(windows.last().is_some_and(|last| *last >= 100_050), "{windows:?}");
}
