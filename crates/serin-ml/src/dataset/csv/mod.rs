//! CSV: comma, UTF-8, a header, LF or CRLF; RFC 4180 quotes.
//!
//! The stream is cut into blocks of whole records ([`blocks`]), blocks are parsed side by side ([`fields`]) while the
//! next ones are read, and parts are appended in order. So memory is the data and a few blocks, and neither the result
//! nor an error depends on the number of threads or the size of a block.

mod blocks;
mod fields;
mod numbers;
mod records;

use std::io::Read;

use memchr::{memchr, memchr_iter};
use rayon::prelude::*;

use self::blocks::{BlockError, Blocks};
use self::fields::{Fault, FaultKind, Plan, parse};
pub(super) use self::numbers::parse_number;
use self::records::{BadCell, next_cell};
use super::columns::{Offset, Part};
use super::errors::{DatasetError, DialectProblem, EncodingProblem, Position, SchemaProblem};
use super::read::{Reading, SourceFile};

/// Parts in work at once, for each thread: enough that a slow one does not hold up the others.
const PARTS_PER_THREAD: usize = 2;

/// Reads one stream of CSV text and appends its rows.
pub(super) fn read<R: Read + Send>(
    reading: &mut Reading<'_>,
    source: &SourceFile,
    reader: R,
) -> Result<(), DatasetError> {
    let limits = reading.options.limits;
    let mut blocks = Blocks::new(reader, reading.options.block_bytes, limits.record_bytes);
    let mut batch = Batch::new(rayon::current_num_threads() * PARTS_PER_THREAD);

    let mut first = Vec::new();
    let mut offset = Offset { file: source.index, rows: 0, lines: Some(0) };
    read_first_block(&mut blocks, &mut first, reading, source)?;
    let header = read_header(&first, &source.path, reading)?;
    offset.lines = Some(header.lines);
    let roles = reading.layout_file(&source.path, &header.names)?;
    first.drain(..header.bytes);

    let mut failed = batch.fill(first, &mut blocks);
    let mut next = Batch::new(batch.capacity);
    let mut is_first_batch = true;
    while !batch.is_empty() {
        let plan = Plan {
            roles: &roles,
            shape: &reading.shape,
            missing: &reading.missing,
            cell_bytes: limits.cell_bytes,
        };
        let may_read_on = failed.is_none();
        let (fault, failed_next) = rayon::join(
            || batch.parse(&plan),
            || if may_read_on { next.fill(Vec::new(), &mut blocks) } else { next.clear() },
        );
        let (whole, fault) = fault;
        let bytes: usize = batch.blocks().iter().map(Vec::len).sum();
        let rows_before = reading.columns.rows;
        offset = reading.columns.append(&batch.parts[..whole], offset);
        if let Some(fault) = fault {
            return Err(fault_error(fault, &header.names, reading, source, offset));
        }
        reading.check_size(&source.path, 0)?;
        if is_first_batch {
            reading.reserve(source, reading.columns.rows - rows_before, bytes);
            is_first_batch = false;
        }
        reading.hand_over()?;
        reading.report(source, offset.rows)?;
        if let Some(error) = failed.take() {
            return Err(block_error(error, reading, source, offset));
        }
        failed = failed_next;
        std::mem::swap(&mut batch, &mut next);
    }
    match failed {
        Some(error) => Err(block_error(error, reading, source, offset)),
        None => Ok(()),
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Blocks that are parsed side by side, and the parts they become; both are reused.
struct Batch {
    capacity: usize,
    filled: usize,
    blocks: Vec<Vec<u8>>,
    parts: Vec<Part>,
}

impl Batch {
    fn new(capacity: usize) -> Self {
        Self { capacity, filled: 0, blocks: Vec::new(), parts: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn blocks(&self) -> &[Vec<u8>] {
        &self.blocks[..self.filled]
    }

    fn clear(&mut self) -> Option<BlockError> {
        self.filled = 0;
        None
    }

    /// Fills the batch, beginning with `first` unless it is empty; what ended it early, to be told after its rows.
    fn fill<R: Read>(&mut self, first: Vec<u8>, blocks: &mut Blocks<R>) -> Option<BlockError> {
        self.filled = 0;
        self.blocks.resize_with(self.capacity, Vec::new);
        self.parts.resize_with(self.capacity, Part::default);
        if !first.is_empty() {
            self.blocks[0] = first;
            self.filled = 1;
        }
        while self.filled < self.capacity {
            match blocks.next_into(&mut self.blocks[self.filled]) {
                Ok(true) => self.filled += 1,
                Ok(false) => break,
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Parses all blocks; the number of parts before the first fault, and the fault.
    fn parse(&mut self, plan: &Plan<'_>) -> (usize, Option<Fault>) {
        let faults: Vec<Option<Fault>> = self.blocks[..self.filled]
            .par_iter()
            .zip(&mut self.parts[..self.filled])
            .map(|(block, part)| parse(block, plan, part).err())
            .collect();
        match faults.into_iter().enumerate().find_map(|(at, fault)| fault.map(|fault| (at, fault))) {
            Some((at, fault)) => (at, Some(fault)),
            None => (self.filled, None),
        }
    }
}

/// Reads blocks until one line that is not blank is there.
fn read_first_block<R: Read>(
    blocks: &mut Blocks<R>,
    first: &mut Vec<u8>,
    reading: &Reading<'_>,
    source: &SourceFile,
) -> Result<(), DatasetError> {
    let offset = Offset { file: source.index, rows: 0, lines: Some(0) };
    let mut block = Vec::new();
    while first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first).iter().all(|byte| b"\r\n".contains(byte)) {
        match blocks.next_into(&mut block) {
            Ok(true) => first.append(&mut block),
            Ok(false) => {
                return Err(DatasetError::TooFewRows { rows: 0, needed: reading.options.needed_rows() });
            }
            Err(BlockError::RecordTooLong) if has_lone_carriage_return(&block) => {
                return Err(DatasetError::Dialect {
                    position: Position::line(&source.path, 1),
                    problem: DialectProblem::CarriageReturn,
                });
            }
            Err(error) => return Err(block_error(error, reading, source, offset)),
        }
    }
    Ok(())
}

fn has_lone_carriage_return(bytes: &[u8]) -> bool {
    memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1).is_some_and(|next| *next != b'\n'))
}

#[derive(Debug)]
struct Header {
    names: Vec<String>,
    /// Bytes and lines up to the first row.
    bytes: usize,
    lines: u64,
}

fn read_header(block: &[u8], path: &str, reading: &Reading<'_>) -> Result<Header, DatasetError> {
    let encoding = |problem| DatasetError::Encoding { position: Position::line(path, 1), problem };
    if matches!(block, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
        return Err(encoding(EncodingProblem::Utf16));
    }
    let mut at = if block.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut lines = 1;
    while let Some(blank) = [b"\n".as_slice(), b"\r\n"].into_iter().find(|end| block[at..].starts_with(end)) {
        at += blank.len();
        lines += 1;
    }
    let line = &block[at..memchr(b'\n', &block[at..]).map_or(block.len(), |end| at + end)];
    let dialect = |problem| DatasetError::Dialect { position: Position::line(path, lines), problem };
    if memchr(0, line).is_some() {
        return Err(encoding(EncodingProblem::Nul));
    }
    if memchr(b',', line).is_none()
        && !line.starts_with(b"\"")
        && let Some((_, name)) = [(b';', "semicolons"), (b'\t', "tabs"), (b'|', "bars")]
            .into_iter()
            .find(|(byte, _)| line.contains(byte))
    {
        return Err(dialect(DialectProblem::Separator(name)));
    }
    let start = at;
    let mut names = Vec::new();
    loop {
        let cell = next_cell(&block[at..]).map_err(|bad| {
            dialect(match bad {
                BadCell::UnclosedQuote => DialectProblem::UnclosedQuote,
                BadCell::TextAfterQuote => DialectProblem::TextAfterQuote,
                BadCell::CarriageReturn => DialectProblem::CarriageReturn,
            })
        })?;
        if names.len() == reading.options.limits.columns {
            return Err(DatasetError::Limit {
                position: Position::line(path, lines),
                name: "columns",
                limit: reading.options.limits.columns as u64,
                unit: "columns",
                hint: "",
            });
        }
        match std::str::from_utf8(&cell.text) {
            Ok(name) => names.push(name.to_owned()),
            Err(_) => {
                return Err(DatasetError::Encoding {
                    position: Position::line(path, lines).with_value(&cell.text),
                    problem: EncodingProblem::NotUtf8,
                });
            }
        }
        at += cell.length;
        if cell.is_last {
            break;
        }
    }
    if looks_like_values(&names) {
        names.truncate(3);
        return Err(DatasetError::Schema { path: path.to_owned(), problem: SchemaProblem::NoHeader(names) });
    }
    let inside = memchr_iter(b'\n', &block[start..at]).count() as u64;
    Ok(Header { names, bytes: at, lines: lines - 1 + inside.max(1) })
}

/// Columns may be called by numbers, but names are not all numbers with some fractions among them.
fn looks_like_values(names: &[String]) -> bool {
    names.iter().all(|name| name.parse::<f64>().is_ok())
        && names
            .iter()
            .any(|name| name.parse::<f64>().is_ok_and(|value| value.is_finite() && value.fract() != 0.0))
}

fn fault_error(
    fault: Fault,
    names: &[String],
    reading: &Reading<'_>,
    source: &SourceFile,
    offset: Offset,
) -> DatasetError {
    let (row, line) = offset.locate(fault.row, fault.line);
    let position = Box::new(Position {
        path: source.path.clone(),
        row: Some(row),
        line: Some(line),
        column: fault.column.and_then(|column| names.get(column)).cloned(),
        value: fault.value,
    });
    match fault.kind {
        FaultKind::Encoding(problem) => DatasetError::Encoding { position, problem },
        FaultKind::Dialect(problem) => DatasetError::Dialect { position, problem },
        FaultKind::CellTooLong => DatasetError::Limit {
            position,
            name: "cell_bytes",
            limit: reading.options.limits.cell_bytes as u64,
            unit: "bytes in a value",
            hint: "; is a quote left open?",
        },
    }
}

fn block_error(
    error: BlockError,
    reading: &Reading<'_>,
    source: &SourceFile,
    offset: Offset,
) -> DatasetError {
    let (row, line) = offset.locate(0, 0);
    let position = Box::new(Position {
        path: source.path.clone(),
        row: (line > 1).then_some(row),
        line: Some(line),
        ..Position::default()
    });
    match error {
        BlockError::Unreadable(error) => source.unreadable(error),
        BlockError::UnclosedQuote => {
            DatasetError::Dialect { position, problem: DialectProblem::UnclosedQuote }
        }
        BlockError::RecordTooLong => DatasetError::Limit {
            position,
            name: "record_bytes",
            limit: reading.options.limits.record_bytes as u64,
            unit: "bytes in a line",
            hint: "; are the line ends missing?",
        },
    }
}
