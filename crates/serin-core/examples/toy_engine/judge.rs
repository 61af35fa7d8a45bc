//! Whether what is left of a run is what it should be, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serin_core::artifacts::Artifacts;
use serin_core::clock::Timestamp;
use serin_core::domain::{ApprovalState, AttemptEnd, EventKind, RunState, StepState};
use serin_core::routes::RouteDocument;
use serin_core::store::{ListOptions, SqliteStore, Store};

use crate::{STEPS, ledger};

/// Largest artifact of the toy.
const ARTIFACT_LIMIT_BYTES: u64 = 1 << 10;

/// The final state in words that are the same however often the engine died.
pub(crate) fn judge(data: &Path, outside: &Path) -> Result<String, Box<dyn Error>> {
    let store = SqliteStore::open(&data.join("serin.db"))?;
    let artifacts = Artifacts::open(data, Timestamp(0))?;
    let all = ListOptions::default();
    let runs = store.runs(&all)?;
    let [run] = runs.as_slice() else { return Err(format!("{} runs", runs.len()).into()) };
    let mut wrong = Vec::new();
    let mut summary = format!("run {} {} {:?}\n", run.number, run.state.name(), run.revision);
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    check(run.state == RunState::Succeeded, format!("the run is {:?}", run.state));
    check(run.steps.len() == STEPS.len(), format!("{} steps", run.steps.len()));

    for step in &run.steps {
        let name = &step.name;
        if let StepState::Succeeded { output, .. } = step.state {
            let content = artifacts.read(&output, ARTIFACT_LIMIT_BYTES);
            check(content.is_ok(), format!("{name}: its output is {content:?}"));
            let effect = outside.join("effects").join(format!("{}.{name}", run.number));
            check(fs::read_to_string(effect)? == output.to_string(), format!("{name}: another effect"));
            _ = writeln!(summary, "{name} {output}");
        } else {
            check(false, format!("{name} is {:?}", step.state));
        }
    }

    let mut ends = BTreeMap::new();
    for attempt in store.attempts(run.number)? {
        let end = match attempt.end {
            None => "open",
            Some(AttemptEnd::Succeeded | AttemptEnd::Asked) => "done",
            Some(AttemptEnd::Failed { .. }) => "failed",
            Some(AttemptEnd::Cancelled) => "cancelled",
            Some(AttemptEnd::Abandoned) => continue,
        };
        *ends.entry((attempt.step, end)).or_insert(0) += 1;
    }
    let mut expected: BTreeMap<_, _> =
        STEPS.iter().map(|&(name, ..)| ((name.to_owned(), "done"), 1)).collect();
    expected.insert(("evaluate".to_owned(), "failed"), 2);
    check(ends == expected, format!("attempts ended as {ends:?}"));

    let mut kinds = BTreeMap::new();
    let mut last = 0;
    for event in store.events(0, 1_000)? {
        check(event.number > last, format!("event {} comes after {last}", event.number));
        last = event.number;
        *kinds.entry(event.kind).or_insert(0) += 1;
    }
    for (kind, count) in [
        (EventKind::RunWanted, 1),
        (EventKind::RunStarted, 1),
        (EventKind::StepSucceeded, 11),
        (EventKind::StepRetried, 2),
        (EventKind::VersionRegistered, 1),
        (EventKind::ApprovalWanted, 1),
        (EventKind::ApprovalDecided, 1),
        (EventKind::Deployed, 2),
        (EventKind::DecisionMade, 1),
        (EventKind::RunSucceeded, 1),
    ] {
        let told = kinds.get(&kind).copied().unwrap_or(0);
        check(told == count, format!("{} was told {told} times", kind.name()));
    }

    let approvals = store.approvals(&all)?;
    let is_approved = |state: &ApprovalState| matches!(state, ApprovalState::Approved { .. });
    let approved = approvals.iter().filter(|approval| is_approved(&approval.state)).count();
    check((approvals.len(), approved) == (1, 1), format!("approvals: {approvals:?}"));
    let counts = (
        store.versions(&all)?.len(),
        store.deployments(&all)?.len(),
        store.decisions(&all)?.len(),
        store.monitors()?.len(),
    );
    check(counts == (1, 2, 1, 2), format!("versions, deployments, decisions, monitors: {counts:?}"));
    for endpoint in store.routes()?.iter().flat_map(RouteDocument::endpoints) {
        for variant in &endpoint.variants {
            _ = writeln!(summary, "{} serves version {}", endpoint.name, variant.model.number);
        }
    }

    let mut started = BTreeSet::new();
    for line in fs::read_to_string(ledger(outside))?.lines().filter(|line| line.starts_with("started")) {
        check(started.insert(line.to_owned()), format!("twice: {line}"));
    }
    if wrong.is_empty() { Ok(summary) } else { Err(wrong.join("\n").into()) }
}
