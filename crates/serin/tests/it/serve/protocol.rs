//! HTTP as callers and attackers speak it.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serin::gateway::lifecycle::{ServeOptions, Signals, serve};
use serin::gateway::limits::Limits;
use serin_core::clock::Clock as _;
use tokio::sync::mpsc;

use super::support::{Answer, CSV, Server, clock, one_endpoint, options, request, runtime};

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
fn a_slow_head_and_a_silent_connection_are_let_go_while_others_are_served() {
    let limits = Limits {
        first_byte: Duration::from_millis(200),
        head: Duration::from_millis(200),
        idle: Duration::from_secs(20),
        request: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start_with(|options| options.limits = limits);
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
    let (clock, since) = (clock(), clock().monotonic());
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "closed by the server, not by the patience of this test");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(clock.monotonic() - since < Duration::from_secs(10));
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(Answer::read(&mut starved).status, 408);
    // Longer idle than a head may take, and still welcome.
    thread::sleep(Duration::from_millis(500));
    kept.write_all(&request(&[CSV], b"1,2,0")).unwrap();
    assert_eq!(Answer::read(&mut kept).status, 200);
    server.stop();
}

#[test]
fn only_loopback_is_listened_on() {
    let outcome = |change: fn(&mut ServeOptions)| {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        change(&mut options);
        let (_stop, stop) = mpsc::channel(1);
        let (_reload, reload) = mpsc::channel(1);
        let signals = Signals { stop, reload, hands_over: std::sync::Arc::default() };
        let outcome = runtime().block_on(serve(options, one_endpoint(), clock(), signals, |_| ()));
        outcome.unwrap_err().to_string()
    };
    let main = outcome(|options| options.listen = "0.0.0.0:0".parse().unwrap());
    assert!(main.contains("type `--listen 127.0.0.1:0`"), "{main}");
    let admin = outcome(|options| options.admin_listen = "[::]:0".parse().unwrap());
    assert!(admin.contains("type `--admin-listen 127.0.0.1:0`"), "{admin}");
}

/// What is sent on a connection, and the statuses that come back before it is closed or the server waits for more.
struct Exchange {
    name: &'static str,
    sent: Vec<u8>,
    statuses: &'static [u16],
    closes: bool,
}

#[test]
fn heads_that_proxies_could_read_otherwise_are_refused_and_the_connection_ends() {
    let server = Server::start_with(|options| options.limits.idle = Duration::from_millis(700));
    for Exchange { name, sent, statuses, closes } in exchanges() {
        let mut stream = server.connect();
        stream.write_all(&sent).unwrap();
        let mut received = Vec::new();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let ended = stream.read_to_end(&mut received);
        let mut reader = received.as_slice();
        let found: Vec<u16> =
            std::iter::from_fn(|| Answer::try_parse(&mut reader)).map(|answer| answer.status).collect();
        assert_eq!(found, statuses, "{name}: {}", String::from_utf8_lossy(&received));
        assert_eq!(ended.is_ok(), closes, "{name}: closed or not");
        assert_eq!(server.post(&[CSV], b"1,2,0").status, 200, "the next good request after {name}");
    }
    server.stop();
}

/// B55 to B69 of the list of bad inputs, as far as they fit in bytes.
fn exchanges() -> Vec<Exchange> {
    let head = |lines: &str| {
        format!("POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\n{lines}\r\n")
    };
    let exchange =
        |name, sent: String, statuses, closes| Exchange { name, sent: sent.into_bytes(), statuses, closes };
    let chunks = "5\r\n1,2,0\r\n0\r\n\r\n";
    let good = head("content-length: 5\r\n") + "1,2,0";
    let chunked = head("transfer-encoding: chunked\r\n") + chunks;
    let get = |lines: &str| format!("GET /ping HTTP/1.1\r\n{lines}\r\n");
    vec![
        exchange("a good one", good.clone(), &[200], false),
        exchange("a line too many", good.clone() + "\r\n", &[200], false),
        exchange(
            "B55 behind empty lines",
            "\r\n\r\n".to_owned() + &head("transfer-encoding: chunked\r\ncontent-length: 5\r\n") + chunks,
            &[400],
            true,
        ),
        exchange("a good chunked one", chunked.clone(), &[200], false),
        exchange(
            "B55 length first",
            head("content-length: 5\r\ntransfer-encoding: chunked\r\n") + chunks + &good,
            &[400],
            true,
        ),
        exchange(
            "B55 encoding first",
            head("transfer-encoding: chunked\r\ncontent-length: 5\r\n") + chunks + &good,
            &[400],
            true,
        ),
        exchange("B55 behind another", good.clone() + &chunked + &good, &[200, 200], true),
        exchange("B58 bare line feeds", "GET /ping HTTP/1.1\nhost: x\n\n".to_owned(), &[400], true),
        exchange("B56 two", head("content-length: 5\r\ncontent-length: 6\r\n") + "1,2,0", &[400], true),
        exchange("B56 plus", head("content-length: +5\r\n") + "1,2,0", &[400], true),
        exchange("B56 list", head("content-length: 5, 5\r\n") + "1,2,0", &[400], true),
        exchange("B56 hex", head("content-length: 0x5\r\n") + "1,2,0", &[400], true),
        exchange("B56 huge", head("content-length: 18446744073709551616\r\n") + "1,2,0", &[400], true),
        exchange("B57 identity", head("transfer-encoding: chunked, identity\r\n") + chunks, &[400], true),
        exchange("B57 unknown", head("transfer-encoding: xchunked\r\n") + chunks, &[400], true),
        exchange(
            "B57 twice",
            head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n") + chunks,
            &[400],
            true,
        ),
        exchange(
            "B58 huge chunk",
            head("transfer-encoding: chunked\r\n") + "FFFFFFFFFFFFFFFF1\r\n1",
            &[400],
            true,
        ),
        exchange("B58 negative", head("transfer-encoding: chunked\r\n") + "-5\r\n1,2,0", &[400], true),
        exchange(
            "B58 no line end",
            head("transfer-encoding: chunked\r\n") + "5\r\n1,2,0XX0\r\n\r\n",
            &[400],
            true,
        ),
        exchange("B59 space in a name", head("x y: 1\r\n"), &[400], true),
        exchange("B59 disguised", head("content_length: 5\r\n"), &[400], true),
        exchange("B59 folded", head("x: 1\r\n y\r\n"), &[400], true),
        exchange("B59 NUL", head("x: \0\r\n"), &[400], true),
        exchange("B60 many", head(&"x: 1\r\n".repeat(200)), &[431], true),
        exchange("B60 long", head(&format!("x: {}\r\n", "y".repeat(64 << 10))), &[431], true),
        exchange(
            "B61",
            get("host: x\r\nx-amzn-sagemaker-inference-id: a%0d%0aSet-Cookie:b\r\n"),
            &[200],
            false,
        ),
        exchange("B62 unknown", head("content-length: 5\r\nexpect: tea\r\n") + "1,2,0", &[417], true),
        exchange("B62 too large", head("content-length: 99999999\r\nexpect: 100-continue\r\n"), &[413], true),
        exchange("B63", get("host: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n"), &[200], false),
        exchange("B64 1.0", "GET /ping HTTP/1.0\r\n\r\n".to_owned(), &[200], true),
        exchange("B64 1.2", "GET /ping HTTP/1.2\r\nhost: x\r\n\r\n".to_owned(), &[400], true),
        exchange("B64 bytes", "\x16\x03\x01\x02\r\n\r\n".to_owned(), &[400], true),
        exchange("B65 no host", get(""), &[400], true),
        exchange("B65 no host at all", get("host: a b\r\n"), &[400], true),
        exchange("B65 two hosts", get("host: x\r\nhost: y\r\n"), &[400], true),
        exchange("B66 trace", "TRACE /ping HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[405], false),
        exchange("B66 connect", "CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[405], true),
        exchange("B67", "GET /v2/models/..%2f..%2fetc HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[404], false),
    ]
}

#[test]
fn pipelined_requests_are_answered_once_and_in_order() {
    let server = Server::start();
    let mut stream = server.connect();
    let ids: Vec<String> = (0..1_000).map(|i| format!("pipelined-{i}x")).collect();
    let mut sent = Vec::new();
    for id in &ids {
        sent.extend(request(&[CSV, ("x-amzn-sagemaker-inference-id", id)], b"1,2,0"));
    }
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut reader = BufReader::new(&mut stream);
    for id in &ids {
        let answer = Answer::try_parse(&mut reader).unwrap();
        assert_eq!(answer.header("x-amzn-sagemaker-inference-id"), Some(id.as_str()));
    }
    writing.join().unwrap();
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE id LIKE 'pipelined-%'"), 1_000);
}

#[test]
fn a_caller_that_leaves_is_recorded_and_changes_nothing() {
    let server = Server::start();
    for cut in 0..40 {
        let bytes = request(&[CSV], b"1,2,0");
        let mut stream = server.connect();
        stream.write_all(&bytes[..bytes.len() - 1 - cut % 4]).unwrap();
        drop(stream);
    }
    assert_eq!(server.post(&[CSV], b"1,2,0").status, 200);
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(20));
        server.metric("serin_errors_total{code=\"client_gone\"}") == 40.0
    });
    assert!(gone);
    assert_eq!(server.metric("serin_requests_in_hand"), 0.0);
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE error_code = 'client_gone'"), 40);
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE status = 200"), 1);
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let server = Server::start_with(|options| {
        options.proxies = Vec::new();
        options.limits.connections_per_address = 3;
    });
    let mut kept: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut kept {
        stream.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_eq!(Answer::read(stream).status, 200);
    }
    let mut fourth = server.connect();
    // The connection may be reset before the request was written.
    let _ = fourth.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(Answer::try_read(&mut fourth).is_none(), "a fourth is not answered");
    drop(kept.pop());
    let room = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(20));
        let mut stream = server.connect();
        let sent = stream.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n");
        sent.is_ok() && Answer::try_read(&mut stream).is_some_and(|answer| answer.status == 200)
    });
    assert!(room, "and there is room again once one has left");
    drop(kept);
    server.stop();
}

#[test]
fn what_is_too_much_is_turned_away_at_once_and_health_goes_on() {
    let server = Server::start_with(|options| options.limits.in_hand = 2);
    let held: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = server.connect();
            let bytes = request(&[CSV], b"1,2,0");
            stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
            stream
        })
        .collect();
    let full = (0..100).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        let answer = server.post(&[CSV], b"1,2,0");
        (answer.status != 200).then_some(answer)
    });
    let full = full.unwrap();
    assert_eq!((full.status, full.code().as_str()), (503, "overloaded"));
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(server.get("/ping").status, 200);
    assert!(server.metric("serin_errors_total{code=\"overloaded\"}") >= 1.0);
    for mut stream in held {
        stream.write_all(b"0").unwrap();
        assert_eq!(Answer::read(&mut stream).status, 200);
    }
    server.stop();
}

#[test]
fn a_batch_that_nobody_waits_for_is_no_answer_and_is_counted_once() {
    let slow = "777,1,0\n".to_owned() + &"1,1,0\n".repeat(50);
    let counted = |server: &Server, expected: [f64; 3]| {
        let outcomes = ["answered", "client_error", "server_error"].map(|outcome| {
            format!("serin_requests_total{{endpoint=\"test\",variant=\"AllTraffic\",outcome=\"{outcome}\"}}")
        });
        let is_so = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            outcomes.each_ref().map(|series| server.metric(series)) == expected
        });
        assert!(is_so, "{:?}", outcomes.map(|series| server.metric(&series)));
    };
    // Too late.
    let server = Server::start_with(|options| options.limits.request = Duration::from_millis(100));
    let late = server.post(&[CSV], slow.as_bytes());
    assert_eq!((late.status, late.code().as_str()), (503, "overloaded"));
    counted(&server, [0.0, 0.0, 1.0]);
    assert_eq!(server.stop().count("SELECT count(*) FROM inferences"), 0, "what is shed is not recorded");

    // Cancelled, which HTTP/1 has no word for.
    let server = Server::start();
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let (executor, io) = (TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://{}/invocations", server.address))
            .header(CSV.0, CSV.1)
            .body(Full::new(Bytes::from(slow)))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(100), sender.send_request(request)).await;
        assert!(answer.is_err(), "it was to take longer");
        counted(&server, [0.0, 1.0, 0.0]);
        connection.abort();
    });
    let stopped = server.stop();
    let gone =
        "SELECT count(*) FROM inferences WHERE error_code = 'client_gone' AND client_gone AND status = 499";
    assert_eq!(stopped.count(gone), 1);
    assert_eq!(stopped.count("SELECT count(*) FROM inferences"), 1);
}
