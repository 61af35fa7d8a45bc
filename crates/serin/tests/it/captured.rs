//! What can be done with captured answers from the command line.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use serin_core::capture::{
    Capture, CaptureOptions, EndpointColumns, Label, Outcome, Record, Serving, database,
};
use serin_core::clock::{Clock as _, ManualClock, Timestamp};

use crate::commands::process::{Ran, run};

const NOON: Timestamp = Timestamp(1_800_014_400_000_000);
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_query_prints_a_table_csv_or_json() {
    let folder = captured();
    let sql = "select id, predicted, round(sum(width), 2) as \"sum\", error_code from (
                 select id, predicted, null as error_code, width from endpoint_iris
                 union all select id, predicted, error_code, null from inferences where status <> 200)
               group by id order by id";
    let table = query(folder.path(), &[sql]).expect(0);
    let lines: Vec<&str> = table.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["id", "predicted", "sum", "error_code"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["bad", "NULL", "NULL", "not_a_number"]);
    assert_eq!(lines.len(), 5, "{}", table.stdout);
    let csv = query(folder.path(), &["--csv", sql]).expect(0);
    assert_eq!(
        csv.stdout,
        "id,predicted,sum,error_code\nbad,,,not_a_number\none,a,1.5,\ntwo/0,a,2,\ntwo/1,=b,,\n"
    );
    let rows = query(folder.path(), &["--json", sql]).expect(0).json();
    assert_eq!(rows[1], json!({"id": "one", "predicted": "a", "sum": 1.5, "error_code": null}));
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let first = query(folder.path(), &["--json", "select 2 as b, 1 as a, 3 as b"]).expect(0);
    assert_eq!(first.stdout, "[\n{\"b\":2,\"a\":1,\"b_2\":3}\n]\n", "columns keep their order");
    assert_eq!(query(folder.path(), &["--json", "select 1 where 0"]).expect(0).stdout, "[]\n");
    let safe = query(folder.path(), &["--csv", "--excel-safe", "select '=1+1' as t, -1.5 as n"]).expect(0);
    assert_eq!(safe.stdout, "t,n\n'=1+1,-1.5\n");
}

#[test]
fn a_query_cannot_change_anything() {
    let folder = captured();
    for sql in [
        "delete from inferences",
        "update inferences set label = 'x'",
        "drop table inferences",
        "create temp table t (x)",
        "create view v as select 1",
        "attach 'elsewhere.db' as other",
        "vacuum into 'copy.db'",
        "pragma user_version = 7",
        "pragma query_only = off",
        "pragma writable_schema = on",
        "pragma wal_checkpoint(truncate)",
        "select load_extension('x')",
        "begin immediate",
        "select 1; delete from inferences",
        "replace into waiting_labels values ('a', 'b', 1, 1)",
    ] {
        let ran = query(folder.path(), &[sql]).expect(2);
        assert_eq!(ran.stdout, "", "{sql}");
        assert!(ran.stderr.starts_with("serin: "), "{sql}: {}", ran.stderr);
    }
    assert_eq!(
        query(folder.path(), &["--csv", "select count(*) from inferences"]).expect(0).stdout,
        "count(*)\n4\n"
    );
    assert!(!folder.path().join("elsewhere.db").exists() && !folder.path().join("copy.db").exists());
    for sql in [
        "select name from pragma_table_info('inferences') limit 1",
        "pragma user_version",
        "pragma table_info(inferences)",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select sum(i) from n",
        "select value from inferences, json_each(features) limit 1",
        "explain query plan select * from inferences where id = 'one'",
        "select 1 -- and nothing else",
    ] {
        query(folder.path(), &[sql]).expect(0);
    }
}

#[test]
fn a_query_says_what_is_wrong_and_ends_in_time() {
    let folder = captured();
    let wrong = query(folder.path(), &["select * from inference"]).expect(2);
    assert!(wrong.stderr.contains("no such table: inference"), "{}", wrong.stderr);
    let wrong = query(folder.path(), &["selec 1"]).expect(2);
    assert!(wrong.stderr.contains("syntax error"), "{}", wrong.stderr);
    let wrong = query(folder.path(), &["select json_extract('{', '$')"]).expect(2);
    assert!(wrong.stderr.contains("malformed JSON"), "{}", wrong.stderr);

    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let late = query(folder.path(), &["--timeout", "300ms", endless]).expect(1);
    assert!(late.stderr.contains("took longer than 300ms"), "{}", late.stderr);

    let ten = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10) select i from n";
    let cut = query(folder.path(), &["--csv", "--limit", "3", ten]).expect(0);
    assert_eq!(cut.stdout, "i\n1\n2\n3\n");
    assert!(cut.stderr.contains("only the first 3 rows"), "{}", cut.stderr);
    for whole in ["10", "0"] {
        let ran = query(folder.path(), &["--csv", "--limit", whole, ten]).expect(0);
        assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (11, ""));
    }

    let empty = tempfile::tempdir().unwrap();
    let nothing = query(empty.path(), &["select 1"]).expect(1);
    assert!(nothing.stderr.contains("there is no inference table in"), "{}", nothing.stderr);
}

#[test]
fn a_query_reads_beside_a_server_and_after_one_that_was_killed() {
    let folder = captured();
    let capture = open(folder.path());
    keep(&capture, &answered("new", "a", &[&[9.0, 9.0]]));
    assert!(capture.settle(PATIENCE));
    let ids = ["--csv", "select id from inferences where id = 'new'"];
    assert_eq!(query(folder.path(), &ids).expect(0).stdout, "id\nnew\n", "beside the writer");

    // What kill -9 leaves: a database whose last rows are in the log only, and no index of the log.
    let left = tempfile::tempdir().unwrap();
    for name in ["inferences.db", "inferences.db-wal"] {
        fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let log = fs::metadata(left.path().join("inferences.db-wal")).unwrap().len();
    assert!(log > 0, "the last rows are in the log");
    fs::create_dir(left.path().join("capture")).unwrap();
    fs::write(left.path().join("capture/0.journal"), "some").unwrap();
    let ran = query(left.path(), &ids).expect(0);
    assert_eq!(ran.stdout, "id\nnew\n");
    assert!(ran.stderr.contains("4 bytes of captured answers are not in the table yet"), "{}", ran.stderr);
}

#[test]
fn an_export_has_one_column_a_feature_whatever_the_model() {
    let folder = captured();
    let out = folder.path().join("rows.csv");
    export(folder.path(), &["--format", "csv", "--excel-safe", "--out", out.to_str().unwrap()]).expect(0);
    let csv = fs::read_to_string(&out).unwrap();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next().unwrap(),
        "id,time,endpoint,variant,model_version,predicted,p_a,p_=b,width,feature_time,height,run,latency_us,status,\
         error_code,error_detail,rollout_step,caller,client_gone,label,label_time"
    );
    assert_eq!(
        lines.next().unwrap(),
        "one,1800014400000000,iris,AllTraffic,v1,a,0.25,0.75,1.5,7,,,42,200,,,,,0,=b,1800014400000005"
            .replace("=b", "'=b")
    );
    assert_eq!(
        lines.next().unwrap(),
        "two/0,1800014400000000,iris,AllTraffic,v2,a,0.25,0.75,2,,5,,42,200,,,,,0,,"
    );
    assert_eq!(
        lines.next().unwrap(),
        "two/1,1800014400000000,iris,AllTraffic,v2,'=b,0.25,0.75,,,6,,42,200,,,,,0,,"
    );
    assert_eq!(
        lines.next().unwrap(),
        "bad,1800014400000000,iris,AllTraffic,v2,,,,,,,,42,422,not_a_number,row 1,,,1,,"
    );
    assert_eq!(lines.next(), None);

    let out = folder.path().join("rows.parquet");
    export(folder.path(), &["--format", "parquet", "--out", out.to_str().unwrap()]).expect(0);
    let bytes = fs::read(&out).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("feature_time") && text.contains("two/1"));

    let outside = ["--format", "csv", "--from", "2030-01-01", "--to", "2031-01-01", "--out", "none.csv"];
    run_capture(folder.path(), &[&["capture", "export"], &outside[..]].concat()).expect(0);
    assert_eq!(fs::read_to_string(folder.path().join("none.csv")).unwrap().lines().count(), 1);
    let backwards = ["--format", "csv", "--from", "2030-01-01", "--to", "2029-01-01", "--out", "x.csv"];
    run_capture(folder.path(), &[&["capture", "export"], &backwards[..]].concat()).expect(1);
    assert!(!folder.path().join("x.csv").exists());
}

#[test]
fn a_sagemaker_export_has_the_documented_shape() {
    let folder = captured();
    let out = folder.path().join("capture.jsonl");
    let ran =
        export(folder.path(), &["--format", "sagemaker-jsonl", "--out", out.to_str().unwrap()]).expect(0);
    assert!(ran.stderr.contains("1 refused requests are left out"), "{}", ran.stderr);
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "one line a request");
    let event_id = serde_json::from_str::<Value>(lines[1]).unwrap()["eventMetadata"]["eventId"].clone();
    assert_eq!(
        lines[1],
        r#"{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"5,2\n6,\n","encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"a\n=b\n","encoding":"CSV"}},"eventMetadata":{"eventId":EVENT,"inferenceId":"two","inferenceTime":"2027-01-15T12:00:00Z"},"eventVersion":"0"}"#
            .replace("EVENT", &event_id.to_string())
    );
}

#[test]
fn status_and_deletion_by_id() {
    let folder = captured();
    let status = run_capture(folder.path(), &["capture", "status", "--json"]).expect(0).json();
    assert_eq!((&status["rows"], &status["labelled_rows"]), (&json!(4), &json!(1)));
    assert_eq!(status["server_is_running"], false);
    assert_eq!(status["oldest"], "2027-01-15T12:00:00Z");
    let capture = open(folder.path());
    let said = run_capture(folder.path(), &["capture", "status"]).expect(0).stdout;
    assert!(said.contains("running") && !said.contains("not running"), "{said}");
    let deleted = run_capture(folder.path(), &["capture", "delete", "two", "nobody"]).expect(0);
    assert_eq!(deleted.stdout, "2 rows deleted\n", "beside a server");
    drop(capture);
    let deleted = run_capture(folder.path(), &["capture", "delete", "one", "--json"]).expect(0).json();
    assert_eq!(deleted["deleted_rows"], 1);
    assert_eq!(column(folder.path(), "SELECT id FROM inferences"), ["bad"]);
    assert_eq!(column(folder.path(), "SELECT id FROM label_history"), [""; 0]);
}

#[test]
fn labels_of_a_file_are_checked_whole_and_attached() {
    let folder = captured();
    let import = |text: &str, more: &[&str]| {
        fs::write(folder.path().join("truth.csv"), text).unwrap();
        run_capture(folder.path(), &[&["labels", "import", "truth.csv"], more].concat())
    };
    for (text, problem) in [
        ("id,truth\none,a\n", "there is no column `label`"),
        ("id,label\none,a\none,b\n", "line 3: `one` is labelled `b`, and `a` before"),
        ("id,label\none,\n", "line 2: a label has 1 to 256 bytes"),
        ("id,label\n,a\n", "line 2: an id has 1 to 96 bytes"),
        ("id,label\none,a,b\n", "cannot be read as CSV"),
        ("id,label,label\none,a,b\n", "several columns `label`"),
    ] {
        let ran = import(text, &[]).expect(1);
        assert!(ran.stderr.contains(problem), "{text}: {}", ran.stderr);
    }
    assert_eq!(
        column(folder.path(), "SELECT label FROM inferences WHERE id = 'one'"),
        ["=b"],
        "nothing was changed"
    );

    let text =
        "when,id,label\n2027-02-01,one,a\n1800014400000009,two/1,b\n,late,c\n,late,c\n2027-02-01,one,a\n";
    let counts = import(text, &["--time-column", "when", "--json"]).expect(0).json();
    assert_eq!(
        counts,
        json!({"rows": 5, "repeated": 2, "attached": 1, "waiting": 1, "corrected": 1, "unchanged": 0})
    );
    assert_eq!(
        column(
            folder.path(),
            "SELECT id || label || label_time FROM inferences WHERE label IS NOT NULL ORDER BY id"
        ),
        ["onea1801440000000000", "two/1b1800014400000009"]
    );
    let again = import(text, &["--time-column", "when"]).expect(0);
    assert!(
        again.stdout.starts_with("5 rows: 0 attached, 0 corrected, 2 unchanged, 1 wait"),
        "{}",
        again.stdout
    );
}

#[test]
fn labels_go_through_the_server_that_holds_the_table() {
    let folder = captured();
    let capture = open(folder.path());
    fs::write(folder.path().join("truth.csv"), "id,label\ntwo/0,a\none,c\n").unwrap();
    let import = ["labels", "import", "truth.csv", "--json"];
    let silent = run_capture(folder.path(), &import).expect(1);
    assert!(silent.stderr.contains("in use by a process that takes no labels"), "{}", silent.stderr);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Serving { url, admin: None }.write(folder.path()).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "POST /labels HTTP/1.1\r\n");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let labels: Vec<Label> = serde_json::from_value(body["labels"].take()).unwrap();
        let counts = capture.attach_labels(&labels, NOON).unwrap();
        let answer = serde_json::to_string(&counts).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
    });
    let counts = run_capture(folder.path(), &import).expect(0).json();
    server.join().unwrap();
    assert_eq!((&counts["attached"], &counts["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(column(folder.path(), "SELECT label FROM label_history WHERE id = 'one'"), ["=b", "c"]);
}

/// A data directory with two answers of two models, a batch, a refusal and a label.
fn captured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let capture = open(folder.path());
    let classes = ["a", "=b"].map(str::to_owned);
    for (model_version, features) in [("v1", ["width", "time"]), ("v2", ["height", "width"])] {
        let features = features.map(str::to_owned);
        let columns =
            EndpointColumns { endpoint: "iris", model_version, classes: &classes, features: &features };
        capture.create_view(&columns).unwrap();
    }
    keep(&capture, &Record { model_version: "v1", ..answered("one", "a", &[&[1.5, 7.0]]) });
    keep(&capture, &answered("two", "a", &[&[5.0, 2.0], &[6.0, f64::NAN]]));
    let outcome = Outcome::Refused { error_code: "not_a_number", detail: "row 1", body: b"x,1" };
    keep(&capture, &Record { status: 422, client_gone: true, outcome, ..answered("bad", "a", &[]) });
    assert!(capture.settle(PATIENCE));
    let label = Label { id: "one".into(), label: "=b".into(), time: Some(Timestamp(NOON.0 + 5)) };
    capture.attach_labels(&[label], NOON).unwrap();
    // The view shows the rows of models like the last one; these tests want all of v1 and v2 that have a width.
    drop(capture);
    let table = Connection::open(database(folder.path())).unwrap();
    table
        .execute_batch(
            "DROP VIEW endpoint_iris;
             CREATE VIEW endpoint_iris AS SELECT id, predicted, iif(model_version = 'v1', json_extract(features, '$[0]'),
               json_extract(features, '$[1]')) AS width FROM inferences WHERE status = 200;",
        )
        .unwrap();
    folder
}

fn open(folder: &Path) -> Capture {
    Capture::open(&CaptureOptions::new(folder), Arc::new(ManualClock::at(NOON))).unwrap()
}

fn keep(capture: &Capture, record: &Record<'_>) {
    assert!(capture.append(record).unwrap().is_durable());
}

/// Rows of the second model: the class of the first is `class`, of the others `=b`.
fn answered<'a>(id: &'a str, class: &'a str, rows: &[&[f64]]) -> Record<'a> {
    Record {
        id,
        time: ManualClock::at(NOON).now(),
        endpoint: "iris",
        variant: "AllTraffic",
        model_version: "v2",
        run: None,
        rollout_step: None,
        caller: None,
        latency_microseconds: 42,
        status: 200,
        client_gone: false,
        outcome: Outcome::Answered {
            predicted: (0..rows.len()).map(|n| if n == 0 { class } else { "=b" }).collect(),
            probabilities: rows.iter().flat_map(|_| [0.25, 0.75]).collect(),
            features: rows.concat().into(),
        },
    }
}

fn query(folder: &Path, words: &[&str]) -> Ran {
    run_capture(folder, &[&["query"], words].concat())
}

fn export(folder: &Path, words: &[&str]) -> Ran {
    let range = ["capture", "export", "--from", "2027-01-15", "--to", "2027-01-16T00:00:00Z"];
    run_capture(folder, &[&range, words].concat())
}

fn run_capture(folder: &Path, words: &[&str]) -> Ran {
    run(folder, &[words, &["--data-dir", "."]].concat())
}

fn column(folder: &Path, sql: &str) -> Vec<String> {
    let table = Connection::open(database(folder)).unwrap();
    let mut statement = table.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}
