//! What can be wrong with a data set, and where.

use std::fmt;

use super::cells::excerpt;

/// Columns named in one error before it says "and so many more".
pub const NAMED_COLUMNS: usize = 20;

/// Why files did not become a data set.
///
/// [`DatasetError::code`] is the stable name of the case; the message tells a person where to look and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The list of files was empty.
    #[error("no file was named")]
    NoFiles,
    /// A file could not be opened or read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The path as given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A gzip stream is damaged or ends early.
    #[error("{path} is not a whole gzip file")]
    MalformedGzip {
        /// The path as given.
        path: String,
        /// What the decoder said.
        source: std::io::Error,
    },
    /// The bytes are not UTF-8 text.
    #[error("{position}: {problem}")]
    Encoding {
        /// Where.
        position: Box<Position>,
        /// What was found.
        problem: EncodingProblem,
    },
    /// The file is text, but not the CSV that is read here.
    #[error("{position}: {problem}")]
    Dialect {
        /// Where.
        position: Box<Position>,
        /// What was found.
        problem: DialectProblem,
    },
    /// A named limit was passed.
    #[error("{position}: more than {limit} {unit} (limit `{name}`){hint}")]
    Limit {
        /// Where.
        position: Box<Position>,
        /// The name of the limit, a field of [`super::Limits`].
        name: &'static str,
        /// Its value.
        limit: u64,
        /// What is counted.
        unit: &'static str,
        /// A possible cause, or nothing.
        hint: &'static str,
    },
    /// The columns are not those that are needed.
    #[error("{path}: {problem}")]
    Schema {
        /// The path as given.
        path: String,
        /// What does not fit.
        problem: SchemaProblem,
    },
    /// Columns hold something else than numbers.
    #[error("{}", not_numeric(.columns, *.total))]
    NotNumeric {
        /// The first [`NAMED_COLUMNS`] of them in column order, each with its first offending value.
        columns: Vec<Position>,
        /// How many there are.
        total: usize,
    },
    /// An infinite value, or a number beyond the range of 64-bit floats.
    #[error("{position} is not finite; numbers must be finite, or a missing token such as an empty value")]
    NotFinite {
        /// Where.
        position: Box<Position>,
    },
    /// The target cannot be learned from.
    #[error("target column '{column}': {problem}")]
    BadTarget {
        /// Name of the target column.
        column: String,
        /// What is wrong with it.
        problem: TargetProblem,
    },
    /// A weight that is missing or negative.
    #[error("{position}: a weight must be a number >= 0")]
    BadWeight {
        /// Where.
        position: Box<Position>,
    },
    /// A row without a group, time or id.
    #[error("{position}: {expected}")]
    BadKey {
        /// Where.
        position: Box<Position>,
        /// What the column must hold.
        expected: &'static str,
    },
    /// Fewer rows than the work needs.
    #[error("{rows} rows, but at least {needed} are needed")]
    TooFewRows {
        /// Rows read.
        rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// A Parquet file that is damaged or lies about itself.
    #[error("{path} is not a sound Parquet file: {reason}")]
    MalformedParquet {
        /// The path as given.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A column type that is not a number, a boolean or text.
    #[error("{path}, column '{column}': {found} is not supported; drop it with `ignore = [{column:?}]`")]
    UnsupportedType {
        /// The path as given.
        path: String,
        /// The column, or `*` for the whole file.
        column: String,
        /// The type found.
        found: String,
    },
    /// The caller asked to stop.
    #[error("reading was stopped")]
    Stopped,
}

impl DatasetError {
    /// The stable name of the case, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoFiles => "no_files",
            Self::Unreadable { .. } => "unreadable",
            Self::MalformedGzip { .. } => "malformed_gzip",
            Self::Encoding { .. } => "encoding",
            Self::Dialect { .. } => "dialect",
            Self::Limit { .. } => "limit",
            Self::Schema { .. } => "schema",
            Self::NotNumeric { .. } => "not_a_number",
            Self::NotFinite { .. } => "not_finite",
            Self::BadTarget { .. } => "bad_target",
            Self::BadWeight { .. } => "bad_weight",
            Self::BadKey { .. } => "bad_key",
            Self::TooFewRows { .. } => "too_few_rows",
            Self::MalformedParquet { .. } => "malformed_parquet",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::Stopped => "stopped",
        }
    }

    /// Where it was found, when it was found in one place.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Encoding { position, .. }
            | Self::Dialect { position, .. }
            | Self::Limit { position, .. }
            | Self::NotFinite { position }
            | Self::BadWeight { position }
            | Self::BadKey { position, .. } => Some(position),
            Self::NotNumeric { columns, .. } => columns.first(),
            Self::BadTarget { problem: TargetProblem::Missing { position, .. }, .. }
            | Self::BadTarget { problem: TargetProblem::Fraction { position }, .. }
            | Self::BadTarget { problem: TargetProblem::UnknownClass { position, .. }, .. } => Some(position),
            _ => None,
        }
    }
}

/// A place in a file; rows count from 1, the first row below the header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The path as given.
    pub path: String,
    /// Data row, from 1.
    pub row: Option<u64>,
    /// Line of the file, from 1 (the header is line 1); Parquet has none.
    pub line: Option<u64>,
    /// Column name.
    pub column: Option<String>,
    /// The value, escaped and cut to 64 characters.
    pub value: Option<String>,
}

impl Position {
    pub(super) fn file(path: &str) -> Box<Self> {
        Box::new(Self { path: path.to_owned(), ..Self::default() })
    }

    pub(super) fn line(path: &str, line: u64) -> Box<Self> {
        Box::new(Self { line: Some(line), ..*Self::file(path) })
    }

    pub(super) fn with_value(mut self: Box<Self>, value: &[u8]) -> Box<Self> {
        self.value = Some(excerpt(value));
        self
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match (self.row, self.line) {
            (Some(row), Some(line)) => write!(f, ", row {row} (line {line})")?,
            (Some(row), None) => write!(f, ", row {row}")?,
            (None, Some(line)) => write!(f, ", line {line}")?,
            (None, None) => {}
        }
        if let Some(column) = &self.column {
            write!(f, ", column '{column}'")?;
        }
        if let Some(value) = &self.value {
            write!(f, ", value \"{value}\"")?;
        }
        Ok(())
    }
}

/// Bytes that are not UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingProblem {
    /// A UTF-16 or UTF-32 file.
    #[error("the file is UTF-16 or UTF-32; save it as UTF-8")]
    Utf16,
    /// A zero byte.
    #[error("a zero byte; the file is damaged, binary or not UTF-8")]
    Nul,
    /// A sequence that is not UTF-8.
    #[error("not valid UTF-8; save the file as UTF-8")]
    NotUtf8,
}

/// Text that is not the CSV that is read here: comma, UTF-8, one record a line, a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialectProblem {
    /// Another separator than the comma.
    #[error("the values seem to be separated by {0}; Serin reads commas")]
    Separator(&'static str),
    /// A comma inside a number.
    #[error("a comma inside a number; write numbers with a decimal point and without thousands separators")]
    DecimalComma,
    /// Line ends that are carriage returns only.
    #[error("a carriage return without a line feed; end lines with LF or CRLF")]
    CarriageReturn,
    /// A record with another number of values than the header.
    #[error("{found} values, but the header has {expected}{hint}")]
    Ragged {
        /// Columns of the header.
        expected: usize,
        /// Values of the record.
        found: usize,
        /// A possible cause, or nothing.
        hint: &'static str,
    },
    /// A quote that never closes.
    #[error("a quoted value that begins here is never closed")]
    UnclosedQuote,
    /// Something between a closing quote and the next comma.
    #[error("text after a closing quote; double a quote inside a quoted value")]
    TextAfterQuote,
    /// Another kind of file.
    #[error("this is {0}, not CSV or Parquet")]
    OtherFormat(&'static str),
}

/// Columns that are not those that are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// Two columns share a name.
    #[error("the column name {} occurs more than once", names(.0))]
    Duplicate(Vec<String>),
    /// Columns that are needed and not there.
    #[error("missing column {}", names(.0))]
    Missing(Vec<String>),
    /// A column without a name.
    #[error("column {0} has no name; name it, or write the table without its index, or `ignore = [\"\"]`")]
    Unnamed(usize),
    /// Every name in the header is a number with a fraction or repeats as data would: there is no header.
    #[error("the first line holds values, not names ({}); a header is required", names(.0))]
    NoHeader(Vec<String>),
    /// One column was given two roles.
    #[error("column '{column}' cannot be both {first} and {second}")]
    TwoRoles {
        /// The column.
        column: String,
        /// One role.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Nothing is left to learn from.
    #[error("no feature column is left")]
    NoFeatures,
}

/// A target that cannot be learned from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetProblem {
    /// No column has the name.
    #[error("there is no such column in {path}; it has {}", names(.columns))]
    Absent {
        /// The path as given.
        path: String,
        /// The columns that are there.
        columns: Vec<String>,
    },
    /// A row without a class.
    #[error("no class at {position}; drop the row or fill it in")]
    Missing {
        /// The first such row.
        position: Box<Position>,
    },
    /// A number with a fraction.
    #[error(
        "{position} has a fraction, so this looks like a quantity to estimate; classes are whole numbers or text"
    )]
    Fraction {
        /// The first such row.
        position: Box<Position>,
    },
    /// All rows have one class.
    #[error("all {rows} rows have the class '{class}'; at least two classes are needed")]
    OneClass {
        /// The class.
        class: String,
        /// Rows.
        rows: usize,
    },
    /// So many classes that the column is something else.
    #[error("{found} distinct values in {rows} rows (limit `classes` = {limit}); is this an identifier?")]
    TooManyClasses {
        /// Distinct values.
        found: usize,
        /// Rows.
        rows: usize,
        /// The limit.
        limit: usize,
    },
    /// A class that the model does not know.
    #[error("{} not known to the model, first at {position}; it knows {}", unknown(.classes), names(.known))]
    UnknownClass {
        /// Unknown classes and their rows, in order.
        classes: Vec<(String, usize)>,
        /// The classes of the model.
        known: Vec<String>,
        /// The first such row.
        position: Box<Position>,
    },
}

fn not_numeric(columns: &[Position], total: usize) -> String {
    let listed: Vec<String> = columns
        .iter()
        .map(|at| {
            let row = at.row.map_or_else(String::new, |row| format!(" at row {row}"));
            let line = at.line.map_or_else(String::new, |line| format!(" (line {line})"));
            format!(
                "'{}' has \"{}\"{row}{line} of {}",
                at.column.as_deref().unwrap_or_default(),
                at.value.as_deref().unwrap_or_default(),
                at.path,
            )
        })
        .collect();
    let more = if total > columns.len() {
        format!(" and {} more columns", total - columns.len())
    } else {
        String::new()
    };
    let ignore: Vec<String> =
        columns.iter().map(|at| format!("{:?}", at.column.as_deref().unwrap_or_default())).collect();
    let subject = if total == 1 { "column is" } else { "columns are" };
    format!(
        "{total} {subject} not numeric: {}{more}; leave out with `ignore = [{}]`",
        listed.join(", "),
        ignore.join(", ")
    )
}

fn unknown(classes: &[(String, usize)]) -> String {
    let listed: Vec<String> = classes
        .iter()
        .take(NAMED_COLUMNS)
        .map(|(class, rows)| format!("'{class}' ({rows} row{})", if *rows == 1 { "" } else { "s" }))
        .collect();
    format!("class {}", listed.join(", "))
}

fn names(names: &[String]) -> String {
    let mut text =
        names.iter().take(NAMED_COLUMNS).map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_COLUMNS {
        text.push_str(&format!(" and {} more", names.len() - NAMED_COLUMNS));
    }
    text
}
