//! Columns of results into a Parquet file.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use thiserror::Error;

/// One column of a batch; all columns of a batch are equally long.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputColumn<'a> {
    /// Text.
    Text(Vec<&'a str>),
    /// Numbers.
    Number(Vec<f64>),
    /// Text, or nothing.
    MaybeText(Vec<Option<&'a str>>),
    /// Numbers; NaN is written as nothing.
    MaybeNumber(Vec<f64>),
    /// Whole numbers, or nothing.
    Whole(Vec<Option<i64>>),
    /// Microseconds since 1970 UTC, or nothing.
    Time(Vec<Option<i64>>),
}

/// What a column of a file holds: the kind of [`OutputColumn`] that is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    Text,
    Number,
    MaybeText,
    MaybeNumber,
    Whole,
    Time,
}

/// Rows are held in memory until they take about this much; then they become a row group of the file.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A Parquet file being written, batch by batch.
pub struct ParquetOutput {
    schema: SchemaRef,
    writer: ArrowWriter<File>,
}

/// Why a Parquet file could not be written.
#[derive(Debug, Error)]
#[error("the Parquet file cannot be written")]
pub struct OutputError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ParquetOutput {
    /// Begins a file with text columns followed by number columns of these names.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(file: File, texts: &[String], numbers: &[String]) -> Result<Self, OutputError> {
        let texts = texts.iter().map(|name| (name.clone(), OutputKind::Text));
        let numbers = numbers.iter().map(|name| (name.clone(), OutputKind::Number));
        Self::with_columns(file, &texts.chain(numbers).collect::<Vec<_>>())
    }

    /// Begins a file with columns of these names and kinds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn with_columns(file: File, columns: &[(String, OutputKind)]) -> Result<Self, OutputError> {
        let fields = columns.iter().map(|(name, kind)| {
            let (kind, may_be_missing) = kind.in_arrow();
            Field::new(name, kind, may_be_missing)
        });
        let schema: SchemaRef = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(failed)?;
        Ok(Self { schema, writer })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When columns do not match those the file began with, or the file cannot be written.
    pub fn write(&mut self, columns: &[OutputColumn<'_>]) -> Result<(), OutputError> {
        let arrays = columns.iter().map(|column| match column {
            OutputColumn::Text(values) => Arc::new(StringArray::from_iter_values(values)) as ArrayRef,
            OutputColumn::Number(values) => Arc::new(Float64Array::from_iter_values(values.iter().copied())),
            OutputColumn::MaybeText(values) => Arc::new(StringArray::from_iter(values)),
            OutputColumn::MaybeNumber(values) => Arc::new(Float64Array::from_iter(
                values.iter().map(|value| (!value.is_nan()).then_some(*value)),
            )),
            OutputColumn::Whole(values) => Arc::new(Int64Array::from_iter(values)),
            OutputColumn::Time(values) => {
                Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect()).map_err(failed)?;
        self.writer.write(&batch).map_err(failed)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Writes what is left and the footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(self) -> Result<(), OutputError> {
        self.writer.close().map(|_| ()).map_err(failed)
    }
}

impl OutputKind {
    /// The type in Arrow's terms, and whether a value may be missing.
    fn in_arrow(self) -> (DataType, bool) {
        match self {
            Self::Text => (DataType::Utf8, false),
            Self::Number => (DataType::Float64, false),
            Self::MaybeText => (DataType::Utf8, true),
            Self::MaybeNumber => (DataType::Float64, true),
            Self::Whole => (DataType::Int64, true),
            Self::Time => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> OutputError {
    OutputError(Box::new(error))
}
