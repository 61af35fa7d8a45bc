//! True classes sent to a server, early, late and corrected.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, CSV, JSON, Server};

#[test]
fn labels_find_their_rows_now_and_later() {
    let server = Server::start();
    let id = |id: &'static str| ("x-amzn-sagemaker-inference-id", id);
    assert_eq!(server.post(&[CSV, id("first")], b"3,1,0").status, 200);
    let label = |id: &str, label: &str, time: i64| json!({ "id": id, "label": label, "time": time });
    let counts = |answer: &Answer| serde_json::from_slice::<Value>(&answer.body).unwrap();
    // The row may still be in the journal: then its label waits for it.
    let answer =
        attach(&server, &json!({ "labels": [label("first", "big", 10), label("batch/1", "big", 10)] }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = counts(&answer);
    assert_eq!(told["attached"].as_u64().unwrap() + told["waiting"].as_u64().unwrap(), 2, "{told}");
    assert_eq!(server.post(&[CSV, id("batch")], b"3,1,0\n4,1,0\n").status, 200);
    let arrived = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(20));
        counts(&attach(&server, &json!({ "labels": [label("batch/1", "big", 10)] })))["unchanged"] == 1
    });
    assert!(arrived, "the label that waited is the row's");
    assert_eq!(
        counts(&attach(&server, &json!({ "labels": [label("batch/1", "small", 20)] })))["corrected"],
        1
    );
    assert_eq!(counts(&attach(&server, &json!({ "labels": [label("batch/1", "old", 5)] })))["unchanged"], 1);
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE id = 'first' AND label = 'big'"), 1);
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE id = 'batch/1' AND label = 'small'"), 1);
    assert_eq!(stopped.count("SELECT count(*) FROM inferences WHERE label IS NOT NULL"), 2);
}

#[test]
fn wrong_labels_are_refused_whole() {
    let server = Server::start();
    let good = json!({ "id": "a", "label": "big" });
    for (name, body, status, code) in [
        ("no labels", json!({}).to_string(), 422, "invalid_label"),
        ("a list", json!([good]).to_string(), 422, "invalid_label"),
        ("another field", json!({ "labels": [good], "more": 1 }).to_string(), 422, "invalid_label"),
        ("no id", json!({ "labels": [good, { "label": "big" }] }).to_string(), 422, "invalid_label"),
        ("empty", json!({ "labels": [{ "id": "a", "label": "" }] }).to_string(), 422, "invalid_label"),
        (
            "no time",
            json!({ "labels": [{ "id": "a", "label": "b", "time": "noon" }] }).to_string(),
            422,
            "invalid_label",
        ),
        ("too many", json!({ "labels": vec![good; 10_001] }).to_string(), 422, "invalid_label"),
        ("cut", "{\"labels\": [".to_owned(), 400, "malformed_json"),
        ("nothing", String::new(), 400, "empty_body"),
    ] {
        let answer = server.post_to("/labels", &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.text());
    }
    assert_eq!(server.post_to("/labels", &[CSV], b"a,b").status, 415);
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM waiting_labels"), 0);
}

fn attach(server: &Server, body: &Value) -> Answer {
    server.post_to("/labels", &[JSON], body.to_string().as_bytes())
}
