//! `serin rollout`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::args::{ListArgs, LookArgs, RolloutCommand, RolloutSayArgs, RolloutStatusArgs};
use super::client::{Client, by, query};
use super::follow::wait_for_server;
use super::words::{cell, entries, fields, items, line, listed, moment, seconds, span, text};
use super::{page, say_more, show};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Does what the command says.
pub fn run(command: &RolloutCommand) -> anyhow::Result<Exit> {
    match command {
        RolloutCommand::Status(args) if args.watch => watch(args),
        RolloutCommand::Status(args) => status(args),
        RolloutCommand::Pause(args) => say(args, "pause"),
        RolloutCommand::Resume(args) => say(args, "resume"),
        RolloutCommand::Promote(args) => say(args, "promote"),
        RolloutCommand::Abort(args) => say(args, "abort"),
        RolloutCommand::History(args) => history(args),
        RolloutCommand::Explain { number, look } => explain(*number, look),
    }
}

fn status(args: &RolloutStatusArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    if let Some(number) = args.number {
        let answer = client.get(&format!("/rollouts/{number}"))?;
        return show(&args.look, &answer, whole);
    }
    let answer = open(&client, args.project.as_deref())?;
    show(&args.look, &answer, |answer| match items(answer) {
        [] => "no rollout is under way; `serin rollout history` has those that were\n".to_owned(),
        rollouts => rollouts.iter().map(whole).collect::<Vec<_>>().join("\n"),
    })
}

fn open(client: &Client, project: Option<&str>) -> anyhow::Result<Value> {
    let parameters = [("open", Some("true".to_owned())), ("project", project.map(str::to_owned))];
    Ok(client.get(&format!("/rollouts{}", query(&parameters)))?)
}

/// Tells each change until it was promoted or went back; says how it ended, also in the exit code.
fn watch(args: &RolloutStatusArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let number = match args.number {
        Some(number) => number,
        None => number(&only(&client, args.project.as_deref(), None)?),
    };
    let mut told = 0;
    let mut last = String::new();
    loop {
        let rollout = match client.get(&format!("/rollouts/{number}")) {
            Err(error) if error.is_passing() => {
                wait_for_server(&client, &error)?;
                continue;
            }
            rollout => rollout?,
        };
        let events = entries(&rollout, "history");
        for event in &events[told.min(events.len())..] {
            printer::data(&format!("{}  {}", moment(event, "time"), text(event, "text")))?;
        }
        told = events.len();
        let now = progress(&rollout);
        if now != last {
            printer::talk(&now);
            last = now;
        }
        match rollout["phase"].as_str() {
            Some("probation" | "completed") => return Ok(Exit::Done),
            Some("rolled-back" | "superseded") => return Ok(Exit::Failed),
            _ => std::thread::sleep(LOOK),
        }
    }
}

fn number(rollout: &Value) -> u64 {
    rollout["number"].as_u64().unwrap_or_default()
}

/// The only one that is under way there.
fn only(client: &Client, project: Option<&str>, stage: Option<&str>) -> anyhow::Result<Value> {
    let answer = open(client, project)?;
    let is_there = |rollout: &&Value| stage.is_none_or(|stage| rollout["stage"] == stage);
    let found: Vec<&Value> = items(&answer).iter().filter(is_there).collect();
    match found.as_slice() {
        [] => bail!("no rollout is under way there; `serin rollout history` has those that were"),
        [rollout] => Ok((*rollout).clone()),
        several => {
            let names: Vec<String> = several.iter().map(|rollout| text(rollout, "endpoint")).collect();
            bail!("rollouts are under way at {}; name one with --stage or --project", names.join(", "))
        }
    }
}

fn say(args: &RolloutSayArgs, command: &str) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let rollout = only(&client, args.project.as_deref(), args.stage.as_deref())?;
    let body = json!({"command": command, "by": by(args.who.by.as_deref())?, "reason": args.reason});
    let answer = client.post(&format!("/rollouts/{}/commands", number(&rollout)), &body)?;
    show(&args.look, &answer, |rollout| format!("{}\n", headline(rollout)))
}

fn history(args: &ListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/rollouts{}", query(&page(&args.page))))?;
    show(&args.look, &answer, |answer| table(items(answer)))?;
    say_more(&args.look, &answer);
    Ok(Exit::Done)
}

fn table(rollouts: &[Value]) -> String {
    let rows = rollouts.iter().map(|one| {
        let (from, to) = (cell(one, "stable_version"), cell(one, "version"));
        let asked =
            format!("{} ({} failed)", cell(&one["canary"], "requests"), cell(&one["canary"], "failed"));
        let (phase, because) = (cell(one, "phase"), cell(one, "because"));
        let (began, plan) = (moment(one, "created"), cell(one, "plan"));
        vec![cell(one, "number"), began, cell(one, "endpoint"), from, to, plan, phase, asked, because]
    });
    let head = ["rollout", "began", "endpoint", "from", "to", "plan", "", "requests", "because"];
    listed(&head, rows.collect(), "there was no rollout yet")
}

fn explain(number: Option<u64>, look: &LookArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&look.server)?;
    let number = match number {
        Some(number) => number,
        None => {
            let answer = client.get("/rollouts?limit=1")?;
            match items(&answer) {
                [rollout] => self::number(rollout),
                _ => bail!("there was no rollout yet"),
            }
        }
    };
    let answer = client.get(&format!("/rollouts/{number}"))?;
    show(look, &answer, explanation)
}

fn explanation(rollout: &Value) -> String {
    let mut out = format!("{}\n", headline(rollout));
    let _ = writeln!(out, "asked for: {}", line(rollout["reason"].as_str().unwrap_or_default()));
    for event in entries(rollout, "history") {
        let _ = writeln!(out, "{}  {}", moment(event, "time"), text(event, "text"));
    }
    out.push_str(
        "\nevery decision with its numbers: `serin decisions`; `serin replay decision N` makes one again\n",
    );
    out
}

fn headline(rollout: &Value) -> String {
    let from = match rollout["stable_version"].as_u64() {
        Some(version) => format!("from version {version} "),
        None => String::new(),
    };
    let because =
        rollout["because"].as_str().map_or_else(String::new, |because| format!(": {}", line(because)));
    format!(
        "rollout {} of {} {from}to version {}: {}{because}",
        cell(rollout, "number"),
        text(rollout, "endpoint"),
        cell(rollout, "version"),
        state(rollout)
    )
}

fn state(rollout: &Value) -> String {
    let phase = match (rollout["phase"].as_str().unwrap_or_default(), rollout["step"].as_u64()) {
        ("shifting", Some(step)) => {
            format!(
                "step {step} of {}, {} % of the requests",
                entries(rollout, "steps").len(),
                percent(rollout)
            )
        }
        (phase, _) => phase.replace('-', " "),
    };
    let condition = &rollout["condition"];
    match (condition["name"].as_str(), condition["reason"].as_str()) {
        (Some("paused"), reason) => {
            format!("{phase}, paused by {} ({})", text(condition, "by"), line(reason.unwrap_or_default()))
        }
        (Some("held"), Some(reason)) => format!("{phase}, HELD: {}", line(reason)),
        _ => phase,
    }
}

/// A weight, which is in percent already, with no more digits than it has.
fn percent(value: &Value) -> String {
    value["weight"].as_f64().map_or_else(|| "-".to_owned(), |weight| weight.to_string())
}

/// One line for whoever watches.
fn progress(rollout: &Value) -> String {
    format!(
        "{}, {} of {} requests in it; {} of {} failed, before {} of {}",
        state(rollout),
        cell(rollout, "step_requests"),
        cell(rollout, "needed_requests"),
        cell(&rollout["canary"], "failed"),
        cell(&rollout["canary"], "requests"),
        cell(&rollout["before"], "failed"),
        cell(&rollout["before"], "requests"),
    )
}

fn whole(rollout: &Value) -> String {
    let steps: Vec<String> = entries(rollout, "steps")
        .iter()
        .map(|step| format!("{} % for {}", percent(step), seconds(step, "bake_seconds")))
        .collect();
    let mut out = format!("{}\n", headline(rollout));
    let rate = match rollout["requests_per_second"].as_f64() {
        Some(rate) => format!("{rate:.1} a second"),
        None => "none yet".to_owned(),
    };
    out.push_str(&fields(&[
        ("plan", format!("{}: {}", cell(rollout, "plan"), steps.join(", "))),
        ("for", seconds(rollout, "phase_seconds")),
        (
            "in this step",
            format!("{} of {} requests", cell(rollout, "step_requests"), cell(rollout, "needed_requests")),
        ),
        ("requests", rate),
    ]));
    if let Some(time) = rollout["seconds_to_see_a_point"].as_f64() {
        let _ = writeln!(
            out,
            "at this rate one more failure in a hundred requests is seen within {}",
            span(time)
        );
    }
    let sides = [("new", "canary"), ("serving", "stable"), ("before", "before"), ("mirrored", "mirrored")];
    let rows = sides.map(|(name, key)| {
        let side = &rollout[key];
        let milliseconds =
            |key: &str| side[key].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let classes = side["classes"].as_object().into_iter().flatten();
        let classes: Vec<String> =
            classes.map(|(class, count)| format!("{} {count}", line(class))).take(8).collect();
        let (requests, failed) = (cell(side, "requests"), cell(side, "failed"));
        let (misfits, excused) = (cell(side, "misfits"), cell(side, "excused"));
        let (p50, p99) = (milliseconds("p50_ms"), milliseconds("p99_ms"));
        vec![name.to_owned(), requests, failed, misfits, excused, p50, p99, classes.join(", ")]
    });
    let head = ["version", "requests", "failed", "misfits", "excused", "p50 ms", "p99 ms", "classes"];
    let _ = writeln!(out, "\n{}", printer::table(&head, rows.to_vec()));
    let disagreed = rollout["mirrored_disagreed"].as_u64().unwrap_or(0);
    if rollout["mirrored"]["requests"].as_u64().unwrap_or(0) > 0 {
        let _ = writeln!(out, "{disagreed} mirrored rows got another class");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Value {
        json!({"number": 3, "endpoint": "prod", "version": 7, "stable_version": 5, "phase": "shifting", "step": 1,
            "steps": [{"weight": 10.0, "bake_seconds": 300.0}, {"weight": 100.0, "bake_seconds": 60.0}], "weight": 10.0,
            "plan": "canary-10-percent-5-minutes", "phase_seconds": 12.0, "condition": {"name": "going"},
            "step_requests": 40, "needed_requests": 300, "requests_per_second": 5.0, "seconds_to_see_a_point": 7200.0,
            "canary": {"requests": 40, "failed": 1, "p50_ms": 0.5, "classes": {"a\u{1b}": 40}}, "stable": {}, "before": {},
            "mirrored": {"requests": 9}, "mirrored_disagreed": 2, "reason": "better", "created": "2026-11-22T10:00:00Z",
            "history": [{"time": "2026-11-22T10:00:00Z", "text": "version 7 gets 10 % of the requests"}]})
    }

    #[test]
    fn a_rollout_is_told_in_words() {
        let text = whole(&rollout());
        for wanted in [
            "rollout 3 of prod from version 5 to version 7: step 1 of 2, 10 % of the requests",
            "40 of 300 requests",
            "seen within 2 h",
            "2 mirrored rows got another class",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(table(&[rollout()]).contains("40 (1 failed)"));
        assert!(explanation(&rollout()).contains("version 7 gets 10 % of the requests"));
        let mut held = rollout();
        held["condition"] = json!({"name": "held", "reason": "the gateway does not answer"});
        assert!(headline(&held).contains("HELD: the gateway does not answer"), "{}", headline(&held));
    }
}
