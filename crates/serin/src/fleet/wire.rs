//! Rows as replicas are asked, and their answers.
//!
//! Serin's own replicas take and give numbers as they are in memory: nothing is rounded, and nothing is parsed. Containers and
//! commands are asked as SageMaker's are: CSV without a header, and an answer in CSV or JSON of whichever shape is usual.

use hyper::body::Bytes;
use serde_json::Value;
use thiserror::Error;

/// Content type of rows of 64-bit little-endian floats, row-major; NaN is a missing value.
pub const ROWS: &str = "application/x-serin-rows";
/// Content type of the answer to them: for each row the class chosen (32 bits, little-endian), then the probabilities.
pub const JUDGEMENTS: &str = "application/x-serin-judgements";

/// How a replica is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Serin,
    SageMaker,
}

/// What rows were judged to be. Without probabilities there are none: not all containers give any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// Class positions, one a row.
    pub chosen: Vec<usize>,
    /// Rows x classes, row-major; or empty.
    pub probabilities: Vec<f64>,
}

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Garbage {
    #[error("the answer has {found} rows, and {expected} were asked")]
    Rows { expected: usize, found: usize },
    #[error("row {row}: {found:?} is no class of the model")]
    Class { row: usize, found: String },
    #[error("row {row}: {problem}")]
    Probabilities { row: usize, problem: &'static str },
    #[error("the content type {0:?} of the answer is not known; it is text/csv or application/json")]
    ContentType(String),
    #[error("the answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Dialect {
    /// The content types of a question, and of the answer that is wished for.
    #[must_use]
    pub fn content_types(self) -> (&'static str, &'static str) {
        match self {
            Self::Serin => (ROWS, JUDGEMENTS),
            Self::SageMaker => ("text/csv", "text/csv"),
        }
    }

    /// `rows` of `width` values as they are asked.
    #[must_use]
    pub fn ask(self, rows: &[f64], width: usize) -> Bytes {
        match self {
            Self::Serin => rows.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
            Self::SageMaker => csv(rows, width).into(),
        }
    }

    /// Most bytes of an answer to `rows` rows with `classes` classes.
    #[must_use]
    pub fn answer_limit(self, rows: usize, classes: usize) -> usize {
        match self {
            Self::Serin => rows * (4 + 8 * classes),
            // Names and twenty digits, and what is written around them.
            Self::SageMaker => (64 << 10) + rows * (256 + classes * 320),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When it is not one class, or as many probabilities as there are classes, for each of `rows` rows.
    pub fn read(
        self,
        content_type: &str,
        body: &[u8],
        rows: usize,
        classes: &[String],
    ) -> Result<Judged, Garbage> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match self {
            Self::Serin if kind == JUDGEMENTS => read_judgements(body, rows, classes.len()),
            Self::SageMaker
                if kind.eq_ignore_ascii_case("text/csv") || kind.eq_ignore_ascii_case("text/plain") =>
            {
                read_csv(body, rows, classes)
            }
            Self::SageMaker if kind.eq_ignore_ascii_case("application/json") => {
                read_json(body, rows, classes)
            }
            _ => Err(Garbage::ContentType(content_type.chars().take(64).collect())),
        }
    }
}

/// What was judged, as Serin's own replicas say it.
#[must_use]
pub fn judgements(chosen: &[usize], probabilities: &[f64]) -> Vec<u8> {
    let width = probabilities.len() / chosen.len().max(1);
    let mut out = Vec::with_capacity(chosen.len() * (4 + 8 * width));
    for (row, class) in chosen.iter().enumerate() {
        out.extend_from_slice(&u32::try_from(*class).unwrap_or(u32::MAX).to_le_bytes());
        let of_row = &probabilities[row * width..(row + 1) * width];
        out.extend(of_row.iter().flat_map(|probability| probability.to_le_bytes()));
    }
    out
}

/// The values of a question in Serin's own words; `None` when it is cut off.
#[must_use]
pub fn values(body: &[u8]) -> Option<Vec<f64>> {
    let (values, rest) = body.as_chunks::<8>();
    rest.is_empty().then(|| values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

fn csv(rows: &[f64], width: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut out = Vec::with_capacity(rows.len() * 10);
    for row in rows.chunks_exact(width.max(1)) {
        for (i, value) in row.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if !value.is_nan() {
                // Shortest digits that read back as the same number; writing to memory does not fail.
                let _ = write!(out, "{value}");
            }
        }
        out.push(b'\n');
    }
    out
}

fn read_judgements(body: &[u8], rows: usize, classes: usize) -> Result<Judged, Garbage> {
    let width = 4 + 8 * classes;
    if !body.len().is_multiple_of(width) || body.len() / width != rows {
        return Err(Garbage::Rows { expected: rows, found: body.len() / width });
    }
    let mut judged =
        Judged { chosen: Vec::with_capacity(rows), probabilities: Vec::with_capacity(rows * classes) };
    for row in body.chunks_exact(width) {
        let Some((class, probabilities)) = row.split_first_chunk::<4>() else { continue };
        judged.chosen.push(u32::from_le_bytes(*class) as usize);
        let (values, _) = probabilities.as_chunks::<8>();
        judged.probabilities.extend(values.iter().map(|bytes| f64::from_le_bytes(*bytes)));
    }
    Ok(judged)
}

/// A class a line, or a class and its probabilities, or probabilities alone.
fn read_csv(body: &[u8], rows: usize, classes: &[String]) -> Result<Judged, Garbage> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut judged = Judged::default();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|_| Garbage::Unreadable("it is no CSV in UTF-8"))?;
        let cells: Vec<&str> = record.iter().map(str::trim).collect();
        let numbers =
            |cells: &[&str]| cells.iter().map(|cell| cell.parse().ok()).collect::<Option<Vec<f64>>>();
        let no_number = Garbage::Probabilities { row, problem: "a probability is no number" };
        match cells.len() {
            1 => judged.push(row, class(row, cells[0], classes)?, &[], classes.len())?,
            n if n == classes.len() + 1 => {
                let probabilities = numbers(&cells[1..]).ok_or(no_number)?;
                judged.push(row, class(row, cells[0], classes)?, &probabilities, classes.len())?;
            }
            n if n == classes.len() => {
                let probabilities = numbers(&cells).ok_or(no_number)?;
                judged.push(row, most_probable(&probabilities), &probabilities, classes.len())?;
            }
            _ => return Err(Garbage::Probabilities { row, problem: "there are not as many as classes" }),
        }
    }
    judged.of(rows)
}

/// A list, or an object with one called `predictions`; its entries are classes, lists of probabilities, or objects.
fn read_json(body: &[u8], rows: usize, classes: &[String]) -> Result<Judged, Garbage> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Garbage::Unreadable("it is no JSON"))?;
    let list = match &value {
        Value::Object(object) => {
            ["predictions", "instances", "outputs"].iter().find_map(|key| object.get(*key))
        }
        list => Some(list),
    };
    let Some(Value::Array(entries)) = list else {
        return Err(Garbage::Unreadable("it has no list of predictions"));
    };
    let mut judged = Judged::default();
    for (row, entry) in entries.iter().enumerate() {
        let (named, probabilities) = match entry {
            Value::Array(list) => (None, of_list(row, list)?),
            Value::Object(object) => {
                let named = ["class", "label", "predicted_label", "prediction"]
                    .iter()
                    .find_map(|key| object.get(*key));
                let given = ["probabilities", "scores", "score"].iter().find_map(|key| object.get(*key));
                let probabilities = match given {
                    None => Vec::new(),
                    Some(Value::Array(list)) => of_list(row, list)?,
                    Some(Value::Object(by_class)) => classes
                        .iter()
                        .map(|class| by_class.get(class).and_then(Value::as_f64))
                        .collect::<Option<_>>()
                        .ok_or(Garbage::Probabilities { row, problem: "a class has none" })?,
                    Some(_) => return Err(Garbage::Probabilities { row, problem: "they are no list" }),
                };
                (named, probabilities)
            }
            scalar => (Some(scalar), Vec::new()),
        };
        let chosen = match named {
            Some(Value::String(name)) => class(row, name, classes)?,
            Some(other) => class(row, &other.to_string(), classes)?,
            None if probabilities.is_empty() => return Err(Garbage::Class { row, found: String::new() }),
            None => most_probable(&probabilities),
        };
        judged.push(row, chosen, &probabilities, classes.len())?;
    }
    judged.of(rows)
}

fn of_list(row: usize, list: &[Value]) -> Result<Vec<f64>, Garbage> {
    let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
    numbers.ok_or(Garbage::Probabilities { row, problem: "a probability is no number" })
}

/// The position of a class by its name; numbers may be written with a fraction of zero.
fn class(row: usize, name: &str, classes: &[String]) -> Result<usize, Garbage> {
    let named = |name: &str| classes.iter().position(|class| class == name);
    let whole = || named(name.strip_suffix(".0")?);
    named(name).or_else(whole).ok_or_else(|| Garbage::Class { row, found: name.chars().take(64).collect() })
}

fn most_probable(probabilities: &[f64]) -> usize {
    let by_size = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    probabilities.iter().enumerate().max_by(by_size).map_or(0, |(position, _)| position)
}

impl Judged {
    fn push(
        &mut self,
        row: usize,
        class: usize,
        probabilities: &[f64],
        classes: usize,
    ) -> Result<(), Garbage> {
        let problem = |problem| Err(Garbage::Probabilities { row, problem });
        if !probabilities.is_empty() && probabilities.len() != classes {
            return problem("there are not as many as classes");
        }
        if !probabilities.iter().all(|p| (0.0..=1.0).contains(p)) {
            return problem("one is not from 0 to 1");
        }
        if row > 0 && self.probabilities.is_empty() != probabilities.is_empty() {
            return problem("some rows have probabilities and some have none");
        }
        self.chosen.push(class);
        self.probabilities.extend_from_slice(probabilities);
        Ok(())
    }

    fn of(self, rows: usize) -> Result<Self, Garbage> {
        match self.chosen.len() {
            found if found == rows => Ok(self),
            found => Err(Garbage::Rows { expected: rows, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["0", "1", "odd, \"one\""].map(str::to_owned).to_vec()
    }

    #[test]
    fn numbers_go_there_and_back_as_they_are() {
        let rows = [1.5, f64::NAN, -0.0, 1e-310, f64::MAX, 0.1];
        let asked = Dialect::Serin.ask(&rows, 3);
        let read = values(&asked).unwrap();
        assert!(rows.iter().zip(&read).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(values(&asked[1..]), None);
        let (chosen, probabilities) = ([2, 0], [0.1, 0.2, 0.7, 0.5, 0.3, 0.2]);
        let said = judgements(&chosen, &probabilities);
        assert!(said.len() <= Dialect::Serin.answer_limit(2, 3));
        let judged = Dialect::Serin.read(JUDGEMENTS, &said, 2, &classes()).unwrap();
        assert_eq!((judged.chosen, judged.probabilities), (chosen.to_vec(), probabilities.to_vec()));
        for (cut, rows) in [(&said[..said.len() - 1], 2), (&said[..], 1), (&said[..], 3), (&[][..], 2)] {
            assert!(matches!(
                Dialect::Serin.read(JUDGEMENTS, cut, rows, &classes()),
                Err(Garbage::Rows { .. })
            ));
        }
        assert_eq!(
            Dialect::SageMaker.ask(&[1.5, f64::NAN, 1e300, 2.0], 2),
            "1.5,\n1".to_owned() + &"0".repeat(300) + ",2\n"
        );
    }

    #[test]
    fn containers_answer_in_many_ways() {
        let read = |kind: &str, body: &str| Dialect::SageMaker.read(kind, body.as_bytes(), 2, &classes());
        let chosen = Ok(vec![1, 2]);
        let named = "odd, \\\"one\\\"";
        for (kind, body) in [
            ("text/csv; charset=utf-8", "1\n\"odd, \"\"one\"\"\"\n".to_owned()),
            ("text/csv", "1,0.2,0.5,0.3\r\n\"odd, \"\"one\"\"\",0.1,0.1,0.8\r\n".to_owned()),
            ("text/csv", "0.2,0.5,0.3\n0.1,0.1,0.8".to_owned()),
            ("text/plain", "1.0\n\"odd, \"\"one\"\"\"".to_owned()),
            ("application/json", format!("[1, \"{named}\"]")),
            ("application/json", format!("{{\"predictions\": [\"1\", \"{named}\"]}}")),
            ("application/json", "{\"predictions\": [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]}".to_owned()),
            ("application/json", format!("[{{\"class\": 1}}, {{\"predicted_label\": \"{named}\"}}]")),
            (
                "application/json",
                format!(
                    "{{\"predictions\": [{{\"class\": \"1\", \"probabilities\": {{\"0\": 0, \"1\": 1, \"{named}\": 0}}}},
                     {{\"scores\": [0.1, 0.1, 0.8]}}]}}"
                ),
            ),
        ] {
            assert_eq!(read(kind, &body).map(|judged| judged.chosen), chosen, "{kind} {body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let read = |kind: &str, body: &str| Dialect::SageMaker.read(kind, body.as_bytes(), 2, &classes());
        for (kind, body) in [
            ("text/csv", "1\n"),
            ("text/csv", "1\n0\n0\n"),
            ("text/csv", "1\n7\n"),
            ("text/csv", "1\n\n"),
            ("text/csv", "0.5,0.5\n0.5,0.5"),
            ("text/csv", "1,0.2,0.5,1.3\n1,0.2,0.5,0.3"),
            ("text/csv", "1,0.2,NaN,0.3\n1,0.2,0.5,0.3"),
            ("text/csv", "1\n1,0.2,0.5,0.3"),
            ("text/html", "<h1>502</h1>"),
            ("", "1\n0"),
            ("application/json", "1"),
            ("application/json", "{\"error\": \"x\"}"),
            ("application/json", "[1, null]"),
            ("application/json", "[1, {}]"),
            ("application/json", "[1, [0.1, 0.9]]"),
            ("application/json", "[[0.2, 0.5, \"x\"], [0.1, 0.1, 0.8]]"),
            ("application/json", "[{\"class\": 1, \"probabilities\": {\"1\": 1}}, 1]"),
            ("application/x-serin-judgements", "????????????????????????????????"),
        ] {
            assert!(read(kind, body).is_err(), "{kind} {body}");
        }
        assert!(Dialect::SageMaker.read("text/csv", &[0xff, 0xfe], 1, &classes()).is_err());
    }
}
