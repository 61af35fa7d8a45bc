//! `serin events`: what happened, and what happens.

use serde_json::Value;

use super::args::EventsArgs;
use super::client::{Client, query};
use super::follow::wait_for_server;
use super::words::{cell, items, moment, text};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Events asked for at a time.
const EVENTS_AT_ONCE: u32 = 1_000;

/// Prints events, the latest last; with `--follow` until the user leaves.
pub fn run(args: &EventsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.server)?;
    let mut after = args.after;
    if after.is_none() {
        let answer = client.get(&format!("/events{}", query(&[("last", Some(args.last.to_string()))])))?;
        after = Some(print(&answer, args.json)?.unwrap_or(0));
        if !args.follow {
            return Ok(Exit::Done);
        }
    }
    loop {
        let parameters = [
            ("after", after.map(|number| number.to_string())),
            ("limit", Some(EVENTS_AT_ONCE.to_string())),
            ("follow", args.follow.then(|| "true".to_owned())),
        ];
        let answer = match client.get(&format!("/events{}", query(&parameters))) {
            Err(error) if args.follow && error.is_passing() => {
                wait_for_server(&client, &error)?;
                continue;
            }
            answer => answer?,
        };
        let last = print(&answer, args.json)?;
        after = last.or(after);
        if !args.follow && items(&answer).is_empty() {
            return Ok(Exit::Done);
        }
    }
}

/// Prints the events of an answer; the number behind which the next ones stand.
fn print(answer: &Value, json: bool) -> anyhow::Result<Option<u64>> {
    let events = items(answer);
    let lines: Vec<String> =
        events.iter().map(|event| if json { event.to_string() } else { words(event) }).collect();
    if !lines.is_empty() {
        printer::data(&lines.join("\n"))?;
    }
    let last = events.last().and_then(|event| event["number"].as_u64());
    Ok(answer["next"].as_u64().max(last))
}

fn words(event: &Value) -> String {
    let run = event["run"].as_u64().map_or_else(String::new, |run| format!(" run {run}"));
    format!(
        "{} {} {}{run}: {} ({})",
        cell(event, "number"),
        moment(event, "time"),
        cell(event, "project"),
        text(event, "text"),
        text(event, "kind"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_and_the_next_ones_stand_behind_it() {
        let event = json!({"number": 12, "time": "2026-11-22T10:00:00Z", "kind": "run-started", "project": "wine",
            "run": 3, "text": "run 3 began", "facts": {}});
        assert_eq!(words(&event), "12 2026-11-22 10:00:00 wine run 3: run 3 began (run-started)");
        assert_eq!(print(&json!({"items": [], "next": 40}), false).unwrap(), Some(40));
        assert_eq!(print(&json!({"items": [], "next": null}), false).unwrap(), None);
    }
}
