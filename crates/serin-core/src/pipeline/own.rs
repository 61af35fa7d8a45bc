//! The user's own programs as steps, under SageMaker's contract for containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::apart::{self, Served};
use super::documents::{BuildOutput, DataFile, DataRole, SourceOutput};
use super::workshop::{WorkFolder, Workshop, disk};
use crate::causes::in_one_line;
use crate::config::CommandSettings;
use crate::digest::Digest;
use crate::engine::{Task, WorkError};
use crate::runtime::JobLimits;
use crate::runtime::contract::{
    Channel, ChannelFile, ContractError, ModelFormat, Processed, ProcessingJob, Trained, TrainingJob,
};
use crate::source::{Tree, materialise};

/// Largest file of rows or results taken from a job.
const FILE_LIMIT_BYTES: u64 = 64 << 30;

/// What the user's own training left.
pub(super) enum Left {
    /// A file that Serin can read, in the folder, and whether it is a bundle.
    Model { is_bundle: bool },
    /// Files that another program reads, kept under their digest, with the arguments for who makes a bundle of them.
    Files { digest: Digest, served: String },
}

/// Trains by the user's own command: rows that are held out stay out of its sight.
pub(super) fn train(
    shop: &Workshop,
    task: &Task<'_>,
    folder: &WorkFolder,
    build: &BuildOutput,
    settings: &CommandSettings,
) -> Result<Left, WorkError> {
    let data = shop.data(task)?;
    let train = match data.iter().any(|file| file.role == DataRole::Test) {
        true => files(folder, &data, DataRole::Train),
        false => {
            shop.run_own(task, folder, &["step", "split"])?.expect("split_failed", &[0])?;
            vec![ChannelFile { name: "train.csv".to_owned(), source: folder.path("out/train.csv") }]
        }
    };
    let parameters = settings.hyperparameters.iter();
    let own = [("target", &build.target), ("seed", &build.seed.to_string())];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.clone().into()));
    let job = TrainingJob {
        name: job_name(task),
        command: settings.command.clone(),
        image: settings.image.clone(),
        // What the settings name wins over what Serin tells besides.
        hyperparameters: own
            .chain(parameters.map(|(name, value)| (name.clone(), value.clone().into())))
            .collect(),
        channels: vec![Channel {
            name: "train".to_owned(),
            content_type: Some("text/csv".to_owned()),
            files: train,
        }],
        environment: variables(settings),
        limits: limits(settings),
    };
    let root = folder.path("ml");
    let spec = job.lay_out(&root).map_err(|error| refused(&error))?;
    code(shop, task, &TrainingJob::code(&root))?;
    let done = shop.run_job(task, &spec)?;
    if let Some(program) = &build.serve {
        let failed = |failure| WorkError::Failed { failure, is_passing: false };
        TrainingJob::check_end(&root, &done.outcome, done.tail.text().as_deref()).map_err(failed)?;
        let digest = apart::keep(shop, &root)?;
        task.log.line(&format!("the command left files {}, which its own program serves", digest.short()));
        let at = |part: &str| PathBuf::from("ml").join(part);
        let code = program.image.is_none().then(|| at("code"));
        let served = Served { program: program.clone(), model: at("model"), code };
        return Ok(Left::Files { digest, served: apart::write(folder, "model", &served)? });
    }
    let collected = TrainingJob::collect(&root, &done.outcome, done.tail.text().as_deref());
    let Trained { model, .. } =
        collected.map_err(|failure| WorkError::Failed { failure, is_passing: false })?;
    task.log.line(&format!("the command left {}", model.name));
    let path = folder.path("trained.model");
    std::fs::write(&path, &model.bytes).map_err(|error| disk("the model", &error))?;
    Ok(Left::Model { is_bundle: model.format == ModelFormat::Bundle })
}

/// Prepares rows: `processing/input/data` in, `processing/output/{train,test}` out.
pub(super) fn prepare(
    shop: &Workshop,
    task: &Task<'_>,
    folder: &WorkFolder,
    settings: &CommandSettings,
) -> Result<(Vec<DataFile>, Option<String>), WorkError> {
    let data = shop.data_before_preparation(task)?;
    shop.lay_out_data(&folder.path("data"), &data)?;
    let all = data.iter().enumerate().map(|(i, file)| channel_file(folder, i, file)).collect();
    let inputs = vec![channel("data", all)];
    let outputs = ["train", "test"].map(str::to_owned).to_vec();
    let (root, processed) = process(shop, task, folder, settings, inputs, outputs)?;
    let mut prepared = Vec::new();
    for output in processed.outputs {
        let role = if output.name == "test" { DataRole::Test } else { DataRole::Train };
        for file in output.files {
            let (digest, bytes) = shop.artifacts.put_file(&root.join(&file.path), FILE_LIMIT_BYTES)?;
            task.log.line(&format!("{}: {bytes} bytes, {}", file.name, digest.short()));
            prepared.push(DataFile { role, name: file.name, digest, bytes });
        }
    }
    if !prepared.iter().any(|file| file.role == DataRole::Train) {
        let reason = "the preparation left no file in processing/output/train";
        return Err(WorkError::failed("no_rows", reason));
    }
    Ok((prepared, processed.message))
}

/// Evaluates besides Serin: the model, the rows and Serin's numbers in; a message and files out. An exit code other than 0
/// refuses.
pub(super) fn evaluate(
    shop: &Workshop,
    task: &Task<'_>,
    folder: &WorkFolder,
    settings: &CommandSettings,
) -> Result<(Option<String>, BTreeMap<String, Digest>), WorkError> {
    let data = shop.data(task)?;
    let one = |name: &str, source: &str| {
        channel(name, vec![ChannelFile { name: file_name(source), source: folder.path(source) }])
    };
    let rows = data.iter().enumerate().map(|(i, file)| channel_file(folder, i, file)).collect();
    let inputs =
        vec![one("model", "model.serin"), channel("data", rows), one("evaluation", "out/evaluation.json")];
    let (root, processed) = process(shop, task, folder, settings, inputs, vec!["evaluation".to_owned()])?;
    let mut files = BTreeMap::new();
    for file in processed.outputs.into_iter().flat_map(|output| output.files) {
        let (digest, _) = shop.artifacts.put_file(&root.join(&file.path), FILE_LIMIT_BYTES)?;
        files.insert(file.name, digest);
    }
    Ok((processed.message, files))
}

fn process(
    shop: &Workshop,
    task: &Task<'_>,
    folder: &WorkFolder,
    settings: &CommandSettings,
    inputs: Vec<Channel>,
    outputs: Vec<String>,
) -> Result<(PathBuf, Processed), WorkError> {
    let job = ProcessingJob {
        name: job_name(task),
        command: settings.command.clone(),
        image: settings.image.clone(),
        inputs,
        outputs,
        environment: variables(settings),
        limits: limits(settings),
    };
    let root = folder.path("ml");
    let spec = job.lay_out(&root).map_err(|error| refused(&error))?;
    code(shop, task, &ProcessingJob::code(&root))?;
    let done = shop.run_job(task, &spec)?;
    let processed = job.collect(&root, &done.outcome, done.tail.text().as_deref());
    let processed = processed.map_err(|failure| WorkError::Failed { failure, is_passing: false })?;
    if let Some(message) = &processed.message {
        task.log.line(&format!("message: {message}"));
    }
    Ok((root, processed))
}

/// The files that are built, among which the command runs.
fn code(shop: &Workshop, task: &Task<'_>, into: &Path) -> Result<(), WorkError> {
    let source: SourceOutput = shop.input(task, "source")?;
    let tree = Tree::load(&source.tree, &shop.artifacts)?;
    Ok(materialise(&tree, &shop.artifacts, into)?)
}

fn files(folder: &WorkFolder, data: &[DataFile], role: DataRole) -> Vec<ChannelFile> {
    let of_role = data.iter().enumerate().filter(|(_, file)| file.role == role);
    of_role.map(|(i, file)| channel_file(folder, i, file)).collect()
}

fn channel_file(folder: &WorkFolder, position: usize, file: &DataFile) -> ChannelFile {
    let name = file.work_name(position);
    ChannelFile { source: folder.path("data").join(&name), name }
}

fn channel(name: &str, files: Vec<ChannelFile>) -> Channel {
    Channel { name: name.to_owned(), content_type: None, files }
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// The same for every attempt, as SageMaker's names are for a job.
fn job_name(task: &Task<'_>) -> String {
    format!("run-{}-{}", task.run.number, task.plan.name)
}

fn variables(settings: &CommandSettings) -> Vec<(String, String)> {
    settings.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn limits(settings: &CommandSettings) -> JobLimits {
    JobLimits {
        time: settings.time_limit,
        memory_bytes: settings.memory_limit_bytes,
        processes: settings.processes,
        output_bytes: settings.output_limit_bytes,
        ..JobLimits::default()
    }
}

fn refused(error: &ContractError) -> WorkError {
    match error.may_retry() {
        true => WorkError::passing("disk", in_one_line(error)),
        false => WorkError::failed("configuration", in_one_line(error)),
    }
}
