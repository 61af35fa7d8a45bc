//! Columns of results into a Parquet file.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
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
}

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
        let text = texts.iter().map(|name| Field::new(name, DataType::Utf8, false));
        let number = numbers.iter().map(|name| Field::new(name, DataType::Float64, false));
        let schema: SchemaRef = Arc::new(ArrowSchema::new(text.chain(number).collect::<Vec<_>>()));
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
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect()).map_err(failed)?;
        self.writer.write(&batch).map_err(failed)
    }

    /// Writes what is left and the footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(self) -> Result<(), OutputError> {
        self.writer.close().map(|_| ()).map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> OutputError {
    OutputError(Box::new(error))
}
