//! A pull reader of JSON text (RFC 8259) that builds nothing.
//!
//! Bodies of the gateway need what a general parser hides: the text of a number, so that `1e400` is told from a word
//! and is rounded by the same code as a CSV cell; every key of an object, so that none wins silently; the byte where
//! the text stops being JSON; a depth limit that holds before anything is allocated. A test compares what is accepted
//! with serde_json on generated and mutilated documents.

use std::borrow::Cow;

use super::limits::Limits;
use super::problem::{Code, Problem};

/// Reads one document, value by value, in the order they stand.
#[derive(Debug, Clone)]
pub struct JsonReader<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
    limits: &'a Limits,
}

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean(bool),
    Null,
}

/// Whether a comma is due before the next member: one for each array or object being read.
#[derive(Debug, Default)]
pub struct Members {
    begun: bool,
}

impl<'a> JsonReader<'a> {
    /// A reader at the start of `text`.
    #[must_use]
    pub fn new(text: &'a str, limits: &'a Limits) -> Self {
        Self { text, position: 0, depth: 0, limits }
    }

    /// The kind of the next value, which stays unread.
    pub fn peek(&mut self) -> Result<Kind, Problem> {
        self.skip_space();
        match self.text.as_bytes().get(self.position) {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::Boolean(true)),
            Some(b'f') => Ok(Kind::Boolean(false)),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.malformed("a value is expected")),
        }
    }

    /// Enters the array or object that [`Self::peek`] saw.
    pub fn enter(&mut self) -> Result<Members, Problem> {
        self.depth += 1;
        if self.depth > self.limits.json_depth {
            let detail = format!("byte {}: at most {} levels", self.position, self.limits.json_depth);
            return Err(Problem::new(Code::TooDeep, detail));
        }
        self.position += 1;
        Ok(Members::default())
    }

    /// True when another element of the array follows; false once the array was left.
    #[inline]
    pub fn next_element(&mut self, members: &mut Members) -> Result<bool, Problem> {
        self.next_member(members, b']')
    }

    /// The next key of the object, its value being next; `None` once the object was left.
    pub fn next_key(&mut self, members: &mut Members) -> Result<Option<Cow<'a, str>>, Problem> {
        if !self.next_member(members, b'}')? {
            return Ok(None);
        }
        self.skip_space();
        if self.text.as_bytes().get(self.position) != Some(&b'"') {
            return Err(self.malformed("a key in double quotes is expected"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.text.as_bytes().get(self.position) != Some(&b':') {
            return Err(self.malformed("a colon is expected"));
        }
        self.position += 1;
        Ok(Some(key))
    }

    /// The text of the number that [`Self::peek`] saw.
    #[inline]
    pub fn number(&mut self) -> Result<&'a str, Problem> {
        let bytes = self.text.as_bytes();
        let start = self.position;
        self.position += usize::from(bytes.get(start) == Some(&b'-'));
        match bytes.get(self.position) {
            Some(b'0') => self.position += 1,
            _ => self.digits()?,
        }
        if bytes.get(self.position) == Some(&b'.') {
            self.position += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.position), Some(b'e' | b'E')) {
            self.position += 1;
            self.position += usize::from(matches!(bytes.get(self.position), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.position])
    }

    /// The string that [`Self::peek`] saw, unescaped.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Problem> {
        let bytes = self.text.as_bytes();
        self.position += 1;
        let start = self.position;
        let mut unescaped: Option<String> = None;
        let mut copied = start;
        loop {
            if self.position - start > self.limits.cell_bytes {
                let detail = format!("a text has at most {} bytes", self.limits.cell_bytes);
                return Err(Problem::new(Code::CellTooLarge, detail));
            }
            match bytes.get(self.position) {
                None => return Err(self.malformed("a text that is never closed")),
                Some(0..=0x1f) => return Err(self.malformed("a control character within a text")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(&self.text[copied..self.position]);
                    let character = self.escape()?;
                    text.push(character);
                    copied = self.position;
                }
                Some(_) => self.position += 1,
            }
        }
        let tail = &self.text[copied..self.position];
        self.position += 1;
        Ok(match unescaped {
            None => tail.into(),
            Some(mut text) => {
                text.push_str(tail);
                text.into()
            }
        })
    }

    /// Reads over the next value, whatever it is, checking that it is JSON.
    pub fn skip_value(&mut self) -> Result<(), Problem> {
        match self.peek()? {
            Kind::Object => {
                let mut members = self.enter()?;
                while self.next_key(&mut members)?.is_some() {
                    self.skip_value()?;
                }
            }
            Kind::Array => {
                let mut members = self.enter()?;
                while self.next_element(&mut members)? {
                    self.skip_value()?;
                }
            }
            Kind::String => {
                self.string()?;
            }
            Kind::Number => {
                self.number()?;
            }
            Kind::Boolean(_) | Kind::Null => self.literal()?,
        }
        Ok(())
    }

    /// Reads over the `true`, `false` or `null` that [`Self::peek`] saw.
    pub fn literal(&mut self) -> Result<(), Problem> {
        let rest = &self.text.as_bytes()[self.position..];
        match [b"true".as_slice(), b"false", b"null"].iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                self.position += word.len();
                Ok(())
            }
            None => Err(self.malformed("a value is expected")),
        }
    }

    /// Nothing but white space may follow the document.
    pub fn end(&mut self) -> Result<(), Problem> {
        self.skip_space();
        if self.position == self.text.len() { Ok(()) } else { Err(self.malformed("text after the end")) }
    }

    fn next_member(&mut self, members: &mut Members, close: u8) -> Result<bool, Problem> {
        self.skip_space();
        match self.text.as_bytes().get(self.position) {
            Some(byte) if *byte == close => {
                self.position += 1;
                self.depth -= 1;
                return Ok(false);
            }
            Some(b',') if members.begun => {
                self.position += 1;
                self.skip_space();
                if self.text.as_bytes().get(self.position) == Some(&close) {
                    return Err(self.malformed("a comma with nothing after it"));
                }
            }
            _ if members.begun => return Err(self.malformed("a comma or a closing bracket is expected")),
            _ => members.begun = true,
        }
        Ok(true)
    }

    fn digits(&mut self) -> Result<(), Problem> {
        let length =
            self.text.as_bytes()[self.position..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.position += length;
        if length > 0 { Ok(()) } else { Err(self.malformed("a digit is expected")) }
    }

    /// The character that the escape at the present position stands for.
    fn escape(&mut self) -> Result<char, Problem> {
        let Some(letter) = self.text.as_bytes().get(self.position + 1) else {
            return Err(self.malformed("a text that is never closed"));
        };
        let plain = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.malformed("an unknown escape")),
        };
        self.position += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Problem> {
        let begin = self.position;
        let first = self.code_unit()?;
        let follows = self.text.as_bytes()[self.position..].starts_with(b"\\u");
        let pair = if (0xd800..0xdc00).contains(&first) && follows {
            [first, self.code_unit()?]
        } else {
            [first, 0]
        };
        let units = if (0xd800..0xdc00).contains(&first) { &pair[..] } else { &pair[..1] };
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(character)) => Ok(character),
            _ => Err(Problem::new(Code::InvalidUtf8, format!("byte {begin}: half of a surrogate pair"))),
        }
    }

    fn code_unit(&mut self) -> Result<u16, Problem> {
        let digits = self.text.as_bytes().get(self.position + 2..self.position + 6);
        let unit = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.malformed("four hexadecimal digits are expected after \\u"))?;
        self.position += 6;
        Ok(unit)
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.text.as_bytes().get(self.position), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn malformed(&self, what: &str) -> Problem {
        Problem::new(Code::MalformedJson, format!("byte {}: {what}", self.position))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn read(text: &str) -> Result<(), Problem> {
        let limits = Limits::default();
        let mut json = JsonReader::new(text, &limits);
        json.skip_value()?;
        json.end()
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_is_what_serde_json_says(
            document in documents(),
            pretty in any::<bool>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{},:\"\\\\ 0-9eE.+tfnu-]"), 0..3),
        ) {
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
            let mut characters: Vec<char> = text.unwrap().chars().collect();
            for (place, character) in edits {
                let place = place.index(characters.len());
                characters[place] = character.chars().next().unwrap();
            }
            let text: String = characters.into_iter().collect();
            let theirs = serde_json::from_str::<IgnoredAny>(&text);
            match read(&text) {
                Ok(()) => prop_assert!(theirs.is_ok(), "{}: {:?}", text, theirs),
                // serde_json does not look at surrogates in what it ignores.
                Err(problem) if problem.code == Code::InvalidUtf8 => {}
                Err(problem) => {
                    prop_assert_eq!(problem.code, Code::MalformedJson);
                    prop_assert!(theirs.is_err(), "{}: {}", text, problem.detail);
                }
            }
        }

        #[test]
        fn a_text_reads_as_it_was_written(text in ".{0,40}") {
            let written = serde_json::to_string(&text).unwrap();
            let limits = Limits::default();
            prop_assert_eq!(JsonReader::new(&written, &limits).string().unwrap(), text.as_str());
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[\\[\\]{},:\"\\\\ 0-9eE.+tfnuaélsr-]{0,60}") {
            let _ = read(&text);
        }
    }

    #[test]
    fn escapes_beyond_the_basic_plane_are_pairs() {
        let limits = Limits::default();
        let mut json = JsonReader::new(r#""\ud83d\ude00\u00e9""#, &limits);
        assert_eq!(json.string().unwrap(), "😀é");
        for half in [r#""\ud800""#, r#""\ud800x""#, r#""\ude00""#, r#""\ud800\ud800""#] {
            assert_eq!(read(half).unwrap_err().code, Code::InvalidUtf8, "{half}");
        }
    }
}
