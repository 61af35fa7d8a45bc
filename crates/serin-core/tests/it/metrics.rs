//! Metrics over time: what is kept, moved, asked for and refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use serin_core::clock::Timestamp;
use serin_core::metrics::{
    Deltas, Limits, MOVED_AT_ONCE, MetricsError, MetricsReader, MetricsStore, Point, Process, Query, Sample,
    Scrape, Selector, Series, Statistic, Upkeep, sparkline,
};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
const BOUNDS: [f64; 3] = [-10.0, 0.0, 10.0];
/// The begin of an hour, a day and a minute.
const NOW: i64 = 20_000 * DAY;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("metrics.db")
}

fn point(name: &str, microseconds: i64, value: f64) -> Point {
    (Series::new(name, &[]), Timestamp(microseconds), Sample::of(value))
}

fn all(name: &str) -> Selector {
    Selector::new(name, &[])
}

/// All samples of a name, by begin of day.
fn by_day(reader: &MetricsReader, name: &str) -> BTreeMap<i64, Sample> {
    let (from, to) = (Timestamp(NOW - 2_000 * DAY), Timestamp(NOW + 2_000 * DAY));
    let points = reader.points(&all(name), from, to, seconds(86_400)).unwrap();
    points.into_iter().map(|(time, sample)| (time.0, sample)).collect()
}

fn count(reader: &MetricsReader, name: &str) -> u64 {
    by_day(reader, name).values().map(|sample| sample.count).sum()
}

fn reader(path: &Path) -> MetricsReader {
    MetricsStore::open_to_read(path).unwrap()
}

fn finish_upkeep(store: &mut MetricsStore, now: i64) -> Upkeep {
    loop {
        let done = store.upkeep(Timestamp(now)).unwrap();
        if !done.more {
            return done;
        }
    }
}

#[test]
fn percentiles_are_those_of_exact_fractions() {
    let text = include_str!("../data/metrics/percentiles.csv");
    let mut compared = 0;
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let bounds: Vec<f64> = cells[0].split(';').map(|bound| bound.parse().unwrap()).collect();
        let counts: Vec<u64> = cells[1].split(';').map(|count| count.parse().unwrap()).collect();
        let statistic: Statistic = format!("p{}", cells[2]).parse().unwrap();
        let expected: f64 = cells[3].parse().unwrap();
        let sample = Sample { count: counts.iter().sum(), histogram: Some(counts), ..Sample::of(0.0) };
        let found = statistic.value(&sample, &bounds).unwrap();
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-5), "{line}: {found}");
        compared += 1;
    }
    assert_eq!(compared, 600);
}

#[test]
fn samples_are_merged_by_series_and_period() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let series = |variant| Series::new("latency", &[("endpoint", "prod"), ("variant", variant)]);
    let at = |second: i64| Timestamp(NOW + second * SECOND);
    let points = [
        (series("v3"), at(1), Sample::of(1.0)),
        (series("v3"), at(9), Sample::of(3.0)),
        (series("v4"), at(9), Sample::of(10.0)),
        (series("v3"), at(25), Sample::of(5.0)),
        (Series::new("other", &[]), at(1), Sample::of(100.0)),
    ];
    assert_eq!(store.record(&points[..3]).unwrap().kept, 3);
    assert_eq!(store.record(&points[3..]).unwrap().kept, 2);
    let ask = |labels: &[(&str, &str)], from, to, period| -> Vec<(i64, u64, f64)> {
        let selector = Selector::new("latency", labels);
        let points = store.points(&selector, at(from), at(to), seconds(period)).unwrap();
        points.iter().map(|(time, sample)| ((time.0 - NOW) / SECOND, sample.count, sample.sum)).collect()
    };
    assert_eq!(ask(&[("variant", "v3")], 0, 60, 10), [(0, 2, 4.0), (20, 1, 5.0)]);
    assert_eq!(ask(&[], 0, 60, 10), [(0, 3, 14.0), (20, 1, 5.0)]);
    assert_eq!(ask(&[("endpoint", "prod")], 0, 60, 60), [(0, 4, 19.0)]);
    assert_eq!(ask(&[("endpoint", "test")], 0, 60, 60), []);
    assert_eq!(ask(&[], 7, 20, 10), [(0, 3, 14.0)], "the first period is whole, the end is not meant");
    assert_eq!(ask(&[], 7, 21, 10), [(0, 3, 14.0), (20, 1, 5.0)]);
    let names: Vec<String> = store.series().unwrap().iter().map(Series::to_string).collect();
    assert_eq!(
        names,
        [r#"latency{endpoint="prod",variant="v3"}"#, r#"latency{endpoint="prod",variant="v4"}"#, "other"]
    );
    for wrong in [Duration::ZERO, seconds(15), Duration::from_millis(10_500)] {
        let error = store.points(&all("latency"), at(0), at(60), wrong).unwrap_err();
        assert!(matches!(error, MetricsError::Period(_)), "{error}");
    }
    let error =
        store.points(&all("latency"), Timestamp(i64::MIN), Timestamp(i64::MAX), seconds(10)).unwrap_err();
    assert!(matches!(error, MetricsError::TooManyPeriods { .. }), "{error}");
}

#[test]
fn periods_become_longer_with_age() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let two_hours = (0..720).map(|n| point("a", NOW + n * 10 * SECOND, n as f64));
    store.record(&two_hours.collect::<Vec<_>>()).unwrap();
    let expected = by_day(&reader(&path(&folder)), "a");
    let shape = |store: &MetricsStore| {
        let (from, to) = (Timestamp(NOW), Timestamp(NOW + 2 * HOUR));
        store.points(&all("a"), from, to, seconds(10)).unwrap().len()
    };
    for (age, rows) in [
        (0, 720),
        (6 * HOUR + 59 * SECOND, 720),
        (6 * HOUR + 60 * SECOND, 715),
        (8 * HOUR, 120),
        (15 * DAY + HOUR - 1, 120),
        (15 * DAY + HOUR, 61),
        (16 * DAY, 2),
        (455 * DAY, 2),
    ] {
        let done = finish_upkeep(&mut store, NOW + age);
        assert_eq!((done.dropped, done.forgotten_series), (0, 0));
        assert_eq!(shape(&store), rows, "{age}");
        assert_eq!(by_day(&reader(&path(&folder)), "a"), expected, "{age}");
    }
    // A late sample joins what is there.
    store.record(&[point("a", NOW + SECOND, 1.0)]).unwrap();
    finish_upkeep(&mut store, NOW + 400 * DAY);
    assert_eq!((shape(&store), count(&reader(&path(&folder)), "a")), (2, 721));
    let done = finish_upkeep(&mut store, NOW + 455 * DAY + SECOND);
    assert_eq!((done.dropped, done.forgotten_series, shape(&store)), (1, 0, 1));
    let done = finish_upkeep(&mut store, NOW + 456 * DAY);
    assert_eq!((done.dropped, done.forgotten_series, shape(&store)), (1, 1, 0));
    assert_eq!(store.series().unwrap(), []);
    assert_eq!(store.record(&[point("a", NOW, 1.0)]).unwrap().kept, 1, "a forgotten series may come again");
    assert_eq!(count(&reader(&path(&folder)), "a"), 1);
}

#[derive(Debug, Clone)]
enum Act {
    Record(Vec<(i64, i32, bool)>),
    Upkeep(i64),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    // Ages around the borders, in seconds.
    let age = prop_oneof![0_i64..60, 21_000_i64..22_500, 1_290_000_i64..1_300_000, 0_i64..30_000_000];
    let records = prop::collection::vec((age.clone(), -20_i32..20, any::<bool>()), 1..20);
    prop_oneof![
        4 => records.prop_map(Act::Record),
        4 => age.prop_map(Act::Upkeep),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn moving_conserves_everything(acts in prop::collection::vec(act(), 1..25)) {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder);
        let mut store = MetricsStore::open(&path).unwrap();
        store.set_bounds("a", &BOUNDS).unwrap();
        let mut expected: BTreeMap<i64, Sample> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Record(values) => {
                    let points: Vec<Point> = values.iter().map(|&(age, value, has_histogram)| {
                        let value = f64::from(value);
                        let sample = if has_histogram { Sample::of_bounds(value, &BOUNDS) } else { Sample::of(value) };
                        (Series::new("a", &[]), Timestamp(NOW - age * SECOND), sample)
                    }).collect();
                    prop_assert_eq!(store.record(&points).unwrap().kept, points.len() as u64);
                    for (_, time, sample) in points {
                        expected.entry(time.0.div_euclid(DAY) * DAY).or_default().merge(&sample);
                    }
                }
                Act::Upkeep(later) => {
                    // Less than what is dropped for its age.
                    let now = NOW + (later * SECOND).min(100 * DAY);
                    prop_assert_eq!(store.upkeep(Timestamp(now)).unwrap().dropped, 0);
                }
                Act::Reopen => {
                    drop(store);
                    store = MetricsStore::open(&path).unwrap();
                }
            }
            prop_assert_eq!(&by_day(&reader(&path), "a"), &expected);
        }
    }

    #[test]
    fn no_text_is_more_than_a_scrape_can_read(text in "\\PC{0,200}", lines in garbled()) {
        let _ = Scrape::parse(&text);
        if let Ok(scrape) = Scrape::parse(&lines) {
            let mut deltas = Deltas::new();
            for process in [Process::StartedSince, Process::Unknown] {
                for (series, sample) in deltas.next(&scrape, process) {
                    prop_assert!(series.is_well_formed() && sample.count > 0, "{series} {sample:?}");
                }
            }
        }
    }
}

const GATEWAY: &str = r##"# TYPE serin_requests counter
serin_requests_total{endpoint="prod",variant="v3"} 1
# TYPE latency histogram
latency_sum{variant="v3"} 0.0
latency_count{variant="v3"} 0
latency_bucket{le="0.001",variant="v3"} 0
latency_bucket{le="0.002",variant="v3"} 0
latency_bucket{le="+Inf",variant="v3"} 0
# TYPE serin_connections gauge
serin_connections 3
# EOF
"##;

/// The text of a gateway, of which some places are overwritten, cut out or doubled.
fn garbled() -> impl Strategy<Value = String> {
    let change = (0_usize..GATEWAY.len(), 0_usize..8, "[ -~\n\\\\\"{}=,#ä]{0,3}");
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut text: Vec<char> = GATEWAY.chars().collect();
        for (at, cut, put) in changes {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
        }
        text.into_iter().collect()
    })
}

#[test]
fn a_process_may_die_between_any_two_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let points: Vec<Point> =
        (0..3 * MOVED_AT_ONCE as i64).map(|n| point("a", NOW - n * 10 * SECOND, n as f64)).collect();
    store.record(&points).unwrap();
    let expected = by_day(&reader(&path(&folder)), "a");
    let mut calls = 0;
    loop {
        let done = store.upkeep(Timestamp(NOW + 15 * DAY)).unwrap();
        assert!(done.moved <= 2 * MOVED_AT_ONCE as u64, "{done:?}");
        calls += 1;
        // What a process killed now would leave: the file and its log, which was not copied into it.
        let killed = tempfile::tempdir().unwrap();
        for name in ["metrics.db", "metrics.db-wal"] {
            fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
        }
        let mut next = MetricsStore::open(&path(&killed)).unwrap();
        assert_eq!(by_day(&reader(&path(&killed)), "a"), expected);
        finish_upkeep(&mut next, NOW + 30 * DAY);
        assert_eq!(by_day(&reader(&path(&killed)), "a"), expected);
        if !done.more {
            break;
        }
        drop(store);
        store = MetricsStore::open(&path(&folder)).unwrap();
    }
    assert!(calls > 3, "{calls}");
    assert_eq!(by_day(&reader(&path(&folder)), "a"), expected);
}

#[test]
fn readers_see_every_sample_once_while_they_are_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let mut store = MetricsStore::open(&path).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let reader = reader(&path);
                    let (mut before, mut looks) = (0, 0_u32);
                    loop {
                        let was_over = is_over.load(Ordering::SeqCst);
                        let now = count(&reader, "a");
                        assert!(now >= before && now.is_multiple_of(100), "{before}, then {now}");
                        (before, looks) = (now, looks + 1);
                        if was_over {
                            return (now, looks);
                        }
                    }
                })
            })
            .collect();
        for n in 0..40 {
            let points: Vec<Point> =
                (0..100).map(|m| point("a", NOW + n * 100 * SECOND + m * SECOND, 1.0)).collect();
            store.record(&points).unwrap();
            store.upkeep(Timestamp(NOW + 6 * HOUR + n * 90 * SECOND)).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        for reader in readers {
            let (last, looks) = reader.join().unwrap();
            assert_eq!(last, 4_000);
            assert!(looks > 1);
        }
    });
}

#[test]
fn a_second_writer_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = MetricsStore::open(&path(&folder)).unwrap();
    let mut second = MetricsStore::open(&path(&folder)).unwrap();
    for n in 0..3 {
        first.record(&[point("a", NOW, 1.0), point(&format!("first{n}"), NOW, 1.0)]).unwrap();
        second.record(&[point("a", NOW, 1.0), point(&format!("first{n}"), NOW, 1.0)]).unwrap();
        assert_eq!(count(&reader(&path(&folder)), &format!("first{n}")), 2);
    }
    second.upkeep(Timestamp(NOW + 1_000 * DAY)).unwrap();
    second.upkeep(Timestamp(NOW + 1_000 * DAY)).unwrap();
    assert_eq!(second.series().unwrap(), []);
    first.record(&[point("a", NOW, 1.0)]).unwrap();
    assert_eq!(count(&reader(&path(&folder)), "a"), 1);
    first.set_bounds("h", &BOUNDS).unwrap();
    assert!(second.set_bounds("h", &BOUNDS[1..]).is_err());
}

#[test]
fn what_may_not_be_kept_is_counted_by_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let sample = Sample::of_bounds(5.0, &BOUNDS);
    let of = |name: &str, sample: Sample| (Series::new(name, &[]), Timestamp(NOW), sample);
    let refused = |store: &mut MetricsStore, point: Point| {
        let recorded = store.record(&[point]).unwrap();
        assert_eq!(recorded.kept + recorded.refused.total(), 1);
        let refused = recorded.refused;
        [refused.not_finite, refused.other_bounds, refused.malformed]
    };
    let nothing = [0, 0, 0];
    for (point, expected) in [
        (of("a", Sample::of(f64::NAN)), [1, 0, 0]),
        (of("a", Sample::of(f64::NEG_INFINITY)), [1, 0, 0]),
        (of("a", Sample { max: f64::INFINITY, ..Sample::of(1.0) }), [1, 0, 0]),
        (of("a", Sample::empty()), [0, 0, 1]),
        (of("a", Sample { min: 2.0, ..Sample::of(1.0) }), [0, 0, 1]),
        (of("a", Sample { count: u64::MAX, ..Sample::of(1.0) }), [0, 0, 1]),
        (of("a", Sample { count: 2, ..sample.clone() }), [0, 0, 1]),
        (of("a b", Sample::of(1.0)), [0, 0, 1]),
        (of("h", sample.clone()), [0, 1, 0]),
        (of("a", Sample::of(1.0)), nothing),
    ] {
        assert_eq!(refused(&mut store, point.clone()), expected, "{point:?}");
    }
    for wrong in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY], &[0.0; 300]] {
        assert!(matches!(store.set_bounds("h", wrong), Err(MetricsError::Bounds(_))), "{wrong:?}");
    }
    store.set_bounds("h", &BOUNDS).unwrap();
    assert_eq!(refused(&mut store, of("h", sample.clone())), nothing);
    assert_eq!(refused(&mut store, of("h", Sample::of_bounds(1.0, &BOUNDS[1..]))), [0, 1, 0]);
    // As many bounds, but others: what is kept would be mixed with what was counted otherwise.
    drop(store);
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let error = store.set_bounds("h", &[1.0, 2.0, 3.0]).unwrap_err();
    assert_eq!(error.to_string(), "the histograms of h have other upper bounds: [-10.0, 0.0, 10.0]");
    assert_eq!(refused(&mut store, of("h", sample.clone())), [0, 1, 0]);
    store.set_bounds("h", &BOUNDS).unwrap();
    assert_eq!(refused(&mut store, of("h", sample)), nothing);
    assert_eq!(store.bounds("h").unwrap(), Some(BOUNDS.to_vec()));
    assert_eq!(store.bounds("a").unwrap(), None);
}

#[test]
fn there_are_as_many_series_as_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let most = Limits::default().series;
    assert_eq!(most, 20_000);
    let points: Vec<Point> = (0..most + 7)
        .map(|n| (Series::new("a", &[("n", &n.to_string())]), Timestamp(NOW), Sample::of(1.0)))
        .collect();
    let recorded = store.record(&points).unwrap();
    assert_eq!((recorded.kept, recorded.refused.too_many_series), (20_000, 7));
    drop(store);
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let recorded = store.record(&points[most - 1..]).unwrap();
    assert_eq!((recorded.kept, recorded.refused.too_many_series), (1, 7));
    let error = store.points(&all("a"), Timestamp(NOW), Timestamp(NOW + HOUR), seconds(10)).unwrap_err();
    assert_eq!(error.to_string(), "a means 20000 series, at most 2000 are read at once");
    let one = Selector::new("a", &[("n", "17")]);
    assert_eq!(store.points(&one, Timestamp(NOW), Timestamp(NOW + HOUR), seconds(10)).unwrap().len(), 1);
    let forgotten: u64 =
        (0..40).map(|_| store.upkeep(Timestamp(NOW + 1_000 * DAY)).unwrap().forgotten_series).sum();
    assert_eq!(forgotten, 20_000);
    assert_eq!(store.record(&points[..3]).unwrap().kept, 3);
}

#[test]
fn the_oldest_samples_go_when_the_file_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let mut store = MetricsStore::open_within(&path(&folder), limits).unwrap();
    let mut time = NOW;
    let mut record = |store: &mut MetricsStore| {
        let points: Vec<Point> = (0..500).map(|n| point("a", time + n * 10 * SECOND, 1.0)).collect();
        time += 5_000 * SECOND;
        store.record(&points).unwrap()
    };
    let mut kept = 0;
    let refused = loop {
        let recorded = record(&mut store);
        kept += recorded.kept;
        if recorded.refused.total() > 0 {
            break recorded.refused;
        }
        assert!(kept < 100_000);
    };
    assert_eq!(refused.too_large, 500);
    let done = store.upkeep(Timestamp(NOW)).unwrap();
    assert!(done.dropped_for_room > 0 && done.more, "{done:?}");
    finish_upkeep(&mut store, NOW);
    assert_eq!(record(&mut store).kept, 500);
    let left = store.points(&all("a"), Timestamp(NOW), Timestamp(NOW + 10 * DAY), seconds(60)).unwrap();
    assert!(left[0].0 > Timestamp(NOW), "the oldest went");
}

#[test]
fn files_that_are_not_there_or_of_another_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    assert!(matches!(MetricsStore::open_to_read(&path), Err(MetricsError::Database(_))));
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    let error = MetricsStore::open_to_read(&path).unwrap_err();
    assert_eq!(error.to_string(), "the metrics have version 0 and are not brought to version 1 yet");
    drop(MetricsStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    for error in [MetricsStore::open(&path).unwrap_err(), MetricsStore::open_to_read(&path).unwrap_err()] {
        assert_eq!(error.to_string(), "the metrics have version 9, this program knows versions up to 1");
    }
    fs::write(&path, "no database at all, but long enough to be looked at as one").unwrap();
    assert!(MetricsStore::open(&path).is_err());
}

#[test]
fn a_damaged_histogram_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let mut store = MetricsStore::open(&path).unwrap();
    store.set_bounds("h", &BOUNDS).unwrap();
    let points = [(Series::new("h", &[]), Timestamp(NOW), Sample::of_bounds(1.0, &BOUNDS))];
    store.record(&points).unwrap();
    Connection::open(&path).unwrap().execute("UPDATE points SET histogram = x'ffffffffff'", []).unwrap();
    assert!(matches!(store.record(&points), Err(MetricsError::Database(_))));
    let read = store.points(&all("h"), Timestamp(NOW), Timestamp(NOW + 1), seconds(10));
    assert!(matches!(read, Err(MetricsError::Database(_))));
}

#[test]
fn a_gateway_is_scraped_and_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = MetricsStore::open(&path(&folder)).unwrap();
    let text = |fast: u64, slow: u64| {
        let all = fast + slow;
        format!(
            "# TYPE latency histogram\nlatency_sum{{v=\"v3\"}} {}\nlatency_count{{v=\"v3\"}} {all}\n\
             latency_bucket{{le=\"0.001\",v=\"v3\"}} {fast}\nlatency_bucket{{le=\"0.1\",v=\"v3\"}} {all}\n\
             latency_bucket{{le=\"+Inf\",v=\"v3\"}} {all}\n# TYPE n counter\nn_total {all}\n# EOF\n",
            fast as f64 * 0.0005 + slow as f64 * 0.05
        )
    };
    let mut deltas = Deltas::new();
    let now = Timestamp(NOW + 45 * SECOND);
    for (n, (fast, slow)) in [(100, 0), (200, 0), (300, 0), (300, 100), (310, 100)].into_iter().enumerate() {
        let scrape = Scrape::parse(&text(fast, slow)).unwrap();
        for (name, bounds) in scrape.bounds() {
            store.set_bounds(name, bounds).unwrap();
        }
        let time = Timestamp(NOW + n as i64 * 10 * SECOND);
        let samples = deltas.next(&scrape, Process::Unknown);
        let points: Vec<Point> = samples.into_iter().map(|(series, sample)| (series, time, sample)).collect();
        assert_eq!(store.record(&points).unwrap().kept, if n == 0 { 0 } else { 2 });
    }
    let ask = |text: &str| {
        let query: Query = text.parse().unwrap();
        let (from, to) = query.range(now);
        let points = store.points(&query.selector, from, to, query.period()).unwrap();
        let bounds = store.bounds(&query.selector.name).unwrap().unwrap_or_default();
        (query.value(&points, &bounds), query.line(&points, now, &bounds))
    };
    let (all, line) = ask("p50(latency{v=\"v3\"}[50s])");
    assert_eq!(line, [None, Some(0.0005), Some(0.0005), Some(0.0505), Some(0.0005)]);
    assert_eq!(sparkline(&line, 60), " ▁▁█▁");
    assert_eq!(all, Some(0.001 * 155.0 / 210.0));
    assert_eq!(ask("sum(n[1m])").0, Some(310.0));
    assert_eq!(ask("count(latency)").0, Some(310.0));
    assert_eq!(ask("max(latency)").0, Some(0.1));
    assert_eq!(ask("nothing").0, None);
}
