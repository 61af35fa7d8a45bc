//! `serin container train`: Serin's own training under SageMaker's contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::super::exit::Exit;
use super::super::printer;
use super::super::settings::Overrides;
use super::super::train::train_and_write;

/// Of the hyperparameters: a hundred of SageMaker's longest take less.
const PARAMETERS_BYTES: u64 = 1 << 20;
/// Characters of a failure that SageMaker shows.
const FAILURE_CHARACTERS: usize = 1_024;

/// Hyperparameters that are settings of `[train]`, with the options that they stand for.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("budget", "train.budget", "budget"),
    ("trials", "train.trials", "trials"),
    ("metric", "train.metric", "metric"),
    ("folds", "train.folds", "folds"),
    ("seed", "train.seed", "seed"),
    ("preset", "train.preset", "preset"),
    ("holdout", "data.holdout", "holdout"),
];

/// Trains on the channel `train` (and judges on `test` where there is one); the bundle is `model/model.serin`. A failure is
/// written to `output/failure`.
pub(super) fn run(root: &Path) -> anyhow::Result<Exit> {
    let trained = train(root);
    if let Err(error) = &trained {
        let text: String = format!("{error:#}").chars().take(FAILURE_CHARACTERS).collect();
        let _ = fs::create_dir_all(root.join("output"));
        let _ = fs::write(root.join("output/failure"), text);
    }
    trained
}

fn train(root: &Path) -> anyhow::Result<Exit> {
    let path = root.join("input/config/hyperparameters.json");
    let text = serin_core::files::read_limited(&path, PARAMETERS_BYTES).with_context(|| {
        format!("{}: cannot be read; a training has its hyperparameters there", path.display())
    })?;
    let parameters: BTreeMap<String, Value> = serde_json::from_slice(&text)
        .with_context(|| format!("{}: is no flat JSON object", path.display()))?;
    let text = |name: &str| match parameters.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        other => other.map(ToString::to_string),
    };
    let known = |name: &str| name == "target" || SETTINGS.iter().any(|(known, ..)| *known == name);
    if let Some(name) = parameters.keys().find(|name| !known(name)) {
        let names: Vec<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
        bail!("the hyperparameter {name:?} is not known; there is target, {}", names.join(", "));
    }
    let mut overrides = Overrides::new()
        .list("data.train", &channel(root, "train")?, "the channel train")
        .list("data.test", &channel(root, "test").unwrap_or_default(), "the channel test")
        .set("data.target", text("target"), "the hyperparameter target");
    for (name, key, option) in SETTINGS {
        let Some(value) = text(name) else { continue };
        overrides = match value.parse::<i64>() {
            Ok(number) if !matches!(name, "budget" | "metric" | "preset" | "holdout") => {
                overrides.set(key, Some(number), option)
            }
            _ if name == "holdout" => {
                let share: f64 = value.parse().with_context(|| format!("holdout: {value:?} is no share"))?;
                overrides.set(key, Some(share), option)
            }
            _ => overrides.set(key, Some(value), option),
        };
    }
    let settings = overrides.load(None)?;
    let out = root.join("output/data");
    fs::create_dir_all(&out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let trained = train_and_write(&settings, None, &out)?;
    let model = root.join("model");
    fs::create_dir_all(&model).with_context(|| format!("{}: cannot be made", model.display()))?;
    fs::rename(out.join("model.serin"), model.join("model.serin"))
        .or_else(|_| fs::copy(out.join("model.serin"), model.join("model.serin")).map(|_| ()))
        .context("the model cannot be put into its place")?;
    if !trained.verdict.passed {
        printer::talk(
            "the gates of the settings refuse the model; whoever asked for it judges it by their own",
        );
    }
    Ok(Exit::Done)
}

/// The files of a channel.
fn channel(root: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let folder = root.join("input/data").join(name);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("{}: there is no channel {name}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    if paths.is_empty() {
        bail!("{}: the channel has no file", folder.display());
    }
    Ok(paths.into_iter().map(|path| path.display().to_string()).collect())
}
