//! Compares what a Parquet file claims of its own layout with the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use ::parquet::file::metadata::ParquetMetaData;

use super::malformed;
use crate::dataset::errors::{DatasetError, Position};
use crate::dataset::read::{Reading, SourceFile};

/// Magic, footer length, magic.
const SMALLEST_FILE: u64 = 12;

/// Bytes read to find a page header in; statistics in it can make it long.
const HEADER_BYTES: [usize; 3] = [256, 16 << 10, 4 << 20];

/// Nesting of the structures in a page header, far more than the format has.
const DEEPEST: usize = 16;

/// Checks both ends of the file: the magics and the length of the footer.
pub(super) fn check_ends(
    file: &mut File,
    source: &SourceFile,
    footer_limit: usize,
) -> Result<(), DatasetError> {
    let unreadable = |error: io::Error| source.unreadable(error);
    let size = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    if size < SMALLEST_FILE {
        return Err(malformed(source, "it is too short to have a footer"));
    }
    let mut tail = [0; 8];
    file.seek(SeekFrom::End(-8)).map_err(unreadable)?;
    file.read_exact(&mut tail).map_err(unreadable)?;
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        b"PAR1" => {}
        b"PARE" => {
            return Err(DatasetError::UnsupportedType {
                path: source.path.clone(),
                column: "*".to_owned(),
                found: "an encrypted file".to_owned(),
            });
        }
        _ => return Err(malformed(source, "it does not end with a footer; it may be cut short")),
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > size - SMALLEST_FILE {
        return Err(malformed(source, &format!("its footer claims {footer} bytes of a file of {size}")));
    }
    if footer > footer_limit as u64 {
        return Err(DatasetError::Limit {
            position: Position::file(&source.path),
            name: "footer_bytes",
            limit: footer_limit as u64,
            unit: "bytes in the footer",
            hint: "",
        });
    }
    Ok(())
}

/// Checks row counts, chunk ranges and every page header of the columns to be read; the number of rows.
pub(super) fn check_chunks(
    file: &mut File,
    metadata: &ParquetMetaData,
    columns: &[usize],
    source: &SourceFile,
    reading: &Reading<'_>,
) -> Result<usize, DatasetError> {
    let limits = reading.options.limits;
    let broken = |reason: &str| malformed(source, reason);
    let limit = |name, limit: usize, unit, column: Option<&str>| DatasetError::Limit {
        position: Box::new(Position { column: column.map(str::to_owned), ..*Position::file(&source.path) }),
        name,
        limit: limit as u64,
        unit,
        hint: "",
    };
    let size = file.seek(SeekFrom::End(0)).map_err(|error| source.unreadable(error))?;
    if metadata.num_row_groups() > limits.row_groups {
        return Err(limit("row_groups", limits.row_groups, "row groups", None));
    }
    let leaves = leaves_of(metadata, columns);
    let mut rows = 0_usize;
    for group in metadata.row_groups() {
        let group_rows =
            usize::try_from(group.num_rows()).map_err(|_| broken("a row group has a negative size"))?;
        rows = rows.checked_add(group_rows).ok_or_else(|| broken("its row groups have too many rows"))?;
        if rows > limits.rows {
            return Err(limit("rows", limits.rows, "rows", None));
        }
        for &leaf in &leaves {
            let Some(chunk) = group.columns().get(leaf) else {
                return Err(broken("a row group has fewer columns than the schema"));
            };
            let name = chunk.column_path().string();
            if chunk.file_path().is_some() {
                return Err(broken("a column lies in another file"));
            }
            if chunk.num_values() != group.num_rows() {
                return Err(broken(&format!(
                    "column '{name}' has another number of values than its row group"
                )));
            }
            let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
            let (Ok(start), Ok(length)) = (u64::try_from(start), u64::try_from(chunk.compressed_size()))
            else {
                return Err(broken(&format!("column '{name}' has a negative place or size")));
            };
            if start.checked_add(length).is_none_or(|end| end > size) {
                return Err(broken(&format!("column '{name}' reaches beyond the end of the file")));
            }
            let mut at = start;
            let mut values = 0_i64;
            while values < group.num_rows() && at < start + length {
                let page = read_header(file, at, start + length)
                    .map_err(|error| source.unreadable(error))?
                    .ok_or_else(|| broken(&format!("a page header of column '{name}' is damaged")))?;
                if page.uncompressed < 0 || page.compressed < 0 {
                    return Err(broken(&format!("a page of column '{name}' has a negative size")));
                }
                if page.uncompressed > i64::try_from(limits.page_bytes).unwrap_or(i64::MAX) {
                    return Err(limit("page_bytes", limits.page_bytes, "bytes in a page", Some(&name)));
                }
                // Not negative, as was just checked.
                at += page.header + page.compressed.unsigned_abs();
                if at > start + length {
                    return Err(broken(&format!("a page of column '{name}' reaches beyond its column")));
                }
                values = values.saturating_add(page.values);
            }
        }
    }
    if usize::try_from(metadata.file_metadata().num_rows()).ok() != Some(rows) {
        return Err(broken("its row groups do not add up to its rows"));
    }
    Ok(rows)
}

/// The leaf columns below the given top-level columns, which are all flat.
fn leaves_of(metadata: &ParquetMetaData, columns: &[usize]) -> Vec<usize> {
    let schema = metadata.file_metadata().schema_descr();
    (0..schema.num_columns())
        .filter(|&leaf| columns.binary_search(&schema.get_column_root_idx(leaf)).is_ok())
        .collect()
}

/// What a page says of itself.
struct PageHeader {
    header: u64,
    uncompressed: i64,
    compressed: i64,
    /// Values of a data page, 0 for a dictionary.
    values: i64,
}

/// The page header at `at`; `None` when there is no sound one before `end`.
fn read_header(file: &mut File, at: u64, end: u64) -> io::Result<Option<PageHeader>> {
    let mut bytes = Vec::new();
    for wanted in HEADER_BYTES {
        bytes.clear();
        file.seek(SeekFrom::Start(at))?;
        file.by_ref().take((end - at).min(wanted as u64)).read_to_end(&mut bytes)?;
        let mut cursor = Compact { bytes: &bytes, at: 0 };
        if let Some(header) = cursor.page_header() {
            return Ok(Some(header));
        }
        if bytes.len() < wanted {
            break;
        }
    }
    Ok(None)
}

/// As much of Thrift's compact protocol as a page header needs.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Types of the compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

impl Compact<'_> {
    /// `PageHeader` of parquet.thrift: 2 and 3 are the sizes, 5 and 8 the data page headers, whose field 1 is the number
    /// of values.
    fn page_header(&mut self) -> Option<PageHeader> {
        let (mut uncompressed, mut compressed, mut values) = (None, None, 0);
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (2, I32) => uncompressed = Some(self.integer()?),
                (3, I32) => compressed = Some(self.integer()?),
                (5 | 8, STRUCT) => {
                    let mut inner = 0;
                    while let Some(kind) = self.field(&mut inner)? {
                        if (inner, kind) == (1, I32) {
                            values = self.integer()?;
                        } else {
                            self.skip(kind, DEEPEST)?;
                        }
                    }
                }
                _ => self.skip(kind, DEEPEST)?,
            }
        }
        Some(PageHeader {
            header: self.at as u64,
            uncompressed: uncompressed?,
            compressed: compressed?,
            values,
        })
    }

    /// The type of the next field, `Some(None)` at the end of the structure.
    fn field(&mut self, number: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *number = match byte >> 4 {
            0 => self.integer()?,
            delta => *number + i64::from(delta),
        };
        Some(Some(byte & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => {}
            BYTE => self.advance(1)?,
            I16 | I32 | I64 => {
                self.integer()?;
            }
            DOUBLE => self.advance(8)?,
            BINARY => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.advance(length)?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let length = match head >> 4 {
                    15 => self.unsigned()?,
                    length => u64::from(length),
                };
                for _ in 0..length {
                    match head & 0x0f {
                        // Booleans take a byte in a list and none as a field.
                        TRUE | FALSE => self.advance(1)?,
                        kind => self.skip(kind, depth)?,
                    }
                }
            }
            STRUCT => {
                let mut number = 0;
                while let Some(kind) = self.field(&mut number)? {
                    self.skip(kind, depth)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn advance(&mut self, length: usize) -> Option<()> {
        self.at = self.at.checked_add(length).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag integer.
    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }
}
