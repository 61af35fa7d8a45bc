//! How fast captured rows get into the inference table, and what other layouts would cost: the figures of
//! docs/adr/0006-features-as-json-arrays.md.
//!
//! `load_rows [ROWS] [DECIMALS]`: so many rows of 151 features (default 100,000), each a number with so many decimals
//! (default 4; 17: any float). Prints one line a measurement. Files go to the folder for temporary files.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::rand_core::Rng as _;
use rusqlite::{Connection, params_from_iter, types::Value};
use serin_core::capture::{
    Capture, CaptureOptions, EndpointColumns, Journal, JournalOptions, Outcome, Record,
};
use serin_core::clock::{Clock, SystemClock};
use serin_core::ids::InferenceIds;
use serin_ml::seed::Seed;

const FEATURES: usize = 151;
const CLASSES: [&str; 5] = ["0", "1", "2", "3", "4"];
/// Rows of one transaction: about one journal segment.
const ROWS_A_TRANSACTION: usize = 6_000;

type Outcomes<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcomes<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let decimals: i32 = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let data = Data::new(rows, decimals);
    product(&data)?;
    for layout in [Layout::JsonText, Layout::Jsonb, Layout::Columns, Layout::Blob] {
        alternative(&data, layout)?;
    }
    Ok(())
}

/// Journal to table, by the code that serves.
fn product(data: &Data) -> Outcomes<()> {
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = CaptureOptions {
        journal: JournalOptions { spool_limit_bytes: 1 << 40, ..JournalOptions::default() },
        ..CaptureOptions::new(folder.path())
    };
    let ids = InferenceIds::from_entropy(clock.clone());
    let journal = Journal::open(folder.path(), options.journal, InferenceIds::from_entropy(clock.clone()))?;
    let began = Instant::now();
    for row in 0..data.rows {
        let id = ids.next();
        let record = Record {
            id: id.as_str(),
            time: clock.now(),
            endpoint: "reference",
            variant: "AllTraffic",
            model_version: "0123456789ab",
            run: None,
            rollout_step: None,
            caller: None,
            latency_microseconds: 87,
            status: 200,
            client_gone: false,
            outcome: Outcome::Answered {
                predicted: vec![data.class(row)],
                probabilities: Cow::Borrowed(data.probabilities(row)),
                features: Cow::Borrowed(data.features(row)),
            },
        };
        journal.append(&record)?;
    }
    report("append to the journal", data.rows, began.elapsed());
    drop(journal);
    let capture = Capture::open(&options, clock)?;
    let began = Instant::now();
    if !capture.settle(Duration::from_secs(600)) {
        return Err("the table did not take the rows within ten minutes".into());
    }
    report("load into the table", data.rows, began.elapsed());
    let names: Vec<String> = (0..FEATURES).map(|n| format!("f{n}")).collect();
    let classes = CLASSES.map(str::to_owned);
    let columns = EndpointColumns {
        endpoint: "reference",
        model_version: "0123456789ab",
        classes: &classes,
        features: &names,
    };
    capture.create_view(&columns)?;
    drop(capture);
    let database = Connection::open(options.database())?;
    ask(&database, "avg(f17), all rows, by the view", "SELECT avg(f17) FROM endpoint_reference", data.rows)?;
    size(&options.database(), data.rows)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    JsonText,
    Jsonb,
    Columns,
    Blob,
}

/// The same table and indexes with features in another form, written by plain statements.
fn alternative(data: &Data, layout: Layout) -> Outcomes<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("alternative.db");
    let mut database = Connection::open(&path)?;
    for (name, value) in [("page_size", "16384"), ("journal_mode", "wal"), ("synchronous", "normal")] {
        database.pragma_update(None, name, value)?;
    }
    database.pragma_update(None, "cache_size", -16_384)?;
    database.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    let columns: Vec<String> = match layout {
        Layout::Columns => (0..FEATURES).map(|n| format!("f{n} REAL")).collect(),
        Layout::JsonText => vec!["features TEXT".into()],
        Layout::Jsonb | Layout::Blob => vec!["features BLOB".into()],
    };
    let table = format!(
        "CREATE TABLE rows (id TEXT NOT NULL PRIMARY KEY, time INTEGER, predicted TEXT, version TEXT, {});
         CREATE INDEX by_time ON rows (time); CREATE INDEX by_class ON rows (predicted, time);
         CREATE INDEX by_version ON rows (version, time);",
        columns.join(", ")
    );
    database.execute_batch(&table)?;
    let values = match layout {
        Layout::Jsonb => "jsonb(?)".to_owned(),
        Layout::Columns => vec!["?"; FEATURES].join(", "),
        Layout::JsonText | Layout::Blob => "?".to_owned(),
    };
    let insert = format!("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, {values})");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = InferenceIds::from_entropy(clock.clone());
    let began = Instant::now();
    for first in (0..data.rows).step_by(ROWS_A_TRANSACTION) {
        let transaction = database.transaction()?;
        {
            let mut statement = transaction.prepare_cached(&insert)?;
            let mut json = Vec::new();
            for row in first..data.rows.min(first + ROWS_A_TRANSACTION) {
                let id = ids.next();
                let common = [
                    Value::Text(id.as_str().to_owned()),
                    Value::Integer(clock.now().0),
                    Value::Text(data.class(row).to_owned()),
                    Value::Text("0123456789ab".to_owned()),
                ];
                let features = data.features(row);
                let features: Vec<Value> = match layout {
                    Layout::Columns => features.iter().map(|value| Value::Real(*value)).collect(),
                    Layout::Blob => {
                        vec![Value::Blob(features.iter().flat_map(|value| value.to_le_bytes()).collect())]
                    }
                    Layout::JsonText | Layout::Jsonb => {
                        json.clear();
                        serde_json::to_writer(&mut json, features)?;
                        vec![Value::Text(String::from_utf8(json.clone())?)]
                    }
                };
                statement.execute(params_from_iter(common.into_iter().chain(features)))?;
            }
        }
        transaction.commit()?;
    }
    report(&format!("{layout:?}: insert"), data.rows, began.elapsed());
    let one = match layout {
        Layout::Columns => "f17",
        Layout::JsonText | Layout::Jsonb => "json_extract(features, '$[17]')",
        // SQLite has no function that reads a float out of a blob.
        Layout::Blob => "length(substr(features, 137, 8))",
    };
    ask(
        &database,
        &format!("{layout:?}: avg of one feature"),
        &format!("SELECT avg({one}) FROM rows"),
        data.rows,
    )?;
    drop(database);
    size(&path, data.rows)
}

struct Data {
    rows: usize,
    features: Vec<f64>,
    probabilities: Vec<f64>,
}

impl Data {
    /// A thousand different rows, again and again.
    fn new(rows: usize, decimals: i32) -> Self {
        let mut random = Seed(17).rng();
        let mut uniform = move || random.next_u64() as f64 / u64::MAX as f64;
        let scale = 10_f64.powi(decimals);
        let features = (0..1_000 * FEATURES).map(|_| {
            let value = (uniform() - 0.5) * 20.0;
            if decimals < 17 { (value * scale).round() / scale } else { value }
        });
        let features = features.collect();
        let mut probabilities: Vec<f64> = (0..1_000 * CLASSES.len()).map(|_| uniform()).collect();
        for row in probabilities.chunks_mut(CLASSES.len()) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|value| *value /= sum);
        }
        Self { rows, features, probabilities }
    }

    fn features(&self, row: usize) -> &[f64] {
        &self.features[row % 1_000 * FEATURES..][..FEATURES]
    }

    fn probabilities(&self, row: usize) -> &[f64] {
        &self.probabilities[row % 1_000 * CLASSES.len()..][..CLASSES.len()]
    }

    fn class(&self, row: usize) -> &'static str {
        CLASSES[row % CLASSES.len()]
    }
}

fn ask(database: &Connection, what: &str, sql: &str, rows: usize) -> Outcomes<()> {
    let began = Instant::now();
    let _: f64 = database.query_row(sql, [], |row| row.get(0)).map_err(|error| format!("{sql}: {error}"))?;
    report(what, rows, began.elapsed());
    Ok(())
}

fn size(path: &Path, rows: usize) -> Outcomes<()> {
    let bytes = std::fs::metadata(path)?.len();
    say(&format!("{:40} {:>9} bytes/row", "  the file", bytes / rows as u64));
    Ok(())
}

fn report(what: &str, rows: usize, took: Duration) {
    let rate = rows as f64 / took.as_secs_f64();
    let mut line = format!("{what:40} {rate:>9.0} rows/s");
    // Writing to a string cannot fail.
    let _ = write!(line, " {:>7.2} us/row", took.as_secs_f64() * 1e6 / rows as f64);
    say(&line);
}

fn say(line: &str) {
    println!("{line}");
}
