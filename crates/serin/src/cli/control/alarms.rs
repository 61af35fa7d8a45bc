//! `serin alarms` and `serin alarm`.

use anyhow::bail;
use serde_json::{Value, json};
use serin_core::config::parse_duration;

use super::args::{AlarmArgs, AlarmBacktestArgs, AlarmCommand, AlarmSilenceArgs, AlarmTestArgs, AlarmsArgs};
use super::client::{Client, by, escaped, project};
use super::show;
use super::words::{cell, entries, fields, items, moment, span, text};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Lists the alarms of a project.
pub fn list(args: &AlarmsArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let project = project(&client, args.project.as_deref())?;
    let answer = client.get(&format!("/projects/{}/alarms", escaped(&project)))?;
    show(&args.look, &answer, |answer| {
        if items(answer).is_empty() {
            return "no alarm was evaluated yet: they begin a minute after something serves\n".to_owned();
        }
        let rows = items(answer).iter().map(|alarm| {
            let silent = alarm["silence"].is_object();
            let state =
                if silent { format!("{} (silenced)", text(alarm, "state")) } else { text(alarm, "state") };
            vec![text(alarm, "name"), state, moment(alarm, "since"), text(alarm, "reason")]
        });
        printer::table(&["alarm", "state", "since", "because"], rows)
    })
}

/// Does what is asked of one.
pub fn one(command: &AlarmCommand) -> anyhow::Result<Exit> {
    match command {
        AlarmCommand::Show(args) => shown(args),
        AlarmCommand::Test(args) => test(args),
        AlarmCommand::Backtest(args) => backtest(args),
        AlarmCommand::Silence(args) => silence(args),
    }
}

fn path(client: &Client, args: &AlarmArgs, what: &str) -> anyhow::Result<String> {
    let project = project(client, args.project.as_deref())?;
    Ok(format!("/projects/{}/alarms/{}{what}", escaped(&project), escaped(&args.name)))
}

fn shown(args: &AlarmArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&path(&client, args, "")?)?;
    show(&args.look, &answer, |alarm| {
        let mut lines = vec![
            ("alarm", text(alarm, "name")),
            ("state", text(alarm, "state")),
            ("since", moment(alarm, "since")),
            ("because", text(alarm, "reason")),
            ("watches", cell(alarm, "watches")),
            ("what to do", cell(alarm, "advice")),
            ("retrains", if alarm["retrain"] == true { "yes".to_owned() } else { "no".to_owned() }),
        ];
        if alarm["silence"].is_object() {
            let silence = &alarm["silence"];
            let (by, reason) = (text(silence, "by"), text(silence, "reason"));
            lines.push(("silenced", format!("until {} by {by}: {reason}", moment(silence, "until"))));
        }
        let points = entries(alarm, "datapoints").iter().map(|point| {
            let value = point["value"].as_f64().map_or_else(
                || if point["unreadable"] == true { "unreadable".to_owned() } else { "-".to_owned() },
                |value| format!("{value:.6}"),
            );
            vec![moment(point, "time"), value]
        });
        let points: Vec<Vec<String>> = points.collect();
        let head = fields(&lines);
        if points.is_empty() {
            return head;
        }
        format!("{head}\n{}\n", printer::table(&["period", "value"], points))
    })
}

fn test(args: &AlarmTestArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.alarm.look.server)?;
    let body = json!({ "by": by(args.who.by.as_deref())? });
    let answer = client.post(&path(&client, &args.alarm, "/test")?, &body)?;
    show(&args.alarm.look, &answer, |alarm| {
        format!(
            "everybody who is told of alarms was told that {} is on, and that it is over\n",
            text(alarm, "name")
        )
    })
}

fn backtest(args: &AlarmBacktestArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.alarm.look.server)?;
    let answer = client.get(&path(&client, &args.alarm, &format!("/backtest?days={}", args.days))?)?;
    show(&args.alarm.look, &answer, |result| {
        let number = |key: &str| result[key].as_u64().unwrap_or_default();
        let mut lines = format!(
            "in the last {} it would have been on {} times, for {} of {} periods ({} have a datapoint)\n",
            span((number("periods") * number("period_seconds")) as f64),
            number("alarms"),
            number("on"),
            number("periods"),
            number("measured")
        );
        for change in entries(result, "changes") {
            let (time, state) =
                (change[0].as_str().unwrap_or_default(), change[1].as_str().unwrap_or_default());
            lines.push_str(&format!("  {time}  {state}\n"));
        }
        lines
    })
}

fn silence(args: &AlarmSilenceArgs) -> anyhow::Result<Exit> {
    let seconds = match args.time.as_deref().map(parse_duration) {
        None => 0.0,
        Some(Some(time)) => time.as_secs_f64(),
        Some(None) => {
            bail!("--for {:?} is no time; write such as 2h", args.time.as_deref().unwrap_or_default())
        }
    };
    let client = Client::find(&args.alarm.look.server)?;
    let body = json!({ "by": by(args.who.by.as_deref())?, "reason": args.reason, "seconds": seconds });
    let answer: Value = client.post(&path(&client, &args.alarm, "/silence")?, &body)?;
    show(&args.alarm.look, &answer, |alarm| match alarm["silence"].is_object() {
        true => format!("{} is silenced until {}\n", text(alarm, "name"), moment(&alarm["silence"], "until")),
        false => format!("{} is not silenced any more\n", text(alarm, "name")),
    })
}
