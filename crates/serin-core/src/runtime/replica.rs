//! Model servers that run beside the gateway: what one is, and who runs it.
//!
//! A replica answers `/ping` and `/invocations` as SageMaker's serving containers do. The seam knows neither processes nor
//! containers; its implementations pass one suite, and say in [`Capabilities`] where they differ.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// How long a replica that is asked to stop may take before it is killed: SageMaker's 30 s.
pub const REPLICA_STOP_GRACE: Duration = Duration::from_secs(30);

/// A replica to start.
#[derive(Clone)]
pub struct ReplicaSpec {
    /// Unique among the replicas of an owner; lower-case letters, digits and hyphens.
    pub name: String,
    /// Whose it is: replicas that outlive their gateway are found again by this name of its data directory.
    pub owner: String,
    /// What else it is to be found by, such as the endpoint and the version.
    pub labels: BTreeMap<String, String>,
    pub program: ReplicaProgram,
    /// The folder with the model: `/opt/ml/model` of a container, read-only.
    pub model: PathBuf,
    /// The folder that a command runs in; `None`: its own, which is empty.
    pub directory: Option<PathBuf>,
    /// Where a socket and other files of the moment go; made and removed by the runtime.
    pub scratch: PathBuf,
    /// All of its environment besides what the contract sets.
    pub environment: Vec<(String, String)>,
    pub limits: ReplicaLimits,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaProgram {
    /// This program: one thread, a Unix socket or port 8080 of a container.
    Serin,
    /// A program of this machine: it listens on loopback, on the port that `SAGEMAKER_BIND_TO_PORT` names.
    Command(Vec<String>),
    /// A container image, by name or digest.
    Image(String),
}

/// What a replica may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaLimits {
    pub memory_bytes: u64,
    pub processes: u32,
    pub open_files: u64,
    /// Processors, such as 0.5; `None`: as many as there are.
    pub cpus: Option<f64>,
}

/// Where implementations differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Replicas outlive their gateway and are found again; otherwise they end with it.
    pub adopts: bool,
    /// A replica sees no files of the machine but its own.
    pub isolates: bool,
}

/// Where a replica answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaAddress {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What a replica took so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaUsage {
    pub cpu_time: Duration,
    pub memory_bytes: u64,
}

/// Starts replicas, and finds those again that outlived whoever started them. Every call may block, for seconds at most.
pub trait ReplicaRuntime: fmt::Debug + Send + Sync {
    fn capabilities(&self) -> Capabilities;

    /// Starts a replica; it need not answer yet.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, spec: &ReplicaSpec) -> Result<Arc<dyn Replica>, ReplicaError>;

    /// The replicas of `owner` that run, with their labels; none where [`Capabilities::adopts`] is false.
    ///
    /// # Errors
    /// When nobody can say.
    fn adopt(&self, owner: &str) -> Result<Vec<Adopted>, ReplicaError>;
}

/// A replica that was found again.
#[derive(Debug, Clone)]
pub struct Adopted {
    pub labels: BTreeMap<String, String>,
    pub replica: Arc<dyn Replica>,
}

/// One that was started. Where it cannot be adopted, it ends when the last handle is dropped.
pub trait Replica: fmt::Debug + Send + Sync {
    fn name(&self) -> &str;

    fn address(&self) -> &ReplicaAddress;

    /// How it ended, once it did.
    fn ended(&self) -> Option<ReplicaEnd>;

    /// Asks it to end, and kills it after a while, at most [`REPLICA_STOP_GRACE`]; does not wait for it. Whoever answers is to be drained
    /// before.
    fn stop(&self);

    /// Ends it at once.
    fn kill(&self);

    /// `None` when nobody can say.
    fn usage(&self) -> Option<ReplicaUsage>;

    /// The last lines it printed.
    fn last_output(&self) -> Option<String>;
}

/// How a replica ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaEnd {
    pub reason: String,
    /// It was asked to.
    pub is_wanted: bool,
}

/// Why a replica could not be started or found.
#[derive(Debug, Error)]
pub enum ReplicaError {
    #[error("{reason}")]
    Start { reason: String },
    /// Nothing that runs containers answers.
    #[error("{reason}; {fix}")]
    NoEngine { reason: String, fix: String },
}

impl fmt::Debug for ReplicaSpec {
    /// The values of the environment may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaSpec")
            .field("name", &self.name)
            .field("owner", &self.owner)
            .field("labels", &self.labels)
            .field("program", &self.program)
            .field("model", &self.model)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ReplicaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}
