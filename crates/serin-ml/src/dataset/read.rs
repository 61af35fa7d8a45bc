//! From files to a data set: the one public entry, its options and limits.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::cells::{MISSING_TOKENS, MissingTokens};
use super::columns::{Columns, Role, Shape};
use super::errors::{DatasetError, DialectProblem, Position};
use super::layout::Layout;
use super::table::{Dataset, Schema, Source};
use super::{csv, finish, parquet};
use crate::observer::{Observer, Progress};

/// What to read and how; every column is named by the text of the header.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The column that holds the class.
    pub target: Option<String>,
    /// Whether a file without the target column is an error (it is dropped silently otherwise).
    pub target_required: bool,
    /// Columns that are not read. A name that no file has is no error.
    pub ignore: Vec<String>,
    /// Sample weights: numbers >= 0.
    pub weight: Option<String>,
    /// Rows of one group never straddle a split: any text or number.
    pub group: Option<String>,
    /// The order of rows in time: numbers, or ISO 8601 dates and times.
    pub time: Option<String>,
    /// An identifier that is handed through.
    pub id: Option<String>,
    /// Values that stand for "no value", compared after trimming spaces; [`MISSING_TOKENS`] unless told otherwise.
    pub missing: Vec<String>,
    /// The features a model expects: selected by name, in this order; what else the files hold is dropped with a warning.
    pub expected_schema: Option<Schema>,
    /// The classes a model knows: codes refer to them, another class is an error, and one class alone is not.
    pub expected_classes: Option<Vec<String>>,
    /// Fewest rows that are enough.
    pub minimum_rows: usize,
    /// What files may ask for.
    pub limits: Limits,
    /// Bytes of CSV that one thread parses at a time. The result does not depend on it.
    pub block_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            target: None,
            target_required: true,
            ignore: Vec::new(),
            weight: None,
            group: None,
            time: None,
            id: None,
            missing: MISSING_TOKENS.map(str::to_owned).to_vec(),
            expected_schema: None,
            expected_classes: None,
            minimum_rows: 1,
            limits: Limits::default(),
            block_bytes: 1 << 20,
        }
    }
}

impl ReadOptions {
    /// Rows that must be there: a target whose classes are to be learned needs two.
    pub(super) fn needed_rows(&self) -> usize {
        let learns = self.target.is_some() && self.target_required && self.expected_classes.is_none();
        self.minimum_rows.max(if learns { 2 } else { 1 })
    }
}

/// The most that files may ask for. Passing one is an error that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Columns of a file.
    pub columns: usize,
    /// Rows of all files together.
    pub rows: usize,
    /// Numbers of all files together, 8 bytes each.
    pub values: usize,
    /// Bytes of one CSV value.
    pub cell_bytes: usize,
    /// Bytes of one CSV record, the header included.
    pub record_bytes: usize,
    /// Classes of the target.
    pub classes: usize,
    /// Bytes of one Parquet page after decompression.
    pub page_bytes: usize,
    /// Bytes of the footer of a Parquet file.
    pub footer_bytes: usize,
    /// Row groups of a Parquet file.
    pub row_groups: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            columns: 20_000,
            rows: 500_000_000,
            values: 4_000_000_000,
            cell_bytes: 64 << 10,
            record_bytes: 16 << 20,
            classes: 1_000,
            page_bytes: 256 << 20,
            footer_bytes: 64 << 20,
            row_groups: 100_000,
        }
    }
}

/// A data set and what its reader did not keep quiet about.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The rows of all files, in the order of the list.
    pub dataset: Dataset,
    /// Things that a person should know and that stop nothing.
    pub warnings: Vec<Warning>,
}

/// Something odd that does not stop the reading.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Columns that are not expected were dropped.
    ExtraColumns {
        /// The file.
        path: String,
        /// Their names, in file order.
        columns: Vec<String>,
    },
    /// The columns stand in another order than expected; they were matched by name.
    ColumnOrder {
        /// The file.
        path: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ExtraColumns { path, columns } => {
                let shown: Vec<String> = columns.iter().take(20).map(|name| format!("'{name}'")).collect();
                write!(f, "{path}: columns that are not expected were dropped: {}", shown.join(", "))?;
                if columns.len() > shown.len() {
                    write!(f, " and {} more", columns.len() - shown.len())?;
                }
                Ok(())
            }
            Self::ColumnOrder { path } => {
                write!(f, "{path}: the columns stand in another order; they were matched by name")
            }
        }
    }
}

/// Reads files, CSV (plain or gzip) or Parquet, told apart by their first bytes and never by their names, and appends
/// their rows in the order of the list. Columns are matched by name, so files may order them differently.
///
/// Spaces around values do not count, nor do lines without any text. `true` and `false` are 1 and 0. Rows in messages
/// count from 1 below the header. Memory is the numbers (8 bytes each) and a few blocks.
///
/// # Errors
/// The first thing that stops the reading of a file (encoding, dialect, a limit); else all columns that are not numeric
/// in one error, then the first infinite number; else what is wrong with the target, weights or keys.
pub fn read(paths: &[PathBuf], options: &ReadOptions, observer: &dyn Observer) -> Result<Read, DatasetError> {
    let mut reading = Reading::begin(paths, options, observer, None)?;
    reading.read_files(paths)?;
    finish::finish(reading)
}

/// Takes a batch of rows; answers whether to go on.
pub type Sink<'a> = &'a mut dyn FnMut(Dataset) -> bool;

/// Reads rows as [`read`] does, and hands them to `sink` batch by batch, so that memory does not grow with their number.
///
/// Batches have the features and the id column, in file order; a target, weights, groups and times are not read, and a
/// batch has no fingerprint. Kinds and ranges in a batch's schema are those of its own rows.
///
/// # Errors
/// As [`read`]; batches before the fault have been handed over by then. [`DatasetError::Stopped`] when `sink` declines.
pub fn read_batches(
    paths: &[PathBuf],
    options: &ReadOptions,
    observer: &dyn Observer,
    sink: Sink<'_>,
) -> Result<Vec<Warning>, DatasetError> {
    let options = ReadOptions { target: None, weight: None, group: None, time: None, ..options.clone() };
    let mut reading = Reading::begin(paths, &options, observer, Some(sink))?;
    reading.read_files(paths)?;
    if reading.handed_over == 0 {
        return Err(DatasetError::TooFewRows { rows: 0, needed: 1 });
    }
    Ok(reading.warnings)
}

/// A reading under way.
pub(super) struct Reading<'a> {
    pub options: &'a ReadOptions,
    pub observer: &'a dyn Observer,
    pub missing: MissingTokens,
    pub layout: Layout<'a>,
    pub shape: Shape,
    pub columns: Columns,
    /// The paths as shown, by file index.
    pub paths: Vec<String>,
    pub sources: Vec<Source>,
    pub warnings: Vec<Warning>,
    /// Where rows go as soon as they are there; without it they gather in `columns`.
    sink: Option<Sink<'a>>,
    /// Rows that the sink has taken.
    handed_over: usize,
}

impl<'a> Reading<'a> {
    fn begin(
        paths: &[PathBuf],
        options: &'a ReadOptions,
        observer: &'a dyn Observer,
        sink: Option<Sink<'a>>,
    ) -> Result<Self, DatasetError> {
        if paths.is_empty() {
            return Err(DatasetError::NoFiles);
        }
        Ok(Self {
            options,
            observer,
            missing: MissingTokens::new(&options.missing),
            layout: Layout::new(options)?,
            shape: Shape::default(),
            columns: Columns::default(),
            paths: paths.iter().map(|path| path.display().to_string()).collect(),
            sources: Vec::new(),
            warnings: Vec::new(),
            sink,
            handed_over: 0,
        })
    }

    fn read_files(&mut self, paths: &[PathBuf]) -> Result<(), DatasetError> {
        for (index, path) in paths.iter().enumerate() {
            let rows_before = self.handed_over + self.columns.rows;
            let source = SourceFile::open(index, path)?;
            read_file(self, source)?;
            let rows = self.handed_over + self.columns.rows - rows_before;
            self.sources.push(Source { path: path.display().to_string(), rows });
        }
        Ok(())
    }

    /// Hands the rows gathered so far to the sink, when there is one.
    pub fn hand_over(&mut self) -> Result<(), DatasetError> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if self.columns.rows == 0 {
            return Ok(());
        }
        let columns = std::mem::replace(&mut self.columns, Columns::new(&self.shape));
        self.handed_over += columns.rows;
        let batch = finish::batch(columns, self.options, &self.layout, &self.paths)?;
        if sink(batch) { Ok(()) } else { Err(DatasetError::Stopped) }
    }

    /// What each column of a file with these names is for.
    pub fn layout_file(&mut self, path: &str, names: &[String]) -> Result<Vec<Role>, DatasetError> {
        let is_first = !self.layout.is_fixed();
        let roles = self.layout.roles(path, names, &mut self.warnings)?;
        if is_first {
            self.shape = self.layout.shape();
            self.columns = Columns::new(&self.shape);
        }
        Ok(roles)
    }

    /// Refuses more rows or numbers than the limits allow, when `more_rows` are still to come.
    pub fn check_size(&self, path: &str, more_rows: usize) -> Result<(), DatasetError> {
        let limits = self.options.limits;
        let rows = (self.handed_over + self.columns.rows).saturating_add(more_rows);
        // Rows handed over do not count against memory.
        let held = self.columns.rows.saturating_add(more_rows);
        let values = held.saturating_mul(self.shape.numbers);
        for (name, found, limit, unit) in
            [("rows", rows, limits.rows, "rows"), ("values", values, limits.values, "numbers")]
        {
            if found > limit {
                let position = Position::file(path);
                return Err(DatasetError::Limit { position, name, limit: limit as u64, unit, hint: "" });
            }
        }
        Ok(())
    }

    /// Makes room for the rest of a file from the size of its first rows.
    pub fn reserve(&mut self, source: &SourceFile, rows: usize, bytes: usize) {
        let Some(total) = source.text_bytes else { return };
        if rows == 0 || bytes == 0 || self.sink.is_some() {
            return;
        }
        let expected = (total as f64 / bytes as f64 * rows as f64 * 1.02) as usize;
        let left = expected.saturating_sub(rows).min(self.options.limits.rows);
        self.columns.reserve(left);
    }

    /// Tells the observer how far the file is, and asks whether to go on.
    pub fn report(&self, source: &SourceFile, rows: u64) -> Result<(), DatasetError> {
        self.observer.on_progress(&Progress::Read {
            source: &source.path,
            rows,
            bytes: source.consumed.load(Ordering::Relaxed),
            total_bytes: source.total_bytes,
        });
        if self.observer.stop_requested() { Err(DatasetError::Stopped) } else { Ok(()) }
    }
}

/// A file being read.
pub(super) struct SourceFile {
    pub index: usize,
    pub path: String,
    pub file: File,
    pub is_gzip: bool,
    /// Bytes taken from the file so far.
    pub consumed: Arc<AtomicU64>,
    /// Bytes of the file, where it has a size.
    pub total_bytes: Option<u64>,
    /// Bytes of its text, where that is known beforehand.
    pub text_bytes: Option<u64>,
}

impl SourceFile {
    fn open(index: usize, path: &Path) -> Result<Self, DatasetError> {
        let shown = path.display().to_string();
        let unreadable = |source| DatasetError::Unreadable { path: shown.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Ok(Self {
            index,
            path: shown,
            file,
            is_gzip: false,
            consumed: Arc::default(),
            total_bytes: metadata.is_file().then_some(metadata.len()),
            text_bytes: None,
        })
    }

    /// What a failed read of this file means: the gzip decoder speaks through the same type.
    pub fn unreadable(&self, source: io::Error) -> DatasetError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                if self.is_gzip =>
            {
                DatasetError::MalformedGzip { path, source }
            }
            _ => DatasetError::Unreadable { path, source },
        }
    }
}

fn read_file(reading: &mut Reading<'_>, mut source: SourceFile) -> Result<(), DatasetError> {
    let file = source.file.try_clone().map_err(|error| source.unreadable(error))?;
    let mut counted = Counted { inner: file, consumed: Arc::clone(&source.consumed) };
    let head = read_head(&mut counted).map_err(|error| source.unreadable(error))?;
    if parquet::MAGICS.iter().any(|magic| head.starts_with(*magic)) {
        return parquet::read(reading, &source);
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        source.is_gzip = true;
        let whole = BufReader::with_capacity(1 << 18, Cursor::new(head).chain(counted));
        let mut text = MultiGzDecoder::new(whole);
        let head = read_head(&mut text).map_err(|error| source.unreadable(error))?;
        check_format(&head, &source.path)?;
        return csv::read(reading, &source, Cursor::new(head).chain(text));
    }
    check_format(&head, &source.path)?;
    source.text_bytes = source.total_bytes;
    csv::read(reading, &source, Cursor::new(head).chain(counted))
}

/// Formats that are neither CSV nor Parquet, and what to call them.
const OTHER_FORMATS: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"ARROW1", "an Arrow IPC (Feather) file"),
    (b"SQLite f", "an SQLite database"),
    (b"\x1f\x8b", "a gzip file in a gzip file"),
];

fn check_format(head: &[u8], path: &str) -> Result<(), DatasetError> {
    let parquet = parquet::MAGICS.iter().map(|magic| (magic.as_slice(), "a Parquet file inside gzip"));
    for (magic, name) in OTHER_FORMATS.into_iter().chain(parquet) {
        if head.starts_with(magic) {
            let position = Position::file(path);
            return Err(DatasetError::Dialect { position, problem: DialectProblem::OtherFormat(name) });
        }
    }
    Ok(())
}

fn read_head(reader: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(8).read_to_end(&mut head)?;
    Ok(head)
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
