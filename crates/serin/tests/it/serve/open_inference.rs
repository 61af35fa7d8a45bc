//! The Open Inference Protocol: metadata, tensors as JSON and as bytes, and what is wrong with them.

use serde_json::{Value, json};

use super::support::{Answer, JSON, Server};

const INFER: &str = "/v2/models/test/infer";

#[test]
fn the_server_and_its_models_describe_themselves() {
    let server = Server::start();
    let json = |path: &str| serde_json::from_slice::<Value>(&server.get(path).body).unwrap();
    assert_eq!(json("/v2")["extensions"], json!(["binary_tensor_data"]));
    assert_eq!(json("/v2/health/live"), json!({ "live": true }));
    assert_eq!(json("/v2/health/ready"), json!({ "ready": true }));
    assert_eq!(json("/v2/models"), json!({ "models": ["test"] }));
    assert_eq!(json("/v2/models/test/ready"), json!({ "name": "test", "ready": true }));
    let model = json("/v2/models/test");
    assert_eq!(model["inputs"], json!([{ "name": "features", "datatype": "FP64", "shape": [-1, 3] }]));
    assert_eq!(model["versions"], json!(["0123456789ab"]));
    assert_eq!(json("/v2/models/test/versions/0123456789ab"), model);
    for path in ["/v2/models/other", "/v2/models/test/versions/7", "/v2/models/other/ready"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }
    server.stop();
}

#[test]
fn tensors_are_answered_by_tensors() {
    let server = Server::start();
    let tensor = |data: Value| json!({ "name": "x", "shape": [2, 3], "datatype": "FP64", "data": data });
    for data in [json!([[3, null, 0], [-3, 1, 1]]), json!([3, null, 0, -3, 1, 1])] {
        let answer = infer(&server, &json!({ "id": "mine", "inputs": [tensor(data)] }));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!((&body["id"], &body["model_name"]), (&json!("mine"), &json!("test")));
        assert_eq!(body["outputs"][0]["shape"], json!([2, 2]));
        let class = json!({ "name": "class", "datatype": "BYTES", "shape": [2], "data": ["big", "small, or \"none\""] });
        assert_eq!(body["outputs"][1], class);
        let id = answer.header("x-amzn-sagemaker-inference-id").unwrap();
        assert_eq!(body["parameters"]["inference_id"], id);
    }
    let column = |name: &str, shape: Value, data: Value| json!({ "name": name, "shape": shape, "datatype": "INT32", "data": data });
    let columns = json!({
        "inputs": [
            column("height", json!([2, 1]), json!([1, 1])),
            column("flag", json!([2]), json!([0, 0])),
            column("width", json!([2]), json!([5, -5])),
        ],
        "outputs": [{ "name": "class" }],
    });
    let body: Value = serde_json::from_slice(&infer(&server, &columns).body).unwrap();
    assert_eq!(body["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(body["outputs"][0]["data"], json!(["big", "small, or \"none\""]));
    let stopped = server.stop();
    assert_eq!(stopped.count("SELECT count(*) FROM endpoint_test WHERE height IS NULL"), 2);
}

#[test]
fn tensors_travel_as_bytes_behind_the_json() {
    let server = Server::start();
    let values: [f32; 6] = [3.0, f32::NAN, 0.0, -3.0, 1.0, 1.0];
    let tensor = |size: usize| json!({ "name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": { "binary_data_size": size } });
    let header = json!({ "inputs": [tensor(24)], "parameters": { "binary_data_output": true } }).to_string();
    let mut sent = header.clone().into_bytes();
    values.iter().for_each(|value| sent.extend_from_slice(&value.to_le_bytes()));
    let post = |length: usize, sent: &[u8]| {
        let length = length.to_string();
        let octets = ("content-type", "application/octet-stream");
        server.post_to(INFER, &[octets, ("inference-header-content-length", &length)], sent)
    };
    let answer = post(header.len(), &sent);
    assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&answer.body));
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let (json, binary) = answer.body.split_at(length);
    let json: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 32);
    assert_eq!(binary[32..39], [3, 0, 0, 0, b'b', b'i', b'g']);
    let big = f64::from_le_bytes(binary[8..16].try_into().unwrap());
    assert_eq!(big, 1.0 / (1.0 + (-3.0_f64).exp()));

    let raw: Vec<u8> = [3.0_f64, 1.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(post(0, &raw).status, 200, "one row of doubles without JSON");
    for (length, sent, code) in [
        (header.len(), &sent[..sent.len() - 1], "invalid_tensor"),
        (header.len(), &[&sent[..], &[0]].concat()[..], "invalid_tensor"),
        (sent.len() + 1, &sent[..], "invalid_tensor"),
        (0, &raw[..17], "invalid_tensor"),
    ] {
        let answer = post(length, sent);
        assert_eq!(answer.header("x-serin-error-code"), Some(code));
    }
    server.stop();
}

#[test]
fn what_is_wrong_with_tensors_is_said() {
    let server = Server::start();
    let input = |name: &str, shape: Value, datatype: &str, data: Value| json!({ "inputs": [{ "name": name, "shape": shape, "datatype": datatype, "data": data }] });
    let row = json!([1, 2, 0]);
    for (name, body, status, code) in [
        ("no inputs", json!({}), 422, "invalid_tensor"),
        ("none", json!({ "inputs": [] }), 400, "no_rows"),
        ("not an object", json!([1]), 422, "invalid_tensor"),
        (
            "no data",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP64" }] }),
            422,
            "invalid_tensor",
        ),
        ("a short shape", input("x", json!([1, 2]), "FP64", row.clone()), 422, "invalid_tensor"),
        ("a huge shape", input("x", json!([u64::MAX, u64::MAX]), "FP64", row.clone()), 422, "invalid_tensor"),
        ("a negative shape", input("x", json!([-1, 3]), "FP64", row.clone()), 422, "invalid_tensor"),
        ("three dimensions", input("x", json!([1, 1, 3]), "FP64", row), 422, "invalid_tensor"),
        ("no rows", input("x", json!([0, 3]), "FP64", json!([])), 400, "no_rows"),
        ("two columns", input("x", json!([1, 2]), "FP64", json!([1, 2])), 422, "wrong_column_count"),
        ("bytes", input("x", json!([1, 3]), "BYTES", json!([1, 2, 0])), 422, "unsupported_datatype"),
        ("text", input("x", json!([1, 3]), "FP64", json!(["1", 2, 0])), 422, "not_a_number"),
        ("missing", input("x", json!([1, 3]), "FP64", json!([null, 2, 0])), 422, "missing_value"),
        ("ragged", input("x", json!([2, 3]), "FP64", json!([[1, 2], [0, 1, 2, 0]])), 422, "invalid_tensor"),
        ("another nesting", input("x", json!([1, 3]), "FP64", json!([[1], [2], [0]])), 422, "invalid_tensor"),
        ("a boolean", input("x", json!([1, 3]), "FP64", json!([1, 2, true])), 422, "wrong_type"),
        ("one column", input("width", json!([2]), "FP64", json!([1, 2])), 422, "wrong_column_count"),
        (
            "an unknown output",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 0] }],
                    "outputs": [{ "name": "logits" }] }),
            422,
            "invalid_tensor",
        ),
    ] {
        let answer = infer(&server, &body);
        assert_eq!(answer.header("x-serin-error-code"), Some(code), "{name}");
        assert_eq!(answer.status, status, "{name}");
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(said["error"].as_str().unwrap().starts_with(code), "{name}: {said}");
    }
    let deep = "[".repeat(10_000);
    assert_eq!(
        server.post_to(INFER, &[JSON], deep.as_bytes()).header("x-serin-error-code"),
        Some("invalid_tensor")
    );
    let nested = format!("{{\"inputs\":[{{\"data\":{deep}");
    assert_eq!(
        server.post_to(INFER, &[JSON], nested.as_bytes()).header("x-serin-error-code"),
        Some("too_deep")
    );
    assert_eq!(server.post_to(INFER, &[JSON], b"").header("x-serin-error-code"), Some("empty_body"));
    server.stop();
}

fn infer(server: &Server, body: &Value) -> Answer {
    server.post_to(INFER, &[JSON], body.to_string().as_bytes())
}
