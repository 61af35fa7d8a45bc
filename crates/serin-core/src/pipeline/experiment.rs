//! `experiment`: a trial of this run in the project's experiment, with its parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::documents::{BuildOutput, ExperimentOutput, SourceOutput};
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::engine::{Task, Work, WorkError};
use crate::store::{NewTrial, StepEnd};

#[derive(Debug)]
pub(super) struct Experiment(pub(super) Arc<Workshop>);

impl Work for Experiment {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let build: BuildOutput = self.0.input(task, "build")?;
        let source: SourceOutput = self.0.input(task, "source")?;
        let parameters = parameters(&build, &source);
        let trial = NewTrial { parameters: parameters.clone(), ..NewTrial::default() };
        task.store.put_trial(task.hold, &trial, task.moments.now())?;
        let output = self.0.put(ExperimentOutput { parameters })?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}

fn parameters(build: &BuildOutput, source: &SourceOutput) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::from([
        ("target".to_owned(), build.target.clone()),
        ("metric".to_owned(), build.metric.clone()),
        ("seed".to_owned(), build.seed.to_string()),
        ("recipe".to_owned(), build.recipe.to_string()),
        ("revision".to_owned(), build.revision.to_string()),
        ("serin".to_owned(), build.serin.clone()),
    ]);
    if let Some(commit) = &source.commit {
        parameters.insert("commit".to_owned(), commit.id.clone());
    }
    for (position, file) in build.data.iter().enumerate() {
        parameters.insert(file.work_name(position), file.digest.to_string());
    }
    parameters
}
