//! What the control plane tells scrapers.

use std::collections::BTreeSet;

use serde_json::json;

use super::Plant;

#[test]
fn every_metric_of_the_control_plane_is_documented_and_every_documented_one_is_there() {
    let plant = Plant::start("");
    let text = plant.ask("GET", "//metrics", &[], b"");
    assert_eq!(
        text.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = text.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| format!("{name}{}", if kind == "info" { "_info" } else { "" }))
        .collect();
    let (_, table) =
        include_str!("../../../../../docs/operations.md").split_once("### Of the control plane").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `serin_")?.split('`').next())
        .map(|name| format!("serin_{name}"))
        .collect();
    assert_eq!(told, documented);
}

#[test]
fn runs_and_alarms_are_told_as_they_are() {
    let plant = Plant::start("");
    let has = |line: &str| plant.ask("GET", "//metrics", &[], b"").text().lines().any(|found| found == line);
    assert!(has("serin_runs{project=\"wine\",state=\"succeeded\"} 0"));
    let (status, told) = plant.post("/projects/wine/alarms", &json!({ "name": "a \"b\"", "state": "OK" }));
    assert_eq!(status, 200, "{told}");
    plant.wait("the alarm", || has(r#"serin_alarm_on{project="wine",alarm="a \"b\""} 0"#).then_some(()));
    let (status, told) = plant.post("/projects/wine/alarms", &json!({ "name": "a \"b\"", "key": "1" }));
    assert!(status < 300, "{told}");
    plant.wait("the alarm", || has(r#"serin_alarm_on{project="wine",alarm="a \"b\""} 1"#).then_some(()));

    let plain = plant.ask("GET", "//metrics", &[("accept", "text/plain")], b"");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let plain = plain.text();
    assert!(plain.contains("# TYPE serin_build_info gauge\n") && !plain.contains("# EOF"), "{plain}");
}
