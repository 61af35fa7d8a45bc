//! The description of the interface names every route, every code of a problem and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;
use serin::gateway::problem::Code;
use serin::gateway::routes::ROUTES;

use super::support::Server;

#[test]
fn the_description_is_served_and_names_every_route() {
    let server = Server::start();
    let document: Value = serde_json::from_slice(&server.get("/openapi.json").body).unwrap();
    server.stop();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let routes: BTreeSet<String> =
        ROUTES.iter().map(|route| format!("{} {}", route.method, route.pattern)).collect();
    assert_eq!(described, routes);
    let codes: BTreeSet<&str> = document["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    assert_eq!(codes, Code::ALL.iter().map(|code| code.as_str()).collect());
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(serin::gateway::service::OPENAPI).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(reference) if name == "$ref" => references.push(reference.clone()),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, references)),
        _ => {}
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let server = Server::start();
    let text = server.metrics();
    server.stop();
    let (_, table) =
        include_str!("../../../../../docs/operations.md").split_once("### Of the gateway").unwrap();
    let (table, _) = table.split_once("### Of the control plane").unwrap();
    let documented: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `serin_")?.split('`').next()).collect();
    // What is counted by endpoint has no line before there is one, and is described all the same.
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE serin_")?.split_once(' '));
    let described = described.map(|(name, kind)| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    });
    let described: BTreeSet<String> = described.collect();
    let served: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("serin_")?.split(['{', ' ']).next())
        .map(|name| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
        })
        .collect();
    let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
    assert_eq!(described, documented);
    assert!(served.is_subset(&documented), "{served:?}");
}
