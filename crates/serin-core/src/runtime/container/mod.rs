//! Jobs and replicas in containers, by Docker or Podman.
//!
//! A container gets the least: a root file system that cannot be written to, no capability and no way to gain one, no
//! network unless it is asked for, the rights of the user who runs this program, and limits of memory, processors and
//! processes that the kernel keeps. It sees the folder of its job or its model and no other file of the machine.
//!
//! Nobody is told when this program is killed. So each container says whose it is: those of jobs are removed at the next
//! start ([`ContainerJobs::sweep`]), those of replicas are found again
//! ([`adopt`](crate::runtime::ReplicaRuntime::adopt)).

mod confine;
mod engine;
mod images;
mod jobs;
mod kernel;
mod owner;
mod replicas;

pub use engine::{Engine, EngineError};
pub use images::{Images, LoadedImage};
pub use jobs::ContainerJobs;
pub use owner::owner_of;
pub use replicas::{ContainerReplicas, PORT, ReplicaContainers, serin_image};
