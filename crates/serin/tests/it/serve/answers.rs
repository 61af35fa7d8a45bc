//! Rows in, classes out: every form of body and answer, and every bad one.

use serde_json::{Value, json};

use super::support::{CSV, JSON, Server, packed};

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
fn many_errors_cost_no_more_than_a_few() {
    let server = Server::start();
    for body in [format!("[{}{{}}]", "{},".repeat(9_999)), format!("[{}[]]", "[],".repeat(9_999))] {
        let answer = server.post(&[JSON], body.as_bytes());
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, problem["errors"].as_array().unwrap().len()), (422, 20), "{problem}");
        assert_eq!(problem["truncated"], true);
    }
    server.stop();
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
