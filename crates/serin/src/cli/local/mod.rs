//! `serin local`: a container or a command tried by hand, as a step of a pipeline would run it.

mod serve;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use serin_core::clock::SystemClock;
use serin_core::config::{ImageSettings, Pull};
use serin_core::domain::Failure;
use serin_core::runtime::container::ContainerReplicas;
use serin_core::runtime::contract::{Channel, ChannelFile, ProcessingJob, TrainingJob};
use serin_core::runtime::{
    Cancel, JobEnd, JobLimits, JobOutcome, JobRuntime as _, JobSpec, LocalJobs, OutputLine, OutputTail,
    ResultFolder, ResultLimits,
};
use serin_core::stages::expand;

use super::args::{JobFilesArgs, LocalCommand, LocalProcessArgs, LocalTrainArgs, ProgramArgs};
use super::exit::{Exit, Interrupted};
use super::printer;

/// Whose the containers are that were started by hand.
pub(super) const OWNER: &str = "local";
/// What a job is called that was started by hand.
const NAME: &str = "local";
/// Most files and bytes that a command runs among.
const CODE_LIMITS: ResultLimits = ResultLimits { files: 10_000, bytes: 1 << 30, depth: 32 };

/// Runs one of the commands.
pub(super) fn run(command: &LocalCommand) -> anyhow::Result<Exit> {
    match command {
        LocalCommand::Train(args) => train(args),
        LocalCommand::Process(args) => process(args),
        LocalCommand::Serve(args) => serve::run(args),
    }
}

fn train(args: &LocalTrainArgs) -> anyhow::Result<Exit> {
    let root = root(&args.files.out)?;
    let job = TrainingJob {
        name: NAME.to_owned(),
        command: args.program.command.clone(),
        image: args.program.image(),
        hyperparameters: args
            .hyperparameters
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect(),
        channels: vec![channel(&args.channel, &args.files)?],
        environment: args.program.environment.clone(),
        limits: limits(&args.program, &args.files),
    };
    let spec = job.lay_out(&root).map_err(|error| undone(&root, error.into()))?;
    code(&args.files, &TrainingJob::code(&root))?;
    let (outcome, tail) = carry_out(&spec)?;
    let collected = TrainingJob::collect(&root, &outcome, tail.text().as_deref());
    let failure = match collected {
        Ok(trained) => {
            tell(&outcome, &format!("model {} is one that Serin reads", trained.model.name));
            return list(&root, &["model", "output"]);
        }
        Err(failure) => failure,
    };
    let left = ResultFolder::new(root.clone()).list(Path::new("model"), &CODE_LIMITS);
    match left {
        // A model of another kind: who made it can serve it.
        Ok(files) if outcome.succeeded() && !files.is_empty() => {
            let note = "Serin reads none of these files as a model; an image that does can serve them (serin local serve)";
            tell(&outcome, note);
            list(&root, &["model", "output"])
        }
        _ => failed(&failure, &outcome),
    }
}

fn process(args: &LocalProcessArgs) -> anyhow::Result<Exit> {
    let root = root(&args.files.out)?;
    let job = ProcessingJob {
        name: NAME.to_owned(),
        command: args.program.command.clone(),
        image: args.program.image(),
        inputs: vec![channel(&args.input, &args.files)?],
        outputs: args.outputs.clone(),
        environment: args.program.environment.clone(),
        limits: limits(&args.program, &args.files),
    };
    let spec = job.lay_out(&root).map_err(|error| undone(&root, error.into()))?;
    code(&args.files, &ProcessingJob::code(&root))?;
    let (outcome, tail) = carry_out(&spec)?;
    match job.collect(&root, &outcome, tail.text().as_deref()) {
        Ok(processed) => {
            let message =
                processed.message.map_or_else(|| "no message".to_owned(), |text| format!("message: {text}"));
            tell(&outcome, &printer::visible(&message));
            list(&root, &["processing/output", "output"])
        }
        Err(failure) => failed(&failure, &outcome),
    }
}

/// Carries out a job, its lines on the terminal.
fn carry_out(spec: &JobSpec) -> anyhow::Result<(JobOutcome, OutputTail)> {
    let program = std::env::current_exe().context("where this program is cannot be found out")?;
    let jobs = LocalJobs::new(&program, OWNER.to_owned(), Arc::new(SystemClock::new()));
    if spec.container.is_some() {
        sweep(&jobs);
    }
    let cancel = cancel_at_interrupt();
    let mut tail = OutputTail::default();
    let mut output = |line: OutputLine| {
        tail.push(&line.text);
        printer::talk(&printer::visible(&line.text.replace('\t', "    ")));
    };
    let outcome = jobs.run(spec, &cancel, &mut output)?;
    match outcome.end {
        JobEnd::Cancelled => Err(Interrupted.into()),
        _ => Ok((outcome, tail)),
    }
}

/// Removes what earlier commands left that were killed.
fn sweep(jobs: &LocalJobs) {
    let removed = jobs.containers().sweep().and_then(|jobs| Ok(jobs + ContainerReplicas::sweep(OWNER)?));
    match removed {
        Ok(0) => {}
        Ok(removed) => printer::talk(&format!("serin: removed {removed} containers of earlier commands")),
        // The job itself will say what is wrong.
        Err(_) => {}
    }
}

/// Ctrl-C asks for the end; a second one does not wait for it.
fn cancel_at_interrupt() -> Cancel {
    let cancel = Cancel::default();
    let wish = cancel.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            printer::talk("serin: stopping; again to stop at once");
            wish.request();
        }
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    cancel
}

/// The job's folder, made.
fn root(out: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("{}: cannot be used", out.display());
    fs::create_dir_all(out).with_context(cannot)?;
    if fs::read_dir(out).with_context(cannot)?.next().is_some() {
        bail!("{} is not empty; name another --out, or remove it", out.display());
    }
    out.canonicalize().with_context(cannot)
}

/// What could not be laid out leaves nothing that the next attempt would stumble over.
fn undone(root: &Path, error: anyhow::Error) -> anyhow::Error {
    let _ = fs::remove_dir_all(root);
    error
}

fn channel(name: &str, files: &JobFilesArgs) -> anyhow::Result<Channel> {
    let mut given = Vec::new();
    for path in expand(&files.data)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| anyhow!("{}: the name is not UTF-8", path.display()))?;
        given.push(ChannelFile { name: name.to_owned(), source: path.clone() });
    }
    let content_type = given.first().map(|file| content_type(&file.name).to_owned());
    Ok(Channel { name: name.to_owned(), content_type, files: given })
}

/// What a file is, by its name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "csv" => "text/csv",
        "json" => "application/json",
        "jsonl" => "application/jsonlines",
        "parquet" => "application/x-parquet",
        _ => "application/octet-stream",
    }
}

/// The files that the command runs among: those of `--code`.
fn code(files: &JobFilesArgs, into: &Path) -> anyhow::Result<()> {
    let Some(from) = &files.code else { return Ok(()) };
    let found = ResultFolder::new(from.clone()).list(Path::new(""), &CODE_LIMITS);
    let found = found.with_context(|| format!("{}: cannot be copied", from.display()))?;
    for file in found.iter().filter(|file| !file.name.starts_with(".git/")) {
        let to = into.join(&file.name);
        let copied = to
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::copy(from.join(&file.path), &to));
        copied.with_context(|| format!("{}: cannot be copied", from.join(&file.path).display()))?;
    }
    Ok(())
}

fn limits(program: &ProgramArgs, files: &JobFilesArgs) -> JobLimits {
    JobLimits {
        time: files.time_limit,
        memory_bytes: program.memory,
        processes: program.processes,
        output_bytes: files.output_limit,
        ..JobLimits::default()
    }
}

impl ProgramArgs {
    /// The image with what its container may do.
    pub(super) fn image(&self) -> Option<ImageSettings> {
        let plain = ImageSettings::plain(self.image.clone()?);
        Some(ImageSettings {
            pull: if self.pull { Pull::Missing } else { Pull::Never },
            network: self.network,
            writable: self.writable.clone(),
            cpus: self.cpus,
            gpus: self.gpus.clone(),
            ..plain
        })
    }
}

fn tell(outcome: &JobOutcome, what: &str) {
    printer::talk(&format!(
        "serin: the command {}; {:.1} s, {} MiB at most; {what}",
        outcome.end,
        outcome.elapsed.as_secs_f64(),
        outcome.peak_memory_bytes >> 20
    ));
}

/// The files that it left, one a line.
fn list(root: &Path, folders: &[&str]) -> anyhow::Result<Exit> {
    let results = ResultFolder::new(root.to_owned());
    let mut lines = Vec::new();
    for folder in folders {
        let files = results.list(Path::new(folder), &CODE_LIMITS)?;
        lines.extend(files.iter().map(|file| root.join(&file.path).display().to_string()));
    }
    if !lines.is_empty() {
        printer::data(&lines.join("\n"))?;
    }
    Ok(Exit::Done)
}

fn failed(failure: &Failure, outcome: &JobOutcome) -> anyhow::Result<Exit> {
    let hint = match failure.code.as_str() {
        "no_model" => "; it must leave its model in /opt/ml/model (SM_MODEL_DIR)",
        "memory_limit" => "; raise --memory",
        "time_limit" => "; raise --time-limit",
        "process_limit" => "; raise --processes",
        "output_limit" => "; raise --output-limit",
        _ => "",
    };
    let reason = printer::visible(&failure.reason.replace('\n', " | "));
    printer::talk(&format!(
        "serin: {reason} [{}] after {:.1} s{hint}",
        failure.code,
        outcome.elapsed.as_secs_f64()
    ));
    Ok(Exit::Failed)
}
