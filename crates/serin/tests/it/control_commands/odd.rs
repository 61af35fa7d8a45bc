//! Answers that a real control interface gives seldom: from a server that says what the test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::commands::process::{Ran, run};

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Asked {
    /// Method and address.
    line: String,
    key: Option<String>,
    body: Value,
}

/// What to do about a request.
enum Reply {
    Json(u16, Value),
    Text(&'static str, &'static str),
    /// The connection ends without an answer.
    Cut,
}

/// A server on loopback that lives as long as the test.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers with what `reply` says of the number of the request, from 0, and its first line.
    fn start(reply: impl Fn(usize, &str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let mut seen = seen.lock().unwrap();
                let reply = reply(seen.len(), &request.line);
                seen.push(request);
                drop(seen);
                answer(stream, &reply);
            }
        });
        Self { url, asked }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &[words, &["--url", &self.url]].concat())
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        head.iter().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let line = head.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked {
        line,
        key: field("idempotency-key"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

fn answer(mut stream: TcpStream, reply: &Reply) {
    let (status, more, body) = match reply {
        Reply::Json(status, body) => (*status, "", body.to_string()),
        Reply::Text(more, text) => (200, *more, (*text).to_owned()),
        Reply::Cut => return,
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
}

#[test]
fn a_broken_connection_is_tried_once_more_with_the_same_key() {
    let server = Server::start(|number, _| match number {
        0 => Reply::Cut,
        _ => Reply::Json(200, json!({"number": 3, "state": {"name": "cancelling", "by": "ann"}})),
    });
    let ran = server.run(&["run", "cancel", "3", "--reason", "too slow", "--by", "ann"]).expect(0);
    assert_eq!(ran.stdout, "run 3: cancelling by ann\n");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].key.is_some() && asked[0].key == asked[1].key, "{asked:?}");
    assert_eq!(asked[1].line, "POST /api/v1/runs/3/cancel");
    assert_eq!(asked[1].body, json!({"by": "ann", "reason": "too slow"}));
}

#[test]
fn refusals_are_told_with_code_and_fix_and_strangers_are_recognised() {
    let problem = json!({"type": "/errors/version_not_approved", "title": "t", "status": 409,
        "code": "version_not_approved", "detail": "prod asks for approval, and version 7 is pending", "request_id": "r"});
    let server = Server::start(move |_, line| match line {
        "GET /api/v1/versions/7" => Reply::Json(200, json!({"number": 7, "project": "wine"})),
        "POST /api/v1/projects/wine/stages/prod/deploy" => Reply::Json(409, problem.clone()),
        "GET /api/v1/endpoints" => Reply::Text("", "<html>hello"),
        _ => Reply::Json(302, json!({})),
    });
    let ran = server.run(&["deploy", "7", "--stage", "prod", "--by", "ann"]).expect(1);
    assert_eq!(
        ran.stderr,
        "serin: prod asks for approval, and version 7 is pending (version_not_approved); approve it first: `serin \
         version approve VERSION --reason ...`\n"
    );
    for (words, status) in [(&["endpoints"][..], "200"), (&["status"], "302")] {
        let ran = server.run(words).expect(1);
        let wanted = format!("answered {status} with something that is not of Serin's control interface");
        assert!(ran.stderr.contains(&wanted), "{}", ran.stderr);
    }
}

#[test]
fn json_is_what_the_server_said() {
    let answer = json!({"items": [{"number": 3, "later": {"unknown": [1.5, null]}}], "next": 3});
    let said = answer.clone();
    let server = Server::start(move |_, _| Reply::Json(200, said.clone()));
    let ran = server.run(&["runs", "--json", "--open", "--project", "a b", "--limit", "1"]).expect(0);
    assert_eq!(ran.json(), answer);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    assert_eq!(server.asked()[0].line, "GET /api/v1/runs?project=a%20b&limit=1&open=true");
    let ran = server.run(&["runs"]).expect(0);
    assert!(ran.stderr.contains("--before 3"), "{}", ran.stderr);
}

#[test]
fn watching_tells_each_change_and_ends_with_the_gates_code() {
    let server = Server::start(|number, line| {
        let run = |state: Value, train: Value| {
            Reply::Json(
                200,
                json!({"number": 7, "state": state, "duration_seconds": 3.0, "steps": [
                {"name": "train", "state": train, "attempts": 1, "seconds": 1.5}]}),
            )
        };
        let running = || json!({"name": "running"});
        match (line, number) {
            ("GET /api/v1/projects", _) => Reply::Json(200, json!({"items": [{"name": "wine"}]})),
            ("POST /api/v1/projects/wine/runs", _) => Reply::Json(201, json!({"outcome": "run", "run": 7})),
            ("GET /api/v1/status", _) => Reply::Json(200, json!({})),
            (_, 2) => run(running(), running()),
            // The server goes away twice, which a request survives only once.
            (_, 3 | 4) => Reply::Cut,
            (_, 6) => run(running(), json!({"name": "succeeded"})),
            _ => run(
                json!({"name": "failed", "step": "gate", "code": "not_acceptable", "reason": "0.4 is below 0.7"}),
                json!({"name": "succeeded"}),
            ),
        }
    });
    let ran = server.run(&["run", "--watch", "--by", "ann"]).expect(3);
    assert_eq!(ran.stdout.lines().next().unwrap(), "run 7 failed in gate (not_acceptable) after 3.0 s");
    assert!(ran.stdout.contains("  0.4 is below 0.7\n"), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines[0], "run 7 was asked for; `serin run show 7` shows it");
    assert_eq!(lines[1], "run 7: train running");
    assert!(lines[2].ends_with("broke; waiting for it") || lines[2].contains("waiting for it"), "{lines:?}");
    assert_eq!(lines[3..], ["run 7: train done in 1.5 s"]);
}

#[test]
fn logs_are_read_part_by_part() {
    let server = Server::start(|_, line| match line {
        "GET /api/v1/runs/7/logs?follow=true" => Reply::Text("x-serin-next-offset: a.1\r\n", "train one\n"),
        "GET /api/v1/runs/7/logs?offset=a.1&follow=true" => {
            Reply::Text("x-serin-next-offset: a.2\r\nx-serin-log-end: true\r\n", "train two\n")
        }
        "GET /api/v1/runs/7/logs?step=train" => Reply::Text("x-serin-next-offset: 5\r\n", "one\n"),
        "GET /api/v1/runs/7/logs?step=train&offset=5" => Reply::Text("x-serin-next-offset: 5\r\n", ""),
        other => panic!("{other}"),
    });
    assert_eq!(server.run(&["run", "logs", "7", "--follow"]).expect(0).stdout, "train one\ntrain two\n");
    assert_eq!(server.run(&["run", "logs", "7", "--step", "train"]).expect(0).stdout, "one\n");
}

#[test]
fn the_project_is_the_only_one_or_the_one_that_is_named() {
    let server = Server::start(|_, line| match line {
        "GET /api/v1/projects" => {
            Reply::Json(200, json!({"items": [{"name": "a", "folder": "/a"}, {"name": "b", "folder": "/b"}]}))
        }
        _ => {
            Reply::Json(200, json!({"outcome": "refused", "rule": "waiting_limit", "reason": "20 runs wait"}))
        }
    });
    let ran = server.run(&["run"]).expect(1);
    assert_eq!(ran.stderr, "serin: there are several projects; name one with --project: a, b\n");
    let ran = server.run(&["run", "--project", "b", "--by", "ann", "--fresh"]).expect(1);
    assert_eq!(ran.stdout, "no run: 20 runs wait (waiting_limit)\n");
    let asked = server.asked();
    assert_eq!(asked[1].line, "POST /api/v1/projects/b/runs");
    assert_eq!(asked[1].body, json!({"by": "ann", "fresh": true, "dry_run": false}));
}

#[test]
fn an_approval_is_answered_for_the_sheet_that_is_there() {
    let server = Server::start(|_, line| match line {
        "GET /api/v1/approvals/2" => Reply::Json(200, json!({"number": 2, "shown": "cc33"})),
        _ => Reply::Json(
            200,
            json!({"number": 2, "version": 5, "stage": "prod",
            "state": {"name": "approved", "by": "bob"}}),
        ),
    });
    let ran = server.run(&["approve", "2", "--reason", "fine", "--by", "bob"]).expect(0);
    assert_eq!(ran.stdout, "approval 2: version 5 to prod: approved by bob\n");
    server.run(&["reject", "2", "--reason", "no", "--by", "bob", "--seen", "dd"]).expect(0);
    let bodies: Vec<Value> = server.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies[1], json!({"verdict": "approve", "by": "bob", "reason": "fine", "seen": "cc33"}));
    assert_eq!(bodies[2], json!({"verdict": "reject", "by": "bob", "reason": "no", "seen": "dd"}));
}

#[test]
fn nothing_is_removed_before_someone_confirms() {
    let server = Server::start(|_, _| {
        Reply::Json(
            200,
            json!({"project": "wine", "stage": "dev", "endpoints": ["dev"], "kept": ["captured rows"]}),
        )
    });
    let destroy = ["destroy", "--project", "wine", "--stage", "dev", "--by", "ann"];
    let ran = server.run(&destroy).expect(1);
    assert!(ran.stderr.contains("say --yes"), "{}", ran.stderr);
    let ran = server.run(&[&destroy[..], &["--dry-run"]].concat()).expect(0);
    assert!(ran.stdout.starts_with("of the stage dev of wine would go:\n  endpoints dev"), "{}", ran.stdout);
    let dry = "DELETE /api/v1/projects/wine?stage=dev&dry_run=true&by=ann";
    assert!(server.asked().iter().all(|asked| asked.line == dry), "{:?}", server.asked());
    let ran = server.run(&[&destroy[..], &["--yes"]].concat()).expect(0);
    assert!(ran.stdout.starts_with("of the stage dev of wine went:\n"), "{}", ran.stdout);
    let lines: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines[2..], [dry, "DELETE /api/v1/projects/wine?stage=dev&by=ann"]);
}
