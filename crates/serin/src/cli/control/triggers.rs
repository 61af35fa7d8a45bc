//! `serin trigger list`, `pause` and `resume`.

use serde_json::{Value, json};

use super::args::{TriggerCommand, TriggerListArgs, TriggerPauseArgs};
use super::client::{Client, by, escaped, project, query};
use super::show;
use super::words::{cell, items, line, listed, moment, text};
use crate::cli::exit::Exit;

/// Runs one of the commands.
pub fn run(command: &TriggerCommand) -> anyhow::Result<Exit> {
    match command {
        TriggerCommand::List(args) => list(args),
        TriggerCommand::Pause(args) => pause(args, "pause"),
        TriggerCommand::Resume(args) => pause(args, "resume"),
    }
}

fn list(args: &TriggerListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/triggers{}", query(&[("project", args.project.clone())])))?;
    show(&args.look, &answer, |answer| table(items(answer)))
}

/// Triggers and what they did last.
pub fn table(triggers: &[Value]) -> String {
    let rows = triggers.iter().map(|trigger| {
        let last = &trigger["last"];
        let when = moment(last, "time");
        vec![
            cell(trigger, "project"),
            cell(trigger, "name"),
            state(trigger).to_owned(),
            text(trigger, "text"),
            when,
            text(last, "outcome"),
        ]
    });
    listed(&["project", "trigger", "state", "watches", "last", "outcome"], rows.collect(), "no triggers")
}

fn state(trigger: &Value) -> &'static str {
    match (trigger["enabled"].as_bool(), trigger["paused"].as_bool()) {
        (Some(false), _) => "off",
        (_, Some(true)) => "paused",
        _ => "on",
    }
}

fn pause(args: &TriggerPauseArgs, what: &str) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let path = format!("/projects/{}/triggers/{}/{what}", escaped(&project), escaped(&args.name));
    let answer = client.post(&path, &json!({"by": by(args.who.by.as_deref())?}))?;
    show(&args.look, &answer, |trigger| format!("{} of {project}: {}", line(&args.name), state(trigger)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_on_off_or_paused() {
        let trigger = |enabled: bool, paused: bool| {
            json!({"project": "wine", "name": "git", "enabled": enabled, "paused": paused, "text": "main of /r",
                "last": {"position": "1f2e", "time": "2026-11-22T10:00:00Z", "outcome": "run 3"}})
        };
        let listing = table(&[trigger(true, false), trigger(true, true), trigger(false, true)]);
        let rows: Vec<&str> = listing.lines().skip(1).collect();
        for (row, state) in rows.iter().zip([" on ", " paused ", " off "]) {
            assert!(row.contains(state) && row.contains("run 3"), "{listing}");
        }
        assert_eq!(table(&[]), "no triggers");
    }
}
