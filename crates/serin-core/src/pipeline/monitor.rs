//! `monitor`: from now on the stage is watched against the baseline of the version that serves there.

use std::sync::Arc;

use super::documents::{BaselineOutput, DeployOutput, MonitorOutput};
use super::shape::WORK_VERSION;
use super::workshop::{Workshop, overtaken};
use crate::domain::{Run, RunKind};
use crate::engine::{Task, Work, WorkError};
use crate::store::{MonitorRecord, StepEnd};

/// The alias of the version that served last in the last stage.
const CHAMPION: &str = "champion";

#[derive(Debug)]
pub(super) struct Monitor(pub(super) Arc<Workshop>);

impl Work for Monitor {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let deployed: DeployOutput = self.0.input(task, &format!("deploy-{}", task.argument()))?;
        let version = self.0.version(task)?;
        if !Workshop::is_routed(task, &deployed.endpoint, version.number)? {
            return Err(overtaken(&deployed.endpoint));
        }
        let made_by = task.store.run(version.run)?;
        let baseline = match (task.run.kind, &made_by) {
            (RunKind::Train, _) => Some(self.0.input::<BaselineOutput>(task, "baseline")?.profile),
            // A version that was there already was made by a run with a baseline of its own.
            (_, Some(run)) => match run.output("baseline") {
                Some(output) => Some(self.0.get::<BaselineOutput>(output)?.profile),
                None => None,
            },
            (_, None) => None,
        };
        let now = task.moments.now();
        if let Some(baseline) = baseline {
            let monitor = MonitorRecord {
                project: task.run.project.clone(),
                stage: deployed.stage.clone(),
                endpoint: deployed.endpoint.clone(),
                version: version.number,
                baseline,
                since: now.wall,
            };
            task.store.switch_monitor(task.hold, &monitor, now)?;
        }
        if made_by.is_some_and(|run| is_last_stage(&run, task.argument())) {
            task.store.set_alias(&task.run.project, CHAMPION, Some(version.number), "the pipeline", now)?;
        }
        let output =
            self.0.put(MonitorOutput { endpoint: deployed.endpoint, version: version.number, baseline })?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}

/// Whether nothing is deployed to behind this stage.
fn is_last_stage(run: &Run, stage: &str) -> bool {
    run.pipeline
        .steps
        .iter()
        .rev()
        .find(|step| step.kind == "deploy")
        .is_some_and(|step| step.argument == stage)
}
