//! `serin versions`, `version`, `alias`, `tag` and `compare`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::approvals::{Show, Sides};
use super::args::{
    AliasArgs, CompareArgs, ListArgs, OneVersionArgs, TagArgs, VersionCommand, VersionDecideArgs,
};
use super::client::{Client, by, escaped, project, query};
use super::lineage::problems;
use super::words::{
    cell, decimal, entries, fields, items, line, listed, moment, or_dash, pairs, plain, reason, state, text,
    weight,
};
use super::{page, say_more, show};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Metrics that have a column of their own in lists, when they are there.
const COLUMNS: [&str; 3] = ["macro-f1", "accuracy", "log-loss"];

/// Lists versions.
pub fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/versions{}", query(&page(&args.page))))?;
    show(&args.look, &answer, |answer| table(items(answer)))?;
    say_more(&args.look, &answer);
    Ok(Exit::Done)
}

fn table(versions: &[Value]) -> String {
    let rows = versions.iter().map(|version| {
        let mut row =
            vec![cell(version, "number"), cell(version, "project"), state(version), aliases(version)];
        row.extend(COLUMNS.map(|metric| metric_of(version, metric)));
        row.extend([cell(version, "run"), moment(version, "created")]);
        row
    });
    let head: Vec<&str> = ["version", "project", "state", "aliases"]
        .into_iter()
        .chain(COLUMNS)
        .chain(["run", "made"])
        .collect();
    listed(&head, rows.collect(), "no model version yet; `serin run` makes one")
}

/// A metric of a version or a trial.
pub fn metric_of(value: &Value, metric: &str) -> String {
    decimal(value["metrics"][metric].as_f64())
}

fn aliases(version: &Value) -> String {
    or_dash(entries(version, "aliases").iter().map(plain).collect::<Vec<_>>().join(" "))
}

/// Does what one of the commands about a version says.
pub fn one(command: &VersionCommand) -> anyhow::Result<Exit> {
    match command {
        VersionCommand::Show(OneVersionArgs { number, look }) => {
            let answer = Client::find(&look.server)?.get(&format!("/versions/{number}"))?;
            show(look, &answer, version_text)
        }
        VersionCommand::Approve(args) => decide(args, "approve"),
        VersionCommand::Reject(args) => decide(args, "reject"),
    }
}

/// A version with its numbers.
pub fn version_text(version: &Value) -> String {
    let mut out =
        format!("version {} of {}: {}\n", cell(version, "number"), text(version, "project"), state(version));
    if let Some(reason) = reason(version) {
        let _ = writeln!(out, "  {}", line(reason));
    }
    out.push_str(&fields(&[
        ("aliases", aliases(version)),
        ("tags", pairs(&version["tags"])),
        ("run", cell(version, "run")),
        ("made", moment(version, "created")),
        ("bundle", cell(version, "bundle")),
        ("artifact", cell(version, "artifact")),
        ("revision", cell(version, "revision")),
    ]));
    let metrics = version["metrics"].as_object().into_iter().flatten();
    let metrics: Vec<_> = metrics.map(|(name, value)| vec![line(name), decimal(value.as_f64())]).collect();
    if !metrics.is_empty() {
        let _ = write!(out, "\n{}\n", printer::table(&["metric", "hold-out"], metrics));
    }
    out.push_str(&served(entries(version, "served")));
    out
}

/// Periods of serving as a table with a blank line in front; nothing without any.
pub fn served(periods: &[Value]) -> String {
    if periods.is_empty() {
        return String::new();
    }
    let rows = periods.iter().map(|period| {
        let until = if period["until"].is_null() { "now".to_owned() } else { moment(period, "until") };
        let (weight, by) = (weight(period), cell(period, "by"));
        vec![cell(period, "endpoint"), cell(period, "variant"), weight, moment(period, "from"), until, by]
    });
    format!(
        "\n{}\n",
        printer::table(&["served", "variant", "weight", "from", "until", "answered for by"], rows)
    )
}

fn decide(args: &VersionDecideArgs, verdict: &str) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let body = json!({"verdict": verdict, "by": by(args.who.by.as_deref())?, "reason": args.reason});
    let answer = client.post(&format!("/versions/{}/decision", args.number), &body)?;
    show(&args.look, &answer, decided)
}

fn decided(version: &Value) -> String {
    let mut out = format!("version {}: {}\n", cell(version, "number"), state(version));
    for rollback in entries(version, "rollbacks") {
        let stage = cell(rollback, "stage");
        let _ = match rollback["run"].as_u64() {
            Some(run) => writeln!(out, "run {run} brings the latest approved other version back to {stage}"),
            None => writeln!(out, "{stage} keeps it: {}", text(rollback, "reason")),
        };
    }
    out
}

/// Points an alias somewhere, or nowhere.
pub fn alias(args: &AliasArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let by = by(args.who.by.as_deref())?;
    let name = escaped(&args.name);
    match args.number {
        Some(version) => {
            let project = match &args.project {
                Some(project) => project.clone(),
                None => text(&client.get(&format!("/versions/{version}"))?, "project"),
            };
            let path = format!("/projects/{}/aliases/{name}", escaped(&project));
            let answer = client.put(&path, &json!({"version": version, "by": by}))?;
            show(&args.look, &answer, |_| format!("{} of {project} is version {version}", line(&args.name)))
        }
        None => {
            let project = project(&client, args.project.as_deref())?;
            let path = format!("/projects/{}/aliases/{name}", escaped(&project));
            let answer = client.delete(&format!("{path}{}", query(&[("by", Some(by))])))?;
            show(&args.look, &answer, |_| format!("{} of {project} is no version any more", line(&args.name)))
        }
    }
}

/// Sets and removes tags.
pub fn tag(args: &TagArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let by = by(args.who.by.as_deref())?;
    let path = |key: &str| format!("/versions/{}/tags/{}", args.number, escaped(key));
    let mut answer = Value::Null;
    for (key, value) in &args.tags {
        answer = client.put(&path(key), &json!({"value": value, "by": by}))?;
    }
    for key in &args.remove {
        answer = client.delete(&format!("{}{}", path(key), query(&[("by", Some(by.clone()))])))?;
    }
    show(&args.look, &answer, |version| format!("version {}: {}", args.number, pairs(&version["tags"])))
}

/// Shows two versions side by side.
pub fn compare(args: &CompareArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let sides = [("left", Some(args.left.to_string())), ("right", Some(args.right.to_string()))];
    let answer = client.get(&format!("/versions/compare{}", query(&sides)))?;
    show(&args.look, &answer, comparison)
}

fn comparison(answer: &Value) -> String {
    let about = |side: &str| {
        let version = &answer[side];
        format!("version {} of run {}, {}", cell(version, "number"), cell(version, "run"), state(version))
    };
    let mut out = fields(&[("left", about("left")), ("right", about("right"))]);
    let sides = Sides { left: "left", right: "right" };
    out.push_str(&sides.table("metric", &answer["metrics"], Show::Decimal));
    out.push_str(&sides.table("recall of class", &answer["recall"], Show::Decimal));
    out.push_str(&sides.table("parameter that differs", &answer["parameters"], Show::Plain));
    out.push_str(&sides.table("training rows of class", &answer["class_rows"], Show::Count));
    out.push_str(&problems(answer));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Value {
        json!({"number": number, "project": "wine", "run": 3, "created": "2026-11-22T10:00:00Z",
            "state": {"name": "rejected", "by": "the gate", "reason": "too\nlow"}, "aliases": ["champion"],
            "metrics": {"macro-f1": 0.91234, "balanced-accuracy": 0.5}, "tags": {"a": "b"},
            "served": [{"endpoint": "prod", "variant": "AllTraffic", "weight": 1.0, "from": "2026-11-22T10:00:00Z",
                        "until": null, "by": "ann"}]})
    }

    #[test]
    fn versions_are_listed_and_shown() {
        let listing = table(&[version(5)]);
        assert!(listing.contains("0.9123") && listing.contains("rejected by the gate"), "{listing}");
        let text = version_text(&version(5));
        for wanted in [
            "rejected by the gate\n  too; low\n",
            "a=b",
            "balanced-accuracy",
            "now",
            "champion",
            "answered for by",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn a_comparison_shows_what_differs() {
        let answer = json!({"left": version(5), "right": version(4),
            "metrics": {"macro-f1": {"left": 0.9, "right": 0.8}}, "recall": {},
            "parameters": {"seed": {"left": "17", "right": "18"}}, "class_rows": {"c0": {"left": 10, "right": 8}}});
        let text = comparison(&answer);
        for wanted in ["version 4 of run 3", "+0.1000", "parameter that differs", "+2"] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("recall"), "{text}");
    }

    #[test]
    fn rollbacks_that_follow_a_rejection_are_told() {
        let mut answer = version(5);
        answer["rollbacks"] = json!([{"stage": "prod", "outcome": "run", "run": 9},
            {"stage": "dev", "outcome": "refused", "reason": "no other version was approved"}]);
        let text = decided(&answer);
        assert!(text.contains("run 9 brings the latest approved other version back to prod"), "{text}");
        assert!(text.contains("dev keeps it: no other version was approved"), "{text}");
    }
}
