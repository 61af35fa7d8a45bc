//! `serin approvals`, `approval show`, `approve` and `reject`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{ApprovalCommand, ApprovalsArgs, DecideArgs};
use super::client::{Client, by, query};
use super::words::{cell, digest, entries, fields, items, line, listed, moment, reason, state, text};
use super::{page, say_more, show};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Lists what waits for a person.
pub fn list(args: &ApprovalsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.list.look.server)?;
    let mut parameters = page(&args.list.page);
    parameters.push(("open", (!args.all).then(|| "true".to_owned())));
    let answer = client.get(&format!("/approvals{}", query(&parameters)))?;
    show(&args.list.look, &answer, |answer| table(items(answer), args.all))?;
    say_more(&args.list.look, &answer);
    Ok(Exit::Done)
}

fn table(approvals: &[Value], all: bool) -> String {
    let rows = approvals.iter().map(|approval| {
        let (project, run) = (cell(approval, "project"), cell(approval, "run"));
        let (asked, expires) = (cell(approval, "asked_by"), moment(approval, "expires"));
        vec![cell(approval, "number"), project, asks(approval), run, asked, state(approval), expires]
    });
    let head = ["approval", "project", "asks for", "run", "run asked by", "state", "open until"];
    let nothing = if all { "no approval was ever asked for" } else { "nothing waits for an approval" };
    listed(&head, rows.collect(), nothing)
}

/// What is asked for: `version 5 to prod`.
pub fn asks(approval: &Value) -> String {
    format!("version {} to {}", cell(approval, "version"), cell(approval, "stage"))
}

/// Shows what an approver decides on.
pub fn one(command: &ApprovalCommand) -> anyhow::Result<Exit> {
    let ApprovalCommand::Show { number, look } = command;
    let answer = Client::find(&look.server)?.get(&format!("/approvals/{number}"))?;
    show(look, &answer, sheet_text)
}

fn sheet_text(approval: &Value) -> String {
    let number = cell(approval, "number");
    let sheet = &approval["sheet"];
    let mut out = format!(
        "approval {number}: {} of {}: {}\n",
        asks(approval),
        text(approval, "project"),
        state(approval)
    );
    if let Some(reason) = reason(approval) {
        let _ = writeln!(out, "  {}", line(reason));
    }
    let four_eyes = if approval["four_eyes"] == true { ", who may not approve it" } else { "" };
    out.push_str(&fields(&[
        ("run", format!("{}, asked by {}{four_eyes}", cell(approval, "run"), cell(approval, "asked_by"))),
        ("open until", moment(approval, "expires")),
        ("champion", champion(sheet)),
        ("commit", commit(&sheet["commit"])),
        ("revision", cell(approval, "revision")),
        ("bundle", cell(approval, "bundle")),
        ("this sheet", cell(approval, "shown")),
    ]));
    for file in entries(sheet, "data") {
        let _ = writeln!(
            out,
            "data        {} {}, {} bytes, {}",
            cell(file, "role"),
            text(file, "name"),
            cell(file, "bytes"),
            digest(file, "digest")
        );
    }
    let sides = Sides { left: "challenger", right: "champion" };
    out.push_str(&sides.table("metric", &sheet["metrics"], Show::Decimal));
    out.push_str(&sides.table("recall of class", &sheet["recall"], Show::Decimal));
    out.push_str(&sides.table("training rows of class", &sheet["class_rows"], Show::Count));
    let gates = entries(sheet, "gates").iter().map(|gate| {
        let passed = if gate["passed"] == false { "REFUSED" } else { "passed" };
        vec![
            cell(gate, "gate"),
            passed.to_owned(),
            cell(gate, "measured"),
            cell(gate, "threshold"),
            text(gate, "text"),
        ]
    });
    let gates: Vec<_> = gates.collect();
    if !gates.is_empty() {
        let _ = write!(out, "\n{}\n", printer::table(&["gate", "", "measured", "threshold", ""], gates));
    }
    let findings = entries(sheet, "findings");
    for finding in findings {
        let _ = write!(
            out,
            "\n{} {}: {}",
            cell(finding, "severity"),
            cell(finding, "code"),
            text(finding, "text")
        );
    }
    if !findings.is_empty() {
        out.push('\n');
    }
    if approval["state"]["name"] == "open" {
        let _ =
            write!(out, "\n`serin approve {number} --reason ...` or `serin reject {number} --reason ...`");
    }
    out
}

fn champion(sheet: &Value) -> String {
    let number = cell(sheet, "champion");
    if number == "-" {
        return "none: nothing serves there yet".to_owned();
    }
    match (sheet["better_share"].as_f64(), sheet["incomparable"].as_str()) {
        (Some(share), _) => {
            format!(
                "version {number}; the challenger is better in {:.1} % of paired resamples",
                100.0 * share
            )
        }
        (None, Some(reason)) => format!("version {number}, not comparable: {}", line(reason)),
        (None, None) => format!("version {number}"),
    }
}

/// A commit in a line.
pub fn commit(commit: &Value) -> String {
    if commit.is_null() {
        return "-".to_owned();
    }
    let (id, branch) = (digest(commit, "id"), text(commit, "branch"));
    format!(
        "{id} of {branch}, {}, {}: {}",
        text(commit, "author"),
        text(commit, "time"),
        text(commit, "subject")
    )
}

/// Two things beside each other.
pub struct Sides {
    pub left: &'static str,
    pub right: &'static str,
}

/// How numbers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Decimal,
    Count,
    /// Whatever it is.
    Plain,
}

impl Sides {
    /// An object of pairs as a table with a blank line in front; nothing when it is empty.
    pub fn table(&self, what: &str, pairs: &Value, show: Show) -> String {
        let rows = pairs.as_object().into_iter().flatten().map(|(name, pair)| {
            let (left, right) = (&pair[self.left], &pair[self.right]);
            let difference = match (left.as_f64(), right.as_f64(), show) {
                (Some(left), Some(right), Show::Decimal) => format!("{:+.4}", left - right),
                (Some(left), Some(right), Show::Count) => format!("{:+.0}", left - right),
                _ => String::new(),
            };
            let number = |value: &Value| match (value.as_f64(), show) {
                (Some(number), Show::Decimal) => format!("{number:.4}"),
                (Some(number), Show::Count) => format!("{number:.0}"),
                _ => super::words::or_dash(super::words::brief(value)),
            };
            vec![line(name), number(left), number(right), difference]
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return String::new();
        }
        format!("\n{}\n", printer::table(&[what, self.left, self.right, ""], rows))
    }
}

/// Answers an approval. What was answered about is sent along: the answer holds for that sheet and no other.
pub fn decide(args: &DecideArgs, verdict: &str) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let seen = match &args.seen {
        Some(seen) => seen.clone(),
        None => text(&client.get(&format!("/approvals/{}", args.number))?, "shown"),
    };
    let body = json!({
        "verdict": verdict,
        "by": by(args.who.by.as_deref())?,
        "reason": args.reason,
        "seen": Some(seen).filter(|seen| !seen.is_empty()),
    });
    let answer = client.post(&format!("/approvals/{}/decision", args.number), &body)?;
    show(&args.look, &answer, |answer| {
        format!("approval {}: {}: {}", args.number, asks(answer), state(answer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_has_what_an_approver_needs() {
        let approval = json!({"number": 2, "run": 6, "project": "wine", "stage": "prod", "version": 5,
            "state": {"name": "open"}, "expires": "2026-11-29T10:00:00Z", "four_eyes": true, "asked_by": "ann",
            "revision": "aa11", "bundle": "bb22", "shown": "cc33", "sheet": {
                "champion": 4, "better_share": 0.975, "incomparable": null,
                "commit": {"id": "1f2e3d4c5b6a7988", "branch": "main", "author": "Ann", "time": "t", "subject": "s"},
                "data": [{"role": "train", "name": "train.csv", "digest": "dd44", "bytes": 99}],
                "metrics": {"macro-f1": {"challenger": 0.9, "champion": 0.85}},
                "recall": {"c0": {"challenger": 0.5, "champion": null}},
                "class_rows": {"c0": {"challenger": 120.0, "champion": 100.0}},
                "gates": [{"gate": "min.macro-f1", "passed": true, "measured": 0.9, "threshold": 0.7, "text": "ok"}],
                "findings": [{"severity": "warning", "code": "constant", "text": "x is constant"}]}});
        let text = sheet_text(&approval);
        for wanted in [
            "approval 2: version 5 to prod of wine: open\n",
            "6, asked by ann, who may not approve it",
            "version 4; the challenger is better in 97.5 % of paired resamples",
            "1f2e3d4c5b6a of main, Ann, t: s",
            "data        train train.csv, 99 bytes, dd44\n",
            "+0.0500",
            "+20",
            "min.macro-f1",
            "warning constant: x is constant",
            "this sheet  cc33\n",
            "`serin approve 2 --reason ...`",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        let row = text.lines().find(|line| line.contains("0.5000")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["c0", "0.5000", "-"]);
        let listing = table(&[approval], false);
        assert!(
            listing.contains("version 5 to prod") && listing.contains("2026-11-29 10:00:00"),
            "{listing}"
        );
        assert_eq!(table(&[], false), "nothing waits for an approval");
    }
}
