//! Jobs of this machine, wherever each wants to run.

use std::path::Path;
use std::sync::Arc;

use super::container::ContainerJobs;
use super::job::{Cancel, JobRuntime, JobSpec, OutputLine};
use super::outcome::{JobError, JobOutcome};
use super::process::ProcessRuntime;
use crate::clock::Clock;
use crate::config::ImageSettings;

/// Jobs with an image run in containers, others as processes.
#[derive(Debug)]
pub struct LocalJobs {
    processes: ProcessRuntime,
    containers: ContainerJobs,
}

impl LocalJobs {
    /// For the jobs of `owner`, whose name [`super::container::owner_of`] makes of a data directory. `program` is this
    /// program.
    #[must_use]
    pub fn new(program: &Path, owner: String, clock: Arc<dyn Clock>) -> Self {
        let processes = ProcessRuntime::new(program.to_owned(), clock.clone());
        Self { processes, containers: ContainerJobs::new(owner, clock) }
    }

    /// Those in containers.
    #[must_use]
    pub fn containers(&self) -> &ContainerJobs {
        &self.containers
    }
}

impl JobRuntime for LocalJobs {
    fn run(
        &self,
        spec: &JobSpec,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<JobOutcome, JobError> {
        match &spec.container {
            Some(_) => self.containers.run(spec, cancel, output),
            None => self.processes.run(spec, cancel, output),
        }
    }

    fn pin(
        &self,
        image: &ImageSettings,
        project: &Path,
        cancel: &Cancel,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<String, JobError> {
        self.containers.pin(image, project, cancel, output)
    }
}
