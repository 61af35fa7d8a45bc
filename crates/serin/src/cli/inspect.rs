//! `serin inspect`

use serde_json::json;
use serin_ml::model::{Bundle, Imported};
use serin_ml::train::{Member, Model};

use super::args::InspectArgs;
use super::exit::Exit;
use super::{files, printer};

/// Fields shown before the list is cut.
const FIELD_LIMIT: usize = 12;

/// Shows what a bundle holds; it has been verified by then, golden rows included.
pub fn run(args: &InspectArgs) -> anyhow::Result<Exit> {
    let bundle = files::read_model(&args.model, None)?;
    if args.json {
        let document = json!({
            "digest": bundle.digest(),
            "card": bundle.card,
            "members": members(&bundle),
            "leaderboard": bundle.leaderboard,
            "evaluation": bundle.evaluation,
            "golden_rows": bundle.golden.rows.len(),
            "note": bundle.note,
        });
        printer::data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        let imported = bundle.card.lineage.imported.as_ref();
        printer::data(&imported.map_or_else(|| text(&bundle), |imported| imported_text(&bundle, imported)))?;
    }
    Ok(Exit::Done)
}

fn members(bundle: &Bundle) -> Vec<serde_json::Value> {
    let describe = |member: &serin_ml::train::Member| {
        let number = member.label.rsplit_once('#').and_then(|(_, number)| number.parse::<usize>().ok());
        let row = bundle.leaderboard.rows.iter().find(|row| Some(row.number) == number);
        json!({
            "label": member.label,
            "weight": member.weight,
            "features_in": member.recipe.n_inputs(),
            "features_used": member.recipe.n_outputs(),
            "recipe": row.map(|row| &row.candidate.recipe),
            "model": row.map(|row| &row.candidate.model),
        })
    };
    bundle.predictor.members.iter().map(describe).collect()
}

fn text(bundle: &Bundle) -> String {
    let card = &bundle.card;
    let lineage = &card.lineage;
    let mut lines = vec![
        format!("{}  predicts {:?} from {} features", card.name, card.target, card.schema.fields.len()),
        format!("digest       {}", bundle.digest()),
        format!("classes      {}", card.classes.join(", ")),
    ];
    let value = bundle.evaluation.as_ref().and_then(|evaluation| evaluation.value(card.metric));
    let value = value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.4}"));
    lines.push(format!("{:<12} {value} on {} rows", card.metric.to_string(), lineage.test_rows));
    lines.push(format!("train rows   {} ({})", lineage.train_rows, short(&lineage.train.0)));
    lines.push(format!("test rows    {} ({})", lineage.test_rows, short(&lineage.test.0)));
    lines.push(format!(
        "seed         {}, {} trials, ended by {}",
        lineage.seed,
        card.summary.trials,
        ended(bundle)
    ));
    let created = bundle.note.created.as_deref().map_or_else(String::new, |created| format!(", {created}"));
    lines.push(format!("made by      serin {}{created}", lineage.serin));
    lines.push(format!("golden rows  {}, all reproduced", bundle.golden.rows.len()));
    lines.push(format!("calibration  {}", card.summary.calibration));
    let multipliers: Vec<String> =
        card.summary.decision_multipliers.iter().map(|value| format!("{value:.2}")).collect();
    lines.push(format!("decision     largest probability x ({})", multipliers.join(", ")));
    lines.push("members".into());
    for member in members(bundle) {
        let used = format!("{} of {} features", member["features_used"], member["features_in"]);
        let weight = member["weight"].as_f64().unwrap_or(0.0) * 100.0;
        lines.push(format!("  {weight:>3.0}%  {:<22} {used}", member["label"].as_str().unwrap_or("")));
        lines.push(format!("        {}", plain(&member["model"])));
    }
    lines.push("features".into());
    for field in card.schema.fields.iter().take(FIELD_LIMIT) {
        let range =
            field.range.map_or_else(|| "no value".to_owned(), |(low, high)| format!("{low} to {high}"));
        let missing = if field.has_missing { ", some missing" } else { "" };
        let kind = format!("{:?}", field.kind).to_lowercase();
        lines.push(format!("  {:<22} {kind:<8} {range}{missing}", field.name));
    }
    if card.schema.fields.len() > FIELD_LIMIT {
        lines.push(format!("  and {} more (--json has all)", card.schema.fields.len() - FIELD_LIMIT));
    }
    lines.join("\n")
}

/// What there is to say of a model that another program trained.
fn imported_text(bundle: &Bundle, imported: &Imported) -> String {
    let card = &bundle.card;
    let verified = match imported.compared_rows {
        0 => "unverified: never compared with the answers of its trainer".to_owned(),
        rows => format!("{rows} rows answered as its trainer does"),
    };
    let mut lines = vec![
        format!(
            "{}  predicts one of {} classes from {} features",
            card.name,
            card.classes.len(),
            card.schema.fields.len()
        ),
        format!("digest       {}", bundle.digest()),
        format!("classes      {}", card.classes.join(", ")),
        format!("imported     {}, file {}", imported.format, short(&imported.file)),
        format!("checked      {verified}"),
        format!("golden rows  {}, all reproduced", bundle.golden.rows.len()),
    ];
    if let [Member { model: Model::Imported(model), .. }] = bundle.predictor.members.as_slice() {
        let forest = model.forest();
        lines.push(format!("trees        {} with {} nodes", forest.n_trees(), forest.n_nodes()));
    }
    lines.push("features".into());
    lines.extend(card.schema.fields.iter().take(FIELD_LIMIT).map(|field| format!("  {}", field.name)));
    if card.schema.fields.len() > FIELD_LIMIT {
        lines.push(format!("  and {} more (--json has all)", card.schema.fields.len() - FIELD_LIMIT));
    }
    lines.join("\n")
}

fn ended(bundle: &Bundle) -> String {
    serde_json::to_value(bundle.card.summary.ended)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Parameters on one line, without the punctuation of JSON.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k} {}", plain(v))).collect();
            parts.join(", ")
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
