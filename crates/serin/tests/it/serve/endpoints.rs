//! Several endpoints and variants, in SageMaker's words; reloading them; metrics; TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use serin::gateway::endpoint::{Endpoint, Snapshot, Variant};
use serin::gateway::supply::Endpoints;

use super::support::{CSV, JSON, Server, model};

#[test]
fn endpoints_are_asked_by_name_as_sagemakers_clients_do() {
    let server = Server::start_of(two_endpoints(), |_| {});
    let ask = |path: &str, headers: &[(&str, &str)], body: &[u8]| server.post_to(path, headers, body);
    let answer = ask("/endpoints/one/invocations", &[CSV], b"3,1,0");
    assert_eq!((answer.status, answer.text()), (200, "big\n"));
    assert_eq!(answer.header("x-amzn-invoked-production-variant"), Some("AllTraffic"));
    assert_eq!(answer.header("x-amzn-requestid"), answer.header("x-amzn-sagemaker-inference-id"));
    assert_eq!(answer.header("x-serin-model-version"), Some("v1"));

    let target = ("x-amzn-sagemaker-target-variant", "next");
    let answer = ask("/endpoints/two/invocations", &[CSV, target, ("accept", "application/json")], b"3,1,0");
    assert_eq!(answer.header("x-amzn-invoked-production-variant"), Some("next"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["model_version"], "v3");

    let refused = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answer = ask(path, headers, body);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, answer.header("x-amzn-errortype").unwrap_or_default().to_owned(), body)
    };
    let (status, kind, body) = refused("/endpoints/three/invocations", &[CSV], b"3,1,0");
    assert_eq!((status, kind.as_str()), (400, "ValidationError"));
    assert_eq!(body["Message"], "endpoint three not found; there is: one, two");
    let nobody = ("x-amzn-sagemaker-target-variant", "nobody");
    assert_eq!(refused("/endpoints/two/invocations", &[CSV, nobody], b"3,1,0").0, 400);
    let (status, kind, body) = refused("/endpoints/one/invocations", &[CSV], b"x,1,0");
    assert_eq!((status, kind.as_str(), &body["OriginalStatusCode"]), (424, "ModelError", &json!(422)));
    assert!(
        body["Message"].as_str().unwrap().starts_with("Received client error (422) from primary"),
        "{body}"
    );
    let said: Value = serde_json::from_str(body["OriginalMessage"].as_str().unwrap()).unwrap();
    assert_eq!(said["code"], "not_a_number");
    let (status, _, body) = refused("/endpoints/one/invocations", &[CSV], b"666,1,0");
    assert_eq!((status, &body["OriginalStatusCode"]), (424, &json!(500)));

    let bare = server.post(&[CSV], b"3,1,0");
    assert_eq!((bare.status, bare.code().as_str()), (404, "unknown_endpoint"));
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM endpoint_one"), 1);
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE variant = 'next' AND status = 200"), 1);
}

#[test]
fn requests_are_split_by_weight_and_stick_by_header() {
    let server = Server::start_of(two_endpoints(), |_| {});
    let variant = |headers: &[(&str, &str)]| {
        let answer = server.post_to("/endpoints/two/invocations", headers, b"3,1,0");
        answer.header("x-amzn-invoked-production-variant").unwrap().to_owned()
    };
    let next = (0..400).filter(|_| variant(&[CSV]) == "next").count();
    assert!((60..=140).contains(&next), "{next} of 400 at a quarter");
    for user in 0..20 {
        let user = ("x-user-id", &*user.to_string());
        let first = variant(&[CSV, user]);
        assert!((0..5).all(|_| variant(&[CSV, user]) == first));
    }
    let id = ("x-amzn-sagemaker-inference-id", "retried");
    let first = variant(&[CSV, id]);
    assert!(
        (0..5).all(|_| variant(&[CSV, id]) == first),
        "a repeated request is answered by the same variant"
    );
    server.stop();
}

#[test]
fn a_reload_swaps_the_endpoints_and_one_that_fails_changes_nothing() {
    let rounds = AtomicUsize::new(0);
    let endpoints = Endpoints::new(move |_| {
        let round = rounds.fetch_add(1, Ordering::SeqCst);
        anyhow::ensure!(round != 1, "the file is half written");
        let version = format!("v{round}");
        Ok(Snapshot::new(vec![Endpoint::of_one("test", model(&version))?], None)?)
    });
    let server = Server::start_of(endpoints, |_| {});
    let version = || server.post(&[CSV], b"3,1,0").header("x-serin-model-version").unwrap().to_owned();
    assert_eq!(version(), "v0");
    let reload = |outcome: &str| {
        server.reload.blocking_send(()).unwrap();
        let series = format!("serin_reloads_total{{outcome=\"{outcome}\"}}");
        assert!((0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            server.metric(&series) == 1.0
        }));
    };
    reload("refused");
    assert_eq!(version(), "v0");
    reload("done");
    assert_eq!(version(), "v2");
    server.stop();
}

#[test]
fn metrics_count_each_request_once_by_who_answered() {
    let server = Server::start_of(two_endpoints(), |_| {});
    let one = |outcome: &str| {
        server.metric(&format!(
            "serin_requests_total{{endpoint=\"one\",variant=\"AllTraffic\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(one("answered"), 0.0, "series are there before they are needed");
    let ask = |body: &[u8]| server.post_to("/endpoints/one/invocations", &[CSV], body).status;
    assert_eq!([ask(b"3,1,0\n4,1,0\n"), ask(b"x,1,0"), ask(b"666,1,0")], [200, 424, 424]);
    assert_eq!([one("answered"), one("client_error"), one("server_error")], [1.0, 1.0, 1.0]);
    assert_eq!(server.metric("serin_rows_total{endpoint=\"one\",variant=\"AllTraffic\"}"), 2.0);
    assert_eq!(server.metric("serin_errors_total{code=\"model_output_invalid\"}"), 1.0);
    assert_eq!(server.metric("serin_variant_weight{endpoint=\"two\",variant=\"next\"}"), 1.0);
    assert_eq!(
        server.metric("serin_request_duration_seconds_count{endpoint=\"one\",variant=\"AllTraffic\"}"),
        1.0
    );
    server.stop();
}

#[test]
fn bodies_and_answers_may_be_lines_or_packed() {
    let server = Server::start();
    let lines = ("content-type", "application/jsonlines");
    let answer = server
        .post(&[lines], b"[3,1,0]\n{\"features\":[-3,1,0]}\n\n{\"flag\":0,\"height\":null,\"width\":3}\n");
    assert_eq!(answer.header("content-type"), Some("application/jsonlines"));
    let classes: Vec<Value> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["class"].clone())
        .collect();
    assert_eq!(classes, ["big", "small, or \"none\"", "big"]);
    let wrong = server.post(&[lines], b"[3,1,0]\n7\n");
    assert_eq!(wrong.code(), "wrong_type");
    let columns = server.post(
        &[JSON, ("accept", "text/csv")],
        br#"{"inputs":{"flag":[0,0],"width":[3,-3],"height":[1,null]}}"#,
    );
    assert_eq!(columns.text(), "big\n\"small, or \"\"none\"\"\"\n");
    let ragged = server.post(&[JSON], br#"{"inputs":{"flag":[0],"width":[3,-3],"height":[1,1]}}"#);
    assert_eq!((ragged.status, ragged.code().as_str()), (422, "wrong_type"));

    let rows = "3,1,0\n".repeat(500);
    let packed = server.post(&[CSV, ("accept-encoding", "br, gzip;q=0.5")], rows.as_bytes());
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.body.as_slice()), &mut text)
        .unwrap();
    assert_eq!(text, "big\n".repeat(500));
    let plain = server.post(&[CSV, ("accept-encoding", "gzip;q=0")], rows.as_bytes());
    assert_eq!(plain.header("content-encoding"), None);

    let trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(server.post(&[CSV, trace], b"3,1,0").header("traceparent"), Some(trace.1));
    let broken = ("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01");
    assert_eq!(server.post(&[CSV, broken], b"3,1,0").header("traceparent"), None);
    server.stop();
}

#[test]
fn a_prediction_comes_with_its_reasons_when_asked() {
    let server = Server::start();
    let ask = |path: &str, headers: &[(&str, &str)], body: &[u8]| server.post_to(path, headers, body);
    let answer = ask("/invocations?explain=2", &[CSV], b"3,1,0\n-3,,0");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let reasons = |width: f64| {
        json!({ "unit": "log_odds", "base": 0.0, "contributions": [
            { "feature": "width", "value": width, "contribution": 3.0 },
            { "feature": "height", "value": if width > 0.0 { json!(1.0) } else { Value::Null }, "contribution": 0.5 },
        ] })
    };
    assert_eq!(body["predictions"][0]["explanation"], reasons(3.0));
    assert_eq!(body["predictions"][1]["explanation"], reasons(-3.0));
    let lines = ask("/invocations?explain=1", &[CSV, ("accept", "application/jsonlines")], b"3,1,0");
    assert!(lines.text().contains("\"explanation\":{"), "{}", lines.text());
    let many = "3,1,0\n".repeat(101);
    for (path, headers, body, status, code) in [
        ("/invocations?explain=0", vec![CSV], &b"3,1,0"[..], 400, "invalid_query"),
        ("/invocations?explain=all", vec![CSV], b"3,1,0", 400, "invalid_query"),
        (
            "/invocations?explain=2",
            vec![CSV, ("accept", "text/csv")],
            b"3,1,0",
            422,
            "explanation_unavailable",
        ),
        ("/invocations?explain=2", vec![CSV], b"555,1,0", 422, "explanation_unavailable"),
        ("/invocations?explain=2", vec![CSV], many.as_bytes(), 413, "too_many_rows"),
    ] {
        let answer = ask(path, &headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    assert_eq!(ask("/invocations?other=1", &[CSV], b"3,1,0").text(), "big\n");
    server.stop();
}

#[test]
fn endpoints_that_cannot_be_are_refused_with_the_reason() {
    let variant = |name: &str, weight| Variant::new(name, weight, Arc::new(model("v1")));
    let endpoint = |name: &str, variants| Endpoint::new(name, variants, None);
    for (outcome, part) in [
        (endpoint("a b", vec![variant("a", 1.0)]), "cannot name an endpoint"),
        (endpoint("a", vec![variant("-", 1.0)]), "cannot name a variant"),
        (endpoint("a", vec![variant("x", 1.0), variant("x", 1.0)]), "two variants called `x`"),
        (endpoint("a", vec![]), "weights"),
        (endpoint("a", vec![variant("x", 0.0)]), "weights"),
        (endpoint("a", vec![variant("x", -1.0), variant("y", 1.0)]), "weights"),
        (endpoint("a", vec![variant("x", f64::NAN)]), "weights"),
        (Endpoint::new("a", vec![variant("x", 1.0)], Some("not a header")), "header"),
    ] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let a = || endpoint("a", vec![variant("x", 1.0)]).unwrap();
    assert!(Snapshot::new(vec![a(), a()], None).unwrap_err().to_string().contains("two endpoints"));
    assert!(Snapshot::new(vec![a()], Some("b")).unwrap_err().to_string().contains("no endpoint `b`"));
    assert!(Snapshot::new(vec![], None).is_err());
}

/// `one` with one variant, `two` with weights 3 to 1.
fn two_endpoints() -> Endpoints {
    Endpoints::new(|_| {
        let variants = vec![
            Variant::new("stable", 3.0, Arc::new(model("v2"))),
            Variant::new("next", 1.0, Arc::new(model("v3"))),
        ];
        let one = Endpoint::of_one("one", model("v1"))?;
        let two = Endpoint::new("two", variants, Some("X-User-Id"))?;
        Ok(Snapshot::new(vec![one, two], None)?)
    })
}
