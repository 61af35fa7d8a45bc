//! Jobs in containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, ContainerState, ContainerStatsResponse};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, KillContainerOptionsBuilder, StatsOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::confine::{Bounds, HOSTNAME, Log, host, user};
use super::engine::{Engine, EngineError, Follower, has_ended};
use super::images::Images;
use super::kernel::Group;
use super::owner::{Kind, labels, remove, sweep};
use crate::clock::Clock;
use crate::config::ImageSettings;
use crate::runtime::job::{Cancel, JobContainer, JobLimits, JobRuntime, JobSpec, OutputLine, OutputStream};
use crate::runtime::outcome::{JobEnd, JobError, JobOutcome};

/// Between two looks at what a job wants and prints.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Between two questions whether it still runs, once its output ended.
const END_INTERVAL: Duration = Duration::from_millis(50);
/// Between two questions what it uses, and whether it still runs, while it prints.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long output may still come after the job's end.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(45);
/// What is above this in an exit code was a signal, as shells count.
const SIGNALLED: i64 = 128;
/// Signals that end programs that go wrong. Others are not guessed: programs have exit codes as high.
const FATAL_SIGNALS: [i64; 9] = [4, 6, 7, 8, 9, 11, 15, 24, 25];

/// Runs jobs in containers of the engine that is there when one is wanted.
#[derive(Debug)]
pub struct ContainerJobs {
    owner: String,
    clock: Arc<dyn Clock>,
    /// Containers that could not be removed when their job ended: the engine was gone.
    left: Mutex<Vec<String>>,
}

/// A container of a job. However the job ended, nothing of it stays.
struct Running<'a> {
    jobs: &'a ContainerJobs,
    engine: &'a Engine,
    id: String,
}

/// What is known of a job while it runs.
struct Watched {
    lines: [Lines; 2],
    output_bytes: u64,
    peak_memory_bytes: u64,
    cpu_time: Duration,
    /// It was seen with as many processes as it may have.
    was_crowded: bool,
    /// The kernel was seen to end something of it for its memory.
    was_starved: bool,
}

/// Why a job is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Cancelled,
    TimedOut,
    TooMuchOutput,
}

/// Cuts what comes into lines.
#[derive(Debug)]
struct Lines {
    stream: OutputStream,
    begun: Vec<u8>,
}

impl ContainerJobs {
    /// Those of `owner`, whose name [`super::owner_of`] makes of a data directory.
    #[must_use]
    pub fn new(owner: String, clock: Arc<dyn Clock>) -> Self {
        Self { owner, clock, left: Mutex::new(Vec::new()) }
    }

    /// Removes what jobs left whose process was killed: how many containers. None when there is no engine.
    ///
    /// # Errors
    /// When the engine does not do it.
    pub fn sweep(&self) -> Result<usize, EngineError> {
        match Engine::find() {
            Ok(engine) => sweep(&engine, &self.owner, Kind::Job),
            Err(EngineError::Absent { .. } | EngineError::Host { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Removes what could not be removed before.
    fn remove_left(&self, engine: &Engine) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|id| remove(engine, id).is_err());
    }

    fn create(
        &self,
        engine: &Engine,
        spec: &JobSpec,
        container: &JobContainer,
        image: String,
    ) -> Result<String, JobError> {
        let limits = &spec.limits;
        let bounds = Bounds {
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            open_files: limits.open_files,
            file_bytes: Some(limits.file_bytes),
            cpus: container.image.cpus,
        };
        let has_command = !spec.command.is_empty();
        let directory =
            spec.directory.to_str().ok_or_else(|| JobError::Directory { path: spec.directory.clone() })?;
        let environment = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let arguments = if has_command { &spec.command[1..] } else { &container.arguments };
        let body = ContainerCreateBody {
            hostname: Some(HOSTNAME.to_owned()),
            user: Some(user(engine)),
            image: Some(image),
            env: Some(environment.collect()),
            entrypoint: has_command.then(|| vec![spec.command[0].clone()]),
            cmd: (has_command || !arguments.is_empty()).then(|| arguments.to_vec()),
            working_dir: has_command.then(|| directory.to_owned()),
            labels: Some(labels(&self.owner, Kind::Job, HOSTNAME, &BTreeMap::new())),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(host(&container.image, &container.mounts, &bounds, Log::None)),
            ..ContainerCreateBody::default()
        };
        let docker = engine.docker.clone();
        let created =
            engine.call("create a container", async move { docker.create_container(None, body).await });
        Ok(created.map_err(|error| not_started(spec, container, error))?.id)
    }
}

impl JobRuntime for ContainerJobs {
    fn run(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<JobOutcome, JobError> {
        let Some(container) = &spec.container else { return Err(JobError::NoCommand) };
        let is_wrong = |name: &str| name.is_empty() || name.contains(['=', '\0']);
        if let Some((name, _)) = spec.environment.iter().find(|(name, _)| is_wrong(name)) {
            return Err(JobError::Name { name: name.chars().take(64).collect() });
        }
        let engine = Engine::find()?;
        self.remove_left(&engine);
        let image = Images::new(&engine).ensure(&container.image, cancel, output)?;
        let id = self.create(&engine, spec, container, image)?;
        let running = Running { jobs: self, engine: &engine, id };
        // Podman looks for the program when it is listened to, Docker when it is started.
        let lines = running.attach().map_err(|error| not_started(spec, container, error))?;
        let began = self.clock.monotonic();
        running.start().map_err(|error| not_started(spec, container, error))?;
        let mut watched = Watched::default();
        let (state, reason) = running.watch(spec, cancel, &lines, &mut watched, output)?;
        Ok(JobOutcome {
            end: watched.end(&state, reason, &spec.limits),
            peak_memory_bytes: watched.peak_memory_bytes,
            cpu_time: watched.cpu_time,
            elapsed: self.clock.monotonic().saturating_sub(began),
            output_bytes: watched.output_bytes,
        })
    }

    fn pin(
        &self,
        image: &ImageSettings,
        project: &Path,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<String, JobError> {
        let engine = Engine::find()?;
        let images = Images::new(&engine);
        Ok(match &image.build {
            Some(folder) => {
                let may_download = image.pull == crate::config::Pull::Missing;
                images.build(&project.join(folder), &image.name, may_download, cancel, output)?
            }
            None => images.ensure(image, cancel, output)?,
        })
    }
}

impl Running<'_> {
    /// Its output, from the first byte.
    fn attach(&self) -> Result<Follower<LogOutput>, EngineError> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        let attached = self.engine.call("listen to a container", async move {
            docker.attach_container(&id, Some(options)).await
        })?;
        // Whoever lets go of the input says that there is none.
        let bollard::container::AttachContainerResults { output, input } = attached;
        Ok(self.engine.follow(output.chain(futures_util::stream::once(async move {
            drop(input);
            Ok(LogOutput::StdIn { message: bytes::Bytes::new() })
        }))))
    }

    fn start(&self) -> Result<(), EngineError> {
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        self.engine.call("start a container", async move { docker.start_container(&id, None).await })
    }

    fn state(&self) -> Result<ContainerState, EngineError> {
        let removed = || EngineError::Lost {
            what: "keep a container",
            message: "somebody removed it while its job ran".to_owned(),
        };
        Ok(self.engine.inspect(&self.id)?.ok_or_else(removed)?.state.unwrap_or_default())
    }

    fn usage(&self) -> Option<ContainerStatsResponse> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        let asked = async move {
            let mut stats = Box::pin(docker.stats(&id, Some(options)));
            stats.next().await.transpose()
        };
        self.engine.call("measure a container", asked).ok().flatten()
    }

    /// Does not wait for the engine, which may itself wait until somebody takes the output. A container that ended meanwhile
    /// cannot be told.
    fn signal(&self, signal: &'static str) {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        self.engine.begin(async move {
            let _ = docker.kill_container(&id, Some(options)).await;
        });
    }

    /// Passes on what it prints until it ended, which it does at the latest when it was told to.
    fn watch(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        items: &Follower<LogOutput>,
        watched: &mut Watched,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<(ContainerState, Option<Reason>), JobError> {
        let clock = &*self.jobs.clock;
        let began = clock.monotonic();
        let mut reason: Option<Reason> = None;
        // When it is killed, and when it is given up.
        let (mut kill_at, mut give_up_at) = (Duration::MAX, Duration::MAX);
        let mut is_silent = false;
        let group = self.state().ok().and_then(|state| Group::of(state.pid.unwrap_or(0), &self.id));
        let mut looked = began;
        let mut lost = None;
        let state = loop {
            match items.next(LOOK_INTERVAL) {
                Ok(Ok(item)) => watched.take(item, &spec.limits, output),
                Ok(Err(error)) => {
                    // The end of the output, or of the engine: it is asked.
                    lost.get_or_insert(error);
                    is_silent = true;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if is_silent {
                        std::thread::sleep(LOOK_INTERVAL);
                    }
                    is_silent = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            watched.was_starved |= group.as_ref().is_some_and(|group| group.ended_for_memory() > 0);
            let now = clock.monotonic();
            let wanted = match () {
                () if cancel.requested() => Some(Reason::Cancelled),
                () if watched.output_bytes > spec.limits.output_bytes => Some(Reason::TooMuchOutput),
                () if now.saturating_sub(began) >= spec.limits.time => Some(Reason::TimedOut),
                () => None,
            };
            if reason.is_none() && wanted.is_some() {
                reason = wanted;
                let grace = match reason {
                    Some(Reason::TooMuchOutput) => Duration::ZERO,
                    _ => JobLimits::STOP_GRACE,
                };
                if !grace.is_zero() {
                    self.signal("SIGTERM");
                }
                kill_at = now.saturating_add(grace);
            }
            if now >= kill_at {
                self.signal("SIGKILL");
                (kill_at, give_up_at) = (Duration::MAX, now.saturating_add(KILL_PATIENCE));
            }
            if now >= give_up_at {
                return Err(JobError::Survivors { processes: 1 });
            }
            let interval = if is_silent || reason.is_some() { END_INTERVAL } else { USAGE_INTERVAL };
            if now.saturating_sub(looked) < interval {
                continue;
            }
            looked = now;
            let state = self.state()?;
            if has_ended(&state) {
                break state;
            }
            if !is_silent && let Some(usage) = self.usage() {
                watched.measure(&usage, &spec.limits);
            }
        };
        // What it printed last may still be on its way.
        let until = clock.monotonic().saturating_add(LAST_OUTPUT);
        while clock.monotonic() < until {
            match items.next(LOOK_INTERVAL) {
                Ok(Ok(item)) => watched.take(item, &spec.limits, output),
                Ok(Err(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        watched.finish(&spec.limits, output);
        Ok((state, reason))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove(self.engine, &self.id) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, container.id = self.id, "a container remains");
            self.jobs.left.lock().unwrap_or_else(PoisonError::into_inner).push(self.id.clone());
        }
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            lines: [OutputStream::Stdout, OutputStream::Stderr]
                .map(|stream| Lines { stream, begun: Vec::new() }),
            output_bytes: 0,
            peak_memory_bytes: 0,
            cpu_time: Duration::ZERO,
            was_crowded: false,
            was_starved: false,
        }
    }
}

impl Watched {
    fn take(&mut self, item: LogOutput, limits: &JobLimits, output: &mut dyn FnMut(OutputLine)) {
        let (lines, message) = match item {
            LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut self.lines[0], message),
            LogOutput::StdErr { message } => (&mut self.lines[1], message),
            LogOutput::StdIn { .. } => return,
        };
        self.output_bytes += message.len() as u64;
        if self.output_bytes <= limits.output_bytes {
            lines.push(&message, output);
        }
    }

    fn finish(&mut self, limits: &JobLimits, output: &mut dyn FnMut(OutputLine)) {
        if self.output_bytes <= limits.output_bytes {
            self.lines.iter_mut().for_each(|lines| lines.finish(output));
        }
    }

    fn measure(&mut self, usage: &ContainerStatsResponse, limits: &JobLimits) {
        let (memory_bytes, cpu_time) = used(usage);
        self.peak_memory_bytes = self.peak_memory_bytes.max(memory_bytes);
        self.cpu_time = self.cpu_time.max(cpu_time);
        let processes = usage.pids_stats.as_ref().and_then(|processes| processes.current).unwrap_or(0);
        self.was_crowded |= processes >= u64::from(limits.processes);
    }

    /// How the job ended, of what the engine says of its container.
    fn end(&mut self, state: &ContainerState, reason: Option<Reason>, limits: &JobLimits) -> JobEnd {
        let code = state.exit_code.unwrap_or(0);
        // One that was asked to end did not do its work, whatever it says.
        let reason = reason.or((self.output_bytes > limits.output_bytes).then_some(Reason::TooMuchOutput));
        match reason {
            Some(Reason::Cancelled) => return JobEnd::Cancelled,
            Some(Reason::TimedOut) => return JobEnd::TimedOut { limit: limits.time },
            Some(Reason::TooMuchOutput) => {
                return JobEnd::TooMuchOutput { limit_bytes: limits.output_bytes };
            }
            None => {}
        }
        if (self.was_starved || state.oom_killed == Some(true)) && code != 0 {
            let limit_bytes = limits.memory_bytes;
            self.peak_memory_bytes = self.peak_memory_bytes.max(limit_bytes);
            return JobEnd::OutOfMemory { peak_bytes: self.peak_memory_bytes, limit_bytes };
        }
        if self.was_crowded && code != 0 {
            return JobEnd::TooManyProcesses { limit: limits.processes };
        }
        let number = |code: i64| i32::try_from(code).unwrap_or(i32::MAX);
        match FATAL_SIGNALS.contains(&(code - SIGNALLED)) {
            true => JobEnd::Killed { signal: number(code - SIGNALLED) },
            false => JobEnd::Exited { code: number(code) },
        }
    }
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], output: &mut dyn FnMut(OutputLine)) {
        while !bytes.is_empty() {
            let room = OutputLine::LIMIT_BYTES - self.begun.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.map_or(room.min(bytes.len()), |end| end + 1);
            self.begun.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if end.is_some() || self.begun.len() == OutputLine::LIMIT_BYTES {
                self.finish(output);
            }
        }
    }

    fn finish(&mut self, output: &mut dyn FnMut(OutputLine)) {
        if self.begun.is_empty() {
            return;
        }
        let text = self.begun.strip_suffix(b"\n").unwrap_or(&self.begun);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        output(OutputLine { stream: self.stream, text: String::from_utf8_lossy(text).into_owned() });
        self.begun.clear();
    }
}

/// Memory and processor time in what the engine measured. Files that the kernel keeps only because there is room do not
/// count, as the engine's own command line counts.
pub(super) fn used(usage: &ContainerStatsResponse) -> (u64, Duration) {
    let memory = usage.memory_stats.as_ref();
    let kept = memory.and_then(|memory| memory.stats.as_ref()).map_or(0, |stats| {
        let of = |name: &str| stats.get(name).copied();
        of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or(0)
    });
    let memory_bytes = memory.and_then(|memory| memory.usage).unwrap_or(0).saturating_sub(kept);
    let cpu = usage.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref());
    (memory_bytes, Duration::from_nanos(cpu.and_then(|cpu| cpu.total_usage).unwrap_or(0)))
}

/// What the engine refuses to start is most often a program that the image does not have.
fn not_started(spec: &JobSpec, container: &JobContainer, error: EngineError) -> JobError {
    match error {
        EngineError::Refused { message, .. } => {
            let program = spec.command.first().map_or(container.image.name.as_str(), String::as_str);
            JobError::Start { program: program.to_owned(), problem: message }
        }
        other => JobError::Container(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_of_bounded_length() {
        let mut lines = Lines { stream: OutputStream::Stdout, begun: Vec::new() };
        let mut told = Vec::new();
        let mut take = |line: OutputLine| told.push(line.text);
        for piece in ["a", "b\r\nc\n", "\n", "d"] {
            lines.push(piece.as_bytes(), &mut take);
        }
        lines.push(&vec![b'x'; OutputLine::LIMIT_BYTES + 5], &mut take);
        lines.finish(&mut take);
        lines.finish(&mut take);
        assert_eq!(told[..3], ["ab", "c", ""]);
        assert_eq!(told[3].len(), OutputLine::LIMIT_BYTES);
        assert_eq!((told[4].len(), told.len()), (6, 5));
    }

    #[test]
    fn ends_are_told_as_those_of_processes() {
        let limits = JobLimits { memory_bytes: 100, processes: 5, ..JobLimits::default() };
        let end = |code, oom_killed, reason, was_crowded| {
            let state =
                ContainerState { exit_code: Some(code), oom_killed: Some(oom_killed), ..Default::default() };
            Watched { was_crowded, ..Watched::default() }.end(&state, reason, &limits)
        };
        assert_eq!(end(0, false, None, false), JobEnd::Exited { code: 0 });
        assert_eq!(end(200, false, None, false), JobEnd::Exited { code: 200 });
        assert_eq!(end(139, false, None, false), JobEnd::Killed { signal: 11 });
        assert_eq!(end(137, true, None, false), JobEnd::OutOfMemory { peak_bytes: 100, limit_bytes: 100 });
        // A child that the kernel ended, which the job survived.
        assert_eq!(end(0, true, None, false), JobEnd::Exited { code: 0 });
        assert_eq!(end(1, false, None, true), JobEnd::TooManyProcesses { limit: 5 });
        assert_eq!(end(143, false, Some(Reason::Cancelled), false), JobEnd::Cancelled);
        let timed_out = JobEnd::TimedOut { limit: limits.time };
        assert_eq!(end(137, false, Some(Reason::TimedOut), false), timed_out);
        assert_eq!(end(0, false, Some(Reason::TimedOut), false), timed_out);
    }

    #[test]
    fn a_job_without_an_image_is_none_for_containers() {
        let jobs = ContainerJobs::new("me".into(), Arc::new(crate::clock::SystemClock::new()));
        let spec = JobSpec {
            command: vec!["true".into()],
            directory: "/".into(),
            environment: Vec::new(),
            limits: JobLimits::default(),
            container: None,
        };
        let ran = jobs.run(&spec, &Cancel::default(), &mut |_| {});
        assert!(matches!(ran, Err(JobError::NoCommand)));
    }
}
