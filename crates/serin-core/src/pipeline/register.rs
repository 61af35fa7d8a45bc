//! `register`: the bundle as a numbered version of the registry, pending.

use std::sync::Arc;

use super::documents::{BuildOutput, RegisterOutput, TrainOutput};
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::engine::{Task, Work, WorkError};
use crate::store::{NewTrial, NewVersion, StepEnd};

#[derive(Debug)]
pub(super) struct Register(pub(super) Arc<Workshop>);

impl Work for Register {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let build: BuildOutput = self.0.input(task, "build")?;
        let trained: TrainOutput = self.0.input(task, "train")?;
        let TrainOutput { artifact, bundle, files, .. } = trained;
        let version = NewVersion {
            project: task.run.project.clone(),
            bundle: bundle.clone(),
            artifact,
            revision: build.revision,
        };
        let number = task.store.register_version(task.hold, &version, task.moments.now())?;
        let mut artifacts = files;
        artifacts.insert("model.serin".to_owned(), artifact);
        let trial = NewTrial { artifacts, ..NewTrial::default() };
        task.store.put_trial(task.hold, &trial, task.moments.now())?;
        task.log.line(&format!("version {number} is bundle {}", &bundle[..bundle.len().min(12)]));
        let output = self.0.put(RegisterOutput { number, artifact, bundle })?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}
