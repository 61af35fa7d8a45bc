//! The identity of a data set: a hash of what it says, not of how it is stored.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::table::{ColumnKind, Fingerprint, Labels, Schema};

/// Begins every fingerprint, so that a change of the layout below changes all of them.
const LAYOUT: &[u8] = b"serin dataset 1\n";

/// The bits of a missing value, whatever NaN a reader made.
const MISSING_BITS: u64 = 0x7ff8_0000_0000_0000;

/// SHA-256 of one column of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnDigest([u8; 32]);

impl ColumnDigest {
    /// Values in row order, little-endian; every missing value is the same NaN, and -0 is 0: no step of learning tells
    /// them apart, and integer columns of Parquet cannot hold the one.
    pub fn of(values: &[f64]) -> Self {
        let mut hasher = Sha256::new();
        let mut bytes = [0_u8; 4096];
        for chunk in values.chunks(bytes.len() / 8) {
            for (target, value) in bytes.chunks_exact_mut(8).zip(chunk) {
                let bits = if value.is_nan() { MISSING_BITS } else { (value + 0.0).to_bits() };
                target.copy_from_slice(&bits.to_le_bytes());
            }
            hasher.update(&bytes[..chunk.len() * 8]);
        }
        Self(hasher.finalize().into())
    }
}

/// SHA-256 over, in order: the layout name, rows, features (name, kind, column hash), classes and codes, weights. Counts
/// and text lengths stand before what they count, so no two data sets share an encoding. Files, row groups, groups,
/// times and ids take no part.
pub(super) fn fingerprint(
    schema: &Schema,
    columns: &[ColumnDigest],
    rows: usize,
    labels: Option<&Labels>,
    weights: Option<&[f64]>,
) -> Fingerprint {
    let mut hasher = Sha256::new();
    hasher.update(LAYOUT);
    number(&mut hasher, rows);
    number(&mut hasher, columns.len());
    for (field, column) in schema.fields.iter().zip(columns) {
        text(&mut hasher, &field.name);
        hasher.update([match field.kind {
            ColumnKind::Number => 0,
            ColumnKind::Integer => 1,
            ColumnKind::Boolean => 2,
        }]);
        hasher.update(column.0);
    }
    hasher.update([u8::from(labels.is_some())]);
    if let Some(labels) = labels {
        number(&mut hasher, labels.classes.len());
        for class in &labels.classes {
            text(&mut hasher, class);
        }
        for code in &labels.codes {
            hasher.update(code.to_le_bytes());
        }
    }
    hasher.update([u8::from(weights.is_some())]);
    if let Some(weights) = weights {
        hasher.update(ColumnDigest::of(weights).0);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Fingerprint(hex)
}

fn number(hasher: &mut Sha256, value: usize) {
    hasher.update((value as u64).to_le_bytes());
}

fn text(hasher: &mut Sha256, value: &str) {
    number(hasher, value.len());
    hasher.update(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_and_zeros_have_one_form() {
        let other_nan = f64::from_bits(0xfff8_0000_0000_0001);
        assert_eq!(ColumnDigest::of(&[f64::NAN, 0.0]), ColumnDigest::of(&[other_nan, -0.0]));
        assert_ne!(ColumnDigest::of(&[1.0, 2.0]), ColumnDigest::of(&[2.0, 1.0]));
        assert_ne!(ColumnDigest::of(&[0.0]), ColumnDigest::of(&[0.0, 0.0]));
    }
}
