//! The engine that runs containers, Docker or Podman, asked by its socket.
//!
//! The rest of this package waits for what it calls; the client does not. So calls run on one thread of their own, and
//! whoever calls waits for the answer. That works from anywhere, other runtimes included.

use std::env;
use std::future::{Future, pending};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt as _};
use thiserror::Error as ThisError;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// How long the engine may take for one answer.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a socket may take to show that somebody is there.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// Items of a stream that wait for whoever takes them.
const WAITING_ITEMS: usize = 64;
/// Between two tries to hand over an item.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(2);
/// Characters of an answer of the engine that are told.
const MESSAGE_CHARACTERS: usize = 600;

/// The thread that talks to engines, once there is one.
static CALLS: Mutex<Option<Handle>> = Mutex::new(None);

/// A container engine of this machine that answered.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    calls: Handle,
    socket: PathBuf,
    /// `0` in a container is the user who runs the engine.
    is_rootless: bool,
}

/// Why an engine did not do what it was asked for.
#[derive(Debug, ThisError)]
pub enum EngineError {
    #[error(
        "no container engine answers (looked at {tried}); install one and start it: apt-get install podman runc, then podman \
         system service --time=0 unix:///run/podman/podman.sock, or set DOCKER_HOST"
    )]
    Absent { tried: String },
    #[error("DOCKER_HOST is {host:?}; name a socket of this machine, as in unix:///run/podman/podman.sock")]
    Host { host: String },
    #[error(
        "there is no image {name}; build it (serin image build --from FOLDER --tag {name}), load it into the engine, or set \
         pull = \"missing\""
    )]
    NoImage { name: String },
    #[error("the container engine refuses to {what} ({status}): {message}")]
    Refused { what: &'static str, status: u16, message: String },
    #[error("the container engine did not {what} within {} s", limit.as_secs())]
    Slow { what: &'static str, limit: Duration },
    #[error("the container engine failed to {what}: {message}")]
    Lost { what: &'static str, message: String },
    #[error("cannot {what}")]
    Disk { what: String, source: io::Error },
    #[error("{reason}")]
    Build { reason: String },
    /// Somebody asked for the end of what took long.
    #[error("cancelled")]
    Cancelled,
}

/// What comes from the engine bit by bit. Nothing comes any more once this is dropped.
pub(super) struct Follower<T> {
    items: Receiver<Result<T, Error>>,
    task: AbortHandle,
}

/// The other end of a [`Follower`].
pub(super) struct Teller<T> {
    told: SyncSender<Result<T, Error>>,
}

impl EngineError {
    /// A stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } | Self::Host { .. } => "no_container_engine",
            Self::NoImage { .. } => "no_image",
            Self::Build { .. } => "image_build",
            Self::Cancelled => "cancelled",
            Self::Refused { .. } | Self::Slow { .. } | Self::Lost { .. } => "container_engine",
            Self::Disk { .. } => "disk",
        }
    }

    /// Whether another attempt may go better: an engine that is being started, or has too much to do.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Slow { .. } | Self::Lost { .. } | Self::Disk { .. })
    }

    pub(super) fn of(what: &'static str, error: Error) -> Self {
        let shorten = |text: &str| text.trim().chars().take(MESSAGE_CHARACTERS).collect::<String>();
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { what, status: status_code, message: shorten(&message) }
            }
            Error::DockerStreamError { error } => Self::Lost { what, message: shorten(&error) },
            other => Self::Lost { what, message: shorten(&crate::causes::in_one_line(&other)) },
        }
    }

    /// The engine says that there is no such thing.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl Engine {
    /// The first engine that answers: that of `DOCKER_HOST`, else Docker's or Podman's usual sockets.
    ///
    /// # Errors
    /// When none does.
    pub fn find() -> Result<Self, EngineError> {
        let sockets = sockets(&|name| env::var(name).ok())?;
        let calls =
            calls().map_err(|source| EngineError::Disk { what: "start a thread".to_owned(), source })?;
        for socket in &sockets {
            if let Some(engine) = Self::at(socket, &calls) {
                return Ok(engine);
            }
        }
        let tried: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        Err(EngineError::Absent { tried: tried.join(", ") })
    }

    /// The engine that listens on `socket`, if one does.
    fn at(socket: &Path, calls: &Handle) -> Option<Self> {
        let docker =
            Docker::connect_with_unix(socket.to_str()?, CALL_LIMIT.as_secs(), API_DEFAULT_VERSION).ok()?;
        let greeting = async move {
            let docker = docker.negotiate_version().await?;
            let info = docker.info().await?;
            Ok((docker, info))
        };
        let (docker, info) = wait(calls, "answer", GREETING_LIMIT, greeting).ok()?;
        let is_rootless =
            info.security_options.unwrap_or_default().iter().any(|option| option.contains("rootless"));
        Some(Self { docker, calls: calls.clone(), socket: socket.to_owned(), is_rootless })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether `0` in its containers is the user who runs it, and nobody special outside.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.is_rootless
    }

    /// Does something and waits for it.
    pub(super) fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, EngineError> {
        wait(&self.calls, what, CALL_LIMIT, work)
    }

    /// A container as it is now; `None` when it is gone. One that is being tidied up counts as being stopped: how it ended is
    /// not known yet. That is not waited for here, because it may wait for whoever takes its output.
    pub(super) fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let (docker, id) = (self.docker.clone(), id.to_owned());
        let look = async move {
            match docker.inspect_container(&id, None).await {
                Err(error) if is_between_states(&error) => {
                    let status = Some(ContainerStateStatusEnum::STOPPING);
                    let state = Some(ContainerState { status, ..ContainerState::default() });
                    Ok(ContainerInspectResponse { state, ..ContainerInspectResponse::default() })
                }
                other => other,
            }
        };
        match self.call("look at a container", look) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does something that nobody waits for.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.calls.spawn(work);
    }

    /// Takes what comes bit by bit; while nobody takes it, the engine waits.
    pub(super) fn follow<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Error>> + Send + 'static,
    ) -> Follower<T> {
        self.follow_work(|teller| async move { teller.tell_all(stream).await })
    }

    /// The same for what is only there while something is being done.
    pub(super) fn follow_work<T: Send + 'static, W: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl FnOnce(Teller<T>) -> W,
    ) -> Follower<T> {
        let (told, items) = sync_channel(WAITING_ITEMS);
        let task = self.calls.spawn(work(Teller { told }));
        Follower { items, task: task.abort_handle() }
    }
}

impl<T: Send> Teller<T> {
    /// Hands over everything, until nobody wants it any more.
    pub(super) async fn tell_all(self, stream: impl Stream<Item = Result<T, Error>> + Send) {
        let mut stream = Box::pin(stream);
        while let Some(item) = stream.next().await {
            let mut waiting = item;
            loop {
                match self.told.try_send(waiting) {
                    Ok(()) => break,
                    Err(TrySendError::Disconnected(_)) => return,
                    Err(TrySendError::Full(item)) => {
                        waiting = item;
                        tokio::time::sleep(HAND_OVER_INTERVAL).await;
                    }
                }
            }
        }
    }
}

impl<T> Follower<T> {
    /// The next item; `Timeout` when none came in time, `Disconnected` at the end.
    pub(super) fn next(&self, patience: Duration) -> Result<Result<T, Error>, RecvTimeoutError> {
        self.items.recv_timeout(patience)
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a container ended. One that is being stopped does not run for Podman any more, and has not ended.
pub(super) fn has_ended(state: &ContainerState) -> bool {
    use ContainerStateStatusEnum as Status;
    match state.status {
        Some(Status::EXITED | Status::DEAD) => true,
        None | Some(Status::EMPTY) => state.running != Some(true),
        Some(_) => false,
    }
}

/// Whether an answer is of a moment that has no name: Podman calls a container that ended and is not tidied up yet
/// `stopped`, which is none of Docker's words.
pub(super) fn is_between_states(error: &Error) -> bool {
    matches!(error, Error::JsonDataError { message, .. } if message.contains("`stopped`"))
}

/// Where engines may listen.
fn sockets(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<PathBuf>, EngineError> {
    if let Some(host) = variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
        return match host.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(vec![PathBuf::from(path)]),
            _ => Err(EngineError::Host { host }),
        };
    }
    let of_user = variable("XDG_RUNTIME_DIR").filter(|folder| folder.starts_with('/'));
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    sockets.extend(of_user.map(|folder| Path::new(&folder).join("podman/podman.sock")));
    sockets.push(PathBuf::from("/run/podman/podman.sock"));
    Ok(sockets)
}

/// The thread that talks to engines: one for all of them, and it stays.
fn calls() -> io::Result<Handle> {
    let mut kept = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*kept {
        return Ok(handle.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("containers".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
    *kept = Some(handle.clone());
    Ok(handle)
}

fn wait<T: Send + 'static>(
    calls: &Handle,
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, EngineError> {
    let (told, answer) = sync_channel(1);
    calls.spawn(async move {
        // Whoever asked waits until there is an answer.
        let _ = told.send(tokio::time::timeout(limit, work).await);
    });
    match answer.recv() {
        Ok(Ok(done)) => done.map_err(|error| EngineError::of(what, error)),
        Ok(Err(_)) => Err(EngineError::Slow { what, limit }),
        Err(_) => Err(EngineError::Lost { what, message: "the call was given up".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_those_that_are_said_or_usual() {
        let at = |host: &'static str, folder: &'static str| {
            sockets(&|name| match name {
                "DOCKER_HOST" => Some(host.to_owned()),
                "XDG_RUNTIME_DIR" => Some(folder.to_owned()),
                _ => None,
            })
        };
        assert_eq!(at("unix:///x/y.sock", "").unwrap(), [Path::new("/x/y.sock")]);
        let usual = ["/var/run/docker.sock", "/run/user/7/podman/podman.sock", "/run/podman/podman.sock"];
        assert_eq!(at("", "/run/user/7").unwrap(), usual.map(PathBuf::from));
        for host in ["tcp://1.2.3.4:2375", "unix://x.sock", "ssh://a@b"] {
            let error = at(host, "").unwrap_err();
            assert!(error.to_string().contains(host) && !error.may_retry(), "{error}");
        }
    }

    #[test]
    fn a_container_that_is_being_stopped_has_not_ended() {
        use ContainerStateStatusEnum as Status;
        let state = |status, running| ContainerState { status, running: Some(running), ..Default::default() };
        for (status, running, ended) in [
            (Some(Status::RUNNING), true, false),
            (Some(Status::STOPPING), false, false),
            (Some(Status::EXITED), false, true),
            (Some(Status::DEAD), false, true),
            (None, false, true),
            (None, true, false),
        ] {
            assert_eq!(has_ended(&state(status, running)), ended, "{status:?} {running}");
        }
        let message = "unknown variant `stopped`, expected one of ``, `created`".to_owned();
        assert!(is_between_states(&Error::JsonDataError { message, column: 1 }));
        assert!(!is_between_states(&Error::RequestTimeoutError));
    }

    #[test]
    fn a_missing_engine_is_named_with_what_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let calls = calls().unwrap();
        assert!(Engine::at(&folder.path().join("none.sock"), &calls).is_none());
        // Somebody who listens and says nothing is no engine either, and is not waited for without a limit.
        let socket = folder.path().join("deaf.sock");
        let deaf = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let hung_up = thread::spawn(move || drop(deaf.accept()));
        assert!(Engine::at(&socket, &calls).is_none());
        hung_up.join().unwrap();
        let told = EngineError::Absent { tried: "/run/x".into() };
        assert!(told.to_string().contains("apt-get install podman runc") && told.may_retry());
    }
}
