//! `serin demo`: the whole story once, on an example or on the user's own file.

mod client;
mod project;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags};
use serin_core::capture::CaptureOptions;
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::Settings;
use serin_core::stages::{Trained, read_rows};
use serin_ml::dataset::{Dataset, ReadOptions};
use serin_ml::model::Bundle;
use tokio::sync::{mpsc, oneshot};

use super::args::DemoArgs;
use super::exit::Exit;
use super::serve::served_model;
use super::settings::Overrides;
use super::watch::Watch;
use super::{data, files, printer, train};
use crate::gateway::endpoint::{Endpoint, Snapshot};
use crate::gateway::lifecycle::{ServeOptions, Served, Signals, serve};
use crate::gateway::limits::Limits;
use client::Answer;

/// Rows sent to the served model.
const REQUEST_LIMIT: usize = 200;

/// Tells the story, step by step, and ends with a summary.
pub fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let clock = SystemClock::new();
    let mut story = Story { clock: &clock, step: 0 };

    story.step("A project");
    let project = project::write(args)?;
    story.tell(&project.description);

    let settings = Overrides::new()
        .set("train.budget", Some(args.budget.clone()), "--budget")
        .load(Some(&project.config))?;
    story.step("Check the data");
    let rows = check(&settings, &story)?;

    story.step("Train, select, evaluate and gate");
    let out = args.dir.join("out");
    let trained = train::train_and_write(&settings, None, &out)?;
    story.tell(&train::leaderboard_table(&trained, 8));
    story.tell("");
    story.tell(train::outcome(&trained).trim_end());

    story.step("Serve it, and send real requests");
    let data_dir = args.dir.join("serin-data");
    let served = serve_and_ask(&out.join("model.serin"), &settings, &rows, &data_dir)?;
    story.tell(&served.text);

    story.step("Every answer is a row in a SQL database");
    story.tell(&query(&served.database)?);

    story.step("Summary");
    story.tell(&summary(&trained, &served, args, clock.monotonic().as_secs_f64()));
    // What the gate says of the user's own data is their news, not a failure of the demonstration.
    Ok(Exit::Done)
}

/// Numbers the steps and says when they begin.
struct Story<'a> {
    clock: &'a SystemClock,
    step: usize,
}

impl Story<'_> {
    fn step(&mut self, title: &str) {
        self.step += 1;
        let seconds = self.clock.monotonic().as_secs_f64();
        let _ = printer::data(&format!("\n{}. {title}  ({seconds:.1} s)\n", self.step));
    }

    fn tell(&self, text: &str) {
        let indented: Vec<String> = text
            .lines()
            .map(|line| if line.is_empty() { String::new() } else { format!("   {line}") })
            .collect();
        let _ = printer::data(&indented.join("\n"));
    }
}

/// Reads the rows that will be sent, after showing what the checks find.
fn check(settings: &Settings, story: &Story<'_>) -> anyhow::Result<Dataset> {
    let watch = Watch::start(None);
    let options = serin_core::stages::read_options(&settings.data);
    let train = files::warned(read_rows(&settings.data.train, &options, &watch)?);
    let test = if settings.data.test.is_empty() {
        None
    } else {
        let options = ReadOptions {
            expected_schema: Some(train.schema.clone()),
            expected_classes: train.labels.as_ref().map(|labels| labels.classes.clone()),
            ..options
        };
        Some(read_rows(&settings.data.test, &options, &watch)?.dataset)
    };
    let found = serin_core::stages::check(settings, &train, test.as_ref());
    watch.finish();
    story.tell(data::summary(&train, test.as_ref(), &found).trim_end());
    Ok(test.unwrap_or(train))
}

/// What serving came to.
struct ServedDemo {
    text: String,
    database: std::path::PathBuf,
    requests: usize,
}

/// Serves the bundle on a free port, sends rows one by one and a batch, then drains it.
fn serve_and_ask(
    model: &Path,
    settings: &Settings,
    rows: &Dataset,
    data_dir: &Path,
) -> anyhow::Result<ServedDemo> {
    let bundle = files::read_model(model, None)?;
    let classes = bundle.card.classes.clone();
    let version = bundle.digest()[..12].to_owned();
    let options = ServeOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        tls: None,
        proxies: Vec::new(),
        capture: CaptureOptions::new(data_dir),
        limits: Limits::default(),
    };
    let bodies = bodies(&bundle, rows);
    let (name, model) = (settings.project.clone(), model.to_owned());
    let endpoints = Box::new(move || {
        let endpoint = Endpoint::of_one(&name, served_model(files::read_model(&model, None)?))?;
        Ok(Snapshot::new(vec![endpoint], None)?)
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (answers, seconds, address, served) = runtime.block_on(async {
        let (stop, stopped) = mpsc::channel(2);
        let (_, reload) = mpsc::channel(1);
        let (tell_address, address) = oneshot::channel();
        let signals = Signals { stop: stopped, reload };
        let server = tokio::spawn(serve(options, endpoints, clock.clone(), signals, move |ready| {
            let _ = tell_address.send(ready.address);
        }));
        let address = address.await.context("the server did not start")?;
        let started = clock.monotonic();
        let answers = client::ask(address, &bodies).await?;
        let seconds = (clock.monotonic() - started).as_secs_f64();
        stop.send(()).await.context("the server ended early")?;
        let served: Served = server.await??;
        anyhow::Ok((answers, seconds, address, served))
    })?;
    let text = told(rows, &classes, &answers, &version, address, seconds, &served);
    Ok(ServedDemo { text, database: CaptureOptions::new(data_dir).database(), requests: answers.len() })
}

/// The first rows as CSV request bodies, one row each.
fn bodies(bundle: &Bundle, rows: &Dataset) -> Vec<String> {
    let positions: Vec<usize> =
        bundle.card.schema.names().filter_map(|name| rows.schema.position(name)).collect();
    (0..rows.n_rows.min(REQUEST_LIMIT))
        .map(|row| {
            let cells = positions.iter().map(|&column| match rows.columns[column][row] {
                value if value.is_nan() => String::new(),
                value => value.to_string(),
            });
            cells.collect::<Vec<_>>().join(",")
        })
        .collect()
}

fn told(
    rows: &Dataset,
    classes: &[String],
    answers: &[Answer],
    version: &str,
    address: std::net::SocketAddr,
    seconds: f64,
    served: &Served,
) -> String {
    let mut text = format!("model {version} on http://{address}/invocations\n");
    let _ = writeln!(
        text,
        "{} requests in {seconds:.2} s, {} answered, {} refused, drained {}",
        answers.len(),
        served.answered,
        served.refused,
        if served.ended == crate::gateway::server::Ended::Drained { "cleanly" } else { "in part" },
    );
    if let Some(labels) = &rows.labels {
        let right = answers
            .iter()
            .zip(&labels.codes)
            .filter(|(answer, code)| classes.get(**code as usize) == Some(&answer.class))
            .count();
        let _ = writeln!(text, "{right} of {} answers are the true class", answers.len());
    }
    if let Some(answer) = answers.first() {
        let _ = writeln!(text, "the first answer: {}", answer.body.trim());
    }
    text
}

/// Two queries on the inference table, as any SQLite client would run them.
fn query(database: &Path) -> anyhow::Result<String> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let by_class = "select predicted, count(*) as answers, round(avg(latency_us)) as latency_us from inferences \
                    where status = 200 group by predicted order by predicted";
    let mut statement = connection.prepare(by_class)?;
    let rows: Vec<Vec<String>> = statement
        .query_map([], |row| {
            let (class, count, latency): (String, i64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(vec![class, count.to_string(), latency.to_string()])
        })?
        .collect::<Result<_, _>>()?;
    let mut text = format!("{by_class};\n\n");
    text.push_str(&printer::table(&["predicted", "answers", "latency_us"], rows));
    Ok(text)
}

fn summary(trained: &Trained, served: &ServedDemo, args: &DemoArgs, seconds: f64) -> String {
    let dir = args.dir.display();
    let card = &trained.bundle.card;
    let score =
        trained.evaluation.value(card.metric).map_or_else(|| "not measured".into(), |v| format!("{v:.4}"));
    let verdict =
        if trained.verdict.passed { "the gate let it pass" } else { "the gate REFUSED it (see the report)" };
    format!(
        "{} {score} on {} rows it was not trained on; {verdict}\n\
         {} requests answered and kept; {seconds:.0} s in all\n\
         \n\
         the project    {dir}/serin.toml\n\
         the report     {dir}/out/report.html\n\
         the model      {dir}/out/model.serin\n\
         the answers    {}\n\
         \n\
         what to type next\n\
         serin inspect {dir}/out/model.serin\n\
         serin evaluate --model {dir}/out/model.serin --data FILE\n\
         serin serve {dir}/out/model.serin --data-dir {dir}/serin-data\n\
         serin demo --data your.csv --target your_column",
        card.metric,
        trained.evaluation.rows,
        served.requests,
        served.database.display(),
    )
}
