//! `serin baseline`: what rows looked like, shown and written for others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serin_core::stages::{read_options, read_rows};
use serin_ml::model_monitor::{Constraints, InferredType, Statistics, completeness};
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};

use super::args::{
    BaselineCommand, BaselineExportArgs, BaselineFormat, BaselineShowArgs, BaselineSourceArgs, ColumnArgs,
};
use super::exit::Exit;
use super::settings::Overrides;
use super::watch::Watch;
use super::{files, printer, threads};

/// The quantiles that a profile states, as `--json` names them.
const QUANTILES: [&str; 7] = ["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"];
/// The places of those that the table shows: 5, 25, 50, 75 and 95 %.
const SHOWN_QUANTILES: [usize; 5] = [1, 2, 3, 4, 5];

/// Runs one of the commands.
pub(super) fn run(command: &BaselineCommand) -> anyhow::Result<Exit> {
    match command {
        BaselineCommand::Show(args) => show(args),
        BaselineCommand::Export(args) => export(args),
    }
}

#[derive(Serialize)]
struct BaselineView {
    rows: u64,
    features: Vec<FeatureView>,
}

/// What a column looked like; what needs a value is `None` without one.
#[derive(Serialize)]
struct FeatureView {
    name: String,
    #[serde(rename = "type")]
    inferred_type: InferredType,
    completeness: f64,
    missing: u64,
    /// Distinct values: exact while few, estimated beyond.
    distinct: f64,
    mean: Option<f64>,
    /// Divided by the number of values.
    standard_deviation: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    quantiles: Option<BTreeMap<&'static str, f64>>,
}

fn show(args: &BaselineShowArgs) -> anyhow::Result<Exit> {
    let profile = profile(&args.source)?;
    let features = profile.columns.iter().map(feature).collect();
    let view = BaselineView { rows: profile.rows, features };
    if args.json {
        printer::data(&serde_json::to_string_pretty(&view)?)?;
    } else {
        printer::data(&text(&view))?;
    }
    Ok(Exit::Done)
}

fn export(args: &BaselineExportArgs) -> anyhow::Result<Exit> {
    if args.out.exists() && !args.out.is_dir() {
        bail!("{}: not written: it is there, and not a folder; name another", args.out.display());
    }
    let profile = profile(&args.source)?;
    let contents = match args.format {
        BaselineFormat::Sagemaker => vec![
            ("statistics.json", Statistics::of(&profile).to_json()?),
            ("constraints.json", Constraints::suggest(&profile).to_json()?),
        ],
        BaselineFormat::Profile => vec![("profile.json", serde_json::to_string(&profile)?)],
    };
    fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot be made", args.out.display()))?;
    for (name, text) in contents {
        let path = args.out.join(name);
        files::publish(&path, text.as_bytes())?;
        printer::data(&path.display().to_string())?;
    }
    Ok(Exit::Done)
}

/// The profile of a model's training rows, or of other rows.
fn profile(source: &BaselineSourceArgs) -> anyhow::Result<DatasetProfile> {
    match &source.model {
        Some(_) if source.columns != ColumnArgs::default() => {
            bail!("--target and the other columns are for --data; a model knows its own")
        }
        Some(model) => of_model(model),
        None => of_rows(source),
    }
}

fn of_model(path: &Path) -> anyhow::Result<DatasetProfile> {
    let bundle = files::read_model(path, None)?;
    let why = match &bundle.card.lineage.imported {
        Some(imported) => format!("it was trained by another program ({})", imported.format),
        None => "it was made without one".to_owned(),
    };
    bundle.baseline.with_context(|| {
        format!(
            "{}: has no baseline, because {why}; give the rows it was trained on with --data instead of --model, and \
             their target with --target",
            path.display()
        )
    })
}

fn of_rows(source: &BaselineSourceArgs) -> anyhow::Result<DatasetProfile> {
    let settings = Overrides::new().columns(&source.columns).load(source.config.as_deref())?;
    threads::limit(settings.threads)?;
    let watch = Watch::start(None);
    let rows = files::warned(read_rows(&source.data, &read_options(&settings.data), &watch)?);
    watch.finish();
    Ok(DatasetProfile::of(&rows, &ProfileOptions::default()))
}

fn feature(column: &ColumnProfile) -> FeatureView {
    let summary = column.finish();
    FeatureView {
        name: column.name().to_owned(),
        inferred_type: InferredType::of(&summary),
        completeness: completeness(&summary),
        missing: summary.missing,
        distinct: summary.distinct,
        mean: summary.mean,
        standard_deviation: summary.variance.map(f64::sqrt),
        min: summary.min,
        max: summary.max,
        quantiles: summary.quantiles.map(|values| QUANTILES.into_iter().zip(values).collect()),
    }
}

fn text(view: &BaselineView) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), printer::number);
    let rows = view.features.iter().map(|feature| {
        let quantile = |place: usize| {
            let value = QUANTILES.get(place).zip(feature.quantiles.as_ref());
            number(value.and_then(|(name, values)| values.get(name).copied()))
        };
        let mut cells = vec![
            printer::visible(&feature.name),
            feature.inferred_type.name().to_lowercase(),
            percent(feature.completeness),
            number(feature.mean),
            number(feature.min),
        ];
        cells.extend(SHOWN_QUANTILES.map(quantile));
        cells.push(number(feature.max));
        cells
    });
    let head =
        ["feature", "type", "complete", "mean", "smallest", "5%", "25%", "50%", "75%", "95%", "largest"];
    let table = printer::table(&head, rows);
    format!("{} rows, {} features\n\n{table}", view.rows, view.features.len())
}

/// A share that is not whole does not round to 100 %.
fn percent(share: f64) -> String {
    if (0.9995..1.0).contains(&share) { "<100%".to_owned() } else { format!("{:.1}%", 100.0 * share) }
}
