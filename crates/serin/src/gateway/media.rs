//! What a body is, and what the answer shall be: content type, content encoding, accept.

use std::borrow::Cow;
use std::io::{Read, Write};

use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::csv_rows::Header;
use super::headers;
use super::problem::{Code, Problem, echo};

/// The names that JSON lines go by.
const JSON_LINES: [&str; 4] =
    ["application/jsonlines", "application/x-ndjson", "application/x-jsonlines", "application/jsonl"];

/// How the rows of a body are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `text/csv`.
    Csv(Header),
    /// `application/json`.
    Json,
    /// `application/jsonlines`, or one of its other names: a row a line.
    JsonLines,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Classes, probabilities, version and id.
    Json,
    /// A JSON object a line, one for each row.
    JsonLines,
    /// One class a line.
    Csv,
    /// One class a line and its probabilities in class order.
    CsvWithProbabilities,
}

/// How the bytes of a body are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Identity,
    /// One layer of gzip.
    Gzip,
}

impl Input {
    /// What the content type says.
    ///
    /// # Errors
    /// When it is absent or not one of the three, or the text would not be UTF-8.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let unsupported = |what: &str| {
            let detail =
                format!("{what}; send `text/csv`, `application/json` or `application/jsonlines`, in UTF-8");
            Problem::new(Code::UnsupportedMediaType, detail)
        };
        let Some(value) = headers::text(headers, &CONTENT_TYPE) else {
            return Err(unsupported("the content type is missing"));
        };
        let mut parts = value.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let mut header = Header::Unsaid;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("charset")
                && !["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
            {
                return Err(unsupported(&format!("the character set `{}` is not supported", echo(value))));
            }
            if name.trim().eq_ignore_ascii_case("header") {
                match value {
                    _ if value.eq_ignore_ascii_case("present") => header = Header::Present,
                    _ if value.eq_ignore_ascii_case("absent") => header = Header::Absent,
                    _ => {}
                }
            }
        }
        if kind.eq_ignore_ascii_case("text/csv") {
            Ok(Self::Csv(header))
        } else if kind.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else if JSON_LINES.iter().any(|name| kind.eq_ignore_ascii_case(name)) {
            Ok(Self::JsonLines)
        } else {
            Err(unsupported(&format!("the content type `{}` is not supported", echo(kind))))
        }
    }
}

impl Form {
    /// What the caller accepts; without a word about it, the form of the input.
    ///
    /// # Errors
    /// When nothing acceptable is known.
    pub fn of(headers: &HeaderMap, input: Input) -> Result<Self, Problem> {
        let usual = match input {
            Input::Csv(_) => Self::Csv,
            Input::Json => Self::Json,
            Input::JsonLines => Self::JsonLines,
        };
        let Some(accept) = headers::text(headers, &ACCEPT).filter(|accept| !accept.trim().is_empty()) else {
            return Ok(usual);
        };
        // The first of those with the highest weight, as RFC 9110 orders them.
        let mut best: Option<(f64, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut weight = 1.0;
            let mut probabilities = false;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match (name.trim(), value.trim()) {
                    ("q" | "Q", value) => weight = value.parse().unwrap_or(0.0),
                    ("probabilities", value) => probabilities = value.eq_ignore_ascii_case("true"),
                    _ => {}
                }
            }
            let csv = if probabilities { Self::CsvWithProbabilities } else { Self::Csv };
            let form = match kind.as_str() {
                "*/*" => usual,
                "application/json" | "application/*" => Self::Json,
                "text/csv" | "text/*" => csv,
                kind if JSON_LINES.contains(&kind) => Self::JsonLines,
                _ => continue,
            };
            if weight > 0.0 && best.is_none_or(|(heaviest, _)| weight > heaviest) {
                best = Some((weight, form));
            }
        }
        best.map(|(_, form)| form).ok_or_else(|| {
            let detail = format!(
                "cannot answer as `{}`; accept `application/json`, `application/jsonlines`, `text/csv` or \
                 `text/csv; probabilities=true`",
                echo(accept)
            );
            Problem::new(Code::NotAcceptable, detail)
        })
    }

    /// The content type of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonlines",
            Self::Csv | Self::CsvWithProbabilities => "text/csv; charset=utf-8",
        }
    }
}

impl Encoding {
    /// What the content encoding says.
    ///
    /// # Errors
    /// When it is not gzip, or more than one layer.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (value, more) = (values.next(), values.next());
        let value = value.map(|value| value.to_str().unwrap_or("?").trim());
        match value {
            None | Some("") => Ok(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case("identity") && more.is_none() => Ok(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case("gzip") && more.is_none() => Ok(Self::Gzip),
            Some(value) => {
                let detail = format!("`{}` is not supported; send `gzip`, once, or nothing", echo(value));
                Err(Problem::new(Code::UnsupportedEncoding, detail))
            }
        }
    }

    /// The bytes as they were before packing, at most `limit_bytes`.
    ///
    /// # Errors
    /// When they would be more, or are not packed so.
    pub fn unpack(self, body: &[u8], limit_bytes: usize) -> Result<Cow<'_, [u8]>, Problem> {
        if self == Self::Identity {
            return Ok(body.into());
        }
        let mut decoder = flate2::bufread::GzDecoder::new(body);
        let mut bytes = Vec::new();
        let read = (&mut decoder).take(limit_bytes as u64 + 1).read_to_end(&mut bytes);
        if bytes.len() > limit_bytes {
            let detail = format!("the body unpacks to more than {limit_bytes} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        if read.is_err() || !decoder.into_inner().is_empty() {
            return Err(Problem::new(Code::BadEncoding, "the body is not one whole gzip stream"));
        }
        Ok(bytes.into())
    }
}

/// A body as text: UTF-8 without NUL; a byte-order mark in front is taken off.
///
/// # Errors
/// When it is empty or something else.
pub fn text_of(body: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::new(Code::InvalidUtf8, format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    if let Some(position) = memchr::memchr(0, body) {
        return Err(Problem::new(Code::InvalidUtf8, format!("byte {position} is NUL")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() && !text.contains('\n') {
        return Err(Problem::new(Code::EmptyBody, "the body is empty; send rows"));
    }
    Ok(text)
}

/// Whether the caller takes a packed answer.
#[must_use]
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(accepted) = headers::text(headers, &ACCEPT_ENCODING) else { return false };
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|weight| {
            weight
                .strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f64>().is_ok_and(|weight| weight == 0.0))
        });
        is_gzip && !refused
    })
}

/// `body` in one layer of gzip.
#[must_use]
pub fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
