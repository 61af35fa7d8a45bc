//! `serin lineage` and `serin who-served`: where answers come from.

use std::fmt::Write as _;

use serde_json::Value;

use super::approvals::{asks, commit};
use super::args::{OneVersionArgs, WhoServedArgs};
use super::client::{Client, query};
use super::show;
use super::versions::served;
use super::words::{
    block, cell, decimal, digest, entries, fields, items, line, listed, moment, pairs, seconds, state, text,
    weight,
};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Shows where a version comes from and where it went.
pub fn run(args: &OneVersionArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/versions/{}/lineage", args.number))?;
    show(&args.look, &answer, words)
}

fn words(answer: &Value) -> String {
    let (version, run) = (&answer["version"], &answer["run"]);
    let mut out =
        format!("version {} of {}: {}\n", cell(version, "number"), text(version, "project"), state(version));
    out.push_str(&fields(&[
        ("commit", commit(&answer["commit"])),
        ("recipe", cell(answer, "recipe")),
        ("revision", cell(version, "revision")),
        ("bundle", cell(version, "bundle")),
        ("artifact", cell(version, "artifact")),
        (
            "run",
            format!("{}: {}, {}", cell(run, "number"), text(&run["cause"], "text"), moment(run, "created")),
        ),
        ("parameters", pairs(&answer["parameters"])),
        ("tags", pairs(&version["tags"])),
    ]));
    let mut part = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let _ = write!(out, "\n{}\n", printer::table(head, rows));
        }
    };
    let data = entries(answer, "data")
        .iter()
        .map(|file| vec![cell(file, "role"), cell(file, "name"), cell(file, "bytes"), cell(file, "digest")]);
    part(&["data", "file", "bytes", "digest"], data.collect());
    let steps = entries(answer, "steps").iter().map(|step| {
        let reused = step["reused_from"].as_u64().map_or_else(String::new, |run| format!("as in run {run}"));
        vec![cell(step, "name"), state(step), seconds(step, "seconds"), digest(step, "output"), reused]
    });
    part(&["step", "state", "time", "output", ""], steps.collect());
    let metrics = version["metrics"].as_object().into_iter().flatten();
    let metrics = metrics.map(|(name, value)| vec![line(name), decimal(value.as_f64())]);
    part(&["metric", "hold-out"], metrics.collect());
    let approvals = entries(answer, "approvals").iter().map(|approval| {
        let (when, why) = (moment(&approval["state"], "time"), text(&approval["state"], "reason"));
        vec![cell(approval, "number"), asks(approval), state(approval), when, why]
    });
    part(&["approval", "asked for", "answer", "time", "reason"], approvals.collect());
    let decision = &answer["decision"];
    if decision.is_object() {
        let _ = writeln!(out, "\ndecision {}: {}", cell(decision, "number"), text(decision, "verdict"));
        out.push_str(&block(decision["explanation"].as_str().unwrap_or_default(), "  "));
    }
    out.push_str(&served(entries(answer, "served")));
    out.push_str(&problems(answer));
    out
}

/// What could not be read.
pub fn problems(answer: &Value) -> String {
    entries(answer, "problems")
        .iter()
        .map(|problem| format!("\nnot known: {}\n", super::words::plain(problem)))
        .collect()
}

/// Shows who answered at a moment.
pub fn who_served(args: &WhoServedArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let at = args.time.to_rfc3339();
    let answer = client.get(&format!("/served{}", query(&[("at", Some(at.clone()))])))?;
    show(&args.look, &answer, |answer| serving(items(answer), &at))
}

fn serving(periods: &[Value], at: &str) -> String {
    let rows = periods.iter().map(|period| {
        let (weight, run, by) = (weight(period), cell(period, "run"), cell(period, "by"));
        let (variant, version) = (cell(period, "variant"), cell(period, "version"));
        vec![cell(period, "endpoint"), variant, version, weight, moment(period, "from"), run, by]
    });
    let head = ["endpoint", "variant", "version", "weight", "since", "run", "answered for by"];
    listed(&head, rows.collect(), &format!("nothing served at {at}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_whole_way_is_told() {
        let answer = json!({
            "version": {"number": 5, "project": "wine", "state": {"name": "approved", "by": "bob"}, "bundle": "bb",
                        "metrics": {"macro-f1": 0.9}, "tags": {}},
            "run": {"number": 3, "cause": {"name": "asked", "text": "ann asked"}, "created": "2026-11-22T10:00:00Z"},
            "commit": null, "recipe": "rr", "parameters": {"seed": "17"},
            "data": [{"role": "train", "name": "train.csv", "bytes": 99, "digest": "dddd"}],
            "steps": [{"name": "train", "state": {"name": "succeeded"}, "seconds": 3.0, "output": "ee", "reused_from": 2}],
            "decision": {"number": 8, "verdict": "acceptable", "explanation": "all 4 checks passed"},
            "approvals": [{"number": 2, "version": 5, "stage": "prod",
                "state": {"name": "approved", "by": "bob", "reason": "fine", "time": "2026-11-22T11:00:00Z"}}],
            "served": [{"endpoint": "prod", "variant": "AllTraffic", "weight": 1.0, "from": "2026-11-22T11:00:01Z",
                "until": "2026-11-22T12:00:00Z", "by": "bob"}]});
        let text = words(&answer);
        for wanted in [
            "version 5 of wine: approved by bob\n",
            "3: ann asked, 2026-11-22 10:00:00",
            "seed=17",
            "train.csv",
            "as in run 2",
            "decision 8: acceptable\n  all 4 checks passed\n",
            "approved by bob",
            "fine",
            "2026-11-22 12:00:00",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert_eq!(serving(&[], "2026-11-22T10:00:00Z"), "nothing served at 2026-11-22T10:00:00Z");
    }
}
