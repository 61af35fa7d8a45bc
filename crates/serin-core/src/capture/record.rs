//! What is kept of one request: the wire type between the gateway and the loader.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

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
    /// No row got one.
    Refused {
        /// The stable code of the error.
        error_code: &'a str,
    },
}

/// The versions a record has had on disk. A reader knows them all; a writer writes the last.
///
/// The variant's number is the first byte of an encoded record: never reorder.
#[derive(Serialize, Deserialize)]
enum Stored<'a> {
    V1(#[serde(borrow)] Record<'a>),
}

/// The same, borrowing, so that writing copies nothing.
#[derive(Serialize)]
enum StoredRef<'a, 'b> {
    V1(&'b Record<'a>),
}

/// Why the bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[error("the bytes are not a captured record this program knows")]
pub struct UnknownRecord(#[from] postcard::Error);

impl<'a> Record<'a> {
    /// Appends the encoded record to `bytes`.
    pub fn encode_into(&self, bytes: Vec<u8>) -> Result<Vec<u8>, UnknownRecord> {
        Ok(postcard::to_extend(&StoredRef::V1(self), bytes)?)
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When the bytes are of no known version, or not one whole record.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, UnknownRecord> {
        let (Stored::V1(record), rest) = postcard::take_from_bytes(bytes)?;
        if rest.is_empty() { Ok(record) } else { Err(postcard::Error::SerdeDeCustom.into()) }
    }
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
            outcome: Outcome::Answered {
                predicted: vec!["3", "8"],
                probabilities: Cow::Owned(vec![0.25, 0.75, 0.5, 0.5]),
                features: Cow::Owned(vec![1.5, -0.0, 1e-300, 2.0]),
            },
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        let bytes = record().encode_into(Vec::new()).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record());
    }

    #[test]
    fn version_1_on_disk_stays_readable() {
        // Written by the first version of this program: the bytes, not the code, are the promise.
        let stored = include_bytes!("../../tests/data/capture/record_v1.bin");
        assert_eq!(Record::decode(stored).unwrap(), record());
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
}
