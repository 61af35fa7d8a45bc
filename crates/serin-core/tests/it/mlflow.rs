//! What is said to a tracking server, and what comes of its answers. `scripts/check-mlflow` asks the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use serin_core::clock::Timestamp;
use serin_core::mlflow::{
    Mirror, MirrorError, MlflowSettings, TrialArtifact, TrialMetric, TrialRecord, TrialStatus,
};

use crate::receiver::{Answer, Receiver};

fn settings(receiver: &Receiver) -> MlflowSettings {
    MlflowSettings { url: format!("http://{}/", receiver.address), user: None, secret_file: None }
}

fn trial() -> TrialRecord {
    let metric = |i: u32| TrialMetric {
        key: "loss".into(),
        value: if i == 7 { f64::NAN } else { f64::from(i) },
        step: u64::from(i),
        time: Timestamp(1_795_341_600_000_000),
    };
    TrialRecord {
        experiment: "digits & co".into(),
        trial: "digits-run-7".into(),
        status: TrialStatus::Finished,
        began: Timestamp(1_795_341_600_000_000),
        ended: Timestamp(1_795_341_661_500_000),
        parameters: (0..150).map(|i| (format!("p{i}"), i.to_string())).collect(),
        metrics: (0..1_002).map(metric).collect(),
        tags: [("cause: why?".to_owned(), "x".repeat(9_000))].into(),
        artifacts: vec![
            TrialArtifact { name: "report.html".into(), bytes: b"<p>".to_vec() },
            TrialArtifact { name: "../up".into(), bytes: vec![] },
        ],
    }
}

fn ok(body: Value) -> Answer {
    Answer::Json("200 OK", body)
}

#[test]
fn a_trial_becomes_a_run_in_batches_within_the_limits() {
    let missing = json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no" });
    let info = json!({ "run_id": "r1", "artifact_uri": "mlflow-artifacts:/4/r1/artifacts" });
    let receiver = Receiver::start(
        "127.0.0.1",
        &[
            Answer::Json("404 NOT FOUND", missing),
            ok(json!({ "experiment_id": "4" })),
            ok(json!({})),
            ok(json!({ "run": { "info": info } })),
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "t0ken\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let mirror = Mirror::new(MlflowSettings { secret_file: Some(token), ..settings(&receiver) }).unwrap();
    let mirrored = mirror.record(&trial()).unwrap();
    assert_eq!((mirrored.experiment.as_str(), mirrored.run.as_str()), ("4", "r1"));
    assert_eq!(mirrored.left_out, ["loss is NaN", "../up"]);
    let received = receiver.received();
    let lines: Vec<&str> =
        received.iter().map(|r| r.line.trim_end_matches(" HTTP/1.1").trim_start_matches("POST ")).collect();
    let batch = "/api/2.0/mlflow/runs/log-batch";
    assert_eq!(
        lines,
        [
            "GET /api/2.0/mlflow/experiments/get-by-name?experiment_name=digits%20%26%20co",
            "/api/2.0/mlflow/experiments/create",
            "/api/2.0/mlflow/runs/search",
            "/api/2.0/mlflow/runs/create",
            batch,
            batch,
            batch,
            batch,
            batch,
            "PUT /api/2.0/mlflow-artifacts/artifacts/4/r1/artifacts/report.html",
            "/api/2.0/mlflow/runs/update",
        ]
    );
    assert!(received.iter().all(|request| request.header("authorization") == "Bearer t0ken"));
    let bodies: Vec<Value> =
        received.iter().map(|r| serde_json::from_slice(&r.body).unwrap_or_default()).collect();
    let lengths = |key: &str| -> Vec<usize> {
        bodies[4..9].iter().filter_map(|body| Some(body[key].as_array()?.len())).collect()
    };
    assert_eq!(
        (lengths("params"), lengths("tags"), lengths("metrics")),
        (vec![100, 50], vec![1], vec![1_000, 1])
    );
    let tag = &bodies[6]["tags"][0];
    assert_eq!(
        (tag["key"].as_str(), tag["value"].as_str().map(str::len)),
        (Some("cause_ why_"), Some(5_000))
    );
    assert_eq!(
        bodies[10],
        json!({ "run_id": "r1", "status": "FINISHED", "end_time": 1_795_341_661_500_i64 })
    );
}

#[test]
fn a_repeat_finds_its_run_and_an_experiment_made_meanwhile_is_found() {
    let exists = json!({ "error_code": "RESOURCE_ALREADY_EXISTS" });
    let missing = json!({ "error_code": "RESOURCE_DOES_NOT_EXIST" });
    let receiver = Receiver::start(
        "127.0.0.1",
        &[
            Answer::Json("404 NOT FOUND", missing),
            Answer::Json("400 BAD REQUEST", exists),
            ok(json!({ "experiment": { "experiment_id": "4" } })),
            ok(json!({ "runs": [{ "info": { "run_id": "r1", "artifact_uri": "s3://bucket/1" } }] })),
        ],
    );
    let mirror = Mirror::new(settings(&receiver)).unwrap();
    let trial = TrialRecord { trial: "it's".into(), metrics: vec![], parameters: [].into(), ..trial() };
    let mirrored = mirror.record(&trial).unwrap();
    assert_eq!(mirrored.run, "r1");
    assert_eq!(mirrored.left_out, ["report.html", "../up"], "a store that the server does not pass on to");
    let received = receiver.received();
    assert!(!received.iter().any(|request| request.line.contains("runs/create")));
    let search: Value = serde_json::from_slice(&received[3].body).unwrap();
    assert_eq!(search["filter"], "tags.`serin.trial` = 'it-s'");
}

#[test]
fn answers_decide_about_another_attempt_and_are_not_shown() {
    for (answer, may_retry) in [
        (Answer::Json("503 SERVICE UNAVAILABLE", json!({ "message": "s3cret" })), true),
        (
            Answer::Json("403 FORBIDDEN", json!({ "error_code": "PERMISSION_DENIED", "message": "s3cret" })),
            false,
        ),
        (Answer::Status("200 OK", String::new()), false),
        (Answer::Status("302 Found", "location: http://127.0.0.1:1/\r\n".into()), false),
        (Answer::Hang, true),
    ] {
        let receiver = Receiver::start("127.0.0.1", &[answer]);
        let error = Mirror::new(settings(&receiver)).unwrap().record(&trial()).unwrap_err();
        assert_eq!(error.may_retry(), may_retry, "{error:?}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert_eq!(receiver.connections(), 1);
    }
    for wrong in ["", "mlflow", "ftp://host", "http://", "http://u:p@host", "http://host/?a=b"] {
        let settings = MlflowSettings { url: wrong.into(), user: None, secret_file: None };
        assert!(matches!(Mirror::new(settings), Err(MirrorError::Url)), "{wrong}");
    }
}
