//! `prepare`: from raw data to training data, by the user's own program.

use std::sync::Arc;

use super::documents::{BuildOutput, PrepareOutput};
use super::own;
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::digest::Digest;
use crate::engine::{Task, Work, WorkError};
use crate::store::StepEnd;

#[derive(Debug)]
pub(super) struct Prepare(pub(super) Arc<Workshop>);

impl Work for Prepare {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let build: BuildOutput = shop.input(task, "build")?;
        let Some(settings) = &build.prepare else {
            return Err(WorkError::failed("internal", "the plan has no preparation"));
        };
        let parts = (task.plan.version, "prepare", build.recipe, &build.data);
        let key = Digest::of(&serde_json::to_vec(&parts).unwrap_or_default());
        if let Some((run, output)) = shop.earlier_output(task, key)? {
            return Ok(StepEnd::Succeeded {
                output,
                key: Some(key),
                reused_from: Some(run),
                further: Vec::new(),
            });
        }
        let folder = shop.folder(task)?;
        let (data, message) = own::prepare(shop, task, &folder, settings)?;
        let output = shop.put(PrepareOutput { data, message })?;
        Ok(StepEnd::Succeeded { output, key: Some(key), reused_from: None, further: Vec::new() })
    }
}
