//! A model behind an address: what it answers, what it refuses, and what is left after it was killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use serin::cli::serve::{ServeError, ServeOptions, Served, serve, stop_on_signals};
use serin::gateway::endpoint::{Classifier, Endpoint};
use serin::gateway::limits::Limits;
use serin::gateway::server::Ended;
use serin_core::capture::{Capture, CaptureOptions};
use serin_core::clock::SystemClock;
use serin_ml::dataset::{ColumnKind, Field, Schema};
use tokio::sync::mpsc;

const CSV: (&str, &str) = ("content-type", "text/csv");
const JSON: (&str, &str) = ("content-type", "application/json");
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn answers_come_in_the_form_that_was_asked_for() {
    let server = Server::start();
    let plain = server.post(&[CSV], b"3,1,0\n-3,,1\n");
    assert_eq!((plain.status, plain.text()), (200, "big\n\"small, or \"\"none\"\"\"\n"));
    assert_eq!(plain.header("content-type"), Some("text/csv; charset=utf-8"));

    let wide = server.post(&[CSV, ("accept", "text/csv; probabilities=true")], b"0,1,0");
    assert_eq!(wide.text(), "\"small, or \"\"none\"\"\",0.5,0.5\n");

    let named = br#"{"instances": [{"flag": true, "width": 3, "height": null}, [0, 1, 0]]}"#;
    let answer = server.post(&[JSON, ("x-amzn-sagemaker-inference-id", "r-17")], named);
    assert_eq!(answer.header("x-amzn-sagemaker-inference-id"), Some("r-17"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["model_version"], "0123456789ab");
    assert_eq!(body["inference_id"], "r-17");
    assert_eq!(body["predictions"][0]["class"], "big");
    let half =
        json!({"class": "small, or \"none\"", "probabilities": {"small, or \"none\"": 0.5, "big": 0.5}});
    assert_eq!(body["predictions"][1], half);

    for same in [
        r#"{"inputs": [[3, 1, 0]]}"#,
        r#"{"inputs": [3, 1, 0]}"#,
        r#"[[3.0, 1e0, -0]]"#,
        r#"{"width": 3, "height": 1, "flag": 0}"#,
        r#"{"dataframe_records": [{"height": 1, "flag": 0, "width": 3}]}"#,
        r#"{"dataframe_split": {"index": [7], "columns": ["height", "width", "flag"], "data": [[1, 3, 0]]}}"#,
    ] {
        let answer = server.post(&[JSON, ("accept", "text/csv")], same.as_bytes());
        assert_eq!((answer.status, answer.text()), (200, "big\n"), "{same}");
    }
    assert_eq!(server.get("/ping").status, 200);
    server.stop();
}

#[test]
fn every_bad_input_gets_its_status_and_code() {
    let server = Server::start();
    let cases = bad_inputs();
    for case in &cases {
        let answer = server.post(&case.headers, &case.body);
        assert_eq!((answer.status, answer.code()), (case.status, case.code.to_owned()), "{}", case.name);
        if case.status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", case.name);
            assert_eq!(answer.header("x-serin-error-code"), Some(case.code), "{}", case.name);
            assert!(answer.body.len() <= 8 << 10, "{}", case.name);
        }
        assert_eq!(server.post(&[CSV], b"1,2,0").status, 200, "the next good request after {}", case.name);
    }
    let stopped = server.stop();
    let served = stopped.served;
    let refused = cases.iter().filter(|case| case.status != 200).count() as u64;
    let answered = 2 * cases.len() as u64 - refused;
    assert_eq!((served.answered, served.refused), (answered, refused));
    let recorded = "SELECT count(*) FROM inferences WHERE error_code IS NOT NULL";
    assert_eq!(stopped.count(recorded), refused, "each refusal is a row");
}

#[test]
fn errors_say_row_column_and_code_of_each_value() {
    let server = Server::start();
    let answer = server.post(&[CSV], b"1,2,0\nx,inf,0\n1,2\n,1e999,maybe\n");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        problem["errors"],
        json!([
            {"row": 2, "column": "width", "code": "not_a_number"},
            {"row": 2, "column": "height", "code": "not_finite"},
            {"row": 3, "code": "wrong_column_count"},
            {"row": 4, "column": "width", "code": "missing_value"},
            {"row": 4, "column": "height", "code": "number_out_of_range"},
            {"row": 4, "column": "flag", "code": "not_a_number"},
        ])
    );
    assert_eq!(problem["request_id"], answer.header("x-amzn-sagemaker-inference-id").unwrap());

    let many = server.post(&[CSV], "x,1,0\n".repeat(21).as_bytes());
    let problem: Value = serde_json::from_slice(&many.body).unwrap();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 20);
    assert_eq!(problem["truncated"], true);

    let cut = server.post(&[JSON], br#"{"instances": [[1, "x"]"#);
    let problem: Value = serde_json::from_slice(&cut.body).unwrap();
    assert_eq!(
        (&problem["code"], &problem["detail"]),
        (&json!("malformed_json"), &json!("byte 23: a comma or a closing bracket is expected"))
    );
    server.stop();
}

#[test]
fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
    let server = Server::start();
    let over = vec![b'1'; (6 << 20) + 1];
    let answer = server.post(&[CSV], &over);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert_eq!(answer.header("connection"), Some("close"));

    let mut stream = server.connect();
    stream.write_all(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    for chunk in over.chunks(1 << 20) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut stream).status, 413);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is closed after the reply");
    server.stop();
}

#[test]
fn other_addresses_and_methods_are_told_apart() {
    let server = Server::start();
    for (head, status, code) in [
        ("GET /nowhere", 404, "not_found"),
        ("GET /invocations", 405, "method_not_allowed"),
        ("POST /ping", 405, "method_not_allowed"),
        ("DELETE /invocations", 405, "method_not_allowed"),
        ("GET //ping", 404, "not_found"),
    ] {
        let answer =
            server.exchange(format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{head}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{head}");
    }
    let long = server.exchange(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9_000)).as_bytes());
    assert_eq!(long.status, 414);
    server.stop();
}

#[test]
fn a_batch_keeps_its_order_and_its_rows_are_found_by_sql() {
    let server = Server::start();
    let rows: String = (0..10_000).map(|i| format!("{},{i},0\n", if i % 3 == 0 { 5 } else { -5 })).collect();
    let answer = server.post(&[CSV, ("x-amzn-sagemaker-inference-id", "batch")], rows.as_bytes());
    assert_eq!(answer.status, 200);
    let classes: Vec<&str> = answer.text().lines().collect();
    assert_eq!(classes.len(), 10_000);
    assert!(classes.iter().enumerate().all(|(i, class)| (*class == "big") == (i % 3 == 0)));
    let stopped = server.stop();
    assert_eq!(
        stopped.count("SELECT count(*) FROM endpoint_test WHERE height = 9999 AND id = 'batch/9999'"),
        1
    );
    assert_eq!(stopped.count("SELECT count(*) FROM endpoint_test WHERE predicted = 'big'"), 3_334);
}

#[test]
fn a_slow_head_and_a_silent_connection_are_let_go_while_others_are_served() {
    let limits = Limits {
        first_byte: Duration::from_millis(200),
        head: Duration::from_millis(200),
        idle: Duration::from_secs(20),
        request: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start_with(limits);
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"POST /invo").unwrap();
    let mut starved = server.connect();
    starved
        .write_all(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 9\r\n\r\n1,",
        )
        .unwrap();
    let mut kept = server.connect();
    kept.write_all(&request(&[CSV], b"1,2,0")).unwrap();
    assert_eq!(Answer::read(&mut kept).status, 200);
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(Answer::read(&mut starved).status, 408);
    // Longer idle than a head may take, and still welcome.
    thread::sleep(Duration::from_millis(500));
    kept.write_all(&request(&[CSV], b"1,2,0")).unwrap();
    assert_eq!(Answer::read(&mut kept).status, 200);
    server.stop();
}

#[test]
fn a_full_journal_is_503_and_not_an_answer_that_nobody_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = CaptureOptions::new(folder.path());
    capture.journal.spool_limit_bytes = 3_000;
    let server = Server::start_in(folder, capture, Limits::default());
    let holder = Connection::open(server.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused =
        (0..100).map(|_| server.post(&[CSV], b"1,2,0")).find(|answer| answer.status != 200).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "capture_full"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    holder.execute_batch("ROLLBACK").unwrap();
    let recovered = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        server.post(&[CSV], b"1,2,0").status == 200
    });
    assert!(recovered);
    server.stop();
}

#[test]
fn only_loopback_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        capture: CaptureOptions::new(folder.path()),
        limits: Limits::default(),
    };
    let (_sender, stop) = mpsc::channel(1);
    let outcome = runtime().block_on(serve(options, endpoint(), clock(), stop, |_| ()));
    let Err(ServeError::Bind(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("type `--listen 127.0.0.1:0`"), "{error}");
}

#[test]
fn killed_again_and_again_it_keeps_every_acknowledged_answer_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut unanswered = 0;
    for cycle in 0..5_u64 {
        let mut process = Process::start(folder.path());
        let address = process.address;
        let clients: Vec<JoinHandle<Vec<String>>> = (0..2)
            .map(|client| thread::spawn(move || ask_until_gone(address, &format!("{cycle}-{client}"))))
            .collect();
        thread::sleep(Duration::from_millis(150 + 90 * cycle));
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        for client in clients {
            let answered = client.join().unwrap();
            assert!(!answered.is_empty(), "the test needs answers to count");
            acknowledged.extend(answered);
            unanswered += 1;
        }
    }

    let capture = Capture::open(&CaptureOptions::new(folder.path()), clock()).unwrap();
    assert!(capture.settle(PATIENCE));
    assert_eq!(capture.counts().damaged, 0);
    let table = Connection::open(folder.path().join("inferences.db")).unwrap();
    let mut statement = table.prepare("SELECT id FROM inferences").unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let kept: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), kept.len());
    assert_eq!(acknowledged.difference(&kept).count(), 0, "acknowledged and not kept");
    let extra = kept.difference(&acknowledged).count();
    assert!(extra <= unanswered, "{extra} rows beyond the {} acknowledged", acknowledged.len());
}

#[test]
fn on_sigterm_the_request_in_hand_is_answered_and_its_row_is_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    let mut stream = TcpStream::connect(process.address).unwrap();
    stream
        .write_all(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 5\r\n\r\n1,",
        )
        .unwrap();
    thread::sleep(Duration::from_millis(200));
    let kill =
        Command::new("sh").arg("-c").arg(format!("kill -TERM {}", process.child.id())).status().unwrap();
    assert!(kill.success());
    thread::sleep(Duration::from_millis(200));
    assert!(TcpStream::connect(process.address).is_err(), "nobody new is taken");
    stream.write_all(b"2,0").unwrap();
    assert_eq!(Answer::read(&mut stream).status, 200);
    assert!(process.child.wait().unwrap().success());
    let database = folder.path().join("inferences.db");
    assert_eq!(count(&database, "SELECT count(*) FROM endpoint_test"), 1);
}

/// Not a test: the process that the tests above start and kill.
#[test]
#[ignore = "started by the tests that need a process of their own"]
fn serving_process() {
    let folder = PathBuf::from(std::env::var_os("SERIN_TEST_FOLDER").unwrap());
    runtime().block_on(async {
        let options = ServeOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            capture: CaptureOptions::new(folder),
            limits: Limits::default(),
        };
        let stop = stop_on_signals().unwrap();
        serve(options, endpoint(), clock(), stop, |ready| println!("\naddress={}", ready.address))
            .await
            .unwrap();
    });
}

struct Case {
    name: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

/// The rows B1 to B27 that have a meaning here, by their numbers in the list of bad inputs.
fn bad_inputs() -> Vec<Case> {
    let case = |name, headers: &[_], body: &[u8], status, code| Case {
        name,
        headers: headers.to_vec(),
        body: body.to_vec(),
        status,
        code,
    };
    let csv = |name, body: &[u8], status, code| case(name, &[CSV], body, status, code);
    let json = |name, body: &str, status, code| case(name, &[JSON], body.as_bytes(), status, code);
    let one = b"1,2,0";
    let digits = "1".repeat(400);
    let deep = "[".repeat(10_000);
    let gzip = ("content-encoding", "gzip");
    let mut broken = packed(one);
    broken[12] ^= 0xff;
    vec![
        csv("B1", b"", 400, "empty_body"),
        case("B2 missing", &[], one, 415, "unsupported_media_type"),
        case("B2 other", &[("content-type", "text/plain")], one, 415, "unsupported_media_type"),
        case(
            "B2 utf-16",
            &[("content-type", "application/json; charset=utf-16")],
            b"[1,2,0]",
            415,
            "unsupported_media_type",
        ),
        case("B3", &[("Content-Type", "TEXT/CSV; header=absent")], one, 200, ""),
        case("B4", &[CSV, ("accept", "image/png")], one, 406, "not_acceptable"),
        case("B4 refused", &[CSV, ("accept", "text/csv;q=0")], one, 406, "not_acceptable"),
        json("B5 cut", "[[1,2,0", 400, "malformed_json"),
        json("B5 comma", "[[1,2,0],]", 400, "malformed_json"),
        json("B5 comment", "[[1,2,0]] // x", 400, "malformed_json"),
        json("B5 bom", "\u{feff}[[1,2,0]]", 200, ""),
        json("B6 NaN", "[[NaN,2,0]]", 400, "malformed_json"),
        json("B6 -Infinity", "[[-Infinity,2,0]]", 400, "malformed_json"),
        json("B7", "[[1e400,2,0]]", 422, "number_out_of_range"),
        csv("B7 csv", b"-1e999,2,0", 422, "number_out_of_range"),
        json("B8", "[[1e-400,9007199254740993,-0.0]]", 200, ""),
        json("B8 digits", &format!("[[{digits},2,0]]"), 422, "number_out_of_range"),
        csv("B8 digits csv", format!("{digits},2,0").as_bytes(), 422, "number_out_of_range"),
        json("B9 allowed", "[[1,null,0]]", 200, ""),
        json("B9 not allowed", "[[null,2,0]]", 422, "missing_value"),
        csv("B9 csv allowed", b"1,,0", 200, ""),
        csv("B9 csv not allowed", b",2,0", 422, "missing_value"),
        json("B10", &deep, 400, "too_deep"),
        json("B10 objects", &"{\"a\":".repeat(10_000), 400, "too_deep"),
        case("B12 bomb", &[CSV, gzip], &packed(&vec![b'1'; 7 << 20]), 413, "body_too_large"),
        case("B12 nested", &[CSV, ("content-encoding", "gzip, gzip")], one, 415, "unsupported_encoding"),
        case("B13 gzip", &[CSV, gzip], &packed(one), 200, ""),
        case("B13 br", &[CSV, ("content-encoding", "br")], one, 415, "unsupported_encoding"),
        case("B13 broken", &[CSV, gzip], &broken, 400, "bad_encoding"),
        case("B13 trailing", &[CSV, gzip], &[packed(one), vec![0; 3]].concat(), 400, "bad_encoding"),
        csv("B14 many", "1,2,0\n".repeat(10_001).as_bytes(), 413, "too_many_rows"),
        json("B14 many json", &format!("[{}[1,2,0]]", "[1,2,0],".repeat(10_000)), 413, "too_many_rows"),
        json("B14 none", "{\"instances\": []}", 400, "no_rows"),
        csv("B14 none csv", b"\n", 400, "no_rows"),
        csv("B14 header only", b"width,height,flag\n", 400, "no_rows"),
        csv("B15 fewer", b"1,2", 422, "wrong_column_count"),
        csv("B15 more", b"1,2,0,9", 422, "wrong_column_count"),
        json("B15 ragged", "[[1,2,0],[1]]", 422, "wrong_column_count"),
        json(
            "B15 split",
            r#"{"dataframe_split":{"columns":["width","height","flag"],"data":[[1,2]]}}"#,
            422,
            "wrong_column_count",
        ),
        csv("B16 equal", b"width,height,flag\r\n1,2,0\r\n", 200, ""),
        csv("B16 other order", b"height,width,flag\n1,2,0\n", 422, "not_a_number"),
        case(
            "B16 absent",
            &[("content-type", "text/csv; header=absent")],
            b"width,height,flag\n1,2,0",
            422,
            "not_a_number",
        ),
        json("B17 unknown", r#"{"width":1,"height":2,"flag":0,"depth":1}"#, 422, "unknown_feature"),
        json("B17 missing", r#"{"width":1,"flag":0}"#, 422, "missing_feature"),
        json("B17 twice", r#"{"width":1,"height":2,"flag":0,"width":3}"#, 422, "duplicate_key"),
        json("B17 form twice", r#"{"instances":[[1,2,0]],"instances":[[1,2,0]]}"#, 422, "duplicate_key"),
        csv("B18 word", b"abc,2,0", 422, "not_a_number"),
        csv("B18 comma", b"\"1,5\",2,0", 422, "not_a_number"),
        csv("B18 hex", b"0x1F,2,0", 422, "not_a_number"),
        csv("B18 underscore", b"1_000,2,0", 422, "not_a_number"),
        csv("B18 full width", "１２,2,0".as_bytes(), 422, "not_a_number"),
        csv("B18 spaces", b" 1 ,2,0", 200, ""),
        json("B18 json", r#"[["1.5",2,0]]"#, 422, "not_a_number"),
        csv("B19 nan", b"1,nan,0", 200, ""),
        csv("B19 NA", b"1,NA,0", 200, ""),
        csv("B19 inf", b"inf,2,0", 422, "not_finite"),
        csv("B19 -inf", b"-inf,2,0", 422, "not_finite"),
        json("B20 boolean", "[[true,2,0]]", 422, "wrong_type"),
        json("B20 boolean column", "[[1,2,true]]", 200, ""),
        json("B20 array", "[[[1],2,0]]", 422, "wrong_type"),
        csv("B21", b"1,\xff,0", 400, "invalid_utf8"),
        csv("B21 nul", b"1,\0,0", 400, "invalid_utf8"),
        json("B21 surrogate", r#"{"\ud800":1}"#, 400, "invalid_utf8"),
        csv("B22 unclosed", b"\"1,2,0\n", 400, "malformed_csv"),
        csv("B22 middle", b"1\"1,2,0\n", 400, "malformed_csv"),
        csv("B22 after", b"\"1\"1,2,0\n", 400, "malformed_csv"),
        csv("B22 cell", &vec![b'1'; 5 << 20], 413, "cell_too_large"),
        csv("B22 cr", b"1,2,0\r1,2,0\r", 400, "malformed_csv"),
        csv("B23", b"1e30,-1e30,0\n0,0,0\n", 200, ""),
        csv("B24", b"666,2,0", 500, "model_output_invalid"),
        csv("B27", b"=cmd|'/c calc'!A1,2,0", 422, "not_a_number"),
        case("id", &[CSV, ("x-amzn-sagemaker-inference-id", "a/0")], one, 400, "invalid_inference_id"),
    ]
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Three features, two classes, and a number at which the answer is spoilt.
struct Sigmoid;

impl Classifier for Sigmoid {
    fn classify(&self, row: &[f64], probabilities: &mut [f64]) -> usize {
        let big = if row[0] == 666.0 { f64::NAN } else { 1.0 / (1.0 + (-row[0]).exp()) };
        probabilities.copy_from_slice(&[1.0 - big, big]);
        usize::from(big > 0.5)
    }
}

fn endpoint() -> Endpoint {
    let field =
        |name: &str, kind, has_missing| Field { name: name.to_owned(), kind, range: None, has_missing };
    let fields = vec![
        field("width", ColumnKind::Number, false),
        field("height", ColumnKind::Integer, true),
        field("flag", ColumnKind::Boolean, false),
    ];
    let classes = ["small, or \"none\"".to_owned(), "big".to_owned()];
    let missing = serin_ml::dataset::MISSING_TOKENS.map(str::to_owned);
    Endpoint::new("test", &Schema { fields }, &missing, &classes, "0123456789ab", Box::new(Sigmoid)).unwrap()
}

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server within the test's own process.
struct Server {
    folder: tempfile::TempDir,
    address: SocketAddr,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Served>,
}

impl Server {
    fn start() -> Self {
        Self::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let capture = CaptureOptions::new(folder.path());
        Self::start_in(folder, capture, limits)
    }

    fn start_in(folder: tempfile::TempDir, capture: CaptureOptions, limits: Limits) -> Self {
        let (stop, stopped) = mpsc::channel(2);
        let (tell, told) = channel();
        let options = ServeOptions { listen: "127.0.0.1:0".parse().unwrap(), capture, limits };
        let thread = thread::spawn(move || {
            let ready = |ready: &serin::cli::serve::Ready| tell.send(ready.address).unwrap();
            runtime().block_on(serve(options, endpoint(), clock(), stopped, ready)).unwrap()
        });
        Self { folder, address: told.recv_timeout(PATIENCE).unwrap(), stop, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        Answer::read(&mut stream)
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.exchange(&request(headers, body))
    }

    fn get(&self, path: &str) -> Answer {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("inferences.db")
    }

    /// Stops and waits for the table.
    fn stop(self) -> Stopped {
        self.stop.blocking_send(()).unwrap();
        let served = self.thread.join().unwrap();
        assert_eq!(served.ended, Ended::Drained);
        Stopped { served, folder: self.folder }
    }
}

/// What a server left.
struct Stopped {
    served: Served,
    folder: tempfile::TempDir,
}

impl Stopped {
    fn count(&self, sql: &str) -> u64 {
        count(&self.folder.path().join("inferences.db"), sql)
    }
}

/// A server in a process of its own, to be killed.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve::serving_process", "--ignored", "--nocapture"])
            .env("SERIN_TEST_FOLDER", folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut addresses = lines.filter_map(|line| Some(line.strip_prefix("address=")?.parse().unwrap()));
        let address = addresses.next().unwrap();
        // The pipe must stay open, or the process would fail to print its end.
        thread::spawn(move || addresses.count());
        Self { child, address }
    }
}

/// Asks row after row on one connection until the server is gone; the ids that were answered.
fn ask_until_gone(address: SocketAddr, name: &str) -> Vec<String> {
    let mut answered = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return answered };
    for n in 0.. {
        let id = format!("{name}-{n}");
        let headers = [CSV, ("x-amzn-sagemaker-inference-id", id.as_str())];
        if stream.write_all(&request(&headers, b"1,2,0")).is_err() {
            break;
        }
        match Answer::try_read(&mut stream) {
            Some(answer) if answer.status == 200 => answered.push(id),
            _ => break,
        }
    }
    answered
}

fn request(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = b"POST /invocations HTTP/1.1\r\nhost: x\r\n".to_vec();
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    write!(bytes, "content-length: {}\r\n\r\n", body.len()).unwrap();
    bytes.extend_from_slice(body);
    bytes
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn read(stream: &mut TcpStream) -> Self {
        Self::try_read(stream).expect("a whole answer")
    }

    fn try_read(stream: &mut TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        Some(Self { status, headers, body })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of the problem, empty when it is none.
    fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn count(database: &Path, sql: &str) -> u64 {
    let table = Connection::open(database).unwrap();
    let rows: i64 = table.query_row(sql, [], |row| row.get(0)).unwrap();
    rows.unsigned_abs()
}
