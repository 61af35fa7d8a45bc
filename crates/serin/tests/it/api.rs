//! The gate of the control interface, in front of handlers that do something visible.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use serin::api::app::app;
use serin::api::extract::{Body, Filter, Named};
use serin::api::limits::Limits;
use serin::api::origin::Hosts;
use serin::api::problem::{Code, Problem};
use serin::api::routes::{OPENAPI, Permission, Route, Takes};
use serin::api::server::{ApiServer, ListenError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::serve::support::{Answer, clock, connect};

/// What the handlers did.
type Done = Arc<AtomicUsize>;

static TABLE: [Route; 6] = [
    Route::get(OPENAPI, Permission::Public),
    Route::get("/api/v1/things/{number}", Permission::Read),
    Route::post("/api/v1/things", Permission::Run, Takes::Json),
    Route::post("/api/v1/things/{number}/end", Permission::Run, Takes::Nothing),
    Route::post("/api/v1/files", Permission::Manage, Takes::File("application/zip")),
    Route::post("/api/v1/slow", Permission::Run, Takes::Json),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    limit: Option<usize>,
}

#[utoipa::path(get, path = "/api/v1/things/{number}", responses((status = 200)))]
async fn look(Named(number): Named<u64>, Filter(look): Filter<Look>) -> Json<Value> {
    Json(json!({ "number": number, "limit": look.limit }))
}

#[utoipa::path(post, path = "/api/v1/things", responses((status = 201)))]
async fn make(
    State(done): State<Done>,
    Body(thing): Body<Thing>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    match thing.name.as_str() {
        "refused" => Err(Problem::new(Code::Conflict, "there is one already")),
        "panic" => panic!("planted"),
        name => {
            let number = done.fetch_add(1, Ordering::SeqCst) + 1;
            Ok((StatusCode::CREATED, Json(json!({ "name": name, "number": number }))))
        }
    }
}

#[utoipa::path(post, path = "/api/v1/things/{number}/end", responses((status = 200)))]
async fn end(State(done): State<Done>) -> Json<Value> {
    Json(json!({ "ended": done.fetch_add(1, Ordering::SeqCst) + 1 }))
}

#[utoipa::path(post, path = "/api/v1/files", responses((status = 200)))]
async fn file(bytes: Bytes) -> Json<Value> {
    Json(json!({ "bytes": bytes.len() }))
}

#[utoipa::path(post, path = "/api/v1/slow", responses((status = 200)))]
async fn slow(State(done): State<Done>) -> Json<Value> {
    tokio::time::sleep(Duration::from_millis(400)).await;
    Json(json!({ "done": done.fetch_add(1, Ordering::SeqCst) + 1 }))
}

/// There is a handler, and it is not in the table.
#[utoipa::path(get, path = "/api/v1/forgotten", responses((status = 200)))]
async fn forgotten() -> &'static str {
    "secret"
}

struct Api {
    server: ApiServer,
    done: Done,
}

impl Api {
    fn start() -> Self {
        Self::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Self {
        let done = Done::default();
        let handlers = OpenApiRouter::new()
            .routes(routes!(look))
            .routes(routes!(make))
            .routes(routes!(end))
            .routes(routes!(file))
            .routes(routes!(slow))
            .routes(routes!(forgotten))
            .with_state(done.clone());
        let app = app(&TABLE, handlers, Hosts::default(), limits, clock());
        let server = ApiServer::start("--control-listen", loopback(), app, limits).unwrap();
        Self { server, done }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        send(self.server.address(), method, path, headers, body)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::read(&mut self.send(method, path, headers, body))
    }

    fn make(&self, headers: &[(&str, &str)], name: &str) -> Answer {
        let headers: Vec<_> = [JSON].iter().chain(headers).copied().collect();
        self.ask("POST", "/api/v1/things", &headers, &json!({ "name": name }).to_string())
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const KEY: &str = "idempotency-key";

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Sends a request, to the host `localhost` when the headers name none.
fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str("host: localhost\r\n");
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let mut stream = connect(address);
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    stream
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn only_the_methods_of_the_table_reach_a_handler() {
    let api = Api::start();
    let paths = TABLE.iter().map(|route| route.pattern.replace("{number}", "7"));
    let paths: BTreeSet<String> =
        paths.chain(["/api/v1/forgotten".into(), "/api/v1".into(), "/".into()]).collect();
    for path in &paths {
        let here: Vec<&Route> =
            TABLE.iter().filter(|route| route.pattern.replace("{number}", "7") == *path).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = api.ask(method, path, &[], "");
            match here.iter().find(|route| route.method.as_str() == method) {
                Some(_) => {
                    assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
                }
                None if here.is_empty() => {
                    assert_eq!(told(&answer), problem(404, "not_found"), "{method} {path}");
                }
                None => {
                    assert_eq!(told(&answer), problem(405, "method_not_allowed"), "{method} {path}");
                    assert_eq!(answer.header("allow"), Some(here[0].method.as_str()), "{path}");
                }
            }
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
            assert!(answer.header("x-request-id").is_some(), "{method} {path}");
        }
    }
    let overridden = [("x-http-method-override", "POST")];
    assert_eq!(api.ask("GET", "/api/v1/things", &overridden, "").status, 405);
    for odd in ["/api/v1/things/7/", "//api/v1/things/7", "/api/v1/things/%2e%2e/7", "/api/v1/things/seven"] {
        assert_eq!(told(&api.ask("GET", odd, &[], "")), problem(404, "not_found"), "{odd}");
    }
}

#[test]
fn the_description_is_openapi_and_has_the_form_of_problems() {
    let api = Api::start();
    let answer = api.ask("GET", OPENAPI, &[], "");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["components"]["schemas"]["Problem"].is_object(), "{document}");
}

#[test]
fn pages_of_others_and_names_of_others_are_turned_away() {
    let api = Api::start();
    let make = |headers: &[(&str, &str)]| told(&api.make(headers, "a"));
    assert_eq!(make(&[("host", "evil.example")]), problem(421, "misdirected_request"));
    assert_eq!(make(&[("origin", "http://evil.example")]), problem(403, "cross_origin"));
    assert_eq!(make(&[("sec-fetch-site", "cross-site")]), problem(403, "cross_origin"));
    assert_eq!(make(&[("host", "localhost"), ("host", "localhost")]), problem(400, "invalid_header"));
    let mut stream = connect(api.server.address());
    stream.write_all(b"POST /api/v1/things HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(told(&Answer::read(&mut stream)), problem(400, "invalid_header"));
    let foreign = [("host", "evil.example")];
    assert_eq!(told(&api.ask("GET", OPENAPI, &foreign, "")), problem(421, "misdirected_request"));
    assert_eq!(api.done(), 0);
    assert_eq!(make(&[("host", "127.0.0.1:1"), ("origin", "http://127.0.0.1:1")]).0, 201);
}

#[test]
fn a_body_is_what_the_address_takes_or_refused() {
    let limits = Limits { body_bytes: 100, body: Duration::from_millis(300), ..Limits::default() };
    let api = Api::start_with(limits);
    let make = |headers: &[(&str, &str)], body: &str| told(&api.ask("POST", "/api/v1/things", headers, body));
    let name = r#"{"name":"a"}"#;
    for (headers, body, expected) in [
        (vec![], name, problem(415, "unsupported_media_type")),
        (vec![("content-type", "text/plain")], name, problem(415, "unsupported_media_type")),
        (
            vec![("content-type", "application/x-www-form-urlencoded")],
            name,
            problem(415, "unsupported_media_type"),
        ),
        (vec![JSON], "", problem(400, "empty_body")),
        (vec![JSON], "{\"name\":", problem(400, "malformed_json")),
        (vec![JSON], "{}", problem(422, "invalid_body")),
        (vec![JSON], r#"{"name":7}"#, problem(422, "invalid_body")),
        (vec![JSON], r#"{"name":"a","approved_by":"me"}"#, problem(422, "invalid_body")),
        (vec![JSON], r#"{"name":"a"} {}"#, problem(400, "malformed_json")),
        (vec![JSON], &format!("{{\"name\":\"{}\"}}", "a".repeat(200)), problem(413, "body_too_large")),
        (vec![JSON, ("expect", "something")], name, problem(417, "expectation_failed")),
        (vec![JSON, ("transfer-encoding", "gzip, chunked")], "", problem(400, "ambiguous_framing")),
    ] {
        assert_eq!(make(&headers, body), expected, "{headers:?} {body}");
    }
    assert_eq!(api.done(), 0);
    assert_eq!(make(&[("content-type", "application/json; charset=utf-8")], name).0, 201);

    let refused = api.ask("POST", "/api/v1/things", &[JSON], r#"{"name":"a","x":1}"#);
    let said: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.header("x-serin-error-code"), Some("invalid_body"));
    assert_eq!(said["request_id"].as_str(), refused.header("x-request-id"));
    assert_eq!((&said["type"], &said["status"]), (&json!("/errors/invalid_body"), &json!(422)));
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.starts_with("line 1, column 15: unknown field `x`"), "{detail}");

    let mut stream = connect(api.server.address());
    let head = "POST /api/v1/things HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: 9\r\n\r\n{{").as_bytes()).unwrap();
    assert_eq!(told(&Answer::read(&mut stream)), problem(408, "request_timeout"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the rest is not waited for");

    assert_eq!(api.ask("POST", "/api/v1/things/7/end", &[], "").status, 200);
    assert_eq!(api.ask("POST", "/api/v1/things/7/end", &[JSON], "{}").status, 413);
    let form = [("content-type", "text/plain")];
    assert_eq!(api.ask("POST", "/api/v1/things/7/end", &form, "").status, 415);

    // The handler of a file has limits of its own.
    let zip = [("content-type", "application/zip")];
    let large = "z".repeat(5_000);
    assert_eq!(api.ask("POST", "/api/v1/files", &zip, &large).text(), r#"{"bytes":5000}"#);
    assert_eq!(api.ask("POST", "/api/v1/files", &[JSON], &large).status, 415);
}

#[test]
fn what_stands_in_the_address_is_checked() {
    let api = Api::start();
    let look = |address: &str| api.ask("GET", address, &[], "");
    assert_eq!(look("/api/v1/things/7?limit=3").text(), r#"{"limit":3,"number":7}"#);
    assert_eq!(told(&look("/api/v1/things/-7")), problem(404, "not_found"));
    assert_eq!(told(&look("/api/v1/things/7?limit=x")), problem(400, "invalid_query"));
    assert_eq!(told(&look("/api/v1/things/7?limmit=3")), problem(400, "invalid_query"));
    let long = format!("/api/v1/things/7?limit={}", "1".repeat(9_000));
    assert_eq!(told(&look(&long)), problem(414, "uri_too_long"));
    let echoed = look(&format!("/api/v1/things/7?{}=1", "x".repeat(5_000)));
    assert!(echoed.body.len() < 500, "{}", echoed.text());
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let api = Api::start();
    let key = [(KEY, "first")];
    let first = api.make(&key, "a");
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    let again = api.make(&key, "a");
    assert_eq!((again.status, again.text()), (201, first.text()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("content-type"), Some("application/json"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(told(&api.make(&key, "b")), problem(409, "idempotency_conflict"));
    let elsewhere = api.ask("POST", "/api/v1/things/7/end", &key, "");
    assert_eq!(told(&elsewhere), problem(409, "idempotency_conflict"));
    assert_eq!(api.done(), 1);

    let refused = [(KEY, "refused")];
    assert_eq!(told(&api.make(&refused, "refused")), problem(409, "conflict"));
    assert_eq!(
        api.make(&refused, "corrected").status,
        201,
        "a refusal changed nothing, so it can be corrected"
    );
    let panicked = [(KEY, "panicked")];
    assert_eq!(told(&api.make(&panicked, "panic")), problem(500, "internal"));
    assert_eq!(api.make(&panicked, "b").status, 201);
    assert_eq!(told(&api.make(&[(KEY, "")], "a")), problem(400, "invalid_idempotency_key"));
    assert_eq!(told(&api.make(&[(KEY, "x"), (KEY, "y")], "a")), problem(400, "invalid_idempotency_key"));
    for number in [4, 5] {
        assert_eq!(api.make(&[], "a").text(), format!(r#"{{"name":"a","number":{number}}}"#));
    }
}

#[test]
fn what_was_begun_is_ended_and_remembered_when_the_caller_leaves() {
    let api = Api::start();
    let headers = [JSON, (KEY, "left")];
    let slow = || api.send("POST", "/api/v1/slow", &headers, "{}");
    let leaving = slow();
    let refused = || told(&Answer::read(&mut slow())) == problem(409, "idempotency_in_hand");
    assert!((0..20).any(|_| {
        thread::sleep(Duration::from_millis(10));
        refused()
    }));
    drop(leaving);
    let answer = (0..100).find_map(|_| {
        thread::sleep(Duration::from_millis(20));
        Some(Answer::read(&mut slow())).filter(|answer| answer.status == 200)
    });
    assert_eq!(answer.unwrap().header("idempotency-replayed"), Some("true"));
    assert_eq!(api.done(), 1);
}

#[test]
fn there_is_an_end_to_patience_and_to_room() {
    let api =
        Api::start_with(Limits { request: Duration::from_millis(100), in_hand: 1, ..Limits::default() });
    let late = api.ask("POST", "/api/v1/slow", &[JSON], "{}");
    assert_eq!(told(&late), problem(503, "overloaded"));
    // The work goes on, and has its place until it ends.
    let refused = api.make(&[], "a");
    assert_eq!(told(&refused), problem(503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!((0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        api.make(&[], "a").status == 201
    }));
    assert_eq!(api.done(), 2);
}

#[test]
fn requests_in_hand_are_answered_before_the_end() {
    let api = Api::start();
    let mut stream = api.send("POST", "/api/v1/slow", &[JSON], "{}");
    thread::sleep(Duration::from_millis(100));
    let Api { server, .. } = api;
    let address = server.address();
    let ending = thread::spawn(move || drop(server));
    assert_eq!(Answer::read(&mut stream).status, 200);
    ending.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn it_listens_where_nobody_else_can_reach_it() {
    let app = || app(&TABLE, OpenApiRouter::new(), Hosts::default(), Limits::default(), clock());
    let start = |address: &str| {
        ApiServer::start("--control-listen", address.parse().unwrap(), app(), Limits::default()).unwrap_err()
    };
    let refused = start("0.0.0.0:8082");
    assert!(matches!(refused, ListenError::NotLoopback { .. }));
    assert!(refused.to_string().contains("type `--control-listen 127.0.0.1:8082`"), "{refused}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = start(&taken.local_addr().unwrap().to_string());
    assert!(refused.to_string().contains("name another address with `--control-listen`"), "{refused}");
}
