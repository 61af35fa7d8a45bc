//! What a job is, and who carries it out.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::outcome::{JobError, JobOutcome};
use crate::config::ImageSettings;

/// A command to carry out.
#[derive(Clone)]
pub struct JobSpec {
    /// The program and its arguments, at least the program; without it a container does what its image says. A name
    /// without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// The folder the command runs in, as the job sees it; what an image brings runs where the image says.
    pub directory: PathBuf,
    /// All of its environment: nothing is inherited. Only `PATH` and `LANG`, which belong to the place where it runs, are
    /// the runtime's unless they are given.
    pub environment: Vec<(String, String)>,
    pub limits: JobLimits,
    /// Runs in a container; `None`: as processes of this machine.
    pub container: Option<JobContainer>,
}

/// The container that a job runs in.
#[derive(Debug, Clone, PartialEq)]
pub struct JobContainer {
    pub image: ImageSettings,
    /// What the image's own program is told, such as `train`; nothing where there is a command.
    pub arguments: Vec<String>,
    /// Later ones may lie within earlier ones.
    pub mounts: Vec<JobMount>,
}

/// A folder of this machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMount {
    pub source: PathBuf,
    pub target: String,
    pub is_writable: bool,
}

/// What a job may use. It ends when it uses more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// From its start to its end.
    pub time: Duration,
    /// Memory of all its processes together; what they share counts once.
    pub memory_bytes: u64,
    /// Processes at one time.
    pub processes: u32,
    /// Standard output and standard error together.
    pub output_bytes: u64,
    /// Open files of one process, at least [`JobLimits::FEWEST_OPEN_FILES`].
    pub open_files: u64,
    /// The largest file that it writes.
    pub file_bytes: u64,
    /// Everything else on the machine comes before it; not before what answers callers.
    pub yields: bool,
}

impl JobLimits {
    /// The supervisor itself needs some.
    pub const FEWEST_OPEN_FILES: u64 = 32;
    /// Between being asked to stop (SIGTERM) and being stopped (SIGKILL): little enough that a cancelled job is gone
    /// within two seconds.
    pub const STOP_GRACE: Duration = Duration::from_millis(1_500);
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(3_600),
            memory_bytes: 8 << 30,
            processes: 256,
            output_bytes: 64 << 20,
            open_files: 4_096,
            file_bytes: 20 << 30,
            yields: true,
        }
    }
}

/// Carries out jobs. Implementations promise: when `run` returns, nothing of the job runs any more; when the process that
/// called it dies, nothing of the job runs a few seconds later, or, in a container, after the next start; the limits hold;
/// a job that is asked to stop has [`JobLimits::STOP_GRACE`] to do so by itself.
pub trait JobRuntime: fmt::Debug + Send + Sync {
    /// Carries out `spec` and waits for its end. Every line goes to `output` as it comes; while `output` takes its time, the
    /// job waits.
    ///
    /// # Errors
    /// When the command could not be started or watched. However it ended once it ran is an outcome.
    fn run(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<JobOutcome, JobError>;

    /// What `image` stands for now, so that later jobs run in that and no other: made of its folder in `project`, or
    /// downloaded, where the settings say so.
    ///
    /// # Errors
    /// When it is not there and cannot be made, or nothing here runs containers.
    fn pin(
        &self,
        image: &ImageSettings,
        project: &Path,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<String, JobError> {
        let _ = (project, cancel, output);
        Err(JobError::NoContainers { image: image.name.to_string() })
    }
}

/// The wish that something ends. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// A line that a job printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    pub stream: OutputStream,
    /// Without its line break. What was not UTF-8 is replaced; a line longer than [`OutputLine::LIMIT_BYTES`] comes as
    /// several.
    pub text: String,
}

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// The last lines of an output, for the reason of a failure.
#[derive(Debug, Clone, Default)]
pub struct OutputTail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Cancel {
    /// Wishes it.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether anybody wished it.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl OutputLine {
    /// Most bytes of a line, before what is not UTF-8 is replaced.
    pub const LIMIT_BYTES: usize = 8 << 10;
}

impl OutputStream {
    /// `stdout` or `stderr`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl OutputTail {
    /// Lines kept at most.
    pub const LIMIT_LINES: usize = 10;
    /// Bytes kept at most.
    pub const LIMIT_BYTES: usize = 2 << 10;

    /// Adds a line; empty ones say nothing.
    pub fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let line: String = line.chars().take(Self::LIMIT_BYTES / 4).collect();
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > Self::LIMIT_LINES || self.bytes > Self::LIMIT_BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len();
        }
    }

    /// The lines as one text; `None` when there was none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl fmt::Debug for JobSpec {
    /// The values of the environment may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("JobSpec")
            .field("command", &self.command)
            .field("directory", &self.directory)
            .field("environment", &names)
            .field("limits", &self.limits)
            .field("container", &self.container)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_and_bounded() {
        let mut tail = OutputTail::default();
        assert_eq!(tail.text(), None);
        for i in 0..50 {
            tail.push(&format!("line {i}"));
            tail.push("  ");
        }
        assert!(tail.text().unwrap().starts_with("line 40\n"));
        assert!(tail.text().unwrap().ends_with("\nline 49"));
        tail.push(&"é".repeat(100_000));
        assert!(tail.text().unwrap().len() <= OutputTail::LIMIT_BYTES + OutputTail::LIMIT_LINES);
    }

    #[test]
    fn values_of_the_environment_are_not_shown() {
        let spec = JobSpec {
            command: vec!["true".into()],
            directory: "/".into(),
            environment: vec![("TOKEN".into(), "s3cret".into())],
            limits: JobLimits::default(),
            container: None,
        };
        let shown = format!("{spec:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("s3cret"), "{shown}");
    }
}
