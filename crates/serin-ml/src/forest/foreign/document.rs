//! What JSON and UBJSON have in common, read piece by piece: nothing is kept that nobody asked for.

use super::{Flaw, ImportError, excerpt};

/// Containers within containers, beyond which a document is not read on.
const DEPTH_LIMIT: usize = 64;

/// A document that is read from front to back. Reads nothing twice, never recurses, and allocates only what it returns.
pub(super) trait Document {
    /// What comes next.
    fn kind(&mut self) -> Result<Kind, ImportError>;
    /// Steps into an object.
    fn enter_object(&mut self) -> Result<(), ImportError>;
    /// The next key of the object stepped into; `None` steps out of it.
    fn next_key(&mut self) -> Result<Option<String>, ImportError>;
    /// Steps into an array.
    fn enter_array(&mut self) -> Result<(), ImportError>;
    /// Whether the array stepped into has another element; if not, steps out of it.
    fn next_element(&mut self) -> Result<bool, ImportError>;
    /// A text.
    fn string(&mut self) -> Result<String, ImportError>;
    /// A number; true is 1 and false is 0.
    fn number(&mut self) -> Result<Number, ImportError>;
    /// Passes over a null.
    fn null(&mut self) -> Result<(), ImportError>;
    /// Checks that nothing follows.
    fn end(&mut self) -> Result<(), ImportError>;

    /// Passes over whatever comes next.
    fn skip(&mut self) -> Result<(), ImportError> {
        // Whether each container stepped into is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.kind()? {
                Kind::Object => {
                    self.enter_object()?;
                    open.push(true);
                }
                Kind::Array => {
                    self.enter_array()?;
                    open.push(false);
                }
                Kind::Text => drop(self.string()?),
                Kind::Number => drop(self.number()?),
                Kind::Null => self.null()?,
            }
            loop {
                let has_more = match open.last() {
                    None => return Ok(()),
                    Some(true) => self.next_key()?.is_some(),
                    Some(false) => self.next_element()?,
                };
                if has_more {
                    break;
                }
                open.pop();
            }
        }
    }

    /// An array of numbers.
    fn numbers<T>(&mut self, of: impl Fn(Number) -> Option<T>) -> Result<Vec<T>, ImportError> {
        let mut numbers = Vec::new();
        self.enter_array()?;
        while self.next_element()? {
            let number = of(self.number()?);
            numbers.push(number.ok_or_else(|| syntax("a number is not of the kind that belongs here"))?);
        }
        Ok(numbers)
    }

    /// An array of at most `limit` texts.
    fn strings(&mut self, limit: usize) -> Result<Vec<String>, ImportError> {
        let mut strings = Vec::new();
        self.enter_array()?;
        while self.next_element()? {
            if strings.len() == limit {
                return Err(ImportError::invalid(Flaw::Length, None, format!("more than {limit} names")));
            }
            strings.push(self.string()?);
        }
        Ok(strings)
    }
}

/// What a piece of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    /// Or true or false.
    Number,
    Null,
}

/// A number, not yet rounded to what the reader wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// Rounded once, from its decimals where it has them.
    pub(super) single: f32,
    /// The same number, if it is whole and not too large.
    pub(super) whole: Option<i64>,
}

impl Number {
    pub(super) fn of_whole(whole: i64) -> Self {
        Self { single: whole as f32, whole: Some(whole) }
    }

    pub(super) fn of_double(value: f64) -> Self {
        Self { single: value as f32, whole: None }
    }

    /// The number if it is whole and within 32 bits.
    pub(super) fn index(self) -> Option<i32> {
        i32::try_from(self.whole?).ok()
    }

    /// The number if it is 0 or 1.
    pub(super) fn flag(self) -> Option<bool> {
        match self.whole {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        }
    }
}

/// Refuses to step into one container more.
pub(super) fn check_depth(depth: usize) -> Result<(), ImportError> {
    if depth < DEPTH_LIMIT { Ok(()) } else { Err(syntax("containers are nested too deeply")) }
}

pub(super) fn syntax(problem: impl Into<String>) -> ImportError {
    ImportError::invalid(Flaw::Syntax, None, problem)
}

/// A key that does not belong where it stands.
pub(super) fn unknown_key(place: &str, key: &str) -> ImportError {
    ImportError::Unsupported { what: format!("the field `{}` of {place}", excerpt(key)) }
}
