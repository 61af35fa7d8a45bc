//! What engine and supervisor say to each other, over one socket: the engine an [`Order`] and later perhaps a [`Word`], the
//! supervisor one [`Report`]; each is a line of JSON. A closed socket says that the other one is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::JobSpec;
use super::outcome::{JobEnd, JobError};

/// Most bytes of an order: the environment and arguments of a process are never longer.
pub(super) const ORDER_LIMIT_BYTES: u64 = 8 << 20;
/// Most bytes of a word.
pub(super) const WORD_LIMIT_BYTES: u64 = 64;
/// Most bytes of a report.
pub(super) const REPORT_LIMIT_BYTES: u64 = 64 << 10;

/// A job as the supervisor is told. Not for debugging: the environment may hold secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub command: Vec<String>,
    pub directory: String,
    pub environment: Vec<(String, String)>,
    pub time_milliseconds: u64,
    pub memory_bytes: u64,
    pub processes: u32,
    pub open_files: u64,
    pub file_bytes: u64,
    pub yields: bool,
}

/// Why the engine wants the job to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    Cancel,
    TooMuchOutput,
}

/// What became of the job.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Report {
    /// It never ran.
    NotStarted { problem: String },
    /// It was ended because nobody could say what it does.
    Unwatchable { problem: String },
    /// It ran, and none of its processes is left but `survivors`, which do not end.
    Ended { end: End, peak_memory_bytes: u64, cpu_milliseconds: u64, survivors: u64 },
}

/// How it ended, without what the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum End {
    Exited(i32),
    Killed(i32),
    TimedOut,
    OutOfMemory,
    TooManyProcesses,
    TooMuchOutput,
    Cancelled,
}

impl Order {
    /// The order for a job; `inherited` are variables of the engine that it gets unless it brings its own.
    pub(super) fn new(spec: &JobSpec, inherited: &[(&str, String)]) -> Result<Self, JobError> {
        if spec.command.first().is_none_or(String::is_empty) {
            return Err(JobError::NoCommand);
        }
        let is_wrong = |name: &str| name.is_empty() || name.contains(['=', '\0']);
        if let Some((name, _)) = spec.environment.iter().find(|(name, _)| is_wrong(name)) {
            return Err(JobError::Name { name: name.chars().take(64).collect() });
        }
        let directory =
            spec.directory.to_str().ok_or_else(|| JobError::Directory { path: spec.directory.clone() })?;
        let is_given = |name: &str| spec.environment.iter().any(|(given, _)| given == name);
        let inherited = inherited.iter().filter(|(name, _)| !is_given(name));
        let mut environment: Vec<_> =
            inherited.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        environment.extend(spec.environment.iter().cloned());
        let limits = spec.limits;
        Ok(Self {
            command: spec.command.clone(),
            directory: directory.to_owned(),
            environment,
            time_milliseconds: u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            open_files: limits.open_files,
            file_bytes: limits.file_bytes,
            yields: limits.yields,
        })
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_millis(self.time_milliseconds)
    }
}

impl End {
    /// The end as told outside, with the limits of the job.
    pub(super) fn told(self, spec: &JobSpec, peak_bytes: u64) -> JobEnd {
        let limits = &spec.limits;
        match self {
            Self::Exited(code) => JobEnd::Exited { code },
            Self::Killed(signal) => JobEnd::Killed { signal },
            Self::TimedOut => JobEnd::TimedOut { limit: limits.time },
            Self::OutOfMemory => JobEnd::OutOfMemory { peak_bytes, limit_bytes: limits.memory_bytes },
            Self::TooManyProcesses => JobEnd::TooManyProcesses { limit: limits.processes },
            Self::TooMuchOutput => JobEnd::TooMuchOutput { limit_bytes: limits.output_bytes },
            Self::Cancelled => JobEnd::Cancelled,
        }
    }
}

/// A message as a line.
pub(super) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}
