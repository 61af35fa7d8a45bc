//! Jobs as processes of this machine, each below a supervisor of its own.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::job::{Cancel, JobLimits, JobRuntime, JobSpec, OutputLine, OutputStream};
use super::order::{Order, REPORT_LIMIT_BYTES, Report, Word, line};
use super::outcome::{JobError, JobOutcome};
use super::tree;
use crate::clock::Clock;

/// Lines that wait for whoever takes the output.
const WAITING_LINES: usize = 64;
/// Between two looks whether the job is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a supervisor may take for its own part before it is given up: longer than it gives the killed to be gone.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(45);
/// How long output may still come after the job's end.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// Variables of the engine that a job gets unless it brings its own.
const INHERITED: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// Runs jobs as processes below `program supervise`.
#[derive(Debug)]
pub struct ProcessRuntime {
    program: PathBuf,
    clock: Arc<dyn Clock>,
}

/// The other end of a job.
struct Supervisor<'a> {
    child: Child,
    socket: UnixStream,
    clock: &'a dyn Clock,
    /// It was told to end the job.
    is_told: bool,
    /// It said what became of the job: nothing is left of that.
    has_reported: bool,
}

/// What comes from a supervisor and its job.
enum Message {
    Line {
        line: OutputLine,
        bytes: u64,
    },
    /// One of the two streams is at its end.
    Closed,
    /// `None`: it ended without one.
    Report(Option<Report>),
}

impl ProcessRuntime {
    /// A runtime whose supervisors are `program supervise`: the path of this program.
    #[must_use]
    pub fn new(program: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { program, clock }
    }
}

impl JobRuntime for ProcessRuntime {
    fn run(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<JobOutcome, JobError> {
        if let Some(container) = &spec.container {
            return Err(JobError::NoContainers { image: container.image.name.to_string() });
        }
        self.run_below(spec, cancel, output, &mut |_| {})
    }
}

impl ProcessRuntime {
    /// The same, and whoever is told of it knows the job's supervisor while it runs.
    pub(super) fn run_below(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
        started: &mut dyn FnMut(Pid),
    ) -> Result<JobOutcome, JobError> {
        let inherited =
            INHERITED.map(|(name, default)| (name, std::env::var(name).unwrap_or(default.to_owned())));
        let order = Order::new(spec, &inherited)?;
        let no_supervisor = |source| JobError::NoSupervisor { program: self.program.clone(), source };
        let began = self.clock.monotonic();
        let mut supervisor = Supervisor::start(&self.program, &*self.clock).map_err(no_supervisor)?;
        let messages = supervisor.listen().map_err(no_supervisor)?;
        supervisor.send(&order).map_err(no_supervisor)?;
        started(Pid::from_child(&supervisor.child));
        // Whatever else happens, such as a supervisor that the job stopped, there is an end.
        let patience = JobLimits::STOP_GRACE + SUPERVISOR_PATIENCE;
        let mut deadline = began.saturating_add(spec.limits.time).saturating_add(patience);
        let mut report = None;
        let mut open_streams = 2;
        let mut output_bytes: u64 = 0;
        loop {
            match messages.recv_timeout(LOOK_INTERVAL) {
                Ok(Message::Line { line, bytes }) => {
                    output_bytes += bytes;
                    if output_bytes <= spec.limits.output_bytes {
                        output(line);
                    } else {
                        supervisor.tell(Word::TooMuchOutput, &mut deadline);
                    }
                }
                Ok(Message::Closed) => open_streams -= 1,
                Ok(Message::Report(found)) => {
                    report = found;
                    supervisor.has_reported = report.is_some();
                    let until = if report.is_some() { LAST_OUTPUT } else { Duration::ZERO };
                    deadline = deadline.min(self.clock.monotonic().saturating_add(until));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancel.requested() {
                supervisor.tell(Word::Cancel, &mut deadline);
            }
            if (report.is_some() && open_streams == 0) || self.clock.monotonic() >= deadline {
                break;
            }
        }
        let elapsed = self.clock.monotonic().saturating_sub(began);
        match report {
            None => Err(JobError::SupervisorLost),
            Some(Report::NotStarted { problem }) => {
                Err(JobError::Start { program: spec.command.first().cloned().unwrap_or_default(), problem })
            }
            Some(Report::Unwatchable { problem }) => Err(JobError::Unwatchable { problem }),
            Some(Report::Ended { survivors: processes @ 1.., .. }) => Err(JobError::Survivors { processes }),
            Some(Report::Ended { end, peak_memory_bytes, cpu_milliseconds, survivors: _ }) => {
                Ok(JobOutcome {
                    end: end.told(spec, peak_memory_bytes),
                    peak_memory_bytes,
                    cpu_time: Duration::from_millis(cpu_milliseconds),
                    elapsed,
                    output_bytes,
                })
            }
        }
    }
}

impl<'a> Supervisor<'a> {
    fn start(program: &Path, clock: &'a dyn Clock) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_write_timeout(Some(SUPERVISOR_PATIENCE))?;
        let mut command = Command::new(program);
        command.arg("supervise").env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        Ok(Self { child, socket, clock, is_told: false, has_reported: false })
    }

    /// One thread for each stream that the job prints to, and one for the report.
    fn listen(&mut self) -> io::Result<Receiver<Message>> {
        let (told, messages) = sync_channel(WAITING_LINES);
        if let Some(stdout) = self.child.stdout.take() {
            let told = told.clone();
            thread::Builder::new().spawn(move || pass_on(OutputStream::Stdout, stdout, &told))?;
        }
        if let Some(stderr) = self.child.stderr.take() {
            let told = told.clone();
            thread::Builder::new().spawn(move || pass_on(OutputStream::Stderr, stderr, &told))?;
        }
        let socket = self.socket.try_clone()?;
        thread::Builder::new().spawn(move || {
            let mut report = Vec::new();
            let read = socket.take(REPORT_LIMIT_BYTES).read_to_end(&mut report);
            let report = read.ok().and_then(|_| serde_json::from_slice(&report).ok());
            let _ = told.send(Message::Report(report));
        })?;
        Ok(messages)
    }

    fn send(&mut self, order: &Order) -> io::Result<()> {
        self.socket.write_all(&line(order)?)
    }

    /// Asks for the job's end, once; a supervisor that is gone is noticed elsewhere. From here on there is a limit.
    fn tell(&mut self, word: Word, deadline: &mut Duration) {
        if self.is_told {
            return;
        }
        self.is_told = true;
        if let Ok(line) = line(&word) {
            let _ = self.socket.write_all(&line);
        }
        let until = self.clock.monotonic().saturating_add(JobLimits::STOP_GRACE + SUPERVISOR_PATIENCE);
        *deadline = until.min(*deadline);
    }

    /// Whether it ended in time.
    fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = self.clock.monotonic().saturating_add(patience);
        loop {
            // Its status is not asked for: as long as nobody did, its id is not given to another process.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(Pid::from_child(&self.child)), look) {
                Ok(Some(_)) => return true,
                _ if self.clock.monotonic() >= deadline => return false,
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Kills what a supervisor left behind that was itself killed, until nothing is found any more.
    fn end_orphans(&self) {
        let supervisor = Pid::from_child(&self.child);
        let deadline = self.clock.monotonic().saturating_add(SUPERVISOR_PATIENCE);
        while let Ok(left) = tree::orphans(supervisor)
            && !left.is_empty()
            && self.clock.monotonic() < deadline
        {
            left.iter().for_each(|process| process.signal(Signal::KILL));
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Supervisor<'_> {
    /// However the conversation ended, nothing stays behind: a closed socket tells the supervisor to end the job; one that
    /// does not, or did not get to it, is killed, and then what it left.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if !self.ends_within(JobLimits::STOP_GRACE + SUPERVISOR_PATIENCE) {
            let _ = self.child.kill();
            self.ends_within(SUPERVISOR_PATIENCE);
        }
        if !self.has_reported {
            self.end_orphans();
        }
        let _ = self.child.wait();
    }
}

/// Cuts a stream into lines and passes them on; whoever does not take them holds up the job.
fn pass_on(stream: OutputStream, source: impl Read, told: &SyncSender<Message>) {
    let mut source = BufReader::with_capacity(OutputLine::LIMIT_BYTES, source);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut source).take(OutputLine::LIMIT_BYTES as u64).read_until(b'\n', &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let line = OutputLine { stream, text: String::from_utf8_lossy(text).into_owned() };
        if told.send(Message::Line { line, bytes: bytes.len() as u64 }).is_err() {
            return;
        }
    }
    let _ = told.send(Message::Closed);
}
