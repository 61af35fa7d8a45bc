//! What is left when a server is full, killed or stopped.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use serin::cli::serve::signals;
use serin::gateway::lifecycle::{Ready, serve};
use serin_core::capture::{Capture, CaptureMode, CaptureOptions};

use super::support::{
    Answer, CSV, PATIENCE, Process, Server, ask_until_gone, clock, count, one_endpoint, options, runtime,
};

#[test]
fn a_full_journal_is_503_and_not_an_answer_that_nobody_kept() {
    let server = Server::start_with(|options| options.capture.journal.spool_limit_bytes = 3_000);
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
fn an_answer_takes_the_place_of_a_refusal_with_its_id_and_nothing_takes_an_answers() {
    let server = Server::start();
    let headers = [CSV, ("x-amzn-sagemaker-inference-id", "again")];
    assert_eq!(server.post(&headers, b"x,1,0").status, 422);
    assert_eq!(server.post(&headers, b"3,1,0").status, 200);
    assert_eq!(server.post(&headers, b"-3,1,0").status, 200);
    assert_eq!(server.post(&headers, b"x,1,0").status, 422);
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM inferences"), 1);
    let kept = "SELECT count(*) FROM endpoint_test WHERE id = 'again' AND predicted = 'big' AND width = 3";
    assert_eq!(stopped.count(kept), 1, "the first answer is the one that is kept");
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE error_code IS NULL AND body IS NULL"), 1);
}

#[test]
fn in_mode_strict_answers_leave_once_they_are_on_disk() {
    let server = Server::start_with(|options| options.capture.mode = CaptureMode::Strict);
    let many = "3,1,0\n".repeat(100);
    for body in [&b"3,1,0"[..], many.as_bytes()] {
        assert_eq!(server.post(&[CSV], body).status, 200);
    }
    let answered = "serin_requests_total{endpoint=\"test\",variant=\"AllTraffic\",outcome=\"answered\"}";
    assert_eq!(server.metric(answered), 2.0);
    assert_eq!(server.stop().count("SELECT count(*) FROM endpoint_test"), 101);
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
    assert_eq!(capture.status().damaged, 0);
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
        let ready = |ready: &Ready| println!("\naddress={}", ready.address);
        serve(options(&folder), one_endpoint(), clock(), signals().unwrap(), ready).await.unwrap();
    });
}
