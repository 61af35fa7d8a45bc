//! The view of an endpoint: a column for each feature, for people and their tools.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rusqlite::params;

use super::table::{InferenceTable, TableError};
use crate::clock::Timestamp;

/// A view shows at most so many features: SQLite has room for 2,000 columns.
const VIEW_FEATURES: usize = 1_900;
/// A view shows at most so many class probabilities.
const VIEW_CLASSES: usize = 80;

/// What the view of an endpoint shows.
#[derive(Debug, Clone, Copy)]
pub struct EndpointColumns<'a> {
    /// The endpoint's name; the view is called `endpoint_<name>`.
    pub endpoint: &'a str,
    /// The version of the model that these names belong to.
    pub model_version: &'a str,
    /// Class names in the model's order: a column `p_<class>` each.
    pub classes: &'a [String],
    /// Feature names in the model's order: a column each.
    pub features: &'a [String],
}

impl InferenceTable {
    /// Remembers what the arrays of a model version mean, and makes (or replaces) the view `endpoint_<name>`: answered
    /// rows of one endpoint, a column for each class probability and each feature, of every model version whose names
    /// are the same in the same order.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn create_view(&mut self, columns: &EndpointColumns<'_>, now: Timestamp) -> Result<(), TableError> {
        let view = identifier(&format!("endpoint_{}", columns.endpoint));
        let statement = format!("DROP VIEW IF EXISTS {view};\n{}", view_statement(&view, columns));
        let transaction = self.durable_transaction()?;
        transaction.execute(
            "INSERT INTO models (endpoint, model_version, classes, features, time) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET classes = excluded.classes, features = excluded.features",
            params![
                columns.endpoint,
                columns.model_version,
                json_names(columns.classes),
                json_names(columns.features),
                now.0
            ],
        )?;
        transaction.execute_batch(&statement)?;
        Ok(transaction.commit()?)
    }
}

fn view_statement(view: &str, columns: &EndpointColumns<'_>) -> String {
    const PLAIN: [&str; 9] =
        ["id", "time", "at", "variant", "model_version", "predicted", "latency_us", "label", "label_time"];
    let mut taken: BTreeSet<String> = PLAIN.iter().map(|name| (*name).to_owned()).collect();
    let mut sql = format!(
        "CREATE VIEW {view} AS SELECT id, time,\n  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e6, 'unixepoch') AS at,\n  \
         variant, model_version, predicted, latency_us, label, label_time"
    );
    let classes =
        columns.classes.iter().take(VIEW_CLASSES).map(|class| ("probabilities", format!("p_{class}")));
    let features = columns.features.iter().take(VIEW_FEATURES).map(|name| ("features", name.clone()));
    let mut position = 0;
    let mut previous = "";
    for (array, name) in classes.chain(features) {
        position = if array == previous { position + 1 } else { 0 };
        previous = array;
        let name = identifier(&untaken(name, &mut taken));
        // Writing to a String cannot fail.
        let _ = write!(sql, ",\n  json_extract({array}, '$[{position}]') AS {name}");
    }
    let (endpoint, version) = (text(columns.endpoint), text(columns.model_version));
    let _ = write!(
        sql,
        "\nFROM inferences WHERE endpoint = {endpoint} AND status = 200 AND model_version IN (\n  \
         SELECT alike.model_version FROM models AS shown JOIN models AS alike USING (endpoint, classes, features)\n  \
         WHERE shown.endpoint = {endpoint} AND shown.model_version = {version});"
    );
    sql
}

fn json_names(names: &[String]) -> String {
    // Strings always serialise.
    serde_json::to_string(names).unwrap_or_default()
}

/// A quoted SQL string.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\0', "").replace('\'', "''"))
}

/// `name`, or `feature_<name>` and so on when a column before it has that name (SQLite ignores case in names).
fn untaken(mut name: String, taken: &mut BTreeSet<String>) -> String {
    while !taken.insert(name.to_lowercase()) {
        name.insert_str(0, "feature_");
    }
    name
}

/// A quoted SQL identifier. A NUL would end the statement, so it is left out.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}
