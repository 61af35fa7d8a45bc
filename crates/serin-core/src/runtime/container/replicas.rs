//! Replicas in containers: they outlive whoever started them, and are found again.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, PortBinding,
};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::confine::{Bounds, Log, host, user};
use super::engine::{Engine, EngineError, has_ended, is_between_states};
use super::images::Images;
use super::jobs::used;
use super::owner::{Kind, NAME, containers, further, labels, remove, sweep};
use crate::config::{ImageName, ImageSettings};
use crate::runtime::contract::CONTAINER_ROOT;
use crate::runtime::job::{Cancel, JobMount, OutputTail};
use crate::runtime::replica::{
    Adopted, Capabilities, REPLICA_STOP_GRACE, Replica, ReplicaAddress, ReplicaEnd, ReplicaError,
    ReplicaProgram, ReplicaRuntime, ReplicaSpec, ReplicaUsage,
};

/// The port on which a serving container listens.
pub const PORT: u16 = 8080;
/// What a serving image's own program is told.
const ARGUMENT: &str = "serve";
/// Between two questions whether a replica still runs.
const END_INTERVAL: Duration = Duration::from_millis(500);
/// How often an engine that does not answer is asked before its replicas count as lost: some 30 s.
const UNANSWERED_LIMIT: u32 = 60;
/// Looks at a container that ended at once until it is tidied up, and the time between two: 5 s.
const TIDY_LOOKS: u32 = 100;
const TIDY_INTERVAL: Duration = Duration::from_millis(50);
/// What the engine may take for a stop, beyond the replica's own time.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Longest name of a replica.
const NAME_LIMIT: usize = 128;

/// Runs replicas in containers of the engine that is there.
#[derive(Debug, Clone)]
pub struct ContainerReplicas {
    containers: ReplicaContainers,
}

/// What the containers of replicas may do; their image is that of each replica.
#[derive(Debug, Clone, Default)]
pub struct ReplicaContainers {
    /// The image's settings, of which the name does not count; `None`: the least.
    pub settings: Option<ImageSettings>,
    /// Takes the place of the image's own program, and of the argument `serve`; empty: neither.
    pub command: Vec<String>,
}

/// A replica that was started or found again.
#[derive(Debug)]
struct ContainerReplica {
    engine: Engine,
    name: String,
    id: String,
    address: ReplicaAddress,
    life: Arc<Life>,
}

/// What is known of a replica; whoever looks after it and whoever holds it share it.
#[derive(Debug, Default)]
struct Life {
    is_wanted: AtomicBool,
    ended: OnceLock<Ended>,
}

/// How it ended, and what it printed last: it is gone by then.
#[derive(Debug)]
struct Ended {
    end: ReplicaEnd,
    said: Option<String>,
}

/// The name of the image of this program, which `serin image build` makes.
#[must_use]
pub fn serin_image() -> String {
    format!("serin:{}", env!("CARGO_PKG_VERSION"))
}

impl ContainerReplicas {
    /// Replicas whose containers may do what `containers` says.
    #[must_use]
    pub fn new(containers: ReplicaContainers) -> Self {
        Self { containers }
    }

    /// Removes replicas of `owner` whose process died, where nobody adopts them: how many. None when there is no engine.
    ///
    /// # Errors
    /// When the engine does not do it.
    pub fn sweep(owner: &str) -> Result<usize, EngineError> {
        match Engine::find() {
            Ok(engine) => sweep(&engine, owner, Kind::Replica),
            Err(EngineError::Absent { .. } | EngineError::Host { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn image(&self, spec: &ReplicaSpec) -> Result<ImageSettings, ReplicaError> {
        let reference = match &spec.program {
            ReplicaProgram::Serin => serin_image(),
            ReplicaProgram::Image(name) => name.clone(),
            ReplicaProgram::Command(command) => {
                let program = command.first().map_or("", String::as_str);
                return Err(start(format!("{program} is a program of this machine, not an image")));
            }
        };
        let name: ImageName = reference.parse().map_err(|error| start(format!("{reference:?}: {error}")))?;
        let settings = self.containers.settings.clone().unwrap_or_else(|| ImageSettings::plain(name.clone()));
        Ok(ImageSettings { name, pinned: None, ..settings })
    }

    fn create(&self, engine: &Engine, spec: &ReplicaSpec) -> Result<String, ReplicaError> {
        let image = self.image(spec)?;
        let id = Images::new(engine)
            .ensure(&image, &Cancel::default(), &mut |_| {})
            .map_err(|error| told(&error, &spec.program))?;
        let (key, target) = (format!("{PORT}/tcp"), format!("{CONTAINER_ROOT}/model"));
        let mounts = [JobMount { source: absolute(&spec.model)?, target, is_writable: false }];
        let bounds = Bounds {
            memory_bytes: spec.limits.memory_bytes,
            processes: spec.limits.processes,
            open_files: spec.limits.open_files,
            file_bytes: None,
            cpus: spec.limits.cpus,
        };
        let loopback = PortBinding {
            host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
            // Whichever is free.
            host_port: Some(String::new()),
        };
        let mut host = host(&image, &mounts, &bounds, Log::Tail);
        // Nobody could ask a container without a network.
        host.network_mode = Some("bridge".to_owned());
        host.port_bindings = Some(HashMap::from([(key.clone(), Some(vec![loopback]))]));
        let own = [("SAGEMAKER_BIND_TO_PORT".to_owned(), PORT.to_string())];
        let is_given = |name: &str| spec.environment.iter().any(|(given, _)| given == name);
        let own = own.into_iter().filter(|(name, _)| !is_given(name));
        let environment = own.chain(spec.environment.iter().cloned());
        let command = &self.containers.command;
        let body = ContainerCreateBody {
            user: Some(user(engine)),
            image: Some(id),
            env: Some(environment.map(|(name, value)| format!("{name}={value}")).collect()),
            entrypoint: command.first().map(|program| vec![program.clone()]),
            cmd: Some(command.get(1..).map_or_else(|| vec![ARGUMENT.to_owned()], <[String]>::to_vec)),
            exposed_ports: Some(vec![key]),
            labels: Some(labels(&spec.owner, Kind::Replica, &spec.name, &spec.labels)),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let docker = engine.docker.clone();
        let created =
            engine.call("create a container", async move { docker.create_container(None, body).await });
        Ok(created.map_err(|error| told(&error, &spec.program))?.id)
    }
}

impl ReplicaRuntime for ContainerReplicas {
    fn capabilities(&self) -> Capabilities {
        Capabilities { adopts: true, isolates: true }
    }

    fn start(&self, spec: &ReplicaSpec) -> Result<Arc<dyn Replica>, ReplicaError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if spec.name.is_empty() || spec.name.len() > NAME_LIMIT || !spec.name.chars().all(is_plain) {
            let name = spec.name.chars().take(NAME_LIMIT).collect::<String>();
            return Err(start(format!("{name:?} is no name of a replica")));
        }
        let engine = Engine::find().map_err(|error| told(&error, &spec.program))?;
        let id = self.create(&engine, spec)?;
        let begun = begin(&engine, &id).and_then(|found| {
            address(&found).ok_or_else(|| EngineError::Lost {
                what: "start a container",
                message: last_words(&engine, &id, &found.state.unwrap_or_default()),
            })
        });
        match begun {
            Ok(address) => Ok(Arc::new(ContainerReplica::new(engine, spec.name.clone(), id, address))),
            Err(error) => {
                // It never ran; a container that cannot be removed is found by its labels.
                let _ = remove(&engine, &id);
                Err(told(&error, &spec.program))
            }
        }
    }

    fn adopt(&self, owner: &str) -> Result<Vec<Adopted>, ReplicaError> {
        let engine = match Engine::find() {
            Ok(engine) => engine,
            // Nothing runs that could be found.
            Err(EngineError::Absent { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(told(&error, &ReplicaProgram::Serin)),
        };
        let told = |error| told(&error, &ReplicaProgram::Serin);
        let mut adopted = Vec::new();
        for container in containers(&engine, owner, Kind::Replica).map_err(told)? {
            let (Some(id), labels) = (container.id, container.labels.unwrap_or_default()) else { continue };
            let Some(found) = engine.inspect(&id).map_err(told)? else { continue };
            let has_ended = found.state.as_ref().is_none_or(has_ended);
            match address(&found).filter(|_| !has_ended) {
                Some(address) => {
                    let name = labels.get(NAME).cloned().unwrap_or_default();
                    let replica = ContainerReplica::new(engine.clone(), name, id, address);
                    adopted.push(Adopted { labels: further(&labels), replica: Arc::new(replica) });
                }
                None => remove(&engine, &id).map_err(told)?,
            }
        }
        Ok(adopted)
    }
}

impl ContainerReplica {
    /// Looks after it from here on: when it ended, what it said is kept and the container is removed.
    fn new(engine: Engine, name: String, id: String, address: ReplicaAddress) -> Self {
        let life = Arc::new(Life::default());
        let replica = Self { engine, name, id, address, life: life.clone() };
        replica.engine.begin(look_after(replica.engine.docker.clone(), replica.id.clone(), life));
        replica
    }
}

impl Replica for ContainerReplica {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &ReplicaAddress {
        &self.address
    }

    fn ended(&self) -> Option<ReplicaEnd> {
        self.life.ended.get().map(|ended| ended.end.clone())
    }

    fn stop(&self) {
        self.life.is_wanted.store(true, Ordering::SeqCst);
        let grace = i32::try_from(REPLICA_STOP_GRACE.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().signal("SIGTERM").t(grace).build();
        // The engine waits longer than it does for other calls.
        let docker = self.engine.docker.clone().with_timeout(REPLICA_STOP_GRACE + STOP_PATIENCE);
        let id = self.id.clone();
        self.engine.begin(async move {
            // One that ended meanwhile has ended.
            let _ = docker.stop_container(&id, Some(options)).await;
        });
    }

    fn kill(&self) {
        self.life.is_wanted.store(true, Ordering::SeqCst);
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        let _ = self
            .engine
            .call("kill a container", async move { docker.kill_container(&id, Some(options)).await });
    }

    fn usage(&self) -> Option<ReplicaUsage> {
        if self.life.ended.get().is_some() {
            return None;
        }
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        let asked = async move {
            let mut stats = Box::pin(docker.stats(&id, Some(options)));
            stats.next().await.transpose()
        };
        let (memory_bytes, cpu_time) = used(&self.engine.call("measure a container", asked).ok().flatten()?);
        Some(ReplicaUsage { cpu_time, memory_bytes })
    }

    fn last_output(&self) -> Option<String> {
        if let Some(ended) = self.life.ended.get() {
            return ended.said.clone();
        }
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        self.engine.call("read what a container said", async move { said(&docker, &id).await }).ok().flatten()
    }
}

/// Waits for the end of a replica, keeps what it said, and removes its container.
async fn look_after(docker: Docker, id: String, life: Arc<Life>) {
    let mut unanswered = 0;
    let reason = loop {
        match docker.inspect_container(&id, None).await {
            Ok(found) => {
                unanswered = 0;
                let state = found.state.unwrap_or_default();
                if has_ended(&state) {
                    break ending(&state);
                }
            }
            Err(error) if is_between_states(&error) => {}
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                break "its container was removed".to_owned();
            }
            Err(_) if unanswered >= UNANSWERED_LIMIT => {
                break "the container engine does not answer any more".to_owned();
            }
            Err(_) => unanswered += 1,
        }
        tokio::time::sleep(END_INTERVAL).await;
    };
    let said = said(&docker, &id).await.ok().flatten();
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    // What cannot be removed now is when replicas are looked for again.
    let _ = docker.remove_container(&id, Some(options)).await;
    let is_wanted = life.is_wanted.load(Ordering::SeqCst);
    // Nobody else says so.
    let _ = life.ended.set(Ended { end: ReplicaEnd { reason, is_wanted }, said });
}

fn ending(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or(0);
    match state.oom_killed {
        Some(true) => format!("it used more memory than it may (exit code {code})"),
        _ => format!("it ended with exit code {code}"),
    }
}

/// The last lines of a container.
async fn said(docker: &Docker, id: &str) -> Result<Option<String>, Error> {
    let lines = OutputTail::LIMIT_LINES.to_string();
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines).build();
    let mut logs = Box::pin(docker.logs(id, Some(options)));
    let mut tail = OutputTail::default();
    while let Some(item) = logs.next().await {
        let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) =
            item?
        else {
            continue;
        };
        String::from_utf8_lossy(&message).lines().for_each(|line| tail.push(line));
    }
    Ok(tail.text())
}

fn begin(engine: &Engine, id: &str) -> Result<ContainerInspectResponse, EngineError> {
    let (docker, name) = (engine.docker.clone(), id.to_owned());
    engine.call("start a container", async move { docker.start_container(&name, None).await })?;
    let gone = || EngineError::Lost { what: "start a container", message: "it is gone".to_owned() };
    // One that ended at once is tidied up in a moment; what it said is told then.
    for _ in 0..TIDY_LOOKS {
        let found = engine.inspect(id)?.ok_or_else(gone)?;
        let status = found.state.as_ref().and_then(|state| state.status);
        if status != Some(ContainerStateStatusEnum::STOPPING) {
            return Ok(found);
        }
        thread::sleep(TIDY_INTERVAL);
    }
    Err(EngineError::Slow { what: "start a container", limit: TIDY_INTERVAL * TIDY_LOOKS })
}

/// Where the engine leads the container's port to.
fn address(found: &ContainerInspectResponse) -> Option<ReplicaAddress> {
    let ports = found.network_settings.as_ref()?.ports.as_ref()?;
    let bindings = ports.get(&format!("{PORT}/tcp"))?.as_ref()?;
    let port = bindings.iter().find_map(|binding| binding.host_port.as_deref()?.parse::<u16>().ok())?;
    (port > 0).then(|| ReplicaAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

/// Why a container that was started does not run.
fn last_words(engine: &Engine, id: &str, state: &ContainerState) -> String {
    let (docker, id) = (engine.docker.clone(), id.to_owned());
    let said = engine.call("read what a container said", async move { said(&docker, &id).await });
    let said = said.ok().flatten().map(|text| format!(": {text}")).unwrap_or_default();
    format!("{}{said}", ending(state))
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, ReplicaError> {
    path.canonicalize().map_err(|error| start(format!("the model {}: {error}", path.display())))
}

fn start(reason: String) -> ReplicaError {
    ReplicaError::Start { reason }
}

fn told(error: &EngineError, program: &ReplicaProgram) -> ReplicaError {
    match (error, program) {
        (EngineError::Absent { tried }, _) => ReplicaError::NoEngine {
            reason: format!("no container engine answers (looked at {tried})"),
            fix:
                "install one and start it: apt-get install podman runc, then podman system service --time=0 \
                  unix:///run/podman/podman.sock, or set DOCKER_HOST"
                    .to_owned(),
        },
        (EngineError::Host { host }, _) => ReplicaError::NoEngine {
            reason: format!("DOCKER_HOST is {host:?}"),
            fix: "name a socket of this machine, as in unix:///run/podman/podman.sock".to_owned(),
        },
        (EngineError::NoImage { name }, ReplicaProgram::Serin) => {
            start(format!("there is no image {name}; make it with serin image build"))
        }
        _ => start(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bollard::models::NetworkSettings;

    use super::*;

    #[test]
    fn the_address_is_where_the_engine_leads_to() {
        let found = |bindings: Option<Vec<PortBinding>>| ContainerInspectResponse {
            network_settings: Some(NetworkSettings {
                ports: Some(HashMap::from([("8080/tcp".to_owned(), bindings)])),
                ..NetworkSettings::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let at = |port: &str| PortBinding { host_ip: None, host_port: Some(port.to_owned()) };
        let expected = ReplicaAddress::Tcp("127.0.0.1:40123".parse().unwrap());
        assert_eq!(address(&found(Some(vec![at(""), at("40123")]))), Some(expected));
        for none in [None, Some(vec![]), Some(vec![at("0")]), Some(vec![at("x")])] {
            assert_eq!(address(&found(none)), None);
        }
        assert_eq!(address(&ContainerInspectResponse::default()), None);
    }

    #[test]
    fn what_cannot_be_a_replica_is_refused_before_anything_is_asked() {
        let replicas = ContainerReplicas::new(ReplicaContainers::default());
        let spec = |name: &str, program| ReplicaSpec {
            directory: None,
            name: name.to_owned(),
            owner: "me".into(),
            labels: BTreeMap::new(),
            program,
            model: "/none".into(),
            scratch: "/none".into(),
            environment: Vec::new(),
            limits: crate::runtime::ReplicaLimits {
                memory_bytes: 1 << 30,
                processes: 10,
                open_files: 100,
                cpus: None,
            },
        };
        for name in ["", "a b", "../x", "Ü"] {
            let error = replicas.start(&spec(name, ReplicaProgram::Serin)).unwrap_err();
            assert!(error.to_string().contains("no name of a replica"), "{error}");
        }
        let command = spec("a", ReplicaProgram::Command(vec!["python3".into()]));
        let error = replicas.image(&command).unwrap_err();
        assert!(error.to_string().contains("not an image"), "{error}");
        assert_eq!(replicas.image(&spec("a", ReplicaProgram::Serin)).unwrap().name.as_str(), serin_image());
        assert!(replicas.image(&spec("a", ReplicaProgram::Image("-v".into()))).is_err());
    }
}
