//! `serin run` and `serin runs`: asking for runs, and looking at them.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use super::args::{
    AskArgs, LookArgs, RunArgs, RunCancelArgs, RunCommand, RunLogsArgs, RunRetryArgs, RunShowArgs, RunsArgs,
};
use super::client::{Client, ControlError, by, escaped, project, query};
use super::status::{progress, took};
use super::words::{
    block, brief, cell, digest, entries, fields, items, listed, moment, or_dash, pairs, plain, reason,
    seconds, state, text,
};
use super::{follow, page, say_more, show, triggers};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Asks for a run, or does what one of the commands says.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    match &args.command {
        None => ask(&args.ask),
        Some(RunCommand::Show(args)) => show_one(args),
        Some(RunCommand::Logs(args)) => logs(args),
        Some(RunCommand::Cancel(args)) => cancel(args),
        Some(RunCommand::Retry(args)) => retry(args),
    }
}

fn ask(args: &AskArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let body = json!({"by": by(args.who.by.as_deref())?, "fresh": args.fresh, "dry_run": args.dry_run});
    let answer = client.post(&format!("/projects/{}/runs", escaped(&project)), &body)?;
    if args.dry_run {
        return show(&args.look, &answer, would);
    }
    wanted(&client, &args.look, &answer, args.watch)
}

/// Says what became of a wish, and follows the run when that was asked for.
pub fn wanted(client: &Client, look: &LookArgs, answer: &Value, watch: bool) -> anyhow::Result<Exit> {
    let is_refused = answer["outcome"] == "refused";
    if watch && let Some(run) = answer["run"].as_u64().filter(|_| !is_refused) {
        printer::talk(&outcome(answer));
        return follow::to_the_end(client, run);
    }
    show(look, answer, outcome)?;
    Ok(if is_refused { Exit::Failed } else { Exit::Done })
}

/// What became of a wish, in words.
fn outcome(answer: &Value) -> String {
    let run = cell(answer, "run");
    match answer["outcome"].as_str() {
        Some("run") => format!("run {run} was asked for; `serin run show {run}` shows it"),
        Some("same") => format!("run {run} is for the same; `serin run show {run}` shows it"),
        Some("returned") => {
            let rollout = cell(answer, "rollout");
            format!("rollout {rollout} went back: the version before has all requests again")
        }
        Some("refused") => format!("no run: {} ({})", text(answer, "reason"), text(answer, "rule")),
        _ => format!("run {run}"),
    }
}

fn would(answer: &Value) -> String {
    let mut out = match answer["outcome"].as_str() {
        Some("refused") => {
            format!("no run would start: {} ({})\n", text(answer, "reason"), text(answer, "rule"))
        }
        Some("same") => format!("no other run would start: run {} is for the same\n", cell(answer, "run")),
        _ => "a run would start\n".to_owned(),
    };
    let known = answer["revision"].as_object().into_iter().flatten();
    let known = known.filter(|(_, value)| !plain(value).is_empty()).map(|(name, value)| {
        let value = if value.is_object() { pairs(value) } else { brief(value) };
        (super::words::line(&name.replace('_', " ")), value)
    });
    let known: Vec<(String, String)> = known.collect();
    let lines: Vec<(&str, String)> =
        known.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    out.push_str(&fields(&lines));
    if !entries(answer, "triggers").is_empty() {
        let _ = write!(out, "\n{}\n", triggers::table(entries(answer, "triggers")));
    }
    out
}

/// Lists runs.
pub fn list(args: &RunsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.list.look.server)?;
    let mut parameters = page(&args.list.page);
    parameters.push(("open", args.open.then(|| "true".to_owned())));
    let answer = client.get(&format!("/runs{}", query(&parameters)))?;
    show(&args.list.look, &answer, |answer| table(items(answer)))?;
    say_more(&args.list.look, &answer);
    Ok(Exit::Done)
}

fn table(runs: &[Value]) -> String {
    let rows = runs.iter().map(|run| {
        let cause = text(&run["cause"], "text");
        let (project, kind) = (cell(run, "project"), cell(run, "kind"));
        vec![cell(run, "number"), project, kind, state(run), cause, moment(run, "created"), took(run)]
    });
    let head = ["run", "project", "kind", "state", "because", "asked for", "took"];
    listed(&head, rows.collect(), "no runs; `serin run` asks for one")
}

fn show_one(args: &RunShowArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    match &args.step {
        None => {
            let answer = client.get(&format!("/runs/{}", args.number))?;
            show(&args.look, &answer, run_text)
        }
        Some(step) => {
            let answer = client.get(&format!("/runs/{}/steps/{}", args.number, escaped(step)))?;
            show(&args.look, &answer, step_text)
        }
    }
}

/// A run with its steps.
pub fn run_text(run: &Value) -> String {
    let mut out = format!("run {} of {}: {}\n", cell(run, "number"), text(run, "project"), state(run));
    out.push_str(&reason(run).map(|reason| block(reason, "  ")).unwrap_or_default());
    let fresh = if run["fresh"] == true { ", every step anew" } else { "" };
    out.push_str(&fields(&[
        ("kind", format!("{}{fresh}", cell(run, "kind"))),
        ("because", text(&run["cause"], "text")),
        ("asked for", moment(run, "created")),
        ("ended", moment(run, "ended")),
        ("took", took(run)),
        ("revision", digest(run, "revision")),
    ]));
    let steps = entries(run, "steps");
    let rows = steps.iter().map(|step| {
        let note = match step["reused_from"].as_u64() {
            Some(run) => format!("as in run {run}"),
            None => progress(step).unwrap_or_default(),
        };
        let (attempts, output) = (cell(step, "attempts"), digest(step, "output"));
        vec![cell(step, "name"), state(step), seconds(step, "seconds"), attempts, output, note]
    });
    let _ = write!(out, "\n{}\n", printer::table(&["step", "state", "time", "attempts", "output", ""], rows));
    out.push_str(&attempts(run, "attempts"));
    out
}

/// The attempts that did not simply succeed.
fn attempts(value: &Value, key: &str) -> String {
    let odd = entries(value, key).iter().filter(|attempt| attempt["end"]["reason"].is_string());
    let mut out = String::new();
    for attempt in odd {
        let end = &attempt["end"];
        let of = text(attempt, "step");
        let of = if of.is_empty() { String::new() } else { format!("{of}, ") };
        let _ = writeln!(
            out,
            "\n{of}attempt {}, {}: {} ({})",
            cell(attempt, "number"),
            moment(attempt, "ended"),
            cell(end, "name"),
            text(end, "code"),
        );
        out.push_str(&block(end["reason"].as_str().unwrap_or_default(), "  "));
    }
    out
}

fn step_text(step: &Value) -> String {
    let mut out = format!("{}: {}\n", cell(step, "name"), state(step));
    out.push_str(&reason(step).map(|reason| block(reason, "  ")).unwrap_or_default());
    let after: Vec<String> = entries(step, "after").iter().map(plain).collect();
    out.push_str(&fields(&[
        ("kind", cell(step, "kind")),
        ("after", or_dash(after.join(", "))),
        ("began", moment(step, "began")),
        ("ended", moment(step, "ended")),
        ("took", seconds(step, "seconds")),
        ("attempts", cell(step, "attempts")),
        ("output", cell(step, "output")),
        ("as in run", cell(step, "reused_from")),
    ]));
    out.push_str(&attempts(step, "attempt_list"));
    if !step["document"].is_null() {
        let document = serde_json::to_string_pretty(&step["document"]).unwrap_or_default();
        let _ = write!(out, "\n{}", block(&document, ""));
    }
    out
}

fn logs(args: &RunLogsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.server)?;
    let mut offset = None;
    // A server that says again and again where to go on has a reason to end.
    loop {
        let parameters = query(&[
            ("step", args.step.clone()),
            ("attempt", args.attempt.map(|attempt| attempt.to_string())),
            ("offset", offset.clone()),
            ("follow", args.follow.then(|| "true".to_owned())),
        ]);
        let path = format!("/runs/{}/logs{parameters}", args.number);
        let part = match client.log(&path) {
            Err(error) if args.follow && error.is_passing() => {
                follow::wait_for_server(&client, &error)?;
                continue;
            }
            part => part?,
        };
        // Whole lines, escaped where they were written.
        let mut out = std::io::stdout().lock();
        out.write_all(part.text.as_bytes())?;
        out.flush()?;
        let has_moved = part.next.is_some() && part.next != offset;
        if part.is_end || (!args.follow && !has_moved) {
            return Ok(Exit::Done);
        }
        if part.next.is_none() {
            return Err(ControlError::Foreign { url: client.url().to_owned(), status: 200 }.into());
        }
        offset = part.next;
    }
}

fn cancel(args: &RunCancelArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let body = json!({"by": by(args.who.by.as_deref())?, "reason": args.reason});
    let answer = client.post(&format!("/runs/{}/cancel", args.number), &body)?;
    show(&args.look, &answer, |answer| format!("run {}: {}", args.number, state(answer)))
}

fn retry(args: &RunRetryArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let body = json!({"by": by(args.who.by.as_deref())?, "from": args.from});
    let answer = client.post(&format!("/runs/{}/retry", args.number), &body)?;
    if args.watch {
        return follow::to_the_end(&client, args.number);
    }
    show(&args.look, &answer, |_| format!("run {0} goes on; `serin run show {0}` shows it", args.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_with_its_steps_and_what_went_wrong() {
        let run = json!({"number": 3, "project": "wine", "kind": "train", "fresh": false,
            "cause": {"name": "commit", "text": "commit 1f2e3d"}, "created": "2026-11-22T10:00:00Z",
            "ended": "2026-11-22T10:00:42Z", "duration_seconds": 42.0, "revision": "aabbccddeeff0011",
            "state": {"name": "failed", "step": "gate", "code": "not_acceptable",
                      "reason": "min.macro-f1: 0.41 is below 0.7\nbeat_majority: no"},
            "steps": [{"name": "train", "state": {"name": "succeeded"}, "seconds": 0.01, "attempts": 0,
                       "output": "0123456789abcdef", "reused_from": 2, "progress": null},
                      {"name": "gate", "state": {"name": "failed", "code": "not_acceptable", "reason": "r"},
                       "seconds": 0.2, "attempts": 1, "output": null, "reused_from": null}],
            "attempts": [{"step": "gate", "number": 1, "ended": "2026-11-22T10:00:42Z",
                          "end": {"name": "failed", "code": "not_acceptable", "reason": "min.macro-f1"}}]});
        let text = run_text(&run);
        for wanted in [
            "run 3 of wine: failed in gate (not_acceptable)\n  min.macro-f1: 0.41 is below 0.7\n  beat_majority: no\n",
            "because    commit 1f2e3d\n",
            "revision   aabbccddeeff\n",
            "as in run 2",
            "gate, attempt 1, 2026-11-22 10:00:42: failed (not_acceptable)\n  min.macro-f1\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        let listing = table(&[run]);
        assert!(listing.contains("failed in gate (not_acceptable)") && listing.contains("42 s"), "{listing}");
        assert!(table(&[]).contains("serin run"));
    }

    #[test]
    fn what_became_of_a_wish_is_said() {
        assert!(outcome(&json!({"outcome": "run", "run": 7})).starts_with("run 7 was asked for"));
        assert!(outcome(&json!({"outcome": "same", "run": 7})).contains("for the same"));
        let refused = json!({"outcome": "refused", "rule": "waiting_limit", "reason": "20 runs wait"});
        assert_eq!(outcome(&refused), "no run: 20 runs wait (waiting_limit)");
        assert!(would(&refused).starts_with("no run would start: 20 runs wait"));
        let some = json!({"outcome": "run", "revision": {"commit": null, "data": {"train.csv": "abc"}}});
        assert_eq!(would(&some), "a run would start\ndata  train.csv=abc\n");
    }
}
