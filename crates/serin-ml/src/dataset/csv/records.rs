//! The grammar of records: where one ends, and the cells of one.
//!
//! RFC 4180 with LF or CRLF line ends. A quote opens a quoted value only at the start of a cell; elsewhere it is a
//! character like any other. Inside a quoted value two quotes stand for one, and line ends and commas are text.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memrchr};

/// Length of the whole records at the start of `bytes` (0 when there is none), and where a quote is still open.
pub(super) fn complete_records(bytes: &[u8]) -> (usize, Option<usize>) {
    if memchr(b'"', bytes).is_none() {
        return (memrchr(b'\n', bytes).map_or(0, |at| at + 1), None);
    }
    let (mut at, mut record) = (0, 0);
    while let Some(found) =
        bytes.get(at..).and_then(|rest| memchr2(b'"', b'\n', rest)).map(|found| at + found)
    {
        at = found + 1;
        if bytes[found] == b'\n' {
            record = at;
        } else if found == record || bytes[found - 1] == b',' {
            match closing_quote(bytes, at) {
                Some(closing) => at = closing + 1,
                None => return (record, Some(found)),
            }
        }
    }
    (record, None)
}

/// What stands at the start of a cell, and what follows it.
#[derive(Debug, PartialEq)]
pub(super) struct RawCell<'a> {
    pub text: Cow<'a, [u8]>,
    /// Bytes of the cell and its delimiter.
    pub length: usize,
    /// Whether the record ends here.
    pub is_last: bool,
}

/// A cell that breaks the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadCell {
    UnclosedQuote,
    TextAfterQuote,
    /// A carriage return that no line feed follows.
    CarriageReturn,
}

/// The cell at the start of `bytes`, which end with a line feed.
pub(super) fn next_cell(bytes: &[u8]) -> Result<RawCell<'_>, BadCell> {
    if bytes.first() == Some(&b'"') {
        return quoted_cell(bytes);
    }
    let end = memchr2(b',', b'\n', bytes).unwrap_or(bytes.len());
    let is_last = bytes.get(end) != Some(&b',');
    let mut text = &bytes[..end];
    if is_last && let Some(stripped) = text.strip_suffix(b"\r") {
        text = stripped;
    }
    if memchr(b'\r', text).is_some() {
        return Err(BadCell::CarriageReturn);
    }
    Ok(RawCell { text: Cow::Borrowed(text), length: (end + 1).min(bytes.len()), is_last })
}

fn quoted_cell(bytes: &[u8]) -> Result<RawCell<'_>, BadCell> {
    let closing = closing_quote(bytes, 1).ok_or(BadCell::UnclosedQuote)?;
    let inside = &bytes[1..closing];
    let text = if memchr(b'"', inside).is_some() {
        let mut text = Vec::with_capacity(inside.len());
        let mut rest = inside;
        while let Some(at) = memchr(b'"', rest) {
            // Quotes inside come in pairs: one of them is text.
            text.extend_from_slice(&rest[..=at]);
            rest = &rest[at + 2..];
        }
        text.extend_from_slice(rest);
        Cow::Owned(text)
    } else {
        Cow::Borrowed(inside)
    };
    let after = closing + 1;
    match bytes.get(after..).unwrap_or_default() {
        [] => Ok(RawCell { text, length: after, is_last: true }),
        [b',', ..] => Ok(RawCell { text, length: after + 1, is_last: false }),
        [b'\n', ..] => Ok(RawCell { text, length: after + 1, is_last: true }),
        [b'\r', b'\n', ..] => Ok(RawCell { text, length: after + 2, is_last: true }),
        [b'\r', ..] => Err(BadCell::CarriageReturn),
        _ => Err(BadCell::TextAfterQuote),
    }
}

/// The quote that closes a value whose text begins at `at`.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let quote = at + memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(quote + 1) == Some(&b'"') {
            at = quote + 2;
        } else {
            return Some(quote);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells(text: &[u8]) -> Result<Vec<Vec<String>>, BadCell> {
        let (mut rest, mut records, mut record) = (text, Vec::new(), Vec::new());
        while !rest.is_empty() {
            let cell = next_cell(rest)?;
            record.push(String::from_utf8(cell.text.to_vec()).unwrap());
            rest = &rest[cell.length..];
            if cell.is_last {
                records.push(std::mem::take(&mut record));
            }
        }
        Ok(records)
    }

    #[test]
    fn quotes_open_only_at_the_start_of_a_cell() {
        assert_eq!(cells(b"a\"b,\"c\"\"d\n,\"\r\n").unwrap(), [["a\"b", "c\"d\n,"]]);
        assert_eq!(cells(b"\"a\"b\n"), Err(BadCell::TextAfterQuote));
        assert_eq!(cells(b"\"a\n"), Err(BadCell::UnclosedQuote));
        assert_eq!(cells(b"a\rb\n"), Err(BadCell::CarriageReturn));
    }

    #[test]
    fn whole_records_end_at_line_feeds_outside_quotes() {
        assert_eq!(complete_records(b"1,2\n3,4\n5"), (8, None));
        assert_eq!(complete_records(b"1,\"a\nb\"\n\"c\n"), (8, Some(8)));
        assert_eq!(complete_records(b"1,x\"\n2"), (5, None));
        assert_eq!(complete_records(b"12"), (0, None));
        assert_eq!(complete_records(b"a,\"b\"\""), (0, Some(2)));
    }

    proptest! {
        /// The csv crates' own automaton reads the same cells wherever the text is well formed.
        #[test]
        fn cells_agree_with_csv_core(text in "[a,\"\n]{0,30}") {
            let text = format!("{text}\n");
            prop_assume!(!text.contains("\n\n") && !text.starts_with('\n'));
            let Ok(ours) = cells(text.as_bytes()) else { return Ok(()) };
            let mut reader = csv_core::Reader::new();
            let (mut input, mut records) = (text.as_bytes(), Vec::new());
            let (mut output, mut ends) = ([0; 64], [0; 64]);
            loop {
                let (result, read, _, n) = reader.read_record(input, &mut output, &mut ends);
                input = &input[read..];
                match result {
                    csv_core::ReadRecordResult::Record => {
                        let mut start = 0;
                        records.push(ends[..n].iter().map(|&end| {
                            let cell = String::from_utf8(output[start..end].to_vec()).unwrap();
                            start = end;
                            cell
                        }).collect::<Vec<_>>());
                    }
                    csv_core::ReadRecordResult::End => break,
                    _ => {}
                }
            }
            prop_assert_eq!(ours, records);
        }

        /// Cutting anywhere never splits a record.
        #[test]
        fn cuts_are_record_ends(text in "[a,\"\n]{0,30}\n") {
            let Ok(_) = cells(text.as_bytes()) else { return Ok(()) };
            for end in 0..=text.len() {
                let (cut, _) = complete_records(&text.as_bytes()[..end]);
                prop_assert!(cells(&text.as_bytes()[..cut]).is_ok());
                let mut joined = cells(&text.as_bytes()[..cut]).unwrap();
                joined.extend(cells(&text.as_bytes()[cut..]).unwrap());
                prop_assert_eq!(joined, cells(text.as_bytes()).unwrap());
            }
        }
    }
}
