//! What one cell of text means: a number, missing, a moment, a label. CSV and the text columns of Parquet share it.

use super::csv::parse_number;

/// Longest value shown in an error, in characters.
const EXCERPT_CHARACTERS: usize = 64;

/// Tokens that stand for "no value" when nothing else is said.
pub const MISSING_TOKENS: [&str; 12] =
    ["", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "NULL", "null", "None", "?", "-"];

/// A cell that should hold a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Value(f64),
    Missing,
    Problem(CellProblem),
}

/// Why a cell is not what its column needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellProblem {
    NotNumeric,
    NotFinite,
    DecimalComma,
    /// A value is needed here and there is none (target, group, weight, time, id).
    Missing,
}

/// The tokens that stand for "no value".
#[derive(Debug, Clone)]
pub(super) struct MissingTokens {
    tokens: Vec<Vec<u8>>,
    has_number: bool,
}

impl MissingTokens {
    pub(super) fn new<S: AsRef<str>>(tokens: &[S]) -> Self {
        let tokens: Vec<Vec<u8>> =
            tokens.iter().map(|token| token.as_ref().trim().as_bytes().to_vec()).collect();
        Self { has_number: tokens.iter().any(|token| parse_number(token).is_some()), tokens }
    }

    /// Whether a cell that reads as a number may still stand for "no value", as -999 does in some files.
    pub(super) fn has_number(&self) -> bool {
        self.has_number
    }

    /// Whether the trimmed `cell` stands for "no value".
    pub(super) fn contains(&self, cell: &[u8]) -> bool {
        self.tokens.iter().any(|token| token == cell)
    }
}

/// Reads a trimmed cell as a number; `true` and `false` are 1 and 0.
pub(super) fn number(cell: &[u8], missing: &MissingTokens) -> Cell {
    if missing.contains(cell) {
        return Cell::Missing;
    }
    if let Some((value, length)) = parse_number(cell)
        && length == cell.len()
    {
        return Cell::Value(value);
    }
    match cell {
        b"true" | b"True" | b"TRUE" => return Cell::Value(1.0),
        b"false" | b"False" | b"FALSE" => return Cell::Value(0.0),
        _ => {}
    }
    // The standard parser also reads words: infinities are refused as such, other spellings of "nan" are text.
    match std::str::from_utf8(cell).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value.is_finite() => Cell::Value(value),
        Some(value) if value.is_infinite() => Cell::Problem(CellProblem::NotFinite),
        _ if has_decimal_comma(cell) => Cell::Problem(CellProblem::DecimalComma),
        _ => Cell::Problem(CellProblem::NotNumeric),
    }
}

/// A sort key: a number, or a date (and time) of ISO 8601 as seconds since 1970-01-01T00:00:00Z.
pub(super) fn moment(cell: &[u8], missing: &MissingTokens) -> Cell {
    match number(cell, missing) {
        Cell::Problem(CellProblem::NotNumeric) => {
            match std::str::from_utf8(cell).ok().and_then(iso_seconds) {
                Some(seconds) => Cell::Value(seconds),
                None => Cell::Problem(CellProblem::NotNumeric),
            }
        }
        Cell::Missing => Cell::Problem(CellProblem::Missing),
        other => other,
    }
}

/// Without the spaces and tabs around it.
pub(super) fn trim(mut cell: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = cell {
        cell = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = cell {
        cell = rest;
    }
    cell
}

/// A value for an error message: escaped, at most 64 characters.
pub(super) fn excerpt(value: &[u8]) -> String {
    // An escaped byte takes at most 4 characters of input, so this much input is always enough.
    let head = &value[..value.len().min(EXCERPT_CHARACTERS * 4)];
    let mut shown: Vec<char> = String::from_utf8_lossy(head).chars().flat_map(char::escape_debug).collect();
    if shown.len() > EXCERPT_CHARACTERS || value.len() > head.len() {
        shown.truncate(EXCERPT_CHARACTERS - 1);
        shown.push('…');
    }
    shown.into_iter().collect()
}

fn has_decimal_comma(cell: &[u8]) -> bool {
    cell.contains(&b',')
        && cell.iter().all(|byte| byte.is_ascii_digit() || b",.+-eE ".contains(byte))
        && cell.iter().any(u8::is_ascii_digit)
}

/// `YYYY-MM-DD`, optionally `T` or a space and `hh:mm[:ss[.fraction]]`, optionally `Z` or `+hh:mm`.
fn iso_seconds(text: &str) -> Option<f64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) as f64 * 86_400.0;
    if rest.is_empty() {
        return Some(midnight);
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], offset_seconds(&time[at..])?),
        None => (time, 0.0),
    };
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = match parts.next() {
        None => 0.0,
        Some(text) if text.len() >= 2 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            digits(text.split('.').next()?, 2)?;
            text.parse::<f64>().ok()?
        }
        Some(_) => return None,
    };
    if hour > 23 || minute > 59 || second >= 61.0 {
        return None;
    }
    Some(midnight + (hour * 3600 + minute * 60) as f64 + second - offset)
}

fn offset_seconds(text: &str) -> Option<f64> {
    if text == "Z" || text == "z" {
        return Some(0.0);
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    Some(sign * (digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60) as f64)
}

fn digits(text: &str, length: usize) -> Option<i64> {
    if text.len() != length || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin on 1 March so that a leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_mean_what_the_table_says() {
        let missing = MissingTokens::new(&MISSING_TOKENS);
        for (text, expected) in [
            ("1.5", Cell::Value(1.5)),
            ("+2", Cell::Value(2.0)),
            (".5", Cell::Value(0.5)),
            ("1.", Cell::Value(1.0)),
            ("1e308", Cell::Value(1e308)),
            ("4.9e-324", Cell::Value(4.9e-324)),
            ("true", Cell::Value(1.0)),
            ("FALSE", Cell::Value(0.0)),
            ("", Cell::Missing),
            ("?", Cell::Missing),
            ("inf", Cell::Problem(CellProblem::NotFinite)),
            ("-Infinity", Cell::Problem(CellProblem::NotFinite)),
            ("1e999", Cell::Problem(CellProblem::NotFinite)),
            ("1,5", Cell::Problem(CellProblem::DecimalComma)),
            ("1.234,5", Cell::Problem(CellProblem::DecimalComma)),
            ("-nan", Cell::Problem(CellProblem::NotNumeric)),
            ("0x10", Cell::Problem(CellProblem::NotNumeric)),
            ("1_000", Cell::Problem(CellProblem::NotNumeric)),
            ("=cmd|'/c calc'!A1", Cell::Problem(CellProblem::NotNumeric)),
            ("--1", Cell::Problem(CellProblem::NotNumeric)),
            ("1e", Cell::Problem(CellProblem::NotNumeric)),
            (".", Cell::Problem(CellProblem::NotNumeric)),
        ] {
            assert_eq!(number(text.as_bytes(), &missing), expected, "{text:?}");
        }
    }

    #[test]
    fn moments_are_numbers_or_iso_dates() {
        let missing = MissingTokens::new(&MISSING_TOKENS);
        for (text, expected) in [
            ("12.5", Some(12.5)),
            ("1970-01-01", Some(0.0)),
            ("1969-12-31", Some(-86_400.0)),
            ("2000-03-01", Some(951_868_800.0)),
            ("2024-02-29T12:30:00Z", Some(1_709_209_800.0)),
            ("2024-02-29 12:30:00.5+02:00", Some(1_709_202_600.5)),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("yesterday", None),
        ] {
            let found = match moment(text.as_bytes(), &missing) {
                Cell::Value(value) => Some(value),
                _ => None,
            };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt(b"a\tb\n"), "a\\tb\\n");
        assert_eq!(excerpt(&[b'x'; 1000]).chars().count(), EXCERPT_CHARACTERS);
        assert_eq!(excerpt(&[0xff, 0]), "\u{fffd}\\0");
    }
}
