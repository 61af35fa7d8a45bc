//! What is kept of one request: the wire type between the gateway and the loader.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::Timestamp;

/// Bytes kept of the body of a refused request.
pub const BODY_KEPT_BYTES: usize = 4 << 10;
/// Bytes kept of what was said to a refused caller.
pub const DETAIL_KEPT_BYTES: usize = 1 << 10;

/// One request and how it ended. A batch is one record and as many rows of the table as it has rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The inference id; rows of a batch are stored as `<id>/<n>`.
    #[serde(borrow)]
    pub id: &'a str,
    /// When the request arrived.
    pub time: Timestamp,
    /// Name of the endpoint asked.
    pub endpoint: &'a str,
    /// Name of the variant that answered.
    pub variant: &'a str,
    /// Version of the model that answered.
    pub model_version: &'a str,
    /// The run that made the model, when known.
    pub run: Option<&'a str>,
    /// The rollout step in force, when there was one.
    pub rollout_step: Option<&'a str>,
    /// Who asked, when known.
    pub caller: Option<&'a str>,
    /// From the request's head to the answer, microseconds.
    pub latency_microseconds: u64,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The caller had left before the answer could be given.
    pub client_gone: bool,
    /// The answer, or why there was none.
    pub outcome: Outcome<'a>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// Every row got a class.
    Answered {
        /// The class chosen, one a row.
        #[serde(borrow)]
        predicted: Vec<&'a str>,
        /// Rows x classes in row-major order, class order of the model.
        probabilities: Cow<'a, [f64]>,
        /// Rows x features in row-major order, as the caller sent them; NaN is a missing value.
        features: Cow<'a, [f64]>,
    },
    /// No row got one, whoever's fault that is.
    Refused {
        /// The stable code of the error.
        error_code: &'a str,
        /// What the caller was told; [`DETAIL_KEPT_BYTES`] of it are kept.
        #[serde(serialize_with = "beginning_of_text")]
        detail: &'a str,
        /// What the caller sent, as far as it was read; [`BODY_KEPT_BYTES`] of it are kept.
        #[serde(serialize_with = "beginning_of_bytes")]
        body: &'a [u8],
    },
}

/// The versions a record has had on disk. A reader knows them all; a writer writes the last.
///
/// The variant's number is the first byte of an encoded record: never reorder.
#[derive(Deserialize)]
enum Stored<'a> {
    V1(#[serde(borrow)] RecordV1<'a>),
    V2(#[serde(borrow)] Record<'a>),
}

/// The same, borrowing, so that writing copies nothing. Only the last version is written.
#[derive(Serialize)]
enum StoredRef<'a, 'b> {
    #[expect(dead_code, reason = "keeps the number of the next variant")]
    V1,
    V2(&'b Record<'a>),
}

/// Before a refusal kept its detail and body.
#[derive(Deserialize)]
struct RecordV1<'a> {
    id: &'a str,
    time: Timestamp,
    endpoint: &'a str,
    variant: &'a str,
    model_version: &'a str,
    run: Option<&'a str>,
    rollout_step: Option<&'a str>,
    caller: Option<&'a str>,
    latency_microseconds: u64,
    status: u16,
    #[serde(borrow)]
    outcome: OutcomeV1<'a>,
}

#[derive(Deserialize)]
enum OutcomeV1<'a> {
    Answered {
        #[serde(borrow)]
        predicted: Vec<&'a str>,
        probabilities: Vec<f64>,
        features: Vec<f64>,
    },
    Refused {
        error_code: &'a str,
    },
}

/// Why the bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[error("the bytes are not a captured record this program knows")]
pub struct UnknownRecord(#[from] postcard::Error);

impl<'a> Record<'a> {
    /// Appends the encoded record to `bytes`.
    pub fn encode_into(&self, bytes: Vec<u8>) -> Result<Vec<u8>, UnknownRecord> {
        Ok(postcard::to_extend(&StoredRef::V2(self), bytes)?)
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When the bytes are of no known version, or not one whole record.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, UnknownRecord> {
        let (stored, rest) = postcard::take_from_bytes(bytes)?;
        let record = match stored {
            Stored::V1(record) => record.into(),
            Stored::V2(record) => record,
        };
        let is_whole = rest.is_empty() && record.outcome.is_consistent();
        if is_whole { Ok(record) } else { Err(postcard::Error::SerdeDeCustom.into()) }
    }
}

impl Outcome<'_> {
    /// Whether every row has as many probabilities, and as many features, as the others.
    fn is_consistent(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Answered { predicted, probabilities, features } => {
                let rows = predicted.len();
                rows > 0 && probabilities.len().is_multiple_of(rows) && features.len().is_multiple_of(rows)
            }
        }
    }
}

impl<'a> From<RecordV1<'a>> for Record<'a> {
    fn from(old: RecordV1<'a>) -> Self {
        Self {
            id: old.id,
            time: old.time,
            endpoint: old.endpoint,
            variant: old.variant,
            model_version: old.model_version,
            run: old.run,
            rollout_step: old.rollout_step,
            caller: old.caller,
            latency_microseconds: old.latency_microseconds,
            status: old.status,
            client_gone: false,
            outcome: match old.outcome {
                OutcomeV1::Answered { predicted, probabilities, features } => Outcome::Answered {
                    predicted,
                    probabilities: Cow::Owned(probabilities),
                    features: Cow::Owned(features),
                },
                OutcomeV1::Refused { error_code } => Outcome::Refused { error_code, detail: "", body: &[] },
            },
        }
    }
}

fn beginning_of_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text[..text.floor_char_boundary(DETAIL_KEPT_BYTES)])
}

fn beginning_of_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&bytes[..bytes.len().min(BODY_KEPT_BYTES)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            id: "r-17",
            time: Timestamp(1_700_000_000_000_000),
            endpoint: "digits",
            variant: "AllTraffic",
            model_version: "0123456789ab",
            run: None,
            rollout_step: None,
            caller: None,
            latency_microseconds: 42,
            status: 200,
            client_gone: false,
            outcome: Outcome::Answered {
                predicted: vec!["3", "8"],
                probabilities: Cow::Owned(vec![0.25, 0.75, 0.5, 0.5]),
                features: Cow::Owned(vec![1.5, -0.0, 1e-300, 2.0]),
            },
        }
    }

    fn refusal<'a>(detail: &'a str, body: &'a [u8]) -> Record<'a> {
        let outcome = Outcome::Refused { error_code: "not_a_number", detail, body };
        Record { status: 422, client_gone: true, outcome, ..record() }
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        for record in [record(), refusal("row 1, \"width\"", b"x,\xff\0")] {
            let bytes = record.encode_into(Vec::new()).unwrap();
            assert_eq!(Record::decode(&bytes).unwrap(), record);
        }
    }

    #[test]
    fn what_a_refused_caller_sent_is_kept_up_to_a_limit() {
        let (detail, body) = (format!("x{}", "é".repeat(2_000)), vec![b'7'; 100_000]);
        let bytes = refusal(&detail, &body).encode_into(Vec::new()).unwrap();
        let Outcome::Refused { detail: kept, body: kept_body, .. } = Record::decode(&bytes).unwrap().outcome
        else {
            panic!("a refusal was written");
        };
        assert_eq!(kept_body, &body[..4_096]);
        assert!(detail.starts_with(kept) && kept.len() == 1_023, "cut between characters: {}", kept.len());
    }

    #[test]
    fn earlier_versions_on_disk_stay_readable() {
        // Written by earlier versions of this program: the bytes, not the code, are the promise.
        let stored = include_bytes!("../../tests/data/capture/record_v1.bin");
        assert_eq!(Record::decode(stored).unwrap(), record());
        let stored = include_bytes!("../../tests/data/capture/record_v2.bin");
        assert_eq!(Record::decode(stored).unwrap(), refusal("row 1, \"width\"", b"x,\xff\0"));
    }

    #[test]
    fn cut_or_extended_bytes_are_refused() {
        let bytes = record().encode_into(Vec::new()).unwrap();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Record::decode(&longer).is_err());
    }

    #[test]
    fn rows_of_unequal_length_are_refused() {
        for (rows, features) in [(0, 4), (3, 4), (2, 3)] {
            let outcome = Outcome::Answered {
                predicted: vec!["3"; rows],
                probabilities: Cow::Owned(vec![0.5; 2 * rows]),
                features: Cow::Owned(vec![1.0; features]),
            };
            let bytes = Record { outcome, ..record() }.encode_into(Vec::new()).unwrap();
            assert!(Record::decode(&bytes).is_err(), "{features} features in {rows} rows");
        }
    }
}
