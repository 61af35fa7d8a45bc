//! True classes out of a database of the user's: asked for again and again, and told to the gateway.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::ValueRef;
use serde_json::json;

use crate::capture::{LABEL_ID_LONGEST, LABEL_LONGEST, LABELS_AT_ONCE, Serving, open_to_read};
use crate::causes::in_one_line;
use crate::config::LabelSource;
use crate::engine::Moments;
use crate::hash::hash;
use crate::pipeline::http;

/// Rows read in one look; further ones in the next.
const ROWS_AT_ONCE: usize = 100_000;
/// A question that takes longer is given up.
const QUERY_LIMIT: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between two looks at the time.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Labels remembered as told; beyond that they are told again, which changes nothing.
const REMEMBERED: usize = 2_000_000;

/// What was told already.
#[derive(Debug, Default)]
pub struct LabelReader {
    told: BTreeSet<u64>,
    due: Option<Duration>,
}

impl LabelReader {
    /// Asks, if it is time to; how many labels were new.
    ///
    /// # Errors
    /// When the database or the gateway cannot be asked, in words.
    pub fn look(
        &mut self,
        source: &LabelSource,
        data_directory: &Path,
        moments: &Arc<Moments>,
    ) -> Result<usize, String> {
        let now = moments.monotonic();
        if self.due.is_some_and(|due| now < due) {
            return Ok(0);
        }
        self.due = Some(now + source.poll);
        let labels = self.unknown(source, moments)?;
        if labels.is_empty() {
            return Ok(0);
        }
        let serving = Serving::read(data_directory).ok().flatten();
        let url = serving.ok_or("no gateway serves this data directory")?.url;
        for part in labels.chunks(LABELS_AT_ONCE) {
            let body = json!({
                "labels": part.iter().map(|(id, label)| json!({ "id": id, "label": label })).collect::<Vec<_>>(),
            });
            let body = body.to_string();
            let reply = http::post(&format!("{url}/labels"), "application/json", "labels", body.as_bytes())?;
            if reply.status != 200 {
                return Err(format!("the gateway says {}: {}", reply.status, http::beginning(&reply.body)));
            }
            if self.told.len() > REMEMBERED {
                self.told.clear();
            }
            self.told.extend(part.iter().map(key));
        }
        Ok(labels.len())
    }

    /// Labels that were not told yet.
    fn unknown(&self, source: &LabelSource, moments: &Arc<Moments>) -> Result<Vec<(String, String)>, String> {
        let wrong =
            |error: &dyn std::error::Error| format!("{}: {}", source.database.display(), in_one_line(error));
        let mut database = open_to_read(&source.database).map_err(|error| wrong(&error))?;
        let (moments, until) = (moments.clone(), moments.monotonic() + QUERY_LIMIT);
        database
            .progress_handler(STEPS_BETWEEN_LOOKS, Some(move || moments.monotonic() > until))
            .map_err(|error| wrong(&error))?;
        let mut statement = database.prepare(&source.sql).map_err(|error| wrong(&error))?;
        if statement.column_count() != 2 {
            return Err("labels.sql must give two columns: id and label".to_owned());
        }
        let mut rows = statement.query([]).map_err(|error| wrong(&error))?;
        let mut labels = Vec::new();
        while let Some(row) = rows.next().map_err(|error| wrong(&error))? {
            let cell = |place| row.get_ref(place).ok().and_then(text);
            let (Some(id), Some(label)) = (cell(0), cell(1)) else { continue };
            // What the gateway would refuse must not keep it from taking the others.
            let fits = |text: &str, longest: usize| {
                !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
            };
            if !fits(&id, LABEL_ID_LONGEST) || !fits(&label, LABEL_LONGEST) {
                continue;
            }
            let label = (id, label);
            if !self.told.contains(&key(&label)) {
                labels.push(label);
            }
            if labels.len() >= ROWS_AT_ONCE {
                break;
            }
        }
        Ok(labels)
    }
}

fn key((id, label): &(String, String)) -> u64 {
    hash(id.bytes().chain([0]).chain(label.bytes()))
}

/// A class as text: whole numbers without a fraction. `None` for nothing.
fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}
