//! What the table gives up, and what it shows when models change.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use serin_core::capture::{
    Capture, CaptureOptions, EndpointColumns, InferenceTable, Integrity, Label, Record, Retention,
};
use serin_core::clock::{Clock as _, Timestamp};

use crate::capture::{PATIENCE, answered, clock, column, keep, names, open};

#[test]
fn rows_past_their_age_go_with_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention { age: Some(Duration::from_secs(3_600)), size_bytes: None };
    let options = CaptureOptions { retention, ..CaptureOptions::new(folder.path()) };
    let clock = clock();
    let capture = Capture::open(&options, clock.clone()).unwrap();
    let now = clock.now().0;
    for (id, age_seconds) in [("young", 3_599), ("old", 3_601), ("older", 100_000)] {
        keep(&capture, &Record { time: Timestamp(now - age_seconds * 1_000_000), ..answered(id, &[&[1.0]]) });
    }
    assert!(capture.settle(PATIENCE));
    let labels = ["young", "old"].map(|id| Label { id: id.into(), label: "a".into(), time: None });
    capture.attach_labels(&labels, clock.now()).unwrap();
    clock.advance(Duration::from_secs(11));
    keep(&capture, &Record { time: clock.now(), ..answered("new", &[&[1.0]]) });
    // The first pass loads, and each pass of this kind looks for old rows too.
    assert!(capture.settle(PATIENCE));
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().pruned_rows, 3, "the young one has become too old as well");
    let table = Connection::open(options.database()).unwrap();
    assert_eq!(column(&table, "SELECT id FROM inferences"), ["new"]);
    assert_eq!(column(&table, "SELECT id FROM label_history"), [""; 0]);
}

#[test]
fn the_oldest_rows_go_when_the_table_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = InferenceTable::open(&folder.path().join("inferences.db")).unwrap();
    drop(table);
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    for n in 0..6_000 {
        let time = Timestamp(1_000_000 + n);
        keep(&capture, &Record { time, ..answered(&format!("r-{n:05}"), &[&[0.123_456_789; 30]]) });
    }
    assert!(capture.settle(PATIENCE));
    drop(capture);
    table = InferenceTable::open(&options.database()).unwrap();
    let size = fs::metadata(options.database()).unwrap().len();
    let retention = Retention { age: None, size_bytes: Some(size / 2) };
    let mut pruned = 0;
    loop {
        match table.prune(&retention, Timestamp(0)).unwrap() {
            0 => break,
            rows => pruned += rows,
        }
        assert!(pruned <= 6_000);
    }
    let reader = Connection::open(options.database()).unwrap();
    assert_eq!(column(&reader, "SELECT min(id) FROM inferences"), [format!("r-{pruned:05}")]);
    assert!(pruned > 0 && pruned < 6_000, "{pruned}");
}

#[test]
fn a_row_or_a_whole_batch_is_deleted_by_id_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let secret = 1_234.567_891_234_5;
    for id in ["a", "ab", "a/x", "b", "lone"] {
        keep(&capture, &answered(id, &[&[1.0]]));
    }
    keep(&capture, &answered("batch", &[&[secret], &[2.0]]));
    assert!(capture.settle(PATIENCE));
    drop(capture);
    let mut table = InferenceTable::open(&options.database()).unwrap();
    let ids = names(&["a", "batch", "nobody", "lone"]);
    assert_eq!(table.delete_rows(&ids).unwrap(), 4);
    let left =
        column(&Connection::open(options.database()).unwrap(), "SELECT id FROM inferences ORDER BY id");
    assert_eq!(left, ["a/x", "ab", "b"]);
    drop(table);
    let needle = secret.to_string();
    for file in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            let bytes = fs::read(&file).unwrap();
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{} still has what was deleted", file.display());
        }
    }
}

#[test]
fn the_view_follows_the_model_and_never_shows_values_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let (classes, old, new) = (names(&["a", "b"]), names(&["x", "y"]), names(&["y", "x", "z"]));
    let serve = |version: &str, features: &[String]| {
        let columns =
            EndpointColumns { endpoint: "digits", model_version: version, classes: &classes, features };
        capture.create_view(&columns).unwrap();
    };
    serve("1", &old);
    keep(&capture, &Record { model_version: "1", ..answered("first", &[&[1.0, 2.0]]) });
    // Retrained with the same features: both are shown.
    serve("2", &old);
    keep(&capture, &Record { model_version: "2", ..answered("second", &[&[3.0, 4.0]]) });
    assert!(capture.settle(PATIENCE));
    let table = Connection::open(options.database()).unwrap();
    let rows = "SELECT id || ' ' || x || ' ' || y FROM endpoint_digits ORDER BY id";
    assert_eq!(column(&table, rows), ["first 1.0 2.0", "second 3.0 4.0"]);

    serve("3", &new);
    keep(&capture, &Record { model_version: "3", ..answered("third", &[&[5.0, 6.0, 7.0]]) });
    assert!(capture.settle(PATIENCE));
    assert_eq!(column(&table, rows), ["third 6.0 5.0"]);
    // The others stay readable, with their names.
    let named = "SELECT inferences.id || ' ' || name.value || '=' || value.value FROM inferences
                 JOIN models USING (endpoint, model_version), json_each(models.features) AS name
                 JOIN json_each(inferences.features) AS value USING (key)
                 WHERE inferences.id = 'first' ORDER BY name.key";
    assert_eq!(column(&table, named), ["first x=1.0", "first y=2.0"]);
}

#[test]
fn after_an_unclean_end_the_file_is_checked_while_answers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    keep(&capture, &answered("one", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().integrity, Integrity::NotChecked);
    let mark = folder.path().join("capture").join("running");
    assert!(mark.exists());
    drop(capture);
    assert!(!mark.exists());

    // As kill -9 would leave it.
    fs::write(&mark, []).unwrap();
    let capture = open(&options);
    keep(&capture, &answered("two", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    wait_until(|| capture.status().integrity != Integrity::Checking);
    assert_eq!(capture.status().integrity, Integrity::Sound);
    drop(capture);

    // An index that lacks a row is damage that no query shows.
    let table = Connection::open(options.database()).unwrap();
    table
        .execute_batch(
            "PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX inferences_by_time ON inferences (status)'
               WHERE name = 'inferences_by_time';",
        )
        .unwrap();
    drop(table);
    fs::write(&mark, []).unwrap();
    let capture = open(&options);
    wait_until(|| capture.status().integrity != Integrity::Checking);
    assert!(matches!(capture.status().integrity, Integrity::Damaged(_)), "{:?}", capture.status().integrity);
}

fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(done(), "it did not happen in time");
}
