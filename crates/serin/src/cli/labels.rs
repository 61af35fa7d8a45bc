//! `serin labels import`: true classes from a CSV file to captured rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serin_core::capture::{
    Capture, CaptureOptions, LABEL_ID_LONGEST, LABEL_LONGEST, LABELS_AT_ONCE, Label, LabelCounts,
    OpenCaptureError, Serving,
};
use serin_core::clock::{Clock, SystemClock, Timestamp};

use super::args::{LabelsCommand, LabelsImportArgs};
use super::client::Client;
use super::exit::Exit;
use super::printer;
use super::query::{data_dir, existing_database};

/// Most rows of a file: they are held in memory until all of them are checked.
const LABELS_OF_A_FILE: usize = 2_000_000;

/// The body of `POST /labels`.
#[derive(Serialize)]
struct LabelsBody<'a> {
    labels: &'a [Label],
}

/// What is printed.
#[derive(Default, Serialize)]
struct ImportView {
    /// Rows of the file.
    rows: u64,
    /// Rows that say the same as one before.
    repeated: u64,
    #[serde(flatten)]
    counts: LabelCounts,
}

/// Runs the command.
pub(super) fn run(command: &LabelsCommand) -> anyhow::Result<Exit> {
    let LabelsCommand::Import(args) = command;
    let data_dir = data_dir(&args.place)?;
    existing_database(&data_dir)?;
    let (labels, repeated) = read(args).with_context(|| args.file.display().to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let counts = match Capture::open(&CaptureOptions::new(&data_dir), clock.clone()) {
        Ok(capture) => attach(&capture, &labels, clock.now())?,
        // One process writes the table: it is asked.
        Err(OpenCaptureError::InUse { .. }) => send(&data_dir, &labels)?,
        Err(error) => return Err(error.into()),
    };
    let view = ImportView { rows: labels.len() as u64 + repeated, repeated, counts };
    if args.json {
        printer::data(&serde_json::to_string_pretty(&view)?)?;
        return Ok(Exit::Done);
    }
    let LabelCounts { attached, waiting, corrected, unchanged } = view.counts;
    printer::data(&format!(
        "{} rows: {attached} attached, {corrected} corrected, {unchanged} unchanged, {waiting} wait for a row with \
         their id, {repeated} repeated",
        view.rows
    ))?;
    Ok(Exit::Done)
}

fn attach(capture: &Capture, labels: &[Label], now: Timestamp) -> anyhow::Result<LabelCounts> {
    let mut counts = LabelCounts::default();
    for batch in labels.chunks(LABELS_AT_ONCE) {
        add(&mut counts, capture.attach_labels(batch, now)?);
    }
    Ok(counts)
}

/// Hands the labels to the server of the data directory, batch by batch. A batch that was taken twice changes nothing.
fn send(data_dir: &Path, labels: &[Label]) -> anyhow::Result<LabelCounts> {
    let note = Serving::read(data_dir)
        .with_context(|| format!("{}: its server's address cannot be read", data_dir.display()))?;
    let Some(Serving { url, .. }) = note else {
        bail!(
            "{} is in use by a process that takes no labels; stop it, or post to /labels",
            data_dir.display()
        )
    };
    let address: SocketAddr = url
        .strip_prefix("http://")
        .and_then(|address| address.trim_end_matches('/').parse().ok())
        .with_context(|| format!("the server at {url} cannot be asked from here: post to its /labels"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(address).await.with_context(|| url.clone())?;
        let mut counts = LabelCounts::default();
        for (n, batch) in labels.chunks(LABELS_AT_ONCE).enumerate() {
            let body = serde_json::to_vec(&LabelsBody { labels: batch })?;
            let reply = client.post("/labels", "application/json", body).await?;
            if !reply.status.is_success() {
                let from = n * LABELS_AT_ONCE + 1;
                bail!("the server refused the labels from the {from}th on: {} {}", reply.status, reply.body);
            }
            let taken: LabelCounts =
                serde_json::from_str(&reply.body).context("the server's answer cannot be understood")?;
            add(&mut counts, taken);
        }
        Ok(counts)
    })
}

fn add(counts: &mut LabelCounts, more: LabelCounts) {
    counts.attached += more.attached;
    counts.waiting += more.waiting;
    counts.corrected += more.corrected;
    counts.unchanged += more.unchanged;
}

/// Reads and checks the whole file before anything is attached: distinct labels, and how many rows repeat one.
fn read(args: &LabelsImportArgs) -> anyhow::Result<(Vec<Label>, u64)> {
    let file = File::open(&args.file).context("cannot be read")?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let header = reader.headers().context("cannot be read as CSV")?.clone();
    let column = |name: &str| {
        let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some(_), Some(_)) => bail!("there are several columns `{name}`"),
            (None, _) => {
                let present: Vec<&str> = header.iter().take(12).collect();
                bail!("there is no column `{name}`, but {}; name it with an option", present.join(", "))
            }
        }
    };
    let (id, label) = (column(&args.id_column)?, column(&args.label_column)?);
    let time = args.time_column.as_deref().map(column).transpose()?;

    let mut labels: Vec<Label> = Vec::new();
    let mut known: HashMap<(String, Option<Timestamp>), String> = HashMap::new();
    let mut repeated = 0;
    for record in reader.records() {
        let record = record.context("cannot be read as CSV")?;
        let line = record.position().map_or(0, csv::Position::line);
        let label = label_of(&record, id, label, time).with_context(|| format!("line {line}"))?;
        if labels.len() == LABELS_OF_A_FILE {
            bail!("more than {LABELS_OF_A_FILE} labels: cut the file");
        }
        match known.entry((label.id.clone(), label.time)) {
            Entry::Occupied(before) if *before.get() == label.label => {
                repeated += 1;
                continue;
            }
            Entry::Occupied(before) => bail!(
                "line {line}: `{}` is labelled `{}`, and `{}` before; a column of times would say which is right",
                label.id,
                label.label,
                before.get()
            ),
            Entry::Vacant(place) => place.insert(label.label.clone()),
        };
        labels.push(label);
    }
    Ok((labels, repeated))
}

fn label_of(
    record: &csv::StringRecord,
    id: usize,
    label: usize,
    time: Option<usize>,
) -> anyhow::Result<Label> {
    let cell = |column: usize| record.get(column).unwrap_or_default();
    let (id, label) = (cell(id), cell(label));
    if id.is_empty() || id.len() > LABEL_ID_LONGEST {
        bail!("an id has 1 to {LABEL_ID_LONGEST} bytes");
    }
    if label.is_empty() || label.len() > LABEL_LONGEST || label.chars().any(char::is_control) {
        bail!("a label has 1 to {LABEL_LONGEST} bytes and no control characters");
    }
    let time = match time.map(cell) {
        None | Some("") => None,
        Some(text) => Some(match text.parse::<i64>() {
            Ok(microseconds) => Timestamp(microseconds),
            Err(_) => text.parse()?,
        }),
    };
    Ok(Label { id: id.to_owned(), label: label.to_owned(), time })
}
