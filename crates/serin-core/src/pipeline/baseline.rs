//! `baseline`: what the training rows are like, for the checks of today and the drift of tomorrow.

use std::sync::Arc;

use super::documents::{BaselineOutput, BuildOutput, DataRole};
use super::shape::WORK_VERSION;
use super::workshop::{Workshop, disk};
use crate::digest::Digest;
use crate::engine::{Task, Work, WorkError};
use crate::store::StepEnd;

/// Largest profile and summary that the job may leave.
const FILE_LIMIT_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Baseline(pub(super) Arc<Workshop>);

impl Work for Baseline {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let build: BuildOutput = shop.input(task, "build")?;
        let data = shop.data(task)?;
        let parts = (task.plan.version, "baseline", build.settings, &build.serin, &data);
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
        shop.lay_out(&folder, &build, &data)?;
        let rows = data.iter().enumerate().filter(|(_, file)| file.role == DataRole::Baseline);
        let rows: Vec<String> = rows.map(|(i, file)| format!("data/{}", file.work_name(i))).collect();
        let mut arguments = vec!["step", "baseline"];
        arguments.extend(rows.iter().flat_map(|row| ["--rows", row.as_str()]));
        shop.run_own(task, &folder, &arguments)?.expect("baseline_failed", &[0])?;
        let (profile, _) = shop.artifacts.put_file(&folder.path("out/profile.json"), FILE_LIMIT_BYTES)?;
        let summary =
            std::fs::read(folder.path("out/baseline.json")).map_err(|error| disk("the baseline", &error))?;
        let summary: BaselineOutput = serde_json::from_slice(&summary).map_err(|error| {
            WorkError::failed("internal", format!("the baseline cannot be read: {error}"))
        })?;
        let output = shop.put(BaselineOutput { profile, ..summary })?;
        Ok(StepEnd::Succeeded { output, key: Some(key), reused_from: None, further: Vec::new() })
    }
}
