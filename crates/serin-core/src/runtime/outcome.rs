//! How a job ended.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::container::EngineError;
use crate::domain::Failure;

/// The signal that a process gets for a file larger than it may write (SIGXFSZ).
const FILE_TOO_LARGE: i32 = 25;

/// A job's end, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOutcome {
    pub end: JobEnd,
    /// Most memory of all its processes together, as seen in looks some 50 ms apart; 0 for a job shorter than that.
    pub peak_memory_bytes: u64,
    /// Processor time of all its processes that ended in an orderly way.
    pub cpu_time: Duration,
    /// From start to end.
    pub elapsed: Duration,
    /// What it printed, kept or not.
    pub output_bytes: u64,
}

/// Why a job ended. Limits come with what was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// By itself. What it left running in the background was stopped.
    Exited {
        code: i32,
    },
    /// By a signal that was not the runtime's.
    Killed {
        signal: i32,
    },
    TimedOut {
        limit: Duration,
    },
    OutOfMemory {
        peak_bytes: u64,
        limit_bytes: u64,
    },
    TooManyProcesses {
        limit: u32,
    },
    TooMuchOutput {
        limit_bytes: u64,
    },
    /// Somebody asked for it.
    Cancelled,
}

/// Why a job could not be carried out: not how it ended.
#[derive(Debug, Error)]
pub enum JobError {
    #[error("a job needs a command")]
    NoCommand,
    #[error("{name:?} cannot be the name of an environment variable")]
    Name { name: String },
    #[error("{}: the folder's name is not UTF-8", path.display())]
    Directory { path: PathBuf },
    /// Most often there is no such program.
    #[error("{program} cannot be started: {problem}")]
    Start { program: String, problem: String },
    #[error("{}: the supervisor of the job cannot be started", program.display())]
    NoSupervisor { program: PathBuf, source: io::Error },
    /// Its processes were stopped.
    #[error("the supervisor of the job ended before the job did")]
    SupervisorLost,
    /// It was stopped for that.
    #[error("the job cannot be watched: {problem}")]
    Unwatchable { problem: String },
    /// They hang in the kernel, most often in a file system that does not answer.
    #[error("{processes} processes of the job did not end when they were killed")]
    Survivors { processes: u64 },
    /// It is of a runtime of processes.
    #[error("{image} is a container image, and this runs processes only")]
    NoContainers { image: String },
    #[error(transparent)]
    Container(#[from] EngineError),
}

impl JobOutcome {
    /// Whether the command ended by itself and says that it did its work.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == JobEnd::Exited { code: 0 }
    }
}

impl JobEnd {
    /// A stable code for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Exited { .. } => "exit_code",
            Self::Killed { signal: FILE_TOO_LARGE } => "file_limit",
            Self::Killed { .. } => "signal",
            Self::TimedOut { .. } => "time_limit",
            Self::OutOfMemory { .. } => "memory_limit",
            Self::TooManyProcesses { .. } => "process_limit",
            Self::TooMuchOutput { .. } => "output_limit",
            Self::Cancelled => "cancelled",
        }
    }
}

impl JobError {
    /// A stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCommand | Self::Name { .. } | Self::Directory { .. } => "invalid_job",
            Self::Start { .. } => "start",
            Self::NoSupervisor { .. } | Self::SupervisorLost | Self::Unwatchable { .. } => "supervisor",
            Self::Survivors { .. } => "survivors",
            Self::NoContainers { .. } => "no_container_engine",
            Self::Container(error) => error.code(),
        }
    }

    /// Whether another attempt may go better: the machine's fault, not the job's.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Container(error) => error.may_retry(),
            Self::NoSupervisor { .. }
            | Self::SupervisorLost
            | Self::Unwatchable { .. }
            | Self::Survivors { .. } => true,
            Self::NoCommand
            | Self::Name { .. }
            | Self::Directory { .. }
            | Self::Start { .. }
            | Self::NoContainers { .. } => false,
        }
    }
}

/// The reason, without what the job itself said.
impl From<JobEnd> for Failure {
    fn from(end: JobEnd) -> Self {
        Self::new(end.code(), format!("the command {end}"))
    }
}

impl fmt::Display for JobEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "ended with exit code {code}"),
            Self::Killed { signal: FILE_TOO_LARGE } => {
                f.write_str("was killed because it wrote a file larger than its limit")
            }
            Self::Killed { signal: 9 } => {
                f.write_str("was killed by signal 9 (SIGKILL), as happens when the machine is out of memory")
            }
            Self::Killed { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::TimedOut { limit } => {
                write!(f, "ran longer than its limit of {} s", limit.as_secs_f64())
            }
            Self::OutOfMemory { peak_bytes, limit_bytes } => {
                write!(
                    f,
                    "used {} of memory, more than its limit of {}",
                    Size(*peak_bytes),
                    Size(*limit_bytes)
                )
            }
            Self::TooManyProcesses { limit } => write!(f, "had more processes than its limit of {limit}"),
            Self::TooMuchOutput { limit_bytes } => {
                write!(f, "printed more than its limit of {}", Size(*limit_bytes))
            }
            Self::Cancelled => f.write_str("was cancelled"),
        }
    }
}

/// Bytes in words.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 30 => write!(f, "{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
            bytes if bytes >= 1 << 20 => write!(f, "{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// The names that people know.
fn signal_name(signal: i32) -> Option<&'static str> {
    let names = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (8, "SIGFPE"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words_and_codes() {
        for (end, code, words) in [
            (JobEnd::Exited { code: 3 }, "exit_code", "ended with exit code 3"),
            (JobEnd::Killed { signal: 11 }, "signal", "was killed by signal 11 (SIGSEGV)"),
            (JobEnd::Killed { signal: 35 }, "signal", "was killed by signal 35"),
            (JobEnd::Killed { signal: 25 }, "file_limit", "wrote a file larger"),
            (JobEnd::TimedOut { limit: Duration::from_millis(1_500) }, "time_limit", "its limit of 1.5 s"),
            (
                JobEnd::OutOfMemory { peak_bytes: 9 << 29, limit_bytes: 100 << 20 },
                "memory_limit",
                "used 4.5 GiB of memory, more than its limit of 100.0 MiB",
            ),
            (JobEnd::TooManyProcesses { limit: 256 }, "process_limit", "its limit of 256"),
            (JobEnd::TooMuchOutput { limit_bytes: 10 }, "output_limit", "more than its limit of 10 bytes"),
            (JobEnd::Cancelled, "cancelled", "was cancelled"),
        ] {
            let failure = Failure::from(end);
            assert_eq!(failure.code, code);
            assert!(
                failure.reason.starts_with("the command ") && failure.reason.contains(words),
                "{failure:?}"
            );
        }
    }
}
