//! `approve`: a person is shown what would be deployed, and asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_ml::evaluate::Evaluation;

use super::documents::{
    ApprovalSheet, BaselineOutput, BuildOutput, Compared, EvaluateOutput, GateOutput, SourceOutput,
};
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::domain::{ApprovalSubject, Cause, ModelVersion};
use crate::engine::{Task, Work, WorkError};
use crate::store::{ApprovalRequest, StepEnd};

#[derive(Debug)]
pub(super) struct Approve(pub(super) Arc<Workshop>);

impl Work for Approve {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let build: BuildOutput = shop.input(task, "build")?;
        let version = shop.version(task)?;
        let gone = || WorkError::failed("internal", format!("{} is no stage of the plan", task.argument()));
        let stage = build.stages.iter().find(|stage| stage.name == task.argument()).ok_or_else(gone)?;
        let sheet = self.sheet(task, &build, &version)?;
        let shown = shop.put(&sheet)?;
        let asked_by = match &task.run.cause {
            Cause::Asked { by } => Some(by.clone()),
            _ => None,
        };
        Ok(StepEnd::Asked(Box::new(ApprovalRequest {
            subject: ApprovalSubject {
                project: task.run.project.clone(),
                stage: stage.name.clone(),
                version: version.number,
                revision: build.revision,
                bundle: version.artifact,
                shown,
            },
            valid: stage.approval_valid,
            needs_four_eyes: stage.four_eyes,
            asked_by,
        })))
    }
}

impl Approve {
    fn sheet(
        &self,
        task: &Task<'_>,
        build: &BuildOutput,
        version: &ModelVersion,
    ) -> Result<ApprovalSheet, WorkError> {
        let shop = &self.0;
        let source: SourceOutput = shop.input(task, "source")?;
        let evaluated: EvaluateOutput = shop.input(task, "evaluate")?;
        let baseline: BaselineOutput = shop.input(task, "baseline")?;
        let gate: GateOutput = shop.input(task, "gate")?;
        let champion = evaluated.champion.as_ref();
        let theirs = champion.and_then(|champion| champion.evaluation.as_ref());
        let their_rows = match champion {
            Some(champion) => self.class_rows_of(task, champion.number)?,
            None => BTreeMap::new(),
        };
        Ok(ApprovalSheet {
            stage: task.argument().to_owned(),
            project: task.run.project.clone(),
            version: version.number,
            bundle: version.bundle.clone(),
            revision: build.revision,
            commit: source.commit,
            data: shop.data(task)?,
            metrics: beside(metrics(&evaluated.evaluation), theirs.map(metrics).unwrap_or_default()),
            recall: beside(recalls(&evaluated.evaluation), theirs.map(recalls).unwrap_or_default()),
            champion: champion.map(|champion| champion.number),
            better_share: champion
                .and_then(|champion| champion.comparison.as_ref())
                .and_then(|comparison| comparison.probability_better),
            incomparable: champion.and_then(|champion| champion.incomparable.clone()),
            class_rows: beside(rows(&baseline.class_rows), rows(&their_rows)),
            findings: baseline.findings,
            gates: gate.findings,
        })
    }

    /// Training rows by class of an earlier version, if the run that made it is still known.
    fn class_rows_of(
        &self,
        task: &Task<'_>,
        version: crate::domain::VersionNumber,
    ) -> Result<BTreeMap<String, usize>, WorkError> {
        let Some(version) = task.store.version(version)? else { return Ok(BTreeMap::new()) };
        let output = task.store.run(version.run)?.and_then(|run| run.output("baseline"));
        let Some(output) = output else { return Ok(BTreeMap::new()) };
        Ok(self.0.get::<BaselineOutput>(output)?.class_rows)
    }
}

fn metrics(evaluation: &Evaluation) -> BTreeMap<String, f64> {
    let values = evaluation.metrics.iter();
    values.filter_map(|(metric, result)| Some((metric.to_string(), result.value?))).collect()
}

fn recalls(evaluation: &Evaluation) -> BTreeMap<String, f64> {
    let classes = evaluation.per_class.iter();
    classes.filter_map(|class| Some((class.class.clone(), class.recall.value?))).collect()
}

fn rows(rows: &BTreeMap<String, usize>) -> BTreeMap<String, f64> {
    rows.iter().map(|(class, rows)| (class.clone(), *rows as f64)).collect()
}

fn beside(challenger: BTreeMap<String, f64>, champion: BTreeMap<String, f64>) -> BTreeMap<String, Compared> {
    let mut sides: BTreeMap<String, Compared> = BTreeMap::new();
    for (name, value) in challenger {
        sides.entry(name).or_default().challenger = Some(value);
    }
    for (name, value) in champion {
        sides.entry(name).or_default().champion = Some(value);
    }
    sides
}
