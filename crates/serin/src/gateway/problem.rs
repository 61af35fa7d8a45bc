//! What went wrong, as the caller reads it: RFC 9457 problem details with a stable code.

use std::fmt;

use hyper::StatusCode;
use serde::Serialize;

/// At most so many entries in `errors`; more are announced by `truncated`.
pub const LISTED_ERRORS: usize = 20;
/// At most so many characters of the caller's own text are repeated.
pub const ECHO_CHARACTERS: usize = 64;

/// The stable code of a problem. Codes are never renamed; `docs/http-api.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    BadEncoding,
    BodyTooLarge,
    CaptureFull,
    CellTooLarge,
    DuplicateKey,
    EmptyBody,
    Internal,
    InvalidInferenceId,
    InvalidUtf8,
    MalformedCsv,
    MalformedJson,
    MethodNotAllowed,
    MissingFeature,
    MissingValue,
    ModelOutputInvalid,
    NoRows,
    NotANumber,
    NotAcceptable,
    NotFinite,
    NotFound,
    NumberOutOfRange,
    RequestTimeout,
    TooDeep,
    TooManyRows,
    UnknownFeature,
    UnsupportedEncoding,
    UnsupportedMediaType,
    UriTooLong,
    WrongColumnCount,
    WrongType,
}

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

impl Code {
    /// Every code there is.
    pub const ALL: [Self; 30] = [
        Self::BadEncoding,
        Self::BodyTooLarge,
        Self::CaptureFull,
        Self::CellTooLarge,
        Self::DuplicateKey,
        Self::EmptyBody,
        Self::Internal,
        Self::InvalidInferenceId,
        Self::InvalidUtf8,
        Self::MalformedCsv,
        Self::MalformedJson,
        Self::MethodNotAllowed,
        Self::MissingFeature,
        Self::MissingValue,
        Self::ModelOutputInvalid,
        Self::NoRows,
        Self::NotANumber,
        Self::NotAcceptable,
        Self::NotFinite,
        Self::NotFound,
        Self::NumberOutOfRange,
        Self::RequestTimeout,
        Self::TooDeep,
        Self::TooManyRows,
        Self::UnknownFeature,
        Self::UnsupportedEncoding,
        Self::UnsupportedMediaType,
        Self::UriTooLong,
        Self::WrongColumnCount,
        Self::WrongType,
    ];

    /// The code as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().1
    }

    /// The same for every problem of the code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadEncoding => ("bad_encoding", S::BAD_REQUEST, "The body is not what its encoding says"),
            Self::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::CaptureFull => ("capture_full", S::SERVICE_UNAVAILABLE, "Answers cannot be recorded now"),
            Self::CellTooLarge => ("cell_too_large", S::PAYLOAD_TOO_LARGE, "A value is too long"),
            Self::DuplicateKey => ("duplicate_key", S::UNPROCESSABLE_ENTITY, "A name occurs twice"),
            Self::EmptyBody => ("empty_body", S::BAD_REQUEST, "The body is empty"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something failed on our side"),
            Self::InvalidInferenceId => {
                ("invalid_inference_id", S::BAD_REQUEST, "The inference id is not acceptable")
            }
            Self::InvalidUtf8 => ("invalid_utf8", S::BAD_REQUEST, "The body is not UTF-8 text"),
            Self::MalformedCsv => ("malformed_csv", S::BAD_REQUEST, "The body is not CSV"),
            Self::MalformedJson => ("malformed_json", S::BAD_REQUEST, "The body is not JSON"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", S::METHOD_NOT_ALLOWED, "The method is not allowed here")
            }
            Self::MissingFeature => ("missing_feature", S::UNPROCESSABLE_ENTITY, "A feature is not given"),
            Self::MissingValue => ("missing_value", S::UNPROCESSABLE_ENTITY, "A value is missing"),
            Self::ModelOutputInvalid => {
                ("model_output_invalid", S::INTERNAL_SERVER_ERROR, "The model's answer is not usable")
            }
            Self::NoRows => ("no_rows", S::BAD_REQUEST, "There are no rows"),
            Self::NotANumber => ("not_a_number", S::UNPROCESSABLE_ENTITY, "A value is not a number"),
            Self::NotAcceptable => ("not_acceptable", S::NOT_ACCEPTABLE, "No acceptable form of answer"),
            Self::NotFinite => ("not_finite", S::UNPROCESSABLE_ENTITY, "A value is infinite"),
            Self::NotFound => ("not_found", S::NOT_FOUND, "There is nothing here"),
            Self::NumberOutOfRange => {
                ("number_out_of_range", S::UNPROCESSABLE_ENTITY, "A number is too large to be stored")
            }
            Self::RequestTimeout => ("request_timeout", S::REQUEST_TIMEOUT, "The request took too long"),
            Self::TooDeep => ("too_deep", S::BAD_REQUEST, "The JSON is nested too deep"),
            Self::TooManyRows => ("too_many_rows", S::PAYLOAD_TOO_LARGE, "There are too many rows"),
            Self::UnknownFeature => ("unknown_feature", S::UNPROCESSABLE_ENTITY, "A name is not a feature"),
            Self::UnsupportedEncoding => {
                ("unsupported_encoding", S::UNSUPPORTED_MEDIA_TYPE, "The content encoding is not supported")
            }
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", S::UNSUPPORTED_MEDIA_TYPE, "The content type is not supported")
            }
            Self::UriTooLong => ("uri_too_long", S::URI_TOO_LONG, "The address is too long"),
            Self::WrongColumnCount => {
                ("wrong_column_count", S::UNPROCESSABLE_ENTITY, "A row has the wrong number of values")
            }
            Self::WrongType => ("wrong_type", S::UNPROCESSABLE_ENTITY, "A value has the wrong type"),
        }
    }
}

impl Problem {
    /// A problem of the whole request.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), truncated: false }
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

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
