//! One column a feature: Parquet and CSV, with the same columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;

use serin_core::capture::{CapturedRow, ModelNames};
use serin_core::clock::Timestamp;
use serin_ml::dataset::{OutputColumn, OutputKind, ParquetOutput};

use super::{Export, excel_safe};

/// The columns before those of classes and features, and after them.
const FRONT: [&str; 6] = ["id", "time", "endpoint", "variant", "model_version", "predicted"];
const BACK: [&str; 10] = [
    "run",
    "latency_us",
    "status",
    "error_code",
    "error_detail",
    "rollout_step",
    "caller",
    "client_gone",
    "label",
    "label_time",
];

/// Where the values of each model version go.
pub(super) struct Columns {
    probabilities: Vec<String>,
    features: Vec<String>,
    /// By endpoint and model version: for each value of an array, its column.
    places: BTreeMap<(String, String), Places>,
    /// Answered rows whose model version is not known by its names: their values are left out.
    unnamed_rows: u64,
}

struct Places {
    probabilities: Vec<usize>,
    features: Vec<usize>,
}

impl Columns {
    /// One column for each name that any of the models has.
    pub(super) fn of(models: Vec<ModelNames>) -> Self {
        let (mut classes, mut features) = (Names::default(), Names::default());
        let mut places = BTreeMap::new();
        for model in models {
            let columns = Places {
                probabilities: model.classes.into_iter().map(|name| classes.place(name)).collect(),
                features: model.features.into_iter().map(|name| features.place(name)).collect(),
            };
            places.insert((model.endpoint, model.model_version), columns);
        }
        let mut taken: BTreeSet<String> = FRONT.into_iter().chain(BACK).map(str::to_owned).collect();
        let probabilities =
            classes.names.iter().map(|name| untaken(format!("p_{name}"), &mut taken)).collect();
        let features = features.names.into_iter().map(|name| untaken(name, &mut taken)).collect();
        Self { probabilities, features, places, unnamed_rows: 0 }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let arrays = self.probabilities.iter().chain(&self.features).map(String::as_str);
        FRONT.into_iter().chain(arrays).chain(BACK)
    }

    /// The values of a row's arrays, each in its column; NaN where it has none.
    fn spread(&mut self, row: &CapturedRow) -> Vec<f64> {
        let n_probabilities = self.probabilities.len();
        let mut values = vec![f64::NAN; n_probabilities + self.features.len()];
        if row.predicted.is_none() {
            return values;
        }
        let Some(places) = self.places.get(&(row.endpoint.clone(), row.model_version.clone())) else {
            self.unnamed_rows += 1;
            return values;
        };
        let (probabilities, features) = values.split_at_mut(n_probabilities);
        for (value, place) in row.probabilities.iter().zip(&places.probabilities) {
            probabilities[*place] = *value;
        }
        for (value, place) in row.features.iter().zip(&places.features) {
            features[*place] = *value;
        }
        values
    }

    fn remark(&self) -> Option<String> {
        (self.unnamed_rows > 0).then(|| {
            format!(
                "{} rows are without probabilities and features: they were captured before the names of their model \
                 were kept",
                self.unnamed_rows
            )
        })
    }
}

/// Names in the order they were first seen.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Names {
    fn place(&mut self, name: String) -> usize {
        *self.places.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            self.names.len() - 1
        })
    }
}

/// The name, or `feature_<name>` when another column has it.
fn untaken(mut name: String, taken: &mut BTreeSet<String>) -> String {
    while !taken.insert(name.clone()) {
        name.insert_str(0, "feature_");
    }
    name
}

/// A Parquet file.
pub(super) struct ParquetExport {
    columns: Columns,
    output: ParquetOutput,
}

impl ParquetExport {
    pub(super) fn begin(file: File, columns: Columns) -> anyhow::Result<Self> {
        use OutputKind::{MaybeNumber, MaybeText, Text, Time, Whole};
        let kind = |name: &str| match name {
            "id" | "endpoint" | "variant" | "model_version" => Text,
            "time" | "label_time" => Time,
            "latency_us" | "status" | "client_gone" => Whole,
            _ => MaybeText,
        };
        let front = FRONT.map(|name| (name.to_owned(), kind(name)));
        let arrays = columns.probabilities.iter().chain(&columns.features);
        let arrays = arrays.map(|name| (name.clone(), MaybeNumber));
        let back = BACK.map(|name| (name.to_owned(), kind(name)));
        let all: Vec<(String, OutputKind)> = front.into_iter().chain(arrays).chain(back).collect();
        Ok(Self { output: ParquetOutput::with_columns(file, &all)?, columns })
    }
}

impl Export for ParquetExport {
    fn write(&mut self, rows: &[CapturedRow]) -> anyhow::Result<()> {
        use OutputColumn::{MaybeNumber, MaybeText, Text, Time, Whole};
        let spread: Vec<Vec<f64>> = rows.iter().map(|row| self.columns.spread(row)).collect();
        let n_arrays = self.columns.probabilities.len() + self.columns.features.len();
        let maybe = |of: fn(&CapturedRow) -> Option<&str>| MaybeText(rows.iter().map(of).collect());
        let whole = |of: fn(&CapturedRow) -> i64| Whole(rows.iter().map(|row| Some(of(row))).collect());
        let mut columns = vec![
            Text(rows.iter().map(|row| row.id.as_str()).collect()),
            Time(rows.iter().map(|row| Some(row.position.time.0)).collect()),
            Text(rows.iter().map(|row| row.endpoint.as_str()).collect()),
            Text(rows.iter().map(|row| row.variant.as_str()).collect()),
            Text(rows.iter().map(|row| row.model_version.as_str()).collect()),
            maybe(|row| row.predicted.as_deref()),
        ];
        columns.extend(
            (0..n_arrays).map(|column| MaybeNumber(spread.iter().map(|values| values[column]).collect())),
        );
        columns.extend([
            maybe(|row| row.run.as_deref()),
            whole(|row| row.latency_microseconds),
            whole(|row| row.status),
            maybe(|row| row.error_code.as_deref()),
            maybe(|row| row.error_detail.as_deref()),
            maybe(|row| row.rollout_step.as_deref()),
            maybe(|row| row.caller.as_deref()),
            whole(|row| i64::from(row.client_gone)),
            maybe(|row| row.label.as_deref()),
            Time(rows.iter().map(|row| row.label_time.map(|time| time.0)).collect()),
        ]);
        Ok(self.output.write(&columns)?)
    }

    fn close(self: Box<Self>) -> anyhow::Result<Option<String>> {
        self.output.close()?;
        Ok(self.columns.remark())
    }
}

/// A CSV file.
pub(super) struct CsvExport {
    columns: Columns,
    writer: csv::Writer<BufWriter<File>>,
    excel_safe: bool,
}

impl CsvExport {
    pub(super) fn begin(file: File, columns: Columns, is_excel_safe: bool) -> anyhow::Result<Self> {
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        for name in columns.names() {
            let name = if is_excel_safe { excel_safe(name) } else { name.into() };
            writer.write_field(name.as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
        Ok(Self { columns, writer, excel_safe: is_excel_safe })
    }

    fn text(&mut self, text: Option<&str>) -> csv::Result<()> {
        let text = text.unwrap_or_default();
        let text = if self.excel_safe { excel_safe(text) } else { text.into() };
        self.writer.write_field(text.as_bytes())
    }

    fn number(&mut self, number: Option<impl ToString>) -> csv::Result<()> {
        self.writer.write_field(number.map(|number| number.to_string()).unwrap_or_default())
    }
}

impl Export for CsvExport {
    fn write(&mut self, rows: &[CapturedRow]) -> anyhow::Result<()> {
        let microseconds = |time: Timestamp| time.0;
        for row in rows {
            self.text(Some(&row.id))?;
            self.number(Some(row.position.time.0))?;
            for text in [&row.endpoint, &row.variant, &row.model_version] {
                self.text(Some(text))?;
            }
            self.text(row.predicted.as_deref())?;
            for value in self.columns.spread(row) {
                self.number((!value.is_nan()).then_some(value))?;
            }
            self.text(row.run.as_deref())?;
            self.number(Some(row.latency_microseconds))?;
            self.number(Some(row.status))?;
            for text in [&row.error_code, &row.error_detail, &row.rollout_step, &row.caller] {
                self.text(text.as_deref())?;
            }
            self.number(Some(u8::from(row.client_gone)))?;
            self.text(row.label.as_deref())?;
            self.number(row.label_time.map(microseconds))?;
            self.writer.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> anyhow::Result<Option<String>> {
        self.writer.flush()?;
        Ok(self.columns.remark())
    }
}
