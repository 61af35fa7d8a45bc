//! `serin decisions`, `explain decision` and `replay decision`.

use std::fmt::Write as _;

use serde_json::Value;

use super::args::{AboutDecision, ListArgs};
use super::client::{Client, query};
use super::words::{block, cell, fields, items, listed, moment, pairs, text};
use super::{page, say_more, show};
use crate::cli::exit::Exit;

/// Lists decisions.
pub fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/decisions{}", query(&page(&args.page))))?;
    show(&args.look, &answer, |answer| table(items(answer)))?;
    say_more(&args.look, &answer);
    Ok(Exit::Done)
}

fn table(decisions: &[Value]) -> String {
    let rows = decisions.iter().map(|one| {
        let (rule, verdict) = (cell(one, "rule"), cell(one, "verdict"));
        let (project, run) = (cell(one, "project"), cell(one, "run"));
        vec![cell(one, "number"), moment(one, "time"), project, run, rule, verdict, text(one, "explanation")]
    });
    let head = ["decision", "time", "project", "run", "rule", "verdict", "because"];
    listed(&head, rows.collect(), "nothing was decided yet")
}

/// Says why something was decided.
pub fn explain(about: &AboutDecision) -> anyhow::Result<Exit> {
    let AboutDecision::Decision { number, look } = about;
    let answer = Client::find(&look.server)?.get(&format!("/decisions/{number}"))?;
    show(look, &answer, explanation)
}

fn explanation(decision: &Value) -> String {
    let mut out = format!("decision {}: {}\n", cell(decision, "number"), text(decision, "verdict"));
    out.push_str(&block(decision["explanation"].as_str().unwrap_or_default(), "  "));
    out.push_str(&fields(&[
        ("rule", cell(decision, "rule")),
        ("time", moment(decision, "time")),
        ("project", cell(decision, "project")),
        ("run", cell(decision, "run")),
    ]));
    out.push_str("\ndecided from\n");
    let inputs = decision["inputs"].as_object().into_iter().flatten();
    for (name, value) in inputs {
        let value =
            if value.is_object() { pairs(value) } else { super::words::or_dash(super::words::plain(value)) };
        let _ = writeln!(out, "  {}: {}", super::words::line(name), shortened(&value));
    }
    out.push_str("(--json has all of it)\n");
    out
}

/// The beginning of a long text.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    let cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() { format!("{cut} ...") } else { cut }
}

/// Decides again from what was recorded. Another verdict ends with 1.
pub fn replay(about: &AboutDecision) -> anyhow::Result<Exit> {
    let AboutDecision::Decision { number, look } = about;
    let answer = Client::find(&look.server)?.get(&format!("/decisions/{number}/replay"))?;
    show(look, &answer, again)?;
    Ok(if answer["same"] == true { Exit::Done } else { Exit::Failed })
}

fn again(replay: &Value) -> String {
    let verdict = |value: &Value| {
        let because = block(value["explanation"].as_str().unwrap_or_default(), "  ");
        format!("{}\n{because}", text(value, "verdict"))
    };
    let number = cell(replay, "number");
    if replay["same"] == true {
        return format!("decision {number} decided again, the same: {}", verdict(replay));
    }
    format!(
        "decision {number} decided again, NOT the same\nthen: {}now: {}",
        verdict(&replay["recorded"]),
        verdict(replay)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decisions_are_explained_and_replayed() {
        let decision = json!({"number": 8, "time": "2026-11-22T10:00:00Z", "project": "wine", "run": 3, "rule": "gate",
            "verdict": "not acceptable", "explanation": "min.macro-f1: 0.4 is below 0.7\nbeat_majority: no",
            "inputs": {"gates": {"min": {"macro-f1": 0.7}}, "evaluation": {"long": "x".repeat(500)}}});
        let text = explanation(&decision);
        assert!(text.starts_with("decision 8: not acceptable\n  min.macro-f1: 0.4 is below 0.7\n"), "{text}");
        assert!(text.contains("gates: min={\"macro-f1\":0.7}") && text.contains(" ...\n"), "{text}");
        assert!(table(&[decision]).contains("not acceptable"));
        let same =
            json!({"number": 8, "same": true, "verdict": "acceptable", "explanation": "all 4 checks passed"});
        assert_eq!(again(&same), "decision 8 decided again, the same: acceptable\n  all 4 checks passed\n");
        let other = json!({"number": 8, "same": false, "verdict": "acceptable", "explanation": "",
            "recorded": {"verdict": "not acceptable", "explanation": "x"}});
        assert!(again(&other).contains("NOT the same\nthen: not acceptable\n  x\nnow: acceptable\n"));
    }
}
