//! What no caller gets past, on every address there is.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin::api::routes::{OPENAPI, ROUTES, Takes};

use super::{JSON, Plant, is, problem, told};

/// The address of a route as the plant is asked for it, with something that is not there in every brace.
fn address(pattern: &str) -> String {
    let path = match pattern {
        // Where every scraper looks: outside of the interface's root.
        "/metrics" => "//metrics",
        pattern => pattern.strip_prefix("/api/v1").unwrap(),
    };
    let part = |part: &str| match part {
        "{project}" => "wine".to_owned(),
        "{run}" | "{approval}" | "{version}" | "{decision}" | "{rollout}" => "7".to_owned(),
        part if part.starts_with('{') => "nothing".to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn the_description_and_the_table_name_the_same_addresses() {
    let plant = Plant::start("");
    let document = plant.get(OPENAPI.strip_prefix("/api/v1").unwrap());
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        operations.as_object().unwrap().iter().map(move |(method, told)| (path, method, told))
    });
    let described: BTreeSet<String> =
        operations.clone().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
    let table: BTreeSet<String> =
        ROUTES.iter().map(|route| format!("{} {}", route.method, route.pattern)).collect();
    assert_eq!(described, table);
    let ids: Vec<&str> = operations.clone().filter_map(|(_, _, told)| told["operationId"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for (path, method, told) in operations {
        let named: BTreeSet<&str> = told["parameters"]
            .as_array()
            .map(|list| list.iter().filter(|one| one["in"] == "path").collect::<Vec<_>>())
            .unwrap_or_default()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        let braced: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(named, braced, "{method} {path}");
    }
    // Every schema that is named is there.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn every_address_refuses_foreign_hosts_other_methods_unknown_fields_and_garbage() {
    let plant = Plant::start("");
    for route in &ROUTES {
        let (method, path) = (route.method.as_str(), address(route.pattern));
        let ask = |method: &str, headers: &[(&str, &str)], body: &[u8]| {
            problem(told(&plant.ask(method, &path, headers, body)))
        };
        let foreign = ("host", "evil.example");
        assert_eq!(ask(method, &[foreign], b""), is(421, "misdirected_request"), "{method} {path}");
        assert_eq!(ask("PATCH", &[], b""), is(405, "method_not_allowed"), "{method} {path}");
        if !route.method.is_safe() {
            let page = ("origin", "http://evil.example");
            assert_eq!(ask(method, &[page], b""), is(403, "cross_origin"), "{method} {path}");
        }
        if route.takes == Takes::Json {
            let extra = br#"{"approved_by":"me"}"#;
            assert_eq!(ask(method, &[JSON], extra), is(422, "invalid_body"), "{method} {path}");
            assert_eq!(ask(method, &[JSON], b"{"), is(400, "malformed_json"), "{method} {path}");
            let list = br#"["approve","bob","why"]"#;
            assert_eq!(ask(method, &[JSON], list), is(422, "invalid_body"), "{method} {path}");
            assert_eq!(ask(method, &[], b"{}"), is(415, "unsupported_media_type"), "{method} {path}");
        }
        if route.takes == Takes::Nothing && route.pattern.contains('}') && route.method == "GET" {
            let answer = plant.ask(method, &path, &[], b"");
            let is_there = ["/projects/wine", "/projects/wine/alarms"].contains(&path.as_str());
            let expected = if is_there { 200 } else { 404 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
        }
    }
    let garbage = [
        ("/runs/seven", 404),
        ("/runs/-1", 404),
        ("/runs/18446744073709551615", 404),
        ("/runs/18446744073709551616", 404),
        ("/versions/%00", 404),
        ("/runs?limit=0", 400),
        ("/runs?limit=1001", 400),
        ("/runs?limit=many", 400),
        ("/runs?by=me", 400),
        ("/runs?open=perhaps", 400),
        ("/events?last=0", 400),
        ("/events?last=5&after=3", 400),
        ("/experiments/compare?runs=1,two", 400),
        ("/experiments/compare?runs=1", 404),
        ("/versions/compare?left=1", 400),
        ("/versions/compare?left=1&right=2", 404),
        ("/runs/1/logs", 404),
    ];
    for (path, status) in garbage {
        let answer = plant.ask("GET", path, &[], b"");
        let expected = if status == 404 { "not_found" } else { "invalid_query" };
        assert_eq!(problem(told(&answer)), is(status, expected), "{path}");
    }
    assert_eq!(plant.get("/runs?before=18446744073709551615")["items"], json!([]));
    let long = json!({ "by": "b".repeat(300) });
    assert_eq!(problem(plant.post("/projects/wine/runs", &long)), is(422, "invalid_body"));
    let blank = json!({ "by": " \t" });
    assert_eq!(problem(plant.post("/projects/wine/runs", &blank)), is(422, "incomplete"));
    assert_eq!(problem(plant.post("/projects/wine/runs", &Value::Null)), is(422, "invalid_body"));
    let nothing_happened = plant.get("/runs");
    assert_eq!(nothing_happened["items"], json!([]));
}
