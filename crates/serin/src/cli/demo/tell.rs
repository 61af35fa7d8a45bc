//! The words of the demonstration.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serin_core::domain::{Run, RunState, StepState, VersionNumber};
use serin_core::pipeline::documents::{ApprovalSheet, Compared};
use serin_ml::dataset::Dataset;

use super::client::Answer;
use super::plant::Plant;
use super::{DemoArgs, printer};
use crate::gateway::lifecycle::Served;
use crate::gateway::server::Ended;

/// Metrics shown of a version.
const METRICS: [&str; 3] = ["macro-f1", "accuracy", "log-loss"];

/// One line about a step that ended.
pub(super) fn step(run: &Run, step: &str, seconds: f64) -> String {
    let what = match run.step(step).map(|step| &step.state) {
        Some(StepState::Succeeded { reused_from: Some(earlier), .. }) => format!("taken from run {earlier}"),
        Some(StepState::Failed { failure }) => format!("FAILED ({}): {}", failure.code, failure.reason),
        _ => "done".to_owned(),
    };
    format!("{step:<14} {seconds:>6.1} s  {what}")
}

/// What the approver is shown.
pub(super) fn sheet(sheet: &ApprovalSheet) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let rows = METRICS.iter().filter_map(|name| {
        let Compared { challenger, champion } = *sheet.metrics.get(*name)?;
        Some(vec![(*name).to_owned(), number(challenger), number(champion)])
    });
    let version = format!("version {}", sheet.version);
    let champion =
        sheet.champion.map_or_else(|| "nothing yet".to_owned(), |number| format!("version {number}"));
    let mut text = printer::table(&["metric", &version, &champion], rows);
    if let Some(commit) = &sheet.commit {
        let _ =
            write!(text, "\ncommit {} {:?}", commit.id.chars().take(12).collect::<String>(), commit.subject);
    }
    let _ = write!(text, "\nbundle {}, {} gate checks passed", &sheet.bundle[..12], sheet.gates.len());
    text
}

/// What the answers were.
pub(super) fn answers(
    rows: &Dataset,
    classes: &[String],
    answers: &[Answer],
    version: VersionNumber,
    address: SocketAddr,
    seconds: f64,
) -> String {
    let mut text = format!("version {version} on http://{address}/endpoints/prod/invocations\n");
    let _ = writeln!(text, "{} requests in {seconds:.2} s", answers.len());
    if let Some(labels) = &rows.labels {
        let is_right = |(answer, code): &(&Answer, &u32)| classes.get(**code as usize) == Some(&answer.class);
        let right = answers.iter().zip(&labels.codes).filter(is_right).count();
        let _ = writeln!(text, "{right} of {} answers are the true class", answers.len());
    }
    if let Some(answer) = answers.first() {
        let _ = writeln!(text, "the first answer: {}", answer.body.trim());
    }
    text
}

/// Two queries on the inference table, as any SQLite client would run them.
pub(super) fn rows(database: &Path) -> anyhow::Result<String> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let by_class = "select endpoint, predicted, count(*) as answers, round(avg(latency_us)) as latency_us \
                    from inferences where status = 200 group by 1, 2 order by 1 desc, 2";
    let mut statement = connection.prepare(by_class)?;
    let rows: Vec<Vec<String>> = statement
        .query_map([], |row| {
            let (endpoint, class): (String, String) = (row.get(0)?, row.get(1)?);
            let (count, latency): (i64, f64) = (row.get(2)?, row.get(3)?);
            Ok(vec![endpoint, class, count.to_string(), latency.to_string()])
        })?
        .collect::<Result<_, _>>()?;
    let mut text = format!("{by_class};\n\n");
    text.push_str(&printer::table(&["endpoint", "predicted", "answers", "latency_us"], rows));
    Ok(text)
}

/// What is said at the end.
pub(super) struct Summary {
    dir: String,
    data_dir: String,
    pub(super) requests: usize,
    outcome: String,
    rollouts: Vec<String>,
    drained: &'static str,
}

impl Summary {
    pub(super) fn new(args: &DemoArgs) -> Self {
        let data_dir = super::data_dir(&args.dir).display().to_string();
        let dir = args.dir.display().to_string();
        Self { dir, data_dir, requests: 0, outcome: String::new(), rollouts: Vec::new(), drained: "in part" }
    }

    /// How the run ended.
    pub(super) fn run(&mut self, run: &Run, plant: &Plant) -> anyhow::Result<()> {
        let score = plant.version_of(run.number)?.and_then(|version| {
            let value = version.metrics.get("macro-f1").copied()?;
            Some(format!("version {}: macro-f1 {value:.4} on rows it was not trained on; ", version.number))
        });
        let end = match &run.state {
            RunState::Succeeded => "in production".to_owned(),
            RunState::Failed { failure, .. } if failure.code == "not_acceptable" => {
                "the gate REFUSED it (see the report)".to_owned()
            }
            RunState::Failed { step, failure } => {
                format!("run {} failed in {step}: {}", run.number, failure.reason)
            }
            other => format!("run {} is {}", run.number, other.name()),
        };
        self.outcome = format!("{}{end}", score.unwrap_or_default());
        Ok(())
    }

    /// What more load led to.
    pub(super) fn loaded(&mut self, line: Option<String>) {
        self.rollouts.extend(line);
    }

    /// What drift led to.
    pub(super) fn watched(&mut self, line: Option<String>) {
        self.rollouts.extend(line);
    }

    /// What became of the versions after it.
    pub(super) fn rollouts(&mut self, outcome: &super::rollouts::Outcome) {
        self.requests += usize::try_from(outcome.requests - outcome.failed).unwrap_or_default();
        self.rollouts.extend(outcome.lines.iter().cloned());
    }

    pub(super) fn drained(&mut self, served: &Served) {
        if served.ended == Ended::Drained {
            self.drained = "cleanly";
        }
    }

    pub(super) fn text(&self, seconds: f64) -> String {
        let Self { dir, data_dir, requests, outcome, drained, rollouts } = self;
        let rollouts = rollouts.join("\n");
        format!(
            "{outcome}\n{rollouts}\n\
             {requests} requests answered and kept, drained {drained}; {seconds:.0} s in all\n\
             \n\
             the project    {dir}/serin.toml\n\
             the report     {dir}/out/report.html\n\
             the model      {dir}/out/model.serin\n\
             the answers    {data_dir}/inferences.db\n\
             the history    {data_dir}/control.db\n\
             \n\
             what to type next\n\
             serin up {dir}            # serves it again, and watches the repository\n\
             serin status; serin lineage 1; serin rollout explain; serin run --watch\n\
             serin monitor list; serin drift; serin quality --stage prod; serin alarms\n\
             serin inspect {dir}/out/model.serin\n\
             serin demo --data your.csv --target your_column"
        )
    }
}
