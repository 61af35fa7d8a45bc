//! Turns a block of records into a part of the columns.

use memchr::{memchr, memchr_iter};

use super::numbers::parse_number;
use super::records::{BadCell, next_cell};
use crate::dataset::cells::{MissingTokens, excerpt};
use crate::dataset::columns::{Part, Role, Shape};
use crate::dataset::errors::{DialectProblem, EncodingProblem};

/// What the parser must know of a file.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// One a column of the file.
    pub roles: &'a [Role],
    pub shape: &'a Shape,
    pub missing: &'a MissingTokens,
    /// Longest cell.
    pub cell_bytes: usize,
}

/// A place where the file cannot be read on; row and line count from 0 at the start of the block.
#[derive(Debug)]
pub(super) struct Fault {
    pub kind: FaultKind,
    pub row: usize,
    pub line: u64,
    /// Index of the column, where it is one.
    pub column: Option<usize>,
    pub value: Option<String>,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    Encoding(EncodingProblem),
    Dialect(DialectProblem),
    CellTooLong,
}

/// Parses `block`, whole records each ending with a line feed, into `part`. Lines without any text are skipped.
///
/// What stops the reading is returned; cells that do not fit their column are noted in the part, so that all such
/// columns can be told at once.
pub(super) fn parse(block: &[u8], plan: &Plan<'_>, part: &mut Part) -> Result<(), Fault> {
    part.reset(plan.shape, memchr_iter(b'\n', block).count());
    let first_nul = memchr(0, block);
    let mut at = 0;
    while at < block.len() {
        match &block[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => {
                at = parse_record(block, at, plan, part)?;
                if first_nul.is_some_and(|nul| nul < at) {
                    let kind = FaultKind::Encoding(EncodingProblem::Nul);
                    return Err(Fault { kind, row: part.rows, line: part.lines, column: None, value: None });
                }
                part.rows += 1;
            }
        }
        part.lines += 1;
    }
    Ok(())
}

/// Parses the record at `at` and returns where the next begins. Lines inside quoted values are counted in the part.
fn parse_record(block: &[u8], mut at: usize, plan: &Plan<'_>, part: &mut Part) -> Result<usize, Fault> {
    let row = part.rows;
    let columns = plan.roles.len();
    for (column, &role) in plan.roles.iter().enumerate() {
        let is_last = column + 1 == columns;
        let rest = &block[at..];
        // Nearly all cells are plain numbers; everything else takes the careful way below.
        if let Role::Number(slot) = role
            && let Some((value, length)) = parse_number(rest)
            && length <= plan.cell_bytes
            && !(plan.missing.has_number() && plan.missing.contains(&rest[..length]))
        {
            let delimiter = match rest.get(length..).unwrap_or_default() {
                [b',', ..] if !is_last => 1,
                [b'\n', ..] if is_last => 1,
                [b'\r', b'\n', ..] if is_last => 2,
                _ => 0,
            };
            if delimiter > 0 {
                part.set_number(slot, value);
                at += length + delimiter;
                continue;
            }
        }
        let line = part.lines;
        let fault = |kind: FaultKind, value: Option<&[u8]>| Fault {
            kind,
            row,
            line,
            column: Some(column),
            value: value.map(excerpt),
        };
        let cell = next_cell(rest).map_err(|bad| {
            let problem = match bad {
                BadCell::UnclosedQuote => DialectProblem::UnclosedQuote,
                BadCell::TextAfterQuote => DialectProblem::TextAfterQuote,
                BadCell::CarriageReturn => DialectProblem::CarriageReturn,
            };
            let shown = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
            fault(FaultKind::Dialect(problem), Some(shown))
        })?;
        if cell.text.len() > plan.cell_bytes {
            return Err(fault(FaultKind::CellTooLong, None));
        }
        if cell.is_last != is_last {
            let mut found = column + 1;
            let mut behind = at + cell.length;
            let mut ended = cell.is_last;
            while !ended {
                found += 1;
                let Ok(next) = next_cell(&block[behind..]) else { break };
                behind += next.length;
                ended = next.is_last;
            }
            let hint = if found > columns { "; is a comma used as the decimal sign?" } else { "" };
            let problem = DialectProblem::Ragged { expected: columns, found, hint };
            return Err(Fault {
                kind: FaultKind::Dialect(problem),
                row,
                line: part.lines,
                column: None,
                value: None,
            });
        }
        part.set_cell(role, &cell.text, line, plan.missing)
            .map_err(|problem| fault(FaultKind::Encoding(problem), Some(&cell.text)))?;
        if rest.first() == Some(&b'"') {
            part.lines += memchr_iter(b'\n', &cell.text).count() as u64;
        }
        at += cell.length;
    }
    Ok(at)
}
