//! `gate`: whether the numbers are acceptable. The verdict is a function of what is recorded with it, so it can be made
//! again and compared.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serin_ml::evaluate::{
    ChampionComparison, DataFinding, Evaluation, GateInput, GateVerdict, Gates, InvalidGates, Overlap,
};

use super::documents::{BuildOutput, EvaluateOutput, GateOutput, RegisterOutput};
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::causes::in_one_line;
use crate::domain::VersionState;
use crate::engine::{Task, Work, WorkError};
use crate::store::{NewDecision, StepEnd};

#[derive(Debug)]
pub(super) struct Gate(pub(super) Arc<Workshop>);

/// Everything that the gate decides from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub gates: Gates,
    pub evaluation: Evaluation,
    pub overlap: Overlap,
    pub findings: Vec<DataFinding>,
    pub champion: Option<ChampionComparison>,
    /// On labelled live rows that were kept out of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<ChampionComparison>,
}

/// A verdict in words, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    pub verdict: String,
    /// The refusals with their numbers and thresholds, or how many checks were passed.
    pub explanation: String,
}

/// The verdict that follows.
///
/// # Errors
/// When the gates make no sense.
pub fn judge(judgement: &Judgement) -> Result<GateVerdict, InvalidGates> {
    let gates = judgement.gates.check()?;
    Ok(gates.judge(&GateInput {
        evaluation: &judgement.evaluation,
        overlap: judgement.overlap,
        data_findings: &judgement.findings,
        champion: judgement.champion.as_ref(),
        recent: judgement.recent.as_ref(),
    }))
}

impl Work for Gate {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let build: BuildOutput = self.0.input(task, "build")?;
        let evaluated: EvaluateOutput = self.0.input(task, "evaluate")?;
        let registered: RegisterOutput = self.0.input(task, "register")?;
        let judgement = Judgement {
            gates: build.gates,
            evaluation: evaluated.evaluation,
            overlap: evaluated.overlap,
            findings: evaluated.findings,
            champion: evaluated.champion.and_then(|champion| champion.comparison),
            recent: evaluated.recent,
        };
        let verdict =
            judge(&judgement).map_err(|error| WorkError::failed("configuration", in_one_line(&error)))?;
        let Ruling { verdict: said, explanation } = Ruling::from(&verdict);
        explanation.lines().for_each(|line| task.log.line(line));
        let inputs = serde_json::to_value(&judgement).map_err(|error| {
            WorkError::failed("internal", format!("the evaluation cannot be written: {error}"))
        })?;
        let decision = NewDecision {
            project: task.run.project.clone(),
            run: Some(task.run.number),
            rule: "gate".to_owned(),
            inputs,
            verdict: said,
            explanation: explanation.clone(),
        };
        let now = task.moments.now();
        let decision = task.store.record_decision(Some(task.hold), &decision, now)?;
        if !verdict.passed {
            let state = VersionState::Rejected {
                by: "the gate".to_owned(),
                reason: explanation.clone(),
                time: now.wall,
            };
            task.store.set_version_state(registered.number, &state, now)?;
            return Err(WorkError::failed("not_acceptable", explanation));
        }
        let output = self.0.put(GateOutput { decision, findings: verdict.findings })?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}

impl From<&GateVerdict> for Ruling {
    fn from(verdict: &GateVerdict) -> Self {
        if verdict.passed {
            let explanation = format!("all {} checks passed", verdict.findings.len());
            return Self { verdict: "acceptable".to_owned(), explanation };
        }
        let refusals = verdict.refusals().map(|finding| format!("{}: {}", finding.gate, finding.text));
        let explanation = refusals.collect::<Vec<_>>().join("\n");
        Self { verdict: "not acceptable".to_owned(), explanation }
    }
}
