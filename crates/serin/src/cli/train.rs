//! `serin train`

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;
use serin_core::clock::{Clock as _, SystemClock};
use serin_core::config::Settings;
use serin_core::stages::{DataError, TrainError, TrainInput, Trained, read_options, read_rows, train};
use serin_ml::dataset::{Dataset, ReadOptions};
use serin_ml::evaluate::to_document;
use serin_ml::model::Bundle;
use serin_ml::train::{Budget, Ended, SelectError, TrialStatus};

use super::args::TrainArgs;
use super::exit::{Exit, Interrupted};
use super::settings::Overrides;
use super::watch::Watch;
use super::{files, printer, report, threads};

/// Trains, writes the four files and says how it went.
pub fn run(args: &TrainArgs) -> anyhow::Result<Exit> {
    let settings = Overrides::new()
        .list("data.train", &args.data, "--data")
        .list("data.test", &args.test, "--test")
        .columns(&args.columns)
        .set("train.budget", args.budget.clone(), "--budget")
        // A time asked for on the command line wins over a number of trials in the file.
        .set("train.trials", args.trials.or(args.budget.as_ref().map(|_| 0)), "--trials")
        .set("train.metric", args.metric.clone(), "--metric")
        .set("train.folds", args.folds, "--folds")
        .set("train.seed", args.seed, "--seed")
        .set("train.threads", args.threads, "--threads")
        .set("train.preset", args.preset.clone(), "--preset")
        .set("data.holdout", args.holdout, "--holdout")
        .load(args.config.as_deref())?;
    threads::limit(settings.threads)?;
    let champion = args.champion.as_deref().map(files::read_bundle).transpose()?;
    let trained = train_and_write(&settings, champion.as_ref(), &args.out)?;
    if args.json {
        printer::data(&serde_json::to_string_pretty(&summary(&trained, &args.out))?)?;
    } else {
        printer::data(&text(&trained, &args.out))?;
    }
    Ok(if trained.verdict.passed { Exit::Done } else { Exit::GateRefused })
}

/// Reads, trains and writes `model.serin`, `report.html`, `evaluation.json` and `leaderboard.json` into `out`.
pub fn train_and_write(
    settings: &Settings,
    champion: Option<&Bundle>,
    out: &Path,
) -> anyhow::Result<Trained> {
    let budget = match settings.train.budget {
        Budget::Until(budget) => Some(budget),
        Budget::Trials(_) => None,
    };
    let watch = Watch::start(budget);
    let (rows, test) = read(settings, &watch)?;
    if let Some(champion) = champion {
        check_champion(champion, &rows)?;
    }
    let recorded = recorded(settings);
    let created = SystemClock::new().now().to_rfc3339();
    let input = TrainInput {
        settings,
        recorded_settings: &recorded,
        train: &rows,
        test: test.as_ref(),
        champion,
        created: &created,
    };
    let trained = train(&input, &watch).map_err(|error| match error {
        TrainError::Select(SelectError::Interrupted) => anyhow::Error::new(Interrupted),
        other => other.into(),
    })?;
    watch.finish();
    write(&trained, &rows, test.as_ref(), settings, out)?;
    if trained.bundle.card.summary.ended == Ended::Interrupted {
        printer::talk("interrupted: this is the best of the trials made so far");
    }
    Ok(trained)
}

/// Reads the training rows, and the hold-out that was given.
pub fn read(settings: &Settings, watch: &Watch) -> anyhow::Result<(Dataset, Option<Dataset>)> {
    let data = &settings.data;
    if data.train.is_empty() {
        bail!(DataError::Nothing { what: "training ", option: "--data", key: "data.train" });
    }
    if data.target.is_none() {
        bail!(DataError::NoTarget);
    }
    let options = read_options(data);
    let folds = settings.train.folds;
    let train = files::warned(read_rows(
        &data.train,
        &ReadOptions { minimum_rows: folds, ..options.clone() },
        watch,
    )?);
    let test = if data.test.is_empty() {
        None
    } else {
        let options = ReadOptions {
            expected_schema: Some(train.schema.clone()),
            expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
            ..options
        };
        Some(files::warned(read_rows(&data.test, &options, watch)?))
    };
    Ok((train, test))
}

/// Refuses a champion that cannot answer these rows in their own terms.
pub fn check_champion(champion: &Bundle, rows: &Dataset) -> anyhow::Result<()> {
    let same_features = champion.card.schema.names().eq(rows.schema.names());
    let same_classes = rows.labels.as_ref().is_some_and(|labels| labels.classes == champion.card.classes);
    if !same_features || !same_classes {
        let what = if same_features { "classes" } else { "features" };
        bail!("the champion has other {what} than these rows: it cannot be compared on them");
    }
    Ok(())
}

/// The settings that decide the model, as kept in its lineage: no paths, which differ between machines.
fn recorded(settings: &Settings) -> serde_json::Value {
    let train = &settings.train;
    json!({
        "target": settings.data.target,
        "ignore": settings.data.ignore,
        "weight": settings.data.weight,
        "group": settings.data.group,
        "time": settings.data.time,
        "holdout": settings.data.holdout,
        "metric": train.metric,
        "budget_seconds": match train.budget { Budget::Until(time) => Some(time.as_secs_f64()), Budget::Trials(_) => None },
        "trials": match train.budget { Budget::Trials(count) => Some(count), Budget::Until(_) => None },
        "folds": train.folds,
        "seed": train.seed,
        "families": train.families,
        "ensemble": train.ensemble,
        "calibrate": train.calibrate,
        "scope": train.scope,
    })
}

fn write(
    trained: &Trained,
    rows: &Dataset,
    test: Option<&Dataset>,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let page = report::page(trained, rows, test, settings)?;
    files::publish(&out.join("model.serin"), &trained.bundle.encode()?)?;
    files::publish(&out.join("report.html"), page.as_bytes())?;
    let mut evaluation = to_document(&trained.evaluation)?;
    evaluation["serin_gates"] = serde_json::to_value(&trained.verdict)?;
    if let Some(champion) = &trained.champion {
        evaluation["serin_champion"] = serde_json::to_value(champion)?;
    }
    files::publish(&out.join("evaluation.json"), &serde_json::to_vec_pretty(&evaluation)?)?;
    let leaderboard = json!({
        "summary": trained.bundle.card.summary,
        "leaderboard": trained.bundle.leaderboard,
        "trial_seconds": trained.trial_seconds,
    });
    files::publish(&out.join("leaderboard.json"), &serde_json::to_vec_pretty(&leaderboard)?)
}

fn summary(trained: &Trained, out: &Path) -> serde_json::Value {
    let card = &trained.bundle.card;
    json!({
        "passed": trained.verdict.passed,
        "gates": trained.verdict.findings,
        "digest": trained.bundle.digest(),
        "metric": card.metric,
        "score": trained.evaluation.value(card.metric),
        "trials": card.summary.trials,
        "model": out.join("model.serin"),
        "report": out.join("report.html"),
        "evaluation": out.join("evaluation.json"),
        "leaderboard": out.join("leaderboard.json"),
    })
}

/// What a person reads after training.
pub fn text(trained: &Trained, out: &Path) -> String {
    let card = &trained.bundle.card;
    let mut text = leaderboard_table(trained, 12);
    text.push_str("\n\n");
    text.push_str(&outcome(trained));
    let members: Vec<String> = trained
        .bundle
        .predictor
        .members
        .iter()
        .map(|member| format!("{:.0}% {}", member.weight * 100.0, member.label))
        .collect();
    text.push_str(&format!(
        "\nmodel    {}  ({})\n         calibration {}, digest {}\nreport   {}\nalso     {}, {}\n",
        out.join("model.serin").display(),
        members.join(" + "),
        card.summary.calibration,
        &trained.bundle.digest()[..12],
        out.join("report.html").display(),
        out.join("evaluation.json").display(),
        out.join("leaderboard.json").display(),
    ));
    text
}

/// The first `limit` rows of the leaderboard; the majority dummy and the reference recipe are never cut off.
pub fn leaderboard_table(trained: &Trained, limit: usize) -> String {
    use serin_ml::train::{MAJORITY, REFERENCE};
    let leaderboard = &trained.bundle.leaderboard;
    let shown = leaderboard.rows.iter().enumerate().filter(|(rank, row)| {
        *rank < limit || row.candidate.label == MAJORITY || row.candidate.label == REFERENCE
    });
    let rows = shown.map(|(rank, row)| {
        let score = match (row.status, row.score) {
            (TrialStatus::GivenUp, _) => "given up".to_owned(),
            (TrialStatus::Failed, _) | (_, None) => "failed".to_owned(),
            (_, Some(score)) => format!("{score:.4}"),
        };
        let error = row.standard_error.map_or_else(String::new, |error| format!("+/-{error:.3}"));
        let weight = if row.weight > 0.0 { format!("{:.0}%", row.weight * 100.0) } else { String::new() };
        let number = format!("#{}", row.number);
        vec![(rank + 1).to_string(), row.candidate.label.clone(), number, score, error, weight]
    });
    let metric = leaderboard.metric.to_string();
    printer::table(&["rank", "candidate", "trial", &metric, "fold error", "share in model"], rows)
}

/// The scores and what the gates say of them.
pub fn outcome(trained: &Trained) -> String {
    format!("{}{}", score_lines(trained), verdict_lines(&trained.verdict))
}

fn score_lines(trained: &Trained) -> String {
    let card = &trained.bundle.card;
    let rows = if trained.is_held_out { "rows held out" } else { "rows, out of fold" };
    let mut text = format!("on {} {rows}:\n", trained.evaluation.rows);
    let mut metrics = vec![card.metric];
    metrics.extend(
        [
            serin_ml::evaluate::Metric::MacroF1,
            serin_ml::evaluate::Metric::Accuracy,
            serin_ml::evaluate::Metric::LogLoss,
        ]
        .into_iter()
        .filter(|metric| *metric != card.metric),
    );
    for metric in metrics {
        let Some(result) = trained.evaluation.metrics.get(&metric) else { continue };
        let value = result.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.4}"));
        let interval =
            result.interval.map_or_else(String::new, |i| format!("  [{:.4}, {:.4}]", i.low, i.high));
        let dummy =
            result.majority.map_or_else(String::new, |value| format!("  (majority dummy {value:.4})"));
        text.push_str(&format!("  {metric:<12} {value}{interval}{dummy}\n"));
    }
    text
}

/// The verdict of the gates, with each refusal.
pub fn verdict_lines(verdict: &serin_ml::evaluate::GateVerdict) -> String {
    if verdict.passed {
        return format!("gate passed ({} checks)\n", verdict.findings.len());
    }
    let mut text = "gate REFUSED\n".to_owned();
    for finding in verdict.refusals() {
        text.push_str(&format!("  {}: {}\n", finding.gate, finding.text));
    }
    text
}
