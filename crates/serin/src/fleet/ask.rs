//! Many rows asked of one replica that is started for it: how a model is judged that only a program of its own can ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serin_core::clock::Clock;
use serin_core::config::{CommandSettings, ReplicaRuntimeKind};
use serin_core::runtime::{Replica, ReplicaLimits, ReplicaSpec};
use serin_ml::matrix::Matrix;
use tokio::time::{sleep, timeout};

use super::connection::Connections;
use super::runtimes::runtime_of;
use super::wire::Dialect;

/// Rows of one question.
const ROWS: usize = 100;
/// For one of them: SageMaker's.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// For a ping.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// For the replica to end.
const END_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A program that answers for a model, with its files.
#[derive(Debug, Clone)]
pub struct Server {
    pub program: CommandSettings,
    /// The files that training left.
    pub model: PathBuf,
    /// Where a command runs.
    pub code: Option<PathBuf>,
}

/// What it answered.
#[derive(Debug)]
pub struct Said {
    /// Rows x classes; a class that was named without any has all of it.
    pub probabilities: Matrix,
    pub decisions: Vec<u32>,
    pub has_probabilities: bool,
}

impl Server {
    /// Starts a replica, asks it all rows of `x`, and ends it.
    ///
    /// # Errors
    /// When it does not start, or does not answer a question; with what it printed last.
    pub fn ask(
        &self,
        own: &Path,
        clock: &Arc<dyn Clock>,
        classes: &[String],
        x: &Matrix,
    ) -> anyhow::Result<Said> {
        let scratch = short_folder(clock)?;
        let (runtime, program) =
            runtime_of(Some(&self.program), ReplicaRuntimeKind::Process, own, clock.clone());
        let spec = ReplicaSpec {
            name: "asked".to_owned(),
            owner: format!("step-{}", std::process::id()),
            labels: [("purpose".to_owned(), "evaluation".to_owned())].into(),
            program,
            model: std::path::absolute(&self.model)?,
            directory: self.code.as_ref().map(std::path::absolute).transpose()?,
            scratch: scratch.clone(),
            environment: self.program.environment.clone().into_iter().collect(),
            limits: ReplicaLimits {
                memory_bytes: self.program.memory_limit_bytes,
                processes: self.program.processes,
                open_files: 4_096,
                cpus: None,
            },
        };
        let replica = runtime.start(&spec).context("the program of the model cannot be started")?;
        let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = tasks.block_on(converse(&*replica, self.program.time_limit, classes, x));
        let output = replica.last_output();
        replica.kill();
        let until = clock.monotonic() + END_LIMIT;
        while replica.ended().is_none() && clock.monotonic() < until {
            std::thread::sleep(PAUSE);
        }
        let _ = std::fs::remove_dir_all(scratch);
        said.map_err(|error| match output {
            Some(output) => error.context(format!("the program of the model printed: {output}")),
            None => error,
        })
    }
}

/// A short path of this process's own.
fn short_folder(clock: &Arc<dyn Clock>) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("serin-ask-{}-{:x}", std::process::id(), clock.now().0));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

async fn converse(
    replica: &dyn Replica,
    start_limit: Duration,
    classes: &[String],
    x: &Matrix,
) -> anyhow::Result<Said> {
    let connections = Connections::new(replica.address().clone());
    timeout(start_limit, ready(replica, &connections)).await.map_err(|_| {
        anyhow!("the program of the model did not answer /ping within {} s", start_limit.as_secs())
    })??;
    let dialect = Dialect::SageMaker;
    let (width, n_classes) = (x.n_columns(), classes.len());
    let mut probabilities = Vec::with_capacity(x.n_rows() * n_classes);
    let mut decisions = Vec::with_capacity(x.n_rows());
    let mut has_probabilities = true;
    for (part, rows) in x.values().chunks(ROWS * width.max(1)).enumerate() {
        let n_rows = rows.len() / width.max(1);
        let first = part * ROWS + 1;
        let asked = connections.invoke(
            dialect,
            dialect.ask(rows, width),
            dialect.answer_limit(n_rows, n_classes),
            ANSWER_LIMIT,
        );
        let reply = timeout(ANSWER_LIMIT, asked)
            .await
            .map_err(|_| {
                anyhow!("rows from {first} on were not answered within {} s", ANSWER_LIMIT.as_secs())
            })?
            .map_err(|no_reply| anyhow!("rows from {first} on were not answered: {}", no_reply.reason))?;
        if !reply.status.is_success() {
            let said: String = String::from_utf8_lossy(&reply.body).chars().take(512).collect();
            bail!("rows from {first} on were answered with status {}: {said}", reply.status);
        }
        let judged = dialect
            .read(&reply.content_type, &reply.body, n_rows, classes)
            .with_context(|| format!("the answer to the rows from {first} on is none"))?;
        if judged.probabilities.is_empty() {
            has_probabilities = false;
            for class in &judged.chosen {
                probabilities.extend((0..n_classes).map(|other| f64::from(u8::from(other == *class))));
            }
        } else {
            probabilities.extend(judged.probabilities);
        }
        decisions.extend(judged.chosen.iter().map(|class| u32::try_from(*class).unwrap_or(u32::MAX)));
    }
    Ok(Said {
        probabilities: Matrix::new(x.n_rows(), n_classes, probabilities),
        decisions,
        has_probabilities,
    })
}

async fn ready(replica: &dyn Replica, connections: &Connections) -> anyhow::Result<()> {
    loop {
        if let Some(end) = replica.ended() {
            bail!("the program of the model {}", end.reason);
        }
        if let Ok(Ok(())) = timeout(PING_LIMIT, connections.ping()).await {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}
