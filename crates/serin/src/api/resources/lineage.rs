//! What a version comes from, what came of it, and how two of them differ.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serin_core::domain::{ModelVersion, Run};
use serin_core::pipeline::documents::{
    BaselineOutput, BuildOutput, EvaluateOutput, GateOutput, PrepareOutput, SourceOutput,
};
use serin_core::pipeline::read_document;
use serin_core::store::ListOptions;
use utoipa::IntoParams;

use super::super::ask::{Answer, Plane, Refused, answer, missing};
use super::super::extract::{Filter, Named};
use super::super::wire;
use super::experiments::trial;
use super::{runs, versions};
use crate::control::Control;

/// Two versions.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Pair {
    /// A version's number.
    left: u64,
    /// Another's.
    right: u64,
}

/// Reads what steps of a run left behind; what cannot be read is noted and left out.
struct Documents<'a> {
    control: &'a Control,
    run: &'a Run,
    problems: Vec<String>,
}

/// Everything that a version comes from, and everything that came of it.
#[utoipa::path(get, path = "/api/v1/versions/{version}/lineage", tag = "versions",
    params(("version" = u64, Path)), responses((status = 200, body = wire::Lineage)))]
pub async fn show_lineage(State(control): Plane, Named(number): Named<u64>) -> Answer<wire::Lineage> {
    answer(&control, move |control| lineage(control, number)).await
}

fn lineage(control: &Control, number: u64) -> Result<wire::Lineage, Refused> {
    let version = versions::found(control, number)?;
    let run = run_of(control, &version)?;
    let seen = runs::seen(control, &run)?;
    let mut documents = Documents { control, run: &run, problems: Vec::new() };
    let source: Option<SourceOutput> = documents.of("source");
    let build: Option<BuildOutput> = documents.of("build");
    let prepared: Option<PrepareOutput> = documents.of("prepare");
    let gate: Option<GateOutput> = documents.of("gate");
    let problems = documents.problems;
    let recipe = build.as_ref().map(|build| build.recipe.to_string());
    let data = prepared.map(|prepared| prepared.data).or(build.map(|build| build.data)).unwrap_or_default();
    let decision = match gate {
        Some(gate) => control.store.decision(gate.decision)?,
        None => decision_of(control, &run)?,
    };
    let periods = control.store.served_periods(version.number)?;
    Ok(wire::Lineage {
        run: wire::Run::brief(&run, seen.now),
        commit: source.and_then(|source| source.commit).map(wire::Commit::from),
        data: data.into_iter().map(wire::DataFile::from).collect(),
        recipe,
        parameters: trial(control, run.number)?.map(|trial| trial.parameters).unwrap_or_default(),
        steps: run.steps.iter().map(|step| wire::Step::new(&run, step, &seen)).collect(),
        decision: decision.map(wire::LineageDecision::from),
        approvals: approvals_of(control, &version)?,
        served: periods.into_iter().map(wire::Period::from).collect(),
        problems,
        version: (&version).into(),
    })
}

fn run_of(control: &Control, version: &ModelVersion) -> Result<Run, Refused> {
    control.store.run(version.run)?.ok_or_else(|| missing("run", version.run).into())
}

/// The gate's last decision in a run whose gate refused, and so left no document.
fn decision_of(control: &Control, run: &Run) -> Result<Option<serin_core::store::DecisionRecord>, Refused> {
    for event in control.store.events_of(run.number)?.iter().rev() {
        if let Some(number) = event.facts.get("decision").and_then(serde_json::Value::as_u64) {
            return Ok(control.store.decision(serin_core::domain::DecisionNumber(number))?);
        }
    }
    Ok(None)
}

/// Every approval that was asked for a version, the first first.
fn approvals_of(control: &Control, version: &ModelVersion) -> Result<Vec<wire::Approval>, Refused> {
    let mut options = ListOptions {
        project: Some(version.project.clone()),
        limit: ListOptions::LIMIT,
        ..ListOptions::default()
    };
    let mut found = Vec::new();
    loop {
        let approvals = control.store.approvals(&options)?;
        // None is older than the version it asks for.
        let is_reached = approvals.last().is_none_or(|last| last.created < version.created);
        options.before = approvals.last().map(|last| last.number.0);
        let mine = approvals.iter().filter(|approval| approval.subject.version == version.number);
        found.extend(mine.map(wire::Approval::from));
        if is_reached || approvals.len() < options.rows() as usize {
            found.reverse();
            return Ok(found);
        }
    }
}

/// Two versions side by side.
#[utoipa::path(get, path = "/api/v1/versions/compare", tag = "versions", params(Pair),
    responses((status = 200, body = wire::Comparison)))]
pub async fn compare_versions(State(control): Plane, Filter(pair): Filter<Pair>) -> Answer<wire::Comparison> {
    answer(&control, move |control| {
        let left = Side::read(control, pair.left)?;
        let right = Side::read(control, pair.right)?;
        Ok(wire::Comparison {
            metrics: wire::sides(&left.version.metrics, &right.version.metrics),
            recall: wire::sides(&left.recall, &right.recall),
            parameters: wire::differences(&left.parameters, &right.parameters),
            class_rows: wire::differences(&left.class_rows, &right.class_rows),
            problems: [left.problems, right.problems].concat(),
            left: left.version,
            right: right.version,
        })
    })
    .await
}

/// What is compared of a version.
struct Side {
    version: wire::Version,
    recall: BTreeMap<String, f64>,
    parameters: BTreeMap<String, String>,
    class_rows: BTreeMap<String, u64>,
    problems: Vec<String>,
}

impl Side {
    fn read(control: &Control, number: u64) -> Result<Self, Refused> {
        let version = versions::found(control, number)?;
        let run = run_of(control, &version)?;
        let mut documents = Documents { control, run: &run, problems: Vec::new() };
        let evaluated: Option<EvaluateOutput> = documents.of("evaluate");
        let baseline: Option<BaselineOutput> = documents.of("baseline");
        let problems = documents.problems;
        let classes = evaluated.map(|evaluated| evaluated.evaluation.per_class).unwrap_or_default();
        let rows = baseline.map(|baseline| baseline.class_rows).unwrap_or_default();
        Ok(Self {
            recall: classes
                .into_iter()
                .filter_map(|class| Some((class.class, class.recall.value?)))
                .collect(),
            parameters: trial(control, run.number)?.map(|trial| trial.parameters).unwrap_or_default(),
            class_rows: rows.into_iter().map(|(class, rows)| (class, rows as u64)).collect(),
            problems,
            version: (&version).into(),
        })
    }
}

impl Documents<'_> {
    fn of<T: DeserializeOwned>(&mut self, step: &str) -> Option<T> {
        let read = read_document(&self.control.artifacts, self.run.output(step)?);
        read.map_err(|error| self.problems.push(format!("run {}, {step}: {error}", self.run.number))).ok()
    }
}
