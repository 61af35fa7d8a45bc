//! Records go in, rows come out: exactly once, whatever happens to the files in between.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serin_core::capture::{
    AppendError, Capture, CaptureMode, CaptureOptions, EndpointColumns, FullPolicy, JournalOptions,
    OpenCaptureError, Outcome, Receipt, Record,
};
use serin_core::clock::{Clock, ManualClock, Timestamp};

pub const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn rows_of_a_batch_and_a_refusal_read_back_by_sql() {
    let folder = tempfile::tempdir().unwrap();
    let capture = open(&CaptureOptions::new(folder.path()));
    keep(&capture, &answered("one", &[&[1.5, f64::NAN]]));
    keep(&capture, &answered("many", &[&[1.0, 2.0], &[3.0, 4.0]]));
    let refused = Outcome::Refused { error_code: "wrong_column_count", detail: "row 1", body: b"1,2,3" };
    keep(&capture, &Record { status: 422, outcome: refused, ..answered("bad", &[]) });
    let (classes, features) = (names(&["a", "b"]), names(&["width \"mm\"", "id"]));
    let columns = EndpointColumns {
        endpoint: "digits",
        model_version: "0123456789ab",
        classes: &classes,
        features: &features,
    };
    capture.create_view(&columns).unwrap();
    // A retrained model changes the view, not the rows.
    capture.create_view(&columns).unwrap();
    assert!(capture.settle(PATIENCE));

    let table = Connection::open(folder.path().join("inferences.db")).unwrap();
    assert_eq!(column(&table, "SELECT id FROM inferences ORDER BY id"), ["bad", "many/0", "many/1", "one"]);
    assert_eq!(column(&table, "SELECT features FROM inferences WHERE id = 'one'"), ["[1.5,null]"]);
    let refusal = "SELECT error_code || '; ' || error_detail || '; ' || CAST(body AS TEXT) FROM inferences \
                   WHERE predicted IS NULL";
    assert_eq!(column(&table, refusal), ["wrong_column_count; row 1; 1,2,3"]);
    let view = "SELECT \"width \"\"mm\"\"\" || ' ' || feature_id || ' ' || p_b || ' ' || at FROM endpoint_digits \
                WHERE id = 'many/1'";
    assert_eq!(column(&table, view), ["3.0 4.0 0.75 2023-11-14T22:13:20.000Z"]);
}

#[test]
fn a_repeated_id_is_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let capture = open(&CaptureOptions::new(folder.path()));
    for value in [1.0, 2.0] {
        keep(&capture, &answered("same", &[&[value, 0.0]]));
        assert!(capture.settle(PATIENCE));
    }
    assert_eq!((capture.status().loaded_rows, capture.status().duplicate_rows), (1, 1));
    let table = Connection::open(folder.path().join("inferences.db")).unwrap();
    assert_eq!(column(&table, "SELECT features FROM inferences"), ["[1.0,0.0]"], "the first one stays");
}

#[test]
fn a_segment_that_outlives_its_loading_is_not_loaded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let segment = write_segment(&options, 3);
    let copy = fs::read(&segment).unwrap();
    let capture = open(&options);
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().loaded_rows, 3);
    assert!(!segment.exists(), "loaded segments are deleted");
    drop(capture);

    // As if the process had died between the commit and the deletion. The rows are deleted to see that they are
    // not even looked at.
    fs::write(&segment, copy).unwrap();
    Connection::open(options.database()).unwrap().execute("DELETE FROM inferences", []).unwrap();
    let capture = open(&options);
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().loaded_rows, 0);
    assert!(!segment.exists());
    drop(capture);

    // Its entry goes once the file is gone.
    drop(open(&options));
    let capture = open(&options);
    assert!(capture.settle(PATIENCE));
    let table = Connection::open(options.database()).unwrap();
    assert_eq!(column(&table, "SELECT count(*) || '' FROM capture_segments"), ["0"]);
}

#[test]
fn a_torn_tail_is_the_end_of_the_log_and_a_flipped_bit_is_kept_for_a_person() {
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 5);
    let zeros = |bytes: &mut Vec<u8>| bytes.extend_from_slice(&[0; 64]);
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 0x10;
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    type Harm<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>), u64, bool);
    let harms: [Harm<'_>; 4] = [
        ("cut", &cut, 4, false),
        ("zeros", &zeros, 5, false),
        ("flip", &flip, 4, true),
        ("empty", &empty, 0, false),
    ];
    for (name, harm, rows, kept) in harms {
        let folder = tempfile::tempdir().unwrap();
        let options = CaptureOptions::new(folder.path());
        let segment = write_segment(&options, 5);
        let mut bytes = fs::read(&segment).unwrap();
        harm(&mut bytes);
        fs::write(&segment, bytes).unwrap();

        let capture = open(&options);
        keep(&capture, &answered("after", &[&[1.0, 2.0]]));
        assert!(capture.settle(PATIENCE), "{name}");
        assert_eq!(capture.status().loaded_rows, rows + 1, "{name}");
        assert_eq!(segment.with_extension("damaged").exists(), kept, "{name}");
        assert!(!segment.exists(), "{name}");
    }
}

#[test]
fn a_full_spool_refuses_and_takes_again_once_it_was_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalOptions { segment_bytes: 2_000, spool_limit_bytes: 20_000 };
    let options = CaptureOptions { journal, ..CaptureOptions::new(folder.path()) };
    let capture = open(&options);
    // Another program holds the table, so nothing can be loaded.
    let holder = Connection::open(options.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut kept = 0;
    let refused = loop {
        match capture.append(&answered(&format!("r-{kept}"), &[&[0.0; 50]])) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000, "the limit holds");
    };
    assert!(matches!(refused, AppendError::Full { limit_bytes: 20_000, .. }), "{refused}");
    assert!(kept > 10 && capture.status().spooled_bytes <= 20_000);
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().loaded_rows, kept);
    assert_eq!(capture.status().spooled_bytes, 0);
    keep(&capture, &answered("again", &[&[0.0; 50]]));
}

#[test]
fn what_a_full_journal_drops_is_counted_exactly_when_answers_matter_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = JournalOptions { segment_bytes: 2_000, spool_limit_bytes: 20_000 };
    let options =
        CaptureOptions { journal, when_full: FullPolicy::Degrade, ..CaptureOptions::new(folder.path()) };
    let capture = open(&options);
    let holder = Connection::open(options.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..1_000 {
        keep(&capture, &answered(&format!("r-{n}"), &[&[0.0; 50]]));
    }
    let status = capture.status();
    assert!(status.dropped > 900 && status.spooled_bytes <= 20_000, "{status:?}");
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().loaded_rows + status.dropped, 1_000);
    assert_eq!(capture.status().appended, capture.status().loaded_rows);
}

#[test]
fn a_sample_is_kept_and_the_rest_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mode = CaptureMode::Sampled { share: 0.25 };
    let capture = open(&CaptureOptions { mode, ..CaptureOptions::new(folder.path()) });
    for n in 0..400 {
        keep(&capture, &answered(&format!("r-{n}"), &[&[0.0]]));
    }
    assert!(capture.settle(PATIENCE));
    let status = capture.status();
    assert_eq!(status.loaded_rows + status.not_sampled, 400);
    assert!((60..140).contains(&status.loaded_rows), "{status:?}");
}

#[test]
fn a_strict_receipt_is_good_once_the_disk_has_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let capture = open(&CaptureOptions { mode: CaptureMode::Strict, ..CaptureOptions::new(folder.path()) });
    let receipts: Vec<Receipt> =
        (0..50).map(|n| capture.append(&answered(&format!("r-{n}"), &[&[0.0]])).unwrap()).collect();
    for receipt in receipts {
        block_on(receipt.durable()).unwrap();
    }
    // Alone too: nobody else's record is needed to begin the sync.
    block_on(capture.append(&answered("alone", &[&[0.0]])).unwrap().durable()).unwrap();
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.status().loaded_rows, 51);
}

#[test]
fn a_segment_that_cannot_be_read_does_not_block_those_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    // Its name is older than all others, and reading a folder fails whoever tries.
    let unreadable = folder.path().join("capture").join("0".repeat(32)).with_extension("journal");
    fs::create_dir_all(&unreadable).unwrap();
    let capture = open(&options);
    keep(&capture, &answered("behind", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    let status = capture.status();
    assert_eq!((status.loaded_rows, status.damaged, status.spooled_bytes), (1, 1, 0), "{status:?}");
    assert!(unreadable.with_extension("damaged").exists());
}

#[test]
fn lag_is_the_age_of_the_oldest_record_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (options, clock) = (CaptureOptions::new(folder.path()), clock());
    let capture = Capture::open(&options, clock.clone()).unwrap();
    assert_eq!(capture.status().lag, Duration::ZERO);
    let holder = Connection::open(options.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    keep(&capture, &answered("waits", &[&[1.0]]));
    clock.advance(Duration::from_secs(7));
    keep(&capture, &answered("waits too", &[&[1.0]]));
    assert_eq!(capture.status().lag, Duration::from_secs(7));
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(capture.settle(PATIENCE));
    assert_eq!((capture.status().lag, capture.status().last_load), (Duration::ZERO, Some(clock.now())));
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let old = Connection::open(options.database()).unwrap();
    old.execute_batch(include_str!("../../src/capture/schema/1.sql")).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute_batch(
        "INSERT INTO inferences (id, time, endpoint, variant, model_version, latency_us, status)
         VALUES ('old', 1, 'e', 'v', 'm', 2, 200)",
    )
    .unwrap();
    drop(old);
    let capture = open(&options);
    keep(&capture, &answered("new", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    let table = Connection::open(options.database()).unwrap();
    assert_eq!(column(&table, "SELECT id || client_gone FROM inferences ORDER BY id"), ["new0", "old0"]);
}

#[test]
fn a_second_process_is_refused_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let second = Capture::open(&options, clock());
    assert!(matches!(second, Err(OpenCaptureError::InUse { .. })));
    drop(capture);
    assert!(Capture::open(&options, clock()).is_ok());
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    Connection::open(options.database()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let Err(OpenCaptureError::Table { source, .. }) = Capture::open(&options, clock()) else {
        panic!("a newer database must be refused");
    };
    assert_eq!(source.to_string(), "the database has version 99, this program knows versions up to 3");
}

#[test]
fn the_view_of_a_very_wide_model_stops_at_the_columns_sqlite_has() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let features: Vec<String> = (0..2_500).map(|i| format!("f{i}")).collect();
    let classes: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    capture
        .create_view(&EndpointColumns {
            endpoint: "wide",
            model_version: "1",
            classes: &classes,
            features: &features,
        })
        .unwrap();
    let table = Connection::open(options.database()).unwrap();
    let columns = table.prepare("SELECT * FROM endpoint_wide").unwrap().column_count();
    assert_eq!(columns, 9 + 80 + 1_900);
}

/// Polls until it is done; the waker unparks this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Appends a record that must be taken.
pub fn keep(capture: &Capture, record: &Record<'_>) {
    assert!(capture.append(record).unwrap().is_durable());
}

pub fn open(options: &CaptureOptions) -> Capture {
    Capture::open(options, clock()).unwrap()
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp(1_700_000_000_000_000)))
}

pub fn answered<'a>(id: &'a str, rows: &[&[f64]]) -> Record<'a> {
    Record {
        id,
        time: Timestamp(1_700_000_000_000_000),
        endpoint: "digits",
        variant: "AllTraffic",
        model_version: "0123456789ab",
        run: None,
        rollout_step: None,
        caller: None,
        latency_microseconds: 42,
        status: 200,
        client_gone: false,
        outcome: Outcome::Answered {
            predicted: vec!["b"; rows.len()],
            probabilities: Cow::Owned(rows.iter().flat_map(|_| [0.25, 0.75]).collect()),
            features: Cow::Owned(rows.concat()),
        },
    }
}

/// A segment of `records` records as a process that died would leave it.
fn write_segment(options: &CaptureOptions, records: usize) -> PathBuf {
    let journal = serin_core::capture::Journal::open(
        &options.data_directory,
        options.journal,
        serin_core::ids::InferenceIds::from_entropy(clock()),
    )
    .unwrap();
    for n in 0..records {
        journal.append(&answered(&format!("left-{n}"), &[&[n as f64, 0.5]])).unwrap();
    }
    drop(journal);
    only_segment(&options.data_directory.join("capture"))
}

fn only_segment(folder: &Path) -> PathBuf {
    let mut segments = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"));
    let segment = segments.next().unwrap();
    assert_eq!(segments.next(), None);
    segment
}

pub fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub fn column(table: &Connection, sql: &str) -> Vec<String> {
    let mut statement = table.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}
