//! Parts as they come from a reader, and the columns that grow from them.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::cells::{Cell, CellProblem, MissingTokens, excerpt, moment, number, trim};
use super::errors::{DatasetError, EncodingProblem, Position};

/// What a column of a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A number: feature `i`, or the weight, which has the number after the last feature.
    Number(usize),
    Time,
    Target,
    Group,
    Id,
    /// Not kept.
    Skip,
}

/// How many columns of numbers the data set has: the features, and the weight after them if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub numbers: usize,
}

/// The first cell of a column that is not what the column needs; positions count from the start of the part.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub kind: CellProblem,
    pub row: usize,
    pub line: u64,
    pub value: String,
}

/// Some consecutive rows of one file. Buffers are reused from part to part.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub rows: usize,
    pub lines: u64,
    /// Column-major, `capacity` values a column.
    numbers: Vec<f64>,
    capacity: usize,
    pub times: Vec<f64>,
    pub target: Interned,
    pub group: Interned,
    pub ids: Vec<String>,
    pub problems: BTreeMap<Role, Problem>,
}

impl Part {
    /// Empties the part and makes room for `rows` rows.
    pub fn reset(&mut self, shape: &Shape, rows: usize) {
        self.rows = 0;
        self.lines = 0;
        self.capacity = rows;
        self.numbers.resize(shape.numbers * rows, 0.0);
        self.times.clear();
        self.target.clear();
        self.group.clear();
        self.ids.clear();
        self.problems.clear();
    }

    /// Sets the number of the present row.
    #[inline]
    pub fn set_number(&mut self, slot: usize, value: f64) {
        self.numbers[slot * self.capacity + self.rows] = value;
    }

    /// All values of a number column, to fill at once.
    pub fn numbers_mut(&mut self, slot: usize) -> &mut [f64] {
        &mut self.numbers[slot * self.capacity..(slot + 1) * self.capacity]
    }

    fn numbers(&self, slot: usize) -> &[f64] {
        &self.numbers[slot * self.capacity..slot * self.capacity + self.rows]
    }

    /// Reads the cell of the present row as its role needs; `line` counts from the start of the part.
    pub fn set_cell(
        &mut self,
        role: Role,
        cell: &[u8],
        line: u64,
        missing: &MissingTokens,
    ) -> Result<(), EncodingProblem> {
        let cell = trim(cell);
        match role {
            Role::Skip => {}
            Role::Number(slot) => {
                let value = self.accept(role, number(cell, missing), cell, line)?;
                self.set_number(slot, value);
            }
            Role::Time => {
                let value = self.accept(role, moment(cell, missing), cell, line)?;
                self.times.push(value);
            }
            Role::Target | Role::Group | Role::Id => {
                let text = std::str::from_utf8(cell).map_err(|_| EncodingProblem::NotUtf8)?;
                if missing.contains(cell) {
                    self.note(role, CellProblem::Missing, cell, self.rows, line);
                }
                match role {
                    Role::Target => self.target.push(text, self.rows, line),
                    Role::Group => self.group.push(text, self.rows, line),
                    _ => self.ids.push(text.to_owned()),
                }
            }
        }
        Ok(())
    }

    /// There is no value in the present row.
    pub fn set_missing(&mut self, role: Role) {
        match role {
            Role::Number(slot) => return self.set_number(slot, f64::NAN),
            Role::Skip => return,
            Role::Time => self.times.push(f64::NAN),
            Role::Target => self.target.push("", self.rows, 0),
            Role::Group => self.group.push("", self.rows, 0),
            Role::Id => self.ids.push(String::new()),
        }
        self.note(role, CellProblem::Missing, b"", self.rows, 0);
    }

    /// Remembers the first problem of a column.
    pub fn note(&mut self, role: Role, kind: CellProblem, cell: &[u8], row: usize, line: u64) {
        self.problems.entry(role).or_insert_with(|| Problem { kind, row, line, value: excerpt(cell) });
    }

    fn accept(&mut self, role: Role, read: Cell, cell: &[u8], line: u64) -> Result<f64, EncodingProblem> {
        match read {
            Cell::Value(value) => Ok(value),
            Cell::Missing => Ok(f64::NAN),
            Cell::Problem(kind) => {
                if std::str::from_utf8(cell).is_err() {
                    return Err(EncodingProblem::NotUtf8);
                }
                self.note(role, kind, cell, self.rows, line);
                Ok(f64::NAN)
            }
        }
    }
}

/// Text values as codes, numbered in order of first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Interned {
    pub codes: Vec<u32>,
    pub values: Vec<InternedValue>,
    index: HashMap<String, u32>,
    last: Option<u32>,
}

/// One distinct value and the place where it occurred first.
#[derive(Debug, Clone)]
pub(super) struct InternedValue {
    pub text: String,
    pub file: usize,
    pub row: u64,
    pub line: u64,
}

impl Interned {
    fn clear(&mut self) {
        self.codes.clear();
        self.values.clear();
        self.index.clear();
        self.last = None;
    }

    /// Appends a value of a part.
    pub fn push(&mut self, text: &str, row: usize, line: u64) {
        let code = self.code(text, 0, row as u64, line);
        self.codes.push(code);
    }

    fn code(&mut self, text: &str, file: usize, row: u64, line: u64) -> u32 {
        // Classes often come in runs, which saves the hashing.
        if let Some(last) = self.last
            && self.values[last as usize].text == text
        {
            return last;
        }
        let code = match self.index.get(text) {
            Some(&code) => code,
            None => {
                // A row count is at most `Limits::rows`, which is checked to fit 32 bits.
                let code = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
                self.values.push(InternedValue { text: text.to_owned(), file, row, line });
                self.index.insert(text.to_owned(), code);
                code
            }
        };
        self.last = Some(code);
        code
    }

    fn append(&mut self, part: &Self, file: usize, rows_before: u64, lines_before: u64) {
        let codes: Vec<u32> = part
            .values
            .iter()
            .map(|value| self.code(&value.text, file, rows_before + value.row, lines_before + value.line))
            .collect();
        self.codes.extend(part.codes.iter().map(|&code| codes[code as usize]));
    }
}

/// A problem and the file it was found in.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub kind: CellProblem,
    /// Index of the file.
    pub file: usize,
    /// Row of the file, from 1.
    pub row: u64,
    /// Line of the file, from 1; 0 where the format has none.
    pub line: u64,
    pub value: String,
}

/// The columns of the data set while files are read.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Features, and the weight after them if there is one.
    pub numbers: Vec<Vec<f64>>,
    pub times: Vec<f64>,
    pub target: Interned,
    pub group: Interned,
    pub ids: Vec<String>,
    pub rows: usize,
    pub problems: BTreeMap<Role, Located>,
}

/// Where the next part of a file begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offset {
    /// Index of the file.
    pub file: usize,
    /// Rows of the file before it.
    pub rows: u64,
    /// Lines of the file before it; `None` where the format has no lines.
    pub lines: Option<u64>,
}

impl Offset {
    pub fn advance(&mut self, part: &Part) {
        self.rows += part.rows as u64;
        if let Some(lines) = &mut self.lines {
            *lines += part.lines;
        }
    }

    /// The row and line of a place in the part that begins here.
    pub fn locate(&self, row: usize, line: u64) -> (u64, u64) {
        (self.rows + row as u64 + 1, self.lines.map_or(0, |lines| lines + line + 1))
    }
}

impl Columns {
    pub fn new(shape: &Shape) -> Self {
        Self { numbers: vec![Vec::new(); shape.numbers], ..Self::default() }
    }

    /// Makes room for about `rows` more rows. Memory that is never written is never resident.
    pub fn reserve(&mut self, rows: usize) {
        for column in &mut self.numbers {
            // Only a hint: when there is no room, growing step by step may still do.
            let _ = column.try_reserve_exact(rows);
        }
    }

    /// Appends parts in order and returns where the next begins.
    pub fn append(&mut self, parts: &[Part], mut offset: Offset) -> Offset {
        self.numbers.par_iter_mut().enumerate().for_each(|(slot, column)| {
            for part in parts {
                column.extend_from_slice(part.numbers(slot));
            }
        });
        for part in parts {
            self.times.extend_from_slice(&part.times);
            self.ids.extend(part.ids.iter().cloned());
            let (row, line) = offset.locate(0, 0);
            self.target.append(&part.target, offset.file, row, line);
            self.group.append(&part.group, offset.file, row, line);
            for (role, problem) in &part.problems {
                let (row, line) = offset.locate(problem.row, problem.line);
                self.problems.entry(*role).or_insert_with(|| Located {
                    kind: problem.kind,
                    file: offset.file,
                    row,
                    line,
                    value: problem.value.clone(),
                });
            }
            self.rows += part.rows;
            offset.advance(part);
        }
        offset
    }
}

/// The names behind roles and file numbers, to say where a problem is.
#[derive(Debug)]
pub(super) struct Names<'a> {
    pub paths: &'a [String],
    pub features: &'a [String],
    pub weight: Option<&'a str>,
    pub time: Option<&'a str>,
    pub target: Option<&'a str>,
    pub group: Option<&'a str>,
    pub id: Option<&'a str>,
}

impl Names<'_> {
    pub fn column(&self, role: Role) -> &str {
        match role {
            Role::Number(slot) => {
                self.features.get(slot).map(String::as_str).or(self.weight).unwrap_or_default()
            }
            Role::Time => self.time.unwrap_or_default(),
            Role::Target => self.target.unwrap_or_default(),
            Role::Group => self.group.unwrap_or_default(),
            Role::Id => self.id.unwrap_or_default(),
            Role::Skip => "",
        }
    }

    pub fn position(&self, role: Role, file: usize, row: u64, line: u64) -> Box<Position> {
        Box::new(Position {
            path: self.paths.get(file).cloned().unwrap_or_default(),
            row: Some(row),
            line: (line > 0).then_some(line),
            column: Some(self.column(role).to_owned()),
            value: None,
        })
    }

    pub fn problem(&self, role: Role, found: &Located) -> Box<Position> {
        let mut position = self.position(role, found.file, found.row, found.line);
        position.value = Some(found.value.clone());
        position
    }
}

/// The one error that the problems of all columns amount to: commas in numbers before text before infinities, since
/// the former explain the latter; then what the columns with a role lack.
pub(super) fn judge_problems(
    problems: &BTreeMap<Role, Located>,
    names: &Names<'_>,
) -> Result<(), DatasetError> {
    use super::errors::{DialectProblem, NAMED_COLUMNS, TargetProblem};

    let numbers = || problems.iter().filter(|(role, _)| matches!(role, Role::Number(_)));
    let first = |kind: CellProblem| {
        numbers()
            .filter(|(_, found)| found.kind == kind)
            .min_by_key(|(role, found)| (found.file, found.row, **role))
            .map(|(role, found)| names.problem(*role, found))
    };
    if let Some(position) = first(CellProblem::DecimalComma) {
        return Err(DatasetError::Dialect { position, problem: DialectProblem::DecimalComma });
    }
    let mut text: Vec<Position> = numbers()
        .filter(|(_, found)| found.kind == CellProblem::NotNumeric)
        .map(|(role, found)| *names.problem(*role, found))
        .collect();
    if !text.is_empty() {
        let total = text.len();
        text.truncate(NAMED_COLUMNS);
        return Err(DatasetError::NotNumeric { columns: text, total });
    }
    if let Some(position) = first(CellProblem::NotFinite) {
        return Err(DatasetError::NotFinite { position });
    }
    if let Some((role, found)) = problems.first_key_value() {
        let position = names.problem(*role, found);
        return Err(match role {
            Role::Target => DatasetError::BadTarget {
                column: names.column(*role).to_owned(),
                problem: TargetProblem::Missing { position },
            },
            Role::Number(_) => DatasetError::BadWeight { position },
            Role::Time => {
                DatasetError::BadKey { position, expected: "a time must be a number or an ISO 8601 date" }
            }
            _ => DatasetError::BadKey { position, expected: "every row needs a value here" },
        });
    }
    Ok(())
}
