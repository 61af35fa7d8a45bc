//! `serin drift`: rows beside a baseline. With files no server is asked; without, the last look of the control plane is
//! shown.

mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serin_core::stages::expand;
use serin_ml::dataset::{DatasetError, ReadOptions, read_batches};
use serin_ml::drift::{
    BaselineRows, Bins, CompareOptions, Comparison, CurrentRows, Damage, Reference, Verdict, compare,
};
use serin_ml::model::Bundle;
use serin_ml::observer::Observer;
use serin_ml::profile::DatasetProfile;
use serin_ml::train::model_importances;

pub use self::words::{told, verdict_line};
use super::control::args::DriftArgs;
use super::exit::Exit;
use super::watch::Watch;
use super::{files, printer};
use crate::web::drift as page;

/// A baseline with what else is known of its model.
struct Baseline {
    profile: DatasetProfile,
    damage: Damage,
    /// Columns that are no features.
    ignore: Vec<String>,
    missing: Vec<String>,
}

/// Compares, or shows the last look.
pub fn run(args: &DriftArgs) -> anyhow::Result<Exit> {
    match (&args.baseline, args.current.is_empty()) {
        (Some(baseline), false) => compare_files(args, baseline),
        (None, true) => super::control::last_look(args),
        _ => bail!(
            "two sets of rows are compared: give --baseline and --current, or neither for the last look"
        ),
    }
}

fn compare_files(args: &DriftArgs, baseline: &Path) -> anyhow::Result<Exit> {
    let watch = Watch::start(None);
    let before = read_baseline(args, baseline, &watch)?;
    let classes: Vec<String> = Vec::new();
    let bins = Bins::of(&before.profile, &classes);
    let mut current = CurrentRows::new(&bins);
    let paths = expand(&args.current.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    let options = options(before.ignore.clone(), before.missing.clone());
    let read = read_batches(&paths, &options, &watch, &mut |batch| {
        current.add(&batch);
        true
    });
    watch.finish();
    match read {
        Ok(warnings) => warnings.iter().for_each(|warning| printer::talk(&format!("warning: {warning}"))),
        // No rows are what the comparison says.
        Err(DatasetError::TooFewRows { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let defaults = CompareOptions::default();
    let options = CompareOptions {
        false_alarm: args.false_alarm.unwrap_or(defaults.false_alarm),
        least_rows: args.min_rows.unwrap_or(defaults.least_rows),
        least_shift: args.least_shift.unwrap_or(defaults.least_shift),
    };
    let mut comparison =
        compare(&Reference::of(&bins, &before.profile)?, current.window(), None, &before.damage, &options)?;
    current.note_columns(&mut comparison);
    if let Some(path) = &args.html {
        let inputs: Vec<&Path> = args.current.iter().map(Path::new).chain([baseline]).collect();
        files::check_output(path, &inputs)?;
        let title = format!("{} beside {}", args.current.join(", "), baseline.display());
        let html = page::render(&title, &verdict_line(&comparison), &comparison)?;
        serin_core::files::publish(path, html.as_bytes())
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    if args.look.json {
        printer::data(&serde_json::to_string_pretty(&comparison)?)?;
    } else {
        printer::data(&told(&comparison, args.all))?;
    }
    Ok(exit(&comparison))
}

/// Drift found, none, or not measured: "could not say" is never "none".
#[must_use]
pub fn exit(comparison: &Comparison) -> Exit {
    match &comparison.verdict {
        Verdict::Stable => Exit::Done,
        Verdict::Changed => Exit::DriftFound,
        Verdict::Insufficient { .. } => Exit::NotMeasured,
    }
}

/// Of a model its own; of rows their profile.
fn read_baseline(args: &DriftArgs, path: &Path, observer: &dyn Observer) -> anyhow::Result<Baseline> {
    let mut ignore = args.ignore.clone();
    ignore.extend(args.target.clone());
    if is_bundle(path) {
        let bundle: Bundle = files::read_bundle(path)?;
        let names: Vec<String> = bundle.card.schema.names().map(str::to_owned).collect();
        let damage = Damage::of(model_importances(&bundle.predictor, &names));
        ignore.push(bundle.card.target.clone());
        let missing = bundle.card.missing.clone();
        let Some(profile) = bundle.baseline else {
            bail!(
                "{}: the model has no baseline: it was trained elsewhere; give rows, as --baseline train.csv",
                path.display()
            );
        };
        return Ok(Baseline { profile, damage, ignore, missing });
    }
    let missing = ReadOptions::default().missing;
    let mut rows = BaselineRows::default();
    let mut wrong = None;
    let paths = expand(&[path.to_owned()])?;
    let read = read_batches(&paths, &options(ignore.clone(), missing.clone()), observer, &mut |batch| {
        wrong = rows.add(&batch).err();
        wrong.is_none()
    });
    if let Some(wrong) = wrong {
        bail!("{}: {wrong}", path.display());
    }
    read?;
    let profile = rows.finish().with_context(|| format!("{}: has no rows", path.display()))?;
    Ok(Baseline { profile, damage: Damage::default(), ignore, missing })
}

fn options(ignore: Vec<String>, missing: Vec<String>) -> ReadOptions {
    ReadOptions { target_required: false, ignore, missing, ..ReadOptions::default() }
}

fn is_bundle(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 6];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head == b"SERIN\0"
}
