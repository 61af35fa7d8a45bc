//! What went wrong, as the caller reads it: RFC 9457 problem details with a stable code.

use serde::Serialize;

pub use super::code::Code;

/// At most so many entries in `errors`; more are announced by `truncated`.
pub const LISTED_ERRORS: usize = 20;
/// At most so many characters of the caller's own text are repeated.
pub const ECHO_CHARACTERS: usize = 64;

/// One problem with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What was wrong, where, and what to do.
    pub detail: String,
    /// The single errors of rows and columns, the first [`LISTED_ERRORS`].
    pub errors: Vec<ValueError>,
    /// There were more errors.
    pub truncated: bool,
}

/// One wrong value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueError {
    /// Row from 1.
    pub row: usize,
    /// Feature name, shortened; `None` when the error is of the whole row.
    pub column: Option<String>,
    /// What is wrong with it.
    pub code: Code,
}

/// The wire type.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    row: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<&'a str>,
    code: &'a str,
}

impl Problem {
    /// A problem of the whole request.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), truncated: false }
    }

    /// The same problem, said to be in `line` of the body (from 1).
    #[must_use]
    pub fn in_line(mut self, line: usize) -> Self {
        self.detail.insert_str(0, &format!("line {line}: "));
        self
    }

    /// The `application/problem+json` body.
    #[must_use]
    pub fn to_json(&self, request_id: Option<&str>) -> Vec<u8> {
        let document = Document {
            r#type: format!("/errors/{}", self.code),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            request_id,
            errors: self.errors.iter().map(Entry::from).collect(),
            truncated: self.truncated,
        };
        // Strings and numbers always serialise.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl<'a> From<&'a ValueError> for Entry<'a> {
    fn from(error: &'a ValueError) -> Self {
        Self { row: error.row, column: error.column.as_deref(), code: error.code.as_str() }
    }
}

/// The caller's own text, short enough to be repeated, without control characters.
#[must_use]
pub fn echo(text: &str) -> String {
    let shown = text.chars().take(ECHO_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_problem_fits_in_eight_kibibytes() {
        let wide = echo(&"\u{10ffff}".repeat(500));
        let error = ValueError { row: usize::MAX, column: Some(wide.clone()), code: Code::NumberOutOfRange };
        let problem = Problem {
            errors: vec![error; LISTED_ERRORS],
            truncated: true,
            ..Problem::new(Code::NumberOutOfRange, wide)
        };
        let length = problem.to_json(Some(&"x".repeat(64))).len();
        assert!(length <= 8 << 10, "{length}");
    }

    #[test]
    fn codes_are_distinct_and_documented() {
        let documented = include_str!("../../../../docs/http-api.md");
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!(!Code::ALL[..i].contains(code));
            let row = format!("| {} | `{code}` |", code.status().as_u16());
            assert!(documented.contains(&row), "docs/http-api.md has no row that begins with {row}");
        }
    }
}
