//! `serin local serve`: a serving container, or a command, until Ctrl-C.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serin_core::clock::{Clock, SystemClock};
use serin_core::runtime::container::{ContainerReplicas, ReplicaContainers};
use serin_core::runtime::{
    Cancel, JobLimits, JobRuntime as _, JobSpec, LocalJobs, OutputLine, OutputTail, Replica, ReplicaAddress,
    ReplicaLimits, ReplicaProgram, ReplicaRuntime as _, ReplicaSpec,
};

use super::super::args::LocalServeArgs;
use super::super::exit::{Exit, Interrupted};
use super::super::printer;
use super::{OWNER, cancel_at_interrupt, content_type, sweep};

/// SageMaker's limit for an answer to `/ping`.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// SageMaker's limit for an answer to `/invocations`.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_millis(100);
/// Largest file of rows that is sent, and answer that is taken: SageMaker's.
const BODY_LIMIT_BYTES: u64 = 6 << 20;
/// How long it serves at most when it is a process.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Open files of a server: more than of a job.
const OPEN_FILES: u64 = 16_384;
/// How long what was told to stop may take: its own time and the engine's.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What serves.
enum Server {
    Container(Arc<dyn Replica>),
    Process { address: SocketAddr, cancel: Cancel, ended: Option<JoinHandle<String>> },
}

/// Runs the command.
pub(super) fn run(args: &LocalServeArgs) -> anyhow::Result<Exit> {
    if !args.model.is_dir() {
        bail!(
            "{} is no folder; give the folder with the model, such as OUT/model of a training",
            args.model.display()
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let interrupted = cancel_at_interrupt();
    let mut server = Server::start(args, &clock)?;
    let served = attend(&mut server, args, &*clock, &interrupted);
    let is_stopped = server.stop(&*clock);
    let exit = served?;
    is_stopped?;
    Ok(exit)
}

fn attend(
    server: &mut Server,
    args: &LocalServeArgs,
    clock: &dyn Clock,
    interrupted: &Cancel,
) -> anyhow::Result<Exit> {
    let address = server.address()?;
    let began = clock.monotonic();
    loop {
        if interrupted.requested() {
            return Err(Interrupted.into());
        }
        if let Some(end) = server.ended() {
            bail!("{end} before it answered /ping");
        }
        let Err(said) = ping(address) else { break };
        let waited = clock.monotonic().saturating_sub(began);
        if waited >= args.time_limit {
            let printed =
                server.last_output().map(|text| format!("; it printed: {text}")).unwrap_or_default();
            bail!("it did not answer /ping within {} s: {said}{printed}", args.time_limit.as_secs_f64());
        }
        thread::sleep(PING_INTERVAL);
    }
    let waited = clock.monotonic().saturating_sub(began);
    printer::talk(&format!("serin: it answers /ping after {:.1} s", waited.as_secs_f64()));
    if !args.data.is_empty() {
        return ask(address, args);
    }
    printer::data(&format!("http://{address}"))?;
    printer::talk(&format!(
        "serin: curl -H 'content-type: text/csv' --data-binary @rows.csv http://{address}/invocations; Ctrl-C stops it"
    ));
    while !interrupted.requested() {
        if let Some(end) = server.ended() {
            bail!("{end}");
        }
        thread::sleep(PING_INTERVAL);
    }
    Ok(Exit::Done)
}

/// Asks for the rows of each file and prints what it answers.
fn ask(address: SocketAddr, args: &LocalServeArgs) -> anyhow::Result<Exit> {
    for path in serin_core::stages::expand(&args.data)? {
        let size = fs::metadata(&path)?.len();
        if size > BODY_LIMIT_BYTES {
            bail!("{} has {size} bytes; a request has at most {BODY_LIMIT_BYTES}", path.display());
        }
        let rows = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let name = path.to_string_lossy();
        let kind = args.content_type.as_deref().unwrap_or_else(|| content_type(&name));
        let mut answer = agent(ANSWER_LIMIT)
            .post(format!("http://{address}/invocations"))
            .header("content-type", kind)
            .header("accept", &args.accept)
            .send(&rows[..])
            .with_context(|| format!("{}: it did not answer", path.display()))?;
        let body = answer.body_mut().with_config().limit(BODY_LIMIT_BYTES).read_to_string()?;
        if !answer.status().is_success() {
            let body = printer::visible(&body);
            bail!("{}: it answered {}: {body}", path.display(), answer.status());
        }
        printer::data(&body)?;
    }
    Ok(Exit::Done)
}

impl Server {
    fn start(args: &LocalServeArgs, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is cannot be found out")?;
        let jobs = LocalJobs::new(&program, OWNER.to_owned(), clock.clone());
        match args.program.image() {
            None => Self::process(args, jobs),
            Some(image) => {
                sweep(&jobs);
                let spec = ReplicaSpec {
                    directory: None,
                    name: format!("local-{}", std::process::id()),
                    owner: OWNER.to_owned(),
                    labels: [("model".to_owned(), args.model.display().to_string())].into(),
                    program: ReplicaProgram::Image(image.name.to_string()),
                    model: args.model.clone(),
                    scratch: std::env::temp_dir(),
                    environment: args.program.environment.clone(),
                    limits: ReplicaLimits {
                        memory_bytes: args.program.memory,
                        processes: args.program.processes,
                        open_files: OPEN_FILES,
                        cpus: args.program.cpus,
                    },
                };
                let command = args.program.command.clone();
                let replicas = ContainerReplicas::new(ReplicaContainers { settings: Some(image), command });
                Ok(Self::Container(replicas.start(&spec)?))
            }
        }
    }

    /// As a process, which ends with this one.
    fn process(args: &LocalServeArgs, jobs: LocalJobs) -> anyhow::Result<Self> {
        let model = args.model.canonicalize()?;
        // Whoever gets the port meanwhile is in the way; it says so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let own = [
            ("SAGEMAKER_BIND_TO_PORT", address.port().to_string()),
            ("SM_MODEL_DIR", text(&model)?),
            ("SERIN_ML_ROOT", text(model.parent().unwrap_or(&model))?),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let spec = JobSpec {
            command: args.program.command.clone(),
            directory: std::env::current_dir()?,
            environment: own.into_iter().chain(args.program.environment.iter().cloned()).collect(),
            limits: JobLimits {
                time: LONGEST,
                memory_bytes: args.program.memory,
                processes: args.program.processes,
                open_files: OPEN_FILES,
                output_bytes: u64::MAX,
                ..JobLimits::default()
            },
            container: None,
        };
        let cancel = Cancel::default();
        let wish = cancel.clone();
        let ended = thread::spawn(move || {
            let mut tail = OutputTail::default();
            let mut output = |line: OutputLine| {
                tail.push(&line.text);
                printer::talk(&printer::visible(&line.text.replace('\t', "    ")));
            };
            match jobs.run(&spec, &wish, &mut output) {
                Ok(outcome) => format!("the command {}", outcome.end),
                Err(error) => error.to_string(),
            }
        });
        Ok(Self::Process { address, cancel, ended: Some(ended) })
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Self::Process { address, .. } => Ok(*address),
            Self::Container(replica) => match replica.address() {
                ReplicaAddress::Tcp(address) => Ok(*address),
                ReplicaAddress::Unix(path) => Err(anyhow!("{} is no address of a container", path.display())),
            },
        }
    }

    /// How it ended, once it did.
    fn ended(&mut self) -> Option<String> {
        match self {
            Self::Container(replica) => {
                let end = replica.ended()?;
                let said =
                    replica.last_output().map(|text| format!("; it printed: {text}")).unwrap_or_default();
                Some(format!("{}{said}", end.reason))
            }
            Self::Process { ended, .. } => {
                let ended = ended.take_if(|thread| thread.is_finished())?;
                Some(ended.join().unwrap_or_else(|_| "its thread ended".to_owned()))
            }
        }
    }

    fn last_output(&self) -> Option<String> {
        match self {
            Self::Container(replica) => replica.last_output(),
            // It was on the terminal as it came.
            Self::Process { .. } => None,
        }
    }

    /// Stops it and waits for that.
    fn stop(&mut self, clock: &dyn Clock) -> anyhow::Result<()> {
        match self {
            Self::Container(replica) => replica.stop(),
            Self::Process { cancel, ended, .. } => {
                cancel.request();
                if let Some(ended) = ended.take() {
                    // It waits for the end itself.
                    let _ = ended.join();
                }
                return Ok(());
            }
        }
        let until = clock.monotonic().saturating_add(STOP_PATIENCE);
        while self.ended().is_none() {
            if clock.monotonic() >= until {
                bail!("its container did not stop; the next `serin local` removes it");
            }
            thread::sleep(PING_INTERVAL);
        }
        Ok(())
    }
}

fn ping(address: SocketAddr) -> Result<(), String> {
    match agent(PING_LIMIT).get(format!("http://{address}/ping")).call() {
        Ok(answer) if answer.status() == 200 => Ok(()),
        Ok(answer) => Err(format!("it answers {}", answer.status())),
        Err(error) => Err(error.to_string()),
    }
}

fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

fn text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| anyhow!("{}: the path is not UTF-8", path.display()))
}
