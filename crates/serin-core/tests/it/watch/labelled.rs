//! Answers beside the truth.

use std::time::Duration;

use serin_core::capture::{CaptureOptions, Label, LabelledCounts, Record};
use serin_core::clock::Timestamp;

use super::{S, bins, ever, range, reader, time};
use crate::capture::{PATIENCE, answered, keep, open};

fn label(id: &str, class: &str, at: Timestamp) -> Label {
    Label { id: id.to_owned(), label: class.to_owned(), time: Some(at) }
}

fn counts(counts: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    counts.iter().map(|&(truth, said, rows)| (truth.to_owned(), said.to_owned(), rows)).collect()
}

#[test]
fn answers_are_counted_beside_their_truth_by_version() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    capture.watch("digits", "2", &bins(10)).unwrap();
    let of = |version, id, second| Record {
        model_version: version,
        time: time(second),
        ..answered(id, &[&[1.0]])
    };
    for (id, second) in [("a", 0), ("b", 20), ("c", 40), ("silent", 41), ("later", 100)] {
        keep(&capture, &of("2", id, second));
    }
    // Nobody counts the rows of this version.
    keep(&capture, &of("1", "old", 30));
    keep(&capture, &Record { endpoint: "letters", ..of("2", "elsewhere", 30) });
    assert!(capture.settle(PATIENCE));
    let labels = [
        label("a", "b", time(10)),
        label("b", "a", time(50)),
        // Known before it was asked: no time passed.
        label("c", "b", time(0)),
        label("later", "b", time(101)),
        label("old", "b", time(90)),
        label("elsewhere", "a", time(31)),
    ];
    capture.attach_labels(&labels, time(200)).unwrap();

    let found = reader(&options).labelled(&range("digits", time(0), time(100))).unwrap();
    let old = LabelledCounts {
        model_version: "1".into(),
        answered: 1,
        counts: counts(&[("b", "b", 1)]),
        delay: Some(Duration::from_secs(60)),
    };
    let new = LabelledCounts {
        model_version: "2".into(),
        answered: 4,
        counts: counts(&[("a", "b", 1), ("b", "b", 2)]),
        delay: Some(Duration::from_secs_f64(40.0 / 3.0)),
    };
    assert_eq!(found[0], old);
    assert_eq!(found[1].delay.map(|delay| delay.as_millis()), new.delay.map(|delay| delay.as_millis()));
    assert_eq!(LabelledCounts { delay: new.delay, ..found[1].clone() }, new);
    assert_eq!(found.len(), 2);
    // A version without any truth is there with its answers, and nothing is without rows.
    let silent = reader(&options).labelled(&range("digits", time(41), time(42))).unwrap();
    assert_eq!(silent, []);
    let silent = reader(&options).labelled(&range("digits", time(40), time(50))).unwrap();
    assert_eq!((silent.len(), silent[0].answered, silent[0].counts.len()), (1, 2, 1));
    let everywhere = reader(&options).labelled(&ever()).unwrap();
    assert_eq!(everywhere[1].counts, counts(&[("a", "b", 2), ("b", "b", 3)]));
}

#[test]
fn a_time_that_cannot_be_makes_no_quality_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let ids = ["a", "b", "c", "d"];
    for id in ids {
        keep(&capture, &Record { time: time(0), ..answered(id, &[&[1.0]]) });
    }
    assert!(capture.settle(PATIENCE));
    let times = [i64::MAX, i64::MAX, i64::MIN, i64::MAX];
    let labels: Vec<Label> = ids.iter().zip(times).map(|(id, at)| label(id, "b", Timestamp(at))).collect();
    capture.attach_labels(&labels, time(1)).unwrap();
    let found = reader(&options).labelled(&ever()).unwrap();
    assert_eq!((found.len(), &found[0].counts), (1, &counts(&[("b", "b", 4)])));
    assert_eq!(reader(&options).labelled_rows(&ever(), 10).unwrap().len(), 4);
}

#[test]
fn labelled_rows_come_the_last_first_and_no_more_than_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    let ids: Vec<String> = (0..6).map(|n| format!("r-{n}")).collect();
    // Two of them arrive at the same moment: what was loaded last comes first.
    for (id, second) in ids.iter().zip([5, 3, 3, 9, 1, 7]) {
        let value = [second as f64, f64::NAN];
        keep(&capture, &Record { time: time(second), ..answered(id, &[&value]) });
    }
    keep(&capture, &Record { time: time(4), ..answered("batch", &[&[10.0], &[11.0]]) });
    let refused =
        serin_core::capture::Outcome::Refused { error_code: "wrong_column_count", detail: "", body: b"" };
    keep(&capture, &Record { time: time(6), outcome: refused, ..answered("refused", &[]) });
    assert!(capture.settle(PATIENCE));
    let mut labels: Vec<Label> =
        ids.iter().filter(|id| *id != "r-5").map(|id| label(id, "a", time(20))).collect();
    labels.extend(["batch/1", "refused"].map(|id| label(id, "b", time(20))));
    capture.attach_labels(&labels, time(20)).unwrap();
    let ask = |from, to, limit| -> Vec<String> {
        let rows = reader(&options).labelled_rows(&range("digits", time(from), time(to)), limit).unwrap();
        rows.iter().for_each(|row| assert_eq!(row.label_time, Some(Timestamp(time(0).0 + 20 * S))));
        rows.into_iter().map(|row| row.id).collect()
    };
    assert_eq!(ask(0, 100, 100), ["r-3", "r-0", "batch/1", "r-2", "r-1", "r-4"]);
    assert_eq!(ask(0, 100, 2), ["r-3", "r-0"]);
    assert_eq!(ask(0, 100, 0), [""; 0]);
    assert_eq!(ask(3, 5, 100), ["batch/1", "r-2", "r-1"]);
    let row = reader(&options).labelled_rows(&range("digits", time(9), time(10)), 1).unwrap().remove(0);
    assert_eq!((row.features[0], row.features[1].is_nan(), row.label.as_deref()), (9.0, true, Some("a")));
}
