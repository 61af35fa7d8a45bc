//! True classes find their rows: at once, late, corrected, and out of order.

use rusqlite::Connection;
use serin_core::capture::{Capture, CaptureOptions, LABELS_AT_ONCE, Label, LabelCounts, LabelError, Serving};
use serin_core::clock::Timestamp;

use crate::capture::{PATIENCE, answered, column, keep, open};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

#[test]
fn labels_are_attached_corrected_and_kept_with_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    keep(&capture, &answered("one", &[&[1.0]]));
    keep(&capture, &answered("many", &[&[1.0], &[2.0]]));
    assert!(capture.settle(PATIENCE));

    let first = [label("one", "a", 10), label("many/1", "b", 10), label("one", "a", 11)];
    assert_eq!(attach(&capture, &first), counts([2, 0, 0, 1]), "the same label again is nothing new");
    assert_eq!(attach(&capture, &[label("one", "b", 20)]), counts([0, 0, 1, 0]));
    // What was known earlier arrives later: it belongs to the history alone.
    assert_eq!(attach(&capture, &[label("one", "c", 15)]), counts([0, 0, 0, 1]));

    let table = Connection::open(options.database()).unwrap();
    let labels =
        "SELECT id || '=' || label || '@' || label_time FROM inferences WHERE label IS NOT NULL ORDER BY id";
    assert_eq!(column(&table, labels), ["many/1=b@10", "one=b@20"]);
    let history = "SELECT label || '@' || label_time || ',' || received FROM label_history WHERE id = 'one'";
    let received = NOW.0;
    assert_eq!(
        column(&table, history),
        [format!("a@10,{received}"), format!("b@20,{received}"), format!("c@15,{received}")]
    );
}

#[test]
fn a_label_that_comes_before_its_row_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = CaptureOptions::new(folder.path());
    let capture = open(&options);
    keep(&capture, &answered("earlier", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    let early = [label("late", "old", 5), label("late", "new", 9), label("late", "older", 2)];
    assert_eq!(attach(&capture, &early), counts([0, 3, 0, 0]));
    assert_eq!(attach(&capture, &[label("never", "x", 1)]), counts([0, 1, 0, 0]));
    keep(&capture, &answered("late", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    drop(capture);

    let table = Connection::open(options.database()).unwrap();
    assert_eq!(
        column(&table, "SELECT id || '=' || coalesce(label, '-') FROM inferences ORDER BY id"),
        ["earlier=-", "late=new"]
    );
    assert_eq!(column(&table, "SELECT id FROM waiting_labels"), ["never"]);
    let history = "SELECT id || '=' || label || '@' || label_time FROM label_history";
    assert_eq!(column(&table, history), ["late=new@9"]);
}

#[test]
fn labels_that_cannot_be_kept_are_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let capture = open(&CaptureOptions::new(folder.path()));
    keep(&capture, &answered("one", &[&[1.0]]));
    assert!(capture.settle(PATIENCE));
    let good = label("one", "a", 1);
    let refused = |bad: Label| capture.attach_labels(&[good.clone(), bad], NOW).unwrap_err();
    assert!(matches!(refused(label("", "a", 1)), LabelError::InvalidId { index: 1 }));
    assert!(matches!(refused(label(&"x".repeat(97), "a", 1)), LabelError::InvalidId { index: 1 }));
    assert!(matches!(refused(label("one", "", 1)), LabelError::InvalidLabel { index: 1 }));
    assert!(matches!(refused(label("one", "a\nb", 1)), LabelError::InvalidLabel { index: 1 }));
    let many = vec![good.clone(); LABELS_AT_ONCE + 1];
    assert!(matches!(capture.attach_labels(&many, NOW), Err(LabelError::TooMany { labels: 10_001 })));
    assert_eq!(attach(&capture, &[good]), counts([1, 0, 0, 0]), "nothing was attached before");
}

#[test]
fn a_label_is_read_with_any_form_of_time() {
    let read = |text| serde_json::from_str::<Label>(text);
    assert_eq!(read(r#"{"id": "r", "label": "a", "time": 5}"#).unwrap(), label("r", "a", 5));
    let dated = read(r#"{"id": "r", "label": "a", "time": "1970-01-01T00:00:00.000005Z"}"#);
    assert_eq!(dated.unwrap(), label("r", "a", 5));
    assert_eq!(read(r#"{"id": "r", "label": "a"}"#).unwrap().time, None);
    for wrong in [r#"{"id": "r", "label": "a", "time": "now"}"#, r#"{"id": "r", "label": "a", "when": 5}"#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_note_of_a_server_is_written_read_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Serving::read(folder.path()).unwrap(), None);
    let note = Serving { url: "http://127.0.0.1:8080".into(), admin: None };
    note.write(folder.path()).unwrap();
    assert_eq!(Serving::read(folder.path()).unwrap(), Some(note));
    std::fs::write(folder.path().join("serving.json"), b"{").unwrap();
    assert_eq!(Serving::read(folder.path()).unwrap(), None, "what cannot be understood is no note");
    Serving::remove(folder.path()).unwrap();
    Serving::remove(folder.path()).unwrap();
}

fn attach(capture: &Capture, labels: &[Label]) -> LabelCounts {
    capture.attach_labels(labels, NOW).unwrap()
}

fn label(id: &str, label: &str, time: i64) -> Label {
    Label { id: id.into(), label: label.into(), time: Some(Timestamp(time)) }
}

/// Attached, waiting, corrected, unchanged.
fn counts([attached, waiting, corrected, unchanged]: [u64; 4]) -> LabelCounts {
    LabelCounts { attached, waiting, corrected, unchanged }
}
