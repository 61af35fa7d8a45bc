//! `serin status`

use std::fmt::Write as _;

use serde_json::Value;

use super::args::StatusArgs;
use super::client::Client;
use super::words::{block, cell, entries, moment, seconds, span, state, text, variants};
use super::{approvals, show};
use crate::cli::exit::Exit;

/// Shows what runs, what waits and what serves.
pub fn run(args: &StatusArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get("/status")?;
    let url = client.url().to_owned();
    show(&args.look, &answer, |answer| words(answer, &url, args.project.as_deref()))
}

fn words(answer: &Value, url: &str, only: Option<&str>) -> String {
    let mut text = format!("control  {url}, {}\n", engine(&answer["engine"]));
    if answer["gateway"].is_string() {
        let _ = writeln!(text, "gateway  {}", super::words::text(answer, "gateway"));
    }
    for warning in entries(answer, "warnings") {
        let _ = writeln!(text, "warning: {}", super::words::plain(warning));
    }
    let projects = entries(answer, "projects");
    for project in projects.iter().filter(|project| only.is_none_or(|only| project["name"] == only)) {
        text.push('\n');
        text.push_str(&one(project));
    }
    if projects.is_empty() {
        text.push_str(
            "\nno project yet: type `serin init NAME --data FILE --target COLUMN`, then `serin up NAME`\n",
        );
    }
    text
}

fn engine(engine: &Value) -> String {
    if engine["reigning"] == false {
        let owner = cell(engine, "owner");
        return format!("another engine does the work: {owner}");
    }
    let steps = match engine["steps"].as_u64() {
        None | Some(0) => "no step in hand".to_owned(),
        Some(1) => "1 step in hand".to_owned(),
        Some(steps) => format!("{steps} steps in hand"),
    };
    let left: Vec<String> = entries(engine, "left_behind").iter().map(super::words::plain).collect();
    if left.is_empty() { steps } else { format!("{steps}; given up waiting for: {}", left.join(", ")) }
}

fn one(project: &Value) -> String {
    let mut out = format!("{}  {}\n", text(project, "name"), text(project, "folder"));
    if let Some(error) = project["error"].as_str() {
        out.push_str(&block(&format!("settings cannot be used: {error}"), "  "));
    }
    let open = entries(project, "open_runs");
    for run in open {
        let _ = writeln!(out, "  run {} {}", cell(run, "number"), running(run));
    }
    let last = &project["last_run"];
    if open.iter().all(|run| run["number"] != last["number"]) && last.is_object() {
        let _ = writeln!(
            out,
            "  run {} {}, {} ({})",
            cell(last, "number"),
            state(last),
            moment(last, if last["ended"].is_null() { "created" } else { "ended" }),
            text(&last["cause"], "text"),
        );
    } else if last.is_null() && open.is_empty() {
        out.push_str("  no run yet: type `serin run --watch`\n");
    }
    for approval in entries(project, "approvals") {
        let number = cell(approval, "number");
        let _ = writeln!(
            out,
            "  approval {number} waits: {}; `serin approval show {number}`",
            approvals::asks(approval)
        );
    }
    let endpoints = entries(project, "endpoints");
    let width = endpoints.iter().map(|one| cell(one, "name").len()).max().unwrap_or(0);
    for endpoint in endpoints {
        let name = cell(endpoint, "name");
        let _ = writeln!(
            out,
            "  {name:<width$}  version {} since {}",
            variants(endpoint),
            moment(endpoint, "since")
        );
    }
    out
}

/// An open run in a line: why, and what it does now.
fn running(run: &Value) -> String {
    let now = entries(run, "steps")
        .iter()
        .filter(|step| {
            ["running", "retrying", "asking"].contains(&step["state"]["name"].as_str().unwrap_or_default())
        })
        .map(step_now)
        .collect::<Vec<_>>();
    let cause = text(&run["cause"], "text");
    let now = if now.is_empty() { String::new() } else { format!(": {}", now.join(", ")) };
    format!("{} ({cause}){now}", state(run))
}

fn step_now(step: &Value) -> String {
    let name = cell(step, "name");
    match step["state"]["name"].as_str() {
        Some("running") => match progress(step) {
            Some(progress) => format!("{name} {}, {progress}", seconds(step, "seconds")),
            None => format!("{name} {}", seconds(step, "seconds")),
        },
        _ => format!("{name} {}", state(step)),
    }
}

/// How far a step says that it is.
pub fn progress(step: &Value) -> Option<String> {
    let progress = &step["progress"];
    let said = text(progress, "text");
    let (done, of) = (progress["done"].as_u64()?, progress["of"].as_u64()?);
    match (said.is_empty(), of) {
        (true, 0) => None,
        (false, 0) => Some(said),
        (true, of) => Some(format!("{done} of {of}")),
        (false, of) => Some(format!("{said} ({done} of {of})")),
    }
}

/// The time a run took, or takes.
pub fn took(run: &Value) -> String {
    run["duration_seconds"].as_f64().map_or_else(|| "-".to_owned(), span)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_waits_runs_or_serves_is_told() {
        let run = json!({"number": 7, "state": {"name": "running"}, "cause": {"name": "asked", "text": "ann asked"},
            "created": "2026-11-22T10:00:00Z", "ended": null, "steps": [
            {"name": "build", "state": {"name": "succeeded"}, "seconds": 0.1, "progress": null},
            {"name": "train", "state": {"name": "running"}, "seconds": 12.4,
             "progress": {"text": "trial", "done": 3, "of": 20}},
            {"name": "baseline", "state": {"name": "retrying", "code": "io", "in_seconds": 2}, "progress": null}]});
        let answer = json!({"engine": {"reigning": true, "steps": 2, "left_behind": []}, "warnings": ["no disk"],
            "projects": [
                {"name": "wine", "folder": "/wine", "error": null, "last_run": run, "open_runs": [run],
                 "approvals": [{"number": 2, "version": 5, "stage": "prod", "run": 6, "expires": "2026-11-29T10:00:00Z"}],
                 "endpoints": [{"name": "dev", "variants": [{"version": 5, "weight": 1.0}], "since": "2026-11-22T09:00:00Z"}]},
                {"name": "new", "folder": "/new", "error": "serin.toml:3: x", "last_run": null, "open_runs": [],
                 "approvals": [], "endpoints": []}]});
        let text = words(&answer, "http://h", None);
        for wanted in [
            "control  http://h, 2 steps in hand\n",
            "warning: no disk\n",
            "wine  /wine\n",
            "  run 7 running (ann asked): train 12 s, trial (3 of 20), baseline tries again in 2.0 s (io)\n",
            "  approval 2 waits: version 5 to prod",
            "  dev  version 5 since 2026-11-22 09:00:00\n",
            "  settings cannot be used: serin.toml:3: x\n",
            "  no run yet: type `serin run --watch`\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(words(&json!({}), "http://h", None).contains("serin init"));
    }
}
