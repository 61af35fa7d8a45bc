//! `serin demo`: the whole story once, on an example or on the user's own file: from a commit to production.

mod client;
mod load;
mod plant;
mod project;
mod rollouts;
mod tell;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serin_core::capture::CaptureOptions;
use serin_core::clock::{Clock as _, SystemClock};
use serin_core::config::Settings;
use serin_core::domain::{Run, RunNumber, RunState};
use serin_core::pipeline::documents::TrainOutput;
use serin_core::pipeline::read_document;
use serin_core::stages::read_rows;
use serin_ml::dataset::{Dataset, ReadOptions};

use super::args::DemoArgs;
use super::exit::Exit;
use super::settings::Overrides;
use super::watch::Watch;
use super::{data, files, printer};
use plant::Plant;

/// Who decides in the demonstration.
const PERSON: &str = "the demo";

/// Tells the story, step by step, and ends with a summary.
pub fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let clock = SystemClock::new();
    let mut story = Story { clock: &clock, step: 0 };

    story.step("A project in a git repository");
    let project = project::write(args)?;
    story.tell(&project.description);

    let settings = Overrides::new().load(Some(&project.config))?;
    story.step("Check the data");
    let (train, rows) = check(&settings, &story)?;

    story.step("The pipeline: a new commit is found, trained, judged, and deployed to dev");
    let plant = Plant::start(&args.dir, &settings)?;
    story.tell(&plant.describe());
    let run = plant.run_after(RunNumber(0), project.is_repository)?;
    let mut told = BTreeSet::new();
    let run = plant.follow(run, &mut told, &|line| story.tell(line))?;
    let mut summary = tell::Summary::new(args);

    let run = match plant.open_approval()? {
        Some(approval) => {
            story.step("A person decides: what would go to production, beside what serves there");
            story.tell(&plant.sheet(&approval)?);
            plant.approve(&approval, PERSON)?;
            story.tell(&format!("approved by {PERSON} (you would type `serin approve {}`)", approval.number));
            plant.follow(run.number, &mut told, &|line| story.tell(line))?
        }
        None => run,
    };
    keep_results(&plant, &run, &args.dir.join("out"))?;
    if run.state == RunState::Succeeded {
        story.step("Production answers real requests");
        let asked = plant.ask(&rows)?;
        story.tell(&asked.text);
        summary.requests = asked.requests;
        summary.loaded(load::tell(&mut story, &plant, &rows)?);
        let outcome = rollouts::tell(&mut story, &plant, &project, run.number, &train, &rows)?;
        summary.rollouts(&outcome);
        let last = outcome.last.unwrap_or(run.number);
        summary.watched(watch::tell(&mut story, &plant, &rows, train.n_rows, last)?);
    }
    summary.run(&run, &plant)?;
    let served = plant.stop()?;
    summary.drained(&served);

    story.step("Every answer is a row in a SQL database");
    story.tell(&tell::rows(&CaptureOptions::new(data_dir(&args.dir)).database())?);

    story.step("Summary");
    story.tell(&summary.text(clock.monotonic().as_secs_f64()));
    // What the gate says of the user's own data is their news, not a failure of the demonstration.
    Ok(Exit::Done)
}

/// The data directory of a demonstration.
fn data_dir(folder: &Path) -> PathBuf {
    folder.join("serin-data")
}

/// Numbers the steps and says when they begin.
struct Story<'a> {
    clock: &'a SystemClock,
    step: usize,
}

impl Story<'_> {
    fn step(&mut self, title: &str) {
        self.step += 1;
        let seconds = self.clock.monotonic().as_secs_f64();
        let _ = printer::data(&format!("\n{}. {title}  ({seconds:.1} s)\n", self.step));
    }

    fn tell(&self, text: &str) {
        let indented: Vec<String> = text
            .lines()
            .map(|line| if line.is_empty() { String::new() } else { format!("   {line}") })
            .collect();
        let _ = printer::data(&indented.join("\n"));
    }
}

/// Reads the training rows, and those that will be sent, after showing what the checks find.
fn check(settings: &Settings, story: &Story<'_>) -> anyhow::Result<(Dataset, Dataset)> {
    let watch = Watch::start(None);
    let options = serin_core::stages::read_options(&settings.data);
    let train = files::warned(read_rows(&settings.data.train, &options, &watch)?);
    let test = if settings.data.test.is_empty() {
        None
    } else {
        let options = ReadOptions {
            expected_schema: Some(train.schema.clone()),
            expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
            ..options
        };
        Some(read_rows(&settings.data.test, &options, &watch)?.dataset)
    };
    let found = serin_core::stages::check(settings, &train, test.as_ref());
    watch.finish();
    story.tell(data::summary(&train, test.as_ref(), &found).trim_end());
    let rows = test.unwrap_or_else(|| train.clone());
    Ok((train, rows))
}

/// Copies the model and its report out of the artifact store, for people to open.
fn keep_results(plant: &Plant, run: &Run, out: &Path) -> anyhow::Result<()> {
    let Some(output) = run.output("train") else { return Ok(()) };
    let trained: TrainOutput = read_document(plant.artifacts(), output)?;
    std::fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let model = [("model.serin".to_owned(), trained.artifact)];
    for (name, digest) in trained.files.into_iter().chain(model) {
        plant.artifacts().copy_to(&digest, &out.join(name))?;
    }
    Ok(())
}
