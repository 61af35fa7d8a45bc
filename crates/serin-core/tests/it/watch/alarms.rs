//! The alarms that every project has, what they say of what was measured, and of what was measured before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rand::RngExt as _;
use serin_core::alarms::{Point, evaluate, evaluation_range};
use serin_core::clock::Timestamp;
use serin_core::config::{
    AlarmSettings, Comparison, Layers, MissingData, Settings, UncheckedRule, WatchedMetric, Watches,
};
use serin_core::domain::AlarmState;
use serin_core::metrics::{MetricsError, MetricsStore, Sample, Selector, Series, Statistic};
use serin_core::watch::{Samples, StageEndpoint, backtest, datapoints, judge_metric, of_project, selector};
use serin_ml::seed::Seed;

use super::{DAY_BEGIN, S, time};

const UNKNOWN: AlarmState = AlarmState::InsufficientData;

fn load(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.toml");
    fs::write(&path, text).unwrap();
    Settings::load(&Layers { file: Some(path), ..Layers::default() }).unwrap()
}

fn endpoints() -> [StageEndpoint; 2] {
    let endpoint = |stage: &str, is_last| StageEndpoint {
        stage: stage.into(),
        endpoint: format!("wine-{stage}"),
        is_last,
        has_replicas: is_last,
    };
    [endpoint("test", false), endpoint("prod", true)]
}

fn alarms(text: &str) -> Vec<AlarmSettings> {
    let settings = load(text);
    of_project(&settings.alarms, &endpoints(), &settings.monitor)
}

fn metric(alarm: &AlarmSettings) -> &WatchedMetric {
    match &alarm.watches {
        Watches::Metric(metric) => metric,
        Watches::Composite(_) => unreachable!("{} watches no metric", alarm.name),
    }
}

fn named<'a>(alarms: &'a [AlarmSettings], name: &str) -> &'a AlarmSettings {
    alarms.iter().find(|alarm| alarm.name == name).unwrap()
}

fn metrics() -> (tempfile::TempDir, MetricsStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = MetricsStore::open(&folder.path().join("metrics.db")).unwrap();
    (folder, store)
}

fn record(store: &mut MetricsStore, series: &Series, time: Timestamp, value: f64) {
    let recorded = store.record(&[(series.clone(), time, Sample::of(value))]).unwrap();
    assert_eq!(recorded.kept, 1);
}

/// Every window that can be set.
fn windows() -> impl Iterator<Item = u64> {
    (10..=86_400).step_by(10).filter(|seconds| 86_400 % seconds == 0)
}

#[test]
fn every_usual_alarm_is_there_however_long_a_window_is() {
    let of_each = ["data-quality", "drift", "errors", "latency", "monitor-failed", "quality"];
    let mut expected: BTreeSet<String> =
        ["capture-lag", "disk", "gateway", "prod-no-traffic", "prod-replicas"]
            .into_iter()
            .map(str::to_owned)
            .collect();
    expected.extend(["test", "prod"].iter().flat_map(|stage| of_each.map(|name| format!("{stage}-{name}"))));
    for seconds in windows() {
        let alarms = alarms(&format!("[monitor]\nwindow = \"{seconds}s\"\n"));
        let names: Vec<String> = alarms.iter().map(|alarm| alarm.name.clone()).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "no name is there twice");
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected, "{seconds} s");
        for name in ["prod-drift", "prod-data-quality", "prod-monitor-failed", "prod-quality"] {
            let period = metric(named(&alarms, name)).rule.period().as_secs();
            assert!(period >= seconds && period < seconds + 60, "{name}: {period} for {seconds} s");
        }
    }
    // What comes before the last stage is not what callers use: nothing is trained for it.
    let alarms = alarms("");
    let retrain = alarms.iter().filter(|alarm| alarm.retrain).map(|alarm| alarm.name.as_str());
    assert_eq!(retrain.collect::<Vec<_>>(), ["prod-drift", "prod-quality"]);
    assert!(alarms.iter().all(|alarm| !alarm.description.is_empty()), "each says what to do");
    assert_eq!(metric(named(&alarms, "test-drift")).labels["endpoint"], "wine-test");
    assert_eq!(of_project(&[], &[], &load("").monitor).len(), 3, "without endpoints there is the machine");
}

#[test]
fn settings_take_the_place_of_usual_alarms_and_leave_them_out() {
    let written = "[alarms.prod-latency]\nmetric = \"latency\"\nstage = \"prod\"\nstatistic = \"p50\"\nthreshold = 9\n\
                   missing = \"missing\"\n[alarms.disk]\nmetric = \"disk_free_share\"\nthreshold = 1\n\
                   missing = \"missing\"\nenabled = false\n[alarms.mine]\nrule = 'ALARM(\"prod-drift\")'\n";
    let (usual, alarms) = (alarms(""), alarms(written));
    assert_eq!(alarms.len(), usual.len(), "one more, one less");
    let latency = metric(named(&alarms, "prod-latency"));
    assert_eq!((latency.rule.threshold(), latency.statistic), (9.0, Statistic::Percentile(50.0)));
    assert!(!alarms.iter().any(|alarm| alarm.name == "disk"));
    assert!(matches!(named(&alarms, "mine").watches, Watches::Composite(_)));
    let others = |alarms: &[AlarmSettings]| -> Vec<AlarmSettings> {
        let changed = ["prod-latency", "disk", "mine"];
        alarms.iter().filter(|alarm| !changed.contains(&alarm.name.as_str())).cloned().collect()
    };
    assert_eq!(others(&alarms), others(&usual));
}

/// A look is stored three seconds after its window; the alarm is evaluated every ten seconds. It goes on within a period
/// of a look that found something, and is off within two of one that did not.
#[test]
fn what_a_look_finds_is_an_alarm_until_a_look_finds_nothing() {
    for seconds in [10_i64, 20, 30, 40, 60, 90, 100, 900, 3_600, 86_400] {
        let (_folder, mut store) = metrics();
        let alarms = alarms(&format!("[monitor]\nwindow = \"{seconds}s\"\n"));
        let watched = metric(named(&alarms, "prod-drift"));
        let period = watched.rule.period().as_secs() as i64;
        let series = Series::new("drift_findings", &[("endpoint", "wine-prod")]);
        let last_of = |look: i64| Timestamp(time(look * seconds).0 - 1);
        let said = |store: &MetricsStore, before, now: i64| {
            judge_metric(store, watched, &endpoints(), before, time(now)).0
        };
        assert_eq!(said(&store, UNKNOWN, 10), UNKNOWN, "nothing was looked at: that is not fine");
        record(&mut store, &series, last_of(7), 0.0);
        let quiet = 7 * seconds + period;
        assert_eq!(said(&store, UNKNOWN, quiet), AlarmState::Ok, "{seconds} s");
        record(&mut store, &series, last_of(8), 2.0);
        let on = 8 * seconds + period;
        assert_eq!(said(&store, AlarmState::Ok, on), AlarmState::Alarm, "{seconds} s");
        // No look for a long time changes nothing.
        assert_eq!(said(&store, AlarmState::Alarm, on + 50 * period), AlarmState::Alarm, "{seconds} s");
        for look in 9..13 {
            record(&mut store, &series, last_of(look), 0.0);
        }
        let off = 12 * seconds + 2 * period;
        assert_eq!(said(&store, AlarmState::Alarm, off), AlarmState::Ok, "{seconds} s");
    }
}

fn watched(statistic: Statistic, period: u64, periods: (u32, u32), missing: MissingData) -> WatchedMetric {
    let rule = UncheckedRule {
        comparison: Comparison::GreaterThanThreshold,
        threshold: 5.0,
        period: Duration::from_secs(period),
        evaluation_periods: periods.1,
        datapoints_to_alarm: periods.0,
        missing,
    };
    WatchedMetric {
        metric: "load".into(),
        labels: BTreeMap::new(),
        stage: Some("prod".into()),
        statistic,
        minimum_samples: 0,
        rule: rule.check().unwrap(),
    }
}

#[test]
fn periods_without_samples_are_gaps_and_only_whole_periods_are_looked_at() {
    let (_folder, mut store) = metrics();
    let series = Series::new("load", &[("endpoint", "wine-prod")]);
    let other = Series::new("load", &[("endpoint", "wine-test")]);
    for (second, value) in [(0, 1.0), (59, 3.0), (60, 9.0), (180, 6.0), (239, 10.0), (240, 100.0)] {
        record(&mut store, &series, time(second), value);
    }
    record(&mut store, &other, time(100), 1_000.0);
    let watched = watched(Statistic::Average, 60, (2, 3), MissingData::Missing);
    let selector = selector(&watched, &endpoints()).unwrap();
    let (empty, value) = (Point::Missing, Point::Value);
    let points = |periods, now| -> Vec<Point> {
        datapoints(&store, &watched, &selector, periods, now).into_iter().map(|(_, point)| point).collect()
    };
    // The period of 240 s is not over.
    assert_eq!(points(4, time(299)), [value(2.0), value(9.0), empty, value(8.0)]);
    assert_eq!(points(4, Timestamp(time(240).0 - 1)), [empty, value(2.0), value(9.0), empty]);
    assert_eq!(points(5, time(300))[4], value(100.0));
    assert_eq!(datapoints(&store, &watched, &selector, 2, time(299))[0].0, time(120));
    let judged = |missing, before, now| {
        let watched = WatchedMetric { rule: rule_with(&watched, missing), ..watched.clone() };
        judge_metric(&store, &watched, &endpoints(), before, time(now)).0
    };
    assert_eq!(judged(MissingData::Missing, AlarmState::Ok, 299), AlarmState::Alarm);
    // Long after the last sample.
    assert_eq!(judged(MissingData::Missing, AlarmState::Ok, 9_000), UNKNOWN);
    assert_eq!(judged(MissingData::Ignore, AlarmState::Alarm, 9_000), AlarmState::Alarm);
    assert_eq!(judged(MissingData::Breaching, AlarmState::Ok, 9_000), AlarmState::Alarm);
    assert_eq!(judged(MissingData::NotBreaching, AlarmState::Alarm, 9_000), AlarmState::Ok);
    // A stage that nothing serves has no series.
    let (state, reason) = judge_metric(&store, &watched, &[], AlarmState::Ok, time(299));
    assert_eq!((state, reason.as_str()), (UNKNOWN, "nothing serves the stage"));
    assert_eq!(backtest(&store, &watched, &[], 1, time(299)), None);
}

fn rule_with(watched: &WatchedMetric, missing: MissingData) -> serin_core::config::Rule {
    UncheckedRule { missing, ..watched.rule.into() }.check().unwrap()
}

/// A metric whose file is broken.
struct Broken;

impl Samples for Broken {
    fn points(
        &self,
        _: &Selector,
        _: Timestamp,
        _: Timestamp,
        period: Duration,
    ) -> Result<Vec<(Timestamp, Sample)>, MetricsError> {
        Err(MetricsError::Period(period))
    }

    fn bounds(&self, _: &str) -> Result<Option<Vec<f64>>, MetricsError> {
        Ok(None)
    }
}

#[test]
fn what_cannot_be_read_is_never_fine() {
    for missing in
        [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching]
    {
        let watched = watched(Statistic::Maximum, 60, (1, 1), missing);
        let (state, _) = judge_metric(&Broken, &watched, &endpoints(), AlarmState::Ok, time(0));
        assert_eq!(state, UNKNOWN, "{missing:?}");
    }
}

#[test]
fn a_backtest_counts_what_would_have_been_said_period_by_period() {
    for seed in 0..12_u64 {
        let mut rng = Seed(seed).rng();
        let (_folder, mut store) = metrics();
        let missing =
            [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching];
        let periods = [(1, 1), (2, 3), (3, 3), (1, 4)][rng.random_range(0..4)];
        let watched = watched(Statistic::Maximum, 600, periods, missing[seed as usize % 4]);
        let series = Series::new("load", &[("endpoint", "wine-prod")]);
        let mut is_there = true;
        for minute in 0..3 * 1_440 {
            if rng.random_range(0..60) == 0 {
                is_there = !is_there;
            }
            if is_there && rng.random_range(0..3) == 0 {
                record(&mut store, &series, time(60 * minute), f64::from(rng.random_range(0..8)));
            }
        }
        // In the middle of a period.
        let now = Timestamp(DAY_BEGIN + (2 * 86_400 + 20_000 + 333) * S);
        let found = backtest(&store, &watched, &endpoints(), 1, now).unwrap();
        let period = 600 * S;
        let end = now.0.div_euclid(period) * period;
        let (mut state, mut alarms, mut on, mut measured, mut changes) = (UNKNOWN, 0, 0, 0, Vec::new());
        let selector = selector(&watched, &endpoints()).unwrap();
        for n in 0..144 {
            let then = Timestamp(end - (143 - n) * period);
            let next = judge_metric(&store, &watched, &endpoints(), state, then).0;
            let last = datapoints(&store, &watched, &selector, 1, then)[0];
            let points = datapoints(&store, &watched, &selector, evaluation_range(&watched.rule), then);
            let points: Vec<Point> = points.into_iter().map(|(_, point)| point).collect();
            assert_eq!(evaluate(&watched.rule, &points, state).state, next);
            measured += usize::from(matches!(last.1, Point::Value(_)));
            on += usize::from(next == AlarmState::Alarm);
            if next != state {
                alarms += usize::from(next == AlarmState::Alarm);
                changes.push((last.0.to_rfc3339(), next));
            }
            state = next;
        }
        assert_eq!((found.periods, found.measured, found.on), (144, measured, on), "seed {seed}");
        assert_eq!((found.alarms, found.changes), (alarms, changes), "seed {seed}");
        assert!(measured > 0);
    }
}

#[test]
fn a_long_backtest_is_cut_and_is_no_failure() {
    let (_folder, mut store) = metrics();
    let watched = watched(Statistic::Maximum, 10, (1, 1), MissingData::NotBreaching);
    let series = Series::new("load", &[("endpoint", "wine-prod")]);
    record(&mut store, &series, time(86_390), 9.0);
    let found = backtest(&store, &watched, &endpoints(), u32::MAX, time(86_400)).unwrap();
    assert_eq!((found.periods, found.measured, found.alarms, found.on), (10_000, 1, 1, 1));
    assert_eq!(found.changes.len(), 2, "off at first, then on");
    let none = backtest(&store, &watched, &endpoints(), 0, time(86_400)).unwrap();
    assert_eq!((none.periods, none.measured, none.changes.len()), (0, 0, 0));
}
