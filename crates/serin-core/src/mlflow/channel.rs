//! The mirror as a channel of the outbox: when a training run is over, its trial is copied, and copied again until the
//! server took it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Mirror, MirrorError, TrialArtifact, TrialMetric, TrialRecord, TrialStatus};
use crate::artifacts::Artifacts;
use crate::domain::{EventKind, Notice, Run, RunKind, RunState};
use crate::notify::{Channel, SendError};
use crate::store::{ListOptions, Store, StoreError};

/// Its name among the channels.
const NAME: &str = "mlflow";
/// Artifacts up to this size are copied; the model stays in Serin's store.
const ARTIFACT_LIMIT_BYTES: u64 = 8 << 20;
/// What is copied of them.
const ARTIFACTS: [&str; 3] = ["report.html", "evaluation.json", "leaderboard.json"];

/// The events after which a trial is copied.
pub const MIRRORED: [EventKind; 3] = [EventKind::RunSucceeded, EventKind::RunFailed, EventKind::RunCancelled];

/// Copies trials to a tracking server.
pub struct MirrorChannel {
    mirror: Mirror,
    store: Arc<dyn Store>,
    artifacts: Arc<Artifacts>,
}

impl MirrorChannel {
    /// A channel to this server.
    #[must_use]
    pub fn new(mirror: Mirror, store: Arc<dyn Store>, artifacts: Arc<Artifacts>) -> Self {
        Self { mirror, store, artifacts }
    }

    /// What is known of a run; `None`: it never became a trial.
    fn trial(&self, run: &Run) -> Result<Option<TrialRecord>, StoreError> {
        let list = ListOptions { before: Some(run.number.0 + 1), limit: 1, ..ListOptions::default() };
        let found = self.store.trials(&ListOptions { project: Some(run.project.clone()), ..list })?;
        let Some(found) = found.into_iter().find(|trial| trial.run == run.number) else { return Ok(None) };
        let ended = run.ended.unwrap_or(found.created);
        let metrics = found.metrics.into_iter();
        let metrics = metrics.map(|(key, value)| TrialMetric { key, value, step: 0, time: ended });
        let files = found.artifacts.iter().filter(|(name, _)| ARTIFACTS.contains(&name.as_str()));
        let artifacts = files.filter_map(|(name, digest)| {
            let bytes = self.artifacts.read(digest, ARTIFACT_LIMIT_BYTES).ok()?;
            Some(TrialArtifact { name: name.clone(), bytes })
        });
        Ok(Some(TrialRecord {
            experiment: found.experiment,
            trial: format!("{}-run-{}", run.project, run.number),
            status: match run.state {
                RunState::Succeeded => TrialStatus::Finished,
                RunState::Cancelled { .. } | RunState::Superseded { .. } => TrialStatus::Killed,
                _ => TrialStatus::Failed,
            },
            began: run.created,
            ended,
            metrics: metrics.collect(),
            tags: BTreeMap::from([
                ("serin.run".to_owned(), run.number.to_string()),
                ("serin.cause".to_owned(), run.cause.to_string()),
            ]),
            artifacts: artifacts.collect(),
            parameters: found.parameters,
        }))
    }
}

impl Channel for MirrorChannel {
    fn name(&self) -> &str {
        NAME
    }

    fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let unreadable = |error: StoreError| SendError::Unreachable(Box::new(error));
        let Some(number) = notice.event.run else { return Ok(()) };
        let Some(run) = self.store.run(number).map_err(unreadable)? else { return Ok(()) };
        if run.kind != RunKind::Train {
            return Ok(());
        }
        let Some(trial) = self.trial(&run).map_err(unreadable)? else { return Ok(()) };
        match self.mirror.record(&trial) {
            Ok(mirrored) => {
                for left_out in mirrored.left_out {
                    tracing::info!(
                        run = number.0,
                        mlflow.left_out = left_out,
                        "the tracking server has no place for it"
                    );
                }
                Ok(())
            }
            Err(MirrorError::Unanswered { source, .. }) => Err(source),
            Err(MirrorError::Refused { status, .. }) => Err(SendError::Refused { status, retry_after: None }),
            Err(MirrorError::Secret(error)) => Err(error.into()),
            Err(error) if error.may_retry() => Err(SendError::Unreachable(Box::new(error))),
            Err(error) => Err(SendError::Unwritable { problem: error.to_string() }),
        }
    }
}

impl fmt::Debug for MirrorChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MirrorChannel")
    }
}
