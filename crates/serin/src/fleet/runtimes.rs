//! Who runs the replicas of a version.

use std::path::Path;
use std::sync::Arc;

use serin_core::clock::Clock;
use serin_core::config::{CommandSettings, ReplicaRuntimeKind};
use serin_core::runtime::container::{ContainerReplicas, ReplicaContainers};
use serin_core::runtime::{ProcessReplicas, ReplicaProgram, ReplicaRuntime};

/// The runtime for replicas of `program` (`None`: Serin's own), and what it is to start. `own` is this program.
#[must_use]
pub fn runtime_of(
    program: Option<&CommandSettings>,
    kind: ReplicaRuntimeKind,
    own: &Path,
    clock: Arc<dyn Clock>,
) -> (Arc<dyn ReplicaRuntime>, ReplicaProgram) {
    let image = program.and_then(|program| program.image.as_ref());
    if let (Some(image), Some(program)) = (image, program) {
        let containers =
            ReplicaContainers { settings: Some(image.clone()), command: program.command.clone() };
        // What the plan was frozen with, whatever the name stands for by now.
        let name = image.pinned.clone().unwrap_or_else(|| image.name.to_string());
        return (Arc::new(ContainerReplicas::new(containers)), ReplicaProgram::Image(name));
    }
    let what =
        program.map_or(ReplicaProgram::Serin, |program| ReplicaProgram::Command(program.command.clone()));
    match kind {
        ReplicaRuntimeKind::Container => {
            (Arc::new(ContainerReplicas::new(ReplicaContainers::default())), what)
        }
        ReplicaRuntimeKind::InProcess | ReplicaRuntimeKind::Process => {
            (Arc::new(ProcessReplicas::new(own.to_owned(), clock)), what)
        }
    }
}
