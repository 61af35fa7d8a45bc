//! Parquet: flat columns of numbers, booleans, text and moments. Types of the decoder do not leave this module.
//!
//! Nothing that a file says about itself is believed before it was compared with the file: footer, row counts, chunk
//! ranges and page sizes are checked before memory is taken for them, and statistics are not even decoded. The decoder
//! panics on some damaged files; that is caught and told as damage.

mod frame;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use ::parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::schema::types::Type;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use super::cells::{CellProblem, MissingTokens};
use super::columns::{Offset, Part, Role};
use super::errors::{DatasetError, EncodingProblem, Position};
use super::read::{Reading, SourceFile};

/// What a Parquet file begins with; the second when its footer is encrypted.
pub(super) const MAGICS: [&[u8; 4]; 2] = [b"PAR1", b"PARE"];

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Reads one file and appends its rows.
pub(super) fn read(reading: &mut Reading<'_>, source: &SourceFile) -> Result<(), DatasetError> {
    match catch_unwind(AssertUnwindSafe(|| read_unguarded(reading, source))) {
        Ok(result) => result,
        Err(_) => Err(malformed(source, "its decoder failed on it")),
    }
}

fn read_unguarded(reading: &mut Reading<'_>, source: &SourceFile) -> Result<(), DatasetError> {
    let broken = |error: ParquetError| undecodable(source, &error);
    let mut file = source.file.try_clone().map_err(|error| source.unreadable(error))?;
    frame::check_ends(&mut file, source, reading.options.limits.footer_bytes)?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(broken)?;

    let fields = metadata.file_metadata().schema_descr().root_schema().get_fields().to_vec();
    if fields.len() > reading.options.limits.columns {
        return Err(DatasetError::Limit {
            position: Position::file(&source.path),
            name: "columns",
            limit: reading.options.limits.columns as u64,
            unit: "columns",
            hint: "",
        });
    }
    let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    let roles = reading.layout_file(&source.path, &names)?;
    for (field, role) in fields.iter().zip(&roles) {
        check_type(field, *role).map_err(|found| DatasetError::UnsupportedType {
            path: source.path.clone(),
            column: field.name().to_owned(),
            found,
        })?;
    }
    let rows = frame::check_chunks(&mut file, &metadata, &kept_columns(&roles), source, reading)?;
    reading.check_size(&source.path, rows)?;
    reading.columns.reserve(rows);
    read_batches(reading, source, metadata, &names, &roles, rows)
}

fn read_batches(
    reading: &mut Reading<'_>,
    source: &SourceFile,
    metadata: ParquetMetaData,
    names: &[String],
    roles: &[Role],
    rows: usize,
) -> Result<(), DatasetError> {
    let broken = |error: ParquetError| undecodable(source, &error);
    let kept = kept_columns(roles);
    let file: File = source.file.try_clone().map_err(|error| source.unreadable(error))?;
    // Without the writer's own schema a dictionary of text is read as text, like any other.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(broken)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), kept.iter().copied());
    let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(broken)?;

    let mut offset = Offset { file: source.index, rows: 0, lines: None };
    let mut parts = [Part::default()];
    for batch in batches {
        let batch = batch.map_err(|error| malformed(source, &error.to_string()))?;
        let part = &mut parts[0];
        part.reset(&reading.shape, batch.num_rows());
        for (array, &column) in batch.columns().iter().zip(&kept) {
            take_column(part, roles[column], array, &reading.missing).map_err(|fault| {
                let column = names[column].clone();
                match fault {
                    Fault::Encoding(row, problem) => DatasetError::Encoding {
                        position: Box::new(Position {
                            path: source.path.clone(),
                            row: Some(offset.locate(row, 0).0),
                            column: Some(column),
                            ..Position::default()
                        }),
                        problem,
                    },
                    Fault::Unsupported(found) => {
                        DatasetError::UnsupportedType { path: source.path.clone(), column, found }
                    }
                }
            })?;
        }
        part.rows = batch.num_rows();
        offset = reading.columns.append(&parts, offset);
        reading.hand_over()?;
        reading.report(source, offset.rows)?;
    }
    if offset.rows != rows as u64 {
        return Err(malformed(source, &format!("it claims {rows} rows and holds {}", offset.rows)));
    }
    Ok(())
}

fn kept_columns(roles: &[Role]) -> Vec<usize> {
    (0..roles.len()).filter(|&column| roles[column] != Role::Skip).collect()
}

/// Refuses what is not a flat column of numbers, booleans or text; moments are for the time column only.
fn check_type(field: &Type, role: Role) -> Result<(), String> {
    if role == Role::Skip {
        return Ok(());
    }
    let info = field.get_basic_info();
    if !field.is_primitive()
        || (info.has_repetition() && info.repetition() == ::parquet::basic::Repetition::REPEATED)
    {
        return Err("a nested type".to_owned());
    }
    let logical = info.logical_type_ref();
    let converted = info.converted_type();
    if matches!(logical, Some(LogicalType::Decimal { .. })) || converted == ConvertedType::DECIMAL {
        return Err("a decimal type".to_owned());
    }
    match (field.get_physical_type(), logical) {
        (PhysicalType::INT96, _) => Err("an INT96 moment".to_owned()),
        (PhysicalType::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => Ok(()),
        (PhysicalType::FIXED_LEN_BYTE_ARRAY, _) => Err("a fixed-length binary type".to_owned()),
        _ => Ok(()),
    }
}

/// Why a column of a batch cannot be taken.
enum Fault {
    Encoding(usize, EncodingProblem),
    Unsupported(String),
}

fn take_column(part: &mut Part, role: Role, array: &ArrayRef, missing: &MissingTokens) -> Result<(), Fault> {
    macro_rules! numbers {
        ($type:ty, $convert:expr) => {{ take_numbers::<$type>(part, role, array, missing, $convert) }};
    }
    match array.data_type() {
        DataType::Float64 => numbers!(Float64Type, |value| value),
        DataType::Float32 => numbers!(Float32Type, f64::from),
        DataType::Float16 => numbers!(Float16Type, |value| value.to_f64()),
        DataType::Int64 => numbers!(Int64Type, |value| value as f64),
        DataType::Int32 => numbers!(Int32Type, f64::from),
        DataType::Int16 => numbers!(Int16Type, f64::from),
        DataType::Int8 => numbers!(Int8Type, f64::from),
        DataType::UInt64 => numbers!(UInt64Type, |value| value as f64),
        DataType::UInt32 => numbers!(UInt32Type, f64::from),
        DataType::UInt16 => numbers!(UInt16Type, f64::from),
        DataType::UInt8 => numbers!(UInt8Type, f64::from),
        DataType::Date32 if role == Role::Time => numbers!(Date32Type, |days| f64::from(days) * 86_400.0),
        DataType::Timestamp(unit, _) if role == Role::Time => match unit {
            TimeUnit::Second => numbers!(TimestampSecondType, |t| t as f64),
            TimeUnit::Millisecond => numbers!(TimestampMillisecondType, |t| t as f64 / 1e3),
            TimeUnit::Microsecond => numbers!(TimestampMicrosecondType, |t| t as f64 / 1e6),
            TimeUnit::Nanosecond => numbers!(TimestampNanosecondType, |t| t as f64 / 1e9),
        },
        DataType::Boolean => {
            let array = array.as_boolean();
            let cells = (0..array.len()).map(|row| {
                array.is_valid(row).then(|| if array.value(row) { b"true".as_slice() } else { b"false" })
            });
            take_cells(part, role, cells, missing)
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            take_cells(part, role, array.iter().map(|cell| cell.map(str::as_bytes)), missing)
        }
        DataType::Binary => take_cells(part, role, array.as_binary::<i32>().iter(), missing),
        other => Err(Fault::Unsupported(format!("the type {other}"))),
    }
}

fn take_numbers<T: ArrowPrimitiveType>(
    part: &mut Part,
    role: Role,
    array: &ArrayRef,
    missing: &MissingTokens,
    convert: impl Fn(T::Native) -> f64,
) -> Result<(), Fault>
where
    T::Native: std::fmt::Display,
{
    let array = array.as_primitive::<T>();
    match role {
        Role::Number(slot) => {
            let mut first_infinite = None;
            let values = array.iter().map(|value| value.map_or(f64::NAN, &convert));
            for (row, (target, value)) in part.numbers_mut(slot).iter_mut().zip(values).enumerate() {
                *target = value;
                if value.is_infinite() && first_infinite.is_none() {
                    first_infinite = Some((row, value));
                }
            }
            if let Some((row, value)) = first_infinite {
                part.note(role, CellProblem::NotFinite, value.to_string().as_bytes(), row, 0);
            }
            Ok(())
        }
        Role::Time => {
            for (row, value) in array.iter().enumerate() {
                let value = value.map_or(f64::NAN, &convert);
                if !value.is_finite() {
                    part.note(role, CellProblem::Missing, b"", row, 0);
                }
                part.times.push(value);
            }
            Ok(())
        }
        _ => {
            // Labels, groups and ids are text: 1.0 is written `1`, like the integer, and NaN is missing.
            let texts: Vec<Option<String>> = array
                .iter()
                .map(|value| value.filter(|value| !convert(*value).is_nan()).map(|value| value.to_string()))
                .collect();
            take_cells(part, role, texts.iter().map(|text| text.as_deref().map(str::as_bytes)), missing)
        }
    }
}

fn take_cells<'a>(
    part: &mut Part,
    role: Role,
    cells: impl Iterator<Item = Option<&'a [u8]>>,
    missing: &MissingTokens,
) -> Result<(), Fault> {
    part.rows = 0;
    for cell in cells {
        match cell {
            Some(cell) => part
                .set_cell(role, cell, 0, missing)
                .map_err(|problem| Fault::Encoding(part.rows, problem))?,
            None => part.set_missing(role),
        }
        part.rows += 1;
    }
    Ok(())
}

/// Encryption is told apart from damage by the decoder's words: without its encryption support it has no other way.
fn undecodable(source: &SourceFile, error: &ParquetError) -> DatasetError {
    let reason = error.to_string();
    if reason.contains("encrypt") {
        let (path, column) = (source.path.clone(), "*".to_owned());
        return DatasetError::UnsupportedType {
            path,
            column,
            found: "an encrypted file or column".to_owned(),
        };
    }
    malformed(source, &reason)
}

fn malformed(source: &SourceFile, reason: &str) -> DatasetError {
    DatasetError::MalformedParquet { path: source.path.clone(), reason: reason.to_owned() }
}
