//! The first rows as requests.

use serde_json::{Map, Value};
use serin_ml::dataset::Dataset;

/// Rows of a sample.
const ROWS: usize = 3;

/// The same rows in two forms.
pub struct Samples {
    /// With a header.
    pub csv: String,
    pub json: String,
}

/// Requests for the first rows: features by name, without the target.
pub fn of(rows: &Dataset) -> Samples {
    let count = rows.n_rows.min(ROWS);
    let names: Vec<&str> = rows.schema.names().collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Into memory, and every row as long as the header: nothing can go wrong.
    let _ = writer.write_record(&names);
    for row in 0..count {
        let cells = rows.columns.iter().map(|column| match column[row] {
            value if value.is_nan() => String::new(),
            value => value.to_string(),
        });
        let _ = writer.write_record(cells);
    }
    let csv = String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default();
    let instances = (0..count).map(|row| {
        let cells =
            names.iter().zip(&rows.columns).map(|(name, column)| ((*name).to_owned(), number(column[row])));
        Value::Object(cells.collect::<Map<String, Value>>())
    });
    let instances: Vec<Value> = instances.collect();
    let json = serde_json::to_string_pretty(&serde_json::json!({"instances": instances})).unwrap_or_default();
    Samples { csv, json: json + "\n" }
}

/// Whole numbers without a fraction, a missing value as null.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_a_person_would_write_them() {
        for (value, text) in [(3.0, "3"), (-0.5, "-0.5"), (f64::NAN, "null"), (1e300, "1e+300")] {
            assert_eq!(number(value).to_string(), text);
        }
    }
}
