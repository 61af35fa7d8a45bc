//! `serin capture`: how captured answers are doing, export, deletion.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serin_core::capture::{
    Capture, CaptureOptions, InferenceTable, OpenCaptureError, Spool, TableReader, TableSummary,
};
use serin_core::clock::{SystemClock, Timestamp};

use super::args::{CaptureCommand, CaptureDeleteArgs, CaptureStatusArgs};
use super::exit::Exit;
use super::query::{cannot_read, data_dir, existing_database};
use super::{export, printer};

/// How long deletion waits for the rows of an earlier process.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

/// Runs one of the commands.
pub(super) fn run(command: &CaptureCommand) -> anyhow::Result<Exit> {
    match command {
        CaptureCommand::Status(args) => status(args),
        CaptureCommand::Export(args) => export::run(args),
        CaptureCommand::Delete(args) => delete(args),
    }
}

#[derive(Serialize)]
struct StatusView {
    server_is_running: bool,
    journal_segments: u64,
    journal_bytes: u64,
    damaged_segments: u64,
    rows: u64,
    oldest: Option<String>,
    newest: Option<String>,
    labelled_rows: u64,
    waiting_labels: u64,
    table_bytes: u64,
}

fn status(args: &CaptureStatusArgs) -> anyhow::Result<Exit> {
    let data_dir = data_dir(&args.place)?;
    let database = existing_database(&data_dir)?;
    let spool = Spool::of(&data_dir).with_context(|| cannot_read(&data_dir.join("capture")))?;
    let reader = TableReader::open(&database).with_context(|| cannot_read(&database))?;
    let TableSummary { rows, oldest, newest, labelled, waiting_labels } = reader.summary()?;
    let view = StatusView {
        server_is_running: spool.in_use,
        journal_segments: spool.segments,
        journal_bytes: spool.bytes,
        damaged_segments: spool.damaged,
        rows,
        oldest: oldest.map(Timestamp::to_rfc3339),
        newest: newest.map(Timestamp::to_rfc3339),
        labelled_rows: labelled,
        waiting_labels,
        table_bytes: std::fs::metadata(&database)?.len(),
    };
    if args.json {
        printer::data(&serde_json::to_string_pretty(&view)?)?;
        return Ok(Exit::Done);
    }
    let waiting = match (view.journal_segments, view.server_is_running) {
        (0, _) => "nothing waits".to_owned(),
        (segments, true) => format!("{} bytes in {segments} segments wait", view.journal_bytes),
        (segments, false) => {
            format!("{} bytes in {segments} segments wait for the next `serin serve`", view.journal_bytes)
        }
    };
    let moment = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("server", if view.server_is_running { "running" } else { "not running" }.to_owned()),
        ("journal", waiting),
        ("damaged segments", view.damaged_segments.to_string()),
        ("rows", view.rows.to_string()),
        ("oldest", moment(view.oldest)),
        ("newest", moment(view.newest)),
        ("labelled rows", view.labelled_rows.to_string()),
        ("waiting labels", view.waiting_labels.to_string()),
        ("table", format!("{} bytes", view.table_bytes)),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<18}{value}"));
    printer::data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct DeletedView {
    deleted_rows: u64,
}

fn delete(args: &CaptureDeleteArgs) -> anyhow::Result<Exit> {
    let data_dir = data_dir(&args.place)?;
    let database = existing_database(&data_dir)?;
    let deleted_rows = match Capture::open(&CaptureOptions::new(&data_dir), Arc::new(SystemClock::new())) {
        Ok(capture) => {
            // What still waits in the journal would come back as rows.
            if !capture.settle(LOAD_LIMIT) {
                bail!(
                    "the journal could not be loaded: {}",
                    capture.status().last_failure.unwrap_or_default()
                );
            }
            capture.delete_rows(&args.ids)?
        }
        // A server loads its journal by itself, and SQLite lets one short transaction in between its own.
        Err(OpenCaptureError::InUse { .. }) => InferenceTable::open(&database)
            .and_then(|mut table| table.delete_rows(&args.ids))
            .with_context(|| format!("{}: cannot be written", database.display()))?,
        Err(error) => return Err(error.into()),
    };
    if args.json {
        printer::data(&serde_json::to_string(&DeletedView { deleted_rows })?)?;
    } else {
        printer::data(&format!("{deleted_rows} rows deleted"))?;
    }
    Ok(Exit::Done)
}
