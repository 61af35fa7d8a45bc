//! CSV bodies: rows by position, commas, optional double quotes, LF or CRLF.
//!
//! No strings are made on the way: each cell is a slice of the body, parsed where it lies.

use super::problem::{Code, Problem, echo};
use super::rows::RowBuilder;

/// What the content type says about a header line (RFC 4180's `header` parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Nothing was said: a first line that is exactly the schema's names is a header.
    Unsaid,
    /// `header=present`: the first line must be exactly the schema's names.
    Present,
    /// `header=absent`: the first line is a row.
    Absent,
}

/// Reads the rows of `text` into `builder`.
///
/// # Errors
/// When the text is not CSV, or a limit is passed. Wrong values are noted in the builder.
pub fn read(text: &str, header: Header, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let text = without_blank_end(text);
    let mut lines = Lines { text, position: 0, cell_bytes: builder.limits().cell_bytes };
    if skips_header(&mut lines, header, builder)? {
        lines.next_line()?;
    }
    while lines.position < text.len() {
        builder.begin_row()?;
        lines.each_cell(|cell| builder.push_text(cell))?;
        builder.end_row();
    }
    Ok(())
}

/// A place in the text.
struct Lines<'a> {
    text: &'a str,
    position: usize,
    cell_bytes: usize,
}

/// Whether the first line is the header. It is only when it equals the schema; a model whose features are all named
/// by numbers needs `header=present`, because there a row could equal the header.
fn skips_header(
    lines: &mut Lines<'_>,
    header: Header,
    builder: &mut RowBuilder<'_>,
) -> Result<bool, Problem> {
    let guard = builder.guard();
    let looks = match header {
        Header::Absent => return Ok(false),
        Header::Unsaid => {
            // The usual first line begins with a number: nothing more to look at.
            let first = lines.text.as_bytes().first();
            let row = matches!(first, Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b','));
            if guard.names_are_numbers() || (row && !begins_with_name(lines.text, guard.names())) {
                return Ok(false);
            }
            true
        }
        Header::Present => true,
    };
    let start = lines.position;
    let mut column = 0;
    let mut equal = looks;
    lines.each_cell(|cell| {
        equal &= guard.names().get(column).is_some_and(|name| name == cell.trim_matches([' ', '\t']));
        column += 1;
    })?;
    equal &= column == guard.names().len();
    lines.position = start;
    if header == Header::Present && !equal {
        let detail = "the first line is not the model's feature names in their order; remove `header=present` or the line";
        return Err(Problem::new(Code::WrongColumnCount, detail));
    }
    Ok(equal)
}

/// The text without its last line end and blank lines after it.
fn without_blank_end(mut text: &str) -> &str {
    while let Some(line) = text.strip_suffix('\n') {
        text = line.strip_suffix('\r').unwrap_or(line);
    }
    text
}

fn begins_with_name(text: &str, names: &[String]) -> bool {
    names.first().is_some_and(|name| text.trim_start_matches('"').starts_with(name.as_str()))
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<(), Problem> {
        self.each_cell(|_| ())
    }

    /// Hands each cell of the line in hand to `each`, unquoted, and moves behind the line's end. An empty line has
    /// no cells.
    #[inline]
    fn each_cell(&mut self, mut each: impl FnMut(&str)) -> Result<(), Problem> {
        let bytes = self.text.as_bytes();
        if self.ends_line() {
            return self.end_line();
        }
        loop {
            if bytes.get(self.position) == Some(&b'"') {
                let (cell, after) = self.quoted_cell()?;
                each(&cell);
                self.position = after;
            } else {
                let start = self.position;
                let length = bytes[start..]
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'\n' | b'\r' | b'"'))
                    .unwrap_or(bytes.len() - start);
                self.check_length(length)?;
                self.position = start + length;
                each(&self.text[start..self.position]);
            }
            match bytes.get(self.position) {
                Some(b',') => self.position += 1,
                Some(b'"') => return Err(self.malformed("a quote in the middle of a cell")),
                None | Some(b'\n' | b'\r') => return self.end_line(),
                Some(_) => return Err(self.malformed("text after the closing quote of a cell")),
            }
        }
    }

    fn quoted_cell(&self) -> Result<(std::borrow::Cow<'a, str>, usize), Problem> {
        let bytes = self.text.as_bytes();
        let start = self.position + 1;
        let mut end = start;
        let mut has_quotes = false;
        loop {
            match bytes[end..].iter().position(|byte| *byte == b'"') {
                None => {
                    self.check_length(bytes.len() - start)?;
                    return Err(self.malformed("a quote that is never closed"));
                }
                Some(length) => end += length,
            }
            if bytes.get(end + 1) != Some(&b'"') {
                break;
            }
            has_quotes = true;
            end += 2;
        }
        self.check_length(end - start)?;
        let cell = &self.text[start..end];
        Ok((if has_quotes { cell.replace("\"\"", "\"").into() } else { cell.into() }, end + 1))
    }

    fn ends_line(&self) -> bool {
        matches!(self.text.as_bytes().get(self.position), None | Some(b'\n' | b'\r'))
    }

    fn end_line(&mut self) -> Result<(), Problem> {
        match &self.text.as_bytes()[self.position..] {
            [] => {}
            [b'\n', ..] => self.position += 1,
            [b'\r', b'\n', ..] => self.position += 2,
            _ => return Err(self.malformed("a carriage return without a line feed")),
        }
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<(), Problem> {
        if length <= self.cell_bytes {
            return Ok(());
        }
        let detail = format!("a cell has at most {} bytes", self.cell_bytes);
        Err(Problem::new(Code::CellTooLarge, detail))
    }

    fn malformed(&self, what: &str) -> Problem {
        let line = self.text[..self.position].matches('\n').count() + 1;
        Problem::new(Code::MalformedCsv, format!("line {line}, byte {}: {}", self.position, echo(what)))
    }
}
