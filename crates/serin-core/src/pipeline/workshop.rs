//! What works share: documents in and out, a folder to work in, jobs, and the gateway's address.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle};

use super::PipelineOptions;
use super::documents::{BuildOutput, DataFile, FORMAT, PrepareOutput, RegisterOutput, Versioned};
use super::request::DeployRequest;
use crate::artifacts::{ArtifactError, Artifacts};
use crate::capture::Serving;
use crate::causes::in_one_line;
use crate::digest::Digest;
use crate::domain::{ModelVersion, Run, RunKind, RunNumber, VersionNumber};
use crate::engine::{Task, WorkError};
use crate::routes::RoutesFile;
use crate::runtime::container::EngineError;
use crate::runtime::{JobEnd, JobError, JobLimits, JobOutcome, JobRuntime, JobSpec, OutputLine, OutputTail};

/// Largest document of a step.
const DOCUMENT_LIMIT_BYTES: u64 = 256 << 20;
/// The name of the settings in a work folder.
pub(super) const SETTINGS_FILE: &str = "serin.toml";

/// What works share.
#[derive(Debug)]
pub struct Workshop {
    pub(super) data_directory: PathBuf,
    pub(super) artifacts: Arc<Artifacts>,
    pub(super) jobs: Arc<dyn JobRuntime>,
    pub(super) program: PathBuf,
    pub(super) routes: Arc<RoutesFile>,
}

/// Where the gateway of a data directory answers.
#[derive(Debug, Clone)]
pub struct GatewayAddress {
    /// Of rows.
    pub url: String,
    /// Of health, metrics and routes.
    pub admin: String,
}

/// A folder of an attempt, gone with it.
#[derive(Debug)]
pub(super) struct WorkFolder(PathBuf);

/// A job that ran: how it ended, and what it printed last.
pub(super) struct JobDone {
    pub(super) outcome: JobOutcome,
    pub(super) tail: OutputTail,
}

impl Workshop {
    pub(super) fn new(options: PipelineOptions) -> Self {
        let PipelineOptions { data_directory, artifacts, jobs, program, routes } = options;
        Self { data_directory, artifacts, jobs, program, routes }
    }

    /// Stores a document; its digest is a step's output.
    pub(super) fn put<T: Serialize>(&self, document: T) -> Result<Digest, WorkError> {
        let bytes = serde_json::to_vec(&Versioned { version: FORMAT, document }).map_err(|error| {
            WorkError::failed("internal", format!("a document cannot be written: {error}"))
        })?;
        Ok(self.artifacts.put(&bytes)?)
    }

    /// Reads a document.
    pub(super) fn get<T: DeserializeOwned>(&self, digest: Digest) -> Result<T, WorkError> {
        read_document(&self.artifacts, digest)
    }

    /// The output of an earlier step of the run.
    pub(super) fn input<T: DeserializeOwned>(&self, task: &Task<'_>, step: &str) -> Result<T, WorkError> {
        self.get(task.input(step)?)
    }

    /// What an earlier run made of the same inputs, if the step may take it and all of it is still there.
    pub(super) fn earlier_output(
        &self,
        task: &Task<'_>,
        key: Digest,
    ) -> Result<Option<(RunNumber, Digest)>, WorkError> {
        let Some((run, output)) = task.earlier_output(key)? else { return Ok(None) };
        let Ok(document) = self.get::<serde_json::Value>(output) else { return Ok(None) };
        if self.has_all(&document) {
            return Ok(Some((run, output)));
        }
        task.log.line(&format!("the output of run {run} is gone in part, and made anew"));
        Ok(None)
    }

    /// Whether every artifact that a document names is there. These members name artifacts; other digests are of contents.
    fn has_all(&self, document: &serde_json::Value) -> bool {
        use serde_json::Value;
        let is_there = |value: &Value| {
            value.as_str().and_then(|text| text.parse().ok()).is_none_or(|digest| self.artifacts.has(&digest))
        };
        match document {
            Value::Array(values) => values.iter().all(|value| self.has_all(value)),
            Value::Object(members) => members.iter().all(|(name, value)| match (name.as_str(), value) {
                ("artifact" | "profile" | "digest", value) => is_there(value),
                ("files", Value::Object(files)) => files.values().all(is_there),
                (_, value) => self.has_all(value),
            }),
            _ => true,
        }
    }

    /// The rows of the run: what its preparation made, or what was frozen.
    pub(super) fn data(&self, task: &Task<'_>) -> Result<Vec<DataFile>, WorkError> {
        if task.run.pipeline.step("prepare").is_some() {
            return Ok(self.input::<PrepareOutput>(task, "prepare")?.data);
        }
        self.data_before_preparation(task)
    }

    /// The rows as they were frozen.
    pub(super) fn data_before_preparation(&self, task: &Task<'_>) -> Result<Vec<DataFile>, WorkError> {
        Ok(self.input::<BuildOutput>(task, "build")?.data)
    }

    /// A verified bundle.
    pub(super) fn bundle(&self, artifact: Digest) -> Result<Bundle, WorkError> {
        let bytes = self.artifacts.read(&artifact, BUNDLE_LIMIT_BYTES)?;
        Bundle::decode(&bytes).map_err(|error| WorkError::failed("invalid_model", in_one_line(&error)))
    }

    /// The version that this run brings somewhere.
    pub(super) fn version(&self, task: &Task<'_>) -> Result<ModelVersion, WorkError> {
        let number = match task.run.kind {
            RunKind::Train => self.input::<RegisterOutput>(task, "register")?.number,
            RunKind::Deploy | RunKind::Rollback => deploy_request(task.run)?.version,
        };
        Self::version_called(task, number)
    }

    pub(super) fn version_called(task: &Task<'_>, number: VersionNumber) -> Result<ModelVersion, WorkError> {
        let gone = || WorkError::failed("not_found", format!("version {number} is not in the registry"));
        task.store.version(number)?.ok_or_else(gone)
    }

    /// An empty folder for this attempt.
    pub(super) fn folder(&self, task: &Task<'_>) -> Result<WorkFolder, WorkError> {
        let name = format!("{}-{}", task.run.number, task.hold.lease);
        let path = self.data_directory.join("work").join(name);
        let emptied = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&path),
        };
        emptied.map_err(|error| disk("a work folder", &error))?;
        // A job runs in it, whatever the folder of this program is.
        let path = path.canonicalize().map_err(|error| disk("a work folder", &error))?;
        Ok(WorkFolder(path))
    }

    /// Lays out the frozen settings and data in `folder`, so that `--config serin.toml` is the frozen plan.
    pub(super) fn lay_out(
        &self,
        folder: &WorkFolder,
        build: &BuildOutput,
        data: &[DataFile],
    ) -> Result<(), WorkError> {
        let text = self.artifacts.read(&build.settings, crate::config::FILE_LIMIT_BYTES)?;
        let text = super::build::settings_for(&text, data)?;
        fs::write(folder.path(SETTINGS_FILE), text).map_err(|error| disk("the settings", &error))?;
        self.lay_out_data(&folder.path("data"), data)
    }

    /// Copies rows under names of ours.
    pub(super) fn lay_out_data(&self, folder: &Path, data: &[DataFile]) -> Result<(), WorkError> {
        fs::create_dir_all(folder).map_err(|error| disk("a work folder", &error))?;
        for (position, file) in data.iter().enumerate() {
            self.artifacts.copy_to(&file.digest, &folder.join(file.work_name(position)))?;
        }
        Ok(())
    }

    /// This program with `arguments`, in `folder`, as a process of its own.
    pub(super) fn run_own(
        &self,
        task: &Task<'_>,
        folder: &WorkFolder,
        arguments: &[&str],
    ) -> Result<JobDone, WorkError> {
        let program = self.program.display().to_string();
        let command = std::iter::once(program).chain(arguments.iter().map(|&text| text.to_owned()));
        let limits =
            JobLimits { time: Duration::from_secs(task.plan.time_limit_seconds), ..JobLimits::default() };
        let spec = JobSpec {
            command: command.collect(),
            directory: folder.path(""),
            environment: vec![("SERIN_LOG".to_owned(), "warn".to_owned())],
            limits,
            container: None,
        };
        self.run_job(task, &spec)
    }

    /// Runs a job, its lines going to the step's log.
    pub(super) fn run_job(&self, task: &Task<'_>, spec: &JobSpec) -> Result<JobDone, WorkError> {
        let mut tail = OutputTail::default();
        let mut output = |line: OutputLine| {
            task.log.line(&line.text);
            task.progress(&line.text, 0, 0);
            tail.push(&line.text);
        };
        let outcome = self.jobs.run(spec, task.cancel, &mut output);
        let outcome = outcome.map_err(|error| not_run(&error))?;
        task.log.line(&format!(
            "the job ended: {}; {:.1} s, {:.1} s of processor time, {} MiB at most",
            outcome.end,
            outcome.elapsed.as_secs_f64(),
            outcome.cpu_time.as_secs_f64(),
            outcome.peak_memory_bytes >> 20,
        ));
        if outcome.end == JobEnd::Cancelled {
            return Err(WorkError::Stopped);
        }
        Ok(JobDone { outcome, tail })
    }

    /// Whether the endpoint is routed to this version and no other: somebody may have changed it meanwhile.
    pub(super) fn is_routed(
        task: &Task<'_>,
        endpoint: &str,
        version: VersionNumber,
    ) -> Result<bool, WorkError> {
        let routes = task.store.routes()?;
        let routed =
            routes.as_ref().and_then(|routes| routes.endpoints().iter().find(|found| found.name == endpoint));
        let mut serving =
            routed.into_iter().flat_map(|found| &found.variants).filter(|variant| variant.weight > 0.0);
        Ok(routed.is_some() && serving.all(|variant| variant.model.number == version))
    }

    /// Where the gateway answers.
    pub(super) fn gateway(&self) -> Result<GatewayAddress, WorkError> {
        let absent = || WorkError::passing("gateway_unreachable", "no gateway serves this data directory");
        let serving = Serving::read(&self.data_directory).ok().flatten().ok_or_else(absent)?;
        Ok(GatewayAddress { url: serving.url, admin: serving.admin.ok_or_else(absent)? })
    }
}

/// Reads a document of a step.
///
/// # Errors
/// When the artifact is gone or damaged, or of another format.
pub fn read_document<T: DeserializeOwned>(artifacts: &Artifacts, digest: Digest) -> Result<T, WorkError> {
    let bytes = artifacts.read(&digest, DOCUMENT_LIMIT_BYTES)?;
    let short = digest.short();
    let document: Versioned<T> = serde_json::from_slice(&bytes)
        .map_err(|error| WorkError::failed("damaged", format!("document {short}: {error}")))?;
    if document.version != FORMAT {
        let reason = format!("document {short} has format {}, this program knows {FORMAT}", document.version);
        return Err(WorkError::failed("format", reason));
    }
    Ok(document.document)
}

impl WorkFolder {
    /// A path in the folder; an empty name is the folder itself.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.0.clone() } else { self.0.join(name) }
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a work folder remains");
        }
    }
}

impl JobDone {
    /// The exit code, which is one of `codes`.
    pub(super) fn expect(&self, failure: &str, codes: &[i32]) -> Result<i32, WorkError> {
        match self.outcome.end {
            JobEnd::Exited { code } if codes.contains(&code) => Ok(code),
            JobEnd::Exited { .. } => {
                let said = self.tail.text().unwrap_or_else(|| "it said nothing".to_owned());
                Err(WorkError::failed(failure, format!("{}: {said}", self.outcome.end)))
            }
            end => Err(WorkError::failed(end.code(), end.to_string())),
        }
    }
}

/// Whether no further attempt follows when this one fails.
pub(super) fn is_last_attempt(task: &Task<'_>) -> bool {
    let failures = task.run.step(&task.plan.name).map_or(0, |step| step.failures);
    failures + 1 >= task.plan.retry.attempts
}

/// Another change of the endpoint came between: what it serves now is nobody's to judge here.
pub(super) fn overtaken(endpoint: &str) -> WorkError {
    WorkError::failed("overtaken", format!("{endpoint} was changed by another run or a person meanwhile"))
}

/// What a deployment was asked for.
pub(super) fn deploy_request(run: &Run) -> Result<DeployRequest, WorkError> {
    let read = serde_json::from_value(run.request.clone());
    read.map_err(|error| WorkError::failed("internal", format!("the request of run {}: {error}", run.number)))
}

impl From<ArtifactError> for WorkError {
    fn from(error: ArtifactError) -> Self {
        match &error {
            ArtifactError::StorageFull { .. } => Self::passing("disk_full", in_one_line(&error)),
            ArtifactError::Damaged { .. } => Self::failed("damaged", in_one_line(&error)),
            _ => Self::failed("artifact", in_one_line(&error)),
        }
    }
}

/// A job that could not be carried out.
pub(super) fn not_run(error: &JobError) -> WorkError {
    match error {
        JobError::Container(EngineError::Cancelled) => WorkError::Stopped,
        error if error.may_retry() => WorkError::passing(error.code(), in_one_line(error)),
        error => WorkError::failed(error.code(), in_one_line(error)),
    }
}

pub(super) fn disk(what: &str, error: &std::io::Error) -> WorkError {
    WorkError::passing("disk", format!("{what}: {error}"))
}
