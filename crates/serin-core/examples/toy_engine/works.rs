//! What the twelve steps do: little, but with everything that real ones do to the world.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serin_core::artifacts::Artifacts;
use serin_core::clock::Clock;
use serin_core::digest::Digest;
use serin_core::domain::{ApprovalSubject, VersionNumber};
use serin_core::engine::{Task, Work, WorkError, Works};
use serin_core::store::{
    ApprovalRequest, ListOptions, MonitorRecord, NewDecision, NewVersion, RouteChange, StepEnd,
};

use crate::faults::Faults;
use crate::{PROJECT, ledger};

/// Milliseconds of a step's work, times the pace.
const WORK_MILLISECONDS: u32 = 6;
/// Milliseconds from the first attempt at the timer to its end, times the pace.
const TIMER_MILLISECONDS: u32 = 40;
/// How often the flaky step fails.
const FAILURES: u32 = 2;

/// What works share.
#[derive(Debug)]
struct World {
    outside: PathBuf,
    artifacts: Artifacts,
    pace: u32,
    faults: Arc<Faults>,
}

/// One kind of step.
#[derive(Debug)]
struct Toy {
    world: Arc<World>,
    does: fn(&World, &Task<'_>) -> Result<Does, WorkError>,
}

/// What a kind adds to the usual.
enum Does {
    Make,
    Ask(Box<ApprovalRequest>),
}

pub(crate) fn all(
    outside: &Path,
    pace: u32,
    clock: &Arc<dyn Clock>,
    data: &Path,
    faults: &Arc<Faults>,
) -> Result<Works, Box<dyn std::error::Error>> {
    fs::create_dir_all(outside.join("effects"))?;
    let artifacts = Artifacts::open(data, clock.now())?;
    let world = Arc::new(World { outside: outside.to_owned(), artifacts, pace, faults: faults.clone() });
    let toy = |does| Arc::new(Toy { world: world.clone(), does });
    Ok(Works::default()
        .with("source", toy(source))
        .with("make", toy(|_, _| Ok(Does::Make)))
        .with("register", toy(register))
        .with("flaky", toy(flaky))
        .with("timer", toy(timer))
        .with("deploy", toy(deploy))
        .with("ask", toy(ask)))
}

impl Work for Toy {
    fn version(&self) -> u32 {
        1
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let world = &self.world;
        world.note("started", &format!("{} {}", task.effect_key(), task.attempt())).map_err(passing)?;
        world.faults.point();
        task.log.line("working");
        task.pause(Duration::from_millis(u64::from(WORK_MILLISECONDS * world.pace)))?;
        let does = (self.does)(world, task)?;

        let mut content = task.plan.name.clone();
        for step in &task.plan.after {
            content.push_str(&format!("\n{step} {}", task.input(step)?));
        }
        world.faults.point();
        let output = world.artifacts.put(content.as_bytes()).map_err(passing)?;
        world.faults.point();
        world.publish(&task.effect_key(), output).map_err(passing)?;
        world.faults.point();
        Ok(match does {
            Does::Make => StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() },
            Does::Ask(mut request) => {
                request.subject.shown = output;
                StepEnd::Asked(request)
            }
        })
    }
}

impl World {
    /// A line in the ledger, which is written at once or not at all.
    fn note(&self, what: &str, key: &str) -> io::Result<()> {
        let mut ledger = File::options().append(true).create(true).open(ledger(&self.outside))?;
        ledger.write_all(format!("{what} {key}\n").as_bytes())
    }

    /// The interface of somebody else, who does the same once a key, wholly or not at all, and counts how often it was
    /// asked.
    fn publish(&self, key: &str, output: Digest) -> io::Result<()> {
        self.note("published", key)?;
        let effects = self.outside.join("effects");
        let draft = tempfile::NamedTempFile::new_in(&self.outside)?;
        fs::write(draft.path(), output.to_string())?;
        match draft.persist_noclobber(effects.join(key.replace('/', "."))) {
            Err(refused) if refused.error.kind() != io::ErrorKind::AlreadyExists => Err(refused.error),
            _ => Ok(()),
        }
    }
}

fn source(_: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    task.store.set_revision(task.hold, revision())?;
    Ok(Does::Make)
}

fn register(_: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    let bundle = Digest::of(b"bundle");
    let version = NewVersion {
        project: PROJECT.to_owned(),
        bundle: bundle.to_string(),
        artifact: task.input("train")?,
        revision: revision(),
    };
    task.store.register_version(task.hold, &version, task.moments.now())?;
    Ok(Does::Make)
}

fn flaky(_: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    let failures = task.run.step(&task.plan.name).map_or(0, |step| step.failures);
    if failures < FAILURES {
        return Err(WorkError::passing("mood", "not now"));
    }
    let decision = NewDecision {
        project: PROJECT.to_owned(),
        run: Some(task.run.number),
        rule: "gate".to_owned(),
        inputs: serde_json::json!({ "failures": failures }),
        verdict: "pass".to_owned(),
        explanation: "it failed often enough".to_owned(),
    };
    task.store.record_decision(Some(task.hold), &decision, task.moments.now())?;
    Ok(Does::Make)
}

/// Waits from its first attempt on, not from the last.
fn timer(world: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    let now = task.moments.steady();
    let began = task.run.step(&task.plan.name).and_then(|step| step.first_began).unwrap_or(now);
    let until = began + Duration::from_millis(u64::from(TIMER_MILLISECONDS * world.pace));
    task.pause(until - now)?;
    Ok(Does::Make)
}

fn deploy(_: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    let (stage, version) = (task.argument().to_owned(), version(task)?);
    let change = RouteChange {
        project: PROJECT.to_owned(),
        endpoint: stage.clone(),
        stage: stage.clone(),
        variants: vec![("live".to_owned(), 1.0, version)],
        is_return: false,
        by: None,
        reason: "a run".to_owned(),
        part: "switch",
    };
    task.store.change_routes(task.hold, &change, task.moments.now())?;
    let monitor = MonitorRecord {
        project: PROJECT.to_owned(),
        endpoint: stage.clone(),
        stage,
        version,
        baseline: task.input("baseline")?,
        since: task.moments.wall(),
    };
    task.store.switch_monitor(task.hold, &monitor, task.moments.now())?;
    Ok(Does::Make)
}

fn ask(_: &World, task: &Task<'_>) -> Result<Does, WorkError> {
    let subject = ApprovalSubject {
        project: PROJECT.to_owned(),
        stage: "prod".to_owned(),
        version: version(task)?,
        revision: revision(),
        bundle: Digest::of(b"bundle"),
        shown: Digest::of(b""),
    };
    let valid = Duration::from_secs(3_600);
    Ok(Does::Ask(Box::new(ApprovalRequest { subject, valid, needs_four_eyes: true, asked_by: None })))
}

fn version(task: &Task<'_>) -> Result<VersionNumber, WorkError> {
    let versions = task.store.versions(&ListOptions::default())?;
    let of_run = versions.iter().find(|version| version.run == task.run.number);
    of_run.map(|version| version.number).ok_or_else(|| WorkError::failed("internal", "no version"))
}

fn revision() -> Digest {
    Digest::of(b"revision")
}

fn passing(error: impl std::fmt::Display) -> WorkError {
    WorkError::passing("disk", error.to_string())
}
