//! `serin monitor`, `serin quality`, and `serin drift` without files.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use serin_core::monitor::{MonitorReport, MonitorState};

use super::args::{
    DriftArgs, LookArgs, MonitorCommand, MonitorListArgs, MonitorRunArgs, MonitorShowArgs, QualityArgs,
};
use super::client::{Client, by, escaped, project, query};
use super::words::{cell, decimal, entries, fields, items, moment, seconds, text};
use super::{page, say_more, show};
use crate::cli::exit::Exit;
use crate::cli::{drift, files, printer};
use crate::web::drift as drift_page;

/// Does what the command says.
pub fn run(command: &MonitorCommand) -> anyhow::Result<Exit> {
    match command {
        MonitorCommand::Run(args) => look_now(args),
        MonitorCommand::List(args) => list(args),
        MonitorCommand::Show(args) => one(args),
    }
}

fn look_now(args: &MonitorRunArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let (project, stage) = place(&client, args.project.as_deref(), args.stage.as_deref())?;
    let path = format!("/projects/{}/stages/{}/looks", escaped(&project), escaped(&stage));
    let body = json!({ "by": by(args.who.by.as_deref())?, "window": args.window });
    let look = client.post(&path, &body)?;
    tell(&args.look, &look, args.all, args.html.as_deref())
}

fn list(args: &MonitorListArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let mut parameters = page(&args.page);
    parameters.push(("endpoint", args.endpoint.clone()));
    let answer = client.get(&format!("/looks{}", query(&parameters)))?;
    show(&args.look, &answer, |answer| {
        let rows = items(answer).iter().map(|look| {
            vec![
                cell(look, "number"),
                text(look, "endpoint"),
                text(look, "model_version"),
                moment(look, "from"),
                moment(look, "to"),
                cell(look, "rows"),
                text(look, "state"),
                cell(look, "confirmed"),
                text(look, "reason"),
            ]
        });
        printer::table(
            &["look", "endpoint", "version", "from", "to", "rows", "state", "told", "because"],
            rows,
        )
    })?;
    say_more(&args.look, &answer);
    Ok(Exit::Done)
}

fn one(args: &MonitorShowArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let number = match args.number {
        Some(number) => number,
        None => latest(&client, None)?.context("no window was looked at yet")?,
    };
    let look = client.get(&format!("/looks/{number}"))?;
    tell(&args.look, &look, args.all, args.html.as_deref())
}

/// `serin drift` without files: the last look at a stage.
pub fn last_look(args: &DriftArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let endpoint = match (&args.stage, &args.project) {
        (None, None) => None,
        (stage, project) => Some(endpoint_of(&client, project.as_deref(), stage.as_deref())?),
    };
    let Some(number) = latest(&client, endpoint.as_deref())? else {
        bail!("no window was looked at yet: `serin monitor run` looks now");
    };
    let mut look = client.get(&format!("/looks/{number}"))?;
    if args.features {
        look["report"]["comparison"]["predictions"] = Value::Null;
    }
    if args.predictions {
        look["report"]["comparison"]["columns"] = json!([]);
    }
    tell(&args.look, &look, args.all, args.html.as_deref())
}

fn latest(client: &Client, endpoint: Option<&str>) -> anyhow::Result<Option<u64>> {
    let parameters = [("limit", Some("1".to_owned())), ("endpoint", endpoint.map(str::to_owned))];
    let answer = client.get(&format!("/looks{}", query(&parameters)))?;
    Ok(items(&answer).first().and_then(|look| look["number"].as_u64()))
}

/// Prints a look; the exit code says what it found.
fn tell(look: &LookArgs, answer: &Value, all: bool, html: Option<&Path>) -> anyhow::Result<Exit> {
    let report: MonitorReport = serde_json::from_value(answer["report"].clone())
        .context("the look has no report that this program can read")?;
    if let (Some(path), Some(comparison)) = (html, &report.comparison) {
        files::check_output(path, &[])?;
        let title =
            format!("{}, {} to {}", report.endpoint, report.from.to_rfc3339(), report.to.to_rfc3339());
        let html = drift_page::render(&title, &headline(&report), comparison)?;
        serin_core::files::publish(path, html.as_bytes())
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    show(look, answer, |answer| words(answer, &report, all))?;
    Ok(match report.state {
        MonitorState::Stable => Exit::Done,
        MonitorState::Changed => Exit::DriftFound,
        MonitorState::Insufficient | MonitorState::Error => Exit::NotMeasured,
    })
}

fn headline(report: &MonitorReport) -> String {
    match &report.comparison {
        Some(comparison) => drift::verdict_line(comparison),
        None => format!("cannot say: {}", report.reason),
    }
}

fn words(answer: &Value, report: &MonitorReport, all: bool) -> String {
    let mut parts = vec![fields(&[
        ("look", cell(answer, "number")),
        ("endpoint", format!("{} (version {})", text(answer, "endpoint"), text(answer, "model_version"))),
        ("window", format!("{} to {}", moment(answer, "from"), moment(answer, "to"))),
        ("rows", report.rows.to_string()),
        (
            "told",
            format!(
                "{} of {} findings were in enough windows",
                report.confirmed.len(),
                report.findings().len()
            ),
        ),
    ])];
    match &report.comparison {
        Some(comparison) => {
            parts.push(drift::told(comparison, all));
            if let Some(predictions) = &comparison.predictions {
                let rows = predictions.classes.iter().map(|(class, before, now)| {
                    vec![
                        printer::visible(class),
                        format!("{:.1} %", 100.0 * before),
                        format!("{:.1} %", 100.0 * now),
                    ]
                });
                parts.push(printer::table(&["predicted class", "hold-out", "now"], rows));
                parts.push(format!(
                    "mean confidence {} (hold-out {})",
                    decimal(predictions.confidence_now),
                    decimal(predictions.confidence_before)
                ));
                if let Some(estimated) = &predictions.estimated {
                    let doubt = estimated
                        .doubt
                        .as_ref()
                        .map_or_else(String::new, |doubt| format!("; doubtful: {doubt}"));
                    parts.push(format!(
                        "without labels: accuracy about {:.4} (hold-out {}){doubt}",
                        estimated.accuracy,
                        decimal(estimated.accuracy_before)
                    ));
                }
            }
        }
        None => parts.push(headline(report)),
    }
    parts.join("\n\n")
}

/// How good answers are.
pub fn quality(args: &QualityArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let (project, stage) = place(&client, args.project.as_deref(), args.stage.as_deref())?;
    let parameters = query(&[("since", args.since.clone())]);
    let path = format!("/projects/{}/stages/{}/quality{parameters}", escaped(&project), escaped(&stage));
    let answer = client.get(&path)?;
    show(&args.look, &answer, |answer| {
        let mut parts = vec![fields(&[
            ("endpoint", text(answer, "endpoint")),
            ("rows", format!("{} to {}", moment(answer, "from"), moment(answer, "to"))),
            (
                "hold-out",
                format!(
                    "accuracy {}, macro-F1 {}",
                    decimal(answer["expected_accuracy"].as_f64()),
                    decimal(answer["expected_macro_f1"].as_f64())
                ),
            ),
        ])];
        let versions = entries(answer, "versions");
        let rows = versions.iter().map(|version| {
            vec![
                text(version, "model_version"),
                cell(version, "answered"),
                cell(version, "labelled"),
                format!("{:.1} %", 100.0 * version["coverage"].as_f64().unwrap_or_default()),
                seconds(version, "delay_seconds"),
                match (version["accuracy"].as_f64(), version["accuracy_margin"].as_f64()) {
                    (Some(accuracy), Some(margin)) => format!("{accuracy:.4} ± {margin:.4}"),
                    _ => "-".to_owned(),
                },
                decimal(version["macro_f1"].as_f64()),
                decimal(version["balanced_accuracy"].as_f64()),
            ]
        });
        let heads = ["version", "answers", "labels", "coverage", "delay", "accuracy", "macro-F1", "balanced"];
        parts.push(if versions.is_empty() {
            "nothing was answered in this time".to_owned()
        } else {
            printer::table(&heads, rows)
        });
        let classes = versions.iter().flat_map(|version| {
            entries(version, "classes").iter().map(|class| {
                vec![
                    text(version, "model_version"),
                    text(class, "class"),
                    cell(class, "rows"),
                    cell(class, "predicted"),
                    decimal(class["precision"].as_f64()),
                    decimal(class["recall"].as_f64()),
                    decimal(class["f1"].as_f64()),
                ]
            })
        });
        let classes: Vec<Vec<String>> = classes.collect();
        if !classes.is_empty() {
            parts.push(printer::table(
                &["version", "class", "rows", "predicted", "precision", "recall", "F1"],
                classes,
            ));
        }
        let estimated = &answer["estimated"];
        if estimated.is_object() {
            let doubt =
                estimated["doubt"].as_str().map_or_else(String::new, |doubt| format!("; doubtful: {doubt}"));
            parts.push(format!(
                "without labels: accuracy about {}, macro-F1 about {}{doubt}",
                decimal(estimated["accuracy"].as_f64()),
                decimal(estimated["macro_f1"].as_f64())
            ));
        }
        parts.join("\n\n")
    })
}

/// The project and the stage that are meant: the only one that serves when none is named.
pub fn place(client: &Client, named: Option<&str>, stage: Option<&str>) -> anyhow::Result<(String, String)> {
    let project = project(client, named)?;
    if let Some(stage) = stage {
        return Ok((project, stage.to_owned()));
    }
    let endpoints = client.get("/endpoints")?;
    let mine = items(&endpoints).iter().filter(|endpoint| endpoint["project"] == project.as_str());
    match mine.map(|endpoint| text(endpoint, "stage")).collect::<Vec<_>>().as_slice() {
        [] => bail!("nothing of the project {project} serves yet"),
        [stage] => Ok((project, stage.clone())),
        several => bail!("several stages serve; name one with --stage: {}", several.join(", ")),
    }
}

fn endpoint_of(client: &Client, named: Option<&str>, stage: Option<&str>) -> anyhow::Result<String> {
    let (project, stage) = place(client, named, stage)?;
    let endpoints = client.get("/endpoints")?;
    let found = items(&endpoints)
        .iter()
        .find(|endpoint| endpoint["project"] == project.as_str() && endpoint["stage"] == stage.as_str());
    found.map(|endpoint| text(endpoint, "name")).with_context(|| format!("nothing serves the stage {stage}"))
}
