//! Where the user's own programs run: a job is a command with limits, and a runtime carries it out and says how it ended.
//!
//! [`ProcessRuntime`] keeps a job's processes below a supervisor, which is this program once more: whatever happens to the
//! engine, `kill -9` included, no process of a job outlives it. The limits are against accidents (loops, leaks, floods),
//! not against enemies: a job has the rights of the user who runs the engine. [`container`] is for what is trusted less,
//! or brings an image: Docker or Podman keep it apart. [`LocalJobs`] takes whichever a job asks for.

pub mod container;
pub mod contract;
mod job;
mod local;
mod order;
mod outcome;
mod process;
mod process_replicas;
mod replica;
mod results;
mod supervise;
mod tree;

pub use job::{
    Cancel, JobContainer, JobLimits, JobMount, JobRuntime, JobSpec, OutputLine, OutputStream, OutputTail,
};
pub use local::LocalJobs;
pub use outcome::{JobEnd, JobError, JobOutcome};
pub use process::ProcessRuntime;
pub use process_replicas::ProcessReplicas;
pub use replica::{
    Adopted, Capabilities, REPLICA_STOP_GRACE, Replica, ReplicaAddress, ReplicaEnd, ReplicaError,
    ReplicaLimits, ReplicaProgram, ReplicaRuntime, ReplicaSpec, ReplicaUsage,
};
pub use results::{FoundFile, ResultError, ResultFolder, ResultLimits};
pub use supervise::{SuperviseError, supervise};
