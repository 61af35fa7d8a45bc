//! `serin import`

use std::path::Path;

use anyhow::{Context as _, bail};
use serin_ml::dataset::{Dataset, ReadOptions, read};
use serin_ml::forest::{ForeignFormat, ForeignModel, read_foreign};
use serin_ml::matrix::Matrix;
use serin_ml::model::{Bundle, GoldenRows};

use super::args::{ImportArgs, ImportFormat};
use super::exit::Exit;
use super::watch::Watch;
use super::{files, printer};

/// Makes a bundle of a model that another program trained, after comparing its answers where rows are given.
pub fn run(args: &ImportArgs) -> anyhow::Result<Exit> {
    let unusable = || format!("{}: not usable as a model", args.model.display());
    let golden_file = args.golden.as_deref().unwrap_or(&args.model);
    files::check_output(&args.out, &[&args.model, golden_file])?;
    let model = read_foreign(&files::read_bytes(&args.model)?).with_context(unusable)?;
    if !is_asked_for(args.format, model.format) {
        bail!("{}: this is {}, not what --format says", args.model.display(), model.format);
    }
    let golden = args.golden.as_deref().map(|path| golden_rows(path, &model, args.classes.as_deref()));
    let golden = golden.transpose()?;
    let name = args.name.clone().unwrap_or_else(|| files::stem(&args.model));
    let bundle =
        Bundle::from_foreign(model, args.classes.clone(), &name, golden.as_ref()).with_context(unusable)?;
    files::publish(&args.out, &bundle.encode()?)?;
    let card = &bundle.card;
    let (features, classes) = (card.schema.fields.len(), card.classes.len());
    let verified = match &card.lineage.imported {
        Some(imported) if imported.compared_rows > 0 => {
            format!("answers {} golden rows as its trainer does", imported.compared_rows)
        }
        _ => "unverified: no golden rows with the answers of its trainer were given".to_owned(),
    };
    printer::talk(&format!(
        "{}: {name}, {features} features, {classes} classes, {verified}",
        args.out.display()
    ));
    printer::data(bundle.digest())?;
    Ok(Exit::Done)
}

fn is_asked_for(asked: ImportFormat, found: ForeignFormat) -> bool {
    match asked {
        ImportFormat::Auto => true,
        ImportFormat::Lightgbm => found == ForeignFormat::LightgbmText,
        ImportFormat::Xgboost => found != ForeignFormat::LightgbmText,
    }
}

/// Rows with a column for each feature, and for each class one called `p_CLASS` where answers are expected.
fn golden_rows(path: &Path, model: &ForeignModel, classes: Option<&[String]>) -> anyhow::Result<GoldenRows> {
    let options = ReadOptions { target_required: false, ..ReadOptions::default() };
    let watch = Watch::start(None);
    let rows = read(&[path.to_owned()], &options, &watch);
    watch.finish();
    let rows = files::warned(rows?);
    let names: Vec<String> = match &model.feature_names {
        Some(names) => names.clone(),
        None => (0..model.n_features()).map(|feature| format!("f{feature}")).collect(),
    };
    let classes: Vec<String> = match classes {
        Some(classes) => classes.to_vec(),
        None => (0..model.n_classes()).map(|class| class.to_string()).collect(),
    };
    let answers: Vec<String> = classes.iter().map(|class| format!("p_{class}")).collect();
    let has_answers = answers.iter().any(|name| rows.schema.position(name).is_some());
    let pick = |names: &[String]| {
        columns(&rows, names).with_context(|| format!("{}: not usable as golden rows", path.display()))
    };
    Ok(GoldenRows { rows: pick(&names)?, expected: has_answers.then(|| pick(&answers)).transpose()? })
}

fn columns(rows: &Dataset, names: &[String]) -> anyhow::Result<Matrix> {
    let position = |name: &String| rows.schema.position(name).with_context(|| format!("no column {name:?}"));
    let positions = names.iter().map(position).collect::<anyhow::Result<Vec<usize>>>()?;
    Ok(rows.features().select_columns(&positions))
}
