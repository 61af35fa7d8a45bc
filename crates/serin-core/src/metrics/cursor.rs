//! Reading a line of text from left to right, with the place of what was not expected.

use std::collections::BTreeMap;

use thiserror::Error;

use super::series::{is_label_name, is_of_metric_name};

/// So much of what was found instead is told.
const FOUND_CHARACTERS: usize = 20;

/// What is not there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("position {position}: expected {expected}, found {found}")]
pub struct Unexpected {
    /// Characters from 1.
    pub position: usize,
    pub expected: &'static str,
    /// The next characters in quotes, or "the end".
    pub found: String,
}

/// A line, and how far it was read.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    line: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, rest: line }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn next_is(&self, accept: impl Fn(char) -> bool) -> bool {
        self.rest.chars().next().is_some_and(accept)
    }

    pub(super) fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Skips this character if it is next.
    pub(super) fn skip(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Skips this character, which has to be next.
    pub(super) fn need(&mut self, c: char, expected: &'static str) -> Result<(), Unexpected> {
        if self.skip(c) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// All characters that are accepted, maybe none.
    pub(super) fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Labels in braces, `{name="value",...}`, or none. Blanks are allowed between all parts.
    pub(super) fn labels(&mut self) -> Result<BTreeMap<String, String>, Unexpected> {
        let mut labels = BTreeMap::new();
        if !self.skip('{') {
            return Ok(labels);
        }
        loop {
            self.skip_blanks();
            if self.skip('}') {
                return Ok(labels);
            }
            let before = self.clone();
            let name = self.take(is_of_metric_name);
            if !is_label_name(name) {
                return Err(before.unexpected("the name of a label, or \"}\""));
            }
            self.skip_blanks();
            self.need('=', "\"=\" after the name of a label")?;
            self.skip_blanks();
            let value = self.quoted()?;
            if labels.insert(name.to_owned(), value).is_some() {
                return Err(before.unexpected("every label once"));
            }
            self.skip_blanks();
            if !self.skip(',') && !self.next_is(|c| c == '}') {
                return Err(self.unexpected("\",\" or \"}\""));
            }
        }
    }

    /// A value in double quotes, in which `\\`, `\"` and `\n` stand for a backslash, a quote and the end of a line.
    fn quoted(&mut self) -> Result<String, Unexpected> {
        self.need('"', "a value in double quotes")?;
        let mut value = String::new();
        loop {
            value.push_str(self.take(|c| c != '"' && c != '\\'));
            if self.skip('"') {
                return Ok(value);
            }
            self.need('\\', "the quote that ends the value")?;
            let escaped =
                [('\\', '\\'), ('"', '"'), ('n', '\n')].into_iter().find(|(escape, _)| self.skip(*escape));
            match escaped {
                Some((_, meant)) => value.push(meant),
                None => return Err(self.unexpected("\"\\\\\", \"\\\"\" or \"n\" after a backslash")),
            }
        }
    }

    pub(super) fn unexpected(&self, expected: &'static str) -> Unexpected {
        let read = &self.line[..self.line.len() - self.rest.len()];
        let found = match self.rest {
            "" => "the end".to_owned(),
            rest => format!("{:?}", rest.chars().take(FOUND_CHARACTERS).collect::<String>()),
        };
        Unexpected { position: read.chars().count() + 1, expected, found }
    }
}
