//! Rows are counted once, in the spans they arrived in, and no step of putting spans together loses any.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rand::RngExt as _;
use rusqlite::Connection;
use serin_core::capture::{
    Capture, CaptureOptions, InferenceTable, Journal, Outcome, REPLAY_CALLER, Record, WatchedBins,
};
use serin_core::clock::{ManualClock, Timestamp};
use serin_core::ids::InferenceIds;
use serin_ml::drift::Window;
use serin_ml::seed::Seed;

use super::{DAY_BEGIN, S, bins, ever, range, reader, rows, time};
use crate::capture::{PATIENCE, answered, column, keep, open};

const VERSION: &str = "0123456789ab";

fn at<'a>(id: &'a str, seconds: i64, values: &[f64]) -> Record<'a> {
    let values: Vec<&[f64]> = values.chunks(1).collect();
    Record { time: time(seconds), ..answered(id, &values) }
}

/// What counting these values, all predicted as b, gives.
fn window_of(bins: &WatchedBins, values: impl IntoIterator<Item = f64>) -> Window {
    let mut window = Window::empty(&bins.bins);
    for value in values {
        window.add(&bins.bins, &[value], Some((1, &[0.25, 0.75])));
    }
    window
}

#[test]
fn a_row_is_counted_once_where_it_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let (capture, bins) = (open(&options), bins(10));
    keep(&capture, &at("before it was watched", 1, &[1.0]));
    assert!(capture.settle(PATIENCE));
    capture.watch("digits", VERSION, &bins).unwrap();

    let refused = Outcome::Refused { error_code: "wrong_column_count", detail: "", body: b"" };
    keep(&capture, &Record { status: 422, outcome: refused, ..at("again", 2, &[]) });
    keep(&capture, &at("one", 3, &[1.0]));
    // The last microsecond of a span and the first of the next; a missing value; a batch.
    keep(&capture, &Record { time: Timestamp(time(10).0 - 1), ..at("two", 0, &[2.0]) });
    keep(&capture, &at("three", 10, &[f64::NAN]));
    keep(&capture, &at("batch", 19, &[3.0, 4.0, 40.0]));
    // Twice in one segment, and again in another.
    keep(&capture, &at("one", 4, &[5.0]));
    assert!(capture.settle(PATIENCE));
    keep(&capture, &at("one", 30, &[5.0]));
    keep(&capture, &at("batch", 30, &[5.0, 5.0, 5.0]));
    // What was refused first and answered then is one row, of the time it was answered.
    keep(&capture, &at("again", 25, &[6.0]));
    // Others.
    keep(&capture, &Record { caller: Some(REPLAY_CALLER), ..at("asked again", 3, &[1.0]) });
    keep(&capture, &Record { model_version: "another", ..at("another version", 3, &[1.0]) });
    keep(&capture, &Record { endpoint: "letters", ..at("another endpoint", 3, &[1.0]) });
    assert!(capture.settle(PATIENCE));

    let reader = reader(&options);
    let over_time = reader.rows_over_time(&ever()).unwrap();
    assert_eq!(over_time, [(time(0), 2), (time(10), 4), (time(20), 1)]);
    let counted = |from, to| {
        let mut counted = reader.counted(&range("digits", time(from), time(to))).unwrap();
        assert!(counted.len() <= 1);
        counted.pop()
    };
    let first = counted(0, 10).unwrap();
    assert_eq!(first.window, window_of(&bins, [1.0, 2.0]));
    assert_eq!((first.first, first.last, first.bins), (time(0), time(10), bins.clone()));
    assert_eq!(counted(10, 20).unwrap().window, window_of(&bins, [f64::NAN, 3.0, 4.0, 40.0]));
    let all = counted(0, 1_000).unwrap();
    assert_eq!(all.window, window_of(&bins, [1.0, 2.0, f64::NAN, 3.0, 4.0, 40.0, 6.0]));
    assert_eq!((all.first, all.last), (time(0), time(30)));
    assert_eq!(counted(30, 1_000), None);
    assert_eq!(reader.counted(&range("letters", time(0), time(100))).unwrap(), []);
}

#[test]
fn what_an_answer_has_too_few_or_too_many_of_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let (capture, bins) = (open(&options), bins(10));
    capture.watch("digits", VERSION, &bins).unwrap();
    keep(&capture, &answered("none", &[&[]]));
    keep(&capture, &answered("two", &[&[1.0, 2.0]]));
    let outcome = Outcome::Answered {
        predicted: vec!["unheard of"],
        probabilities: vec![1.0].into(),
        features: vec![3.0].into(),
    };
    keep(&capture, &Record { outcome, ..answered("foreign", &[]) });
    let outcome = Outcome::Answered {
        predicted: vec!["a"],
        probabilities: vec![f64::NAN, f64::INFINITY].into(),
        features: vec![f64::NEG_INFINITY].into(),
    };
    keep(&capture, &Record { outcome, ..answered("odd", &[]) });
    assert!(capture.settle(PATIENCE));
    let counted = reader(&options).counted(&ever()).unwrap();
    assert_eq!(rows(&counted), 4);
    assert_eq!(counted[0].window.predictions.rows(), 2);
    let column = &counted[0].window.columns[0];
    assert_eq!((column.missing, column.non_finite, column.present()), (1, 1, 2));
}

#[test]
fn rows_that_a_dead_process_left_are_counted_by_the_next_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let bins = bins(10);
    let capture = open(&options);
    capture.watch("digits", VERSION, &bins).unwrap();
    keep(&capture, &answered("loaded", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    drop(capture);
    // What dies before it loads is a journal without a loader.
    let ids = InferenceIds::from_entropy(Arc::new(ManualClock::at(time(0))));
    let journal = Journal::open(&options.data_directory, options.journal, ids).unwrap();
    for (id, value) in [("left-1", 2.0), ("left-2", 3.0), ("loaded", 9.0)] {
        journal.append(&answered(id, &[&[value]])).unwrap();
    }
    drop(journal);
    let segments: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(folder.path().join("capture"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    assert_eq!(segments.len(), 1);

    // Nobody tells this one what is watched before it loads.
    let capture = open(&options);
    assert!(capture.settle(PATIENCE));
    let expected = window_of(&bins, [1.0, 2.0, 3.0]);
    let counted = || reader(&options).counted(&ever()).unwrap();
    assert_eq!(counted()[0].window, expected);
    assert_eq!(counted()[0].bins, bins);
    drop(capture);
    // It died after the commit and before the file was deleted, as often as one likes.
    for _ in 0..2 {
        for (path, bytes) in &segments {
            fs::write(path, bytes).unwrap();
        }
        let capture = open(&options);
        assert!(capture.settle(PATIENCE));
        drop(capture);
        assert_eq!(counted()[0].window, expected);
    }
}

#[test]
fn other_bins_are_counted_apart_and_the_last_told_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let clock = Arc::new(ManualClock::at(time(1_000)));
    let (few, many) = (bins(3), bins(30));
    assert_ne!(few.digest, many.digest);
    let capture = Capture::open(&options, clock.clone()).unwrap();
    let mut n = 0;
    let mut load = |capture: &Capture, value: f64| {
        n += 1;
        keep(capture, &at(&format!("r-{n}"), 0, &[value]));
        assert!(capture.settle(PATIENCE));
    };
    capture.watch("digits", VERSION, &few).unwrap();
    load(&capture, 1.0);
    capture.watch("digits", VERSION, &many).unwrap();
    load(&capture, 2.0);
    // The time of day was set back meanwhile: what was told last still counts.
    clock.jump_to(time(0));
    capture.watch("digits", VERSION, &few).unwrap();
    load(&capture, 3.0);
    drop(capture);
    let capture = Capture::open(&options, clock).unwrap();
    load(&capture, 4.0);
    let counted = reader(&options).counted(&ever()).unwrap();
    let of = |bins: &Arc<WatchedBins>| {
        counted.iter().find(|counted| counted.bins == *bins).map(|counted| counted.window.clone())
    };
    assert_eq!(of(&few).unwrap(), window_of(&few, [1.0, 3.0, 4.0]));
    assert_eq!(of(&many).unwrap(), window_of(&many, [2.0]));
    assert_eq!(counted.len(), 2);
}

/// Rows beside a table that counted them.
struct Story {
    folder: tempfile::TempDir,
    capture: Capture,
    /// As if another process put spans together.
    table: InferenceTable,
    bins: Arc<WatchedBins>,
    /// Second and value of every row.
    all: Vec<(i64, f64)>,
    now: i64,
}

impl Story {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = CaptureOptions::new(folder.path());
        let (capture, bins) = (open(&options), bins(10));
        capture.watch("digits", VERSION, &bins).unwrap();
        let table = InferenceTable::open(&options.database()).unwrap();
        Self { folder, capture, table, bins, all: Vec::new(), now: 500 * 86_400 }
    }

    fn load(&mut self, seconds: i64, values: &[f64]) {
        let id = format!("r-{}", self.all.len());
        keep(&self.capture, &at(&id, seconds, values));
        self.all.extend(values.iter().map(|&value| (seconds, value)));
    }

    fn settle(&self) {
        assert!(self.capture.settle(PATIENCE));
    }

    fn roll_up(&mut self) -> bool {
        self.table.roll_up(time(self.now)).unwrap()
    }

    /// What is counted from second to second is what was loaded.
    fn check(&self, from: i64, to: i64, when: &str) {
        let reader = reader(&CaptureOptions::new(self.folder.path()));
        let counted = reader.counted(&range("digits", time(from), time(to))).unwrap();
        let meant = self.all.iter().filter(|(second, _)| (from..to).contains(second));
        let expected = window_of(&self.bins, meant.map(|(_, value)| *value));
        let found = counted.first().map_or_else(|| Window::empty(&self.bins.bins), |c| c.window.clone());
        let (n, wanted) = (found.rows, expected.rows);
        assert!(found == expected, "{when}: {n} and not {wanted} rows, {from} to {to} at {}", self.now);
        let over_time = reader.rows_over_time(&range("digits", time(from), time(to))).unwrap();
        assert_eq!(over_time.iter().map(|(_, rows)| rows).sum::<u64>(), expected.rows, "{when}");
    }
}

#[test]
fn putting_spans_together_loses_nothing_whatever_comes_in_between() {
    const HOUR: i64 = 3_600;
    const LONGEST: i64 = 400 * 86_400;
    for seed in 0..6 {
        let mut rng = Seed(seed).rng();
        let mut story = Story::new();
        for step in 0..40 {
            let when = format!("seed {seed}, step {step}");
            match rng.random_range(0..10) {
                0..4 => {
                    for _ in 0..rng.random_range(1..12) {
                        // Mostly young; some come late, into spans that were put together before.
                        let age = [60, 60, 1_900, 4 * HOUR, 27 * HOUR, 40 * HOUR][rng.random_range(0..6)];
                        let second = story.now - rng.random_range(0..age);
                        let values: Vec<f64> =
                            (0..rng.random_range(1..4)).map(|_| f64::from(rng.random_range(0..10))).collect();
                        story.load(second, &values);
                    }
                    story.settle();
                }
                4..7 => {
                    story.now += [7, 10, 45, 600, 1_800, HOUR, 9 * HOUR][rng.random_range(0..7)];
                }
                7..9 => {
                    for _ in 0..rng.random_range(1..4) {
                        story.roll_up();
                    }
                }
                _ => {
                    let mut calls = 0;
                    while story.roll_up() {
                        calls += 1;
                        assert!(calls < 10_000, "{when}: it ends");
                    }
                }
            }
            story.check(0, story.now + 1, &when);
            // Hours hold at any age, minutes for a day, ten seconds for half an hour.
            let back = |rng: &mut rand_chacha::ChaCha8Rng, most: i64, width: i64| {
                (story.now - rng.random_range(0..most)).div_euclid(width) * width
            };
            let hour = back(&mut rng, 60 * HOUR, HOUR);
            story.check(hour, hour + HOUR * rng.random_range(1..4), &when);
            let minute = back(&mut rng, 24 * HOUR, 60);
            story.check(minute, minute + 60 * rng.random_range(1..100), &when);
            let ten = back(&mut rng, 1_700, 10);
            story.check(ten, ten + 10 * rng.random_range(1..20), &when);
        }
        // Once nothing is due, only hours are left of what is old, and each row is in one span. A row says that the time is
        // right.
        story.now += 27 * HOUR + HOUR;
        story.load(story.now, &[5.0]);
        story.settle();
        while story.roll_up() {}
        story.check(0, story.now + 1, "at the end");
        let table = Connection::open(CaptureOptions::new(story.folder.path()).database()).unwrap();
        assert_eq!(column(&table, "SELECT DISTINCT span || '' FROM windows"), ["10", "3600"], "seed {seed}");
        // The oldest go, and nothing else.
        story.load(story.now - LONGEST - 3 * HOUR, &[1.0, 2.0]);
        story.load(story.now - LONGEST + 3 * HOUR, &[3.0]);
        story.settle();
        while story.roll_up() {}
        story.all.retain(|(second, _)| *second >= story.now - LONGEST);
        story.check(0, story.now + 1, "at the very end");
        // A clock that runs ahead ages nothing.
        let rows = "SELECT total(rows) || '' FROM windows";
        let before = column(&table, rows);
        story.now += LONGEST + 3 * HOUR;
        while story.roll_up() {}
        assert_eq!(column(&table, rows), before);
        story.load(story.now, &[6.0]);
        story.settle();
        while story.roll_up() {}
        assert_eq!(column(&table, "SELECT rows || '' FROM windows"), ["1"]);
    }
}

#[test]
fn a_clock_that_was_wrong_does_not_make_it_go_on_for_ever() {
    let mut story = Story::new();
    for (n, microseconds) in [-1, -10 * S, -61 * S, -3_600 * S - 1, 0, DAY_BEGIN * 3].into_iter().enumerate()
    {
        let id = format!("odd-{n}");
        keep(&story.capture, &Record { time: Timestamp(microseconds), ..at(&id, 0, &[1.0]) });
    }
    story.settle();
    let mut calls = 0;
    while story.roll_up() {
        calls += 1;
        assert!(calls < 100, "it ends");
    }
    // Those of 1970 and before are older than anything that is kept.
    let table = Connection::open(CaptureOptions::new(story.folder.path()).database()).unwrap();
    assert_eq!(column(&table, "SELECT span || ':' || rows FROM windows"), ["10:1"]);
}

#[test]
fn the_loader_puts_spans_together_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let clock = Arc::new(ManualClock::at(time(0)));
    let capture = Capture::open(&options, clock.clone()).unwrap();
    capture.watch("digits", VERSION, &bins(10)).unwrap();
    for n in 0..12 {
        keep(&capture, &at(&format!("r-{n}"), 10 * n, &[1.0]));
    }
    assert!(capture.settle(PATIENCE));
    clock.advance(std::time::Duration::from_secs(2_000));
    assert!(capture.settle(PATIENCE));
    assert!(capture.settle(PATIENCE));
    let over_time = reader(&options).rows_over_time(&ever()).unwrap();
    assert_eq!(over_time, [(time(0), 6), (time(60), 6)]);
}

#[test]
fn a_database_that_counted_nothing_yet_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let old = Connection::open(options.database()).unwrap();
    for schema in
        [include_str!("../../../src/capture/schema/1.sql"), include_str!("../../../src/capture/schema/2.sql")]
    {
        old.execute_batch(schema).unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    old.execute_batch(&format!(
        "INSERT INTO inferences (id, time, endpoint, variant, model_version, predicted, probabilities, features,
           latency_us, status, label, label_time)
         VALUES ('old', {DAY_BEGIN}, 'digits', 'v', '{VERSION}', 'b', '[0.25,0.75]', '[1.0]', 2, 200, 'a', {DAY_BEGIN})",
    ))
    .unwrap();
    drop(old);
    let capture = open(&options);
    capture.watch("digits", VERSION, &bins(10)).unwrap();
    keep(&capture, &at("new", 1, &[1.0]));
    assert!(capture.settle(PATIENCE));
    let reader = reader(&options);
    assert_eq!(rows(&reader.counted(&ever()).unwrap()), 1, "what was there before is not counted");
    let labelled = reader.labelled(&ever()).unwrap();
    assert_eq!(labelled[0].counts, [("a".to_owned(), "b".to_owned(), 1)]);
    let table = Connection::open(options.database()).unwrap();
    let version: i64 = table.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
}

#[test]
fn damaged_counts_are_skipped_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let (capture, bins) = (open(&options), bins(10));
    capture.watch("digits", VERSION, &bins).unwrap();
    keep(&capture, &at("one", 0, &[1.0]));
    keep(&capture, &at("two", 10, &[2.0]));
    assert!(capture.settle(PATIENCE));
    let table = Connection::open(options.database()).unwrap();
    let whole: Vec<u8> = table
        .query_row("SELECT counts FROM windows WHERE start = ?1", [time(0).0], |row| row.get(0))
        .unwrap();
    let damage = |counts: &[u8]| {
        let changed =
            table.execute("UPDATE windows SET counts = ?2 WHERE start = ?1", (time(0).0, counts)).unwrap();
        assert_eq!(changed, 1);
    };
    let reader = reader(&options);
    let count = || rows(&reader.counted(&ever()).unwrap());
    for length in 0..whole.len().min(200) {
        damage(&whole[..length]);
        assert_eq!(count(), 1, "cut to {length}");
    }
    // A changed byte can be another count; it is never a panic, and nothing is invented of the other span.
    // The counts of features are at the begin, those of predictions at the end.
    for place in (0..200).chain(whole.len() - 200..whole.len()) {
        for bit in [0x01, 0x40, 0x80, 0xff] {
            let mut counts = whole.clone();
            counts[place] ^= bit;
            damage(&counts);
            assert!(count() >= 1, "byte {place}");
        }
    }
    damage(b"nothing of the kind");
    keep(&capture, &at("three", 1, &[3.0]));
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().failures, 0);
    let found = reader.counted(&range("digits", time(0), time(10))).unwrap();
    assert_eq!(found[0].window, window_of(&bins, [3.0]), "it begins anew");
    // Nor does it stand in the way when it becomes a part of more.
    damage(b"nothing of the kind");
    drop(capture);
    let mut writer = InferenceTable::open(&options.database()).unwrap();
    while writer.roll_up(time(10 * 86_400)).unwrap() {}
    let found = reader.counted(&ever()).unwrap();
    assert_eq!(found[0].window, window_of(&bins, [2.0]));
}
