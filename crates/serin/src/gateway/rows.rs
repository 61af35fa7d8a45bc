//! The rows of a request, and the guard that checks them against the model's schema.

use std::collections::HashMap;

use serin_ml::dataset::{ColumnKind, Schema};

use super::limits::Limits;
use super::problem::{Code, LISTED_ERRORS, Problem, ValueError, echo};

/// What a row must look like.
#[derive(Debug)]
pub struct RowGuard {
    names: Vec<String>,
    kinds: Vec<ColumnKind>,
    allows_missing: Vec<bool>,
    positions: HashMap<String, usize>,
    names_are_numbers: bool,
    missing: Vec<String>,
    /// Those of them that read as numbers, which are looked for first.
    missing_numbers: Vec<String>,
}

/// Checked rows x features in row-major order; NaN is a missing value. Kept and reused from request to request.
#[derive(Debug, Default)]
pub struct Rows {
    values: Vec<f64>,
    rows: usize,
}

/// Rows under construction: values go in one by one, and every error is noted with its place, so that the caller
/// reads all of them at once.
#[derive(Debug)]
pub struct RowBuilder<'a> {
    guard: &'a RowGuard,
    limits: &'a Limits,
    rows: &'a mut Rows,
    /// Where the values of the row in hand begin.
    start: usize,
    /// Values of the row in hand, and for rows by name which features were given.
    filled: usize,
    given: Vec<bool>,
    errors: Vec<ValueError>,
    truncated: bool,
    detail: String,
}

impl RowGuard {
    /// The guard for rows of `schema`. A missing value is allowed where training saw one; in CSV it is an empty cell or
    /// one of the texts in `missing`.
    #[must_use]
    pub fn new(schema: &Schema, missing: &[String]) -> Self {
        let names: Vec<String> = schema.names().map(str::to_owned).collect();
        Self {
            kinds: schema.fields.iter().map(|field| field.kind).collect(),
            allows_missing: schema.fields.iter().map(|field| field.has_missing).collect(),
            positions: names.iter().enumerate().map(|(i, name)| (name.clone(), i)).collect(),
            names_are_numbers: names.iter().all(|name| name.trim().parse::<f64>().is_ok()),
            missing_numbers: missing
                .iter()
                .filter(|token| token.trim().parse::<f64>().is_ok())
                .cloned()
                .collect(),
            missing: missing.to_vec(),
            names,
        }
    }

    /// Feature names in the order a row has them.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position of the feature called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Whether every name reads as a number, so that a header could be mistaken for a row.
    #[must_use]
    pub fn names_are_numbers(&self) -> bool {
        self.names_are_numbers
    }
}

impl Rows {
    /// One row and nothing else.
    pub fn set_one(&mut self, values: &[f64]) {
        self.values.clear();
        self.values.extend_from_slice(values);
        self.rows = 1;
    }

    /// Rows of `n_columns` values that were checked elsewhere.
    pub fn set(&mut self, values: Vec<f64>, n_columns: usize) {
        self.rows = values.len() / n_columns.max(1);
        self.values = values;
    }

    /// All values, row-major.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Adds to each finite value of a column; what would not stay finite is left as it was.
    pub fn shift(&mut self, column: usize, n_columns: usize, by: f64) {
        for row in self.values.chunks_exact_mut(n_columns.max(1)) {
            if let Some(value) = row.get_mut(column)
                && (*value + by).is_finite()
            {
                *value += by;
            }
        }
    }

    /// How many rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows
    }

    /// Row `i` of `n_columns` values.
    #[must_use]
    pub fn row(&self, i: usize, n_columns: usize) -> &[f64] {
        &self.values[i * n_columns..(i + 1) * n_columns]
    }

    /// How many values the memory held is for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.values.capacity()
    }

    /// Begins anew, keeping the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.rows = 0;
    }
}

impl<'a> RowBuilder<'a> {
    /// Builds into `rows`, which are cleared.
    pub fn new(guard: &'a RowGuard, limits: &'a Limits, rows: &'a mut Rows) -> Self {
        rows.clear();
        Self {
            guard,
            limits,
            rows,
            start: 0,
            filled: 0,
            given: Vec::new(),
            errors: Vec::new(),
            truncated: false,
            detail: String::new(),
        }
    }

    /// The guard in force.
    #[must_use]
    pub fn guard(&self) -> &'a RowGuard {
        self.guard
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// The column that [`Self::push_text`] and its siblings fill next.
    #[must_use]
    pub fn next_column(&self) -> usize {
        self.filled
    }

    /// Begins a row whose values come by position.
    ///
    /// # Errors
    /// When there are too many rows.
    pub fn begin_row(&mut self) -> Result<(), Problem> {
        if self.rows.rows == self.limits.rows {
            let detail = format!("a request has at most {} rows; send the rest in another", self.limits.rows);
            return Err(Problem::new(Code::TooManyRows, detail));
        }
        self.filled = 0;
        self.start = self.rows.rows * self.guard.names.len();
        if !self.errors.is_empty() {
            // The request is refused: its values are only looked at, one row at a time.
            self.rows.values.clear();
            self.start = 0;
        }
        Ok(())
    }

    /// Begins a row whose values come by name.
    ///
    /// # Errors
    /// When there are too many rows.
    pub fn begin_named_row(&mut self) -> Result<(), Problem> {
        self.begin_row()?;
        self.rows.values.resize(self.start + self.guard.names.len(), f64::NAN);
        self.given.clear();
        self.given.resize(self.guard.names.len(), false);
        Ok(())
    }

    /// The text of a CSV cell: a number, with spaces around it allowed, or a missing value.
    #[inline]
    pub fn push_text(&mut self, text: &str) {
        let column = self.filled;
        let value = self.number_or_missing(text, column);
        self.push(value);
    }

    /// The text of a JSON number.
    #[inline]
    pub fn push_number(&mut self, text: &str) {
        let column = self.filled;
        let value = self.number(text, column);
        self.push(value);
    }

    /// A value that is there as `null`.
    pub fn push_missing(&mut self) {
        let column = self.filled;
        let value = self.missing(column);
        self.push(value);
    }

    /// `true` or `false`.
    pub fn push_boolean(&mut self, value: bool) {
        let column = self.filled;
        let value = self.boolean(value, column);
        self.push(value);
    }

    /// A value that is a float already: NaN is a missing one.
    #[inline]
    pub fn push_float(&mut self, value: f64) {
        let column = self.filled;
        let value = self.float(value, column);
        self.push(value);
    }

    /// A value that is no number at all.
    pub fn push_wrong(&mut self, code: Code) {
        let column = self.filled;
        self.note(code, Some(column));
        self.push(f64::NAN);
    }

    /// Which column `name` is, in a row by name. Notes names that are unknown or given twice, whose values are then
    /// to be skipped.
    pub fn column_of(&mut self, name: &str) -> Option<usize> {
        let Some(column) = self.guard.position(name) else {
            self.truncated |= self.errors.len() == LISTED_ERRORS;
            if self.truncated {
                return None;
            }
            let code = Code::UnknownFeature;
            self.push_error(ValueError { row: self.rows.rows + 1, column: Some(echo(name)), code });
            return None;
        };
        if std::mem::replace(&mut self.given[column], true) {
            self.note(Code::DuplicateKey, Some(column));
            return None;
        }
        Some(column)
    }

    /// Sets a value of a row by name.
    pub fn set(&mut self, column: usize, value: f64) {
        self.rows.values[self.start + column] = value;
    }

    /// A JSON number for `column`; NaN with an error noted when it is not acceptable.
    pub fn number(&mut self, text: &str, column: usize) -> f64 {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => value,
            Ok(_) => self.wrong(Code::NumberOutOfRange, column),
            Err(_) => self.wrong(Code::NotANumber, column),
        }
    }

    /// A float for `column`; NaN with an error noted when it is not acceptable.
    #[inline]
    pub fn float(&mut self, value: f64, column: usize) -> f64 {
        if value.is_finite() {
            value
        } else if value.is_nan() {
            self.missing(column)
        } else {
            self.wrong(Code::NotFinite, column)
        }
    }

    /// A missing value for `column`.
    pub fn missing(&mut self, column: usize) -> f64 {
        if self.guard.allows_missing.get(column).copied().unwrap_or(true) {
            return f64::NAN;
        }
        self.wrong(Code::MissingValue, column)
    }

    /// A boolean for `column`: only columns that are 0 and 1 throughout take one.
    pub fn boolean(&mut self, value: bool, column: usize) -> f64 {
        if self.guard.kinds.get(column) == Some(&ColumnKind::Boolean) {
            return f64::from(u8::from(value));
        }
        self.wrong(Code::WrongType, column)
    }

    /// Notes an error of `column` and gives the placeholder.
    pub fn wrong(&mut self, code: Code, column: usize) -> f64 {
        self.note(code, Some(column));
        f64::NAN
    }

    /// Ends a row by position.
    pub fn end_row(&mut self) {
        let (expected, found) = (self.guard.names.len(), self.filled);
        if found != expected {
            if self.detail.is_empty() {
                let row = self.rows.rows + 1;
                self.detail = format!("row {row} has {found} values, the model has {expected} features");
            }
            self.note(Code::WrongColumnCount, None);
        }
        self.rows.rows += 1;
    }

    /// Ends a row by name.
    pub fn end_named_row(&mut self) {
        self.check_given();
        self.rows.rows += 1;
    }

    /// Notes the features that the row in hand was not given.
    pub fn check_given(&mut self) {
        for column in 0..self.given.len() {
            if self.truncated {
                return;
            }
            if !self.given[column] {
                self.note(Code::MissingFeature, Some(column));
            }
        }
    }

    /// Ends a row whose names were checked before all rows; `found` values stood where `expected` were named.
    pub fn end_split_row(&mut self, found: usize, expected: usize) {
        if found != expected {
            self.note(Code::WrongColumnCount, None);
        }
        self.rows.rows += 1;
    }

    /// The verdict over all rows.
    ///
    /// # Errors
    /// When there are no rows, or any value was wrong: all or nothing.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else {
            if self.rows.rows == 0 {
                return Err(Problem::new(Code::NoRows, "the body has no rows; send at least one"));
            }
            return Ok(());
        };
        let detail = if self.detail.is_empty() {
            let title = first.code.title();
            match &first.column {
                Some(column) => format!("row {}, column {column}: {title}", first.row),
                None => format!("row {}: {title}", first.row),
            }
        } else {
            self.detail
        };
        Err(Problem { code: first.code, detail, errors: self.errors, truncated: self.truncated })
    }

    fn push(&mut self, value: f64) {
        // Values beyond the last column are counted, not kept.
        if self.filled < self.guard.names.len() {
            self.rows.values.push(value);
        }
        self.filled += 1;
    }

    #[inline]
    fn number_or_missing(&mut self, text: &str, column: usize) -> f64 {
        let text = text.trim_matches([' ', '\t']);
        if self.guard.missing_numbers.iter().any(|token| token == text) {
            return self.missing(column);
        }
        let starts_like_a_number = matches!(text.as_bytes(), [b'0'..=b'9' | b'-' | b'+' | b'.', ..]);
        match text.parse::<f64>() {
            Ok(value) if starts_like_a_number && value.is_finite() => value,
            Ok(value) if value.is_infinite() => {
                let spelled_out = text.bytes().any(|byte| matches!(byte, b'i' | b'I'));
                self.wrong(if spelled_out { Code::NotFinite } else { Code::NumberOutOfRange }, column)
            }
            _ if text.is_empty() || self.guard.missing.iter().any(|token| token == text) => {
                self.missing(column)
            }
            _ if self.guard.kinds.get(column) == Some(&ColumnKind::Boolean) => match text {
                "true" | "True" | "TRUE" => 1.0,
                "false" | "False" | "FALSE" => 0.0,
                _ => self.wrong(Code::NotANumber, column),
            },
            _ => self.wrong(Code::NotANumber, column),
        }
    }

    fn note(&mut self, code: Code, column: Option<usize>) {
        if self.errors.len() == LISTED_ERRORS {
            self.truncated = true;
            return;
        }
        // A value beyond the last column has no name; the row's own error says enough.
        let column = match column {
            Some(column) => match self.guard.names.get(column) {
                Some(name) => Some(echo(name)),
                None => return,
            },
            None => None,
        };
        self.push_error(ValueError { row: self.rows.rows + 1, column, code });
    }

    fn push_error(&mut self, error: ValueError) {
        if self.errors.len() < LISTED_ERRORS {
            self.errors.push(error);
        } else {
            self.truncated = true;
        }
    }
}
