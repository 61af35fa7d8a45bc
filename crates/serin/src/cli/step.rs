//! `serin step`, hidden: the parts of a run that are done by a process of their own. Settings and rows lie frozen in the
//! current folder as the run laid them out; results go to `out/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::Settings;
use serin_core::digest::Digest;
use serin_core::pipeline::apart::Served;
use serin_core::pipeline::documents::{BaselineOutput, DataNote};
use serin_core::stages::{Answers, Terms, check, divide, error_findings, judge, read_options, read_rows};
use serin_ml::dataset::{Dataset, ReadOptions};
use serin_ml::evaluate::{ChampionComparison, Evaluation, Overlap, Side, compare};
use serin_ml::forest::read_foreign;
use serin_ml::matrix::Matrix;
use serin_ml::model::{Apart, Bundle, GoldenRows};
use serin_ml::profile::{DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;

use super::exit::Exit;
use super::settings::Overrides;
use super::train::{check_champion, read};
use super::watch::Watch;
use super::{files, printer};
use crate::fleet::ask::{Said, Server};

/// Rows that a program of the user's own is asked when its model is registered.
const GOLDEN_ROWS: usize = 100;
/// Where results go.
const OUT: &str = "out";

#[derive(Debug, Subcommand)]
pub enum StepCommand {
    /// Profile the training rows, or those given, and check them
    Baseline {
        #[arg(long)]
        rows: Vec<PathBuf>,
    },
    /// Divide the rows into `train.csv` and `test.csv`, as training would
    Split,
    /// Make the bundle of this project of a model that the user's own program left
    Adopt {
        #[arg(long, required_unless_present = "served")]
        model: Option<PathBuf>,
        /// Who answers for a model that Serin cannot read
        #[arg(long, requires = "files")]
        served: Option<PathBuf>,
        /// What that model's files are kept under
        #[arg(long)]
        files: Option<String>,
    },
    /// Judge a model on the frozen hold-out, beside a champion
    Evaluate {
        #[arg(long)]
        model: PathBuf,
        #[arg(long)]
        champion: Option<PathBuf>,
        /// Who answers for the model, when a program of its own does
        #[arg(long)]
        served: Option<PathBuf>,
        /// Who answers for the champion, when a program of its own does
        #[arg(long)]
        champion_served: Option<PathBuf>,
        /// Labelled live rows on which both are compared as well
        #[arg(long)]
        recent: Vec<PathBuf>,
    },
}

/// Does the step.
pub fn run(command: &StepCommand) -> anyhow::Result<Exit> {
    let settings = Overrides::new().load(Some(Path::new("serin.toml")))?;
    fs::create_dir_all(OUT).context("out: cannot be made")?;
    match command {
        StepCommand::Baseline { rows } => baseline(&settings, rows),
        StepCommand::Split => split(&settings),
        StepCommand::Adopt { model: Some(model), .. } => adopt(&settings, model),
        StepCommand::Adopt { model: None, served, files } => {
            let served = served.as_deref().context("name who answers with --served")?;
            adopt_served(&settings, served, files.as_deref().unwrap_or_default())
        }
        StepCommand::Evaluate { model, champion, served, champion_served, recent } => {
            let model = Judge::read(model, served.as_deref())?;
            let champion = champion.as_deref().map(|path| Judge::read(path, champion_served.as_deref()));
            evaluate(&settings, &model, champion.transpose()?.as_ref(), recent)
        }
    }
}

fn baseline(settings: &Settings, baseline_rows: &[PathBuf]) -> anyhow::Result<Exit> {
    let watch = Watch::start(None);
    let (rows, test) = read(settings, &watch)?;
    let (train, test) = divide(settings, &rows, test.as_ref())?;
    watch.finish();
    let found = check(settings, &train, test.as_deref());
    for finding in &found.findings {
        printer::talk(&format!("{:?}: {}", finding.severity, finding.text).to_lowercase());
    }
    let profile = if baseline_rows.is_empty() {
        DatasetProfile::of(&train, &ProfileOptions::default())
    } else {
        let options = ReadOptions {
            expected_schema: Some(train.schema.clone()),
            target_required: false,
            ..read_options(&settings.data)
        };
        let watch = Watch::start(None);
        let rows = files::warned(read_rows(baseline_rows, &options, &watch)?);
        watch.finish();
        printer::talk(&format!("profiled: {} rows of their own", rows.n_rows));
        DatasetProfile::of(&rows, &ProfileOptions::default())
    };
    let profile = serde_json::to_vec(&profile)?;
    files::publish(&Path::new(OUT).join("profile.json"), &profile)?;
    let class_rows = train
        .labels
        .as_ref()
        .map_or_else(BTreeMap::new, |labels| labels.classes.iter().cloned().zip(labels.counts()).collect());
    let summary = BaselineOutput {
        profile: Digest::of(&profile),
        rows: train.n_rows,
        features: train.schema.names().count(),
        class_rows,
        findings: found
            .findings
            .iter()
            .map(|finding| DataNote {
                severity: format!("{:?}", finding.severity).to_lowercase(),
                code: finding.code.to_string(),
                text: finding.text.clone(),
            })
            .collect(),
    };
    files::publish(&Path::new(OUT).join("baseline.json"), &serde_json::to_vec(&summary)?)?;
    Ok(Exit::Done)
}

fn split(settings: &Settings) -> anyhow::Result<Exit> {
    let watch = Watch::start(None);
    let (rows, test) = read(settings, &watch)?;
    let (train, held_out) = divide(settings, &rows, test.as_ref())?;
    watch.finish();
    let target = settings.data.target.as_deref().unwrap_or_default();
    write_rows(&train, target, &Path::new(OUT).join("train.csv"))?;
    if let Some(held_out) = &held_out {
        write_rows(held_out, target, &Path::new(OUT).join("test.csv"))?;
    }
    printer::talk(&format!("{} rows to learn from, {} held out", train.n_rows, rows.n_rows - train.n_rows));
    Ok(Exit::Done)
}

/// The target first, then the features; an empty cell where a value is missing.
fn write_rows(rows: &Dataset, target: &str, path: &Path) -> anyhow::Result<()> {
    let Some(labels) = &rows.labels else { bail!("the rows have no target column") };
    let mut writer =
        csv::Writer::from_path(path).with_context(|| format!("{}: cannot be written", path.display()))?;
    writer.write_record(std::iter::once(target).chain(rows.schema.names()))?;
    for (row, &code) in labels.codes.iter().enumerate() {
        let cells = rows.columns.iter().map(|column| match column[row] {
            value if value.is_nan() => String::new(),
            value => value.to_string(),
        });
        let class = labels.classes.get(code as usize).cloned().unwrap_or_default();
        writer.write_record(std::iter::once(class).chain(cells))?;
    }
    writer.flush()?;
    Ok(())
}

fn adopt(settings: &Settings, model: &Path) -> anyhow::Result<Exit> {
    let watch = Watch::start(None);
    let (rows, test) = read(settings, &watch)?;
    let (train, held_out) = divide(settings, &rows, test.as_ref())?;
    watch.finish();
    let bytes = files::read_bytes(model)?;
    let bundle = if bytes.starts_with(b"SERIN\0") {
        Bundle::decode(&bytes)?
    } else {
        let Some(labels) = &train.labels else { bail!("the rows have no target column") };
        let mut foreign = read_foreign(&bytes)?;
        if foreign.n_features() == train.schema.names().count() {
            let names = || train.schema.names().map(str::to_owned).collect();
            foreign.feature_names.get_or_insert_with(names);
        }
        let golden = held_out.as_deref().unwrap_or(&train).features();
        let golden = GoldenRows { rows: golden, expected: None };
        let golden = (golden.rows.n_columns() == foreign.n_features()).then_some(&golden);
        Bundle::from_foreign(foreign, Some(labels.classes.clone()), &settings.project, golden)?
    };
    files::publish(&Path::new(OUT).join("model.serin"), &bundle.encode()?)?;
    let same_features = bundle.card.schema.names().eq(train.schema.names());
    let same_classes = train.labels.as_ref().is_some_and(|labels| labels.classes == bundle.card.classes);
    if !same_features || !same_classes {
        let what = if same_features { "classes" } else { "features" };
        bail!("the model has other {what} than the rows, or in another order");
    }
    Ok(Exit::Done)
}

/// A bundle around files that only a program of the user's own reads: what it answers is asked of that program.
fn adopt_served(settings: &Settings, served: &Path, files: &str) -> anyhow::Result<Exit> {
    let watch = Watch::start(None);
    let (rows, test) = read(settings, &watch)?;
    let (train, held_out) = divide(settings, &rows, test.as_ref())?;
    watch.finish();
    let Some(labels) = &train.labels else { bail!("the rows have no target column") };
    let x = held_out.as_deref().unwrap_or(&train).features();
    let kept: Vec<usize> =
        (0..x.n_rows().min(GOLDEN_ROWS)).map(|i| i * x.n_rows() / GOLDEN_ROWS.min(x.n_rows())).collect();
    let x = held_out.as_deref().unwrap_or(&train).select_rows(&kept).features();
    let said = ask(served, &labels.classes, &x)?;
    if !said.has_probabilities {
        printer::talk(
            "it names classes without probabilities: confidence, log loss and calibration mean nothing for it; answer \
             `class,p1,...,pk` to have them",
        );
    }
    let bundle = Bundle::from_apart(&Apart {
        name: &settings.project,
        target: settings.data.target.as_deref().unwrap_or_default(),
        train: &train,
        missing: &settings.data.missing,
        classes: &labels.classes,
        files,
        asked: (&x, &said.probabilities, &said.decisions),
        seed: settings.train.seed.0,
    })?;
    files::publish(&Path::new(OUT).join("model.serin"), &bundle.encode()?)?;
    printer::talk(&format!("its own program answered {} rows", x.n_rows()));
    Ok(Exit::Done)
}

/// Has rows answered by a program of the user's own.
fn ask(served: &Path, classes: &[String], x: &Matrix) -> anyhow::Result<Said> {
    let Served { program, model, code } = serde_json::from_slice(&files::read_bytes(served)?)
        .with_context(|| format!("{}: does not say who answers", served.display()))?;
    let own = std::env::current_exe().context("this program cannot find itself")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Server { program, model, code }.ask(&own, &clock, classes, x)
}

/// A bundle, and who answers for it when it cannot itself.
struct Judge {
    bundle: Bundle,
    served: Option<PathBuf>,
}

impl Judge {
    fn read(model: &Path, served: Option<&Path>) -> anyhow::Result<Self> {
        let bundle = files::read_bundle(model)?;
        if bundle.predictor.apart().is_some() && served.is_none() {
            bail!("{}: a program of its own answers for this model; name it with --served", model.display());
        }
        Ok(Self { bundle, served: served.map(Path::to_owned) })
    }

    /// Probabilities and decisions for the rows of `x`.
    fn predict(&self, x: &Matrix) -> anyhow::Result<(Matrix, Vec<u32>)> {
        match &self.served {
            Some(served) => {
                let Said { probabilities, decisions, .. } = ask(served, &self.bundle.card.classes, x)?;
                Ok((probabilities, decisions))
            }
            None => Ok(self.bundle.predictor.predict(x)),
        }
    }
}

/// What the evaluation of one bundle on the hold-out says.
struct Judged {
    evaluation: Evaluation,
    comparison: Option<ChampionComparison>,
    champion: Option<Evaluation>,
    incomparable: Option<String>,
}

fn evaluate(
    settings: &Settings,
    model: &Judge,
    champion: Option<&Judge>,
    recent: &[PathBuf],
) -> anyhow::Result<Exit> {
    let clock = SystemClock::new();
    let watch = Watch::start(None);
    let (rows, test) = read(settings, &watch)?;
    let (train, held_out) = divide(settings, &rows, test.as_ref())?;
    watch.finish();
    let found = check(settings, &train, held_out.as_deref());
    let overlap = match (&held_out, &found.overlap) {
        (None, _) => Overlap::NoTestSet,
        (Some(_), None) => Overlap::NotMeasured,
        (Some(_), Some(overlap)) => Overlap::Share(overlap.share),
    };
    let findings = error_findings(&found);
    let recent = match &champion {
        Some(champion) if !recent.is_empty() => Some(on_recent(settings, model, champion, recent)?),
        _ => None,
    };
    let judged = match &held_out {
        Some(rows) => on_held_out(settings, model, champion, rows, overlap)?,
        // Nothing was held out: the numbers are those of the folds, which only training can know.
        None => {
            let Some(evaluation) = model.bundle.evaluation.clone() else {
                bail!(
                    "nothing was held out, and the model knows no numbers of its own: set data.test or data.holdout"
                );
            };
            let incomparable =
                champion.as_ref().map(|_| "nothing was held out that both could answer".to_owned());
            Judged { evaluation, comparison: None, champion: None, incomparable }
        }
    };
    let document = json!({
        "recent": recent,
        "evaluation": judged.evaluation,
        "is_held_out": held_out.is_some(),
        "overlap": overlap,
        "findings": findings,
        "comparison": judged.comparison,
        "champion": judged.champion,
        "incomparable": judged.incomparable,
    });
    files::publish(&Path::new(OUT).join("evaluation.json"), &serde_json::to_vec(&document)?)?;
    printer::talk(&format!(
        "{} rows judged in {:.1} s",
        judged.evaluation.rows,
        clock.monotonic().as_secs_f64()
    ));
    Ok(Exit::Done)
}

/// Both on labelled live rows. Rows of classes that the model does not know are left out.
fn on_recent(
    settings: &Settings,
    model: &Judge,
    champion: &Judge,
    paths: &[PathBuf],
) -> anyhow::Result<ChampionComparison> {
    let bundle = &model.bundle;
    let options =
        ReadOptions { expected_schema: Some(bundle.card.schema.clone()), ..read_options(&settings.data) };
    let watch = Watch::start(None);
    let rows = files::warned(read_rows(paths, &options, &watch)?);
    watch.finish();
    let Some(labels) = &rows.labels else { bail!("the live rows have no target column") };
    // The file may have fewer classes than the model, in another order.
    let code = |class: &String| bundle.card.classes.iter().position(|known| known == class);
    let codes: Vec<Option<usize>> = labels.classes.iter().map(code).collect();
    let known = |i: &usize| codes.get(labels.codes[*i] as usize).copied().flatten().is_some();
    let kept: Vec<usize> = (0..rows.n_rows).filter(known).collect();
    let truth: Vec<u32> = kept
        .iter()
        .filter_map(|&i| codes[labels.codes[i] as usize].and_then(|code| u32::try_from(code).ok()))
        .collect();
    let beside = &champion.bundle.card;
    if bundle.card.classes != beside.classes || !bundle.card.schema.names().eq(beside.schema.names()) {
        bail!("the champion has other features or classes");
    }
    let x = rows.select_rows(&kept).features();
    let (ours, theirs) = (model.predict(&x)?, champion.predict(&x)?);
    let options = settings.gates.comparison(Seed(settings.train.seed.0));
    Ok(compare(
        &truth,
        Side { decisions: &theirs.1, probabilities: &theirs.0 },
        Side { decisions: &ours.1, probabilities: &ours.0 },
        bundle.card.classes.len(),
        &options,
    ))
}

fn on_held_out(
    settings: &Settings,
    model: &Judge,
    champion: Option<&Judge>,
    rows: &Dataset,
    overlap: Overlap,
) -> anyhow::Result<Judged> {
    let bundle = &model.bundle;
    let Some(labels) = &rows.labels else { bail!("the hold-out has no target column") };
    if !bundle.card.schema.names().eq(rows.schema.names()) || bundle.card.classes != labels.classes {
        bail!("the model has other features or classes than the rows");
    }
    let x = rows.features();
    let (probabilities, decisions) = model.predict(&x)?;
    let incomparable =
        champion.and_then(|champion| check_champion(&champion.bundle, rows).err()).map(|e| e.to_string());
    let champion = champion.filter(|_| incomparable.is_none());
    let theirs = champion.map(|champion| champion.predict(&x)).transpose()?;
    let terms = |bundle: &Bundle| Terms {
        classes: &labels.classes,
        training_priors: bundle.evaluation.as_ref().map(|evaluation| evaluation.majority.priors.clone()),
        overlap,
        findings: &[],
        gates: &settings.gates,
        seed: Seed(settings.train.seed.0),
    };
    let answers = Answers { truth: &labels.codes, decisions: &decisions, probabilities: &probabilities };
    let beside = theirs.as_ref().map(|(probabilities, decisions)| (probabilities, decisions.as_slice()));
    let ours = judge(answers, beside, &terms(bundle));
    let champion = match (champion, &theirs) {
        (Some(champion), Some((probabilities, decisions))) => {
            let answers = Answers { truth: &labels.codes, decisions, probabilities };
            Some(judge(answers, None, &terms(&champion.bundle)).evaluation)
        }
        _ => None,
    };
    Ok(Judged { evaluation: ours.evaluation, comparison: ours.champion, champion, incomparable })
}
