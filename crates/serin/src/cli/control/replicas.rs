//! `serin replicas`, `replica drain` and `scale`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{ReplicaCommand, ReplicaDrainArgs, ReplicasArgs, ScaleArgs};
use super::client::{Client, by, escaped, project, query};
use super::follow::wait_for_server;
use super::show;
use super::words::{cell, entries, items, seconds, text};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Goes to the top left of a terminal and clears it.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Lists replicas.
pub fn list(args: &ReplicasArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let parameters = [("project", args.project.clone()), ("stage", args.stage.clone())];
    let path = format!("/replicas{}", query(&parameters));
    if !args.watch {
        let answer = client.get(&path)?;
        return show(&args.look, &answer, words);
    }
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        let answer = match client.get(&path) {
            Err(error) if error.is_passing() => {
                wait_for_server(&client, &error)?;
                continue;
            }
            answer => answer?,
        };
        let head = if is_terminal { CLEAR } else { "" };
        printer::data(&format!("{head}{}", words(&answer)))?;
        std::thread::sleep(LOOK);
    }
}

/// Does what is asked of one.
pub fn one(command: &ReplicaCommand) -> anyhow::Result<Exit> {
    let ReplicaCommand::Drain(args) = command;
    drain(args)
}

fn drain(args: &ReplicaDrainArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let body = json!({ "by": by(args.who.by.as_deref())? });
    let answer = client.post(&format!("/replicas/{}/drain", escaped(&args.name)), &body)?;
    show(&args.look, &answer, |answer| {
        format!("{} answers what it has, and ends when another is there\n", text(answer, "replica"))
    })
}

/// Has so many from now on.
pub fn scale(args: &ScaleArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let mut body = json!({ "desired": args.desired, "by": by(args.who.by.as_deref())? });
    if let Some(version) = args.version {
        body["version"] = version.into();
    }
    let path = format!("/projects/{}/stages/{}/scale", escaped(&project), escaped(&args.stage));
    let answer = client.post(&path, &body)?;
    show(&args.look, &answer, |answer| {
        format!(
            "{} version {}: {} replicas from now on, after {}; `serin replicas --watch` shows them come\n",
            text(answer, "endpoint"),
            text(answer, "version"),
            cell(answer, "desired"),
            cell(answer, "before")
        )
    })
}

fn words(answer: &Value) -> String {
    let fleets = items(answer);
    if fleets.is_empty() {
        return "nothing is served by replicas; [stages.STAGE.replicas] has where a model runs\n".to_owned();
    }
    let mut out: String = fleets.iter().map(headline).collect();
    let rows =
        fleets.iter().flat_map(|fleet| entries(fleet, "replicas").iter().map(move |one| row(fleet, one)));
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        let head = [
            "endpoint",
            "version",
            "replica",
            "state",
            "in flight",
            "answered",
            "latency",
            "age",
            "memory",
            "cpu",
            "last trouble",
        ];
        let _ = writeln!(out, "\n{}", printer::table(&head, rows));
    }
    out
}

/// How many there are of how many, and why not more.
fn headline(fleet: &Value) -> String {
    let number = |key: &str| fleet[key].as_u64().unwrap_or_default();
    let mut out = format!("{} version {}", text(fleet, "endpoint"), text(fleet, "version"));
    if fleet["is_retired"] == true {
        out.push_str(": ends\n");
        return out;
    }
    let schedule = if fleet["is_scheduled"] == true { " by schedule" } else { "" };
    let _ = write!(
        out,
        ": {} of {} ready, {} to {} are possible{schedule}",
        number("ready"),
        number("desired"),
        number("min"),
        number("max")
    );
    for (key, what) in
        [("waiting", "requests wait for a first one"), ("ends", "ended unasked"), ("retries", "retries")]
    {
        if number(key) > 0 {
            let _ = write!(out, ", {} {what}", number(key));
        }
    }
    out.push('\n');
    if fleet["failure"].is_string() {
        let _ = writeln!(out, "  none comes: {}", text(fleet, "failure"));
    }
    if fleet["hold"].is_object() {
        let hold = &fleet["hold"];
        let _ = writeln!(
            out,
            "  it stays at {} for {}: {}",
            number("desired"),
            seconds(hold, "for_seconds"),
            text(hold, "reason")
        );
    }
    out
}

fn row(fleet: &Value, replica: &Value) -> Vec<String> {
    let number = |key: &str, words: &dyn Fn(f64) -> String| {
        replica[key].as_f64().map_or_else(|| "-".to_owned(), words)
    };
    vec![
        cell(fleet, "endpoint"),
        cell(fleet, "version"),
        cell(replica, "name"),
        cell(replica, "state"),
        cell(replica, "in_flight"),
        cell(replica, "answered"),
        number("latency_milliseconds", &|value| format!("{value:.1} ms")),
        seconds(replica, "age_seconds"),
        number("memory_bytes", &|value| format!("{:.0} MiB", value / f64::from(1 << 20))),
        number("cpu_percent", &|value| format!("{value:.0} %")),
        cell(replica, "last_trouble"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_listed_with_what_keeps_them_from_coming() {
        let replica = json!({"name": "prod-v7-1a-1", "state": "ready", "in_flight": 2, "answered": 40,
            "latency_milliseconds": 1.25, "age_seconds": 75.0, "memory_bytes": 20_971_520, "cpu_percent": 12.5,
            "last_trouble": "gone\u{1b}[31m"});
        let fleet = json!({"endpoint": "prod", "version": "7", "ready": 1, "desired": 3, "min": 1, "max": 3,
            "is_scheduled": true, "waiting": 0, "ends": 2, "retries": 1, "failure": "it exited with code 1",
            "hold": {"code": "at-the-maximum", "reason": "3 is the most", "for_seconds": 12.0}, "replicas": [replica]});
        let listing = words(&json!({ "items": [fleet] }));
        for wanted in [
            "prod version 7: 1 of 3 ready, 1 to 3 are possible by schedule, 2 ended unasked, 1 retries\n",
            "none comes: it exited with code 1\n",
            "it stays at 3 for 12 s: 3 is the most\n",
            "1.2 ms",
            "1 min 15 s",
            "20 MiB",
        ] {
            assert!(listing.contains(wanted), "{wanted}\n{listing}");
        }
        assert!(!listing.contains('\u{1b}'), "{listing:?}");
        let mut ending = fleet;
        ending["is_retired"] = json!(true);
        assert_eq!(headline(&ending), "prod version 7: ends\n");
        assert!(words(&json!({ "items": [] })).starts_with("nothing is served by replicas"));
    }
}
