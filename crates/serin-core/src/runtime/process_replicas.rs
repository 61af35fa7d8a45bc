//! Replicas as processes of this machine: jobs that do not end, each below a supervisor of its own.
//!
//! Whatever happens to the gateway, `kill -9` included, they end with it: the supervisor sees its socket close.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::job::{Cancel, JobLimits, JobSpec, OutputTail};
use super::outcome::{JobError, JobOutcome};
use super::process::ProcessRuntime;
use super::replica::{
    Adopted, Capabilities, Replica, ReplicaAddress, ReplicaEnd, ReplicaError, ReplicaProgram, ReplicaRuntime,
    ReplicaSpec, ReplicaUsage,
};
use super::tree;
use crate::causes::in_one_line;
use crate::clock::Clock;

/// Bytes of a Unix socket's path: what the kernel takes, less the closing zero.
const SOCKET_PATH_LIMIT: usize = 107;
/// The variable that names the port of SageMaker's containers.
const PORT: &str = "SAGEMAKER_BIND_TO_PORT";

/// Runs replicas as processes below `program supervise`.
#[derive(Debug)]
pub struct ProcessReplicas {
    program: PathBuf,
    jobs: Arc<ProcessRuntime>,
}

struct ProcessReplica {
    name: String,
    address: ReplicaAddress,
    cancel: Cancel,
    is_wanted: AtomicBool,
    told: Arc<Told>,
}

/// How a replica is started, and where it will answer.
struct Start {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    address: ReplicaAddress,
}

/// What the thread that waits for the process knows.
#[derive(Default)]
struct Told {
    supervisor: OnceLock<Pid>,
    ended: OnceLock<Result<JobOutcome, String>>,
    output: Mutex<OutputTail>,
}

impl ProcessReplicas {
    /// A runtime for replicas of `program`, this program, and of others, below supervisors of `program`.
    #[must_use]
    pub fn new(program: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let jobs = Arc::new(ProcessRuntime::new(program.clone(), clock));
        Self { program, jobs }
    }

    /// Command, environment and address of a replica.
    fn plan(&self, spec: &ReplicaSpec) -> Result<Start, ReplicaError> {
        let start = |reason: String| ReplicaError::Start { reason };
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| start(format!("{}: the path is not UTF-8", path.display())))
        };
        let mut environment = spec.environment.clone();
        match &spec.program {
            ReplicaProgram::Serin => {
                let socket = spec.scratch.join(format!("{}.sock", spec.name));
                if socket.as_os_str().len() > SOCKET_PATH_LIMIT {
                    return Err(start(format!("{}: too long for the path of a socket", socket.display())));
                }
                let command = [
                    &text(&self.program)?,
                    "container",
                    "serve",
                    "--model-folder",
                    &text(&spec.model)?,
                    "--socket",
                    &text(&socket)?,
                ];
                Ok(Start {
                    command: command.map(str::to_owned).to_vec(),
                    environment,
                    address: ReplicaAddress::Unix(socket),
                })
            }
            ReplicaProgram::Command(command) => {
                // Free a moment ago; a program that finds it taken ends, and another start takes another one.
                let port =
                    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
                let address = port.map_err(|error| start(format!("there is no free port: {error}")))?;
                let root = spec.scratch.join(&spec.name);
                for (name, value) in [
                    (PORT, address.port().to_string()),
                    ("PORT", address.port().to_string()),
                    ("SM_MODEL_DIR", text(&spec.model)?),
                    ("HOME", text(&root)?),
                    ("TMPDIR", text(&root)?),
                ] {
                    if !environment.iter().any(|(given, _)| given == name) {
                        environment.push((name.to_owned(), value));
                    }
                }
                Ok(Start { command: command.clone(), environment, address: ReplicaAddress::Tcp(address) })
            }
            ReplicaProgram::Image(image) => {
                Err(start(format!("{image} is an image: it runs as a container, not as a process")))
            }
        }
    }
}

impl ReplicaRuntime for ProcessReplicas {
    fn capabilities(&self) -> Capabilities {
        Capabilities { adopts: false, isolates: false }
    }

    fn start(&self, spec: &ReplicaSpec) -> Result<Arc<dyn Replica>, ReplicaError> {
        let Start { command, environment, address } = self.plan(spec)?;
        let unusable = |error: io::Error| ReplicaError::Start {
            reason: format!("{}: cannot be used: {error}", spec.scratch.display()),
        };
        let own = spec.scratch.join(&spec.name);
        make_private(&own).map_err(unusable)?;
        if let ReplicaAddress::Unix(socket) = &address {
            remove(socket).map_err(unusable)?;
        }
        let limits = JobLimits {
            time: Duration::MAX,
            memory_bytes: spec.limits.memory_bytes,
            processes: spec.limits.processes,
            output_bytes: u64::MAX,
            open_files: spec.limits.open_files,
            yields: false,
            ..JobLimits::default()
        };
        let directory = spec.directory.clone().unwrap_or_else(|| own.clone());
        let job = JobSpec { command, directory, environment, limits, container: None };
        let (told, cancel) = (Arc::new(Told::default()), Cancel::default());
        let replica = ProcessReplica {
            name: spec.name.clone(),
            address: address.clone(),
            cancel: cancel.clone(),
            is_wanted: AtomicBool::new(false),
            told: told.clone(),
        };
        let jobs = self.jobs.clone();
        let wait = move || {
            let output = &mut |line: super::job::OutputLine| told.lock().push(&line.text);
            let ended = jobs.run_below(&job, &cancel, output, &mut |pid| {
                let _ = told.supervisor.set(pid);
            });
            if let ReplicaAddress::Unix(socket) = &address {
                let _ = remove(socket);
            }
            let _ = fs::remove_dir_all(&own);
            let _ = told.ended.set(ended.map_err(|error: JobError| in_one_line(&error)));
        };
        thread::Builder::new().name("replica".to_owned()).spawn(wait).map_err(unusable)?;
        Ok(Arc::new(replica))
    }

    fn adopt(&self, _owner: &str) -> Result<Vec<Adopted>, ReplicaError> {
        Ok(Vec::new())
    }
}

impl Replica for ProcessReplica {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &ReplicaAddress {
        &self.address
    }

    fn ended(&self) -> Option<ReplicaEnd> {
        let reason = match self.told.ended.get()? {
            Ok(outcome) => outcome.end.to_string(),
            Err(problem) => problem.clone(),
        };
        Some(ReplicaEnd { reason, is_wanted: self.is_wanted.load(Ordering::Relaxed) })
    }

    fn stop(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.cancel.request();
    }

    fn kill(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        for process in self.told.processes() {
            process.signal(Signal::KILL);
        }
        self.cancel.request();
    }

    fn usage(&self) -> Option<ReplicaUsage> {
        let processes = self.told.processes();
        let cpu_time = Duration::from_millis(tree::cpu_milliseconds(&processes));
        (!processes.is_empty())
            .then(|| ReplicaUsage { cpu_time, memory_bytes: tree::memory_bytes(&processes, u64::MAX) })
    }

    fn last_output(&self) -> Option<String> {
        self.told.lock().text()
    }
}

impl Drop for ProcessReplica {
    fn drop(&mut self) {
        self.cancel.request();
    }
}

impl Told {
    fn lock(&self) -> std::sync::MutexGuard<'_, OutputTail> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What runs below its supervisor now.
    fn processes(&self) -> Vec<tree::Process> {
        if self.ended.get().is_some() {
            return Vec::new();
        }
        self.supervisor.get().and_then(|supervisor| tree::descendants(*supervisor).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for ProcessReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessReplica")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A folder that only its owner looks into, with those above it.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
