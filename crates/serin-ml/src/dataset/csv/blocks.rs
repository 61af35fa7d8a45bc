//! Cuts a stream of bytes into blocks of whole records.

use std::io::{self, Read};

use super::records::complete_records;

/// A reader that hands out blocks of whole records, each ending with a line feed.
pub(super) struct Blocks<R> {
    reader: R,
    /// The record that the last block ended in.
    rest: Vec<u8>,
    block_bytes: usize,
    record_bytes: usize,
    at_end: bool,
}

/// Why there is no next block.
#[derive(Debug)]
pub(super) enum BlockError {
    Unreadable(io::Error),
    /// The next record is longer than the limit.
    RecordTooLong,
    /// The next record is longer than the limit, and a quote in it stays open.
    UnclosedQuote,
}

impl<R: Read> Blocks<R> {
    /// Blocks of about `block_bytes`, larger only where a record is; no record is longer than `record_bytes`.
    pub fn new(reader: R, block_bytes: usize, record_bytes: usize) -> Self {
        let block_bytes = block_bytes.clamp(1, record_bytes.max(1));
        Self { reader, rest: Vec::new(), block_bytes, record_bytes, at_end: false }
    }

    /// Puts the next block into `block`; false at the end. Memory stays below the longest record and a block.
    pub fn next_into(&mut self, block: &mut Vec<u8>) -> Result<bool, BlockError> {
        block.clear();
        block.append(&mut self.rest);
        let mut wanted = self.block_bytes.max(block.len());
        loop {
            self.fill(block, wanted).map_err(BlockError::Unreadable)?;
            let (whole, open_quote) = complete_records(block);
            if whole > 0 && (!self.at_end || whole == block.len()) {
                self.rest.extend_from_slice(&block[whole..]);
                block.truncate(whole);
                return Ok(true);
            }
            if self.at_end {
                if block.is_empty() {
                    return Ok(false);
                }
                if block.len() - whole > self.record_bytes {
                    return Err(BlockError::RecordTooLong);
                }
                block.push(b'\n');
                return Ok(true);
            }
            if block.len() > self.record_bytes {
                return Err(match open_quote {
                    Some(_) => BlockError::UnclosedQuote,
                    None => BlockError::RecordTooLong,
                });
            }
            // One byte beyond the limit shows that a record passes it, whatever the size of blocks.
            wanted = (block.len() * 2).clamp(1, self.record_bytes + 1);
        }
    }

    fn fill(&mut self, block: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
        let missing = wanted.saturating_sub(block.len());
        if missing == 0 || self.at_end {
            return Ok(());
        }
        block.reserve(missing + 1);
        let read = self.reader.by_ref().take(missing as u64).read_to_end(block)?;
        self.at_end = read < missing;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str, block_bytes: usize, record_bytes: usize) -> Result<Vec<String>, BlockError> {
        let mut blocks = Blocks::new(text.as_bytes(), block_bytes, record_bytes);
        let (mut block, mut all) = (Vec::new(), Vec::new());
        while blocks.next_into(&mut block)? {
            all.push(String::from_utf8(block.clone()).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn blocks_hold_whole_records() {
        assert_eq!(blocks("ab\ncd\nef", 4, 100).unwrap(), ["ab\n", "cd\n", "ef\n"]);
        assert_eq!(blocks("ab\ncd\nef\n", 100, 100).unwrap(), ["ab\ncd\nef\n"]);
        let quoted = "a\n\"b\nc\"\nd\n";
        for block_bytes in 1..12 {
            let blocks = blocks(quoted, block_bytes, 100).unwrap();
            assert_eq!(blocks.concat(), quoted);
            assert!(!blocks.iter().any(|block| block.ends_with("\"b\n")), "{blocks:?}");
        }
        assert!(blocks("", 4, 100).unwrap().is_empty());
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_whatever_the_block_size() {
        for block in [1, 3, 8, 1000] {
            assert!(blocks("a\n1234567\nb\n", block, 8).is_ok(), "{block}");
            assert!(
                matches!(blocks("a\n123456789\nb\n", block, 8), Err(BlockError::RecordTooLong)),
                "{block}"
            );
            assert!(matches!(blocks("a\n123456789", block, 8), Err(BlockError::RecordTooLong)), "{block}");
            assert!(
                matches!(blocks("a\n\"23456789\n\n\n", block, 8), Err(BlockError::UnclosedQuote)),
                "{block}"
            );
        }
    }
}
