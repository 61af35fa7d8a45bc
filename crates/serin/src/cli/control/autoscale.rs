//! `serin autoscale`.

use std::fmt::Write as _;

use anyhow::bail;
use serde_json::Value;
use serin_core::scale::{Asked, ScaleFacts};

use super::args::{AutoscaleCommand, AutoscaleExplainArgs, AutoscaleHistoryArgs, StageArgs};
use super::client::{Client, escaped, query};
use super::monitor::place;
use super::words::{cell, entries, fields, items, line, listed, moment, or_dash, seconds, text};
use super::{say_more, show};
use crate::api::wire;
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Does what is asked.
pub fn run(command: &AutoscaleCommand) -> anyhow::Result<Exit> {
    match command {
        AutoscaleCommand::Status(args) => status(args),
        AutoscaleCommand::History(args) => history(args),
        AutoscaleCommand::Explain(args) => explain(args),
    }
}

fn path(client: &Client, args: &StageArgs, rest: &str) -> anyhow::Result<String> {
    let (project, stage) = place(client, args.project.as_deref(), args.stage.as_deref())?;
    Ok(format!("/projects/{}/stages/{}/autoscale{rest}", escaped(&project), escaped(&stage)))
}

fn status(args: &StageArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&path(&client, args, "")?)?;
    show(&args.look, &answer, |answer| items(answer).iter().map(whole).collect::<Vec<_>>().join("\n"))
}

fn history(args: &AutoscaleHistoryArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.of.look.server)?;
    let before = args.before.map(|number| number.to_string());
    let part = query(&[("limit", Some(args.limit.to_string())), ("before", before)]);
    let answer = client.get(&path(&client, &args.of, &format!("/history{part}"))?)?;
    show(&args.of.look, &answer, |answer| table(items(answer)))?;
    say_more(&args.of.look, &answer);
    Ok(Exit::Done)
}

fn table(scalings: &[Value]) -> String {
    let rows = scalings.iter().map(|one| {
        let change = format!("{} to {}", cell(one, "from"), cell(one, "to"));
        let (endpoint, version) = (cell(one, "endpoint"), cell(one, "version"));
        vec![
            cell(one, "decision"),
            moment(one, "time"),
            endpoint,
            version,
            change,
            cell(one, "rule"),
            text(one, "reason"),
        ]
    });
    let head = ["decision", "time", "endpoint", "version", "replicas", "rule", "because"];
    listed(&head, rows.collect(), "nothing was decided about replicas yet")
}

fn explain(args: &AutoscaleExplainArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.of.look.server)?;
    let number = match args.number {
        Some(number) => number,
        None => {
            let last = client.get(&path(&client, &args.of, "/history?limit=1")?)?;
            match items(&last) {
                [last] => last["decision"].as_u64().unwrap_or_default(),
                _ => bail!("nothing was decided about the replicas of the stage yet"),
            }
        }
    };
    let answer = client.get(&format!("/decisions/{number}"))?;
    if answer["rule"] != serin_core::scale::SCALE_RULE {
        bail!("decision {number} is not about replicas: `serin explain decision {number}` explains it");
    }
    show(&args.of.look, &answer, explanation)
}

fn explanation(decision: &Value) -> String {
    let number = cell(decision, "number");
    let Ok(facts) = serde_json::from_value::<ScaleFacts>(decision["inputs"].clone()) else {
        return format!(
            "decision {number}: {}\n{}\n",
            text(decision, "verdict"),
            text(decision, "explanation")
        );
    };
    let (from, to) = (facts.from, facts.to);
    let what = match from.cmp(&to) {
        std::cmp::Ordering::Less => format!("went up to {to} replicas, from {from}"),
        std::cmp::Ordering::Greater => format!("went down to {to} replicas, from {from}"),
        std::cmp::Ordering::Equal => format!("stayed at {to} replicas"),
    };
    let (endpoint, version) = (line(&facts.endpoint), line(&facts.version));
    let mut out = format!(
        "decision {number}: at {}, {endpoint} version {version} {what}.\nRule {}: {}.\nBecause {}.\n",
        moment(decision, "time"),
        line(&facts.rule),
        rule(&facts.rule),
        line(&facts.reason)
    );
    let inputs = &facts.inputs;
    let wall = decision["time"].as_str().and_then(|time| time.parse().ok());
    let (now, wall) = match &inputs.asked {
        Asked::Rules { now, wall } => (*now, Some(*wall)),
        Asked::Hand { now, .. } => (*now, wall),
    };
    if let Some(wall) = wall {
        let status = inputs.scaler.status(now, wall);
        let (place, who) = ((String::new(), facts.stage.clone()), (endpoint, version));
        let autoscale = wire::Autoscale::of(place, who, &status, now, None);
        // Numbers and texts always serialise.
        let autoscale = serde_json::to_value(autoscale).unwrap_or_default();
        let _ = write!(out, "\nAs it was before:\n{}", numbers(&autoscale));
    }
    let _ = writeln!(out, "\n`serin replay decision {number}` decides again from these numbers");
    out
}

/// What a rule does, in a sentence without a full stop.
fn rule(name: &str) -> &'static str {
    match name {
        "target-tracking-out" => {
            "a metric was above its target for three minutes, and as many replicas as bring it back are added"
        }
        "step-out" => "a metric was beyond the threshold of a step that adds replicas",
        "fast-out" => "requests in flight need more replicas at once",
        "from-zero" => "somebody asks, and there was no replica",
        "scale-in" => "every metric that can say so was below its target for fifteen minutes",
        "schedule" => "other bounds hold by schedule",
        "bounds" => "the settings have other bounds",
        "floor" => "a rollout needs replicas for the share of requests that it gives the version",
        "by-hand" => "a person said how many",
        "hold" => "something speaks for another number, and something else against it",
        _ => "one that this program does not know",
    }
}

fn whole(autoscale: &Value) -> String {
    format!("{} version {}\n{}", text(autoscale, "endpoint"), text(autoscale, "version"), numbers(autoscale))
}

/// Desired number, bounds, cooldowns, why it stays, and each metric beside its target.
fn numbers(autoscale: &Value) -> String {
    let mut bounds = format!("{} to {}", cell(autoscale, "min"), cell(autoscale, "max"));
    if autoscale["is_scheduled"] == true {
        bounds.push_str(" by schedule");
    }
    if let Some(floor) = autoscale["floor"].as_u64().filter(|floor| *floor > 0) {
        let _ = write!(bounds, "; a rollout needs {floor}");
    }
    let cooldowns = &autoscale["cooldowns"];
    let left = [
        ("scale_out_seconds", "after growing"),
        ("scale_in_seconds", "after shrinking"),
        ("resumed_seconds", "no fewer after a restart or other settings"),
    ];
    let left = left.iter().filter(|(key, _)| cooldowns[key].is_number());
    let left: Vec<String> =
        left.map(|(key, what)| format!("{} left {what}", seconds(cooldowns, key))).collect();
    let hold = &autoscale["hold"];
    let mut lines = vec![
        ("desired", format!("{} ({} ready)", cell(autoscale, "desired"), cell(autoscale, "ready"))),
        ("bounds", bounds),
        ("cooldowns", or_dash(left.join("; "))),
    ];
    if let Some(limit) = autoscale["fast_limit"].as_f64() {
        lines.push(("at once", format!("beyond {} in flight per replica", printer::number(limit))));
    }
    if hold.is_object() {
        let since = seconds(hold, "for_seconds");
        lines.push(("stays", format!("{} ({}, for {since})", text(hold, "reason"), text(hold, "code"))));
    }
    if autoscale["failure"].is_string() {
        lines.push(("none comes", text(autoscale, "failure")));
    }
    let mut out = fields(&lines);
    let value = |value: &Value| value.as_f64().map_or_else(|| "not measured".to_owned(), printer::number);
    let rules = entries(autoscale, "rules");
    let rows: Vec<Vec<String>> = if rules.is_empty() {
        let metrics = autoscale["last_minute"].as_object().into_iter().flatten();
        metrics
            .map(|(unit, last)| vec![line(unit), value(last), "-".to_owned(), "-".to_owned(), "-".to_owned()])
            .collect()
    } else {
        rules
            .iter()
            .map(|rule| {
                vec![
                    text(rule, "unit"),
                    value(&rule["last_minute"]),
                    text(rule, "written"),
                    cell(rule, "more"),
                    cell(rule, "fewer"),
                ]
            })
            .collect()
    };
    let _ =
        writeln!(out, "\n{}", printer::table(&["metric", "last minute", "target", "more?", "fewer?"], rows));
    if rules.is_empty() {
        out.push_str("no target is set: by hand (`serin scale`), and by schedule\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serin_core::clock::{Steady, Timestamp};
    use serin_core::scale::{Policy, ScaleMetric, Scaler, ScalingSettings};

    use super::*;

    #[test]
    fn a_decision_is_told_in_sentences_with_its_numbers() {
        let settings = ScalingSettings {
            min: 2,
            max: 8,
            policies: vec![Policy::TargetTracking { metric: ScaleMetric::InFlightPerReplica, target: 4.0 }],
            ..ScalingSettings::default()
        };
        let mut scaler = Scaler::new(settings, Steady(0));
        let decision = scaler.set_desired(5, Steady(1_000_000), "ann");
        let facts = ScaleFacts {
            endpoint: "prod".to_owned(),
            stage: "prod".to_owned(),
            version: "7".to_owned(),
            number: 1,
            from: decision.from,
            to: decision.to,
            rule: decision.rule.clone(),
            reason: decision.reason.clone(),
            inputs: decision.inputs.clone(),
        };
        let decided = json!({"number": 9, "time": Timestamp(1_790_000_000_000_000).to_rfc3339(), "rule": "scale",
            "verdict": decision.verdict(), "explanation": decision.explanation("prod", "7"), "inputs": facts});
        let told = explanation(&decided);
        for wanted in [
            "prod version 7 went up to 5 replicas, from 2.\n",
            "Rule by-hand: a person said how many.\n",
            "Because ann asked for 5.\n",
            "2 (- ready)",
            "2 to 8",
            "not measured",
            "4 in flight per replica",
            "`serin replay decision 9`",
        ] {
            assert!(told.contains(wanted), "{wanted}\n{told}");
        }
        let mut other = decided;
        other["inputs"] = json!({});
        assert_eq!(explanation(&other), "decision 9: 2 to 5\nprod version 7, by-hand: ann asked for 5\n");
    }

    #[test]
    fn how_it_stands_is_told_with_targets_cooldowns_and_why_it_stays() {
        let autoscale = json!({"endpoint": "prod", "version": "7", "desired": 4, "ready": 3, "min": 1, "max": 4,
            "is_scheduled": true, "floor": 2, "last_minute": {}, "fast_limit": 6.0,
            "rules": [{"unit": "% cpu", "last_minute": 91.25, "written": "70% cpu", "more": "ALARM", "fewer": "OK"}],
            "cooldowns": {"scale_out_seconds": 12.0, "scale_in_seconds": null},
            "hold": {"code": "at-the-maximum", "reason": "4 is the most", "for_seconds": 70.0}, "failure": null});
        let told = whole(&autoscale);
        for wanted in [
            "4 (3 ready)",
            "1 to 4 by schedule; a rollout needs 2",
            "12 s left after growing",
            "beyond 6 in flight",
            "4 is the most (at-the-maximum, for 1 min 10 s)",
            "91.25",
            "ALARM",
        ] {
            assert!(told.contains(wanted), "{wanted}\n{told}");
        }
        let change = json!({"decision": 3, "time": "2026-11-22T10:00:00Z", "endpoint": "prod", "version": "7",
            "from": 2, "to": 4, "rule": "fast-out", "reason": "9 in flight"});
        assert!(table(&[change]).contains("2 to 4"));
    }
}
