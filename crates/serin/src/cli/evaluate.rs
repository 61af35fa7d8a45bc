//! `serin evaluate`

use anyhow::bail;
use serin_core::stages::{Judged, evaluate_bundle, read_rows};
use serin_ml::dataset::ReadOptions;
use serin_ml::evaluate::to_document;
use serin_ml::model::Bundle;

use super::args::EvaluateArgs;
use super::exit::Exit;
use super::settings::Overrides;
use super::train::{check_champion, verdict_lines};
use super::watch::Watch;
use super::{files, printer};

/// Judges a bundle on labelled rows, and the gates on the result.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<Exit> {
    let settings = Overrides::new().load(args.config.as_deref())?;
    let bundle = files::read_bundle(&args.model)?;
    let champion = args.champion.as_deref().map(files::read_bundle).transpose()?;
    let watch = Watch::start(None);
    let options = ReadOptions {
        target: Some(args.target.clone().unwrap_or_else(|| bundle.card.target.clone())),
        expected_schema: Some(bundle.card.schema.clone()),
        expected_classes: Some(bundle.card.classes.clone()),
        missing: bundle.card.missing.clone(),
        ..ReadOptions::default()
    };
    let rows = files::warned(read_rows(&args.data, &options, &watch)?);
    watch.finish();
    if let Some(champion) = &champion {
        check_champion(champion, &rows)?;
    }
    let Some(judged) = evaluate_bundle(&bundle, champion.as_ref(), &rows, &settings.gates) else {
        bail!("the rows have no target column: name it with --target");
    };
    if args.json {
        let mut document = to_document(&judged.evaluation)?;
        document["serin_gates"] = serde_json::to_value(&judged.verdict)?;
        if let Some(champion) = &judged.champion {
            document["serin_champion"] = serde_json::to_value(champion)?;
        }
        printer::data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        printer::data(&text(&bundle, &judged))?;
    }
    Ok(if judged.verdict.passed { Exit::Done } else { Exit::GateRefused })
}

fn text(bundle: &Bundle, judged: &Judged) -> String {
    let evaluation = &judged.evaluation;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let metrics = evaluation.metrics.iter().map(|(metric, result)| {
        let interval = result.interval.map_or_else(String::new, |i| format!("[{:.4}, {:.4}]", i.low, i.high));
        vec![metric.to_string(), number(result.value), interval, number(result.majority)]
    });
    let mut text = format!("{} rows, model {}\n\n", evaluation.rows, &bundle.digest()[..12]);
    text.push_str(&printer::table(&["metric", "value", "95% interval", "majority dummy"], metrics));
    let classes = evaluation.per_class.iter().map(|class| {
        vec![
            class.class.clone(),
            class.support.to_string(),
            class.decided.to_string(),
            number(class.precision.value),
            number(class.recall.value),
            number(class.f1.value),
        ]
    });
    text.push_str("\n\n");
    text.push_str(&printer::table(&["class", "rows", "decided", "precision", "recall", "f1"], classes));
    text.push_str("\n\nconfusion (rows: actual, columns: decided)\n");
    let mut head = vec![""];
    head.extend(evaluation.classes.iter().map(String::as_str));
    let counts = evaluation.classes.iter().zip(&evaluation.confusion_matrix).map(|(class, counts)| {
        let mut cells = vec![class.clone()];
        cells.extend(counts.iter().map(u64::to_string));
        cells
    });
    text.push_str(&printer::table(&head, counts));
    if let Some(champion) = &judged.champion {
        text.push_str(&format!(
            "\n\nagainst the champion, {}: {} then, {} now, better in {} of resamples, McNemar p = {:.3}",
            champion.metric,
            number(champion.champion),
            number(champion.challenger),
            champion
                .probability_better
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0)),
            champion.mcnemar_p,
        ));
    }
    text.push_str("\n\n");
    text.push_str(&verdict_lines(&judged.verdict));
    text
}
